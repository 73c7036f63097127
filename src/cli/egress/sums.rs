//! `loki egress top` and `loki egress denied`: sums over a run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    name::Role,
    policy::{
        Policy,
        explain::{self, Advice},
    },
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        setup, ui, views,
    },
    args::Sums,
    entry::{Entries, Entry},
    place,
};

/// What goes to one host and port.
#[derive(Debug, Default, Serialize)]
struct Sum {
    host: String,
    port: Option<u16>,
    /// Connections that were let out.
    calls: u64,
    /// Connections that were denied, and names.
    denied: u64,
    sent: u64,
    received: u64,
}

/// Denials of one role, of one host and port, for one reason.
#[derive(Debug, Serialize)]
struct Denial {
    role: Role,
    host: String,
    /// None when only the name was asked for.
    port: Option<u16>,
    count: u64,
    rule: Option<String>,
    reason: String,
    /// What would allow it; none where no rule could.
    next: Option<Advice>,
}

/// `loki egress top`.
pub(in crate::cli) fn top(asked: &Sums) -> Result<Exit, Fault> {
    let mut sums = BTreeMap::<(String, Option<u16>), Sum>::new();
    for entry in entries(asked)? {
        let sum = sums.entry((entry.host.clone(), entry.port)).or_default();
        sum.host = entry.host;
        sum.port = entry.port;
        match (entry.what, entry.allowed) {
            ("connect", Some(true)) => sum.calls += entry.count,
            ("connect" | "name", Some(false)) => sum.denied += entry.count,
            _ => {}
        }
        sum.sent = sum.sent.saturating_add(entry.sent);
        sum.received = sum.received.saturating_add(entry.received);
    }
    // A name alone says nothing that its connections do not, unless it was denied.
    let mut sums: Vec<Sum> = sums.into_values().filter(Sum::says_something).collect();
    sums.sort_by_key(|sum| {
        std::cmp::Reverse((sum.sent.saturating_add(sum.received), sum.calls, sum.denied))
    });
    if asked.json {
        ui::json(&serde_json::json!({ "schema": 1, "hosts": sums }))?;
        return Ok(Exit::Done);
    }
    let cells = |sum: &Sum| {
        let numbers = [sum.calls, sum.denied, sum.sent, sum.received];
        let numbers = numbers.iter().map(u64::to_string);
        std::iter::once(place(&sum.host, sum.port))
            .chain(numbers)
            .collect()
    };
    ui::table(
        &["HOST", "CALLS", "DENIED", "BYTES OUT", "BYTES IN"],
        sums.iter().map(cells),
    );
    Ok(Exit::Done)
}

impl Sum {
    fn says_something(&self) -> bool {
        [self.calls, self.denied, self.sent, self.received] != [0; 4]
    }
}

/// `loki egress denied`.
pub(in crate::cli) fn denied(env: &Environment, asked: &Sums) -> Result<Exit, Fault> {
    let policy = setup::policy(env, &asked.policy, setup::root()?.as_deref())?;
    let mut sums = BTreeMap::<(Role, String, Option<u16>, String), (u64, Option<String>)>::new();
    for entry in entries(asked)? {
        if entry.allowed == Some(false) && entry.what != "ask" {
            let reason = entry.reason.unwrap_or_default();
            let key = (entry.role, entry.host, entry.port, reason);
            let (count, rule) = sums.entry(key).or_default();
            *count += entry.count;
            *rule = entry.rule;
        }
    }
    let mut denials: Vec<Denial> = sums
        .into_iter()
        .map(|((role, host, port, reason), (count, rule))| Denial {
            next: advice(&policy, &role, (&host, port)),
            role,
            host,
            port,
            count,
            rule,
            reason,
        })
        .collect();
    denials.sort_by_key(|denial| std::cmp::Reverse(denial.count));
    if asked.json {
        ui::json(&serde_json::json!({ "schema": 1, "denials": denials }))?;
    } else {
        denials.iter().for_each(print);
    }
    Ok(Exit::Done)
}

fn entries(asked: &Sums) -> Result<Vec<Entry>, Fault> {
    let Some(chosen) = views::choose(asked.run.as_ref())? else {
        return Ok(Vec::new());
    };
    let mut entries = Entries::of(asked.role.as_ref());
    let records = chosen.records()?;
    Ok(records
        .iter()
        .filter_map(|record| entries.take(record))
        .collect())
}

/// Returns what would allow a denied target, by what `loki policy explain` asks; a name alone is
/// taken to be meant for 443.
fn advice(policy: &Policy, role: &Role, (host, port): (&str, Option<u16>)) -> Option<Advice> {
    let rights = policy.rights(role)?;
    explain::connect(&rights, host, port.unwrap_or(443)).next
}

fn print(denial: &Denial) {
    let place = place(&denial.host, denial.port);
    let times = ui::counted(usize::try_from(denial.count).unwrap_or(usize::MAX), "time");
    let why = ui::visible(&denial.reason);
    ui::data(format!("{}: {place}, {times}: {why}", denial.role));
    if let Some(rule) = &denial.rule {
        ui::data(format!("  rule    {}", ui::visible(rule)));
    }
    let Some(Advice { file, yaml }) = &denial.next else {
        return;
    };
    let port = denial.port.unwrap_or(443);
    ui::data(format!(
        "  to allow it: loki egress allow {}:{port} --role {} --save, or add to {}:",
        ui::visible(&denial.host),
        denial.role,
        ui::visible(file)
    ));
    for line in yaml.lines() {
        ui::data(format!("    {}", ui::visible(line)));
    }
}
