//! The part of the journal that one sandbox may fill.
//!
//! The gateway tells of every decision and every connection; equal denials of a second are one
//! record already. That bounds a second, not a day. Once a sandbox has used up its part, what it
//! does is counted and told once a minute: by host as far as they are few, the rest under `*`.
//! Nothing is left out of the counts, and what other sandboxes do is told as before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::event::Event;

/// What a sandbox may have written by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// Records.
    pub(super) records: u64,
    /// Bytes of their events.
    pub(super) bytes: u64,
    /// How often sums are told afterwards.
    pub(super) every: Duration,
    /// Hosts that one telling names of what was allowed, and of what was denied.
    pub(super) hosts: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            records: 50_000,
            bytes: 32 << 20,
            every: Duration::from_secs(60),
            hosts: 50,
        }
    }
}

/// Stands for the hosts that are not listed.
const MANY: &str = "*";

/// Passes on what a sandbox has told, within its allowance.
pub(super) struct Budget {
    allowance: Allowance,
    spent: Mutex<Spent>,
    send: Box<dyn Fn(Event) + Send + Sync>,
}

#[derive(Default)]
struct Spent {
    records: u64,
    bytes: u64,
    told: Option<Instant>,
    held: BTreeMap<Key, Event>,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    host: String,
    port: Option<u16>,
    rule: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Allowed(u8),
    Denied(u8),
    Closed,
}

impl Budget {
    pub(super) fn new(allowance: Allowance, send: Box<dyn Fn(Event) + Send + Sync>) -> Self {
        Self {
            allowance,
            spent: Mutex::default(),
            send,
        }
    }

    /// Passes an event on, or counts it.
    pub(super) fn take(&self, event: Event, now: Instant) {
        let bytes = serde_json::to_vec(&event).map_or(0, |json| json.len() as u64);
        let mut spent = self.spent();
        let fits = spent.records < self.allowance.records
            && spent.bytes.saturating_add(bytes) <= self.allowance.bytes;
        if fits {
            spent.records += 1;
            spent.bytes += bytes;
            // Sent while it is held, so that events keep their order.
            (self.send)(event);
            return;
        }
        // What still fits must not pass what was held back.
        spent.records = self.allowance.records;
        self.hold(&mut spent.held, event);
        let told = *spent.told.get_or_insert(now);
        if now.duration_since(told) >= self.allowance.every {
            spent.told = Some(now);
            self.tell(&mut spent);
        }
    }

    fn spent(&self) -> std::sync::MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, spent: &mut Spent) {
        for event in std::mem::take(&mut spent.held).into_values() {
            (self.send)(event);
        }
    }

    fn hold(&self, held: &mut BTreeMap<Key, Event>, mut event: Event) {
        let Some(mut key) = Key::of(&event) else {
            // Only the gateway tells, and only of these.
            (self.send)(event);
            return;
        };
        let alike = |known: &&Key| known.kind == key.kind;
        if !held.contains_key(&key) && held.keys().filter(alike).count() >= self.allowance.hosts {
            key = Key {
                kind: key.kind,
                host: MANY.to_owned(),
                port: None,
                rule: None,
                reason: None,
            };
            forget_where(&mut event);
        }
        forget_call(&mut event);
        match held.get_mut(&key) {
            Some(known) => add(known, &event),
            None => drop(held.insert(key, event)),
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let mut spent = std::mem::take(&mut *self.spent());
        self.tell(&mut spent);
    }
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        Some(match event {
            Event::Egress {
                kind,
                host,
                port,
                allowed,
                rule,
                reason,
                ..
            } => Self {
                kind: if *allowed {
                    Kind::Allowed(*kind as u8)
                } else {
                    Kind::Denied(*kind as u8)
                },
                host: host.clone(),
                port: *port,
                rule: rule.clone(),
                reason: reason.clone(),
            },
            Event::EgressClosed { host, port, .. } => Self {
                kind: Kind::Closed,
                host: host.clone(),
                port: Some(*port),
                rule: None,
                reason: None,
            },
            _ => return None,
        })
    }
}

/// Takes out what only the single call had.
fn forget_call(event: &mut Event) {
    match event {
        Event::Egress { method, path, .. } => (*method, *path) = (None, None),
        Event::EgressClosed {
            method,
            path,
            status,
            cache,
            ..
        } => {
            (*method, *path) = (None, None);
            (*status, *cache) = (None, None);
        }
        _ => {}
    }
}

