//! Shows a run while it goes: a line for each step; on a terminal also a spinner for each
//! running task.

mod egress;

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::{
    event::{EgressKind, Event, Overrun, Record},
    name::TaskId,
};

use self::egress::{of_egress, place};
use super::{
    budget, cache,
    landed::{self, short},
    taken, task, ui, work,
};

/// What is on the screen.
#[derive(Default)]
pub(super) struct Progress {
    bars: MultiProgress,
    running: HashMap<TaskId, ProgressBar>,
}

impl Progress {
    /// Shows records until the run drops its end.
    pub(super) async fn show(mut self, mut records: mpsc::UnboundedReceiver<Record>) {
        while let Some(record) = records.recv().await {
            self.tell(&record);
        }
    }

    /// Shows one record.
    pub(super) fn tell(&mut self, record: &Record) {
        self.spin(&record.event);
        if is_news(&record.event) {
            let (clock, line) = (record.ts.strftime("%H:%M:%S"), line(&record.event));
            self.note(format!("{clock} {line}"));
        }
    }

    /// Prints a line for the person watching, above what moves.
    pub(super) fn note(&self, line: impl AsRef<str>) {
        self.bars.suspend(|| ui::note(line));
    }

    fn spin(&mut self, event: &Event) {
        if !ui::is_watched() {
            return;
        }
        match event {
            Event::TaskClaimed { task, attempt, .. } => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(
                    ProgressStyle::with_template("{spinner} {msg} {elapsed}")
                        .expect("the template is right"),
                );
                bar.set_message(format!("{task} (attempt {attempt})"));
                bar.enable_steady_tick(Duration::from_millis(200));
                self.running.insert(task.clone(), bar);
            }
            Event::TaskDone { task, .. }
            | Event::TaskFailed { task, .. }
            | Event::TaskConflicted { task, .. }
            | Event::TaskDeferred { task, .. }
            | Event::TaskCancelled { task, .. }
            | Event::Waiting { task, .. }
            | Event::Interrupted { task, .. } => {
                if let Some(bar) = self.running.remove(task) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}

/// Whether someone who watches wants to read of an event.
fn is_news(event: &Event) -> bool {
    !matches!(
        event,
        Event::RunEnded { .. }
            | Event::SandboxUsed { .. }
            | Event::AgentSpending(_)
            | Event::SandboxEnded { .. }
            | Event::Checkpointed { reason: None, .. }
            | Event::Committed { .. }
            | Event::Landing { .. }
            | Event::Verified { .. }
            | Event::InstallReused { .. }
            | Event::Egress { allowed: true, .. }
            | Event::EgressClosed { .. }
    )
}

/// Says in one line what happened.
pub(super) fn line(event: &Event) -> String {
    of_run(event)
        .or_else(|| taken::line(event))
        .or_else(|| of_kept(event))
        .or_else(|| of_agent(event))
        .or_else(|| of_work(event))
        .or_else(|| of_cap(event))
        .or_else(|| of_task(event))
        .or_else(|| of_person(event))
        .or_else(|| budget::line(event))
        .or_else(|| task::line(event))
        .or_else(|| work::line(event))
        .or_else(|| of_egress(event))
        .or_else(|| cache::line(event))
        .or_else(|| landed::line(event))
        .unwrap_or_default()
}

fn of_run(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted {
            run,
            title,
            branch,
            engine,
            ..
        } => {
            format!(
                "run {run}: {} → {branch} ({})",
                ui::visible(title),
                ui::visible(engine)
            )
        }
        Event::Planned { tasks } => format!("{} planned", ui::counted(tasks.len(), "task")),
        Event::SandboxStarted {
            sandbox,
            role,
            isolation: found,
            start,
            ..
        } => {
            let ready = start.map_or_else(String::new, |start| {
                let word = if start.warm { "warm" } else { "cold" };
                format!(", {word} in {} ms", start.elapsed_us / 1000)
            });
            format!(
                "{sandbox}: sandbox for {role} (uid {}, Landlock ABI {}, {}{ready})",
                found.uid, found.landlock_abi, found.runtime
            )
        }
        Event::SandboxUsed { sandbox, usage, .. } => format!(
            "{sandbox}: {} writes ({} delayed), {} calls ({} delayed, {} refused), {} bytes out, {} in",
            usage.writes,
            usage.writes_delayed,
            usage.calls,
            usage.calls_delayed,
            usage.calls_refused,
            usage.sent,
            usage.received
        ),
        Event::SandboxEnded { sandbox } => format!("{sandbox}: sandbox removed"),
        Event::StopRequested { by, drain } => {
            format!("asked to {} by {by}", if *drain { "drain" } else { "stop" })
        }
        Event::RunEnded {
            outcome,
            reason: None,
        } => format!("run ended: {outcome:?}"),
        Event::RunEnded {
            outcome,
            reason: Some(reason),
        } => format!("run ended: {outcome:?}: {}", ui::visible(reason)),
        _ => return None,
    })
}

