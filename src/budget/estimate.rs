//! What a plan will probably need: sessions, tokens, money and time, as ranges with the reason for
//! each number.
//!
//! The numbers come from earlier runs of the same provider where there were any for the role, else
//! from defaults that say that they are a guess. It is an estimate and holds nobody to it: budgets do.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
};

use serde::Serialize;

use super::Measure;
use crate::{
    event::{Event, Record, Told},
    name::{Role, TaskId},
    task::{MAX_ATTEMPTS, Task},
};

/// Milliseconds that a session is guessed to take.
const TIME: Range = Range {
    low: 2 * 60_000,
    high: 15 * 60_000,
};
/// Tokens that a session is guessed to use, those from a model's cache included.
const TOKENS: Range = Range {
    low: 200_000,
    high: 2_000_000,
};
/// What a session is guessed to cost, in millionths of a US dollar.
const MONEY: Range = Range {
    low: 150_000,
    high: 2_000_000,
};
/// Sessions that a task is guessed to take.
const TRIES: Range = Range { low: 1, high: 2 };

/// From a low number to a high one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Things go well.
    pub low: u64,
    /// Things go badly, within reason.
    pub high: u64,
}

impl Range {
    fn and(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            high: self.high.saturating_add(other.high),
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_mul(other.low),
            high: self.high.saturating_mul(other.high),
        }
    }

    /// From the smallest tenth to the largest tenth of what was seen; few are all taken.
    fn seen(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        let last = values.len().checked_sub(1)?;
        Some(Self {
            low: values[last / 10],
            high: values[last - last / 10],
        })
    }
}

/// What a provider's programs say of what they use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// They tell it.
    Told,
    /// They use no model.
    Nothing,
    /// They do not tell.
    Silent,
}

/// One session of an earlier run.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    time_ms: u64,
    tokens: Option<u64>,
    money_micros: u64,
}

/// What earlier runs tell about each role.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Runs it was learnt from.
    pub runs: usize,
    sessions: BTreeMap<Role, Vec<Session>>,
    /// How many sessions each finished task took.
    tries: BTreeMap<Role, Vec<u64>>,
}

impl History {
    /// Learns from one run, if agents of the same provider worked in it.
    pub fn learn(&mut self, records: &[Record], provider: &str) {
        let of = records.first().map(|record| &record.event);
        if !matches!(of, Some(Event::RunStarted { provider: one, .. }) if one == provider) {
            return;
        }
        let mut roles: HashMap<&TaskId, &Role> = HashMap::new();
        let mut sessions: BTreeMap<(&TaskId, u32), Session> = BTreeMap::new();
        let mut uncounted: HashMap<&TaskId, u32> = HashMap::new();
        for record in records {
            match &record.event {
                Event::Planned { tasks } => {
                    roles.extend(tasks.iter().map(|task| (&task.id, &task.role)));
                }
                Event::TaskAdded { task, .. } => drop(roles.insert(&task.id, &task.role)),
                Event::Interrupted { task, .. } | Event::TaskDeferred { task, .. } => {
                    *uncounted.entry(task).or_default() += 1;
                }
                Event::AgentEnded {
                    task,
                    attempt,
                    elapsed_ms,
                    ..
                } => sessions.entry((task, *attempt)).or_default().time_ms = *elapsed_ms,
                Event::AgentSpent { .. } => {
                    if let Some(told) = record.event.told().map(Told::believed) {
                        let of = (told.task, told.attempt);
                        let session = sessions.entry(of).or_default();
                        session.tokens = Some(told.tokens.all());
                        session.money_micros = told.cost_micros;
                    }
                }
                Event::TaskDone { task, attempt, .. } => {
                    if let Some(role) = roles.get(task) {
                        let uncounted = uncounted.get(task).copied().unwrap_or_default();
                        let tries = self.tries.entry((*role).clone()).or_default();
                        tries.push(u64::from(attempt.saturating_sub(uncounted)));
                    }
                }
                _ => {}
            }
        }
        self.runs += usize::from(!sessions.is_empty());
        for ((task, _), session) in sessions {
            if let Some(role) = roles.get(task) {
                self.sessions
                    .entry((*role).clone())
                    .or_default()
                    .push(session);
            }
        }
    }
}

