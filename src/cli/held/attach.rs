//! `loki attach`, `loki stop RUN` and `loki task …`: a run that another process holds is watched, asked
//! to end, or to change its tasks.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use crate::{
    event::{Event, Record},
    journal::{Follow, From, Lock, Talk},
    name::RunId,
    status::{self, Status},
    task::TaskRequest,
};

use super::{
    super::{
        course::exit_of,
        ended,
        exit::{Exit, Fault, OrExit},
        progress::Progress,
        setup, signals, ui, views,
    },
    args::Attach,
    claim::knock,
    words::{LONG, Pace, Said, What, Wish},
};

const PAUSE: Duration = Duration::from_millis(100);
/// How long a process may take to answer.
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
    let came_to = status.outcome.filter(|_| !goes_on || has_ended(&so_far));
    if !asked.json {
        ui::note(status::text(&status).trim_end());
    }
    if let Some(outcome) = came_to {
        ended::say(&state, &chosen.run, outcome);
        return Ok(exit_of(outcome));
    }
    if !goes_on {
        return Err(ended::gone(&chosen.run));
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

async fn watch(
    state: &Path,
    (run, mut follow): (&RunId, Follow),
    asked: &Attach,
) -> Result<Exit, Fault> {
    let mut watched = Watched::of(state, run).await?;
    let mut progress = Progress::default();
    let mut show = |record: &Record| -> Result<Option<Exit>, Fault> {
        if asked.json {
            if !ui::is_json_read(record)? {
                return Ok(Some(Exit::Done));
            }
        } else {
            progress.tell(record);
        }
        let Event::RunEnded { outcome, .. } = &record.event else {
            return Ok(None);
        };
        ended::say(state, run, *outcome);
        Ok(Some(exit_of(*outcome)))
    };
    loop {
        tokio::select! {
            biased;
            record = follow.next() => {
                let record = record.ok_or_else(|| ended::gone(run))?.or_exit(Exit::Failed)?;
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
            left = watched.left() => {
                while let Some(record) = follow.ready().or_exit(Exit::Failed)? {
                    if let Some(exit) = show(&record)? {
                        return Ok(exit);
                    }
                }
                return Err(match left? {
                    Left::Run => broke_off(run),
                    Left::Process => ended::gone(run),
                });
            }
        }
    }
}

fn broke_off(run: &RunId) -> Fault {
    let message = format!("run {run} broke off: its process holds it no more, and it has no end");
    Fault::new(Exit::Failed, message).hint(format!(
        "why was told where it was started, or stands in `.loki/logs/orchestrator.log`; then `loki resume {run}`"
    ))
}

/// Why nothing more is written of a run.
enum Left {
    /// It is held no more.
    Run,
    /// The process is gone.
    Process,
}

/// A run that is watched, at the process that holds it.
struct Watched(Option<Talk>);

impl Watched {
    async fn of(state: &Path, run: &RunId) -> Result<Self, Fault> {
        let Some(mut talk) = knock(state).await? else {
            return Ok(Self(None));
        };
        let wish = Wish::line(What::Watch(run.clone()))?;
        Ok(Self(match talk.say(&wish).await {
            Ok(()) => Some(talk),
            Err(_gone) => None,
        }))
    }

    /// Waits until it is held no more. May be cancelled.
    async fn left(&mut self) -> Result<Left, Fault> {
        let Some(talk) = &mut self.0 else {
            return Ok(Left::Process);
        };
        let Ok(Some(line)) = talk.hear(LONG).await else {
            return Ok(Left::Process);
        };
        match Said::read(&line)? {
            Said::Fault(code, message, hint) => Err(Fault {
                exit: Exit::Told(code),
                message,
                hint,
            }),
            _ => Ok(Left::Run),
        }
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
    let answered = timeout(PATIENCE, answer(&mut talk, &line)).await;
    let answered = answered.unwrap_or_else(|_late| {
        let message = format!("the process that holds run {run} does not answer");
        Err(Fault::new(Exit::Failed, message).hint("`loki stop` asks all runs that go on here"))
    });
    let process = answered?.ok_or_else(|| ended::gone(run))?;
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
        Some(Said::Fault(code, message, hint)) => Err(Fault {
            exit: Exit::Told(code),
            message,
            hint,
        }),
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
        return Err(ended::gone(run));
    };
    match timeout(PATIENCE, answer(&mut talk, &wish)).await {
        Ok(answered) => answered?.map(drop).ok_or_else(|| ended::gone(run)),
        Err(_late) => {
            let message = format!("run {run} has not answered yet, and may still make the change");
            Err(Fault::new(Exit::Failed, message)
                .hint(format!("`loki task list --run {run}` shows whether it has")))
        }
    }
}
