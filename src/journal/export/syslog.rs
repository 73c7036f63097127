//! Records as messages of RFC 5424.

use std::fmt::Write as _;

use serde_json::Value;

use super::ascii;
use crate::{event::Record, name::RunId, text::is_hidden};

/// The facility "log audit", times eight.
const FACILITY: u8 = 13 * 8;
/// The identifier of our structured data. Its number is the one that RFC 5612 keeps for whoever
/// has none of his own.
const DATA: &str = "loki@32473";
/// What of an event is said as a parameter, where it has it: the words that one searches for.
const PARAMETERS: [&str; 14] = [
    "task", "role", "sandbox", "attempt", "kind", "host", "port", "allowed", "rule", "count",
    "commit", "outcome", "passed", "limit",
];
/// The longest value of a parameter, in characters.
const LONGEST: usize = 256;

pub(super) fn message(run: &RunId, record: &Record) -> String {
    let event = serde_json::to_value(&record.event).unwrap_or(Value::Null);
    let kind = event["type"].as_str().unwrap_or("unknown");
    let priority = FACILITY + severity(&event);
    let mut text = format!(
        "<{priority}>1 {:.6} - loki {run} {} [{DATA} run=\"{run}\" seq=\"{}\" hash=\"{}\" prev=\"{}\"",
        record.ts,
        kind.get(..32).unwrap_or(kind),
        record.seq,
        record.hash,
        record.prev
    );
    for name in PARAMETERS {
        let value = match &event[name] {
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
            Value::String(value) => value.clone(),
            other => other.to_string(),
        };
        // Writing to a text cannot fail.
        write!(text, " {name}=\"{}\"", escaped(&value)).ok();
    }
    text.push_str("] ");
    text.push_str(&ascii(&event.to_string()));
    text
}

/// What a parameter's value looks like: hidden characters and those beyond ASCII shown, and the three that end it behind a
/// backslash.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars().take(LONGEST) {
        match c {
            '"' | '\\' | ']' => text.extend(['\\', c]),
            c if !c.is_ascii() || is_hidden(c) => {
                // The backslash of an escape is one of the three.
                write!(text, "\\\\u{{{:x}}}", u32::from(c)).ok();
            }
            c => text.push(c),
        }
    }
    text
}

/// 4 warning, 5 notice, 6 informational.
fn severity(event: &Value) -> u8 {
    let is = |name: &str, value: bool| event[name] == value;
    match event["type"].as_str().unwrap_or_default() {
        "overrun" | "task_failed" => 4,
        "gated"
            if event["breaches"]
                .as_array()
                .is_some_and(|all| !all.is_empty()) =>
        {
            4
        }
        "run_ended" if event["outcome"] != "done" => 4,
        "checked" | "reviewed" if is("passed", false) => 4,
        "egress" if is("allowed", false) => 5,
        "run_started" | "run_ended" | "landing" | "task_done" | "egress_opened"
        | "stop_requested" | "approved" | "rejected" | "waiting" => 5,
        _ => 6,
    }
}
