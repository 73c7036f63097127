//! The rules that every list of entries keeps, whoever wrote it: our own, a signed one read back,
//! and a stranger's archive.
//!
//! Pure: entries go in one at a time, in order, and each is admitted or refused with the rule. What
//! was admitted can be unpacked below one directory and touches nothing else: a directory is there
//! before anything in it, nothing is there twice, and nothing lies below a link or a file.

use std::{collections::HashMap, time::Duration};

use jiff::SignedDuration;

use super::{
    entry::{Entry, EntryPath, Kind},
    error::CheckpointError,
};

/// The longest path, in bytes; the kernel takes no longer one.
pub(super) const PATH: usize = 4000;
/// The longest name in a path.
pub(super) const NAME: usize = 255;
/// The most directories inside each other.
pub(super) const DEPTH: usize = 128;
/// Bits of a mode that make a program run as somebody else, and the one that looks alike.
const SET_ID: u32 = 0o7000;

/// How much may be kept, or unpacked, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that all paths, and what links say, take as they are written in a listing.
    pub paths: u64,
    /// How long it may take to keep them; none for as long as it takes.
    pub time: Option<Duration>,
}

impl Caps {
    /// Fails when it took longer than it may.
    pub(super) fn in_time(self, took: SignedDuration) -> Result<(), CheckpointError> {
        let late = |most: &Duration| took > SignedDuration::try_from(*most).unwrap_or_default();
        self.time
            .filter(late)
            .map_or(Ok(()), |most| Err(CheckpointError::Late(most)))
    }
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            bytes: 256 << 30,
            paths: 256 << 20,
            time: None,
        }
    }
}

/// The rule that an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path does not lie below its root.
    #[error("a path is relative, without `.`, `..`, empty parts and NUL")]
    Path,
    /// The path is too long or too deep.
    #[error("a path has at most 4000 bytes, 255 in a part, and 128 parts")]
    Long,
    /// Its directory is not there, or is no directory.
    #[error("what it would lie in is no directory of this list")]
    Orphan,
    /// There is one of this path already.
    #[error("it is listed twice")]
    Twice,
    /// Another path becomes this one where capitals do not count.
    #[error("another path differs from it in nothing but capitals")]
    Folds,
    /// A link that leads out of its root.
    #[error("it is a link that leads out of its tree")]
    Leaves,
    /// A hard link.
    #[error("hard links are not taken")]
    HardLink,
    /// A socket, pipe, device or something unknown.
    #[error("it is no file, directory or symbolic link")]
    Special,
    /// A program that would run as somebody else.
    #[error("it has a set-user-id, set-group-id or sticky bit")]
    SetId,
    /// Too many entries.
    #[error("there are more entries than may be")]
    Many,
    /// Too many bytes.
    #[error("the files together are larger than may be")]
    Large,
    /// Names that fill the memory of whoever reads them.
    #[error("the names of all entries together are longer than may be")]
    Names,
    /// Compressed data that grows beyond measure.
    #[error("it grows more than a thousandfold when unpacked")]
    Ratio,
}

/// What is done about names that are one where capitals do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    /// They are two.
    Apart,
    /// They are one, so the second is refused.
    One,
}

/// What is done about links that lead out of their root, and about set-id bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// Both are recorded; what unpacks does not take them over.
    Recorded,
    /// Both are refused.
    Refused,
}

/// Judges entries one after the other.
pub(super) struct Admission {
    caps: Caps,
    folding: Folding,
    strictness: Strictness,
    directories: HashMap<EntryPath, bool>,
    folded: HashMap<String, ()>,
    total: Total,
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    entries: u64,
    bytes: u64,
    paths: u64,
}

impl Total {
    /// Counts one thing more: its path, what it says if it is a link, and its bytes.
    pub(super) fn add(
        &mut self,
        (path, target): (&EntryPath, Option<&EntryPath>),
        bytes: u64,
        caps: Caps,
    ) -> Result<(), Refusal> {
        let names = path.written() + target.map_or(0, EntryPath::written);
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.paths = self.paths.saturating_add(names);
        match () {
            () if self.entries > caps.entries => Err(Refusal::Many),
            () if self.bytes > caps.bytes => Err(Refusal::Large),
            () if self.paths > caps.paths => Err(Refusal::Names),
            () => Ok(()),
        }
    }
}

