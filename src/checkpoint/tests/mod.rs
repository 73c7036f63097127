//! Whole checkpoints in directories of a test's own: what is kept, found changed and unpacked.

#![expect(
    clippy::disallowed_methods,
    reason = "tests write files of their own and run the stock programs"
)]

mod exhausting;
mod hostile;
mod packs;
mod sparse;
mod strangers;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use jiff::Timestamp;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::{
    digest::Digest,
    name::CheckpointId,
    redact::{Redactor, Values},
};

fn sign(bytes: &[u8]) -> String {
    Digest::of(&[b"signed ", bytes].concat()).to_string()
}

fn fits(bytes: &[u8], signature: &str) -> bool {
    sign(bytes) == signature
}

const TRUSTED: Trusted<'static> = Trusted {
    key: "aa",
    fits: &fits,
    around: &[],
};

/// Two directories of an agent's, and a store.
struct World {
    root: tempfile::TempDir,
    store: Store,
    secrets: Redactor,
    quota: u64,
    /// Bytes read for the newest checkpoint.
    read: AtomicU64,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["work", "home"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        Self {
            store: Store::open(&root.path().join(".loki")).unwrap(),
            root,
            secrets: Redactor::default(),
            quota: u64::MAX,
            read: AtomicU64::new(0),
        }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    fn write(&self, inside: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn try_make(&self, quiet: Quiet<'_>) -> Result<Head, CheckpointError> {
        let (work, home) = (self.path("work"), self.path("home"));
        let sources = [
            Source {
                name: "home",
                path: &home,
            },
            Source {
                name: "work",
                path: &work,
            },
        ];
        let asked = Asked {
            sources: &sources,
            origin: Origin::default(),
            secrets: &self.secrets,
            caps: Caps::default(),
            quota: self.quota,
            workers: 3,
        };
        self.read.store(0, Ordering::Relaxed);
        let tools = Tools {
            signer: Signer {
                key: "aa",
                sign: &sign,
            },
            trusted: TRUSTED,
            now: &Timestamp::now,
            progress: &|done, _| {
                self.read.fetch_max(done, Ordering::Relaxed);
            },
        };
        create(&self.store, &asked, quiet, tools)
    }

    fn make(&self) -> Head {
        self.try_make(Quiet::Ended).unwrap()
    }

    fn listing(&self, head: &Head) -> Listing {
        self.store
            .listing(head, &mut self.store.reader().unwrap())
            .unwrap()
    }

    fn restore(&self, id: &CheckpointId) -> Result<(PathBuf, Unpacked), CheckpointError> {
        let to = tempfile::tempdir_in(self.root.path()).unwrap().keep();
        let asked = Unpacking {
            id,
            to: &to,
            tree: None,
            readable: None,
            links: Links::Within,
            owner: None,
        };
        restore(&self.store, &asked, TRUSTED, &|_, _| {}).map(|unpacked| (to, unpacked))
    }

    fn why_not(&self, head: &Head) -> String {
        let refused = self
            .store
            .verify(&head.id, TRUSTED, &|_, _| {})
            .unwrap_err();
        assert_eq!(
            self.restore(&head.id).unwrap_err().to_string(),
            refused.to_string()
        );
        refused.to_string()
    }

    fn files_of(&self, dir: &str) -> Vec<PathBuf> {
        let dir = fs::read_dir(self.path(".loki/checkpoints").join(dir)).unwrap();
        let mut files: Vec<PathBuf> = dir.map(|one| one.unwrap().path()).collect();
        files.sort();
        files
    }

    fn settle() {
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
}

/// Everything of a tree: type, mode, time and contents by path.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(at) = left.pop() {
        let meta = fs::symlink_metadata(&at).unwrap();
        let contents = match () {
            () if meta.is_symlink() => fs::read_link(&at)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes(),
            () if meta.is_file() => fs::read(&at).unwrap(),
            () => {
                left.extend(fs::read_dir(&at).unwrap().map(|one| one.unwrap().path()));
                Vec::new()
            }
        };
        let path = at.strip_prefix(root).unwrap().to_owned();
        found.insert(path, (meta.mode(), meta.mtime_nsec(), contents));
    }
    found
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap()
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn what_is_restored_is_what_was_kept_to_the_last_bit() {
    let world = World::new();
    world.write("work/empty", "");
    world.write("work/src/deep/er/main.rs", "fn main() {}\n");
    world.write("work/large", noise(1, 3_500_000));
    world.write("work/large-again", noise(1, 3_500_000));
    world.write("home/.agent/history.jsonl", "{}\n");
    world.write("work/with \\ and \n in it", "x");
    let raw = std::ffi::OsStr::new("work").to_owned().into_encoded_bytes();
    let raw = [raw.as_slice(), b"/\xff\xfe"].concat();
    use std::os::unix::ffi::OsStrExt;
    let raw = world.root.path().join(std::ffi::OsStr::from_bytes(&raw));
    fs::File::create(raw).unwrap();
    symlink("src/deep", world.path("work/link")).unwrap();
    fs::create_dir(world.path("work/shut")).unwrap();
    world.write("work/shut/in", "y");
    fs::set_permissions(
        world.path("work/shut/in"),
        fs::Permissions::from_mode(0o400),
    )
    .unwrap();
    fs::set_permissions(world.path("work/shut"), fs::Permissions::from_mode(0o500)).unwrap();
    let head = world.make();
    assert_eq!(head.left_out, 0);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    for name in ["work", "home"] {
        assert_eq!(tree(&to.join(name)), tree(&world.path(name)));
    }
    assert_eq!(
        (unpacked.entries, unpacked.bytes),
        (head.entries, head.bytes)
    );
    // The same bytes are kept once.
    assert!(head.stored < 3_600_000, "{}", head.stored);
}

#[test]
fn a_second_checkpoint_reads_and_stores_only_what_changed() {
    let world = World::new();
    for at in 0..200 {
        world.write(&format!("work/{at}"), noise(at, 20_000));
    }
    World::settle();
    let first = world.make();
    world.write("work/7", noise(777, 20_000));
    World::settle();
    let second = world.make();
    assert_eq!(second.base, Some(first.id.clone()));
    assert_eq!(world.read.load(Ordering::Relaxed), 20_000);
    assert!(
        second.stored * 20 < first.stored,
        "{} of {}",
        second.stored,
        first.stored
    );
    let (old, new) = (world.listing(&first), world.listing(&second));
    let found = diff(&old, &new);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].path.escaped().as_str(), found[0].how),
        ("work/7", How::Contents)
    );
    let (to, _) = world.restore(&second.id).unwrap();
    assert_eq!(tree(&to.join("work")), tree(&world.path("work")));
    let (to, _) = world.restore(&first.id).unwrap();
    assert_eq!(fs::read(to.join("work/7")).unwrap(), noise(7, 20_000));
}

