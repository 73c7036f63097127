//! `loki checkpoint create`: finds the directories of sandboxes, and pauses them.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    checkpoint::{CheckpointError, Head, Origin, Quiet},
    engine::{Engine, Listed},
    journal,
    name::RunId,
    policy::Policy,
    redact::Redactor,
    run::{Holder, Keeper, Subject},
    sandbox::{Slot, repository_label},
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    args::Create,
    bytes,
    looks::{of, row},
    settings, state, told, ui,
};
use crate::cli::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    secrets, setup, signals,
    start::now,
};

/// Runs the verb.
pub(super) async fn create(env: &Environment, asked: &Create) -> Result<Exit, Fault> {
    let state = state()?;
    let root = setup::root()?;
    // Every value that is kept counts, whether or not a policy of today names it.
    let values = secrets::values(env, root.as_deref(), &Policy::builtin_sources())?;
    let secrets = Redactor::new(&values);
    let keeper = Keeper::new(settings(env)?, state.clone(), asked.quota, now);
    let keeper = Arc::new(keeper.or_exit(Exit::Failed)?);
    let wanted = match (&asked.archive, &asked.dir) {
        (Some(archive), _) => vec![Wanted::Archive(archive.clone())],
        (None, Some(dir)) => vec![directory(dir)],
        (None, None) => sandboxes(&state, setup::engine(env).await?, asked).await?,
    };
    if wanted.is_empty() {
        ui::note(
            "no sandbox runs in this repository: `loki sandbox ls` lists all, `--dir DIR` keeps a directory",
        );
    }
    let mut made = Vec::new();
    for one in wanted {
        let (keeper, secrets) = (Arc::clone(&keeper), secrets.clone());
        let holder = one.holder();
        let kept = tokio::task::spawn_blocking(move || one.keep(&keeper, &secrets));
        let kept = tokio::select! {
            kept = kept => kept,
            number = signals::first() => {
                // Nobody else would let it go on.
                if let Some(holder) = holder {
                    holder.release().await;
                }
                return number.map(Exit::Signal).or_exit(Exit::Failed);
            }
        };
        let head = kept.or_exit(Exit::Bug)?.map_err(|cause| told(&cause))?;
        if !asked.json {
            ui::data(head.id.to_string());
            say(&head);
        }
        made.push(head);
    }
    if asked.json {
        let rows: Vec<_> = made.iter().map(row).collect();
        ui::json(&serde_json::json!({ "schema": 1, "checkpoints": rows }))?;
    }
    Ok(Exit::Done)
}

/// What is to be kept.
enum Wanted {
    /// Directories, with what pauses whoever writes there.
    Directories(Subject, Option<Arc<Holder>>),
    /// An archive that was made elsewhere.
    Archive(PathBuf),
}

impl Wanted {
    fn holder(&self) -> Option<Arc<Holder>> {
        match self {
            Self::Directories(_, holder) => holder.clone(),
            Self::Archive(_) => None,
        }
    }

    fn keep(&self, keeper: &Keeper, secrets: &Redactor) -> Result<Head, CheckpointError> {
        let (subject, holder) = match self {
            Self::Directories(subject, holder) => (subject, holder),
            Self::Archive(path) => {
                let mut from = open(path)?;
                return keeper.import(path, secrets, from.as_mut());
            }
        };
        let bar = Bar::new("reading");
        let mut hold = |hold| holder.as_ref().map_or(Ok(()), |holder| holder.hold(hold));
        let quiet = match holder {
            Some(_) => Quiet::Paused(&mut hold),
            None => Quiet::Proven,
        };
        let kept = keeper.keep(subject, secrets, quiet, &|done, all| bar.show(done, all));
        bar.end();
        kept
    }
}

/// Opens an archive; `-` is standard input.
fn open(path: &Path) -> Result<Box<dyn Read>, CheckpointError> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(std::io::BufReader::with_capacity(1 << 20, file))),
        Err(source) => Err(CheckpointError::Io {
            doing: "open",
            path: path.to_owned(),
            source,
        }),
    }
}

fn say(head: &Head) {
    ui::note(format!(
        "kept {} entries, {}, of {}; {} were added to the store",
        head.entries,
        bytes(head.bytes),
        ui::visible(&of(head)),
        bytes(head.stored)
    ));
    if head.left_out > 0 {
        ui::warning(format!(
            "{} left out: `loki checkpoint show {}` names them and why",
            head.left_out, head.id
        ));
    }
}

