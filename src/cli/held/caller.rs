//! A run in another process, as it is seen from a terminal: handed over, followed by its journal,
//! and asked to end by the signals of this process.

use std::{path::PathBuf, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    journal::{self, Follow, From, Lock, Talk},
    name::RunId,
};

use super::{
    super::{
        ended,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        progress::Progress,
        ui,
    },
    Wanted,
    args::Stay,
    words::{Begun, LONG, Said, Wish, Word},
};

/// How long the kernel may take to give back the lock of a process that has died.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of a wish.
pub(super) enum Handed {
    /// It is over, or goes on without this terminal.
    Over(Exit),
    /// Nobody took it: the process there was ending.
    Back,
}

/// Hands a wish to another process and shows what becomes of it.
pub(super) async fn hand_over(
    env: &Environment,
    mut talk: Talk,
    (wanted, stay): (&Wanted, Stay),
) -> Result<Handed, Fault> {
    let line = Wish::line(wanted.what(env)?)?;
    if talk.say(&line).await.is_err() {
        return Ok(Handed::Back);
    }
    let root = wanted.planned().repository.root();
    let watcher = Watcher {
        talk,
        state: root.join(".loki"),
        stay,
        process: None,
        run: None,
        follow: None,
        signals: None,
        progress: Progress::default(),
    };
    watcher.watch().await
}

struct Watcher {
    talk: Talk,
    state: PathBuf,
    stay: Stay,
    /// Who heard the wish.
    process: Option<u32>,
    /// Once it has begun.
    run: Option<RunId>,
    follow: Option<(Follow, u64)>,
    signals: Option<Signals>,
    progress: Progress,
}

impl Watcher {
    async fn watch(mut self) -> Result<Handed, Fault> {
        loop {
            tokio::select! {
                biased;
                heard = self.talk.hear(LONG) => {
                    let Ok(Some(line)) = heard else { return self.gone().await };
                    if let Some(handed) = self.take(Said::read(&line)?)? {
                        return Ok(handed);
                    }
                }
                () = show_next(&mut self.follow, &mut self.progress) => {}
                word = next_word(&mut self.signals) => {
                    let Some(word) = word else { return Ok(self.leave()) };
                    let line = serde_json::to_string(&word).or_exit(Exit::Bug)?;
                    // Who is gone is noticed above.
                    self.talk.say(&line).await.ok();
                }
            }
        }
    }

    fn take(&mut self, said: Said) -> Result<Option<Handed>, Fault> {
        match said {
            Said::Heard(process) => {
                self.process = Some(process);
                if !self.stay.detach {
                    self.signals = Some(Signals::catch().or_exit(Exit::Failed)?);
                    ui::note(format!(
                        "process {process} works here, and holds this run, too"
                    ));
                }
            }
            Said::Ending => ui::note(
                "the process that works here is about to end and takes no more; this waits for it",
            ),
            Said::Elsewhere => return Ok(Some(Handed::Back)),
            Said::Note(text) => self.note(&text),
            Said::Data(text) => ui::data(text),
            Said::Begun(begun) => return self.begun(begun),
            // Of a run that is watched, which this is not.
            Said::Over => {}
            Said::Ended(code, stopped) => {
                self.catch_up();
                let signal = self.signals.as_ref().and_then(|signals| signals.caught);
                return Ok(Some(Handed::Over(match signal {
                    Some(number) if stopped => Exit::Signal(number),
                    _ => Exit::Told(code),
                })));
            }
            Said::Fault(code, message, hint) => {
                self.catch_up();
                let signal = self.signals.as_ref().and_then(|signals| signals.caught);
                let exit = match signal {
                    Some(number) if self.run.is_none() => Exit::Signal(number),
                    _ => Exit::Told(code),
                };
                return Err(Fault {
                    exit,
                    message,
                    hint,
                });
            }
        }
        Ok(None)
    }

