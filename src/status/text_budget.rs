//! What `STATUS.txt` says of resources and budgets, once there is something to say.

use std::fmt::Write;

use super::Status;
use crate::{
    budget::{Budget, Ledger, Measure, Spending},
    event::{Load, Usage},
};

/// Says in a few words what one sandbox uses and holds; empty before it has said so.
pub(super) fn held(usage: &Usage, load: &Load) -> String {
    if *usage == Usage::default() && *load == Load::default() {
        return String::new();
    }
    let cpu = Measure::Time.written(usage.cpu_ms);
    format!(
        "cpu {cpu}, memory {} (peak {}), {} processes, disk {}",
        size(load.memory),
        size(load.memory_peak),
        load.processes,
        size(load.disk)
    )
}

/// Draws what each role uses.
pub(super) fn draw_roles(page: &mut String, status: &Status) -> std::fmt::Result {
    let used = status
        .roles
        .iter()
        .filter(|(_, used)| used.usage != Usage::default());
    let mut any = false;
    for (role, used) in used {
        if !any {
            writeln!(page, "\nResources by role")?;
            any = true;
        }
        let usage = used.usage;
        writeln!(
            page,
            "  {:20} {}; {} writes, {} calls, {} out, {} in",
            role.as_str(),
            held(&usage, &used.load),
            usage.writes,
            usage.calls,
            size(usage.sent),
            size(usage.received)
        )?;
    }
    Ok(())
}

/// Draws what was spent, and of what.
pub(super) fn draw(page: &mut String, ledger: &Ledger) -> std::fmt::Result {
    if ledger.limits.is_empty() && ledger.run.tokens.all() == 0 {
        return Ok(());
    }
    writeln!(page, "\nSpent: {}", line(&ledger.limits.run, &ledger.run))?;
    for (role, spent) in &ledger.roles {
        let limits = ledger.limits.of(role);
        if !limits.is_empty() {
            writeln!(page, "  {role}: {}", line(&limits, spent))?;
        }
    }
    ledger
        .passed
        .iter()
        .try_for_each(|passed| writeln!(page, "  {}", passed.told()))
}

fn line(limits: &Budget, spent: &Spending) -> String {
    let measures = Measure::ALL.into_iter().map(|measure| {
        let used = measure.written(spent.of(measure));
        match limits.of(measure) {
            Some(limit) => format!("{used} of {}", measure.written(limit)),
            None => used,
        }
    });
    measures.collect::<Vec<_>>().join(", ")
}

/// Bytes in the largest unit of which there is at least one.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.iter().find(|(_, shift)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(unit, shift)| format!("{} {unit}", bytes >> shift),
    )
}
