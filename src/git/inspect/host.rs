//! Finds changes to files that a program of the host runs or obeys.
//!
//! A file counts by its own name, and by every name that a link of the worktree gives it: a link
//! `.vscode` makes tasks of whatever it leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Deadline, Difference, Remark,
    links::{Folded, Ways},
};
use crate::{
    git::tree::{Entry, Kind as EntryKind},
    host_files::{self, Kind, Only},
    text::folded,
};

/// The rule that such a change breaks.
pub(in crate::git) const RULE: &str = "host-executable";
/// Most links that give files other names.
const LINKS: usize = 1000;
/// Bytes of the names that links give to changed files, all together.
const NAMES: usize = 32 << 20;
/// A file with its execute bit, as git writes it.
const EXECUTABLE: &[u8] = b"100755";
const LINK: &[u8] = b"120000";

/// One change that a program of the host would act on.
#[derive(Debug)]
pub(in crate::git) struct Hosted<'c> {
    pub(in crate::git) change: &'c Difference,
    pub(in crate::git) kind: &'static Kind,
}

impl Hosted<'_> {
    /// Returns what tells it from others.
    pub(in crate::git) fn key(&self) -> (&[u8], &str) {
        (&self.change.path, &self.kind.name)
    }

    /// Says who would act on it.
    pub(in crate::git) fn message(&self) -> String {
        format!("is run or obeyed by {}", self.kind.runs)
    }
}

/// Other names of files: by where links lead, in the spelling that all others fold to, the links. A
/// link on the way of another has that one's name, too: who changes it changes where the other leads.
#[derive(Default)]
pub(in crate::git) struct Aliases(BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>);

impl Aliases {
    /// Collects the links that stand where programs of the host look.
    ///
    /// # Errors
    /// A breach, when there are more than can be judged.
    pub(in crate::git) fn of(entries: &[&Entry], deadline: &Deadline) -> Result<Self, Remark> {
        let links = super::links(entries.iter().copied());
        let mut aliases = Self::default();
        let own = links.iter().map(|(path, target)| (*path, *path, *target));
        aliases.add(Ways::new(&links), own, deadline)?;
        if let Some(folded) = Folded::new(&links) {
            aliases.add(folded.ways(), folded.iter(), deadline)?;
        }
        Ok(aliases)
    }

    fn add<'w>(
        &mut self,
        mut ways: Ways<'w>,
        links: impl Iterator<Item = (&'w [u8], &'w [u8], &'w [u8])>,
        deadline: &Deadline,
    ) -> Result<(), Remark> {
        let mut count = 0;
        for (own, path, target) in links {
            deadline.check(own)?;
            if !host_files::is_looked_for(own) {
                continue;
            }
            count += 1;
            if count > LINKS {
                let message =
                    format!("more than {LINKS} links stand where programs of the host look");
                return Err(Remark::new("count", b".", message));
            }
            if let Ok(way) = ways.follow(path, target) {
                let on_the_way = ways.all_through(&way).into_iter();
                for known_as in on_the_way.chain([way.to.as_slice()]) {
                    let links = self.0.entry(folded(known_as).into_bytes()).or_default();
                    links.insert(own.to_vec());
                }
            }
        }
        ways.overrun().map_or(Ok(()), Err)
    }

    /// Returns the names that a folded path has besides its own: of each a link and what is behind
    /// it.
    fn names<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
        let top = self.0.get(&b""[..]).into_iter().flatten();
        let top = top.map(move |link| (link.as_slice(), path));
        let above = super::super::hand_over::ancestors(path);
        let below = above.flat_map(move |prefix| {
            let links = self.0.get(prefix).into_iter().flatten();
            let rest = path.get(prefix.len()..).unwrap_or_default();
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            links.map(move |link| (link.as_slice(), rest))
        });
        top.chain(below)
    }
}

/// Returns the changes that a program of the host would act on, conditions on contents aside.
///
/// # Errors
/// A breach, when they have more names than can be judged.
pub(in crate::git) fn look<'c>(
    changes: &'c [Difference],
    aliases: &Aliases,
    deadline: &Deadline,
) -> Result<Vec<Hosted<'c>>, Remark> {
    let mut hosted = Vec::new();
    let mut left = NAMES;
    for change in changes {
        deadline.check(&change.path)?;
        let mut kinds: BTreeMap<&str, &'static Kind> = BTreeMap::new();
        for kind in kinds_of(change, &change.path) {
            kinds.insert(&kind.name, kind);
        }
        for (link, rest) in aliases.names(folded(&change.path).as_bytes()) {
            deadline.check(&change.path)?;
            let name = match rest.is_empty() {
                true => link.to_vec(),
                false => [link, b"/", rest].concat(),
            };
            left = left.checked_sub(name.len()).ok_or_else(too_many)?;
            for kind in kinds_of(change, &name) {
                kinds.insert(&kind.name, kind);
            }
        }
        let kinds = kinds.into_values().filter(|kind| counts(kind, change));
        hosted.extend(kinds.map(|kind| Hosted { change, kind }));
    }
    Ok(hosted)
}

fn too_many() -> Remark {
    let message = "the links give the changed files more names than can be judged";
    Remark::new("count", b".", message)
}

fn kinds_of(change: &Difference, path: &[u8]) -> Vec<&'static Kind> {
    if change.new_mode == LINK || change.old_mode == LINK {
        host_files::of_link(path)
    } else {
        host_files::of(path)
    }
}

fn counts(kind: &Kind, change: &Difference) -> bool {
    match kind.only {
        None => true,
        Some(Only::Executable) => matches!(change.new_mode.as_slice(), EXECUTABLE | LINK),
    }
}