    fn begun(&mut self, begun: Begun) -> Result<Option<Handed>, Fault> {
        if self.stay.detach {
            self.say_detached(&begun)?;
            return Ok(Some(Handed::Over(Exit::Done)));
        }
        let journal = journal::path(&self.state, &begun.run);
        let follow = Follow::open(&journal, From::Start).or_exit(Exit::Failed)?;
        self.follow = Some((follow, begun.behind));
        self.run = Some(begun.run);
        Ok(None)
    }

    fn say_detached(&self, Begun { run, logs, .. }: &Begun) -> Result<(), Fault> {
        let process = self.process.unwrap_or_default();
        if self.stay.json {
            let log = logs.then(|| journal::log_path(&self.state));
            return ui::json(&serde_json::json!({
                "schema": 1, "run": run, "pid": process, "log": log,
            }));
        }
        ui::data(run.as_str());
        ui::note(format!(
            "it goes on in process {process}: `loki attach {run}` follows it, `loki stop {run}` ends it"
        ));
        Ok(())
    }

    /// Shows what was written before something is said of it.
    fn catch_up(&mut self) {
        while let Some((follow, behind)) = &mut self.follow
            && let Ok(Some(record)) = follow.ready()
        {
            if record.seq > *behind {
                self.progress.tell(&record);
            }
        }
    }

    fn note(&mut self, text: &str) {
        self.catch_up();
        self.progress.note(text);
    }

    /// The process said nothing more.
    async fn gone(mut self) -> Result<Handed, Fault> {
        self.catch_up();
        let Some(process) = self.process else {
            return Ok(Handed::Back);
        };
        tokio::time::sleep(PAUSE).await;
        let holder = Lock::holder(&self.state).ok().flatten();
        if holder.is_some_and(|holder| holder.pid == process) {
            let message = format!(
                "process {process} waited for this terminal in vain, and lets its run end once agents have finished"
            );
            return Err(Fault::new(Exit::Failed, message).hint("`loki status` shows it"));
        }
        Err(self.run.as_ref().map_or_else(
            || {
                let message = format!("process {process} is gone, and the run had not begun");
                Fault::new(Exit::Failed, message).hint("start it again")
            },
            ended::gone,
        ))
    }

    /// A person does not want to wait for what was asked twice.
    fn leave(self) -> Handed {
        if let Some(run) = &self.run {
            ui::note(format!(
                "no longer watched: `loki attach {run}` follows it again"
            ));
        }
        Handed::Over(Exit::Signal(2))
    }
}

/// Shows the next record.
async fn show_next(following: &mut Option<(Follow, u64)>, progress: &mut Progress) {
    let Some((follow, behind)) = following else {
        return std::future::pending().await;
    };
    match follow.next().await {
        Some(Ok(record)) => {
            if record.seq > *behind {
                progress.tell(&record);
            }
        }
        Some(Err(cause)) => {
            ui::warning(format!("the journal cannot be followed: {cause}"));
            *following = None;
        }
        None => *following = None,
    }
}

async fn next_word(signals: &mut Option<Signals>) -> Option<Word> {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// The signals of this process, as words to the run.
struct Signals {
    interrupt: Signal,
    hangup: Signal,
    terminate: Signal,
    interrupts: u32,
    caught: Option<u8>,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupts: 0,
            caught: None,
        })
    }

    /// Waits for the next; none means that nobody wants to wait any more.
    async fn next(&mut self) -> Option<Word> {
        tokio::select! {
            _ = self.interrupt.recv() => {
                self.interrupts += 1;
                self.caught = Some(2);
                match self.interrupts {
                    1 => Some(Word::Drain("Ctrl-C (once more ends running agents)".to_owned())),
                    2 => Some(Word::Stop("Ctrl-C".to_owned())),
                    _ => None,
                }
            }
            _ = self.hangup.recv() => {
                self.caught = Some(1);
                Some(Word::Drain("hang-up".to_owned()))
            }
            _ = self.terminate.recv() => {
                self.caught = Some(15);
                Some(Word::Stop("signal TERM".to_owned()))
            }
        }
    }
}
