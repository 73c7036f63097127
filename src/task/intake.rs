//! Tasks that come as a file, in YAML or JSON: one, or a list of them.
//!
//! ```yaml
//! title: Name the right year in the footer     # all that is needed
//! id: footer-year                              # else it is made of the title
//! role: eng-frontend                           # else eng-backend
//! description: |
//!   The footer says 2025.
//! depends_on: [page]
//! accept: ["grep -q 2026 page.html"]
//! files: [page.html]
//! priority: high                               # critical, high, normal or low
//! run: 20261121-202556-b581                    # which, where several go on
//! ```
//!
//! A file comes from whoever may write into the inbox, so everything has a bound and unknown keys are
//! faults. Whether its role exists and its dependencies are in the plan is for the queue and the
//! policy to say.

use std::path::Path;

use super::Task;
use crate::{
    diagnostic::Diagnostic,
    name::{Role, RunId, TaskId},
    policy::plain::{self, Node, Reading},
    task::Priority,
    text::is_hostile,
};

/// The largest file, in bytes.
pub const LARGEST: u64 = 256 << 10;
/// Who does a task that names no role.
const DEFAULT_ROLE: &str = "eng-backend";
/// Most tasks of one file.
const TASKS: usize = 100;
/// Longest title, in characters.
const TITLE: usize = 200;
/// Longest description, and longest command, in bytes.
const TEXT: usize = 64 << 10;
/// Longest path, in bytes.
const PATH: usize = 4096;
/// Most items of one list.
const ITEMS: usize = 100;

const KEYS: [&str; 9] = [
    "id",
    "title",
    "role",
    "description",
    "depends_on",
    "accept",
    "files",
    "priority",
    "run",
];

/// What a file of tasks says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The run that its tasks are for, where it says so.
    pub run: Option<RunId>,
    /// The tasks, in their order.
    pub tasks: Vec<Task>,
}

