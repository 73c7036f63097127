//! What the gate asks git about a slot: what it ignores, what it would read, what of it is old.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        GitError, ObjectId, Slot,
        command::Place,
        inspect::{
            self, Deadline, Difference, Remark,
            contents::{self, Seen},
        },
        modules,
        tree::{Entry, Walk},
    },
    Terms, ancestors,
    merged::Tree,
};

/// How many files become an object file each; git's own bound for what it fetches.
const LOOSE: usize = 100;

/// A slot under judgement.
pub(super) struct Gate<'a> {
    pub(super) place: Place,
    pub(super) slot: &'a Slot,
}

impl Gate<'_> {
    /// Runs the inspectors of names and contents: what they find, what a person may have to see,
    /// and how many files git would read.
    pub(super) fn before_git(
        &self,
        walk: &Walk,
        terms: &Terms<'_>,
        deadline: &Deadline,
    ) -> Result<(Vec<Remark>, Seen, usize), GitError> {
        let beginning = |path: &[u8]| contents::beginning(self.slot, path);
        let names = inspect::names(walk, &self.slot.absent, &beginning);
        let mut remarks = self.unless_old(self.unless_ignored(names)?)?;
        remarks.extend(modules::entered(&walk.entries, &self.slot.modules));
        let stops = |remarks: &[Remark]| remarks.iter().any(Remark::stops_git);
        if stops(&remarks) {
            return Ok((remarks, Seen::default(), 0));
        }
        let candidates = self.candidates(walk)?;
        remarks.extend(inspect::sizes(&candidates, terms.caps));
        if stops(&remarks) {
            return Ok((remarks, Seen::default(), 0));
        }
        let mut seen = contents::look(self.slot, &candidates, (terms.secrets, deadline))?;
        remarks.append(&mut seen.values);
        Ok((remarks, seen, candidates.len()))
    }

    /// Leaves out what the tree's `.gitignore` names, unless the base tracks files below it: these
    /// git would look at all the same.
    pub(super) fn unless_ignored(&self, remarks: Vec<Remark>) -> Result<Vec<Remark>, GitError> {
        if remarks.is_empty() {
            return Ok(remarks);
        }
        let index = &self.slot.files.index;
        let tracked = self
            .place
            .reading("ls-files")
            .index(index)
            .arg("-z")
            .run()?;
        let tracked: BTreeSet<&[u8]> = tracked.records().flat_map(ancestors).collect();
        // This command knows no literal paths; behind `./` nothing in a name means anything.
        let input: Vec<u8> = remarks
            .iter()
            .flat_map(|remark| [b"./", &remark.path[..], b"\0"].concat())
            .collect();
        let call = self
            .place
            .reading("check-ignore")
            .index(index)
            .args(["-z", "--stdin"]);
        let call = call.env("GIT_LITERAL_PATHSPECS", "0");
        // 128: git cannot tell, as for a path behind a link. Then nothing is ignored.
        let answer = call.accept(&[0, 1, 128]).input(input).run()?;
        let ignored: BTreeSet<&[u8]> = if answer.code == 0 {
            answer
                .records()
                .filter_map(|path| path.strip_prefix(b"./"))
                .collect()
        } else {
            BTreeSet::new()
        };
        let judged = |remark: &Remark| {
            let path = remark.path.as_slice();
            !ignored.contains(path) || tracked.contains(path)
        };
        Ok(remarks.into_iter().filter(judged).collect())
    }

    /// Leaves out what the base has and this work left as it was: a bare repository among a test's
    /// files is nobody's fault. Where anything else keeps git away, nothing is asked of it.
    pub(super) fn unless_old(&self, mut remarks: Vec<Remark>) -> Result<Vec<Remark>, GitError> {
        let stops = |remark: &Remark| remark.stops_git() && !remark.may_be_old();
        if remarks.iter().any(stops) || !remarks.iter().any(Remark::may_be_old) {
            return Ok(remarks);
        }
        let call = self.place.reading("ls-files").index(&self.slot.files.index);
        let call = call.args(["-z", "--others", "--modified", "--deleted"]);
        let answer = call.arg("--exclude-standard").run()?;
        let changed: BTreeSet<&[u8]> = answer.records().collect();
        remarks.retain(|remark| !remark.may_be_old() || inspect::touches(&changed, &remark.path));
        Ok(remarks)
    }

    /// Leaves out links that led out of the base already and were not changed.
    pub(super) fn pardon(
        &self,
        remarks: &mut Vec<Remark>,
        differences: &[Difference],
    ) -> Result<(), GitError> {
        let changed = differences.iter().map(|one| one.path.as_slice());
        let changed: BTreeSet<&[u8]> = changed.collect();
        let mut escapes = remarks.iter().filter(|one| one.rule == inspect::ESCAPE);
        if escapes.all(|one| changed.contains(one.path.as_slice())) {
            return Ok(());
        }
        let base = Tree::list(&self.place, &self.slot.base)?;
        base.pardon(remarks, differences);
        Ok(())
    }

    /// Returns what git would read: untracked files that are not ignored, and changed ones.
    pub(super) fn candidates<'w>(&self, walk: &'w Walk) -> Result<Vec<&'w Entry>, GitError> {
        let call = self.place.reading("ls-files").index(&self.slot.files.index);
        let listed = call
            .args(["-z", "--others", "--modified", "--exclude-standard"])
            .run()?;
        let entries: BTreeMap<&[u8], &Entry> = walk
            .entries
            .iter()
            .map(|entry| (entry.path.as_slice(), entry))
            .collect();
        let paths: BTreeSet<&[u8]> = listed.records().collect();
        Ok(paths
            .into_iter()
            .filter_map(|path| entries.get(path).copied())
            .collect())
    }

    /// Puts the work into the object store: many files into one pack, not into a file each.
    pub(super) fn take(&self, count: usize) -> Result<ObjectId, GitError> {
        let index = &self.slot.files.index;
        let mut add = self.place.git("add");
        if count > LOOSE {
            add = add.setting("core.bigFileThreshold", "1");
            add = add.setting("pack.compression", "1");
        }
        add.index(index).args(["--all", "--", "."]).run()?;
        self.place.git("write-tree").index(index).run()?.id()
    }
}
