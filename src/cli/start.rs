//! `loki start`: everything is checked before anything is made; then the run is driven and shown.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::mpsc;

use crate::{
    diagnostic::explained,
    digest::Digest,
    event::{Event, Outcome},
    git::{Repository, run_branch},
    journal::{Lock, Writer},
    name::{Role, RunId},
    policy::{self, Policy, Rights},
    provider::Provider,
    run::{self, Keeper, Session, Work},
    sandbox,
    spec::{self, Spec},
    task::{self, Task},
};

use super::{
    answers, args, checkpoint,
    choice::choose,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    landing,
    progress::Progress,
    restart, setup, signals, ui,
};

/// A specification that was read and checked.
pub(super) struct Intake {
    pub(super) spec: Spec,
    pub(super) sha256: String,
    pub(super) file: PathBuf,
}

/// Runs the verb.
pub(super) async fn start(env: &Environment, args: &args::Start) -> Result<Exit, Fault> {
    let intake = read_spec(&args.spec)?;
    let choice = choose(args, &intake)?;
    let tasks = choice.plan(&intake)?;
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let shipment = landing::shipment(env, &repository, args)?;
    let needs = policy::entry_of(choice.name());
    let policy = setup::policy_with(env, &args.policy, (Some(repository.root()), needs))?;
    check_plan(&tasks, &policy, &intake.file)?;
    let provider = choice.open()?;
    let checker: Role = "check".parse().or_exit(Exit::Bug)?;
    let roles = || tasks.iter().map(|task| &task.role).chain([&checker]);
    let rights: Vec<_> = roles().filter_map(|role| policy.rights(role)).collect();
    credentials_are_kept(env, &rights)?;
    let launcher = setup::launcher(env, setup::engine(env).await?, &rights)?;
    let run = new_run()?;
    let state = repository.root().join(".loki");
    let lock = Lock::acquire(&state, &run, now()).or_exit(Exit::Failed)?;
    answers::keep(env, &launcher, &state)?;
    restart::charge(&launcher.threads, (&state, &policy), now());
    sweep(&repository, launcher.engine.as_ref()).await?;
    let images = setup::images_of(env, launcher.engine.as_ref(), &policy, roles()).await?;
    warn_dirty(&repository)?;
    repository
        .create_run_branch(&run, repository.head())
        .or_exit(Exit::Failed)?;
    let opening = opening(
        &run,
        &intake,
        provider.as_ref(),
        (&repository, &policy),
        &described(launcher.engine.report()),
    );
    let writer = Writer::create(&state, &run, now).or_exit(Exit::Failed)?;
    let keeper = keeper(env, &state)?;
    let work = Arc::new(Work {
        run,
        keeper: Some(Arc::clone(&keeper)),
        repository: Arc::new(repository),
        spec: intake.spec,
        policy,
        provider,
        launcher,
        images,
        landing: tokio::sync::Mutex::new(()),
        landings: std::sync::Mutex::default(),
    });
    let exit = drive(&work, writer, opening, tasks, usize::from(args.parallel)).await;
    forget_old_checkpoints(keeper).await;
    let exit = landing::after(env, &work, (exit, shipment)).await;
    drop(lock);
    exit
}

/// Prepares keeping what agents write.
fn keeper(env: &Environment, state: &Path) -> Result<Arc<Keeper>, Fault> {
    let settings = checkpoint::settings(env)?;
    let keeper = Keeper::new(settings, state.to_owned(), Keeper::QUOTA, now);
    keeper.map(Arc::new).or_exit(Exit::Failed)
}

/// Removes checkpoints that a run leaves to be removed; those of other runs count, too.
async fn forget_old_checkpoints(keeper: Arc<Keeper>) {
    let tidied = tokio::task::spawn_blocking(move || keeper.tidy()).await;
    let failed = match tidied {
        Ok(Ok(_)) => return,
        Ok(Err(cause)) => explained(&cause),
        Err(panicked) => panicked.to_string(),
    };
    ui::warning(format!("old checkpoints stay: {}", ui::visible(&failed)));
}

