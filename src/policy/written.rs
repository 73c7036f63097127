//! Rights written back as the lists of a policy file, so that what is shown, advised or suggested
//! can be put into one as it stands.
//!
//! Programs come out under the name of their group wherever a role has all of a group.

use std::{collections::BTreeSet, fmt};

use super::{EgressRule, Glob, Program, Protocol, Tier, egress, programs, request};

/// One item of an `execute` list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Runs {
    /// The item as a policy file has it: `git`, `@shell`, `./target/**`.
    pub item: String,
    /// The programs of a group; empty for a program and for a glob.
    pub members: Vec<String>,
}

/// Returns the `execute` list that says what `programs` says, groups first, then single programs
/// in the order they were written, then those of the worktree.
#[must_use]
pub fn runs(programs: &[Program]) -> Vec<Runs> {
    let image = || {
        programs.iter().filter_map(|program| match program {
            Program::Image(name) => Some(name.as_str()),
            Program::Worktree(_) => None,
        })
    };
    let there: BTreeSet<&str> = image().collect();
    let mut covered: BTreeSet<&str> = BTreeSet::new();
    let mut list = Vec::new();
    for (group, members) in programs::groups() {
        if members.iter().all(|name| there.contains(name)) {
            covered.extend(&members);
            list.push(Runs {
                item: group.to_owned(),
                members: members.iter().map(|&name| name.to_owned()).collect(),
            });
        }
    }
    let single = image().filter(|name| !covered.contains(name));
    let single = single.map(str::to_owned);
    let built = programs.iter().filter_map(|program| match program {
        Program::Worktree(glob) => Some(format!("./{}", glob.text)),
        Program::Image(_) => None,
    });
    list.extend(single.chain(built).map(|item| Runs {
        item,
        members: Vec::new(),
    }));
    list
}

/// Returns a list of texts as YAML: `["a", "b"]`.
#[must_use]
pub fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| quoted(&item)).collect();
    format!("[{}]", quoted.join(", "))
}

/// Returns the texts of globs.
pub fn globs(globs: &[Glob]) -> impl Iterator<Item = &str> {
    globs.iter().map(|glob| glob.text.as_str())
}

/// Returns a glob and what denials take out of it: `src/** except src/keys/**`.
#[must_use]
pub fn glob(glob: &Glob) -> String {
    let except: Vec<&str> = globs(&glob.except).collect();
    if except.is_empty() {
        return glob.text.clone();
    }
    format!("{} except {}", glob.text, except.join(" "))
}

/// Returns an egress rule as an item of an `egress` list. A registry's rule stands for all hosts of
/// the registry.
#[must_use]
pub fn rule(rule: &EgressRule) -> String {
    let EgressRule {
        host,
        port,
        protocol,
        request,
        ..
    } = rule;
    let is_usual = egress::usual(*port) == Some(*protocol);
    let Some(request) = request else {
        return if is_usual {
            quoted(&format!("{host}:{port}"))
        } else {
            format!("{{ host: \"{host}\", port: {port}, protocol: {protocol} }}")
        };
    };
    let mut keys = Vec::new();
    if request.registry.is_none() {
        keys.push(format!("host: \"{host}\""));
        keys.push(format!("port: {port}"));
        keys.extend((!is_usual).then(|| format!("protocol: {protocol}")));
    }
    keys.extend(request::shown::keys(request));
    format!("{{ {} }}", keys.join(", "))
}

/// Returns an egress rule in one line for people: `api.example.com:443 tls, GET /v1/**`.
#[must_use]
pub fn connects(rule: &EgressRule) -> String {
    let EgressRule {
        host,
        port,
        protocol,
        ..
    } = rule;
    match &rule.request {
        None => format!("{host}:{port} {protocol}"),
        Some(request) => format!("{host}:{port} {protocol}, {request}"),
    }
}

/// Returns egress rules as the items of an `egress` list.
#[must_use]
pub fn rules(rules: &[EgressRule]) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for item in rules.iter().map(rule) {
        // The hosts of a registry are one item.
        if items.last() != Some(&item) {
            items.push(item);
        }
    }
    items
}

/// Returns a text between double quotes, as YAML and JSON both read it.
#[must_use]
pub fn quoted(text: &impl AsRef<str>) -> String {
    serde_json::Value::from(text.as_ref()).to_string()
}

/// Returns a tier's name.
#[must_use]
pub fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Planning => "planning",
        Tier::Development => "development",
        Tier::Fast => "fast",
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Tcp => "tcp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Origin;

    fn image(names: &[&str]) -> Vec<Program> {
        let program = |name: &&str| Program::Image((*name).to_owned());
        names.iter().map(program).collect()
    }

    #[test]
    fn programs_come_out_under_the_group_they_make_whole() {
        let mut programs = image(&programs::group("@go").unwrap().collect::<Vec<_>>());
        programs.extend(image(&["git", "sh"]));
        programs.push(Program::Worktree(
            Glob::parse("bin/**", Origin::default()).unwrap(),
        ));
        let items: Vec<String> = runs(&programs).into_iter().map(|runs| runs.item).collect();
        assert_eq!(items, ["@go", "git", "sh", "./bin/**"]);
        let items = runs(&image(&["go", "gofmt"]));
        assert_eq!(items.len(), 2, "half a group is no group: {items:?}");
    }

    #[test]
    fn texts_are_quoted_so_that_yaml_reads_them_back() {
        assert_eq!(list(["**", "a\"b"]), "[\"**\", \"a\\\"b\"]");
        assert_eq!(list(Vec::<String>::new()), "[]");
    }
}
