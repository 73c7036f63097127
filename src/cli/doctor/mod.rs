//! `loki doctor`: what this machine gives, what is missing, and what to do about it. The level of
//! isolation is not guessed: a sandbox is started and what it really enforces is read back.

mod floors;
mod machine;

use std::sync::Arc;

use crate::{
    diagnostic::explained,
    engine::{self, Engine, EngineError, EngineReport},
    event::{HeldBy, Isolation},
    git,
    name::Role,
    sandbox::{self, Labels, Occupant, SandboxError, Slot},
};

use super::{
    args::Json,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, ui,
};

/// One thing that was looked at.
#[derive(Debug, serde::Serialize)]
struct Checkup {
    what: &'static str,
    /// Whether sandboxes can run in spite of it.
    ok: bool,
    level: Level,
    found: String,
    next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Note,
    Missing,
}

impl Checkup {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            ok: true,
            level: Level::Ok,
            found: found.into(),
            next: None,
        }
    }

    /// Something to know or to do that keeps no sandbox from running.
    fn note(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            level: Level::Note,
            next: Some(next.into()),
            ..Self::ok(what, found)
        }
    }

    fn bad(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            ok: false,
            level: Level::Missing,
            ..Self::note(what, found, next)
        }
    }
}

/// What was found, as `--json` prints it.
#[derive(Debug, serde::Serialize)]
struct Diagnosis {
    schema: u32,
    healthy: bool,
    checks: Vec<Checkup>,
    engines: Vec<Place>,
    /// What the sandbox that was started really enforced.
    isolation: Option<Isolation>,
}

/// A place where an engine was looked for.
#[derive(Debug, serde::Serialize)]
struct Place {
    place: String,
    report: Option<EngineReport>,
    refused: Option<String>,
}

/// Runs the verb. Exits 4 when sandboxes cannot be enforced here.
pub(super) async fn doctor(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let mut checks = vec![git_version()];
    checks.extend(machine::checks(&env.path));
    let mut isolation = None;
    let mut used = None;
    match setup::engine_of(&facts(env)).await {
        Err(fault) => checks.push(Checkup::bad(
            "engine",
            fault.message,
            // The hint of the fault leads here.
            "see docs/engines.md for what is looked for and how to install it",
        )),
        Ok(engine) => {
            used = Some(engine.report().endpoint.clone());
            checks.extend(engine_checks(engine.report()));
            let (check, found) = sandbox_check(env, engine).await;
            checks.push(check);
            isolation = found;
        }
    }
    let engines = others(env, used.as_deref()).await;
    let diagnosis = Diagnosis {
        schema: 1,
        healthy: checks.iter().all(|check| check.ok),
        checks,
        engines,
        isolation,
    };
    if json.json {
        ui::json(&diagnosis)?;
    } else {
        diagnosis.checks.iter().for_each(show);
        diagnosis.engines.iter().for_each(show_place);
    }
    Ok(if diagnosis.healthy {
        Exit::Done
    } else {
        Exit::NoSandbox
    })
}

fn show(check: &Checkup) {
    let mark = match check.level {
        Level::Ok => "ok     ",
        Level::Note => "note   ",
        Level::Missing => "MISSING",
    };
    ui::data(format!(
        "{mark} {}: {}",
        check.what,
        ui::visible(&check.found)
    ));
    if let Some(next) = &check.next {
        ui::data(format!("        next: {}", ui::visible(next)));
    }
}

fn show_place(place: &Place) {
    let found = match (&place.report, &place.refused) {
        (Some(report), _) => named(report),
        (None, refused) => refused.clone().unwrap_or_default(),
    };
    ui::data(format!("also    {}: {}", place.place, ui::visible(&found)));
}

fn git_version() -> Checkup {
    match git::version() {
        Ok(version) => Checkup::ok("git", version),
        Err(cause) => Checkup::bad("git", cause.to_string(), "install git 2.38 or newer"),
    }
}

/// What the environment says about engines. Each is asked, whatever was kept of it.
fn facts(env: &Environment) -> engine::Environment {
    engine::Environment {
        cache: None,
        ..setup::facts(env)
    }
}

/// Looks at the places besides the one in use.
async fn others(env: &Environment, used: Option<&str>) -> Vec<Place> {
    let found = engine::survey(&facts(env)).await;
    let place = |(place, report): (String, Result<EngineReport, EngineError>)| match report {
        Ok(report) => Place {
            place,
            report: Some(report),
            refused: None,
        },
        Err(fault) => Place {
            place,
            report: None,
            refused: Some(explained(&fault)),
        },
    };
    let other = |place: &Place| {
        let endpoint = place.report.as_ref().map(|report| report.endpoint.as_str());
        endpoint.is_none() || endpoint != used
    };
    found.into_iter().map(place).filter(other).collect()
}

