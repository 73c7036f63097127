//! Reads rules for package registries: `registry: npm`, with what is vetted.
//!
//! Which hosts a registry is, no policy says: this machine's own package tools do, and their answer
//! comes in as [`Facts`](crate::policy::Facts). So a policy works behind an internal mirror as it
//! stands.

use std::time::Duration;

use super::{Credential, PathPattern, RegistryKind, RegistryRule, RequestRule, credential, read};
use crate::{
    name::HostName,
    policy::{
        EgressRule, HostPattern, Layer, Protocol,
        fields::{items, map, scalar, unknown},
        sheet::{Mark, Sheet},
        units,
        yaml::Node,
    },
};

/// One place from which packages of a kind come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RegistryHost {
    /// The name.
    pub host: HostName,
    /// The port.
    pub port: u16,
    /// What is spoken there: TLS or plain HTTP.
    pub protocol: Protocol,
    /// What every path there begins with, without its last slash; empty for none.
    pub prefix: String,
}

const KINDS: [(&str, RegistryKind); 4] = [
    ("npm", RegistryKind::Npm),
    ("pypi", RegistryKind::Pypi),
    ("crates", RegistryKind::Crates),
    ("debian", RegistryKind::Debian),
];

/// The keys of a rule for a registry.
pub(in crate::policy) const KEYS: [&str; 7] = [
    "registry",
    "min_age",
    "allow",
    "deny",
    "advisories",
    "accept",
    "credential",
];

/// What a rule says, as far as it is read.
#[derive(Default)]
struct Draft {
    kind: Option<(RegistryKind, Mark)>,
    credential: Option<(Credential, Mark)>,
    min_age: Option<(Duration, Mark)>,
    allow: Vec<String>,
    deny: Vec<String>,
    advisories: Option<bool>,
    accept: Vec<String>,
}

impl RegistryKind {
    /// Returns its name in a policy.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = KINDS.iter().find(|(_, kind)| *kind == self);
        named.map_or("registry", |(name, _)| name)
    }
}

/// Returns the rules that `{ registry: npm, … }` stands for: one for each host of the registry.
pub(in crate::policy) fn rules(sheet: &mut Sheet<'_>, item: &Node) -> Vec<EgressRule> {
    let draft = Draft::read(sheet, item);
    let Some((kind, at)) = draft.kind else {
        return Vec::new();
    };
    if let (RegistryKind::Debian, Some((_, at))) = (kind, draft.min_age) {
        let message = "a registry of `debian` does not say when a version came out";
        let help = "drop `min_age`: `advisories`, `allow` and `deny` are held there".to_owned();
        sheet.fault(at, message, Some(help));
    }
    let hosts = sheet.facts().registries.get(&kind);
    let Some(hosts) = hosts.filter(|hosts| !hosts.is_empty()) else {
        // What is shipped names registries that this machine is only asked for when it must be.
        if sheet.source().layer != Layer::BuiltIn {
            nowhere(sheet, kind, at);
        }
        return Vec::new();
    };
    let hosts = hosts.clone();
    let rule = RegistryRule {
        kind,
        min_age: draft.min_age.map(|(age, _)| age),
        allow: draft.allow,
        deny: draft.deny,
        advisories: draft.advisories,
        accept: draft.accept,
        hosts: hosts.clone(),
    };
    let origin = sheet.origin(item.at);
    let mut rules = Vec::new();
    for host in &hosts {
        if let (Protocol::Http, Some((_, at))) = (host.protocol, &draft.credential) {
            let message = format!("a credential would be sent in the clear to `{}`", host.host);
            sheet.fault(*at, message, Some("drop `credential`".to_owned()));
        }
        let credential = draft.credential.as_ref().map(|(one, _)| one.clone());
        rules.push(EgressRule {
            host: HostPattern::Exact(host.host.clone()),
            port: host.port,
            protocol: host.protocol,
            request: Some(Box::new(part(host, &rule, credential))),
            origin: origin.clone(),
        });
    }
    rules
}

