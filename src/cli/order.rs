//! What was typed to start a run, with what it names by content: so that another process can begin
//! it although the files are gone meanwhile. It reads, and judges nothing.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    policy::{Layer, Source},
    spec,
};

use super::{
    args,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// A start, wherever it was typed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// Where: relative paths begin there.
    pub(super) directory: PathBuf,
    /// What.
    pub(super) args: args::Start,
    /// What stands in the specification.
    #[serde(with = "as_text")]
    pub(super) spec: Vec<u8>,
    /// What stands in each file of `--policy`.
    pub(super) policy: Vec<String>,
}

impl Order {
    /// Reads what was typed in the current directory.
    pub(super) fn typed(args: &args::Start) -> Result<Self, Fault> {
        Self::of(std::env::current_dir().or_exit(Exit::Usage)?, args.clone())
    }

    /// Reads what was typed in a directory.
    pub(super) fn of(directory: PathBuf, args: args::Start) -> Result<Self, Fault> {
        let mut order = Self {
            directory,
            args,
            spec: Vec::new(),
            policy: Vec::new(),
        };
        let job = &order.args.job;
        order.spec = read_spec(&job.spec, &order.at(&job.spec))?;
        let policies = order.args.job.policy.iter();
        let texts = policies.map(|file| Ok(setup::given_source(&order.at(file), file)?.text));
        order.policy = texts.collect::<Result<_, Fault>>()?;
        Ok(order)
    }

    /// Returns where a path leads that was typed with it; as short as it can be said here.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        match std::env::current_dir() {
            Ok(here) if here == self.directory => path.to_owned(),
            _ => self.directory.join(path),
        }
    }

    /// Returns the policy files, each under the name that was typed.
    pub(super) fn sources(&self) -> Vec<Source> {
        let files = self.args.job.policy.iter().zip(&self.policy);
        let source = |(file, text): (&PathBuf, &String)| Source {
            layer: Layer::Given,
            file: file.clone(),
            text: text.clone(),
        };
        files.map(source).collect()
    }

    /// Refuses what does not hold together: it may have come from another process.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let whole = self.policy.len() == self.args.job.policy.len()
            && self.spec.len() <= spec::MAX_BYTES
            && self.directory.is_absolute()
            && (1..=100).contains(&self.args.job.parallel);
        whole.then_some(()).ok_or_else(|| {
            Fault::new(Exit::Usage, "what was handed over is no start")
                .hint("`loki start SPEC.md` hands one over")
        })
    }
}

/// Reads a specification without ever reading more than it may have.
fn read_spec(shown: &Path, path: &Path) -> Result<Vec<u8>, Fault> {
    let shown = ui::visible(&shown.to_string_lossy());
    let unreadable = |cause: std::io::Error| {
        Fault::new(
            Exit::Invalid,
            format!("specification `{shown}` cannot be read: {cause}"),
        )
        .hint("give a Markdown file, such as `SPEC.md` (docs/specs.md)")
    };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::new(
            Exit::Invalid,
            format!("specification `{shown}` is not a regular file"),
        )
        .hint("give a Markdown file, such as `SPEC.md` (docs/specs.md)"));
    }
    let mut bytes = Vec::new();
    file.take(spec::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > spec::MAX_BYTES {
        return Err(Fault::new(
            Exit::Invalid,
            format!("specification `{shown}` is larger than 1 MiB"),
        )
        .hint("a specification is text for people: keep data in files of the repository"));
    }
    Ok(bytes)
}

/// A specification is text once it was checked, and nothing else is handed over.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, ser::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(bytes).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(from).map(String::into_bytes)
    }
}
