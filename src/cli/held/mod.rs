//! The runs of a repository and the one process that holds them. Whoever wants a run begins to hold
//! the repository, or hands the wish to the process that does.
//!
//! ```text
//!  start, resume ── wanted ──▶ claim ── lock is free ──▶ Orchestrator: own run, and what is handed
//!                                │                                     to it, until none is left
//!                                └──── lock is held ──▶ hand over, then follow the journal
//!  --detach ───────────────────────── a process of its own is started first where none holds it
//! ```
//!
//! A process has one lock, engine, certificate authority, keeper of checkpoints and set of threads;
//! a run has its own journal, branch, policy, secrets, provider and driver. It refuses to hold a run
//! for somebody whose circumstances are others than its own.

pub(super) mod args;
mod attach;
mod caller;
mod claim;
mod detach;
mod serve;
mod words;

pub(super) use attach::{attach, change, stop};
pub(super) use detach::orchestrate;
pub(super) use words::Pace;

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicBool};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};

use crate::{
    event::{Event, Outcome},
    git::Repository,
    journal::Lock,
    name::RunId,
    run::{Admission, Berth, Control, Held, Keeper, Work},
    sandbox::Launcher,
    task::Task,
};

use super::{
    answers,
    course::{self, Course, Shown, Stage, exit_of},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    ground::Ground,
    landing,
    order::Order,
    resume::{self, Resumption},
    signals::Caught,
    start::{self, Planned, new_run},
    ui,
};
use args::Stay;
use caller::Handed;
use claim::{Claimed, Ours};
use words::{Circumstances, What};

/// A run that somebody wants, read and checked.
pub(super) enum Wanted {
    /// A new one.
    Start(Box<(Order, Planned)>),
    /// One that is not over.
    Resume(Box<Resumption>),
}

/// A run that can be driven.
pub(super) struct Ready {
    pub(super) work: Arc<Work>,
    pub(super) course: Course,
    pub(super) shipment: Option<landing::Shipment>,
}

/// What a process has once, whatever runs it holds.
pub(super) struct Orchestrator {
    env: Environment,
    circumstances: Circumstances,
    repository: Repository,
    ground: Ground,
    pub(super) keeper: Arc<Keeper>,
    held: Arc<Held>,
    /// What its runs share: slots, memory, providers that rest.
    admission: Arc<Admission>,
    /// Given back when the last run has ended.
    lock: Mutex<Option<Lock>>,
    /// What was kept of attempts whose orchestrator died, for the runs that are gone on with.
    kept: Mutex<Vec<(RunId, Event)>>,
    /// Held while a run is made ready: one at a time asks git, the registries and the engine.
    preparing: tokio::sync::Mutex<()>,
    /// Which signal asked for the end of the run of this terminal.
    caught: Caught,
    /// Whether what it says to nobody else goes to the log: it has no terminal.
    logs: AtomicBool,
}

/// How a run came out.
type Came = Result<(Exit, Outcome), Fault>;

/// Does what somebody wants: in this process where it gets hold of the repository, else in the one
/// that has it.
pub(super) async fn carry_out(
    env: &Environment,
    wanted: Wanted,
    stay: Stay,
) -> Result<Exit, Fault> {
    let run = wanted.name()?;
    loop {
        let talk = if stay.detach {
            detach::somebody(env, &wanted).await?
        } else {
            match claim::claim(env, &wanted, &run).await? {
                Claimed::Ours(ours) => return ours.hold(env, (wanted, run)).await,
                Claimed::Theirs(talk) => talk,
            }
        };
        match caller::hand_over(env, talk, (&wanted, stay)).await? {
            Handed::Over(exit) => return Ok(exit),
            // Whoever held the repository has just let go of it.
            Handed::Back => {}
        }
    }
}

impl Wanted {
    /// Reads and checks what another process wants.
    fn read(env: &Environment, what: What) -> Result<Self, Fault> {
        match what {
            What::Start(order, _) => {
                order.check()?;
                let planned = Planned::read(env, &order)?;
                Ok(Self::Start(Box::new((*order, planned))))
            }
            What::Resume(again, _) => Resumption::read(env, *again)
                .map(Box::new)
                .map(Self::Resume),
            What::Watch(_) | What::Stop(..) | What::Change(_) => {
                Err(Fault::new(Exit::Bug, "no run is wanted"))
            }
        }
    }

