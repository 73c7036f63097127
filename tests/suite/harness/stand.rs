//! Sandboxes made by the library, for what a whole command is too coarse to measure.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use loki::{
    egress::{SystemResolver, Threads},
    engine,
    event::Overrun,
    link::Process,
    policy::{Layer, Policy, Rights, Source},
    sandbox::{Grant, Labels, Launcher, Occupant, Sandbox, Slot, Spoken, owner},
};
use tokio::io::AsyncReadExt;

use super::{Engine, World};

/// What launches sandboxes on one engine, with slots in a world of its own.
pub(crate) struct Stand {
    launcher: Launcher,
    image: String,
    world: Arc<World>,
}

/// A sandbox and where its files are.
pub(crate) struct Standing {
    pub(crate) sandbox: Sandbox,
    pub(crate) slot: Slot,
    _world: Arc<World>,
}

/// What a program that ended well printed, and how long it took.
pub(crate) struct Ended {
    pub(crate) out: String,
    elapsed: Duration,
}

/// Returns what launches sandboxes on an engine, with the cache that tests share.
pub(crate) async fn launcher(engine: Engine) -> Launcher {
    let cache = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/cache/loki"));
    let facts = engine::Environment {
        engine: Some(engine.address().1.to_owned()),
        uid: rustix::process::geteuid().as_raw(),
        path: std::env::var_os("PATH").unwrap(),
        cache: Some(cache.clone()),
        ..engine::Environment::default()
    };
    let engine = engine::connect(&facts).await.unwrap();
    let threads = Arc::new(Threads::start().unwrap());
    let resolver = Arc::new(SystemResolver::new().unwrap());
    Launcher::new(engine, cache, threads, resolver)
}

impl Stand {
    /// Connects to an engine whose base image is built.
    pub(crate) async fn on(engine: Engine) -> Self {
        let (world, image) = tokio::task::spawn_blocking(move || {
            let world = World::on(engine);
            let image = world.image();
            (world, image)
        })
        .await
        .unwrap();
        let launcher = launcher(engine).await;
        Self {
            launcher,
            image,
            world: Arc::new(world),
        }
    }

    /// Launches a sandbox of `eng-backend` with what a policy adds.
    pub(crate) async fn launch(&self, name: &str, policy: &str) -> Standing {
        let slot = Slot::at(self.world.path(&format!("../{name}")));
        std::fs::create_dir_all(slot.work().join("src")).unwrap();
        let user = self.launcher.user();
        std::os::unix::fs::chown(slot.work().join("src"), Some(user.0), Some(user.1)).unwrap();
        let occupant = Occupant {
            name: format!("loki-stand-{name}-{}-{}", owner(), user.0),
            rights: rights(policy).into(),
            labels: Labels {
                run: "stand".to_owned(),
                task: name.to_owned(),
                repository: "stand".to_owned(),
                owner: owner(),
            },
            home: Vec::new(),
            given: Vec::new(),
            image: self.image.clone(),
        };
        let record = Arc::new(|_| {});
        let launched = self.launcher.launch(&occupant, &slot, user, record);
        let sandbox = launched.await.unwrap_or_else(|e| panic!("no sandbox: {e}"));
        Standing {
            sandbox,
            slot,
            _world: Arc::clone(&self.world),
        }
    }
}

/// Rates without a pace for writes, and without directories where they do not count.
pub(crate) const UNHELD: &str = "file_writes_per_minute: none, uncounted: []";

/// Returns what a policy adds for an `eng-backend` that may write and run programs everywhere in
/// the worktree, with these rates and this minimum.
pub(crate) fn writing_everywhere(rates: &str, minimum: &str) -> String {
    format!(
        "permissions:\n  eng-backend:\n    read: [\"**\"]\n    write: [\"**\"]\n    \
         execute: [\"@shell\", \"@python\", \"./**\"]\n\
         resources: {{ eng-backend: {{ pids: 512 }} }}\n\
         rate_limits: {{ eng-backend: {{ {rates} }} }}\n\
         minimum_isolation: {{ eng-backend: {{ {minimum} }} }}"
    )
}

fn rights(policy: &str) -> Rights {
    let mut sources = Policy::builtin_sources();
    sources.push(Source {
        file: "stand.yaml".into(),
        text: format!("version: 1\n{policy}\n"),
        layer: Layer::Given,
    });
    let policy = Policy::check(&sources).unwrap_or_else(|faults| panic!("{faults:?}"));
    policy.rights(&"eng-backend".parse().unwrap()).unwrap()
}

impl Standing {
    /// Starts a program and leaves it running; its output goes nowhere.
    pub(crate) async fn start(&self, argv: &[&str]) -> Process {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let started = self.sandbox.exec(&argv, &[], &Grant::default()).await;
        let mut process = started.unwrap_or_else(|e| panic!("{argv:?}: {e}"));
        drop(process.stdin.take());
        process
    }

    /// Runs a program to its end, which must be good.
    pub(crate) async fn run(&self, argv: &[&str]) -> Ended {
        let begun = Instant::now();
        let mut process = self.start(argv).await;
        let (mut out, mut err) = (String::new(), String::new());
        let (read_out, read_err) = tokio::join!(
            process.stdout.read_to_string(&mut out),
            process.stderr.read_to_string(&mut err)
        );
        read_out.and(read_err).unwrap();
        let code = process.wait().await.unwrap().code;
        assert_eq!(code, 0, "{argv:?}: {out}{err}");
        Ended {
            out,
            elapsed: begun.elapsed(),
        }
    }

    /// Runs a shell script to its end and returns what it printed.
    pub(crate) async fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-c", script]).await.out
    }

    /// Runs Python to its end and returns what it printed.
    pub(crate) async fn python(&self, script: &str) -> String {
        self.run(&["python3", "-B", "-c", script]).await.out
    }

    /// Returns how long `true` takes, the p95 of some times.
    pub(crate) async fn p95(&self, times: usize) -> Duration {
        let mut all = Vec::new();
        for _ in 0..times {
            all.push(self.run(&["true"]).await.elapsed);
        }
        p95(all)
    }

    /// Waits until a cap is passed; fails after a while.
    pub(crate) async fn overrun(&self, within: Duration) -> Overrun {
        let spoken = Spoken::default();
        tokio::time::timeout(within, self.sandbox.overrun(&spoken))
            .await
            .expect("no cap was passed")
    }
}

/// Returns the value that 95 of 100 do not pass.
pub(crate) fn p95(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[(all.len() * 95).div_ceil(100) - 1]
}
