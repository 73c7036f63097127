//! `loki sandbox run|shell|ls|rm`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    diagnostic::explained,
    engine::Listed,
    journal,
    link::LinkError,
    name::RunId,
    policy::{Egress, Rights},
    sandbox::{self, SandboxError},
    status::Status,
};

use super::{
    adhoc::{self, Asked, Streams},
    answers,
    args::{Json, SandboxRm, SandboxRun, SandboxShell},
    asked::Network,
    checkpoint,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, signals, ui, views,
};

/// The exit code of what ran out of time, as the program `timeout` has it.
const TIMED_OUT: u8 = 124;

/// Runs a program as a role on a throw-away copy of a commit, and exits with its code.
pub(super) async fn run(env: &Environment, args: SandboxRun) -> Result<Exit, Fault> {
    let streams = if args.tty || !args.no_tty && ui::is_on_terminal() {
        Streams::Terminal
    } else {
        Streams::Pipes
    };
    let played = play(env, args.sandbox, vec![args.argv], streams).await;
    played.map_err(not_the_programs)
}

/// Opens a shell as a role on a throw-away copy of a commit, and exits with its code.
pub(super) async fn shell(env: &Environment, args: SandboxShell) -> Result<Exit, Fault> {
    if !ui::is_on_terminal() {
        return Err(Fault::new(
            Exit::Usage,
            "`loki sandbox shell` needs a terminal on all three streams",
        )
        .hint("`loki sandbox run --role ROLE -- PROGRAM` runs a program without one"));
    }
    let shells = ["bash", "sh"].map(|shell| vec![shell.to_owned()]);
    let played = play(env, args, shells.into(), Streams::Terminal).await;
    played.map_err(not_the_programs)
}

/// The codes below 124 are the program's own.
fn not_the_programs(fault: Fault) -> Fault {
    match fault.exit {
        Exit::NoSandbox => Fault {
            exit: Exit::RunFailed,
            ..fault
        },
        _ => fault,
    }
}

/// Runs the first of these programs that is there and may run.
async fn play(
    env: &Environment,
    args: SandboxShell,
    programs: Vec<Vec<String>>,
    streams: Streams,
) -> Result<Exit, Fault> {
    let here = std::env::current_dir().or_exit(Exit::RunFailed)?;
    let repository = adhoc::open(&here)?;
    let mut rights = rights(env, &args)?;
    if streams == Streams::Terminal {
        // These caps are for agents: a person may think, and stay.
        rights.resources.timeout = Duration::MAX;
        rights.resources.idle_timeout = Duration::MAX;
    }
    let tree = adhoc::tree(repository.as_ref(), args.worktree.as_deref())?;
    let engine = setup::engine(env).await?;
    let launcher = setup::launcher(env, engine, [&rights])?;
    if let Some(repository) = &repository {
        answers::keep(env, &launcher, &repository.root().join(".loki"))?;
    }
    let image = setup::image(env, launcher.engine.as_ref(), &rights.image).await?;
    let place = adhoc::Place::new(env, repository)?;
    let filler = match args.checkpoint {
        Some(id) => Some(checkpoint::filler(env, id, rights.files.visible())?),
        None => None,
    };
    let asked = Asked {
        filler,
        rights,
        image,
        tree,
        programs,
        env: variables(env, args.env, streams),
        streams,
        timeout: args.timeout,
    };
    let played = tokio::select! {
        played = place.play(&launcher, &asked) => played,
        number = signals::first() => {
            launcher.end_own(place.label()).await.or_exit(Exit::RunFailed)?;
            number.map(|number| Some(128 + i32::from(number))).map_err(SandboxError::Slot)
        }
    };
    let code = ending(played, &asked);
    place.remove()?;
    code.map(|code| Exit::Program(u8::try_from(code).unwrap_or(255)))
}

fn rights(env: &Environment, args: &SandboxShell) -> Result<Rights, Fault> {
    let policy = setup::policy(env, &args.policy, setup::root()?.as_deref())?;
    let mut rights = setup::rights(&policy, args.role.as_str())?;
    if args.network == Network::None {
        rights.egress = Egress::default();
    }
    Ok(rights)
}

/// Returns the program's variables: those asked for, and what kind of terminal it has.
fn variables(
    env: &Environment,
    given: Vec<(String, String)>,
    streams: Streams,
) -> Vec<(String, String)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
    let named = env.term.clone().filter(|term| term.chars().all(plain));
    let term = (
        "TERM".to_owned(),
        named.unwrap_or_else(|| "xterm".to_owned()),
    );
    let mut all: Vec<_> = (streams == Streams::Terminal)
        .then_some(term)
        .into_iter()
        .collect();
    // The last of a name counts.
    all.extend(given);
    all
}

