//! One line of the program's output. What is not known is left alone: newer lines may say more.

use serde::Deserialize;

use crate::event::Tokens;

/// Longest text that is kept of what it says, in bytes.
pub(super) const TEXT_MAX: usize = 64 * 1024;

/// What a line says, as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// Which model works.
    Begun { model: String },
    /// A request failed and is repeated after so many milliseconds.
    Retrying { status: Option<u16>, delay_ms: u64 },
    /// A plan's limit was met; seconds since 1970 when it ends.
    Limited {
        kind: String,
        resets_at: Option<u64>,
    },
    /// A request was answered. What it took to read is right, what came back is only begun.
    Asked { id: String, usage: Usage },
    /// The end, in its own words.
    Ended(Box<Ending>),
    /// Anything else.
    Other,
    /// A line that is no JSON object, or no longer than part of one.
    Malformed,
    /// A line that is longer than any is read.
    TooLong,
}

/// The last line of a session.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Ending {
    pub(super) subtype: String,
    pub(super) is_error: bool,
    #[serde(default)]
    pub(super) result: Option<String>,
    #[serde(default)]
    pub(super) errors: Vec<String>,
    #[serde(default)]
    pub(super) terminal_reason: Option<String>,
    #[serde(default)]
    pub(super) api_error_status: Option<u16>,
    #[serde(default)]
    pub(super) api_error_type: Option<String>,
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) num_turns: u64,
    #[serde(default)]
    pub(super) total_cost_usd: f64,
    #[serde(default)]
    pub(super) usage: Usage,
}

/// Tokens of a session; what was kept is not part of what was read anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

impl Usage {
    /// Returns it in our own words.
    pub(super) fn tokens(self) -> Tokens {
        Tokens {
            input: self.input_tokens,
            cache_written: self.cache_creation_input_tokens,
            cache_read: self.cache_read_input_tokens,
            output: self.output_tokens,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    subtype: Option<String>,
}

#[derive(Deserialize)]
struct Begun {
    model: String,
}

#[derive(Deserialize)]
struct Answered {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Retrying {
    #[serde(default)]
    error_status: Option<u16>,
    #[serde(default)]
    retry_delay_ms: f64,
}

#[derive(Deserialize)]
struct Limited {
    rate_limit_info: LimitedBy,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LimitedBy {
    status: String,
    #[serde(default)]
    rate_limit_type: Option<String>,
    #[serde(default)]
    resets_at: Option<u64>,
}

impl Said {
    /// Reads one line; blank ones say nothing.
    pub(super) fn parse(line: &[u8]) -> Self {
        if line.is_empty() {
            return Self::Other;
        }
        let Ok(head) = serde_json::from_slice::<Head>(line) else {
            return Self::Malformed;
        };
        match (head.kind.as_str(), head.subtype.as_deref()) {
            ("result", _) => serde_json::from_slice::<Ending>(line)
                .map_or(Self::Malformed, |ending| Self::Ended(Box::new(ending))),
            ("assistant", _) => {
                serde_json::from_slice::<Answered>(line).map_or(Self::Other, |said| Self::Asked {
                    id: cut(said.message.id, 200),
                    usage: said.message.usage,
                })
            }
            ("system", Some("init")) => {
                serde_json::from_slice::<Begun>(line).map_or(Self::Other, |said| Self::Begun {
                    model: cut(said.model, 200),
                })
            }
            ("system", Some("api_retry")) => {
                serde_json::from_slice::<Retrying>(line).map_or(Self::Other, |said| {
                    Self::Retrying {
                        status: said.error_status,
                        delay_ms: whole(said.retry_delay_ms),
                    }
                })
            }
            ("rate_limit_event", _) => match serde_json::from_slice::<Limited>(line) {
                Ok(said) if said.rate_limit_info.status == "rejected" => Self::Limited {
                    kind: cut(
                        said.rate_limit_info.rate_limit_type.unwrap_or_default(),
                        200,
                    ),
                    resets_at: said.rate_limit_info.resets_at,
                },
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// Returns a number that a program said as a whole one; what is none is 0.
pub(super) fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and what is no number becomes 0"
    )]
    let whole = number.round() as u64;
    whole
}

/// Cuts a text to so many bytes, at the beginning: last words are the ones that count.
pub(super) fn cut(text: String, most: usize) -> String {
    let over = text.len().saturating_sub(most);
    let from = (over..=text.len()).find(|at| text.is_char_boundary(*at));
    match from {
        Some(0) | None => text,
        Some(from) => text.get(from..).unwrap_or_default().to_owned(),
    }
}
