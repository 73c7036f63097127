//! The driver: one task that owns journal and queue, makes the claims and decides when a run is
//! over.

mod change;
mod claims;
mod ending;
mod limit;
mod outcome;
mod person;
mod shown;
mod taken;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    budget::Prices,
    egress::Opening,
    event::{Event, Record},
    journal::{JournalError, Writer},
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
use shown::Shown;

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
    /// What tokens cost where a program does not say.
    pub prices: Prices,
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
    recorder: Recorder,
    jobs: JoinSet<Job>,
    evidence: BTreeMap<TaskId, Vec<String>>,
    /// Tasks whose approved work is landing.
    landing: HashSet<TaskId>,
    /// Tasks that wait for a person, and what their attempt may have changed outside.
    held: BTreeMap<TaskId, Vec<String>>,
    stop: Option<Control>,
    position: watch::Sender<Position>,
    shown: Shown,
    seat: Seat,
    rules: Rules,
    breakers: Breakers,
    /// Sessions under way, by each of their tasks.
    under_way: HashMap<TaskId, Arc<UnderWay>>,
    /// When to ask again for what was held.
    again: Option<jiff::Timestamp>,
    prices: Prices,
    /// When the last record was written.
    told_at: Instant,
    /// Why the run goes no further, once a limit says so.
    limit: Option<String>,
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
        shown: Shown::begin(work.state(), status.clone(), session.shows),
        work,
        writer: session.writer,
        queue: status.queue().clone(),
        status,
        parallel: session.parallel,
        observer: session.observer,
        recorder,
        jobs: JoinSet::new(),
        evidence: lessons(&session.history),
        landing: HashSet::new(),
        held: BTreeMap::new(),
        stop: None,
        position,
        seat,
        rules: session.rules,
        breakers: Breakers::fold(&session.history),
        under_way: HashMap::new(),
        again: None,
        prices: session.prices,
        told_at: Instant::now(),
        limit: None,
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
    driver.shown.end().await;
    Ok(ending)
}

impl Driver {
    /// The loop: claims what can be claimed, then waits for the next thing to happen.
    async fn play(
        &mut self,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<Ending, RunError> {
        loop {
            self.hold_to_budgets()?;
            if let Some(ending) = self.advance()? {
                return Ok(ending);
            }
            let (look, line) = (self.look_again(), self.next_line());
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
                () = line => {}
            }
        }
    }

    /// Starts whatever the queue allows; returns the ending when nothing is left to start or wait
    /// for.
    fn advance(&mut self) -> Result<Option<Ending>, RunError> {
        if self.jobs.is_empty() && self.stop.is_some() {
            return Ok(Some(self.stopped()));
        }
        if let Some(ending) = self.limited() {
            return Ok(Some(ending));
        }
        self.trip()?;
        self.again = None;
        let mut barred = BTreeSet::new();
        let held = loop {
            match self.begin_all(&barred)? {
                Begun::Role(role) => barred.insert(role),
                Begun::All => break false,
                Begun::Held => break true,
                // A limit may have come just now.
                Begun::Over(ending) => return Ok(Some(self.limited().unwrap_or(ending))),
            };
        };
        if !held {
            self.seat.rest();
        }
        if !self.jobs.is_empty() {
            return Ok(None);
        }
        let rest = !self.queue.has_ready() && !self.held.is_empty();
        Ok(self.withheld().or(rest.then(|| self.waiting())))
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
        let number = self.write(self.priced(message.event))?;
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
        self.told_at = Instant::now();
        self.shown.tell(&record);
        self.position.send_replace(Position { seq, ts });
        // Nobody needs to watch.
        self.observer.send(record).ok();
        Ok(seq)
    }
}
