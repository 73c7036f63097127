//! What was spent, folded from a run's events, and which lines of its budgets that crosses.
//!
//! Time is counted between records: that of a run while an orchestrator drives it, that of a role
//! for each of its agents that works. What an agent said so far is charged at once, and replaced by
//! what it says at its end. Tokens whose price nobody knows are kept by model, for a price that
//! comes later. Nothing here ends anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Budget, Budgets, Mark, Measure, Passed, Price,
    spending::{Charge, Spending},
};
use crate::{
    event::{Event, Priced, Record, Tokens, Told},
    name::{Role, TaskId},
};

/// Four fifths: where a budget is nearly used up.
const NEAR: (u64, u64) = (4, 5);

/// What a run and its roles may spend and have spent. Equal records give an equal ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// What may be spent; without limits when nobody set any.
    pub limits: Budgets,
    /// What the run has spent.
    pub run: Spending,
    /// What each role has spent.
    pub roles: BTreeMap<Role, Spending>,
    /// Lines of budgets that were crossed, in order.
    pub passed: Vec<Passed>,
    /// Attempts whose agent works, and for whom.
    #[serde(skip)]
    working: BTreeMap<TaskId, Role>,
    /// What the newest attempt at each task has cost so far.
    #[serde(skip)]
    so_far: BTreeMap<TaskId, Charge>,
    /// Tokens of attempts that may yet say what they cost, whose price nobody knows so far.
    #[serde(skip)]
    untold: BTreeMap<TaskId, Unpriced>,
    /// Tokens whose price nobody will tell any more.
    #[serde(skip)]
    unpriced: Vec<Unpriced>,
    /// Prices that came later than tokens of their models.
    #[serde(skip)]
    prices: BTreeMap<String, Price>,
    /// The last record's time while an orchestrator drives the run.
    #[serde(skip)]
    driven: Option<Timestamp>,
}

/// Tokens of one attempt that have no price.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unpriced {
    role: Option<Role>,
    model: String,
    tokens: Tokens,
}