#[test]
fn a_change_that_hides_behind_size_and_time_is_read_all_the_same() {
    let world = World::new();
    world.write("work/a", "before");
    World::settle();
    world.make();
    let path = world.path("work/a");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    world.write("work/a", "after!");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let (to, _) = world.restore(&world.make().id).unwrap();
    assert_eq!(fs::read(to.join("work/a")).unwrap(), b"after!");
}

#[test]
fn attack_c7_one_flipped_bit_anywhere_is_found_and_nothing_is_unpacked() {
    let world = World::new();
    world.write("work/a", noise(3, 200_000));
    world.write("home/b", "text");
    let head = world.make();
    let files = [world.files_of("packs"), world.files_of("heads")].concat();
    assert_eq!(files.len(), 2);
    let before: Vec<PathBuf> = tree(world.root.path()).into_keys().collect();
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let step = (bytes.len() / 60).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            world.write(file.to_str().unwrap(), &changed);
            let found = world.store.verify(&head.id, TRUSTED, &|_, _| {});
            // What is not covered by a hash is the two magic numbers and the frames' own.
            if let Err(cause) = found {
                assert!(!cause.to_string().is_empty());
                assert!(world.restore(&head.id).is_err());
            } else {
                let (to, _) = world.restore(&head.id).unwrap();
                assert_eq!(fs::read(to.join("work/a")).unwrap(), noise(3, 200_000));
                fs::remove_dir_all(to).unwrap();
            }
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            world.write(file.to_str().unwrap(), &bytes[..cut]);
            let why = world.why_not(&head);
            assert!(why.contains("cannot be believed"), "{why}");
        }
        world.write(file.to_str().unwrap(), &bytes);
    }
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
    let mut after: Vec<PathBuf> = tree(world.root.path()).into_keys().collect();
    after.retain(|path| !path.to_string_lossy().starts_with(".tmp"));
    assert_eq!(after, before, "something was left behind");
}

