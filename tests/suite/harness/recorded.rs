//! Journals that no orchestrator wrote, for the verbs that read one or go on with it.

use std::path::PathBuf;

use loki::{
    digest::Digest,
    event::{Asked, Event},
    journal::Writer,
    name::RunId,
};

use super::World;

/// The run whose journals are written here.
pub(crate) fn recorded_run() -> RunId {
    "20270115-080000-ab12".parse().unwrap()
}

impl World {
    /// A world with this specification and an agent that does nothing, committed.
    pub(crate) fn with_spec(spec: &str) -> Self {
        let world = Self::new();
        world.write("spec.md", spec);
        world.write("agent.sh", "#!/bin/sh\ntrue\n");
        world.commit();
        world
    }

    /// How a run of `spec.md`, which holds this, begins.
    pub(crate) fn run_started(&self, spec: &str) -> Event {
        let run = recorded_run();
        Event::RunStarted {
            branch: format!("loki/{run}"),
            run,
            loki: "0".to_owned(),
            spec: "spec.md".to_owned(),
            spec_sha256: Digest::of(spec.as_bytes()).to_string(),
            title: "Page".to_owned(),
            provider: "command".to_owned(),
            base: self.git(&["rev-parse", "HEAD"]).trim().to_owned(),
            engine: "none".to_owned(),
            policy_sha256: "another".to_owned(),
            asked: Some(Asked {
                directory: String::new(),
                command: Some("./agent.sh".to_owned()),
                replayed: None,
                policy: Vec::new(),
                parallel: 1,
            }),
        }
    }

    /// Writes the journal of that run, as an orchestrator that died left it.
    pub(crate) fn record(&self, events: &[Event]) -> PathBuf {
        let clock = || "2027-01-15T08:00:00Z".parse().unwrap();
        let mut journal = Writer::create(&self.path(".loki"), &recorded_run(), clock).unwrap();
        for event in events {
            drop(journal.append(event).unwrap());
        }
        journal.sync().unwrap();
        journal.path().to_owned()
    }
}
