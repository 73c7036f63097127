//! Numbers side by side, and whether the goals hold.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};

use crate::{load::Failed, sides::Side};

/// Which way a number is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

/// A name, a unit, and which way is better.
type What<'a> = (&'a str, &'a str, Better);

pub struct Report<'a> {
    bench: &'static str,
    sides: &'a [Side],
    missing: Vec<String>,
    rows: Vec<Value>,
    goals: Vec<Value>,
    lost: bool,
}

/// So far beyond a goal is no accident of a busy machine.
const WIDE: f64 = 2.0;

impl<'a> Report<'a> {
    pub fn new(bench: &'static str, sides: &'a [Side], missing: Vec<String>) -> Self {
        Self {
            bench,
            sides,
            missing,
            rows: Vec::new(),
            goals: Vec::new(),
            lost: false,
        }
    }

    /// Measures all sides by turns and keeps the median of each.
    pub fn measure(
        &mut self,
        what: What<'_>,
        rounds: usize,
        operations: usize,
        take: impl Fn(&Side) -> Result<f64, Failed>,
    ) {
        self.many(&[what], (rounds, operations), |side| Ok(vec![take(side)?]));
    }

    /// The same of several numbers that one measurement yields.
    pub fn many(
        &mut self,
        what: &[What<'_>],
        (rounds, operations): (usize, usize),
        take: impl Fn(&Side) -> Result<Vec<f64>, Failed>,
    ) {
        let mut taken = vec![vec![Vec::new(); what.len()]; self.sides.len()];
        let mut cpu = vec![Duration::ZERO; self.sides.len()];
        let mut failed: Vec<Option<String>> = vec![None; self.sides.len()];
        for _ in 0..rounds {
            for (at, side) in self.sides.iter().enumerate() {
                if failed[at].is_some() {
                    continue;
                }
                let before = side.used();
                match take(side) {
                    Ok(numbers) => {
                        for (all, number) in taken[at].iter_mut().zip(numbers) {
                            all.push(number);
                        }
                    }
                    Err(error) => failed[at] = Some(error.to_string()),
                }
                if let (Some(before), Some(after)) = (before, side.used()) {
                    cpu[at] += after.cpu.saturating_sub(before.cpu);
                }
            }
        }
        for (index, (name, unit, better)) in what.iter().enumerate() {
            let values: Vec<Option<f64>> = taken.iter().map(|one| median(&one[index])).collect();
            let tail = |at: usize| tail(&taken[at][index], *better);
            let direct = values[0];
            for (at, side) in self.sides.iter().enumerate() {
                let ratio = values[at].zip(direct).map(|(value, direct)| value / direct);
                let each = cpu[at].as_secs_f64() / (rounds * operations) as f64;
                self.rows.push(json!({
                    "measure": name,
                    "unit": unit,
                    "better": format!("{better:?}").to_lowercase(),
                    "side": side.name,
                    "value": values[at].map(rounded),
                    "p95": tail(at).map(rounded),
                    "rounds": rounds,
                    "of_direct": ratio.map(|ratio| (ratio * 100.0).round() / 100.0),
                    "cpu_ns_each": side.used().map(|_| (each * 1e9 * 100.0).round() / 100.0),
                    "failed": failed[at],
                }));
            }
        }
    }

    fn value(&self, name: &str, side: &str, key: &str) -> f64 {
        let row = self
            .rows
            .iter()
            .find(|row| row["measure"] == name && row["side"] == side);
        row.and_then(|row| row[key].as_f64()).unwrap_or(f64::NAN)
    }

    fn judge(&mut self, name: &str, (goal, got): (f64, f64), better: Better) {
        let (held, near) = match better {
            Better::Less => (got <= goal, got <= goal * WIDE),
            Better::More => (got >= goal, got >= goal / WIDE),
        };
        self.lost |= !near;
        self.goals
            .push(json!({ "goal": name, "reach": goal, "got": rounded(got), "held": held }));
    }

    /// Holds what ours is of direct against a goal.
    pub fn goal(&mut self, name: &str, goal: f64) {
        let row = self.rows.iter().find(|row| row["measure"] == name);
        let less = row.is_some_and(|row| row["better"] == "less");
        let better = if less { Better::Less } else { Better::More };
        let got = self.value(name, "loki", "of_direct");
        self.judge(&format!("{name}, of direct"), (goal, got), better);
    }

    /// Holds what ours adds to direct, in microseconds, against a goal.
    pub fn added(&mut self, name: &str, goal: f64) {
        let got = self.value(name, "loki", "value") - self.value(name, "direct", "value");
        self.judge(&format!("{name}, added us"), (goal, got), Better::Less);
    }

    /// Holds what ours reaches against a goal.
    pub fn least(&mut self, name: &str, goal: f64) {
        let got = self.value(name, "loki", "value");
        self.judge(name, (goal, got), Better::More);
    }

    /// Prints all; a failure when a goal is missed by far.
    pub fn print(self) -> ExitCode {
        let memory: Vec<Value> = self
            .sides
            .iter()
            .filter_map(|side| {
                let used = side.used()?;
                Some(json!({ "side": side.name, "resident_mb": mb(used.resident), "peak_mb": mb(used.peak) }))
            })
            .collect();
        let told = json!({
            "schema": 1, "bench": self.bench, "machine": machine(), "missing": self.missing,
            "goals": self.goals, "memory": memory, "rows": self.rows,
        });
        println!("{told:#}");
        match self.lost {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}

/// Returns what the numbers depend on.
pub fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    json!({
        "cpu": model.map(|model| model.trim_start_matches(['\t', ' ', ':'])),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load": read("/proc/loadavg").trim(),
    })
}

fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// What 95 of 100 rounds were at least as good as.
fn tail(numbers: &[f64], better: Better) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    if better == Better::More {
        sorted.reverse();
    }
    let at = (sorted.len() * 95).div_ceil(100).checked_sub(1)?;
    sorted.get(at).copied()
}

/// Bytes as megabytes, with one digit.
pub fn mb(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