async fn drive(
    work: &Arc<Work>,
    writer: Writer,
    opening: Event,
    tasks: Vec<Task>,
    parallel: usize,
) -> Result<Exit, Fault> {
    let (observer, watched) = mpsc::unbounded_channel();
    let (controls, caught) =
        signals::watch(&work.repository.root().join(".loki")).or_exit(Exit::Failed)?;
    let session = Session {
        writer,
        opening,
        tasks,
        parallel,
        controls,
        observer,
    };
    let (ending, ()) = tokio::join!(
        run::drive(Arc::clone(work), session),
        Progress::default().show(watched)
    );
    if let Err(fault) = tidy(work).await {
        ui::warning(format!(
            "something of the run is left: {}; the next start looks again",
            fault.message
        ));
    }
    let ending = ending
        .or_exit(Exit::Failed)
        .map_err(|fault| fault.hint("`loki status` shows how far the run came"))?;
    if ending.outcome == Outcome::Done {
        forget_task_branches(work)?;
    }
    summary(work, &ending);
    Ok(match (ending.outcome, caught.signal()) {
        (Outcome::Done, _) => Exit::Done,
        (Outcome::Stopped, Some(signal)) => Exit::Signal(signal),
        (Outcome::Failed | Outcome::Stopped, _) => Exit::Failed,
    })
}

/// Removes what a run that was ended left standing; nothing else may run here, we hold the lock.
async fn tidy(work: &Work) -> Result<(), Fault> {
    let label = sandbox::repository_label(work.repository.root());
    work.launcher.end_own(&label).await.or_exit(Exit::Failed)?;
    work.repository.sweep(&[]).or_exit(Exit::Failed).map(drop)
}

/// Removes the branches of single tasks: once a run is done, all of their work is on its branch.
/// Those of a run that failed stay, for they may hold what did not land.
fn forget_task_branches(work: &Work) -> Result<(), Fault> {
    let mut refs = work.repository.run_refs(&work.run).or_exit(Exit::Failed)?;
    refs.retain(|name| name.starts_with("refs/heads/loki-tasks/"));
    work.repository.delete_refs(&refs).or_exit(Exit::Failed)
}

/// Reads a specification without ever reading more than it may have.
fn read_spec(path: &Path) -> Result<Intake, Fault> {
    let shown = ui::visible(&path.to_string_lossy());
    let unreadable = |cause: std::io::Error| {
        Fault::new(
            Exit::Invalid,
            format!("specification `{shown}` cannot be read: {cause}"),
        )
        .hint("give a Markdown file: `loki start SPEC.md`")
    };
    let file = File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Fault::new(
            Exit::Invalid,
            format!("specification `{shown}` is not a regular file"),
        )
        .hint("give a Markdown file: `loki start SPEC.md`"));
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
    let spec = Spec::parse(path, &bytes).map_err(|faults| setup::diagnostics(&faults))?;
    Ok(Intake {
        spec,
        sha256: Digest::of(&bytes).to_string(),
        file: path.to_owned(),
    })
}

fn opening(
    run: &RunId,
    intake: &Intake,
    provider: &dyn Provider,
    (repository, policy): (&Repository, &Policy),
    engine: &str,
) -> Event {
    Event::RunStarted {
        run: run.clone(),
        loki: env!("CARGO_PKG_VERSION").to_owned(),
        spec: intake.file.to_string_lossy().into_owned(),
        spec_sha256: intake.sha256.clone(),
        title: intake.spec.title.clone(),
        provider: provider.name().to_owned(),
        base: repository.head().to_string(),
        branch: run_branch(run),
        engine: engine.to_owned(),
        policy_sha256: policy.sha256(),
    }
}

fn described(report: &crate::engine::EngineReport) -> String {
    format!("{} {} at {}", report.name, report.version, report.endpoint)
}

