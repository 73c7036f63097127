//! How long a provider is waited for at its own word, which its program says and an agent may have
//! put into its mouth: never for longer than a day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{
    event::{Event, Record},
    run::failure::Pause,
    task::{Backoff, Chance},
};

/// The longest that a provider is left alone because it says so: later is for a person.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// What is waited after it at most, so that not all come back at once.
const SPREAD: SignedDuration = SignedDuration::from_mins(1);

/// When what a provider put off is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// The task.
    pub(super) task: Timestamp,
    /// Anything else of this provider.
    pub(super) provider: Timestamp,
}

/// Returns when a task is tried again that was put off `times` in a row, or why it is given up.
pub(super) fn due(
    backoff: &Backoff,
    (times, chance): (u32, Chance),
    pause: Pause,
    now: Timestamp,
) -> Result<Due, String> {
    if times > backoff.most {
        return Err(format!(
            "its provider was waited for {} times in a row, the most there may be (`LOKI_MAX_RETRIES`)",
            backoff.most
        ));
    }
    let stated = match pause {
        Pause::AtLeast(floor) => later(now, floor),
        Pause::Until(stated) => stated.max(now),
    };
    if stated.duration_since(now) > LONGEST {
        return Err(format!(
            "its provider is to be left alone until {stated}, and that is more than a day away: `loki task retry` tries again before"
        ));
    }
    let floor = match pause {
        Pause::Until(until) if until > now => {
            return Ok(Due {
                task: backoff.after(stated, now, chance),
                provider: stated,
            });
        }
        Pause::AtLeast(floor) => floor,
        // A time that has passed says nothing.
        Pause::Until(_) => Duration::ZERO,
    };
    Ok(Due {
        task: later(now, backoff.wait(times, floor, chance)),
        provider: stated,
    })
}

/// Returns until when the provider is left alone, as an orchestrator before this one was told: not
/// for longer than it could have been told by now.
pub(super) fn spared(history: &[Record], now: Timestamp) -> Option<Timestamp> {
    let until = history.iter().filter_map(|record| match &record.event {
        Event::TaskDeferred { provider_until, .. } => *provider_until,
        _ => None,
    });
    until
        .filter(|until| until.duration_since(now) <= LONGEST)
        .max()
}

/// Returns the latest time that a task may rest until.
pub(super) fn latest(backoff: &Backoff, now: Timestamp) -> Timestamp {
    let longest = SignedDuration::try_from(backoff.longest).unwrap_or(SignedDuration::MAX);
    let most = longest.max(LONGEST).saturating_add(SPREAD);
    now.checked_add(most).unwrap_or(Timestamp::MAX)
}

fn later(from: Timestamp, wait: Duration) -> Timestamp {
    from.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn now() -> Timestamp {
        "2026-11-22T03:00:00Z".parse().unwrap()
    }

    fn asked(pause: Pause) -> Result<Due, String> {
        let chance = Chance::of(&"r1".parse().unwrap(), &"a".parse().unwrap(), 1);
        due(&Backoff::default(), (1, chance), pause, now())
    }

    fn deferred(seq: u64, provider_until: Timestamp) -> Record {
        Record {
            seq,
            ts: now(),
            prev: Digest::default(),
            event: Event::TaskDeferred {
                task: "a".parse().unwrap(),
                version: 1,
                attempt: 1,
                reason: "busy".to_owned(),
                until: provider_until,
                provider_until: Some(provider_until),
            },
            hash: Digest::default(),
        }
    }

    /// What a program prints its agent can print: none of it keeps a provider from all runs for ever.
    #[test]
    fn attack_s10_no_provider_is_left_alone_for_longer_than_a_day_whatever_was_said() {
        let forged = Duration::from_millis(u64::MAX);
        for pause in [
            Pause::AtLeast(forged),
            Pause::AtLeast(DAY + Duration::from_secs(1)),
            Pause::Until(Timestamp::MAX),
            Pause::Until(later(now(), DAY + Duration::from_secs(1))),
        ] {
            let why = asked(pause).unwrap_err();
            assert!(why.contains("more than a day away"), "{pause:?}: {why}");
        }
        for pause in [Pause::AtLeast(DAY), Pause::Until(later(now(), DAY))] {
            let due = asked(pause).unwrap();
            assert_eq!(due.provider, later(now(), DAY));
            assert!(due.task >= due.provider && due.task <= latest(&Backoff::default(), now()));
        }
    }

    #[test]
    fn attack_s10_a_journal_of_an_older_loki_keeps_no_provider_from_a_resumed_run_for_ever() {
        let soon = later(now(), Duration::from_secs(60));
        let history = [deferred(1, Timestamp::MAX), deferred(2, soon)];
        assert_eq!(spared(&history, now()), Some(soon));
        assert_eq!(spared(&history[..1], now()), None);
    }

    #[test]
    fn a_time_that_has_passed_is_waited_for_as_none_is() {
        let none = asked(Pause::AtLeast(Duration::ZERO)).unwrap();
        for stated in [Timestamp::MIN, Timestamp::UNIX_EPOCH, now()] {
            assert_eq!(asked(Pause::Until(stated)).unwrap(), none);
        }
        assert!(none.task >= later(now(), Backoff::default().base / 2));
        assert_eq!(none.provider, now());
    }
}