fn directory(dir: &Path) -> Wanted {
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let subject = Subject {
        origin: Origin::default(),
        sources: vec![("files", path)],
    };
    Wanted::Directories(subject, None)
}

/// Finds the running sandboxes of this repository that were named, or all.
async fn sandboxes(
    state: &Path,
    engine: Arc<dyn Engine>,
    asked: &Create,
) -> Result<Vec<Wanted>, Fault> {
    let root = state.parent().unwrap_or(state);
    let label = format!("loki.repository={}", repository_label(root));
    let mut listed = engine.list(&label).await.or_exit(Exit::NoSandbox)?;
    // One that a killed `create` left paused is resumed by the next.
    listed.retain(|one| matches!(one.state.as_str(), "running" | "paused"));
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    let found = listed
        .iter()
        .filter_map(|one| Some((one, subject(state, one)?)));
    let mut found: Vec<(&Listed, Subject)> = found.collect();
    let is = |(one, subject): &(&Listed, Subject), name: &String| {
        let sandbox = subject.origin.sandbox.as_ref();
        one.name == *name || sandbox == Some(name) || one.id.as_str().starts_with(name.as_str())
    };
    for name in &asked.sandboxes {
        if !found.iter().any(|one| is(one, name)) {
            let message = format!("no sandbox `{}` runs in this repository", ui::visible(name));
            return Err(Fault::new(Exit::Usage, message).hint("`loki sandbox ls` lists all"));
        }
    }
    let all = asked.sandboxes.is_empty();
    found.retain(|one| all || asked.sandboxes.iter().any(|name| is(one, name)));
    let wanted = found.into_iter().map(|(one, subject)| {
        let holder = Arc::new(Holder::new(Arc::clone(&engine), one.id.clone()));
        Wanted::Directories(subject, (!asked.no_pause).then_some(holder))
    });
    Ok(wanted.collect())
}

/// Says what a container's sandbox is, and where its directories are; none for one without.
fn subject(state: &Path, listed: &Listed) -> Option<Subject> {
    let label = |name: &str| listed.labels.get(name).cloned().unwrap_or_default();
    let run = label("loki.run");
    let name = listed
        .name
        .strip_prefix("loki-")?
        .strip_prefix(&format!("{run}-"))?;
    // The engine says it, and it becomes a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    let run: Option<RunId> = (run != "adhoc").then(|| run.parse().ok()).flatten();
    let slot = Slot::at(match &run {
        Some(run) => state.join("worktrees").join(run.as_str()).join(name),
        None => state.join("adhoc").join(name),
    });
    let journal = run.as_ref().and_then(|run| newest_record(state, run));
    slot.work().is_dir().then(|| Subject {
        origin: Origin {
            task: label("loki.task").parse().ok().filter(|_| run.is_some()),
            sandbox: Some(name.to_owned()),
            journal,
            run,
        },
        sources: vec![("home", slot.home()), ("work", slot.work())],
    })
}

fn newest_record(state: &Path, run: &RunId) -> Option<u64> {
    let records = journal::read(&journal::path(state, run)).ok()?;
    records.last().map(|record| record.seq)
}

/// A bar for what takes longer than a second, where a person watches; else one line.
pub(super) struct Bar {
    bar: ProgressBar,
    doing: &'static str,
    shown: AtomicBool,
}

impl Bar {
    /// Prepares it; nothing is shown yet.
    pub(super) fn new(doing: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{msg} {bytes}/{total_bytes} {bytes_per_sec}");
        bar.set_style(style.expect("the template is right"));
        bar.set_message(doing);
        let shown = AtomicBool::new(false);
        Self { bar, doing, shown }
    }

    /// Shows how far it is.
    pub(super) fn show(&self, done: u64, all: u64) {
        if self.bar.elapsed() < Duration::from_secs(1) {
            return;
        }
        if !self.shown.swap(true, Ordering::Relaxed) {
            if ui::is_watched() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            } else {
                ui::note(format!(
                    "{}: {} of {} so far",
                    self.doing,
                    bytes(done),
                    bytes(all)
                ));
            }
        }
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    /// Takes it away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
