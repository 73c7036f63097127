//! From a role's rates to a write meter, and what a sandbox has used so far.

use std::num::NonZeroU32;

use crate::{
    event::{Usage, millis},
    link::{Link, LinkError, Meter, Pace, Writes},
    policy::Rights,
};

/// Starts the meter that these rights ask for; none where they ask for none, or where the kernel
/// inside cannot hold one: then the isolation says so, and the minimum decides.
///
/// # Errors
/// When the system has no thread left for it.
pub(super) fn start(rights: &Rights, link: &Link) -> Result<Option<Meter>, LinkError> {
    match pace(rights).filter(|_| link.hello().write_meter) {
        Some(pace) => Meter::start(pace).map(Some),
        None => Ok(None),
    }
}

fn pace(rights: &Rights) -> Option<Pace> {
    let most = rights.rates.file_writes_per_minute;
    let asked = most.is_some() || rights.minimum.write_meter;
    asked.then(|| Pace {
        // None would be no limit: what was meant as nothing is the least there is.
        per_minute: most.map(|most| NonZeroU32::new(most).unwrap_or(NonZeroU32::MIN)),
        exempt: rights.rates.uncounted.clone(),
    })
}

/// Joins what the meter counted with what the gateway did.
pub(super) fn usage(writes: Writes, network: Usage) -> Usage {
    Usage {
        writes: writes.counted,
        writes_delayed: writes.delayed,
        writes_delayed_ms: millis(writes.waited),
        ..network
    }
}
