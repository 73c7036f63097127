//! What starting a confined program costs: over the link of a sandbox that stands, and with a
//! sandbox of its own; beside the engine's own ways, a bare fork and exec, and other sandboxes.

use std::{process::Command, time::Instant};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{ContainerCreateBody, HostConfig},
    query_parameters::{CreateContainerOptions, RemoveContainerOptions},
};
use futures_util::StreamExt;
use loki::sandbox::Grant;

use crate::{
    Effort,
    group::{Group, parts},
    harness::{Engine, Stand, Standing, World},
    runtime::Runtime,
    sheet::row::Part,
    tools::{environment, fork_and_exec, millis, said, timed},
};

/// Warm launches and forks for each round of the slow ones.
const EACH: usize = 10;

/// What was measured of one engine, in milliseconds.
#[derive(Default)]
struct Took {
    warm: Vec<f64>,
    /// Until the program was reported to run; the rest of `warm` is until its end.
    until_runs: Vec<f64>,
    fork: Vec<f64>,
    api_exec: Vec<f64>,
    exec: Vec<f64>,
    run: Vec<f64>,
    cold: Vec<f64>,
    /// Of a cold launch: its `true`, and what the engine alone takes for a plain container.
    cold_true: Vec<f64>,
    create: Vec<f64>,
    start: Vec<f64>,
}

/// Measures one engine.
pub(crate) async fn of(engine: Engine, effort: Effort) -> Group {
    let name = engine.program();
    let mut group = Group::default();
    if said(name, &["version"]).is_none() {
        group.lacks(
            &format!("launch/{name}"),
            &format!("`{name}` does not answer"),
        );
        return group;
    }
    let took = rounds(engine, effort).await;
    let id = |row: &str| format!("launch/{name}-{row}");
    let warm = &took.warm;
    let fork = ("fork and exec", &took.fork);
    let rows = [
        (id("warm-of-fork"), fork),
        (id("warm-of-api-exec"), ("exec, by API", &took.api_exec)),
        (id("warm-of-exec"), ("exec", &took.exec)),
        (id("warm-of-run"), ("run --network none", &took.run)),
    ];
    for (id, other) in rows {
        group.beside(&id, warm, other);
    }
    group.spent(&id("warm-of-fork"), halves(&took));
    group.beside(
        &id("cold-of-run"),
        &took.cold,
        ("run --network none", &took.run),
    );
    group.spent(&id("cold-of-run"), floors(&took));
    if engine == Engine::Docker {
        others(&mut group, warm, effort);
    }
    group
}

fn halves(took: &Took) -> Vec<Part> {
    parts(
        "ms",
        &[
            ("until the program runs", &took.until_runs),
            ("all", &took.warm),
        ],
    )
}

fn floors(took: &Took) -> Vec<Part> {
    parts(
        "ms",
        &[
            ("the engine alone, a plain container: create", &took.create),
            ("start", &took.start),
            ("here: until the sandbox stands, and `true`", &took.cold),
            ("of which `true`", &took.cold_true),
        ],
    )
}

async fn rounds(engine: Engine, effort: Effort) -> Took {
    let name = engine.program();
    let image = tokio::task::spawn_blocking(move || World::on(engine).image());
    let image = image.await.expect("the image is built");
    let stand = Stand::on(engine).await;
    let standing = stand.launch("warm", "").await;
    let (docker, beside) = (connected(engine), Beside::start(name, &image));
    let mut took = Took::default();
    warm(&standing).await;
    for round in 0..effort.rounds {
        for _ in 0..EACH {
            took.fork.push(fork_and_exec());
            let (runs, all) = warm(&standing).await;
            took.until_runs.push(runs);
            took.warm.push(all);
        }
        took.api_exec.push(api_exec(&docker, &beside.id).await);
        took.exec
            .push(timed(Command::new(name).args(["exec", &beside.id, "true"])).expect("it runs"));
        took.run.push(run(name, &image));
        let (launched, all) = cold(&stand, round).await;
        took.cold_true.push(all - launched);
        took.cold.push(all);
        let (create, start) = plain(&docker, &image).await;
        took.create.push(create);
        took.start.push(start);
    }
    standing.sandbox.end().await.expect("it ends");
    took
}

/// One program over the link: milliseconds until it runs, and until its end is known.
async fn warm(standing: &Standing) -> (f64, f64) {
    let argv = ["true".to_owned()];
    let begun = Instant::now();
    let started = standing.sandbox.exec(&argv, &[], &Grant::default()).await;
    let mut process = started.expect("it starts");
    let runs = millis(begun.elapsed());
    let exit = process.wait().await.expect("it ends");
    let all = millis(begun.elapsed());
    assert_eq!(exit.code, 0);
    (runs, all)
}