#[test]
fn attack_c7_an_older_checkpoint_in_the_place_of_a_newer_one_is_named() {
    let world = World::new();
    world.write("work/a", "1");
    let old = world.make();
    world.write("work/a", "2");
    let new = world.make();
    let heads = world.files_of("heads");
    fs::copy(&heads[0], &heads[1]).unwrap();
    let why = world.why_not(&new);
    assert!(
        why.contains(&format!("that of checkpoint `{}`", old.id)),
        "{why}"
    );
}

#[test]
fn a_missing_part_is_named_with_the_file_it_belongs_to() {
    let world = World::new();
    world.write("work/a", noise(1, 5000));
    world.make();
    world.write("work/b", noise(2, 5000));
    let head = world.make();
    fs::remove_file(&world.files_of("packs")[0]).unwrap();
    assert!(
        world.why_not(&head).contains("is missing"),
        "{}",
        world.why_not(&head)
    );
    // What is lost is read again, not taken for known.
    let healed = world.make();
    world.store.verify(&healed.id, TRUSTED, &|_, _| {}).unwrap();
}

#[test]
fn another_key_is_not_trusted_and_a_newer_version_is_not_guessed_at() {
    let world = World::new();
    let head = world.make();
    let stranger = Trusted {
        key: "bb",
        fits: &fits,
        around: &[],
    };
    let refused = world
        .store
        .head(&head.id, stranger)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("signed by the key aa"), "{refused}");
    let newer = Head {
        version: 2,
        ..head.clone()
    };
    let sealed = newer.seal(Signer {
        key: "aa",
        sign: &sign,
    });
    world.write(world.files_of("heads")[0].to_str().unwrap(), sealed);
    assert!(world.why_not(&head).contains("newer Loki"));
}

#[test]
fn attack_c8_what_holds_a_secret_in_any_form_is_left_out_and_its_name_masked() {
    let mut world = World::new();
    let value = "sk-canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0";
    let values: Values = [("KEY".to_owned(), Zeroizing::new(value.to_owned()))]
        .into_iter()
        .collect();
    world.secrets = Redactor::new(&values);
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(format!("x{value}"));
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    world.write("home/.bash_history", format!("export KEY={value}\n"));
    world.write("home/auth", format!("Basic {base64}"));
    world.write("work/hex", [noise(5, 2_000_000), hex.into_bytes()].concat());
    world.write(&format!("work/{value}/in"), "x");
    symlink(value, world.path("work/link")).unwrap();
    world.write("work/kept", "sk-canary-");
    let head = world.make();
    let listing = world.listing(&head);
    let left: Vec<String> = listing
        .left_out
        .iter()
        .map(|one| one.path.escaped())
        .collect();
    assert_eq!(
        left,
        [
            "home/.bash_history",
            "home/auth",
            "work/[secret:KEY]",
            "work/[secret:KEY]/in",
            "work/hex",
            "work/link"
        ]
    );
    assert!(listing.left_out.iter().all(|one| one.why == Why::Secret));
    let (to, _) = world.restore(&head.id).unwrap();
    for file in tree(&world.path(".loki"))
        .into_values()
        .chain(tree(&to).into_values())
    {
        assert!(!world.secrets.finds(&file.2));
    }
    let all = zstd_of(&world);
    assert!(!world.secrets.finds(&all) && all.len() > 1_000_000);
    assert_eq!(fs::read(to.join("work/kept")).unwrap(), b"sk-canary-");
}

/// Every chunk of a store, unpacked.
fn zstd_of(world: &World) -> Vec<u8> {
    let mut reader = world.store.reader().unwrap();
    let digests: Vec<Digest> = reader.index().chunks().map(|(digest, _)| *digest).collect();
    let chunks = digests
        .iter()
        .map(|digest| reader.chunk(digest).unwrap().to_vec());
    chunks.collect::<Vec<_>>().concat()
}