fn check_plan(tasks: &[Task], policy: &Policy, file: &Path) -> Result<(), Fault> {
    let works = |role: &&Role| !policy::is_internal(role);
    let known: Vec<Role> = policy.roles().filter(works).cloned().collect();
    let faults = task::plan::check(tasks, &|role| known.contains(role), &known);
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        ui::note(format!(
            "{}: {}",
            ui::visible(&file.to_string_lossy()),
            ui::visible(&fault.to_string())
        ));
    }
    Err(Fault::new(Exit::Invalid, "the plan cannot be run")
        .hint("`loki agents list` shows the roles"))
}

/// Refuses to start what could not say who it is to those it asks.
fn credentials_are_kept(env: &Environment, roles: &[Rights]) -> Result<(), Fault> {
    let rules = roles.iter().flat_map(|rights| &rights.egress.rules);
    let requests =
        rules.filter_map(|rule| Some((rule, rule.request.as_ref()?.credential.as_ref()?)));
    for (rule, credential) in requests.filter(|(_, credential)| credential.command.is_none()) {
        let kept = env.secrets.get();
        if kept.is_none_or(|kept| kept.get(&credential.secret).is_none()) {
            let (name, host, place) = (&credential.secret, &rule.host, &rule.origin);
            let message =
                format!("secret `{name}` is not kept, and `{host}` asks for it ({place})");
            return Err(Fault::new(Exit::Invalid, message).hint(format!(
                "`loki secrets init`, then `loki secrets set {name}`: agents never see it"
            )));
        }
    }
    for (rule, program) in roles.iter().flat_map(setup::commands) {
        if let Err(cause) = rustix::fs::access(program, rustix::fs::Access::EXEC_OK) {
            let message = format!(
                "the command `{}` of the credential for `{}` cannot be run: {} ({})",
                ui::visible(&program.to_string_lossy()),
                rule.host,
                cause,
                rule.origin,
            );
            let hint = "put the program there and make it executable, or name another one";
            return Err(Fault::new(Exit::Invalid, message).hint(hint));
        }
    }
    Ok(())
}

/// Removes what dead orchestrators left in this repository.
async fn sweep(repository: &Repository, engine: &dyn crate::engine::Engine) -> Result<(), Fault> {
    let label = sandbox::repository_label(repository.root());
    for gone in sandbox::sweep(engine, Some(&label))
        .await
        .or_exit(Exit::NoSandbox)?
    {
        ui::note(format!(
            "removed a sandbox left by run {}: {}",
            gone.run, gone.task
        ));
    }
    repository.sweep(&[]).or_exit(Exit::Failed)?;
    Ok(())
}

fn warn_dirty(repository: &Repository) -> Result<(), Fault> {
    let changed = repository.dirty().or_exit(Exit::Failed)?;
    if !changed.is_empty() {
        ui::warning(format!(
            "{} uncommitted change(s) in your checkout are not part of the run: it starts from commit {}",
            changed.len(),
            repository.head(),
        ));
    }
    Ok(())
}

/// The edge where time comes in.
pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Names a run by its time and four random hex digits.
pub(super) fn new_run() -> Result<RunId, Fault> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|cause| Fault::new(Exit::Bug, cause))?;
    let time = now().strftime("%Y%m%d-%H%M%S");
    format!("{time}-{:04x}", u16::from_le_bytes(random))
        .parse()
        .or_exit(Exit::Bug)
}

fn summary(work: &Work, ending: &run::Ending) {
    let branch = run_branch(&work.run);
    match (ending.outcome, &ending.reason) {
        (Outcome::Done, _) => ui::note(format!("done: branch `{branch}` holds the work")),
        (outcome, reason) => {
            let word = if outcome == Outcome::Stopped {
                "stopped"
            } else {
                "failed"
            };
            ui::note(format!(
                "{word}: {}",
                ui::visible_lines(reason.as_deref().unwrap_or("no reason is known"))
            ));
            ui::note(format!("branch `{branch}` holds what landed before"));
        }
    }
    ui::note(format!("look at it: git log --oneline {branch}"));
    ui::note("            loki status, loki logs, loki events");
}
