//! `loki start`: everything is checked before anything is made; then the run is driven and shown.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use crate::{
    budget::{Budgets, Prices},
    digest::Digest,
    event::{Asked, Event},
    git::{Repository, run_branch},
    journal::{Lock, Writer},
    name::{Role, RunId},
    policy::{self, Policy, Rights},
    provider::Provider,
    run::{self, Installs, Keeper, Work},
    sandbox::Launcher,
    spec::{self, Spec},
    task::{self, Batching, Task},
};

use super::{
    answers, args, audit, budget, cache,
    choice::choose,
    course::{self, Begins, Course},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    landing, restart, resume,
    setup::{self, Gathered},
    task as task_verbs, ui,
};

/// A specification that was read and checked.
pub(super) struct Intake {
    pub(super) spec: Spec,
    pub(super) sha256: String,
    pub(super) file: PathBuf,
}

/// Runs the verb.
pub(super) async fn start(env: &Environment, args: &args::Start) -> Result<Exit, Fault> {
    let mut planned = Planned::read(env, args)?;
    let shipment = planned.shipment.take();
    let tasks = planned.tasks.clone();
    let batching = (!args.no_batch).then(Batching::default);
    let rules = task_verbs::rules(env, planned.repository.root(), batching)?;
    let launcher = planned.launcher(env, &tasks).await?;
    let (repository, run) = (&planned.repository, new_run()?);
    let state = repository.root().join(".loki");
    let lock = Lock::acquire(&state, &run, now()).or_exit(Exit::Failed)?;
    let keeper = course::keeper(env, &state)?;
    answers::keep(env, &launcher, &state)?;
    restart::charge(&launcher.threads, (&state, &planned.policy), now());
    resume::tidy_unheard(env, repository, &lock)?;
    resume::name_unfinished(&state);
    course::sweep(repository, &launcher, &keeper).await?;
    let engine = launcher.engine.as_ref();
    let images = setup::images_of(env, engine, &planned.policy, roles(&tasks)).await?;
    warn_dirty(repository)?;
    let opening = planned.opening(&run, args, &described(engine.report()))?;
    let writer = Writer::create(&state, &run, now).or_exit(Exit::Failed)?;
    let mut writer = audit::sealed(env, (repository.root(), &run), writer)?;
    course::may_die(env, &mut writer)?;
    let first = run::begin(&mut writer, &launcher.redactor, opening).or_exit(Exit::Failed)?;
    if let Err(fault) = repository.create_run_branch(&run, repository.head()) {
        // This is all that there is of the run.
        drop(writer);
        audit::forget_run(env, repository.root(), &run)?;
        return Err(fault).or_exit(Exit::Failed);
    }
    let course = Course {
        writer,
        history: vec![first],
        opening: budget::opening(&planned.budgets)
            .chain([Event::Planned { tasks }])
            .collect(),
        cut: Vec::new(),
        parallel: args.parallel,
        begins: Begins::New,
        rules,
        prices: planned.prices.clone(),
    };
    let installs = planned.installs(env, &launcher)?;
    let work = planned.work(run, launcher, (images, Arc::clone(&keeper), installs));
    let exit = course.drive(&work).await;
    course::forget_old_checkpoints(keeper).await;
    let exit = landing::after(env, &work, (exit, shipment)).await;
    drop(lock);
    exit
}

/// What a run is made of, read and checked; nothing was made yet.
pub(super) struct Planned {
    pub(super) intake: Intake,
    pub(super) tasks: Vec<Task>,
    pub(super) repository: Repository,
    pub(super) policy: Policy,
    pub(super) budgets: Budgets,
    pub(super) prices: Prices,
    pub(super) provider: Arc<dyn Provider>,
    gathered: Gathered,
    shipment: Option<landing::Shipment>,
}

/// Returns every role that works in a run.
pub(super) fn roles(tasks: &[Task]) -> impl Iterator<Item = &Role> {
    static CHECKER: LazyLock<Role> =
        LazyLock::new(|| "check".parse().expect("the name is a role's"));
    tasks.iter().map(|task| &task.role).chain([&*CHECKER])
}

