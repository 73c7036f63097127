//! Reads the keys of an egress rule that say what may be asked.

use std::time::Duration;

use super::{GitRule, PathPattern, Push, RequestRule, credential};
use crate::policy::{
    HostPattern, Protocol,
    fields::{items, map, scalar, text, unknown},
    sheet::{Mark, Sheet},
    units,
    yaml::{Node, Value},
};

/// The keys that make a rule one on requests.
pub(in crate::policy) const KEYS: [&str; 8] = [
    "methods",
    "paths",
    "credential",
    "websocket",
    "max_request_bytes",
    "first_byte_timeout",
    "cache",
    "git",
];

/// The longest that an answer may be given again.
const LONGEST_CACHE: Duration = Duration::from_secs(365 * 86_400);

/// The longest that a server may take until its answer begins.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a rule says of requests, as far as it is read.
#[derive(Debug, Default)]
pub(in crate::policy) struct Draft {
    rule: RequestRule,
    said: Vec<(&'static str, Mark)>,
}

impl Draft {
    /// Reads the value of `key`, which is one of [`KEYS`].
    pub(in crate::policy) fn read(
        &mut self,
        sheet: &mut Sheet<'_>,
        (key, at): (&'static str, Mark),
        value: &Node,
    ) {
        self.said.push((key, at));
        let rule = &mut self.rule;
        match key {
            "methods" => rule.methods = methods(sheet, value),
            "paths" => rule.paths = paths(sheet, value),
            "credential" => rule.credential = credential::read(sheet, value),
            "websocket" => rule.websocket = flag(sheet, value).unwrap_or_default(),
            "max_request_bytes" => rule.max_request_bytes = bytes(sheet, value),
            "first_byte_timeout" => rule.first_byte_timeout = first_byte(sheet, value),
            "cache" => rule.cache = cache(sheet, value),
            _ => rule.git = git(sheet, value),
        }
    }

    /// Returns the part on requests of a rule for `host`, on ports where these are spoken; none
    /// when nothing was said.
    pub(in crate::policy) fn finish(
        self,
        sheet: &mut Sheet<'_>,
        host: &HostPattern,
        spoken: impl Iterator<Item = (u16, Protocol)>,
    ) -> Option<Box<RequestRule>> {
        let (first, at) = *self.said.first()?;
        for (port, protocol) in spoken {
            if protocol == Protocol::Tcp {
                let message = format!("`{first}` asks for requests, and port {port} speaks tcp");
                let help = "no request is seen there: say `protocol: tls` or `http`, or drop it";
                sheet.fault(at, message, Some(help.to_owned()));
            } else if let (Protocol::Http, Some(at)) = (protocol, self.at("credential")) {
                let message = format!("a credential would be sent in the clear on port {port}");
                let help = "credentials go over TLS alone: use port 443, or `protocol: tls`";
                sheet.fault(at, message, Some(help.to_owned()));
            } else if let (Protocol::Http, Some(at)) = (protocol, self.at("first_byte_timeout")) {
                let message = format!("answers on port {port} are not timed, for it speaks http");
                let help = "only requests over TLS are: use port 443, or `protocol: tls`";
                sheet.fault(at, message, Some(help.to_owned()));
            } else if let (Protocol::Http, Some(at)) = (protocol, self.at("cache")) {
                let message = format!("answers on port {port} come without TLS and are not kept");
                sheet.note(at, message, None);
            }
        }
        self.one_host(sheet, host);
        self.git_alone(sheet);
        let get = |method: &String| method == "GET";
        if let Some(at) = self.at("cache")
            && !self.rule.methods.is_empty()
            && !self.rule.methods.iter().any(get)
        {
            let help = "add GET to `methods`, or drop `cache`".to_owned();
            sheet.fault(
                at,
                "only answers to GET are kept, and `methods` lacks it",
                Some(help),
            );
        }
        Some(Box::new(self.rule))
    }

    fn at(&self, key: &str) -> Option<Mark> {
        let said = self.said.iter().find(|(said, _)| *said == key);
        said.map(|(_, at)| *at)
    }

    /// A credential belongs to one name, and so does a repository.
    fn one_host(&self, sheet: &mut Sheet<'_>, host: &HostPattern) {
        if matches!(host, HostPattern::Exact(_)) {
            return;
        }
        for key in ["credential", "git"] {
            if let Some(at) = self.at(key) {
                let message = format!("`{key}` stands at `{host}`, which is many hosts");
                let help = "write one rule for each host that it is meant for".to_owned();
                sheet.fault(at, message, Some(help));
            }
        }
    }

    /// Git's requests are known: what else narrows them would only break it.
    fn git_alone(&self, sheet: &mut Sheet<'_>) {
        if self.at("git").is_none() {
            return;
        }
        for key in ["methods", "paths", "websocket", "cache"] {
            if let Some(at) = self.at(key) {
                let message = format!("`git` and `{key}` stand in one rule");
                let help = format!("`git` says which requests there are: drop `{key}`");
                sheet.fault(at, message, Some(help));
            }
        }
    }
}

/// A list that is empty would read as nothing and mean anything.
pub(super) fn not_empty(sheet: &mut Sheet<'_>, node: &Node, (key, read): (&str, usize)) {
    if read == 0 && matches!(&node.value, Value::List(items) if items.is_empty()) {
        let help = format!("leave `{key}` out to allow any, or drop the rule to allow none");
        sheet.fault(node.at, format!("`{key}` is empty"), Some(help));
    }
}

pub(super) fn methods(sheet: &mut Sheet<'_>, node: &Node) -> Vec<String> {
    let mut methods: Vec<String> = Vec::new();
    for item in items(sheet, node, "[GET, POST]") {
        let Some(given) = text(sheet, item, "a method such as GET") else {
            continue;
        };
        let fault = match given {
            "CONNECT" | "TRACE" => Some(("is never passed on", "drop it")),
            _ if !given.is_empty()
                && given.len() <= 32
                && given.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') =>
            {
                None
            }
            _ => Some((
                "is not a method",
                "methods are upper case, such as GET and POST",
            )),
        };
        match fault {
            Some((why, help)) => {
                let message = format!("`{}` {why}", given.escape_debug());
                sheet.fault(item.at, message, Some(help.to_owned()));
            }
            None if methods.iter().any(|method| method == given) => {}
            None => methods.push(given.to_owned()),
        }
    }
    not_empty(sheet, node, ("methods", methods.len()));
    methods
}

pub(super) fn paths(sheet: &mut Sheet<'_>, node: &Node) -> Vec<PathPattern> {
    let mut paths = Vec::new();
    for item in items(sheet, node, "[\"/v1/messages\"]") {
        let Some(given) = text(sheet, item, "a path such as \"/v1/**\"") else {
            continue;
        };
        match given.parse::<PathPattern>() {
            Ok(path) => paths.push(path),
            Err(error) => {
                let help = "write it as a server reads it: `/v1/messages`, `/v1/*/items`, `/v1/**`";
                let message = format!("`{}`: {error}", given.escape_debug());
                sheet.fault(item.at, message, Some(help.to_owned()));
            }
        }
    }
    not_empty(sheet, node, ("paths", paths.len()));
    paths
}

pub(super) fn flag(sheet: &mut Sheet<'_>, node: &Node) -> Option<bool> {
    scalar(sheet, node, "true or false", |text| text.parse().ok())
}

fn bytes(sheet: &mut Sheet<'_>, node: &Node) -> Option<u64> {
    let size = |text: &str| units::size(text).filter(|size| *size > 0);
    scalar(sheet, node, "a size with its unit, such as `10MiB`", size)
}

fn first_byte(sheet: &mut Sheet<'_>, node: &Node) -> Option<Duration> {
    let wanted = "a duration from 1s to 1h with its unit, such as `60s`";
    time(sheet, node, (LONGEST_WAIT, wanted))
}

fn cache(sheet: &mut Sheet<'_>, node: &Node) -> Option<Duration> {
    let wanted = "a duration from 1s to 365d with its unit, such as `24h`";
    time(sheet, node, (LONGEST_CACHE, wanted))
}

fn time(
    sheet: &mut Sheet<'_>,
    node: &Node,
    (longest, wanted): (Duration, &str),
) -> Option<Duration> {
    let fits = |time: &Duration| !time.is_zero() && *time <= longest;
    scalar(sheet, node, wanted, |text| {
        units::duration(text).filter(fits)
    })
}

fn git(sheet: &mut Sheet<'_>, node: &Node) -> Option<GitRule> {
    let (mut repo, mut push) = (None, Push::Never);
    let clean = sheet.faults();
    for (key, at, value) in map(sheet, node, "`git`") {
        match key {
            "repo" => repo = self::repo(sheet, value),
            "push" => push = self::push(sheet, value),
            _ => unknown(sheet, (key, at), &["repo", "push"]),
        }
    }
    if repo.is_none() && sheet.faults() == clean {
        let help = "write git: { repo: owner/name, push: false }".to_owned();
        sheet.fault(node.at, "`git` names no repository", Some(help));
    }
    Some(GitRule { repo: repo?, push })
}

fn repo(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let part =
        |part: &str| !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(letter);
    let name = |text: &str| {
        let parts = text.split('/').count();
        let fits = (2..=8).contains(&parts) && text.split('/').all(part) && !text.ends_with(".git");
        fits.then(|| text.to_owned())
    };
    scalar(
        sheet,
        node,
        "a repository such as `owner/name`, without `.git`",
        name,
    )
}

fn push(sheet: &mut Sheet<'_>, node: &Node) -> Push {
    match &node.value {
        Value::Text(text) if text == "false" => return Push::Never,
        Value::Text(text) => {
            let message = format!("`{}` does not say which branches", text.escape_debug());
            let help = "write push: [\"loki/*\"], or push: false".to_owned();
            sheet.fault(node.at, message, Some(help));
            return Push::Never;
        }
        _ => {}
    }
    let branch = |text: &str| super::push::is_branch(text).then(|| text.to_owned());
    let read = |sheet: &mut Sheet<'_>, item: &Node| {
        scalar(
            sheet,
            item,
            "the name of a branch, such as `main` or \"loki/*\"",
            branch,
        )
    };
    let list = items(sheet, node, "[\"loki/*\"]");
    let branches: Vec<String> = list.iter().filter_map(|item| read(sheet, item)).collect();
    not_empty(sheet, node, ("push", branches.len()));
    Push::Branches(branches)
}
