//! What can be wrong with a plan. Every fault is reported, not the first.
//!
//! It refuses to repair: a plan with a fault is not run.

use std::collections::{BTreeSet, HashMap};

use super::Task;
use crate::{
    diagnostic::closest,
    name::{Role, TaskId},
};

/// One fault of a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing to do.
    #[error("the plan has no tasks; list at least one")]
    Empty,
    /// Two tasks have one name.
    #[error("task `{task}` is listed more than once; give each task a name of its own")]
    Duplicate {
        /// The name.
        task: TaskId,
    },
    /// A task waits for one that is not in the plan.
    #[error("task `{task}` depends on `{missing}`, which is not in the plan{}", meant(nearest.as_ref()))]
    UnknownDependency {
        /// The task that waits.
        task: TaskId,
        /// What it waits for.
        missing: TaskId,
        /// The task that was probably meant.
        nearest: Option<TaskId>,
    },
    /// Tasks wait for each other in a circle.
    #[error(
        "tasks wait for each other: {}; remove one of these dependencies",
        circle(cycle)
    )]
    Cycle {
        /// The circle, each waiting for the next and the last for the first.
        cycle: Vec<TaskId>,
    },
    /// A task is given to nobody.
    #[error("task `{task}` is for the role `{role}`, which does not exist{}", meant(nearest.as_ref()))]
    UnknownRole {
        /// The task.
        task: TaskId,
        /// The role that was asked for.
        role: Role,
        /// The role that was probably meant.
        nearest: Option<Role>,
    },
}

fn meant(nearest: Option<&impl std::fmt::Display>) -> String {
    nearest.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

fn circle(cycle: &[TaskId]) -> String {
    let names: Vec<_> = cycle
        .iter()
        .chain(cycle.first())
        .map(|id| format!("`{id}`"))
        .collect();
    names.join(" → ")
}

/// Returns every fault of a plan, in plan order, cycles last; empty means it can run.
///
/// `exists` decides whether a role may be used; `names` are the roles worth suggesting.
#[must_use]
pub fn check(tasks: &[Task], exists: &dyn Fn(&Role) -> bool, names: &[Role]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if tasks.is_empty() {
        faults.push(Fault::Empty);
    }
    let mut seen = HashMap::new();
    let mut doubled = BTreeSet::new();
    for (at, task) in tasks.iter().enumerate() {
        if seen.insert(&task.id, at).is_some() && doubled.insert(&task.id) {
            faults.push(Fault::Duplicate {
                task: task.id.clone(),
            });
        }
    }
    for task in tasks {
        if !exists(&task.role) {
            faults.push(unknown_role(task, names));
        }
        let missing = task.depends_on.iter().filter(|id| !seen.contains_key(id));
        faults.extend(missing.map(|missing| {
            Fault::UnknownDependency {
                task: task.id.clone(),
                missing: missing.clone(),
                nearest: closest(missing.as_str(), tasks.iter().map(|task| task.id.as_str()))
                    .and_then(|word| word.parse().ok()),
            }
        }));
    }
    faults.extend(cycles(tasks, &seen));
    faults
}

fn unknown_role(task: &Task, names: &[Role]) -> Fault {
    Fault::UnknownRole {
        task: task.id.clone(),
        role: task.role.clone(),
        nearest: closest(task.role.as_str(), names.iter().map(Role::as_str))
            .and_then(|word| word.parse().ok()),
    }
}

/// Where the search for cycles stands with a task.
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Unseen,
    OnPath,
    Over,
}

/// Finds cycles by a depth-first walk with a stack of its own, for a plan can be a long chain.
fn cycles(tasks: &[Task], index: &HashMap<&TaskId, usize>) -> Vec<Fault> {
    let mut marks = vec![Mark::Unseen; tasks.len()];
    let mut found = Vec::new();
    for start in 0..tasks.len() {
        if marks[start] != Mark::Unseen {
            continue;
        }
        marks[start] = Mark::OnPath;
        let mut path = vec![(start, 0)];
        while let Some((at, edge)) = path.last_mut() {
            let Some(dependency) = tasks[*at].depends_on.get(*edge) else {
                marks[*at] = Mark::Over;
                path.pop();
                continue;
            };
            *edge += 1;
            let Some(&next) = index.get(dependency) else {
                continue;
            };
            match marks[next] {
                Mark::Unseen => {
                    marks[next] = Mark::OnPath;
                    path.push((next, 0));
                }
                Mark::OnPath => {
                    let circle = path.iter().skip_while(|(at, _)| *at != next);
                    let cycle = circle.map(|(at, _)| tasks[*at].id.clone()).collect();
                    found.push(Fault::Cycle { cycle });
                }
                Mark::Over => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, role: &str, depends_on: &[&str]) -> Task {
        Task {
            id: id.parse().unwrap(),
            role: role.parse().unwrap(),
            title: id.to_owned(),
            description: String::new(),
            depends_on: depends_on.iter().map(|id| id.parse().unwrap()).collect(),
            accept: Vec::new(),
            files: Vec::new(),
            priority: crate::task::Priority::default(),
        }
    }

    fn faults(tasks: &[Task]) -> Vec<String> {
        let roles: Vec<Role> = vec!["eng-backend".parse().unwrap(), "eng-qa".parse().unwrap()];
        let found = check(tasks, &|role| roles.contains(role), &roles);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_plan_has_no_faults() {
        let plan = [task("a", "eng-qa", &["b"]), task("b", "eng-backend", &[])];
        assert_eq!(faults(&plan), Vec::<String>::new());
    }

    #[test]
    fn every_fault_is_named_with_what_was_probably_meant() {
        let plan = [
            task("store", "eng-bakend", &["stroe-api"]),
            task("store-api", "eng-qa", &[]),
            task("store-api", "eng-qa", &[]),
            task("x", "accountant", &["nothing-like-it"]),
        ];
        assert_eq!(
            faults(&plan),
            [
                "task `store-api` is listed more than once; give each task a name of its own",
                "task `store` is for the role `eng-bakend`, which does not exist; did you mean `eng-backend`?",
                "task `store` depends on `stroe-api`, which is not in the plan; did you mean `store-api`?",
                "task `x` is for the role `accountant`, which does not exist",
                "task `x` depends on `nothing-like-it`, which is not in the plan",
            ]
        );
        assert_eq!(faults(&[]), ["the plan has no tasks; list at least one"]);
    }

    #[test]
    fn cycles_are_named_from_the_task_that_closes_them() {
        let plan = [
            task("start", "eng-qa", &["a"]),
            task("a", "eng-qa", &["b"]),
            task("b", "eng-qa", &["c"]),
            task("c", "eng-qa", &["a"]),
            task("self", "eng-qa", &["self"]),
        ];
        assert_eq!(
            faults(&plan),
            [
                "tasks wait for each other: `a` → `b` → `c` → `a`; remove one of these dependencies",
                "tasks wait for each other: `self` → `self`; remove one of these dependencies",
            ]
        );
    }

    #[test]
    fn a_very_long_chain_is_walked_without_recursion() {
        let mut plan: Vec<Task> = (0..100_000)
            .map(|i| task(&format!("t{i}"), "eng-qa", &[&format!("t{}", i + 1)]))
            .collect();
        plan.push(task("t100000", "eng-qa", &[]));
        assert_eq!(faults(&plan), Vec::<String>::new());
    }
}