#[test]
fn attack_c4_what_is_no_file_is_left_out_and_set_id_bits_are_not_restored() {
    let world = World::new();
    let made = Command::new("mkfifo")
        .arg(world.path("work/pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(world.path("work/socket")).unwrap();
    world.write("work/tool", "x");
    let mode = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(world.path("work/tool"), mode).unwrap();
    fs::hard_link(world.path("work/tool"), world.path("work/twin")).unwrap();
    let head = world.make();
    let listing = world.listing(&head);
    let left: Vec<Why> = listing.left_out.iter().map(|one| one.why).collect();
    assert_eq!(left, [Why::Pipe, Why::Socket]);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    let tool = fs::metadata(to.join("work/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.nlink()), (0o755, 1));
    assert_eq!(unpacked.set_id.len(), 2);
}

#[test]
fn attack_c2_links_that_lead_out_are_named_and_not_followed_in_either_direction() {
    let world = World::new();
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    world.write("outside/file", "host");
    symlink(&outside, world.path("work/away")).unwrap();
    symlink("../../etc", world.path("work/up")).unwrap();
    symlink("a", world.path("work/near")).unwrap();
    let head = world.make();
    let paths: Vec<String> = world
        .listing(&head)
        .entries
        .iter()
        .map(|one| one.path.escaped())
        .collect();
    assert_eq!(paths, ["home", "work", "work/away", "work/near", "work/up"]);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    assert_eq!(unpacked.links.len(), 2);
    assert!(fs::symlink_metadata(to.join("work/away")).is_err());
    let all = world.path("all");
    let asked = Unpacking {
        id: &head.id,
        to: &all,
        tree: Some("work"),
        readable: None,
        links: Links::All,
        owner: None,
    };
    restore(&world.store, &asked, TRUSTED, &|_, _| {}).unwrap();
    assert_eq!(tree(&all), tree(&world.path("work")));
    assert_eq!(tree(&outside).len(), 2);
}

#[test]
fn a_place_that_is_taken_is_refused_and_left_alone() {
    let world = World::new();
    let head = world.make();
    world.write("taken/mine", "x");
    symlink("nowhere", world.path("dangling")).unwrap();
    world.write("file", "x");
    for to in ["taken", "dangling", "file"] {
        let to = world.path(to);
        let asked = Unpacking {
            id: &head.id,
            to: &to,
            tree: None,
            readable: None,
            links: Links::Within,
            owner: None,
        };
        let refused = restore(&world.store, &asked, TRUSTED, &|_, _| {}).unwrap_err();
        assert!(matches!(refused, CheckpointError::Taken(_)), "{refused}");
    }
    assert_eq!(tree(&world.path("taken")).len(), 2);
}

#[test]
fn a_file_that_never_rests_is_refused_unless_everything_is_paused() {
    let world = World::new();
    let (over, paused) = (AtomicBool::new(false), std::sync::Mutex::new(()));
    world.write("work/a", "0");
    world.write("work/b", "0");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0_u64;
            while !over.load(Ordering::Relaxed) {
                count += 1;
                let _running = paused.lock().unwrap();
                world.write("work/a", count.to_string());
                world.write("work/b", count.to_string());
            }
        });
        // On a busy machine the writer may rest for so long that nothing changes meanwhile.
        let restless = (0..100).find_map(|_| world.try_make(Quiet::Proven).err());
        let mut heads = Vec::new();
        for _ in 0..20 {
            let mut held = None;
            let mut hold = |hold: Hold| {
                held = (hold == Hold::Pause).then(|| paused.lock().unwrap());
                Ok(())
            };
            heads.push(world.try_make(Quiet::Paused(&mut hold)));
            assert!(held.is_none(), "it was left paused");
        }
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let restless = restless.expect("what changes all the time was never found to");
        assert!(
            matches!(restless, CheckpointError::Restless { .. }),
            "{restless}"
        );
        for head in heads {
            let (to, _) = world.restore(&head.unwrap().id).unwrap();
            let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
            // Attack C9: a torn copy would hold two counts.
            assert_eq!(read("work/a"), read("work/b"));
        }
    });
    assert_eq!(
        world.try_make(Quiet::Proven).unwrap().stillness,
        Stillness::Proven
    );
}

