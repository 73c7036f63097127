//! Finds changes to files that a program of the host runs or obeys.
//!
//! A file counts by its own name, and by every name that a link of the worktree gives it: a link
//! `.vscode` makes tasks of whatever it leads to.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::{Difference, Remark, links::Ways};
use crate::{
    git::tree::{Entry, Kind as EntryKind},
    host_files::{self, Kind, Only},
};

/// The rule that such a change breaks.
pub(in crate::git) const RULE: &str = "host-executable";
/// Most links that give files other names.
const LINKS: usize = 1000;
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

/// Other names of files: by where links lead, the links. A link on the way of another has that one's
/// name, too: who changes it changes where the other leads.
pub(in crate::git) struct Aliases(BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

impl Aliases {
    /// Collects the links that stand where programs of the host look.
    ///
    /// # Errors
    /// A breach, when there are more than can be judged.
    pub(in crate::git) fn of(entries: &[&Entry]) -> Result<Self, Remark> {
        let links = super::links(entries.iter().copied());
        let mut ways = Ways::new(&links);
        let mut aliases = BTreeMap::<_, Vec<_>>::new();
        let mut count = 0;
        for (path, target) in &links {
            if !host_files::is_looked_for(path) {
                continue;
            }
            count += 1;
            if count > LINKS {
                let message =
                    format!("more than {LINKS} links stand where programs of the host look");
                return Err(Remark::new("count", b".", message));
            }
            if let Ok(way) = ways.follow(path, target) {
                let on_the_way = ways.all_through(&way).into_iter().map(<[u8]>::to_vec);
                for known_as in on_the_way.chain([way.to.clone()]) {
                    aliases.entry(known_as).or_default().push(path.to_vec());
                }
            }
        }
        ways.overrun().map_or(Ok(Self(aliases)), Err)
    }

    /// Returns the names that a path has besides its own.
    fn names<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
        let above = super::super::hand_over::ancestors(path);
        above.flat_map(move |prefix| {
            let links = self.0.get(prefix).into_iter().flatten();
            let rest = path.get(prefix.len()..).unwrap_or_default();
            links.map(move |link| [link.as_slice(), rest].concat())
        })
    }
}

/// Returns the changes that a program of the host would act on, conditions on contents aside.
pub(in crate::git) fn look<'c>(changes: &'c [Difference], aliases: &Aliases) -> Vec<Hosted<'c>> {
    let mut hosted = Vec::new();
    for change in changes {
        let mut kinds: BTreeMap<&str, &'static Kind> = BTreeMap::new();
        for kind in kinds_of(change, &change.path) {
            kinds.insert(&kind.name, kind);
        }
        for name in aliases.names(&change.path) {
            for kind in kinds_of(change, &name) {
                kinds.insert(&kind.name, kind);
            }
        }
        let kinds = kinds.into_values().filter(|kind| counts(kind, change));
        hosted.extend(kinds.map(|kind| Hosted { change, kind }));
    }
    hosted
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

/// Returns whether two texts of a JSON object differ in one of these keys. What is no such object
/// differs; nothing at all is an empty one.
pub(in crate::git) fn differ(old: Option<&[u8]>, new: Option<&[u8]>, keys: &[String]) -> bool {
    let read = |text: Option<&[u8]>| match text {
        None => Some(Vec::new()),
        Some(text) => serde_json::from_slice::<Pairs>(text).ok().map(|pairs| {
            let all = pairs.0.into_iter();
            all.filter_map(|(key, value)| Some((watched(&key, value, keys)?, key)))
                .collect::<Vec<_>>()
        }),
    };
    match (read(old), read(new)) {
        (Some(old), Some(new)) => old != new,
        _ => true,
    }
}

/// Returns what counts of a key's value.
fn watched(key: &str, value: Value, keys: &[String]) -> Option<Value> {
    if keys.iter().any(|one| one == key) {
        return Some(value);
    }
    let lower = key.to_lowercase();
    let mut ends = keys.iter().filter_map(|one| one.strip_prefix('*'));
    ends.any(|end| lower.ends_with(end)).then_some(())?;
    let Value::Object(mut packages) = value else {
        return Some(value);
    };
    packages.retain(|_, from| !from.as_str().is_some_and(is_of_registry));
    (!packages.is_empty()).then_some(Value::Object(packages))
}

