//! From the names in a tree, and what a specification asks for, to what is to be installed.

use super::{
    Asked, Refusal,
    table::{Place, Tool, filled, tools, unknown},
};
use crate::text::is_hostile;

/// Where the worktree is mounted.
const WORKTREE: &str = "/work";
/// Where things are that were installed out of the worktree.
const APART: &str = "/loki/deps";
/// The longest path of a lock file or manifest.
const PATH: usize = 512;

/// What stands behind a name of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A directory.
    Directory,
    /// A submodule.
    Module,
}

/// One name of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its path.
    pub path: String,
    /// What it is.
    pub kind: NameKind,
    /// The object behind it.
    pub id: String,
}

/// Something to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// With which tool.
    pub tool: &'static Tool,
    /// From which lock file, relative to the worktree.
    pub lock: String,
    /// With which command.
    pub command: String,
    /// The specification asks for it: what keeps it from being installed is a failure.
    pub demanded: bool,
}

impl Want {
    /// Returns the directory of the lock file, relative to the worktree; empty is the worktree.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.lock
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory)
    }

    /// Returns the name of the lock file.
    #[must_use]
    pub fn lock_name(&self) -> &str {
        self.lock
            .rsplit_once('/')
            .map_or(&self.lock, |(_, name)| name)
    }

    /// Returns a path below the directory of the lock file, relative to the worktree.
    #[must_use]
    pub fn below(&self, path: &str) -> String {
        match self.directory() {
            "" => path.to_owned(),
            directory => format!("{directory}/{path}"),
        }
    }

    /// Returns what the command makes, relative to the worktree.
    #[must_use]
    pub fn makes(&self) -> String {
        self.below(&self.tool.makes)
    }

    /// Returns where programs find what was installed.
    #[must_use]
    pub fn at(&self) -> String {
        match self.tool.place {
            Place::Beside => format!("{WORKTREE}/{}", self.makes()),
            Place::Apart => format!("{APART}/{}", self.tool.name),
        }
    }

    /// Returns the mount point in the worktree, if there is one.
    #[must_use]
    pub fn covers(&self) -> Option<String> {
        (self.tool.place == Place::Beside).then(|| self.makes())
    }

    /// Returns the words and the environment of the install, for packages from `index`.
    #[must_use]
    pub fn install(&self, index: Option<&str>) -> (Vec<String>, Vec<(String, String)>) {
        let argv = [
            "sh",
            "-c",
            &format!("cd \"$LOKI_DIRECTORY\" && {}", self.command),
        ];
        let mut env = self.fill(&self.tool.during, index);
        env.push(("LOKI_LOCK".to_owned(), self.lock_name().to_owned()));
        let directory = format!("{WORKTREE}/{}", self.directory());
        env.push(("LOKI_DIRECTORY".to_owned(), directory));
        (argv.map(str::to_owned).into(), env)
    }

    /// Returns the files of the home directory while the command runs.
    #[must_use]
    pub fn install_files(&self, index: Option<&str>) -> Vec<(String, String)> {
        self.fill(&self.tool.during_files, index)
    }

    /// Returns the environment of programs that are given what was installed.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        self.fill(&self.tool.after, None)
    }

    /// Returns the files of their home directory.
    #[must_use]
    pub fn files(&self) -> Vec<(String, String)> {
        self.fill(&self.tool.after_files, None)
    }

    fn fill<'a>(
        &self,
        texts: impl IntoIterator<Item = (&'a String, &'a String)>,
        index: Option<&str>,
    ) -> Vec<(String, String)> {
        let (makes, at) = (format!("{WORKTREE}/{}", self.makes()), self.at());
        let filled = |text: &str| filled(text, (&makes, &at, index));
        let texts = texts.into_iter();
        texts
            .filter_map(|(name, text)| Some((name.clone(), filled(text)?)))
            .collect()
    }

    /// Says why nothing is installed.
    #[must_use]
    pub fn refused(&self, reason: String) -> Refusal {
        Refusal {
            tool: self.tool.name.clone(),
            lock: self.lock.clone(),
            reason,
            fails: true,
        }
    }

    /// Says why nothing is installed, where checks may run without it unless it is asked for.
    #[must_use]
    pub fn passed_over(&self, reason: String) -> Refusal {
        Refusal {
            fails: self.demanded,
            ..self.refused(reason)
        }
    }
}

