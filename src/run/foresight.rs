//! What of a run may still be claimed, so that sandboxes for it can be made ready: folded from the
//! same events as the queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::Event,
    name::{Role, TaskId},
    policy::Rights,
    provider::Assignment,
    sandbox::{
        Home,
        pool::{Contents, Want},
    },
    task::{Queue, State, Stopping, Task},
};

use super::{
    checks::{checker, of_run},
    work::Work,
};

/// How much of a role may still be claimed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Demand {
    /// Nobody has begun with that.
    coming: u32,
    /// These, and what is being claimed at this moment.
    open: u32,
}

/// How far the attempts are that go on.
#[derive(Debug, Default)]
pub struct Foresight {
    /// Tasks whose agent's sandbox stands, or stood, in this attempt.
    launched: BTreeSet<TaskId>,
    /// Tasks whose agent has ended in this attempt.
    worked: BTreeSet<TaskId>,
    /// What will be put into the home of a role, by name and kind.
    homes: BTreeMap<Role, Vec<Home>>,
}

impl Foresight {
    /// Takes an event into account, and returns whether what is to come may be another now.
    fn heed(&mut self, event: &Event) -> bool {
        match event {
            Event::TaskClaimed { task, .. } => {
                self.launched.remove(task);
                self.worked.remove(task);
            }
            Event::SandboxStarted {
                task: Some(task), ..
            } => drop(self.launched.insert(task.clone())),
            Event::AgentEnded { task, .. } => drop(self.worked.insert(task.clone())),
            Event::Planned { .. }
            | Event::TaskDone { .. }
            | Event::TaskFailed { .. }
            | Event::TaskConflicted { .. }
            | Event::Interrupted { .. }
            | Event::Resumed { .. }
            | Event::Approved { .. }
            | Event::Waiting { .. }
            | Event::Rejected { .. }
            | Event::StopRequested { .. }
            | Event::RunEnded { .. } => {}
            _ => return false,
        }
        true
    }

    /// Sums what may still be claimed; `last` is what the whole run is checked with at its end.
    fn demand(&self, queue: &Queue, last: &[String]) -> BTreeMap<Role, Demand> {
        let mut all: BTreeMap<Role, Demand> = BTreeMap::new();
        if queue.stopping() != Stopping::No || !queue.is_open() {
            return all;
        }
        let mut open = false;
        for standing in queue.tasks() {
            let task = standing.task;
            let (agent, check) = match standing.state {
                State::Pending => ((1, 1), (1, 1)),
                State::Claimed => {
                    let launched = self.launched.contains(&task.id);
                    let worked = self.worked.contains(&task.id);
                    ((0, u32::from(!launched)), (u32::from(!worked), 1))
                }
                State::Approved => ((0, 0), (0, 1)),
                _ => continue,
            };
            open = true;
            add(&mut all, &task.role, agent);
            if !task.accept.is_empty() {
                add(&mut all, &checker(), check);
            }
        }
        if open && !last.is_empty() {
            add(&mut all, &checker(), (1, 1));
        }
        all
    }
}

fn add(all: &mut BTreeMap<Role, Demand>, role: &Role, (coming, open): (u32, u32)) {
    let demand = all.entry(role.clone()).or_default();
    demand.coming += coming;
    demand.open += open;
}

impl Work {
    /// Has the pool know what may be claimed now that this has happened.
    pub(super) fn foresee(&self, event: &Event, queue: &Queue) {
        if !self.pool.is_on() {
            return;
        }
        let mut foresight = self.foresight();
        if !foresight.heed(event) {
            return;
        }
        let demand = foresight.demand(queue, &of_run(&self.spec));
        let wants = demand.into_iter().filter_map(|(role, demand)| {
            let home = self.home_of(&mut foresight, &role, queue)?;
            self.want((&role, demand), home)
        });
        self.pool.foresee(wants.collect());
    }

    fn want(&self, (role, demand): (&Role, Demand), home: Vec<Home>) -> Option<Want> {
        let rights = self.policy.rights(role)?;
        let image = self.images.get(&rights.image)?.clone();
        let contents = self.contents(&rights);
        Some(Want {
            rights,
            image,
            home,
            contents,
            coming: demand.coming,
            open: demand.open,
        })
    }

    /// Returns what is to stand ready in the worktree of a role's slots.
    pub(super) fn contents(&self, rights: &Rights) -> Contents {
        match self.pool.pre_warmed(&rights.role) {
            false => Contents::Empty,
            true if rights.role == checker() => Contents::Copy,
            true => Contents::Task(rights.files.visible()),
        }
    }

