//! What Loki is built from: licences, bans and version floors, read from cargo itself, because
//! `cargo deny` is not on every machine.

use std::process::Command;

use super::harness::source::{read, root};

/// Licences that may be linked in. `deny.toml` says the same; a test compares the two.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Versions below these have published advisories.
const FLOORS: &[(&str, [u64; 3])] = &[
    ("tar", [0, 4, 45]),
    ("h2", [0, 4, 16]),
    ("rustls", [0, 23, 18]),
    ("rustls-webpki", [0, 103, 13]),
    ("hickory-proto", [0, 26, 1]),
    ("hickory-resolver", [0, 26, 1]),
    ("idna", [1, 0, 0]),
    ("age", [0, 11, 1]),
];

/// Returns whether an SPDX expression can be satisfied from the list. `/` is the old `OR`.
fn permitted(expression: &str) -> bool {
    let flat = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = flat.split_whitespace().collect();
    let mut rest = words.as_slice();
    any(&mut rest) && rest.is_empty()
}

fn any(rest: &mut &[&str]) -> bool {
    let mut good = all(rest);
    while let [first, tail @ ..] = rest
        && *first == "OR"
    {
        *rest = tail;
        good |= all(rest);
    }
    good
}

fn all(rest: &mut &[&str]) -> bool {
    let mut good = one(rest);
    while let [first, tail @ ..] = rest
        && *first == "AND"
    {
        *rest = tail;
        good &= one(rest);
    }
    good
}

fn one(rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let good = any(rest);
            match rest.split_first() {
                Some((close, tail)) if *close == ")" => {
                    *rest = tail;
                    good
                }
                _ => false,
            }
        }
        [licence, "WITH", exception, tail @ ..] => {
            *rest = tail;
            LICENCES.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, tail @ ..] => {
            *rest = tail;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

/// Returns cargo's view of everything that is linked on this machine's target.
fn metadata() -> serde_json::Value {
    let rustc = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc is beside cargo");
    let text = String::from_utf8(rustc.stdout).expect("rustc speaks UTF-8");
    let host = text
        .lines()
        .find_map(|l| l.strip_prefix("host: "))
        .expect("rustc names its host");
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            host,
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

#[test]
fn every_dependency_has_a_permitted_licence() {
    let metadata = metadata();
    let packages = metadata["packages"]
        .as_array()
        .expect("metadata lists packages");
    assert!(
        packages.len() > 50,
        "only {} packages: is cargo metadata complete?",
        packages.len()
    );
    let bad: Vec<String> = packages
        .iter()
        .filter(|p| !permitted(p["license"].as_str().unwrap_or("")))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(
        bad.is_empty(),
        "licences outside the list:\n  {}",
        bad.join("\n  ")
    );
}

#[test]
fn deny_toml_permits_the_same_licences() {
    let deny = read("deny.toml");
    let list = deny
        .split("allow = [")
        .nth(1)
        .and_then(|r| r.split(']').next())
        .expect("a list");
    let listed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert_eq!(
        listed, LICENCES,
        "deny.toml and tests/suite/dependencies.rs differ"
    );
}

/// Returns every package of the lock file with its version.
fn locked() -> Vec<(String, String)> {
    let lock = read("Cargo.lock");
    let value = |line: Option<&str>| Some(line?.split('"').nth(1)?.to_owned());
    lock.split("[[package]]")
        .skip(1)
        .filter_map(|entry| {
            let mut lines = entry.trim_start().lines();
            Some((value(lines.next())?, value(lines.next())?))
        })
        .collect()
}

/// Returns the three numbers of a version; a pre-release counts as the version before.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let plain = version.split('+').next()?;
    let (plain, early) = plain
        .split_once('-')
        .map_or((plain, false), |(p, _)| (p, true));
    let mut parts = plain.split('.').map(|n| n.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    (!early).then_some(version)
}

#[test]
fn no_dependency_is_below_its_floor() {
    let locked = locked();
    assert!(
        locked.iter().any(|(name, _)| name == "tar"),
        "the lock file was not understood"
    );
    for (name, version) in locked {
        let floor = FLOORS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, floor)| *floor);
        if let Some(floor) = floor {
            let known = numbers(&version);
            assert!(
                known >= Some(floor),
                "`{name}` {version} is below {floor:?}: run `cargo update -p {name}`"
            );
        }
    }
}

#[test]
fn no_banned_dependency_comes_in() {
    let deny = read("deny.toml");
    let banned: Vec<&str> = deny
        .split("crate = \"")
        .skip(1)
        .filter_map(|r| r.split('"').next())
        .collect();
    assert!(
        banned.contains(&"tokio-tar"),
        "the bans of deny.toml were not understood"
    );
    for (name, version) in locked() {
        assert!(
            !banned.contains(&name.as_str()),
            "`{name}` {version} is banned by deny.toml"
        );
    }
}

#[test]
fn everything_comes_from_the_default_registry() {
    let sources: std::collections::BTreeSet<String> = read("Cargo.lock")
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        sources.len(),
        1,
        "one registry, no git sources: {sources:?}"
    );
    assert!(
        sources.iter().all(|s| s.starts_with("\"registry+")),
        "{sources:?}"
    );
}

#[test]
fn licence_expressions_are_decided_as_a_whole() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("MIT OR GPL-3.0", true),
        ("MIT/GPL-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("GPL-2.0 WITH Classpath-exception-2.0", false),
        ("(MIT", false),
        ("MIT MIT", false),
    ] {
        assert_eq!(permitted(expression), expected, "{expression}");
    }
    assert_eq!(numbers("1.2.3+x"), Some([1, 2, 3]));
    assert_eq!(numbers("1.2.3-rc.1"), None);
}
