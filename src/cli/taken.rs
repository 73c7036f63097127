//! What is told of a run that is taken up again.

use super::ui;
use crate::event::Event;

/// Says in one line what happened.
pub(super) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Resumed { engine, torn, .. } => {
            let cut = if *torn > 0 {
                format!(", {torn} bytes of a record that was never completed cut off")
            } else {
                String::new()
            };
            format!("resumed ({}){cut}", ui::visible(engine))
        }
        Event::Interrupted {
            task,
            attempt,
            reason,
            by,
            ..
        } => {
            let by = by
                .as_ref()
                .map(|by| format!(", repeated by {}", ui::visible(by)));
            format!(
                "{task}: attempt {attempt} counts as none: {}{}",
                ui::visible(reason),
                by.unwrap_or_default()
            )
        }
        _ => return None,
    })
}
