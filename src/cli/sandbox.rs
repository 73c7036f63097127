//! `loki sandbox run|ls|rm`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::io::AsyncReadExt;

use crate::{
    diagnostic::explained,
    event::Overrun,
    git::{self, Checkout, GitError, Owner, Repository},
    link::{LinkError, Streams},
    policy::Rights,
    sandbox::{self, Grant, Labels, Launcher, Occupant, Sandbox, SandboxError, Slot, Spoken},
};

use super::{
    args::{Json, SandboxRm, SandboxRun},
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, signals,
    ui::{self, Stream},
};

/// Runs a program as a role on a throw-away copy of HEAD, and exits with its code.
pub(super) async fn run(env: &Environment, args: SandboxRun) -> Result<Exit, Fault> {
    run_as(env, args).await.map_err(|fault| match fault.exit {
        // The codes below 125 are the program's own.
        Exit::NoSandbox => Fault {
            exit: Exit::RunFailed,
            ..fault
        },
        _ => fault,
    })
}

async fn run_as(env: &Environment, args: SandboxRun) -> Result<Exit, Fault> {
    let here = std::env::current_dir().or_exit(Exit::RunFailed)?;
    let repository = open(&here)?;
    let policy = setup::policy(env, &args.policy, repository.as_ref().map(Repository::root))?;
    let Some(rights) = policy.rights(&args.role) else {
        return Err(
            Fault::new(Exit::Usage, format!("there is no role `{}`", args.role))
                .hint("`loki agents list` shows the roles"),
        );
    };
    let engine = setup::engine(env).await?;
    let launcher = setup::launcher(env, engine, [&rights])?;
    let image = setup::image(env, launcher.engine.as_ref(), &rights.image).await?;
    let place = Place::new(env, repository)?;
    let played = tokio::select! {
        played = play(&launcher, &place, rights, image, &args.argv) => played,
        number = signals::first() => {
            launcher.end_own(&place.label).await.or_exit(Exit::RunFailed)?;
            number.map(|number| 128 + i32::from(number)).map_err(SandboxError::Slot)
        }
    };
    let code = ending(played, &args.argv);
    place.remove()?;
    code.map(|code| Exit::Program(u8::try_from(code).unwrap_or(255)))
}

/// Turns how a program ended, or why it never ran, into an exit code.
fn ending(played: Result<i32, SandboxError>, argv: &[String]) -> Result<i32, Fault> {
    match played {
        Ok(code) => Ok(code),
        Err(SandboxError::Link(LinkError::Refused { step, errno })) => {
            Err(refused(argv, &step, errno))
        }
        Err(SandboxError::Overrun(over)) => {
            let fault = Fault::new(Exit::Program(137), format!("the program was ended: {over}"));
            Err(match over.limit.key() {
                Some(key) => fault.hint(format!("the role's `{key}` sets this cap")),
                None => fault,
            })
        }
        Err(SandboxError::Isolation(short)) => Err(Fault::new(Exit::NoSandbox, short)),
        Err(cause) => Err(Fault::new(Exit::RunFailed, explained(&cause))),
    }
}

/// Opens the repository around the directory. Where nothing is committed there is nothing to copy;
/// a repository that cannot be read is no such place, and neither is a machine without git.
fn open(here: &Path) -> Result<Option<Repository>, Fault> {
    match Repository::open(here) {
        Ok(repository) => Ok(Some(repository)),
        Err(GitError::NotARepository { .. } | GitError::NoCommit { .. }) => Ok(None),
        Err(cause) => Err(Fault::new(Exit::RunFailed, cause)),
    }
}

/// Exit 127: not found. 126: not permitted or not executable.
fn refused(argv: &[String], step: &str, errno: i32) -> Fault {
    let program = ui::visible(argv.first().map_or("", String::as_str));
    let cause = std::io::Error::from_raw_os_error(errno);
    match errno {
        2 => Fault::new(
            Exit::Program(127),
            format!("`{program}` is not in the sandbox"),
        )
        .hint("`loki agents list` shows what a role may run; only committed files are there"),
        8 | 13 => Fault::new(
            Exit::Program(126),
            format!("`{program}` may not run for this role: {cause}"),
        )
        .hint("`loki agents list` shows what a role may run"),
        _ => Fault::new(
            Exit::RunFailed,
            format!("`{program}` could not be run ({step}): {cause}"),
        ),
    }
}

/// The throw-away directory of one `sandbox run`, named after its process. Not among the
/// worktrees of runs, which the next `loki start` sweeps.
struct Place {
    slot: Slot,
    root: PathBuf,
    repository: Option<Repository>,
    label: String,
}

impl Place {
    fn new(env: &Environment, repository: Option<Repository>) -> Result<Self, Fault> {
        let home = match &repository {
            Some(repository) => repository.root().to_owned(),
            None => env.cache()?.to_owned(),
        };
        let label = sandbox::repository_label(&home);
        let root = if repository.is_some() {
            home.join(".loki")
        } else {
            home
        };
        let place = Self {
            slot: Slot::at(root.join("adhoc").join(sandbox::owner())),
            root,
            repository,
            label,
        };
        place.sweep()?;
        Ok(place)
    }

