//! `--provider claude`: the command line agent of that name, at one exact version, without a
//! terminal.
//!
//! ```text
//!  brief on stdin ─► claude -p … ─► one JSON document a line ── Lines ─► Said ── Heard ─► Report
//! ```
//!
//! The program gets a placeholder for its key: the real one is added at the gateway. Settings,
//! hooks and servers that come with the repository are off, and so are its updates and telemetry.
//! It may repeat a request twice; waiting longer is for the run to decide. Exit codes are not
//! believed: only a final result that says so is a success.

mod heard;
mod lines;
mod said;
#[cfg(test)]
mod tests;

use super::{Assignment, Launch, Program, Provider, ProviderError, Reader, variables};
use crate::{budget::Telling, task::Task};

/// Name of the secret that the model's server asks for.
pub const SECRET: &str = "ANTHROPIC_API_KEY";

/// How the program works here.
const ARGUMENTS: [&str; 7] = [
    "-p",
    "--output-format=stream-json",
    "--verbose",
    "--dangerously-skip-permissions",
    "--setting-sources=user",
    "--strict-mcp-config",
    "--session-id",
];

/// What keeps it to its work.
const QUIET: [(&str, &str); 7] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "2"),
    ("API_TIMEOUT_MS", "300000"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_UPDATES", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
];

/// The program `claude` of the image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claude;

impl Provider for Claude {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn launch(&self, assignment: &Assignment<'_>) -> Result<Launch, ProviderError> {
        let mut args: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        args.push(session()?);
        let quiet = QUIET.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut env = variables(assignment);
        env.extend(quiet);
        env.push((SECRET.to_owned(), format!("loki-placeholder-{SECRET}")));
        Ok(Launch {
            program: Program::Image("claude".to_owned()),
            args,
            env,
            stdin: assignment.brief.as_bytes().to_vec(),
            files: Vec::new(),
            needs: vec!["claude".to_owned()],
        })
    }

    fn plan(&self) -> Option<&[Task]> {
        None
    }

    fn telling(&self) -> Telling {
        Telling::Told
    }

    fn reader(&self) -> Option<Box<dyn Reader>> {
        Some(Box::new(lines::Lines::default()))
    }
}

/// Names a session: a random UUID, version 4.
fn session() -> Result<String, ProviderError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(ProviderError::Random)?;
    let number = u128::from_be_bytes(bytes);
    let version = (number & !(0xf << 76)) | (0x4 << 76);
    let variant = (version & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{variant:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    let parts = [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ];
    Ok(parts.join("-"))
}