/// Reads a file of tasks. All are for one run.
///
/// # Errors
///
/// Every fault.
pub fn read(file: &Path, text: &str) -> Result<Given, Vec<Diagnostic>> {
    let tasks = plain::read(file, text, |reading, root| {
        if !root.is_list() {
            return vec![task(reading, root)];
        }
        let items = reading.list(root, "the file");
        if items.is_empty() || items.len() > TASKS {
            let message = format!("the list holds {} tasks", items.len());
            reading.fault(
                root.spot(),
                message,
                Some("write 1 to 100 tasks into one file"),
            );
        }
        let few = items.into_iter().take(TASKS);
        let tasks: Vec<_> = few.map(|item| task(reading, item)).collect();
        let mut runs = tasks.iter().flatten().map(|(run, _)| run);
        let first = runs.next();
        if runs.any(|run| Some(run) != first) {
            let help = Some("write the same `run` into each task, or a file for each run");
            reading.fault(root.spot(), "its tasks are for different runs", help);
        }
        tasks
    })?;
    let (runs, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().flatten().unzip();
    let run = runs.into_iter().flatten().next();
    Ok(Given { run, tasks })
}

/// Returns what is wrong with a title, if anything is.
#[must_use]
pub fn title_fault(title: &str) -> Option<String> {
    if title.trim().is_empty() {
        return Some("the title is empty".to_owned());
    }
    if title.chars().count() > TITLE {
        return Some(format!("the title is longer than {TITLE} characters"));
    }
    if title.chars().any(char::is_control) {
        return Some("the title holds control characters".to_owned());
    }
    text_fault("the title", title)
}

/// Returns what is wrong with any text of a task, if anything is: what it hides would pass whoever
/// reads it.
#[must_use]
pub fn text_fault(what: &str, text: &str) -> Option<String> {
    let hidden = text.chars().find(|c| is_hostile(*c))?;
    Some(match hidden {
        '\0' => format!("{what} holds a NUL"),
        hidden => format!(
            "{what} holds the invisible character `{}`; delete it: text must be what it looks like",
            hidden.escape_unicode()
        ),
    })
}

/// Reads a task, and the run that it is for.
fn task(reading: &mut Reading<'_>, node: Node<'_>) -> Option<(Option<RunId>, Task)> {
    let pairs = reading.map(node, "a task", &KEYS);
    let value = |key: &str| {
        pairs
            .iter()
            .find(|(one, _)| *one == key)
            .map(|(_, node)| *node)
    };
    let title = value("title").map(|node| self::title(reading, node));
    if title.is_none() {
        reading.fault(
            node.spot(),
            "the task has no title",
            Some("write `title: …`"),
        );
    }
    let title = title.flatten();
    let id = match (value("id"), &title) {
        (Some(node), _) => parsed::<TaskId>(reading, node, "`id`"),
        (None, Some(title)) => named(reading, node, title),
        (None, None) => None,
    };
    let role = match value("role") {
        Some(node) => parsed::<Role>(reading, node, "`role`"),
        None => DEFAULT_ROLE.parse().ok(),
    };
    let priority = match value("priority") {
        Some(node) => parsed::<Priority>(reading, node, "`priority`"),
        None => Some(Priority::default()),
    };
    let run = match value("run") {
        Some(node) => parsed::<RunId>(reading, node, "`run`").map(Some),
        None => Some(None),
    };
    let description =
        value("description").and_then(|node| short(reading, node, ("`description`", TEXT)));
    let lists = Lists {
        depends_on: value("depends_on").map_or_else(Vec::new, |node| dependencies(reading, node)),
        accept: value("accept")
            .map_or_else(Vec::new, |node| texts(reading, node, ("`accept`", TEXT))),
        files: value("files").map_or_else(Vec::new, |node| texts(reading, node, ("`files`", PATH))),
    };
    let task = Task {
        id: id?,
        role: role?,
        title: title?,
        description: description.unwrap_or_default(),
        depends_on: lists.depends_on,
        accept: lists.accept,
        files: lists.files,
        priority: priority?,
    };
    Some((run?, task))
}

struct Lists {
    depends_on: Vec<TaskId>,
    accept: Vec<String>,
    files: Vec<String>,
}

fn title(reading: &mut Reading<'_>, node: Node<'_>) -> Option<String> {
    let text = reading.text(node, "`title`")?.trim();
    match title_fault(text) {
        Some(fault) => {
            reading.fault(
                node.spot(),
                fault,
                Some("say it in one line; more goes into `description`"),
            );
            None
        }
        None => Some(text.to_owned()),
    }
}

fn named(reading: &mut Reading<'_>, node: Node<'_>, title: &str) -> Option<TaskId> {
    let id = TaskId::from_title(title);
    if id.is_none() {
        let help = Some("write `id: a-short-name`");
        reading.fault(node.spot(), "no name can be made of this title", help);
    }
    id
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    reading: &mut Reading<'_>,
    node: Node<'_>,
    what: &str,
) -> Option<T> {
    match reading.text(node, what)?.parse() {
        Ok(value) => Some(value),
        Err(cause) => {
            reading.fault(node.spot(), cause.to_string(), None);
            None
        }
    }
}

fn short(reading: &mut Reading<'_>, node: Node<'_>, (what, most): (&str, usize)) -> Option<String> {
    if node.is_nothing() {
        return None;
    }
    let text = reading.text(node, what)?;
    let wrong = if text.len() > most {
        Some(format!("{what} is longer than {most} bytes"))
    } else {
        text_fault(what, text)
    };
    match wrong {
        Some(wrong) => {
            reading.fault(node.spot(), wrong, None);
            None
        }
        None => Some(text.trim_end().to_owned()),
    }
}

fn few<'n>(reading: &mut Reading<'_>, node: Node<'n>, what: &str) -> Vec<Node<'n>> {
    let mut items = reading.list(node, what);
    if items.len() > ITEMS {
        reading.fault(
            node.spot(),
            format!("{what} holds more than {ITEMS} items"),
            None,
        );
        items.truncate(ITEMS);
    }
    items
}

fn texts(reading: &mut Reading<'_>, node: Node<'_>, of: (&str, usize)) -> Vec<String> {
    let items = few(reading, node, of.0);
    let mut texts = Vec::new();
    for item in items {
        match short(reading, item, of) {
            Some(text) if text.trim().is_empty() => {
                reading.fault(item.spot(), format!("an item of {} is empty", of.0), None);
            }
            Some(text) => texts.push(text),
            None => {}
        }
    }
    texts
}

fn dependencies(reading: &mut Reading<'_>, node: Node<'_>) -> Vec<TaskId> {
    let items = few(reading, node, "`depends_on`");
    let found = items
        .into_iter()
        .filter_map(|item| parsed(reading, item, "`depends_on`"));
    let mut ids: Vec<TaskId> = found.collect();
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        let given =
            read(Path::new("drop.yaml"), text).unwrap_or_else(|faults| panic!("{faults:?}"));
        given
            .tasks
            .into_iter()
            .map(|task| task.id.to_string())
            .collect()
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = read(Path::new("drop.yaml"), text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_title_is_enough_and_everything_can_be_said() {
        let given = read(Path::new("x.yaml"), "title: Fix the footer!\n").unwrap();
        assert_eq!(given.run, None);
        let task = &given.tasks[0];
        assert_eq!(
            (task.id.as_str(), task.role.as_str()),
            ("fix-the-footer", DEFAULT_ROLE)
        );
        let all = "id: year\ntitle: The year\nrole: eng-frontend\ndescription: |\n  It is 2026.\ndepends_on: [page, page]\naccept: [\"grep 2026 p.html\"]\nfiles: [p.html]\npriority: high\nrun: 20261121-202556-b581\n";
        let given = read(Path::new("x.yaml"), all).unwrap();
        assert_eq!(given.run, Some("20261121-202556-b581".parse().unwrap()));
        let task = &given.tasks[0];
        assert_eq!(task.description, "It is 2026.");
        assert_eq!(task.depends_on.len(), 1);
        assert_eq!((task.accept.len(), task.files.len()), (1, 1));
        assert_eq!(
            (task.role.as_str(), task.priority),
            ("eng-frontend", Priority::High)
        );
    }

    #[test]
    fn json_and_lists_are_read() {
        assert_eq!(ids("{\"title\": \"A\", \"id\": \"a\"}"), ["a"]);
        assert_eq!(ids("[{\"title\": \"A\"}, {\"title\": \"B\"}]"), ["a", "b"]);
        assert_eq!(ids("- title: A\n- title: B b\n"), ["a", "b-b"]);
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        assert_eq!(
            faults("titel: A\nrole: Eng QA\npriority: urgent\naccept: make\ndepends_on: [A]\n"),
            [
                "drop.yaml:1:1: unknown key `titel`",
                "drop.yaml:1:1: the task has no title",
                "drop.yaml:2:7: role `Eng QA` may hold only a-z, 0-9 and inner `-`",
                "drop.yaml:3:11: `urgent` is no priority; write critical, high, normal or low",
                "drop.yaml:4:9: `accept` must be a list, and this is a text",
                "drop.yaml:5:14: task `A` may hold only a-z, 0-9 and inner `-`",
            ]
        );
        assert_eq!(
            faults("title: 待办\n"),
            ["drop.yaml:1:1: no name can be made of this title"]
        );
    }

    #[test]
    fn the_tasks_of_one_file_are_for_one_run() {
        let read = |text: &str| read(Path::new("x.yaml"), text);
        let of = |run: &str| format!("- {{title: A, run: {run}}}\n");
        let same = read(&(of("a") + &of("a"))).unwrap();
        assert_eq!((same.run, same.tasks.len()), ("a".parse().ok(), 2));
        for text in [of("a") + &of("b"), of("a") + "- title: A\n", of("../a")] {
            assert!(read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn attack_b2_a_hostile_file_ends_in_a_fault_and_never_in_a_panic() {
        let many = "- title: a\n".repeat(101);
        let long = format!("title: {}\n", "x".repeat(201));
        let deep = format!("title: {}\n", "[".repeat(5000));
        let big = format!("title: a\ndescription: {}\n", "x".repeat(TEXT + 1));
        let items = format!("title: a\nfiles: [{}]\n", "a,".repeat(101));
        let id = format!("title: a\nid: {}\n", "x".repeat(61));
        for text in [
            &many,
            &long,
            &deep,
            &big,
            &items,
            &id,
            "",
            "[]",
            "7",
            "- - a\n",
            "title:\n",
            "title: \"a\\nb\"\n",
            "title: \"\\u001b[2J\"\n",
            "title: a\nid: ../../etc\n",
            "title: a\nid: \"\"\n",
            "title: a\ntitle: b\n",
            "title: &x a\nid: *x\n",
            "title: !!str a\n",
            "title: a\n---\ntitle: b\n",
            "title: a\nfiles: [\"\"]\n",
            "title: a\naccept: [[a]]\n",
            "title: a\ndescription: {a: b}\n",
            "title: a\naccept: [\"a\\0b\"]\n",
            "title: a\u{202e}b\n",
            "title: a\ndescription: |\n  a\u{e0041}\n",
            "title: a\naccept: [\"true #\\u202e\"]\n",
            "title: a\nfiles: [\"a\u{200b}\"]\n",
        ] {
            let head: String = text.chars().take(40).collect();
            assert!(read(Path::new("x"), text).is_err(), "{head:?}");
        }
    }

    #[test]
    fn attack_b2_what_hides_in_a_text_is_named_with_its_place() {
        assert_eq!(
            faults("title: a\ndescription: b\naccept: [\"true\", \"a\\u2066b\"]\n"),
            [
                "drop.yaml:3:18: `accept` holds the invisible character `\\u{2066}`; delete it: text must be what it looks like"
            ]
        );
        // What scripts and pictographs are written with hides nothing.
        assert_eq!(
            ids("title: a \u{645}\u{6cc}\u{200c}\u{62e} \u{1f469}\u{200d}\u{1f680}\n"),
            ["a"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(title|id|role|files|: |- |\\[|\\]|\\{|\\}|,|\"|\n|  |a|1|\u{202e}|&|\\*|!|\\||#){0,40}") {
            drop(read(Path::new("x"), &text));
        }
    }
}
