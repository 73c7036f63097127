//! Whole checkpoints in directories of a test's own: what is kept, found changed and unpacked.

#![expect(
    clippy::disallowed_methods,
    reason = "tests write files of their own and run the stock programs"
)]

mod believing;
mod exhausting;
mod hostile;
mod keeping;
mod packs;
mod pruning;
mod sparse;
mod strangers;
mod unpacking;

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

/// What keeping needs of the world, as tests have it.
const TOOLS: Tools<'static> = Tools {
    signer: Signer {
        key: "aa",
        sign: &sign,
    },
    trusted: TRUSTED,
    now: &Timestamp::now,
    progress: &|_, _| {},
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

    /// Has a value be the secret `KEY`.
    fn keep_out(&mut self, value: &str) {
        let values = [("KEY".to_owned(), Zeroizing::new(value.to_owned()))];
        self.secrets = Redactor::new(&Values::from_iter(values));
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
