//! Repositories of every kind that git knows: Loki works with each and leaves the person's own
//! alone, or refuses it and says what to type. `docs/git.md` has the same table.

mod contents;
mod world;

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use loki::git::{GitError, Repository};

use world::{World, must, put};

/// A repository of some kind, and the directory that a person stands in.
type Kind = (&'static str, fn() -> (World, PathBuf));

fn at_top(world: World) -> (World, PathBuf) {
    let root = world.root();
    (world, root)
}

/// Where a checkout or its git directory stands.
const PLACES: &[Kind] = &[
    ("a subdirectory", || {
        let world = World::new();
        let start = world.root().join("src");
        (world, start)
    }),
    ("a repository below another one", || {
        let world = World::new();
        let outer = world.dir.path().to_owned();
        must(&outer, &["init", "-q", "-b", "outer"]);
        put(&outer, "outer.txt", "outer\n");
        must(&outer, &["add", "outer.txt"]);
        must(&outer, &["commit", "-q", "-m", "outer"]);
        at_top(world)
    }),
    ("a submodule's own checkout", || {
        let world = World::new();
        let outer = world.dir.path().join("outer");
        must(world.dir.path(), &["init", "-q", "-b", "main", "outer"]);
        let url = world.root().display().to_string();
        must(&outer, &["submodule", "--quiet", "add", &url, "sub"]);
        let start = outer.join("sub");
        (world, start)
    }),
    ("a linked worktree", || {
        let world = World::new();
        world.git(&["worktree", "add", "-q", "-b", "linked", "../linked"]);
        let start = world.dir.path().join("linked");
        (world, start)
    }),
    ("a git directory elsewhere", || {
        let world = World::new();
        world.git(&["init", "-q", "--separate-git-dir", "../elsewhere.git"]);
        at_top(world)
    }),
    ("a `.git` that is a link", || {
        let world = World::new();
        let away = world.dir.path().join("away.git");
        fs::rename(world.root().join(".git"), &away).unwrap();
        symlink("../away.git", world.root().join(".git")).unwrap();
        at_top(world)
    }),
    ("somebody else's repository", || {
        let world = World::new();
        if rustix::process::geteuid().is_root() {
            let chown = std::process::Command::new("chown")
                .args(["-R", "12345:12345"])
                .arg(world.root())
                .status();
            assert!(chown.unwrap().success());
        }
        at_top(world)
    }),
];

/// What is checked out, and which history there is.
const HEADS: &[Kind] = &[
    ("a detached head", || {
        let world = World::new();
        world.git(&["checkout", "-q", "--detach", "HEAD~1"]);
        at_top(world)
    }),
    ("an unusual branch", || {
        at_top(World::made(&["-b", "Trünk/$(x)/-v"]))
    }),
    ("sha256 objects", || {
        at_top(World::made(&["-b", "main", "--object-format=sha256"]))
    }),
    ("a shallow clone", || {
        let world = World::new();
        let url = format!("file://{}", world.root().display());
        must(
            world.dir.path(),
            &["clone", "-q", "--depth=1", &url, "shallow"],
        );
        let start = world.dir.path().join("shallow");
        assert!(start.join(".git/shallow").exists());
        (world, start)
    }),
    ("borrowed objects", || {
        let world = World::new();
        must(
            world.dir.path(),
            &["clone", "-q", "--shared", "repo", "borrower"],
        );
        let start = world.dir.path().join("borrower");
        assert!(start.join(".git/objects/info/alternates").exists());
        (world, start)
    }),
    ("replaced objects", || {
        let world = World::new();
        let other = world.dir.path().join("other");
        fs::write(&other, "replaced\n").unwrap();
        let other = world.git(&["hash-object", "-w", "../other"]);
        world.git(&["replace", "HEAD:README.md", &other]);
        at_top(world)
    }),
    ("grafts", || {
        let world = World::new();
        let head = world.git(&["rev-parse", "HEAD"]);
        put(&world.root(), ".git/info/grafts", format!("{head}\n"));
        at_top(world)
    }),
    ("a commit without a file", || {
        let world = World::new();
        world.git(&["rm", "-rq", "."]);
        world.git(&["commit", "-q", "-m", "nothing"]);
        at_top(world)
    }),
    ("a merge that is not finished", || {
        let world = World::new();
        world.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
        world.file("README.md", "other\n");
        world.save("other");
        world::plain(&world.root(), &["merge", "-q", "main"]);
        assert!(world.root().join(".git/MERGE_HEAD").exists());
        at_top(world)
    }),
];

/// How the index and the settings of a checkout are kept.
const INDEXES: &[Kind] = &[
    ("an index of version 4", || {
        let world = World::new();
        world.git(&["config", "feature.manyFiles", "true"]);
        world.git(&["config", "index.version", "4"]);
        world.git(&["update-index", "--index-version", "4"]);
        at_top(world)
    }),
    ("a split index", || {
        let world = World::new();
        world.git(&["config", "core.splitIndex", "true"]);
        world.git(&["update-index", "--split-index"]);
        world.file("staged", "staged\n");
        world.git(&["add", "staged"]);
        at_top(world)
    }),
    ("an untracked cache and a monitor", || {
        let world = World::new();
        world.git(&["config", "core.untrackedCache", "true"]);
        world.git(&["config", "core.fsmonitor", "true"]);
        world.file("untracked", "untracked\n");
        world.git(&["update-index", "--force-untracked-cache"]);
        at_top(world)
    }),
    ("a sparse checkout with a sparse index", || {
        let world = World::new();
        world.file("docs/deep/page.md", "page\n");
        world.save("docs");
        world.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "src"]);
        assert!(!world.root().join("docs").exists());
        at_top(world)
    }),
    ("a sparse checkout by patterns", || {
        let world = World::new();
        world.git(&["sparse-checkout", "set", "--no-cone", "/*", "!/src/"]);
        assert!(!world.root().join("src").exists());
        at_top(world)
    }),
    ("settings of a worktree's own", || {
        let world = World::new();
        world.git(&["config", "extensions.worktreeConfig", "true"]);
        world.git(&["config", "--worktree", "core.autocrlf", "true"]);
        at_top(world)
    }),
    ("refs as tables", || {
        at_top(World::made(&["-b", "main", "--ref-format=reftable"]))
    }),
    ("packed refs, a graph of commits, one pack", || {
        let world = World::new();
        world.git(&["tag", "-a", "-m", "one", "one"]);
        world.git(&["pack-refs", "--all"]);
        world.git(&["repack", "-adq", "--write-midx"]);
        world.git(&["commit-graph", "write", "--reachable"]);
        at_top(world)
    }),
    ("an index that a person's git has locked", || {
        let world = World::new();
        put(&world.root(), ".git/index.lock", "");
        at_top(world)
    }),
    ("refs that are all logged, files for a group", || {
        let world = World::new();
        world.git(&["config", "core.logAllRefUpdates", "always"]);
        world.git(&["config", "core.sharedRepository", "group"]);
        at_top(world)
    }),
];

