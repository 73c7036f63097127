use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::Sides;
use crate::{
    git::{
        Caps, HandOver, Join, ObjectId, Repository, Terms, Undone,
        world::{World, globs, write},
    },
    policy::Files,
    redact::{Redactor, Values},
};

/// Has a question answered by the terms of a role that may write these.
fn by<T>(globs_of: &[&str], approved: &BTreeSet<String>, ask: impl FnOnce(&Terms<'_>) -> T) -> T {
    let files = Files {
        read: globs(&["**"]),
        write: globs(globs_of),
    };
    let kept = [("KEY".to_owned(), "kept-value-of-a-test".to_owned().into())];
    ask(&Terms {
        files: &files,
        caps: &Caps::default(),
        secrets: &Redactor::new(&Values::from_iter(kept)),
        granted: &BTreeSet::new(),
        approved,
    })
}

/// What one side of a merge does.
type Deed<'a> = &'a dyn Fn(&Path);

/// Does a task from the head of the repository: what it makes passes the gate, a person has
/// approved all that he is asked.
fn side(
    repository: &Repository,
    world: &World,
    name: &str,
    deed: Deed<'_>,
) -> (ObjectId, Vec<String>) {
    let slot = world.slot(repository, name, repository.head());
    deed(slot.work());
    let handed = by(&["**"], &BTreeSet::new(), |terms| {
        repository.judge(&slot, terms).unwrap()
    });
    assert_eq!(handed.breaches, [], "{name} alone");
    let digests = handed.needs.iter().map(|need| need.digest.clone());
    let signature = world.signature();
    let commit = repository.commit(&slot, handed.tree.as_ref().unwrap(), name, &signature);
    (commit.unwrap(), digests.collect())
}

/// Returns what the gate finds in what two tasks are together, a line each.
fn together(base: &[(&str, &str)], left: Deed<'_>, right: Deed<'_>) -> Vec<String> {
    let world = World::new();
    base.iter().for_each(|(path, text)| world.file(path, text));
    world.file("base", "");
    world.save("base");
    let repository = world.open();
    let (head, one) = side(&repository, &world, "left", left);
    let (work, two) = side(&repository, &world, "right", right);
    let tree = match repository.join(&head, &work).unwrap() {
        Join::Merge(tree) => tree,
        other => return vec![format!("{other:?}")],
    };
    let sides = Sides {
        head: &head,
        work: &work,
        base: repository.head(),
    };
    let approved = one.into_iter().chain(two).collect();
    let judged = by(&["**"], &approved, |terms| {
        repository.judge_merged(sides, &tree, terms).unwrap()
    });
    found(&judged)
}

fn found(handed: &HandOver) -> Vec<String> {
    let lines = handed.remarks().into_iter();
    lines
        .map(|one| format!("{} {}", one.rule, one.path))
        .collect()
}

fn at(work: &Path, path: &str) -> PathBuf {
    let file = work.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    file
}

#[test]
fn ordinary_work_of_two_goes_together() {
    let base = [
        ("src/both.txt", "1\n2\n3\n4\n5\n6\n"),
        ("Makefile", "all:\n"),
        ("package.json", "{\"scripts\":{\"t\":\"x\"}}"),
    ];
    let seen = together(
        &base,
        &|work| {
            write(work, "src/left.rs", "fn left() {}\n");
            write(work, "src/both.txt", "one\n2\n3\n4\n5\n6\n");
            write(work, "Makefile", "all:\n\ttrue\n");
            symlink("left.rs", work.join("src/link")).unwrap();
        },
        &|work| {
            write(work, "src/right.rs", "fn right() {}\n");
            write(work, "src/both.txt", "1\n2\n3\n4\n5\nsix\n");
            fs::remove_file(work.join("src/app.rs")).unwrap();
            write(work, "package.json", "{\"scripts\":{\"t\":\"y\"}}");
        },
    );
    assert_eq!(seen, Vec::<String>::new());
}

#[test]
fn attack_g01_two_tasks_make_no_repository_together() {
    let seen = together(
        &[],
        &|work| {
            write(work, "src/b/HEAD", "ref: refs/heads/x\n");
            write(work, "src/b/objects/.k", "");
        },
        &|work| {
            write(work, "src/b/refs/.k", "");
            write(work, "src/b/config", "[core]\n\tfsmonitor = evil\n");
        },
    );
    assert_eq!(seen, ["nested-repository src/b"]);
}

#[test]
fn attack_g07_two_tasks_make_no_link_together_that_leads_out() {
    let seen = together(
        &[],
        &|work| symlink("dir/../../x", at(work, "src/esc")).unwrap(),
        &|work| symlink(".", at(work, "src/dir")).unwrap(),
    );
    assert_eq!(seen, ["symlink-escape src/esc"]);
}

#[test]
fn attack_g05_two_tasks_make_no_two_spellings_of_a_name() {
    let seen = together(&[], &|work| write(work, "src/Twin.txt", "a\n"), &|work| {
        write(work, "src/twin.txt", "b\n");
    });
    assert_eq!(seen, ["file-name src/twin.txt"]);
}

const NESTED: &str = "{\n  \"name\": \"a\",\n  \"x\": {\n    \"p\": 1,\n    \"q\": 2,\n    \"r\": 3,\n    \"s\": 4\n  },\n  \"end\": 1\n}\n";

#[test]
fn attack_g11_a_script_that_two_tasks_write_together_waits_like_one_of_a_single_task() {
    let seen = together(
        &[("package.json", NESTED)],
        &|work| {
            let script = "\"q\": 2,\n    \"scripts\": {\"postinstall\": \"evil\"},";
            write(work, "package.json", &NESTED.replace("\"q\": 2,", script));
        },
        &|work| {
            let flat = NESTED.replace("  \"x\": {\n", "").replace("4\n  },", "4,");
            write(work, "package.json", &flat);
        },
    );
    assert_eq!(seen, ["host-executable package.json"]);
}

#[test]
fn attack_g11_what_two_approved_changes_of_a_file_make_was_approved_by_nobody() {
    let lines = "all:\n\ttrue\n\ttrue\n\ttrue\n\ttrue\nend:\n";
    let seen = together(
        &[("Makefile", lines)],
        &|work| write(work, "Makefile", &lines.replace("all:", "all: a")),
        &|work| write(work, "Makefile", &lines.replace("end:", "end: b")),
    );
    assert_eq!(seen, ["host-executable Makefile"]);
}

#[test]
fn attack_g11_lines_written_to_one_file_never_land_in_another() {
    let lines = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n";
    let seen = together(
        &[("src/notes.txt", lines)],
        &|work| fs::rename(work.join("src/notes.txt"), work.join("src/Makefile")).unwrap(),
        &|work| write(work, "src/notes.txt", &format!("{lines}evil:\n")),
    );
    // Older versions of git follow the file: then what they made of the Makefile conflicts, too.
    assert!(
        seen[0].starts_with("Conflict(") && seen[0].contains("src/notes.txt"),
        "{seen:?}"
    );
    // And so with a directory that was moved.
    let seen = together(
        &[("src/a/one", lines), ("src/a/two", "2\n")],
        &|work| fs::rename(work.join("src/a"), work.join("src/.vscode")).unwrap(),
        &|work| write(work, "src/a/tasks.json", "{}"),
    );
    assert_eq!(seen, Vec::<String>::new());
}

/// One brings a link to a directory and another a file with this text there: that file waits.
fn behind_a_link(text: &str) {
    let link: Deed<'_> = &|work| symlink("src/settings", work.join(".vscode")).unwrap();
    let file: Deed<'_> = &|work| write(work, "src/settings/tasks.json", text);
    for (left, right) in [(link, file), (file, link)] {
        let seen = together(&[], left, right);
        assert_eq!(seen, ["host-executable src/settings/tasks.json"]);
    }
}

#[test]
fn attack_g11_a_link_that_one_brings_and_a_file_that_another_puts_behind_it_wait() {
    behind_a_link("{}");
}

#[test]
fn attack_g11_an_approval_for_one_reason_is_none_for_another() {
    // Its letters are approved when it is handed over, by itself.
    behind_a_link("{\"p\u{430}y\": 1}\n");
}

#[test]
fn attack_g01_another_spelling_that_one_brings_acquits_no_repository_of_two() {
    let seen = together(
        &[],
        &|work| {
            write(work, "src/b/HEAD", "ref: refs/heads/x\n");
            write(work, "src/b/objects/.k", "");
        },
        &|work| {
            write(work, "src/b/HEAD.", "notes\n");
            write(work, "src/b/refs/.k", "");
        },
    );
    assert!(
        seen.contains(&"nested-repository src/b".to_owned()),
        "{seen:?}"
    );
}

#[test]
fn attack_g05_names_that_some_file_system_takes_for_one_are_twins() {
    for (one, other) in [
        ("src/caf\u{e9}", "src/cafe\u{301}"),
        ("src/mod.js", "src/mod.js."),
        ("src/mod.js", "src/mod.js "),
    ] {
        let seen = together(&[], &|work| write(work, one, "a\n"), &|work| {
            write(work, other, "b\n");
        });
        assert!(
            seen.len() == 1 && seen[0].starts_with("file-name "),
            "{seen:?}"
        );
    }
    let seen = together(
        &[],
        &|work| symlink("DIR/../../x", at(work, "src/esc")).unwrap(),
        &|work| symlink(".", at(work, "src/dir")).unwrap(),
    );
    assert_eq!(seen, ["symlink-escape src/esc"]);
}

#[test]
fn attack_g07_what_takes_too_long_to_judge_does_not_land() {
    let world = World::new();
    let before = world.git(&["rev-parse", "HEAD"]).parse().unwrap();
    world.file("src/new", "x");
    world.save("as if it were merged");
    let repository = world.open();
    let sides = Sides {
        head: &before,
        work: &before,
        base: &before,
    };
    let judged = by(&["**"], &BTreeSet::new(), |terms| {
        let caps = Caps {
            time: std::time::Duration::ZERO,
            ..Caps::default()
        };
        let terms = Terms {
            caps: &caps,
            ..*terms
        };
        repository.judge_merged(sides, repository.head(), &terms)
    });
    let seen = found(&judged.unwrap());
    assert!(
        !seen.is_empty() && seen.iter().all(|one| one.starts_with("time ")),
        "{seen:?}"
    );
}

#[test]
fn attack_s01_contents_that_neither_side_has_are_read_anew() {
    let world = World::new();
    world.file("src/text", "kept-value-of-a-test\n");
    world.file("src/large", &"x".repeat((8 << 20) + 1));
    world.save("as if it were merged");
    let repository = world.open();
    let before = repository.resolve("HEAD~1").unwrap();
    let sides = Sides {
        head: &before,
        work: &before,
        base: &before,
    };
    let judged = by(&["**"], &BTreeSet::new(), |terms| {
        repository
            .judge_merged(sides, repository.head(), terms)
            .unwrap()
    });
    assert_eq!(found(&judged), ["size src/large", "secret-value src/text"]);
}

#[test]
fn what_the_branch_has_already_is_no_fault_of_who_merges() {
    let base = [
        ("src/fixture/HEAD", "ref: refs/heads/x\n"),
        ("src/fixture/objects/k", ""),
        ("src/fixture/refs/k", ""),
        ("src/Pair.txt", ""),
        ("src/pair.txt", ""),
    ];
    let world = World::new();
    base.iter().for_each(|(path, text)| world.file(path, text));
    symlink("/etc", world.root().join("src/out")).unwrap();
    world.save("base");
    let repository = world.open();
    let write_to = |path: &'static str| {
        let commit = |name: &str| {
            world.git(&["checkout", "-q", "-b", name, repository.head().as_str()]);
            world.file(path, "new\n");
            world.save(name);
            repository.resolve(name).unwrap()
        };
        commit(&path.replace('/', "-"))
    };
    let judged = |head: &ObjectId, work: &ObjectId, may: &[&str]| {
        let Join::Merge(tree) = repository.join(head, work).unwrap() else {
            panic!("no merge")
        };
        let base = repository.head();
        let sides = Sides { head, work, base };
        let nobody = BTreeSet::new();
        found(&by(may, &nobody, |terms| {
            repository.judge_merged(sides, &tree, terms).unwrap()
        }))
    };
    let (left, right) = (write_to("src/left"), write_to("src/right"));
    assert_eq!(judged(&left, &right, &["**"]), Vec::<String>::new());
    assert_eq!(
        judged(&left, &right, &["docs/**"]),
        ["write-globs src/right"]
    );
    let inside = write_to("src/fixture/config");
    assert_eq!(
        judged(&left, &inside, &["**"]),
        ["nested-repository src/fixture"]
    );
}

