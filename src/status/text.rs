//! `STATUS.txt`: the status as a page of text.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;

use super::{Agent, Overran, Phase, Progress, Status, elapsed_ms, text_budget as budget};
use crate::{
    event::{Overrun, Usage},
    task::State,
    text::visible,
};

/// Characters inside the box.
const WIDTH: usize = 68;
/// Most tasks that are drawn.
const TASKS: usize = 200;
/// Most things of one task that a person is asked for which are drawn.
const NEEDS: usize = 5;

/// Draws a status as text for people. Every character an agent or a specification chose is made
/// visible, and every line that holds such text is cut to one line.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut page = String::new();
    draw(&mut page, status).expect("a string takes all text");
    page
}

fn draw(page: &mut String, status: &Status) -> std::fmt::Result {
    draw_title(page, &status.title)?;
    writeln!(page, "Phase: {}", phase(status))?;
    for (name, value) in [
        ("Run", status.run.as_ref().map_or("-", |run| run.as_str())),
        ("Spec", &status.spec),
        ("Provider", &status.provider),
        ("Engine", &status.engine),
        ("Base", &status.base),
        ("Branch", &status.branch),
    ] {
        writeln!(page, "{name}: {}", cut(value, WIDTH))?;
    }
    if let Some(url) = &status.shipped {
        writeln!(page, "Pull request: {}", visible(url))?;
    }
    draw_agents(page, status)?;
    let counts = status.counts;
    writeln!(page, "\nTasks")?;
    writeln!(page, "  Pending:     {}", counts.pending)?;
    writeln!(page, "  In Progress: {}", counts.in_progress)?;
    writeln!(page, "  Completed:   {}", counts.completed)?;
    writeln!(page, "  Failed:      {}", counts.failed)?;
    if counts.waiting > 0 {
        writeln!(page, "  Waiting:     {}", counts.waiting)?;
    }
    if counts.interrupted > 0 {
        writeln!(page, "  Interrupted: {}", counts.interrupted)?;
    }
    if counts.blocked > 0 {
        writeln!(page, "  Blocked:     {}", counts.blocked)?;
    }
    if counts.reverted > 0 {
        writeln!(page, "  Reverted:    {}", counts.reverted)?;
    }
    if counts.cancelled > 0 {
        writeln!(page, "  Cancelled:   {}", counts.cancelled)?;
    }
    draw_breakers(page, status)?;
    writeln!(page)?;
    draw_tasks(page, status)?;
    draw_evidence(page, status)?;
    budget::draw(page, &status.budget)?;
    let updated = status
        .updated
        .map_or_else(|| "never".to_owned(), |ts| format!("{ts:.0}"));
    writeln!(page, "\nLast Updated: {updated}")
}

fn draw_title(page: &mut String, title: &str) -> std::fmt::Result {
    let rule = "═".repeat(WIDTH + 2);
    let title = cut(&format!("LOKI  {title}"), WIDTH);
    writeln!(page, "╔{rule}╗\n║ {title:WIDTH$} ║\n╚{rule}╝\n")
}

fn phase(status: &Status) -> String {
    let phase = match (status.phase, status.outcome) {
        (_, Some(outcome)) => outcome.words(),
        (Phase::Interrupted, None) => "interrupted",
        (Phase::Planning, None) => "planning",
        (Phase::Building, None) => "building",
        (Phase::Verifying, None) => "verifying",
        (Phase::Stopping, None) => "stopping",
        (Phase::Ended, None) => "ended",
    };
    let reason = status
        .reason
        .as_deref()
        .map(|reason| format!(" ({})", cut(reason, WIDTH)));
    format!("{phase}{}", reason.unwrap_or_default())
}

fn draw_agents(page: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(page, "\nActive Agents: {}", status.agents.len())?;
    let mut swarms: BTreeMap<&str, Vec<&Agent>> = BTreeMap::new();
    for agent in &status.agents {
        let role = agent.role.as_str();
        let swarm = role.split_once('-').map_or(role, |(swarm, _)| swarm);
        swarms.entry(swarm).or_default().push(agent);
    }
    for (swarm, agents) in swarms {
        writeln!(page, "  {swarm}: {}", agents.len())?;
        for agent in agents {
            let task = agent.task.as_ref().map_or("-", |task| task.as_str());
            let age = span(agent.since, status.updated.unwrap_or(agent.since));
            let held = budget::held(&agent.usage, &agent.load);
            let line = format!("    {:20} {task:20} {age:>8}  {held}", agent.role.as_str());
            writeln!(page, "{}", line.trim_end())?;
        }
    }
    budget::draw_roles(page, status)
}

