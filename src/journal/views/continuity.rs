//! `CONTINUITY.md`: where the run stands, as a page for whoever takes over.
//!
//! Every text of an agent or a specification stands on one line in which nothing hides and no mark
//! of Markdown means anything.

use std::fmt::Write;

use crate::{
    budget::Mark,
    event::Outcome,
    status::{Progress, Status},
    task::{Priority, State},
    text::visible,
};

/// Lines of one section.
const LINES: usize = 20;
/// Characters of a text.
const TEXT: usize = 300;
/// Characters that mean something to Markdown or HTML.
const MARKS: &str = "\\`*_[]<>|~&#!{}()";

/// Draws the page.
pub(super) fn page(status: &Status) -> String {
    let mut page = String::new();
    draw(&mut page, status).expect("a string takes all text");
    page
}

fn draw(page: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(page, "# CONTINUITY: {}", plain(&status.title))?;
    section(page, "Current State", &state(status))?;
    let last = status
        .tasks
        .iter()
        .filter(|task| task.state == State::Done)
        .max_by_key(|task| task.finished);
    section(
        page,
        "Last Completed Task",
        &last.map(named).into_iter().collect::<Vec<_>>(),
    )?;
    section(page, "Active Blockers", &blockers(status))?;
    section(page, "Next Up", &next(status))?;
    let decided = status.decisions.iter().rev().take(LINES);
    let decided: Vec<String> = decided
        .map(|one| format!("{:.0}: {}", one.at, plain(&one.what)))
        .collect();
    section(page, "Key Decisions", &decided)?;
    let lessons = status.tasks.iter().rev().filter_map(|task| {
        let error = task.last_error.as_deref()?;
        Some(format!("{}: {}", task.id, plain(error)))
    });
    section(
        page,
        "Mistakes & Learnings",
        &lessons.take(LINES).collect::<Vec<_>>(),
    )
}

fn section(page: &mut String, title: &str, lines: &[String]) -> std::fmt::Result {
    writeln!(page, "\n## {title}\n")?;
    if lines.is_empty() {
        return writeln!(page, "None.");
    }
    lines.iter().try_for_each(|line| writeln!(page, "- {line}"))
}

fn state(status: &Status) -> Vec<String> {
    let counts = status.counts;
    let run = status.run.as_ref().map_or("none", |run| run.as_str());
    let mut lines = vec![
        format!("Run: {run}, branch {}", plain(&status.branch)),
        format!("Phase: {}", phase(status)),
        format!(
            "Tasks: {} of {} completed, {} in progress, {} pending, {} failed",
            counts.completed, counts.total, counts.in_progress, counts.pending, counts.failed
        ),
        format!("Agents: {}", status.agents.len()),
    ];
    if let Some(updated) = status.updated {
        lines.push(format!("Last Updated: {updated:.0}"));
    }
    lines
}

fn phase(status: &Status) -> String {
    let Some(how) = status.outcome.map(Outcome::words) else {
        return format!("{:?}", status.phase).to_lowercase();
    };
    match &status.reason {
        Some(reason) => format!("{how}: {}", plain(reason)),
        None => how.to_owned(),
    }
}

/// What keeps tasks from going on.
fn blockers(status: &Status) -> Vec<String> {
    let word = |task: &Progress| match task.state {
        State::Failed => Some("failed"),
        State::Blocked => Some("blocked by a task that failed"),
        State::Waiting => Some("waits for a person"),
        State::Interrupted => Some("was cut off"),
        _ => None,
    };
    let tasks = status.tasks.iter().filter_map(|task| {
        let word = word(task)?;
        Some(format!("{}: {word}", named(task)))
    });
    let budgets = status
        .budget
        .passed
        .iter()
        .filter(|passed| passed.mark != Mark::Near)
        .map(|passed| plain(&passed.told()));
    budgets.chain(tasks).take(LINES).collect()
}

/// What is to be done yet, a higher priority first.
fn next(status: &Status) -> Vec<String> {
    let waits = |task: &&Progress| matches!(task.state, State::Pending | State::Interrupted);
    let of = |priority| {
        let tasks = status.tasks.iter().filter(waits);
        tasks.filter(move |task| task.priority == priority)
    };
    let all = Priority::ALL.into_iter().flat_map(of);
    all.take(LINES).map(named).collect()
}

fn named(task: &Progress) -> String {
    let priority = match task.priority {
        usual if usual.is_usual() => String::new(),
        other => format!(", {other}"),
    };
    let (id, role) = (&task.id, &task.role);
    format!("{id} ({role}{priority}): {}", plain(&task.title))
}

/// Text on one line that is nothing but text.
fn plain(text: &str) -> String {
    let shown = super::cut(&visible(text), TEXT);
    let mut plain = String::with_capacity(shown.len());
    for c in shown.chars() {
        if MARKS.contains(c) {
            plain.push('\\');
        }
        plain.push(c);
    }
    // Addresses would become links by themselves.
    plain.replace("://", "\\://").replace("www.", "www\\.")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn attack_text_in_a_page_is_nothing_but_text() {
        assert_eq!(
            plain("a](https://x.test) <b>`c`\n# d \u{202e}www.e.test"),
            "a\\]\\(https\\://x.test\\) \\<b\\>\\`c\\`\\\\n\\# d \\\\u\\{202e\\}www\\.e.test"
        );
    }
}
