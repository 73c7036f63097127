//! The key that seals journals: made, shown, and followed by another.

use serde_json::{Value, json};

use crate::{
    cli::{
        args::Json,
        checkpoint::settings,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        start::now,
        ui,
    },
    journal::{
        Key, PublicKey,
        ring::{self, Handover, Ring},
    },
};

use super::args::PublicHalf;

/// `loki audit init`.
pub(super) fn init(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let settings = settings(env)?;
    let was_there = Key::open(settings).or_exit(Exit::Failed)?.is_some();
    let key = Key::open_or_make(settings).or_exit(Exit::Failed)?.public();
    if json.json {
        ui::json(&json!({ "key": key.to_string(), "made": !was_there }))?;
        return Ok(Exit::Done);
    }
    ui::data(key.to_string());
    let word = if was_there {
        "there was a key"
    } else {
        "made the key"
    };
    let place = ui::visible(&settings.to_string_lossy());
    ui::note(format!(
        "{word}: `{place}/journal.key` is for this user alone; keep the public half above where \
         nobody who can write here can change it"
    ));
    Ok(Exit::Done)
}

/// `loki audit rotate`.
pub(super) fn rotate(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let handover = ring::rotate(settings(env)?, now()).or_exit(Exit::Failed)?;
    if json.json {
        ui::json(&shown(&handover))?;
        return Ok(Exit::Done);
    }
    ui::data(handover.new.to_string());
    ui::note(format!(
        "it follows {}, whose private half is gone; both signed that. A run that goes on seals \
         with the old key until it ends; checkpoints it signed are trusted as before, attestations are \
         checked with `--key {}`",
        handover.old, handover.old
    ));
    Ok(Exit::Done)
}

/// `loki audit key`.
pub(super) fn show(env: &Environment, asked: &PublicHalf) -> Result<Exit, Fault> {
    let settings = settings(env)?;
    let key = Key::open(settings).or_exit(Exit::Failed)?;
    let key = key.ok_or_else(none)?.public();
    let ring = Ring::open(settings).or_exit(Exit::Failed)?;
    if asked.pem {
        ui::data(key.pem().trim_end());
    } else if asked.json {
        let handovers: Vec<Value> = ring.handovers.iter().map(shown).collect();
        ui::json(&json!({ "key": key.to_string(), "handovers": handovers }))?;
    } else {
        ui::data(key.to_string());
        for handover in &ring.handovers {
            ui::data(handover.to_string());
        }
    }
    Ok(Exit::Done)
}

pub(super) fn none() -> Fault {
    Fault::new(Exit::Usage, "there is no key of this user")
        .hint("`loki audit init` makes one; `loki audit verify --key PUB` trusts another")
}

fn shown(handover: &Handover) -> Value {
    let key = PublicKey::to_string;
    json!({ "old": key(&handover.old), "new": key(&handover.new), "ts": handover.ts })
}
