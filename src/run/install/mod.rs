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
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::{
    deps::{DepsError, Found, Lease, Making as Locked, Room as Space, Store},
    digest::Digest,
    event::Event,
    git::ObjectId,
    install::{Refusal, Scene, Tool, Want, key, tools},
    policy::{Program, RegistryKind, Rights},
};

use super::{failure::Failure, room::Room};

pub(super) use given::Given;
pub(super) use make::lay_out;

use found::Step;
use turns::Turns;

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
/// Returns a digest of all that decides which packages may come in; why it is not known.
pub type Rules = dyn Fn() -> Result<Digest, String> + Send + Sync;

/// Installs for one run.
pub struct Installs {
    store: Arc<Store>,
    registry: Box<Registry>,
    rules: Box<Rules>,
    /// What they came to: reading all advisories takes a moment.
    judged: Mutex<Option<Digest>>,
    /// Who installs.
    turns: Turns,
    /// What the machine said: its tools take seconds to answer.
    ready: Mutex<BTreeMap<RegistryKind, Ready>>,
    space: Space,
    /// Which package of an image holds a tool.
    holds: fn(&str, &str) -> bool,
    /// What was refused and said already: once is enough.
    said: Mutex<BTreeSet<(String, String)>>,
}

impl Installs {
    /// Installs into a store, with what `registry` gives and by what `rules` say; `holds` says
    /// whether an image, by its name, has a package.
    #[must_use]
    pub fn new(
        store: Store,
        (registry, rules): (Box<Registry>, Box<Rules>),
        holds: fn(&str, &str) -> bool,
    ) -> Self {
        Self {
            store: Arc::new(store),
            registry,
            rules,
            judged: Mutex::default(),
            turns: Turns::default(),
            ready: Mutex::default(),
            space: Space::USUAL,
            holds,
            said: Mutex::default(),
        }
    }

    /// Asks this machine for a registry, once. Blocks.
    fn ready(&self, kind: RegistryKind) -> Result<Ready, String> {
        let mut known = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = known.get(&kind) {
            return Ok(ready.clone());
        }
        let ready = (self.registry)(kind)?;
        known.insert(kind, ready.clone());
        Ok(ready)
    }

    /// Returns what decides which packages may come in, asked for once. Blocks.
    fn judged(&self) -> Result<Digest, String> {
        let mut known = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(digest) => Ok(digest),
            None => Ok(*known.insert((self.rules)()?)),
        }
    }

    /// Waits until nobody else installs under a key, here or in another process.
    async fn making(&self, key: &Digest) -> Result<Result<Making, DepsError>, Failure> {
        let turn = self.turns.wait(key).await;
        let (store, key) = (Arc::clone(&self.store), *key);
        let locked = blocking(move || store.making(&key)).await?;
        Ok(locked.map(|locked| Making {
            locked,
            _turn: turn,
        }))
    }

    /// Whether something is said for the first time.
    fn is_news(&self, refusal: &Refusal) -> bool {
        let one = (refusal.lock.clone(), refusal.reason.clone());
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.insert(one)
    }
}

