//! Which of the tasks that could begin goes first.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Which of the tasks that could begin goes first. Within one priority they go in the order of the
/// plan.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before what is usual.
    High,
    /// As usual.
    #[default]
    Normal,
    /// After what is usual.
    Low,
}

impl Priority {
    /// Every priority, the first to go first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Returns whether it is the one that is given to what names none.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::Normal
    }

    /// Returns its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no priority; write critical, high, normal or low", text.escape_debug())]
pub struct NoPriority {
    text: String,
}

impl FromStr for Priority {
    type Err = NoPriority;

    /// Reads one of the four words.
    fn from_str(text: &str) -> Result<Self, NoPriority> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| NoPriority {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_words_are_read_and_nothing_else() {
        for priority in Priority::ALL {
            assert_eq!(priority.as_str().parse(), Ok(priority));
        }
        for text in ["", "High", "urgent", "1", "normal ", "\u{202e}low"] {
            let refused = text.parse::<Priority>().unwrap_err().to_string();
            assert!(
                refused.contains("critical, high, normal or low"),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_is_critical_goes_first_and_nothing_said_is_normal() {
        assert!(Priority::ALL.is_sorted());
        assert!(Priority::default().is_usual());
    }
}
