//! What people decided in a run, as sentences: the newest of them.

use jiff::Timestamp;
use serde::Serialize;

use crate::{budget::Mark, event::Event};

/// Decisions that are kept.
const KEPT: usize = 50;

/// Something that was decided, or that decided something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// What, in one sentence.
    pub what: String,
}

/// Adds what an event decides, if it does, and forgets the oldest of too many.
pub(super) fn note(decisions: &mut Vec<Decided>, at: Timestamp, event: &Event) {
    let Some(what) = sentence(event) else {
        return;
    };
    decisions.push(Decided { at, what });
    let over = decisions.len().saturating_sub(KEPT);
    decisions.drain(..over);
}

fn sentence(event: &Event) -> Option<String> {
    Some(match event {
        Event::Planned { tasks } => format!("the plan has {} task(s)", tasks.len()),
        Event::Approved { task, by, .. } => format!("{by} approved work of task `{task}`"),
        Event::Rejected {
            task, by, reason, ..
        } => format!("{by} rejected the work of task `{task}`: {reason}"),
        Event::Reverted { task, by, .. } => format!("{by} took back what task `{task}` landed"),
        Event::EgressOpened {
            role, host, port, ..
        } => format!("a person opened {host}:{port} to role `{role}`"),
        Event::TaskAdded { task, by } => format!("{by} added task `{}`", task.id),
        Event::TaskCancelled { task, by, reason } => match reason {
            Some(reason) => format!("{by} cancelled task `{task}`: {reason}"),
            None => format!("{by} cancelled task `{task}`"),
        },
        Event::TaskRetried { task, by } => format!("{by} had task `{task}` tried anew"),
        Event::TaskPrioritised { task, by, priority } => {
            format!("{by} gave task `{task}` priority {priority}")
        }
        Event::StopRequested { by, .. } => format!("asked to stop by {by}"),
        Event::Resumed { .. } => "the run was resumed".to_owned(),
        Event::BudgetSet(budgets) if budgets.run.is_empty() => {
            "budgets of roles were set".to_owned()
        }
        Event::BudgetSet(budgets) => format!("the run's budget is {}", budgets.run.written()),
        Event::ModelPriced { model, .. } => {
            format!("model `{model}` has a price now: what was told of it is charged")
        }
        Event::BudgetPassed(passed) if passed.mark != Mark::Near => passed.told(),
        _ => return None,
    })
}