fn of_kept(event: &Event) -> Option<String> {
    Some(match event {
        Event::Checkpointed {
            sandbox,
            reason: Some(reason),
            ..
        } => format!("{sandbox}: no checkpoint: {}", ui::visible(reason)),
        Event::Checkpointed {
            sandbox,
            checkpoint: Some(checkpoint),
            stored,
            ..
        } => format!("{sandbox}: checkpoint {checkpoint} ({stored} bytes stored)"),
        _ => return None,
    })
}

fn of_agent(event: &Event) -> Option<String> {
    Some(match event {
        Event::AgentEnded {
            task,
            code,
            elapsed_ms,
            reason: None,
            ..
        } => format!("{task}: agent ended with {code} after {elapsed_ms} ms"),
        Event::AgentEnded {
            task,
            code,
            reason: Some(reason),
            ..
        } => format!("{task}: agent ended with {code}: {}", ui::visible(reason)),
        _ => return None,
    })
}

fn of_work(event: &Event) -> Option<String> {
    Some(match event {
        Event::Gated {
            task,
            files,
            breaches,
            ..
        } if breaches.is_empty() => format!(
            "{task}: gate passed {}",
            ui::counted(*files, "changed file")
        ),
        Event::Landing { task, commit, .. } => format!("{task}: landing {}", short(commit)),
        Event::Committed { task, commit, .. } => format!("{task}: committed {}", short(commit)),
        Event::Checked {
            command,
            passed,
            tests,
            ..
        } => {
            let word = if *passed { "passed" } else { "FAILED" };
            let tests = match tests {
                None => String::new(),
                Some(1) => " (1 test)".to_owned(),
                Some(count) => format!(" ({count} tests)"),
            };
            format!("check {word}{tests}: {}", ui::visible(command))
        }
        Event::Reviewed {
            task,
            passed,
            findings,
            ..
        } => {
            format!(
                "{task}: review {} with {}",
                if *passed { "passed" } else { "BLOCKED" },
                ui::counted(findings.len(), "finding")
            )
        }
        _ => return None,
    })
}

fn of_cap(event: &Event) -> Option<String> {
    let &Event::Overrun {
        ref sandbox,
        limit,
        allowed,
        seen,
        ..
    } = event
    else {
        return None;
    };
    let over = Overrun {
        limit,
        allowed,
        seen,
    };
    Some(format!("{sandbox}: ended: {over}"))
}

fn of_task(event: &Event) -> Option<String> {
    Some(match event {
        Event::TaskClaimed { task, attempt, .. } => format!("{task}: attempt {attempt}"),
        Event::TaskFailed {
            task,
            attempt,
            reason,
            retry,
            ..
        } => {
            let next = if *retry { ", will retry" } else { "" };
            format!(
                "{task}: attempt {attempt} failed{next}: {}",
                ui::visible(&said(reason))
            )
        }
        Event::TaskConflicted { task, files, .. } => {
            format!("{task}: conflicts in {}", ui::visible(&files.join(", ")))
        }
        Event::TaskDone {
            task,
            commit: Some(commit),
            ..
        } => format!("{task}: landed as {}", short(commit)),
        Event::TaskDone {
            task, commit: None, ..
        } => format!("{task}: done"),
        _ => return None,
    })
}

/// What a person is asked for, and what he answered.
fn of_person(event: &Event) -> Option<String> {
    Some(match event {
        Event::Egress {
            kind: EgressKind::Ask,
            host,
            port,
            sandbox,
            role,
            ..
        } => {
            let place = place(host, *port);
            format!(
                "{sandbox}: {role} asks for {place}; it waits for you: \
                 loki egress allow {place} --role {role} --once (or --run)"
            )
        }
        Event::EgressOpened {
            role,
            host,
            port,
            once,
        } => {
            let place = place(host, Some(*port));
            let times = if *once { "one connection" } else { "this run" };
            format!("a person opened {place} to {role} for {times}")
        }
        _ => return None,
    })
}

/// The first line of a reason, and the last, which is what a failing program said at its end.
fn said(reason: &str) -> String {
    let mut lines = reason.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    lines
        .next_back()
        .map_or_else(|| first.to_owned(), |last| format!("{first} … {last}"))
}