impl Ledger {
    /// Takes one more record into account. `role` knows whose a task is.
    pub fn apply<'q>(&mut self, record: &Record, role: impl FnOnce(&TaskId) -> Option<&'q Role>) {
        if matches!(record.event, Event::Resumed { .. }) {
            // Between the two orchestrators nothing was spent.
            self.working.clear();
            self.driven = Some(record.ts);
        }
        self.pass(record.ts);
        match &record.event {
            Event::RunStarted { .. } => self.driven = Some(record.ts),
            Event::RunEnded { .. } => {
                self.working.clear();
                self.driven = None;
                for untold in std::mem::take(&mut self.untold).into_values() {
                    self.never_told(untold);
                }
            }
            Event::BudgetSet(budgets) => self.limit(budgets),
            Event::BudgetPassed(passed) => self.passed.push(passed.clone()),
            Event::TaskClaimed { task, .. } => {
                self.so_far.remove(task);
                self.run.iterations += 1;
                if let Some(role) = role(task) {
                    self.roles.entry(role.clone()).or_default().iterations += 1;
                    self.working.insert(task.clone(), role.clone());
                }
            }
            Event::Batched { tasks } => self.join(tasks, role),
            Event::AgentEnded { task, .. } => drop(self.working.remove(task)),
            Event::TaskDone { task, .. }
            | Event::TaskDeferred { task, .. }
            | Event::TaskCancelled { task, .. }
            | Event::TaskFailed { task, .. }
            | Event::TaskConflicted { task, .. }
            | Event::Waiting { task, .. }
            | Event::Interrupted { task, .. } => {
                self.working.remove(task);
                if let Some(untold) = self.untold.remove(task) {
                    self.never_told(untold);
                }
            }
            Event::ModelPriced { model, price } => self.price(model, *price),
            event => {
                if let Some(told) = event.told() {
                    let role = role(told.task);
                    self.hear((event, told.believed()), role);
                }
            }
        }
    }

    /// Charges what an agent's program says.
    fn hear(&mut self, (event, told): (&Event, Told<'_>), role: Option<&Role>) {
        self.untold.remove(told.task);
        if told.priced == Priced::Unknown {
            let unpriced = Unpriced {
                role: role.cloned(),
                model: told.model.to_owned(),
                tokens: told.tokens,
            };
            // While it works its program may yet say what they cost.
            if matches!(event, Event::AgentSpending(_)) {
                self.untold.insert(told.task.clone(), unpriced);
            } else {
                self.never_told(unpriced);
            }
        }
        self.charge((told.task, role), Charge::of(&told));
    }

    /// Takes sessions of several tasks, each counted already, for one: that of the first.
    fn join<'q>(&mut self, tasks: &[TaskId], role: impl FnOnce(&TaskId) -> Option<&'q Role>) {
        let Some((lead, mates)) = tasks.split_first() else {
            return;
        };
        for mate in mates {
            self.working.remove(mate);
        }
        let fewer = |sessions: &mut u64| *sessions = sessions.saturating_sub(mates.len() as u64);
        fewer(&mut self.run.iterations);
        if let Some(role) = role(lead).and_then(|role| self.roles.get_mut(role)) {
            fewer(&mut role.iterations);
        }
    }

    /// Lets time pass up to a moment; a clock that was set back passes none.
    fn pass(&mut self, ts: Timestamp) {
        let Some(last) = self.driven.filter(|last| *last < ts) else {
            return;
        };
        let passed = Duration::try_from(ts.duration_since(last)).unwrap_or_default();
        self.run.time += passed;
        for role in self.working.values() {
            self.roles.entry(role.clone()).or_default().time += passed;
        }
        self.driven = Some(ts);
    }

    fn limit(&mut self, budgets: &Budgets) {
        self.limits = budgets.clone();
        let mut passed = std::mem::take(&mut self.passed);
        // A line that stands where it stood is not told of again.
        passed.retain(|one| self.budget(one.role.as_ref()).of(one.measure) == Some(one.allowed));
        self.passed = passed;
    }

    /// Takes tokens for ones that their program will not say the price of any more.
    fn never_told(&mut self, unpriced: Unpriced) {
        let role = unpriced.role.as_ref();
        if let Some(price) = self.prices.get(&unpriced.model) {
            let cost = price.cost(&unpriced.tokens).min(Told::MOST_MICROS);
            let cost = Charge::of_price(cost);
            return self.both(role, |spending| spending.charge(&cost));
        }
        let tokens = unpriced.tokens.all();
        self.both(role, |spending| {
            spending.unpriced_tokens = spending.unpriced_tokens.saturating_add(tokens);
        });
        self.unpriced.push(unpriced);
    }

    /// Charges tokens of a model whose price has become known. A budget that could not be held for
    /// them alone is looked at anew.
    fn price(&mut self, model: &str, price: Price) {
        self.prices.insert(model.to_owned(), price);
        for unpriced in std::mem::take(&mut self.unpriced) {
            let tokens = unpriced.tokens.all();
            self.both(unpriced.role.as_ref(), |spending| {
                spending.unpriced_tokens = spending.unpriced_tokens.saturating_sub(tokens);
            });
            self.never_told(unpriced);
        }
        let mut passed = std::mem::take(&mut self.passed);
        passed.retain(|one| {
            let spent = self.spent(one.role.as_ref(), Duration::ZERO);
            one.mark != Mark::Unknown || spent.unpriced_tokens > 0
        });
        self.passed = passed;
    }

    /// Changes what the run has spent, and a role.
    fn both(&mut self, role: Option<&Role>, change: impl Fn(&mut Spending)) {
        change(&mut self.run);
        if let Some(role) = role {
            change(self.roles.entry(role.clone()).or_default());
        }
    }

    /// Returns the models of which tokens were told that have no price, the empty name among them
    /// where a program does not say.
    #[must_use]
    pub fn unpriced(&self) -> BTreeSet<&str> {
        let all = self.unpriced.iter().chain(self.untold.values());
        all.map(|one| one.model.as_str()).collect()
    }

    /// Charges what an attempt has cost by now; less than before is not given back.
    fn charge(&mut self, (task, role): (&TaskId, Option<&Role>), now: Charge) {
        let known = self.so_far.entry(task.clone()).or_default();
        let more = now.with(*known, u64::saturating_sub);
        *known = known.with(now, u64::max);
        self.both(role, |spending| spending.charge(&more));
    }

    /// Returns the budget of a role, of the run without one.
    #[must_use]
    pub fn budget(&self, role: Option<&Role>) -> Budget {
        match role {
            Some(role) => self.limits.of(role),
            None => self.limits.run,
        }
    }

    /// Returns every line that is crossed `later` than the last record and was not told of yet.
    #[must_use]
    pub fn crossed(&self, later: Duration) -> Vec<Passed> {
        if self.limits.is_empty() {
            return Vec::new();
        }
        let roles = self.roles.keys().map(Some);
        let scopes = [None].into_iter().chain(roles);
        scopes
            .flat_map(|role| {
                let (budget, spent) = (self.budget(role), self.spent(role, later));
                Measure::ALL
                    .into_iter()
                    .filter_map(move |measure| line(role, (measure, budget.of(measure)?), &spent))
            })
            .filter(|one| !self.is_told(one))
            .collect()
    }

    /// Returns what was spent by a role, or the run, so much later than the last record.
    fn spent(&self, role: Option<&Role>, later: Duration) -> Spending {
        let mut spent = match role {
            Some(role) => self.roles.get(role).copied().unwrap_or_default(),
            None => self.run,
        };
        spent.time += later.saturating_mul(self.pace(role));
        spent
    }

    /// How fast time is spent: for the run once, for a role by each of its agents.
    fn pace(&self, role: Option<&Role>) -> u32 {
        let Some(role) = role else {
            return u32::from(self.driven.is_some());
        };
        let working = self.working.values().filter(|one| *one == role).count();
        u32::try_from(working).unwrap_or(u32::MAX)
    }

    fn is_told(&self, line: &Passed) -> bool {
        self.passed.iter().any(|one| {
            (&one.role, one.measure, one.allowed) == (&line.role, line.measure, line.allowed)
                && one.mark >= line.mark
        })
    }

    /// Returns what keeps a role from another session, the run's own budget first.
    #[must_use]
    pub fn barred(&self, role: &Role) -> Option<&Passed> {
        self.over(None).or_else(|| self.over(Some(role)))
    }

    /// Returns which budget of a role, of the run without one, is used up.
    #[must_use]
    pub fn over(&self, role: Option<&Role>) -> Option<&Passed> {
        let mut passed = self.passed.iter();
        passed.find(|one| one.mark != Mark::Near && one.role.as_ref() == role)
    }

    /// Returns whose budgets are used up; none is the run's.
    pub fn used_up(&self) -> impl Iterator<Item = Option<&Role>> {
        let over = self.passed.iter().filter(|one| one.mark != Mark::Near);
        over.map(|one| one.role.as_ref())
    }

    /// Returns how long after the last record the next line is crossed by time alone.
    #[must_use]
    pub fn next_line(&self) -> Option<Duration> {
        let roles = self.roles.keys().map(Some);
        let waits = [None].into_iter().chain(roles).filter_map(|role| {
            let allowed = self.budget(role).of(Measure::Time)?;
            let pace = self.pace(role);
            let used = self.spent(role, Duration::ZERO).time;
            let lines = [allowed.div_ceil(NEAR.1) * NEAR.0, allowed];
            let ahead = lines
                .into_iter()
                .map(Duration::from_millis)
                .filter(|line| *line > used)
                .min()?;
            (pace > 0).then(|| (ahead - used) / pace + Duration::from_millis(1))
        });
        waits.min()
    }

    /// Returns whose agent works at a task, none when none does.
    #[must_use]
    pub fn works(&self, task: &TaskId) -> Option<&Role> {
        self.working.get(task)
    }
}

/// Returns which line of one limit is crossed.
fn line(
    role: Option<&Role>,
    (measure, allowed): (Measure, u64),
    spent: &Spending,
) -> Option<Passed> {
    let used = spent.of(measure);
    let near = u128::from(used) * u128::from(NEAR.1) >= u128::from(allowed) * u128::from(NEAR.0);
    let mark = if used >= allowed {
        Mark::Reached
    } else if measure == Measure::Money && spent.unpriced_tokens > 0 {
        Mark::Unknown
    } else if near {
        Mark::Near
    } else {
        return None;
    };
    Some(Passed {
        role: role.cloned(),
        measure,
        allowed,
        used,
        mark,
    })
}