/// What the tasks of one role will probably need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The role.
    pub role: Role,
    /// Its tasks.
    pub tasks: u64,
    /// Agent sessions, at most five a task.
    pub sessions: Range,
    /// Tokens; none where nobody would tell.
    pub tokens: Option<Range>,
    /// Millionths of a US dollar; none where nobody would tell.
    pub money_micros: Option<Range>,
    /// Milliseconds of one session.
    pub session_ms: Range,
    /// Where the numbers come from.
    pub because: String,
}

impl Part {
    /// Returns what is needed of one measure, none where nobody would tell. Time is that of its
    /// agents: of two at once both count.
    #[must_use]
    pub fn of(&self, measure: Measure) -> Option<Range> {
        match measure {
            Measure::Money => self.money_micros,
            Measure::Tokens => self.tokens,
            Measure::Time => Some(self.sessions.times(self.session_ms)),
            Measure::Iterations => Some(self.sessions),
        }
    }
}

/// What a plan will probably need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Agent sessions.
    pub sessions: Range,
    /// Tokens; none where nobody would tell.
    pub tokens: Option<Range>,
    /// Millionths of a US dollar; none where nobody would tell.
    pub money_micros: Option<Range>,
    /// Milliseconds from start to end, with so many agents at once.
    pub time_ms: Range,
    /// By role, in plan order.
    pub roles: Vec<Part>,
}

impl Estimate {
    /// Returns what is needed of one measure, none where nobody would tell.
    #[must_use]
    pub fn of(&self, measure: Measure) -> Option<Range> {
        match measure {
            Measure::Money => self.money_micros,
            Measure::Tokens => self.tokens,
            Measure::Time => Some(self.time_ms),
            Measure::Iterations => Some(self.sessions),
        }
    }
}

/// Estimates what a plan needs with so many agents at once.
#[must_use]
pub fn estimate(
    tasks: &[Task],
    parallel: usize,
    (history, telling): (&History, Telling),
) -> Estimate {
    let mut counts: Vec<(&Role, u64)> = Vec::new();
    for task in tasks {
        match counts.iter_mut().find(|(role, _)| *role == &task.role) {
            Some((_, count)) => *count += 1,
            None => counts.push((&task.role, 1)),
        }
    }
    let parts = counts
        .into_iter()
        .map(|(role, count)| part((role, count), history, telling));
    let roles: Vec<Part> = parts.collect();
    let sum = |of: &dyn Fn(&Part) -> Option<Range>| {
        let each = roles.iter().map(of);
        each.collect::<Option<Vec<_>>>()
            .map(|all| all.into_iter().fold(Range::default(), Range::and))
    };
    Estimate {
        sessions: sum(&|part| Some(part.sessions)).unwrap_or_default(),
        tokens: sum(&|part| part.tokens),
        money_micros: sum(&|part| part.money_micros),
        time_ms: duration(tasks, parallel, &roles),
        roles,
    }
}

