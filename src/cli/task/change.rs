//! `loki task add`, `cancel`, `retry` and `priority`.

use std::{fs::File, io::Read as _, path::Path};

use crate::{
    event::{Event, Record},
    journal,
    name::{RunId, TaskId},
    policy,
    redact::Redactor,
    status::Status,
    task::{Change, QueueError, State, Task, TaskRequest, intake},
};

use super::{
    super::{
        audit,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        held, setup, ui,
    },
    args,
    look::{Look, find, look, word},
};

/// Adds tasks.
pub(super) async fn add(env: &Environment, args: &args::Add) -> Result<Exit, Fault> {
    let (run, tasks) = match &args.from {
        Some(file) => {
            let given = read(file)?;
            (one_run(args.run.as_ref(), given.run)?, given.tasks)
        }
        None => (args.run.clone(), vec![typed(args)?]),
    };
    let Some(mut look) = look_at(run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    roles_exist(env, &look, &tasks)?;
    for task in tasks {
        let id = task.id.clone();
        make(env, &mut look, Change::Add(Box::new(task))).await?;
        ui::note(format!("task `{id}` is added{}", goes_on(&look)));
    }
    Ok(Exit::Done)
}

/// Returns the run that is meant, by what was typed and what stands in the file.
fn one_run(typed: Option<&RunId>, written: Option<RunId>) -> Result<Option<RunId>, Fault> {
    match (typed, written) {
        (Some(typed), Some(written)) if *typed != written => {
            let message = format!("the file is for run {written}, and `--run` says {typed}");
            Err(Fault::new(Exit::Usage, message).hint("leave out `--run`, or change the file"))
        }
        (typed, written) => Ok(typed.cloned().or(written)),
    }
}

/// Takes a task out of the plan.
pub(super) async fn cancel(env: &Environment, args: &args::Cancel) -> Result<Exit, Fault> {
    let Some(mut look) = look_at(args.change.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let task = &args.change.task;
    find(&look.status, task)?;
    if let Some(reason) = &args.reason {
        plain("the reason", reason)?;
    }
    let before = cancelled(&look.status);
    let change = Change::Cancel {
        task: task.clone(),
        reason: args.reason.clone(),
    };
    make(env, &mut look, change).await?;
    let mut gone = cancelled(&look.status);
    gone.retain(|id| !before.contains(id) && id != task.as_str());
    let along = match gone.is_empty() {
        true => String::new(),
        false => format!(", and with it {}, which waited for it", gone.join(", ")),
    };
    ui::note(format!(
        "task `{task}` is cancelled{along}{}",
        goes_on(&look)
    ));
    Ok(Exit::Done)
}

fn cancelled(status: &Status) -> Vec<String> {
    let tasks = status.tasks.iter();
    let gone = tasks.filter(|task| task.state == State::Cancelled);
    gone.map(|task| task.id.to_string()).collect()
}

/// Has a task tried anew.
pub(super) async fn retry(env: &Environment, args: &args::Change) -> Result<Exit, Fault> {
    let Some(mut look) = look_at(args.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let task = args.task.clone();
    find(&look.status, &task)?;
    make(env, &mut look, Change::Retry { task: task.clone() }).await?;
    ui::note(format!("task `{task}` is tried anew{}", goes_on(&look)));
    Ok(Exit::Done)
}

/// Puts a task elsewhere in the order.
pub(super) async fn prioritise(env: &Environment, args: &args::SetPriority) -> Result<Exit, Fault> {
    let Some(mut look) = look_at(args.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let (task, priority) = (args.task.clone(), args.priority);
    find(&look.status, &task)?;
    let change = Change::Prioritise {
        task: task.clone(),
        priority,
    };
    make(env, &mut look, change).await?;
    ui::note(format!(
        "task `{task}` has priority {priority}{}",
        goes_on(&look)
    ));
    Ok(Exit::Done)
}

fn look_at(run: Option<&RunId>) -> Result<Option<Look>, Fault> {
    setup::repository()?
        .refuse_tracked_state()
        .or_exit(Exit::Usage)?;
    look(run)
}

fn goes_on(look: &Look) -> String {
    match look.lives {
        // Whoever did not say which run sees which it was.
        true if look.beside => format!(", in run {}", look.chosen.run),
        true => String::new(),
        false => format!("; `loki resume {}` goes on", look.chosen.run),
    }
}

/// Makes a task of what was typed.
fn typed(args: &args::Add) -> Result<Task, Fault> {
    let title = args.title.as_deref().unwrap_or_default().trim();
    if let Some(fault) = intake::title_fault(title) {
        return Err(Fault::new(Exit::Usage, fault)
            .hint("say it in one line; more goes into `--description`"));
    }
    let mut given = args.accept.iter().chain(&args.file);
    if given.any(|text| text.trim().is_empty()) {
        let message = "a check or a file is empty";
        return Err(
            Fault::new(Exit::Usage, message).hint("a check that is empty would always pass")
        );
    }
    let given = args.accept.iter().map(|text| ("a check", text));
    let given = given.chain(args.file.iter().map(|text| ("a file", text)));
    for (what, text) in given.chain(
        args.description
            .iter()
            .map(|text| ("the description", text)),
    ) {
        plain(what, text)?;
    }
    let id = args.id.clone().or_else(|| TaskId::from_title(title));
    let id = id.ok_or_else(|| {
        Fault::new(Exit::Usage, "no name can be made of this title").hint("give one: `--id NAME`")
    })?;
    Ok(Task {
        id,
        role: args.role.clone(),
        title: title.to_owned(),
        description: args.description.clone().unwrap_or_default(),
        depends_on: args.depends_on.clone(),
        accept: args.accept.clone(),
        files: args.file.clone(),
        priority: args.priority,
    })
}

/// Refuses a text in which something hides.
fn plain(what: &str, text: &str) -> Result<(), Fault> {
    match intake::text_fault(what, text) {
        Some(fault) => Err(Fault::new(Exit::Usage, fault).hint("type it by hand")),
        None => Ok(()),
    }
}

fn read(file: &Path) -> Result<intake::Given, Fault> {
    let shown = ui::visible(&file.to_string_lossy());
    let unreadable = |why: String| {
        Fault::new(Exit::Usage, format!("`{shown}` cannot be read: {why}"))
            .hint("give a YAML or JSON file, see docs/tasks.md")
    };
    let opened = File::open(file).map_err(|cause| unreadable(cause.to_string()))?;
    let mut text = String::new();
    let read = opened.take(intake::LARGEST + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 <= intake::LARGEST => {}
        Ok(_) => return Err(unreadable("it is larger than 256 KiB".to_owned())),
        Err(cause) => return Err(unreadable(cause.to_string())),
    }
    intake::read(file, &text).map_err(|faults| setup::diagnostics(&faults))
}

/// Refuses roles that no policy of the run knows, before anything is asked or written.
fn roles_exist(env: &Environment, look: &Look, tasks: &[Task]) -> Result<(), Fault> {
    let root = look
        .chosen
        .state()
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let records = look.chosen.records()?;
    let (files, provider) = asked(&records, &root);
    let given: Result<_, Fault> = files
        .iter()
        .map(|file| setup::given_source(file, file))
        .collect();
    let rooted = (Some(root.as_path()), policy::entry_of(&provider));
    let policy = setup::policy_with(env, given?, rooted)?;
    for task in tasks {
        let known = policy.rights(&task.role).is_some() && !policy::is_internal(&task.role);
        if !known {
            let names: Vec<&str> = policy.roles().map(|role| role.as_str()).collect();
            let near = crate::diagnostic::closest(task.role.as_str(), names);
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`loki agents list` shows the roles".to_owned(),
            };
            let message = format!(
                "task `{}` is for the role `{}`, which does not exist",
                task.id, task.role
            );
            return Err(Fault::new(Exit::Usage, message).hint(hint));
        }
    }
    Ok(())
}

/// The policy files and the provider of a run.
fn asked(records: &[Record], root: &Path) -> (Vec<std::path::PathBuf>, String) {
    let Some(Event::RunStarted {
        provider, asked, ..
    }) = records.first().map(|record| &record.event)
    else {
        return (Vec::new(), String::new());
    };
    let files = asked.iter().flat_map(|asked| {
        let there = root.join(&asked.directory);
        asked.policy.iter().map(move |file| there.join(file))
    });
    (files.collect(), provider.clone())
}

/// Has a change written, by the orchestrator of the run or by ourselves.
async fn make(env: &Environment, look: &mut Look, change: Change) -> Result<(), Fault> {
    let request = TaskRequest {
        run: Some(look.chosen.run.clone()),
        by: format!("uid {}", rustix::process::getuid().as_raw()),
        change,
    };
    allowed(look, &request)?;
    if look.lives {
        let of = (&look.chosen.run, request);
        held::change(look.chosen.state(), of).await?;
    } else {
        write(env, look, request)?;
    }
    look.status = Status::fold(&look.chosen.records()?);
    Ok(())
}

/// Refuses what the queue would refuse.
fn allowed(look: &Look, request: &TaskRequest) -> Result<(), Fault> {
    let event = request.event();
    let Err(refused) = look.status.queue().clone().apply(&event) else {
        return Ok(());
    };
    let run = &look.chosen.run;
    let hint = match &refused {
        QueueError::Ended => format!("run {run} is done: `loki start` begins another"),
        QueueError::Unplanned => {
            format!("run {run} has no plan yet: wait a moment, or `loki resume {run}`")
        }
        QueueError::State { state, .. } => match (&request.change, state) {
            (Change::Retry { .. }, State::Blocked) => {
                "retry what it waits for: `loki task show` names it".to_owned()
            }
            (_, State::Done) => "`loki revert TASK` takes back what landed".to_owned(),
            (_, state) => format!("it is {}: `loki task list` shows all", word(*state)),
        },
        QueueError::Waits { on, .. } => format!("`loki task retry {on}` first"),
        _ => "`loki task list` shows the tasks".to_owned(),
    };
    Err(Fault::new(Exit::Usage, refused).hint(hint))
}

/// Writes a change into the journal of a run that nobody works on.
fn write(env: &Environment, look: &Look, mut request: TaskRequest) -> Result<(), Fault> {
    let state = look.chosen.state();
    setup::gather(env, &[], state.parent())?;
    if let Some(values) = env.secrets.get() {
        mask(&mut request.change, &Redactor::new(values));
    }
    let reopened = audit::reopen(env, state, &look.chosen.run)?;
    let mut status = Status::fold(&reopened.records);
    let mut writer = reopened.writer;
    let event = request.event();
    // Somebody else may have changed something meanwhile.
    status.queue().clone().apply(&event).or_exit(Exit::Failed)?;
    let record = writer.append(&event).or_exit(Exit::Failed)?;
    writer.sync().or_exit(Exit::Failed)?;
    status.apply(&record);
    // They show a run that goes on, where one does.
    if !look.beside {
        // Copies for other tools: a failure to write them is no failure of the change.
        journal::views::write(state, &status.orphaned()).ok();
    }
    Ok(())
}

/// Keeps secret values out of what a person typed.
fn mask(change: &mut Change, redactor: &Redactor) {
    let mask = |text: &mut String| *text = redactor.text(text).into_owned();
    match change {
        Change::Add(task) => {
            mask(&mut task.title);
            mask(&mut task.description);
            task.accept.iter_mut().chain(&mut task.files).for_each(mask);
        }
        Change::Cancel { reason, .. } => reason.iter_mut().for_each(mask),
        Change::Retry { .. } | Change::Prioritise { .. } => {}
    }
}
