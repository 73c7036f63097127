//! Makes checkpoints of archives that somebody else made.

use std::io::Read;

use super::{
    archive,
    create::{Asked, Pass, Tools, keep},
    entry::{Kind, Listing},
    error::CheckpointError,
    manifest::{Head, Stillness},
    reading::hidden,
    store::Store,
};

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
