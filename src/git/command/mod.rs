//! The one place that starts git.
//!
//! Every call names its repository and its worktree, so that git discovers nothing; the
//! environment is cleared, system and user configuration are not read, and everything in a
//! repository's own configuration that could start a program is overridden. Overrides are passed
//! in the environment, where they beat every file.
//!
//! It refuses to inherit a terminal, to run longer than two minutes, and to read without bound.

mod child;
mod settings;

use std::{
    ffi::{OsStr, OsString},
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustix::fs::{Access, access};

use self::settings::{FIXED, neutral};
use super::{GitError, ObjectId};

/// How long one command may run.
const LIMIT: Duration = Duration::from_secs(120);

/// Where git works: a repository, a worktree and what of the configuration is overridden.
#[derive(Debug, Clone)]
pub(super) struct Place {
    git_dir: PathBuf,
    work_tree: PathBuf,
    /// Overrides for what this repository's own configuration defines.
    overrides: Arc<[(String, String)]>,
    /// A tree to take attributes from instead of the worktree's files.
    attributes: Option<ObjectId>,
}

impl Place {
    /// Opens a place and neutralises what its configuration could start.
    pub(super) fn open(git_dir: &Path, work_tree: &Path) -> Result<Self, GitError> {
        let mut place = Self {
            git_dir: git_dir.to_owned(),
            work_tree: work_tree.to_owned(),
            overrides: Arc::from([]),
            attributes: None,
        };
        let keys = place
            .reading("config")
            .args(["--list", "--name-only", "-z"])
            .run()?;
        place.overrides = keys.records().filter_map(neutral).collect();
        Ok(place)
    }

    /// Returns the same repository with another worktree, whose attribute files count for nothing.
    pub(super) fn over(&self, work_tree: &Path, attributes: ObjectId) -> Self {
        let attributes = Some(attributes);
        Self {
            work_tree: work_tree.to_owned(),
            attributes,
            ..self.clone()
        }
    }

    /// Starts a call that changes something.
    pub(super) fn git(&self, command: &str) -> Call {
        let mut call = Call::new(command);
        call.before = vec![
            flag("--git-dir=", self.git_dir.as_os_str()),
            flag("--work-tree=", self.work_tree.as_os_str()),
            "--no-replace-objects".into(),
        ];
        call.settings.extend(self.overrides.iter().cloned());
        if let Some(tree) = &self.attributes {
            call = call.env("GIT_ATTR_SOURCE", tree.as_str());
        }
        call
    }

    /// Starts a call that only reads, and takes no lock for it.
    pub(super) fn reading(&self, command: &str) -> Call {
        self.git(command).env("GIT_OPTIONAL_LOCKS", "0")
    }
}

/// Joins a flag and its value, which need not be text.
fn flag(name: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(name);
    joined.push(value);
    joined
}

/// One call of git, being put together.
#[derive(Debug)]
#[must_use]
pub(super) struct Call {
    command: String,
    before: Vec<OsString>,
    arguments: Vec<OsString>,
    settings: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    directory: PathBuf,
    input: Vec<u8>,
    accepted: &'static [i32],
    limit: Duration,
}

impl Call {
    /// Starts a call without a repository. Only discovery and the version question need that.
    pub(super) fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            before: Vec::new(),
            arguments: Vec::new(),
            settings: FIXED
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            environment: Vec::new(),
            directory: PathBuf::from("/"),
            input: Vec::new(),
            accepted: &[0],
            limit: LIMIT,
        }
    }

    /// Looks for the repository that holds `directory`. Its owner does not matter: nothing in it
    /// is run.
    pub(super) fn discovering(command: &str, directory: &Path) -> Self {
        let mut call = Self::new(command);
        call.settings.push(("safe.directory".into(), "*".into()));
        call.directory = directory.to_owned();
        call
    }

    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(super) fn args<T: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = T>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable of the environment.
    pub(super) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name, value.as_ref().to_owned()));
        self
    }

    /// Uses this file as index.
    pub(super) fn index(self, file: &Path) -> Self {
        self.env("GIT_INDEX_FILE", file)
    }

    /// Feeds these bytes to stdin.
    pub(super) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Takes these exit codes for answers; by default only 0 is one.
    pub(super) fn accept(mut self, codes: &'static [i32]) -> Self {
        self.accepted = codes;
        self
    }

    /// Sets a variable of the configuration, over what every file says.
    pub(super) fn setting(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Lets it run so long.
    pub(super) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end.
    pub(super) fn run(self) -> Result<Answer, GitError> {
        let (command, accepted) = (self.command.clone(), self.accepted);
        let child::Ended {
            status,
            stdout,
            stderr,
        } = self.attend(|pipe| child::whole(pipe))?;
        let code = code_of(status);
        if !accepted.contains(&code) {
            return Err(GitError::Command {
                command,
                code,
                stderr,
            });
        }
        Ok(Answer {
            command,
            code,
            stdout,
        })
    }

    /// Runs it to its end and has what it writes read as it comes. A reader that fails ends it.
    pub(super) fn stream<T: Send>(
        self,
        read: impl FnOnce(&mut dyn Read) -> Result<T, GitError> + Send,
    ) -> Result<T, GitError> {
        let command = self.command.clone();
        let mut fault = None;
        let ended = self.attend(|pipe| match read(pipe) {
            Ok(read) => Some(read),
            Err(cause) => {
                fault = Some(cause);
                None
            }
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        let ended = ended?;
        match code_of(ended.status) {
            0 => Ok(ended.stdout),
            code => Err(GitError::Command {
                command,
                code,
                stderr: ended.stderr,
            }),
        }
    }

    fn attend<T: Send>(
        self,
        read: impl FnOnce(&mut ChildStdout) -> Option<T> + Send,
    ) -> Result<child::Ended<T>, GitError> {
        let mut child = self.process().spawn().map_err(GitError::Missing)?;
        let attended = child::attend(&mut child, &self.input, self.limit, read)?;
        let command = self.command;
        match attended {
            child::Attended::Ended(ended) => Ok(ended),
            child::Attended::TooLong => Err(GitError::Timeout {
                command,
                seconds: self.limit.as_secs(),
            }),
            child::Attended::GivenUp => Err(GitError::Flood {
                command,
                limit: child::FLOOD,
            }),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where git is started"
    )]
    fn process(&self) -> Command {
        let mut process = Command::new(program());
        process.env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            process.env("PATH", path);
        }
        process
            .envs([
                ("LC_ALL", "C"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_SYSTEM", "/dev/null"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_ATTR_NOSYSTEM", "1"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_ASKPASS", "false"),
                ("SSH_ASKPASS", "false"),
                ("GIT_EDITOR", "false"),
                ("GIT_PAGER", "cat"),
                ("GIT_NO_LAZY_FETCH", "1"),
                ("GIT_ALLOW_PROTOCOL", ""),
                ("GIT_ADVICE", "0"),
                ("GIT_LITERAL_PATHSPECS", "1"),
                ("GIT_GRAFT_FILE", "/dev/null"),
                ("GIT_INDEX_VERSION", "2"),
            ])
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string())
            .envs(
                self.settings
                    .iter()
                    .enumerate()
                    .flat_map(|(n, (key, value))| {
                        [
                            (format!("GIT_CONFIG_KEY_{n}"), key),
                            (format!("GIT_CONFIG_VALUE_{n}"), value),
                        ]
                    }),
            )
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.before)
            .arg(&self.command)
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        process
    }
}

