//! What the gate asks git about a slot: what it ignores, what it would read, what of it is old.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        GitError, ObjectId, Slot,
        command::Place,
        inspect::{self, Difference, Remark},
        tree::{Entry, Walk},
    },
    ancestors,
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
        let changed: Vec<&[u8]> = answer.records().collect();
        remarks.retain(|remark| {
            let touched = |path: &&[u8]| inspect::is_within(path, &remark.path);
            !remark.may_be_old() || changed.iter().any(touched)
        });
        Ok(remarks)
    }

    /// Leaves out links that led out of the base already and were not changed.
    pub(super) fn pardon(
        &self,
        remarks: &mut Vec<Remark>,
        differences: &[Difference],
    ) -> Result<(), GitError> {
        let escapes = remarks.iter().filter(|one| one.rule == inspect::ESCAPE);
        let is_changed = |path: &[u8]| differences.iter().any(|one| one.path == path);
        if escapes.into_iter().all(|one| is_changed(&one.path)) {
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
