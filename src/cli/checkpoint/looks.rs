//! `loki checkpoint list|show|diff|verify`.

use serde_json::json;

use crate::{
    checkpoint::{Entry, Head, How, Kind, Store, diff as compare},
    name::CheckpointId,
};

use super::{
    args::{Diff, Listed, One, Verify},
    believed, bytes, state, told, ui,
};
use crate::cli::{
    env::Environment,
    exit::{Exit, Fault},
};

/// What a checkpoint is of, in a word.
pub(super) fn of(head: &Head) -> String {
    match (&head.origin.run, &head.origin.sandbox) {
        (Some(run), Some(sandbox)) => format!("{run}/{sandbox}"),
        (None, Some(sandbox)) => sandbox.clone(),
        (Some(run), None) => run.to_string(),
        (None, None) => head
            .trees
            .first()
            .map_or_else(String::new, |tree| tree.path.clone()),
    }
}

/// Opens the store, where there is one: looking makes none.
pub(super) fn store() -> Result<Option<Store>, Fault> {
    let state = state()?;
    if !Store::exists(&state) {
        ui::note("there is no checkpoint in this repository: `loki checkpoint create` makes one");
        return Ok(None);
    }
    Store::open(&state).map(Some).map_err(|cause| told(&cause))
}

/// `loki checkpoint list`.
pub(super) fn list(env: &Environment, asked: &Listed) -> Result<Exit, Fault> {
    let mut heads = Vec::new();
    let mut exit = Exit::Done;
    if let Some(store) = store()? {
        let ids = store.ids().map_err(|cause| told(&cause))?;
        if !ids.is_empty() {
            let believed = believed(env, &asked.trust)?;
            for id in ids {
                match believed.with(|trusted| store.head(&id, trusted)) {
                    Ok(head) => heads.push(head),
                    Err(cause) => {
                        // The others are still worth seeing.
                        exit = ui::fault(&told(&cause));
                    }
                }
            }
        }
    }
    heads.retain(|head| asked.run.is_none() || head.origin.run == asked.run);
    if asked.json {
        let rows: Vec<_> = heads.iter().map(row).collect();
        ui::json(&json!({ "schema": 1, "checkpoints": rows }))?;
        return Ok(exit);
    }
    let rows = heads.iter().map(|head| {
        vec![
            head.id.to_string(),
            head.created.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            of(head),
            head.entries.to_string(),
            bytes(head.bytes),
            bytes(head.stored),
            head.left_out.to_string(),
        ]
    });
    if heads.is_empty() {
        return Ok(exit);
    }
    let heading = [
        "CHECKPOINT",
        "MADE (UTC)",
        "OF",
        "ENTRIES",
        "BYTES",
        "STORED",
        "LEFT OUT",
    ];
    ui::table(&heading, rows);
    Ok(exit)
}

/// A checkpoint as JSON, without what only the store needs.
pub(super) fn row(head: &Head) -> serde_json::Value {
    json!({
        "id": head.id, "created": head.created, "origin": head.origin, "trees": head.trees,
        "stillness": head.stillness, "base": head.base, "entries": head.entries,
        "left_out": head.left_out, "bytes": head.bytes, "stored": head.stored,
    })
}

/// `loki checkpoint show`.
pub(super) fn show(env: &Environment, asked: &One) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return Err(unknown(&asked.id));
    };
    let believed = believed(env, &asked.trust)?;
    let read = || {
        let (head, mut reader) = believed.with(|trusted| store.look(&asked.id, trusted))?;
        let listing = store.listing(&head, &mut reader)?;
        Ok((head, listing))
    };
    let (head, listing) = read().map_err(|cause| told(&cause))?;
    if asked.json {
        let entries: Vec<_> = listing.entries.iter().map(entry).collect();
        let mut shown = row(&head);
        shown["schema"] = json!(1);
        shown["left_out"] = json!(listing.left_out);
        shown["entries"] = json!(entries);
        ui::json(&shown)?;
        return Ok(Exit::Done);
    }
    ui::data(ui::visible(&format!(
        "checkpoint {} of {}, {} {}, {} in {}",
        head.id,
        of(&head),
        head.created.strftime("%Y-%m-%d %H:%M:%S UTC,"),
        stillness(&head),
        bytes(head.bytes),
        ui::counted(listing.entries.len(), "entrie")
            .replace("entrie", "entry")
            .replace("entrys", "entries"),
    )));
    for one in &listing.entries {
        if !ui::is_read(line(one)) {
            return Ok(Exit::Done);
        }
    }
    for one in &listing.left_out {
        ui::data(format!("left out            {}: {}", one.path, one.why));
    }
    Ok(Exit::Done)
}

