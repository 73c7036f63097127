//! Where probes run: the sandboxes, the opened container and the sinks of one attestation.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    sync::Mutex,
};

use crate::{
    diagnostic::explained,
    engine::{EngineError, EngineReport, Opened},
    event::Isolation,
    git::{self, GitError},
    link::Process,
    policy::{Egress, Layer, Policy, Program, Rights, Source},
    sandbox::{Grant, Labels, Launcher, Occupant, Sandbox, SandboxError, Slot},
};

use super::{
    caged, decoy,
    opened::Open,
    probe::{Control, Output, Place, Probe, Root},
    sink::{Authority, Sink},
};

/// How long one probe may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of output that are read of one probe.
pub(super) const OUTPUT: u64 = 256 << 10;

/// Why an attestation could not begin, or could not clean up.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A sandbox did not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The opened container did not start.
    #[error("the container that controls need did not start")]
    Opened(#[source] EngineError),
    /// The repository whose files no sandbox may see could not be made.
    #[error("the repository that attacks on files need could not be made")]
    Decoy(#[source] GitError),
    /// No sink could be opened on this host.
    #[error("no sink could be opened on this host's loopback")]
    Sink(#[source] io::Error),
}

/// What an attestation is of.
#[derive(Clone)]
pub struct Scene {
    /// Starts sandboxes.
    pub launcher: Launcher,
    /// The role's rights.
    pub rights: Rights,
    /// The image, by digest.
    pub image: String,
    /// The directory of all slots.
    pub slots: std::path::PathBuf,
    /// The label of the place it runs for.
    pub repository: String,
    /// The label of this process.
    pub owner: String,
}

/// A sandbox with its sinks. One probe runs in it at a time, so that hits are its own.
pub(super) struct Standing {
    pub(super) sandbox: Sandbox,
    sink: Sink,
    authority: Arc<Authority>,
    turn: Mutex<()>,
}

/// Everything that stands during an attestation.
pub struct Stage {
    pub(super) own: Standing,
    empty: Option<Standing>,
    armed: Option<Standing>,
    decoy: Option<Standing>,
    open: Option<Open>,
    pub(super) scene: Scene,
}

impl Stage {
    /// Starts what these probes need, all at once.
    ///
    /// # Errors
    /// What did not start; the rest is gone then.
    pub async fn start(scene: Scene, probes: &[&'static Probe]) -> Result<Self, StageError> {
        let tools: BTreeSet<&str> = probes
            .iter()
            .flat_map(|probe| probe.tools)
            .copied()
            .collect();
        let scene = Scene {
            rights: armed_with(&scene.rights, &tools),
            ..scene
        };
        let needs = |place| probes.iter().any(|probe| probe.needs(place));
        let opens = probes
            .iter()
            .any(|probe| matches!(probe.control, Control::Opened { .. }));
        let opened = Opened::new(&scene.image, &scene.repository, &scene.owner);
        let open = Open::start(&scene.launcher, opened);
        let when = |needed: bool, place| OptionFuture::from(needed.then(|| scene.stand(place)));
        let (own, empty, armed, decoy, open) = futures_util::join!(
            scene.stand(Place::Own),
            when(needs(Place::Empty), Place::Empty),
            when(needs(Place::Armed), Place::Armed),
            when(needs(Place::Decoy), Place::Decoy),
            OptionFuture::from(opens.then_some(open)),
        );
        // The opened container first: unlike a sandbox it is not removed by being dropped.
        let open = open.transpose()?;
        let stood = own.and_then(|own| {
            let others = [empty.transpose()?, armed.transpose()?, decoy.transpose()?];
            Ok((own, others))
        });
        match stood {
            Ok((own, [empty, armed, decoy])) => Ok(Self {
                own,
                empty,
                armed,
                decoy,
                open,
                scene,
            }),
            Err(fault) => {
                if let Some(open) = open {
                    open.end().await.map_err(StageError::Opened)?;
                }
                Err(fault)
            }
        }
    }

    /// What the sandboxes enforce.
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        self.own.sandbox.isolation()
    }

    /// What the engine says about itself.
    #[must_use]
    pub fn engine(&self) -> &EngineReport {
        self.scene.launcher.engine.report()
    }

    /// Who root is in the opened container.
    #[must_use]
    pub fn root(&self) -> Root {
        if self.engine().rootless {
            Root::Mapped
        } else {
            Root::Real
        }
    }

    /// Runs a probe in its sandbox.
    pub(super) async fn attack(&self, probe: &Probe) -> Result<Output, String> {
        self.run(probe, probe.place).await
    }

    /// Runs a probe where it must succeed; none when it shows itself that what is allowed works.
    pub(super) async fn control(&self, probe: &Probe) -> Result<Option<Output>, String> {
        match (&probe.control, &self.open) {
            (Control::Within, _) => Ok(None),
            (Control::Granted { .. }, _) => self.run(probe, Place::Armed).await.map(Some),
            (Control::Opened { opening, .. }, Some(open)) => {
                let output = open.run(probe, opening).await;
                output.map(Some).map_err(|fault| explained(&fault))
            }
            (Control::Opened { .. }, None) => Err("no opened container was started".to_owned()),
        }
    }

    async fn run(&self, probe: &Probe, place: Place) -> Result<Output, String> {
        let standing = match place {
            Place::Own => Some(&self.own),
            Place::Empty => self.empty.as_ref(),
            Place::Armed => self.armed.as_ref(),
            Place::Decoy => self.decoy.as_ref(),
            Place::Caged(cap) => return self.caged(probe, cap).await,
        };
        let standing = standing.ok_or("its sandbox was not started")?;
        let mut given = Vec::new();
        let mut neighbour = None;
        if let Some(program) = probe.neighbour {
            let beside = self.empty.as_ref().ok_or("no sandbox beside was started")?;
            let (process, line) = meet(&beside.sandbox, program).await?;
            neighbour = Some(process);
            given.push(("NEIGHBOUR".to_owned(), line));
        }
        let output = standing.run(probe, given).await;
        // Its input ends here, and it with it.
        drop(neighbour);
        output
    }

    /// Ends everything; the slots stay for the caller to remove.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub async fn end(self) -> Result<(), StageError> {
        let standing = [Some(self.own), self.empty, self.armed, self.decoy];
        let sandboxes = standing.into_iter().flatten().map(|one| one.sandbox.end());
        let ended = futures_util::future::join_all(sandboxes).await;
        if let Some(open) = self.open {
            open.end().await.map_err(StageError::Opened)?;
        }
        ended.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(())
    }
}

impl Probe {
    /// Whether the probe, its neighbour or its control runs there.
    fn needs(&self, place: Place) -> bool {
        let granted = place == Place::Armed && matches!(self.control, Control::Granted { .. });
        let beside = place == Place::Empty && self.neighbour.is_some();
        self.place == place || granted || beside
    }
}

impl Scene {
    /// Starts one of the sandboxes, with sinks of its own.
    pub(super) async fn stand(&self, place: Place) -> Result<Standing, StageError> {
        let sink = Sink::open().await.map_err(StageError::Sink)?;
        let authority = Arc::new(Authority::default());
        let mut launcher = self.launcher.clone();
        launcher.resolver = Arc::clone(&authority) as _;
        let (word, egress) = match place {
            Place::Own => ("own", self.rights.egress.clone()),
            Place::Empty => ("empty", Egress::default()),
            Place::Armed => ("armed", armed(sink.port())),
            Place::Decoy => ("decoy", Egress::default()),
            Place::Caged(cap) => (caged::word(cap), Egress::default()),
        };
        let mut rights = Rights {
            egress,
            ..self.rights.clone()
        };
        match place {
            Place::Decoy => rights.files = decoy::listed(),
            Place::Caged(_) => rights.resources = caged::caps(&rights.resources),
            Place::Own | Place::Empty | Place::Armed => {}
        }
        let occupant = Occupant {
            name: format!("loki-attest-{word}-{}", self.owner),
            rights: rights.into(),
            labels: Labels {
                run: "attest".to_owned(),
                task: word.to_owned(),
                repository: self.repository.clone(),
                owner: self.owner.clone(),
            },
            home: Vec::new(),
            given: Vec::new(),
            image: self.image.clone(),
        };
        let slot = Slot::at(self.slots.join(word));
        let user = launcher.user();
        if place == Place::Decoy {
            self.fill(&slot, &occupant.rights, user)?;
        }
        // Decisions belong to no run, so there is no journal for them.
        let sandbox = launcher
            .launch(&occupant, &slot, user, Arc::new(|_| {}))
            .await?;
        if place == Place::Decoy {
            let script = git::private_repository_script();
            sandbox.make_repository(&script).await?;
        }
        Ok(Standing {
            sandbox,
            sink,
            authority,
            turn: Mutex::new(()),
        })
    }
}

impl Standing {
    async fn run(&self, probe: &Probe, mut env: Vec<(String, String)>) -> Result<Output, String> {
        let _turn = self.turn.lock().await;
        let seen = || self.sink.hits() + self.authority.hits();
        let before = seen();
        env.push(("SINK_PORT".to_owned(), self.sink.port().to_string()));
        let (stdout, stderr) = finish(start(&self.sandbox, probe.program, &env).await?).await?;
        Ok(Output {
            stdout,
            stderr,
            hits: seen() - before,
        })
    }
}

pub(super) async fn start(
    sandbox: &Sandbox,
    program: &str,
    env: &[(String, String)],
) -> Result<Process, String> {
    let argv = ["python3", "-c", program].map(str::to_owned);
    let started = sandbox.exec(&argv, env, &Grant::default()).await;
    started.map_err(|fault| {
        format!(
            "the probe could not run; does the image hold python3? {}",
            explained(&fault)
        )
    })
}

/// Starts a neighbour and returns what it says of itself. It ends when the value is dropped.
async fn meet(sandbox: &Sandbox, program: &str) -> Result<(Process, String), String> {
    let mut process = start(sandbox, program, &[]).await?;
    let mut line = String::new();
    let mut lines = BufReader::new((&mut process.stdout).take(4096));
    let read = tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await;
    match read {
        Ok(Ok(1..)) => Ok((process, line.trim().to_owned())),
        _ => Err("the neighbour said nothing".to_owned()),
    }
}

/// Reads a program to its end.
async fn finish(process: Process) -> Result<(String, String), String> {
    let (streams, ended) = process.split();
    drop(streams.stdin);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (mut out, mut err) = (streams.stdout.take(OUTPUT), streams.stderr.take(OUTPUT));
    let all = async {
        let both = tokio::try_join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
        both.map_err(|fault| fault.to_string())?;
        ended.wait().await.map_err(|fault| explained(&fault))
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Ok(done) => done?,
        Err(_) => {
            return Err(format!(
                "the probe took longer than {} s",
                PATIENCE.as_secs()
            ));
        }
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&stdout), text(&stderr)))
}

