//! What of a run may still be claimed, so that sandboxes for it can be made ready: folded from the
//! same events as the queue.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    engine::Mount,
    event::Event,
    name::{Role, TaskId},
    policy::Rights,
    provider::Assignment,
    sandbox::{
        Home,
        pool::{Contents, Want},
    },
    task::{Queue, Standing, State, Stopping, Task},
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

/// What one task adds to it: to its own role, and to that of checks.
type Part = (Role, (u32, u32), (u32, u32));

/// How far the attempts are that go on.
#[derive(Debug, Default)]
pub struct Foresight {
    /// Tasks whose agent's sandbox stands, or stood, in this attempt.
    launched: BTreeSet<TaskId>,
    /// Tasks whose agent has ended in this attempt.
    worked: BTreeSet<TaskId>,
    /// Tasks that are done in the session of another.
    joined: BTreeSet<TaskId>,
    /// What each task adds, as far as it adds anything.
    parts: BTreeMap<TaskId, Part>,
    /// The sum of that.
    sum: BTreeMap<Role, Demand>,
    /// The whole run was checked, or is being.
    concluded: bool,
    /// Roles that are given what was installed: no slot holds that.
    given: BTreeSet<Role>,
    /// What the pool knows.
    told: Option<BTreeMap<Role, Demand>>,
    /// What will be put into the home of a role, by name and kind.
    homes: BTreeMap<Role, Vec<Home>>,
}

impl Foresight {
    /// Takes an event into account, of which the queue knows already, and returns whether what is to
    /// come may be another now.
    fn heed(&mut self, event: &Event, queue: &Queue) -> bool {
        match event {
            Event::TaskClaimed { task, .. } => {
                for set in [&mut self.launched, &mut self.worked, &mut self.joined] {
                    set.remove(task);
                }
                self.count(task, queue);
            }
            Event::Batched { tasks } => {
                for task in tasks.iter().skip(1) {
                    self.joined.insert(task.clone());
                    self.count(task, queue);
                }
            }
            Event::SandboxStarted { task: None, .. } => self.concluded = true,
            Event::SandboxStarted {
                task: Some(task),
                role,
                ..
            } => {
                // Installs and checks of a task have others.
                if queue.get(task).is_some_and(|of| of.task.role == *role) {
                    self.launched.insert(task.clone());
                    self.count(task, queue);
                }
            }
            Event::AgentEnded { task, .. } => {
                self.worked.insert(task.clone());
                self.count(task, queue);
            }
            Event::TaskDone { task, .. }
            | Event::TaskFailed {
                task, retry: true, ..
            }
            | Event::TaskDeferred { task, .. }
            | Event::TaskConflicted { task, .. }
            | Event::Interrupted { task, .. }
            | Event::Approved { task, .. }
            | Event::Waiting { task, .. } => self.count(task, queue),
            Event::Planned { .. }
            | Event::Resumed { .. }
            | Event::TaskAdded { .. }
            | Event::TaskFailed { retry: false, .. }
            | Event::TaskCancelled { .. }
            | Event::TaskRetried { .. }
            | Event::Reverted { .. }
            | Event::Rejected { .. } => self.count_all(queue),
            Event::StopRequested { .. } | Event::RunEnded { .. } => {}
            _ => return false,
        }
        true
    }

    /// Counts all again: what happened to one task may have changed others.
    fn count_all(&mut self, queue: &Queue) {
        self.parts.clear();
        self.sum.clear();
        for standing in queue.tasks() {
            self.count(&standing.task.id, queue);
        }
    }

    /// Counts one task again.
    fn count(&mut self, task: &TaskId, queue: &Queue) {
        if let Some((role, agent, check)) = self.parts.remove(task) {
            for (role, (coming, open)) in [(role, agent), (checker(), check)] {
                let demand = self.sum.entry(role).or_default();
                demand.coming -= coming;
                demand.open -= open;
            }
        }
        let Some((role, agent, check)) = queue.get(task).and_then(|of| self.part(&of)) else {
            return;
        };
        for (role, (coming, open)) in [(role.clone(), agent), (checker(), check)] {
            let demand = self.sum.entry(role).or_default();
            demand.coming += coming;
            demand.open += open;
        }
        self.parts.insert(task.clone(), (role, agent, check));
    }

    fn part(&self, standing: &Standing<'_>) -> Option<Part> {
        let task = standing.task;
        let (agent, check) = match standing.state {
            State::Pending => ((1, 1), (0, 1)),
            State::Claimed if self.joined.contains(&task.id) => ((0, 0), (0, 0)),
            State::Claimed => {
                let launched = self.launched.contains(&task.id);
                // A check's slot made before that would be in the way of the agent's.
                let works = launched && !self.worked.contains(&task.id);
                ((0, u32::from(!launched)), (u32::from(works), 1))
            }
            State::Approved => ((0, 0), (0, 1)),
            _ => return None,
        };
        let check = match task.accept.is_empty() {
            true => (0, 0),
            false => check,
        };
        Some((task.role.clone(), agent, check))
    }

    /// Returns what may still be claimed, no more of anything than `most`; `last` is what the whole
    /// run is checked with at its end.
    fn demand(&self, queue: &Queue, (last, most): (&[String], u32)) -> BTreeMap<Role, Demand> {
        if queue.stopping() != Stopping::No || !queue.is_open() {
            return BTreeMap::new();
        }
        let mut all = self.sum.clone();
        let planned = queue.tasks().next().is_some();
        if planned && !last.is_empty() && !self.concluded {
            let demand = all.entry(checker()).or_default();
            let works = !self.parts.is_empty() && !self.launched.is_empty();
            demand.coming += u32::from(works);
            demand.open += 1;
        }
        for demand in all.values_mut() {
            demand.coming = demand.coming.min(most);
            demand.open = demand.open.min(most);
        }
        all.retain(|role, demand| demand.open > 0 && !self.given.contains(role));
        all
    }

