//! What a role may do. Only the checker here can build a [`Policy`]; an empty one allows nothing.

mod rights;

pub use rights::{
    Egress, EgressRule, Files, Glob, Globs, HostEntry, HostPattern, Origin, Program, Protocol,
    Resources, Rights,
};
