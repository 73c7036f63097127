//! The user's repository: found, checked, and left as it is.

use std::{
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    GitError, ObjectId,
    command::{Call, Place},
    error::At,
    index::Index,
};
use crate::{text::visible, whole};

/// The line that keeps Loki's own directory out of the user's commits.
const EXCLUDED: &str = "/.loki/";
/// How many levels of `.loki` are Loki's own: what it holds, and one directory for each run.
const LINKS_LOOKED_FOR: u32 = 2;

/// A repository with a checkout and at least one commit.
///
/// Loki adds objects, branches of its own (`loki/…`, `loki-tasks/…`), hidden refs under
/// `refs/loki/` and one line in `info/exclude`. It never touches the user's branch, index or
/// files.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
    common_dir: PathBuf,
    head: ObjectId,
    branch: Option<String>,
    pub(super) place: Place,
    /// Git reads the notes on all worktrees when it adds one, and fails on those that are just
    /// being written or removed: one at a time, over all clones of this value.
    worktrees: Arc<Mutex<()>>,
    /// The list of files of the tree that was written last: tasks that start together start from
    /// the same one.
    listed: Arc<Mutex<Option<Listed>>>,
}

/// A tree and the list of its files.
type Listed = (ObjectId, Arc<Index>);

impl Repository {
    /// Opens the repository that holds `dir`, from any directory below its root.
    ///
    /// # Errors
    /// When git is missing or older than 2.38, when there is no repository, no checkout or no
    /// commit, when `.loki` is or holds a symbolic link that would lead Loki elsewhere, or when
    /// `info/exclude` cannot be written.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        version()?;
        let dir = fs::canonicalize(dir).at("open", dir)?;
        let ask = |question: &str| {
            let call = Call::discovering("rev-parse", &dir);
            call.args(["--path-format=absolute", question]).run()
        };
        let git_dir = ask("--git-dir")
            .map_err(|fault| not_found(fault, &dir))?
            .path();
        let root = ask("--show-toplevel")
            .map_err(|_| GitError::Bare {
                dir: git_dir.clone(),
            })?
            .path();
        refuse_planted_links(&root)?;
        let common_dir = ask("--git-common-dir")?.path();
        let place = Place::open(&git_dir, &root)?;
        let head = place
            .reading("rev-parse")
            .args(["--verify", "--quiet", "HEAD^{commit}"]);
        let head = head.accept(&[0, 1, 128]).run()?;
        if head.code != 0 {
            return Err(GitError::NoCommit { root });
        }
        let head = head.id()?;
        let named = place
            .reading("symbolic-ref")
            .args(["--quiet", "HEAD"])
            .accept(&[0, 1])
            .run()?;
        let branch = named
            .line()
            .ok()
            .and_then(|name| name.strip_prefix("refs/heads/"));
        let branch = branch.map(str::to_owned);
        exclude(&common_dir)?;
        Ok(Self {
            root,
            common_dir,
            head,
            branch,
            place,
            worktrees: Arc::default(),
            listed: Arc::default(),
        })
    }

    /// Returns the root of the checkout.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory that all checkouts of the repository share.
    #[must_use]
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Returns the commit that was checked out when the repository was opened.
    #[must_use]
    pub fn head(&self) -> &ObjectId {
        &self.head
    }

    /// Returns the user's branch, none when detached. It is text of the user's: show it escaped.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.branch.as_deref()
    }

    /// Has this value, of the same repository as another, take turns with it where git must not be
    /// asked twice at once.
    #[must_use]
    pub fn in_turn_with(self, other: &Self) -> Self {
        Self {
            worktrees: Arc::clone(&other.worktrees),
            ..self
        }
    }

    /// Waits until nobody else adds or removes a worktree.
    pub(super) fn lock_worktrees(&self) -> MutexGuard<'_, ()> {
        self.worktrees
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the list of a tree's files, when it is the one that was kept last.
    pub(super) fn known_index(&self, tree: &ObjectId) -> Option<Arc<Index>> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = listed.as_ref().filter(|(of, _)| of == tree);
        known.map(|(_, index)| Arc::clone(index))
    }

    /// Keeps the list of a tree's files, in place of another one.
    pub(super) fn keep_index(&self, tree: &ObjectId, index: Index) -> Arc<Index> {
        let index = Arc::new(index);
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        *listed = Some((tree.clone(), Arc::clone(&index)));
        index
    }

    /// Returns where slots stand.
    #[must_use]
    pub fn worktrees_dir(&self) -> PathBuf {
        self.root.join(".loki/worktrees")
    }

    /// Refuses a repository whose commits bring files below `.loki`: a journal that came with the
    /// code would be taken for one of ours. The project's policies may come with it: they are read
    /// as what they are, the words of a stranger.
    ///
    /// # Errors
    /// Names the first such file.
    pub fn refuse_tracked_state(&self) -> Result<(), GitError> {
        let listed = self.place.reading("ls-files");
        let listed = listed.args(["-z", "--stage", "--", ".loki"]).run()?;
        match listed.records().find(|record| !is_policy(record)) {
            None => Ok(()),
            Some(record) => {
                let path = record.split(|byte| *byte == b'\t').nth(1).unwrap_or(record);
                Err(GitError::TrackedState {
                    path: printable(path),
                })
            }
        }
    }

    /// Returns the files with changes that no commit holds, names made printable. Runs see commits
    /// only, so a run would not see these changes.
    ///
    /// # Errors
    /// When git fails.
    pub fn dirty(&self) -> Result<Vec<String>, GitError> {
        let status = self.place.reading("status").args([
            "--porcelain=v1",
            "-z",
            "--untracked-files=normal",
            "--ignore-submodules=all",
            "--no-renames",
        ]);
        let status = status.run()?;
        Ok(status
            .records()
            .filter_map(|record| record.get(3..))
            .map(printable)
            .collect())
    }

    /// Returns the commit that `revision` names: a branch, tag or id as a user would type it.
    ///
    /// # Errors
    /// When it names no commit.
    pub fn resolve(&self, revision: &str) -> Result<ObjectId, GitError> {
        let call =
            self.place
                .reading("rev-parse")
                .args(["--verify", "--quiet", "--end-of-options"]);
        call.arg(format!("{revision}^{{commit}}")).run()?.id()
    }
}

