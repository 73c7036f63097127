use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    time::Instant,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Caps;
use crate::{
    git::{
        Repository, Slot,
        world::{World, globs, judge, rules, write},
    },
    policy::Files,
    redact::Redactor,
};

mod base;

/// A slot that an agent then fills.
fn filled(fill: impl FnOnce(&Path)) -> (World, Repository, Slot) {
    given(World::new(), fill)
}

/// The same, where the base holds these files.
pub(super) fn worked(base: &[(&str, &str)], work: impl FnOnce(&Path)) -> (World, Repository, Slot) {
    let world = World::new();
    base.iter().for_each(|(path, text)| world.file(path, text));
    world.file("base", "");
    world.save("base");
    given(world, work)
}

fn given(world: World, work: impl FnOnce(&Path)) -> (World, Repository, Slot) {
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    work(slot.work());
    (world, repository, slot)
}

fn breaches_of(fill: impl FnOnce(&Path)) -> Vec<String> {
    let (_world, repository, slot) = filled(fill);
    rules(&judge(&repository, &slot))
}

#[test]
fn an_untouched_slot_has_no_changes_and_the_tree_of_its_base() {
    let (_world, repository, slot) = filled(|_| {});
    let work = judge(&repository, &slot);
    assert_eq!((work.changes.len(), rules(&work)), (0, vec![]));
    assert_eq!(
        work.tree,
        Some(repository.tree_of(repository.head()).unwrap())
    );
}

#[test]
fn work_within_the_write_globs_passes() {
    let (_world, repository, slot) = filled(|work| {
        write(work, "src/new.rs", "new\n");
        write(work, "src/app.rs", "changed\n");
        write(work, "target/debug/app", "ignored build output");
    });
    let work = judge(&repository, &slot);
    let seen: Vec<_> = work
        .changes
        .iter()
        .map(|c| format!("{} {}", c.status, c.path))
        .collect();
    assert_eq!(seen, ["M src/app.rs", "A src/new.rs"]);
    assert!(work.passed().is_some(), "{:?}", work.breaches);
    assert_eq!(judge(&repository, &slot), work);
}

#[test]
fn writing_outside_the_globs_is_a_breach_however_it_is_done() {
    let seen = breaches_of(|work| {
        write(work, "outside.txt", "new");
        fs::remove_file(work.join("secret/key")).unwrap();
        fs::set_permissions(work.join("README.md"), PermissionsExt::from_mode(0o755)).unwrap();
        fs::rename(work.join("src/app.rs"), work.join("moved.rs")).unwrap();
    });
    let expected = ["README.md", "moved.rs", "outside.txt", "secret/key"];
    assert_eq!(seen, expected.map(|path| format!("write-globs {path}")));
}

#[test]
fn a_file_that_became_a_directory_is_a_removal_and_an_addition() {
    let seen = breaches_of(|work| {
        fs::remove_file(work.join("README.md")).unwrap();
        write(work, "README.md/inside", "x");
    });
    assert_eq!(
        seen,
        ["write-globs README.md", "write-globs README.md/inside"]
    );
}

#[test]
fn an_ignore_file_of_the_agent_hides_no_change_to_a_tracked_file() {
    let seen = breaches_of(|work| {
        write(work, "src/.gitignore", "*\n");
        write(work, ".git/info/exclude", "*\n");
        write(work, "secret/.gitignore", "*\n");
        write(work, "secret/key", "changed\n");
    });
    assert_eq!(seen, ["write-globs secret/key"]);
}

#[test]
fn loki_files_are_never_an_agents_to_change() {
    let world = World::new();
    world.file(".loki/policies/p.yaml", "version: 1\n");
    world.git(&["add", "-f", ".loki"]);
    world.save("policy");
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    write(
        slot.work(),
        ".loki/policies/p.yaml",
        "version: 1 # wide open\n",
    );
    let all = Files {
        read: globs(&["**"]),
        write: globs(&["**"]),
    };
    let work = repository
        .hand_over(&slot, &all, &Caps::default(), &Redactor::default())
        .unwrap();
    assert_eq!(rules(&work), ["write-globs .loki/policies/p.yaml"]);
}