fn part((role, count): (&Role, u64), history: &History, telling: Telling) -> Part {
    let seen = history.sessions.get(role).map_or(&[][..], Vec::as_slice);
    let tasks = Range {
        low: count,
        high: count,
    };
    let tries = history.tries.get(role).cloned().and_then(Range::seen);
    let most = u64::from(MAX_ATTEMPTS);
    let tries = tries.map_or(TRIES, |tries| Range {
        low: tries.low.clamp(1, most),
        high: tries.high.clamp(1, most),
    });
    let sessions = tasks.times(tries);
    let times = seen.iter().map(|one| one.time_ms).collect();
    let each = |told: Vec<u64>, guess: Range| match telling {
        Telling::Told => Some(Range::seen(told).unwrap_or(guess)),
        Telling::Nothing => Some(Range::default()),
        Telling::Silent => None,
    };
    let told = || seen.iter().filter(|one| one.tokens.is_some());
    let tokens = each(told().filter_map(|one| one.tokens).collect(), TOKENS);
    let money = each(told().map(|one| one.money_micros).collect(), MONEY);
    Part {
        role: role.clone(),
        tasks: count,
        sessions,
        tokens: tokens.map(|one| sessions.times(one)),
        money_micros: money.map(|one| sessions.times(one)),
        session_ms: Range::seen(times).unwrap_or(TIME),
        because: because((role, seen.len()), history, telling),
    }
}

fn because((role, seen): (&Role, usize), history: &History, telling: Telling) -> String {
    let source = if seen == 0 {
        format!("no earlier session of `{role}` here: a guess of ours, not a measurement")
    } else {
        let (s, r) = (plural(seen), plural(history.runs));
        format!(
            "{seen} earlier session{s} of it in {} run{r} here",
            history.runs
        )
    };
    let said = match telling {
        Telling::Told => "",
        Telling::Nothing => "; its program asks no model",
        Telling::Silent => "; its program does not say what it spends",
    };
    source + said
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// How long the whole takes: the plan is worked off as the queue would, first come first served.
fn duration(tasks: &[Task], parallel: usize, roles: &[Part]) -> Range {
    let per: HashMap<&Role, &Part> = roles.iter().map(|part| (&part.role, part)).collect();
    let of = |task: &Task, pick: &dyn Fn(Range) -> u64| {
        per.get(&task.role).map_or(0, |part| {
            let tries = pick(part.sessions).div_ceil(part.tasks.max(1));
            pick(part.session_ms).saturating_mul(tries)
        })
    };
    Range {
        low: worked_off(tasks, parallel, &|task| of(task, &|range| range.low)),
        high: worked_off(tasks, parallel, &|task| of(task, &|range| range.high)),
    }
}

fn worked_off(tasks: &[Task], parallel: usize, takes: &dyn Fn(&Task) -> u64) -> u64 {
    let (mut open, dependents) = graph(tasks);
    let mut ready: BTreeSet<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
    let mut running: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut now: u64 = 0;
    loop {
        while running.len() < parallel.max(1)
            && let Some(at) = ready.pop_first()
        {
            running.push(Reverse((now.saturating_add(takes(&tasks[at])), at)));
        }
        let Some(Reverse((end, at))) = running.pop() else {
            return now;
        };
        now = end;
        for next in &dependents[at] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
}

/// Returns how many tasks each waits for, and which wait for each.
fn graph(tasks: &[Task]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let places: HashMap<&TaskId, usize> = tasks.iter().map(|task| &task.id).zip(0..).collect();
    let mut open = vec![0; tasks.len()];
    let mut dependents = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        let before: BTreeSet<&usize> = task
            .depends_on
            .iter()
            .filter_map(|id| places.get(id))
            .collect();
        open[at] = before.len();
        for one in before {
            dependents[*one].push(at);
        }
    }
    (open, dependents)
}

/// Parts a plan into waves: a task stands in the first wave after all that it waits for.
#[must_use]
pub fn waves(tasks: &[Task]) -> Vec<Vec<&Task>> {
    let (mut open, dependents) = graph(tasks);
    let mut waves = Vec::new();
    let mut wave: Vec<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
    while !wave.is_empty() {
        let mut next = BTreeSet::new();
        for one in wave.iter().flat_map(|at| &dependents[*at]) {
            open[*one] -= 1;
            if open[*one] == 0 {
                next.insert(*one);
            }
        }
        waves.push(wave.iter().map(|at| &tasks[*at]).collect());
        wave = next.into_iter().collect();
    }
    waves
}
