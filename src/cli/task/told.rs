//! Says in one line what happens to the order of tasks.

use crate::{event::Event, name::TaskId, task::Circuit};

use super::super::ui;

/// Says what happened, where it is about the order of tasks.
pub(in crate::cli) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::TaskDeferred {
            task,
            attempt,
            reason,
            until,
            ..
        } => format!(
            "{task}: attempt {attempt} was put off until {}: {}",
            until.strftime("%H:%M:%S"),
            ui::visible(reason.lines().next().unwrap_or_default())
        ),
        Event::Batched { tasks } => format!(
            "{} are done together: {}",
            ui::counted(tasks.len(), "task"),
            names(tasks)
        ),
        Event::Breaker {
            role,
            provider,
            state,
            failures,
            until,
        } => breaker(
            (role.as_str(), provider),
            (*state, *failures),
            until.as_ref(),
        ),
        Event::TaskAdded { task, by } => {
            format!(
                "{}: added by {}: {}",
                task.id,
                ui::visible(by),
                ui::visible(&task.title)
            )
        }
        Event::TaskCancelled { task, by, reason } => {
            let why = reason
                .as_ref()
                .map(|reason| format!(": {}", ui::visible(reason)));
            format!(
                "{task}: cancelled by {}{}",
                ui::visible(by),
                why.unwrap_or_default()
            )
        }
        Event::TaskRetried { task, by } => format!("{task}: {} has it tried anew", ui::visible(by)),
        Event::TaskPrioritised { task, by, priority } => {
            format!("{task}: priority {priority}, says {}", ui::visible(by))
        }
        _ => return None,
    })
}

fn names(tasks: &[TaskId]) -> String {
    let names: Vec<&str> = tasks.iter().map(TaskId::as_str).collect();
    names.join(", ")
}

fn breaker(
    (role, provider): (&str, &str),
    (state, failures): (Circuit, u32),
    until: Option<&jiff::Timestamp>,
) -> String {
    let provider = ui::visible(provider);
    match (state, until) {
        (Circuit::Open, Some(until)) => format!(
            "{role}: held back until {} after {} in a row with {provider}",
            until.strftime("%H:%M:%S"),
            ui::counted(usize::try_from(failures).unwrap_or(usize::MAX), "failure")
        ),
        (Circuit::Open, None) => format!("{role}: held back with {provider}"),
        (Circuit::HalfOpen, _) => format!("{role}: one attempt with {provider} decides"),
        (Circuit::Closed, _) => format!("{role}: works with {provider} again"),
    }
}
