//! `loki egress allow`: a person opens a host to a role, in the run that goes on here or for good.

use std::{fs, io, path::Path, time::Duration};

use tokio::time::timeout;

use crate::{
    egress::{Opening, Times},
    event::Event,
    journal::{self, Follow, From, Lock, requests},
    name::RunId,
    policy::{
        Layer, Policy, Protocol, Rights, Source, Target, changed_lines,
        explain::{self, Advice},
    },
    whole,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault, OrExit},
        setup::{self, Gathered},
        signals::{Asks, Request},
        ui,
    },
    args::Allow,
};

/// How long a running orchestrator may take to write that it opened the host.
const PATIENCE: Duration = Duration::from_secs(10);
/// How a file begins that this verb may replace.
const MARK: &str = "# Written by `loki egress allow --save`, which replaces this file.\n";

/// Opens the host.
pub(in crate::cli) async fn allow(env: &Environment, asked: &Allow) -> Result<Exit, Fault> {
    let gathered = setup::gather(env, &[], setup::root()?.as_deref())?;
    let policy = check(&gathered)?;
    let rights = setup::rights(&policy, asked.role.as_str())?;
    let Target { name, port } = &asked.target.0;
    let now = explain::connect(&rights, name.as_str(), *port);
    if now.allowed {
        let rule = now.rule.unwrap_or_default();
        ui::note(format!("allowed already: rule {}", ui::visible(&rule)));
        return Ok(Exit::Done);
    }
    let advice = now
        .next
        .ok_or_else(|| Fault::new(Exit::Usage, now.reason))?;
    if asked.save {
        return save(env, (gathered, &advice), (&rights, &asked.target.0));
    }
    refuse_denied(&gathered, &advice, (&rights, &asked.target.0))?;
    let times = if asked.once { Times::Once } else { Times::Run };
    let opening = Opening {
        role: asked.role.clone(),
        host: name.clone(),
        port: *port,
        protocol: usual(*port),
        times,
    };
    open(opening, asked.of.as_ref()).await
}

/// What is spoken on a port when nobody says it: as `policy explain` advises.
fn usual(port: u16) -> Protocol {
    match port {
        80 => Protocol::Http,
        22 => Protocol::Tcp,
        _ => Protocol::Tls,
    }
}

fn check(gathered: &Gathered) -> Result<Policy, Fault> {
    gathered
        .check()
        .map_err(|faults| setup::diagnostics(&faults))
}

/// Refuses what would stay denied with the rule in place.
fn refuse_denied(
    gathered: &Gathered,
    advice: &Advice,
    (rights, target): (&Rights, &Target),
) -> Result<(), Fault> {
    let mut sources = gathered.sources.clone();
    sources.push(Source {
        layer: Layer::Given,
        file: (&advice.file).into(),
        text: advice.yaml.clone(),
    });
    let tried = Policy::check_knowing(&sources, &gathered.facts);
    let opens = tried.is_ok_and(|policy| opens(&policy, rights, target));
    opens.then_some(()).ok_or_else(|| stays_closed(target))
}

fn opens(policy: &Policy, rights: &Rights, Target { name, port }: &Target) -> bool {
    let rights = policy.rights(&rights.role);
    rights.is_some_and(|rights| explain::connect(&rights, name.as_str(), *port).allowed)
}

fn stays_closed(target: &Target) -> Fault {
    let message =
        format!("`{target}` would stay closed: a `deny` entry or a later layer decides it");
    Fault::new(Exit::Failed, message)
        .hint("`loki policy explain ROLE --connect HOST:PORT` says which")
}

/// Picks the run that a host is opened in: the one that was named, or the only one.
fn pick(state: &Path, named: Option<&RunId>) -> Result<RunId, Fault> {
    let holder = Lock::holder(state).or_exit(Exit::Failed)?;
    let holder = holder.ok_or_else(|| {
        Fault::new(Exit::Failed, "nothing runs in this repository")
            .hint("`--save` opens the host for runs to come")
    })?;
    let runs: Vec<&str> = holder.runs().map(RunId::as_str).collect();
    match named {
        Some(run) if holder.holds(run) => Ok(run.clone()),
        Some(run) => {
            let message = format!("run {run} does not go on here");
            Err(Fault::new(Exit::Failed, message).hint(format!("these do: {}", runs.join(", "))))
        }
        None if runs.len() == 1 => Ok(holder.run),
        None => {
            let message = format!("{} go on here", ui::counted(runs.len(), "run"));
            Err(Fault::new(Exit::Usage, message)
                .hint(format!("say which: `--of RUN`, of {}", runs.join(", "))))
        }
    }
}

