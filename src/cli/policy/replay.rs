//! `loki policy replay`: every recorded decision, asked again under another policy.
//!
//! Asked again are names, connections and allowed requests, and the paths that the gate let pass or
//! refused by the write globs. Not asked again is what no policy decides: what was spoken on an
//! allowed connection, why a request was refused (the record does not tell rules from other reasons), where a name led, rates, caps that were passed, and every other rule of the gate. Of
//! a flood of denials the journal holds a sum without names. All of these are counted, not asked.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    event::{EgressKind, Event},
    git,
    name::{HostName, Role, RunId},
    policy::{
        Act, Policy, Rights,
        explain::{self, Answer},
        name_ports,
    },
    text::visible,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        ui,
    },
    args::Replay,
    load,
    past::{Past, Recorded},
};

/// Stands for the hosts that a sum of denials does not list.
const MANY: &str = "*";

/// A decision that can be asked again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Decided {
    run: RunId,
    role: Role,
    question: &'static str,
    asked: String,
    was: bool,
    /// The rule that decided then, as recorded.
    by: Option<String>,
}

/// A decision that comes out differently.
#[derive(Debug, Serialize)]
struct Changed {
    #[serde(flatten)]
    decided: Decided,
    becomes: bool,
    rule: Option<String>,
    reason: String,
    times: u64,
}

/// Everything recorded: each decision with how often it was made, and how many cannot be asked.
#[derive(Debug, Default)]
struct Ledger {
    decisions: BTreeMap<Decided, u64>,
    unasked: u64,
}

