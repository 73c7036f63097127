//! `--provider command`: any program that reads a brief on standard input and works in /work.

use std::path::Path;

use super::{
    AGENT_PATH, Assignment, HomeFile, Launch, Program, Provider, ProviderError,
    script::{Links, needs, read_file},
    variables,
};
use crate::task::Task;

/// Largest program file, in bytes.
const FILE_MAX: usize = 10 * 1024 * 1024;

/// A program of the user: a file of this machine, which is copied into each sandbox, or a program
/// of the image.
#[derive(Debug, Clone)]
pub struct Agent {
    program: Program,
    args: Vec<String>,
    files: Vec<HomeFile>,
    needs: Vec<String>,
}

impl Agent {
    /// Takes a command line. Its first word is a file of this machine when it has a `/` in it or
    /// when such a file is there, relative to `directory`; else a program of the image.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no first word, or when it names a file that cannot be read,
    /// is larger than 10 MiB, or is no program.
    pub fn open(words: Vec<String>, directory: &Path) -> Result<Self, ProviderError> {
        let mut words = words.into_iter();
        let first = words
            .next()
            .filter(|word| !word.trim().is_empty())
            .ok_or(ProviderError::NoProgram)?;
        let args = words.collect();
        let path = directory.join(&first);
        if !first.contains('/') && !path.is_file() {
            return Ok(Self {
                needs: vec![first.clone()],
                program: Program::Image(first),
                args,
                files: Vec::new(),
            });
        }
        let contents = read_file(&path, FILE_MAX, Links::Follow)?;
        let needs = needs(&contents).ok_or(ProviderError::NotAProgram { path })?;
        let file = HomeFile {
            path: AGENT_PATH.to_owned(),
            contents,
            executable: true,
        };
        Ok(Self {
            program: Program::Home(AGENT_PATH.to_owned()),
            args,
            files: vec![file],
            needs,
        })
    }
}

impl Provider for Agent {
    fn name(&self) -> &'static str {
        "command"
    }

    fn joins(&self) -> bool {
        true
    }

    fn launch(&self, assignment: &Assignment<'_>) -> Result<Launch, ProviderError> {
        Ok(Launch {
            program: self.program.clone(),
            args: self.args.clone(),
            env: variables(assignment),
            stdin: assignment.brief.as_bytes().to_vec(),
            files: self.files.clone(),
            needs: self.needs.clone(),
        })
    }

    fn plan(&self) -> Option<&[Task]> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test lays out files of its own"
    )]

    use std::fs;

    use super::{super::replay::tests::task, *};

    fn open(first: &str, directory: &Path) -> Result<Agent, ProviderError> {
        Agent::open(vec![first.to_owned(), "--fast".to_owned()], directory)
    }

    #[test]
    fn a_file_is_carried_into_the_sandbox() {
        let held = tempfile::tempdir().expect("a temporary directory");
        fs::write(held.path().join("agent.sh"), "#!/bin/sh\ncat\n").expect("written");
        let task = task("store");
        for first in ["agent.sh", "./agent.sh"] {
            let agent = open(first, held.path()).expect("a script");
            let launch = agent
                .launch(&Assignment {
                    task: &task,
                    attempt: 2,
                    brief: "do it",
                })
                .expect("a launch");
            assert_eq!(launch.argv("/h"), ["/h/.loki/agent", "--fast"]);
            assert_eq!(
                (launch.stdin.as_slice(), launch.needs.as_slice()),
                (&b"do it"[..], &["/bin/sh".to_owned()][..])
            );
            assert_eq!(launch.files[0].contents, b"#!/bin/sh\ncat\n");
            assert!(
                launch
                    .env
                    .contains(&("LOKI_ATTEMPT".to_owned(), "2".to_owned()))
            );
        }
    }

    #[test]
    fn a_bare_name_is_a_program_of_the_image() {
        let held = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(held.path().join("aider")).expect("created");
        let task = task("store");
        let agent = open("aider", held.path()).expect("a name");
        let launch = agent
            .launch(&Assignment {
                task: &task,
                attempt: 1,
                brief: "",
            })
            .expect("a launch");
        assert_eq!(
            (launch.argv("/h"), launch.files.len()),
            (vec!["aider".to_owned(), "--fast".to_owned()], 0)
        );
        assert_eq!(launch.needs, ["aider"]);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let held = tempfile::tempdir().expect("a temporary directory");
        fs::write(held.path().join("notes"), "hello").expect("written");
        assert!(matches!(
            open("notes", held.path()),
            Err(ProviderError::NotAProgram { .. })
        ));
        assert!(matches!(
            open("./gone", held.path()),
            Err(ProviderError::Read { .. })
        ));
        assert!(matches!(
            open(" ", held.path()),
            Err(ProviderError::NoProgram)
        ));
        assert!(matches!(
            Agent::open(Vec::new(), held.path()),
            Err(ProviderError::NoProgram)
        ));
    }
}
