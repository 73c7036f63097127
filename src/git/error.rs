//! What can go wrong with a repository, with the facts and what to type next.

use std::{io, path::PathBuf};

/// Why git work could not be done. Nothing of the user's was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program is not there.
    #[error("`git` could not be started; install git 2.38 or newer")]
    Missing(#[source] io::Error),
    /// The program is too old for `merge-tree --write-tree`.
    #[error("git `{found}` is too old; install git 2.38 or newer")]
    TooOld {
        /// What `git --version` said.
        found: String,
    },
    /// No repository holds the directory.
    #[error("`{}` is not in a git repository; run `git init` and commit first", dir.display())]
    NotARepository {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The repository has no files of its own.
    #[error(
        "`{}` has no files of its own, as a bare repository; run Loki in a checkout of it, such as `git worktree add ../CHECKOUT` makes",
        dir.display()
    )]
    Bare {
        /// The repository.
        dir: PathBuf,
    },
    /// There is nothing to start from.
    #[error("`{}` has no commit yet; run `git add -A && git commit` first", root.display())]
    NoCommit {
        /// The root of the checkout.
        root: PathBuf,
    },
    /// The repository brings a link where Loki keeps its state.
    #[error(
        "`{}` is a symbolic link and would lead what Loki writes and removes elsewhere; look at it, then `rm` it",
        path.display()
    )]
    PlantedLink {
        /// The link.
        path: PathBuf,
    },
    /// The project's commits hold files where Loki keeps its own.
    #[error(
        "the project's own commits hold `{path}`, but `.loki` is where Loki keeps its state, which is believed (only `.loki/policies/*.yaml` may be committed); look at it, then `git rm -r --cached {path}` and commit"
    )]
    TrackedState {
        /// The first such file, made printable.
        path: String,
    },
    /// A git command said no.
    #[error("`git {command}` failed with exit code {code}: {stderr}")]
    Command {
        /// The subcommand.
        command: String,
        /// Its exit code, 128 + n for signal n.
        code: i32,
        /// The first lines it wrote to stderr, control characters escaped.
        stderr: String,
    },
    /// A git command did not end in time and was killed.
    #[error(
        "`git {command}` did not end within {seconds} s and was killed; try again, or run `git fsck`"
    )]
    Timeout {
        /// The subcommand.
        command: String,
        /// The limit, in seconds.
        seconds: u64,
    },
    /// A git command wrote more than is read.
    #[error("`git {command}` wrote more than {limit} bytes; the repository is too large")]
    Flood {
        /// The subcommand.
        command: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A git command wrote something unexpected.
    #[error("`git {command}` answered `{}`, which was not expected; run `git fsck`", answer.escape_debug())]
    Odd {
        /// The subcommand.
        command: String,
        /// What it wrote.
        answer: String,
    },
    /// A commit holds what cannot be written here.
    #[error(
        "the commit holds `{path}`, which {why}; rename or remove it and commit, or work on another file system"
    )]
    Unwritable {
        /// Its path, made printable.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file's contents are not in the repository.
    #[error(
        "the contents of `{path}` are not in this repository, as in a partial clone, and Loki fetches nothing; run `git fetch --refetch --no-filter` to have all of them"
    )]
    Absent {
        /// Its path, made printable.
        path: String,
    },
    /// A file could not be read or written.
    #[error("cannot {verb} `{}`", path.display())]
    Io {
        /// What was tried, such as `read`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A branch of the user's stands where Loki's branches go.
    #[error(
        "the branch `{taken}` stands in the way of `{wanted}`; rename it with `git branch -m {taken} NEW-NAME`"
    )]
    BranchInTheWay {
        /// The branch that exists.
        taken: String,
        /// The branch that is wanted.
        wanted: String,
    },
    /// A branch is not where it was left, so somebody else moved it.
    #[error(
        "the branch `{branch}` is not at `{expected}` any more; see `git log {branch}` and start again"
    )]
    Moved {
        /// The branch.
        branch: String,
        /// The commit it was left at, or `nothing`.
        expected: String,
    },
    /// The place of a slot is already in use.
    #[error("`{}` already holds files; a slot must be empty: run `loki clean`", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
    },
    /// A branch is protected, so Loki neither moves nor pushes it.
    #[error(
        "the branch `{}` is protected by `{}`; see `git config --get-all loki.protected`, or use another branch",
        branch.escape_debug(), pattern.escape_debug()
    )]
    Protected {
        /// The branch.
        branch: String,
        /// What protects it.
        pattern: String,
    },
    /// A ref that is not one of Loki's own was to be written.
    #[error("a bug of ours: the ref `{}` is not one of Loki's own, so it is left alone", name.escape_debug())]
    ForeignRef {
        /// The ref.
        name: String,
    },
    /// Somebody else lands in this repository and does not end.
    #[error("`{}` has been locked for {seconds} s; see which process holds it with `fuser -v`, and try again", path.display())]
    Busy {
        /// The lock.
        path: PathBuf,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// There is no such remote.
    #[error("there is no remote `{}`; `git remote -v` lists those there are, and `--remote` takes a URL too", name.escape_debug())]
    NoRemote {
        /// Its name.
        name: String,
    },
    /// The user's checkout holds what no commit does.
    #[error(
        "{count} uncommitted change(s) are in your checkout, `{path}` first; commit or `git stash` them, then try again"
    )]
    Dirty {
        /// The first, made printable.
        path: String,
        /// How many.
        count: usize,
    },
    /// The user's checkout has but some of the files.
    #[error(
        "`{}` is a sparse checkout, whose patterns Loki does not read; `git merge --ff-only` the branch yourself",
        root.display()
    )]
    Sparse {
        /// The root of the checkout.
        root: PathBuf,
    },
    /// A branch of the user's has commits that the work does not.
    #[error(
        "`{branch}` has moved on since the work began, so it cannot move forward to it; look at both, then `git merge {commit}`"
    )]
    MovedOn {
        /// The branch, made printable.
        branch: String,
        /// What it was to move to.
        commit: String,
    },
    /// A text cannot be the name of a branch of the user's.
    #[error("`{branch}` cannot be a branch of yours; try a plain name such as `work`")]
    BranchName {
        /// The text, made printable.
        branch: String,
    },
    /// A branch is checked out, so its files would not be those of its commit.
    #[error("`{branch}` is checked out; leave `--to` out there to move its files, too")]
    CheckedOut {
        /// The branch, made printable.
        branch: String,
    },
    /// A text is not an object id.
    #[error("`{}` is not a git object id", text.escape_debug())]
    Id {
        /// The text.
        text: String,
    },
}

/// Gives an I/O error its path.
pub(super) trait At<T> {
    /// Names what was tried on which path.
    fn at(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, GitError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, GitError> {
        self.map_err(|cause| GitError::Io {
            verb,
            path: path.into(),
            source: cause.into(),
        })
    }
}