impl Draft {
    fn read(sheet: &mut Sheet<'_>, item: &Node) -> Self {
        let mut draft = Self::default();
        for (key, at, value) in map(sheet, item, "a rule") {
            match key {
                "registry" => draft.kind = kind(sheet, value).map(|kind| (kind, value.at)),
                "min_age" => draft.min_age = age(sheet, value).map(|age| (age, at)),
                "allow" => {
                    draft.allow = packages(sheet, value);
                    read::not_empty(sheet, value, ("allow", draft.allow.len()));
                }
                "deny" => draft.deny = packages(sheet, value),
                "advisories" => draft.advisories = read::flag(sheet, value),
                "accept" => {
                    draft.accept = ids(sheet, value);
                    read::not_empty(sheet, value, ("accept", draft.accept.len()));
                }
                "credential" => {
                    draft.credential = credential::read(sheet, value).map(|one| (one, at));
                }
                _ => unknown(sheet, (key, at), &KEYS),
            }
        }
        draft
    }
}

/// Returns what may be asked of one host: packages are fetched, nothing is published.
fn part(host: &RegistryHost, rule: &RegistryRule, credential: Option<Credential>) -> RequestRule {
    // A scoped package of npm is asked for as `@scope%2fname`: the one escape that is meant.
    let scoped: &[&str] = match rule.kind {
        RegistryKind::Npm => &["/@*%2F*", "/@*%2F*/**"],
        _ => &[],
    };
    let below = std::iter::once(&"/**").chain(scoped);
    let paths =
        below.filter_map(|path| format!("{}{path}", host.prefix).parse::<PathPattern>().ok());
    RequestRule {
        methods: vec!["GET".to_owned(), "HEAD".to_owned()],
        paths: paths.collect(),
        credential,
        registry: Some(rule.clone()),
        ..RequestRule::default()
    }
}

fn nowhere(sheet: &mut Sheet<'_>, kind: RegistryKind, at: Mark) {
    let tool = match kind {
        RegistryKind::Npm => "npm",
        RegistryKind::Pypi => "pip",
        RegistryKind::Crates => "cargo",
        RegistryKind::Debian => "apt",
    };
    let message = format!("this machine does not say which hosts `{}` is", kind.name());
    let help =
        format!("install `{tool}` here or configure it, or name the host in a rule of its own");
    sheet.fault(at, message, Some(help));
}

fn kind(sheet: &mut Sheet<'_>, node: &Node) -> Option<RegistryKind> {
    scalar(
        sheet,
        node,
        "a registry: npm, pypi, crates or debian",
        |text| {
            let named = KINDS.iter().find(|(name, _)| *name == text);
            named.map(|(_, kind)| *kind)
        },
    )
}

fn age(sheet: &mut Sheet<'_>, node: &Node) -> Option<Duration> {
    let year = Duration::from_secs(366 * 86_400);
    let age = |text: &str| units::duration(text).filter(|age| *age <= year);
    scalar(
        sheet,
        node,
        "an age of at most a year with its unit, such as `3d`",
        age,
    )
}

/// Reads ids of advisories.
fn ids(sheet: &mut Sheet<'_>, node: &Node) -> Vec<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    let id = |text: &str| {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(letter);
        fits.then(|| text.to_owned())
    };
    let mut ids = Vec::new();
    for item in items(sheet, node, "[CVE-2024-12345]") {
        let wanted = "the id of an advisory, such as `CVE-2024-12345`";
        ids.extend(scalar(sheet, item, wanted, id));
    }
    ids
}

/// Reads names of packages, each alone or with one version: `left-pad`, `left-pad@1.3.0`,
/// `@scope/*`.
fn packages(sheet: &mut Sheet<'_>, node: &Node) -> Vec<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"@/._+-*".contains(&b);
    let name = |text: &str| {
        let fits = (1..=214).contains(&text.len()) && text.bytes().all(letter);
        fits.then(|| text.to_owned())
    };
    let mut names = Vec::new();
    for item in items(sheet, node, "[\"left-pad\"]") {
        names.extend(scalar(
            sheet,
            item,
            "the name of a package, such as `left-pad` or \"@scope/*\"",
            name,
        ));
    }
    names
}
