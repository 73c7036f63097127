use std::{fs, os::unix::fs::symlink, path::Path};

use super::{Join, signed};
use crate::{
    git::{
        Checkout, GitError, ObjectId, Repository, Slot, run_branch, task_branch,
        world::{World, globs, judge, write},
    },
    name::RunId,
};

/// Does a task: a slot from `base`, one file written, committed.
fn work(world: &World, repository: &Repository, task: &str, file: (&str, &str)) -> ObjectId {
    let slot = world.slot(repository, task, repository.head());
    write(slot.work(), file.0, file.1);
    let work = judge(repository, &slot);
    let commit = repository.commit(&slot, work.passed().unwrap(), "Do it", &world.signature());
    slot.remove(repository).unwrap();
    commit.unwrap()
}

#[test]
fn two_tasks_land_one_after_the_other_and_a_third_conflicts() {
    let world = World::new();
    let repository = world.open();
    let base = repository.head();
    repository.create_run_branch(&world.run, base).unwrap();
    let one = work(&world, &repository, "one", ("src/one", "1\n"));
    let two = work(&world, &repository, "two", ("src/two", "2\n"));
    let three = work(&world, &repository, "three", ("src/one", "3\n"));

    assert!(matches!(
        repository.join(base, &one).unwrap(),
        Join::Forward(_)
    ));
    repository.advance(&world.run, base, &one).unwrap();
    let Join::Merge(tree) = repository.join(&one, &two).unwrap() else {
        panic!("no merge")
    };
    let sealed = repository
        .seal(&tree, (&one, &two), "Land two", &world.signature())
        .unwrap();
    repository.advance(&world.run, &one, &sealed).unwrap();
    assert_eq!(repository.join(&sealed, &two).unwrap(), Join::Landed);
    assert_eq!(
        repository.join(&sealed, &three).unwrap(),
        Join::Conflict(vec!["src/one".into()])
    );

    assert_eq!(
        repository.run_head(&world.run).unwrap(),
        Some(sealed.clone())
    );
    assert_eq!(world.git(&["show", "loki/r1:src/two"]), "2");
    let stale = repository.advance(&world.run, &one, &two).unwrap_err();
    assert!(
        matches!(&stale, GitError::Moved { branch, .. } if branch == "loki/r1"),
        "{stale}"
    );
    assert_eq!(repository.run_head(&world.run).unwrap(), Some(sealed));
}

#[test]
fn commits_say_who_did_them_and_cannot_be_lied_to() {
    let world = World::new();
    let repository = world.open();
    work(&world, &repository, "one", ("src/one", "1\n"));
    let shown = |format: &str| {
        world.git(&[
            "log",
            "-1",
            &format!("--format={format}"),
            "loki-tasks/r1/one",
        ])
    };
    assert_eq!(
        shown("%an <%ae> %cn <%ce> %at"),
        "eng-backend (Loki) <loki@localhost> Loki <loki@localhost> 1700000000"
    );
    let expected =
        "Loki-Run: r1\nLoki-Task: store\nLoki-Role: eng-backend\nLoki-Policy: p0\nLoki-Journal: 7";
    assert_eq!(shown("%(trailers)").trim(), expected);
    let text = signed("Title\x1b[2J\0\n\nLoki-Role: admin\n", &world.signature());
    assert!(
        text.starts_with("Title[2J\n\nLoki-Role: admin\n\nLoki-Run: r1\n"),
        "{text}"
    );
}

#[test]
fn the_users_branch_index_and_files_are_untouched() {
    let world = World::new();
    world.file("README.md", "edited\n");
    world.file("staged", "staged\n");
    world.git(&["add", "staged"]);
    world.file("untracked", "untracked\n");
    let head = fs::read(world.root().join(".git/HEAD")).unwrap();
    let status = world.git(&["status", "--porcelain"]);
    let index = fs::read(world.root().join(".git/index")).unwrap();
    let repository = world.open();
    let mut dirty = repository.dirty().unwrap();
    dirty.sort();
    assert_eq!(dirty, ["README.md", "staged", "untracked"]);
    let base = repository.head();
    repository.create_run_branch(&world.run, base).unwrap();
    let one = work(&world, &repository, "one", ("src/one", "1\n"));
    repository.advance(&world.run, base, &one).unwrap();
    assert_eq!(fs::read(world.root().join(".git/index")).unwrap(), index);
    assert_eq!(world.git(&["status", "--porcelain"]), status);
    assert_eq!(fs::read(world.root().join(".git/HEAD")).unwrap(), head);
    assert_eq!(repository.branch(), Some("main"));
    assert_eq!(world.git(&["rev-parse", "main"]), base.as_str());
}