#[test]
fn special_files_are_breaches() {
    let seen = breaches_of(|work| {
        let pipe = work.join("src/pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        UnixListener::bind(work.join("src/socket")).unwrap();
        fs::create_dir_all(work.join("target")).unwrap();
        UnixListener::bind(work.join("target/ignored")).unwrap();
        write(work, "src/suid", "x");
        fs::set_permissions(work.join("src/suid"), PermissionsExt::from_mode(0o4755)).unwrap();
    });
    assert_eq!(
        sorted(seen),
        [
            "set-id src/suid",
            "special-file src/pipe",
            "special-file src/socket"
        ]
    );
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[test]
fn nested_repositories_are_seen_before_git_looks_into_them() {
    let (_world, repository, slot) = filled(|work| {
        write(work, "src/sub/.git/HEAD", "ref: refs/heads/main\n");
        write(work, "src/file/.git", "gitdir: /etc\n");
        for path in ["src/bare/HEAD", "src/bare/objects/x", "src/bare/refs/x"] {
            write(work, path, "ref: refs/heads/main\n");
        }
        write(work, "target/sub/.git/HEAD", "ignored\n");
    });
    let work = judge(&repository, &slot);
    let expected = ["src/bare", "src/file", "src/sub"];
    assert_eq!(
        sorted(rules(&work)),
        expected.map(|path| format!("nested-repository {path}"))
    );
    assert_eq!(work.tree, None);
}

#[test]
fn a_nested_repository_over_tracked_files_cannot_hide_behind_an_ignore_file() {
    let seen = breaches_of(|work| {
        write(work, ".gitignore", "target/\nsrc/\n");
        write(work, "src/.git/HEAD", "ref: refs/heads/main\n");
    });
    assert_eq!(seen, ["nested-repository src"]);
}

#[test]
fn links_that_leave_the_worktree_are_breaches_and_others_are_not() {
    let seen = breaches_of(|work| {
        for (target, name) in [
            ("/etc/shadow", "absolute"),
            ("../../etc/passwd", "up"),
            ("inner/../../../x", "through"),
            ("../.git/config", "into-git"),
            ("loop", "loop"),
            ("../README.md", "good"),
            ("app.rs", "better"),
            ("nowhere/yet", "dangling"),
        ] {
            symlink(target, work.join("src").join(name)).unwrap();
        }
        symlink("..", work.join("src/inner")).unwrap();
        fs::create_dir(work.join("target")).unwrap();
        symlink("/usr/bin/python3", work.join("target/python")).unwrap();
    });
    let expected = ["absolute", "into-git", "loop", "through", "up"];
    assert_eq!(
        seen,
        expected.map(|name| format!("symlink-escape src/{name}"))
    );
}

#[test]
fn a_link_of_the_base_may_stay_but_not_be_bent() {
    let world = World::new();
    symlink("/etc/hosts", world.root().join("own")).unwrap();
    symlink("src/dir/../../README.md", world.root().join("bent")).unwrap();
    world.file("src/dir/x", "x");
    world.save("links");
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    assert_eq!(rules(&judge(&repository, &slot)), Vec::<String>::new());
    fs::remove_dir_all(slot.work().join("src/dir")).unwrap();
    symlink("..", slot.work().join("src/dir")).unwrap();
    assert_eq!(rules(&judge(&repository, &slot)), ["symlink-escape bent"]);
}

#[test]
fn hard_links_within_are_fine_and_to_the_outside_are_not() {
    let (world, repository, slot) = filled(|work| {
        fs::hard_link(work.join("src/app.rs"), work.join("src/same.rs")).unwrap();
    });
    assert_eq!(rules(&judge(&repository, &slot)), Vec::<String>::new());
    write(world.dir.path(), "outside", "canary");
    fs::hard_link(
        world.dir.path().join("outside"),
        slot.work().join("src/stolen"),
    )
    .unwrap();
    let work = judge(&repository, &slot);
    assert_eq!(
        (rules(&work), work.tree),
        (vec!["hard-link src/stolen".to_owned()], None)
    );
}

#[test]
fn sizes_and_counts_are_judged_before_anything_is_stored() {
    let (_world, repository, slot) = filled(|work| {
        write(work, "src/a", &"x".repeat(600));
        write(work, "src/b", &"y".repeat(600));
        write(work, "target/huge", &"z".repeat(6000));
    });
    let files = Files {
        read: globs(&["**"]),
        write: globs(&["src/**"]),
    };
    let judged = |file_bytes, total_bytes, files_count| {
        let caps = Caps {
            file_bytes,
            total_bytes,
            files: files_count,
            ..Caps::default()
        };
        rules(
            &repository
                .hand_over(&slot, &files, &caps, &Redactor::default())
                .unwrap(),
        )
    };
    assert_eq!(judged(500, 5000, 9), ["size src/a", "size src/b"]);
    assert_eq!(judged(600, 1000, 9), ["size ."]);
    assert_eq!(judged(600, 1200, 1), ["count ."]);
    assert_eq!(judged(600, 1200, 2), Vec::<String>::new());
}

#[test]
fn names_that_are_not_text_are_refused_and_shown_escaped() {
    let seen = breaches_of(|work| {
        let name = OsStr::from_bytes(b"src/\xff\x1b[2J");
        fs::copy(work.join("README.md"), work.join(name)).unwrap();
    });
    assert_eq!(seen, ["file-name src/\u{fffd}\\u{1b}[2J"]);
}

#[test]
fn hostile_names_are_only_names() {
    let names = [
        "$(touch x)",
        "--help",
        "'; id",
        "new\nline",
        "-rf",
        ":(top)x",
        "a*b",
        " ",
    ];
    let (world, repository, slot) = filled(|work| {
        for name in names {
            write(work, &format!("src/{name}"), "x");
        }
    });
    let work = judge(&repository, &slot);
    assert_eq!((work.changes.len(), rules(&work)), (names.len(), vec![]));
    repository
        .commit(&slot, work.passed().unwrap(), "names", &world.signature())
        .unwrap();
    assert!(!world.root().join("x").exists());
}

#[test]
fn files_the_role_may_not_read_are_absent_and_stay_in_the_tree() {
    let world = World::new();
    let repository = world.open();
    let read = globs(&["src/**", "README.md"]);
    let slot = world.sparse_slot(&repository, "store", repository.head(), Some(&read));
    assert!(!slot.work().join("secret").exists() && slot.work().join("src/app.rs").exists());
    write(slot.work(), "src/new", "x");
    let work = judge(&repository, &slot);
    assert_eq!((work.changes.len(), rules(&work)), (1, vec![]));
    write(slot.work(), "secret/key", "replaced");
    assert_eq!(
        rules(&judge(&repository, &slot)),
        ["write-globs secret/key"]
    );
    fs::remove_dir_all(slot.work().join("secret")).unwrap();
    write(slot.work(), "secret", "a file over the directory");
    let seen = rules(&judge(&repository, &slot));
    assert_eq!(seen, ["write-globs secret", "write-globs secret/key"]);
}

#[test]
fn refused_work_is_kept_where_no_branch_sees_it() {
    let (world, repository, slot) = filled(|work| write(work, "outside", "kept"));
    let work = judge(&repository, &slot);
    let kept = repository
        .quarantine(&slot, 2, &work, &world.signature())
        .unwrap();
    assert_eq!(kept.as_deref(), Some("refs/loki/quarantine/r1/store/2"));
    assert_eq!(
        world.git(&["show", "refs/loki/quarantine/r1/store/2:outside"]),
        "kept"
    );
    assert!(
        repository
            .quarantine(&slot, 2, &work, &world.signature())
            .is_ok()
    );
}

#[test]
fn a_submodule_of_the_base_is_absent_and_unchanged() {
    let world = World::new();
    let head = world.git(&["rev-parse", "HEAD"]);
    world.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{head},sub"),
    ]);
    world.git(&["commit", "-q", "-m", "submodule"]);
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    assert!(!slot.work().join("sub").exists());
    let work = judge(&repository, &slot);
    assert_eq!((work.changes.len(), rules(&work)), (0, vec![]));
}

