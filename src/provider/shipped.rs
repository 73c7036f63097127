//! The examples that come inside this program. A specification that is byte for byte one of them
//! can be replayed without a model, from the embedded macro.

use std::{collections::BTreeMap, path::Path};

use super::Replay;
use crate::digest::Digest;

/// One example: its specification and the files of its macro.
struct Example {
    directory: &'static str,
    spec: &'static [u8],
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! embedded {
    ($name:literal: $($file:literal),* $(,)?) => {
        Example {
            directory: concat!("examples/", $name, ".macro"),
            spec: include_bytes!(concat!("../../examples/", $name, ".md")),
            files: &[$(($file, include_bytes!(concat!("../../examples/", $name, ".macro/", $file)))),*],
        }
    };
}

const EXAMPLES: &[Example] = &[embedded!("simple-todo-app":
    "macro.yaml",
    "api-1.sh",
    "api-2.sh",
    "guide-1.sh",
    "journey-1.sh",
    "page-1.sh",
    "review-1.sh",
    "store-1.sh",
)];

/// Returns the macro of the shipped example whose specification has this SHA-256, in lower-case
/// hexadecimal digits.
#[must_use]
pub fn shipped_macro(spec_sha256: &str) -> Option<Replay> {
    let example = EXAMPLES
        .iter()
        .find(|example| Digest::of(example.spec).to_string() == spec_sha256)?;
    let files: BTreeMap<_, _> = example
        .files
        .iter()
        .map(|(name, held)| ((*name).to_owned(), held.to_vec()))
        .collect();
    Some(
        Replay::from_files(Path::new(example.directory), files)
            .expect("a test opens every shipped macro"),
    )
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::{super::Provider, *};
    use crate::spec::Spec;

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    fn todo_app() -> Replay {
        shipped_macro(&Digest::of(EXAMPLES[0].spec).to_string()).expect("it is shipped")
    }

    #[test]
    fn every_shipped_macro_opens_and_is_what_lies_on_disk() {
        for example in EXAMPLES {
            let embedded =
                shipped_macro(&Digest::of(example.spec).to_string()).expect("it is shipped");
            let on_disk =
                Replay::open(&root().join(example.directory)).expect("the directory is right");
            assert_eq!(format!("{embedded:?}"), format!("{on_disk:?}"));
        }
    }

    #[test]
    fn any_other_specification_has_no_macro() {
        assert!(shipped_macro(&Digest::of(b"# T\n").to_string()).is_none());
        assert!(shipped_macro("").is_none());
    }

    #[test]
    fn the_todo_app_is_worth_a_run() {
        let replay = todo_app();
        let plan = replay.plan().expect("a macro has a plan");
        let roles: BTreeSet<_> = plan.iter().map(|task| task.role.as_str()).collect();
        assert!(plan.len() >= 5 && roles.len() >= 4, "{roles:?}");
        assert!(
            plan.iter()
                .filter(|task| task.depends_on.is_empty())
                .count()
                >= 2,
            "two start in parallel"
        );
        assert!(roles.contains("review-code"));
    }

    #[test]
    fn the_second_attempt_differs_in_the_fix_alone() {
        let held = |name| {
            fs::read_to_string(root().join("examples/simple-todo-app.macro").join(name))
                .expect("there")
        };
        let code = |text: String| {
            text.lines()
                .filter(|l| !l.starts_with("# "))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (first, second) = (code(held("api-1.sh")), code(held("api-2.sh")));
        assert_eq!(first.len(), second.len());
        let changed: Vec<_> = first.iter().zip(&second).filter(|(a, b)| a != b).collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
    }

    /// Returns `tests.test_x.Class.test_y` for each test that the last script of each task writes.
    fn written_tests(replay: &Replay) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for task in replay.plan().expect("a macro has a plan") {
            let launch = replay
                .launch(&super::super::Assignment {
                    task,
                    attempt: 9,
                    brief: "",
                })
                .expect("a launch");
            let text =
                String::from_utf8(launch.files[0].contents.clone()).expect("scripts are text");
            let (mut module, mut class) = (String::new(), String::new());
            for line in text.lines() {
                if let Some(file) = line.strip_prefix("cat > ") {
                    let path = file.split_whitespace().next().unwrap_or_default();
                    module = path.trim_end_matches(".py").replace('/', ".");
                } else if let Some(name) = line.strip_prefix("class ") {
                    class = name.split(['(', ':']).next().unwrap_or_default().to_owned();
                } else if let Some(name) = line.strip_prefix("    def test_") {
                    let name = name.split('(').next().unwrap_or_default();
                    found.insert(format!("{module}.{class}.test_{name}"));
                }
            }
        }
        found
    }

    #[test]
    fn every_test_of_the_todo_app_is_named_by_a_criterion_and_every_named_one_exists() {
        let spec = Spec::parse(Path::new("s.md"), EXAMPLES[0].spec).expect("the example is right");
        let commands: Vec<_> = spec
            .acceptance
            .iter()
            .filter_map(|c| c.command.clone())
            .collect();
        let named: BTreeSet<_> = commands
            .iter()
            .flat_map(|c| c.split(' '))
            .filter(|w| w.starts_with("tests."))
            .map(str::to_owned)
            .collect();
        assert!(named.len() >= 20, "{named:?}");
        assert_eq!(named, written_tests(&todo_app()));
        assert_eq!(spec.tests, ["python3 -m unittest discover -s tests -v"]);
    }

    #[test]
    fn the_specification_for_the_command_provider_is_right() {
        let directory = root().join("examples/hello-command");
        let spec = Spec::parse(
            Path::new("spec.md"),
            &fs::read(directory.join("spec.md")).expect("there"),
        );
        let spec = spec.expect("the example is right");
        assert_eq!((spec.tasks.len(), spec.tests.len()), (2, 1));
        super::super::Agent::open(vec!["./agent.sh".to_owned()], &directory).expect("a program");
        let script = fs::read_to_string(directory.join("agent.sh")).expect("there");
        assert!(
            script.lines().count() <= 12,
            "the smallest agent stays small"
        );
    }
}
