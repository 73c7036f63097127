//! Makes checkpoints of archives that somebody else made.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
};

use super::{
    archive,
    create::{Asked, Pass, Tools, keep},
    entry::{Kind, Listing},
    error::CheckpointError,
    manifest::{Head, Stillness},
    reading::hidden,
    store::Store,
};

/// Reads an archive to its end and judges all of it, before anybody has to wait for that: it may come
/// slowly, or never end. Returns a copy to read again, which has no name.
fn judged(
    store: &Store,
    (root, asked): (&str, &Asked<'_>),
    from: &mut dyn Read,
) -> Result<File, CheckpointError> {
    let fail = |source| CheckpointError::io("copy the archive to", store.path(), source);
    let mut copy = tempfile::tempfile_in(store.path()).map_err(fail)?;
    let mut copied = Copied {
        from,
        to: &mut copy,
        left: asked.quota,
    };
    archive::read(root, &mut copied, asked.caps, &mut |entry, contents| {
        let read = io::copy(contents, &mut io::sink());
        read.map(drop)
            .map_err(|cause| archive::unread(&entry.path, cause))
    })?;
    copy.rewind().map_err(fail)?;
    Ok(copy)
}

/// What is read, with a copy of it.
struct Copied<'a> {
    from: &'a mut dyn Read,
    to: &'a mut File,
    /// Bytes that may still be copied.
    left: u64,
}

impl Read for Copied<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| io::Error::other("it is larger than `--quota` allows"))?;
        self.to.write_all(&into[..count])?;
        Ok(count)
    }
}

/// Makes a checkpoint of an archive that somebody else made, under the name of the one source, and
/// returns its head.
///
/// # Errors
/// Those of [`super::create()`], and the first thing of the archive that is refused.
pub fn import(
    store: &Store,
    asked: &Asked<'_>,
    from: &mut dyn Read,
    tools: Tools<'_>,
) -> Result<Head, CheckpointError> {
    let root = asked.sources.first().map_or("files", |source| source.name);
    let mut from = judged(store, (root, asked), from)?;
    let from = &mut from;
    keep(store, asked, tools, |intake, _, _| {
        let mut listing = Listing::default();
        let started = (tools.now)();
        let mut hand = intake.hand()?;
        archive::read(root, from, asked.caps, &mut |mut entry, contents| {
            let target = match &entry.is {
                Kind::Link { target } => target.as_bytes(),
                Kind::Directory | Kind::File { .. } => b"",
            };
            let named = [entry.path.as_bytes(), target];
            let mut secret = named.iter().any(|bytes| asked.secrets.finds(bytes));
            if let Kind::File { size, chunks } = &mut entry.is {
                let path = &entry.path;
                let read = hand.stream(contents, *size, |cause| archive::unread(path, cause))?;
                secret |= read.is_none();
                *chunks = read.unwrap_or_default();
            }
            match secret {
                true => listing.left_out.push(hidden(asked.secrets, &entry.path)),
                false => listing.entries.push(entry),
            }
            Ok(())
        })?;
        hand.flush()?;
        listing
            .entries
            .sort_by(|one, other| one.path.order(&other.path));
        let changed = None;
        Ok((
            Pass {
                started,
                listing,
                changed,
            },
            Stillness::Ended,
        ))
    })
}