    /// Removes the directories of processes that are gone.
    fn sweep(&self) -> Result<(), Fault> {
        let entries = std::fs::read_dir(self.root.join("adhoc"))
            .into_iter()
            .flatten()
            .flatten();
        let dead = entries.filter(|entry| !entry.file_name().to_str().is_some_and(sandbox::alive));
        dead.map(|entry| entry.path())
            .try_for_each(|path| git::remove_tree(&path))
            .or_exit(Exit::RunFailed)
    }

    fn remove(&self) -> Result<(), Fault> {
        git::remove_tree(self.slot.path()).or_exit(Exit::RunFailed)?;
        // Whatever still holds something stays: it is another's.
        for path in [self.root.join("adhoc"), self.root.clone()] {
            std::fs::remove_dir(path).ok();
        }
        Ok(())
    }
}

async fn play(
    launcher: &Launcher,
    place: &Place,
    rights: Rights,
    image: String,
    argv: &[String],
) -> Result<i32, SandboxError> {
    let user = launcher.user();
    if let Some(repository) = &place.repository {
        let root = rustix::process::geteuid().is_root();
        let owner = root.then_some(Owner {
            uid: user.0,
            gid: user.1,
        });
        let checkout = Checkout {
            tree: repository.head(),
            read: Some(&rights.files.read),
            owner,
        };
        let filled = repository.export(place.slot.path(), checkout);
        drop(filled.map_err(|cause| SandboxError::Slot(std::io::Error::other(cause)))?);
    }
    let occupant = Occupant {
        name: format!("loki-adhoc-{}", sandbox::owner()),
        rights,
        labels: Labels {
            run: "adhoc".to_owned(),
            task: "adhoc".to_owned(),
            repository: place.label.clone(),
            owner: sandbox::owner(),
        },
        home: Vec::new(),
        image,
    };
    // Decisions of a throw-away sandbox belong to no run, so there is no journal for them.
    let sandbox = launcher
        .launch(&occupant, &place.slot, user, Arc::new(|_| {}))
        .await?;
    let code = converse(&sandbox, argv).await;
    sandbox.end().await?;
    code
}

async fn converse(sandbox: &Sandbox, argv: &[String]) -> Result<i32, SandboxError> {
    sandbox
        .make_repository(&git::private_repository_script())
        .await?;
    let (
        Streams {
            stdin,
            stdout,
            stderr,
        },
        ended,
    ) = sandbox.exec(argv, &[], &Grant::default()).await?.split();
    let feed = async move {
        // The program may end before its input does.
        if let Some(mut stdin) = stdin {
            tokio::io::copy(&mut tokio::io::stdin(), &mut stdin)
                .await
                .ok();
        }
        std::future::pending::<()>().await;
    };
    let spoken = Spoken::default();
    let speak = async {
        tokio::join!(
            pass(stdout, Stream::Out, &spoken),
            pass(stderr, Stream::Err, &spoken)
        )
    };
    tokio::pin!(speak);
    let exit = tokio::select! {
        exit = async { tokio::join!(ended.wait(), &mut speak).0 } => exit,
        over = sandbox.overrun(&spoken) => return overran(sandbox, over).await,
        () = feed => unreachable!("feeding never ends by itself"),
    };
    match sandbox.overrun_at_end().await {
        Some(over) => overran(sandbox, over).await,
        None => Ok(exit?.code),
    }
}

/// Ends everything, and makes the overrun how the program ended.
async fn overran(sandbox: &Sandbox, over: Overrun) -> Result<i32, SandboxError> {
    sandbox.kill().await;
    Err(SandboxError::Overrun(over))
}

/// Passes an output on as fast as it is taken. Nothing is kept, so there is no cap on it.
async fn pass(mut from: impl tokio::io::AsyncRead + Unpin, to: Stream, spoken: &Spoken) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        spoken.add(count);
        ui::relay(buffer.split_at(count).0, to).await;
    }
}

/// Lists sandboxes of this engine.
pub(super) async fn list(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let engine = setup::engine(env).await?;
    let listed = engine.list("loki.run").await.or_exit(Exit::NoSandbox)?;
    let label = |labels: &std::collections::BTreeMap<String, String>, name: &str| {
        labels.get(name).cloned().unwrap_or_default()
    };
    if json.json {
        let rows: Vec<_> = listed
            .iter()
            .map(|one| {
                serde_json::json!({
                    "container": one.id.as_str(), "name": one.name, "state": one.state,
                    "run": label(&one.labels, "loki.run"), "task": label(&one.labels, "loki.task"),
                    "role": label(&one.labels, "loki.role"),
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
            label(&one.labels, "loki.run"),
            label(&one.labels, "loki.task"),
            label(&one.labels, "loki.role"),
        ]
    });
    ui::table(&["CONTAINER", "STATE", "RUN", "TASK", "ROLE"], rows);
    Ok(Exit::Done)
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
