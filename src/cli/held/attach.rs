//! `loki attach`, `loki stop RUN` and `loki task …`: a run that another process holds is watched, asked
//! to end, or to change its tasks.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use crate::{
    event::{Event, Outcome, Record},
    journal::{Follow, From, Lock, Talk},
    name::RunId,
    status::{self, Status},
    task::TaskRequest,
};

use super::{
    super::{
        course::exit_of,
        exit::{Exit, Fault, OrExit},
        progress::Progress,
        setup, signals, ui, views,
    },
    args::Attach,
    claim::knock,
    words::{LONG, Pace, Said, What, Wish},
};

const PAUSE: Duration = Duration::from_millis(100);
/// How long a process may take to write a change down.
const PATIENCE: Duration = Duration::from_secs(20);

/// Follows a run to its end and exits as it does.
pub(in crate::cli) async fn attach(asked: &Attach) -> Result<Exit, Fault> {
    let state = views::state_to_read()?;
    let runs = held_now(&state)?;
    let wanted = asked.run.as_ref().or(runs.last());
    let Some(chosen) = views::choose(wanted)? else {
        return Ok(Exit::Usage);
    };
    let mut follow = Follow::open(&chosen.journal(), From::Start).or_exit(Exit::Failed)?;
    let mut so_far = Vec::new();
    while let Some(record) = follow.ready().or_exit(Exit::Failed)? {
        if asked.json {
            ui::is_json_read(&record)?;
        }
        so_far.push(record);
    }
    let status = Status::fold(&so_far);
    let goes_on = runs.contains(&chosen.run);
    let ended = status.outcome.filter(|_| !goes_on || has_ended(&so_far));
    if !asked.json {
        ui::note(status::text(&status).trim_end());
    }
    if let Some(outcome) = ended {
        return Ok(came_to(&chosen.run, outcome));
    }
    if !goes_on {
        return Err(gone(&chosen.run));
    }
    drop(so_far);
    watch(&state, (&chosen.run, follow), asked).await
}

fn has_ended(records: &[Record]) -> bool {
    let last = records.last().map(|record| &record.event);
    matches!(last, Some(Event::RunEnded { .. }))
}

/// Returns the runs that a process holds here, the newest last.
fn held_now(state: &Path) -> Result<Vec<RunId>, Fault> {
    let holder = Lock::holder(state).or_exit(Exit::Failed)?;
    Ok(holder
        .map(|holder| holder.runs().cloned().collect())
        .unwrap_or_default())
}

fn came_to(run: &RunId, outcome: Outcome) -> Exit {
    let (word, next) = match outcome {
        Outcome::Done => ("is done", "`loki apply` brings its work to your checkout"),
        Outcome::Failed => (
            "has failed",
            "`loki logs` shows what agents and checks said",
        ),
        Outcome::Stopped => ("was stopped", "`loki resume` goes on with it"),
        Outcome::Waiting => ("waits for a person", "`loki status` says for what"),
        Outcome::Limited => (
            "stopped at a limit",
            "`loki resume --budget …` goes on with more",
        ),
    };
    ui::note(format!("run {run} {word}: {next}"));
    exit_of(outcome)
}

fn gone(run: &RunId) -> Fault {
    let message = format!("the process that held run {run} is gone");
    Fault::new(Exit::Failed, message).hint(format!(
        "`loki resume {run}` goes on: nothing that was reported is lost"
    ))
}

