//! Reads a tar that somebody else made, and believes nothing of it.
//!
//! What two programs could read in two ways is refused, not guessed at: a checksum that does not
//! fit, a number that is not plain octal or base 256, a size said twice, extensions that change
//! what is a file, anything behind the end. What is left, every `tar` reads as this one does; a
//! test compares them on archives with bits turned over. Links of the hard kind, devices, set-id
//! bits and links that leave are refused too, by the rules of `admit`.

mod extended;
mod fields;

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

use extended::Extended;
use fields::{Bounded, Counted, fill, octal};

/// Bytes of a header, and what contents are rounded up to.
const BLOCK: usize = 512;
/// The most emptiness behind the end: programs fill up to whole records, of 10 KiB usually.
const PADDING: usize = 1 << 20;
/// The most bytes of an extension: a path has 4,000.
const EXTENSION: u64 = 64 << 10;

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
        // Who owns it is nobody's business here, but where that is malformed some readers stop.
        let unused = [108..116, 116..124, 329..337, 337..345];
        let is_blank = |field: &[u8]| field.iter().all(|byte| matches!(byte, b' ' | 0));
        let is_number = |field: &[u8]| field[0] == 0x80 || octal(field).is_some();
        let holds = |field: &[u8]| is_blank(field) || is_number(field);
        if !unused.into_iter().all(|at| holds(&bytes[at])) {
            return Err(self.wrong("a number of a header is malformed"));
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
        let taken = extended.take(header.entry_type().as_byte(), bytes);
        taken.map_err(|why| self.wrong(why))
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
        if is_of_windows(path.split_root().1) {
            return Err(refused(&path, Refusal::Path));
        }
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
        for _ in 0..PADDING / BLOCK {
            if block.iter().any(|byte| *byte != 0) {
                return Err(self.wrong("something stands behind its end"));
            }
            let have = fill(from, &mut block).map_err(|cause| self.reading(cause))?;
            if have == 0 {
                return Ok(());
            }
            block[have..].fill(0);
        }
        Err(self.wrong("more than a mebibyte stands behind its end"))
    }
}

/// Returns whether a name begins as absolute ones of Windows do, which some programs cut off.
fn is_of_windows(name: &[u8]) -> bool {
    match name {
        [b'\\', ..] => true,
        [drive, b':', ..] => drive.is_ascii_alphabetic(),
        _ => false,
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
