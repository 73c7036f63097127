//! Loki turns a specification into reviewed, tested, merged code by running AI coding agents,
//! each in a container of its own that can do only what its role may do.
//!
//! # Layers
//!
//! | layer | modules | rule |
//! |---|---|---|
//! | words | [`name`], [`text`], [`digest`], [`diagnostic`], [`event`], [`finding`], [`spec`], [`policy`], [`redact`], [`task`], [`budget`], [`status`], [`vetting`], [`provenance`], [`host_files`], [`install`] | plain values: no I/O, no async |
//! | hands | [`engine`], [`link`], [`egress`], [`git`], [`provider`], [`journal`], [`secrets`], [`advisories`], [`checkpoint`], [`forge`], [`deps`] | each touches one part of the world; no hand holds another |
//! | ground | [`whole`], [`touch`], [`process`] | what every hand and face stands on: uses nothing |
//! | play | [`sandbox`], [`run`], [`attest`] | hands joined; only `run` decides order |
//! | faces | [`cli`] | people and programs |
//!
//! `tests/suite/layers.rs` reads every `use crate::` and enforces the table.
//!
//! # Flow of a run
//!
//! `cli` reads a [`spec::Spec`] and a [`policy::Policy`], `run` folds the journal into a
//! [`task::Queue`], claims tasks, gives each a [`sandbox`], judges what comes out with the gate of
//! [`git`], lands it, and writes every step to the [`journal`] before acting on it.

pub mod budget;
pub mod diagnostic;
pub mod digest;
pub mod event;
pub mod finding;
pub mod host_files;
pub mod install;
pub mod name;
pub mod policy;
pub mod provenance;
pub mod redact;
pub mod spec;
pub mod status;
pub mod task;
pub mod text;
pub mod vetting;

pub mod process;
pub mod touch;
pub mod whole;

pub mod advisories;
pub mod checkpoint;
pub mod deps;
pub mod egress;
pub mod engine;
pub mod forge;
pub mod git;
pub mod journal;
pub mod link;
pub mod provider;
pub mod secrets;

pub mod attest;
pub mod run;
pub mod sandbox;

pub mod cli;
