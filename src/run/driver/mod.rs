//! The driver: one task that owns journal and queue, makes the claims and decides when a run is
//! over.

mod ending;
mod limit;
mod person;
mod shown;
mod taken;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use crate::{
    budget::Prices,
    egress::Opening,
    event::Record,
    event::{Event, Outcome},
    journal::{JournalError, Writer},
    name::TaskId,
    redact::Redactor,
    status::Status,
    task::{Action, Decision, Queue, QueueError, Task},
};

use super::{
    attempt::{Claim, Finished, attempt},
    checks,
    failure::Failure,
    landings::Landings,
    masked::{Unmaskable, masked},
    recorder::{Message, Position, Recorder},
    resume::{Cut, lesson, lessons},
    work::Work,
};
use shown::Shown;

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
    /// What tokens cost where a program does not say.
    pub prices: Prices,
}

/// A job that ended.
enum Job {
    Attempt(Claim, u64, Result<Finished, Failure>),
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
    prices: Prices,
    /// When the last record was written.
    told_at: Instant,
    /// Attempts that can be ended one by one.
    attempts: HashMap<TaskId, AbortHandle>,
    /// Why the run goes no further, once a limit says so.
    limit: Option<String>,
}

/// Writes the first record of a run, before anything of it exists.
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
    *work.landings() = Landings::fold(&session.history);
    let mut driver = Driver {
        shown: Shown::begin(work.state(), status.clone()),
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
        prices: session.prices,
        told_at: Instant::now(),
        attempts: HashMap::new(),
        limit: None,
    };
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
            let line = self.next_line();
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
                () = line => {}
            }
        }
    }

    /// Starts whatever the queue allows; returns the ending when nothing is left to start or wait
    /// for.
    fn advance(&mut self) -> Result<Option<Ending>, RunError> {
        let free = self.parallel.saturating_sub(self.jobs.len());
        if self.jobs.is_empty() && self.stop.is_some() {
            return Ok(Some(self.stopped()));
        }
        if let Some(ending) = self.limited() {
            return Ok(Some(ending));
        }
        let may = |task: &Task| self.status.budget.barred(&task.role).is_none();
        for action in self.queue.next_of(free, may) {
            match action {
                Action::Claim {
                    task,
                    version,
                    attempt,
                } => self.claim(&task, version, attempt)?,
                Action::Land {
                    task,
                    version,
                    attempt,
                    commit,
                } => self.land((&task, version, attempt), &commit),
                Action::Finish(outcome) if self.jobs.is_empty() => return self.finish(outcome),
                Action::Finish(_) => {}
            }
        }
        if !self.jobs.is_empty() {
            return Ok(None);
        }
        let rest = (!self.held.is_empty()).then(|| self.waiting());
        Ok(self.withheld().or(rest))
    }

    fn claim(&mut self, task: &TaskId, version: u64, number: u32) -> Result<(), RunError> {
        if !self.may_begin(task)? {
            return Ok(());
        }
        self.write(Event::TaskClaimed {
            task: task.clone(),
            version,
            attempt: number,
        })?;
        let claim = self.claim_of(task, number);
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        let ends = self.jobs.spawn(async move {
            let outcome = attempt(&work, &recorder, &claim).await;
            Job::Attempt(claim, version, outcome)
        });
        self.attempts.insert(task.clone(), ends);
        Ok(())
    }

    /// All tasks ended: the checks of the whole run decide, unless a task already failed.
    fn finish(&mut self, outcome: Outcome) -> Result<Option<Ending>, RunError> {
        if outcome != Outcome::Done {
            return Ok(Some(match outcome {
                Outcome::Waiting => self.waiting(),
                _ => Ending {
                    outcome,
                    reason: Some(self.failures()),
                },
            }));
        }
        let (work, recorder) = (Arc::clone(&self.work), self.recorder.clone());
        self.jobs
            .spawn(async move { Job::Final(finally(&work, &recorder).await) });
        Ok(None)
    }

    fn settle(&mut self, job: Job) -> Result<Option<Ending>, RunError> {
        let (claim, version, outcome) = match job {
            Job::Final(checked) => return Ok(Some(self.concluded(checked))),
            Job::Attempt(claim, version, outcome) => (claim, version, outcome),
        };
        if let Err(failure) = &outcome
            && let Some(lacking) = self.lacking(failure)
        {
            return Ok(Some(lacking));
        }
        self.landing.remove(&claim.task.id);
        self.attempts.remove(&claim.task.id);
        let learnt = !matches!(&outcome, Err(Failure { pause: Some(_), .. }));
        let event = self.told(claim, version, outcome);
        if let Some((task, lesson)) = lesson(&event).filter(|_| learnt) {
            self.evidence.entry(task).or_default().push(lesson);
        }
        self.write(event)?;
        Ok(None)
    }

    /// Says how an attempt ended.
    fn told(&self, claim: Claim, version: u64, outcome: Result<Finished, Failure>) -> Event {
        let (task, attempt) = (claim.task.id, claim.attempt);
        match outcome {
            Ok(Finished::Waiting(commit, needs)) => Event::Waiting {
                task,
                version,
                attempt,
                commit: commit.to_string(),
                needs,
            },
            Ok(Finished::Done(commit)) => Event::TaskDone {
                task,
                version,
                attempt,
                commit: commit.map(|commit| commit.to_string()),
            },
            Ok(Finished::Conflicted(files)) => Event::TaskConflicted {
                task,
                version,
                attempt,
                files,
            },
            Err(Failure { reason, retry, .. }) => {
                let retry = retry && self.queue.may_retry(&task);
                Event::TaskFailed {
                    task,
                    version,
                    attempt,
                    reason,
                    retry,
                }
            }
        }
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

/// Checks of the whole run on the run's branch.
async fn finally(work: &Arc<Work>, recorder: &Recorder) -> Result<(), Failure> {
    let head = work.head().await?;
    checks::run(work, recorder, None, &head, &checks::of_run(&work.spec)).await
}
