//! `loki plan`: what a start would do, and what that will probably need. It reads and says; it
//! asks no engine, starts nothing and writes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;

use crate::{
    budget::{Budget, Estimate, History, Measure, Part, Range, Telling, estimate, waves},
    journal,
    name::{Role, TaskId},
    provider::Provider,
    task::Task,
};

use super::{
    args,
    choice::choose_or_leave,
    env::Environment,
    exit::{Exit, Fault},
    order::Order,
    start::{Checked, Intake, entitled},
    ui,
};

/// The version of the fields of [`Plan`] as JSON.
const SCHEMA: u32 = 1;
/// The newest runs that an estimate learns from.
const RUNS: usize = 20;
/// Longest journal that is read for it, in bytes.
const JOURNAL: u64 = 64 << 20;

/// What a start would do.
#[derive(Debug, Serialize)]
struct Plan<'a> {
    schema: u32,
    title: &'a str,
    spec: String,
    /// None where nobody would do the work yet.
    provider: Option<&'a str>,
    parallel: u16,
    tasks: Vec<Planned<'a>>,
    /// Names of tasks; those of one wave may run at the same time.
    waves: Vec<Vec<&'a TaskId>>,
    /// The longest chain of tasks that wait for each other.
    longest_chain: Vec<&'a TaskId>,
    roles: BTreeMap<&'a Role, usize>,
    /// Whether small related tasks may be done in one session: then fewer are needed.
    together: bool,
    estimate: &'a Estimate,
    /// What the run may spend; empty without a budget.
    budget: Budget,
    /// How the estimate compares, by measure.
    compared: BTreeMap<&'static str, Compared>,
    /// Of roles that have a budget: the same.
    role_budgets: BTreeMap<&'a Role, OfRole>,
}

#[derive(Debug, Serialize)]
struct OfRole {
    budget: Budget,
    compared: BTreeMap<&'static str, Compared>,
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    id: &'a TaskId,
    role: &'a Role,
    title: &'a str,
    depends_on: &'a [TaskId],
    accept: &'a [String],
    wave: usize,
}

/// How an estimate compares with a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Compared {
    Enough,
    MayNotBeEnough,
    NotEnough,
    Unknown,
}

impl Compared {
    fn of(limit: u64, need: Option<Range>) -> Self {
        match need {
            None => Self::Unknown,
            Some(need) if need.high <= limit => Self::Enough,
            Some(need) if need.low <= limit => Self::MayNotBeEnough,
            Some(_) => Self::NotEnough,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Enough => "is enough by this estimate",
            Self::MayNotBeEnough => "may not be enough",
            Self::NotEnough => "is not enough even if things go well",
            Self::Unknown => "cannot be compared: nobody says what is spent",
        }
    }
}

/// Says what a start with these words would do. What a start would refuse is refused, but that nobody
/// is named who does the work: a plan can be looked at before that is settled.
pub(super) fn plan(env: &Environment, args: &args::Start) -> Result<Exit, Fault> {
    let order = Order::typed(args)?;
    let intake = Intake::of(&order)?;
    let choice = choose_or_leave(&order, &intake)?;
    let checked = Checked::read(env, &order, (intake, choice.as_ref()))?;
    let provider = choice.map(|choice| checked.provider(&order, choice));
    let provider = provider.transpose()?;
    drop(entitled(env, (&checked.policy, &checked.tasks))?);
    let provider = provider.as_deref();
    let telling = provider.map_or(Telling::Silent, Provider::telling);
    let history = provider.map_or_else(History::default, |provider| {
        learn(&checked.repository.root().join(".loki"), provider.name())
    });
    let parallel = args.job.parallel;
    let from = (&history, telling);
    let needs = estimate(&checked.tasks, usize::from(parallel), from);
    let plan = Plan::new(&checked, &needs, (provider, parallel));
    if args.stay.json {
        ui::json(&plan)?;
    } else {
        plan.show();
    }
    Ok(Exit::Done)
}

