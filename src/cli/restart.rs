//! What a start owes to the orchestrator before it: the pace that its roles used up in its last
//! minute, from the journals of its runs. A restart gives no role a second minute.

use std::{cmp::Reverse, collections::BTreeMap, fs, path::Path, time::Duration};

use jiff::Timestamp;

use crate::{
    egress::{Past, Threads},
    event::{EgressKind, Event, Record},
    journal,
    name::Role,
    policy::{Policy, Target},
};

use super::ui;

const MINUTE: Duration = Duration::from_secs(60);

/// What each role let out, oldest first.
type Used = BTreeMap<Role, Vec<(Target, Past)>>;

/// Charges the budgets of all roles with the last minute of every run here: they shared it.
pub(super) fn charge(threads: &Threads, (state, policy): (&Path, &Policy), now: Timestamp) {
    for (role, past) in last_minute(state, now) {
        if let Some(rights) = policy.rights(&role) {
            threads.charge(&role, (&rights.egress, &rights.rates), &past);
        }
    }
}

fn last_minute(state: &Path, now: Timestamp) -> Used {
    let mut all = Used::new();
    for run in journal::runs(state).unwrap_or_default() {
        let path = journal::path(state, &run);
        // A long journal is not read for nothing.
        if !is_recent(&path, now) {
            continue;
        }
        match journal::read(&path) {
            Ok(records) => add(&mut all, &records, now),
            Err(cause) => ui::warning(format!(
                "what run {run} used of its last minute is not known: {cause}"
            )),
        }
    }
    for past in all.values_mut() {
        past.sort_by_key(|(_, past)| Reverse(past.ago));
    }
    all
}

/// Returns whether a file was changed within the minute.
fn is_recent(path: &Path, now: Timestamp) -> bool {
    let changed = fs::metadata(path).and_then(|facts| facts.modified());
    let changed = changed.ok().and_then(|time| Timestamp::try_from(time).ok());
    changed.is_some_and(|changed| ago(changed, now).is_some())
}

/// Returns how long before `now` a time is, when it is within the minute.
fn ago(time: Timestamp, now: Timestamp) -> Option<Duration> {
    // What comes from a clock that was set back counts as just now.
    let ago = Duration::try_from(now.duration_since(time)).unwrap_or_default();
    (ago < MINUTE).then_some(ago)
}

fn add(used: &mut Used, records: &[Record], now: Timestamp) {
    for record in records {
        let Some(ago) = ago(record.ts, now) else {
            continue;
        };
        let Some((role, host, port, calls, bytes)) = one(&record.event) else {
            continue;
        };
        if let Ok(name) = host.parse() {
            let past = Past { ago, calls, bytes };
            let target = Target { name, port };
            used.entry(role.clone()).or_default().push((target, past));
        }
    }
}

/// Returns what an event tells of calls and bytes.
fn one(event: &Event) -> Option<(&Role, &str, u16, u64, u64)> {
    match event {
        Event::Egress {
            role,
            kind: EgressKind::Connect | EgressKind::Request,
            host,
            port: Some(port),
            allowed: true,
            reason,
            count,
            ..
        } if is_call(reason.as_deref()) => Some((role, host, *port, *count, 0)),
        Event::EgressClosed {
            role,
            host,
            port,
            sent,
            received,
            ..
        } => Some((role, host, *port, 0, sent.saturating_add(*received))),
        _ => None,
    }
}

/// A call that was let out and then failed is recorded twice, the second time with another reason.
fn is_call(reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| reason.starts_with("rate:"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn record(event: Event, ts: Timestamp) -> Record {
        let hash = Digest::of(b"");
        Record {
            seq: 1,
            ts,
            prev: hash,
            event,
            hash,
        }
    }

    /// A call that a rule let out, or that none did.
    fn call(rule: Option<&str>, reason: Option<&str>) -> Event {
        Event::Egress {
            sandbox: "x".to_owned(),
            task: None,
            role: "eng-qa".parse().unwrap(),
            kind: EgressKind::Connect,
            host: "a.test".to_owned(),
            port: Some(443),
            allowed: rule.is_some(),
            rule: rule.map(str::to_owned),
            reason: reason.map(str::to_owned),
            count: 3,
            method: None,
            path: None,
        }
    }

    fn closed() -> Event {
        Event::EgressClosed {
            sandbox: "x".to_owned(),
            role: "eng-qa".parse().unwrap(),
            host: "a.test".to_owned(),
            port: 443,
            sent: 10,
            received: 20,
            elapsed_ms: 1,
            waited_ms: 0,
            method: None,
            path: None,
            status: None,
            cache: None,
        }
    }

    #[test]
    fn only_what_was_let_out_within_the_minute_is_used() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let before = |seconds| now - Duration::from_secs(seconds);
        let records = [
            record(call(Some("rule"), None), before(61)),
            record(call(Some("rule"), None), before(50)),
            record(
                call(Some("rule"), Some("it could not be reached")),
                before(49),
            ),
            record(call(None, Some("rate: over 60")), before(48)),
            record(call(Some("rule"), Some("rate: it waited")), before(40)),
            record(closed(), before(30)),
        ];
        let mut used = Used::new();
        add(&mut used, &records, now);
        let past: Vec<(u64, u64, u64)> = used[&"eng-qa".parse().unwrap()]
            .iter()
            .map(|(_, past)| (past.ago.as_secs(), past.calls, past.bytes))
            .collect();
        assert_eq!(past, [(50, 3, 0), (40, 3, 0), (30, 0, 30)]);
    }

    #[test]
    fn what_any_run_used_within_the_minute_is_owed_whichever_is_the_newest() {
        let home = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        for (run, seconds) in [
            ("20260101-000000-aaaa", 20),
            ("20260101-000001-bbbb", 40),
            ("20260101-000002-cccc", 61),
        ] {
            let clock = move || now - Duration::from_secs(seconds);
            let mut journal =
                journal::Writer::create(home.path(), &run.parse().unwrap(), clock).unwrap();
            let started = serde_json::json!({
                "type": "run_started", "run": run, "loki": "0", "spec": "s.md", "spec_sha256": "",
                "title": "", "provider": "command", "base": "", "branch": "", "engine": "",
                "policy_sha256": "", "asked": null,
            });
            let started = serde_json::from_value(started).unwrap();
            drop(journal.append(&started).unwrap());
            drop(journal.append(&call(Some("rule"), None)).unwrap());
            journal.sync().unwrap();
        }
        let used = last_minute(home.path(), now);
        let past: Vec<u64> = used[&"eng-qa".parse().unwrap()]
            .iter()
            .map(|(_, past)| past.ago.as_secs())
            .collect();
        assert_eq!(past, [40, 20], "oldest first");
    }

    #[test]
    fn a_place_without_a_journal_owes_nothing() {
        let empty = tempfile::tempdir().unwrap();
        assert!(last_minute(empty.path(), Timestamp::UNIX_EPOCH).is_empty());
    }
}
