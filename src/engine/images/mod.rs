//! What containers are made of: the shipped recipes, and how each becomes an image of an engine.
//!
//! ```text
//!  recipe + host certificates ─ hash ─► tag
//!    in the engine? ─ yes ─► done
//!    tar cached?    ─ yes ─► import
//!    registry?      ─ yes ─► build on what it gave
//!    else bootstrap from the distribution's packages ─► tar ─► cache ─► import
//! ```
//!
//! Refuses to guess: without any source it names each that was tried and what to type. A cached
//! tar is complete or absent, for it is renamed into place.

mod bootstrap;
mod certificates;
mod context;
mod layer;
mod recipe;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub use layer::layers;
pub use recipe::{Recipe, known, recipe};

use super::{Context, Engine, EngineError, Image, Import, Progress};
use certificates::Certificates;

/// The label every image of ours carries; its value is the recipe's name.
pub const LABEL: &str = "loki.image";

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such recipe.
    #[error("no image is called `{}`: there are {}; an agent's program is laid over one as in `base+claude`", name.escape_debug(), known.join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// Neither a registry nor the distribution's packages could be had.
    #[error(
        "the image `{name}` cannot be built: {pull}; {bootstrap}. Connect this machine to its package mirror and run `loki image build {name}`, or copy `{}` from a machine that has built it",
        cache.display()
    )]
    NoSource {
        /// The image.
        name: String,
        /// Why the registry did not serve.
        pull: String,
        /// Why the packages did not.
        bootstrap: String,
        /// Where a finished tar would be looked for.
        cache: PathBuf,
    },
    /// The program of a layer cannot be had.
    #[error(
        "the program `{name}` {version} cannot be had: {why}. Connect this machine to its package registry and run `loki image build {name}`, or copy `{}` from a machine that has it",
        cache.display()
    )]
    NoProgram {
        /// The program.
        name: String,
        /// The version that is wanted.
        version: String,
        /// Why not.
        why: String,
        /// Where the file would be looked for.
        cache: PathBuf,
    },
    /// The cache directory or a file in it cannot be used.
    #[error("cannot use `{}`: see that the directory can be written and the disk has 1 GiB free", path.display())]
    Cache {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine did not take it.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ImageError {
    fn unknown(name: &str) -> Self {
        Self::Unknown {
            name: name.to_owned(),
            known: known(),
        }
    }
}

/// Returns the tag under which an engine holds an image: it changes with the recipe and with the
/// host's certificates.
///
/// # Errors
/// [`ImageError::Unknown`] if there is no such recipe.
pub fn reference(name: &str) -> Result<String, ImageError> {
    match layer::layered(name)? {
        Some(layered) => {
            let under = Plan::of(&layered.under, Path::new(""))?;
            Ok(layered.reference(&under.reference))
        }
        None => Ok(Plan::of(name, Path::new(""))?.reference),
    }
}

/// Returns the image, built first if the engine has none of that tag. `base+claude` is an agent's
/// program laid over an image.
///
/// `cache` is a directory of the user's own that outlives runs; bootstrapped tars stay there, so
/// that the next engine only imports. Two processes may call this at once: the second waits.
///
/// # Errors
/// [`ImageError`], each with what to type next. Nothing half-made is left behind.
pub async fn ensure(
    engine: &dyn Engine,
    name: &str,
    cache: &Path,
    progress: Progress<'_>,
) -> Result<Image, ImageError> {
    let Some(layered) = layer::layered(name)? else {
        return made(engine, &Plan::of(name, cache)?, progress).await;
    };
    let under = Plan::of(&layered.under, cache)?;
    let reference = layered.reference(&under.reference);
    if let Some(image) = engine.image(&reference).await? {
        return Ok(image);
    }
    made(engine, &under, progress).await?;
    let _lock = lock(cache.join(format!("{name}.lock")), progress).await?;
    if let Some(image) = engine.image(&reference).await? {
        return Ok(image);
    }
    layered.build(engine, &under, progress).await
}

/// Returns the image of a recipe.
async fn made(
    engine: &dyn Engine,
    plan: &Plan,
    progress: Progress<'_>,
) -> Result<Image, ImageError> {
    if let Some(image) = engine.image(&plan.reference).await? {
        return Ok(image);
    }
    let _lock = lock(plan.tar.with_extension("lock"), progress).await?;
    if let Some(image) = engine.image(&plan.reference).await? {
        return Ok(image);
    }
    if !plan.tar.exists() {
        let pull = match plan.build(engine, progress).await {
            Ok(image) => return Ok(image),
            Err(fault) => fault.to_string(),
        };
        progress(&format!(
            "no registry serves `{}`: bootstrapping from packages",
            plan.recipe.from
        ));
        bootstrap::run(plan, progress)
            .await
            .map_err(|fault| fault.into_image_error(plan, pull))?;
    }
    progress(&format!("importing `{}`", plan.tar.display()));
    let label = (LABEL, plan.recipe.name.as_str());
    let import = Import {
        reference: &plan.reference,
        tar: &plan.tar,
        label,
    };
    Ok(engine.import(import, progress).await?)
}

/// One image, decided: what goes in, what it is called, where its tar stands.
#[derive(Debug)]
struct Plan {
    recipe: Recipe,
    certificates: Certificates,
    reference: String,
    tar: PathBuf,
}

impl Plan {
    fn of(name: &str, cache: &Path) -> Result<Self, ImageError> {
        let mut recipe = recipe(name)?;
        if let Some(suite) = bootstrap::host_suite() {
            recipe.suite = suite;
        }
        let certificates = Certificates::of_host();
        let hash = recipe.hash(&certificates);
        Ok(Self {
            reference: format!("loki/{name}:{hash}"),
            tar: cache.join(format!("{name}-{hash}.tar")),
            recipe,
            certificates,
        })
    }

    /// Builds on the registry's image; any failure means that there is none to build on.
    async fn build(
        &self,
        engine: &dyn Engine,
        progress: Progress<'_>,
    ) -> Result<Image, ImageError> {
        progress(&format!("pulling `{}`", self.recipe.from));
        engine.pull(&self.recipe.from, progress).await?;
        let context =
            context::tar(&self.recipe, &self.certificates).map_err(|source| ImageError::Cache {
                path: self.tar.clone(),
                source,
            })?;
        Ok(engine
            .build(&self.reference, Context::Whole(context), progress)
            .await?)
    }

    /// The cache.
    fn folder(&self) -> &Path {
        self.tar.parent().unwrap_or(Path::new("."))
    }
}

/// Takes a lock; it is released when the file is dropped.
async fn lock(path: PathBuf, progress: Progress<'_>) -> Result<File, ImageError> {
    let failed = |source| ImageError::Cache {
        path: path.clone(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::create(&path).map_err(failed)?;
    use rustix::fs::{FlockOperation, flock};
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(file);
    }
    progress("waiting for another process that builds this image");
    let waiting = tokio::task::spawn_blocking(move || {
        flock(&file, FlockOperation::LockExclusive).map(|()| file)
    });
    let locked = waiting
        .await
        .map_err(|fault| failed(io::Error::other(fault)))?;
    locked.map_err(|errno| failed(errno.into()))
}
