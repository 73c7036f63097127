//! `loki sandbox attest`: attacks sandboxes of this machine, or checks a saved attestation.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    attest::{
        self, Attestation, NotSound, Outcome, Probe, Row, Runtime, Scene, Signed, Stage, catalogue,
    },
    git,
    journal::{Key, PublicKey},
    sandbox::{self, Launcher},
    whole,
};

use super::{
    args::SandboxAttest,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    setup, signals, ui,
};

/// The most that is read of a saved attestation.
const LARGEST: u64 = 2 << 20;

/// Runs the verb.
pub(super) async fn attest(env: &Environment, args: &SandboxAttest) -> Result<Exit, Fault> {
    if let Some(file) = &args.verify {
        return verify(env, file, args);
    }
    let (probes, rows) = selected(&args.only)?;
    let (scene, policy) = scene(env, args).await?;
    let key = Key::open_or_make(settings(env)?).or_exit(Exit::Failed)?;
    let place = Place::of(env, &scene)?;
    place.sweep().await?;
    let attested = tokio::select! {
        attested = attack(scene, args, &probes) => attested,
        number = signals::first() => {
            place.end().await?;
            return number.map(Exit::Signal).or_exit(Exit::Failed);
        }
    };
    // Also after a start that failed half-way.
    place.end().await?;
    let mut attestation = attested?;
    attestation.policy = policy;
    attestation.rows.extend(rows);
    attestation
        .rows
        .sort_by_key(|row| catalogue::order(&row.id));
    let signed = attestation.sign(&key);
    if let Some(out) = &args.out {
        save(out, &signed)?;
    }
    show(&signed, args)?;
    Ok(ending(&signed.attestation))
}

/// What attestations leave on this machine while they run: containers by label, slots by owner.
struct Place {
    launcher: Launcher,
    label: String,
    slots: PathBuf,
}

impl Place {
    fn of(env: &Environment, scene: &Scene) -> Result<Self, Fault> {
        Ok(Self {
            launcher: scene.launcher.clone(),
            label: scene.repository.clone(),
            slots: env.cache()?.join("attest"),
        })
    }

    /// Removes what attestations left that were killed.
    async fn sweep(&self) -> Result<(), Fault> {
        let swept = sandbox::sweep(self.launcher.engine.as_ref(), Some(&self.label)).await;
        drop(swept.or_exit(Exit::NoSandbox)?);
        let entries = std::fs::read_dir(&self.slots)
            .into_iter()
            .flatten()
            .flatten();
        entries
            .filter(|entry| !entry.file_name().to_str().is_some_and(sandbox::alive))
            .try_for_each(|entry| git::remove_tree(&entry.path()))
            .or_exit(Exit::Failed)
    }

    /// Removes what this process made.
    async fn end(&self) -> Result<(), Fault> {
        let ended = self.launcher.end_own(&self.label).await;
        ended.or_exit(Exit::Failed)?;
        git::remove_tree(&self.slots.join(sandbox::owner())).or_exit(Exit::Failed)
    }
}

/// Parts what was asked for into probes to run and rows that have none.
fn selected(only: &[String]) -> Result<(Vec<&'static Probe>, Vec<Row>), Fault> {
    let wanted = |id: &str| only.is_empty() || only.iter().any(|one| one.eq_ignore_ascii_case(id));
    let probes: Vec<&Probe> = catalogue::probes()
        .filter(|probe| wanted(probe.id))
        .collect();
    let rows: Vec<Row> = catalogue::absent()
        .into_iter()
        .filter(|row| wanted(&row.id))
        .collect();
    let known = |one: &&String| {
        let ids = probes
            .iter()
            .map(|probe| probe.id)
            .chain(rows.iter().map(|row| &*row.id));
        ids.into_iter().any(|id| id.eq_ignore_ascii_case(one))
    };
    if let Some(unknown) = only.iter().find(|one| !known(one)) {
        let message = format!("there is no row `{}`", ui::visible(unknown));
        return Err(
            Fault::new(Exit::Usage, message).hint("docs/attest.md lists them, such as N1 or K6")
        );
    }
    Ok((probes, rows))
}

