//! A worktree that was filled ahead is, once claimed, what one filled from the start would be.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use super::*;
use crate::{
    git::world::{World, globs, judge, write},
    name::TaskId,
};

/// What stands in a directory: kind, permissions and contents of each path, `.git` left out.
fn listing(dir: &Path) -> BTreeMap<String, String> {
    fn into(dir: &Path, at: &str, all: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{at}{}", entry.file_name().to_str().unwrap());
            let (path, facts) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let what = if facts.is_symlink() {
                format!("link {}", fs::read_link(&path).unwrap().display())
            } else if facts.is_dir() {
                if name != ".git" {
                    into(&path, &format!("{name}/"), all);
                }
                format!("dir {:o}", facts.permissions().mode())
            } else {
                let text = fs::read_to_string(&path).unwrap();
                format!("file {:o} {text}", facts.permissions().mode())
            };
            all.insert(name, what);
        }
    }
    let mut all = BTreeMap::new();
    into(dir, "", &mut all);
    all
}

/// Commits a change of the user's and returns the commit.
fn commit(world: &World, change: impl FnOnce(&Path)) -> ObjectId {
    change(&world.root());
    world.save("next");
    world.git(&["rev-parse", "HEAD"]).parse().unwrap()
}

struct Prepared<'a> {
    world: &'a World,
    repository: &'a Repository,
    read: Option<&'a Globs>,
}

impl Prepared<'_> {
    fn ahead(&self, base: &ObjectId) -> Ahead {
        let dir = self.world.slot_dir("idle.1");
        let checkout = Checkout {
            tree: base,
            read: self.read,
            owner: None,
        };
        let ahead = Ahead::prepare(self.repository, &dir, checkout).unwrap();
        ahead.registered(self.repository, &dir).unwrap()
    }

    fn claim(&self, ahead: Ahead, task: &str, base: &ObjectId) -> Result<Slot, GitError> {
        let dir = self.world.slot_dir(&format!("{task}-1"));
        let task: TaskId = task.parse().unwrap();
        let idle = self.world.slot_dir("idle.1");
        if idle.exists() {
            fs::rename(idle, &dir).unwrap();
        }
        let spec = SlotSpec {
            run: &self.world.run,
            task: &task,
            base,
            read: self.read,
            owner: None,
        };
        ahead.claim(self.repository, &dir, spec)
    }
}

/// Changes of every kind: files, directories and links that come, go, change and become another.
fn turn_over(root: &Path) {
    let remove = |path: &str| fs::remove_file(root.join(path)).unwrap();
    remove("gone/deep/er/file");
    remove("swap");
    write(root, "swap/in", "now a directory\n");
    remove("tree/one");
    remove("tree/two");
    fs::remove_dir(root.join("tree")).unwrap();
    write(root, "tree", "now a file\n");
    write(root, "src/app.rs", "fn main() { changed() }\n");
    write(root, "src/new/deep/file.rs", "new\n");
    let bits = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("run.sh"), bits).unwrap();
    remove("link");
    std::os::unix::fs::symlink("src/new", root.join("link")).unwrap();
    write(root, "secret/other", "canary 2\n");
    write(root, "a-b", "sorts before a/\n");
    remove("a/b");
    write(root, "a.b", "sorts between\n");
}

fn grown() -> World {
    let world = World::new();
    for path in [
        "gone/deep/er/file",
        "swap",
        "tree/one",
        "tree/two",
        "run.sh",
        "a/b",
        "a/c",
        "same/x",
    ] {
        world.file(path, &format!("{path}\n"));
    }
    std::os::unix::fs::symlink("README.md", world.root().join("link")).unwrap();
    world.save("grown");
    world
}

