//! How a run deals with what fails: what the environment and `.loki/config` say about it.

use std::{path::Path, time::Duration};

use crate::{
    run::Rules,
    task::{Backoff, Batching, Fuses},
};

use super::super::{
    env::Environment,
    exit::{Exit, Fault},
    settings::{self, Links},
    setup, ui,
};

/// The file of circuit breakers, below `.loki`.
const BREAKERS: &str = "config/circuit-breakers.yaml";
/// The longest wait that can be set, in seconds: a week.
const LONGEST: u64 = 7 * 86_400;

/// Reads the rules of a run; `joins` says whether small tasks are done together.
pub(in crate::cli) fn rules(
    env: &Environment,
    root: &Path,
    batching: Option<Batching>,
) -> Result<Rules, Fault> {
    Ok(Rules {
        backoff: backoff(env)?,
        fuses: fuses(&root.join(".loki"))?,
        batching,
    })
}

fn backoff(env: &Environment) -> Result<Backoff, Fault> {
    let usual = Backoff::default();
    let number = |name: &str, text: &Option<String>, most: u64| match text {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(Fault::new(
                Exit::Usage,
                format!(
                    "`{name}` is `{}`, which is no such number",
                    ui::visible(text)
                ),
            )
            .hint(format!(
                "set it to a whole number from 0 to {most}, or unset it"
            ))),
        },
    };
    let base = number("LOKI_BASE_WAIT", &env.base_wait, LONGEST)?;
    let longest = number("LOKI_MAX_WAIT", &env.max_wait, LONGEST)?;
    let most = number("LOKI_MAX_RETRIES", &env.max_retries, 10_000)?;
    Ok(Backoff {
        base: base.map_or(usual.base, Duration::from_secs),
        longest: longest.map_or(usual.longest, Duration::from_secs),
        most: most.map_or(usual.most, |most| u32::try_from(most).unwrap_or(u32::MAX)),
    })
}

fn fuses(state: &Path) -> Result<Fuses, Fault> {
    let path = state.join(BREAKERS);
    let help = "mend or remove it: without it 5 failures in a row hold a role back for 300 s";
    let text = settings::text(&path, Links::Refused, help)?;
    text.map_or_else(
        || Ok(Fuses::default()),
        |text| Fuses::read(&path, &text).map_err(|faults| setup::diagnostics(&faults)),
    )
}
