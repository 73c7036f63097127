//! A process of its own for runs that go on without a terminal: in a session of its own, with
//! nothing of the terminal open. It is told its first run by whoever started it, and others through
//! its door; it ends with the last of them.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
};

use rustix::fs::FileType;
use tokio::sync::mpsc;

use crate::journal::{self, Talk};

use super::{
    super::{
        env::{self, Environment},
        exit::{Exit, Fault, OrExit},
        ui::{self, Audience},
    },
    Ours, Wanted,
    claim::{Claimed, claim, knock},
    serve::{self, Bid, Caller},
    words::{LONGEST, Said, Wish},
};

/// Returns whoever holds the repository, or a new process that is to.
pub(super) async fn somebody(env: &Environment, wanted: &Wanted) -> Result<Talk, Fault> {
    let root = wanted.planned().repository.root();
    if let Some(talk) = knock(&root.join(".loki")).await? {
        return Ok(talk);
    }
    let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
    spawn(env, root, theirs)?;
    ours.set_nonblocking(true).map_err(cannot)?;
    let stream = tokio::net::UnixStream::from_std(ours).map_err(cannot)?;
    Ok(Talk::new(stream))
}

/// Starts a process that outlives this one, with one end of a conversation as its input.
#[expect(
    clippy::disallowed_methods,
    reason = "the only program started here is this one, and it is to outlive whoever started it"
)]
fn spawn(env: &Environment, root: &Path, talk: UnixStream) -> Result<(), Fault> {
    let log = journal::open_log(&root.join(".loki")).or_exit(Exit::Failed)?;
    let own = std::env::current_exe().map_err(cannot)?;
    let mut command = Command::new(own);
    if let Some(engine) = &env.engine {
        command.args(["--engine", engine]);
    }
    let second = log.try_clone().map_err(cannot)?;
    command
        .arg("orchestrate")
        .current_dir(root)
        .envs(env::places())
        .stdin(OwnedFd::from(talk))
        .stdout(second)
        .stderr(Stdio::from(log));
    command.spawn().map(drop).map_err(cannot)
}

fn cannot(cause: io::Error) -> Fault {
    let message = format!("no process can be started for the run: {cause}");
    Fault::new(Exit::Failed, message).hint("leave out `--detach`")
}

/// `loki orchestrate`: holds the run that it is told first, and others.
pub(in crate::cli) async fn orchestrate(env: &Environment) -> Result<Exit, Fault> {
    let mut talk = told_by()?;
    // Whoever leads a group of processes already was started by hand, and keeps its terminal.
    rustix::process::setsid().ok();
    let Ok(Some(line)) = talk.hear(LONGEST).await else {
        return Err(Fault::new(Exit::Usage, "nothing was said").hint("`loki start --detach`"));
    };
    let (audience, mut lines) = Audience::new();
    let claimed = audience.clone().told(begin(env, &line)).await;
    drop(line);
    let mut caller = Caller::new(talk);
    while let Ok(line) = lines.try_recv() {
        caller.say(line.into()).await;
    }
    match claimed {
        Ok(Some((ours, bid))) => ours.hold_for((caller, bid), (audience, lines)).await,
        Ok(None) => caller.say(Said::Elsewhere).await,
        Err(fault) => caller.say(audience.masked(fault).into()).await,
    }
    Ok(Exit::Done)
}

async fn begin(env: &Environment, line: &str) -> Result<Option<(Box<Ours>, Bid)>, Fault> {
    let what = Wish::read(line)?;
    let wanted = ui::said_before(|| Wanted::read(env, what))?;
    let run = wanted.name()?;
    match claim(env, &wanted, &run).await? {
        Claimed::Theirs(_) => Ok(None),
        Claimed::Ours(ours) => {
            let launcher = ours.launcher.clone();
            Ok(Some((ours, Bid::Made(Box::new((wanted, launcher, run))))))
        }
    }
}

/// Takes the conversation that this process was started with, and leaves nothing in its place.
fn told_by() -> Result<Talk, Fault> {
    let stdin = rustix::stdio::stdin();
    let facts = rustix::fs::fstat(stdin).or_exit(Exit::Usage)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::Socket {
        let message = "`loki orchestrate` is started by `loki start --detach`";
        return Err(Fault::new(Exit::Usage, message).hint("`loki start SPEC.md --detach`"));
    }
    let stream = UnixStream::from(rustix::io::dup(stdin).or_exit(Exit::Failed)?);
    let nothing = std::fs::File::open("/dev/null").or_exit(Exit::Failed)?;
    rustix::stdio::dup2_stdin(&nothing).or_exit(Exit::Failed)?;
    stream.set_nonblocking(true).or_exit(Exit::Failed)?;
    let stream = tokio::net::UnixStream::from_std(stream).or_exit(Exit::Failed)?;
    Ok(Talk::new(stream))
}

impl Ours {
    /// Holds a caller's run, and what is handed over meanwhile, until none is left.
    async fn hold_for(
        self: Box<Self>,
        caller: (Caller, Bid),
        told: (Audience, mpsc::UnboundedReceiver<ui::Line>),
    ) {
        let (serving, _of_the_bid) = self.serve(None);
        let orchestrator = Arc::clone(&serving.orchestrator);
        orchestrator.logs.store(true, Ordering::Relaxed);
        serve::hold(orchestrator, caller, told).await;
        serving.end().await;
    }
}
