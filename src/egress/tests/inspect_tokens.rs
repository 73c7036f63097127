//! Credentials that a command of the host gives, with a clock of the test's own.

use std::{
    fs,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::{
    inspect_lab::{OK, Secure, answering, ask, json, lab, requests, secure, status, until},
    lab::Lab,
};
use crate::{
    egress::{Commands, placeholder},
    policy::{Credential, CredentialForm, RequestRule},
};

/// A gateway, the time of its host, and where the command counts its runs.
struct Host {
    lab: Lab,
    time: Arc<AtomicU64>,
    place: TempDir,
}

impl Host {
    /// A rule whose token `script` prints; `$n` is the number of its run.
    fn new(server: &Secure, script: &str) -> Self {
        let place = TempDir::new().unwrap();
        let marks = place.path().join("runs");
        let counting = format!(
            "echo run >> {0}; n=$(wc -l < {0}); {script}",
            marks.display()
        );
        let part = RequestRule {
            credential: Some(Credential {
                secret: "API".to_owned(),
                command: Some(["/bin/sh", "-c", &counting].map(str::to_owned).to_vec()),
                form: CredentialForm::Bearer,
            }),
            ..RequestRule::default()
        };
        let lab = lab(server, part);
        let time = Arc::new(AtomicU64::new(1_800_000_000));
        let told = Arc::clone(&time);
        lab.threads.run_commands(Commands {
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            clock: Arc::new(move || {
                SystemTime::UNIX_EPOCH + Duration::from_secs(told.load(Ordering::SeqCst))
            }),
        });
        Self { lab, time, place }
    }

    fn get(&self, more: &str) -> String {
        ask(&self.lab, &format!("GET / HTTP/1.1{more}"))
    }

    fn pass(&self, seconds: u64) {
        self.time.fetch_add(seconds, Ordering::SeqCst);
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.place.path().join("runs")).map_or(0, |text| text.lines().count())
    }
}

/// A server that says how often it was sent the second token, and echoes what it was sent.
fn telling() -> Secure {
    secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&heard).to_ascii_lowercase();
        let sent = text.lines().find(|line| line.starts_with("authorization:"));
        let sent = sent.unwrap_or("nothing");
        // The number alone, which is no echo of the token.
        let number = sent.chars().last().unwrap_or_default();
        let body = format!("{sent}; number {number}");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(heard)
    })
}

const TIMED: &str = "echo \"{\\\"token\\\":\\\"token-real-000$n\\\",\\\"expires_in\\\":100}\"";

#[test]
fn a_token_is_added_masked_and_changes_once_it_ran_out() {
    let server = telling();
    let host = Host::new(&server, TIMED);
    let holder = format!("\r\nAuthorization: Bearer {}", placeholder("API"));
    for (pass, more, number) in [(0, holder.as_str(), 1), (80, "", 1), (10, "", 2)] {
        host.pass(pass);
        let answer = host.get(more);
        assert_eq!(status(&answer), "200", "{answer}");
        assert!(answer.contains(&format!("number {number}")), "{answer}");
        let masked = format!("bearer {};", "*".repeat("token-real-0001".len()));
        assert!(answer.contains(&masked), "{answer}");
        assert!(!answer.contains("token-real"), "{answer}");
    }
    assert_eq!(host.runs(), 2);
    let mut host = host;
    let (decided, _) = requests(&mut host.lab);
    let recorded = format!("{decided:?}");
    assert!(!recorded.contains("token-real"), "{recorded}");
}

#[test]
fn a_command_that_fails_refuses_the_request_and_is_not_run_again_at_once() {
    let server = answering(OK);
    let mut host = Host::new(&server, "echo hush-hush; echo 'log in first' >&2; exit 4");
    for _ in 0..3 {
        let answer = host.get("");
        assert_eq!(status(&answer), "502", "{answer}");
        let reason = json(&answer)["reason"].as_str().unwrap().to_owned();
        assert!(
            reason.contains("`API`") && reason.contains("exit code 4"),
            "{reason}"
        );
        assert!(
            !answer.contains("hush") && !answer.contains("log in"),
            "{answer}"
        );
    }
    assert_eq!(host.runs(), 1);
    host.pass(10);
    host.get("");
    assert_eq!(host.runs(), 2);
    assert!(
        server.server.heard.try_recv().is_err(),
        "the server was reached"
    );
    let (decided, _) = requests(&mut host.lab);
    let recorded = format!("{decided:?}");
    assert!(recorded.contains("it said: log in first"), "{recorded}");
    assert!(!recorded.contains("hush"), "{recorded}");
}

#[test]
fn a_server_that_refuses_a_token_is_sent_a_new_one_next_time() {
    let server = secure(|stream| {
        let heard = until(stream, b"\r\n\r\n")?;
        let new = String::from_utf8_lossy(&heard).contains("token-real-0002");
        let status = if new { "200 OK" } else { "401 Unauthorized" };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )?;
        Ok(heard)
    });
    let host = Host::new(&server, "echo token-real-000$n");
    assert_eq!(status(&host.get("")), "401");
    assert_eq!(status(&host.get("")), "401", "the token is new");
    assert_eq!(host.runs(), 1);
    host.pass(10);
    assert_eq!(status(&host.get("")), "401");
    assert_eq!(status(&host.get("")), "200");
    assert_eq!(host.runs(), 2);
}

#[test]
fn a_foreign_credential_runs_no_command() {
    let server = answering(OK);
    let host = Host::new(&server, TIMED);
    let answer = host.get("\r\nAuthorization: Bearer sk-attacker");
    assert_eq!(status(&answer), "403", "{answer}");
    assert_eq!(host.runs(), 0);
}
