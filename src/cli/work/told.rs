//! One line for each event about work that waits for a person.

use crate::{
    event::{Breach, Event},
    git,
};

use super::super::ui;

/// Says what the gate decided of work that it did not simply pass.
pub(in crate::cli) fn verdict(breaches: &[Breach]) -> &'static str {
    let approvable = |one: &Breach| git::is_approvable(&one.rule);
    match breaches.iter().all(approvable) {
        true => "needs a person",
        false => "refused",
    }
}

/// Says in one line what a person is asked for, or decided; none of any other event.
pub(in crate::cli) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Gated { task, breaches, .. } => {
            format!("{task}: gate {}: {}", verdict(breaches), refused(breaches))
        }
        Event::Waiting { task, needs, .. } => {
            let shown = needs.iter().take(3).map(|need| ui::visible(&need.path));
            let shown: Vec<String> = shown.collect();
            let more = match needs.len().saturating_sub(3) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{task}: waits for you to look at {}{more}: loki approve {task}, or loki reject {task} --reason TEXT",
                shown.join(", ")
            )
        }
        Event::Approved {
            task, by, digests, ..
        } => format!(
            "{task}: {} approved by {}",
            ui::counted(digests.len(), "change"),
            ui::visible(by)
        ),
        Event::Rejected {
            task, by, reason, ..
        } => format!(
            "{task}: rejected by {}: {}",
            ui::visible(by),
            ui::visible(reason)
        ),
        _ => return None,
    })
}

fn refused(breaches: &[Breach]) -> String {
    let shown: Vec<String> = breaches
        .iter()
        .take(3)
        .map(|one| format!("{} ({})", ui::visible(&one.path), one.rule))
        .collect();
    let more = breaches.len().saturating_sub(3);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}