/// Learns from the newest runs here. What cannot be read teaches nothing.
fn learn(state: &Path, provider: &str) -> History {
    let mut history = History::default();
    let runs = journal::runs(state).unwrap_or_default();
    for run in runs.iter().rev().take(RUNS) {
        let path = journal::path(state, run);
        let short = std::fs::metadata(&path).is_ok_and(|facts| facts.len() <= JOURNAL);
        if let Some(records) = short.then(|| journal::read(&path).ok()).flatten() {
            history.learn(&records, provider);
        }
    }
    history
}

impl<'a> Plan<'a> {
    fn new(
        checked: &'a Checked,
        estimate: &'a Estimate,
        (provider, parallel): (Option<&'a dyn Provider>, u16),
    ) -> Self {
        let (tasks, budgets) = (&checked.tasks, &checked.budgets);
        let waves = waves(tasks);
        let numbers: BTreeMap<&TaskId, usize> = (1..)
            .zip(&waves)
            .flat_map(|(number, wave)| wave.iter().map(move |task| (&task.id, number)))
            .collect();
        let mut roles: BTreeMap<&Role, usize> = BTreeMap::new();
        for task in tasks {
            *roles.entry(&task.role).or_default() += 1;
        }
        let planned = tasks.iter().map(|task| Planned {
            id: &task.id,
            role: &task.role,
            title: &task.title,
            depends_on: &task.depends_on,
            accept: &task.accept,
            wave: numbers.get(&task.id).copied().unwrap_or_default(),
        });
        let of_role = |part: &'a Part| {
            let budget = budgets.of(&part.role);
            let compared = compared(&budget, |measure| part.of(measure));
            (!budget.is_empty()).then_some((&part.role, OfRole { budget, compared }))
        };
        Self {
            schema: SCHEMA,
            title: &checked.intake.spec.title,
            spec: ui::visible(&checked.intake.file.to_string_lossy()),
            provider: provider.map(Provider::name),
            parallel,
            tasks: planned.collect(),
            waves: names(&waves),
            longest_chain: chain(tasks, &waves),
            roles,
            together: checked.rules.batching.is_some() && provider.is_some_and(Provider::joins),
            role_budgets: estimate.roles.iter().filter_map(of_role).collect(),
            compared: compared(&budgets.run, |measure| estimate.of(measure)),
            budget: budgets.run,
            estimate,
        }
    }

    fn show(&self) {
        ui::data(format!(
            "Plan of `{}`: {}",
            self.spec,
            ui::visible(self.title)
        ));
        let who = match self.provider {
            Some(name) => format!("provider `{name}`"),
            None => "no provider yet (`--provider`)".to_owned(),
        };
        ui::data(format!(
            "{} for {}, {who}, at most {} at once",
            ui::counted(self.tasks.len(), "task"),
            ui::counted(self.roles.len(), "role"),
            self.parallel
        ));
        for (number, wave) in (1..).zip(&self.waves) {
            let together = wave.len().min(usize::from(self.parallel));
            ui::data(format!("\nWave {number} ({together} at once)"));
            let in_wave: BTreeSet<&TaskId> = wave.iter().copied().collect();
            for task in self.tasks.iter().filter(|task| in_wave.contains(task.id)) {
                task.show();
            }
        }
        if self.longest_chain.len() > 1 {
            let names: Vec<&str> = self.longest_chain.iter().map(|id| id.as_str()).collect();
            ui::data(format!("\nLongest chain: {}", names.join(" → ")));
        }
        self.show_estimate();
        self.show_budget();
    }

