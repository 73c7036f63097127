//! From the claim of a task to its agent's first act, with a worktree of 200 files: what a person
//! waits for. Warm by real runs, whose journal says when a task was claimed and whether its sandbox
//! stood ready; cold by the library.

use std::{path::Path, process::Command, sync::Arc, time::Instant};

use loki::{
    git::{self, Owner, Repository, SlotSpec},
    name::{RunId, TaskId},
    policy::{Policy, Rights},
    sandbox::{Grant, Labels, Launcher, Occupant, Slot, owner},
};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::{
    Effort,
    group::{Group, parts},
    harness::{Engine, World, launcher},
    replayed::{Plan, Replayed, sources},
    tools::{millis, said, timed},
};

/// Files of the worktree.
const FILES: usize = 200;

/// A repository, an engine, and what a claim needs of both.
struct Place {
    world: World,
    repository: Repository,
    launcher: Launcher,
    rights: Rights,
    image: String,
    run: RunId,
}

fn rights() -> Rights {
    let policy = Policy::check(&Policy::builtin_sources()).expect("the shipped policy is valid");
    let role = "eng-backend".parse().expect("a role");
    policy.rights(&role).expect("it is shipped")
}

fn repository(engine: Engine) -> (World, String) {
    let world = World::on(engine);
    sources(&world, FILES);
    world.commit();
    let image = world.image();
    (world, image)
}

impl Place {
    async fn on(engine: Engine) -> Self {
        let made = tokio::task::spawn_blocking(move || repository(engine)).await;
        let (world, image) = made.expect("the repository is made");
        Self {
            repository: Repository::open(&world.path(".")).expect("it opens"),
            launcher: launcher(engine).await,
            rights: rights(),
            run: "20261121-073300-1f3a".parse().expect("a run's name"),
            world,
            image,
        }
    }

    fn worktree(&self, dir: &Path, task: &TaskId, user: (u32, u32)) -> git::Slot {
        let root = rustix::process::geteuid().is_root();
        let read = self.rights.files.visible();
        let spec = SlotSpec {
            run: &self.run,
            task,
            base: self.repository.head(),
            read: Some(&read),
            owner: root.then_some(Owner {
                uid: user.0,
                gid: user.1,
            }),
        };
        git::Slot::prepare(&self.repository, dir, spec).expect("a worktree is made")
    }

    fn occupant(&self, name: &str, task: &TaskId) -> Occupant {
        Occupant {
            name: format!("loki-bench-{name}-{}", owner()),
            rights: self.rights.clone().into(),
            labels: Labels {
                run: "bench".to_owned(),
                task: task.to_string(),
                repository: "bench".to_owned(),
                owner: owner(),
            },
            home: Vec::new(),
            image: self.image.clone(),
            given: Vec::new(),
        }
    }
}

/// Milliseconds of one claim: until the worktree is there, until the sandbox stands, and until the
/// first byte.
async fn cold(place: &Place, round: usize) -> [f64; 3] {
    let task: TaskId = format!("claim-{round}").parse().expect("a task's name");
    let slot = Slot::at(place.world.path(&format!("../slots/{task}")));
    let user = place.launcher.user();
    let begun = Instant::now();
    let worktree = place.worktree(slot.path(), &task, user);
    let there = millis(begun.elapsed());
    let occupant = place.occupant(task.as_str(), &task);
    let launched = place
        .launcher
        .launch(&occupant, &slot, user, Arc::new(|_| {}));
    let sandbox = launched.await.expect("it stands");
    let stands = millis(begun.elapsed());
    let argv = ["echo", "first"].map(str::to_owned);
    let started = sandbox.exec(&argv, &[], &Grant::default()).await;
    let mut process = started.expect("it starts");
    let mut byte = [0];
    process
        .stdout
        .read_exact(&mut byte)
        .await
        .expect("it says something");
    let heard = millis(begun.elapsed());
    process.wait().await.expect("it ends");
    sandbox.end().await.expect("it ends");
    worktree.remove(&place.repository).expect("it is removed");
    [there, stands, heard]
}

/// Milliseconds of `git worktree add` of the same files.
fn by_git(place: &Place, round: usize) -> f64 {
    let to = place
        .world
        .path(&format!("../plain-{round}"))
        .display()
        .to_string();
    let root = place.world.path(".").display().to_string();
    let git = |words: &[&str]| {
        timed(
            Command::new("git")
                .args(["-C", &root, "worktree"])
                .args(words),
        )
    };
    let took = git(&["add", "--quiet", "--detach", &to, "main"]).expect("git runs");
    git(&["remove", "--force", &to]).expect("git runs");
    took
}

pub(crate) async fn measure(effort: Effort) -> Group {
    let mut group = Group::default();
    let place = Place::on(Engine::Docker).await;
    let (mut there, mut stands, mut heard, mut git) = (vec![], vec![], vec![], vec![]);
    for round in 0..effort.rounds {
        let [one, two, three] = cold(&place, round).await;
        there.push(one);
        stands.push(two);
        heard.push(three);
        git.push(by_git(&place, round));
    }
    group.alone("claim/cold-first-byte", &heard);
    let spent = [
        ("until the worktree is there", &there),
        ("until the sandbox stands", &stands),
        ("until the first byte", &heard),
    ];
    group.spent("claim/cold-first-byte", parts("ms", &spent));
    group.beside("claim/worktree-of-git", &there, ("git worktree add", &git));
    for engine in Engine::ALL {
        let asked = tokio::task::spawn_blocking(move || warm(engine, effort));
        let (id, came_to) = (
            format!("claim/{}-first-byte", engine.program()),
            asked.await,
        );
        match came_to
            .expect("the run ends")
            .filter(|took| !took.0.is_empty())
        {
            Some((heard, bound)) => {
                group.alone(&id, &heard);
                let of = [("of which until the sandbox is the task's", &bound)];
                group.spent(&id, parts("ms", &of));
            }
            None => group.lacks(&id, NONE_READY),
        }
    }
    group
}

const NONE_READY: &str = "no sandbox of the run stood ready: this program has no warm pool, or it is off, or the engine does not answer";

/// Milliseconds from the claim to the first act of each agent whose sandbox stood ready, and those
/// until it was its own; none without an engine.
fn warm(engine: Engine, effort: Effort) -> Option<(Vec<f64>, Vec<f64>)> {
    said(engine.program(), &["version"])?;
    let plan = Plan {
        tasks: effort.rounds.div_ceil(2),
        in_turn: true,
        files: FILES,
        // Then it works until another sandbox stands ready.
        script: "date +%s.%N > src/$LOKI_TASK\nsleep 2".to_owned(),
    };
    let mut run = Replayed::start(engine, &plan, 10);
    run.watch(|_| {});
    let (told, branch) = (run.told(), run.world.run_branch());
    let (mut heard, mut bound) = (Vec::new(), Vec::new());
    // Sandboxes of agents, and not those of checks.
    let of_agents =
        |event: &Value| event["start"]["warm"] == true && event["role"] == "eng-backend";
    for (_, event) in told.iter().filter(|(_, event)| of_agents(event)) {
        let task = event["task"].as_str()?;
        let of = |event: &Value| event["type"] == "task_claimed" && event["task"] == task;
        let claimed = told.iter().find(|(_, event)| of(event))?.0;
        let act = run.world.git(&["show", &format!("{branch}:src/{task}")]);
        heard.push((act.trim().parse::<f64>().ok()? - claimed) * 1e3);
        bound.push(event["start"]["elapsed_us"].as_f64()? / 1e3);
    }
    Some((heard, bound))
}
