//! The project's own install step: what lock files name is installed once, in a sandbox that reaches
//! registries only, and given read-only to agents and checks.
//!
//! ```text
//! tree ── lock files ──▶ wants ──▶ key ── kept? ── yes, held against its digest ──▶ Given
//!                                    │                                                ▲
//!                                    └── no: sandbox of role `install` ──▶ taken in ──┘
//! ```
//!
//! The install sees the lock file and the manifests it needs, and nothing else of the tree. What
//! agents change in a lock file leads to another key: no key's entry is ever changed. It decides
//! neither what a lock file means (`install`) nor what may be kept (`deps`).

mod found;
mod given;
mod make;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    deps::{Found, Lease, Room as Space, Store},
    digest::Digest,
    event::Event,
    git::ObjectId,
    install::{Refusal, Want, key},
    policy::{Program, RegistryKind, Rights},
};

use super::{failure::Failure, room::Room};

pub(super) use given::Given;

use found::Step;

/// What an install may do, and where its packages come from.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The rights of the role `install`, with the hosts of one registry.
    pub rights: Rights,
    /// The address of the registry's index, where this machine has another than the tool's own.
    pub index: Option<String>,
}

/// Asks this machine for a registry; why there is none.
pub type Registry = dyn Fn(RegistryKind) -> Result<Ready, String> + Send + Sync;

/// Installs for one run.
pub struct Installs {
    store: Arc<Store>,
    registry: Box<Registry>,
    space: Space,
    /// Which package of an image holds a tool.
    holds: fn(&str, &str) -> bool,
    /// What was refused and said already: once is enough.
    said: Mutex<BTreeSet<(String, String)>>,
}

impl Installs {
    /// Installs into a store, with what `registry` gives; `holds` says whether an image, by its
    /// name, has a package.
    #[must_use]
    pub fn new(store: Store, registry: Box<Registry>, holds: fn(&str, &str) -> bool) -> Self {
        Self {
            store: Arc::new(store),
            registry,
            space: Space::USUAL,
            holds,
            said: Mutex::default(),
        }
    }

    /// Whether something is said for the first time.
    fn is_news(&self, refusal: &Refusal) -> bool {
        let one = (refusal.lock.clone(), refusal.reason.clone());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(one)
    }
}

/// Returns what checks on a tree are given. What keeps it from being installed is the failure.
pub(super) async fn for_checks(room: &Room<'_>, tree: &ObjectId) -> Result<Given, Failure> {
    let mut given = Given::default();
    for refusal in gather(room, tree, &mut given).await? {
        if refusal.fails {
            return Err(Failure::retry(format!(
                "nothing was checked, for installing from `{}` failed: {}",
                refusal.lock, refusal.reason
            )));
        }
    }
    Ok(given)
}

/// Returns what an agent is given on a tree. It may be there to mend what keeps something from
/// being installed, so that does not keep it from working.
pub(super) async fn for_agent(room: &Room<'_>, tree: &ObjectId) -> Result<Given, Failure> {
    let mut given = Given::default();
    gather(room, tree, &mut given).await?;
    Ok(given)
}

/// Installs what a tree names, for a room's role, and returns what was not installed.
async fn gather(
    room: &Room<'_>,
    tree: &ObjectId,
    given: &mut Given,
) -> Result<Vec<Refusal>, Failure> {
    let Some(installs) = room.work().installs.as_deref() else {
        return Ok(Vec::new());
    };
    let mut refused = Vec::new();
    for want in found::wants(room, tree).await? {
        let want = want.and_then(|want| suits(installs, room, want));
        let outcome = match want {
            Ok(None) => continue,
            Ok(Some(want)) => one(room, installs, tree, want).await,
            Err(refusal) => Err(Step::Refused(refusal)),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some((want, lease))) => given.add(want, lease),
            Err(Step::Failed(failure)) => return Err(failure),
            Err(Step::Refused(refusal)) => {
                // What fails is of this tree, and is told each time.
                if refusal.fails || installs.is_news(&refusal) {
                    tell(room, &refusal, None).await?;
                }
                refused.push(refusal);
            }
        }
    }
    Ok(refused)
}

