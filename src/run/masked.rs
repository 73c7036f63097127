//! Events without secret values.

use crate::{event::Event, redact::Redactor};

/// A secret's value stands where only a name may: the masked event would be none.
#[derive(Debug, thiserror::Error)]
#[error(
    "the value of a secret stands in an event where a name belongs: {0}; rename the task, or set a longer value"
)]
pub struct Unmaskable(#[from] serde_json::Error);

/// Returns the event with every secret value masked.
pub(super) fn masked(redactor: &Redactor, event: Event) -> Result<Event, Unmaskable> {
    let mut value = serde_json::to_value(&event)?;
    if redactor.json(&mut value) {
        return Ok(serde_json::from_value(value)?);
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::{event::Outcome, redact::Values};

    fn redactor(value: &str) -> Redactor {
        let pair = ("KEY".to_owned(), Zeroizing::new(value.to_owned()));
        Redactor::new(&Values::from_iter([pair]))
    }

    fn ended(reason: &str) -> Event {
        Event::RunEnded {
            outcome: Outcome::Failed,
            reason: Some(reason.to_owned()),
        }
    }

    #[test]
    fn texts_of_events_are_masked_and_nothing_else_changes() {
        let redactor = redactor("canary-\"1234\"\n5678");
        let said = ended("it said canary-\"1234\"\n5678 twice");
        assert_eq!(
            masked(&redactor, said).unwrap(),
            ended("it said [secret:KEY] twice")
        );
        let other = ended("canary");
        assert_eq!(masked(&redactor, other.clone()).unwrap(), other);
    }

    #[test]
    fn an_event_that_would_be_none_any_more_is_refused() {
        let refused = masked(&redactor("run_ended"), ended("x")).unwrap_err();
        assert!(
            refused.to_string().contains("where a name belongs"),
            "{refused}"
        );
    }
}
