//! Requests that a `deny` entry closes on hosts that are otherwise open.
//!
//! What a denial cannot look at it closes: a path that could be read in two ways counts as denied,
//! and so does everything on a connection that carries no requests.

use super::{PathPattern, Request, UrlPath, read};
use crate::policy::{
    DeniedHost, DeniedNames, HostError,
    fields::{map, text, unknown},
    sheet::Sheet,
    yaml::{Node, Value},
};

/// Which requests a denial closes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeniedRequests {
    /// Methods in upper case; empty is every one.
    pub methods: Vec<String>,
    /// Which paths; empty is every one.
    pub paths: Vec<PathPattern>,
}

impl DeniedRequests {
    /// Returns whether a request of this path is closed.
    pub(super) fn covers(&self, request: &Request, path: &UrlPath) -> bool {
        // Some servers read a method in any case.
        let method = |denied: &String| denied.eq_ignore_ascii_case(request.method());
        let paths = &self.paths;
        let is_at = |pattern: &PathPattern| pattern.matches(path);
        (self.methods.is_empty() || self.methods.iter().any(method))
            && (paths.is_empty() || path.ambiguity().is_some() || paths.iter().any(is_at))
    }
}

impl std::fmt::Display for DeniedRequests {
    /// Says it in one line: `DELETE PUT /admin/**`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let paths = self.paths.iter().map(PathPattern::as_str);
        let parts: Vec<&str> = self
            .methods
            .iter()
            .map(String::as_str)
            .chain(paths)
            .collect();
        f.write_str(&parts.join(" "))
    }
}

const KEYS: [&str; 4] = ["host", "port", "methods", "paths"];

/// Reads `{ host: api.example.com, port: 443, methods: [DELETE], paths: ["/admin/**"] }`.
pub(in crate::policy) fn entry(sheet: &mut Sheet<'_>, node: &Node) -> Option<DeniedHost> {
    let before = sheet.faults();
    let (mut names, mut port, mut named) = (None, None, false);
    let (mut methods, mut paths) = (None, None);
    for (key, at, value) in map(sheet, node, "a denial") {
        match key {
            "host" => (names, named) = (self::names(sheet, value), true),
            "port" => port = Some(self::port(sheet, value)),
            "methods" => methods = some(sheet, value, key).then(|| read::methods(sheet, value)),
            "paths" => paths = some(sheet, value, key).then(|| read::paths(sheet, value)),
            _ => unknown(sheet, (key, at), &KEYS),
        }
    }
    if !named && sheet.faults() == before {
        let help = "add `host: api.example.com`, or `host: \"*\"` for every one".to_owned();
        sheet.fault(node.at, "the denial names no host", Some(help));
    }
    if sheet.faults() == before && methods.is_none() && paths.is_none() {
        let help = "add `methods` or `paths`; to close a host altogether write \"api.example.com\"";
        let message = "the denial says neither methods nor paths";
        sheet.fault(node.at, message, Some(help.to_owned()));
    }
    // Half a denial would close something else than was meant: the fault stops the start.
    (sheet.faults() == before).then_some(())?;
    Some(DeniedHost {
        names: names?,
        port: port.flatten(),
        request: Some(DeniedRequests {
            methods: methods.unwrap_or_default(),
            paths: paths.unwrap_or_default(),
        }),
        origin: sheet.origin(node.at),
    })
}

fn names(sheet: &mut Sheet<'_>, node: &Node) -> Option<DeniedNames> {
    let given = text(sheet, node, "a host such as \"*.example.com\"")?;
    match given.parse() {
        Ok(names) => Some(names),
        Err(error) => {
            let error: HostError = error;
            let help = "a denial names a host, `*.example.com` for all below one, or `*`";
            sheet.fault(node.at, error.to_string(), Some(help.to_owned()));
            None
        }
    }
}

fn port(sheet: &mut Sheet<'_>, node: &Node) -> Option<u16> {
    let given = text(sheet, node, "a port number")?;
    let digits = given.bytes().all(|byte| byte.is_ascii_digit());
    let port = given.parse().ok().filter(|port| *port > 0 && digits);
    if port.is_none() {
        let message = format!("`{}` is not a port", given.escape_debug());
        sheet.fault(node.at, message, Some("ports are 1 to 65535".to_owned()));
    }
    port
}

/// A list that is empty could mean all or nothing.
fn some(sheet: &mut Sheet<'_>, node: &Node, key: &str) -> bool {
    let is_empty = matches!(&node.value, Value::List(items) if items.is_empty());
    if is_empty {
        let help = format!("leave `{key}` out to deny any, or drop the entry to deny none");
        sheet.fault(node.at, format!("`{key}` is empty"), Some(help));
    }
    !is_empty
}
