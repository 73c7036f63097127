//! Agent programs laid over images: `base+claude` is the image `base` and one file more.
//!
//! ```text
//!  program cached, hash right? ─ no ─► npm, of exactly this version ─ hash right? ─► cache
//!  image below ─ ensure ─► FROM it + COPY program ─► `loki/base-claude:hash`
//! ```
//! Refuses a file that is not byte for byte the pinned one, wherever it came from. Nothing that
//! comes with the package is run on this machine, nor in the build: the program starts for the first
//! time in a sandbox.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use super::{ImageError, LABEL, Plan, Progress, bootstrap, known};
use crate::{
    digest::Digest,
    engine::{Context, Engine, Image},
    whole,
};

/// Raised when layers built by an older program no longer do.
const FORMAT: &str = "1";

/// Where programs are put: early in every sandbox's `PATH`.
const PROGRAMS: &str = "/usr/local/bin";

const LAYERS: [(&str, &str); 1] = [("claude", include_str!("../../../images/claude/image.yaml"))];

/// A program that is laid over an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    /// Its name.
    name: String,
    /// The exact version of its package.
    version: String,
    /// The file in the package, which is also the program's name.
    file: String,
    builds: Vec<Build>,
}

/// The program for one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    arch: String,
    package: String,
    sha256: String,
}

/// An image and the layer over it.
#[derive(Debug)]
pub(super) struct Layered {
    pub(super) under: String,
    layer: Layer,
    text: &'static str,
}

/// Lists the layers there are.
#[must_use]
pub fn layers() -> Vec<&'static str> {
    LAYERS.iter().map(|(name, _)| *name).collect()
}

/// Reads `base+claude`, and `claude` alone as the layer over `base`; none when the name has no
/// layer in it.
pub(super) fn layered(name: &str) -> Result<Option<Layered>, ImageError> {
    let (under, over) = match name.split_once('+') {
        Some(both) => both,
        None if layers().contains(&name) => ("base", name),
        None => return Ok(None),
    };
    let found = LAYERS.iter().find(|(known, _)| *known == over);
    let Some((_, text)) = found.filter(|_| known().contains(&under)) else {
        return Err(ImageError::unknown(name));
    };
    Ok(Some(Layered {
        under: under.to_owned(),
        layer: serde_yaml::from_str(text).expect("a test reads every shipped layer"),
        text,
    }))
}

impl Layered {
    /// Returns the tag under which an engine holds the image: it changes with what is below.
    pub(super) fn reference(&self, under: &str) -> String {
        let mut hash = Sha256::new();
        for part in [
            FORMAT,
            under,
            self.text,
            PROGRAMS,
            &containerfile(under, &self.layer),
        ] {
            hash.update(part);
            hash.update([0]);
        }
        let hash = format!("{:.16}", Digest(hash.finalize().into()));
        format!("loki/{}-{}:{hash}", self.under, self.layer.name)
    }

    /// Builds the image over `under`, which the engine has.
    pub(super) async fn build(
        &self,
        engine: &dyn Engine,
        under: &Plan,
        progress: Progress<'_>,
    ) -> Result<Image, ImageError> {
        let program = self.layer.program(under.folder(), progress).await?;
        let context = self.context(under, &program)?;
        let reference = self.reference(&under.reference);
        let built = Context::Layer(context.path());
        Ok(engine.build(&reference, built, progress).await?)
    }

    /// Writes the context's tar beside the cached program: it is too large to hold in memory.
    fn context(&self, under: &Plan, program: &Path) -> Result<tempfile::NamedTempFile, ImageError> {
        let failed = |source| ImageError::Cache {
            path: under.folder().to_owned(),
            source,
        };
        let write = || {
            let file = tempfile::Builder::new()
                .prefix(".layer-")
                .tempfile_in(under.folder())?;
            let mut tar = tar::Builder::new(io::BufWriter::new(file.reopen()?));
            let text = containerfile(&under.reference, &self.layer);
            append(
                &mut tar,
                "Containerfile",
                (text.len() as u64, text.as_bytes()),
            )?;
            let program = File::open(program)?;
            append(
                &mut tar,
                &self.layer.file,
                (program.metadata()?.len(), program),
            )?;
            tar.into_inner()?.flush()?;
            Ok(file)
        };
        write().map_err(failed)
    }
}

