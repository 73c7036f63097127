//! What of an agent's work a person must see before it lands, each bound to exact contents.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        GitError, Slot,
        command::Place,
        inspect::{
            Difference, Remark,
            contents::{self, Sight},
            host::{self, Aliases},
            letters,
        },
        repository::printable,
        tree::{Entry, Kind},
    },
    LISTED, LISTED_BYTES, Terms,
};
use crate::{digest::Digest, event::Need};

/// Largest contents that are compared with; what is larger counts as new.
const LARGEST: u64 = 8 << 20;
/// Bytes of contents that are compared with, in one hand-over.
const TOTAL: u64 = 64 << 20;

/// Things in one file that are told; the others are counted.
const TOLD: usize = 200;

/// The rules whose breach a person may approve.
pub(super) const RULES: [&str; 4] = [
    host::RULE,
    super::super::inspect::patterns::RULE,
    letters::HIDDEN,
    letters::MIXED,
];

/// What was found in the worktree and in the changes.
pub(super) struct Found<'a> {
    /// Links of the base that are not in the worktree.
    pub(super) absent: Vec<Entry>,
    pub(super) changes: &'a [Difference],
    pub(super) entries: &'a [Entry],
    pub(super) sights: &'a BTreeMap<Vec<u8>, Vec<Sight>>,
    pub(super) landed: Option<Landed<'a>>,
}

/// What the branch got that work did not see when it was judged.
pub(super) struct Landed<'a> {
    pub(super) changes: &'a [Difference],
    /// All that the branch has.
    pub(super) entries: &'a [Entry],
}

/// Returns what waits for a person: what no policy grants and nobody has approved.
pub(super) fn needs(
    place: &Place,
    found: &Found<'_>,
    terms: &Terms<'_>,
) -> Result<Result<Vec<Need>, Remark>, GitError> {
    let mut hosted = match hosted(found) {
        Ok(hosted) => hosted,
        Err(breach) => return Ok(Err(breach)),
    };
    hosted.retain(|one| !terms.granted.contains(&one.kind.name));
    let sighted: Vec<(&Difference, &Vec<Sight>)> = found
        .changes
        .iter()
        .filter_map(|change| Some((change, found.sights.get(&change.path)?)))
        .collect();
    let keyed = hosted.iter().filter(|one| !one.kind.keys.is_empty());
    let ids = keyed
        .flat_map(|one| [&one.change.old_id, &one.change.new_id])
        .chain(sighted.iter().map(|(change, _)| &change.old_id));
    let blobs = blobs(place, ids.map(Vec::as_slice).collect())?;
    let mut needs = Vec::new();
    for one in &hosted {
        if one.kind.keys.is_empty() || keys_differ(one, &blobs) {
            let kind = Some(one.kind.name.clone());
            needs.push(need(one.change, host::RULE, kind, one.message()));
        }
    }
    for (change, sights) in sighted {
        let fresh = contents::fresh(sights, blobs.get(change.old_id.as_slice()));
        let told = fresh.iter().take(TOLD);
        needs.extend(told.map(|sight| need(change, sight.rule, None, sight.message.clone())));
        if let Some(next) = fresh.get(TOLD) {
            let message = format!("and {} further ones", fresh.len() - TOLD);
            needs.push(need(change, next.rule, None, message));
        }
    }
    let created = found
        .changes
        .iter()
        .filter(|change| is_none(&change.old_mode));
    for change in created {
        let odd = letters::of_name(&change.path).into_iter();
        needs.extend(
            odd.map(|(rule, message)| need(change, rule, None, format!("the name {message}"))),
        );
    }
    Ok(listed(needs, terms.approved))
}

/// Returns the changes that a program of the host would act on. Of what landed meanwhile these are
/// the ones that it would not without a link which the work brings: that link was judged by what it
/// led to then.
fn hosted<'a>(found: &Found<'a>) -> Result<Vec<host::Hosted<'a>>, Remark> {
    let entries: Vec<&Entry> = found.entries.iter().chain(&found.absent).collect();
    let aliases = Aliases::of(&entries)?;
    let mut hosted = host::look(found.changes, &aliases);
    if let Some(landed) = &found.landed {
        let before: Vec<&Entry> = landed.entries.iter().collect();
        let known = host::look(landed.changes, &Aliases::of(&before)?);
        let known: BTreeSet<(&[u8], &str)> = known.iter().map(host::Hosted::key).collect();
        let now = host::look(landed.changes, &aliases);
        hosted.extend(now.into_iter().filter(|one| !known.contains(&one.key())));
    }
    Ok(hosted)
}