/// Returns what is to be installed for a tree with these names in its root: what a specification
/// asks for, or else what its lock files say.
#[must_use]
pub fn wants(root: &[Name], asked: Option<&[Asked]>) -> Vec<Result<Want, Refusal>> {
    match asked {
        Some(asked) => asked.iter().filter_map(|one| demanded(root, one)).collect(),
        None => found(root),
    }
}

fn demanded(root: &[Name], asked: &Asked) -> Option<Result<Want, Refusal>> {
    let tool = tools().iter().find(|tool| tool.name == asked.tool)?;
    let lock = match &asked.lock {
        Some(lock) => lock.clone(),
        None => match usual(root, tool).as_slice() {
            [one] => (*one).to_owned(),
            [] => tool.locks.last().cloned().unwrap_or_default(),
            several => return Some(Err(two(tool, several))),
        },
    };
    Some(Ok(Want {
        tool,
        lock,
        command: asked
            .command
            .clone()
            .unwrap_or_else(|| tool.command.clone()),
        demanded: true,
    }))
}

/// Returns the lock files of a tool that are there.
fn usual<'a>(root: &'a [Name], tool: &Tool) -> Vec<&'a str> {
    let names = root.iter().filter(|name| tool.locks.contains(&name.path));
    names.map(|name| name.path.as_str()).collect()
}

fn found(root: &[Name]) -> Vec<Result<Want, Refusal>> {
    let there = |lock: &str| root.iter().any(|name| name.path == lock);
    let mut found = Vec::new();
    for tool in tools() {
        let mut locks = usual(root, tool);
        let beside = unknown().iter().filter(|one| there(&one.lock));
        let rivals = beside.filter(|one| one.besides.as_deref() == Some(tool.name.as_str()));
        if !locks.is_empty() {
            locks.extend(rivals.map(|one| one.lock.as_str()));
        }
        match locks.as_slice() {
            [] => {}
            [one] => found.push(Ok(Want {
                tool,
                lock: (*one).to_owned(),
                command: tool.command.clone(),
                demanded: false,
            })),
            several => found.push(Err(two(tool, several))),
        }
    }
    let known = found.len();
    let strangers = unknown().iter().filter(|one| there(&one.lock));
    found.extend(strangers.map(|one| Err(stranger(&one.lock))));
    if known > 0 {
        // What stands beside a lock file that counts was told with it.
        found.retain(|one| !matches!(one, Err(refusal) if refusal.tool.is_empty() && is_told(root, &refusal.lock)));
    }
    found
}

/// Whether a lock file that nothing is installed from was named together with one of a known tool.
fn is_told(root: &[Name], lock: &str) -> bool {
    let one = unknown().iter().find(|one| one.lock == lock);
    let besides = one.and_then(|one| one.besides.as_deref());
    let tool = tools()
        .iter()
        .find(|tool| Some(tool.name.as_str()) == besides);
    tool.is_some_and(|tool| !usual(root, tool).is_empty())
}

fn two(tool: &Tool, locks: &[&str]) -> Refusal {
    Refusal {
        tool: tool.name.clone(),
        lock: locks.join("`, `"),
        reason: format!(
            "only one of `{}` can be meant; remove the others, or say which with \
             ``- {} from `FILE` `` under `## Install` of the specification",
            locks.join("`, `"),
            tool.name
        ),
        fails: true,
    }
}