impl Layer {
    /// Returns the program, from the cache or else through npm.
    async fn program(&self, cache: &Path, progress: Progress<'_>) -> Result<PathBuf, ImageError> {
        let arch = std::env::consts::ARCH;
        let kept = cache.join(format!("{}-{}-{arch}", self.name, self.version));
        let missing = |why: String| ImageError::NoProgram {
            name: self.name.clone(),
            version: self.version.clone(),
            why,
            cache: kept.clone(),
        };
        let Some(build) = self.builds.iter().find(|build| build.arch == arch) else {
            return Err(missing(format!("there is no build of it for {arch}")));
        };
        let failed = |source| ImageError::Cache {
            path: kept.clone(),
            source,
        };
        if kept.exists() {
            self.verify(&kept, build).map_err(missing)?;
            return Ok(kept);
        }
        let folder = tempfile::Builder::new()
            .prefix(".program-")
            .tempdir_in(cache)
            .map_err(failed)?;
        progress(&format!(
            "fetching `{}` {} through npm",
            self.name, self.version
        ));
        let wanted = format!("{}@{}", build.package, self.version);
        bootstrap::follow("npm", &arguments(folder.path(), wanted), progress)
            .await
            .map_err(|fault| missing(fault.told("npm")))?;
        let brought = folder
            .path()
            .join("node_modules")
            .join(&build.package)
            .join(&self.file);
        self.verify(&brought, build).map_err(missing)?;
        whole::settle(&brought, &kept).map_err(failed)?;
        Ok(kept)
    }

    /// Holds a file against the pin.
    fn verify(&self, file: &Path, build: &Build) -> Result<(), String> {
        let said = sha256(file).map_err(|cause| format!("`{}`: {cause}", file.display()))?;
        if said == build.sha256 {
            return Ok(());
        }
        Err(format!(
            "`{}` is not the pinned program: its SHA-256 is {said}, not {}",
            file.display(),
            build.sha256
        ))
    }
}

/// Nothing of the package runs, and nothing but the package is asked for.
fn arguments(folder: &Path, wanted: String) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = [
        "install",
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--prefix",
    ]
    .map(Into::into)
    .into();
    arguments.extend([folder.into(), wanted.into()]);
    arguments
}

fn containerfile(under: &str, layer: &Layer) -> String {
    let (name, file) = (&layer.name, &layer.file);
    let program = format!("{PROGRAMS}/{file}");
    let image = under.trim_start_matches("loki/");
    let image = image.split(':').next().unwrap_or(image);
    format!(
        "FROM {under}\n\
         COPY {file} {program}\n\
         LABEL {LABEL}={image}+{name}\n"
    )
}

fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    (size, from): (u64, impl Read),
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, from)
}

fn sha256(file: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(file)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut piece)?;
        let (bytes, _) = piece.split_at(length);
        if bytes.is_empty() {
            return Ok(Digest(hash.finalize().into()).to_string());
        }
        hash.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_layer_reads_carries_its_name_and_pins_each_build() {
        for name in layers() {
            let both = layered(&format!("base+{name}")).unwrap().expect("a layer");
            assert_eq!(both.layer.name, name);
            for build in &both.layer.builds {
                let hexadecimal = build
                    .sha256
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                assert!(build.sha256.len() == 64 && hexadecimal, "{}", build.arch);
                assert!(build.sha256.bytes().any(|b| b != b'0'), "{}", build.arch);
            }
        }
    }

    #[test]
    fn a_layer_alone_lies_over_base() {
        let alone = layered("claude").unwrap().expect("a layer");
        assert_eq!(alone.under, "base");
        assert!(layered("base").unwrap().is_none());
        assert!(layered("nothing").unwrap().is_none());
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_there_is() {
        for name in [
            "base+",
            "+claude",
            "none+claude",
            "base+vim",
            "base+claude+claude",
            "claude+claude",
        ] {
            let fault = layered(name).unwrap_err();
            assert!(fault.to_string().contains("base, node"), "{fault}");
        }
    }

    #[test]
    fn the_tag_changes_with_what_is_below() {
        let layered = layered("rust+claude").unwrap().expect("a layer");
        let tag = layered.reference("loki/rust:1");
        assert!(tag.starts_with("loki/rust-claude:"), "{tag}");
        assert_ne!(tag, layered.reference("loki/rust:2"));
    }

    #[test]
    fn the_build_takes_the_program_and_runs_nothing() {
        let layered = layered("rust+claude").unwrap().expect("a layer");
        assert_eq!(
            containerfile("loki/rust:0123", &layered.layer),
            "FROM loki/rust:0123\nCOPY claude /usr/local/bin/claude\nLABEL loki.image=rust+claude\n"
        );
    }

    #[tokio::test]
    async fn a_cached_program_that_was_changed_is_refused_and_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let layer = layered("claude").unwrap().expect("a layer").layer;
        let name = format!("claude-{}-{}", layer.version, std::env::consts::ARCH);
        File::create(cache.path().join(name))
            .and_then(|mut file| file.write_all(b"#!/bin/sh\n"))
            .unwrap();
        let fault = layer.program(cache.path(), &|_| {}).await.unwrap_err();
        assert!(
            fault.to_string().contains("is not the pinned program"),
            "{fault}"
        );
    }
}
