//! What a reviewer found.

use serde::{Deserialize, Serialize};

/// How bad a finding is. Critical, high and medium block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Style only.
    Cosmetic,
    /// Worth a note.
    Low,
    /// Must be fixed before landing.
    Medium,
    /// Must be fixed before landing.
    High,
    /// Must be fixed before landing.
    Critical,
}

impl Severity {
    /// Returns whether work with such a finding may not be called done.
    #[must_use]
    pub fn blocks(self) -> bool {
        self >= Self::Medium
    }
}

/// One remark of a reviewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is about, relative to the repository.
    pub file: String,
    /// The line in it, from 1.
    #[serde(default)]
    pub line: Option<u32>,
    /// One sentence.
    pub message: String,
}
