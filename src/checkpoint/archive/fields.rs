//! Numbers of headers, keys of extensions, and bounds on what is read.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use crate::checkpoint::admit::Refusal;

/// How much larger unpacked contents may be than the archive, and from what size on it counts.
const RATIO: u64 = 1000;
const SMALL: u64 = 64 << 20;

/// Says of nothing but who, when and which: contents and names stay what they are.
pub(super) fn is_harmless(key: &[u8]) -> bool {
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
pub(super) fn octal(field: &[u8]) -> Option<u64> {
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

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
    text.parse().ok()
}

/// Reads until the buffer is full or nothing is left.
pub(super) fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
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
pub(super) struct Counted<R> {
    /// What is read.
    pub(super) inner: R,
    /// Bytes so far.
    pub(super) count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

/// Gives out no more than a multiple of what was read.
pub(super) struct Bounded<R> {
    /// What is read.
    pub(super) inner: R,
    /// Bytes given out so far.
    pub(super) given: u64,
    /// Bytes of the archive that were read for them.
    pub(super) count: Rc<Cell<u64>>,
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