#[test]
fn line_ends_and_attributes_change_no_byte() {
    let world = World::new();
    world.file(
        ".gitattributes",
        "* text=auto eol=crlf ident\nsrc/dos.txt working-tree-encoding=UTF-16\n",
    );
    world.git(&["-c", "core.autocrlf=false", "add", ".gitattributes"]);
    world.git(&["commit", "-q", "-m", "attributes"]);
    let repository = world.open();
    let slot = world.slot(&repository, "store", repository.head());
    assert_eq!(
        fs::read(slot.work().join("src/app.rs")).unwrap(),
        b"fn main() {}\n"
    );
    write(slot.work(), "src/dos.txt", "$Id$\r\n");
    let work = judge(&repository, &slot);
    let commit = repository.commit(&slot, work.passed().unwrap(), "crlf", &world.signature());
    let blob = format!("{}:src/dos.txt", commit.unwrap());
    assert_eq!(
        world.git(&["cat-file", "-s", &blob]),
        "$Id$\r\n".len().to_string()
    );
}

/// Reports, and only bounds what would be absurd: not a timed test.
#[test]
fn a_thousand_files_are_prepared_and_judged() {
    let world = World::new();
    for n in 0..1000 {
        world.file(&format!("src/d{}/f{n}", n % 20), "some text\n");
    }
    world.save("many");
    let repository = world.open();
    #[expect(clippy::disallowed_methods, reason = "reports how long it takes")]
    let started = Instant::now();
    let slot = world.slot(&repository, "store", repository.head());
    let prepared = started.elapsed();
    write(slot.work(), "src/new", "x");
    let work = judge(&repository, &slot);
    let judged = started.elapsed() - prepared;
    slot.remove(&repository).unwrap();
    let removed = started.elapsed() - prepared - judged;
    println!("1,000 files: prepare {prepared:?}, hand over {judged:?}, remove {removed:?}");
    assert_eq!((work.changes.len(), rules(&work)), (1, vec![]));
}