/// Takes out which host it was.
fn forget_where(event: &mut Event) {
    match event {
        Event::Egress {
            host,
            port,
            rule,
            reason,
            ..
        } => {
            MANY.clone_into(host);
            (*port, *rule) = (None, None);
            *reason = Some("many hosts in one minute, after its part of the journal".to_owned());
        }
        Event::EgressClosed { host, port, .. } => {
            MANY.clone_into(host);
            *port = 0;
        }
        _ => {}
    }
}

/// Adds what an event counts to one that stands for both.
fn add(known: &mut Event, more: &Event) {
    match (known, more) {
        (Event::Egress { count, .. }, Event::Egress { count: more, .. }) => {
            *count = count.saturating_add(*more);
        }
        (
            Event::EgressClosed {
                sent,
                received,
                elapsed_ms,
                waited_ms,
                ..
            },
            Event::EgressClosed {
                sent: more_sent,
                received: more_received,
                elapsed_ms: longest,
                waited_ms: more_waited,
                ..
            },
        ) => {
            *sent = sent.saturating_add(*more_sent);
            *received = received.saturating_add(*more_received);
            *elapsed_ms = (*elapsed_ms).max(*longest);
            *waited_ms = waited_ms.saturating_add(*more_waited);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::EgressKind;

    fn denied(host: &str, path: &str) -> Event {
        Event::Egress {
            sandbox: "store-1".to_owned(),
            task: None,
            role: "eng-backend".parse().unwrap(),
            kind: EgressKind::Request,
            host: host.to_owned(),
            port: Some(443),
            allowed: false,
            rule: None,
            reason: Some("no rule allows it".to_owned()),
            count: 1,
            method: Some("GET".to_owned()),
            path: Some(path.to_owned()),
        }
    }

    fn closed(host: &str) -> Event {
        Event::EgressClosed {
            sandbox: "store-1".to_owned(),
            role: "eng-backend".parse().unwrap(),
            host: host.to_owned(),
            port: 443,
            sent: 3,
            received: 5,
            elapsed_ms: 7,
            waited_ms: 1,
            method: None,
            path: None,
            status: Some(200),
            cache: None,
        }
    }

    fn told(allowance: Allowance) -> (Budget, Arc<Mutex<Vec<Event>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let send = Box::new(move |event| sink.lock().unwrap().push(event));
        (Budget::new(allowance, send), told)
    }

    fn counts(events: &[Event]) -> u64 {
        let count = |event: &Event| match event {
            Event::Egress { count, .. } => *count,
            _ => 0,
        };
        events.iter().map(count).sum()
    }

    /// S10: an agent cannot fill the journal, and what it did is still counted.
    #[tokio::test]
    async fn attack_s10_no_sandbox_floods_the_journal_and_nothing_is_left_uncounted() {
        let allowance = Allowance {
            records: 100,
            ..Allowance::default()
        };
        let (budget, told) = told(allowance);
        let start = Instant::now();
        for n in 0..20_000_u32 {
            // For an hour, each to a host and path of its own.
            let now = start + Duration::from_millis(u64::from(n) * 180);
            budget.take(denied(&format!("h{n}.test"), &format!("/{n}")), now);
            budget.take(closed("one.test"), now);
        }
        drop(budget);
        let told = told.lock().unwrap();
        // An hour has 60 tellings of 50 hosts and one of many, and one of what was closed.
        assert!(told.len() <= 100 + 61 * 52, "{}", told.len());
        assert_eq!(counts(&told), 20_000);
        let sent: u64 = told
            .iter()
            .map(|event| match event {
                Event::EgressClosed { sent, .. } => *sent,
                _ => 0,
            })
            .sum();
        assert_eq!(sent, 60_000);
        let many = |event: &&Event| matches!(event, Event::Egress { host, .. } if host == MANY);
        assert!(told.iter().filter(many).count() >= 59);
    }

    #[tokio::test]
    async fn what_fits_passes_as_it_is_and_long_events_use_the_part_up_too() {
        let (budget, told) = told(Allowance {
            bytes: 4096,
            ..Allowance::default()
        });
        let now = Instant::now();
        budget.take(denied("a.test", "/"), now);
        assert_eq!(*told.lock().unwrap(), [denied("a.test", "/")]);
        budget.take(denied("a.test", &"x".repeat(4096)), now);
        budget.take(denied("a.test", "/"), now);
        assert_eq!(told.lock().unwrap().len(), 1);
        drop(budget);
        let told = told.lock().unwrap();
        assert_eq!((told.len(), counts(&told)), (2, 3));
    }
}
