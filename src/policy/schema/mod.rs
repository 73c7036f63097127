//! The policy language as a JSON Schema (2020-12), for editors.
//!
//! Sections, fields and numbers with their ranges come from the tables that the reader of policies
//! uses itself; a test asks the reader which keys it knows at every place and compares. The schema
//! holds shapes: what needs more than one value to decide (an unknown role, a rule that a denial
//! closes) only `loki policy check` says.

mod request;

use serde_json::{Map, Value, json};

use super::{
    fields::Section,
    host_files,
    limits::{Kind, Limit},
    programs, units,
};

/// What keys say. A key without a sentence explains itself.
const ABOUT: &[(&str, &str)] = &[
    ("agents", "Which roles there are, and what they work with."),
    (
        "permissions",
        "Files and programs. What is not listed is denied.",
    ),
    (
        "network_policies",
        "Where a role may connect to. No rule, no network.",
    ),
    ("resources", "Caps of one sandbox."),
    (
        "rate_limits",
        "How much a role may do in a minute, calls and bytes per rule and writes per sandbox; `none` is no limit.",
    ),
    (
        "minimum_isolation",
        "What a machine must enforce before anything starts.",
    ),
    ("secrets", "Names of the secrets that a role may be given."),
    ("description", "One line on what the role is for."),
    ("extends", "The role whose rights it starts from."),
    (
        "image",
        "The Loki image its sandboxes start from (default `base`).",
    ),
    ("tier", "Which kind of model its work needs."),
    ("read", "Files of the worktree that may be read."),
    (
        "write",
        "Files of the worktree that may be created, changed and removed.",
    ),
    ("execute", "Programs that may run."),
    (
        "host_executable",
        "Kinds of files that the host runs which may change without a person's approval.",
    ),
    (
        "egress",
        "Hosts and ports, or one host followed by one bare port.",
    ),
    (
        "uncounted",
        "Where writes are not counted, such as build directories.",
    ),
    (
        "deny",
        "Closed whatever rules say, in this layer and all below.",
    ),
    (
        "maximum",
        "The most that this layer and all below may give.",
    ),
    ("cpus", "Processors."),
    ("memory", "Memory; no swap is added."),
    ("pids", "Processes and threads."),
    ("disk", "Bytes in one file and in /tmp."),
    ("timeout", "Wall clock of one attempt."),
    ("idle_timeout", "Silence of an agent."),
    ("log", "Output kept."),
    (
        "protocol",
        "What is spoken: tls on 443, http on 80 and tcp on 22 unless said.",
    ),
    ("methods", "In upper case; left out, any."),
    (
        "paths",
        "`*` stays within a component, `**` spans them; left out, any.",
    ),
    (
        "credential",
        "What the gateway adds. The agent never has it.",
    ),
    ("websocket", "Whether a request may become a WebSocket."),
    ("max_request_bytes", "The most bytes of one request's body."),
    (
        "first_byte_timeout",
        "How long a server may take until its answer begins, 1s to 1h.",
    ),
    ("cache", "How long answers to GET are given again."),
    ("git", "The one repository that git may use there."),
    (
        "registry",
        "Whatever registry this machine's own tool is configured for.",
    ),
    ("min_age", "How old a version must be."),
    ("allow", "The only packages there are."),
    (
        "advisories",
        "Whether known advisories refuse a version; left out, once some were imported.",
    ),
    ("accept", "Advisories that refuse nothing."),
    ("push", "`false`, or the branches that may be updated."),
    (
        "ca",
        "The file of certificates that the server is checked against.",
    ),
];

/// Returns the schema.
#[must_use]
pub fn schema() -> Value {
    let version = json!({ "description": "The version of the language.", "enum": [1, "1"] });
    let mut properties = Map::new();
    properties.insert("version".to_owned(), version);
    for (name, section) in Section::ALL {
        properties.insert(name.to_owned(), about(name, by_role(section)));
    }
    properties.insert("hosts".to_owned(), hosts());
    properties.insert("agent_pool".to_owned(), agent_pool());
    properties.insert("rotation".to_owned(), rotation());
    properties.insert("expect".to_owned(), expect());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Loki policy",
        "description": "What each role may do. What no policy names is denied.",
        "type": "object",
        "required": ["version"],
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions(),
    })
}

/// Adds the sentence of a key.
fn about(key: &str, mut shape: Value) -> Value {
    if let Some((_, text)) = ABOUT.iter().find(|(known, _)| *known == key) {
        shape["description"] = Value::from(*text);
    }
    shape
}

