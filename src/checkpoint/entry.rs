//! What a checkpoint lists: directories, files and links, and what it left out.

use std::{cmp::Ordering, fmt, io};

use serde::{Deserialize, Serialize, de};

use crate::{digest::Digest, text};

/// Of a hexadecimal number.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A path as the agent's file system has it: bytes, relative, parted by `/`, the first part being
/// the name of a root. As text every byte that is not UTF-8 is `\xHH`, and a backslash is two.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Takes the bytes as they are; nothing is checked.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path of something in this directory.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        Self([&self.0, b"/".as_slice(), name].concat())
    }

    /// Returns the path of the directory it is in; none for a root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].to_vec()))
    }

    /// Returns the name of its root, and the path below that; empty for the root itself.
    #[must_use]
    pub fn split_root(&self) -> (&[u8], &[u8]) {
        match self.0.iter().position(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&self.0, b""),
        }
    }

    /// The order of a listing: a directory, then all that is in it, then its next neighbour.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let is_slash = |byte: &u8| *byte == b'/';
        self.0.split(is_slash).cmp(other.0.split(is_slash))
    }

    /// Returns the text form.
    #[must_use]
    pub fn escaped(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for part in self.0.utf8_chunks() {
            text.push_str(&part.valid().replace('\\', "\\\\"));
            for byte in part.invalid() {
                text.push_str("\\x");
                text.extend(
                    [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)])),
                );
            }
        }
        text
    }

    /// Returns how many bytes the text form takes in JSON: for a name that somebody chose to be
    /// expensive, six times as many as it has.
    #[must_use]
    pub fn written(&self) -> u64 {
        let plain = |c: char| match c {
            '"' | '\n' | '\r' | '\t' | '\x08' | '\x0c' => 2,
            '\\' => 4,
            '\0'..'\x20' => 6,
            c => c.len_utf8(),
        };
        let part = |part: std::str::Utf8Chunk<'_>| {
            let valid: usize = part.valid().chars().map(plain).sum();
            valid + part.invalid().len() * 5
        };
        self.0.utf8_chunks().map(part).sum::<usize>() as u64
    }

    fn unescaped(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            rest = match (first, tail) {
                (b'\\', [b'\\', tail @ ..]) => {
                    bytes.push(b'\\');
                    tail
                }
                (b'\\', [b'x', high, low, tail @ ..]) => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    bytes.push(u8::from_str_radix(digits, 16).ok()?);
                    tail
                }
                (b'\\', _) => return None,
                _ => {
                    bytes.push(*first);
                    tail
                }
            };
        }
        let path = Self(bytes);
        // One path has one text, or two listings of the same tree would differ.
        (path.escaped() == text).then_some(path)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::visible(&self.escaped()))
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.escaped())
    }
}

impl Serialize for EntryPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escaped())
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = EntryPath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path with `\\\\` for a backslash and `\\xHH` for other bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EntryPath, E> {
                EntryPath::unescaped(text).ok_or_else(|| E::custom("malformed path"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A point in time as file systems keep it: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Moment(pub i64, pub u32);

/// What says that a file is the very one that was read before. An agent can set none but the size
/// of a file, and its time of change only by changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// When it was last changed in any way, by the kernel's clock.
    pub ctime: Moment,
    /// Its number on its device.
    pub inode: u64,
    /// Its device.
    pub device: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link, which is never followed.
    Link {
        /// What it says.
        target: EntryPath,
    },
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its contents, in order.
        chunks: Vec<Digest>,
    },
}

/// One thing in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it was.
    pub path: EntryPath,
    /// What it is.
    pub is: Kind,
    /// Its permission bits, as they were.
    pub mode: u32,
    /// When its contents were last changed, by whoever owns it.
    pub mtime: Moment,
    /// Which file it was; none for what came out of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

impl Entry {
    /// Returns the length of a file; of anything else 0.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.is {
            Kind::File { size, .. } => size,
            Kind::Directory | Kind::Link { .. } => 0,
        }
    }

    /// Returns what a link says; none for anything else.
    #[must_use]
    pub fn target(&self) -> Option<&EntryPath> {
        match &self.is {
            Kind::Link { target } => Some(target),
            Kind::Directory | Kind::File { .. } => None,
        }
    }

    /// Returns what a file is made of; nothing for anything else.
    #[must_use]
    pub fn chunks(&self) -> &[Digest] {
        match &self.is {
            Kind::File { chunks, .. } => chunks,
            Kind::Directory | Kind::Link { .. } => &[],
        }
    }
}