/// Returns where git is, as the search path says. By its path a program is started without a copy of
/// this process's tables of memory, by its name with one: the standard library uses `posix_spawn`
/// only where it need not search in a path that was set.
#[expect(
    clippy::disallowed_methods,
    reason = "git is searched for where a shell would"
)]
fn program() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut files = std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("git"));
        let found = files.find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
        found.unwrap_or_else(|| PathBuf::from("git"))
    })
}

fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// What a call answered.
#[derive(Debug)]
pub(super) struct Answer {
    command: String,
    /// The exit code, one of the accepted ones.
    pub(super) code: i32,
    /// Everything it wrote to stdout.
    pub(super) stdout: Vec<u8>,
}

impl Answer {
    /// Returns the one line that was answered.
    pub(super) fn line(&self) -> Result<&str, GitError> {
        let text = std::str::from_utf8(&self.stdout).map_err(|_| self.odd())?;
        Ok(text.strip_suffix('\n').unwrap_or(text))
    }

    /// Returns the object id that was answered.
    pub(super) fn id(&self) -> Result<ObjectId, GitError> {
        self.line()?.parse().map_err(|_| self.odd())
    }

    /// Returns the path that was answered; it may hold any byte.
    pub(super) fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = self.stdout.strip_suffix(b"\n").unwrap_or(&self.stdout);
        PathBuf::from(OsStr::from_bytes(bytes))
    }

    /// Returns the records, each ended by NUL.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.stdout
            .split(|byte| *byte == 0)
            .filter(|record| !record.is_empty())
    }

    /// Says that the answer was not expected.
    pub(super) fn odd(&self) -> GitError {
        let answer = String::from_utf8_lossy(&self.stdout)
            .chars()
            .take(200)
            .collect();
        GitError::Odd {
            command: self.command.clone(),
            answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{Call, GitError, neutral};

    #[test]
    fn a_call_that_hangs_is_killed_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let call = Call::new("hash-object")
            .arg("--no-filters")
            .arg("--")
            .arg(&pipe);
        let fault = call.limit(Duration::from_millis(100)).run().unwrap_err();
        assert!(matches!(&fault, GitError::Timeout { command, .. } if command == "hash-object"));
    }

    #[test]
    fn a_failure_carries_the_code_and_what_was_said() {
        let fault = Call::new("cat-file")
            .arg("--no-such-flag")
            .run()
            .unwrap_err();
        assert!(
            matches!(&fault, GitError::Command { code: 129 | 128, stderr, .. } if !stderr.is_empty())
        );
    }

    #[test]
    fn what_could_start_a_program_is_overridden() {
        let value = |key: &str| neutral(key.as_bytes()).map(|(_, value)| value);
        for (key, expected) in [
            ("filter.LFS.clean", Some("")),
            ("filter.a.b.c.process", Some("")),
            ("filter.lfs.required", Some("false")),
            ("merge.mine.driver", Some("false")),
            ("diff.pdf.textconv", Some("")),
            ("diff.pdf.command", Some("")),
            ("hook.lint.command", Some("true")),
            ("protocol.ext.allow", Some("never")),
            ("user.name", None),
            ("diff.external", None),
        ] {
            assert_eq!(value(key).as_deref(), expected, "{key}");
        }
    }
}
