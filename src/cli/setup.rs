//! What several verbs need first: policies, repository, engine, images.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    diagnostic::{Diagnostic, explained},
    egress::{SystemResolver, Threads},
    engine::{self, Engine, images},
    git::{GitError, Repository},
    name::Role,
    policy::{Layer, Policy, Rights, Source},
    sandbox::{Launcher, Shortfall},
};

use super::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    ui,
};

/// Largest policy file that is read.
const POLICY_MAX: u64 = 1 << 20;

/// Collects all layers of policy: built in, organisation, user, then files given by name.
pub(super) fn policy_sources(env: &Environment, given: &[PathBuf]) -> Result<Vec<Source>, Fault> {
    let mut sources = Policy::builtin_sources();
    let organisation = PathBuf::from("/etc/loki/policies");
    let user = env.config.as_ref().map(|config| config.join("policies"));
    let user = user.map(|directory| (Layer::User, directory));
    for (layer, directory) in [(Layer::Organisation, organisation)]
        .into_iter()
        .chain(user)
    {
        for file in yaml_files(&directory)? {
            sources.push(policy_source(layer, file)?);
        }
    }
    for file in given {
        sources.push(policy_source(Layer::Given, file.clone())?);
    }
    Ok(sources)
}

fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(unreadable(directory, &cause)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| unreadable(directory, &cause))?.path();
        if path
            .extension()
            .is_some_and(|kind| kind == "yaml" || kind == "yml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn policy_source(layer: Layer, file: PathBuf) -> Result<Source, Fault> {
    let length = fs::metadata(&file)
        .map_err(|cause| unreadable(&file, &cause))?
        .len();
    if length > POLICY_MAX {
        let message = format!("policy `{}` is larger than 1 MiB", file.display());
        return Err(Fault::new(Exit::Invalid, message));
    }
    let text = fs::read_to_string(&file).map_err(|cause| unreadable(&file, &cause))?;
    Ok(Source { layer, file, text })
}

fn unreadable(path: &Path, cause: &io::Error) -> Fault {
    Fault::new(
        Exit::Invalid,
        format!("policy `{}` cannot be read: {cause}", path.display()),
    )
}

/// Checks all layers and refuses a project that brings policies of its own: they come with the
/// code, and what would make them trustworthy does not exist yet.
pub(super) fn policy(
    env: &Environment,
    given: &[PathBuf],
    root: Option<&Path>,
) -> Result<Policy, Fault> {
    if let Some(project) = root
        .map(|root| root.join(".loki/policies"))
        .filter(|path| path.exists())
    {
        let message = format!(
            "`{}` comes with the code and is not trusted",
            project.display()
        );
        return Err(Fault::new(Exit::Invalid, message).hint(
            "name the files you trust: `--policy FILE`, or move them to ~/.config/loki/policies",
        ));
    }
    Policy::check(&policy_sources(env, given)?).map_err(|faults| diagnostics(&faults))
}

/// Prints every diagnostic and returns the fault that counts them.
pub(super) fn diagnostics(faults: &[Diagnostic]) -> Fault {
    for fault in faults {
        ui::note(fault.render());
    }
    Fault::new(
        Exit::Invalid,
        format!("{} found", ui::counted(faults.len(), "fault")),
    )
}

/// Opens the repository around the current directory.
pub(super) fn repository() -> Result<Repository, Fault> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    Repository::open(&here).map_err(|cause| {
        // A full or read-only disk is no fault of the command line.
        let exit = if matches!(cause, GitError::Io { .. }) {
            Exit::Failed
        } else {
            Exit::Usage
        };
        Fault::new(exit, explained(&cause))
    })
}

/// What the user's environment says about engines.
pub(super) fn facts(env: &Environment) -> engine::Environment {
    engine::Environment {
        engine: env.engine.clone(),
        docker_host: env.docker_host.clone(),
        container_host: env.container_host.clone(),
        xdg_runtime_dir: env.runtime_dir.clone(),
        uid: rustix::process::geteuid().as_raw(),
        path: env.path.clone().into(),
        podman_store: env.podman_store.clone(),
        podman_storage_conf: env.podman_storage_conf.clone(),
    }
}

/// Finds the engine.
pub(super) async fn engine(env: &Environment) -> Result<Arc<dyn Engine>, Fault> {
    engine::connect(&facts(env))
        .await
        .or_exit(Exit::NoSandbox)
        .map_err(|fault| fault.hint("`loki doctor` says what this machine gives"))
}

/// Prepares starting sandboxes of roles, on an engine that can hold them to their limits, or where
/// a policy accepts that it cannot.
pub(super) fn launcher<'a>(
    env: &Environment,
    engine: Arc<dyn Engine>,
    roles: impl IntoIterator<Item = &'a Rights>,
) -> Result<Launcher, Fault> {
    if !engine.report().limits {
        if roles.into_iter().any(|rights| rights.minimum.cgroup) {
            return Err(Fault::new(Exit::NoSandbox, Shortfall::NO_LIMITS));
        }
        ui::warning(
            "memory and processors are not held here, only processes are: a policy accepts `cgroup: none`",
        );
    }
    let threads = Threads::start().or_exit(Exit::NoSandbox)?;
    let resolver = SystemResolver::new().or_exit(Exit::NoSandbox)?;
    Ok(Launcher::new(
        engine,
        env.cache()?.to_owned(),
        Arc::new(threads),
        Arc::new(resolver),
    ))
}

/// Makes the images of the given roles ready and returns the digest of each.
pub(super) async fn images_of<'a>(
    env: &Environment,
    engine: &dyn Engine,
    policy: &Policy,
    roles: impl Iterator<Item = &'a Role>,
) -> Result<BTreeMap<String, String>, Fault> {
    let names: BTreeSet<String> = roles
        .filter_map(|role| policy.rights(role))
        .map(|rights| rights.image)
        .collect();
    let mut ready = BTreeMap::new();
    for name in names {
        let image = image(env, engine, &name).await?;
        ready.insert(name, image);
    }
    Ok(ready)
}

/// Makes one image ready and returns its digest.
pub(super) async fn image(
    env: &Environment,
    engine: &dyn Engine,
    name: &str,
) -> Result<String, Fault> {
    let image = images::ensure(engine, name, env.cache()?, &|line| {
        ui::note(ui::visible_lines(line));
    })
    .await;
    Ok(image.or_exit(Exit::NoSandbox)?.id)
}
