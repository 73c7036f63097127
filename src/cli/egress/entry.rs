//! One line of `loki egress log`, from one record of a journal.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    event::{CacheUse, EgressKind, Event, Record},
    name::{Role, TaskId},
};

use super::{
    super::{exit::Fault, ui},
    args::Log,
    place,
};

/// What the gateway decided or saw, once. The fields are documented in docs/egress.md.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) seq: u64,
    /// `name`, `connect`, `request`, `ask`, `closed` or `opened`.
    pub(super) what: &'static str,
    pub(super) role: Role,
    pub(super) task: Option<TaskId>,
    pub(super) sandbox: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Of a request: its method, its path without the query, and how the server answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// What the cache did for a request that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<CacheUse>,
    /// None of a connection that ended.
    pub(super) allowed: Option<bool>,
    pub(super) rule: Option<String>,
    pub(super) reason: Option<String>,
    /// How many equal ones it stands for.
    pub(super) count: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) elapsed_ms: u64,
    pub(super) waited_ms: u64,
}

/// Makes entries of the records of one run, in their order.
#[derive(Debug, Default)]
pub(super) struct Entries {
    only: Option<Role>,
    /// Whose each sandbox is: a connection's end does not say it.
    tasks: HashMap<String, TaskId>,
}

impl Entries {
    /// Those of one role, or of all.
    pub(super) fn of(only: Option<&Role>) -> Self {
        Self {
            only: only.cloned(),
            ..Self::default()
        }
    }

    /// Returns what a record tells of egress.
    pub(super) fn take(&mut self, record: &Record) -> Option<Entry> {
        let entry = match &record.event {
            Event::SandboxStarted {
                sandbox,
                task: Some(task),
                ..
            } => {
                self.tasks.insert(sandbox.clone(), task.clone());
                return None;
            }
            Event::Egress { .. } => decided(record),
            Event::EgressClosed { .. } => self.closed(record),
            Event::EgressOpened {
                role,
                host,
                port,
                once,
            } => Entry {
                allowed: Some(true),
                reason: Some(format!(
                    "by a person, for {}",
                    if *once { "one connection" } else { "this run" }
                )),
                ..bare(record, "opened", (role, host, Some(*port)))
            },
            _ => return None,
        };
        let is_asked = self.only.as_ref().is_none_or(|only| *only == entry.role);
        is_asked.then_some(entry)
    }

    fn closed(&self, record: &Record) -> Entry {
        let Event::EgressClosed {
            sandbox,
            role,
            host,
            port,
            sent,
            received,
            elapsed_ms,
            waited_ms,
            method,
            path,
            status,
            cache,
        } = &record.event
        else {
            unreachable!("asked of connections that ended")
        };
        Entry {
            task: self.tasks.get(sandbox).cloned(),
            sandbox: Some(sandbox.clone()),
            sent: *sent,
            received: *received,
            elapsed_ms: *elapsed_ms,
            waited_ms: *waited_ms,
            method: method.clone(),
            path: path.clone(),
            status: *status,
            cache: *cache,
            ..bare(record, "closed", (role, host, Some(*port)))
        }
    }
}

fn bare(
    record: &Record,
    what: &'static str,
    (role, host, port): (&Role, &str, Option<u16>),
) -> Entry {
    Entry {
        time: record.ts,
        seq: record.seq,
        what,
        role: role.clone(),
        task: None,
        sandbox: None,
        host: host.to_owned(),
        port,
        method: None,
        path: None,
        status: None,
        cache: None,
        allowed: None,
        rule: None,
        reason: None,
        count: 1,
        sent: 0,
        received: 0,
        elapsed_ms: 0,
        waited_ms: 0,
    }
}

fn decided(record: &Record) -> Entry {
    let Event::Egress {
        sandbox,
        task,
        role,
        kind,
        host,
        port,
        allowed,
        rule,
        reason,
        count,
        method,
        path,
    } = &record.event
    else {
        unreachable!("asked of decisions")
    };
    let what = match kind {
        EgressKind::Name => "name",
        EgressKind::Connect => "connect",
        EgressKind::Request => "request",
        EgressKind::Ask => "ask",
    };
    Entry {
        task: task.clone(),
        sandbox: Some(sandbox.clone()),
        allowed: Some(*allowed),
        rule: rule.clone(),
        reason: reason.clone(),
        count: *count,
        method: method.clone(),
        path: path.clone(),
        ..bare(record, what, (role, host, *port))
    }
}

impl Entry {
    /// Prints it as was asked and returns whether somebody may still read the next.
    pub(super) fn print(&self, asked: &Log) -> Result<bool, Fault> {
        Ok(if asked.json {
            ui::is_json_read(self)?
        } else {
            ui::is_read(self.line())
        })
    }

    /// Says it in one line, text of unknown origin made visible.
    fn line(&self) -> String {
        let word = match self.allowed {
            _ if self.what == "ask" => "asks for",
            Some(true) => "allowed",
            Some(false) => "denied ",
            None => "closed ",
        };
        let who = match &self.task {
            Some(task) => format!("{} ({task})", self.role),
            None => self.role.to_string(),
        };
        let place = place(&self.host, self.port);
        let place = match (&self.method, &self.path) {
            (Some(method), Some(path)) => {
                format!("{} {place}{}", ui::visible(method), ui::visible(path))
            }
            _ => place,
        };
        let what = if self.what == "name" { "name " } else { "" };
        let times = match self.count {
            1 => String::new(),
            count => format!(" ×{count}"),
        };
        let time = self.time.strftime("%H:%M:%S");
        format!("{time} {word} {who}: {what}{place}{times}{}", self.why())
    }

    fn why(&self) -> String {
        if self.allowed.is_none() {
            let seconds = self.elapsed_ms as f64 / 1000.0;
            let waited = match self.waited_ms {
                0 => String::new(),
                ms => format!(", {ms} ms of it waiting for its minute"),
            };
            let status = self
                .status
                .map_or_else(String::new, |status| format!(", answered {status}"));
            let cache = match self.cache {
                None => "",
                Some(CacheUse::Hit) => " from the cache",
                Some(CacheUse::Validated) => " from the cache, which its server confirmed",
            };
            return format!(
                "{status}{cache}, {} bytes out, {} in, {seconds} s{waited}",
                self.sent, self.received
            );
        }
        let rule = self.rule.as_ref().map(|rule| format!("rule {rule}"));
        let told: Vec<String> = [self.reason.clone(), rule].into_iter().flatten().collect();
        match told.is_empty() {
            true => String::new(),
            false => format!(" — {}", ui::visible(&told.join(", "))),
        }
    }
}
