use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::{Bounds, DepsError, Facts, Found, From, Kept, Room, Store, Vouch};
use crate::digest::Digest;

const BOUNDS: Bounds = Bounds {
    entries: 1000,
    bytes: 1 << 20,
};

fn vouch() -> Vouch {
    let of = |bytes: &[u8]| Digest::of(&[b"hush", bytes].concat()).to_string();
    Vouch {
        sign: Box::new(of),
        fits: Box::new(move |bytes, signature| of(bytes) == signature),
    }
}

/// A store, and a worktree that an install ran in.
struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(world.made("pkg/bin")).unwrap();
        world.put("pkg/index.js", "module.exports = 1\n");
        world.put("pkg/bin/tool", "#!/bin/sh\n");
        fs::set_permissions(
            world.made("pkg/bin/tool"),
            fs::Permissions::from_mode(0o4775),
        )
        .unwrap();
        fs::create_dir(world.made(".bin")).unwrap();
        symlink("../pkg/bin/tool", world.made(".bin/tool")).unwrap();
        world
    }

    fn made(&self, path: &str) -> PathBuf {
        self.root.path().join("work/node_modules").join(path)
    }

    #[expect(clippy::disallowed_methods, reason = "an install's write, not Loki's")]
    fn put(&self, path: &str, text: &str) {
        fs::write(self.made(path), text).unwrap();
    }

    fn state(&self) -> PathBuf {
        self.root.path().join(".loki")
    }

    fn entry(&self, key: &Digest) -> PathBuf {
        self.state().join("cache/deps").join(key.to_string())
    }

    fn store(&self) -> Store {
        Store::open(&self.state(), vouch()).unwrap()
    }

    fn take(&self, store: &Store, key: &Digest) -> Result<Kept, DepsError> {
        self.take_with(store, key, |from| from)
    }

    fn take_with(
        &self,
        store: &Store,
        key: &Digest,
        change: fn(From<'_>) -> From<'_>,
    ) -> Result<Kept, DepsError> {
        let making = store.making(key).unwrap();
        let facts = Facts {
            tool: "npm".to_owned(),
            lock: "package-lock.json".to_owned(),
            command: "npm ci".to_owned(),
            image: "sha256:0".to_owned(),
            made: Timestamp::UNIX_EPOCH,
        };
        let work = self.root.path().join("work");
        let from = change(From {
            work: &work,
            makes: "node_modules",
            beside: true,
        });
        store.take_in(&making, facts, from, BOUNDS)
    }

    /// Nothing that was refused leaves anything behind.
    fn is_clean(&self) -> bool {
        let left = fs::read_dir(self.state().join("cache/deps/.unfinished")).unwrap();
        left.count() == 0
    }
}

fn key() -> Digest {
    Digest::of(b"one")
}

