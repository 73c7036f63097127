//! `loki audit prune`: replaces old journals by what is left of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    cli::{
        checkpoint::settings,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        start::now,
        ui, views,
    },
    diagnostic::explained,
    journal::{
        self, Key,
        audit::{self, Against, NotPruned, Tombstone},
        ring::Ring,
    },
    name::RunId,
};

use super::{anchors, args::Prune, keys, root};

/// Runs the verb.
pub(super) fn prune(env: &Environment, asked: &Prune) -> Result<Exit, Fault> {
    let state = views::state_to_read()?;
    let settings = settings(env)?;
    let key = Key::open(settings).or_exit(Exit::Failed)?;
    let key = key.ok_or_else(keys::none)?;
    let trusted = Ring::open(settings)
        .or_exit(Exit::Failed)?
        .around(key.public());
    let anchors = anchors(env, root(&state))?;
    let against = Against {
        keys: &trusted,
        anchors: Some(&anchors),
        anchor: None,
    };
    let mut runs = journal::runs(&state).or_exit(Exit::Failed)?;
    runs.truncate(runs.len().saturating_sub(asked.keep.unwrap_or(0)));
    let old = |left: &Tombstone| {
        let age = now().duration_since(left.last.ts);
        let asked = asked.older_than.and_then(|age| age.try_into().ok());
        asked.is_none_or(|asked: jiff::SignedDuration| age >= asked)
    };
    let (mut would, mut stays) = (Vec::new(), Vec::new());
    for run in runs {
        match audit::tombstone(&state, &run, against, (&key, now())) {
            Ok(left) if old(&left) => would.push(left),
            Ok(_) => {}
            Err(why) => stays.push((run, why)),
        }
    }
    let agreed = !would.is_empty() && agreed(asked, &would);
    let mut gone = Vec::new();
    for left in &would {
        if agreed {
            match audit::prune(&state, &left.run, against, (&key, now())) {
                Ok(left) => gone.push(left),
                Err(why) => stays.push((left.run.clone(), why)),
            }
        }
    }
    report(asked, &state, (&would, &gone, &stays))?;
    Ok(Exit::Done)
}

/// Shows what would go, and asks.
fn agreed(asked: &Prune, would: &[Tombstone]) -> bool {
    if asked.yes || asked.json {
        return asked.yes;
    }
    would.iter().for_each(|left| ui::data(line(left)));
    let count = ui::counted(would.len(), "journal");
    ui::ask(&format!(
        "Replace {count} by one signed line each? What they say is gone then."
    ))
}

fn line(left: &Tombstone) -> String {
    format!(
        "run {}: {} records, {} bytes, {:?}, ended {:.0}",
        left.run, left.last.seq, left.bytes, left.outcome, left.last.ts
    )
}

fn report(
    asked: &Prune,
    state: &Path,
    (would, gone, stays): (&[Tombstone], &[Tombstone], &[(RunId, NotPruned)]),
) -> Result<(), Fault> {
    let why = |why: &NotPruned| ui::visible(&explained(why));
    if asked.json {
        let names = |all: &[Tombstone]| all.iter().map(|left| json!(left.run)).collect::<Vec<_>>();
        let stays: Vec<Value> = stays
            .iter()
            .map(|(run, reason)| json!({ "run": run, "reason": why(reason) }))
            .collect();
        return ui::json(&json!({ "found": names(would), "pruned": names(gone), "stays": stays }));
    }
    for (run, reason) in stays {
        ui::note(format!("run {run} stays: {}", why(reason)));
    }
    if gone.is_empty() {
        let next = if would.is_empty() {
            "there is none to prune"
        } else {
            "nothing was removed; `--yes` removes without asking"
        };
        ui::note(next);
        return Ok(());
    }
    if asked.yes {
        gone.iter().for_each(|left| ui::data(line(left)));
    }
    let freed: u64 = gone.iter().map(|left| left.bytes).sum();
    ui::note(format!(
        "pruned {}, {freed} bytes, in `{}`; `loki audit verify --run RUN` still says what they were",
        ui::counted(gone.len(), "journal"),
        ui::visible(&state.join("journal").to_string_lossy())
    ));
    Ok(())
}