/// Takes back the first of two steps on main.
fn undone(base: &[(&str, &str)], one: Deed<'_>, two: Deed<'_>) -> Vec<String> {
    let world = World::new();
    base.iter().for_each(|(path, text)| world.file(path, text));
    world.save("base");
    let repository = world.open();
    let step = |deed: Deed<'_>, name: &str| {
        deed(&world.root());
        world.save(name);
        repository.resolve("main").unwrap()
    };
    let landed = step(one, "one");
    let head = step(two, "two");
    let base = repository.head();
    let Undone::Tree(tree) = repository.undo(&head, base, &landed).unwrap() else {
        panic!("it cannot be taken back")
    };
    let sides = Sides {
        head: &head,
        work: base,
        base: &landed,
    };
    let judged = repository.judge_undone(sides, &tree, &Redactor::default());
    found(&judged.unwrap())
}

#[test]
fn what_a_person_takes_back_is_what_was_there_before() {
    let seen = undone(
        &[("Makefile", "all:\n"), ("src/a", "1\n")],
        &|root| {
            write(root, "Makefile", "all: evil\n");
            fs::remove_file(root.join("src/a")).unwrap();
        },
        &|root| write(root, "src/b", "2\n"),
    );
    assert_eq!(seen, Vec::<String>::new());
}

#[test]
fn attack_g11_taking_back_leaves_nothing_that_the_gate_would_refuse() {
    let seen = undone(
        &[("src/twin.txt", "1\n")],
        &|root| fs::remove_file(root.join("src/twin.txt")).unwrap(),
        &|root| write(root, "src/Twin.txt", "2\n"),
    );
    assert_eq!(seen, ["file-name src/twin.txt"]);
    let lines = "all:\n\ttrue\n\ttrue\n\ttrue\n\ttrue\nend:\n";
    let seen = undone(
        &[("Makefile", lines)],
        &|root| write(root, "Makefile", &lines.replace("all:", "all: a")),
        &|root| {
            write(
                root,
                "Makefile",
                &lines.replace("all:", "all: a").replace("end:", "end: b"),
            );
        },
    );
    assert_eq!(seen, ["host-executable Makefile"]);
}
