//! `loki start`: everything is checked before anything is made; then the run is driven and shown,
//! by this process or by the one that holds the repository.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use crate::{
    budget::{Budgets, Prices},
    digest::Digest,
    event::{Asked, Event},
    git::{Repository, run_branch},
    journal::Writer,
    name::{Role, RunId},
    policy::{self, Policy, Rights},
    provider::Provider,
    run::{self, Installs, Keeper, Names, Rules, Work},
    sandbox::{
        self, Launcher,
        pool::{Grounds, Pool},
    },
    spec::Spec,
    task::{self, Batching, Task},
};

use super::{
    args, audit, budget, cache,
    choice::{self, Choice, choose},
    course::{self, Course},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    ground,
    held::{self, Orchestrator, Ready, Wanted},
    landing,
    order::Order,
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
    let stay = args.stay.check()?;
    let order = Order::typed(args)?;
    let planned = Planned::read(env, &order)?;
    drop(entitled(env, (&planned.policy, &planned.tasks))?);
    let wanted = Wanted::Start(Box::new((order, planned)));
    held::carry_out(env, wanted, stay).await
}

/// Makes everything that a run needs, up to its first record.
pub(super) async fn prepare(
    env: &Environment,
    orchestrator: &Orchestrator,
    (order, mut planned): (Order, Planned),
    (run, launcher): (RunId, Launcher),
) -> Result<Ready, Fault> {
    let shipment = planned.shipment.take();
    let tasks = planned.tasks.clone();
    let engine = launcher.engine.as_ref();
    let images = setup::images_of(env, engine, &planned.policy, roles(&tasks)).await?;
    let repository = &planned.repository;
    let (root, state) = (repository.root(), repository.root().join(".loki"));
    warn_dirty(repository)?;
    let opening = planned.opening(&run, &order, &described(engine.report()))?;
    let installs = planned.installs(env, &launcher)?;
    // From the first record on nothing else may fail: what is begun goes on.
    let writer = Writer::create(&state, &run, now).or_exit(Exit::Failed)?;
    let mut writer = audit::sealed(env, (root, &run), writer)?;
    course::may_die(env, &mut writer)?;
    let first = run::begin(&mut writer, &launcher.redactor, opening).or_exit(Exit::Failed)?;
    if let Err(fault) = repository.create_run_branch(&run, repository.head()) {
        // This is all that there is of the run.
        drop(writer);
        audit::forget_run(env, root, &run)?;
        return Err(fault).or_exit(Exit::Failed);
    }
    let course = Course {
        writer,
        history: vec![first],
        opening: budget::opening(&planned.budgets)
            .chain([Event::Planned { tasks }])
            .collect(),
        cut: Vec::new(),
        parallel: order.args.job.parallel,
        behind: 0,
        rules: planned.rules.clone(),
        prices: planned.prices.clone(),
    };
    let keeper = Arc::clone(&orchestrator.keeper);
    Ok(Ready {
        work: planned.work(run, launcher, (images, keeper, installs)),
        course,
        shipment,
    })
}

/// What a start asks for, read and checked, but for who does the work.
pub(super) struct Checked {
    pub(super) intake: Intake,
    pub(super) tasks: Vec<Task>,
    pub(super) repository: Repository,
    pub(super) policy: Policy,
    pub(super) budgets: Budgets,
    /// How it deals with what fails.
    pub(super) rules: Rules,
    prices: Prices,
    gathered: Gathered,
    shipment: Option<landing::Shipment>,
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
    /// How it deals with what fails.
    pub(super) rules: Rules,
    shipment: Option<landing::Shipment>,
}

/// Returns every role that works in a run.
pub(super) fn roles(tasks: &[Task]) -> impl Iterator<Item = &Role> {
    static CHECKER: LazyLock<Role> =
        LazyLock::new(|| "check".parse().expect("the name is a role's"));
    tasks.iter().map(|task| &task.role).chain([&*CHECKER])
}