/// Returns the links of the base that the role may not read: they are not in the worktree, and lend
/// their names to files all the same.
pub(super) fn absent_links(place: &Place, slot: &Slot) -> Result<Vec<Entry>, GitError> {
    if slot.absent.is_empty() {
        return Ok(Vec::new());
    }
    let listed = place.reading("ls-tree").args(["-r", "-z", "--full-tree"]);
    let answer = listed.arg(slot.base.as_str()).run()?;
    let links = answer.records().filter_map(|record| {
        let rest = record.strip_prefix(b"120000 blob ")?;
        let tab = rest.iter().position(|byte| *byte == b'\t')?;
        let (id, path) = (rest.get(..tab)?, rest.get(tab + 1..)?);
        slot.absent.contains(path).then_some((id, path))
    });
    let links: Vec<(&[u8], &[u8])> = links.collect();
    let targets = blobs(place, links.iter().map(|(id, _)| *id).collect())?;
    let entry = |(id, path): (&[u8], &[u8])| {
        let target = targets.get(id).cloned().unwrap_or_default();
        Entry::listed(path, Kind::Link(target))
    };
    Ok(links.into_iter().map(entry).collect())
}

/// Leaves out what was approved and what is said twice; more than a person can look at is refused.
fn listed(needs: Vec<Need>, approved: &BTreeSet<String>) -> Result<Vec<Need>, Remark> {
    let mut listed: Vec<Need> = Vec::new();
    let mut bytes = 0;
    for need in needs {
        let told = |one: &Need| {
            (&one.path, &one.rule, &one.kind, &one.message)
                == (&need.path, &need.rule, &need.kind, &need.message)
        };
        if approved.contains(&need.digest) || listed.iter().rev().take(300).any(told) {
            continue;
        }
        bytes += need.path.len() + need.message.len();
        listed.push(need);
        if listed.len() > LISTED || bytes > LISTED_BYTES {
            let message = format!("more than {LISTED} changes would have to wait for a person");
            return Err(Remark::new("count", b".", message));
        }
    }
    listed.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(listed)
}

fn need(change: &Difference, rule: &str, kind: Option<String>, message: String) -> Need {
    Need {
        rule: rule.to_owned(),
        path: printable(&change.path),
        kind,
        digest: digest(change),
        message,
    }
}

/// Names a file's path, mode and contents after the change: what an approval is for.
pub(super) fn digest(change: &Difference) -> String {
    let parts = [&change.path[..], &change.new_mode, &change.new_id];
    Digest::of(&parts.join(&b'\0')).to_string()
}

fn is_none(mode: &[u8]) -> bool {
    mode == b"000000"
}

fn keys_differ(one: &host::Hosted<'_>, blobs: &Blobs<'_>) -> bool {
    let side = |mode: &[u8], id: &[u8]| match blobs.get(id) {
        _ if is_none(mode) => Ok(None),
        Some(text) => Ok(Some(text.as_slice())),
        // Too large to be read.
        None => Err(()),
    };
    let old = side(&one.change.old_mode, &one.change.old_id);
    let new = side(&one.change.new_mode, &one.change.new_id);
    match (old, new) {
        (Ok(old), Ok(new)) => host::differ(old, new, &one.kind.keys),
        _ => true,
    }
}

/// Contents by the id of their object.
pub(in crate::git) type Blobs<'a> = BTreeMap<&'a [u8], Vec<u8>>;

/// Reads contents from the repository. What is too large, or no contents at all, is left out.
pub(in crate::git) fn blobs<'a>(
    place: &Place,
    wanted: BTreeSet<&'a [u8]>,
) -> Result<Blobs<'a>, GitError> {
    let wanted: Vec<&[u8]> = wanted
        .into_iter()
        .filter(|id| id.iter().any(|digit| *digit != b'0'))
        .collect();
    if wanted.is_empty() {
        return Ok(Blobs::new());
    }
    let check = place
        .reading("cat-file")
        .arg("--batch-check=%(objecttype) %(objectsize)");
    let answer = check.input(lines(&wanted)).run()?;
    let facts = answer.stdout.split(|byte| *byte == b'\n');
    let mut left = TOTAL;
    let mut sized: Vec<(&'a [u8], usize)> = Vec::new();
    for (id, fact) in wanted.into_iter().zip(facts) {
        let size = std::str::from_utf8(fact)
            .ok()
            .and_then(|fact| fact.strip_prefix("blob "));
        let size = size.and_then(|size| size.parse::<u64>().ok());
        let Some(size) = size.filter(|size| *size <= LARGEST.min(left)) else {
            continue;
        };
        left -= size;
        sized.push((id, usize::try_from(size).unwrap_or(usize::MAX)));
    }
    if sized.is_empty() {
        return Ok(Blobs::new());
    }
    let ids: Vec<&[u8]> = sized.iter().map(|(id, _)| *id).collect();
    let read = place.reading("cat-file").arg("--batch=");
    let answer = read.input(lines(&ids)).run()?;
    // Each is an empty line, the contents and a line's end.
    let mut rest = answer.stdout.as_slice();
    let mut blobs = Blobs::new();
    for (id, size) in sized {
        let text = rest.get(1..size + 1).ok_or_else(|| answer.odd())?;
        blobs.insert(id, text.to_vec());
        rest = rest.get(size + 2..).ok_or_else(|| answer.odd())?;
    }
    Ok(blobs)
}