/// Returns whether a record of the index, `<mode> <id> <stage>\t<path>`, is a regular file
/// `.loki/policies/<name>.yaml`.
fn is_policy(record: &[u8]) -> bool {
    let Some((facts, path)) = std::str::from_utf8(record)
        .ok()
        .and_then(|record| record.split_once('\t'))
    else {
        return false;
    };
    let name = path
        .strip_prefix(".loki/policies/")
        .and_then(|name| name.strip_suffix(".yaml"));
    facts.starts_with("100") && name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Refuses a repository whose commits put a link where Loki creates, sweeps and removes
/// directories: it may come from anywhere, and its `.loki/worktrees` may name someone's home.
/// Sandboxes never see `.loki`, so what passes here stays as it is.
fn refuse_planted_links(root: &Path) -> Result<(), GitError> {
    let state = root.join(".loki");
    let is_link = match fs::symlink_metadata(&state) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.at("look at", &state)?.is_symlink(),
    };
    if is_link {
        return Err(GitError::PlantedLink { path: state });
    }
    let mut ahead = vec![(state, LINKS_LOOKED_FOR)];
    while let Some((dir, levels)) = ahead.pop() {
        let entries = match fs::read_dir(&dir) {
            // Gone, or no directory: there is nothing in it to be led by.
            Err(cause) if is_absent(&cause) => continue,
            entries => entries.at("read", &dir)?,
        };
        for entry in entries {
            let entry = entry.at("read", &dir)?;
            let kind = entry.file_type().at("look at", entry.path())?;
            if kind.is_symlink() {
                return Err(GitError::PlantedLink { path: entry.path() });
            }
            if kind.is_dir() && levels > 1 {
                ahead.push((entry.path(), levels - 1));
            }
        }
    }
    Ok(())
}

/// Returns whether a directory is not there, or is none.
fn is_absent(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(cause.kind(), NotFound | NotADirectory)
}

/// Makes a path fit for people and events: valid text, hidden characters escaped.
pub(super) fn printable(path: &[u8]) -> String {
    visible(&String::from_utf8_lossy(path))
}

/// Returns the version of git on this machine.
///
/// # Errors
/// When there is none, or it is too old.
pub fn version() -> Result<String, GitError> {
    let answer = Call::new("version").run()?;
    let found = answer.line()?.trim_start_matches("git version ").to_owned();
    if is_enough(&found) {
        Ok(found)
    } else {
        Err(GitError::TooOld { found })
    }
}

/// Returns whether a version such as `2.39.5 (Apple Git-154)` is 2.38 or newer.
fn is_enough(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 38),
        _ => false,
    }
}

/// Names the usual reason for a failed discovery.
fn not_found(fault: GitError, dir: &Path) -> GitError {
    match fault {
        GitError::Command { stderr, .. } if stderr.contains("not a git repository") => {
            GitError::NotARepository {
                dir: dir.to_owned(),
            }
        }
        // Discovery refuses a bare repository that was not named: `safe.bareRepository`.
        GitError::Command { stderr, .. } if stderr.contains("bare repository") => GitError::Bare {
            dir: dir.to_owned(),
        },
        other => other,
    }
}

/// Appends Loki's directory to `info/exclude`, once, by writing a new file and renaming it.
fn exclude(common_dir: &Path) -> Result<(), GitError> {
    let info = common_dir.join("info");
    let file = info.join("exclude");
    let mut lines = match fs::read(&file) {
        Ok(lines) => lines,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(cause) => return Err(cause).at("read", file),
    };
    if lines
        .split(|byte| *byte == b'\n')
        .any(|line| line == EXCLUDED.as_bytes())
    {
        return Ok(());
    }
    if !lines.is_empty() && !lines.ends_with(b"\n") {
        lines.push(b'\n');
    }
    lines.extend(EXCLUDED.as_bytes());
    lines.push(b'\n');
    fs::create_dir_all(&info).at("create", &info)?;
    let mode = fs::metadata(&file).map_or(0o644, |old| mode_of(&old));
    whole::replace(&file, mode, &lines).at("write", &file)
}

fn mode_of(old: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&old.permissions()) & 0o777
}

/// Reads a path that git wrote into one of its files.
pub(super) fn path_in(file: &Path) -> Option<PathBuf> {
    let bytes = fs::read(file).ok()?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::{is_enough, printable};

    #[test]
    fn versions_from_2_38_are_enough() {
        for (version, enough) in [
            ("2.38.0", true),
            ("2.47.3", true),
            ("3.0", true),
            ("2.39.5 (Apple Git-154)", true),
            ("2.40.0.rc1-12-gabc", true),
            ("2.37.9", false),
            ("1.99.0", false),
            ("", false),
            ("two", false),
        ] {
            assert_eq!(is_enough(version), enough, "{version}");
        }
    }

    #[test]
    fn shown_paths_hold_no_hidden_characters() {
        assert_eq!(printable("src/größe.rs".as_bytes()), "src/größe.rs");
        assert_eq!(printable(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
    }
}
