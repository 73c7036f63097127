//! Why a role may or may not do one thing, by the same lists that the gate and the gateway ask.
//!
//! Knows rules, not kernels: what a sandbox's kernel does with a path is for who knows sandboxes.
//! It refuses to guess: a denied answer names the list to change, never a wider right than asked.

use serde::Serialize;

use super::{
    Act, Asked, Egress, EgressRule, Glob, Globs, HostPattern, Layer, Origin, Program, RequestRule,
    Rights, Target, UrlPath, Verdict, egress, programs, written,
};
use crate::{diagnostic::closest, name::HostName};

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether the policy allows it.
    pub allowed: bool,
    /// The rule or the denial that decided, with its file and line; none when no rule covers what
    /// was asked.
    pub rule: Option<String>,
    /// One sentence without its full stop.
    pub reason: String,
    /// What was probably meant.
    pub near: Option<String>,
    /// What to write to be allowed exactly this.
    pub next: Option<Advice>,
}

/// A change of a policy that allows what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The file to add it to.
    pub file: String,
    /// What it must hold: a whole policy. Lists replace each other, so what the role has is in it.
    pub yaml: String,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        let Verdict {
            allowed,
            rule,
            reason,
        } = verdict;
        Self {
            allowed,
            rule,
            reason,
            near: None,
            next: None,
        }
    }
}

impl Answer {
    /// Returns the denial of something that no policy can allow.
    #[must_use]
    pub fn never(reason: impl Into<String>) -> Self {
        Self {
            allowed: false,
            rule: None,
            reason: reason.into(),
            near: None,
            next: None,
        }
    }

    /// Adds what to write, unless it is allowed already.
    fn or_else(self, help: impl FnOnce() -> (Option<String>, Option<Advice>)) -> Self {
        if self.allowed {
            return self;
        }
        let (near, next) = help();
        Self { near, next, ..self }
    }
}

/// Answers whether the role may create, change or remove `path`, relative to the worktree.
#[must_use]
pub fn write(rights: &Rights, path: &str) -> Answer {
    Answer::from(rights.judge(&Act::Write(path.to_owned())))
        .or_else(|| uncovered(rights, ("write", &rights.files.write), path))
}

/// Answers whether the role may read `path`, relative to the worktree.
#[must_use]
pub fn read(rights: &Rights, path: &str) -> Answer {
    Answer::from(rights.judge(&Act::Read(path.to_owned())))
        .or_else(|| uncovered(rights, ("read", &rights.files.read), path))
}

type Help = (Option<String>, Option<Advice>);