impl Admission {
    /// Starts with nothing admitted.
    pub(super) fn new(caps: Caps, folding: Folding, strictness: Strictness) -> Self {
        Self {
            caps,
            folding,
            strictness,
            directories: HashMap::new(),
            folded: HashMap::new(),
            total: Total::default(),
        }
    }

    /// Admits an entry.
    pub(super) fn admit(&mut self, entry: &Entry) -> Result<(), Refusal> {
        path(&entry.path)?;
        self.place(entry)?;
        if self.strictness == Strictness::Refused {
            if entry.mode & SET_ID != 0 {
                return Err(Refusal::SetId);
            }
            if leaves(entry) {
                return Err(Refusal::Leaves);
            }
        }
        let names = (&entry.path, entry.target());
        self.total.add(names, entry.size(), self.caps)
    }

    /// Returns whether something of this path was admitted.
    pub(super) fn knows(&self, path: &EntryPath) -> bool {
        self.directories.contains_key(path)
    }

    /// Takes the entry's place in the tree.
    fn place(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if let Some(parent) = entry.path.parent() {
            match self.directories.get(&parent) {
                Some(true) => {}
                Some(false) | None => return Err(Refusal::Orphan),
            }
        }
        let is_directory = entry.is == Kind::Directory;
        let before = self.directories.insert(entry.path.clone(), is_directory);
        if before.is_some() {
            return Err(Refusal::Twice);
        }
        if self.folding == Folding::One {
            let folded = entry.path.escaped().to_lowercase();
            if self.folded.insert(folded, ()).is_some() {
                return Err(Refusal::Folds);
            }
        }
        Ok(())
    }
}

/// Returns whether a path lies below its root and can be made.
pub(super) fn path(path: &EntryPath) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    let parts = || bytes.split(|byte| *byte == b'/');
    if bytes.len() > PATH || parts().count() > DEPTH || parts().any(|part| part.len() > NAME) {
        return Err(Refusal::Long);
    }
    if parts().any(|part| matches!(part, b"" | b"." | b"..")) || bytes.contains(&0) {
        return Err(Refusal::Path);
    }
    Ok(())
}