    /// Notes what a role is given besides its files.
    pub(super) fn gives(&mut self, role: &Role, given: &[Mount]) {
        if given.is_empty() {
            self.given.remove(role);
        } else {
            self.given.insert(role.clone());
        }
    }
}

impl Work {
    /// Has the pool know what may be claimed now that this has happened.
    pub(super) fn foresee(&self, event: &Event, queue: &Queue) {
        if !self.pool.is_on() {
            return;
        }
        let mut foresight = self.foresight();
        if !foresight.heed(event, queue) {
            return;
        }
        let demand = foresight.demand(queue, (&of_run(&self.spec), self.pool.min_idle()));
        if foresight.told.as_ref() == Some(&demand) {
            return;
        }
        foresight.told = Some(demand.clone());
        let wants = demand.into_iter().filter_map(|(role, demand)| {
            let home = self.home_of(&mut foresight, &role, queue)?;
            self.want((&role, demand), home)
        });
        self.pool.foresee(wants.collect());
    }

    fn want(&self, (role, demand): (&Role, Demand), home: Vec<Home>) -> Option<Want> {
        let rights = self.policy.shared(role)?;
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
            files: Vec::new(),
            priority: crate::task::Priority::default(),
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
            assert!(self.foresight.heed(event, &self.queue), "{event:?}");
        }

        /// Returns `role coming open` of each.
        fn demand(&self) -> Vec<String> {
            let all = self.foresight.demand(&self.queue, (&[], 9));
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
        let role = "eng-backend".parse().unwrap();
        standing(&format!("{task}-1"), Some(task.parse().unwrap()), role)
    }

    fn standing(sandbox: &str, task: Option<TaskId>, role: Role) -> Event {
        Event::SandboxStarted {
            sandbox: sandbox.to_owned(),
            task,
            role,
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
            ["check 0 2", "eng-backend 2 2", "eng-frontend 1 1"]
        );
        told.tell(&claimed("a"));
        assert_eq!(
            told.demand(),
            ["check 0 2", "eng-backend 1 2", "eng-frontend 1 1"]
        );
        told.tell(&started("a"));
        assert_eq!(
            told.demand(),
            ["check 1 2", "eng-backend 1 1", "eng-frontend 1 1"]
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
            ["check 0 2", "eng-backend 1 1", "eng-frontend 1 1"]
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
            ["check 0 2", "eng-backend 2 2", "eng-frontend 1 1"]
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
        assert!(!foresight.heed(&ended, &Queue::default()));
    }

    #[test]
    fn the_whole_run_is_checked_once_as_long_as_something_is_open() {
        let mut told = Told::plan();
        let last = &["true".to_owned()][..];
        let checks = |told: &Told| {
            let all = told.foresight.demand(&told.queue, (last, 9));
            all.get(&checker()).map(|of| (of.coming, of.open))
        };
        assert_eq!(checks(&told), Some((0, 3)));
        told.tell(&claimed("a"));
        told.tell(&started("a"));
        assert_eq!(checks(&told), Some((2, 3)));
        for task in ["a", "b", "c"] {
            if task != "a" {
                told.tell(&claimed(task));
            }
            told.tell(&Event::TaskDone {
                task: task.parse().unwrap(),
                version: 1,
                attempt: 1,
                commit: None,
            });
        }
        // What is to check the whole run is kept until it does.
        assert_eq!(checks(&told), Some((0, 1)));
        told.tell(&standing("final-checks", None, checker()));
        assert_eq!(checks(&told), None);
        let empty = Foresight::default().demand(&Queue::default(), (last, 9));
        assert!(empty.is_empty());
    }

    #[test]
    fn no_more_is_wanted_than_may_stand_ready_and_nothing_that_a_slot_cannot_hold() {
        let mut told = Told::plan();
        let all = told.foresight.demand(&told.queue, (&[], 1));
        let least = |of: &Demand| of.coming <= 1 && of.open == 1;
        assert!(all.len() == 3 && all.values().all(least), "{all:?}");
        let role: Role = "eng-backend".parse().unwrap();
        let given = Mount {
            source: "/kept".into(),
            target: "/work/node_modules".to_owned(),
            read_only: true,
        };
        told.foresight.gives(&role, &[given]);
        assert_eq!(told.demand(), ["check 0 2", "eng-frontend 1 1"]);
        told.foresight.gives(&role, &[]);
        assert_eq!(told.demand().len(), 3);
    }

    #[test]
    fn tasks_that_are_done_together_need_one_sandbox() {
        let mut told = Told::plan();
        told.tell(&claimed("a"));
        told.tell(&claimed("b"));
        assert_eq!(told.demand()[1], "eng-backend 0 2");
        let tasks = ["a", "b"].map(|task| task.parse().unwrap()).into();
        told.tell(&Event::Batched { tasks });
        assert_eq!(told.demand()[1], "eng-backend 0 1");
    }

    #[test]
    fn an_install_for_a_task_is_not_its_agents_sandbox() {
        let mut told = Told::plan();
        told.tell(&claimed("c"));
        let before = told.demand();
        // `started` is of another role than this task.
        told.tell(&started("c"));
        assert_eq!(told.demand(), before);
    }

    #[test]
    fn the_checker_is_a_role_of_the_policy() {
        let policy = Policy::check(&Policy::builtin_sources()).unwrap();
        assert!(policy.rights(&checker()).is_some());
    }
}