/// Asks again; exits 0 when nothing changes.
pub(in crate::cli) fn replay(env: &Environment, asked: &Replay) -> Result<Exit, Fault> {
    let policy = load(env, &asked.asked.policy)?;
    let past = Past::open()?;
    let mut ledger = Ledger::default();
    let runs = past.records(asked.run.as_ref())?;
    for recorded in &runs {
        ledger.take(&past, recorded);
    }
    let changed: Vec<Changed> = ledger
        .decisions
        .iter()
        .filter_map(|(decided, times)| again(&policy, decided, *times))
        .collect();
    let total: u64 = ledger.decisions.values().sum();
    let differ: u64 = changed.iter().map(|changed| changed.times).sum();
    if asked.asked.json {
        ui::json(&serde_json::json!({
            "schema": 1, "runs": runs.len(), "decisions": total, "changed": differ,
            "not_asked": ledger.unasked, "changes": changed,
        }))?;
    } else {
        print(&changed);
        ui::note(format!(
            "{} of {}: {differ} would change",
            ui::counted(usize::try_from(total).unwrap_or(usize::MAX), "decision"),
            ui::counted(runs.len(), "run"),
        ));
        if ledger.unasked > 0 {
            ui::note(format!(
                "{} refusals are not asked again: no list of a policy decided them, or they are a sum without names",
                ledger.unasked
            ));
        }
    }
    Ok(if changed.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

impl Ledger {
    fn take(&mut self, past: &Past, recorded: &Recorded) {
        let tasks = recorded.roles();
        for record in &recorded.records {
            match &record.event {
                event @ Event::Egress { .. } => self.egress(&recorded.run, event),
                Event::Gated { task, breaches, .. } => {
                    for breach in breaches {
                        if breach.rule == "write-globs" {
                            let by = Some(breach.rule.clone());
                            self.write(recorded, tasks.get(task), (&breach.path, false), by);
                        } else {
                            self.unasked += 1;
                        }
                    }
                }
                Event::Overrun { .. } => self.unasked += 1,
                Event::Committed { task, commit, .. } | Event::Waiting { task, commit, .. } => {
                    for path in past.changed(commit) {
                        self.write(recorded, tasks.get(task), (&path, true), None);
                    }
                }
                _ => {}
            }
        }
    }

    fn write(
        &mut self,
        recorded: &Recorded,
        role: Option<&Role>,
        (path, was): (&str, bool),
        by: Option<String>,
    ) {
        if let Some(role) = role {
            let decided = Decided {
                run: recorded.run.clone(),
                role: role.clone(),
                question: "write",
                asked: path.to_owned(),
                was,
                by,
            };
            *self.decisions.entry(decided).or_default() += 1;
        }
    }

    fn egress(&mut self, run: &RunId, event: &Event) {
        let Event::Egress {
            role,
            kind,
            host,
            port,
            allowed,
            rule,
            count,
            method,
            path,
            ..
        } = event
        else {
            return;
        };
        // What came of it is recorded by itself.
        if *kind == EgressKind::Ask {
            return;
        }
        let misused = !allowed && covered(rule.as_deref(), *port);
        let call = method.as_deref().zip(path.as_deref());
        let call = call.filter(|(_, path)| *allowed && is_whole(path));
        if misused || host == MANY || (*kind == EgressKind::Request && call.is_none()) {
            self.unasked += count;
            return;
        }
        let (question, asked) = match (kind, port) {
            (EgressKind::Connect, Some(port)) => ("connect", format!("{host}:{port}")),
            (EgressKind::Request, Some(port)) => {
                let (method, path) = call.unwrap_or_default();
                ("request", format!("{method} {host}:{port}{path}"))
            }
            _ => ("name", host.clone()),
        };
        let decided = Decided {
            run: run.clone(),
            role: role.clone(),
            question,
            asked,
            was: *allowed,
            by: rule.clone(),
        };
        *self.decisions.entry(decided).or_default() += count;
    }
}

/// Returns whether a record of an allowed request says all that was decided by: git's requests are
/// decided by their query too, which is not recorded, long paths are cut, and quotes are escaped.
fn is_whole(path: &str) -> bool {
    path.len() < 1024 && !path.contains('\\') && !path.ends_with("/info/refs")
}

/// Returns whether a recorded rule opens the port that was asked for: then the policy allowed it,
/// and what denied it was what was spoken or where the name led.
fn covered(rule: Option<&str>, port: Option<u16>) -> bool {
    let opened = rule.and_then(|rule| rule.split(' ').next()?.rsplit_once(':')?.1.parse().ok());
    opened.is_some() && opened == port
}

/// Returns the decision as it would be now, if that is another.
fn again(policy: &Policy, decided: &Decided, times: u64) -> Option<Changed> {
    let (becomes, rule, reason) = match policy.rights(&decided.role) {
        Some(rights) => ask(&rights, decided),
        None => (false, None, "the policy has no such role".to_owned()),
    };
    (becomes != decided.was).then(|| Changed {
        decided: decided.clone(),
        becomes,
        rule,
        reason,
        times,
    })
}

fn ask(rights: &Rights, decided: &Decided) -> (bool, Option<String>, String) {
    let answer = match decided.question {
        "write" => {
            let refused = git::refusals(&decided.asked, &rights.files.write);
            let answer = explain::write(rights, &decided.asked);
            return (refused.is_empty(), answer.rule, answer.reason);
        }
        "connect" => {
            let (host, port) = decided.asked.rsplit_once(':').unwrap_or_default();
            explain::connect(rights, host, port.parse().unwrap_or(0))
        }
        "request" => request(rights, &decided.asked),
        _ => return name(rights, &decided.asked),
    };
    (answer.allowed, answer.rule, answer.reason)
}

/// Decides `POST api.example.com:443/v1`, in what its rule says is spoken there.
fn request(rights: &Rights, asked: &str) -> Answer {
    let scheme = |scheme: &str| {
        let act = asked.replacen(' ', &format!(" {scheme}://"), 1);
        match format!("request {act}").parse() {
            Ok(Act::Request(asked)) => explain::request(rights, &asked),
            _ => Answer::never("the record is of no request"),
        }
    };
    let secure = scheme("https");
    let plain = scheme("http");
    if plain.allowed { plain } else { secure }
}

/// Decides a name as the gateway answers a question for it: it has an address when some port is
/// open.
fn name(rights: &Rights, asked: &str) -> (bool, Option<String>, String) {
    let ports = asked
        .parse::<HostName>()
        .map(|name| name_ports(&rights.egress, &name))
        .unwrap_or_default();
    match ports.first() {
        Some((port, _)) => {
            let answer = explain::connect(rights, asked, *port);
            (true, answer.rule, answer.reason)
        }
        None => {
            let answer = explain::connect(rights, asked, 443);
            (false, None, answer.reason)
        }
    }
}

fn print(changed: &[Changed]) {
    if changed.is_empty() {
        return;
    }
    let word = |allowed| String::from(if allowed { "allowed" } else { "denied" });
    let rows = changed.iter().map(|changed| {
        let Decided {
            run,
            role,
            question,
            asked,
            was,
            ..
        } = &changed.decided;
        let rule = changed.rule.as_ref();
        vec![
            run.to_string(),
            role.to_string(),
            format!("{question} {}", visible(asked)),
            word(*was),
            word(changed.becomes),
            rule.unwrap_or(&changed.reason).clone(),
            changed.times.to_string(),
        ]
    });
    let heading = ["RUN", "ROLE", "WHAT", "WAS", "BECOMES", "BY", "TIMES"];
    ui::table(&heading, rows);
}
