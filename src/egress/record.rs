//! What the gateway tells the journal, and how a flood of it is kept small.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    event::{CacheUse, EgressKind, Event, millis},
    name::{Role, TaskId},
};

/// How long equal decisions are one.
const WINDOW: Duration = Duration::from_secs(1);
/// Stands for the hosts that a summary does not list.
const MANY: &str = "*";
/// Different requests that are listed per second.
const REQUESTS: usize = 200;
/// Characters kept of a method and of a path.
const LONGEST_METHOD: usize = 32;
const LONGEST_PATH: usize = 1024;

/// What happened at the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Something was allowed or denied.
    Decision(Decision),
    /// Connections ended.
    Closed(Closed),
}

/// Something asked on a connection, as it may be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path in its normal form, without the query.
    pub path: String,
}

impl Call {
    /// Takes what was asked, control characters escaped and cut to what a line can hold.
    pub(super) fn new(method: &str, path: &str) -> Self {
        let shown = |text: &str, most| text.escape_debug().take(most).collect();
        Self {
            method: shown(method, LONGEST_METHOD),
            path: shown(path, LONGEST_PATH),
        }
    }
}

/// A decision on a name, a connection or a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What it was about.
    pub kind: EgressKind,
    /// The host as asked for, control characters escaped; `*` in a summary of many.
    pub host: String,
    /// The port, none for a name.
    pub port: Option<u16>,
    /// The outcome.
    pub allowed: bool,
    /// The rule that decided, none when no rule covers it.
    pub rule: Option<String>,
    /// One sentence: why denied, or what went wrong after it was allowed.
    pub reason: Option<String>,
    /// What was asked, of a request; none also where many are summed up.
    pub call: Option<Call>,
}

/// Connections to one host and port, or equal requests on them, that ended within the same second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Bytes from the sandbox, summed.
    pub sent: u64,
    /// Bytes to the sandbox, summed.
    pub received: u64,
    /// How long the longest of them was open.
    pub elapsed: Duration,
    /// How long bytes waited because the role's minute was used up, summed.
    pub waited: Duration,
    /// What was asked, of a request; none also where many are summed up.
    pub call: Option<Call>,
    /// How the server answered a request, the last of them; none when it did not.
    pub status: Option<u16>,
    /// What the cache did for a request; none when the server answered.
    pub cache: Option<CacheUse>,
}

/// One line for the journal, without the sandbox and the task, which the gateway does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What happened.
    pub fact: Fact,
    /// How often, at least 1.
    pub count: u64,
}

impl Record {
    /// Turns the record into an event of a run.
    #[must_use]
    pub fn into_event(self, sandbox: String, task: Option<TaskId>, role: Role) -> Event {
        match self.fact {
            Fact::Decision(d) => Event::Egress {
                sandbox,
                task,
                role,
                kind: d.kind,
                host: d.host,
                port: d.port,
                allowed: d.allowed,
                rule: d.rule,
                reason: d.reason,
                count: self.count,
                method: d.call.as_ref().map(|call| call.method.clone()),
                path: d.call.map(|call| call.path),
            },
            Fact::Closed(c) => Event::EgressClosed {
                sandbox,
                role,
                host: c.host,
                port: c.port,
                sent: c.sent,
                received: c.received,
                elapsed_ms: millis(c.elapsed),
                waited_ms: millis(c.waited),
                method: c.call.as_ref().map(|call| call.method.clone()),
                path: c.call.map(|call| call.path),
                status: c.status,
                cache: c.cache,
            },
        }
    }
}

/// Makes few records out of many. A pure value: time comes in as an argument.
///
/// The first of equal decisions comes out at once, so that it can be written before it is acted
/// on; those that follow within a second come out as one with a count. Of denials at most
/// `denials` different ones come out per second, the rest as one summary: an agent that asks for
/// random names cannot flood a journal. Of allowed requests at most 200 different ones come
/// out per second, of the rest only the host; other allowed ones are never summed up, for their
/// number is bounded by the table of names.
#[derive(Debug)]
pub struct Coalescer {
    denials: usize,
    listed: usize,
    /// Different requests listed in this second.
    requests: usize,
    since: Option<Instant>,
    held: HashMap<Decision, u64>,
    unlisted: u64,
    closed: HashMap<Ended, (Closed, u64)>,
}

/// What connections or requests have in common that are summed up.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ended {
    host: String,
    port: u16,
    call: Option<Call>,
    cache: Option<CacheUse>,
}

impl Coalescer {
    /// Makes an empty one that lists at most `denials` different denials per second.
    #[must_use]
    pub fn new(denials: usize) -> Self {
        Self {
            denials,
            listed: 0,
            requests: 0,
            since: None,
            held: HashMap::new(),
            unlisted: 0,
            closed: HashMap::new(),
        }
    }

    /// Takes a fact in and returns what must be written now.
    pub fn note(&mut self, fact: Fact, now: Instant) -> Vec<Record> {
        let mut out = self.flush(now);
        match fact {
            Fact::Decision(decision) => out.extend(self.decision(decision, now)),
            Fact::Closed(closed) => self.close(closed, now),
        }
        out
    }