fn stranger(lock: &str) -> Refusal {
    Refusal {
        tool: String::new(),
        lock: lock.to_owned(),
        reason: format!(
            "this version knows no tool that installs from `{lock}`; docs/install.md lists those it knows"
        ),
        fails: false,
    }
}

/// Returns whether a path of a tree can be written as it stands: relative, of plain components,
/// without control characters, and nothing that git or an earlier install would take for its own.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !matches!(part, "." | "..")
            && !part.eq_ignore_ascii_case(".git")
            && tools().iter().all(|tool| tool.makes != part)
    };
    let hostile = |c: char| c.is_control() || is_hostile(c);
    path.len() <= PATH && !path.contains(hostile) && path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> Vec<Name> {
        let name = |path: &&str| Name {
            path: (*path).to_owned(),
            kind: NameKind::File,
            id: String::new(),
        };
        names.iter().map(name).collect()
    }

    fn said(names: &[&str], asked: Option<&[Asked]>) -> Vec<String> {
        let all = wants(&tree(names), asked).into_iter();
        all.map(|one| match one {
            Ok(want) => format!("{} {} {}", want.tool.name, want.lock, want.at()),
            Err(refusal) => format!("{}: {} {}", refusal.lock, refusal.reason, refusal.fails),
        })
        .collect()
    }

    #[test]
    fn each_lock_file_in_the_root_leads_to_its_tool() {
        assert_eq!(said(&["package.json", "src"], None), Vec::<String>::new());
        assert_eq!(
            said(
                &["Cargo.lock", "package-lock.json", "requirements.txt"],
                None
            ),
            [
                "npm package-lock.json /work/node_modules",
                "pip requirements.txt /loki/deps/pip",
                "cargo Cargo.lock /loki/deps/cargo",
            ]
        );
    }

    #[test]
    fn of_two_lock_files_none_is_chosen() {
        let two = said(&["npm-shrinkwrap.json", "package-lock.json"], None);
        assert!(
            two[0].contains("only one of `npm-shrinkwrap.json`, `package-lock.json`"),
            "{two:?}"
        );
        let rivals = said(&["package-lock.json", "yarn.lock"], None);
        assert_eq!(rivals.len(), 1, "{rivals:?}");
        assert!(
            rivals[0].contains("`package-lock.json`, `yarn.lock`") && rivals[0].ends_with("true")
        );
        let alone = said(&["yarn.lock", "Cargo.lock"], None);
        assert!(
            alone[1].contains("knows no tool") && alone[1].ends_with("false"),
            "{alone:?}"
        );
    }

    #[test]
    fn what_a_specification_asks_for_stands_alone() {
        let asked = |tool: &str, lock: Option<&str>| Asked {
            tool: tool.to_owned(),
            lock: lock.map(str::to_owned),
            command: None,
        };
        let names = ["package-lock.json", "npm-shrinkwrap.json", "Cargo.lock"];
        assert_eq!(said(&names, Some(&[])), Vec::<String>::new());
        assert_eq!(
            said(
                &names,
                Some(&[
                    asked("npm", Some("web/package-lock.json")),
                    asked("cargo", None)
                ])
            ),
            [
                "npm web/package-lock.json /work/web/node_modules",
                "cargo Cargo.lock /loki/deps/cargo"
            ]
        );
        assert!(said(&names, Some(&[asked("npm", None)]))[0].contains("only one of"));
    }

    #[test]
    fn hostile_paths_are_not_plain() {
        for path in [
            "",
            "/a",
            "a//b",
            "../a",
            "a/../b",
            "./a",
            "a/.",
            ".git/x",
            "a/.GIT",
            "a\nb",
            "a\u{202e}b",
            "node_modules/a",
            "x/.deps/y",
        ] {
            assert!(!is_plain(path), "{path:?}");
        }
        assert!(!is_plain(&"a/".repeat(400)));
        assert!(is_plain("web/package.json") && is_plain("a b/ü.toml"));
    }
}
