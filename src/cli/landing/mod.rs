//! The branch of a run, after work has landed on it: taking back, shipping, and asking where a
//! commit or a line comes from.

pub(super) mod args;
mod blame;
mod finish;
mod fit;
mod revert;
mod ship;
mod why;

pub(super) use blame::blame_task;
pub(super) use finish::{at_tip, unfinished};
pub(super) use revert::revert;
pub(super) use ship::{Shipment, after, ship, shipment};
pub(super) use why::why;

use std::path::Path;

use crate::{
    event::{Event, Record},
    journal::{Reopened, Writer, views},
    name::RunId,
    provenance::PERSON,
    redact::Redactor,
    status::Status,
};

use super::{
    audit, course,
    env::Environment,
    exit::{Exit, Fault, OrExit},
};

/// A journal that is written on after its run.
struct Book {
    writer: Writer,
    records: Vec<Record>,
    mask: Redactor,
}

impl Book {
    /// Opens the journal of a run. The lock on the repository must be held.
    fn open(env: &Environment, state: &Path, run: &RunId, mask: Redactor) -> Result<Self, Fault> {
        let Reopened {
            mut writer,
            records,
            ..
        } = audit::reopen(env, state, run)?;
        course::may_die(env, &mut writer)?;
        Ok(Self {
            writer,
            records,
            mask,
        })
    }

    fn status(&self) -> Status {
        Status::fold(&self.records)
    }

    /// Writes an event, secret values masked. It is on the disk when this returns.
    fn write(&mut self, event: &Event) -> Result<(), Fault> {
        let mut value = serde_json::to_value(event).or_exit(Exit::Bug)?;
        let masked = match self.mask.json(&mut value) {
            true => serde_json::from_value(value).or_exit(Exit::Failed)?,
            false => event.clone(),
        };
        let record = self.writer.append(&masked).or_exit(Exit::Failed)?;
        self.writer.sync().or_exit(Exit::Failed)?;
        self.records.push(record);
        Ok(())
    }

    /// Writes the views anew. They are copies: one that cannot be written is no failure.
    fn show(&self, state: &Path) {
        views::write(state, &self.status().orphaned()).ok();
    }
}
