//! Zeros: what the holes of files read as. They are known without being read, hashed or written.

use std::{fs::File, sync::LazyLock};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::digest::Digest;

use super::pack::CHUNK;

/// As many as a chunk has at most.
pub(super) static ZEROS: [u8; CHUNK] = [0; CHUNK];
static DIGEST: LazyLock<Digest> = LazyLock::new(|| Digest::of(&ZEROS));

/// The hash of a chunk of nothing but zeros, of the greatest length.
pub(super) fn digest() -> Digest {
    *DIGEST
}

/// Returns where the next hole begins and ends that is worth one, at or behind a place; both at the
/// end where there is none. A file system that tells of no holes has none.
pub(super) fn next_hole(file: &File, at: u64, size: u64) -> (u64, u64) {
    let mut from = at;
    while from < size {
        let Ok(hole) = seek(file, SeekFrom::Hole(from)) else {
            break;
        };
        let data = match seek(file, SeekFrom::Data(hole)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(_) => break,
        };
        // A file may be cut short, or filled, while it is looked at: whoever reads it finds out.
        if hole >= size || data <= hole {
            break;
        }
        if data - hole >= CHUNK as u64 {
            return (hole, data);
        }
        from = data;
    }
    (size, size)
}