/// Asks the orchestrator that runs here, and waits until the opening is in its journal.
async fn open(opening: Opening, of: Option<&RunId>) -> Result<Exit, Fault> {
    let state = setup::repository()?.root().join(".loki");
    let run = pick(&state, of)?;
    let (event, shown) = (opening.event(), opening.to_string());
    let journal = journal::path(&state, &run);
    let mut follow = Follow::open(&journal, From::End).or_exit(Exit::Failed)?;
    let request = Request {
        run: run.clone(),
        asks: Asks::Open(opening),
    };
    let text = serde_json::to_string(&request).or_exit(Exit::Bug)?;
    let name = format!("allow-{}", std::process::id());
    let left = requests::leave(&state, &name, &text).or_exit(Exit::Failed)?;
    let written = timeout(PATIENCE, until_opened(&mut follow, &event)).await;
    if written != Ok(true) {
        // Else a later orchestrator would find it; that it is gone already is as good.
        fs::remove_file(left).ok();
        let message = format!("run {run} did not open it");
        return Err(
            Fault::new(Exit::Failed, message).hint("`loki status` says whether it still runs")
        );
    }
    ui::note(format!("opened {shown}, in run {run}"));
    Ok(Exit::Done)
}

async fn until_opened(follow: &mut Follow, opened: &Event) -> bool {
    while let Some(Ok(record)) = follow.next().await {
        if record.event == *opened {
            return true;
        }
    }
    false
}

/// Writes the rule as a policy of this user, once all policies together are sound with it.
fn save(
    env: &Environment,
    (mut gathered, advice): (Gathered, &Advice),
    (rights, target): (&Rights, &Target),
) -> Result<Exit, Fault> {
    let config = env.config.as_ref().ok_or_else(|| {
        Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CONFIG_HOME` is set")
            .hint("set `HOME`: Loki keeps your policies there")
    })?;
    let directory = config.join("policies");
    let file = directory.join(format!("egress-{}.yaml", rights.role));
    let before = current(&file)?;
    let text = format!("{MARK}{}", advice.yaml);
    gathered.sources.retain(|source| source.file != file);
    gathered.sources.push(Source {
        layer: Layer::User,
        file: file.clone(),
        text: text.clone(),
    });
    let policy = check(&gathered).map_err(|fault| {
        let shown = ui::visible(&advice.file);
        ui::note(format!("add this to {shown} by hand:\n{}", advice.yaml));
        fault.hint("nothing was written: your own files say already what this role may reach")
    })?;
    if !opens(&policy, rights, target) {
        return Err(stays_closed(target));
    }
    replace(&directory, &file, &text).map_err(|cause| {
        Fault::new(
            Exit::Failed,
            format!("`{}` cannot be written: {cause}", file.display()),
        )
    })?;
    ui::note(format!("wrote {}:", file.display()));
    for line in changed_lines(&before, &text) {
        ui::data(ui::visible(&line));
    }
    ui::note("it counts from the next start; `--run` opens it in a run that goes on");
    Ok(Exit::Done)
}

/// Returns what the file holds now, nothing when it is not there. One that somebody else wrote is
/// left alone.
fn current(file: &Path) -> Result<String, Fault> {
    match fs::read_to_string(file) {
        Ok(text) if text.starts_with(MARK) => Ok(text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Ok(_) => Err(Fault::new(
            Exit::Failed,
            format!("`{}` was written by hand", file.display()),
        )
        .hint("change it there, or rename it: `loki policy explain` says what to add")),
        Err(cause) => Err(Fault::new(
            Exit::Failed,
            format!("`{}` cannot be read: {cause}", file.display()),
        )),
    }
}

/// Writes the file whole or not at all.
fn replace(directory: &Path, file: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    whole::replace(file, 0o600, text.as_bytes())
}
