//! What an agent's program says of its model: while it works, so that a budget is held before its
//! end and something is known of one that is cut off, and at its end.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    event::{Event, Priced, SpentSoFar},
    provider::Spent,
};

use super::{attempt::Claim, failure::Failure, room::Room};

/// How often it is recorded, when it has changed.
const EVERY: Duration = Duration::from_secs(10);

/// What was said so far, shared between who listens and who records.
#[derive(Debug, Default)]
pub(super) struct SoFar(Mutex<Spent>);

impl SoFar {
    /// Replaces what was said.
    pub(super) fn set(&self, spent: Spent) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spent;
    }

    fn get(&self) -> Spent {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Room<'_> {
    /// Waits for an agent's program, and records meanwhile what it says it has spent.
    pub(super) async fn spending<T>(
        &self,
        (claim, so_far): (&Claim, &SoFar),
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let mut told = Spent::default();
        loop {
            if let Ok(done) = tokio::time::timeout(EVERY, &mut work).await {
                return done;
            }
            let now = so_far.get();
            if told != now {
                // Where the run has ended the work is about to.
                self.recorder().record(spending(claim, &now)).await.ok();
                told = now;
            }
        }
    }

    /// Records what a program says at its end, if it says anything.
    pub(super) async fn spent(&self, claim: &Claim, spent: &Spent) -> Result<(), Failure> {
        if *spent == Spent::default() {
            return Ok(());
        }
        self.recorder()
            .record(Event::AgentSpent {
                task: claim.task.id.clone(),
                attempt: claim.attempt,
                model: spent.model.clone(),
                turns: spent.turns,
                input: spent.tokens.input,
                cache_written: spent.tokens.cache_written,
                cache_read: spent.tokens.cache_read,
                output: spent.tokens.output,
                cost_micros: spent.cost_micros,
                priced: Priced::Told,
            })
            .await?;
        Ok(())
    }
}

fn spending(claim: &Claim, spent: &Spent) -> Event {
    Event::AgentSpending(SpentSoFar {
        task: claim.task.id.clone(),
        attempt: claim.attempt,
        model: spent.model.clone(),
        input: spent.tokens.input,
        cache_written: spent.tokens.cache_written,
        cache_read: spent.tokens.cache_read,
        output: spent.tokens.output,
        cost_micros: spent.cost_micros,
        priced: Priced::Told,
    })
}
