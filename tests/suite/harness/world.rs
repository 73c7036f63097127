//! A folder, a home, a repository and an environment that belong to one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use super::{Run, Running};

/// No test of the binary takes longer; a run with agents in sandboxes is the longest.
const LIMIT: Duration = Duration::from_secs(600);

/// An engine that live tests run on. `make test` installs and starts both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Docker on its default socket.
    Docker,
    /// Podman's rootful service.
    PodmanRootful,
}

impl Engine {
    /// Every engine that a live test must pass on.
    pub(crate) const ALL: [Self; 2] = [Self::Docker, Self::PodmanRootful];

    /// Returns the engine's own program, for looking at it from outside.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::PodmanRootful => "podman",
        }
    }

    /// Returns the variable that selects the engine, and the address of its socket.
    pub(crate) fn address(self) -> (&'static str, &'static str) {
        match self {
            Self::Docker => ("DOCKER_HOST", "unix:///var/run/docker.sock"),
            Self::PodmanRootful => ("CONTAINER_HOST", "unix:///run/podman/podman.sock"),
        }
    }

    /// Builds the base image once per test process. A missing engine fails here, in words.
    #[track_caller]
    fn prepare(self) {
        static DOCKER: OnceLock<()> = OnceLock::new();
        static PODMAN: OnceLock<()> = OnceLock::new();
        let once = if self == Self::Docker {
            &DOCKER
        } else {
            &PODMAN
        };
        once.get_or_init(|| {
            let (_, socket) = self.address();
            let path = socket.trim_start_matches("unix://");
            let there = Path::new(path).exists();
            assert!(there, "{self:?} does not answer at `{path}`: run `make test`, or `scripts/engines.sh start`");
            World::bare(Some(self)).loki(&["image", "build"]).exits(0);
        });
    }
}

/// Runs a test on every engine at once; one that fails fails the whole.
pub(crate) fn on_each(test: impl Fn(Engine) + Sync) {
    std::thread::scope(|scope| {
        let test = &test;
        let threads = Engine::ALL.map(|engine| (engine, scope.spawn(move || test(engine))));
        for (engine, thread) in threads {
            assert!(thread.join().is_ok(), "failed on {engine:?}, see above");
        }
    });
}

/// Everything one test can see. Removed when the test ends.
#[derive(Debug)]
pub(crate) struct World {
    root: tempfile::TempDir,
    engine: Option<Engine>,
}

impl World {
    /// Makes a world without an engine: one is named, but does not exist.
    pub(crate) fn new() -> Self {
        Self::bare(None)
    }

    /// Makes a world with an engine whose base image is built.
    #[track_caller]
    pub(crate) fn on(engine: Engine) -> Self {
        engine.prepare();
        Self::bare(Some(engine))
    }

    fn bare(engine: Option<Engine>) -> Self {
        let root = tempfile::Builder::new()
            .prefix("loki-test-")
            .tempdir()
            .unwrap();
        for folder in ["home", "repo", "tmp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self { root, engine }
    }

    /// Returns a path in the world's repository.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join("repo").join(inside)
    }

    /// Writes a file of the repository, folders included.
    pub(crate) fn write(&self, inside: &str, text: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a file has a folder")).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes the repository real: `git init` and one commit of what was written so far.
    pub(crate) fn commit(&self) {
        self.git(&["init", "--quiet", "--initial-branch=main"]);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=first"]);
    }

    /// Returns the digest of the base image that sandboxes of this world are made from.
    #[track_caller]
    pub(crate) fn image(&self) -> String {
        let said = self.loki(&["image", "build"]).exits(0);
        let digest = said.stdout.trim().strip_prefix("base ");
        digest
            .unwrap_or_else(|| panic!("no digest\n{said}"))
            .to_owned()
    }

    /// Runs real git in the repository and returns what it printed.
    #[track_caller]
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let run = self.start("git", args).wait(LIMIT).exits(0);
        run.stdout
    }

    /// Runs the binary in the repository and waits for its end.
    #[track_caller]
    pub(crate) fn loki(&self, args: &[&str]) -> Run {
        self.spawn(args).wait(LIMIT).never_panicked()
    }