#[test]
fn it_becomes_exactly_what_a_fresh_worktree_of_the_base_is() {
    for read in [
        None,
        Some(globs(&[
            "src/**", "*", "a/**", "same/**", "gone/**", "tree/**",
        ])),
    ] {
        let world = grown();
        let repository = world.open();
        repository
            .create_run_branch(&world.run, repository.head())
            .unwrap();
        let old = repository.head().clone();
        let new = commit(&world, turn_over);
        let prepared = Prepared {
            world: &world,
            repository: &repository,
            read: read.as_ref(),
        };
        for (name, from, to) in [
            ("forward", &old, &new),
            ("back", &new, &old),
            ("same", &new, &new),
        ] {
            let ahead = prepared.ahead(from);
            let kept = fs::symlink_metadata(world.slot_dir("idle.1").join("work/same/x")).unwrap();
            let slot = prepared.claim(ahead, name, to).unwrap();
            let fresh = world.sparse_slot(&repository, &format!("{name}-fresh"), to, read.as_ref());
            assert_eq!(listing(slot.work()), listing(fresh.work()), "{name}");
            assert_eq!(slot.base(), to);
            assert_eq!(
                (&slot.absent, &slot.modules),
                (&fresh.absent, &fresh.modules)
            );
            let now = fs::symlink_metadata(slot.work().join("same/x")).unwrap();
            assert_eq!(
                (now.ino(), now.ctime_nsec()),
                (kept.ino(), kept.ctime_nsec()),
                "{name}"
            );
            let judged = judge(&repository, &slot);
            assert_eq!(
                (judged.changes.len(), judged.breaches.len()),
                (0, 0),
                "{name}: {judged:?}"
            );
            write(slot.work(), "src/app.rs", "fn main() { work() }\n");
            let judged = judge(&repository, &slot);
            assert_eq!(judged.changes.len(), 1, "{name}: {judged:?}");
            assert_eq!(judged.changes[0].path, "src/app.rs");
            for slot in [slot, fresh] {
                slot.remove(&repository).unwrap();
            }
        }
    }
}

#[test]
fn git_knows_it_by_its_tasks_branch_and_forgets_it_with_the_slot() {
    let world = grown();
    let repository = world.open();
    let base = repository.head().clone();
    let prepared = Prepared {
        world: &world,
        repository: &repository,
        read: None,
    };
    for attempt in 0..2 {
        let ahead = prepared.ahead(&base);
        assert!(ahead.notes.is_some(), "git's notes are of an unknown form");
        let slot = prepared.claim(ahead, "store", &base).unwrap();
        let listed = world.git(&["worktree", "list", "--porcelain"]);
        let place = fs::canonicalize(world.slot_dir("store-1")).unwrap();
        let wanted = format!("worktree {}", place.join("meta/r1-store").display());
        let (_, behind) = listed
            .split_once(&wanted)
            .unwrap_or_else(|| panic!("{attempt}: {listed}"));
        assert!(
            behind.contains("branch refs/heads/loki-tasks/r1/store"),
            "{listed}"
        );
        assert!(
            !listed.contains("prunable") && !listed.contains("idle"),
            "{listed}"
        );
        slot.remove(&repository).unwrap();
        assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
    }
}

#[test]
fn git_registers_it_itself_where_its_notes_are_unknown() {
    let world = grown();
    let repository = world.open();
    let base = repository.head().clone();
    let prepared = Prepared {
        world: &world,
        repository: &repository,
        read: None,
    };
    let mut ahead = prepared.ahead(&base);
    ahead.notes = None;
    let slot = prepared.claim(ahead, "store", &base).unwrap();
    let listed = world.git(&["worktree", "list", "--porcelain"]);
    assert!(
        listed.contains("branch refs/heads/loki-tasks/r1/store"),
        "{listed}"
    );
    slot.remove(&repository).unwrap();
    repository.sweep(&[]).unwrap();
    world.git(&["worktree", "prune"]);
    assert_eq!(world.git(&["worktree", "list"]).lines().count(), 1);
}

/// What one role may read is never shown to another.
#[test]
fn files_made_ready_for_one_role_are_refused_to_another() {
    let world = grown();
    let repository = world.open();
    let base = repository.head().clone();
    let (all, less) = (globs(&["**"]), globs(&["src/**"]));
    let of = |read| Prepared {
        world: &world,
        repository: &repository,
        read,
    };
    for (mine, theirs) in [(&all, Some(&less)), (&less, Some(&all)), (&less, None)] {
        let ahead = of(Some(mine)).ahead(&base);
        let refused = of(theirs).claim(ahead, "store", &base).unwrap_err();
        assert!(matches!(refused, GitError::Occupied { .. }), "{refused}");
        Slot::remove_dir(&repository, &world.slot_dir("store-1")).unwrap();
    }
}

#[test]
fn a_copy_follows_to_any_tree() {
    let world = grown();
    let repository = world.open();
    let old = repository.head().clone();
    let new = commit(&world, turn_over);
    let checkout = |tree| Checkout {
        tree,
        read: None,
        owner: None,
    };
    let dir = world.slot_dir("idle.1");
    let ahead = Ahead::prepare(&repository, &dir, checkout(&old)).unwrap();
    let moved = world.slot_dir("one-checks");
    fs::rename(&dir, &moved).unwrap();
    let export = ahead.export(&repository, &moved, checkout(&new)).unwrap();
    let fresh = repository
        .export(&world.slot_dir("fresh"), checkout(&new))
        .unwrap();
    assert_eq!(listing(&export.work()), listing(&fresh.work()));
}