/// Leaves out what the role has no program for, and refuses what its image has no tool for.
fn suits(installs: &Installs, room: &Room<'_>, want: Want) -> Result<Option<Want>, Refusal> {
    let rights = room.rights();
    let program = Program::Image(want.tool.program.clone());
    if !rights.programs.contains(&program) {
        return match want.demanded {
            true if room.task().is_none() || is_check(room) => Err(want.refused(format!(
                "role `{}` may not run `{}`; add it to `execute` in a policy",
                rights.role, want.tool.program
            ))),
            _ => Ok(None),
        };
    }
    if (installs.holds)(&rights.image, &want.tool.package) {
        return Ok(Some(want));
    }
    Err(want.passed_over(format!(
        "image `{}` of role `{}` has no `{}`; name another in a policy, such as \
         `agents: {{ {}: {{ image: full }} }}`",
        rights.image, rights.role, want.tool.package, rights.role
    )))
}

fn is_check(room: &Room<'_>) -> bool {
    room.rights().role.as_str() == "check"
}

/// Gives one install: what is kept, or what is made now.
async fn one(
    room: &Room<'_>,
    installs: &Installs,
    tree: &ObjectId,
    want: Want,
) -> Result<Option<(Want, Lease)>, Step> {
    let Some(inputs) = found::inputs(room, tree, &want).await? else {
        return Ok(None);
    };
    let image = room.image()?;
    let key = key(&want, &inputs, (&image, std::env::consts::ARCH));
    if let Some(lease) = kept(room, installs, (&want, &key)).await? {
        reused(room, &want, key).await?;
        return Ok(Some((want, lease)));
    }
    let store = Arc::clone(&installs.store);
    let making = blocking(move || store.making(&key)).await?;
    let making = making.map_err(|fault| want.refused(fault.to_string()))?;
    // Whoever was waited for has made it, as a rule.
    if let Some(lease) = kept(room, installs, (&want, &key)).await? {
        reused(room, &want, key).await?;
        return Ok(Some((want, lease)));
    }
    make::make(room, installs, (&want, &inputs), making).await?;
    let store = Arc::clone(&installs.store);
    let space = installs.space;
    match kept(room, installs, (&want, &key)).await? {
        Some(lease) => {
            // What is used stays, this one too.
            drop(blocking(move || store.fit(space)).await?);
            Ok(Some((want, lease)))
        }
        None => Err(want
            .refused("what was installed is gone already".to_owned())
            .into()),
    }
}

/// Looks for a key's entry. One that was changed is told of, and counts as none.
async fn kept(
    room: &Room<'_>,
    installs: &Installs,
    (want, key): (&Want, &Digest),
) -> Result<Option<Lease>, Step> {
    let (store, wanted) = (Arc::clone(&installs.store), *key);
    match blocking(move || store.find(&wanted)).await? {
        Ok(Found::Whole(lease)) => Ok(Some(lease)),
        Ok(Found::Nothing) => Ok(None),
        Ok(Found::Changed(why)) => {
            let reason = format!(
                "what was kept was changed ({why}); it was put away, and is installed anew"
            );
            tell(room, &want.refused(reason), Some(*key)).await?;
            Ok(None)
        }
        Err(fault) => Err(want.refused(fault.to_string()).into()),
    }
}

async fn reused(room: &Room<'_>, want: &Want, key: Digest) -> Result<(), Failure> {
    let reused = Event::InstallReused {
        task: room.task().cloned(),
        sandbox: room.name.clone(),
        tool: want.tool.name.clone(),
        lock: want.lock.clone(),
        key,
    };
    room.recorder().record(reused).await?;
    Ok(())
}

async fn tell(room: &Room<'_>, refusal: &Refusal, key: Option<Digest>) -> Result<(), Failure> {
    let refused = Event::InstallRefused {
        task: room.task().cloned(),
        tool: refusal.tool.clone(),
        lock: refusal.lock.clone(),
        key,
        reason: refusal.reason.clone(),
    };
    room.recorder().record(refused).await?;
    Ok(())
}

/// Does what blocks away from the async threads.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(call).await;
    done.map_err(|panicked| Failure::fatal(format!("a bug of ours in installing: {panicked}")))
}
