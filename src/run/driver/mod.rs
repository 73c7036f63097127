//! The driver: one task that owns journal and queue, makes the claims and decides when a run is
//! over.

mod change;
mod claims;
mod ending;
mod outcome;
mod person;
mod taken;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    egress::Opening,
    event::Event,
    event::Record,
    journal::{JournalError, Writer, views},
    name::TaskId,
    redact::Redactor,
    status::Status,
    task::{Backoff, Batching, Breakers, Decision, Fuses, Queue, QueueError, TaskRequest},
};

use super::{
    admission::{Admission, Seat},
    attempt::{Claim, Finished},
    failure::Failure,
    landings::Landings,
    masked::{Unmaskable, masked},
    recorder::{Message, Position, Recorder},
    resume::{Cut, lessons},
    work::Work,
};

pub use change::Answer;
use claims::{Begun, UnderWay};
pub use ending::Ending;

/// What a person or a signal asks of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Claim nothing more and let running agents finish.
    Drain(String),
    /// End at once.
    Stop(String),
    /// Open a host to a role.
    Open(Opening),
    /// Let waiting work land, or not.
    Decide(Decision),
    /// Change the tasks, and tell what became of it.
    Change(Box<TaskRequest>, Answer),
}

/// How a run deals with what fails, and with what is small.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How a busy provider is waited for.
    pub backoff: Backoff,
    /// When a role is held back that only fails.
    pub fuses: Fuses,
    /// Which small tasks are done together; none does each alone.
    pub batching: Option<Batching>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            fuses: Fuses::default(),
            batching: Some(Batching::default()),
        }
    }
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal could not be written: nothing may happen that is not in it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A bug: an event that cannot follow those before it.
    #[error("a bug of ours: {0}")]
    Queue(#[from] QueueError),
    /// A secret cannot be kept out of the journal.
    #[error(transparent)]
    Masked(#[from] Unmaskable),
    /// A bug: a task of ours panicked.
    #[error("a bug of ours: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What a run needs besides its fixed facts.
pub struct Session {
    /// The journal.
    pub writer: Writer,
    /// What it holds: at least its first record.
    pub history: Vec<Record>,
    /// What is written first.
    pub opening: Vec<Event>,
    /// Attempts that the history knows no end of.
    pub cut: Vec<Cut>,
    /// How many attempts go at once.
    pub parallel: usize,
    /// Requests to end.
    pub controls: mpsc::Receiver<Control>,
    /// Told of each record once it is written.
    pub observer: mpsc::UnboundedSender<Record>,
    /// Whether the files for other tools show this run now: there is one set of them, and there may
    /// be several runs.
    pub shows: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What it shares with the other runs of this process.
    pub admission: Arc<Admission>,
    /// How it deals with what fails, and with what is small.
    pub rules: Rules,
}

/// A job that ended.
enum Job {
    /// A session, or what was left to do of one: each task with the version that was claimed.
    Ended(Vec<(Claim, u64, Result<Finished, Failure>)>),
    Final(Result<(), Failure>),
}

struct Driver {
    work: Arc<Work>,
    writer: Writer,
    queue: Queue,
    status: Status,
    parallel: usize,
    observer: mpsc::UnboundedSender<Record>,
    shows: Arc<dyn Fn() -> bool + Send + Sync>,
    recorder: Recorder,
    jobs: JoinSet<Job>,
    evidence: BTreeMap<TaskId, Vec<String>>,
    /// Tasks whose approved work is landing.
    landing: HashSet<TaskId>,
    /// Tasks that wait for a person, and what their attempt may have changed outside.
    held: BTreeMap<TaskId, Vec<String>>,
    stop: Option<Control>,
    position: watch::Sender<Position>,
    state: PathBuf,
    /// The last record that the views show.
    shown: u64,
    seat: Seat,
    rules: Rules,
    breakers: Breakers,
    /// Sessions under way, by each of their tasks.
    under_way: HashMap<TaskId, Arc<UnderWay>>,
    /// When to ask again for what was held.
    again: Option<jiff::Timestamp>,
}

/// Writes the first record of a run, before anything of it exists, or of its going on.
///
/// # Errors
/// [`RunError`]: the journal could not be written, or a secret stands in it.
pub fn begin(writer: &mut Writer, redactor: &Redactor, opening: Event) -> Result<Record, RunError> {
    let record = writer.append(&masked(redactor, opening)?)?;
    writer.sync()?;
    Ok(record)
}

/// Drives a run to its end.
///
/// # Errors
/// [`RunError`]: the journal could not be written, or a bug.
pub async fn drive(work: Arc<Work>, session: Session) -> Result<Ending, RunError> {
    let last = session.history.last();
    let (position, watched) = watch::channel(last.map(Position::of).unwrap_or_default());
    let (recorder, mut messages) = Recorder::new(watched);
    let status = Status::fold(&session.history);
    let seat = session.admission.join(&work.run, session.parallel);
    *work.landings() = Landings::fold(&session.history);
    let mut driver = Driver {
        state: work.state(),
        work,
        writer: session.writer,
        queue: status.queue().clone(),
        status,
        parallel: session.parallel,
        observer: session.observer,
        shows: session.shows,
        recorder,
        jobs: JoinSet::new(),
        evidence: lessons(&session.history),
        landing: HashSet::new(),
        held: BTreeMap::new(),
        stop: None,
        position,
        shown: 0,
        seat,
        rules: session.rules,
        breakers: Breakers::fold(&session.history),
        under_way: HashMap::new(),
        again: None,
    };
    driver.keep_apart();
    driver.spare_again(&session.history);
    let mut controls = session.controls;
    for event in session.opening {
        driver.write(event)?;
    }
    for cut in session.cut {
        driver.take_up(cut)?;
    }
    let played = driver.play(&mut messages, &mut controls).await;
    // Whatever ended the run, no attempt outlives it.
    driver.jobs.shutdown().await;
    driver.work.pool.end().await;
    let ending = played?;
    while let Ok(message) = messages.try_recv() {
        driver.take(message)?;
    }
    driver.write(Event::RunEnded {
        outcome: ending.outcome,
        reason: ending.reason.clone(),
    })?;
    driver.writer.sync()?;
    if (driver.shows)() {
        views::write(&driver.state, &driver.status).ok();
    }
    Ok(ending)
}

impl Driver {
    /// The loop: claims what can be claimed, then waits for the next thing to happen.
    async fn play(
        &mut self,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<Ending, RunError> {
        let mut views = tokio::time::interval(std::time::Duration::from_secs(1));
        views.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some(ending) = self.advance()? {
                return Ok(ending);
            }
            let (look, news) = (self.look_again(), self.shown != self.status.seq);
            tokio::select! {
                biased;
                Some(message) = messages.recv() => self.take(message)?,
                Some(control) = controls.recv() => {
                    if let Some(ending) = self.obey(control)? {
                        return Ok(ending);
                    }
                }
                Some(job) = self.jobs.join_next() => {
                    if let Some(ending) = self.ended(job)? {
                        return Ok(ending);
                    }
                }
                () = self.seat.changed() => {}
                () = tokio::time::sleep(look.unwrap_or_default()), if look.is_some() => {}
                _ = views.tick(), if news => self.show(),
            }
        }
    }

    /// Starts whatever the queue allows; returns the ending when nothing is left to start or wait
    /// for.
    fn advance(&mut self) -> Result<Option<Ending>, RunError> {
        if self.jobs.is_empty() && self.stop.is_some() {
            return Ok(Some(self.stopped()));
        }
        self.trip()?;
        self.again = None;
        let mut barred = BTreeSet::new();
        let held = loop {
            match self.begin_all(&barred)? {
                Begun::Role(role) => barred.insert(role),
                Begun::All => break false,
                Begun::Held => break true,
                Begun::Over(ending) => return Ok(Some(ending)),
            };
        };
        if !held {
            self.seat.rest();
        }
        let idle = self.jobs.is_empty() && !self.queue.has_ready();
        let rest = idle && !self.held.is_empty();
        Ok(rest.then(|| self.waiting()))
    }

    fn obey(&mut self, control: Control) -> Result<Option<Ending>, RunError> {
        let (by, drain) = match &control {
            Control::Drain(by) => (by.clone(), true),
            Control::Stop(by) => (by.clone(), false),
            Control::Open(opening) => {
                self.write(opening.event())?;
                self.work.launcher.threads.open(opening.clone());
                return Ok(None);
            }
            Control::Decide(decision) => return self.decide(decision).map(|()| None),
            Control::Change(request, answer) => {
                let changed = self.change(request)?;
                answer.clone().tell(changed);
                return Ok(None);
            }
        };
        self.write(Event::StopRequested { by, drain })?;
        self.stop = Some(control);
        Ok((!drain).then(|| self.stopped()))
    }

    /// Writes what someone sent, then tells them.
    fn take(&mut self, message: Message) -> Result<(), RunError> {
        let number = self.write(message.event)?;
        if let Some(written) = message.written {
            // A sender that was ended meanwhile no longer waits.
            written.send(number).ok();
        }
        Ok(())
    }

    /// The only way an event comes to be: what the queue refuses is not written, and what is not
    /// written has not happened.
    fn write(&mut self, event: Event) -> Result<u64, RunError> {
        let event = masked(&self.work.launcher.redactor, event)?;
        self.queue.apply(&event)?;
        let record = self.writer.append(&event)?;
        self.work.landings().apply(&event);
        self.work.foresee(&event, &self.queue);
        self.breakers.apply(&event);
        let (seq, ts) = (record.seq, record.ts);
        self.status.apply(&record);
        self.position.send_replace(Position { seq, ts });
        // Nobody needs to watch.
        self.observer.send(record).ok();
        Ok(seq)
    }

    /// Writes the views for outside tools. They are copies: a failure to write one is no failure
    /// of the run. Only what changed is written, and not on the thread that drives.
    fn show(&mut self) {
        if self.shown == self.status.seq || !(self.shows)() {
            return;
        }
        self.shown = self.status.seq;
        let (state, status) = (self.state.clone(), self.status.clone());
        drop(tokio::task::spawn_blocking(move || {
            views::write(&state, &status).ok()
        }));
    }
}
