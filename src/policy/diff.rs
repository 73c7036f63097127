//! What two policies give each role, compared by rights instead of by text: a glob or a host that
//! another rule still covers was not lost, and one that was covered before was not gained.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    EgressRule, Glob, Origin, Policy, Program, Rates, Rights, Tier,
    cover::{self, Cover as _},
    delivery, host_files, units, written,
};
use crate::name::Role;

/// What changed for one role. Empty lists are no change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleChange {
    /// Whose rights.
    pub role: Role,
    /// Whether the role is in both policies.
    pub status: Standing,
    /// What only the later policy gives.
    pub gained: Vec<Right>,
    /// What only the earlier policy gives.
    pub lost: Vec<Right>,
    /// Values that differ, limits and settings.
    pub changed: Vec<Value>,
}

/// In which of the two policies a role is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Only in the later.
    Added,
    /// Only in the earlier.
    Removed,
    /// In both.
    Kept,
}

/// One thing a role may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Right {
    /// `read`, `write`, `execute`, `connect` or `pin`.
    pub kind: &'static str,
    /// The item as a policy has it.
    pub item: String,
    /// Where it stands; none for programs, whose items carry no place.
    pub origin: Option<Origin>,
}

/// One value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// Its name in a policy, such as `resources.memory`.
    pub name: String,
    /// In the earlier policy, as a policy writes it.
    pub before: String,
    /// In the later policy.
    pub after: String,
}

impl RoleChange {
    /// Returns whether the role may do the same under both policies, with the same limits.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.status == Standing::Kept
            && self.gained.is_empty()
            && self.lost.is_empty()
            && self.changed.is_empty()
    }
}

/// Returns what changes from one policy to another, in the order of roles; only roles for which
/// something does.
#[must_use]
pub fn changes(before: &Policy, after: &Policy) -> Vec<RoleChange> {
    let roles: BTreeSet<&Role> = before.roles().chain(after.roles()).collect();
    let compared =
        roles
            .into_iter()
            .filter_map(|role| match (before.rights(role), after.rights(role)) {
                (Some(old), Some(new)) => Some(RoleChange {
                    role: role.clone(),
                    status: Standing::Kept,
                    gained: beyond(&new, &old),
                    lost: beyond(&old, &new),
                    changed: differing(
                        values(&old, before.tier(role)),
                        values(&new, after.tier(role)),
                    ),
                }),
                (None, Some(new)) => Some(RoleChange {
                    role: role.clone(),
                    status: Standing::Added,
                    gained: all(&new),
                    lost: Vec::new(),
                    changed: Vec::new(),
                }),
                (Some(old), None) => Some(RoleChange {
                    role: role.clone(),
                    status: Standing::Removed,
                    gained: Vec::new(),
                    lost: all(&old),
                    changed: Vec::new(),
                }),
                (None, None) => None,
            });
    compared.filter(|change| !change.is_none()).collect()
}

fn all(rights: &Rights) -> Vec<Right> {
    let Rights { files, egress, .. } = rights;
    let read = files.read.0.iter().map(|glob| of_glob("read", glob));
    let write = files.write.0.iter().map(|glob| of_glob("write", glob));
    let run = written::runs(&rights.programs)
        .into_iter()
        .map(|runs| Right {
            kind: "execute",
            item: runs.item,
            origin: None,
        });
    let connect = egress.rules.iter().map(of_rule);
    read.chain(write).chain(run).chain(connect).collect()
}

/// Returns what `one` may do and `other` may not.
fn beyond(one: &Rights, other: &Rights) -> Vec<Right> {
    let write = &other.files.write.0;
    let read: Vec<&Glob> = other.files.read.0.iter().chain(write).collect();
    let mut rights = Vec::new();
    rights.extend(globs_beyond("read", &one.files.read.0, &read));
    let write: Vec<&Glob> = write.iter().collect();
    rights.extend(globs_beyond("write", &one.files.write.0, &write));
    rights.extend(programs_beyond(&one.programs, &other.programs));
    for rule in &one.egress.rules {
        if !other.egress.rules.iter().any(|wider| wider.covers(rule)) {
            rights.push(of_rule(rule));
        }
    }
    for pin in &one.egress.hosts {
        let same = |entry: &super::HostEntry| {
            (&entry.name, entry.to, &entry.ca) == (&pin.name, pin.to, &pin.ca)
        };
        if !other.egress.hosts.iter().any(same) {
            rights.push(Right {
                kind: "pin",
                item: format!("{} to {}", pin.name, pin.to),
                origin: Some(pin.origin.clone()),
            });
        }
    }
    // A host that only the other policy's denials close.
    for denial in &other.egress.denied {
        let same = |own: &super::DeniedHost| {
            (&own.names, own.port, &own.request) == (&denial.names, denial.port, &denial.request)
        };
        if !one.egress.denied.iter().any(same) {
            rights.push(Right {
                kind: "connect",
                item: format!("what `deny {}` closes", denial.item()),
                origin: Some(denial.origin.clone()),
            });
        }
    }
    rights
}

