//! How events of sandboxes change the status: which stand, what they use, what they reach.

use jiff::Timestamp;

use super::{Agent, Overran, Status, resources};
use crate::{
    event::{EgressKind, Event, Load, Usage},
    name::{Role, TaskId},
};

impl Status {
    pub(super) fn take_sandbox(&mut self, ts: Timestamp, event: &Event) {
        match event {
            Event::SandboxStarted {
                sandbox,
                task,
                role,
                container,
                image,
                isolation,
                ..
            } => {
                self.agents.push(Agent {
                    sandbox: sandbox.clone(),
                    role: role.clone(),
                    task: task.clone(),
                    container: container.clone(),
                    image: image.clone(),
                    isolation: isolation.clone(),
                    since: ts,
                    usage: Usage::default(),
                    load: Load::default(),
                });
                self.load = resources::by_role(&mut self.roles, &self.agents);
            }
            Event::Overrun {
                sandbox,
                task,
                role,
                limit,
                allowed,
                seen,
            } => self.overruns.push(Overran {
                sandbox: sandbox.clone(),
                task: task.clone(),
                role: role.clone(),
                limit: *limit,
                allowed: *allowed,
                seen: *seen,
            }),
            Event::SandboxUsed {
                sandbox,
                task,
                role,
                usage,
                load,
            } => self.take_usage(sandbox, (task.as_ref(), role), (*usage, *load)),
            Event::SandboxEnded { sandbox } => {
                self.agents.retain(|agent| agent.sandbox != *sandbox);
                self.load = resources::by_role(&mut self.roles, &self.agents);
            }
            _ => self.take_egress(event),
        }
    }

    fn take_egress(&mut self, event: &Event) {
        match event {
            // What came of it follows as a decision of its own.
            Event::Egress {
                kind: EgressKind::Ask,
                ..
            } => {}
            Event::Egress {
                allowed: true,
                count,
                ..
            } => self.egress.allowed += count,
            Event::Egress {
                allowed: false,
                count,
                ..
            } => self.egress.denied += count,
            Event::EgressClosed { sent, received, .. } => {
                self.egress.sent = self.egress.sent.saturating_add(*sent);
                self.egress.received = self.egress.received.saturating_add(*received);
            }
            _ => {}
        }
    }

    /// Adds what came since the sandbox last said it: it counts from its own start.
    fn take_usage(
        &mut self,
        sandbox: &str,
        (task, role): (Option<&TaskId>, &Role),
        (usage, load): (Usage, Load),
    ) {
        let found = self
            .agents
            .iter_mut()
            .find(|agent| agent.sandbox == sandbox);
        // One that is not known to stand counts from nothing.
        let before = found.map_or_else(Usage::default, |agent| {
            agent.load = load;
            std::mem::replace(&mut agent.usage, usage)
        });
        let more = usage.with(before, u64::saturating_sub);
        self.usage = self.usage.with(more, u64::saturating_add);
        let role = self.roles.entry(role.clone()).or_default();
        role.usage = role.usage.with(more, u64::saturating_add);
        role.load.memory_peak = role.load.memory_peak.max(load.memory_peak);
        self.load = resources::by_role(&mut self.roles, &self.agents);
        if let Some(task) = task {
            self.change(task, |task| {
                task.usage = task.usage.with(more, u64::saturating_add);
            });
        }
    }
}
