//! Writes a checkpoint as a tar that any `tar` reads.

use std::io::{self, Read, Write};

use crate::name::CheckpointId;

use super::{
    admit::leaves,
    entry::{Entry, EntryPath, Kind},
    error::CheckpointError,
    manifest::{Head, Trusted},
    read::Reader,
    restore::Links,
    store::Store,
};

/// How a tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

/// What is to be written, and how.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The checkpoint.
    pub id: &'a CheckpointId,
    /// How it is packed.
    pub packing: Packing,
    /// What is done about links that lead out of their tree.
    pub links: Links,
}

/// Verifies a checkpoint, then writes it. Returns its head and the links that were left out.
///
/// # Errors
/// The first thing that is wrong with it, before anything is written; or that it cannot be written.
pub fn export(
    store: &Store,
    asked: Export<'_>,
    trusted: Trusted<'_>,
    to: &mut dyn Write,
) -> Result<(Head, Vec<EntryPath>), CheckpointError> {
    let (head, listing, mut reader) = store.verified(asked.id, trusted, &|_, _| {})?;
    let mut links = Vec::new();
    let mut write = |to: &mut dyn Write| {
        let mut tar = tar::Builder::new(to);
        for entry in &listing.entries {
            if asked.links == Links::Within && leaves(entry) {
                links.push(entry.path.clone());
            } else {
                append(&mut tar, &head.id, entry, &mut reader)?;
            }
        }
        tar.finish().map_err(writing)
    };
    match asked.packing {
        Packing::Plain => write(to)?,
        Packing::Gzip => {
            let mut packed = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            write(&mut packed)?;
            packed.finish().map_err(writing)?.flush().map_err(writing)?;
        }
        Packing::Zstd => {
            let mut packed = zstd::stream::Encoder::new(to, 3).map_err(writing)?;
            write(&mut packed)?;
            packed.finish().map_err(writing)?.flush().map_err(writing)?;
        }
    }
    Ok((head, links))
}

fn append(
    tar: &mut tar::Builder<&mut dyn Write>,
    id: &CheckpointId,
    entry: &Entry,
    reader: &mut Reader,
) -> Result<(), CheckpointError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(entry.mode & 0o777);
    // Who unpacks it owns it.
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
    header.set_size(entry.size());
    let path = as_path(&entry.path);
    match &entry.is {
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, path, std::io::empty())
                .map_err(writing)
        }
        Kind::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            match header.set_link_name_literal(target.as_bytes()) {
                Ok(()) => tar.append_data(&mut header, path, std::io::empty()),
                Err(_too_long) => tar.append_link(&mut header, path, as_path(target)),
            }
            .map_err(writing)
        }
        Kind::File { .. } => {
            let mut contents = Contents {
                reader,
                id,
                entry,
                next: 0,
                part: Vec::new(),
                at: 0,
                fault: None,
            };
            let written = tar.append_data(&mut header, path, &mut contents);
            match contents.fault {
                Some(fault) => Err(fault),
                None => written.map_err(writing),
            }
        }
    }
}

/// The contents of a file, for a tar that reads them.
struct Contents<'a> {
    reader: &'a mut Reader,
    id: &'a CheckpointId,
    entry: &'a Entry,
    /// The chunk to read next.
    next: usize,
    /// The chunk at hand, and how much of it was read.
    part: Vec<u8>,
    at: usize,
    /// Why there is no more.
    fault: Option<CheckpointError>,
}

impl Read for Contents<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.part.len() {
            let Some(digest) = self.entry.chunks().get(self.next) else {
                return Ok(0);
            };
            match self.reader.part(self.id, self.entry, digest) {
                Ok(bytes) => bytes.clone_into(&mut self.part),
                Err(fault) => {
                    self.fault = Some(fault);
                    return Err(io::Error::other("a part is missing"));
                }
            }
            self.next += 1;
            self.at = 0;
        }
        let count = into.len().min(self.part.len() - self.at);
        into[..count].copy_from_slice(&self.part[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn as_path(path: &EntryPath) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn writing(source: std::io::Error) -> CheckpointError {
    CheckpointError::io("write", std::path::Path::new("the archive"), source)
}