/// Returns the globs that no other covers. Of one that is covered but for a denial, what is denied.
fn globs_beyond(kind: &'static str, one: &[Glob], other: &[&Glob]) -> Vec<Right> {
    let open = one
        .iter()
        .filter(|glob| !other.iter().any(|wider| covers(wider, glob)));
    let right = |glob: &Glob| {
        let whole = other.iter().find(|wider| wider.covers(glob));
        let item = whole.map(|wider| {
            let denied: Vec<&str> = written::globs(&wider.except).collect();
            format!("{} of {}", denied.join(" "), glob.text)
        });
        Right {
            item: item.unwrap_or_else(|| written::glob(glob)),
            ..of_glob(kind, glob)
        }
    };
    open.map(right).collect()
}

fn programs_beyond(one: &[Program], other: &[Program]) -> Vec<Right> {
    let has = |program: &Program| other.iter().any(|known| known.covers(program));
    let more: Vec<Program> = one
        .iter()
        .filter(|program| !has(program))
        .cloned()
        .collect();
    let places = |item: &str| {
        more.iter().find_map(|program| match program {
            Program::Worktree(glob) if item.strip_prefix("./") == Some(&glob.text) => {
                Some(glob.origin.clone())
            }
            _ => None,
        })
    };
    let right = |runs: written::Runs| Right {
        kind: "execute",
        origin: places(&runs.item),
        item: runs.item,
    };
    written::runs(&more).into_iter().map(right).collect()
}

/// Returns whether everything that `glob` matches, `wider` provably matches too, denials counted.
fn covers(wider: &Glob, glob: &Glob) -> bool {
    let harmless = |denial: &Glob| {
        cover::apart(denial, glob) || glob.except.iter().any(|own| own.covers(denial))
    };
    wider.covers(glob) && wider.except.iter().all(harmless)
}

fn of_glob(kind: &'static str, glob: &Glob) -> Right {
    Right {
        kind,
        item: written::glob(glob),
        origin: Some(glob.origin.clone()),
    }
}

fn of_rule(rule: &EgressRule) -> Right {
    Right {
        kind: "connect",
        item: written::connects(rule),
        origin: Some(rule.origin.clone()),
    }
}

/// Returns every value of a role that is no list of rights, as a policy writes it.
#[must_use]
pub fn values(rights: &Rights, tier: Option<Tier>) -> Vec<(&'static str, String)> {
    let Rights {
        resources,
        rates,
        minimum,
        ..
    } = rights;
    let mut values = vec![
        ("agents.image", rights.image.clone()),
        ("agents.tier", tier.map_or("none", written::tier).to_owned()),
        (
            "permissions.host_executable",
            written::list(host_files::written(&rights.host_executable)),
        ),
        ("resources.cpus", resources.cpus.to_string()),
        ("resources.memory", units::written_size(resources.memory)),
        ("resources.pids", resources.pids.to_string()),
        ("resources.disk", units::written_size(resources.disk)),
        (
            "resources.timeout",
            units::written_duration(resources.timeout),
        ),
        (
            "resources.idle_timeout",
            units::written_duration(resources.idle_timeout),
        ),
        ("resources.log", units::written_size(resources.log)),
    ];
    values.extend(pace(rates));
    values.extend([
        (
            "network_policies.on_deny",
            if rights.egress.ask { "ask" } else { "deny" }.to_owned(),
        ),
        (
            "secrets",
            delivery::written(&rights.secrets, &rights.deliveries),
        ),
        ("minimum_isolation.landlock", minimum.landlock.to_string()),
        (
            "minimum_isolation.cgroup",
            if minimum.cgroup { "required" } else { "none" }.to_owned(),
        ),
        (
            "minimum_isolation.write_meter",
            if minimum.write_meter {
                "required"
            } else {
                "optional"
            }
            .to_owned(),
        ),
    ]);
    values
}