/// Returns whether a package comes from a registry, or from the workspace it is named in: anything
/// else is an address, a path or a repository, whose scripts run on install.
fn is_of_registry(from: &str) -> bool {
    let named = ["npm:", "workspace:", "catalog:", "jsr:"];
    if let Some(rest) = named.iter().find_map(|prefix| from.strip_prefix(prefix)) {
        return !rest.contains([':', '\\']) && !rest.contains("..");
    }
    !from.contains([':', '/', '\\', '~']) || from.starts_with('~') && !from.contains('/')
}

/// The pairs of an object in their order, those whose key stands twice included: which of two
/// counts depends on who reads.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Each)
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
    use super::{Aliases, differ, look};
    use crate::git::{
        inspect::Difference,
        tree::{Entry, Kind},
    };

    fn change(path: &str, old: &str, new: &str) -> Difference {
        Difference {
            path: path.as_bytes().to_vec(),
            old_mode: old.as_bytes().to_vec(),
            new_mode: new.as_bytes().to_vec(),
            ..Difference::default()
        }
    }

    fn link(path: &str, target: &str) -> Entry {
        Entry {
            path: path.as_bytes().to_vec(),
            kind: Kind::Link(target.as_bytes().to_vec()),
            mode: 0o777,
            size: 1,
            links: 1,
            inode: (1, 1),
            unreadable: false,
        }
    }

    fn found(changes: &[Difference], links: &[Entry]) -> Vec<String> {
        let links: Vec<&Entry> = links.iter().collect();
        let aliases = Aliases::of(&links).unwrap();
        let hosted = look(changes, &aliases).into_iter();
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
        assert!(Aliases::of(&many).is_err());
        assert!(Aliases::of(&many[..1000]).is_ok());
        assert!(Aliases::of(&other).is_ok());
    }

    #[test]
    fn only_the_keys_that_run_something_count() {
        let keys = ["scripts".to_owned(), "bin".to_owned()];
        let differ =
            |old: &str, new: &str| differ(Some(old.as_bytes()), Some(new.as_bytes()), &keys);
        assert!(!differ(r#"{"name":"a"}"#, r#"{"name":"b","version":"1"}"#));
        assert!(!differ(
            r#"{"scripts":{"a":"b"},"name":"a"}"#,
            r#"{"name":"c","scripts":{"a":"b"}}"#
        ));
        assert!(differ(
            r#"{"name":"a"}"#,
            r#"{"name":"a","scripts":{"postinstall":"x"}}"#
        ));
        assert!(differ(r#"{"bin":"a"}"#, r#"{"bin":"b"}"#));
        assert!(differ(r#"{"scripts":{"a":"b"}}"#, "{}"));
        // Who reads the first of two, and who the last?
        assert!(differ(
            r#"{"scripts":{}}"#,
            r#"{"scripts":{"install":"x"},"scripts":{}}"#
        ));
        for no_object in ["", "[]", "{", "\u{feff}{}", "{} x", "null"] {
            assert!(differ("{}", no_object), "{no_object}");
        }
    }

    #[test]
    fn attack_g11_a_package_that_comes_from_no_registry_counts() {
        let keys = ["scripts".to_owned(), "*dependencies".to_owned()];
        let differ = |key: &str, from: &str| {
            let new = format!(r#"{{"{key}":{{"left-pad":"1.0.0","a":"{from}"}}}}"#);
            let old = format!(r#"{{"{key}":{{"left-pad":"0.9.0"}}}}"#);
            differ(Some(old.as_bytes()), Some(new.as_bytes()), &keys)
        };
        for from in [
            "http://h.test/a.tgz",
            "https://h.test/a.tgz",
            "git+ssh://h.test/a",
            "git:h.test/a",
            "file:../a",
            "link:./a",
            "portal:./a",
            "github:o/r",
            "o/r",
            "./a",
            "~/a",
            "..\\\\a",
            "workspace:../../a",
        ] {
            for key in ["dependencies", "devDependencies", "optionalDependencies"] {
                assert!(differ(key, from), "{key} {from}");
            }
        }
        for from in [
            "1.2.3",
            "^1",
            "~1.2",
            ">=1 <2 || 3.x",
            "latest",
            "*",
            "",
            "npm:@scope/b@1",
            "workspace:*",
            "workspace:^",
            "catalog:",
        ] {
            assert!(!differ("dependencies", from), "{from}");
        }
        assert!(!differ("description", "o/r"));
    }

    #[test]
    fn a_file_that_comes_or_goes_differs_by_what_it_has() {
        let keys = ["scripts".to_owned()];
        let scripts = Some(&br#"{"scripts":{}}"#[..]);
        assert!(differ(None, scripts, &keys) && differ(scripts, None, &keys));
        assert!(!differ(None, Some(b"{}"), &keys));
    }
}