async fn watch(
    state: &Path,
    (run, mut follow): (&RunId, Follow),
    asked: &Attach,
) -> Result<Exit, Fault> {
    let mut held = Held::of(state).await?;
    let mut progress = Progress::default();
    let mut show = |record: &Record| -> Result<Option<Exit>, Fault> {
        if asked.json {
            if !ui::is_json_read(record)? {
                return Ok(Some(Exit::Done));
            }
        } else {
            progress.tell(record);
        }
        Ok(match &record.event {
            Event::RunEnded { outcome, .. } => Some(came_to(run, *outcome)),
            _ => None,
        })
    };
    loop {
        tokio::select! {
            biased;
            record = follow.next() => {
                let record = record.ok_or_else(|| gone(run))?.or_exit(Exit::Failed)?;
                if let Some(exit) = show(&record)? {
                    return Ok(exit);
                }
            }
            number = signals::first() => {
                let number = number.or_exit(Exit::Failed)?;
                ui::note(format!(
                    "no longer watched; run {run} goes on: `loki attach {run}` follows it again, `loki stop {run}` ends it"
                ));
                return Ok(Exit::Signal(number));
            }
            () = held.gone() => {
                while let Some(record) = follow.ready().or_exit(Exit::Failed)? {
                    if let Some(exit) = show(&record)? {
                        return Ok(exit);
                    }
                }
                return Err(gone(run));
            }
        }
    }
}

/// The process that holds a run, for as long as it lives.
struct Held(Option<Talk>);

impl Held {
    async fn of(state: &Path) -> Result<Self, Fault> {
        let Some(mut talk) = knock(state).await? else {
            return Ok(Self(None));
        };
        let wish = Wish::line(What::Watch)?;
        Ok(Self(match talk.say(&wish).await {
            Ok(()) => Some(talk),
            Err(_gone) => None,
        }))
    }

    /// Waits until it is gone: the connection ends with it.
    async fn gone(&mut self) {
        if let Some(talk) = &mut self.0 {
            while let Ok(Some(_)) = talk.hear(LONG).await {}
        }
        self.0 = None;
    }
}

/// Asks for the end of one run and waits until it is no longer held.
pub(in crate::cli) async fn stop(run: &RunId, pace: Pace) -> Result<Exit, Fault> {
    let state = setup::repository()?.root().join(".loki");
    if !held_now(&state)?.contains(run) {
        let Some(chosen) = views::choose(Some(run))? else {
            return Ok(Exit::Done);
        };
        let run = chosen.run;
        ui::note(format!(
            "run {run} does not go on; `loki status --run {run}` shows it"
        ));
        return Ok(Exit::Done);
    }
    let Some(mut talk) = knock(&state).await? else {
        ui::note(format!("run {run} has just ended"));
        return Ok(Exit::Done);
    };
    let line = Wish::line(What::Stop(run.clone(), pace))?;
    let process = answer(&mut talk, &line).await?.ok_or_else(|| gone(run))?;
    let word = match pace {
        Pace::Now => "end at once",
        Pace::Drain => "end when its agents have finished",
    };
    ui::note(format!("asked run {run} (process {process}) to {word}"));
    while held_now(&state)?.contains(run) {
        tokio::time::sleep(PAUSE).await;
    }
    ui::note("it ended");
    Ok(Exit::Done)
}

/// Says a wish and returns which process has done it; none when that is gone.
async fn answer(talk: &mut Talk, wish: &str) -> Result<Option<u32>, Fault> {
    if talk.say(wish).await.is_err() {
        return Ok(None);
    }
    let heard = talk.hear(LONG).await.or_exit(Exit::Failed)?;
    match heard.as_deref().map(Said::read).transpose()? {
        Some(Said::Heard(process)) => Ok(Some(process)),
        Some(Said::Fault(code, message, hint)) => {
            let fault = Fault::new(Exit::Told(code), message);
            Err(Fault { hint, ..fault })
        }
        _ => Ok(None),
    }
}

/// Has a run that is held change its tasks, and waits until that stands in its journal.
pub(in crate::cli) async fn change(
    state: &Path,
    (run, change): (&RunId, TaskRequest),
) -> Result<(), Fault> {
    let wish = Wish::line(What::Change(Box::new(change)))?;
    let Some(mut talk) = knock(state).await? else {
        return Err(gone(run));
    };
    match timeout(PATIENCE, answer(&mut talk, &wish)).await {
        Ok(answered) => answered?.map(drop).ok_or_else(|| gone(run)),
        Err(_late) => {
            let message = format!("run {run} has not answered yet, and may still make the change");
            Err(Fault::new(Exit::Failed, message).hint("`loki task list` shows whether it has"))
        }
    }
}