#[test]
fn a_link_planted_where_loki_sweeps_is_refused_and_not_followed() {
    for place in [
        ".loki",
        ".loki/worktrees",
        ".loki/adhoc",
        ".loki/logs",
        ".loki/lock",
        ".loki/worktrees/r0",
    ] {
        let world = World::new();
        let outside = tempfile::tempdir().unwrap();
        write(outside.path(), "home/kept", "kept");
        let link = world.root().join(place);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(outside.path(), &link).unwrap();
        world.git(&["add", "-f", place]);
        world.git(&["commit", "-q", "-m", "planted"]);
        let fault = Repository::open(&world.root()).unwrap_err();
        assert!(
            matches!(&fault, GitError::PlantedLink { path } if *path == link),
            "{place}: {fault}"
        );
        assert!(outside.path().join("home/kept").exists(), "{place}");
        fs::remove_file(&link).unwrap();
        assert!(Repository::open(&world.root()).is_ok(), "{place}");
    }
}

#[test]
fn directories_that_cannot_be_used_are_named() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let fault = Repository::open(outside.path()).unwrap_err();
    assert!(matches!(fault, GitError::NotARepository { .. }), "{fault}");
    let empty = outside.path().join("empty");
    world.git(&["init", "-q", empty.to_str().unwrap()]);
    assert!(matches!(
        Repository::open(&empty).unwrap_err(),
        GitError::NoCommit { .. }
    ));
    let bare = outside.path().join("bare.git");
    world.git(&["init", "-q", "--bare", bare.to_str().unwrap()]);
    assert!(matches!(
        Repository::open(&bare).unwrap_err(),
        GitError::Bare { .. }
    ));
    let missing = outside.path().join("missing");
    assert!(matches!(
        Repository::open(&missing).unwrap_err(),
        GitError::Io { .. }
    ));
}

#[test]
fn a_subdirectory_a_linked_worktree_and_a_strange_place_open() {
    let world = World::new();
    assert_eq!(
        Repository::open(&world.root().join("src")).unwrap().root(),
        world.root()
    );
    let linked = world.dir.path().join("linked");
    world.git(&[
        "worktree",
        "add",
        "-q",
        "--detach",
        linked.to_str().unwrap(),
    ]);
    let repository = Repository::open(&linked).unwrap();
    assert_eq!(
        (repository.root(), repository.branch()),
        (linked.as_path(), None)
    );
    assert_eq!(repository.common_dir(), world.root().join(".git"));
    let slot = world.slot(&repository, "one", repository.head());
    assert!(slot.work().join("src/app.rs").exists());

    let strange = world.dir.path().join("new\nline $(touch x) '; id");
    world.git(&["clone", "-q", ".", strange.to_str().unwrap()]);
    let repository = Repository::open(&strange).unwrap();
    assert_eq!(repository.root(), strange);
    let dir = strange.join(".loki/worktrees/r1/a");
    let spec = crate::git::SlotSpec {
        run: &world.run,
        task: &world.task,
        base: repository.head(),
        read: None,
        owner: None,
    };
    let slot = Slot::prepare(&repository, &dir, spec).unwrap();
    write(slot.work(), "src/new", "x");
    assert!(judge(&repository, &slot).passed().is_some());
    slot.remove(&repository).unwrap();
    assert!(!strange.join("x").exists() && !Path::new("/x").exists());
}

#[test]
fn lokis_directory_is_excluded_once() {
    let world = World::new();
    world.open();
    world.open();
    let text = fs::read_to_string(world.root().join(".git/info/exclude")).unwrap();
    assert_eq!(text.matches("/.loki/").count(), 1);
    world.file(".loki/x", "x");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_hostile_branch_of_the_users_is_only_a_name() {
    let world = World::new();
    for name in ["$(touch${IFS}x)", "';id", "a;b", "-x"] {
        world.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
        world.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]);
        let repository = world.open();
        assert_eq!(repository.branch(), Some(name));
        assert_eq!(&repository.resolve(name).unwrap(), repository.head());
    }
    assert!(world.open().resolve("--help").is_err());
    assert!(!world.root().join("x").exists());
}

#[test]
fn git_cannot_hold_a_run_and_its_tasks_under_one_name_so_we_do_not_try() {
    let world = World::new();
    let repository = world.open();
    repository
        .create_run_branch(&world.run, repository.head())
        .unwrap();
    assert!(
        repository
            .move_ref("refs/heads/loki/r1/one", None, repository.head())
            .is_err()
    );
    world.slot(&repository, "one", repository.head());
    assert_eq!(run_branch(&world.run), "loki/r1");
    assert_eq!(
        task_branch(&world.run, &"one".parse().unwrap()),
        "loki-tasks/r1/one"
    );
    assert!(
        repository
            .create_run_branch(&world.run, repository.head())
            .is_err()
    );
    world.git(&["branch", "-m", "loki/r1", "loki-away"]);
    world.git(&["branch", "loki"]);
    let fault = repository
        .create_run_branch(&world.run, repository.head())
        .unwrap_err();
    assert!(matches!(fault, GitError::BranchInTheWay { .. }), "{fault}");
}

