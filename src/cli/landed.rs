//! Says in one line what happens to the branch of a run: what was verified, taken back and shipped.

use crate::event::Event;

use super::ui;

/// Says what happened, where it is about the run's branch.
pub(super) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Verified {
            task,
            checks,
            reused,
            red,
            ..
        } => {
            let checks = ui::counted(*checks, "check");
            let how = match reused {
                true => "the tree it was checked on",
                false => "checked on the merged tree",
            };
            let red = match red.len() {
                0 => String::new(),
                count => format!(", {} red as before", ui::counted(count, "test command")),
            };
            format!("{task}: may land: {how} ({checks} passed{red})")
        }
        Event::Reverted {
            task,
            by,
            commit,
            reverts,
            ..
        } => format!(
            "{task}: {} takes back {}: {}",
            ui::visible(by),
            short(reverts),
            short(commit)
        ),
        Event::Shipping {
            remote,
            branch,
            commit,
            ..
        } => format!(
            "pushing {branch} at {} to {}",
            short(commit),
            ui::visible(remote)
        ),
        Event::Shipped { url, .. } => format!("pull request {}", ui::visible(url)),
        _ => return None,
    })
}

/// The first digits of a commit, enough to find it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
