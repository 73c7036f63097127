//! Adapters for agent programs: what to start in a sandbox for an attempt at a task, and how to
//! read what a reviewer said.
//!
//! A provider answers with a [`Launch`]: program, environment, files for the home directory and
//! standard input. It starts nothing itself, and it judges nothing: what an agent did is seen by
//! the gate and the checks.
//!
//! ```text
//!  words of the command line ── Agent::open ───┐
//!  directory NAME.macro/ ────── Replay::open ──┼─► dyn Provider ── launch(assignment) ─► Launch
//!  a shipped example ────────── shipped_macro ─┤
//!  --provider claude ────────── Claude ────────┘
//! ```
//!
//! A provider whose program tells in a form of its own how it went has a [`Reader`] for that.

mod brief;
pub mod claude;
mod command;
mod error;
mod macros;
mod replay;
mod report;
mod script;
mod shipped;
mod verdict;

#[expect(
    clippy::module_name_repetitions,
    reason = "an error is named after what failed"
)]
pub use self::error::ProviderError;
pub use self::{
    brief::brief,
    claude::Claude,
    command::Agent,
    replay::Replay,
    report::{Reader, Remedy, Report, Spent, Trouble},
    shipped::shipped_macro,
    verdict::{Verdict, VerdictError, verdict},
};
use crate::{budget::Telling, task::Task};

/// Where the program of a launch is put, relative to the home directory.
pub const AGENT_PATH: &str = ".loki/agent";

/// A kind of agent program.
pub trait Provider: Send + Sync {
    /// Returns its name, such as `replay`.
    fn name(&self) -> &str;

    /// Returns whom its attempts ask in the end: runs for which that is the same leave it alone together when
    /// it is busy or only fails.
    fn account(&self) -> &str {
        self.name()
    }

    /// Says what to start for one attempt.
    ///
    /// # Errors
    ///
    /// Returns an error when the provider has nothing to start for this task.
    fn launch(&self, assignment: &Assignment<'_>) -> Result<Launch, ProviderError>;

    /// Returns the plan that comes with the provider, in place of one in the specification.
    fn plan(&self) -> Option<&[Task]>;

    /// Says what its programs tell of what they use.
    fn telling(&self) -> Telling {
        Telling::Silent
    }

    /// Returns whether its program can be given several small tasks in one brief.
    fn joins(&self) -> bool {
        false
    }

    /// Returns what reads the program's standard output during one attempt; none when its exit
    /// code says how it went and its output is for people.
    fn reader(&self) -> Option<Box<dyn Reader>> {
        None
    }
}

/// One attempt at one task.
#[derive(Debug, Clone, Copy)]
pub struct Assignment<'a> {
    /// The task.
    pub task: &'a Task,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What the agent is told, as [`brief()`] writes it.
    pub brief: &'a str,
}

/// What to start in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: Program,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Variables on top of the sandbox's own.
    pub env: Vec<(String, String)>,
    /// What it reads on standard input, which then ends.
    pub stdin: Vec<u8>,
    /// Files to put into the home directory first.
    pub files: Vec<HomeFile>,
    /// Programs of the image, by bare name or absolute path, that the role's rights must let it
    /// execute for the program to start at all.
    pub needs: Vec<String>,
}

impl Launch {
    /// Returns the whole command line; `home` is the absolute path of the home directory inside.
    #[must_use]
    pub fn argv(&self, home: &str) -> Vec<String> {
        let program = match &self.program {
            Program::Image(name) => name.clone(),
            Program::Home(path) => format!("{}/{path}", home.trim_end_matches('/')),
        };
        std::iter::once(program)
            .chain(self.args.iter().cloned())
            .collect()
    }
}

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A program of the image, by bare name or absolute path.
    Image(String),
    /// One of the launch's own files, relative to the home directory.
    Home(String),
}

/// A file for the home directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeFile {
    /// Its path, relative to the home directory.
    pub path: String,
    /// What it holds.
    pub contents: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

/// Returns the variables that every agent gets.
fn variables(assignment: &Assignment<'_>) -> Vec<(String, String)> {
    let task = assignment.task;
    vec![
        ("LOKI_TASK".to_owned(), task.id.to_string()),
        ("LOKI_ROLE".to_owned(), task.role.to_string()),
        ("LOKI_ATTEMPT".to_owned(), assignment.attempt.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_program_is_started_by_its_absolute_path() {
        let mut launch = Launch {
            program: Program::Home(AGENT_PATH.to_owned()),
            args: vec!["-x".to_owned()],
            env: Vec::new(),
            stdin: Vec::new(),
            files: Vec::new(),
            needs: Vec::new(),
        };
        assert_eq!(
            launch.argv("/home/agent/"),
            ["/home/agent/.loki/agent", "-x"]
        );
        launch.program = Program::Image("claude".to_owned());
        assert_eq!(launch.argv("/home/agent"), ["claude", "-x"]);
    }
}
