//! The trailers of a commit, as they stand there.

use crate::name::{NameError, Role, RunId, TaskId};

/// What a commit says of its origin. A claim: see [`super::Account`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trailers {
    /// The run.
    pub run: RunId,
    /// The task; none for work of the run itself.
    pub task: Option<TaskId>,
    /// Other tasks that were done with it, in one session.
    pub mates: Vec<TaskId>,
    /// The role that did the work.
    pub role: Role,
    /// The hash of the policy in force.
    pub policy: String,
    /// The position in the journal.
    pub journal: u64,
}

/// Trailers that Loki does not write so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrailers {
    /// One is missing.
    #[error("its trailers lack `{0}`")]
    Missing(&'static str),
    /// One stands there more than once.
    #[error("its trailers hold `{0}` more than once")]
    Twice(&'static str),
    /// One holds no name.
    #[error("a trailer is none of Loki's: {0}")]
    Name(#[from] NameError),
    /// One holds no number or hash.
    #[error("the trailer `{0}` does not hold what Loki writes there")]
    Value(&'static str),
}

/// Reads the trailers of a commit message: the lines of its last paragraph, where Loki puts them
/// below everything that an agent wrote. None when there are none of Loki's.
///
/// # Errors
/// When there are some, and not as Loki writes them.
pub fn trailers(message: &str) -> Result<Option<Trailers>, BadTrailers> {
    let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
    if !last.lines().any(|line| line.starts_with("Loki-")) {
        return Ok(None);
    }
    let maybe = |name: &'static str| {
        let mut values = last
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(BadTrailers::Twice(name)),
        }
    };
    let must = |name: &'static str| maybe(name)?.ok_or(BadTrailers::Missing(name));
    let mates = last
        .lines()
        .filter_map(|line| line.strip_prefix("Loki-With: "))
        .map(str::parse);
    let policy = must("Loki-Policy")?;
    if policy.is_empty() || !policy.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(BadTrailers::Value("Loki-Policy"));
    }
    let journal = must("Loki-Journal")?.parse();
    Ok(Some(Trailers {
        run: must("Loki-Run")?.parse()?,
        task: maybe("Loki-Task")?.map(str::parse).transpose()?,
        mates: mates.collect::<Result<_, _>>()?,
        role: must("Loki-Role")?.parse()?,
        policy: policy.to_owned(),
        journal: journal.map_err(|_| BadTrailers::Value("Loki-Journal"))?,
    }))
}