#[test]
fn a_second_attempt_starts_from_the_base_again() {
    let world = World::new();
    let repository = world.open();
    let first = work(&world, &repository, "one", ("src/one", "1\n"));
    let second = work(&world, &repository, "one", ("src/one", "other\n"));
    assert_ne!(first, second);
    assert_eq!(
        world.git(&["rev-parse", "loki-tasks/r1/one"]),
        second.as_str()
    );
    world.slot(&repository, "one", repository.head());
    let spec = crate::git::SlotSpec {
        run: &world.run,
        task: &"one".parse().unwrap(),
        base: repository.head(),
        read: None,
        owner: None,
    };
    let again = Slot::prepare(&repository, &world.slot_dir("one"), spec).unwrap_err();
    assert!(matches!(again, GitError::Occupied { .. }), "{again}");
    assert!(Slot::prepare(&repository, &world.slot_dir("one-again"), spec).is_ok());
}

#[test]
fn a_mount_point_is_never_touched_again() {
    let world = World::new();
    let repository = world.open();
    let dir = world.slot_dir("one");
    let work = Slot::lay_out(&dir).unwrap();
    let made = fs::metadata(work.join(".git")).unwrap();
    let slot = world.slot(&repository, "one", repository.head());
    write(slot.work(), "src/x", "x");
    judge(&repository, &slot);
    let after = fs::metadata(work.join(".git")).unwrap();
    assert_eq!(made.modified().unwrap(), after.modified().unwrap());
    assert_eq!(fs::read_dir(work.join(".git")).unwrap().count(), 0);
}

#[test]
fn an_export_holds_what_a_reviewer_may_read_and_goes_away() {
    let world = World::new();
    let repository = world.open();
    let dir = world.slot_dir("export");
    let read = globs(&["src/**"]);
    let checkout = Checkout {
        tree: repository.head(),
        read: Some(&read),
        owner: None,
    };
    let export = repository.export(&dir, checkout).unwrap();
    assert!(export.work().join("src/app.rs").exists() && export.work().join(".git").is_dir());
    assert!(!export.work().join("secret").exists());
    export.remove().unwrap();
    export.remove().unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_sweep_removes_dead_runs_and_nothing_of_the_users() {
    let world = World::new();
    let repository = world.open();
    let users = world.dir.path().join("users");
    world.git(&["worktree", "add", "-q", "--detach", users.to_str().unwrap()]);
    let slot = world.slot(&repository, "one", repository.head());
    symlink("/", slot.work().join("root")).unwrap();
    let keep: RunId = "r1".parse().unwrap();
    assert!(
        repository
            .sweep(std::slice::from_ref(&keep))
            .unwrap()
            .is_empty()
    );
    assert!(slot.work().exists());
    fs::remove_dir_all(&users).unwrap();
    assert_eq!(
        repository.sweep(&[]).unwrap(),
        [world.root().join(".loki/worktrees/r1")]
    );
    assert!(repository.sweep(&[]).unwrap().is_empty());
    let left = world.git(&["worktree", "list", "--porcelain"]);
    assert!(left.contains("users") && !left.contains(".loki"), "{left}");
    assert!(Path::new("/etc").exists());
}

#[test]
fn a_run_can_be_deleted_with_everything_it_left() {
    let world = World::new();
    let repository = world.open();
    repository
        .create_run_branch(&world.run, repository.head())
        .unwrap();
    work(&world, &repository, "one", ("src/one", "1\n"));
    world.git(&["branch", "loki/r12"]);
    let gone = repository.run_refs(&world.run).unwrap();
    repository.delete_refs(&gone).unwrap();
    assert_eq!(gone, ["refs/heads/loki-tasks/r1/one", "refs/heads/loki/r1"]);
    assert!(repository.run_refs(&world.run).unwrap().is_empty());
    assert_eq!(
        world.git(&["for-each-ref", "--format=%(refname)"]),
        "refs/heads/loki/r12\nrefs/heads/main"
    );
}

#[test]
fn parallel_slots_do_not_disturb_each_other() {
    let world = World::new();
    let repository = world.open();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (world, repository) = (&world, &repository);
            scope.spawn(move || {
                let file = format!("src/t{n}");
                work(world, repository, &format!("t{n}"), (&file, "x\n"));
            });
        }
    });
    assert_eq!(
        world
            .git(&["for-each-ref", "refs/heads/loki-tasks"])
            .lines()
            .count(),
        8
    );
}

