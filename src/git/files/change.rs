//! Makes the files of one tree those of another, and touches only what differs.

use std::path::Path;

use rustix::{
    fs::{AtFlags, unlinkat},
    io::Errno,
};

use super::{
    super::{
        GitError, Owner,
        command::Place,
        index::{Entry, Facts, Index},
    },
    Desk, Way, name_of, parent_of,
};

/// A list of files, and the facts of those that stand in a worktree.
pub(in crate::git) type Listed<'a> = (&'a Index, &'a [Option<Facts>]);

/// Makes the files of one list those that are chosen of another: removes and writes what differs,
/// and leaves the rest alone. Nobody else may have written there since the first were written.
pub(in crate::git) fn change(
    place: &Place,
    (work, owner): (&Path, Option<Owner>),
    (old, stand): Listed<'_>,
    (index, chosen): (&Index, &[bool]),
) -> Result<Vec<Option<Facts>>, GitError> {
    let mut desk = Desk::of(work, owner);
    let mut facts = vec![None; index.entries.len()];
    let mut before = old.entries.iter().zip(stand).peekable();
    let (mut gone, mut wanted) = (Vec::new(), Vec::new());
    for ((at, entry), chosen) in index.entries.iter().enumerate().zip(chosen) {
        while let Some((other, fact)) = before.next_if(|(other, _)| other.path < entry.path) {
            gone.extend(fact.map(|_| other));
        }
        let other = before.next_if(|(other, _)| other.path == entry.path);
        match other.and_then(|(other, fact)| fact.map(|fact| (other, fact))) {
            Some((other, fact)) if *chosen && old.same(other, (index, entry)) => {
                facts[at] = Some(fact);
                desk.knows(&entry.path);
                continue;
            }
            Some((other, _)) => gone.push(other),
            None => {}
        }
        if *chosen {
            wanted.push((at, entry));
        }
    }
    gone.extend(before.filter_map(|(other, fact)| fact.map(|_| other)));
    desk.remove(&gone)?;
    desk.fill(place, (index, &wanted), &mut facts)?;
    Ok(facts)
}

impl Desk<'_> {
    /// Takes note that a file stands there, and so do the directories above it.
    fn knows(&mut self, path: &[u8]) {
        let mut above = parent_of(path);
        while !above.is_empty() && self.there.insert(above.to_vec()) {
            above = parent_of(above);
        }
    }

    /// Removes files, and directories that are empty then: a tree has none.
    fn remove(&self, gone: &[&Entry]) -> Result<(), GitError> {
        let mut way = Way::from(self)?;
        for entry in gone {
            let dir = way.to(parent_of(&entry.path));
            let removed = dir.and_then(|dir| unlinkat(dir, name_of(&entry.path), AtFlags::empty()));
            removed.map_err(|cause| self.fault(entry, cause))?;
            let mut above = parent_of(&entry.path);
            while !above.is_empty() && !self.there.contains(above) {
                let dir = way.to(parent_of(above));
                match dir.and_then(|dir| unlinkat(dir, name_of(above), AtFlags::REMOVEDIR)) {
                    Ok(()) => above = parent_of(above),
                    Err(Errno::NOTEMPTY | Errno::EXIST) => break,
                    Err(cause) => return Err(self.fault_at(above, cause)),
                }
            }
        }
        Ok(())
    }
}
