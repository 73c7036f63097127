//! A sandbox started through the library, for rights that no policy file of the tests says.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use loki::{
    egress::{Record, SystemResolver, Threads},
    engine::{Environment, connect, images},
    link::{Exit, Process},
    policy::{Egress, Files, Glob, Globs, Minimum, Origin, Program, Rates, Resources, Rights},
    sandbox::{Grant, Labels, Launcher, Occupant, Sandbox, Slot, owner},
};
use tokio::io::AsyncReadExt;

/// A sandbox on a real engine, and the directory it stands on.
pub(crate) struct Standing {
    pub(crate) sandbox: Sandbox,
    pub(crate) slot: Slot,
    _directory: tempfile::TempDir,
}

/// How a program ended, and what it said.
pub(crate) struct Said {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn globs(texts: &[&str]) -> Globs {
    let glob = |text: &&str| Glob::parse(text, Origin::default()).unwrap();
    Globs(texts.iter().map(glob).collect())
}

/// Rights to write everywhere in the worktree and run what these tests are made of.
pub(crate) fn rights(rates: Rates) -> Rights {
    let programs = ["sh", "python3", "sleep", "true", "seq", "mkdir", "mv", "rm"];
    let mut programs: Vec<_> = programs.map(|name| Program::Image(name.to_owned())).into();
    programs.extend(globs(&["**"]).0.into_iter().map(Program::Worktree));
    Rights {
        role: "eng-backend".parse().unwrap(),
        description: String::new(),
        image: "base".to_owned(),
        files: Files {
            read: globs(&["**"]),
            write: globs(&["**"]),
        },
        programs,
        egress: Egress::default(),
        resources: Resources {
            cpus: 2.0,
            memory: 512 << 20,
            pids: 512,
            disk: 64 << 20,
            timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            log: 1 << 20,
        },
        rates,
        minimum: Minimum::default(),
        origins: BTreeMap::new(),
        program_origins: BTreeMap::new(),
        secrets: Vec::new(),
    }
}

impl Standing {
    /// Starts one on `engine`, `docker` or `podman`, and fails where it does not answer.
    pub(crate) async fn start(engine: &str, rights: Rights) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let environment = Environment {
            engine: Some(engine.to_owned()),
            path: std::env::var_os("PATH").unwrap_or_default(),
            uid: rustix::process::getuid().as_raw(),
            ..Environment::default()
        };
        let found = connect(&environment).await.unwrap_or_else(|fault| {
            panic!("{engine}: {fault}\nstart it: scripts/engines.sh start {engine}")
        });
        let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/images");
        let image = images::ensure(found.as_ref(), "base", &cache, &|line| println!("{line}"));
        let image = image.await.unwrap_or_else(|fault| panic!("{fault}")).id;
        let directory = tempfile::tempdir().unwrap();
        let launcher = Launcher::new(
            found,
            directory.path().to_owned(),
            Arc::new(Threads::start().unwrap()),
            Arc::new(SystemResolver::new().unwrap()),
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loki-test-standing-{}-{number}", std::process::id());
        let occupant = Occupant {
            labels: Labels {
                run: "adhoc".to_owned(),
                task: name.clone(),
                repository: "tests".to_owned(),
                owner: owner(),
            },
            name,
            rights,
            home: Vec::new(),
            image,
        };
        let slot = Slot::at(directory.path().join("slot"));
        let (user, record) = (launcher.user(), Arc::new(|_: Record| ()));
        let sandbox = launcher
            .launch(&occupant, &slot, user, record)
            .await
            .unwrap();
        Self {
            sandbox,
            slot,
            _directory: directory,
        }
    }

    /// Starts a program.
    pub(crate) async fn exec(&self, argv: &[&str]) -> Process {
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let started = self.sandbox.exec(&argv, &[], &Grant::default()).await;
        let mut process = started.unwrap_or_else(|fault| panic!("{argv:?}: {fault}"));
        drop(process.stdin.take());
        process
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, argv: &[&str]) -> Said {
        let mut process = self.exec(argv).await;
        let (mut out, mut err) = (String::new(), String::new());
        let (read_out, read_err) = tokio::join!(
            process.stdout.read_to_string(&mut out),
            process.stderr.read_to_string(&mut err)
        );
        read_out.and(read_err).unwrap();
        Said {
            exit: process.wait().await.unwrap(),
            out,
            err,
        }
    }

    /// Runs a shell script to its end, which must be good, and returns what it printed.
    pub(crate) async fn sh(&self, script: &str) -> String {
        let said = self.run(&["sh", "-c", script]).await;
        assert_eq!(said.exit.code, 0, "{script}: {}{}", said.out, said.err);
        said.out
    }

    /// Runs Python to its end, which must be good, and returns what it printed.
    pub(crate) async fn python(&self, script: &str) -> String {
        let said = self.run(&["python3", "-B", "-c", script]).await;
        assert_eq!(said.exit.code, 0, "{script}: {}{}", said.out, said.err);
        said.out
    }
}
