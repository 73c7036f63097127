//! `--provider replay`: a recorded run. Its scripts really run in the sandboxes of their roles;
//! the macro knows nothing of how they end.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    AGENT_PATH, Assignment, HomeFile, Launch, Program, Provider, ProviderError, macros,
    script::{Links, needs, read_file},
    variables,
};
use crate::{budget::Telling, diagnostic::Diagnostic, digest::Digest, task::Task};

/// Largest file of a macro, in bytes.
const FILE_MAX: usize = 1024 * 1024;
/// Most files of a macro.
const FILES_MAX: usize = 1000;

/// A macro, read completely: nothing of it is looked up later.
#[derive(Debug, Clone)]
pub struct Replay {
    held: macros::Macro,
    files: BTreeMap<String, Vec<u8>>,
    account: String,
}

impl Replay {
    /// Reads the directory of a macro.
    ///
    /// # Errors
    ///
    /// Returns an error when the directory cannot be read, and all faults of the macro at once.
    /// Symbolic links, directories and special files in it are faults.
    pub fn open(directory: &Path) -> Result<Self, ProviderError> {
        let failed = |source| ProviderError::Read {
            path: directory.to_owned(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(ProviderError::NotAFile { path: entry.path() });
            };
            if files.len() == FILES_MAX {
                return Err(ProviderError::TooLarge {
                    path: directory.to_owned(),
                    max: FILES_MAX * FILE_MAX,
                });
            }
            files.insert(name, read_file(&entry.path(), FILE_MAX, Links::Refuse)?);
        }
        Self::from_files(directory, files)
    }

    /// Takes the files of a macro by name; `path` names its directory in faults.
    ///
    /// # Errors
    ///
    /// Returns all faults of the macro at once.
    pub fn from_files(
        path: &Path,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, ProviderError> {
        let fail = |faults: Vec<Diagnostic>| ProviderError::Macro {
            path: path.to_owned(),
            faults,
        };
        Ok(Self {
            held: macros::check(path, &files).map_err(fail)?,
            account: account(&files),
            files,
        })
    }

    /// Returns what the recorded run was about.
    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.held.title.as_deref()
    }
}

/// Tells macros apart: one that fails says nothing of another.
fn account(files: &BTreeMap<String, Vec<u8>>) -> String {
    let list = files.iter();
    let list: String = list
        .map(|(name, contents)| format!("{name:?} {}\n", Digest::of(contents)))
        .collect();
    format!("replay {:.16}", Digest::of(list.as_bytes()))
}