/// Returns a section: entries under `default`, `eng-*` or `eng-backend`, and its bounds.
fn by_role(section: Section) -> Value {
    let entry = if section == Section::Secrets {
        list("given")
    } else {
        let keys = section.fields().into_iter();
        map(keys.map(|key| (key, field(section, key))))
    };
    let mut shape = json!({
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/key" },
        "additionalProperties": entry,
    });
    if let Some(bound) = section.bound() {
        shape["properties"] = json!({ bound: about(bound, field(section, bound)) });
    }
    shape
}

/// Returns a map with exactly these keys.
fn map<'k>(fields: impl Iterator<Item = (&'k str, Value)>) -> Value {
    let properties: Map<String, Value> = fields
        .map(|(key, shape)| (key.to_owned(), about(key, shape)))
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// Returns the shape of a field. What this version of the table forgot is anything: a test finds
/// it.
fn field(section: Section, key: &str) -> Value {
    if let Some(limit) = Limit::named(section, key) {
        return number(limit);
    }
    match (section, key) {
        (_, "description") => line(),
        (_, "extends") => json!({ "$ref": "#/$defs/role" }),
        (_, "image") => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,39}$" }),
        (_, "tier") => json!({ "enum": ["planning", "development", "fast"] }),
        (_, "read" | "write" | "uncounted") => list("glob"),
        (_, "execute") => list("program"),
        (_, "host_executable") => host_files::shape(),
        (_, "egress") => list("rule"),
        (Section::Permissions, "deny") => json!({ "$ref": "#/$defs/closed" }),
        (Section::NetworkPolicies, "deny") => list("closed_host"),
        (Section::Resources, "maximum") => json!({ "$ref": "#/$defs/most_resources" }),
        (Section::RateLimits, "maximum") => json!({ "$ref": "#/$defs/most_rates" }),
        _ => Value::Bool(true),
    }
}

fn line() -> Value {
    json!({ "type": "string", "maxLength": 300, "pattern": "^[^\\u0000-\\u001f\\u007f]*$" })
}

/// Returns the shape of a number: as YAML reads it without quotes, or as text.
fn number(limit: Limit) -> Value {
    let facts = limit.facts();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (least, most) = (parse(facts.least), parse(facts.most));
    let bare = |kind: &str, digits: &str| {
        json!([
            { "type": kind, "minimum": least, "maximum": most },
            { "type": "string", "pattern": digits },
        ])
    };
    let mut any = match facts.kind {
        Kind::Processors => bare("number", "^[0-9]*[.]?[0-9]+$"),
        Kind::Count => bare("integer", "^[0-9]+$"),
        Kind::Bytes => json!([{ "$ref": "#/$defs/size" }]),
        Kind::Time => json!([{ "$ref": "#/$defs/time" }]),
        Kind::Choice(other) => json!([{ "enum": ["required", other] }]),
        Kind::Words(one, zero) => json!([{ "enum": [one, zero] }]),
    };
    if facts.section == Section::RateLimits
        && let Some(any) = any.as_array_mut()
    {
        any.push(json!({ "const": "none" }));
    }
    json!({ "anyOf": any, "default": facts.default })
}

fn list(of: &str) -> Value {
    let items = format!("#/$defs/{of}");
    json!({ "type": "array", "maxItems": 1000, "items": { "$ref": items } })
}

fn hosts() -> Value {
    json!({
        "description": "Names pinned to an address and a port. Not in shipped files.",
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/host" },
        "additionalProperties": { "anyOf": [
            { "$ref": "#/$defs/socket" },
            { "$ref": "#/$defs/pinned" },
        ] },
    })
}

fn agent_pool() -> Value {
    let count = || {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 10_000 },
            { "type": "string", "pattern": "^[0-9]+$" },
        ] })
    };
    let fields = [
        ("min_idle", count()),
        ("max_total", count()),
        ("pre_warm_roles", list("role")),
    ];
    map(fields.into_iter())
}

fn rotation() -> Value {
    let time = || json!({ "$ref": "#/$defs/time" });
    let notify = json!({ "type": "array", "items": { "enum": ["slack", "email"] } });
    let fields = [
        ("interval", time()),
        ("grace_period", time()),
        ("notify", notify),
    ];
    map(fields.into_iter())
}