/// Turns how a program ended, or why it never ran, into an exit code. None is out of time.
fn ending(played: Result<Option<i32>, SandboxError>, asked: &Asked) -> Result<i32, Fault> {
    match played {
        Ok(Some(code)) => Ok(code),
        Ok(None) => {
            let time = asked.timeout.unwrap_or_default().as_secs();
            ui::note(format!("ended after {time} s, as `--timeout` says"));
            Ok(TIMED_OUT.into())
        }
        Err(SandboxError::Link(LinkError::Refused { step, errno })) => {
            Err(refused(asked, &step, errno))
        }
        Err(SandboxError::Overrun(over)) => {
            let fault = Fault::new(Exit::Program(137), format!("the program was ended: {over}"));
            Err(match over.limit.key() {
                Some(key) => fault.hint(asked.rights.who_set(key)),
                None => fault,
            })
        }
        Err(SandboxError::Isolation(short)) => Err(Fault::new(Exit::NoSandbox, short)),
        Err(cause) => Err(Fault::new(Exit::RunFailed, explained(&cause))),
    }
}

/// Exit 127: not found. 126: not permitted or not executable.
fn refused(asked: &Asked, step: &str, errno: i32) -> Fault {
    let program = ui::visible(asked.last_program());
    let Rights { role, image, .. } = &asked.rights;
    let shows = format!("`loki policy show {role}` shows what it may run");
    let cause = std::io::Error::from_raw_os_error(errno);
    match errno {
        2 => Fault::new(
            Exit::Program(127),
            format!("`{program}` is not in the sandbox"),
        )
        .hint(format!(
            "image `{image}` does not have it, and only committed files are there; {shows}"
        )),
        8 | 13 => Fault::new(
            Exit::Program(126),
            format!("`{program}` may not run for this role: {cause}"),
        )
        .hint(shows),
        _ => Fault::new(
            Exit::RunFailed,
            format!("`{program}` could not be run ({step}): {cause}"),
        ),
    }
}

/// Lists sandboxes of this engine.
pub(super) async fn list(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let engine = setup::engine(env).await?;
    let listed = engine.list("loki.run").await.or_exit(Exit::NoSandbox)?;
    let occupants = occupants(&listed);
    let label = |one: &Listed, name: &str| {
        let of = occupants.get(one.id.as_str());
        let known = match name {
            "loki.task" => of.map(|(task, _)| task.clone()),
            "loki.role" => of.map(|(_, role)| role.clone()),
            _ => None,
        };
        known.unwrap_or_else(|| one.labels.get(name).cloned().unwrap_or_default())
    };
    if json.json {
        let rows: Vec<_> = listed
            .iter()
            .map(|one| {
                serde_json::json!({
                    "container": one.id.as_str(), "name": one.name, "state": one.state,
                    "run": label(one, "loki.run"), "task": label(one, "loki.task"),
                    "role": label(one, "loki.role"),
                })
            })
            .collect();
        ui::json(&serde_json::json!({ "schema": 1, "sandboxes": rows }))?;
        return Ok(Exit::Done);
    }
    let rows = listed.iter().map(|one| {
        vec![
            one.id.as_str().chars().take(12).collect(),
            one.state.clone(),
            label(one, "loki.run"),
            label(one, "loki.task"),
            label(one, "loki.role"),
        ]
    });
    ui::table(&["CONTAINER", "STATE", "RUN", "TASK", "ROLE"], rows);
    Ok(Exit::Done)
}

/// Returns task and role of containers that stood ready before they were anybody's, as far as the
/// journals of this repository say whose they are: their labels never do.
fn occupants(listed: &[Listed]) -> BTreeMap<String, (String, String)> {
    let unnamed = |one: &&Listed| {
        one.labels
            .get("loki.role")
            .is_some_and(|role| role == "none")
    };
    let runs: BTreeSet<_> = listed
        .iter()
        .filter(unnamed)
        .filter_map(|one| one.labels.get("loki.run")?.parse::<RunId>().ok())
        .collect();
    // Elsewhere there is no journal of theirs, and the labels are all there is.
    let state = (!runs.is_empty()).then(views::state_to_read);
    let Some(Ok(state)) = state else {
        return BTreeMap::new();
    };
    let records = |run| journal::read(&journal::path(&state, &run)).unwrap_or_default();
    let agents = runs
        .into_iter()
        .flat_map(|run| Status::fold(&records(run)).agents);
    agents
        .map(|agent| {
            let task = agent
                .task
                .map_or_else(|| "checks".to_owned(), |task| task.to_string());
            (agent.container, (task, agent.role.to_string()))
        })
        .collect()
}

/// Removes sandboxes.
pub(super) async fn remove(env: &Environment, args: &SandboxRm) -> Result<Exit, Fault> {
    let engine = setup::engine(env).await?;
    if args.all {
        for gone in sandbox::sweep(engine.as_ref(), None)
            .await
            .or_exit(Exit::NoSandbox)?
        {
            ui::note(format!("removed {}", gone.container));
        }
        return Ok(Exit::Done);
    }
    let ours = engine.list("loki.run").await.or_exit(Exit::NoSandbox)?;
    for wanted in &args.containers {
        let found = ours.iter().find(|one| {
            one.name == *wanted || wanted.len() >= 4 && one.id.as_str().starts_with(wanted.as_str())
        });
        let Some(found) = found else {
            return Err(Fault::new(
                Exit::Failed,
                format!("`{}` is no sandbox of Loki's", ui::visible(wanted)),
            )
            .hint("`loki sandbox ls` lists them"));
        };
        engine.remove(&found.id).await.or_exit(Exit::Failed)?;
        ui::note(format!("removed {}", found.id.as_str()));
    }
    Ok(Exit::Done)
}