#[track_caller]
fn tours(kinds: &[Kind]) {
    for (name, make) in kinds {
        eprintln!("{name}");
        let (world, start) = make();
        world.tour(&start);
    }
}

#[test]
fn a_checkout_may_stand_anywhere() {
    tours(PLACES);
}

#[test]
fn any_history_and_any_head_will_do() {
    tours(HEADS);
}

#[test]
fn any_index_and_any_store_of_refs_will_do() {
    tours(INDEXES);
}

#[test]
fn a_repository_without_a_checkout_or_a_commit_is_refused_with_what_to_type() {
    let world = World::new();
    must(
        world.dir.path(),
        &["clone", "-q", "--bare", "repo", "bare.git"],
    );
    let refused = |dir: PathBuf| Repository::open(&dir).unwrap_err();
    let bare = refused(world.dir.path().join("bare.git"));
    assert!(matches!(bare, GitError::Bare { .. }), "{bare}");
    assert!(bare.to_string().contains("git worktree add"), "{bare}");
    let inside = refused(world.root().join(".git"));
    assert!(matches!(inside, GitError::Bare { .. }), "{inside}");
    must(world.dir.path(), &["init", "-q", "empty"]);
    let empty = refused(world.dir.path().join("empty"));
    assert!(empty.to_string().contains("git commit"), "{empty}");
    let outside = tempfile::tempdir().unwrap();
    let none = refused(outside.path().to_owned());
    assert!(none.to_string().contains("git init"), "{none}");
}

#[test]
fn what_a_partial_clone_does_not_have_is_named_and_not_fetched() {
    let world = World::new();
    world.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", world.root().display());
    let clone = [
        "clone",
        "-q",
        "--filter=blob:none",
        "--no-checkout",
        &url,
        "partial",
    ];
    must(world.dir.path(), &clone);
    let start = world.dir.path().join("partial");
    let repository = Repository::open(&start).unwrap();
    let fault = world.slot(&repository, "one", None).unwrap_err();
    assert!(
        matches!(&fault, GitError::Absent { path } if path == "README.md"),
        "{fault}"
    );
    assert!(
        fault
            .to_string()
            .contains("git fetch --refetch --no-filter")
    );
    let missing = ["rev-list", "--objects", "--missing=print", "HEAD"];
    assert!(
        must(&start, &missing).contains('?'),
        "something was fetched"
    );
    repository.sweep(&[]).unwrap();
    world.forget(&repository);
    must(&start, &["fetch", "-q", "--refetch", "--no-filter"]);
    must(&start, &["reset", "-q", "--hard"]);
    world.tour(&start);
}

#[test]
fn a_partial_clone_with_what_the_checkout_needs_works_offline() {
    let world = World::new();
    world.git(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", world.root().display());
    must(
        world.dir.path(),
        &["clone", "-q", "--filter=blob:none", &url, "partial"],
    );
    let start = world.dir.path().join("partial");
    fs::rename(world.root(), world.dir.path().join("gone")).unwrap();
    world.tour(&start);
}
