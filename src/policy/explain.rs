//! Why a role may or may not do one thing, by the same lists that the gate and the gateway ask.
//!
//! Knows rules, not kernels: what a sandbox's kernel does with a path is for who knows sandboxes.
//! It refuses to guess: a denied answer names the list to change, never a wider right than asked.

use serde::Serialize;

use super::{
    Egress, EgressRule, Glob, Globs, HostPattern, Origin, Program, Rights, Target, decide, egress,
    programs, written,
};
use crate::{diagnostic::closest, name::HostName};

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether the policy allows it.
    pub allowed: bool,
    /// The rule that decided; none when no rule covers what was asked.
    pub rule: Option<Cited>,
    /// One sentence without its full stop.
    pub reason: String,
    /// What was probably meant.
    pub near: Option<String>,
    /// What to write to be allowed exactly this.
    pub next: Option<Advice>,
}

/// A rule and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cited {
    /// The rule as written.
    pub text: String,
    /// Where; none for programs, whose items carry no place.
    pub origin: Option<Origin>,
}

/// A change of a policy that allows what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The file to add it to.
    pub file: String,
    /// What it must hold: a whole policy. Lists replace each other, so what the role has is in it.
    pub yaml: String,
}

impl Answer {
    fn allowed(rule: Cited, reason: impl Into<String>) -> Self {
        Self {
            allowed: true,
            rule: Some(rule),
            reason: reason.into(),
            near: None,
            next: None,
        }
    }

    fn denied(reason: impl Into<String>) -> Self {
        Self {
            allowed: false,
            rule: None,
            reason: reason.into(),
            near: None,
            next: None,
        }
    }
}

impl From<&Glob> for Cited {
    fn from(glob: &Glob) -> Self {
        Self {
            text: glob.text.clone(),
            origin: Some(glob.origin.clone()),
        }
    }
}

impl From<&EgressRule> for Cited {
    fn from(rule: &EgressRule) -> Self {
        Self {
            text: format!("{}:{} {}", rule.host, rule.port, rule.protocol),
            origin: Some(rule.origin.clone()),
        }
    }
}

/// Answers whether the role may create, change or remove `path`, relative to the worktree.
#[must_use]
pub fn write(rights: &Rights, path: &str) -> Answer {
    let globs = &rights.files.write;
    match globs.matches(path) {
        Some(glob) => Answer::allowed(glob.into(), format!("write glob `{}` covers it", glob.text)),
        None => uncovered(rights, ("write", globs), path),
    }
}

/// Answers whether the role may read `path`, relative to the worktree.
#[must_use]
pub fn read(rights: &Rights, path: &str) -> Answer {
    let (read, write) = (&rights.files.read, &rights.files.write);
    if let Some(glob) = read.matches(path) {
        return Answer::allowed(glob.into(), format!("read glob `{}` covers it", glob.text));
    }
    match write.matches(path) {
        Some(glob) => Answer::allowed(
            glob.into(),
            format!(
                "write glob `{}` covers it, and what may be written may be read",
                glob.text
            ),
        ),
        None => uncovered(rights, ("read", read), path),
    }
}