fn uncovered(rights: &Rights, (field, globs): (&'static str, &Globs), path: &str) -> Help {
    let list = written::globs(&globs.0).map(str::to_owned);
    let next = glob_for(path).map(|glob| {
        let list = written::list(list.chain([glob]));
        advice(rights, ("permissions", field), &list)
    });
    (near_directory(&globs.0, path), next)
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
    let mut answer = Answer::from(rights.judge(&Act::Run(program.to_owned())));
    let has = |(_, members): &(&str, Vec<&str>)| members.contains(&program);
    if let Some((group, members)) = programs::groups().find(has) {
        let listed = |name: &&str| {
            rights
                .programs
                .contains(&Program::Image((*name).to_owned()))
        };
        if !answer.allowed {
            answer.reason = format!("{}, nor `{group}`, which it is part of", answer.reason);
        } else if members.iter().all(listed) {
            answer.reason = format!("{}, as part of `{group}`", answer.reason);
        }
    }
    answer.or_else(|| unlisted(rights, program))
}

fn unlisted(rights: &Rights, program: &str) -> Help {
    let item = if programs::is_bare(program) {
        Some(program.to_owned())
    } else {
        glob_for(program).map(|glob| format!("./{glob}"))
    };
    let had = written::runs(&rights.programs).into_iter();
    let next = item.map(|item| {
        let list = written::list(had.map(|runs| runs.item).chain([item]));
        advice(rights, ("permissions", "execute"), &list)
    });
    let names = rights.programs.iter().filter_map(|program| match program {
        Program::Image(name) => Some(name.as_str()),
        Program::Worktree(_) => None,
    });
    let is_known = programs::groups().any(|(_, members)| members.contains(&program));
    let near = closest(program, names).filter(|_| !is_known && !program.contains('/'));
    (near.map(str::to_owned), next)
}

/// Answers whether the role may connect to `host` on `port`, as the gateway decides it.
#[must_use]
pub fn connect(rights: &Rights, host: &str, port: u16) -> Answer {
    let name = match host.parse::<HostName>() {
        Ok(name) => name,
        Err(error) => {
            return Answer::never(host.parse::<HostPattern>().map_or_else(
                |host| format!("{host}: {}", host.help),
                |_| format!("{error}: ask about one name"),
            ));
        }
    };
    let target = Target { name, port };
    Answer::from(rights.judge(&Act::Connect(target.clone()))).or_else(|| {
        (
            near_host(&rights.egress, &target),
            Some(open(rights, &target)),
        )
    })
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

/// Answers whether the role may ask for something, as the gateway decides it.
#[must_use]
pub fn request(rights: &Rights, asked: &Asked) -> Answer {
    Answer::from(rights.judge(&Act::Request(asked.clone()))).or_else(|| {
        let near = near_host(&rights.egress, &asked.target);
        let exact = format!("{}:{}", asked.target.name, asked.target.port);
        (near.filter(|near| *near != exact), ask(rights, asked))
    })
}

/// Returns what opens exactly one request, with the credential that other requests there have.
/// None where no rule can say it: for a path that is ambiguous, or another protocol.
fn ask(rights: &Rights, asked: &Asked) -> Option<Advice> {
    let Asked {
        target,
        protocol,
        method,
        path,
    } = asked;
    let path = path.split('?').next().unwrap_or_default();
    let there: Vec<&EgressRule> = rights
        .egress
        .rules
        .iter()
        .filter(|rule| rule.covers_target(target))
        .collect();
    let wanted: UrlPath = path.parse().ok()?;
    if wanted.ambiguity().is_some() || there.iter().any(|rule| rule.protocol != *protocol) {
        return None;
    }
    let mut added = there
        .iter()
        .filter_map(|rule| rule.request.as_ref()?.credential.as_ref());
    let part = RequestRule {
        methods: vec![method.clone()],
        paths: vec![wanted.as_str().parse().ok()?],
        credential: added.next().cloned(),
        ..RequestRule::default()
    };
    let rule = EgressRule {
        host: HostPattern::Exact(target.name.clone()),
        port: target.port,
        protocol: *protocol,
        request: Some(Box::new(part)),
        origin: Origin::default(),
    };
    let mut list = written::rules(&rights.egress.rules);
    list.push(written::rule(&rule));
    let list = format!("[{}]", list.join(", "));
    Some(advice(rights, ("network_policies", "egress"), &list))
}

/// Returns what opens exactly one target.
fn open(rights: &Rights, target: &Target) -> Advice {
    let Target { name, port } = target;
    let had = written::rules(&rights.egress.rules).into_iter();
    let asked = match egress::usual(*port) {
        Some(_) => written::quoted(&format!("{name}:{port}")),
        None => format!("{{ host: {name}, port: {port}, protocol: tls }}"),
    };
    let list: Vec<String> = had.chain([asked]).collect();
    let list = format!("[{}]", list.join(", "));
    advice(rights, ("network_policies", "egress"), &list)
}

/// Returns where to write a list, and the policy that holds it. A list that a person wrote is
/// changed where it stands: two files of one layer may not name one role.
fn advice(rights: &Rights, (section, field): (&str, &str), list: &str) -> Advice {
    let role = &rights.role;
    let own = |origin: &&Origin| matches!(origin.layer, Layer::User | Layer::Given);
    Advice {
        file: rights.origins.get(field).filter(own).map_or_else(
            || format!("~/.config/loki/policies/{role}.yaml"),
            |origin| origin.file.clone(),
        ),
        yaml: format!("version: 1\n{section}:\n  {role}:\n    {field}: {list}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Source};

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
    fn what_may_be_written_may_be_read_as_the_checkout_has_it() {
        let own = "version: 1\npermissions:\n  deny: { read: [\"src/key\"] }\n  eng-frontend: { read: [docs/a], write: [\"src/**\"] }\n";
        let rights = rights(&policy(&[own]));
        let visible = rights.files.visible();
        for (path, seen) in [
            ("docs/a", true),
            ("src/a", true),
            ("docs/b", false),
            ("src/key", false),
        ] {
            assert_eq!(read(&rights, path).allowed, seen, "{path}");
            assert_eq!(visible.matches(path).is_some(), seen, "{path}");
        }
        assert_eq!(read(&rights, "src/a").reason, "a `write` glob covers it");
    }

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
