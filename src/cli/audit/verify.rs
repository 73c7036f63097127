//! `loki audit verify`: holds journals against their seals and says the first thing that is wrong.

use std::{fs::File, io::Read as _, path::Path};

use serde_json::{Value, json};

use crate::{
    cli::{
        checkpoint::settings,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        ui, views,
    },
    diagnostic::explained,
    journal::{
        self, JournalError, Key, Lock, PublicKey, SealFault,
        audit::{self, Against, Audit, AuditError},
        ring::{Ring, Trusted},
    },
    name::RunId,
};

use super::{anchors, args::Verify, keys, root};

/// The most that is read of a file of keys.
const LARGEST: u64 = 1 << 20;

/// Runs the verb.
pub(super) fn verify(env: &Environment, asked: &Verify) -> Result<Exit, Fault> {
    let state = views::state_to_read()?;
    // Without a home nothing is kept outside; what is here can be verified all the same.
    let anchors = anchors(env, root(&state)).ok();
    let trusted = trusted(env, asked)?;
    let kept = asked.anchor.as_deref().map(given).transpose()?;
    let against = Against {
        keys: &trusted,
        anchors: anchors.as_deref(),
        anchor: kept.as_ref(),
    };
    let missing = anchors
        .as_deref()
        .map(|anchors| audit::missing(&state, anchors));
    let missing = missing
        .transpose()
        .or_exit(Exit::Failed)?
        .unwrap_or_default();
    let runs = runs(&state, asked, &missing)?;
    if runs.is_empty() {
        ui::note("no run was made in this repository: `loki start SPEC.md` makes one");
        return Ok(Exit::Failed);
    }
    // A run that begins right now has a journal before it has a seal.
    let begins = Lock::holder(&state).ok().flatten().map(|held| held.run);
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for run in &runs {
        let accepted = match asked.unsealed || begins.as_ref() == Some(run) {
            true => Accepted::Any,
            false => Accepted::Sealed,
        };
        let judged = Judged::of(run, audit::audit(&state, run, against), accepted);
        if asked.json {
            all.push(judged.json());
        } else {
            judged.say();
        }
        if judged.fault.is_some() {
            exit = Exit::Failed;
        }
    }
    match all.as_slice() {
        [] => {}
        [one] if !asked.all => ui::json(one)?,
        many => ui::json(&json!({ "runs": many }))?,
    }
    Ok(exit)
}

/// Returns the runs that were asked for: without a name also those that should be here.
fn runs(state: &Path, asked: &Verify, missing: &[RunId]) -> Result<Vec<RunId>, Fault> {
    let mut runs = journal::runs(state).or_exit(Exit::Failed)?;
    if let Some(run) = &asked.run {
        let pruned = audit::pruned_runs(state).or_exit(Exit::Failed)?;
        if [runs, pruned, missing.to_vec()].concat().contains(run) {
            return Ok(vec![run.clone()]);
        }
        let message = format!("there is no run `{run}` here");
        return Err(Fault::new(Exit::Usage, message).hint("`loki audit verify --all` lists them"));
    }
    if asked.all {
        runs.extend(audit::pruned_runs(state).or_exit(Exit::Failed)?);
    } else {
        runs = runs.pop().into_iter().collect();
        // The newest may be the one that was destroyed, or stand in the place of it.
        for run in journal::without_beginning(state).or_exit(Exit::Failed)? {
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
    }
    runs.extend(missing.iter().cloned());
    Ok(runs)
}

/// The keys whose seals count.
fn trusted(env: &Environment, asked: &Verify) -> Result<Trusted, Fault> {
    let Some(named) = &asked.key else {
        let settings = settings(env)?;
        let Some(key) = Key::open(settings).or_exit(Exit::Failed)? else {
            let none = Ring::default().around(PublicKey::NONE);
            return if asked.unsealed {
                Ok(none)
            } else {
                Err(keys::none())
            };
        };
        let ring = Ring::open(settings).or_exit(Exit::Failed)?;
        return Ok(ring.around(key.public()));
    };
    if let Ok(key) = PublicKey::read(named) {
        let ring = env.config.as_deref().map(Ring::open).transpose();
        let ring = ring.or_exit(Exit::Failed)?.unwrap_or_default();
        return Ok(ring.around(key));
    }
    let shown = ui::visible(named);
    let mut text = String::new();
    let read = File::open(named).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    read.map_err(|cause| {
        let message = format!("`{shown}` is neither a public key nor a file of one: {cause}");
        Fault::new(Exit::Usage, message).hint("`loki audit key` prints one")
    })?;
    if let Ok(key) = PublicKey::read(&text) {
        return Ok(Ring::default().around(key));
    }
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let key = PublicKey::read(first).map_err(|cause| {
        Fault::new(Exit::Usage, format!("`{shown}`: {cause}")).hint("`loki audit key` prints one")
    })?;
    let ring = Ring::parse(rest).or_exit(Exit::Failed)?;
    Ok(ring.around(key))
}

/// Reads the seal that a person kept.
fn given(file: &Path) -> Result<journal::Seal, Fault> {
    let shown = ui::visible(&file.to_string_lossy());
    let hint = "`loki audit anchor --to FILE` makes such a file";
    match audit::read_anchor(file) {
        Ok(Some(seal)) => Ok(seal),
        Ok(None) => Err(Fault::new(Exit::Usage, format!("there is no file `{shown}`")).hint(hint)),
        Err(cause) => Err(Fault::new(Exit::Usage, ui::visible(&explained(&cause))).hint(hint)),
    }
}

/// Which journals can be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    /// Those that have a seal.
    Sealed,
    /// Those without any, too.
    Any,
}

