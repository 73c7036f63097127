//! How the journals begin that measurements write.

use loki::{digest::Digest, event::Event, name::RunId};

/// The run that they are of.
pub fn run() -> RunId {
    "20261121-073300-1f3a".parse().expect("a run's name")
}

/// The first record of every journal.
pub fn started() -> Event {
    let text = |text: &str| text.to_owned();
    Event::RunStarted {
        run: run(),
        loki: text("0.1.0"),
        spec: text("spec.md"),
        spec_sha256: Digest::of(b"").to_string(),
        title: text("Many"),
        provider: text("replay"),
        base: text("main"),
        branch: text("loki/x"),
        engine: text("docker"),
        policy_sha256: Digest::of(b"").to_string(),
        asked: None,
    }
}
