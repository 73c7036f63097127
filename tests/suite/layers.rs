//! Who may know whom. Every `crate::` path in `src` is read and held against the table below,
//! which is the table at the top of `src/lib.rs`.

use std::{collections::BTreeSet, path::Path};

use super::harness::source::{code, files, is_tests, read, root, without_tests};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Words,
    Ground,
    Hands,
    Play,
    Faces,
}

const TABLE: &[(Layer, &[&str])] = &[
    (
        Layer::Words,
        &[
            "name",
            "text",
            "digest",
            "diagnostic",
            "event",
            "finding",
            "spec",
            "policy",
            "redact",
            "task",
            "budget",
            "status",
            "vetting",
            "provenance",
            "host_files",
            "install",
        ],
    ),
    (Layer::Ground, &["whole", "touch", "process"]),
    (
        Layer::Hands,
        &[
            "engine",
            "link",
            "egress",
            "git",
            "provider",
            "journal",
            "secrets",
            "checkpoint",
            "memory",
            "notify",
            "advisories",
            "forge",
            "deps",
        ],
    ),
    (
        Layer::Play,
        &["sandbox", "run", "review", "deploy", "attest"],
    ),
    (Layer::Faces, &["cli", "server", "mcp"]),
];

/// What a word may not even mention: words do no I/O and are never async.
const DEEDS: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "rustix::",
    "File::open",
    "::now()",
];

fn layer(module: &str) -> Option<Layer> {
    TABLE
        .iter()
        .find(|(_, modules)| modules.contains(&module))
        .map(|(layer, _)| *layer)
}

/// Returns why `from` may not use `to`, if it may not.
fn breach(from: &str, to: &str) -> Option<&'static str> {
    let layers = (layer(from)?, layer(to)?);
    match layers {
        _ if from == to => None,
        (Layer::Words | Layer::Hands, Layer::Words) | (Layer::Hands, Layer::Ground) => None,
        (Layer::Ground, _) => Some("the ground uses nothing"),
        (Layer::Words, _) => Some("words know only words"),
        (Layer::Hands, _) => Some("a hand knows only words: what it needs comes as an argument"),
        (Layer::Play, Layer::Faces) => Some("only faces talk to people"),
        (Layer::Play, _) if from == "sandbox" && to != "sandbox" && layers.1 == Layer::Play => {
            Some("only `run` decides order")
        }
        (Layer::Play | Layer::Faces, _) => None,
    }
}

/// Returns the top module that a file under `src` belongs to; none for `lib.rs` and `main.rs`.
fn module(path: &Path) -> Option<String> {
    let first = path.components().nth(1)?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// Returns every top module that the code names through `crate::`, groups included.
fn uses(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1).map(str::trim_start) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.extend(head(rest)),
        }
    }
    found
}

/// Returns the first segment of every path of a group, up to its closing brace.
fn heads(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut fresh = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                fresh = false;
                found.extend(group.get(at..).and_then(head));
            }
            _ => {}
        }
    }
    found
}

fn head(path: &str) -> Option<String> {
    let word: String = path
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

/// Returns top modules named through `super::`, which would go around `crate::`.
fn climbs(path: &Path, code: &str) -> BTreeSet<String> {
    let inner = usize::from(path.file_name().is_some_and(|name| name != "mod.rs"));
    let depth = (path.components().count() - 2 + inner).max(1);
    let climb = "super::".repeat(depth);
    let own = root().join(path.parent().expect("a file has a folder"));
    code.split(&climb)
        .skip(1)
        .filter_map(head)
        .filter(|name| layer(name).is_some())
        .filter(|name| !own.join(name).exists() && !own.join(format!("{name}.rs")).exists())
        .collect()
}

#[test]
fn every_module_knows_only_what_its_layer_may() {
    let mut breaches = Vec::new();
    let mut seen = 0;
    for path in files("src", "rs") {
        let Some(from) = module(&path) else { continue };
        let text = code(&read(&path));
        for to in uses(&text).union(&climbs(&path, &text)) {
            seen += 1;
            if let Some(why) = breach(&from, to) {
                breaches.push(format!("{}: `{from}` uses `{to}`: {why}", path.display()));
            }
        }
    }
    assert!(
        seen > 0,
        "no `crate::` path was found in src: is the reader broken?"
    );
    assert!(
        breaches.is_empty(),
        "layers are broken:\n  {}",
        breaches.join("\n  ")
    );
}

#[test]
fn every_module_has_a_layer_and_stands_in_the_map() {
    let map = read("src/lib.rs");
    for path in files("src", "rs") {
        let Some(name) = module(&path) else { continue };
        assert!(
            layer(&name).is_some(),
            "`{name}` has no layer: give it one in tests/suite/layers.rs"
        );
        let row = format!("[`{name}`]");
        assert!(
            map.contains(&row),
            "`{name}` is missing from the table at the top of src/lib.rs"
        );
    }
}

#[test]
fn words_do_nothing() {
    let mut deeds = Vec::new();
    for path in files("src", "rs") {
        let Some(name) = module(&path) else { continue };
        if layer(&name) != Some(Layer::Words) || is_tests(&path) {
            continue;
        }
        let text = code(&without_tests(&read(&path)));
        let found = DEEDS.iter().filter(|deed| text.contains(**deed));
        deeds.extend(found.map(|deed| format!("{}: `{deed}`", path.display())));
    }
    assert!(
        deeds.is_empty(),
        "words do no I/O, take no time and are not async:\n  {}",
        deeds.join("\n  ")
    );
}

#[test]
fn main_only_hands_over_to_the_command_line() {
    let text = code(&read("src/main.rs"));
    for module in text.split("loki::").skip(1).map(head) {
        assert_eq!(
            module.as_deref(),
            Some("cli"),
            "src/main.rs knows only `loki::cli`"
        );
    }
}

#[test]
fn the_reader_sees_every_form_of_a_path() {
    let code = "use crate::{a, b::{c, d}, e::{self},\n f::G};\nuse crate::h;\nlet x = crate::i::j();\npub(crate) fn k() {}";
    let expected = ["a", "b", "e", "f", "h", "i"];
    assert_eq!(uses(code), expected.map(str::to_owned).into());
    let climbed = climbs(
        Path::new("src/policy/rights.rs"),
        "use super::super::git; use super::engine;",
    );
    assert_eq!(climbed, ["git".to_owned()].into());
    assert_eq!(
        climbs(Path::new("src/git/mod.rs"), "use super::engine;"),
        ["engine".to_owned()].into()
    );
}

#[test]
fn the_table_refuses_what_it_should() {
    for (from, to, allowed) in [
        ("policy", "name", true),
        ("policy", "engine", false),
        ("engine", "policy", true),
        ("engine", "link", false),
        ("egress", "run", false),
        ("sandbox", "engine", true),
        ("sandbox", "run", false),
        ("run", "sandbox", true),
        ("run", "cli", false),
        ("cli", "run", true),
        ("git", "git", true),
        ("git", "whole", true),
        ("cli", "whole", true),
        ("task", "whole", false),
        ("whole", "name", false),
    ] {
        assert_eq!(breach(from, to).is_none(), allowed, "{from} → {to}");
    }
}