#[test]
fn a_pause_that_fails_is_ended_and_nothing_is_kept() {
    let world = World::new();
    let mut asked = Vec::new();
    let mut hold = |hold: Hold| {
        asked.push(hold);
        Err(std::io::Error::other("the engine is gone"))
    };
    world.try_make(Quiet::Paused(&mut hold)).unwrap_err();
    assert_eq!(asked, [Hold::Pause, Hold::Resume]);
    assert_eq!(world.store.ids().unwrap(), []);
}

#[test]
fn more_than_may_be_kept_is_refused_before_it_is_believed() {
    let mut world = World::new();
    world.write("work/a", noise(1, 300_000));
    world.quota = 100_000;
    let refused = world.try_make(Quiet::Ended).unwrap_err();
    assert!(
        matches!(refused, CheckpointError::Quota { .. }),
        "{refused}"
    );
    assert_eq!(
        (world.files_of("heads").len(), world.files_of("packs").len()),
        (0, 0)
    );
}

#[test]
fn what_a_killed_writer_leaves_is_removed_and_never_listed() {
    let world = World::new();
    world.write("work/a", noise(1, 100_000));
    let head = world.make();
    world.write(".loki/checkpoints/packs/.new-x.pack", "half");
    world.write(".loki/checkpoints/heads/.new-y.json", "half");
    assert_eq!(world.store.ids().unwrap(), std::slice::from_ref(&head.id));
    // Killed between its pack and its head.
    fs::remove_file(&world.files_of("heads")[1]).unwrap();
    assert_eq!(world.store.ids().unwrap(), []);
    let again = world.make();
    assert_eq!(world.files_of("heads").len(), 1);
    world.store.verify(&again.id, TRUSTED, &|_, _| {}).unwrap();
    assert!(
        again.stored < 5000,
        "what was there was not used: {}",
        again.stored
    );
}

#[test]
fn pruning_removes_what_nothing_needs_and_the_rest_still_verifies() {
    let world = World::new();
    let mut heads = Vec::new();
    for round in 0..5 {
        world.write("work/kept", noise(1, 400_000));
        world.write("work/changing", noise(100 + round, 400_000));
        heads.push(world.make());
    }
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    let now = Timestamp::now();
    let size = world.store.size().unwrap();
    let asked = prune(&world.store, rule, TRUSTED, now, Pretend::Yes).unwrap();
    assert_eq!(
        (asked.removed.len(), world.store.size().unwrap()),
        (4, size)
    );
    let done = prune(&world.store, rule, TRUSTED, now, Pretend::No).unwrap();
    assert_eq!(done.removed, asked.removed);
    assert!(done.after * 2 < size, "{} of {size}", done.after);
    assert_eq!(world.store.ids().unwrap(), [heads[4].id.clone()]);
    let (to, _) = world.restore(&heads[4].id).unwrap();
    assert_eq!(tree(&to.join("work")), tree(&world.path("work")));
}

#[test]
fn pruning_removes_nothing_while_one_that_stays_cannot_be_believed() {
    let world = World::new();
    world.make();
    let head = world.make();
    let path = world.files_of("heads")[1].clone();
    let text = fs::read_to_string(&path).unwrap();
    world.write(
        path.to_str().unwrap(),
        text.replace("\\\"entries\\\":2", "\\\"entries\\\":3"),
    );
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    let refused = prune(&world.store, rule, TRUSTED, Timestamp::now(), Pretend::No).unwrap_err();
    assert!(refused.to_string().contains(head.id.as_str()), "{refused}");
    assert_eq!(world.store.ids().unwrap().len(), 2);
}

#[test]
fn attack_c1_a_signed_listing_that_breaks_a_rule_is_refused_all_the_same() {
    let world = World::new();
    let head = world.make();
    for (path, is) in [
        ("../out", Kind::Directory),
        ("work/../../out", Kind::Directory),
        (
            "/out",
            Kind::File {
                size: 0,
                chunks: Vec::new(),
            },
        ),
        (
            "work/nowhere/x",
            Kind::File {
                size: 0,
                chunks: Vec::new(),
            },
        ),
    ] {
        let mut listing = world.listing(&head);
        let entry = Entry {
            path: EntryPath::new(path),
            is,
            ..listing.entries[0].clone()
        };
        listing.entries.push(entry);
        let forged = signed(&world, &head, &listing);
        let why = world.why_not(&forged);
        assert!(why.contains("is refused"), "{why}");
    }
    assert!(!world.path("out").exists());
}