/// Returns whether an entry is a link.
pub(in crate::git) fn target(entry: &Entry) -> Option<(&[u8], &[u8])> {
    match &entry.kind {
        EntryKind::Link(target) => Some((entry.path.as_slice(), target.as_slice())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Aliases, LINKS, look};
    use crate::git::{
        inspect::{Deadline, Difference},
        tree::{Entry, Kind},
    };

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(300))
    }

    fn change(path: &str, old: &str, new: &str) -> Difference {
        Difference {
            path: path.as_bytes().to_vec(),
            old_mode: old.as_bytes().to_vec(),
            new_mode: new.as_bytes().to_vec(),
            ..Difference::default()
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry::listed(path.as_bytes(), Kind::Link(target.as_bytes().to_vec()))
    }

    fn found(changes: &[Difference], links: &[Entry]) -> Vec<String> {
        let links: Vec<&Entry> = links.iter().collect();
        let aliases = Aliases::of(&links, &soon()).unwrap();
        let hosted = look(changes, &aliases, &soon()).unwrap().into_iter();
        hosted
            .map(|one| {
                format!(
                    "{} {}",
                    one.kind.name,
                    String::from_utf8_lossy(&one.change.path)
                )
            })
            .collect()
    }

    #[test]
    fn a_file_counts_however_it_changed() {
        for (old, new) in [
            ("000000", "100644"),
            ("100644", "100644"),
            ("100644", "100755"),
            ("100644", "000000"),
            ("100644", "120000"),
        ] {
            let changes = [change("a/Makefile", old, new)];
            assert_eq!(found(&changes, &[]), ["makefile a/Makefile"], "{old} {new}");
        }
    }

    #[test]
    fn a_program_counts_by_its_execute_bit_where_programs_are_looked_for() {
        let program = |path, new| found(&[change(path, "100644", new)], &[]);
        assert_eq!(program("bin/tool", "100755"), ["programs bin/tool"]);
        assert_eq!(program("tool", "100755"), ["programs tool"]);
        assert_eq!(program("bin/tool", "100644"), Vec::<String>::new());
        assert_eq!(program("src/tool", "100755"), Vec::<String>::new());
        assert_eq!(program("bin/tool", "120000"), ["programs bin/tool"]);
        let behind = [change("src/tool", "100644", "100755")];
        let link = [link("bin/tool", "../src/tool")];
        assert_eq!(found(&behind, &link), ["programs src/tool"]);
    }

    #[test]
    fn a_link_lends_its_name_to_what_it_leads_to() {
        let vscode = [link(".vscode", "src/settings")];
        let made = [change(".vscode", "000000", "120000")];
        assert!(found(&made, &vscode).contains(&"vscode .vscode".to_owned()));
        let behind = [change("src/settings/tasks.json", "100644", "100644")];
        assert_eq!(found(&behind, &vscode), ["vscode src/settings/tasks.json"]);
        assert_eq!(found(&behind, &[]), Vec::<String>::new());
        let chain = [link("web/Makefile", "../a"), link("a", "src/rules.txt")];
        let rules = [change("src/rules.txt", "100644", "100644")];
        assert_eq!(found(&rules, &chain), ["makefile src/rules.txt"]);
        let deep = [link(".github", "src/gh")];
        let flow = [change("src/gh/workflows/ci.yml", "000000", "100644")];
        assert!(
            found(&flow, &deep).contains(&"github-workflows src/gh/workflows/ci.yml".to_owned())
        );
    }

    #[test]
    fn more_links_than_can_be_judged_are_a_breach() {
        let links = |name: &str| -> Vec<Entry> {
            (0..1001)
                .map(|n| link(&format!("{n}/{name}"), "x"))
                .collect()
        };
        let (many, other) = (links("Makefile"), links("other"));
        let (many, other): (Vec<&Entry>, Vec<&Entry>) =
            (many.iter().collect(), other.iter().collect());
        assert!(Aliases::of(&many, &soon()).is_err());
        assert!(Aliases::of(&many[..LINKS], &soon()).is_ok());
        assert!(Aliases::of(&other, &soon()).is_ok());
    }

    #[test]
    fn attack_g07_names_without_number_are_a_breach_and_not_gone_through() {
        let links: Vec<Entry> = (0..LINKS)
            .map(|at| link(&format!("n{at}/a/b/c/.vscode"), "../../../../src/t"))
            .collect();
        let links: Vec<&Entry> = links.iter().collect();
        let deep = format!("src/t/{}", "d".repeat(200).repeat(14));
        let changes: Vec<Difference> = (0..LINKS)
            .map(|at| change(&format!("{deep}/{at}"), "000000", "100644"))
            .collect();
        let aliases = Aliases::of(&links, &soon()).unwrap();
        assert_eq!(look(&changes, &aliases, &soon()).unwrap_err().rule, "count");
        let late = Deadline::after(Duration::ZERO);
        assert_eq!(look(&changes, &aliases, &late).unwrap_err().rule, "time");
        assert_eq!(Aliases::of(&links, &late).err().unwrap().rule, "time");
    }

    #[test]
    fn attack_g11_a_link_lends_its_name_however_it_is_spelled() {
        let tasks = [change("src/settings/tasks.json", "100644", "100644")];
        for target in ["SRC/Settings", "src/settings/.", "src\\settings"] {
            let link = [link(".vscode", target)];
            assert_eq!(
                found(&tasks, &link),
                ["vscode src/settings/tasks.json"],
                "{target}"
            );
        }
        let through = [link(".vscode", "dir/settings"), link("Dir", "src")];
        assert_eq!(found(&tasks, &through), ["vscode src/settings/tasks.json"]);
        let top = [change("tasks.json", "000000", "100644")];
        assert_eq!(found(&top, &[link(".vscode", ".")]), ["vscode tasks.json"]);
    }
}
