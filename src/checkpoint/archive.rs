//! Reads a tar that somebody else made, and believes nothing of it.
//!
//! What two programs could read in two ways is refused, not guessed at: a checksum that does not
//! fit, a number that is not plain octal or base 256, a size said twice, extensions that change
//! what is a file, anything behind the end. What is left, every `tar` reads as this one does; a
//! test compares them on archives with bits turned over. Links of the hard kind, devices, set-id
//! bits and links that leave are refused too, by the rules of `admit`.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::HashSet,
    io::{self, Read},
    path::Path,
    rc::Rc,
};

use super::{
    admit::{Admission, Caps, Folding, Refusal, Strictness},
    entry::{Entry, EntryPath, Kind, Moment},
    error::CheckpointError,
};

/// Bytes of a header, and what contents are rounded up to.
const BLOCK: usize = 512;
/// The most bytes of an extension: a path has 4,000.
const EXTENSION: u64 = 64 << 10;
/// How much larger unpacked contents may be than the archive, and from what size on it counts.
const RATIO: u64 = 1000;
const SMALL: u64 = 64 << 20;

/// Reads an archive, packed with zstd, gzip or not at all, to its end. Each entry is given with its
/// contents, its path below `root`. Directories that are missing are put in.
///
/// # Errors
/// The first thing that is refused; what was given before is not to be believed then.
pub(super) fn read(
    root: &str,
    from: &mut dyn Read,
    caps: Caps,
    take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let mut magic = [0; 4];
    let mut archive = Archive::new(root, caps);
    let have = fill(from, &mut magic).map_err(|cause| archive.reading(cause))?;
    let count = Rc::new(Cell::new(0));
    let whole = Counted {
        inner: io::Cursor::new(&magic[..have]).chain(from),
        count: Rc::clone(&count),
    };
    let bounded = |inner| Bounded {
        inner,
        given: 0,
        count,
    };
    match magic {
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let unpacked = zstd::stream::Decoder::new(whole);
            let unpacked = unpacked.map_err(|cause| archive.reading(cause))?;
            archive.entries(&mut bounded(Box::new(unpacked) as Box<dyn Read + '_>), take)
        }
        [0x1f, 0x8b, ..] => {
            let unpacked = Box::new(flate2::read::MultiGzDecoder::new(whole));
            archive.entries(&mut bounded(unpacked as Box<dyn Read + '_>), take)
        }
        _ => archive.entries(&mut { whole }, take),
    }
}

/// What extensions say of the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    fn is_none(&self) -> bool {
        self.path.is_none() && self.target.is_none() && self.size.is_none()
    }
}

/// An archive that is being read.
struct Archive {
    root: EntryPath,
    admission: Admission,
    directories: HashSet<EntryPath>,
    /// The last entry that was whole.
    after: EntryPath,
}

impl Archive {
    fn new(root: &str, caps: Caps) -> Self {
        let root = EntryPath::new(root);
        Self {
            admission: Admission::new(caps, Folding::One, Strictness::Refused),
            directories: HashSet::new(),
            after: root.clone(),
            root,
        }
    }

    fn wrong(&self, why: &'static str) -> CheckpointError {
        let after = self.after.clone();
        CheckpointError::Archive { after, why }
    }

    fn reading(&self, cause: io::Error) -> CheckpointError {
        unread(&self.after, cause)
    }

    fn entries(
        &mut self,
        from: &mut dyn Read,
        take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        self.give(self.directory(self.root.clone()), &mut io::empty(), take)?;
        let mut extended = Extended::default();
        while let Some(header) = self.header(from)? {
            match header.entry_type().as_byte() {
                b'L' | b'K' | b'x' => self.extension(from, &header, &mut extended)?,
                _ => {
                    let extended = std::mem::take(&mut extended);
                    self.entry(from, &header, extended, take)?;
                }
            }
        }
        if !extended.is_none() {
            return Err(self.wrong("an extension has no entry"));
        }
        self.end(from)
    }

    /// Reads the next header; none at the end.
    fn header(&self, from: &mut dyn Read) -> Result<Option<tar::Header>, CheckpointError> {
        let mut header = tar::Header::new_old();
        self.exactly(from, header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum =
            |at: usize, byte: u8| u64::from(if (148..156).contains(&at) { b' ' } else { byte });
        let sum: u64 = bytes
            .iter()
            .enumerate()
            .map(|(at, byte)| sum(at, *byte))
            .sum();
        if octal(&bytes[148..156]) != Some(sum) {
            return Err(self.wrong("the checksum of a header does not fit"));
        }
        if header.as_ustar().is_none() && header.as_gnu().is_none() {
            return Err(self.wrong("a header is neither of POSIX nor of GNU"));
        }
        Ok(Some(header))
    }

    /// Takes what an extension says of the next entry.
    fn extension(
        &self,
        from: &mut dyn Read,
        header: &tar::Header,
        extended: &mut Extended,
    ) -> Result<(), CheckpointError> {
        let size = self.size(header)?;
        if size > EXTENSION {
            return Err(self.wrong("an extension is too long"));
        }
        let mut bytes = vec![0; usize::try_from(size).expect("it is short")];
        self.exactly(from, &mut bytes)?;
        self.skip(from, size)?;
        let twice = match header.entry_type().as_byte() {
            b'L' => extended.path.replace(self.until_nul(bytes)?).is_some(),
            b'K' => extended.target.replace(self.until_nul(bytes)?).is_some(),
            _ => !extended.is_none() || !self.records(&bytes, extended)?,
        };
        match twice {
            true => Err(self.wrong("something is said twice of one entry")),
            false => Ok(()),
        }
    }

    /// Returns the bytes before the NUL that ends them.
    fn until_nul(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, CheckpointError> {
        match bytes.pop() {
            Some(0) if !bytes.contains(&0) && !bytes.is_empty() => Ok(bytes),
            _ => Err(self.wrong("a long name does not end where it should")),
        }
    }

    /// Reads the records of a POSIX extension; false when one is there twice.
    fn records(&self, bytes: &[u8], extended: &mut Extended) -> Result<bool, CheckpointError> {
        let malformed = || self.wrong("an extension is malformed");
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = rest
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or_else(malformed)?;
            let length = decimal(&rest[..space]).ok_or_else(malformed)?;
            let length = usize::try_from(length).map_err(|_| malformed())?;
            let record = rest.get(space + 1..length).ok_or_else(malformed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            if value.contains(&0) {
                return Err(malformed());
            }
            let once = match key {
                b"path" => extended.path.replace(value.to_vec()).is_none(),
                b"linkpath" => extended.target.replace(value.to_vec()).is_none(),
                b"size" => {
                    let size = decimal(value).ok_or_else(malformed)?;
                    extended.size.replace(size).is_none()
                }
                key if is_harmless(key) => true,
                _ => return Err(self.wrong("an extension is not known")),
            };
            if !once {
                return Ok(false);
            }
            rest = &rest[length..];
        }
        Ok(true)
    }

    fn entry(
        &mut self,
        from: &mut dyn Read,
        header: &tar::Header,
        extended: Extended,
        take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let size = self.size(header)?;
        if extended.size.is_some_and(|said| said != size) {
            return Err(self.wrong("the size of an entry is said in two ways"));
        }
        let named = extended
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let (path, was_directory) = self.place(&named);
        let target = || {
            let own = || {
                header
                    .link_name_bytes()
                    .map(Cow::into_owned)
                    .unwrap_or_default()
            };
            EntryPath::new(extended.target.clone().unwrap_or_else(own))
        };
        let is = match header.entry_type().as_byte() {
            b'0' | 0 if !was_directory => Kind::File {
                size,
                chunks: Vec::new(),
            },
            b'5' => Kind::Directory,
            b'2' if !was_directory => Kind::Link { target: target() },
            b'1' => return Err(refused(&path, Refusal::HardLink)),
            _ => return Err(refused(&path, Refusal::Special)),
        };
        if size > 0 && !matches!(is, Kind::File { .. }) {
            return Err(self.wrong("something that is no file has contents"));
        }
        if path == self.root && is == Kind::Directory {
            return Ok(());
        }
        let entry = Entry {
            is,
            mode: self.number(&header.as_bytes()[100..108], "a mode")? & 0o7777,
            mtime: Moment(self.time(header)?, 0),
            seen: None,
            path: path.clone(),
        };
        self.parents(&path, take)?;
        let mut contents = from.take(size);
        self.give(entry, &mut contents, take)?;
        if contents.limit() > 0 {
            return Err(self.wrong("it ends too early"));
        }
        self.skip(from, size)?;
        self.after = path;
        Ok(())
    }

    /// Returns the path below the root, and whether it was written as a directory's.
    fn place(&self, named: &[u8]) -> (EntryPath, bool) {
        let mut below = named;
        while let Some(rest) = below.strip_prefix(b"./") {
            below = rest;
        }
        let trimmed = below.strip_suffix(b"/").unwrap_or(below);
        let was_directory = trimmed.len() < below.len();
        match trimmed {
            b"" if below.is_empty() && !named.is_empty() => (self.root.clone(), true),
            b"." => (self.root.clone(), true),
            trimmed => (self.root.join(trimmed), was_directory),
        }
    }

    /// Puts in directories that the archive left to whoever unpacks it.
    fn parents(
        &mut self,
        path: &EntryPath,
        take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        super::admit::path(path).map_err(|refusal| refused(path, refusal))?;
        let mut missing = Vec::new();
        let mut at = path.parent();
        while let Some(parent) = at.filter(|parent| !self.directories.contains(parent)) {
            at = parent.parent();
            missing.push(parent);
        }
        for parent in missing.into_iter().rev() {
            if self.admission.knows(&parent) {
                return Err(refused(path, Refusal::Orphan));
            }
            self.give(self.directory(parent), &mut io::empty(), take)?;
        }
        Ok(())
    }

    fn directory(&self, path: EntryPath) -> Entry {
        Entry {
            path,
            is: Kind::Directory,
            mode: 0o755,
            mtime: Moment::default(),
            seen: None,
        }
    }

    fn give(
        &mut self,
        entry: Entry,
        contents: &mut dyn Read,
        take: &mut dyn FnMut(Entry, &mut dyn Read) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let admitted = self.admission.admit(&entry);
        admitted.map_err(|refusal| refused(&entry.path, refusal))?;
        if entry.is == Kind::Directory {
            self.directories.insert(entry.path.clone());
        }
        take(entry, contents)
    }

    fn size(&self, header: &tar::Header) -> Result<u64, CheckpointError> {
        let field = &header.as_bytes()[124..136];
        let size = match field[0] {
            // Base 256, for files of 8 GiB and more.
            0x80 => {
                let (high, low) = field.split_at(4);
                let low = u64::from_be_bytes(low.try_into().expect("twelve less four is eight"));
                (high[1..] == [0, 0, 0] && low >= 1 << 33).then_some(low)
            }
            _ => octal(field),
        };
        size.filter(|size| *size < 1 << 62)
            .ok_or_else(|| self.wrong("the size of an entry is malformed"))
    }

    fn number(&self, field: &[u8], what: &'static str) -> Result<u32, CheckpointError> {
        let number = octal(field).and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| {
            self.wrong(match what {
                "a mode" => "the mode of an entry is malformed",
                _ => "a number of an entry is malformed",
            })
        })
    }

    fn time(&self, header: &tar::Header) -> Result<i64, CheckpointError> {
        let time = octal(&header.as_bytes()[136..148]);
        let time = time.and_then(|time| i64::try_from(time).ok());
        time.ok_or_else(|| self.wrong("the time of an entry is malformed"))
    }

    fn exactly(&self, from: &mut dyn Read, into: &mut [u8]) -> Result<(), CheckpointError> {
        from.read_exact(into).map_err(|cause| self.reading(cause))
    }

    /// Skips what fills contents up to whole blocks.
    fn skip(&self, from: &mut dyn Read, size: u64) -> Result<(), CheckpointError> {
        let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
        let mut rest = [0; BLOCK];
        match over {
            0 => Ok(()),
            over => self.exactly(from, &mut rest[over..]),
        }
    }

    /// Reads the second empty block, and that nothing but emptiness follows.
    fn end(&self, from: &mut dyn Read) -> Result<(), CheckpointError> {
        let mut block = [0; BLOCK];
        self.exactly(from, &mut block)?;
        loop {
            if block.iter().any(|byte| *byte != 0) {
                return Err(self.wrong("something stands behind its end"));
            }
            let have = fill(from, &mut block).map_err(|cause| self.reading(cause))?;
            if have == 0 {
                return Ok(());
            }
            block[have..].fill(0);
        }
    }
}

/// Says why the archive cannot be read on.
pub(super) fn unread(at: &EntryPath, cause: io::Error) -> CheckpointError {
    let inner = cause.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<Refusal>()) {
        Some(refusal) => refused(at, *refusal),
        None if cause.kind() == io::ErrorKind::UnexpectedEof => CheckpointError::Archive {
            after: at.clone(),
            why: "it ends too early",
        },
        None => CheckpointError::io("read", Path::new("the archive"), cause),
    }
}

fn refused(path: &EntryPath, refusal: Refusal) -> CheckpointError {
    let path = path.clone();
    CheckpointError::Refused { path, refusal }
}

/// Says of nothing but who, when and which: contents and names stay what they are.
fn is_harmless(key: &[u8]) -> bool {
    let exactly: [&[u8]; 8] = [
        b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment",
    ];
    let beginning: [&[u8]; 5] = [
        b"SCHILY.xattr.",
        b"SCHILY.acl.",
        b"SCHILY.fflags",
        b"LIBARCHIVE.xattr.",
        b"LIBARCHIVE.creationtime",
    ];
    exactly.contains(&key) || beginning.iter().any(|one| key.starts_with(one))
}

/// Reads octal digits with nothing but spaces before, and spaces and NULs behind them.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|byte| *byte != b' ')?;
    let digits = &field[start..];
    let end = digits
        .iter()
        .position(|byte| !(b'0'..=b'7').contains(byte))
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(8)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
    text.parse().ok()
}

/// Reads until the buffer is full or nothing is left.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match from.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(have)
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// Gives out no more than a multiple of what was read.
struct Bounded<R> {
    inner: R,
    given: u64,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.given += count as u64;
        if self.given > SMALL.max(self.count.get().saturating_mul(RATIO)) {
            return Err(io::Error::other(Refusal::Ratio));
        }
        Ok(count)
    }
}