#[test]
fn breaches_without_number_are_listed_as_far_as_a_journal_line_holds_them() {
    let (_world, repository, slot) = filled(|work| {
        for number in 0..3000 {
            let pipe = work.join(format!("src/{number}"));
            mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }
    });
    let work = judge(&repository, &slot);
    assert_eq!(work.breaches.len(), 1001);
    assert_eq!(work.passed(), None);
    let last = &work.breaches.last().unwrap().message;
    assert_eq!(last, "and 2000 further ones, which are not listed");
}

#[test]
fn the_value_of_a_secret_leaves_in_no_file_link_or_name_and_git_never_reads_it() {
    use zeroize::Zeroizing;

    let value = "canary-0123456789";
    let kept = [("KEY".to_owned(), Zeroizing::new(value.to_owned()))];
    let secrets = Redactor::new(&crate::redact::Values::from_iter(kept));
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let far = format!("{}{hex}", "x".repeat(128 * 1024 - 7));
    let (world, repository, slot) = filled(|work| {
        write(work, "src/plain.rs", value);
        write(work, "src/far.rs", &far);
        write(work, "src/harmless.rs", "canary");
        write(work, ".gitignore", "target/\n");
        write(work, "target/kept.env", value);
        symlink(value, work.join("src/link")).unwrap();
        write(work, &format!("src/{value}.rs"), "x");
    });
    let all = Files {
        read: globs(&["**"]),
        write: globs(&["**"]),
    };
    let work = repository
        .hand_over(&slot, &all, &Caps::default(), &secrets)
        .unwrap();
    let seen = [
        "secret-value .",
        "secret-value src/far.rs",
        "secret-value src/link",
        "secret-value src/plain.rs",
    ];
    assert_eq!(rules(&work), seen);
    assert!(work.holds_secret() && work.tree.is_none());
    let blobs = world.git(&["cat-file", "--batch-all-objects", "--batch-check"]);
    for blob in blobs.lines().filter(|line| line.contains(" blob ")) {
        let text = world.git(&["cat-file", "blob", blob.split(' ').next().unwrap()]);
        assert!(!text.contains("canary-") && !text.contains(&hex), "{text}");
    }
}
