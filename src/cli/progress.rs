//! Shows a run while it goes: a line for each step; on a terminal also a spinner for each
//! running task.

use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::{
    event::{Event, EgressKind, Record},
    name::TaskId,
};

use super::ui;

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
            self.spin(&record.event);
            if is_news(&record.event) {
                let (clock, line) = (record.ts.strftime("%H:%M:%S"), line(&record.event));
                self.bars.suspend(|| ui::note(format!("{clock} {line}")));
            }
        }
    }

    fn spin(&mut self, event: &Event) {
        if !ui::is_watched() {
            return;
        }
        match event {
            Event::TaskClaimed { task, attempt, .. } => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is right"));
                bar.set_message(format!("{task} (attempt {attempt})"));
                bar.enable_steady_tick(Duration::from_millis(200));
                self.running.insert(task.clone(), bar);
            }
            Event::TaskDone { task, .. } | Event::TaskFailed { task, .. } | Event::TaskConflicted { task, .. } => {
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
            | Event::SandboxEnded { .. }
            | Event::Committed { .. }
            | Event::Egress { allowed: true, .. }
            | Event::EgressClosed { .. }
    )
}

/// Says in one line what happened.
pub(super) fn line(event: &Event) -> String {
    match event {
        Event::RunStarted { run, title, branch, engine, .. } => {
            format!("run {run}: {} → {branch} ({})", ui::plain(title), ui::plain(engine))
        }
        Event::Planned { tasks } => format!("{} tasks planned", tasks.len()),
        Event::TaskClaimed { task, attempt, .. } => format!("{task}: attempt {attempt}"),
        Event::SandboxStarted { sandbox, role, isolation, .. } => format!(
            "{sandbox}: sandbox for {role} (uid {}, Landlock ABI {}, {})",
            isolation.uid, isolation.landlock_abi, isolation.runtime
        ),
        Event::Egress { host, port, allowed: false, reason, count, kind, role, .. } => denied(host, *port, *kind, reason.as_deref(), *count, role.as_str()),
        Event::AgentEnded { task, code, elapsed_ms, .. } => format!("{task}: agent ended with {code} after {elapsed_ms} ms"),
        Event::Gated { task, files, breaches, .. } if breaches.is_empty() => format!("{task}: gate passed {files} files"),
        Event::Gated { task, breaches, .. } => format!("{task}: gate refused: {}", refused(breaches)),
        Event::Checked { command, passed, tests, .. } => {
            let word = if *passed { "passed" } else { "FAILED" };
            let tests = tests.map_or_else(String::new, |count| format!(" ({count} tests)"));
            format!("check {word}{tests}: {}", ui::plain(command))
        }
        Event::Reviewed { task, passed, findings, .. } => {
            format!("{task}: review {} with {} findings", if *passed { "passed" } else { "BLOCKED" }, findings.len())
        }
        Event::TaskFailed { task, attempt, reason, retry, .. } => format!(
            "{task}: attempt {attempt} failed{}: {}",
            if *retry { ", will retry" } else { "" },
            ui::plain(reason.lines().next().unwrap_or_default())
        ),
        Event::TaskConflicted { task, files, .. } => format!("{task}: conflicts in {}", ui::plain(&files.join(", "))),
        Event::TaskDone { task, commit: Some(commit), .. } => format!("{task}: landed as {}", short(commit)),
        Event::TaskDone { task, commit: None, .. } => format!("{task}: done"),
        Event::StopRequested { by, drain } => format!("asked to {} by {by}", if *drain { "drain" } else { "stop" }),
        Event::RunEnded { outcome, reason } => {
            format!("run ended: {outcome:?} {}", ui::plain(reason.as_deref().unwrap_or_default())).trim_end().to_owned()
        }
        Event::SandboxEnded { sandbox } => format!("{sandbox}: sandbox removed"),
        Event::Committed { task, commit, .. } => format!("{task}: committed {}", short(commit)),
        Event::Egress { host, port, rule, count, role, .. } => {
            let rule = rule.as_deref().unwrap_or("no rule");
            format!("allowed {} ×{count} for {role}: {}", place(host, *port), ui::plain(rule))
        }
        Event::EgressClosed { host, port, sent, received, .. } => {
            format!("closed {}: {sent} bytes sent, {received} received", place(host, Some(*port)))
        }
    }
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn place(host: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", ui::plain(host))
}

fn denied(host: &str, port: Option<u16>, kind: EgressKind, reason: Option<&str>, count: u64, role: &str) -> String {
    let what = match kind {
        EgressKind::Name => "name",
        EgressKind::Connect => "connection",
    };
    format!("denied {what} {} ×{count} for {role}: {}", place(host, port), ui::plain(reason.unwrap_or("no rule allows it")))
}

fn refused(breaches: &[crate::event::Breach]) -> String {
    let shown: Vec<String> =
        breaches.iter().take(3).map(|one| format!("{} ({})", ui::plain(&one.path), one.rule)).collect();
    let more = breaches.len().saturating_sub(3);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
