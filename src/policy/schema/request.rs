//! The shapes of rules on requests, registries and pinned names.

use serde_json::{Value, json};

use super::{LABEL, map};

/// A rule for a host, and what it says of requests.
pub(super) fn rule() -> Value {
    let port = || json!({ "$ref": "#/$defs/port" });
    let fields = [
        ("host", json!({ "$ref": "#/$defs/host" })),
        ("port", port()),
        ("ports", json!({ "type": "array", "items": port() })),
        ("protocol", json!({ "enum": ["tls", "http", "tcp"] })),
        ("methods", methods()),
        ("paths", paths()),
        ("credential", json!({ "$ref": "#/$defs/credential" })),
        ("websocket", flag()),
        ("max_request_bytes", json!({ "$ref": "#/$defs/size" })),
        ("first_byte_timeout", json!({ "$ref": "#/$defs/time" })),
        ("cache", json!({ "$ref": "#/$defs/time" })),
        ("git", json!({ "$ref": "#/$defs/git" })),
    ];
    let mut rule = map(fields.into_iter());
    rule["required"] = json!(["host"]);
    rule["oneOf"] = json!([{ "required": ["port"] }, { "required": ["ports"] }]);
    rule
}

/// Names that a denial closes.
pub(super) fn closed_names() -> Value {
    json!({
        "description": "`*` for all, `*.name` for all below a name, a name.",
        "type": "string",
        "pattern": format!("^([*]|([*][.])?{LABEL}([.]{LABEL})*)$"),
    })
}

/// A host that is closed, or requests to it.
pub(super) fn closed_host() -> Value {
    let host = json!({
        "description": "`*` for all, `*.name` for all below a name, a name; with `:port` only there.",
        "type": "string",
        "pattern": format!("^([*]|([*][.])?{LABEL}([.]{LABEL})*)(:[0-9]{{1,5}})?$"),
    });
    json!({ "anyOf": [host, { "$ref": "#/$defs/closed_requests" }] })
}

/// Requests that are closed on a host.
pub(super) fn denied() -> Value {
    let fields = [
        ("host", json!({ "$ref": "#/$defs/closed_names" })),
        ("port", json!({ "$ref": "#/$defs/port" })),
        ("methods", methods()),
        ("paths", paths()),
    ];
    let mut denied = map(fields.into_iter());
    denied["required"] = json!(["host"]);
    denied["anyOf"] = json!([{ "required": ["methods"] }, { "required": ["paths"] }]);
    denied
}

fn methods() -> Value {
    some(json!({ "type": "string", "pattern": "^[A-Z-]{1,32}$" }))
}

fn paths() -> Value {
    some(json!({ "type": "string", "pattern": "^/[^?# ]*$" }))
}

/// A rule for the hosts of a package registry.
pub(super) fn of_registry() -> Value {
    let package = || json!({ "type": "string", "pattern": "^[A-Za-z0-9@/._+*-]{1,214}$" });
    let fields = [
        (
            "registry",
            json!({ "enum": ["npm", "pypi", "crates", "debian"] }),
        ),
        ("min_age", json!({ "$ref": "#/$defs/time" })),
        ("allow", some(package())),
        (
            "deny",
            json!({ "type": "array", "maxItems": 1000, "items": package() }),
        ),
        ("advisories", flag()),
        (
            "accept",
            some(json!({ "type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$" })),
        ),
        ("credential", json!({ "$ref": "#/$defs/credential" })),
    ];
    let mut rule = map(fields.into_iter());
    rule["required"] = json!(["registry"]);
    rule
}

/// What the gateway adds to requests.
pub(super) fn credential() -> Value {
    let fields = [
        ("secret", json!({ "$ref": "#/$defs/secret" })),
        ("command", command()),
        ("name", json!({ "$ref": "#/$defs/secret" })),
        (
            "header",
            json!({ "type": "string", "pattern": "^[!#$%&'*+.^_`|~A-Za-z0-9-]{1,64}$" }),
        ),
        (
            "bearer",
            json!({ "type": ["boolean", "string"], "pattern": "^true$" }),
        ),
        (
            "basic",
            json!({ "type": "string", "pattern": "^[!-9;-~]{1,128}$" }),
        ),
    ];
    let mut credential = map(fields.into_iter());
    let forms = ["header", "bearer", "basic"];
    credential["oneOf"] = forms.map(|form| json!({ "required": [form] })).into();
    credential["anyOf"] = json!([
        { "required": ["secret"], "properties": { "command": false, "name": false } },
        { "required": ["command", "name"], "properties": { "secret": false } },
    ]);
    credential
}

/// A program of the host and its arguments.
fn command() -> Value {
    json!({
        "description": "A program of the host by its absolute path, and its arguments; no shell reads it.",
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "prefixItems": [{ "type": "string", "pattern": "^(/[^/\\x00-\\x1f]+)+$" }],
        "items": { "type": "string", "maxLength": 4096, "pattern": "^[^\\x00-\\x1f]*$" },
    })
}

/// The repository that git may use.
pub(super) fn git() -> Value {
    let push = json!({ "anyOf": [
        { "enum": [false, "false"] },
        some(json!({ "type": "string", "maxLength": 256 })),
    ] });
    let fields = [
        (
            "repo",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+$" }),
        ),
        ("push", push),
    ];
    let mut git = map(fields.into_iter());
    git["required"] = json!(["repo"]);
    git
}

/// A pinned name with the certificates of its server.
pub(super) fn pinned() -> Value {
    let fields = [
        ("to", json!({ "$ref": "#/$defs/socket" })),
        ("ca", json!({ "type": "string", "pattern": "^/" })),
    ];
    let mut pinned = map(fields.into_iter());
    pinned["required"] = json!(["to"]);
    pinned
}

fn flag() -> Value {
    json!({ "type": ["boolean", "string"], "pattern": "^(true|false)$" })
}

/// A list that is not empty.
fn some(items: Value) -> Value {
    json!({ "type": "array", "minItems": 1, "maxItems": 1000, "items": items })
}
