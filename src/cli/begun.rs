//! A run that is to be gone on with, as its journal knows it: how it was asked for, what was agreed
//! to, and which of its attempts were cut off.

use std::collections::BTreeSet;

use crate::{
    event::{Asked, Event, Record},
    git::Repository,
    name::TaskId,
    run::{Came, Cut, CutOff, cut_off, outside},
    task::Task,
};

use super::{
    args, budget,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    held::args::Stay,
    landing::args as landing,
    order::Order,
    start::Planned,
    ui,
};

/// Who agreed that an attempt is made again.
pub(super) const PERSON: &str = "a person at the terminal";

/// A run as its journal knows it.
pub(super) struct Begun<'a> {
    pub(super) records: &'a [Record],
    pub(super) asked: &'a Asked,
    spec: &'a str,
    provider: &'a str,
    pub(super) base: &'a str,
    /// What was agreed to last.
    spec_sha256: &'a str,
    policy_sha256: &'a str,
}

impl<'a> Begun<'a> {
    pub(super) fn of(records: &'a [Record]) -> Result<Self, Fault> {
        let Some(Event::RunStarted {
            spec,
            spec_sha256,
            provider,
            base,
            policy_sha256,
            asked,
            ..
        }) = records.first().map(|record| &record.event)
        else {
            let message = "the run never began: its journal holds no record";
            return Err(Fault::new(Exit::Failed, message).hint("`loki start` begins anew"));
        };
        let Some(asked) = asked else {
            let message = "the journal is of an older Loki and does not say how the run was begun";
            return Err(Fault::new(Exit::Failed, message).hint("`loki start` begins anew"));
        };
        let mut begun = Self {
            records,
            asked,
            spec,
            provider,
            base,
            spec_sha256,
            policy_sha256,
        };
        for record in records {
            if let Event::Resumed {
                spec_sha256,
                policy_sha256,
                ..
            } = &record.event
            {
                (begun.spec_sha256, begun.policy_sha256) = (spec_sha256, policy_sha256);
            }
        }
        Ok(begun)
    }

    /// The plan, once there is one, with what was added to it.
    pub(super) fn tasks(&self) -> Option<Vec<Task>> {
        let mut plan: Option<Vec<Task>> = None;
        for record in self.records {
            match &record.event {
                Event::Planned { tasks } => plan = Some(tasks.clone()),
                Event::TaskAdded { task, .. } => plan.get_or_insert_default().push(task.clone()),
                _ => {}
            }
        }
        plan
    }

    /// Reads everything again as it was read at the start, from where that was, and refuses what
    /// has changed without a person's word.
    pub(super) fn again(
        &self,
        env: &Environment,
        (repository, args): (&Repository, &args::Resume),
    ) -> Result<Planned, Fault> {
        let there = repository.root().join(&self.asked.directory);
        if let Err(cause) = std::fs::read_dir(&there) {
            let shown = ui::visible(&there.to_string_lossy());
            let message = format!("the run was begun in `{shown}`, which cannot be used: {cause}");
            return Err(Fault::new(Exit::Failed, message).hint("make it, then resume again"));
        }
        let order = Order::of(there, self.start(args))?;
        let planned = Planned::read(env, &order)?;
        if planned.repository.root() != repository.root() {
            let shown = ui::visible(&order.directory.to_string_lossy());
            let message = format!("`{shown}`, where the run was begun, is in another repository");
            return Err(Fault::new(Exit::Failed, message).hint("`loki start` begins anew"));
        }
        let spec = ui::visible(self.spec);
        if planned.intake.sha256 != self.spec_sha256 && !args.accept_spec {
            let message = format!("`{spec}` has changed since the run began");
            return Err(Fault::new(Exit::Invalid, message).hint(
                "put it back, or `loki resume --accept-spec`: agents read the new one, the plan stays",
            ));
        }
        if planned.policy.sha256() != self.policy_sha256 && !args.accept_policy {
            let message = "the policy is not the one that the run began under";
            return Err(Fault::new(Exit::Invalid, message).hint(
                "look with `loki policy show ROLE`, then put it back or `loki resume --accept-policy`",
            ));
        }
        Ok(planned)
    }

    /// What was typed at the start.
    fn start(&self, args: &args::Resume) -> args::Start {
        let Asked {
            command,
            replayed,
            policy,
            parallel,
            ..
        } = self.asked;
        let job = args::Job {
            spec: self.spec.into(),
            sandbox: true,
            provider: Some(self.provider.to_owned()),
            command: command.clone(),
            replayed: replayed.as_ref().map(Into::into),
            policy: policy.iter().map(Into::into).collect(),
            parallel: args.parallel.unwrap_or(*parallel),
            no_batch: args.no_batch,
        };
        args::Start {
            job,
            ship: false,
            plan_only: false,
            budget: args.budget.over(budget::given(self.records)),
            to: landing::To::default(),
            stay: Stay::default(),
        }
    }

    /// Decides about each attempt that was cut off, asking where it may have changed something.
    /// `agreed` are the tasks for which a person was asked already.
    pub(super) fn cut(
        &self,
        planned: &Planned,
        (args, agreed): (&args::Resume, &[TaskId]),
    ) -> Result<Vec<Cut>, Fault> {
        let open = cut_off(self.records);
        let mut named: BTreeSet<&str> = args.repeat.iter().map(String::as_str).collect();
        let mut cuts = Vec::new();
        for of in open {
            let of = known(&planned.repository, of)?;
            let changed = match of.came {
                Came::Working => {
                    outside(self.records, &of.sandbox(), &planned.policy, self.provider)
                }
                _ => Vec::new(),
            };
            let wanted = args
                .repeat
                .iter()
                .find(|one| *one == of.task.as_str() || *one == "all");
            named.remove(of.task.as_str());
            let by = match agreed.contains(&of.task) {
                true => Some(PERSON.to_owned()),
                false => repeated(&of, &changed, wanted),
            };
            cuts.push(Cut {
                of,
                outside: changed,
                by,
            });
        }
        named.remove("all");
        match named.first() {
            Some(stranger) => {
                let message = format!(
                    "no attempt at a task `{}` was cut off in this run",
                    ui::visible(stranger)
                );
                Err(Fault::new(Exit::Usage, message).hint("`loki status` lists the tasks"))
            }
            None => Ok(cuts),
        }
    }
}

/// Says who has an attempt made again that may have changed something outside.
fn repeated(of: &CutOff, changed: &[String], wanted: Option<&String>) -> Option<String> {
    if changed.is_empty() {
        return None;
    }
    if wanted.is_some() {
        return Some("`--repeat`".to_owned());
    }
    ui::note(format!(
        "task `{}` was cut off in attempt {} and may have changed something outside:",
        of.task, of.attempt
    ));
    for one in changed {
        ui::note(format!("  {}", ui::visible(one)));
    }
    ui::ask("Make this attempt again?").then(|| PERSON.to_owned())
}

/// Takes an attempt whose commit was lost, as by a power cut, for one that came to nothing.
fn known(repository: &Repository, mut of: CutOff) -> Result<CutOff, Fault> {
    if let Came::Committed(commit) | Came::Landing { commit, .. } | Came::Together { to: commit } =
        &of.came
        && !repository.has_commit(commit).or_exit(Exit::Failed)?
    {
        of.came = Came::Working;
    }
    Ok(of)
}