    /// Returns what will be put into the home of a role: what is put there for its next task.
    fn home_of(&self, foresight: &mut Foresight, role: &Role, queue: &Queue) -> Option<Vec<Home>> {
        if *role == checker() {
            return Some(Vec::new());
        }
        if let Some(known) = foresight.homes.get(role) {
            return Some(known.clone());
        }
        let task: &Task = queue.tasks().find(|of| of.task.role == *role)?.task;
        let assignment = Assignment {
            task,
            attempt: 1,
            brief: "",
        };
        // One that cannot be launched is not claimed well either.
        let files = self.provider.launch(&assignment).ok()?.files;
        let shape = |file: crate::provider::HomeFile| Home {
            path: file.path,
            contents: Vec::new(),
            executable: file.executable,
        };
        let home: Vec<Home> = files.into_iter().map(shape).collect();
        foresight.homes.insert(role.clone(), home.clone());
        Some(home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn task(id: &str, role: &str, accept: &[&str]) -> Task {
        Task {
            id: id.parse().unwrap(),
            role: role.parse().unwrap(),
            title: id.to_owned(),
            description: id.to_owned(),
            depends_on: Vec::new(),
            accept: accept.iter().map(|&check| check.to_owned()).collect(),
        }
    }

    struct Told {
        queue: Queue,
        foresight: Foresight,
    }

    impl Told {
        fn plan() -> Self {
            let mut told = Self {
                queue: Queue::default(),
                foresight: Foresight::default(),
            };
            let tasks = vec![
                task("a", "eng-backend", &["true"]),
                task("b", "eng-backend", &[]),
                task("c", "eng-frontend", &["true"]),
            ];
            told.tell(&Event::Planned { tasks });
            told
        }

        fn tell(&mut self, event: &Event) {
            self.queue.apply(event).unwrap();
            assert!(self.foresight.heed(event), "{event:?}");
        }

        /// Returns `role coming open` of each.
        fn demand(&self) -> Vec<String> {
            let all = self.foresight.demand(&self.queue, &[]);
            let line = |(role, of): (&Role, &Demand)| format!("{role} {} {}", of.coming, of.open);
            all.iter().map(line).collect()
        }
    }

    fn claimed(task: &str) -> Event {
        Event::TaskClaimed {
            task: task.parse().unwrap(),
            version: 1,
            attempt: 1,
        }
    }

    fn started(task: &str) -> Event {
        Event::SandboxStarted {
            sandbox: format!("{task}-1"),
            task: Some(task.parse().unwrap()),
            role: "eng-backend".parse().unwrap(),
            container: String::new(),
            image: String::new(),
            isolation: crate::event::Isolation::default(),
            start: None,
        }
    }

    #[test]
    fn a_claim_on_its_way_keeps_its_slot_and_asks_for_no_other() {
        let mut told = Told::plan();
        assert_eq!(
            told.demand(),
            ["check 2 2", "eng-backend 2 2", "eng-frontend 1 1"]
        );
        told.tell(&claimed("a"));
        assert_eq!(
            told.demand(),
            ["check 2 2", "eng-backend 1 2", "eng-frontend 1 1"]
        );
        told.tell(&started("a"));
        assert_eq!(
            told.demand(),
            ["check 2 2", "eng-backend 1 1", "eng-frontend 1 1"]
        );
        told.tell(&Event::AgentEnded {
            task: "a".parse().unwrap(),
            attempt: 1,
            code: 0,
            elapsed_ms: 1,
            reason: None,
        });
        assert_eq!(
            told.demand(),
            ["check 1 2", "eng-backend 1 1", "eng-frontend 1 1"]
        );
        told.tell(&Event::TaskFailed {
            task: "a".parse().unwrap(),
            version: 1,
            attempt: 1,
            reason: String::new(),
            retry: true,
        });
        assert_eq!(
            told.demand(),
            ["check 2 2", "eng-backend 2 2", "eng-frontend 1 1"]
        );
    }

    #[test]
    fn who_is_asked_to_stop_needs_nothing_any_more() {
        let mut told = Told::plan();
        told.tell(&Event::StopRequested {
            by: "a person".to_owned(),
            drain: true,
        });
        assert!(told.demand().is_empty());
    }

    #[test]
    fn what_says_nothing_of_claims_is_passed_over() {
        let mut foresight = Foresight::default();
        let ended = Event::SandboxEnded {
            sandbox: "a-1".to_owned(),
        };
        assert!(!foresight.heed(&ended));
    }

    #[test]
    fn the_whole_run_is_checked_once_as_long_as_something_is_open() {
        let told = Told::plan();
        let all = told.foresight.demand(&told.queue, &["true".to_owned()]);
        assert_eq!(all[&checker()], Demand { coming: 3, open: 3 });
        let empty = Foresight::default().demand(&Queue::default(), &["true".to_owned()]);
        assert!(empty.is_empty());
    }

    #[test]
    fn the_checker_is_a_role_of_the_policy() {
        let policy = Policy::check(&Policy::builtin_sources()).unwrap();
        assert!(policy.rights(&checker()).is_some());
    }
}