#[track_caller]
fn whole(store: &Store) -> super::Lease {
    match store.find(&key()).unwrap() {
        Found::Whole(lease) => *lease,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn changed(store: &Store) -> &'static str {
    match store.find(&key()).unwrap() {
        Found::Changed(why) => why,
        other => panic!("{other:?}"),
    }
}

fn refusal(taken: Result<Kept, DepsError>) -> String {
    taken.unwrap_err().to_string()
}

#[test]
fn what_was_installed_is_given_as_it_was_without_the_bits_that_give_rights() {
    let world = World::new();
    let store = world.store();
    assert!(matches!(store.find(&key()).unwrap(), Found::Nothing));
    let kept = world.take(&store, &key()).unwrap();
    assert_eq!((kept.entries, kept.bytes), (6, 29));
    let lease = whole(&store);
    assert_eq!(lease.kept, kept);
    let tool = fs::metadata(lease.tree.join("pkg/bin/tool")).unwrap();
    assert_eq!(tool.mode() & 0o7777, 0o755);
    assert_eq!(
        fs::read_to_string(lease.tree.join(".bin/tool")).unwrap(),
        "#!/bin/sh\n"
    );
    let (from, to) = (world.made("pkg/index.js"), lease.tree.join("pkg/index.js"));
    let (from, to) = (fs::metadata(from).unwrap(), fs::metadata(to).unwrap());
    assert_eq!(from.mtime_nsec(), to.mtime_nsec());
    assert_ne!(from.ino(), to.ino());
    // Found again by another process, which has never seen it.
    drop(whole(&world.store()));
    assert!(world.is_clean());
}

type Change = fn(&Path);

#[expect(clippy::disallowed_methods, reason = "somebody's write, not Loki's")]
fn append(path: &Path, text: &str) {
    let old = fs::read_to_string(path).unwrap();
    fs::write(path, old + text).unwrap();
}
fn append_new(path: &Path) {
    fs::File::create_new(path).unwrap();
}

/// What somebody may do to an entry.
const CHANGES: [(&str, Change); 12] = [
    ("a byte more", |tree| {
        append(&tree.join("pkg/index.js"), " ");
    }),
    ("other bytes of the same length", |tree| {
        let path = tree.join("pkg/index.js");
        let (text, time) = (
            fs::read_to_string(&path).unwrap(),
            fs::metadata(&path).unwrap().modified().unwrap(),
        );
        append(&path, "");
        let file = fs::File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text.replace('1', "2").as_bytes(), 0)
            .unwrap();
        file.set_modified(time).unwrap();
    }),
    ("a file more", |tree| append_new(&tree.join("evil.js"))),
    ("a file less", |tree| {
        fs::remove_file(tree.join("pkg/index.js")).unwrap();
    }),
    ("another link", |tree| {
        fs::remove_file(tree.join(".bin/tool")).unwrap();
        symlink("/bin/sh", tree.join(".bin/tool")).unwrap();
    }),
    ("a link for a file", |tree| {
        fs::remove_file(tree.join("pkg/index.js")).unwrap();
        symlink("/etc/passwd", tree.join("pkg/index.js")).unwrap();
    }),
    ("a file that runs", |tree| {
        fs::set_permissions(tree.join("pkg/index.js"), fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("a bit that gives rights", |tree| {
        fs::set_permissions(
            tree.join("pkg/bin/tool"),
            fs::Permissions::from_mode(0o4755),
        )
        .unwrap();
    }),
    ("a second name", |tree| {
        fs::hard_link(
            tree.join("pkg/index.js"),
            tree.parent().unwrap().join("other"),
        )
        .unwrap();
    }),
    ("a manifest that was changed", |tree| {
        append(&tree.parent().unwrap().join("manifest"), "\n");
    }),
    ("no manifest", |tree| {
        fs::remove_file(tree.parent().unwrap().join("manifest")).unwrap();
    }),
    ("a link for the tree", |tree| {
        fs::rename(tree, tree.parent().unwrap().join("moved")).unwrap();
        symlink("moved", tree).unwrap();
    }),
];

#[test]
fn attack_g16_an_entry_that_was_changed_on_the_disk_is_not_used_and_gives_up_its_key() {
    for (what, change) in CHANGES {
        let world = World::new();
        let store = world.store();
        world.take(&store, &key()).unwrap();
        // This process has held it against its digest already.
        drop(whole(&store));
        change(&world.entry(&key()).join("tree"));
        println!("{what}: {}", changed(&store));
        assert!(
            matches!(store.find(&key()).unwrap(), Found::Nothing),
            "{what}"
        );
        world.take(&store, &key()).unwrap();
        drop(whole(&store));
        assert!(world.is_clean(), "{what}");
    }
}

#[test]
fn attack_g16_entries_that_a_repository_brings_along_are_not_used() {
    let (world, theirs) = (World::new(), World::new());
    let other = Vouch {
        sign: Box::new(|_| "signed by somebody else".to_owned()),
        fits: Box::new(|_, _| true),
    };
    let store = Store::open(&theirs.state(), other).unwrap();
    theirs.take(&store, &key()).unwrap();
    fs::rename(theirs.state(), world.state()).unwrap();
    assert_eq!(
        changed(&world.store()),
        "its manifest is not signed by this user"
    );
    // An entry of this user's under another key is not that key's.
    let (store, second) = (world.store(), Digest::of(b"two"));
    world.take(&store, &second).unwrap();
    fs::rename(world.entry(&second), world.entry(&key())).unwrap();
    assert_eq!(changed(&store), "its manifest is not signed by this user");
}

#[test]
fn attack_g16_a_store_that_is_a_link_is_not_opened() {
    let world = World::new();
    let outside = world.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(world.state().join("cache")).unwrap();
    symlink(&outside, world.state().join("cache/deps")).unwrap();
    assert!(Store::open(&world.state(), vouch()).is_err());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn attack_g16_what_scripts_of_an_install_plant_is_refused_whole() {
    type Plant = fn(&World);
    let plants: [(&str, Plant); 9] = [
        ("pkg/out`, a link that leads out", |world| {
            symlink("../../../../etc", world.made("pkg/out")).unwrap();
        }),
        ("pkg/out`, a link that leads out", |world| {
            symlink("/etc/passwd", world.made("pkg/out")).unwrap();
        }),
        // Word by word each of these stays within; followed, the second does not.
        ("pkg/out`, a link that leads out", |world| {
            symlink(".", world.made("here")).unwrap();
            symlink("../here/../../../x", world.made("pkg/out")).unwrap();
        }),
        ("round`, a link that leads in a circle", |world| {
            symlink("round", world.made("round")).unwrap();
        }),
        ("pkg/pipe`, a pipe", |world| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                world.made("pkg/pipe"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        }),
        ("a socket", |world| {
            drop(std::os::unix::net::UnixListener::bind(world.made("s")).unwrap());
        }),
        ("invisible characters", |world| world.put("a\u{1b}[2J", "")),
        ("no UTF-8", |world| {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(b"a\xff");
            fs::File::create_new(world.made("pkg").join(name)).unwrap();
        }),
        ("more than 1048576 bytes", |world| {
            let file = fs::File::create_new(world.made("holes")).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
    ];
    for (said, plant) in plants {
        let world = World::new();
        let store = world.store();
        plant(&world);
        let why = refusal(world.take(&store, &key()));
        assert!(why.contains(said), "{said}: {why}");
        assert!(
            matches!(store.find(&key()).unwrap(), Found::Nothing),
            "{said}"
        );
        assert!(world.is_clean(), "{said}");
    }
}

#[test]
fn attack_g16_a_result_that_is_a_link_is_not_followed() {
    let world = World::new();
    let store = world.store();
    let work = world.root.path().join("work");
    fs::rename(work.join("node_modules"), work.join("real")).unwrap();
    symlink("real", work.join("node_modules")).unwrap();
    assert!(refusal(world.take(&store, &key())).contains("no directory"));
    fs::remove_file(work.join("node_modules")).unwrap();
    assert!(refusal(world.take(&store, &key())).contains("made no directory"));
    fs::create_dir(work.join("node_modules")).unwrap();
    assert!(refusal(world.take(&store, &key())).contains("made no directory"));
}

#[test]
fn links_into_the_worktree_are_for_what_stands_in_one_again() {
    let world = World::new();
    let store = world.store();
    fs::create_dir_all(world.root.path().join("work/packages/a")).unwrap();
    symlink("../packages/a", world.made("a")).unwrap();
    fn within(from: From<'_>) -> From<'_> {
        From {
            beside: false,
            ..from
        }
    }
    assert!(refusal(world.take_with(&store, &key(), within)).contains("leads out"));
    world.take(&store, &key()).unwrap();
}

#[test]
fn a_machine_on_which_much_is_renamed_has_the_same_links() {
    let world = World::new();
    fs::create_dir(world.made("real")).unwrap();
    for at in 0..500 {
        symlink("../node_modules/real", world.made(&format!("l{at}"))).unwrap();
    }
    let [one, other] = ["one", "other"].map(|name| world.root.path().join(name));
    fs::create_dir(&one).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(&one, &other).unwrap();
                fs::rename(&other, &one).unwrap();
            }
        });
        let taken = world.take(&world.store(), &key());
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        taken.unwrap();
    });
}

#[test]
fn hard_links_become_files_of_their_own() {
    let world = World::new();
    let outside = world.root.path().join("outside");
    fs::File::create_new(&outside).unwrap();
    fs::hard_link(&outside, world.made("linked")).unwrap();
    let store = world.store();
    world.take(&store, &key()).unwrap();
    let file = fs::metadata(whole(&store).tree.join("linked")).unwrap();
    assert_eq!((file.nlink(), file.len()), (1, 0));
    assert_ne!(file.ino(), fs::metadata(&outside).unwrap().ino());
}

/// What a process that is killed at any moment of taking something in leaves behind.
#[test]
fn attack_g16_what_was_never_finished_is_not_used_and_goes() {
    let world = World::new();
    let store = world.store();
    let half = world
        .state()
        .join(format!("cache/deps/.unfinished/{}.0", key()));
    fs::create_dir_all(half.join("tree/pkg")).unwrap();
    assert!(matches!(store.find(&key()).unwrap(), Found::Nothing));
    // While somebody makes it, nobody else removes it.
    let making = store.making(&key()).unwrap();
    drop(world.store());
    assert!(half.exists());
    drop(making);
    drop(world.store());
    assert!(!half.exists());
    // Under its key but without a manifest, as after a power cut.
    fs::create_dir_all(world.entry(&key()).join("tree")).unwrap();
    assert_eq!(changed(&store), "its manifest is not signed by this user");
}

#[test]
fn attack_g16_of_two_that_install_the_same_one_waits_and_uses_what_the_other_made() {
    let world = World::new();
    let (one, other) = (world.store(), world.store());
    let made = std::sync::atomic::AtomicU32::new(0);
    let install = |store: &Store| {
        let making = store.making(&key()).unwrap();
        if let Found::Whole(lease) = store.find(&key()).unwrap() {
            return lease.kept.digest;
        }
        made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        drop(making);
        world.take(store, &key()).unwrap().digest
    };
    std::thread::scope(|scope| {
        // The first to come holds the lock until it is done.
        let making = one.making(&key()).unwrap();
        let waits = scope.spawn(|| install(&other));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waits.is_finished());
        drop(making);
        let digest = waits.join().unwrap();
        assert_eq!(install(&one), digest);
    });
    assert_eq!(made.into_inner(), 1);
    // Without the lock the first name stays: the second is refused, and nothing is mixed.
    assert!(world.take(&one, &key()).is_err());
    assert!(world.is_clean());
}

#[test]
fn what_is_used_stays_and_what_was_not_used_for_longest_goes_first() {
    let world = World::new();
    let store = world.store();
    let keys = [b"a", b"b", b"c"].map(|name| Digest::of(name));
    for (at, key) in keys.iter().enumerate() {
        world.take(&store, key).unwrap();
        let lock = world.state().join(format!("cache/deps/.locks/{key}.use"));
        drop(store.find(key).unwrap());
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * (at as u64 + 1));
        fs::File::options()
            .write(true)
            .open(lock)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let held = store.find(&keys[0]).unwrap();
    let lock = world
        .state()
        .join(format!("cache/deps/.locks/{}.use", keys[0]));
    fs::File::options()
        .write(true)
        .open(lock)
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let room = Room { bytes: 60 };
    let removed: Vec<Digest> = store.fit(room).unwrap().iter().map(|one| one.key).collect();
    assert_eq!(removed, [keys[1]]);
    drop(held);
    let removed = store.prune(|_| true).unwrap();
    assert_eq!(removed.len(), 2);
    assert!(store.list().unwrap().is_empty());
}
