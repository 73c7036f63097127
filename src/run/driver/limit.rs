//! Holds a run to its budgets: warns, keeps roles from further sessions, and ends agents when the
//! run's own budget is used up.
//!
//! Work that was paid for is not thrown away: when money or tokens are used up, only attempts whose
//! agent still works are ended; what was handed over is judged and lands. Where that was all there
//! was to do, the run is done.

use std::time::Duration;

use super::{Driver, Ending, RunError};
use crate::{
    budget::{Mark, Measure, Passed},
    event::{Event, Outcome, Priced},
    name::{Role, TaskId},
    run::admission::Hold,
    task::{Action, State},
    text::visible,
};

impl Driver {
    /// Tells of every line of a budget that was crossed, and ends what may not go on.
    pub(super) fn hold_to_budgets(&mut self) -> Result<(), RunError> {
        for passed in self.status.budget.crossed(self.told_at.elapsed()) {
            // What is counted in sessions is kept by not beginning one.
            let ends = passed.role.is_none()
                && passed.mark != Mark::Near
                && passed.measure != Measure::Iterations;
            let reason = passed.told();
            self.write(Event::BudgetPassed(passed))?;
            if ends && self.limit.is_none() {
                self.stop_for_limit(reason)?;
            }
        }
        Ok(())
    }

    /// Begins nothing more and ends every agent that works; the run ends once the rest has.
    fn stop_for_limit(&mut self, reason: String) -> Result<(), RunError> {
        self.write(Event::StopRequested {
            by: "a budget".to_owned(),
            drain: true,
        })?;
        self.limit = Some(reason);
        for (task, session) in &self.under_way {
            if self.status.budget.works(task).is_some() {
                session.abort.abort();
            }
        }
        Ok(())
    }

    /// Returns how the run ends for its limit, once nothing of it goes on: not where all is done.
    pub(super) fn limited(&self) -> Option<Ending> {
        let reason = self.limit.as_ref().filter(|_| self.jobs.is_empty())?;
        let over = [Outcome::Done, Outcome::Failed].map(Action::Finish);
        let next = self.queue.next(0);
        let passed = self.status.budget.over(None);
        (!next.iter().any(|action| over.contains(action))).then(|| self.at_limit((reason, passed)))
    }

    /// Returns how the run ends where every task that could begin is kept from it by a budget.
    pub(super) fn withheld(&self) -> Option<Ending> {
        let landed = |task: &TaskId| {
            let standing = self.queue.get(task);
            standing.is_some_and(|standing| standing.state == State::Done)
        };
        let mut ready = self.queue.tasks().filter(|standing| {
            standing.state == State::Pending && standing.task.depends_on.iter().all(landed)
        });
        let barred = |role| self.status.budget.barred(role);
        let passed = barred(&ready.next()?.task.role)?;
        let all = ready.all(|standing| barred(&standing.task.role).is_some());
        all.then(|| self.at_limit((&passed.told(), Some(passed))))
    }

    fn at_limit(&self, (reason, passed): (&str, Option<&Passed>)) -> Ending {
        let asks = self.asks();
        let onward = self.onward(passed);
        let mut lines = vec![format!("{reason}; {onward} (docs/budgets.md)")];
        lines.extend((!asks.is_empty()).then_some(asks));
        Ending {
            outcome: Outcome::Limited,
            reason: Some(lines.join("\n")),
        }
    }

    /// Says what lets the run go on.
    fn onward(&self, passed: Option<&Passed>) -> String {
        let again = format!("`loki resume {}", self.work.run);
        let Some(passed) = passed else {
            return format!("{again}` with a larger budget goes on");
        };
        let (option, budget) = (passed.measure.option(), &self.status.budget);
        if passed.mark == Mark::Unknown {
            let models = budget.unpriced().into_iter().map(|model| match model {
                "" => "a model without a name".to_owned(),
                model => format!("`{}`", visible(model)),
            });
            let models = models.collect::<Vec<_>>().join(", ");
            return format!(
                "no price is known of {models}: add it to `prices` of ~/.config/loki/budget.yaml, or lift this \
                 budget and limit tokens; {again}` goes on then"
            );
        }
        let given = budget.limits.given.of(passed.measure) == Some(passed.allowed);
        match &passed.role {
            None if given => format!("{again} {option} …` with more goes on"),
            _ => format!("raise it in the budget.yaml that says so; {again}` goes on then"),
        }
    }

    /// Returns what keeps a role from another session: the claim before may have been the last that
    /// a budget allows.
    pub(super) fn barred(&mut self, role: &Role) -> Result<Option<Hold>, RunError> {
        self.hold_to_budgets()?;
        let passed = self.status.budget.barred(role);
        Ok(passed.map(|passed| Hold::Budget(passed.told())))
    }

    /// Waits until time alone crosses a line of a budget; for ever where none would.
    pub(super) fn next_line(&self) -> impl Future<Output = ()> + use<> {
        let line = self
            .status
            .budget
            .next_line()
            .map(|after| after.saturating_sub(self.told_at.elapsed()));
        async move {
            match line {
                // A timer of many years is none.
                Some(wait) => tokio::time::sleep(wait.min(Duration::from_secs(86_400))).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Says what tokens cost where the agent's program does not.
    pub(super) fn priced(&self, mut event: Event) -> Event {
        let Some(told) = event.told() else {
            return event;
        };
        if told.cost_micros == 0 && told.tokens.all() > 0 {
            let (cost, by) = match self.prices.of(told.model) {
                Some(price) => (price.cost(&told.tokens), Priced::Listed),
                None => (0, Priced::Unknown),
            };
            event.price(cost, by);
        }
        event
    }
}