/// Draws every task of a small plan; of a large one those that something happens to, then the next.
fn draw_tasks(page: &mut String, status: &Status) -> std::fmt::Result {
    if status.tasks.len() <= TASKS {
        return status
            .tasks
            .iter()
            .try_for_each(|task| draw_task(page, task));
    }
    let quiet = |task: &&Progress| matches!(task.state, State::Pending | State::Done);
    let lively = status.tasks.iter().filter(|task| !quiet(task));
    let next = status
        .tasks
        .iter()
        .filter(|task| task.state == State::Pending);
    let mut more = status.tasks.len();
    for task in lively.chain(next).take(TASKS) {
        draw_task(page, task)?;
        more -= 1;
    }
    writeln!(page, "  and {more} more: `loki status --json` lists all")
}

/// Draws the circuit breakers that are not closed.
fn draw_breakers(page: &mut String, status: &Status) -> std::fmt::Result {
    for one in &status.breakers {
        let role = one.role.as_str();
        let provider = cut(&one.provider, WIDTH);
        let until = match one.until {
            Some(until) => format!("open until {until:.0}"),
            None => "half open: one attempt decides".to_owned(),
        };
        writeln!(page, "  Breaker:     {role} on {provider}: {until}")?;
    }
    Ok(())
}

fn draw_task(page: &mut String, task: &Progress) -> std::fmt::Result {
    let mark = match task.state {
        State::Pending => "[ ]",
        State::Claimed => "[>]",
        State::Done => "[x]",
        State::Failed => "[!]",
        State::Blocked => "[-]",
        State::Reverted => "[<]",
        State::Waiting => "[?]",
        State::Approved => "[>]",
        State::Interrupted => "[~]",
        State::Cancelled => "[/]",
    };
    write!(
        page,
        "  {mark} {} ({}): {}",
        task.id,
        task.role,
        cut(&task.title, WIDTH)
    )?;
    if !task.priority.is_usual() {
        write!(page, ", {}", task.priority)?;
    }
    if task.attempt > 1 {
        write!(page, ", attempt {}", task.attempt)?;
    }
    if let Some(until) = task.until {
        write!(page, ", rests until {until:.0}")?;
    }
    writeln!(page)?;
    draw_needs(page, task)?;
    match &task.last_error {
        Some(error) if task.state != State::Done => {
            writeln!(page, "      last error: {}", cut(error, WIDTH))
        }
        _ => Ok(()),
    }
}

/// Draws what a person is asked for, and how to answer.
fn draw_needs(page: &mut String, task: &Progress) -> std::fmt::Result {
    for need in task.needs.iter().take(NEEDS) {
        let kind = need.kind.as_ref().map(|kind| format!(" ({kind})"));
        let said = format!(
            "{}{}: {}",
            need.path,
            kind.unwrap_or_default(),
            need.message
        );
        writeln!(page, "      waits: {}", cut(&said, WIDTH))?;
    }
    if let Some(more) = task.needs.len().checked_sub(NEEDS).filter(|more| *more > 0) {
        writeln!(page, "      and {more} more: loki show {}", task.id)?;
    }
    if task.needs.is_empty() {
        return Ok(());
    }
    writeln!(
        page,
        "      answer: loki approve {0}, or loki reject {0} --reason TEXT",
        task.id
    )
}

fn draw_evidence(page: &mut String, status: &Status) -> std::fmt::Result {
    let passed = status.checks.iter().filter(|check| check.passed).count();
    let approved = status.reviews.iter().filter(|review| review.passed).count();
    let (checks, reviews) = (status.checks.len(), status.reviews.len());
    writeln!(page, "\nChecks: {passed} of {checks} passed")?;
    writeln!(page, "Reviews: {approved} of {reviews} passed")?;
    let egress = status.egress;
    writeln!(
        page,
        "Egress: {} allowed, {} denied",
        egress.allowed, egress.denied
    )?;
    for Overran {
        sandbox,
        limit,
        allowed,
        seen,
        ..
    } in &status.overruns
    {
        let (limit, allowed, seen) = (*limit, *allowed, *seen);
        let over = Overrun {
            limit,
            allowed,
            seen,
        };
        writeln!(page, "Overrun: {sandbox}: {over}")?;
    }
    draw_usage(page, &status.usage)?;
    status
        .faults
        .iter()
        .try_for_each(|fault| writeln!(page, "Fault: {}", visible(fault)))
}

/// Draws what all sandboxes used, once they have used something.
fn draw_usage(page: &mut String, usage: &Usage) -> std::fmt::Result {
    if usage.counted() == Usage::default() {
        return Ok(());
    }
    writeln!(
        page,
        "Writes: {} counted, {} delayed ({} s together)",
        usage.writes,
        usage.writes_delayed,
        usage.writes_delayed_ms / 1000
    )?;
    writeln!(
        page,
        "Calls: {} let out, {} delayed ({} s together), {} refused",
        usage.calls,
        usage.calls_delayed,
        usage.calls_delayed_ms / 1000,
        usage.calls_refused
    )?;
    writeln!(page, "Bytes: {} out, {} in", usage.sent, usage.received)
}

/// Text on one line of at most `most` characters, hidden ones made visible.
fn cut(text: &str, most: usize) -> String {
    let text = visible(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = elapsed_ms(from, to) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