    fn decision(&mut self, mut decision: Decision, now: Instant) -> Option<Record> {
        self.since.get_or_insert(now);
        if decision.allowed && decision.call.is_some() && !self.held.contains_key(&decision) {
            if self.requests >= REQUESTS {
                decision.call = None;
                decision.reason =
                    Some("more different requests within a second than are listed".to_owned());
            } else {
                self.requests += 1;
            }
        }
        if let Some(count) = self.held.get_mut(&decision) {
            *count += 1;
            return None;
        }
        if !decision.allowed {
            if self.listed >= self.denials {
                self.unlisted += 1;
                return None;
            }
            self.listed += 1;
        }
        self.held.insert(decision.clone(), 0);
        Some(Record {
            fact: Fact::Decision(decision),
            count: 1,
        })
    }

    fn close(&mut self, mut closed: Closed, now: Instant) {
        self.since.get_or_insert(now);
        if self.closed.len() >= REQUESTS {
            closed.call = None;
        }
        let key = Ended {
            host: closed.host.clone(),
            port: closed.port,
            call: closed.call.clone(),
            cache: closed.cache,
        };
        match self.closed.get_mut(&key) {
            Some((sum, count)) => {
                sum.sent = sum.sent.saturating_add(closed.sent);
                sum.received = sum.received.saturating_add(closed.received);
                sum.elapsed = sum.elapsed.max(closed.elapsed);
                sum.waited += closed.waited;
                sum.status = closed.status;
                *count += 1;
            }
            None => drop(self.closed.insert(key, (closed, 1))),
        }
    }

    /// Returns what was held back, if its second is over.
    pub fn flush(&mut self, now: Instant) -> Vec<Record> {
        match self.since {
            Some(since) if now.saturating_duration_since(since) >= WINDOW => self.drain(),
            _ => Vec::new(),
        }
    }

    /// Returns everything held back: for the end of a gateway.
    pub fn drain(&mut self) -> Vec<Record> {
        self.since = None;
        self.listed = 0;
        self.requests = 0;
        let mut out = Vec::new();
        for (decision, count) in self.held.drain().filter(|(_, count)| *count > 0) {
            out.push(Record {
                fact: Fact::Decision(decision),
                count,
            });
        }
        if self.unlisted > 0 {
            out.push(Record {
                fact: Fact::Decision(summary()),
                count: self.unlisted,
            });
            self.unlisted = 0;
        }
        for (_, (closed, count)) in self.closed.drain() {
            out.push(Record {
                fact: Fact::Closed(closed),
                count,
            });
        }
        out
    }
}

fn summary() -> Decision {
    Decision {
        kind: EgressKind::Name,
        host: MANY.to_owned(),
        port: None,
        allowed: false,
        rule: None,
        reason: Some("more different denials within a second than are listed".to_owned()),
        call: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(host: &str) -> Fact {
        Fact::Decision(Decision {
            kind: EgressKind::Name,
            host: host.to_owned(),
            port: None,
            allowed: false,
            rule: None,
            reason: None,
            call: None,
        })
    }

    #[test]
    fn the_first_of_equal_decisions_comes_out_at_once_and_the_rest_as_one() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(10);
        assert_eq!(
            coalescer.note(denial("a.test"), start),
            [Record {
                fact: denial("a.test"),
                count: 1
            }]
        );
        for _ in 0..999 {
            assert_eq!(
                coalescer.note(denial("a.test"), start + Duration::from_millis(500)),
                []
            );
        }
        assert_eq!(coalescer.flush(start + Duration::from_millis(999)), []);
        let late = coalescer.flush(start + WINDOW);
        assert_eq!(
            late,
            [Record {
                fact: denial("a.test"),
                count: 999
            }]
        );
        assert_eq!(coalescer.drain(), []);
    }

    #[test]
    fn a_flood_of_different_denials_becomes_a_summary_that_counts_all() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(5);
        let mut out = Vec::new();
        for n in 0..1000 {
            out.extend(coalescer.note(denial(&format!("x{n}.test")), start));
        }
        assert_eq!(out.len(), 5);
        out.extend(coalescer.drain());
        assert_eq!(out.len(), 6);
        assert_eq!(out.iter().map(|c| c.count).sum::<u64>(), 1000);
    }

    #[test]
    fn closed_connections_to_one_host_are_summed() {
        let start = Instant::now();
        let mut coalescer = Coalescer::new(5);
        for n in 1..=3 {
            let closed = Closed {
                host: "a.test".to_owned(),
                port: 443,
                sent: n,
                received: 10 * n,
                elapsed: Duration::from_millis(n),
                waited: Duration::ZERO,
                call: None,
                status: None,
                cache: None,
            };
            assert_eq!(coalescer.note(Fact::Closed(closed), start), []);
        }
        let out = coalescer.flush(start + WINDOW);
        let Fact::Closed(sum) = &out[0].fact else {
            panic!("not a closed record: {out:?}")
        };
        assert_eq!(
            (sum.sent, sum.received, sum.elapsed),
            (6, 60, Duration::from_millis(3))
        );
        assert_eq!(out[0].count, 3);
    }
}