fn stillness(head: &Head) -> &'static str {
    match head.stillness {
        crate::checkpoint::Stillness::Ended => "nothing ran",
        crate::checkpoint::Stillness::Paused => "paused",
        crate::checkpoint::Stillness::Proven => "running, proven unchanged",
    }
}

fn entry(one: &Entry) -> serde_json::Value {
    let (kind, target) = match &one.is {
        Kind::Directory => ("directory", None),
        Kind::File { .. } => ("file", None),
        Kind::Link { target } => ("link", Some(target)),
    };
    json!({
        "path": one.path, "kind": kind, "mode": format!("{:04o}", one.mode), "size": one.size(),
        "mtime": [one.mtime.0, i64::from(one.mtime.1)], "target": target, "chunks": one.chunks(),
    })
}

fn line(one: &Entry) -> String {
    let (kind, target) = match &one.is {
        Kind::Directory => ('d', String::new()),
        Kind::File { .. } => ('-', String::new()),
        Kind::Link { target } => ('l', format!(" -> {target}")),
    };
    format!(
        "{kind} {:04o} {:>12} {}{target}",
        one.mode,
        one.size(),
        one.path
    )
}

/// Says that there is no such checkpoint, where there is no store either.
pub(super) fn unknown(id: &CheckpointId) -> Fault {
    told(&crate::checkpoint::CheckpointError::Unknown(id.clone()))
}

/// `loki checkpoint diff`.
pub(super) fn diff(env: &Environment, asked: &Diff) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return Err(unknown(&asked.before));
    };
    let believed = believed(env, &asked.trust)?;
    let read = |id: &CheckpointId| {
        let (head, mut reader) = believed.with(|trusted| store.look(id, trusted))?;
        store.listing(&head, &mut reader)
    };
    let before = read(&asked.before).map_err(|cause| told(&cause))?;
    let after = read(&asked.after).map_err(|cause| told(&cause))?;
    let found = compare(&before, &after);
    let exit = if found.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    if asked.json {
        ui::json(&json!({ "schema": 1, "differences": found }))?;
        return Ok(exit);
    }
    for one in &found {
        let word = match one.how {
            How::Added => "added",
            How::Removed => "removed",
            How::Contents => "changed",
            How::Kind => "kind",
            How::Mode => "mode",
        };
        if !ui::is_read(format!("{word:8} {}", one.path)) {
            break;
        }
    }
    Ok(exit)
}

/// `loki checkpoint verify`.
pub(super) fn verify(env: &Environment, asked: &Verify) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return asked
            .ids
            .first()
            .map_or(Ok(Exit::Done), |id| Err(unknown(id)));
    };
    let ids = match asked.ids.is_empty() {
        true => store.ids().map_err(|cause| told(&cause))?,
        false => asked.ids.clone(),
    };
    if ids.is_empty() {
        return Ok(Exit::Done);
    }
    let believed = believed(env, &asked.trust)?;
    let mut exit = Exit::Done;
    for id in ids {
        let bar = super::create::Bar::new("verifying");
        let told_of = |done, all| bar.show(done, all);
        let verified = believed.with(|trusted| store.verify(&id, trusted, &told_of));
        bar.end();
        match verified {
            Ok((head, _)) => ui::data(format!(
                "{id}: intact, {} entries, {}",
                head.entries,
                bytes(head.bytes)
            )),
            Err(cause) => exit = ui::fault(&told(&cause)),
        }
    }
    Ok(exit)
}