    /// Returns it as it can be said to another process.
    fn what(&self, env: &Environment) -> Result<What, Fault> {
        let circumstances = Circumstances::of(env)?;
        Ok(match self {
            Self::Start(both) => What::Start(Box::new(both.0.clone()), circumstances),
            Self::Resume(one) => What::Resume(Box::new(one.again.clone()), circumstances),
        })
    }

    fn run(&self) -> Option<&RunId> {
        match self {
            Self::Start(_) => None,
            Self::Resume(one) => Some(&one.again.run),
        }
    }

    /// Returns the run that it is, or is to be.
    fn name(&self) -> Result<RunId, Fault> {
        self.run().map_or_else(new_run, |run| Ok(run.clone()))
    }

    fn planned(&self) -> &Planned {
        match self {
            Self::Start(both) => &both.1,
            Self::Resume(one) => &one.planned,
        }
    }

    fn tasks(&self) -> Result<Vec<Task>, Fault> {
        match self {
            Self::Start(both) => Ok(both.1.tasks.clone()),
            Self::Resume(one) => one.tasks(),
        }
    }

    fn launcher(&self, env: &Environment, ground: &Ground) -> Result<Launcher, Fault> {
        self.planned().launcher(env, (ground, &self.tasks()?))
    }

    /// Has its git take turns with that of other runs.
    fn in_turn_with(mut self, other: &Repository) -> Self {
        let planned = match &mut self {
            Self::Start(both) => &mut both.1,
            Self::Resume(one) => &mut one.planned,
        };
        planned.repository = planned.repository.clone().in_turn_with(other);
        self
    }
}

/// A run's place in a process, and what it is asked there.
struct Place {
    seat: Arc<Berth>,
    controls: mpsc::Receiver<Control>,
    shown: Shown,
}

