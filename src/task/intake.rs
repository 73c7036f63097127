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
//! ```
//!
//! A file comes from whoever may write into the inbox, so everything has a bound and unknown keys are
//! faults. Whether its role exists and its dependencies are in the plan is for the queue and the
//! policy to say.

use std::path::Path;

use super::Task;
use crate::{
    diagnostic::Diagnostic,
    name::{Role, TaskId},
    policy::plain::{self, Node, Reading},
    task::Priority,
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

const KEYS: [&str; 8] = [
    "id",
    "title",
    "role",
    "description",
    "depends_on",
    "accept",
    "files",
    "priority",
];

/// Reads a file of tasks, in their order.
///
/// # Errors
///
/// Every fault.
pub fn read(file: &Path, text: &str) -> Result<Vec<Task>, Vec<Diagnostic>> {
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
        few.map(|item| task(reading, item)).collect()
    })?;
    Ok(tasks.into_iter().flatten().collect())
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
    let control = title.chars().any(char::is_control);
    control.then(|| "the title holds control characters".to_owned())
}

fn task(reading: &mut Reading<'_>, node: Node<'_>) -> Option<Task> {
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
    let description =
        value("description").and_then(|node| short(reading, node, ("`description`", TEXT)));
    let lists = Lists {
        depends_on: value("depends_on").map_or_else(Vec::new, |node| dependencies(reading, node)),
        accept: value("accept")
            .map_or_else(Vec::new, |node| texts(reading, node, ("`accept`", TEXT))),
        files: value("files").map_or_else(Vec::new, |node| texts(reading, node, ("`files`", PATH))),
    };
    Some(Task {
        id: id?,
        role: role?,
        title: title?,
        description: description.unwrap_or_default(),
        depends_on: lists.depends_on,
        accept: lists.accept,
        files: lists.files,
        priority: priority?,
    })
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
    } else if text.contains('\0') {
        Some(format!("{what} holds a NUL"))
    } else {
        None
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
        let tasks =
            read(Path::new("drop.yaml"), text).unwrap_or_else(|faults| panic!("{faults:?}"));
        tasks.into_iter().map(|task| task.id.to_string()).collect()
    }

    fn faults(text: &str) -> Vec<String> {
        let faults = read(Path::new("drop.yaml"), text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_title_is_enough_and_everything_can_be_said() {
        let task = read(Path::new("x.yaml"), "title: Fix the footer!\n")
            .unwrap()
            .remove(0);
        assert_eq!(
            (task.id.as_str(), task.role.as_str()),
            ("fix-the-footer", DEFAULT_ROLE)
        );
        let all = "id: year\ntitle: The year\nrole: eng-frontend\ndescription: |\n  It is 2026.\ndepends_on: [page, page]\naccept: [\"grep 2026 p.html\"]\nfiles: [p.html]\npriority: high\n";
        let task = read(Path::new("x.yaml"), all).unwrap().remove(0);
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
        ] {
            let head: String = text.chars().take(40).collect();
            assert!(read(Path::new("x"), text).is_err(), "{head:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(title|id|role|files|: |- |\\[|\\]|\\{|\\}|,|\"|\n|  |a|1|\u{202e}|&|\\*|!|\\||#){0,40}") {
            drop(read(Path::new("x"), &text));
        }
    }
}
