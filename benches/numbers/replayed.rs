//! Whole runs of agents that do what a macro says, by the program itself: what is set up for `claim`,
//! `idle`, `run` and `make scale`.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Engine, Running, World};

/// How long anything of a run is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// Tasks of a run, all done by one script.
pub(crate) struct Plan {
    pub(crate) tasks: usize,
    /// Each waits for the one before.
    pub(crate) in_turn: bool,
    /// Source files that are there before.
    pub(crate) files: usize,
    /// What the agents do, as a shell script; `$LOKI_TASK` is the task.
    pub(crate) script: String,
}

/// A world with a run that is replayed.
pub(crate) struct Replayed {
    pub(crate) world: World,
    running: Option<Running>,
}

fn name(at: usize) -> String {
    format!("t{at:05}")
}

fn recorded(plan: &Plan) -> String {
    let mut text = "type: loki_macro\nversion: 1\ndecomposition:\n".to_owned();
    for at in 0..plan.tasks {
        let after = match plan.in_turn && at > 0 {
            true => format!(", depends_on: [{}]", name(at - 1)),
            false => String::new(),
        };
        let task = name(at);
        writeln!(
            text,
            "  - {{id: {task}, role: eng-backend, title: {task}{after}}}"
        )
        .expect("a string takes it");
    }
    text += "scripts:\n";
    for at in 0..plan.tasks {
        writeln!(text, "  {}: [w.sh]", name(at)).expect("a string takes it");
    }
    text
}

/// Writes so many files of a few hundred bytes.
pub(crate) fn sources(world: &World, files: usize) {
    for at in 0..files {
        let text = "fn f() -> u32 { 1 + 1 }\n".repeat(at % 100);
        world.write(
            &format!("src/{}/{at}.rs", at % 10),
            format!("// {at}\n{text}"),
        );
    }
}

impl Replayed {
    /// Starts a run with so many agents at once.
    pub(crate) fn start(engine: Engine, plan: &Plan, at_once: usize) -> Self {
        let world = World::on(engine);
        sources(&world, plan.files);
        world.write(
            "spec.md",
            "# Many files\n\nEach task writes one.\n\n## Tests\n\n- `true`\n",
        );
        world.write("src/.keep", "");
        world.write("m/macro.yaml", recorded(plan));
        world.write("m/w.sh", format!("#!/bin/sh\n{}\n", plan.script));
        world.commit();
        let at_once = at_once.to_string();
        let words = [
            "start",
            "spec.md",
            "--provider",
            "replay",
            "--macro",
            "m",
            "--parallel",
            &at_once,
        ];
        let running = Some(world.spawn(&words));
        Self { world, running }
    }

    /// The orchestrator's process.
    pub(crate) fn id(&self) -> u32 {
        self.running.as_ref().expect("it runs").id()
    }

    /// Waits until so many events of a kind are in the journal; fails when the run ends before.
    pub(crate) fn wait_for(&mut self, kind: &str, count: usize) {
        let events = self.world.path(".loki/journal");
        let mark = format!("\"type\":\"{kind}\"");
        let running = self.running.as_mut().expect("it runs");
        running.wait_until(PATIENCE, |_| {
            std::thread::sleep(Duration::from_millis(200));
            let files = fs::read_dir(&events).into_iter().flatten().flatten();
            let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            texts.map(|text| text.matches(&mark).count()).sum::<usize>() >= count
        });
    }

    /// Looks at the run until it has ended, several times a second, and returns how long it took
    /// from now on.
    pub(crate) fn watch(&mut self, mut look: impl FnMut(u32)) -> Duration {
        let begun = Instant::now();
        let running = self.running.take().expect("it runs");
        let id = running.id();
        while fs::read_to_string(format!("/proc/{id}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
        {
            look(id);
            std::thread::sleep(Duration::from_millis(100));
        }
        let took = begun.elapsed();
        running.wait(PATIENCE).exits(0);
        took
    }

    /// Ends the run at once.
    pub(crate) fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.signal(rustix::process::Signal::TERM);
        drop(running.wait(PATIENCE).in_any_case());
    }

    /// The events, each with its time in seconds.
    pub(crate) fn told(&self) -> Vec<(f64, Value)> {
        let at = |record: &Value| {
            let text = record["ts"].as_str().expect("a record has a time");
            let time: jiff::Timestamp = text.parse().expect("it is one");
            time.duration_since(jiff::Timestamp::UNIX_EPOCH)
                .as_secs_f64()
        };
        let events = self.world.events().into_iter();
        events
            .map(|record| (at(&record), record["event"].clone()))
            .collect()
    }
}