/// Returns whether an entry is a link that may lead out of its root. `..` counts as leading out
/// behind any name: that name may itself be a link, and then nobody knows what lies above it.
pub(super) fn leaves(entry: &Entry) -> bool {
    let Kind::Link { target } = &entry.is else {
        return false;
    };
    let target = target.as_bytes();
    if target.is_empty() || target[0] == b'/' || target.contains(&0) {
        return true;
    }
    let (_, below) = entry.path.split_root();
    let depth = below.split(|byte| *byte == b'/').count() - 1;
    let parts = target.split(|byte| *byte == b'/');
    let mut parts = parts.filter(|part| !matches!(*part, b"" | b".")).peekable();
    let mut climbs = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        climbs += 1;
    }
    climbs > depth || parts.any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str, is: Kind) -> Entry {
        Entry {
            path: EntryPath::new(path),
            is,
            mode: 0o644,
            mtime: super::super::entry::Moment::default(),
            seen: None,
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        let target = EntryPath::new(target);
        entry(path, Kind::Link { target })
    }

    fn file(path: &str, size: u64) -> Entry {
        let chunks = Vec::new();
        entry(path, Kind::File { size, chunks })
    }

    fn strict() -> Admission {
        let caps = Caps {
            entries: 6,
            bytes: 100,
            ..Caps::default()
        };
        let mut strict = Admission::new(caps, Folding::One, Strictness::Refused);
        strict.admit(&entry("work", Kind::Directory)).unwrap();
        strict
    }

    #[test]
    fn attack_c1_no_path_leads_out_of_its_root() {
        let long = "x".repeat(256);
        let deep = "d/".repeat(200) + "e";
        let far = "x/".repeat(2100) + "y";
        let hostile = [
            "",
            "/",
            "//",
            "/etc/passwd",
            "//etc/passwd",
            "..",
            "../x",
            "work/..",
            "work/../x",
            "work/../../x",
            "work/a/../../x",
            "./x",
            "work/./x",
            "work/.",
            "work//x",
            "work/",
            "work/x/",
            "work/\0",
            "\0",
            "work/a\0/b",
            "work/x/..",
            "/work/x",
            "/../work/x",
            "work/../work/x",
            "...//..",
            "../../../../../../../../etc/cron.d/x",
            "work/..//x",
            &long,
            &deep,
            &far,
        ];
        assert!(hostile.len() >= 30);
        for path in hostile {
            let refused = strict().admit(&file(path, 0)).unwrap_err();
            assert!(
                matches!(refused, Refusal::Path | Refusal::Long),
                "{path:?} {refused:?}"
            );
        }
        for path in [
            "work/...",
            "work/..x",
            "work/C:\\x",
            "work/~",
            "work/-rf",
            "work/a\\..\\b",
        ] {
            strict().admit(&file(path, 0)).unwrap();
        }
    }

    #[test]
    fn attack_c2_nothing_lies_below_a_link_or_a_file_and_no_link_leaves() {
        let mut admission = strict();
        admission.admit(&link("work/l", "a/b")).unwrap();
        assert_eq!(admission.admit(&file("work/l/x", 0)), Err(Refusal::Orphan));
        assert_eq!(
            admission.admit(&entry("work/l", Kind::Directory)),
            Err(Refusal::Twice)
        );
        admission.admit(&file("work/f", 0)).unwrap();
        assert_eq!(admission.admit(&file("work/f/x", 0)), Err(Refusal::Orphan));
        for target in [
            "/etc",
            "..",
            "../x",
            "a/../../x",
            "",
            "a/..",
            "a/../b",
            "./../x",
        ] {
            let refused = strict().admit(&link("work/n", target));
            assert_eq!(refused, Err(Refusal::Leaves), "{target}");
        }
        for target in ["x", "./x", "a//b", "."] {
            strict().admit(&link("work/n", target)).unwrap();
        }
    }

    #[test]
    fn attack_c4_set_id_bits_are_refused() {
        for mode in [0o4755, 0o2755, 0o1755] {
            let set = Entry {
                mode,
                ..file("work/x", 0)
            };
            assert_eq!(strict().admit(&set), Err(Refusal::SetId));
        }
    }

    #[test]
    fn attack_c5_counts_and_sizes_are_capped() {
        let mut admission = strict();
        assert_eq!(admission.admit(&file("work/big", 101)), Err(Refusal::Large));
        let mut admission = strict();
        for at in 0..5 {
            admission.admit(&file(&format!("work/{at}"), 20)).unwrap();
        }
        assert_eq!(admission.admit(&file("work/9", 0)), Err(Refusal::Many));
        let mut admission = strict();
        admission.admit(&file("work/a", 1)).unwrap();
        assert_eq!(
            admission.admit(&file("work/b", u64::MAX)),
            Err(Refusal::Large)
        );
    }

    #[test]
    fn attack_c6_names_that_fold_are_one_where_capitals_do_not_count() {
        let mut admission = strict();
        admission.admit(&file("work/a", 0)).unwrap();
        assert_eq!(admission.admit(&file("work/A", 0)), Err(Refusal::Folds));
        let mut apart = Admission::new(Caps::default(), Folding::Apart, Strictness::Recorded);
        for one in [
            entry("work", Kind::Directory),
            file("work/a", 0),
            file("work/A", 0),
        ] {
            apart.admit(&one).unwrap();
        }
    }

    proptest! {
        #[test]
        fn what_is_admitted_never_resolves_outside(parts in proptest::collection::vec("(\\.|\\.\\.|a|b|)", 0..8)) {
            let target = parts.join("/");
            let one = link("work/d/n", &target);
            if !leaves(&one) {
                let mut at = vec!["work", "d"];
                for part in &parts {
                    match part.as_str() {
                        "" | "." => {}
                        ".." => drop(at.pop()),
                        name => at.push(name),
                    }
                    prop_assert_eq!(at.first(), Some(&"work"));
                }
            }
        }
    }
}