/// Returns the numbers of a role's pace, by their keys.
fn pace(rates: &Rates) -> Vec<(&'static str, String)> {
    let most = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let bytes = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), units::written_size);
    vec![
        (
            "rate_limits.api_calls_per_minute",
            most(rates.api_calls_per_minute.map(u64::from)),
        ),
        (
            "rate_limits.api_calls_per_run",
            most(rates.api_calls_per_run.map(u64::from)),
        ),
        (
            "rate_limits.file_writes_per_minute",
            most(rates.file_writes_per_minute.map(u64::from)),
        ),
        (
            "rate_limits.network_bytes_per_minute",
            bytes(rates.network_bytes_per_minute),
        ),
        (
            "rate_limits.network_bytes_per_run",
            bytes(rates.network_bytes_per_run),
        ),
        (
            "rate_limits.uncounted",
            written::list(written::globs(&rates.uncounted.0)),
        ),
    ]
}

fn differing(
    before: Vec<(&'static str, String)>,
    after: Vec<(&'static str, String)>,
) -> Vec<Value> {
    let pairs = before.into_iter().zip(after);
    let differ = pairs.filter(|((_, old), (_, new))| old != new);
    differ
        .map(|((name, before), (_, after))| Value {
            name: name.to_owned(),
            before,
            after,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer, Source};

    fn policy(text: &str) -> Policy {
        let mut sources = Policy::builtin_sources();
        sources.push(Source {
            layer: Layer::Given,
            file: "own.yaml".into(),
            text: format!("version: 1\n{text}"),
        });
        Policy::check(&sources).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for change in changes(&policy(before), &policy(after)) {
            let role = &change.role;
            let item = |sign, right: &Right| format!("{role} {sign}{} {}", right.kind, right.item);
            lines.extend(change.gained.iter().map(|right| item('+', right)));
            lines.extend(change.lost.iter().map(|right| item('-', right)));
            let value = |value: &Value| {
                format!("{role} {}: {} → {}", value.name, value.before, value.after)
            };
            lines.extend(change.changed.iter().map(value));
        }
        lines
    }

    const BASE: &str = "agents: { a: {} }\npermissions: { a: { read: [\"src/**\"], write: [\"src/a/**\"], execute: [git, \"./bin/x\"] } }\nnetwork_policies: { a: { egress: [\"*.example.com:443\"] } }\n";

    #[test]
    fn a_policy_does_not_differ_from_itself() {
        assert_eq!(told(BASE, BASE), Vec::<String>::new());
    }

    #[test]
    fn gained_lost_and_changed_are_told_apart() {
        let other = "agents: { a: {}, b: {} }\npermissions: { a: { read: [\"docs/**\"], write: [\"src/a/**\"], execute: [\"@git\"] } }\nnetwork_policies: { a: { egress: [\"example.com:443\"] } }\nresources: { a: { memory: 3GiB, timeout: 90m } }\n";
        assert_eq!(
            told(BASE, other),
            [
                "a +read docs/**",
                "a +execute git-receive-pack",
                "a +execute git-shell",
                "a +execute git-upload-archive",
                "a +execute git-upload-pack",
                "a +connect example.com:443 tls",
                "a -read src/**",
                "a -execute ./bin/x",
                "a -connect *.example.com:443 tls",
                "a resources.memory: 2GiB → 3GiB",
                "a resources.timeout: 30m → 90m",
            ]
        );
        let added = changes(&policy(BASE), &policy(other));
        assert_eq!(added[1].status, Standing::Added);
        assert_eq!(added[1].role.as_str(), "b");
    }

    #[test]
    fn what_another_rule_still_covers_was_not_lost() {
        let wider = BASE
            .replace("\"src/a/**\"", "\"**\"")
            .replace("\"src/**\"", "\"src/x.rs\"")
            .replace("./bin/x", "./bin/**");
        assert_eq!(told(BASE, &wider), ["a +write **", "a +execute ./bin/**"]);
        let narrower = BASE.replace("*.example.com", "api.example.com");
        assert_eq!(told(BASE, &narrower), ["a -connect *.example.com:443 tls"]);
        assert_eq!(told(&narrower, BASE), ["a +connect *.example.com:443 tls"]);
        let spoken = BASE.replace(
            "\"*.example.com:443\"",
            "{ host: \"*.example.com\", port: 443, protocol: tcp }",
        );
        assert_eq!(told(BASE, &spoken).len(), 2);
    }
}
