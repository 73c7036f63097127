//! The gate over a tree that nobody wrote: what two sides, each of which passed it, come to together.
//!
//! Two tasks that know of each other make of parts that are each fine what neither may hand over: a
//! repository, two spellings of a name, a link that leads out, a script in a `package.json`. So a
//! merged tree is judged as if one agent had made all of it on the branch: what differs from the
//! branch is looked at, and what stood there before only where it got another name.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        GitError, ObjectId, Repository,
        command::Place,
        inspect::{self, Difference, Remark, contents},
        spelling,
        tree::{Entry, Kind, Walk},
    },
    Caps, Change, HandOver, Terms, differences,
    needs::{self, Found, Landed},
    report::breaches,
};
use crate::{
    policy::{Files, Glob, Globs, Origin},
    redact::Redactor,
};

/// The sides of a merge.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// Where the branch is.
    pub head: &'a ObjectId,
    /// What joins it: it passed the gate on what it stands on.
    pub work: &'a ObjectId,
    /// What both come from.
    pub base: &'a ObjectId,
}

impl Repository {
    /// Judges a tree that joins two sides, as [`Repository::judge`] does what an agent left. What
    /// the branch has already is nobody's fault.
    ///
    /// # Errors
    /// When git fails. A breach is no error.
    pub fn judge_merged(
        &self,
        sides: Sides<'_>,
        tree: &ObjectId,
        terms: &Terms<'_>,
    ) -> Result<HandOver, GitError> {
        let merged = Merged::read(&self.place, sides, tree)?;
        merged.judge(terms)
    }

    /// Judges what taking a landing back would leave; `sides.work` is what was there before it,
    /// which is what a person asks for. Only what is neither that nor the branch's counts.
    ///
    /// # Errors
    /// When git fails. A breach is no error.
    pub fn judge_undone(
        &self,
        sides: Sides<'_>,
        tree: &ObjectId,
        secrets: &Redactor,
    ) -> Result<HandOver, GitError> {
        let merged = Merged::read(&self.place, sides, tree)?;
        let asked = merged.changes.iter().filter(|one| !merged.is_new(one));
        let asked = match merged.lends_names()? {
            true => BTreeSet::new(),
            false => asked.map(needs::digest).collect(),
        };
        let files = Files {
            read: everything(),
            write: everything(),
        };
        let terms = Terms {
            files: &files,
            caps: &Caps::default(),
            secrets,
            granted: &BTreeSet::new(),
            approved: &asked,
        };
        merged.judge(&terms)
    }
}

/// A merged tree, and what it came of.
struct Merged<'a> {
    place: &'a Place,
    sides: Sides<'a>,
    /// What differs from the branch.
    changes: Vec<Difference>,
    /// Paths whose contents or mode are not the work's.
    unlike: BTreeSet<Vec<u8>>,
    entries: Tree,
    /// What the branch has.
    before: Tree,
}

impl<'a> Merged<'a> {
    fn read(place: &'a Place, sides: Sides<'a>, tree: &ObjectId) -> Result<Self, GitError> {
        let unlike = differences(place, sides.work, tree)?.into_iter();
        Ok(Self {
            place,
            sides,
            changes: differences(place, sides.head, tree)?,
            unlike: unlike.map(|one| one.path).collect(),
            entries: Tree::list(place, tree)?,
            before: Tree::list(place, sides.head)?,
        })
    }

    /// Returns whether neither side has the file like this.
    fn is_new(&self, change: &Difference) -> bool {
        self.unlike.contains(&change.path)
    }

    /// Returns whether the branch has other links than the work knew: names that nobody judged.
    fn lends_names(&self) -> Result<bool, GitError> {
        let known = Tree::list(self.place, self.sides.work)?;
        Ok(known.links() != self.entries.links())
    }

    fn judge(&self, terms: &Terms<'_>) -> Result<HandOver, GitError> {
        let mut remarks = self.names()?;
        let write = &terms.files.write;
        let mut changed = inspect::changes(&self.changes, &self.entries.0, write);
        self.before.pardon(&mut changed, &self.changes);
        remarks.extend(changed);
        remarks.extend(spelling::twins(
            &self.changes,
            &self.entries.0,
            &BTreeSet::new(),
        ));
        let seen = self.contents(terms)?;
        remarks.extend(seen.values);
        let landed = differences(self.place, self.sides.base, self.sides.head)?;
        let found = Found {
            absent: Vec::new(),
            changes: &self.changes,
            entries: &self.entries.0,
            sights: &seen.sights,
            landed: Some(Landed {
                changes: &landed,
                entries: &self.before.0,
            }),
        };
        let needs = needs::needs(self.place, &found, terms)?;
        let needs = needs.unwrap_or_else(|breach| {
            remarks.push(breach);
            Vec::new()
        });
        Ok(HandOver {
            tree: None,
            changes: self.changes.iter().map(Change::from).collect(),
            breaches: breaches(&remarks),
            needs,
        })
    }

