//! A program under test: what it was, what it said, and how it ended.

use std::{
    fmt, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How often a waiting test looks.
const TICK: Duration = Duration::from_millis(10);

/// What a program did. A result nobody looks at is a test that asserts nothing.
#[must_use = "assert on how the program ended"]
#[derive(Debug)]
pub(crate) struct Run {
    said: Said,
    code: i32,
}

impl Run {
    /// Asserts the exit code, 128 + n for signal n, and shows everything when it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Said {
        assert_eq!(self.code, code, "wrong exit code\n{}", self.said);
        self.said
    }

    /// Returns what was said, however the program ended.
    pub(crate) fn in_any_case(self) -> Said {
        self.said
    }

    /// Asserts that no person is shown the inside of the program.
    #[track_caller]
    pub(crate) fn never_panicked(self) -> Self {
        for sign in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(
                !self.said.stderr.contains(sign),
                "a stack trace was shown\n{}",
                self.said
            );
        }
        self
    }
}

/// What a program wrote; the folder of its world is written `$TEST`.
#[derive(Debug)]
pub(crate) struct Said {
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Said {
    /// Asserts that standard error holds each of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "standard error lacks {text:?}\n{self}"
            );
        }
        self
    }

    /// Asserts that standard output holds each of these texts.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stdout.contains(text),
                "standard output lacks {text:?}\n{self}"
            );
        }
        self
    }

    /// Asserts that nothing was written to standard error.
    #[track_caller]
    pub(crate) fn says_nothing(self) -> Self {
        assert_eq!(self.stderr, "", "standard error is not empty\n{self}");
        self
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stdout, stderr } = self;
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A program that is still running. Killed when the test lets go of it.
#[must_use = "wait for it"]
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    hide: String,
}

impl Running {
    /// Starts a program without input whose output goes to files in `folder`, so that no full
    /// pipe can hold it up; `hide` is the path that becomes `$TEST` in what it said.
    pub(crate) fn start(command: Command, folder: &std::path::Path, hide: &str) -> Self {
        Self::fed(command, Stdio::null(), folder, hide)
    }

    /// Like [`Running::start`], with an input.
    pub(crate) fn fed(
        mut command: Command,
        input: Stdio,
        folder: &std::path::Path,
        hide: &str,
    ) -> Self {
        fs::create_dir_all(folder).unwrap();
        let place = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(folder)
            .unwrap()
            .keep();
        let (out, err) = (place.join("stdout"), place.join("stderr"));
        command.stdout(fs::File::create(&out).unwrap());
        command.stderr(fs::File::create(&err).unwrap());
        let child = command
            .stdin(input)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        Self {
            child,
            out,
            err,
            hide: hide.to_owned(),
        }
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `Signal::KILL`.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        let pid = rustix::process::Pid::from_raw(id).expect("a child has an id");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Returns what the program wrote so far.
    pub(crate) fn so_far(&self) -> Said {
        Said {
            stdout: self.text(&self.out),
            stderr: self.text(&self.err),
        }
    }

    /// Waits until `done` holds of what was written so far; fails the test after `limit` or when
    /// the program ends first.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, limit: Duration, done: impl Fn(&Said) -> bool) {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let said = self.so_far();
            if done(&said) {
                return;
            }
            let early = ended.is_some() || start.elapsed() > limit;
            assert!(!early, "it did not happen ({ended:?})\n{said}");
            std::thread::sleep(TICK);
        }
    }

    /// Waits for the end; kills the program and fails the test after `limit`.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Run {
        use std::os::unix::process::ExitStatusExt as _;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() <= limit,
                "still running after {limit:?}\n{}",
                self.so_far()
            );
            std::thread::sleep(TICK);
        };
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
        Run {
            said: self.so_far(),
            code,
        }
    }

    fn text(&self, path: &PathBuf) -> String {
        String::from_utf8_lossy(&fs::read(path).unwrap()).replace(&self.hide, "$TEST")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; both calls then only say so.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