impl Checked {
    /// Checks everything that a person named. A plan may leave open who does the work.
    pub(super) fn read(
        env: &Environment,
        order: &Order,
        (intake, choice): (Intake, Option<&Choice>),
    ) -> Result<Self, Fault> {
        let tasks = choice::plan(choice, &intake)?;
        let repository = setup::repository_at(&order.directory)?;
        repository.refuse_tracked_state().or_exit(Exit::Usage)?;
        let shipment = landing::shipment(env, &repository, &order.args)?;
        let needs = choice.and_then(|choice| policy::entry_of(choice.name()));
        let rooted = (Some(repository.root()), needs);
        let (gathered, policy) = setup::gathered_policy(env, order.sources(), rooted)?;
        check_plan(&tasks, &policy, &intake.file)?;
        let batching = (!order.args.job.no_batch).then(Batching::default);
        let rules = task_verbs::rules(env, repository.root(), batching)?;
        let limits = order.args.budget.limits();
        let (budgets, prices) = budget::read(env, Some(repository.root()), limits)?;
        Ok(Self {
            intake,
            tasks,
            repository,
            policy,
            budgets,
            rules,
            prices,
            gathered,
            shipment,
        })
    }

    /// Makes ready who does the work, and refuses whom these budgets could not be held for.
    pub(super) fn provider(
        &self,
        order: &Order,
        choice: Choice,
    ) -> Result<Arc<dyn Provider>, Fault> {
        let provider = choice.open(order)?;
        budget::can_be_held(&self.budgets, provider.as_ref())?;
        Ok(provider)
    }
}

impl Planned {
    /// Checks everything that a person named.
    pub(super) fn read(env: &Environment, order: &Order) -> Result<Self, Fault> {
        let intake = Intake::of(order)?;
        let choice = choose(order, &intake)?;
        let checked = Checked::read(env, order, (intake, Some(&choice)))?;
        Ok(Self {
            provider: checked.provider(order, choice)?,
            intake: checked.intake,
            tasks: checked.tasks,
            repository: checked.repository,
            policy: checked.policy,
            budgets: checked.budgets,
            prices: checked.prices,
            gathered: checked.gathered,
            rules: checked.rules,
            shipment: checked.shipment,
        })
    }

    /// Makes ready what starts the sandboxes of a plan.
    pub(super) fn launcher(
        &self,
        env: &Environment,
        (ground, tasks): (&ground::Ground, &[Task]),
    ) -> Result<Launcher, Fault> {
        let rights = entitled(env, (&self.policy, tasks))?;
        ground.launcher(env, &rights)
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
        let repository = Arc::new(self.repository);
        let grounds = Grounds {
            run: run.clone(),
            label: sandbox::repository_label(repository.root()),
            state: repository.root().join(".loki"),
            repository: Arc::clone(&repository),
            now,
        };
        let settings = self.policy.agent_pool().clone();
        Arc::new(Work {
            run,
            pool: Pool::new(launcher.clone(), grounds, settings),
            foresight: std::sync::Mutex::default(),
            names: Names::default(),
            keeper: Some(keeper),
            installs: Some(installs),
            repository,
            spec: self.intake.spec,
            policy: self.policy,
            provider: self.provider,
            launcher,
            images,
            landing: tokio::sync::Mutex::new(()),
            landings: std::sync::Mutex::default(),
        })
    }

    fn opening(&self, run: &RunId, order: &Order, engine: &str) -> Result<Event, Fault> {
        let (here, job) = (&order.directory, &order.args.job);
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
                directory: shown(here.strip_prefix(root).unwrap_or(here)),
                command: job.command.clone(),
                replayed: job.replayed.as_deref().map(shown),
                policy: job.policy.iter().map(|path| shown(path)).collect(),
                parallel: job.parallel,
            }),
        })
    }
}

impl Intake {
    /// Checks the specification of an order.
    pub(super) fn of(order: &Order) -> Result<Self, Fault> {
        let file = order.args.job.spec.clone();
        let spec = Spec::parse(&file, &order.spec).map_err(|faults| setup::diagnostics(&faults))?;
        Ok(Self {
            spec,
            sha256: Digest::of(&order.spec).to_string(),
            file,
        })
    }
}

pub(super) fn described(report: &crate::engine::EngineReport) -> String {
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

/// Returns the rights of all who work in a plan, whose credentials are there.
pub(super) fn entitled(
    env: &Environment,
    (policy, tasks): (&Policy, &[Task]),
) -> Result<Vec<Rights>, Fault> {
    let rights = roles(tasks).filter_map(|role| policy.rights(role));
    let rights: Vec<Rights> = rights.collect();
    credentials_are_kept(env, &rights)?;
    Ok(rights)
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
    for (rule, program) in roles.iter().flat_map(ground::commands) {
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