fn lines(ids: &[&[u8]]) -> Vec<u8> {
    ids.iter()
        .flat_map(|id| [id, &b"\n"[..]].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

    use crate::{
        git::{
            Caps, HandOver, Repository, Slot, Terms,
            hand_over::tests::worked,
            world::{World, globs, write},
        },
        policy::Files,
        redact::Redactor,
    };

    /// Judges by a role that may write everything.
    fn judged(
        (repository, slot): (&Repository, &Slot),
        granted: &[&str],
        approved: &[String],
    ) -> HandOver {
        let files = Files {
            read: globs(&["**"]),
            write: globs(&["**"]),
        };
        let terms = Terms {
            files: &files,
            caps: &Caps::default(),
            secrets: &Redactor::default(),
            granted: &granted.iter().map(|kind| (*kind).to_owned()).collect(),
            approved: &approved.iter().cloned().collect::<BTreeSet<_>>(),
        };
        repository.judge(slot, &terms).unwrap()
    }

    /// What waits in a repository with these files committed, after an agent's work on it.
    fn waits(base: &[(&str, &str)], work: impl Fn(&Path)) -> Vec<String> {
        let (_world, repository, slot) = worked(base, work);
        let handed = judged((&repository, &slot), &[], &[]);
        assert_eq!(handed.breaches, [], "only needs");
        assert_eq!(handed.waits().is_some(), !handed.needs.is_empty());
        assert_eq!(handed.passed().is_some(), handed.needs.is_empty());
        let needs = handed.needs.into_iter();
        needs
            .map(|need| format!("{} {}", need.kind.unwrap_or(need.rule), need.path))
            .collect()
    }

    #[test]
    fn ordinary_work_waits_for_nobody() {
        let seen = waits(
            &[("package.json", "{\"name\":\"a\",\"scripts\":{\"t\":\"x\"}}")],
            |work| {
                write(work, "src/new.rs", "fn größe() {}\n");
                write(
                    work,
                    "package.json",
                    "{\"name\":\"b\",\"scripts\":{\"t\":\"x\"}}",
                );
                fs::set_permissions(work.join("src/app.rs"), PermissionsExt::from_mode(0o755))
                    .unwrap();
            },
        );
        assert_eq!(seen, Vec::<String>::new());
    }

    #[test]
    fn scripts_of_a_package_wait_and_what_it_depends_on_does_not() {
        let base = [("package.json", "{\"dependencies\":{}}")];
        let seen = waits(&base, |work| {
            write(work, "package.json", "{\"dependencies\":{\"a\":\"1\"}}");
        });
        assert_eq!(seen, Vec::<String>::new());
        let seen = waits(&base, |work| {
            write(
                work,
                "package.json",
                "{\"scripts\":{\"postinstall\":\"evil\"}}",
            );
            write(work, "web/package.json", "{\"bin\":\"x\"}");
            write(work, "lib/package.json", "{}");
        });
        assert_eq!(
            seen,
            [
                "package-scripts package.json",
                "package-scripts web/package.json"
            ]
        );
    }

    #[test]
    fn a_removed_or_executable_file_waits_like_a_changed_one() {
        let seen = waits(&[("Makefile", "all:\n"), ("bin/run", "x\n")], |work| {
            fs::remove_file(work.join("Makefile")).unwrap();
            fs::set_permissions(work.join("bin/run"), PermissionsExt::from_mode(0o755)).unwrap();
        });
        assert_eq!(seen, ["makefile Makefile", "programs bin/run"]);
    }

    #[test]
    fn what_the_base_has_already_is_no_news() {
        let token = format!("ghp_{}", "Zk3vQ9xLm2RtY7bNc5HwPs8dFgJ4aEuV6oTi");
        let old = format!("key = {token}\nlet a\u{200b}b;\n");
        let base = [("src/old.rs", old.as_str())];
        let seen = waits(&base, |work| {
            write(work, "src/old.rs", &format!("new line\n{old}"));
        });
        assert_eq!(seen, Vec::<String>::new());
        let seen = waits(&base, |work| {
            write(work, "src/old.rs", &format!("{old}let c\u{200b}d;\n"));
            write(work, "src/copy.rs", &old);
            write(work, "src/p\u{430}y.rs", "fn a() {}\n");
        });
        assert_eq!(
            seen,
            [
                "secret-pattern src/copy.rs",
                "hidden-text src/copy.rs",
                "hidden-text src/old.rs",
                "mixed-scripts src/pаy.rs",
            ]
        );
    }

    #[test]
    fn no_message_tells_a_secret() {
        let world = World::new();
        let repository = world.open();
        let slot = world.slot(&repository, "store", repository.head());
        let token = format!("ghp_{}", "Zk3vQ9xLm2RtY7bNc5HwPs8dFgJ4aEuV6oTi");
        write(slot.work(), "src/a.rs", &token);
        let handed = judged((&repository, &slot), &[], &[]);
        let told = format!("{:?} {:?}", handed.needs, handed.remarks());
        assert!(
            told.contains("github-pat") && !told.contains(token.get(6..).unwrap()),
            "{told}"
        );
    }

    #[test]
    fn an_approval_is_for_these_contents_at_this_path_alone() {
        let world = World::new();
        let repository = world.open();
        let slot = world.slot(&repository, "store", repository.head());
        let both = (&repository, &slot);
        write(slot.work(), "Makefile", "all:\n");
        let first = judged(both, &[], &[]);
        let digests: Vec<String> = first.needs.iter().map(|need| need.digest.clone()).collect();
        assert_eq!(digests.len(), 1);
        assert!(judged(both, &[], &digests).passed().is_some());
        assert!(judged(both, &["makefile"], &[]).passed().is_some());
        assert!(judged(both, &["direnv"], &[]).waits().is_some());
        let mode: fs::Permissions = PermissionsExt::from_mode(0o755);
        fs::set_permissions(slot.work().join("Makefile"), mode).unwrap();
        assert!(
            judged(both, &["programs"], &digests).waits().is_some(),
            "another mode"
        );
        write(slot.work(), "Makefile", "all: evil\n");
        assert!(
            judged(both, &[], &digests).waits().is_some(),
            "other contents"
        );
        fs::remove_file(slot.work().join("Makefile")).unwrap();
        write(slot.work(), "sub/Makefile", "all:\n");
        assert!(
            judged(both, &[], &digests).waits().is_some(),
            "another path"
        );
    }

    #[test]
    fn a_link_that_the_role_may_not_read_lends_its_name_too() {
        let world = World::new();
        let makefile = world.root().join("Makefile");
        std::os::unix::fs::symlink("src/rules.txt", makefile).unwrap();
        world.file("src/rules.txt", "all:\n");
        world.save("a link");
        let repository = world.open();
        let read = globs(&["src/**"]);
        let slot = world.sparse_slot(&repository, "store", repository.head(), Some(&read));
        assert!(!slot.work().join("Makefile").exists());
        write(slot.work(), "src/rules.txt", "all: evil\n");
        let handed = judged((&repository, &slot), &[], &[]);
        let needs: Vec<&str> = handed.needs.iter().map(|need| need.path.as_str()).collect();
        assert_eq!(needs, ["src/rules.txt"]);
    }

    #[test]
    fn refused_work_does_not_wait() {
        let world = World::new();
        let repository = world.open();
        let slot = world.slot(&repository, "store", repository.head());
        write(slot.work(), "Makefile", "all:\n");
        let handed = crate::git::world::judge(&repository, &slot);
        assert_eq!((handed.breaches.len(), handed.needs.len()), (1, 1));
        assert!(handed.waits().is_none() && handed.passed().is_none());
        assert_eq!(handed.remarks().len(), 2);
    }

    #[test]
    fn more_than_a_person_can_look_at_is_refused() {
        let world = World::new();
        let repository = world.open();
        let slot = world.slot(&repository, "store", repository.head());
        for at in 0..1001 {
            write(slot.work(), &format!("d{at}/Makefile"), "all:\n");
        }
        let handed = judged((&repository, &slot), &[], &[]);
        assert_eq!(handed.breaches.len(), 1);
        assert_eq!(handed.breaches[0].rule, "count");
        assert_eq!(handed.needs, []);
    }
}
