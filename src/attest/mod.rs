//! Attacks the sandbox of this very machine and says what came of it: `loki sandbox attest`.
//!
//! ```text
//!  catalogue ── Probe ──┬─► sandbox of Loki's, see [`Place`]              ──► judge ─┐
//!   (data + a program)  └─► opened container (the control) ──────────────────► judge ─┴─► Row
//!                                                        Attestation ── Key ──► signed
//! ```
//!
//! A probe passes when it came to its end in the sandbox and reached nothing, and the same program
//! reached what it is after where that was put within its reach. One whose control reaches nothing
//! shows nothing, and counts as failed. Adding a probe is one program under `probes/` and one entry
//! in [`catalogue`].
//!
//! It refuses to speak to anything but loopback: the sinks are on this host's loopback, no name is
//! resolved, and the opened container has no network. It writes nothing to the host but its slots in
//! the cache, which it removes.

mod caged;
pub mod catalogue;
mod decoy;
mod opened;
mod probe;
mod report;
mod sink;
mod stage;

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

pub use probe::{Breach, Control, Output, Place, Probe, Root};
pub use report::{Attestation, NotSound, Outcome, Row, Runtime, Signed};
pub use stage::{Scene, Stage, StageError};

/// Runs these probes, several at once, tells of each as it ends, and returns their rows in order.
pub async fn run(
    stage: &Stage,
    probes: &[&'static Probe],
    ended: &(dyn Fn(&Row) + Sync),
) -> Vec<Row> {
    let one = |at: usize, probe: &'static Probe| async move { (at, row(stage, probe).await) };
    let mut running: FuturesUnordered<_> = probes
        .iter()
        .enumerate()
        .map(|(at, probe)| one(at, probe))
        .collect();
    let mut rows = Vec::new();
    while let Some((at, row)) = running.next().await {
        ended(&row);
        rows.push((at, row));
    }
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

async fn row(stage: &Stage, probe: &'static Probe) -> Row {
    if let Some(why) = stage.spares(probe) {
        return Row::not_applicable(probe.id, probe.title, why);
    }
    let begun = Instant::now();
    let (attack, control) = futures_util::join!(stage.attack(probe), stage.control(probe));
    let held = attack.and_then(|output| {
        let judged = probe.judge(&output);
        judged.map_err(|breach| breach.to_string())
    });
    let shown = control.and_then(|output| match output {
        Some(output) => probe.shows(&output, stage.root()),
        None => Ok("what is allowed worked in the same sandbox".to_owned()),
    });
    Row::of(probe, held, shown, rounded(begun.elapsed()))
}

fn rounded(elapsed: Duration) -> u64 {
    crate::event::millis(elapsed)
}