impl Orchestrator {
    /// Returns what was kept of a run's attempts that were cut off, once.
    pub(super) fn kept_of(&self, run: &RunId) -> Vec<Event> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of_run = kept.extract_if(.., |(of, _)| of == run);
        of_run.map(|(_, event)| event).collect()
    }

    /// Says in the lock which runs this process holds now. Where that cannot be written they go on
    /// all the same.
    fn say_runs(&self) {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(cause)) = lock.as_ref().map(|lock| lock.say(&self.held.runs())) {
            ui::warning(format!("who works here cannot be said: {cause}"));
        }
    }

    /// Holds a run from its preparation to its end. `begun` is told once its first record is on the
    /// disk, and which record of its journal is the last so far.
    async fn go(
        self: Arc<Self>,
        env: Environment,
        (wanted, launcher): (Wanted, Launcher),
        run: RunId,
        (mut place, begun): (Place, impl FnOnce(&RunId, u64) + Send + 'static),
    ) -> Came {
        let run = begins(&place.seat, &wanted, run)?;
        self.say_runs();
        let mut early = Vec::new();
        let ready = tokio::select! {
            biased;
            () = asked_to_end(&mut place.controls, &mut early) => return Err(self.ended_before()),
            ready = self.prepare(&env, (wanted, launcher), run) => ready?,
        };
        let Ready {
            work,
            course,
            shipment,
        } = ready;
        for control in early {
            self.held.tell_seat(place.seat.number(), control);
        }
        begun(&work.run, course.behind);
        let stage = Stage {
            controls: place.controls,
            held: Arc::clone(&self.held),
            admission: Arc::clone(&self.admission),
            shown: place.shown,
        };
        let outcome = course.drive(&work, stage).await;
        course::forget_old_checkpoints(Arc::clone(&self.keeper)).await;
        let outcome = outcome?;
        let exit = landing::after(&env, &work, (Ok(exit_of(outcome)), shipment)).await?;
        Ok((exit, outcome))
    }

    async fn prepare(
        &self,
        env: &Environment,
        (wanted, launcher): (Wanted, Launcher),
        run: RunId,
    ) -> Result<Ready, Fault> {
        let _alone = self.preparing.lock().await;
        let state = self.repository.root().join(".loki");
        answers::keep(env, &launcher, &state)?;
        match wanted.in_turn_with(&self.repository) {
            Wanted::Start(both) => {
                resume::name_unfinished(&state, &self.held.runs());
                start::prepare(env, self, *both, (run, launcher)).await
            }
            Wanted::Resume(one) => one.prepare(env, self, launcher).await,
        }
    }

    fn ended_before(&self) -> Fault {
        let exit = self.caught.signal().map_or(Exit::Failed, Exit::Signal);
        Fault::new(
            exit,
            "asked to end before the run had begun; nothing of it was made",
        )
    }

    /// Says that a bug of ours ended the run in a seat.
    fn broken(&self, seat: &Berth, panicked: &JoinError) -> Fault {
        let fault = Fault::new(Exit::Bug, format!("a bug of ours: {panicked}"));
        let mut seated = self.held.seated().into_iter();
        match seated.find(|(number, _)| *number == seat.number()) {
            Some((_, run)) => fault.hint(format!(
                "`loki status --run {run}` shows how far it came, `loki resume {run}` goes on"
            )),
            None => fault.hint("nothing was made: start it again"),
        }
    }

    /// Waits for the runs that others handed over, once this terminal's own is over.
    async fn rest(&self) {
        while !self.held.close() {
            let runs = self.held.runs();
            let names: Vec<&str> = runs.iter().map(RunId::as_str).collect();
            let names = match names.is_empty() {
                // One that is being made ready.
                true => "a run".to_owned(),
                false => format!("run {}", names.join(", ")),
            };
            ui::note(format!(
                "this process goes on with {names}, started elsewhere; Ctrl-C lets agents finish, twice ends them, and a hang-up leaves them alone"
            ));
            self.held.emptied().await;
        }
    }

    /// Gives the repository back.
    fn let_go(&self) {
        drop(
            self.lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// Gives a run its seat. A new one whose name is taken, by chance in the same second, gets another.
fn begins(seat: &Berth, wanted: &Wanted, mut run: RunId) -> Result<RunId, Fault> {
    loop {
        match seat.begins(&run) {
            Ok(()) => return Ok(run),
            Err(_taken) if wanted.run().is_none() => run = new_run()?,
            Err(already) => return Err(already).or_exit(Exit::Failed),
        }
    }
}

/// Waits until a run that has not begun is asked to end. What else it is asked is for later.
async fn asked_to_end(controls: &mut mpsc::Receiver<Control>, early: &mut Vec<Control>) {
    loop {
        match controls.recv().await {
            Some(Control::Drain(_) | Control::Stop(_)) => return,
            Some(other) => early.push(other),
            None => std::future::pending().await,
        }
    }
}

impl Ours {
    /// Holds the run of this terminal, and what is handed over meanwhile, until none is left.
    async fn hold(self: Box<Self>, env: &Environment, own: (Wanted, RunId)) -> Result<Exit, Fault> {
        let (seat, controls) = self
            .orchestrator
            .held
            .sit()
            .expect("nobody has closed it yet");
        let (serving, launcher) = self.serve(Some(seat.number()));
        let orchestrator = Arc::clone(&serving.orchestrator);
        let place = Place {
            seat: Arc::clone(&seat),
            controls,
            shown: Shown::Here,
        };
        let (wanted, run) = own;
        let going = Arc::clone(&orchestrator);
        // A bug in one run ends no other.
        let mut jobs = JoinSet::new();
        jobs.spawn(going.go(env.clone(), (wanted, launcher), run, (place, |_, _| {})));
        let came = jobs.join_next().await.expect("it was spawned just now");
        let came = came.unwrap_or_else(|panicked| Err(orchestrator.broken(&seat, &panicked)));
        drop(seat);
        orchestrator.say_runs();
        let exit = match (came, orchestrator.caught.signal()) {
            (Ok((_, Outcome::Stopped)), Some(signal)) => Exit::Signal(signal),
            (Ok((exit, _)), _) => exit,
            // Before others are waited for.
            (Err(fault), _) => ui::fault(&fault),
        };
        orchestrator.rest().await;
        serving.end().await;
        Ok(exit)
    }
}