    /// Starts the binary in the repository and does not wait.
    #[track_caller]
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        self.start(env!("CARGO_BIN_EXE_loki"), args)
    }

    /// Starts any program in this world's environment.
    #[track_caller]
    pub(crate) fn start(&self, program: &str, args: &[&str]) -> Running {
        Running::start(
            self.command(program, args),
            &self.path("../tmp"),
            &self.hidden(),
        )
    }

    /// Runs the binary with this text as its input.
    #[track_caller]
    pub(crate) fn loki_fed(&self, args: &[&str], input: &str) -> Run {
        let file = self.path("../tmp/input");
        fs::write(&file, input).unwrap();
        let command = self.command(env!("CARGO_BIN_EXE_loki"), args);
        let input = fs::File::open(file).unwrap().into();
        let running = Running::fed(command, input, &self.path("../tmp"), &self.hidden());
        running.wait(LIMIT).never_panicked()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.path(""))
            .env_clear()
            .envs(self.environment());
        command
    }

    fn hidden(&self) -> String {
        self.root.path().to_string_lossy().into_owned()
    }

    /// Returns the ids of the containers that Loki made for this world and left behind, read
    /// from the engine itself: those with our label that mount something of this world.
    #[track_caller]
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let engine = self
            .engine
            .expect("only a world with an engine has containers");
        let ask = |args: &[&str]| {
            self.start(engine.program(), args)
                .wait(LIMIT)
                .exits(0)
                .stdout
        };
        let ids = ask(&[
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            "label=loki.run",
        ]);
        ids.split_whitespace()
            .filter(|id| {
                // Another test's container may be gone by now: then it is not ours either.
                let look = self.start(engine.program(), &["inspect", id]).wait(LIMIT);
                look.in_any_case().stdout.contains("$TEST")
            })
            .map(str::to_owned)
            .collect()
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let inside = |name: &str| self.root.path().join(name).to_string_lossy().into_owned();
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
        let search = std::env::var("PATH").expect("PATH is set");
        let loki = Path::new(env!("CARGO_BIN_EXE_loki"))
            .parent()
            .expect("a program has a folder");
        let (variable, address) = match self.engine {
            Some(engine) => engine.address(),
            None => ("DOCKER_HOST", "unix:///nonexistent/engine.sock"),
        };
        vec![
            ("PATH", format!("{}:{search}", loki.display())),
            ("HOME", inside("home")),
            ("TMPDIR", inside("tmp")),
            ("XDG_CACHE_HOME", cache.to_owned()),
            ("GIT_AUTHOR_NAME", "A Person".to_owned()),
            ("GIT_AUTHOR_EMAIL", "person@example.test".to_owned()),
            ("GIT_COMMITTER_NAME", "A Person".to_owned()),
            ("GIT_COMMITTER_EMAIL", "person@example.test".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            (variable, address.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::Signal;

    use super::{Engine, World};

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_world_shows_nothing_of_this_machine() {
        let world = World::new();
        let run = world.start("env", &[]).wait(SOON).exits(0);
        let mut names: Vec<&str> = run
            .stdout
            .lines()
            .filter_map(|l| Some(l.split_once('=')?.0))
            .collect();
        names.sort_unstable();
        let expected = [
            "DOCKER_HOST",
            "GIT_AUTHOR_EMAIL",
            "GIT_AUTHOR_NAME",
            "GIT_COMMITTER_EMAIL",
            "GIT_COMMITTER_NAME",
            "HOME",
            "LC_ALL",
            "PATH",
            "TMPDIR",
            "XDG_CACHE_HOME",
        ];
        assert_eq!(names, expected);
        let run = run.prints(&["HOME=$TEST/home"]);
        assert_eq!(run.stderr, "");
    }

    #[test]
    fn a_world_has_a_real_repository() {
        let world = World::new();
        world.write("a/b.txt", "b");
        world.commit();
        assert_eq!(world.git(&["ls-files"]), "a/b.txt\n");
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        assert_eq!(world.git(&["log", "--format=%an %s"]), "A Person first\n");
    }

    #[test]
    fn a_killed_program_reports_its_signal() {
        let world = World::new();
        let mut running = world.start("sh", &["-c", "echo ready; exec sleep 60"]);
        running.wait_until(SOON, |said| said.stdout == "ready\n");
        running.signal(Signal::KILL);
        running.wait(SOON).exits(137).prints(&["ready"]);
    }

    #[test]
    #[should_panic(expected = "still running after")]
    fn a_program_that_hangs_fails_its_test() {
        let world = World::new();
        world
            .start("sleep", &["60"])
            .wait(Duration::from_millis(50))
            .exits(0);
    }

    #[test]
    #[should_panic(expected = "wrong exit code")]
    fn a_wrong_exit_code_fails_its_test() {
        World::new()
            .start("sh", &["-c", "exit 3"])
            .wait(SOON)
            .exits(0);
    }

    #[test]
    #[should_panic(expected = "standard error lacks \"b\"")]
    fn a_missing_text_fails_its_test() {
        World::new()
            .start("sh", &["-c", "echo a >&2"])
            .wait(SOON)
            .exits(0)
            .says(&["a", "b"]);
    }

    #[test]
    fn a_container_left_behind_is_found_on_every_engine() {
        for engine in Engine::ALL {
            let world = World::bare(Some(engine));
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{engine:?}");
            let program = engine.program();
            let plant = format!(
                "tar -c --files-from /dev/null | {program} import - loki-test-empty:latest >/dev/null &&
                 {program} create --label loki.run=planted --volume \"$PWD:/x\" loki-test-empty:latest /x"
            );
            let planted = world
                .start("sh", &["-c", &plant])
                .wait(SOON)
                .exits(0)
                .stdout;
            assert_eq!(world.leftovers(), [planted.trim()], "{engine:?}");
            world
                .start(program, &["rm", planted.trim()])
                .wait(SOON)
                .exits(0);
            assert_eq!(world.leftovers(), Vec::<String>::new(), "{engine:?}");
        }
    }
}