fn settings(env: &Environment) -> Result<&Path, Fault> {
    env.config.as_deref().ok_or_else(|| {
        Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CONFIG_HOME` is set")
            .hint("set `HOME`: Loki keeps the key that signs there")
    })
}

/// Finds the role's rights, the engine and the image; returns the hash of the policy, too.
async fn scene(env: &Environment, args: &SandboxAttest) -> Result<(Scene, String), Fault> {
    let policy = setup::policy(env, &args.policy, setup::root()?.as_deref())?;
    let rights = setup::rights(&policy, args.role.as_str())?;
    let engine = setup::engine(env).await?;
    let launcher = setup::launcher(env, engine, [&rights])?;
    let image = setup::image(env, launcher.engine.as_ref(), &rights.image).await?;
    let owner = sandbox::owner();
    let scene = Scene {
        launcher,
        rights,
        image,
        slots: env.cache()?.join("attest").join(&owner),
        repository: sandbox::repository_label(env.cache()?),
        owner,
    };
    Ok((scene, policy.sha256()))
}

/// Runs the probes on a stage of their own, and ends it.
async fn attack(
    scene: Scene,
    args: &SandboxAttest,
    probes: &[&'static Probe],
) -> Result<Attestation, Fault> {
    let made = Timestamp::now();
    let image = scene.image.clone();
    let stage = Stage::start(scene, probes).await.or_exit(Exit::NoSandbox)?;
    let watched = ui::is_watched();
    let ended = |row: &Row| {
        if watched {
            ui::note(format!("{:4} {}", row.id, word(row.outcome)));
        }
    };
    let rows = attest::run(&stage, probes, &ended).await;
    let isolation = stage.isolation().clone();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").or_exit(Exit::Failed)?;
    let runtime = Runtime::of(stage.engine(), kernel.trim().to_owned());
    stage.end().await.or_exit(Exit::Failed)?;
    let elapsed = Duration::try_from(Timestamp::now().duration_since(made)).unwrap_or_default();
    Ok(Attestation {
        schema: Attestation::SCHEMA,
        loki: env!("CARGO_PKG_VERSION").to_owned(),
        made,
        milliseconds: crate::event::millis(elapsed),
        runtime,
        isolation,
        role: args.role.to_string(),
        policy: String::new(),
        image,
        only: args.only.clone(),
        rows,
    })
}

fn save(path: &Path, signed: &Signed) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(signed).or_exit(Exit::Bug)?;
    whole::replace(path, 0o600, format!("{text}\n").as_bytes()).map_err(|cause| {
        let name = ui::visible(&path.to_string_lossy());
        Fault::new(Exit::Failed, format!("`{name}` cannot be written: {cause}"))
    })
}

fn show(signed: &Signed, args: &SandboxAttest) -> Result<(), Fault> {
    if args.json {
        return ui::json(signed);
    }
    let found = &signed.attestation;
    ui::data(heading(found));
    let rows = found.rows.iter().map(|row| {
        vec![
            row.id.clone(),
            word(row.outcome).to_owned(),
            row.title.clone(),
            row.reason.clone(),
        ]
    });
    ui::table(&["ID", "RESULT", "WHAT MUST HOLD", "REASON"], rows);
    ui::data(summary(found));
    ui::data(format!("signed with the key {}", signed.public_key));
    Ok(())
}

fn heading(found: &Attestation) -> String {
    let (runtime, isolation) = (&found.runtime, &found.isolation);
    let rootless = if runtime.rootless { " rootless" } else { "" };
    ui::visible(&format!(
        "{}{rootless} {}, {} {}, kernel {}, cgroup {}; role {}: uid {}, {}capabilities, Landlock ABI {}",
        runtime.engine,
        runtime.version,
        runtime.oci_runtime,
        runtime.oci_runtime_version,
        runtime.kernel,
        runtime.cgroup,
        found.role,
        isolation.uid,
        if isolation.no_capabilities { "no " } else { "" },
        isolation.landlock_abi,
    ))
}

fn summary(found: &Attestation) -> String {
    format!(
        "{} passed, {} failed, {} not applicable, in {:.1} s",
        found.count(Outcome::Pass),
        found.count(Outcome::Fail),
        found.count(Outcome::NotApplicable),
        Duration::from_millis(found.milliseconds).as_secs_f64(),
    )
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::NotApplicable => "n/a",
    }
}

/// Nothing failed, and something was shown.
fn ending(found: &Attestation) -> Exit {
    if found.is_sound() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// Checks a saved attestation against the key named, or this user's own.
fn verify(env: &Environment, file: &Path, args: &SandboxAttest) -> Result<Exit, Fault> {
    let name = ui::visible(&file.to_string_lossy());
    let trusted: PublicKey = match &args.key {
        Some(text) => text.parse().or_exit(Exit::Usage)?,
        None => {
            let own = Key::open(settings(env)?).or_exit(Exit::Failed)?;
            let own = own.ok_or_else(|| {
                Fault::new(Exit::Usage, "there is no key of this user to check it with")
                    .hint("name the key that you trust: `--key PUB`")
            })?;
            own.public()
        }
    };
    let unread = |cause| Fault::new(Exit::Usage, format!("`{name}` cannot be read: {cause}"));
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(unread)?;
    opened
        .take(LARGEST)
        .read_to_end(&mut text)
        .map_err(unread)?;
    let signed = Signed::verified(&text, &trusted).map_err(|why| untrusted(&name, &why))?;
    if args.json {
        ui::json(&signed)?;
    } else {
        let found = &signed.attestation;
        ui::data(heading(found));
        ui::data(format!(
            "made {} by loki {}: {}",
            found.made,
            ui::visible(&found.loki),
            summary(found)
        ));
        if !found.only.is_empty() {
            ui::data(format!("only {}", ui::visible(&found.only.join(", "))));
        }
        ui::data(format!("the signature holds, by the key {trusted}"));
    }
    Ok(ending(&signed.attestation))
}

fn untrusted(name: &str, why: &NotSound) -> Fault {
    Fault::new(Exit::Failed, format!("`{name}` cannot be trusted: {why}"))
}
