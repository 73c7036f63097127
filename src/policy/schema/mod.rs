//! The policy language as a JSON Schema (2020-12), for editors.
//!
//! One table below lists every section and field. A test asks the reader of policies which keys it
//! knows at every place and compares: neither can have a key that the other lacks. The schema
//! holds shapes; what needs more than one value to decide (an unknown role, a port that does not
//! say what is spoken there) only `loki policy check` says.

use serde_json::{Map, Value, json};

use super::programs;

/// What a value looks like.
#[derive(Clone, Copy)]
enum Shape {
    Line,
    Image,
    Tier,
    Globs,
    Programs,
    Rules,
    Count(u64, u64),
    Processors,
    Size,
    Time,
}

/// A field of an entry: its key, what it says, and what it looks like.
type Field = (&'static str, &'static str, Shape);

/// Every section whose keys are roles.
const SECTIONS: &[(&str, &str, &[Field])] = &[
    (
        "agents",
        "Which roles there are, and what they work with.",
        &[
            (
                "description",
                "One line on what the role is for.",
                Shape::Line,
            ),
            (
                "image",
                "The Loki image its sandboxes start from (default `base`).",
                Shape::Image,
            ),
            ("tier", "Which kind of model its work needs.", Shape::Tier),
        ],
    ),
    (
        "permissions",
        "Files and programs. What is not listed is denied.",
        &[
            (
                "read",
                "Files of the worktree that it may read.",
                Shape::Globs,
            ),
            (
                "write",
                "Files of the worktree that it may create, change and remove.",
                Shape::Globs,
            ),
            ("execute", "Programs that may run.", Shape::Programs),
        ],
    ),
    (
        "network_policies",
        "Where a role may connect to. No rule, no network.",
        &[(
            "egress",
            "Hosts and ports, or one host followed by one bare port.",
            Shape::Rules,
        )],
    ),
    (
        "resources",
        "Caps of one sandbox.",
        &[
            ("cpus", "Processors (default 2).", Shape::Processors),
            (
                "memory",
                "Memory; no swap is added (default 2GiB).",
                Shape::Size,
            ),
            (
                "pids",
                "Processes and threads (default 256).",
                Shape::Count(4, 4_194_304),
            ),
            (
                "disk",
                "Bytes in one file and in /tmp (default 4GiB).",
                Shape::Size,
            ),
            (
                "timeout",
                "Wall clock of one attempt (default 30m).",
                Shape::Time,
            ),
            (
                "idle_timeout",
                "Silence of an agent (default 10m).",
                Shape::Time,
            ),
            ("log", "Output kept (default 32MiB).", Shape::Size),
        ],
    ),
];

/// Returns the schema.
#[must_use]
pub fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "version".to_owned(),
        json!({ "description": "The version of the language.", "enum": [1, "1"] }),
    );
    for (section, about, fields) in SECTIONS {
        properties.insert((*section).to_owned(), by_role(about, fields));
    }
    properties.insert("hosts".to_owned(), hosts());
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

/// Returns a section: entries under `default`, `eng-*` or `eng-backend`.
fn by_role(about: &str, fields: &[Field]) -> Value {
    let shapes = fields.iter().map(|(key, about, shape)| {
        let mut value = shape.value();
        value["description"] = Value::from(*about);
        ((*key).to_owned(), value)
    });
    json!({
        "description": about,
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/key" },
        "additionalProperties": {
            "type": "object",
            "properties": Map::from_iter(shapes),
            "additionalProperties": false,
        },
    })
}

fn hosts() -> Value {
    json!({
        "description": "Names pinned to an address and a port. Not in shipped files.",
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/host" },
        "additionalProperties": { "type": "string", "pattern": "^.+:[0-9]{1,5}$" },
    })
}

impl Shape {
    fn value(self) -> Value {
        match self {
            Self::Line => {
                json!({ "type": "string", "maxLength": 300, "pattern": "^[^\\u0000-\\u001f\\u007f]*$" })
            }
            Self::Image => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,39}$" }),
            Self::Tier => json!({ "enum": ["planning", "development", "fast"] }),
            Self::Globs => list("glob"),
            Self::Programs => list("program"),
            Self::Rules => list("rule"),
            Self::Count(least, most) => json!({ "anyOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string", "pattern": "^[0-9]+$" },
            ] }),
            Self::Processors => json!({ "anyOf": [
                { "type": "number", "minimum": 0.01, "maximum": 1024 },
                { "type": "string", "pattern": "^[0-9]*[.]?[0-9]+$" },
            ] }),
            Self::Size => json!({ "$ref": "#/$defs/size" }),
            Self::Time => json!({ "$ref": "#/$defs/time" }),
        }
    }
}

fn list(of: &str) -> Value {
    let items = format!("#/$defs/{of}");
    json!({ "type": "array", "maxItems": 1000, "items": { "$ref": items } })
}

fn definitions() -> Value {
    let groups: Vec<&str> = programs::names().collect();
    let name = "[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?";
    json!({
        "key": {
            "description": "`default`, a swarm such as `eng-*`, or a role.",
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?(-[*])?$",
        },
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
        "port": { "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 65_535 },
            { "type": "string", "pattern": "^[0-9]{1,5}$" },
        ] },
        "rule": { "anyOf": [
            { "type": "string", "pattern": "^[^:]+(:[0-9]{1,5})?$" },
            { "$ref": "#/$defs/port" },
            { "$ref": "#/$defs/long" },
        ] },
        "long": rule(),
        "size": {
            "description": "A number and its unit: `512MiB`, `2GiB`, `100MB`.",
            "type": "string",
            "pattern": "^[0-9]+([KMGT]i?)?B$",
        },
        "time": {
            "description": "A number and its unit: `30m`, `10s`, `1h`, `2d`.",
            "type": "string",
            "pattern": "^[0-9]+[smhd]$",
        },
    })
}

fn rule() -> Value {
    json!({
        "type": "object",
        "required": ["host"],
        "oneOf": [{ "required": ["port"] }, { "required": ["ports"] }],
        "properties": {
            "host": { "$ref": "#/$defs/host" },
            "port": { "$ref": "#/$defs/port" },
            "ports": { "type": "array", "items": { "$ref": "#/$defs/port" } },
            "protocol": {
                "description": "What is spoken: tls on 443, http on 80 and tcp on 22 unless said.",
                "enum": ["tls", "http", "tcp"],
            },
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests;