impl Planned {
    /// Reads and checks everything that a person named.
    pub(super) fn read(env: &Environment, args: &args::Start) -> Result<Self, Fault> {
        let intake = read_spec(&args.spec)?;
        let choice = choose(args, &intake)?;
        let tasks = choice.plan(&intake)?;
        let repository = setup::repository()?;
        repository.refuse_tracked_state().or_exit(Exit::Usage)?;
        let shipment = landing::shipment(env, &repository, args)?;
        let needs = policy::entry_of(choice.name());
        let rooted = (Some(repository.root()), needs);
        let (gathered, policy) = setup::gathered_policy(env, &args.policy, rooted)?;
        check_plan(&tasks, &policy, &intake.file)?;
        let provider = choice.open()?;
        let (budgets, prices) = budget::read(env, Some(repository.root()), args.budget.limits())?;
        budget::can_be_held(&budgets, provider.as_ref())?;
        Ok(Self {
            provider,
            budgets,
            prices,
            intake,
            tasks,
            repository,
            policy,
            gathered,
            shipment,
        })
    }

    /// Makes ready what starts the sandboxes of a plan.
    pub(super) async fn launcher(
        &self,
        env: &Environment,
        tasks: &[Task],
    ) -> Result<Launcher, Fault> {
        let rights = roles(tasks).filter_map(|role| self.policy.rights(role));
        let rights: Vec<_> = rights.collect();
        credentials_are_kept(env, &rights)?;
        setup::launcher(env, setup::engine(env).await?, &rights)
    }

    /// Makes ready what installs for the run; nothing is asked of this machine before it must be.
    pub(super) fn installs(
        &self,
        env: &Environment,
        launcher: &Launcher,
    ) -> Result<Arc<Installs>, Fault> {
        cache::installs(env, (&self.repository, &self.gathered), launcher)
    }

    /// Puts everything together.
    pub(super) fn work(
        self,
        run: RunId,
        launcher: Launcher,
        (images, keeper, installs): (BTreeMap<String, String>, Arc<Keeper>, Arc<Installs>),
    ) -> Arc<Work> {
        Arc::new(Work {
            run,
            keeper: Some(keeper),
            installs: Some(installs),
            repository: Arc::new(self.repository),
            spec: self.intake.spec,
            policy: self.policy,
            provider: self.provider,
            launcher,
            images,
            landing: tokio::sync::Mutex::new(()),
            landings: std::sync::Mutex::default(),
        })
    }

    fn opening(&self, run: &RunId, args: &args::Start, engine: &str) -> Result<Event, Fault> {
        let here = std::env::current_dir().or_exit(Exit::Usage)?;
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let root = self.repository.root();
        Ok(Event::RunStarted {
            run: run.clone(),
            loki: env!("CARGO_PKG_VERSION").to_owned(),
            spec: shown(&self.intake.file),
            spec_sha256: self.intake.sha256.clone(),
            title: self.intake.spec.title.clone(),
            provider: self.provider.name().to_owned(),
            base: self.repository.head().to_string(),
            branch: run_branch(run),
            engine: engine.to_owned(),
            policy_sha256: self.policy.sha256(),
            asked: Some(Asked {
                directory: shown(here.strip_prefix(root).unwrap_or(&here)),
                command: args.command.clone(),
                replayed: args.replayed.as_deref().map(shown),
                policy: args.policy.iter().map(|path| shown(path)).collect(),
                parallel: args.parallel,
            }),
        })
    }
}

/// Reads a specification without ever reading more than it may have.
pub(super) fn read_spec(path: &Path) -> Result<Intake, Fault> {
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

pub(super) fn described(report: &crate::engine::EngineReport) -> String {
    format!("{} {} at {}", report.name, report.version, report.endpoint)
}

pub(super) fn check_plan(tasks: &[Task], policy: &Policy, file: &Path) -> Result<(), Fault> {
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