impl Provider for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn launch(&self, assignment: &Assignment<'_>) -> Result<Launch, ProviderError> {
        let nothing = || ProviderError::NoScript {
            task: assignment.task.id.clone(),
        };
        let scripts = self
            .held
            .scripts
            .get(&assignment.task.id)
            .ok_or_else(nothing)?;
        let index = usize::try_from(assignment.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let script = scripts.get(index).or(scripts.last()).ok_or_else(nothing)?;
        let contents = self.files.get(script).ok_or_else(nothing)?.clone();
        Ok(Launch {
            program: Program::Home(AGENT_PATH.to_owned()),
            args: Vec::new(),
            env: variables(assignment),
            stdin: assignment.brief.as_bytes().to_vec(),
            needs: needs(&contents).ok_or_else(nothing)?,
            files: vec![HomeFile {
                path: AGENT_PATH.to_owned(),
                contents,
                executable: true,
            }],
        })
    }

    fn plan(&self) -> Option<&[Task]> {
        Some(&self.held.plan)
    }

    fn telling(&self) -> Telling {
        // Its scripts ask no model.
        Telling::Nothing
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "a test lays out files of its own"
    )]

    use super::*;

    const GOOD: &str = "type: loki_macro\nversion: 1\ndecomposition:\n  - {id: a, role: eng-qa, title: A}\nscripts:\n  a: [a-1.sh, a-2.sh]\n";

    pub(crate) fn task(id: &str) -> Task {
        Task {
            id: id.parse().expect("a task"),
            role: "eng-backend".parse().expect("a role"),
            title: "Do it".to_owned(),
            description: String::new(),
            depends_on: Vec::new(),
            accept: vec!["make".to_owned()],
            files: Vec::new(),
            priority: crate::task::Priority::default(),
        }
    }

    fn files(yaml: &str) -> BTreeMap<String, Vec<u8>> {
        let script = |n: u8| {
            (
                format!("a-{n}.sh"),
                format!("#!/bin/sh\necho {n}\n").into_bytes(),
            )
        };
        [
            ("macro.yaml".to_owned(), yaml.as_bytes().to_vec()),
            script(1),
            script(2),
        ]
        .into()
    }

    fn faults(files: BTreeMap<String, Vec<u8>>) -> Vec<String> {
        match Replay::from_files(Path::new("m"), files) {
            Err(ProviderError::Macro { faults, .. }) => faults
                .iter()
                .map(|f| format!("{}:{} {}", f.file.display(), f.line, f.message))
                .collect(),
            other => panic!("expected faults, found {other:?}"),
        }
    }

    fn fault(from: &str, to: &str) -> String {
        let yaml = GOOD.replace(from, to);
        assert_ne!(yaml, GOOD, "`{from}` is not in the sample");
        faults(files(&yaml)).join("; ")
    }

    #[test]
    fn attempts_beyond_the_last_script_repeat_it() {
        let replay = Replay::from_files(Path::new("m"), files(GOOD)).expect("right");
        let (task, other) = (task("a"), task("b"));
        for (attempt, printed) in [(1, "1"), (2, "2"), (3, "2"), (u32::MAX, "2")] {
            let launch = replay
                .launch(&Assignment {
                    task: &task,
                    attempt,
                    brief: "b",
                })
                .expect("a launch");
            assert_eq!(
                launch.files[0].contents,
                format!("#!/bin/sh\necho {printed}\n").as_bytes()
            );
            assert_eq!(
                (launch.argv("/h"), launch.needs),
                (
                    vec!["/h/.loki/agent".to_owned()],
                    vec!["/bin/sh".to_owned()]
                )
            );
        }
        let launch = replay.launch(&Assignment {
            task: &other,
            attempt: 1,
            brief: "",
        });
        assert!(matches!(launch, Err(ProviderError::NoScript { .. })));
        assert_eq!(replay.plan().map(<[Task]>::len), Some(1));
    }

    #[test]
    fn a_macro_holds_no_results() {
        let found = fault("scripts:", "results: {a: passed}\nscripts:");
        assert!(
            found.contains("m/macro.yaml:5") && found.contains("results"),
            "{found}"
        );
    }

    #[test]
    fn every_fault_of_a_macro_is_told() {
        let table = [
            ("loki_macro", "other", "this is not a macro"),
            ("version: 1", "version: 2\nnew: thing", "version 2 is newer"),
            ("version: 1\n", "", "version is missing"),
            ("version: 1", "version: 0", "version is missing or unknown"),
            ("title: A", "title: A, status: done", "status"),
            ("title: A", "title: \"\"", "has no title"),
            (
                "title: A",
                "title: \"A\\u202e\"",
                "invisible character `\\u{202e}`",
            ),
            ("title: A", "title: A, accept: [\" \"]", "empty command"),
            ("role: eng-qa", "role: Eng", "role `Eng`"),
            (
                "scripts:\n  a:",
                "scripts:\n  b:",
                "the task `a` has no script; m/macro.yaml:0 the scripts of `b`",
            ),
            ("[a-1.sh, a-2.sh]", "[]", "the task `a` has no script"),
            (
                "[a-1.sh, a-2.sh]",
                "[a-1.sh]",
                "m/a-2.sh:0 no task runs this file",
            ),
            (
                "[a-1.sh, a-2.sh]",
                "[a-1.sh, a-2.sh, ../x.sh]",
                "the script `../x.sh` is not in",
            ),
            (
                "[a-1.sh, a-2.sh]",
                "[a-1.sh, a-2.sh, /bin/sh]",
                "the script `/bin/sh` is not in",
            ),
            (
                "[a-1.sh, a-2.sh]",
                "[a-1.sh, a-2.sh, macro.yaml]",
                "names itself",
            ),
            (
                "scripts:",
                "  - {id: a, role: eng-qa, title: B}\nscripts:",
                "stands twice",
            ),
            (
                "\n  - {id: a, role: eng-qa, title: A}",
                " []",
                "the plan has no task",
            ),
        ];
        for (from, to, expected) in table {
            let found = fault(from, to);
            assert!(found.contains(expected), "{to}: {found}");
        }
    }

    #[test]
    fn scripts_name_their_interpreter() {
        let mut held = files(GOOD);
        held.insert("a-2.sh".to_owned(), b"echo\n".to_vec());
        assert_eq!(faults(held), ["m/a-2.sh:0 the script names no interpreter"]);
    }

    #[test]
    fn a_directory_is_read_without_following_anything() {
        let held = tempfile::tempdir().expect("a temporary directory");
        assert!(matches!(
            Replay::open(held.path()),
            Err(ProviderError::Macro { .. })
        ));
        for (name, contents) in files(GOOD) {
            fs::write(held.path().join(name), contents).expect("written");
        }
        Replay::open(held.path()).expect("right");
        fs::remove_file(held.path().join("a-2.sh")).expect("removed");
        std::os::unix::fs::symlink("a-1.sh", held.path().join("a-2.sh")).expect("linked");
        assert!(matches!(
            Replay::open(held.path()),
            Err(ProviderError::NotAFile { .. })
        ));
        assert!(matches!(
            Replay::open(&held.path().join("gone")),
            Err(ProviderError::Read { .. })
        ));
    }
}