/// Why something is not in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It holds a secret value, in its contents, its name or what it points to.
    Secret,
    /// It is a socket.
    Socket,
    /// It is a named pipe.
    Pipe,
    /// It is a device.
    Device,
    /// The system does not let it be read.
    Unreadable,
    /// Another file system begins there.
    Mounted,
    /// Its path is too long, or too deep.
    Deep,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "holds a secret value",
            Self::Socket => "a socket",
            Self::Pipe => "a named pipe",
            Self::Device => "a device",
            Self::Unreadable => "cannot be read",
            Self::Mounted => "another file system",
            Self::Deep => "its path is too long",
        })
    }
}

/// Something that is not in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Where it was, secret values masked.
    pub path: EntryPath,
    /// Why.
    pub why: Why,
}

/// A line of a listing.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Entry(Entry),
    LeftOut(LeftOut),
}

/// A line to be written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Entry(&'a Entry),
    LeftOut(&'a LeftOut),
}

/// A listing that is read piece by piece, so that its text is never in memory as a whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
    listing: Listing,
}

impl Lines {
    /// Takes the next bytes; none when they are no listing.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Option<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.unfinished.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.unfinished);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
        }
        self.unfinished.extend_from_slice(bytes);
        Some(())
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        match serde_json::from_slice(line).ok()? {
            Line::Entry(entry) => self.listing.entries.push(entry),
            Line::LeftOut(one) => self.listing.left_out.push(one),
        }
        Some(())
    }

    /// Returns what was read; none when its last line is cut short.
    pub(super) fn finish(self) -> Option<Listing> {
        self.unfinished.is_empty().then_some(self.listing)
    }
}

/// All that a checkpoint holds, in order, and all it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What it holds.
    pub entries: Vec<Entry>,
    /// What it does not.
    pub left_out: Vec<LeftOut>,
}

impl Listing {
    /// Writes it as lines of JSON.
    pub(super) fn write(&self, mut to: impl io::Write) -> io::Result<()> {
        let entries = self.entries.iter().map(LineRef::Entry);
        let left_out = self.left_out.iter().map(LineRef::LeftOut);
        for line in entries.chain(left_out) {
            serde_json::to_writer(&mut to, &line)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.entries.iter().map(Entry::size);
        sizes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_path_reads_back_from_its_one_text(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let path = EntryPath::new(bytes);
            let json = serde_json::to_string(&path).unwrap();
            prop_assert!(!json.contains('\n'));
            prop_assert_eq!(path.written(), json.len() as u64 - 2);
            prop_assert_eq!(serde_json::from_str::<EntryPath>(&json).unwrap(), path);
        }
    }

    #[test]
    fn a_second_text_for_a_path_is_refused() {
        for text in [r"a\x62", r"a\q", r"a\x", "a\\", r"\xFF", r"\x+f"] {
            assert_eq!(EntryPath::unescaped(text), None, "{text}");
        }
        assert_eq!(EntryPath::new(*b"a\\\xff").escaped(), r"a\\\xff");
    }

    #[test]
    fn a_directory_stands_before_what_is_in_it_and_that_before_its_neighbours() {
        let order = [
            "work", "work/a", "work/a/b", "work/a-b", "work/a.b", "work/ab",
        ];
        let mut paths: Vec<EntryPath> = order.iter().rev().map(|p| EntryPath::new(*p)).collect();
        paths.sort_by(EntryPath::order);
        let sorted: Vec<String> = paths.iter().map(EntryPath::escaped).collect();
        assert_eq!(sorted, order);
    }

    #[test]
    fn a_listing_reads_back_whole_or_not_at_all() {
        let listing = Listing {
            entries: vec![Entry {
                path: EntryPath::new(*b"work/\n\xff"),
                is: Kind::Link {
                    target: EntryPath::new("x"),
                },
                mode: 0o777,
                mtime: Moment(-1, 5),
                seen: None,
            }],
            left_out: vec![LeftOut {
                path: EntryPath::new("home/s"),
                why: Why::Socket,
            }],
        };
        let mut bytes = Vec::new();
        listing.write(&mut bytes).unwrap();
        let read = |bytes: &[u8], step: usize| {
            let mut lines = Lines::default();
            let taken = bytes.chunks(step).try_for_each(|part| lines.take(part));
            taken.and_then(|()| lines.finish())
        };
        for step in [1, 7, bytes.len()] {
            assert_eq!(read(&bytes, step).as_ref(), Some(&listing));
        }
        assert_eq!(read(&bytes[..bytes.len() - 2], 9), None);
        assert_eq!(read(b"", 1), Some(Listing::default()));
    }
}