fn named(report: &EngineReport) -> String {
    let mode = if report.rootless {
        "rootless"
    } else {
        "rootful"
    };
    format!(
        "{} {} ({mode}, API {}) at {}",
        report.name, report.version, report.api_version, report.endpoint
    )
}

fn engine_checks(report: &EngineReport) -> Vec<Checkup> {
    let mut all = vec![
        Checkup::ok("engine", named(report)),
        Checkup::ok("runtime", versions(report)),
        Checkup::ok("cgroups", report.cgroup.to_string()),
    ];
    if report.selinux {
        all.push(Checkup::ok(
            "selinux",
            "labels containers; sandboxes run without a label (`label=disable`), which their record says",
        ));
    }
    if report.storage == "vfs" {
        all.push(Checkup::note(
            "storage",
            "`vfs`: every sandbox copies its whole image, which takes seconds",
            "write `[storage]` and `driver = \"overlay\"` into ~/.config/containers/storage.conf, then `podman system reset` (it removes your images)",
        ));
    }
    all.extend(floors::below(report.name, &report.components));
    all
}

fn versions(report: &EngineReport) -> String {
    let mut all = vec![format!("{} {}", report.runtime, report.runtime_version)];
    let others = report
        .components
        .iter()
        .filter(|(name, _)| **name != report.runtime && !name.contains("engine"));
    all.extend(others.map(|(name, version)| format!("{name} {version}")));
    all.join(", ")
}

/// Starts a real sandbox, by the policy in force, and reads back what it enforces.
async fn sandbox_check(env: &Environment, engine: Arc<dyn Engine>) -> (Checkup, Option<Isolation>) {
    match probe(env, engine).await {
        Ok(isolation) => (
            Checkup::ok("sandbox", described(&isolation)),
            Some(isolation),
        ),
        Err(fault) => {
            let next = fault
                .hint
                .unwrap_or_else(|| "see docs/engines.md".to_owned());
            (Checkup::bad("sandbox", fault.message, next), None)
        }
    }
}

fn described(found: &Isolation) -> String {
    let limits = match found.held.by {
        HeldBy::Cgroup => "limits held by cgroups (read back)",
        HeldBy::EngineSays => "limits held by cgroups (as the engine says)",
        HeldBy::Rlimit => "processes held, memory and processors NOT held",
        HeldBy::Nothing => "limits NOT held",
    };
    format!(
        "uid {}, no capabilities, no_new_privs, seccomp, Landlock ABI {}, no network, {limits}, runtime {}",
        found.uid, found.landlock_abi, found.runtime
    )
}

async fn probe(env: &Environment, engine: Arc<dyn Engine>) -> Result<Isolation, Fault> {
    let policy = setup::policy(env, &[], None)?;
    let role: Role = "check".parse().or_exit(Exit::Bug)?;
    let rights = policy
        .rights(&role)
        .ok_or_else(|| Fault::new(Exit::Bug, "the built-in policy has no role `check`"))?;
    let launcher = setup::launcher(env, engine, [&rights])?;
    let image = setup::image(env, launcher.engine.as_ref(), &rights.image).await?;
    let slot = Slot::at(env.cache()?.join("probe").join(sandbox::owner()));
    let repository = sandbox::repository_label(env.cache()?);
    // Of a doctor that was killed.
    let left = sandbox::sweep(launcher.engine.as_ref(), Some(&repository)).await;
    drop(left.or_exit(Exit::NoSandbox)?);
    let occupant = Occupant {
        name: format!("loki-doctor-{}", sandbox::owner()),
        rights: rights.into(),
        labels: Labels {
            run: "doctor".to_owned(),
            task: "probe".to_owned(),
            repository,
            owner: sandbox::owner(),
        },
        home: Vec::new(),
        given: Vec::new(),
        image,
    };
    let launched = async {
        let sandbox = launcher
            .launch(&occupant, &slot, launcher.user(), Arc::new(|_| {}))
            .await?;
        let isolation = sandbox.isolation().clone();
        sandbox.end().await?;
        Ok::<_, SandboxError>(isolation)
    };
    let found = launched.await.or_exit(Exit::NoSandbox);
    git::remove_tree(slot.path()).or_exit(Exit::Failed)?;
    found
}
