//! The answer to a denied request: one sentence that a program, or who reads its output, can act on.

use std::time::Duration;

use serde::Serialize;

use crate::name::Role;

/// What was refused and why.
#[derive(Debug, Clone)]
pub(super) struct Refusal<'a> {
    pub(super) role: &'a Role,
    /// As asked for, escaped.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) rule: Option<&'a str>,
    pub(super) reason: &'a str,
    /// When the same may be allowed; none for never.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Text<'a> {
    denied: String,
    role: &'a str,
    rule: Option<&'a str>,
    reason: &'a str,
    next: String,
    /// The reason again, where npm looks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Refusal<'_> {
    /// Returns when the same may be allowed, in whole seconds, never too few.
    pub(super) fn seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_secs() + 1)
    }
}

/// Writes the sentence: one line of JSON.
pub(super) fn text(refusal: &Refusal<'_>) -> String {
    let Refusal {
        role, host, port, ..
    } = refusal;
    let never = || {
        format!(
            "do not retry; if the task needs it, say so in the result: an operator can add \
             `{host}:{port}` for role `{role}` under `network_policies` of a policy file"
        )
    };
    let next = refusal
        .seconds()
        .map_or_else(never, |seconds| format!("try again in {seconds} s"));
    written(refusal, next, None)
}

/// Writes the same of a package that is not let in.
pub(super) fn vetoed(refusal: &Refusal<'_>, next: String) -> String {
    written(refusal, next, Some(refusal.reason))
}

fn written(refusal: &Refusal<'_>, next: String, error: Option<&str>) -> String {
    let text = Text {
        denied: format!("{}:{}", refusal.host, refusal.port),
        role: refusal.role.as_str(),
        rule: refusal.rule,
        reason: refusal.reason,
        next,
        error,
    };
    let mut body = serde_json::to_string(&text).expect("strings always serialize");
    body.push('\n');
    body
}

/// Writes a whole HTTP answer with `status`, such as `403 Forbidden`.
pub(super) fn answer(status: &str, refusal: &Refusal<'_>) -> Vec<u8> {
    let body = text(refusal);
    let seconds = refusal.seconds();
    let wait = seconds.map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n"));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{wait}Connection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}
