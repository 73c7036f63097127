//! `loki checkpoint create`: finds the directories of sandboxes, and pauses them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Handle;

use crate::{
    checkpoint::{
        self, Asked, Caps, Head, Hold, Origin, PURPOSE, Quiet, Signer, Source, Store, Tools,
    },
    engine::{ContainerId, Engine, Listed},
    journal::{self, Key},
    name::RunId,
    policy::Policy,
    redact::{Redactor, Values},
    sandbox::{Slot, repository_label},
};

use super::{
    Believed,
    args::{Create, Trust},
    bytes,
    looks::{of, row},
    settings, state, told, ui,
};
use crate::cli::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    secrets, setup,
    start::now,
};

/// What is to be kept.
struct Subject {
    origin: Origin,
    /// Directories by name.
    sources: Vec<(&'static str, PathBuf)>,
    /// The container to pause.
    container: Option<ContainerId>,
}

/// Runs the verb.
pub(super) async fn create(env: &Environment, asked: &Create) -> Result<Exit, Fault> {
    let state = state()?;
    let root = setup::root()?;
    // Every value that is kept counts, whether or not a policy of today names it.
    let values = secrets::values(env, root.as_deref(), &Policy::builtin_sources())?;
    let engine = match asked.dir {
        Some(_) => None,
        None => Some(setup::engine(env).await?),
    };
    let subjects = match (&asked.dir, &engine) {
        (Some(dir), _) => vec![directory(dir)],
        (None, Some(engine)) => sandboxes(&state, engine.as_ref(), &asked.sandboxes).await?,
        (None, None) => Vec::new(),
    };
    if subjects.is_empty() {
        ui::note(
            "no sandbox runs in this repository: `loki sandbox ls` lists all, `--dir DIR` keeps a directory",
        );
    }
    let mut made = Vec::new();
    for subject in subjects {
        let keeper = Keeper {
            key: Key::open_or_make(settings(env)?).or_exit(Exit::Failed)?,
            believed: Believed::new(env, &Trust { key: None })?,
            values: Arc::clone(&values),
            engine: engine.clone().filter(|_| !asked.no_pause),
            state: state.clone(),
            quota: asked.quota,
            runtime: Handle::current(),
        };
        let kept = tokio::task::spawn_blocking(move || keeper.keep(&subject));
        let head = kept.await.or_exit(Exit::Bug)??;
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

fn directory(dir: &Path) -> Subject {
    Subject {
        origin: Origin::default(),
        sources: vec![(
            "files",
            std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()),
        )],
        container: None,
    }
}

/// Finds the running sandboxes of this repository that were named, or all.
async fn sandboxes(
    state: &Path,
    engine: &dyn Engine,
    named: &[String],
) -> Result<Vec<Subject>, Fault> {
    let root = state.parent().unwrap_or(state);
    let label = format!("loki.repository={}", repository_label(root));
    let mut listed = engine.list(&label).await.or_exit(Exit::NoSandbox)?;
    listed.retain(|one| one.state == "running");
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    let found: Vec<Option<Subject>> = listed.iter().map(|one| subject(state, one)).collect();
    let mut chosen = Vec::new();
    for name in named {
        let is_named = |(one, subject): &(&Listed, &Option<Subject>)| {
            let sandbox = subject
                .as_ref()
                .and_then(|subject| subject.origin.sandbox.as_ref());
            one.name == *name || sandbox == Some(name) || one.id.as_str().starts_with(name.as_str())
        };
        let at = listed.iter().zip(&found).position(|both| is_named(&both));
        let at = at.ok_or_else(|| {
            let message = format!("no sandbox `{}` runs in this repository", ui::visible(name));
            Fault::new(Exit::Usage, message).hint("`loki sandbox ls` lists all")
        })?;
        chosen.push(at);
    }
    let all = found.into_iter().enumerate();
    let wanted = all.filter(|(at, _)| named.is_empty() || chosen.contains(at));
    Ok(wanted.filter_map(|(_, subject)| subject).collect())
}

/// Says what a container's sandbox is, and where its directories are; none for one without.
fn subject(state: &Path, listed: &Listed) -> Option<Subject> {
    let label = |name: &str| listed.labels.get(name).cloned().unwrap_or_default();
    let run = label("loki.run");
    let name = listed
        .name
        .strip_prefix(&format!("loki-{run}-"))?
        .to_owned();
    let run: Option<RunId> = (run != "adhoc").then(|| run.parse().ok()).flatten();
    let slot = match &run {
        Some(run) => state.join("worktrees").join(run.as_str()).join(&name),
        None => state.join("adhoc").join(&name),
    };
    let slot = Slot::at(slot);
    if !slot.work().is_dir() {
        return None;
    }
    let journal = run.as_ref().and_then(|run| newest_record(state, run));
    Some(Subject {
        origin: Origin {
            task: label("loki.task").parse().ok().filter(|_| run.is_some()),
            sandbox: Some(name),
            journal,
            run,
        },
        sources: vec![("home", slot.home()), ("work", slot.work())],
        container: Some(listed.id.clone()),
    })
}

fn newest_record(state: &Path, run: &RunId) -> Option<u64> {
    let records = journal::read(&journal::path(state, run)).ok()?;
    records.last().map(|record| record.seq)
}

/// Everything that one checkpoint is made with, on a thread that may wait.
struct Keeper {
    key: Key,
    believed: Believed,
    values: Arc<Values>,
    /// Pauses; none proves stillness instead.
    engine: Option<Arc<dyn Engine>>,
    state: PathBuf,
    quota: u64,
    runtime: Handle,
}

impl Keeper {
    fn keep(&self, subject: &Subject) -> Result<Head, Fault> {
        let store = Store::open(&self.state).map_err(|cause| told(&cause))?;
        let sources: Vec<Source<'_>> = subject
            .sources
            .iter()
            .map(|(name, path)| Source { name, path })
            .collect();
        let secrets = Redactor::new(&self.values);
        let asked = Asked {
            sources: &sources,
            origin: subject.origin.clone(),
            secrets: &secrets,
            caps: Caps::default(),
            quota: self.quota,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let public = self.key.public().to_string();
        let sign = |bytes: &[u8]| self.key.sign(PURPOSE, bytes).to_string();
        let bar = Bar::new("reading");
        let mut hold = |hold| self.hold(subject, hold);
        let quiet = match (&self.engine, &subject.container) {
            (Some(_), Some(_)) => Quiet::Paused(&mut hold),
            _ => Quiet::Proven,
        };
        let made = self.believed.with(|trusted| {
            let tools = Tools {
                signer: Signer {
                    key: &public,
                    sign: &sign,
                },
                trusted,
                now: &now,
                progress: &|done, all| bar.show(done, all),
            };
            checkpoint::create(&store, &asked, quiet, tools)
        });
        bar.end();
        made.map_err(|cause| told(&cause))
    }

    fn hold(&self, subject: &Subject, hold: Hold) -> io::Result<()> {
        let (Some(engine), Some(container)) = (&self.engine, &subject.container) else {
            return Ok(());
        };
        let done = self.runtime.block_on(async {
            match hold {
                Hold::Pause => engine.pause(container).await,
                Hold::Resume => engine.resume(container).await,
            }
        });
        done.map_err(io::Error::other)
    }
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
