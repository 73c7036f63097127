//! Judges what was heard: a success is a final result that says so, whatever the exit code.

use std::{collections::HashSet, time::Duration};

use super::{
    super::{Remedy, Report, Spent, Trouble},
    said::{Ending, Said, TEXT_MAX, cut, whole},
};
use crate::event::Tokens;

/// Longest part of its own words that a reason repeats, in bytes.
const QUOTED_MAX: usize = 500;
/// How long to leave a busy server alone when it does not say.
const PAUSE: Duration = Duration::from_secs(2);

/// Answers that are counted at most: an agent that is given more turns is long known to the budget.
const ANSWERS: usize = 10_000;

/// Everything that was heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    model: String,
    ending: Option<Ending>,
    retry: Option<(Option<u16>, u64)>,
    limited: Option<(String, Option<u64>)>,
    malformed: u64,
    too_long: u64,
    /// Answers that were counted: one may come in several lines.
    answers: HashSet<String>,
    /// What they took.
    taken: Tokens,
}

impl Heard {
    /// Takes one line into account. Of several endings the last counts: one may come for each
    /// task that was left to run in the background.
    pub(super) fn hear(&mut self, said: Said) {
        match said {
            Said::Begun { model } => self.model = model,
            Said::Retrying { status, delay_ms } => self.retry = Some((status, delay_ms)),
            Said::Limited { kind, resets_at } => self.limited = Some((kind, resets_at)),
            Said::Ended(ending) => self.ending = Some(*ending),
            Said::Asked { id, usage } => self.count(id, usage.tokens()),
            Said::Malformed => self.malformed += 1,
            Said::TooLong => self.too_long += 1,
            Said::Other => {}
        }
    }

    fn count(&mut self, id: String, usage: Tokens) {
        if self.answers.len() >= ANSWERS || !self.answers.insert(id) {
            return;
        }
        self.taken = self.taken.with(usage, u64::saturating_add);
    }

    /// Says what was used at least: until the end, and where it never comes, nobody says how much
    /// came back.
    pub(super) fn so_far(&self) -> Spent {
        if self.taken == Tokens::default() {
            return Spent::default();
        }
        Spent {
            model: self.model.clone(),
            turns: self.answers.len() as u64,
            tokens: self.taken,
            cost_micros: 0,
        }
    }

    /// Says what came of it, now that the program has ended with this exit code.
    pub(super) fn report(self, code: i32) -> Report {
        let trouble = match &self.ending {
            None => Some(self.unfinished(code)),
            Some(ending) if !ending.is_error && ending.subtype == "success" => refusal(ending),
            Some(ending) => Some(self.failure(ending)),
        };
        let so_far = self.so_far();
        let Some(ending) = self.ending else {
            return Report {
                trouble,
                spent: Spent {
                    model: self.model,
                    ..so_far
                },
                answer: String::new(),
            };
        };
        Report {
            trouble,
            spent: Spent {
                model: self.model,
                turns: ending.num_turns,
                tokens: ending.usage.tokens(),
                cost_micros: whole(ending.total_cost_usd * 1e6),
            },
            answer: cut(ending.result.unwrap_or_default(), TEXT_MAX),
        }
    }

    /// It ended without a final result.
    fn unfinished(&self, code: i32) -> Trouble {
        let mut reason = format!("`claude` ended with exit code {code} and without a final result");
        if self.malformed + self.too_long > 0 {
            reason.push_str(&format!(
                " ({} of its lines could not be read, {} were too long)",
                self.malformed, self.too_long
            ));
        }
        Trouble {
            reason,
            remedy: Remedy::Again,
        }
    }

    fn failure(&self, ending: &Ending) -> Trouble {
        let said = quoted(ending);
        let reason = match ending.api_error_status {
            Some(status) => {
                let kind = ending.api_error_type.as_deref().unwrap_or("no type");
                format!(
                    "a request to the model was answered {status} ({}): {said}",
                    cut(kind.to_owned(), 100)
                )
            }
            None => format!("`claude` gave up ({}): {said}", why(ending)),
        };
        let plan = self.limited.as_ref().map(until).unwrap_or_default();
        Trouble {
            remedy: self.remedy(ending),
            reason: format!("{reason}{plan}"),
        }
    }

    fn remedy(&self, ending: &Ending) -> Remedy {
        if let Some(limited) = &self.limited {
            return resets(limited).map_or(Remedy::Person, Remedy::Until);
        }
        match ending.api_error_status {
            // It read too much; the next one may read less.
            Some(400) if ending.terminal_reason.as_deref() == Some("prompt_too_long") => {
                Remedy::Again
            }
            Some(400..=404) => Remedy::Person,
            Some(408 | 409 | 429 | 500..) => Remedy::Wait(self.pause()),
            Some(_) => Remedy::Again,
            None if ending.terminal_reason.as_deref() == Some("api_error") => {
                Remedy::Wait(self.pause())
            }
            None => Remedy::Again,
        }
    }

    /// How long the program itself would have waited.
    fn pause(&self) -> Duration {
        let asked = self
            .retry
            .map(|(_, delay_ms)| Duration::from_millis(delay_ms));
        asked.unwrap_or(PAUSE).max(PAUSE)
    }
}

/// Returns when a plan's limit is no longer used up, where that was said.
fn resets((_, resets_at): &(String, Option<u64>)) -> Option<jiff::Timestamp> {
    let seconds = resets_at.and_then(|seconds| i64::try_from(seconds).ok())?;
    jiff::Timestamp::from_second(seconds).ok()
}

/// Says which of a plan's limits was met, and until when.
fn until(limited: &(String, Option<u64>)) -> String {
    let (kind, time) = (&limited.0, resets(limited));
    let until = time.map_or_else(String::new, |time| format!(" until {time}"));
    format!(" (the plan's limit `{kind}` is used up{until})")
}

/// A model that declines says so in an ending that is no error.
fn refusal(ending: &Ending) -> Option<Trouble> {
    (ending.stop_reason.as_deref() == Some("refusal")).then(|| Trouble {
        reason: format!("the model declined: {}", quoted(ending)),
        remedy: Remedy::Again,
    })
}

fn why(ending: &Ending) -> String {
    let reason = ending.terminal_reason.as_ref().unwrap_or(&ending.subtype);
    cut(reason.clone(), 100)
}

fn quoted(ending: &Ending) -> String {
    let errors = ending.errors.join("; ");
    let said = ending
        .result
        .as_ref()
        .filter(|text| !text.is_empty())
        .unwrap_or(&errors);
    let first: String = said.chars().take(QUOTED_MAX).collect();
    if first.is_empty() {
        "it says nothing more".to_owned()
    } else {
        first
    }
}