/// The right to install under a key.
struct Making {
    // Given back first: whoever has the next turn finds it free.
    locked: Locked,
    _turn: OwnedMutexGuard<()>,
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
    let Some(installs) = &room.work().installs else {
        return Ok(Vec::new());
    };
    let mut refused = Vec::new();
    for want in found::wants(room, tree).await? {
        match outcome(room, installs, tree, want).await {
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

/// Whether a role can use what a tool installs.
enum Fit {
    Fits,
    /// It may not run the tool's program.
    NoProgram,
    /// Its image does not hold the tool.
    NoTool,
}

fn fit(installs: &Installs, room: &Room<'_>, tool: &Tool) -> Fit {
    let rights = room.rights();
    if !rights
        .programs
        .contains(&Program::Image(tool.program.clone()))
    {
        Fit::NoProgram
    } else if (installs.holds)(&rights.image, &tool.package) {
        Fit::Fits
    } else {
        Fit::NoTool
    }
}

/// Gives what is wanted, or says why not; none where there is nothing to give.
async fn outcome(
    room: &Room<'_>,
    installs: &Arc<Installs>,
    tree: &ObjectId,
    want: Result<Want, Refusal>,
) -> Result<Option<(Want, Lease)>, Step> {
    let want = match want {
        Ok(want) => want,
        Err(refusal) => {
            let tool = tools().iter().find(|tool| tool.name == refusal.tool);
            return match tool.map(|tool| fit(installs, room, tool)) {
                Some(Fit::NoProgram) => Ok(None),
                Some(Fit::NoTool) => Err(Step::Refused(Refusal {
                    fails: false,
                    ..refusal
                })),
                Some(Fit::Fits) | None => Err(Step::Refused(refusal)),
            };
        }
    };
    let role = &room.rights().role;
    match fit(installs, room, want.tool) {
        Fit::Fits => one(room, installs, tree, want).await,
        Fit::NoProgram if want.demanded && room.is_check() => Err(want
            .refused(format!(
                "role `{role}` may not run `{}`; add it to its `execute` in a policy",
                want.tool.program
            ))
            .into()),
        Fit::NoProgram => Ok(None),
        Fit::NoTool => match found::inputs(room, tree, &want).await {
            Ok(None) => Ok(None),
            Err(Step::Failed(failure)) => Err(Step::Failed(failure)),
            Ok(Some(_)) | Err(Step::Refused(_)) => Err(want
                .passed_over(format!(
                    "image `{}` of role `{role}` has no `{}`; name another in a policy, such as \
                     `agents: {{ {role}: {{ image: full }} }}`",
                    room.rights().image,
                    want.tool.package
                ))
                .into()),
        },
    }
}

/// Gives one install: what is kept, or what is made now.
async fn one(
    room: &Room<'_>,
    installs: &Arc<Installs>,
    tree: &ObjectId,
    want: Want,
) -> Result<Option<(Want, Lease)>, Step> {
    let Some(inputs) = found::inputs(room, tree, &want).await? else {
        return Ok(None);
    };
    let image = room.image()?;
    let asked = Arc::clone(installs);
    let rules = blocking(move || asked.judged()).await?;
    let scene = Scene {
        image: &image,
        machine: std::env::consts::ARCH,
        rules: rules.map_err(|why| want.refused(why))?,
    };
    let key = key(&want, &inputs, scene);
    if let Some(lease) = kept(room, installs, (&want, &key)).await? {
        reused(room, &want, key).await?;
        return Ok(Some((want, lease)));
    }
    let making = installs.making(&key).await?;
    let making = making.map_err(|fault| want.refused(fault.to_string()))?;
    // Whoever was waited for has made it, as a rule.
    if let Some(lease) = kept(room, installs, (&want, &key)).await? {
        reused(room, &want, key).await?;
        return Ok(Some((want, lease)));
    }
    make::make(room, installs, (&want, &inputs), making).await?;
    let Some(lease) = kept(room, installs, (&want, &key)).await? else {
        let gone = "what was installed is gone already".to_owned();
        return Err(want.refused(gone).into());
    };
    let (store, space) = (Arc::clone(&installs.store), installs.space);
    // What is used stays, this one too; what cannot be removed is tried again the next time.
    drop(blocking(move || store.fit(space)).await?);
    Ok(Some((want, lease)))
}

/// Looks for a key's entry. One that was changed is told of, and counts as none.
async fn kept(
    room: &Room<'_>,
    installs: &Arc<Installs>,
    (want, key): (&Want, &Digest),
) -> Result<Option<Lease>, Step> {
    let (store, wanted) = (Arc::clone(&installs.store), *key);
    match blocking(move || store.find(&wanted)).await? {
        Ok(Found::Whole(lease)) => Ok(Some(*lease)),
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
        sandbox: room.name().to_owned(),
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
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(call).await;
    done.map_err(|panicked| Failure::fatal(format!("a bug of ours in installing: {panicked}")))
}
