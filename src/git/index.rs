//! Git's list of a worktree's files, as far as a fresh worktree needs it: read as git wrote it for a
//! tree, and written with the facts of the files that were made from it.
//!
//! So a worktree is ready without git looking at its files once more, and the gate need not read
//! the contents of those that nobody touched. Reads version 2, which is asked of git; writes
//! version 2, or 3 where files are left out. It refuses to read an index that anybody but git
//! wrote at Loki's request.

use std::ops::Range;

use rustix::fs::Stat;

/// Bytes before the first entry.
const HEADER: usize = 12;
/// Bytes of the facts of a file.
const FACTS: usize = 40;
/// An entry has further flags.
const EXTENDED: u16 = 0x4000;
/// The file is not in the worktree, and this is no change.
const SKIP_WORKTREE: u16 = 0x4000;
/// The length of a name that does not fit into its twelve bits.
const LONG_NAME: usize = 0xfff;

/// A file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: Mode,
    pub(super) path: Vec<u8>,
    id: Range<usize>,
}

/// What a file of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    File,
    Executable,
    Link,
    /// A submodule: a commit of another repository.
    Module,
}

impl Mode {
    fn of(bits: u32) -> Option<Self> {
        match bits {
            0o100_644 => Some(Self::File),
            0o100_755 => Some(Self::Executable),
            0o120_000 => Some(Self::Link),
            0o160_000 => Some(Self::Module),
            _ => None,
        }
    }

    fn bits(self) -> u32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Link => 0o120_000,
            Self::Module => 0o160_000,
        }
    }
}

/// What git remembers of a file in order to see whether it was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts([u32; 9]);

impl From<&Stat> for Facts {
    /// Takes the low bits of each number, as git does.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the format holds 32 bits of each, compared as such"
    )]
    fn from(stat: &Stat) -> Self {
        let size = match (stat.st_size, stat.st_size as u32) {
            // Only an empty file has a size of 0 there.
            (1.., 0) => 0x8000_0000,
            (_, low) => low,
        };
        Self([
            stat.st_ctime as u32,
            stat.st_ctime_nsec as u32,
            stat.st_mtime as u32,
            stat.st_mtime_nsec as u32,
            stat.st_dev as u32,
            stat.st_ino as u32,
            stat.st_uid,
            stat.st_gid,
            size,
        ])
    }
}

/// An index without any facts.
#[derive(Debug)]
pub(super) struct Index {
    bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    /// What stands behind the entries, the checksum excepted.
    extensions: Range<usize>,
    /// Bytes of an object id.
    width: usize,
}

impl Index {
    /// Reads what git wrote; none when it is not of the form that was asked for. `width` is the
    /// length of an object id in bytes.
    pub(super) fn read(bytes: Vec<u8>, width: usize) -> Option<Self> {
        let number = |at: usize| -> Option<u32> {
            let four = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes(four.try_into().ok()?))
        };
        if !bytes.starts_with(b"DIRC") || number(4)? != 2 {
            return None;
        }
        let count = usize::try_from(number(8)?).ok()?;
        let mut entries = Vec::with_capacity(count.min(bytes.len() / FACTS));
        let mut at = HEADER;
        for _ in 0..count {
            let mode = Mode::of(number(at + 24)?)?;
            let flags_at = at + FACTS + width;
            let flags = u16::from_be_bytes(bytes.get(flags_at..flags_at + 2)?.try_into().ok()?);
            if flags & !0xfff != 0 {
                return None;
            }
            let path_at = flags_at + 2;
            let rest = bytes.get(path_at..)?;
            let length = match usize::from(flags & 0xfff) {
                LONG_NAME => rest.iter().position(|byte| *byte == 0)?,
                short => short,
            };
            entries.push(Entry {
                mode,
                path: rest.get(..length)?.to_vec(),
                id: at + FACTS..flags_at,
            });
            at += padded(path_at + length - at);
        }
        let end = bytes.len().checked_sub(width)?;
        (at <= end).then_some(Self {
            bytes,
            entries,
            extensions: at..end,
            width,
        })
    }

    /// Returns the object id of an entry, in digits.
    pub(super) fn id(&self, entry: &Entry) -> String {
        let bytes = self.bytes.get(entry.id.clone()).unwrap_or_default();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns whether two entries, each of its own list, are the same file: what it is, and what it
    /// holds.
    pub(super) fn same(&self, entry: &Entry, other: (&Self, &Entry)) -> bool {
        let id =
            |index: &Self, entry: &Entry| index.bytes.get(entry.id.clone()).map(<[u8]>::to_vec);
        entry.mode == other.1.mode && id(self, entry) == id(other.0, other.1)
    }

    /// Writes it with the facts of each file; one without facts is not in the worktree.
    pub(super) fn write(&self, facts: &[Option<Facts>]) -> Vec<u8> {
        let extended = facts.iter().any(Option::is_none);
        let mut out = Vec::with_capacity(self.bytes.len() + 8 * self.entries.len());
        out.extend(b"DIRC");
        out.extend(if extended { 3_u32 } else { 2 }.to_be_bytes());
        let count = u32::try_from(self.entries.len()).expect("it was read from 32 bits");
        out.extend(count.to_be_bytes());
        for (entry, facts) in self.entries.iter().zip(facts) {
            self.write_entry(entry, facts.as_ref(), &mut out);
        }
        out.extend(self.bytes.get(self.extensions.clone()).unwrap_or_default());
        // No checksum, as with `index.skipHash`: git looks at it in `git fsck` alone.
        out.resize(out.len() + self.width, 0);
        out
    }

    fn write_entry(&self, entry: &Entry, facts: Option<&Facts>, out: &mut Vec<u8>) {
        let begun = out.len();
        let numbers = facts.copied().unwrap_or_default().0;
        let (before, after) = numbers.split_at(6);
        let mode = [entry.mode.bits()];
        let numbers = before.iter().chain(&mode).chain(after).copied();
        out.extend(numbers.flat_map(u32::to_be_bytes));
        out.extend(self.bytes.get(entry.id.clone()).unwrap_or_default());
        let length = u16::try_from(entry.path.len().min(LONG_NAME)).expect("twelve bits");
        match facts {
            Some(_) => out.extend(length.to_be_bytes()),
            None => {
                out.extend((length | EXTENDED).to_be_bytes());
                out.extend(SKIP_WORKTREE.to_be_bytes());
            }
        }
        out.extend(&entry.path);
        out.resize(begun + padded(out.len() - begun), 0);
    }
}

/// Returns the length of an entry with its one to eight closing zeros.
fn padded(length: usize) -> usize {
    (length + 8) & !7
}