fn expect() -> Value {
    let acts = || json!({ "anyOf": [{ "$ref": "#/$defs/act" }, list("act")] });
    let role = json!({ "$ref": "#/$defs/role" });
    let mut case = json!({ "type": "object", "properties": { "role": role, "allow": acts(), "deny": acts() } });
    case["additionalProperties"] = Value::Bool(false);
    case["required"] = json!(["role"]);
    case["anyOf"] = json!([{ "required": ["allow"] }, { "required": ["deny"] }]);
    json!({
        "description": "What roles must or must not be able to do; tried at every check and start.",
        "type": "array",
        "items": case,
    })
}

fn definitions() -> Value {
    let closed = ["read", "write", "execute", "host_executable"];
    let closed = closed.map(|key| (key, field(Section::Permissions, key)));
    let most = |section: Section| {
        let limits = section.limits();
        map(limits.map(|limit| (limit.name(), number(limit))))
    };
    let mut defs = texts();
    for (name, shape) in [
        ("closed", map(closed.into_iter())),
        ("given", given()),
        ("delivery", delivery()),
        ("most_resources", most(Section::Resources)),
        ("most_rates", most(Section::RateLimits)),
        ("long", request::rule()),
        ("of_registry", request::of_registry()),
        ("credential", request::credential()),
        ("git", request::git()),
        ("pinned", request::pinned()),
    ] {
        defs[name] = shape;
    }
    defs
}

/// Returns an item of a list of secrets.
fn given() -> Value {
    json!({ "anyOf": [{ "$ref": "#/$defs/secret" }, { "$ref": "#/$defs/delivery" }] })
}

fn delivery() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "$ref": "#/$defs/secret" },
            "deliver": { "enum": ["file", "env"] },
        },
        "required": ["name", "deliver"],
        "additionalProperties": false,
    })
}

/// One label of a host name.
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?";

fn texts() -> Value {
    let groups: Vec<&str> = programs::names().collect();
    let name = LABEL;
    json!({
        "key": { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(-[*])?$" },
        "role": { "type": "string", "maxLength": 40, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$" },
        "secret": { "type": "string", "pattern": "^[A-Z_][A-Z0-9_]{0,63}$" },
        "act": { "type": "string", "pattern": "^(connect|request|read|write|run) [^*]+$" },
        "glob": {
            "description": "Relative to the worktree: `*` and `?` stay within a component, `**` spans them, `{a,b}` holds alternatives. Quote what begins with `*`.",
            "type": "string",
            "minLength": 1,
            "maxLength": 1024,
            "pattern": "^(?![/~!])(?!.*(^|/)[.]{1,2}(/|$))(?!.*//)(?!.*/$)[^\\\\\\[\\]]+$",
        },
        "program": {
            "description": "A bare name, a group, or a glob of the worktree that begins with `./`.",
            "anyOf": [
                { "enum": groups },
                { "type": "string", "pattern": "^(\\[|[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63})$" },
                { "type": "string", "pattern": "^[.]/[^/]" },
            ],
        },
        "host": {
            "description": "One name, or `*.` before at least two labels.",
            "type": "string",
            "maxLength": 255,
            "pattern": format!("^([*][.]{name}[.])?{name}([.]{name})*$"),
        },
        "closed_names": request::closed_names(),
        "closed_host": request::closed_host(),
        "closed_requests": request::denied(),
        "port": { "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65_535 },
            { "type": "string", "pattern": "^[0-9]{1,5}$" },
        ] },
        "rule": { "anyOf": [
            { "type": "string", "pattern": "^[^:/]+(:[0-9]{1,5})?$" },
            { "$ref": "#/$defs/port" },
            { "$ref": "#/$defs/long" },
            { "$ref": "#/$defs/of_registry" },
        ] },
        "socket": { "type": "string", "pattern": "^.+:[0-9]{1,5}$" },
        "size": {
            "description": "A number and its unit: `512MiB`, `2GiB`, `100MB`.",
            "type": "string",
            "pattern": one_of(units::sizes()),
        },
        "time": {
            "description": "A number and its unit: `30m`, `10s`, `1h`, `2d`.",
            "type": "string",
            "pattern": one_of(units::times()),
        },
    })
}

/// Returns the pattern of a number with one of these units.
fn one_of(units: impl Iterator<Item = &'static str>) -> String {
    let units: Vec<&str> = units.collect();
    format!("^[0-9]+({})$", units.join("|"))
}

#[cfg(test)]
mod tests;
