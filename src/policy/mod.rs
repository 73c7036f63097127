//! What a role may do. Only the checker here can build a [`Policy`]; an empty one allows nothing.

mod decide;
mod rights;

pub use decide::{Denied, Permit, Target, decide, name_ports};
pub use rights::{
    Egress, EgressRule, Files, Glob, Globs, HostEntry, HostPattern, Origin, Program, Protocol,
    Resources, Rights,
};
