//! Getting hold of a repository: its lock, its door, and what a process makes ready once; and giving
//! it back.

use std::{
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    journal::{self, Door, Lock, LockError, Talk},
    name::RunId,
    run::{Admission, Held},
    sandbox::Launcher,
};

use super::{
    super::{
        course,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        ground::Ground,
        restart, resume, setup,
        signals::{Caught, Listening},
        start::now,
    },
    Orchestrator, Wanted, serve,
    words::Circumstances,
};

/// How long whoever holds the repository may keep its door shut: the time between the lock and the
/// door, and verbs that need the lock for a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Who has the repository.
pub(super) enum Claimed {
    /// This process, from now on.
    Ours(Box<Ours>),
    /// Another, which listens.
    Theirs(Talk),
}

/// A repository that this process has got hold of.
pub(super) struct Ours {
    pub(super) orchestrator: Arc<Orchestrator>,
    /// Of the run that it was claimed for.
    pub(super) launcher: Launcher,
    pub(super) door: Door,
    pub(super) listening: Listening,
}

/// Knocks at the door of whoever holds a repository; none when nobody does.
///
/// One that holds it and does not open is waited for, a moment; then it is named.
pub(super) async fn knock(state: &Path) -> Result<Option<Talk>, Fault> {
    let mut waited = Duration::ZERO;
    loop {
        let holder = match Lock::holder(state) {
            Ok(None) => return Ok(None),
            Ok(holder) => holder,
            // In the moment before it has said who it is.
            Err(LockError::Held { holder }) => holder,
            Err(fault) => return Err(fault).or_exit(Exit::Failed),
        };
        let answer = match &holder {
            Some(holder) => journal::knock(state, holder).await,
            None => Ok(None),
        };
        match answer {
            Ok(Some(talk)) => return Ok(Some(talk)),
            _ if waited < PATIENCE => {}
            Ok(None) => return Err(LockError::Held { holder }).or_exit(Exit::Failed),
            Err(fault) => return Err(fault).or_exit(Exit::Failed),
        }
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Gets hold of the repository for a run, or of who has it.
pub(super) async fn claim(
    env: &Environment,
    wanted: &Wanted,
    run: &RunId,
) -> Result<Claimed, Fault> {
    let state = wanted.planned().repository.root().join(".loki");
    let mut prepared = None;
    loop {
        if let Some(talk) = knock(&state).await? {
            return Ok(Claimed::Theirs(talk));
        }
        // Before the lock: what is missing for a run is said without taking it.
        let (ground, launcher) = match prepared.take() {
            Some(both) => both,
            None => {
                let ground = Ground::new(env, setup::engine(env).await?)?;
                let launcher = wanted.launcher(env, &ground)?;
                (ground, launcher)
            }
        };
        match Lock::acquire(&state, run, now()) {
            Ok(lock) => return open(env, wanted, lock, (ground, launcher)).await,
            Err(LockError::Held { .. }) => prepared = Some((ground, launcher)),
            Err(fault) => return Err(fault).or_exit(Exit::Failed),
        }
    }
}

/// Makes ready what a process has once, and removes what dead ones left.
async fn open(
    env: &Environment,
    wanted: &Wanted,
    lock: Lock,
    (ground, launcher): (Ground, Launcher),
) -> Result<Claimed, Fault> {
    let planned = wanted.planned();
    let repository = planned.repository.clone();
    let state = repository.root().join(".loki");
    let door = Door::open(&state).or_exit(Exit::Failed)?;
    let listening = Listening::begin(&state).or_exit(Exit::Failed)?;
    let keeper = course::keeper(env, &state)?;
    restart::charge(&ground.threads, (&state, &planned.policy), now());
    resume::tidy_unheard(env, &repository, &lock)?;
    let kept = course::sweep(&repository, &launcher, &keeper).await?;
    let orchestrator = Orchestrator {
        env: env.clone(),
        circumstances: Circumstances::of(env)?,
        repository,
        ground,
        keeper,
        held: Arc::new(Held::default()),
        admission: Arc::new(Admission::new(usize::MAX, Arc::new(now))),
        lock: Mutex::new(Some(lock)),
        kept: Mutex::new(kept),
        preparing: tokio::sync::Mutex::new(()),
        caught: Caught::default(),
        logs: AtomicBool::new(false),
    };
    Ok(Claimed::Ours(Box::new(Ours {
        orchestrator: Arc::new(orchestrator),
        launcher,
        door,
        listening,
    })))
}

/// A process that lets others in.
pub(super) struct Serving {
    pub(super) orchestrator: Arc<Orchestrator>,
    jobs: JoinSet<()>,
}

impl Ours {
    /// Begins to let others in, and to hear what is asked of the runs: from the terminal of its own
    /// run, where that has a seat.
    pub(super) fn serve(self: Box<Self>, own: Option<u64>) -> (Serving, Launcher) {
        let Self {
            orchestrator,
            launcher,
            door,
            listening,
        } = *self;
        let mut jobs = JoinSet::new();
        let (held, caught) = (Arc::clone(&orchestrator.held), orchestrator.caught.clone());
        jobs.spawn(listening.route(held, (own, caught)));
        jobs.spawn(serve::serve(Arc::clone(&orchestrator), door));
        (Serving { orchestrator, jobs }, launcher)
    }
}

impl Serving {
    /// Waits until no run is left, then lets nobody in any more and gives the repository back.
    pub(super) async fn end(mut self) {
        while !self.orchestrator.held.close() {
            self.orchestrator.held.emptied().await;
        }
        self.jobs.shutdown().await;
        self.orchestrator.let_go();
    }
}
