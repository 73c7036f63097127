//! `loki doctor`: what this machine gives, what is missing, and what to do about it. The level of
//! isolation is not guessed: a sandbox is started and what it really enforces is read back.

use std::sync::Arc;

use crate::{
    engine::Engine,
    event::Isolation,
    git,
    name::Role,
    policy::Policy,
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
    ok: bool,
    found: String,
    next: Option<String>,
}

impl Checkup {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            ok: true,
            found: found.into(),
            next: None,
        }
    }

    fn bad(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what,
            ok: false,
            found: found.into(),
            next: Some(next.into()),
        }
    }
}

/// Runs the verb. Exits 4 when sandboxes cannot be enforced here.
pub(super) async fn doctor(env: &Environment, json: &Json) -> Result<Exit, Fault> {
    let mut checks = vec![git_version()];
    match setup::engine(env).await {
        Err(fault) => checks.push(Checkup::bad(
            "engine",
            fault.message,
            // The hint of the fault leads here.
            "see docs/engines.md for what is looked for and how to install it",
        )),
        Ok(engine) => {
            checks.extend(engine_checks(engine.as_ref()));
            checks.extend(sandbox_checks(env, engine).await);
        }
    }
    let healthy = checks.iter().all(|check| check.ok);
    if json.json {
        ui::json(&serde_json::json!({ "schema": 1, "healthy": healthy, "checks": checks }))?;
    } else {
        checks.iter().for_each(show);
    }
    Ok(if healthy { Exit::Done } else { Exit::NoSandbox })
}

fn show(check: &Checkup) {
    let mark = if check.ok { "ok     " } else { "MISSING" };
    ui::data(format!(
        "{mark} {}: {}",
        check.what,
        ui::visible(&check.found)
    ));
    if let Some(next) = &check.next {
        ui::data(format!("        next: {}", ui::visible(next)));
    }
}

fn git_version() -> Checkup {
    match git::version() {
        Ok(version) => Checkup::ok("git", version),
        Err(cause) => Checkup::bad("git", cause.to_string(), "install git 2.38 or newer"),
    }
}

fn engine_checks(engine: &dyn Engine) -> Vec<Checkup> {
    let report = engine.report();
    let limits = if report.limits {
        Checkup::ok("resource limits", "enforced by cgroups")
    } else {
        Checkup::bad(
            "resource limits",
            "not enforced",
            "use rootful Docker or Podman, or a host with cgroup v2",
        )
    };
    vec![
        Checkup::ok(
            "engine",
            format!(
                "{} {} (API {}) at {}",
                report.name, report.version, report.api_version, report.endpoint
            ),
        ),
        Checkup::ok(
            "runtime",
            format!("{} {}", report.runtime, report.runtime_version),
        ),
        limits,
    ]
}

/// Starts a real sandbox and reads back what it enforces.
async fn sandbox_checks(env: &Environment, engine: Arc<dyn Engine>) -> Vec<Checkup> {
    match probe(env, engine).await {
        Ok(isolation) => vec![Checkup::ok("sandbox", described(&isolation))],
        Err(fault) => vec![Checkup::bad(
            "sandbox",
            fault.message,
            fault
                .hint
                .unwrap_or_else(|| "see docs/engines.md".to_owned()),
        )],
    }
}

fn described(found: &Isolation) -> String {
    format!(
        "uid {}, no capabilities, no_new_privs, seccomp, Landlock ABI {}, no network, runtime {}",
        found.uid, found.landlock_abi, found.runtime
    )
}

async fn probe(env: &Environment, engine: Arc<dyn Engine>) -> Result<Isolation, Fault> {
    let policy =
        Policy::check(&Policy::builtin_sources()).map_err(|faults| setup::diagnostics(&faults))?;
    let role: Role = "check".parse().or_exit(Exit::Bug)?;
    let rights = policy
        .rights(&role)
        .ok_or_else(|| Fault::new(Exit::Bug, "the built-in policy has no role `check`"))?;
    let launcher = setup::launcher(env, engine, [&rights])?;
    let image = setup::image(env, launcher.engine.as_ref(), &rights.image).await?;
    let slot = Slot::at(env.cache()?.join("probe").join(sandbox::owner()));
    let occupant = Occupant {
        name: format!("loki-doctor-{}", sandbox::owner()),
        rights,
        labels: Labels {
            run: "doctor".to_owned(),
            task: "probe".to_owned(),
            repository: sandbox::repository_label(env.cache()?),
            owner: sandbox::owner(),
        },
        home: Vec::new(),
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