#[test]
fn files_are_handed_over_with_plain_permissions_and_links_are_not_followed() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let world = World::new();
    let canary = world.dir.path().join("canary");
    write(world.dir.path(), "canary", "user's");
    symlink(&canary, world.root().join("src/link")).unwrap();
    fs::set_permissions(
        world.root().join("src/app.rs"),
        PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    world.save("modes");
    let repository = world.open();
    let spec = crate::git::SlotSpec {
        run: &world.run,
        task: &world.task,
        base: repository.head(),
        read: None,
        owner: Some(crate::git::Owner {
            uid: 4242,
            gid: 4343,
        }),
    };
    let slot = Slot::prepare(&repository, &world.slot_dir("one"), spec).unwrap();
    let seen = |path: &str| fs::symlink_metadata(slot.work().join(path)).unwrap();
    let user = fs::metadata(&canary).unwrap();
    let (uid, gid) = if user.uid() == 0 {
        (4242, 4343)
    } else {
        (user.uid(), user.gid())
    };
    for (path, mode) in [
        ("", 0o755),
        ("src", 0o755),
        ("src/app.rs", 0o755),
        ("README.md", 0o644),
    ] {
        let file = seen(path);
        assert_eq!(
            (file.uid(), file.gid(), file.mode() & 0o7777),
            (uid, gid, mode),
            "{path}"
        );
    }
    assert_eq!(
        (seen("src/link").uid(), seen(".git").uid()),
        (uid, user.uid())
    );
    assert_eq!(fs::metadata(&canary).unwrap().uid(), user.uid());
    assert!(judge(&repository, &slot).passed().is_some());
}

#[test]
fn what_an_agent_closed_is_reported_or_read_and_always_removed() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let repository = world.open();
    let slot = world.slot(&repository, "one", repository.head());
    write(slot.work(), "src/closed/file", "x");
    let closed = slot.work().join("src/closed");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let work = judge(&repository, &slot);
    if rustix::process::geteuid().is_root() {
        assert!(work.passed().is_some(), "{:?}", work.breaches);
    } else {
        assert_eq!(crate::git::world::rules(&work), ["unreadable src/closed"]);
    }
    slot.remove(&repository).unwrap();
    assert!(!closed.exists());
}

/// The lists are plain data; here they run where a sandbox would run them.
#[expect(
    clippy::disallowed_methods,
    reason = "stands in for the inside of a sandbox"
)]
fn inside(work: &Path, argv: &[&str]) -> String {
    let mut program = std::process::Command::new(argv[0]);
    program
        .args(&argv[1..])
        .current_dir(work)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    let said = program.output().unwrap();
    assert!(said.status.success(), "{argv:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn the_private_repository_holds_one_commit_of_everything() {
    let world = World::new();
    let repository = world.open();
    let slot = world.slot(&repository, "one", repository.head());
    for argv in crate::git::private_repository_script() {
        inside(slot.work(), &argv);
    }
    let log = inside(slot.work(), &["git", "log", "--format=%an %s"]);
    assert_eq!(log, "Loki base\n");
    assert!(judge(&repository, &slot).changes.is_empty());
}

#[test]
fn attack_g14_a_private_repository_made_anew_holds_nothing_of_what_the_files_were() {
    let world = World::new();
    let repository = world.open();
    let slot = world.slot(&repository, "one", repository.head());
    // What has the name of one of git's own files must not keep that.
    let removed = ["HEAD", "index", "config", "logs/HEAD", "objects/old"];
    for name in removed {
        write(slot.work(), name, "a secret that was taken out\n");
    }
    for argv in crate::git::private_repository_script() {
        inside(slot.work(), &argv);
    }
    let all = [
        "git",
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objectname)",
    ];
    let secret = inside(slot.work(), &["git", "hash-object", "config"]);
    assert!(inside(slot.work(), &all).contains(&secret));
    for name in removed {
        fs::remove_file(slot.work().join(name)).unwrap();
    }
    write(slot.work(), "src/new", "what landed since\n");
    for argv in crate::git::private_repository_anew() {
        inside(slot.work(), &argv);
    }
    assert_eq!(inside(slot.work(), &["git", "status", "--porcelain"]), "");
    let log = inside(slot.work(), &["git", "log", "-g", "--format=%s"]);
    assert_eq!(log, "base\n");
    let objects = inside(slot.work(), &all);
    assert!(!objects.contains(&secret));
    let reachable = inside(slot.work(), &["git", "rev-list", "--objects", "HEAD"]);
    assert_eq!(
        objects.lines().count(),
        reachable.lines().count(),
        "{objects}"
    );
}