/// The role's rights, and to run what probes are made of.
fn armed_with(rights: &Rights, tools: &BTreeSet<&str>) -> Rights {
    let mut rights = rights.clone();
    // An attack asks a hundred times; how fast it may is not what is attested.
    rights.rates.api_calls_per_minute = None;
    rights.rates.network_bytes_per_minute = None;
    for tool in tools.iter().chain(&["python3"]) {
        let tool = Program::Image((*tool).to_owned());
        if !rights.programs.contains(&tool) {
            rights.programs.push(tool);
        }
    }
    rights
}

/// The egress of the armed sandbox, written as a policy so that it is what a user could write.
fn armed(port: u16) -> Egress {
    let text = format!(
        "version: 1\nagents: {{ attest: {{ description: \"Attacks.\" }} }}\n\
         hosts: {{ allowed.test: \"127.0.0.1:{port}\" }}\n\
         network_policies:\n  attest:\n    egress:\n\
         \x20     - {{ host: allowed.test, port: {port}, protocol: http }}\n\
         \x20     - \"*.wild.test:443\"\n"
    );
    let source = Source {
        layer: Layer::User,
        file: "attest".into(),
        text,
    };
    let role = "attest".parse().expect("the role's name is a word");
    let policy = Policy::check(&[source]).expect("the policy of the armed sandbox is valid");
    policy
        .rights(&role)
        .expect("the policy has the role")
        .egress
}

#[cfg(test)]
mod tests {
    use super::armed;

    #[test]
    fn the_armed_policy_names_one_host_one_wildcard_and_one_pin() {
        let egress = armed(4711);
        assert_eq!(egress.rules.len(), 2);
        assert_eq!(egress.hosts[0].to, "127.0.0.1:4711".parse().unwrap());
    }
}
