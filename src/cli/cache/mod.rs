//! `loki cache …`: what installs made and is kept for the next run. And what installs for a run.

pub(super) mod args;
mod told;

pub(super) use told::line;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    deps::{Listed, PURPOSE, Store, Vouch},
    engine::images,
    git::Repository,
    journal::Key,
    name::Role,
    policy::{Facts, Policy, RegistryKind},
    run::{Installs, Ready},
    sandbox::Launcher,
};

use super::{
    advisories,
    args::Json,
    checkpoint,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    registries,
    setup::{self, Gathered},
    start::now,
    ui,
};
use args::{Prune, Verb};

/// Runs the verb.
pub(super) async fn run(env: &Environment, verb: Verb) -> Result<Exit, Fault> {
    let (env, root) = (env.clone(), setup::repository()?);
    // What blocks on the disk keeps nothing else waiting.
    let done = tokio::task::spawn_blocking(move || match verb {
        Verb::List(json) => list(&env, &root, &json),
        Verb::Prune(asked) => prune(&env, &root, &asked),
    });
    done.await.or_exit(Exit::Bug)?
}

/// Opens the store of a repository, which believes what this user's key has signed.
fn store(env: &Environment, repository: &Repository) -> Result<Store, Fault> {
    let key = Key::open_or_make(checkpoint::settings(env)?).or_exit(Exit::Failed)?;
    let public = key.public();
    let vouch = Vouch {
        sign: Box::new(move |bytes| key.sign(PURPOSE, bytes).to_string()),
        fits: Box::new(move |bytes, signature| {
            let signature = signature.parse().ok();
            signature.is_some_and(|one| public.verify(PURPOSE, bytes, &one).is_ok())
        }),
    };
    Store::open(&repository.root().join(".loki"), vouch).or_exit(Exit::Failed)
}

/// Makes ready what installs for a run. Nothing is asked of this machine before it must be.
pub(super) fn installs(
    env: &Environment,
    (repository, gathered): (&Repository, &Gathered),
    launcher: &Launcher,
) -> Result<Arc<Installs>, Fault> {
    let store = store(env, repository)?;
    let (env, gathered, threads) = (env.clone(), gathered.clone(), Arc::clone(&launcher.threads));
    let registry = move |kind: RegistryKind| {
        let ready = ready(&env, &gathered, kind)?;
        let known = advisories::for_roles(&env, &[&ready.rights]);
        if let Some(known) = known.map_err(|fault| fault.message)? {
            threads.vet_with(Arc::new(known));
        }
        Ok(ready)
    };
    Ok(Arc::new(Installs::new(store, Box::new(registry), holds)))
}

/// Asks this machine for a registry, and the policies what may be asked there.
fn ready(env: &Environment, gathered: &Gathered, kind: RegistryKind) -> Result<Ready, String> {
    let asked = registries::ask(env, kind);
    if asked.hosts.is_empty() {
        return Err(format!(
            "this machine does not say which hosts `{0}` is; install or configure its tool here, \
             or name them in a rule of role `install`",
            kind.name()
        ));
    }
    let mut known: BTreeMap<_, _> = gathered.facts.registries.clone();
    known.insert(kind, asked.hosts);
    let facts = Facts {
        registries: known,
        ..gathered.facts.clone()
    };
    let policy = Policy::check_knowing(&gathered.sources, &facts);
    let policy = policy.map_err(|faults| {
        let first = faults.first().map(|fault| fault.message.clone());
        format!("its policy has faults: {}", first.unwrap_or_default())
    })?;
    let role: Role = "install".parse().expect("the name is a role's");
    let rights = policy
        .rights(&role)
        .ok_or("no policy knows role `install`")?;
    Ok(Ready {
        rights,
        index: asked.index,
    })
}

/// Whether an image, by its name, holds a package.
fn holds(image: &str, package: &str) -> bool {
    let under = match image.split_once('+') {
        Some((under, _)) => under,
        None if images::layers().contains(&image) => "base",
        None => image,
    };
    let recipe = images::recipe(under);
    recipe.is_ok_and(|recipe| recipe.packages.iter().any(|one| one == package))
}

fn list(env: &Environment, repository: &Repository, asked: &Json) -> Result<Exit, Fault> {
    let all = store(env, repository)?.list().or_exit(Exit::Failed)?;
    if asked.json {
        let entries: Vec<Value> = all.iter().map(document).collect();
        ui::json(&json!({ "schema": 1, "entries": entries }))?;
    } else if all.is_empty() {
        ui::note("nothing that was installed is kept");
    } else {
        ui::table(
            &["KEY", "TOOL", "FROM", "FILES", "BYTES", "USED"],
            all.iter().map(row),
        );
    }
    Ok(Exit::Done)
}

fn prune(env: &Environment, repository: &Repository, asked: &Prune) -> Result<Exit, Fault> {
    let store = store(env, repository)?;
    let keys = asked.keys.clone();
    let old = asked.older_than.unwrap_or(Duration::ZERO);
    let now = now();
    let goes = |one: &Listed| {
        let key = one.key.to_string();
        let named = keys.is_empty() || keys.iter().any(|wanted| key.starts_with(wanted));
        let age = Duration::try_from(now.duration_since(one.used)).unwrap_or(Duration::ZERO);
        named && age >= old
    };
    let removed = match asked.dry_run {
        true => store
            .list()
            .or_exit(Exit::Failed)?
            .into_iter()
            .filter(goes)
            .collect(),
        false => store.prune(goes).or_exit(Exit::Failed)?,
    };
    if asked.json {
        let entries: Vec<Value> = removed.iter().map(document).collect();
        ui::json(&json!({ "schema": 1, "removed": entries, "dry_run": asked.dry_run }))?;
        return Ok(Exit::Done);
    }
    let word = if asked.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let bytes: u64 = removed
        .iter()
        .filter_map(|one| Some(one.kept.as_ref()?.bytes))
        .sum();
    let count = match removed.len() {
        1 => "1 entry".to_owned(),
        several => format!("{several} entries"),
    };
    ui::note(format!(
        "{word} {count}, {bytes} bytes; what a sandbox uses stays"
    ));
    Ok(Exit::Done)
}

fn document(one: &Listed) -> Value {
    json!({
        "key": one.key,
        "used": one.used,
        "signed": one.kept.is_some(),
        "entry": one.kept,
    })
}

fn row(one: &Listed) -> Vec<String> {
    let key = format!("{:.16}", one.key);
    let used = one.used.strftime("%Y-%m-%d %H:%M").to_string();
    match &one.kept {
        Some(kept) => vec![
            key,
            ui::visible(&kept.facts.tool),
            ui::visible(&kept.facts.lock),
            kept.entries.to_string(),
            kept.bytes.to_string(),
            used,
        ],
        None => {
            let unknown = || "?".to_owned();
            vec![
                key,
                unknown(),
                "not signed by you".to_owned(),
                unknown(),
                unknown(),
                used,
            ]
        }
    }
}
