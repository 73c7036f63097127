//! The container engine: one trait, one implementation over the HTTP API of Docker and Podman.
//!
//! ```text
//!  Environment ─ discovery ─► socket ─► Client (bollard) ─► dyn Engine ─► sandbox
//!                    └─ none, but a podman program ─► PrivateService ─┘
//! ```
//!
//! Refuses to create a sandbox that has a network, a capability, a writable root or a root user:
//! there is no argument to ask for one. What `loki sandbox attest` compares a sandbox with is a type
//! of its own, [`Opened`], which takes no program, no mount and no network. Every container is read
//! back once, when it has started and before anything but the guest may run in it, and removed when
//! the engine held less than it was asked to. It speaks to local engines only, for
//! bind mounts and passed descriptors need one kernel.

mod admission;
mod body;
mod call;
mod client;
mod confirm;
mod container;
mod discovery;
mod facts;
mod fault;
mod freeze;
pub mod images;
mod kept;
mod libpod;
mod opened;
mod raw;
#[cfg(test)]
mod recorded;
mod service;
mod socket;
mod turns;

use futures_util::future::BoxFuture;
use std::{path::Path, sync::Arc};

pub use container::{ContainerId, ContainerSpec, ContainerState, Image, Listed, Mount, Tmpfs};
pub use discovery::Environment;
#[expect(
    clippy::module_name_repetitions,
    reason = "read far from here, where `Report` says nothing"
)]
pub use facts::{Cgroup, EngineReport};
#[expect(
    clippy::module_name_repetitions,
    reason = "a type called `Error` hides the standard one"
)]
pub use fault::EngineError;
pub use opened::{Opened, OpenedContainer, Said};

/// Told about each step of a long call, one line at a time.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What a call of an engine comes to.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, EngineError>>;

/// A container engine on this machine. Every call has a time limit of its own, which begins once it is
/// the call's turn: changes of containers go a few at a time.
///
/// A trait, because tests of whole runs cannot have a daemon.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Returns what was found out about the engine when it was connected.
    fn report(&self) -> &EngineReport;

    /// Looks an image up by name, id or digest. Never pulls.
    fn image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<Image>>;

    /// Makes an image of a root file system's tar, with one label.
    fn import<'a>(&'a self, import: Import<'a>, progress: Progress<'a>) -> Answer<'a, Image>;

    /// Builds the `Containerfile` of a context tar.
    fn build<'a>(
        &'a self,
        reference: &'a str,
        context: Context<'a>,
        progress: Progress<'a>,
    ) -> Answer<'a, Image>;

    /// Pulls an image; gives up when the registry is silent for ten seconds.
    fn pull<'a>(&'a self, reference: &'a str, progress: Progress<'a>) -> Answer<'a, Image>;

    /// Lists the images that carry a label (`key` or `key=value`).
    fn images<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Image>>;

    /// Removes an image; an absent one is no error.
    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()>;

    /// Creates a container. What it really is tells [`Engine::confirm`].
    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> Answer<'a, ContainerId>;

    /// Reads a container back, and removes it unless it is what was asked for.
    fn confirm<'a>(
        &'a self,
        id: &'a ContainerId,
        spec: &'a ContainerSpec,
    ) -> Answer<'a, ContainerState>;

    /// Starts a container.
    fn start<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Reads a container's state.
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ContainerState>;

    /// Ends all processes of a container at once; one that does not run is no error.
    fn kill<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Freezes all processes of a container; on return none runs.
    fn pause<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Lets a paused container go on.
    fn resume<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Removes a container, running or not; an absent one is no error.
    fn remove<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Lists containers, running or not, that carry a label (`key` or `key=value`).
    fn list<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Listed>>;

    /// Creates and starts a container that is open, and removes it again when it has a network or
    /// lacks a limit.
    fn open<'a>(&'a self, opened: &'a Opened) -> Answer<'a, OpenedContainer>;

    /// Runs a program as root in an opened container to its end, for at most a minute.
    fn run_opened<'a>(
        &'a self,
        container: &'a OpenedContainer,
        argv: &'a [String],
    ) -> Answer<'a, Said>;
}

/// What an image is built of: a tar that holds a `Containerfile`.
#[derive(Debug, Clone)]
pub enum Context<'a> {
    /// One that installs packages, so the build has the engine's own network.
    Whole(Vec<u8>),
    /// One on the disk that lays files over an image which is there; the build has no network.
    Layer(&'a Path),
}

/// A root file system that becomes an image.
#[derive(Debug, Clone, Copy)]
pub struct Import<'a> {
    /// The image's name, with a tag.
    pub reference: &'a str,
    /// The tar, not compressed.
    pub tar: &'a Path,
    /// The image's only label: Podman reads several as one.
    pub label: (&'a str, &'a str),
}

/// Finds an engine and connects to it.
///
/// Order: what the user named, `DOCKER_HOST`, `CONTAINER_HOST`, Docker's default socket, Podman's
/// rootless and rootful sockets; else a Podman service of Loki's own, which ends with the value.
/// A place that the user named is the only one tried.
///
/// # Errors
/// [`EngineError::NotFound`], [`EngineError::NoPermission`] or [`EngineError::Unsupported`], each with
/// what to type next.
pub async fn connect(environment: &Environment) -> Result<Arc<dyn Engine>, EngineError> {
    let mut tried = Vec::new();
    let mut refused = None;
    for candidate in discovery::plan(environment, &discovery::Facts::of(environment))? {
        match client::Client::connect(&candidate, environment).await {
            Ok(client) => return Ok(Arc::new(client)),
            Err(EngineError::NotFound { tried: more }) => tried.extend(more),
            Err(fault) => {
                tried.push(format!("{candidate}: {fault}"));
                // The first place that answered at all is the one to explain; one that is not for
                // this user explains least.
                match &refused {
                    Some(EngineError::NoPermission { .. }) | None => refused = Some(fault),
                    Some(_) => {}
                }
            }
        }
    }
    Err(refused.unwrap_or(EngineError::NotFound { tried }))
}

/// Looks at every place where an engine may listen, and returns each that is there with what it says
/// of itself or why it cannot be used. Starts nothing.
pub async fn survey(environment: &Environment) -> Vec<(String, Result<EngineReport, EngineError>)> {
    let mut found = Vec::new();
    for candidate in discovery::everywhere(environment) {
        match client::Client::connect(&candidate, environment).await {
            Ok(client) => found.push((candidate.to_string(), Ok(client.report().clone()))),
            Err(EngineError::NotFound { .. }) => {}
            Err(fault) => found.push((candidate.to_string(), Err(fault))),
        }
    }
    found
}

/// Connects to a Podman service of Loki's own, also where a daemon runs: for a runtime that only
/// a service of its own can be given.
///
/// # Errors
/// [`EngineError::NotFound`] without a podman program, and what [`connect`] returns.
pub async fn connect_privately(environment: &Environment) -> Result<Arc<dyn Engine>, EngineError> {
    let candidate = discovery::private(&discovery::Facts::of(environment))?;
    Ok(Arc::new(
        client::Client::connect(&candidate, environment).await?,
    ))
}
