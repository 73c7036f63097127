//! What a pull request says of a run: what was asked, who did what, what was checked.
//!
//! Everything that a specification, an agent or a file name says stands in code spans, printable:
//! nothing of it notifies a person, closes an issue, shows a picture or links anywhere.

use std::fmt::Write as _;

use crate::{
    status::{Check, Progress, Status},
    task::State,
    text::{shorten, visible},
};

/// Longest text that code hosts take, with some room.
const LONGEST: usize = 60_000;
/// Longest title.
const TITLE: usize = 200;
/// Longest text of one span.
const SPAN: usize = 200;

/// Whether checks have seen what is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// All of the run's checks passed on it.
    Yes,
    /// Something was taken back after they ran.
    No,
}

/// Returns the title and the text of the pull request of a run. `journal` is the number and the
/// hash of its last record.
#[must_use]
pub fn letter(status: &Status, journal: (u64, &str), checked: Checked) -> (String, String) {
    let title: String = visible(&status.title).chars().take(TITLE).collect();
    let mut text = String::new();
    write(&mut text, status, checked).expect("a string takes all text");
    if text.len() > LONGEST {
        shorten(&mut text, LONGEST);
        text.push_str("\n\n(and more: `loki status`)\n");
    }
    let run = status.run.as_ref().map_or("-", |run| run.as_str());
    let (number, hash) = journal;
    write!(text, "\nLoki-Run: {run}\nLoki-Journal: {number} {hash}\n")
        .expect("a string takes all text");
    (title, text)
}

fn write(text: &mut String, status: &Status, checked: Checked) -> std::fmt::Result {
    writeln!(
        text,
        "Asked for: {} (specification {}). Done by agents of {}, each in a sandbox of its own.\n",
        code(&status.title),
        code(&status.spec),
        code(&status.provider)
    )?;
    writeln!(text, "### Tasks\n")?;
    status.tasks.iter().try_for_each(|task| one(text, task))?;
    writeln!(text, "\n### Checks\n")?;
    if checked == Checked::No {
        writeln!(
            text,
            "**Not checked as it is:** a task was taken back after the checks had run.\n"
        )?;
    }
    let of_run: Vec<&Check> = status
        .checks
        .iter()
        .filter(|one| one.task.is_none())
        .collect();
    if of_run.is_empty() {
        writeln!(text, "The specification names none for the whole run.")?;
    }
    for check in of_run {
        let word = if check.passed { "passed" } else { "FAILED" };
        let tests = check
            .tests
            .map_or_else(String::new, |count| format!(", tests: {count}"));
        writeln!(text, "- {}: {word}{tests}", code(&check.command))?;
    }
    let reviews = status.reviews.iter();
    for review in reviews.filter(|review| review.passed) {
        writeln!(text, "- review by `{}`: passed", review.role)?;
    }
    Ok(())
}

fn one(text: &mut String, task: &Progress) -> std::fmt::Result {
    let short = |commit: &String| code(commit.get(..12).unwrap_or(commit));
    write!(
        text,
        "- `{}` ({}): {}",
        task.id,
        task.role,
        code(&task.title)
    )?;
    match (&task.reverted, &task.commit) {
        (Some(commit), _) if task.state == State::Reverted => {
            writeln!(text, ", taken back by {}", short(commit))
        }
        (_, Some(commit)) => writeln!(text, ", landed as {}", short(commit)),
        _ => writeln!(text, ", changed nothing"),
    }
}

/// Returns text as a code span that nothing in it can end.
fn code(text: &str) -> String {
    let shown: String = visible(text).chars().take(SPAN).collect();
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    match shown.trim().is_empty() {
        true => "(nothing)".to_owned(),
        false => format!("{fence} {shown} {fence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, Outcome, Record},
        task::Task,
    };

    fn status() -> Status {
        let task = Task {
            id: "store".parse().unwrap(),
            role: "eng-backend".parse().unwrap(),
            title: "Keep `it` @everyone\u{202e} fixes #1 ![x](http://evil.test)".to_owned(),
            description: String::new(),
            depends_on: Vec::new(),
            accept: Vec::new(),
            files: Vec::new(),
            priority: crate::task::Priority::default(),
        };
        let id = || "store".parse().unwrap();
        let events = [
            serde_json::from_value(serde_json::json!({ "type": "run_started", "run": "r1", "loki": "0.1.0", "spec": "todo.md", "spec_sha256": "", "title": "Todo\n@all", "provider": "replay", "base": "a", "branch": "loki/r1", "engine": "docker", "policy_sha256": "" })).unwrap(),
            Event::Planned { tasks: vec![task] },
            Event::TaskClaimed {
                task: id(),
                version: 1,
                attempt: 1,
            },
            Event::TaskDone {
                task: id(),
                version: 1,
                attempt: 1,
                commit: Some("c".repeat(40)),
            },
            Event::Checked {
                task: None,
                command: "make test".to_owned(),
                passed: true,
                tests: Some(3),
                tail: String::new(),
                elapsed_ms: 1,
            },
            Event::RunEnded {
                outcome: Outcome::Done,
                reason: None,
            },
        ];
        let records = Record::row(Vec::from(events));
        Status::fold(&records)
    }

    #[test]
    fn a_letter_says_what_was_asked_who_did_it_and_what_was_checked() {
        let (title, text) = letter(&status(), (6, "ab"), Checked::Yes);
        assert_eq!(title, "Todo\\n@all");
        for part in [
            "Asked for: ` Todo\\n@all `",
            "- `store` (eng-backend): ",
            "landed as ` cccccccccccc `",
            "- ` make test `: passed, tests: 3",
            "\nLoki-Run: r1\nLoki-Journal: 6 ab\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        let (_, text) = letter(&status(), (6, "ab"), Checked::No);
        assert!(text.contains("Not checked as it is"), "{text}");
    }

    #[test]
    fn attack_s10_what_agents_wrote_is_code_and_nothing_else() {
        let (_, text) = letter(&status(), (6, "ab"), Checked::Yes);
        let outside: String = {
            let mut outside = text.clone();
            let span = code("Keep `it` @everyone\u{202e} fixes #1 ![x](http://evil.test)");
            assert!(
                span.starts_with("`` ") && outside.contains(&span),
                "{span}\n{text}"
            );
            outside = outside.replace(&span, "");
            outside.replace(&code("Todo\n@all"), "")
        };
        assert!(!outside.contains('@') && !outside.contains("![") && !outside.contains("fixes"));
        assert!(!text.contains('\u{202e}'));
        assert_eq!(code("a```b"), "```` a```b ````");
    }
}
