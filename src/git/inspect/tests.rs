use std::collections::BTreeSet;

use super::{folds_to_git, links::Ways, names};
use crate::git::tree::{Entry, Kind, Walk};

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        size: 1,
        links: 1,
        inode: (1, 1),
        unreadable: false,
    }
}

fn rules(entries: Vec<Entry>) -> Vec<&'static str> {
    let walk = Walk {
        entries,
        ..Walk::default()
    };
    names(&walk, &BTreeSet::new(), &|_| None)
        .into_iter()
        .map(|remark| remark.rule)
        .collect()
}

#[test]
fn names_that_some_file_system_reads_as_git_are_breaches() {
    let folding = [
        ".GIT",
        ".Git",
        ".gIt",
        "git~1",
        "GIT~1",
        ".git.",
        ".git ",
        ".git. .",
        ".git::$INDEX_ALLOCATION",
        ".g\u{200c}it",
        ".gi\u{feff}t",
        "a\\.git",
        "\u{202e}.git",
    ];
    for name in folding {
        assert_eq!(
            rules(vec![entry(&format!("src/{name}"), Kind::File)]),
            ["git-name"],
            "{name}"
        );
        assert_eq!(
            rules(vec![entry(name, Kind::Directory)]),
            ["git-name"],
            "{name}"
        );
    }
    let plain = [
        "git",
        ".github",
        ".gitignore",
        "x.git",
        "git~2",
        ".git-x",
        "agit~1",
        ".gitx",
    ];
    for name in plain {
        assert!(!folds_to_git(name.as_bytes()), "{name}");
    }
}

#[test]
fn rule_files_must_not_be_links() {
    let link = || Kind::Link(b"x".to_vec());
    assert_eq!(rules(vec![entry("a/.gitmodules", link())]), ["git-name"]);
    assert_eq!(
        rules(vec![entry("a/.gitmodules", Kind::File)]),
        Vec::<&str>::new()
    );
}

#[test]
fn what_the_host_cannot_read_is_a_breach() {
    let closed = Entry {
        unreadable: true,
        ..entry("src/closed", Kind::Directory)
    };
    assert_eq!(rules(vec![closed]), ["unreadable"]);
}

#[test]
fn too_many_names_and_too_deep_directories_are_breaches() {
    let walk = Walk {
        too_many: true,
        too_deep: vec![b"a/b".to_vec()],
        ..Walk::default()
    };
    let rules: Vec<_> = names(&walk, &BTreeSet::new(), &|_| None)
        .into_iter()
        .map(|remark| remark.rule)
        .collect();
    assert_eq!(rules, ["depth", "count"]);
}

#[test]
fn links_are_followed_by_their_text() {
    let links = [
        (&b"up"[..], &b".."[..]),
        (b"a/root", b".."),
        (b"far", b"/etc"),
        (b"loop", b"loop"),
    ];
    let links = links.into_iter().collect();
    let mut ways = Ways::new(&links);
    for (path, target, out) in [
        ("a/l", "../b", false),
        ("a/l", "../../b", true),
        ("a/l", "root/b", false),
        ("a/l", "root/../b", true),
        ("l", "up/x", true),
        ("l", "far/x", true),
        ("l", "loop/x", true),
        ("l", "./a//b/../c", false),
        ("l", "a/.GIT/config", true),
        ("l", "/", true),
        ("l", "", false),
    ] {
        let seen = ways.follow(path.as_bytes(), target.as_bytes());
        assert_eq!(seen.is_err(), out, "{path} -> {target}: {seen:?}");
    }
}
