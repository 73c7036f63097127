//! What several verbs need first: policies, repository, engine, images.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    diagnostic::{Diagnostic, closest, explained},
    engine::{self, Engine, images},
    git::{GitError, Repository},
    name::Role,
    policy::{Change, Facts, Layer, Policy, Rights, Source},
};

pub(super) use super::ground::launcher;
use super::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    policy, registries, secrets, ui,
};

/// Largest policy file that is read.
const POLICY_MAX: u64 = 1 << 20;

/// All layers of policy, read, and what the check must know besides.
#[derive(Clone)]
pub(super) struct Gathered {
    pub(super) sources: Vec<Source>,
    pub(super) facts: Facts,
    /// How the project's files differ from those that a person trusted.
    pub(super) changes: Vec<Change>,
}

impl Gathered {
    /// Returns the project's own files.
    pub(super) fn project(&self) -> impl Iterator<Item = &Source> {
        let sources = self.sources.iter();
        sources.filter(|source| source.layer == Layer::Project)
    }

    /// Builds the policy.
    pub(super) fn check(&self) -> Result<Policy, Vec<Diagnostic>> {
        Policy::check_knowing(&self.sources, &self.facts)
    }
}

/// Collects all layers of policy: built in, organisation, user, the project at `root`, then files
/// given by name.
pub(super) fn gather(
    env: &Environment,
    given: &[PathBuf],
    root: Option<&Path>,
) -> Result<Gathered, Fault> {
    let given: Result<_, Fault> = given.iter().map(|file| given_source(file, file)).collect();
    gather_with(env, given?, root)
}

/// Reads a policy file that a person named.
pub(super) fn given_source(file: &Path, shown: &Path) -> Result<Source, Fault> {
    let source = policy_source(Layer::Given, file.to_owned())?;
    Ok(Source {
        file: shown.to_owned(),
        ..source
    })
}

/// Does what [`gather`] does with files that were read already.
fn gather_with(
    env: &Environment,
    given: Vec<Source>,
    root: Option<&Path>,
) -> Result<Gathered, Fault> {
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
    if let Some(root) = root {
        sources.extend(project_sources(root)?);
    }
    sources.extend(given);
    let pins = match root {
        Some(root) => policy::pins(env, root)?,
        None => None,
    };
    // The shipped rules that name a secret are those of agent programs, which not every run has.
    let own = |source: &&Source| source.layer != Layer::BuiltIn;
    let own: Vec<Source> = sources.iter().filter(own).cloned().collect();
    let secrets = secrets::values(env, root, &own)?;
    let trust = pins.as_ref().map(|pins| pins.trust(&sources));
    Ok(Gathered {
        facts: Facts {
            trust: trust.unwrap_or_default(),
            secrets: secrets.names().map(str::to_owned).collect(),
            registries: registries::find(env, &sources),
            provider: None,
        },
        changes: pins.map(|pins| pins.changes(&sources)).unwrap_or_default(),
        sources,
    })
}

/// Reads the policies that come with the code. Only regular files count, so that a link planted
/// there shows nothing else of this machine.
fn project_sources(root: &Path) -> Result<Vec<Source>, Fault> {
    let shown = Path::new(".loki/policies");
    let mut sources = Vec::new();
    for file in yaml_files(&root.join(shown))? {
        let kind = fs::symlink_metadata(&file).map_err(|cause| unreadable(&file, &cause))?;
        if !kind.is_file() {
            let message = format!("policy `{}` is not a regular file", file.display());
            return Err(Fault::new(Exit::Invalid, message));
        }
        let mut source = policy_source(Layer::Project, file)?;
        source.file = shown.join(source.file.file_name().unwrap_or_default());
        sources.push(source);
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

/// Checks all layers. Notes go to stderr.
pub(super) fn policy(
    env: &Environment,
    given: &[PathBuf],
    root: Option<&Path>,
) -> Result<Policy, Fault> {
    let given: Result<_, Fault> = given.iter().map(|file| given_source(file, file)).collect();
    policy_with(env, given?, (root, None))
}

/// Checks all layers, with what an agent program needs added to the roles that work.
pub(super) fn policy_with(
    env: &Environment,
    given: Vec<Source>,
    rooted: (Option<&Path>, Option<Role>),
) -> Result<Policy, Fault> {
    gathered_policy(env, given, rooted).map(|(_, policy)| policy)
}

/// Checks all layers like [`policy_with`], and keeps what they were.
pub(super) fn gathered_policy(
    env: &Environment,
    given: Vec<Source>,
    (root, provider): (Option<&Path>, Option<Role>),
) -> Result<(Gathered, Policy), Fault> {
    if provider.is_some() {
        secrets::values(env, root, &Policy::builtin_sources())?;
    }
    let mut gathered = gather_with(env, given, root)?;
    gathered.facts.provider = provider;
    let policy = gathered.check().map_err(|faults| diagnostics(&faults))?;
    say_notes(&gathered, &policy);
    Ok((gathered, policy))
}

/// Says what a person should know although nothing is wrong.
pub(super) fn say_notes(gathered: &Gathered, policy: &Policy) {
    policy::say_changes(gathered);
    for note in policy.notes() {
        ui::note(format!("note: {}", note.render()));
    }
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

/// Returns the root of the repository around the current directory, none outside of one. One with
/// no commit yet has one: its policy counts already.
pub(super) fn root() -> Result<Option<PathBuf>, Fault> {
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    match Repository::open(&here) {
        Ok(repository) => Ok(Some(repository.root().to_owned())),
        Err(GitError::NoCommit { root }) => Ok(Some(root)),
        Err(GitError::NotARepository { .. }) => Ok(None),
        // Not none: what it says, its policy first, would be left out unsaid.
        Err(cause) => Err(Fault::new(Exit::Usage, cause)),
    }
}

/// Opens the repository around the current directory.
pub(super) fn repository() -> Result<Repository, Fault> {
    repository_at(&std::env::current_dir().or_exit(Exit::Usage)?)
}

/// Opens the repository around a directory.
pub(super) fn repository_at(directory: &Path) -> Result<Repository, Fault> {
    Repository::open(directory).map_err(|cause| {
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
        cache: env.cache().ok().map(Path::to_owned),
    }
}

/// Finds the engine.
pub(super) async fn engine(env: &Environment) -> Result<Arc<dyn Engine>, Fault> {
    engine_of(&facts(env)).await
}

/// Finds the engine that an environment leads to.
pub(super) async fn engine_of(environment: &engine::Environment) -> Result<Arc<dyn Engine>, Fault> {
    engine::connect(environment)
        .await
        .or_exit(Exit::NoSandbox)
        .map_err(|fault| fault.hint("`loki doctor` says what this machine gives"))
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

/// Returns the rights of the role that a person named.
pub(super) fn rights(policy: &Policy, name: &str) -> Result<Rights, Fault> {
    let known = name.parse::<Role>().ok();
    known
        .and_then(|role| policy.rights(&role))
        .ok_or_else(|| stranger(policy, name))
}

pub(super) fn stranger(policy: &Policy, name: &str) -> Fault {
    let message = format!("no role is called `{}`", ui::visible(name));
    let hint = match closest(name, policy.roles().map(Role::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`loki agents list` shows the roles".to_owned(),
    };
    Fault::new(Exit::Usage, message).hint(hint)
}
