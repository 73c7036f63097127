//! `loki egress …`: what sandboxes connected to and were denied, from the journal of a run, and a
//! person's way to open a host. It decides nothing: it shows what the gateway decided, and writes
//! rules that the policy's own check took.

mod allow;
pub(super) mod args;
mod entry;
mod sums;

pub(super) use allow::allow;
pub(super) use sums::{denied, top};

use crate::journal::{Follow, From};

use super::{
    exit::{Exit, Fault, OrExit},
    ui, views,
};

use args::Log;
use entry::Entries;

/// `loki egress log`.
pub(super) async fn log(asked: &Log) -> Result<Exit, Fault> {
    let Some(chosen) = views::choose(asked.run.as_ref())? else {
        return Ok(Exit::Done);
    };
    let mut entries = Entries::of(asked.role.as_ref());
    if !asked.follow {
        for record in chosen.records()? {
            if let Some(entry) = entries.take(&record)
                && !entry.print(asked)?
            {
                break;
            }
        }
        return Ok(Exit::Done);
    }
    let mut follow = Follow::open(&chosen.journal(), From::Start).or_exit(Exit::Failed)?;
    while let Some(record) = follow.next().await {
        let record = record.or_exit(Exit::Failed)?;
        let is_read = match entries.take(&record) {
            Some(entry) => entry.print(asked)?,
            None => true,
        };
        if !is_read {
            break;
        }
    }
    Ok(Exit::Done)
}

/// Returns a host with its port, as people read it; text of unknown origin.
fn place(host: &str, port: Option<u16>) -> String {
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    ui::visible(&format!("{host}{port}"))
}