    /// Finds names that break a rule, and did not on the branch, or not with what is there now.
    fn names(&self) -> Result<Vec<Remark>, GitError> {
        let mut remarks = self.entries.names(self.place)?;
        if remarks.is_empty() {
            return Ok(remarks);
        }
        let known = self.before.names(self.place)?;
        let touched = |path: &[u8]| {
            let mut changed = self.changes.iter().map(|one| one.path.as_slice());
            changed.any(|one| inspect::is_within(one, path))
        };
        remarks.retain(|remark| {
            !(remark.may_be_old() && known.contains(remark)) || touched(&remark.path)
        });
        Ok(remarks)
    }

    /// Looks at contents that neither side has.
    fn contents(&self, terms: &Terms<'_>) -> Result<contents::Seen, GitError> {
        let new = self.changes.iter().filter(|one| self.is_new(one));
        let new: Vec<&Difference> = new
            .filter(|one| one.new_id != one.old_id && one.new_mode.starts_with(b"1"))
            .filter(|one| one.new_mode != b"160000")
            .collect();
        let ids = new.iter().map(|one| one.new_id.as_slice()).collect();
        let blobs = needs::blobs(self.place, ids)?;
        let mut seen = contents::Seen::default();
        for change in new {
            match blobs.get(change.new_id.as_slice()) {
                Some(text) => seen.take(&change.path, text, terms.secrets),
                None => seen.values.push(Remark::new(
                    "size",
                    &change.path,
                    "was merged, and is larger than what is judged anew",
                )),
            }
        }
        Ok(seen)
    }
}

/// What a person may change: everything.
fn everything() -> Globs {
    Globs(vec![Glob {
        text: "**".to_owned(),
        origin: Origin::default(),
        except: Vec::new(),
    }])
}

/// Every name of a tree, as a walk of it would find them, and the id of what may be a `HEAD`.
pub(super) struct Tree(Vec<Entry>, BTreeMap<Vec<u8>, Vec<u8>>);

impl Tree {
    pub(super) fn list(place: &Place, tree: &ObjectId) -> Result<Self, GitError> {
        let listed = place
            .reading("ls-tree")
            .args(["-r", "-t", "-z", "--full-tree"]);
        let answer = listed.arg(tree.as_str()).run()?;
        let mut found = Vec::new();
        for record in answer.records() {
            let mut halves = record.splitn(2, |byte| *byte == b'\t');
            let (facts, path) = (halves.next().unwrap_or_default(), halves.next());
            let mut facts = facts.split(|byte| *byte == b' ');
            let (mode, _, id) = (facts.next(), facts.next(), facts.next());
            let (Some(mode), Some(id), Some(path)) = (mode, id, path) else {
                return Err(answer.odd());
            };
            found.push((mode, id, path));
        }
        let linked = found.iter().filter(|(mode, _, _)| *mode == b"120000");
        let targets = needs::blobs(place, linked.map(|(_, id, _)| *id).collect())?;
        let entry = |&(mode, id, path): &(&[u8], &[u8], &[u8])| {
            let kind = match mode {
                b"120000" => Kind::Link(targets.get(id).cloned().unwrap_or_default()),
                b"040000" | b"160000" => Kind::Directory,
                _ => Kind::File,
            };
            Entry::listed(path, kind)
        };
        let heads = found.iter().filter(|(_, _, path)| {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            name.len() < 16 && name.to_ascii_lowercase().starts_with(b"head")
        });
        let heads = heads.map(|(_, id, path)| (path.to_vec(), id.to_vec()));
        Ok(Self(found.iter().map(entry).collect(), heads.collect()))
    }

    /// Leaves out links that nobody changed and that led out of this tree already.
    pub(super) fn pardon(&self, remarks: &mut Vec<Remark>, changes: &[Difference]) {
        let led_out = inspect::leading_out(&self.0);
        let changed: BTreeSet<&[u8]> = changes.iter().map(|one| one.path.as_slice()).collect();
        remarks.retain(|remark| {
            let path = remark.path.as_slice();
            remark.rule != inspect::ESCAPE || changed.contains(path) || !led_out.contains(path)
        });
    }

    fn links(&self) -> BTreeMap<&[u8], &[u8]> {
        self.0.iter().filter_map(inspect::host::target).collect()
    }

    /// Runs the inspectors of names.
    fn names(&self, place: &Place) -> Result<Vec<Remark>, GitError> {
        let heads = needs::blobs(place, self.1.values().map(Vec::as_slice).collect())?;
        let beginning = |path: &[u8]| heads.get(self.1.get(path)?.as_slice()).cloned();
        let walk = Walk {
            entries: self.0.clone(),
            ..Walk::default()
        };
        Ok(inspect::names(&walk, &BTreeSet::new(), &beginning))
    }
}

#[cfg(test)]
mod tests;