fn uncovered(rights: &Rights, (field, globs): (&'static str, &Globs), path: &str) -> Answer {
    let reason = if globs.0.is_empty() {
        format!("the role may {field} nothing in the worktree")
    } else {
        format!("no {field} glob covers it")
    };
    let glob = glob_for(path);
    let list = written::globs(&globs.0).map(str::to_owned);
    let next = glob.map(|glob| {
        let list = written::list(list.chain([glob]));
        let origin = globs.0.first().map(|glob| &glob.origin);
        advice(rights, ("permissions", field), &list, origin)
    });
    Answer {
        near: near_directory(&globs.0, path),
        next,
        ..Answer::denied(reason)
    }
}

/// Returns the narrowest glob worth writing down: the directory of a path, or a file of the root
/// itself. None when no policy may name it.
fn glob_for(path: &str) -> Option<String> {
    let glob = match path.rsplit_once('/') {
        Some((directory, _)) => format!("{directory}/**"),
        None => path.to_owned(),
    };
    let parsed = Glob::parse(&glob, Origin::default()).ok()?;
    let covers = Globs(vec![parsed]).matches(path).is_some();
    covers.then_some(glob)
}

/// Returns `path` under the glob's directory that it nearly names.
fn near_directory(globs: &[Glob], path: &str) -> Option<String> {
    globs.iter().find_map(|glob| {
        let directory = glob.directory();
        let depth = directory.split('/').count();
        let mut parts = path.splitn(depth + 1, '/');
        let head: Vec<&str> = parts.by_ref().take(depth).collect();
        let rest = parts.next()?;
        closest(&head.join("/"), [directory])
            .filter(|near| *near != head.join("/"))
            .map(|near| format!("{near}/{rest}"))
    })
}

/// Answers whether the role may run `program`: a bare name of the image, or a path of the worktree.
#[must_use]
pub fn execute(rights: &Rights, program: &str) -> Answer {
    let found = rights.programs.iter().find_map(|allowed| match allowed {
        Program::Image(name) => (name == program).then(|| named(rights, name)),
        Program::Worktree(glob) => {
            let globs = Globs(vec![glob.clone()]);
            globs.matches(program).map(|glob| Cited {
                text: format!("./{}", glob.text),
                origin: Some(glob.origin.clone()),
            })
        }
    });
    match found {
        Some(rule) => {
            let reason = format!("`execute` lists `{}`", rule.text);
            Answer::allowed(rule, reason)
        }
        None => not_listed(rights, program),
    }
}

/// Returns the item of the `execute` list that a program of the image came with.
fn named(rights: &Rights, name: &str) -> Cited {
    let item = written::runs(&rights.programs)
        .into_iter()
        .find(|runs| runs.item == name || runs.members.iter().any(|member| member == name));
    Cited {
        text: item.map_or_else(|| name.to_owned(), |runs| runs.item),
        origin: None,
    }
}

fn not_listed(rights: &Rights, program: &str) -> Answer {
    let bare = programs::is_bare(program);
    let group = programs::groups().find(|(_, members)| members.contains(&program));
    let reason = match group {
        Some((group, _)) => format!("`execute` lists neither `{program}` nor its group `{group}`"),
        None if bare => format!("`execute` does not list `{program}`"),
        None => "no `./…` glob of `execute` covers it".to_owned(),
    };
    let item = if bare {
        Some(program.to_owned())
    } else {
        glob_for(program).map(|glob| format!("./{glob}"))
    };
    let had = written::runs(&rights.programs).into_iter();
    let next = item.map(|item| {
        let list = written::list(had.map(|runs| runs.item).chain([item]));
        let origin = rights.programs.iter().find_map(|program| match program {
            Program::Worktree(glob) => Some(&glob.origin),
            Program::Image(_) => None,
        });
        advice(rights, ("permissions", "execute"), &list, origin)
    });
    let names = rights.programs.iter().filter_map(|program| match program {
        Program::Image(name) => Some(name.as_str()),
        Program::Worktree(_) => None,
    });
    Answer {
        near: closest(program, names)
            .filter(|_| bare && group.is_none())
            .map(str::to_owned),
        next,
        ..Answer::denied(reason)
    }
}

/// Answers whether the role may connect to `host` on `port`, as the gateway decides it.
#[must_use]
pub fn connect(rights: &Rights, host: &str, port: u16) -> Answer {
    let name = match host.parse::<HostName>() {
        Ok(name) => name,
        Err(error) => {
            let error = host.parse::<HostPattern>().map_or_else(
                |host| format!("{host}: {}", host.help),
                |_| format!("{error}: ask about one name"),
            );
            return Answer::denied(error);
        }
    };
    let target = Target { name, port };
    match decide(&rights.egress, &target) {
        Ok(permit) => {
            let rule = cited(&rights.egress, permit.rule());
            Answer::allowed(rule, permitted(&rights.egress, &permit))
        }
        Err(denied) => Answer {
            rule: denied.rule.map(|rule| cited(&rights.egress, &rule)),
            near: near_host(&rights.egress, &target),
            next: Some(open(rights, &target)),
            ..Answer::denied(denied.reason)
        },
    }
}

/// Returns the rule that a permit or a denial names.
fn cited(egress: &Egress, named: &str) -> Cited {
    let rule = egress.rules.iter().find(|rule| rule.to_string() == named);
    rule.map_or_else(
        || Cited {
            text: named.to_owned(),
            origin: None,
        },
        Cited::from,
    )
}

fn permitted(egress: &Egress, permit: &super::Permit) -> String {
    let name = &permit.target().name;
    let spoken = match permit.protocol() {
        super::Protocol::Tls => format!("TLS must be spoken, with the server name `{name}`"),
        super::Protocol::Http => format!("HTTP must be spoken, with the host `{name}`"),
        super::Protocol::Tcp => "any bytes may pass".to_owned(),
    };
    let pin = egress.hosts.iter().find(|entry| entry.name == *name);
    match pin {
        Some(pin) => format!(
            "{spoken}; the name is pinned to {} ({}:{})",
            pin.to, pin.origin.file, pin.origin.line
        ),
        None => format!("{spoken}; the name must lead to a public address"),
    }
}

fn near_host(egress: &Egress, target: &Target) -> Option<String> {
    let names: Vec<String> = egress
        .rules
        .iter()
        .map(|rule| rule.host.to_string())
        .collect();
    let near = closest(target.name.as_str(), names.iter().map(String::as_str))?;
    let rule = egress
        .rules
        .iter()
        .find(|rule| rule.host.to_string() == near)?;
    Some(format!("{near}:{}", rule.port))
}

/// Returns what opens exactly one target.
fn open(rights: &Rights, target: &Target) -> Advice {
    let Target { name, port } = target;
    let had = rights.egress.rules.iter().map(written::rule);
    let asked = match egress::usual(*port) {
        Some(_) => written::quoted(&format!("{name}:{port}")),
        None => format!("{{ host: {name}, port: {port}, protocol: tls }}"),
    };
    let list: Vec<String> = had.chain([asked]).collect();
    let list = format!("[{}]", list.join(", "));
    let origin = rights.egress.rules.first().map(|rule| &rule.origin);
    advice(rights, ("network_policies", "egress"), &list, origin)
}

/// Returns where to write a list, and the policy that holds it. A list that a person wrote is
/// changed where it stands: two files of one layer may not name one role.
fn advice(
    rights: &Rights,
    (section, field): (&str, &str),
    list: &str,
    had: Option<&Origin>,
) -> Advice {
    let role = &rights.role;
    let own = had.filter(|origin| !origin.file.starts_with("policies/"));
    Advice {
        file: own.map_or_else(
            || format!("~/.config/loki/policies/{role}.yaml"),
            |origin| origin.file.clone(),
        ),
        yaml: format!("version: 1\n{section}:\n  {role}:\n    {field}: {list}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer, Policy, Source};

    fn policy(extra: &[&str]) -> Policy {
        let mut sources = Policy::builtin_sources();
        for text in extra {
            sources.push(Source {
                layer: Layer::Given,
                file: "own.yaml".into(),
                text: (*text).to_owned(),
            });
        }
        Policy::check(&sources).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    fn rights(policy: &Policy) -> Rights {
        policy.rights(&"eng-frontend".parse().unwrap()).unwrap()
    }

    type Ask = fn(&Rights) -> Answer;

    #[test]
    fn following_the_advice_allows_exactly_what_was_asked() {
        let asks: [Ask; 7] = [
            |rights| write(rights, "src/backend/x"),
            |rights| write(rights, "package.json"),
            |rights| execute(rights, "cargo"),
            |rights| execute(rights, "src/backend/run"),
            |rights| connect(rights, "api.stripe.com", 443),
            |rights| connect(rights, "db.example.com", 5432),
            |rights| connect(rights, "example.com", 80),
        ];
        let before = rights(&policy(&[]));
        for (at, ask) in asks.into_iter().enumerate() {
            let answer = ask(&before);
            assert!(!answer.allowed, "{at}: {answer:?}");
            let advice = answer.next.expect("a denied answer says what to add");
            let after = rights(&policy(&[&advice.yaml]));
            assert!(ask(&after).allowed, "{at}:\n{}", advice.yaml);
            for (other, still) in asks.iter().enumerate().filter(|(other, _)| *other != at) {
                assert!(!still(&after).allowed, "{at} opened {other}");
            }
            for (had, has) in before.files.write.0.iter().zip(&after.files.write.0) {
                assert_eq!(had.text, has.text, "{at} lost a glob");
            }
            assert!(after.programs.len() >= before.programs.len(), "{at}");
        }
    }

    #[test]
    fn what_no_policy_may_give_is_not_advised() {
        let rights = rights(&policy(&[]));
        for path in [".git/config", "../x", "a//b", ".loki/x"] {
            let answer = write(&rights, path);
            assert!(
                !answer.allowed && answer.next.is_none(),
                "{path}: {answer:?}"
            );
        }
        for host in ["10.0.0.1", "[::1]", "*.example.com", "*", "a b"] {
            let answer = connect(&rights, host, 443);
            assert!(
                !answer.allowed && answer.next.is_none(),
                "{host}: {answer:?}"
            );
        }
    }

    #[test]
    fn what_was_probably_meant_is_named() {
        let open = "version: 1\nnetwork_policies: { eng-frontend: { egress: [\"api.stripe.com:443\"] } }\n";
        let rights = rights(&policy(&[open]));
        let near = |answer: Answer| answer.near.unwrap_or_default();
        assert_eq!(near(write(&rights, "src/fronted/x")), "src/frontend/x");
        assert_eq!(near(execute(&rights, "pyton3")), "python3");
        assert_eq!(
            near(connect(&rights, "api.strip.com", 443)),
            "api.stripe.com:443"
        );
        assert_eq!(near(write(&rights, "lib/x")), "");
    }

    #[test]
    fn a_list_of_ones_own_is_changed_where_it_stands() {
        let own = "version: 1\nnetwork_policies: { eng-frontend: { egress: [\"a.test:443\"] } }\n";
        let answer = connect(&rights(&policy(&[own])), "b.test", 443);
        let advice = answer.next.unwrap();
        assert_eq!(advice.file, "own.yaml");
        assert!(
            advice.yaml.contains("[\"a.test:443\", \"b.test:443\"]"),
            "{}",
            advice.yaml
        );
    }
}