/// What came of one run.
struct Judged {
    run: RunId,
    found: Option<Audit>,
    fault: Option<Wrong>,
}

/// What is wrong, in a word and a sentence.
struct Wrong {
    kind: &'static str,
    message: String,
    hint: &'static str,
}

impl Judged {
    fn of(run: &RunId, found: Result<Audit, AuditError>, accepted: Accepted) -> Self {
        let run = run.clone();
        match found {
            Ok(found) if found.sealed == 0 && accepted == Accepted::Sealed => Self {
                fault: Some(Wrong::unsealed(&found)),
                run,
                found: Some(found),
            },
            Ok(found) => Self {
                run,
                found: Some(found),
                fault: None,
            },
            Err(error) => Self {
                run,
                found: None,
                fault: Some(Wrong::of(&error)),
            },
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({ "run": self.run });
        if let (Some(found), Some(fields)) = (&self.found, value.as_object_mut())
            && let Ok(Value::Object(more)) = serde_json::to_value(found)
        {
            fields.extend(more);
        }
        value["sound"] = json!(self.fault.is_none());
        if let Some(wrong) = &self.fault {
            value["fault"] = json!({ "kind": wrong.kind, "message": wrong.message });
        }
        value
    }

    fn say(&self) {
        if let Some(wrong) = &self.fault {
            ui::note(format!("error: {}", wrong.message));
            ui::note(format!("hint: {}", wrong.hint));
            return;
        }
        let Some(found) = &self.found else {
            return;
        };
        match found.pruned {
            Some(when) => ui::data(format!(
                "run {}: {} records, pruned at {when:.0}, sealed to the last, last hash {}",
                found.run, found.records, found.last_hash
            )),
            None => ui::data(format!(
                "run {}: {} records, chain intact, last hash {}",
                found.run, found.records, found.last_hash
            )),
        }
        say_seals(found);
    }
}

fn say_seals(found: &Audit) {
    if let Some(when) = found.sealed_at {
        let outside = match found.anchored {
            Some(seq) => format!("record {seq} is kept outside"),
            None => "none is kept outside on this machine".to_owned(),
        };
        ui::data(format!(
            "sealed to record {} by {}, the newest of {when:.0}; {outside}",
            found.sealed,
            ui::counted(usize::try_from(found.seals).unwrap_or(usize::MAX), "seal")
        ));
    }
    if found.loose > 0 {
        ui::note(format!(
            "the first {} of an older form that does not name the one before: one of them that was removed would not be missed",
            match found.loose {
                1 => "seal is".to_owned(),
                seals => format!("{seals} seals are"),
            }
        ));
    }
    if found.unsealed > 0 {
        ui::warning(format!(
            "no seal covers the last {}: whoever wrote them, or changed them, is not known",
            ui::counted(
                usize::try_from(found.unsealed).unwrap_or(usize::MAX),
                "record"
            )
        ));
    }
    for (first, last) in &found.taken_over {
        ui::warning(format!(
            "records {first} to {last} were sealed only after a crash, when the run was opened again"
        ));
    }
    if let Some(bytes) = found.torn_seal {
        ui::warning(format!(
            "{bytes} bytes of a seal that was never completed follow"
        ));
    }
    if let Some(bytes) = found.torn {
        ui::warning(format!(
            "{bytes} bytes of a record that was never completed follow; they were never acted on"
        ));
    }
}

impl Wrong {
    fn unsealed(found: &Audit) -> Self {
        let run = &found.run;
        let message = match found.records {
            0 => format!("the journal of run {run} has no whole record, and no seal"),
            1 => format!("no seal covers the one record of run {run}"),
            records => format!("no seal covers any of the {records} records of run {run}"),
        };
        let hint = match (found.records, found.format) {
            (0, _) => {
                "it was emptied, or its writer died before it wrote any: the next `loki start` says which"
            }
            (_, ..3) => {
                "a version that did not seal may have written it: `--unsealed` checks its chain alone"
            }
            _ => "the file of its seals was removed, or it was put here by somebody else",
        };
        Self {
            kind: "unsealed",
            message,
            hint,
        }
    }

    fn of(error: &AuditError) -> Self {
        let (kind, hint) = match error {
            AuditError::Journal(JournalError::Broken { .. }) => {
                ("record", "the records before it are as they were written")
            }
            AuditError::Journal(JournalError::Seal {
                fault: SealFault::OtherKey { .. },
                ..
            })
            | AuditError::Tombstone {
                fault: SealFault::OtherKey { .. },
                ..
            }
            | AuditError::Given {
                fault: SealFault::OtherKey { .. },
                ..
            } => (
                "wrong-key",
                "`--key PUB` trusts another key; one that nobody of yours had means a forged journal",
            ),
            AuditError::Journal(JournalError::Seal { .. }) => (
                "seal",
                "the seals were changed; the seal outside, or one you kept, still says what was written",
            ),
            AuditError::Journal(_) => (
                "unreadable",
                "`loki audit verify --all` goes through all runs",
            ),
            AuditError::Rewritten { .. } => (
                "rewritten",
                "the chain fits, the signature does not: it was written anew",
            ),
            AuditError::Cut { .. } => ("cut", "its end was removed, or an older copy put back"),
            AuditError::SealsCut { .. } => {
                ("seals-cut", "seals were removed, or an older copy put back")
            }
            AuditError::Gone { .. } => (
                "gone",
                "if you removed it yourself, remove the file that says so too",
            ),
            AuditError::Tombstone { .. } => ("tombstone", "what pruning left was changed"),
            AuditError::Given { .. } => (
                "anchor",
                "give the seal of this run, as `loki audit anchor` printed it",
            ),
        };
        Self {
            kind,
            message: ui::visible(&explained(error)),
            hint,
        }
    }
}