/// A sandbox of its own: milliseconds until it stands, and until `true` has ended in it.
async fn cold(stand: &Stand, round: usize) -> (f64, f64) {
    let begun = Instant::now();
    let standing = stand.launch(&format!("cold-{round}"), "").await;
    let launched = millis(begun.elapsed());
    warm(&standing).await;
    let all = millis(begun.elapsed());
    standing.sandbox.end().await.expect("it ends");
    (launched, all)
}

/// The engine's own way, not removed while the clock runs.
fn run(program: &str, image: &str) -> f64 {
    let name = format!("loki-bench-run-{}", std::process::id());
    let args = ["run", "--name", &name, "--network", "none", image, "true"];
    let took = timed(Command::new(program).args(args));
    said(program, &["rm", "--force", &name]);
    took.expect("it runs")
}

fn connected(engine: Engine) -> Docker {
    let (_, address) = engine.address();
    let connected = Docker::connect_with_unix(address, 120, API_DEFAULT_VERSION);
    connected.expect("the engine answers")
}

/// A plain container that stays, for what is run in one.
struct Beside {
    program: &'static str,
    id: String,
}

impl Beside {
    fn start(program: &'static str, image: &str) -> Self {
        let args = [
            "run",
            "--detach",
            "--network",
            "none",
            image,
            "sleep",
            "3600",
        ];
        let id = said(program, &args).expect("a container runs");
        Self { program, id }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        said(self.program, &["rm", "--force", &self.id]);
    }
}

/// An exec through the engine's API, to its exit code.
async fn api_exec(docker: &Docker, container: &str) -> f64 {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(vec!["true"]),
        ..CreateExecOptions::default()
    };
    let begun = Instant::now();
    let exec = docker.create_exec(container, options).await;
    let exec = exec.expect("it is made").id;
    let started = docker.start_exec(&exec, None::<StartExecOptions>).await;
    if let StartExecResults::Attached { mut output, .. } = started.expect("it starts") {
        while output.next().await.is_some() {}
    }
    let ended = docker.inspect_exec(&exec).await.expect("it is known");
    let took = millis(begun.elapsed());
    assert_eq!(ended.exit_code, Some(0));
    took
}

/// What the engine alone takes to create and to start a container of the same image without a
/// network.
async fn plain(docker: &Docker, image: &str) -> (f64, f64) {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["true".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let begun = Instant::now();
    let created = docker.create_container(None::<CreateContainerOptions>, body);
    let id = created.await.expect("it is made").id;
    let create = millis(begun.elapsed());
    let begun = Instant::now();
    let started = docker.start_container(&id, None).await;
    let start = millis(begun.elapsed());
    let removal = RemoveContainerOptions {
        force: true,
        ..RemoveContainerOptions::default()
    };
    docker.remove_container(&id, Some(removal)).await.ok();
    started.expect("it starts");
    (create, start)
}

/// What others that confine programs on a host take for the same.
fn others(group: &mut Group, warm: &[f64], effort: Effort) {
    let mut bubblewrap = Vec::new();
    for _ in 0..effort.rounds * 2 {
        match timed(&mut confined_by_bubblewrap()) {
            Ok(took) => bubblewrap.push(took),
            Err(why) => group.lacks("launch/warm-of-bubblewrap", &why),
        }
    }
    group.beside(
        "launch/warm-of-bubblewrap",
        warm,
        ("bubblewrap", &bubblewrap),
    );
    let runtime = Runtime::found();
    match runtime
        .as_ref()
        .map_err(String::clone)
        .and_then(|one| one.launches(effort.rounds))
    {
        Ok(took) => group.beside(
            "launch/warm-of-sandbox-runtime",
            warm,
            ("sandbox-runtime", &took),
        ),
        Err(why) => group.lacks("launch/warm-of-sandbox-runtime", &why),
    }
    match runtime.and_then(|one| one.commands(effort.rounds.div_ceil(3))) {
        Ok(took) => group.beside("launch/warm-of-sandbox-runtime-cli", warm, ("srt", &took)),
        Err(why) => group.lacks("launch/warm-of-sandbox-runtime-cli", &why),
    }
}

/// Namespaces of its own for all, and of the host only the system, read-only.
fn confined_by_bubblewrap() -> Command {
    let mut command = Command::new("bwrap");
    command.envs(environment()).args([
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        "/usr",
        "/usr",
        "--symlink",
        "usr/bin",
        "/bin",
        "--symlink",
        "usr/lib",
        "/lib",
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "/usr/bin/true",
    ]);
    command
}
