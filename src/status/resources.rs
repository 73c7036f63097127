//! What sandboxes use, added up by role: those that stand and those that are gone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Agent;
use crate::{
    event::{Load, Usage},
    name::Role,
};

/// What the sandboxes of one role use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RoleUse {
    /// Sandboxes that stand.
    pub agents: usize,
    /// What all of them used, those that are gone included.
    pub usage: Usage,
    /// What those that stand hold; the peak is the highest of any.
    pub load: Load,
}

/// Adds up what every role uses, from what was known of each and from what stands now.
pub(super) fn by_role(roles: &mut BTreeMap<Role, RoleUse>, agents: &[Agent]) -> Load {
    for role in roles.values_mut() {
        role.agents = 0;
        role.load = Load {
            memory_peak: role.load.memory_peak,
            ..Load::default()
        };
    }
    let mut all = Load::default();
    for agent in agents {
        let role = roles.entry(agent.role.clone()).or_default();
        role.agents += 1;
        role.load = role.load.and(agent.load);
        all = all.and(agent.load);
    }
    let peaks = roles.values().map(|role| role.load.memory_peak);
    all.memory_peak = peaks.max().unwrap_or_default();
    all
}