/// Signs a listing that no honest Loki would write.
fn signed(world: &World, head: &Head, listing: &Listing) -> Head {
    let mut bytes = Vec::new();
    listing.write(&mut bytes).unwrap();
    let name = format!("forged-{}", bytes.len());
    let mut writer = pack::Writer::new(&world.store.packs, &name, pack::Room::ENDLESS);
    let mut block = pack::Block::default();
    block.push(Digest::of(&bytes), &bytes);
    writer
        .add(&block, &pack::Packer::new().unwrap().pack(&block).unwrap())
        .unwrap();
    writer.finish().unwrap();
    let forged = Head {
        id: name.parse().unwrap(),
        entries: listing.entries.len() as u64,
        bytes: listing.bytes(),
        listing: Parts {
            bytes: bytes.len() as u64,
            chunks: vec![Digest::of(&bytes)],
        },
        ..head.clone()
    };
    let sealed = forged.seal(Signer {
        key: "aa",
        sign: &sign,
    });
    world.write(&format!(".loki/checkpoints/heads/{name}.json"), sealed);
    forged
}

#[test]
fn a_link_in_the_place_of_the_store_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join(".loki");
    fs::create_dir(&state).unwrap();
    fs::create_dir(root.path().join("elsewhere")).unwrap();
    symlink("../elsewhere", state.join("checkpoints")).unwrap();
    Store::open(&state).unwrap_err();
    assert_eq!(
        fs::read_dir(root.path().join("elsewhere")).unwrap().count(),
        0
    );
}

#[test]
fn every_packing_of_an_export_is_read_by_the_stock_tar() {
    let world = World::new();
    world.write("work/src/main.rs", noise(4, 700_000));
    world.write(
        &format!("work/{}/{}", "d".repeat(200), "f".repeat(200)),
        "long",
    );
    symlink("src/main.rs", world.path("work/link")).unwrap();
    let head = world.make();
    for (packing, flag) in [
        (Packing::Plain, "-x"),
        (Packing::Gzip, "-xz"),
        (Packing::Zstd, "-x --zstd"),
    ] {
        let mut bytes = Vec::new();
        let asked = Export {
            id: &head.id,
            packing,
            links: Links::Within,
        };
        export(&world.store, asked, TRUSTED, &mut bytes).unwrap();
        world.write("archive", &bytes);
        let to = tempfile::tempdir().unwrap();
        let mut command = Command::new("tar");
        command
            .args(flag.split(' '))
            .arg("-f")
            .arg(world.path("archive"))
            .arg("-C")
            .arg(to.path());
        assert!(command.status().unwrap().success(), "{packing:?}");
        let contents = |root: PathBuf| -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
            let all = tree(&root).into_iter();
            all.map(|(path, (mode, _, bytes))| (path, (mode, bytes)))
                .collect()
        };
        assert_eq!(
            contents(to.path().join("work")),
            contents(world.path("work"))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_row_of_changes_is_restored_as_it_was(rounds in proptest::collection::vec(
        proptest::collection::vec((0_u8..6, 0_u8..4, 0_usize..300_000, any::<u8>()), 1..6), 1..4)) {
        let world = World::new();
        let mut kept = Vec::new();
        for round in &rounds {
            for (file, place, length, seed) in round {
                let path = format!("work/{place}/{file}");
                match length % 5 {
                    0 => drop(fs::remove_file(world.path(&path))),
                    1 => drop(fs::remove_dir_all(world.path(&format!("work/{place}")))),
                    _ => world.write(&path, noise(u64::from(*seed), *length)),
                }
            }
            kept.push((world.make().id, tree(&world.path("work"))));
        }
        for (id, expected) in kept {
            let (to, _) = world.restore(&id).unwrap();
            prop_assert!(tree(&to.join("work")) == expected);
        }
    }
}
