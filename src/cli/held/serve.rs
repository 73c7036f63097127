//! What a process that holds a repository does for others: it lets them in, holds their runs, and
//! tells them what becomes of these. Whatever somebody says or leaves out, no run but theirs is
//! touched.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinSet, block_in_place},
    time::timeout,
};

use crate::{
    event::Outcome,
    journal::{Door, Talk},
    name::RunId,
    run::{Berth, Control},
    sandbox::Launcher,
    task::TaskRequest,
};

use super::{
    super::{
        course::Shown,
        exit::{Exit, Fault},
        start::now,
        ui::{self, Audience},
    },
    Came, Orchestrator, Place, Wanted,
    words::{Begun, Circumstances, LONG, LONGEST, Pace, Said, What, Wish, Word},
};

/// Conversations at once; further ones wait at the door.
const MOST: usize = 256;
/// How long a wish may take to be said, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Lets others in, for as long as this is waited for.
pub(super) async fn serve(orchestrator: Arc<Orchestrator>, door: Door) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            talk = door.next(), if talks.len() < MOST => match talk {
                Ok(talk) => drop(talks.spawn(listen(Arc::clone(&orchestrator), talk))),
                // There is no file left to be opened; one may be closed in a moment.
                Err(_full) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn listen(orchestrator: Arc<Orchestrator>, mut talk: Talk) {
    let Ok(Ok(Some(line))) = timeout(PATIENCE, talk.hear(LONGEST)).await else {
        return;
    };
    let wish = Wish::read(&line);
    drop(line);
    let mut caller = Caller::new(talk);
    match wish {
        Ok(What::Watch(run)) => watch(&orchestrator, caller, &run).await,
        Ok(What::Stop(run, pace)) => caller.say(orchestrator.stop(&run, pace)).await,
        Ok(What::Change(change)) => caller.say(orchestrator.change(*change).await).await,
        Ok(what) => {
            let bid = Bid::Said(Box::new(what));
            hold(orchestrator, (caller, bid), Audience::new()).await;
        }
        Err(fault) => caller.say(fault.into()).await,
    }
}

/// Tells a caller when a run is held no more. Where the process ends with it, the end of the
/// connection may be all that is heard.
async fn watch(orchestrator: &Orchestrator, mut caller: Caller, run: &RunId) {
    tokio::select! {
        () = orchestrator.held.left(run) => {}
        () = caller.until_gone() => return,
    }
    // Whoever is told may go on with it at once.
    orchestrator.say_runs();
    caller.say(Said::Over).await;
}

/// Whoever wants something, as long as they are there.
pub(super) struct Caller {
    talk: Option<Talk>,
    /// Whether it was found, while something was said, that there is nobody any more.
    left: bool,
    /// The caller's run, once it has begun.
    run: Option<RunId>,
}

impl Caller {
    pub(super) fn new(talk: Talk) -> Self {
        Self {
            talk: Some(talk),
            left: false,
            run: None,
        }
    }

    /// Says something. Who does not take it in time, or is gone, hears nothing more; then it is
    /// printed here.
    pub(super) async fn say(&mut self, said: Said) {
        if self.hears(&said).await {
            return;
        }
        match said {
            Said::Note(text) | Said::Data(text) => self.print(&text),
            Said::Fault(_, message, hint) => {
                self.print(&format!("error: {message}"));
                hint.iter()
                    .for_each(|hint| self.print(&format!("hint: {hint}")));
            }
            _ => {}
        }
    }

    /// Says something; returns whether somebody is there for it.
    async fn hears(&mut self, said: &Said) -> bool {
        let Some(talk) = &mut self.talk else {
            return false;
        };
        let heard = timeout(PATIENCE, talk.say(&said.line())).await;
        self.left = !matches!(heard, Ok(Ok(())));
        if self.left {
            self.talk = None;
        }
        !self.left
    }

    /// Several runs may print here, long after somebody has looked.
    fn print(&self, text: &str) {
        let (time, run) = (now(), self.run.as_ref().map_or("to begin", RunId::as_str));
        for line in text.lines() {
            ui::note(format!("{time:.0} run {run}: {line}"));
        }
    }

    /// Waits for a word; none once there is nobody. Never again then.
    async fn word(&mut self) -> Option<Word> {
        loop {
            let Some(talk) = &mut self.talk else {
                if std::mem::take(&mut self.left) {
                    return None;
                }
                return std::future::pending().await;
            };
            match talk.hear(LONG).await {
                Ok(Some(line)) => {
                    // What is no word is none.
                    if let Ok(word) = serde_json::from_str(&line) {
                        return Some(word);
                    }
                }
                Ok(None) | Err(_) => {
                    self.talk = None;
                    return None;
                }
            }
        }
    }

    /// Waits until there is nobody.
    async fn until_gone(&mut self) {
        while self.word().await.is_some() {}
    }
}

/// A run to be held for a caller.
pub(super) enum Bid {
    /// As it was said.
    Said(Box<What>),
    /// Read and checked.
    Made(Box<(Wanted, Launcher, RunId)>),
}

impl Bid {
    /// Returns whether the run goes on without its caller, once it has begun.
    fn stays(&self) -> bool {
        match self {
            Self::Said(what) => match what.as_ref() {
                What::Start(order, _) => order.args.stay.detach,
                What::Resume(again, _) => again.args.stay.detach,
                What::Watch(_) | What::Stop(..) | What::Change(_) => false,
            },
            Self::Made(_) => true,
        }
    }
}

/// Holds a caller's run from beginning to end. What it prints is told to the caller through an
/// audience, which may have heard the beginning already.
pub(super) async fn hold(
    orchestrator: Arc<Orchestrator>,
    (mut caller, bid): (Caller, Bid),
    (audience, mut lines): (Audience, mpsc::UnboundedReceiver<ui::Line>),
) {
    let Some((seat, controls)) = orchestrator.held.sit() else {
        caller.say(Said::Ending).await;
        // Until this process has ended, which closes the connection.
        return caller.until_gone().await;
    };
    caller.say(Said::Heard(std::process::id())).await;
    let stays = bid.stays();
    let (tell, mut begun) = mpsc::channel(1);
    let place = Place {
        seat: Arc::clone(&seat),
        controls,
        shown: Shown::Elsewhere,
    };
    let mut jobs = JoinSet::new();
    let deed = Arc::clone(&orchestrator).carry(bid, place, tell);
    jobs.spawn(audience.clone().told(deed));
    // A caller who has not heard the run's name does not know that it goes on.
    let mut is_known = false;
    let came = loop {
        tokio::select! {
            biased;
            Some(line) = lines.recv() => caller.say(line.into()).await,
            Some((run, behind)) = begun.recv() => {
                caller.run = Some(run.clone());
                let logs = orchestrator.logs.load(Ordering::Relaxed);
                is_known = caller.hears(&Said::Begun(Begun { run, behind, logs })).await;
            }
            Some(ended) = jobs.join_next() => break ended,
            word = caller.word() => obey(&orchestrator, &seat, (word, is_known && stays)),
        }
    };
    while let Ok(line) = lines.try_recv() {
        caller.say(line.into()).await;
    }
    let came = came.unwrap_or_else(|panicked| Err(orchestrator.broken(&seat, &panicked)));
    drop(seat);
    orchestrator.say_runs();
    let said = match came {
        Ok((exit, outcome)) => Said::Ended(exit.code(), outcome == Outcome::Stopped),
        Err(fault) => audience.masked(fault).into(),
    };
    caller.say(said).await;
}

/// Passes a caller's word on to the run. One that is left alone by its terminal drains, unless it is
/// to go on without.
fn obey(orchestrator: &Orchestrator, seat: &Berth, (word, goes_on): (Option<Word>, bool)) {
    let control = match word {
        Some(Word::Drain(by)) => Control::Drain(by),
        Some(Word::Stop(by)) => Control::Stop(by),
        None if goes_on => return,
        None => Control::Drain("its terminal is gone".to_owned()),
    };
    // A run that has just ended needs nothing more.
    orchestrator.held.tell_seat(seat.number(), control);
}

impl Orchestrator {
    /// Does what a caller wants, after everything of it was checked anew.
    async fn carry(
        self: Arc<Self>,
        bid: Bid,
        place: Place,
        tell: mpsc::Sender<(RunId, u64)>,
    ) -> Came {
        let begun = move |run: &RunId, behind| {
            // Nobody waits for it any more.
            tell.try_send((run.clone(), behind)).ok();
        };
        let (env, (wanted, launcher, run)) = match bid {
            Bid::Made(made) => (self.env.clone(), *made),
            Bid::Said(what) => {
                let env = match what.as_ref() {
                    What::Start(_, caller) | What::Resume(_, caller) => caller.own(&self.env),
                    _ => self.env.without_secrets(),
                };
                let _alone = self.preparing.lock().await;
                // Git, registries and files are asked here, and other runs go on meanwhile.
                let read = block_in_place(|| self.read(&env, *what))?;
                (env, read)
            }
        };
        self.go(env, (wanted, launcher), run, (place, begun)).await
    }

    fn read(
        &self,
        env: &super::super::env::Environment,
        what: What,
    ) -> Result<(Wanted, Launcher, RunId), Fault> {
        if let What::Start(_, circumstances) | What::Resume(_, circumstances) = &what {
            self.fits(circumstances)?;
        }
        let wanted = ui::said_before(|| Wanted::read(env, what))?;
        if wanted.planned().repository.root() != self.repository.root() {
            let message = "what was handed over is of another repository";
            return Err(Fault::new(Exit::Usage, message).hint("start it there"));
        }
        let (launcher, run) = (wanted.launcher(env, &self.ground)?, wanted.name()?);
        Ok((wanted, launcher, run))
    }

    /// Refuses a caller whose circumstances are not those of this process.
    fn fits(&self, theirs: &Circumstances) -> Result<(), Fault> {
        let mut theirs = theirs.clone();
        let report = self.ground.engine.report();
        let named = theirs.engine[0].as_deref();
        // By another name, but the same.
        if named.is_some_and(|named| {
            named.eq_ignore_ascii_case(report.name) || named == report.endpoint
        }) {
            theirs.engine = self.circumstances.engine.clone();
        }
        let Some(what) = self.circumstances.differs(&theirs) else {
            return Ok(());
        };
        let message = format!(
            "process {}, which works here, has {what} than this: it cannot hold both (it works with {} at {})",
            std::process::id(),
            report.name,
            report.endpoint
        );
        Err(Fault::new(Exit::Failed, message)
            .hint("start it under the same, or wait until its runs have ended: `loki attach`"))
    }

    fn stop(&self, run: &RunId, pace: Pace) -> Said {
        let by = "`loki stop`".to_owned();
        let control = match pace {
            Pace::Drain => Control::Drain(by),
            Pace::Now => Control::Stop(by),
        };
        if self.held.tell(run, control) {
            return Said::Heard(std::process::id());
        }
        not_here(run).into()
    }

    async fn change(&self, change: TaskRequest) -> Said {
        let Some(run) = change.run.clone() else {
            return Fault::new(Exit::Usage, "it is not said whose tasks are to change").into();
        };
        match self.held.change(&run, change).await {
            Some(Ok(())) => Said::Heard(std::process::id()),
            Some(Err(why)) => Fault::new(Exit::Failed, why)
                .hint(format!("`loki task list --run {run}` shows the tasks"))
                .into(),
            None => not_here(&run).into(),
        }
    }
}

fn not_here(run: &RunId) -> Fault {
    Fault::new(Exit::Failed, format!("run {run} does not go on here"))
        .hint("`loki status` shows what does")
}