    fn show_estimate(&self) {
        ui::data("\nEstimate (from, to)");
        for measure in [
            Measure::Iterations,
            Measure::Tokens,
            Measure::Money,
            Measure::Time,
        ] {
            let line = match self.estimate.of(measure) {
                Some(range) => between(measure, range),
                None => "not known".to_owned(),
            };
            ui::data(format!("  {:11} {line}", measure.word()));
        }
        ui::data("  because:");
        for part in &self.estimate.roles {
            ui::data(format!(
                "    {:18} {} at {} a session; {}",
                part.role.as_str(),
                ui::counted(usize::try_from(part.tasks).unwrap_or(usize::MAX), "task"),
                between(Measure::Time, part.session_ms),
                part.because
            ));
        }
        if self.together {
            ui::data("  small related tasks may be done in one session, and then need less");
        }
    }

    fn show_budget(&self) {
        if self.budget.is_empty() {
            ui::data("\nThe run has no budget: `--budget 5USD` sets one (docs/budgets.md)");
        } else {
            ui::data(format!("\nBudget: {}", self.budget.written()));
            show_compared(&self.compared);
        }
        for (role, OfRole { budget, compared }) in &self.role_budgets {
            ui::data(format!("\nBudget of `{role}`: {}", budget.written()));
            show_compared(compared);
        }
    }
}

fn show_compared(all: &BTreeMap<&str, Compared>) {
    for (measure, compared) in all {
        ui::data(format!("  {measure:11} {}", compared.told()));
    }
}

/// Compares what is limited with what is needed.
fn compared(
    budget: &Budget,
    need: impl Fn(Measure) -> Option<Range>,
) -> BTreeMap<&'static str, Compared> {
    let measures = Measure::ALL.into_iter().filter_map(|measure| {
        let limit = budget.of(measure)?;
        Some((measure.word(), Compared::of(limit, need(measure))))
    });
    measures.collect()
}

impl Planned<'_> {
    fn show(&self) {
        let after: Vec<&str> = self.depends_on.iter().map(TaskId::as_str).collect();
        let after = if after.is_empty() {
            String::new()
        } else {
            format!("  (after {})", after.join(", "))
        };
        ui::data(format!(
            "  {:18} {:18} {}{after}",
            self.id.as_str(),
            self.role.as_str(),
            ui::visible(self.title)
        ));
    }
}

fn between(measure: Measure, Range { low, high }: Range) -> String {
    if low == high {
        return measure.written(low);
    }
    format!("{} to {}", measure.written(low), measure.written(high))
}

fn names<'a>(waves: &[Vec<&'a Task>]) -> Vec<Vec<&'a TaskId>> {
    let of_wave = |wave: &Vec<&'a Task>| wave.iter().map(|task| &task.id).collect();
    waves.iter().map(of_wave).collect()
}

/// Returns the longest chain of tasks that wait for each other, its first task first.
fn chain<'a>(tasks: &'a [Task], waves: &[Vec<&'a Task>]) -> Vec<&'a TaskId> {
    let wave_of: BTreeMap<&TaskId, usize> = (0..)
        .zip(waves)
        .flat_map(|(number, wave)| wave.iter().map(move |task| (&task.id, number)))
        .collect();
    let by_name: BTreeMap<&TaskId, &Task> = tasks.iter().map(|task| (&task.id, task)).collect();
    let mut next = waves.last().and_then(|wave| wave.first().copied());
    let mut chain = Vec::new();
    while let Some(task) = next {
        chain.push(&task.id);
        let before = task.depends_on.iter().filter_map(|id| by_name.get(id));
        next = before.copied().max_by_key(|task| wave_of.get(&task.id));
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_compared_with_both_ends_of_an_estimate() {
        let need = |low, high| Some(Range { low, high });
        assert_eq!(Compared::of(5, need(1, 5)), Compared::Enough);
        assert_eq!(Compared::of(5, need(5, 6)), Compared::MayNotBeEnough);
        assert_eq!(Compared::of(5, need(6, 9)), Compared::NotEnough);
        assert_eq!(Compared::of(5, None), Compared::Unknown);
    }
}
