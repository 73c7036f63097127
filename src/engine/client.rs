//! The one implementation of [`Engine`]: bollard over a unix socket of Docker or Podman.

use std::{collections::HashMap, io, os::unix::net::UnixStream, path::Path, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as ApiError,
    query_parameters::{
        BuildImageOptions, CreateContainerOptions, CreateImageOptions, InspectContainerOptions,
        KillContainerOptions, ListContainersOptions, ListImagesOptions, RemoveContainerOptions,
        RemoveImageOptions, StartContainerOptions,
    },
};
use futures_util::{FutureExt, Stream, StreamExt};
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncReadExt;

use super::{
    Answer, Cgroup, ContainerId, ContainerSpec, ContainerState, Engine, EngineError, EngineReport,
    Environment, Image, Import, Listed, Progress,
    body::{self, Dialect},
    discovery::{self, Candidate},
    service::PrivateService,
};

/// How long a call may take that only asks.
const ASK: Duration = Duration::from_secs(20);
/// How long a call may take that changes a container.
const CHANGE: Duration = Duration::from_secs(60);
/// How often, and how long apart, a listing is asked for again while a container changes its state.
const LOOKS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a stream of progress may be silent: an import or build step says nothing while it works.
const SILENCE: Duration = Duration::from_secs(600);
/// How long a registry may be silent.
const REGISTRY_SILENCE: Duration = Duration::from_secs(10);
/// The oldest API that has everything needed: Docker 20.10, Podman 4.
const OLDEST_API: (u32, u32) = (1, 41);

/// A connected engine.
#[derive(Debug)]
pub(super) struct Client {
    docker: Docker,
    report: EngineReport,
    dialect: Dialect,
    /// Ends when the client does; declared last, so that connections close first.
    _service: Option<PrivateService>,
}

impl Client {
    /// Connects to a place, or explains why it cannot be used.
    pub(super) async fn connect(
        candidate: &Candidate,
        environment: &Environment,
    ) -> Result<Self, EngineError> {
        let (socket, service) = match candidate {
            Candidate::Socket { path, .. } => (path.clone(), None),
            Candidate::Private { podman, runtime } => {
                let service = PrivateService::start(podman, *runtime, environment).await?;
                (service.socket(), Some(service))
            }
        };
        let peer = peer(&socket, candidate)?;
        let report = EngineReport {
            endpoint: format!("unix://{}", socket.display()),
            ..Self::ask(&socket, peer).await?
        };
        usable(&report)?;
        let docker = open(&socket)?
            .negotiate_version()
            .await
            .map_err(|e| refusal("connect", e))?;
        let dialect = Dialect::of(&report, most_processes());
        Ok(Self {
            docker,
            report,
            dialect,
            _service: service,
        })
    }

    async fn ask(socket: &Path, peer: Peer) -> Result<EngineReport, EngineError> {
        let docker = within("connect", ASK, open(socket)?.negotiate_version()).await?;
        let version = within("tell its version", ASK, docker.version()).await?;
        let info = within("describe itself", ASK, docker.info()).await?;
        Ok(EngineReport::of(
            &version,
            &info,
            matches!(peer, Peer::User),
        ))
    }

    async fn known_image(&self, reference: &str) -> Result<Image, EngineError> {
        let found = self.image(reference).await?;
        found.ok_or_else(|| EngineError::Absent {
            kind: "image",
            name: reference.to_owned(),
        })
    }

    async fn create_checked(&self, spec: &ContainerSpec) -> Result<ContainerId, EngineError> {
        acceptable(spec, &self.report)?;
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()),
            ..CreateContainerOptions::default()
        };
        let body = body::create_body(spec, &self.dialect);
        let call = format!("create the container `{}`", spec.name);
        let created = within(
            &call,
            CHANGE,
            self.docker.create_container(Some(options), body),
        )
        .await;
        let id = ContainerId(absent(created, "image", &spec.image)?.id);
        let faults = match self.inspect(&id).await {
            Ok(found) => body::faults(spec, &found, &self.dialect),
            Err(fault) => {
                self.remove(&id).await?;
                return Err(fault);
            }
        };
        if faults.is_empty() {
            return Ok(id);
        }
        self.remove(&id).await?;
        Err(EngineError::Mismatch { faults })
    }
}

impl Engine for Client {
    fn report(&self) -> &EngineReport {
        &self.report
    }

    fn image<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<Image>> {
        async move {
            let call = format!("look up the image `{reference}`");
            match within(&call, ASK, self.docker.inspect_image(reference)).await {
                Ok(found) => Ok(Some(Image {
                    id: found.id.map(with_algorithm).unwrap_or_default(),
                    reference: reference.to_owned(),
                    size: u64::try_from(found.size.unwrap_or(0)).unwrap_or(0),
                })),
                Err(EngineError::Api {
                    status: Some(404), ..
                }) => Ok(None),
                Err(fault) => Err(fault),
            }
        }
        .boxed()
    }

    fn import<'a>(&'a self, import: Import<'a>, progress: Progress<'a>) -> Answer<'a, Image> {
        async move {
            let options = CreateImageOptions {
                from_src: Some("-".to_owned()),
                // With the tag in it: Podman does not read the parameter for tags.
                repo: Some(import.reference.to_owned()),
                changes: vec![format!("LABEL {}={}", import.label.0, import.label.1)],
                ..CreateImageOptions::default()
            };
            let call = format!("import the image `{}`", import.reference);
            let tar = file_stream(import.tar).await?;
            let stream =
                self.docker
                    .create_image(Some(options), Some(bollard::body_try_stream(tar)), None);
            follow(&call, SILENCE, stream, |step| {
                progress(&step.status.unwrap_or_default())
            })
            .await?;
            self.known_image(import.reference).await
        }
        .boxed()
    }

    fn build<'a>(
        &'a self,
        reference: &'a str,
        context: Vec<u8>,
        progress: Progress<'a>,
    ) -> Answer<'a, Image> {
        async move {
            let options = BuildImageOptions {
                dockerfile: "Containerfile".to_owned(),
                t: Some(reference.to_owned()),
                rm: true,
                forcerm: true,
                ..BuildImageOptions::default()
            };
            let call = format!("build the image `{reference}`");
            let body = bollard::body_full(context.into());
            let stream = self.docker.build_image(options, None, Some(body));
            follow(&call, SILENCE, stream, |step| {
                step.stream
                    .as_deref()
                    .unwrap_or_default()
                    .lines()
                    .for_each(progress);
            })
            .await?;
            self.known_image(reference).await
        }
        .boxed()
    }

    fn pull<'a>(&'a self, reference: &'a str, progress: Progress<'a>) -> Answer<'a, Image> {
        async move {
            let (name, tag) = split_tag(reference);
            let options = CreateImageOptions {
                from_image: Some(name.to_owned()),
                tag: Some(tag.to_owned()),
                ..CreateImageOptions::default()
            };
            let call = format!("pull the image `{reference}`");
            let stream = self.docker.create_image(Some(options), None, None);
            follow(&call, REGISTRY_SILENCE, stream, |step| {
                progress(&step.status.unwrap_or_default())
            })
            .await?;
            self.known_image(reference).await
        }
        .boxed()
    }

    fn images<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Image>> {
        async move {
            let options = ListImagesOptions {
                filters: Some(by_label(label)),
                ..ListImagesOptions::default()
            };
            let found = within("list images", ASK, self.docker.list_images(Some(options))).await?;
            let image = |summary: bollard::models::ImageSummary| Image {
                id: with_algorithm(summary.id),
                reference: summary.repo_tags.into_iter().next().unwrap_or_default(),
                size: u64::try_from(summary.size).unwrap_or(0),
            };
            Ok(found.into_iter().map(image).collect())
        }
        .boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        async move {
            let options = RemoveImageOptions {
                force: true,
                ..RemoveImageOptions::default()
            };
            let call = format!("remove the image `{reference}`");
            let done = within(
                &call,
                CHANGE,
                self.docker.remove_image(reference, Some(options), None),
            )
            .await;
            gone_is_fine(done.map(drop))
        }
        .boxed()
    }

    fn create<'a>(&'a self, spec: &'a ContainerSpec) -> Answer<'a, ContainerId> {
        self.create_checked(spec).boxed()
    }

    fn start<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let call = format!("start the container `{id}`");
            let start = self
                .docker
                .start_container(id.as_str(), None::<StartContainerOptions>);
            absent(within(&call, CHANGE, start).await, "container", id.as_str())
        }
        .boxed()
    }

    fn inspect<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ContainerState> {
        async move {
            let call = format!("describe the container `{id}`");
            let inspect = self
                .docker
                .inspect_container(id.as_str(), None::<InspectContainerOptions>);
            let found = absent(within(&call, ASK, inspect).await, "container", id.as_str())?;
            Ok(body::state(found, &self.dialect))
        }
        .boxed()
    }

    fn kill<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let call = format!("kill the container `{id}`");
            let options = KillContainerOptions {
                signal: "KILL".to_owned(),
            };
            match within(
                &call,
                CHANGE,
                self.docker.kill_container(id.as_str(), Some(options)),
            )
            .await
            {
                // It has ended, or never ran.
                Err(EngineError::Api {
                    status: Some(409), ..
                }) => Ok(()),
                other => absent(other, "container", id.as_str()),
            }
        }
        .boxed()
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let call = format!("remove the container `{id}`");
            let options = RemoveContainerOptions {
                force: true,
                v: true,
                ..RemoveContainerOptions::default()
            };
            let done = within(
                &call,
                CHANGE,
                self.docker.remove_container(id.as_str(), Some(options)),
            )
            .await;
            gone_is_fine(done)
        }
        .boxed()
    }

    fn list<'a>(&'a self, label: &'a str) -> Answer<'a, Vec<Listed>> {
        async move {
            let options = ListContainersOptions {
                all: true,
                filters: Some(by_label(label)),
                ..ListContainersOptions::default()
            };
            let mut looks = 0;
            loop {
                let list = self.docker.list_containers(Some(options.clone()));
                match within("list containers", ASK, list).await {
                    Ok(found) => return Ok(found.into_iter().map(listed).collect()),
                    Err(fault) if looks < LOOKS && is_between_states(&fault) => looks += 1,
                    Err(fault) => return Err(fault),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        .boxed()
    }
}

/// Who serves a socket.
#[derive(Debug, Clone, Copy)]
enum Peer {
    Root,
    User,
}

/// Connects once by hand: the library hides why a socket refuses.
fn peer(socket: &Path, candidate: &Candidate) -> Result<Peer, EngineError> {
    let stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(fault) if fault.kind() == io::ErrorKind::PermissionDenied => {
            return Err(EngineError::NoPermission {
                socket: socket.to_owned(),
            });
        }
        Err(fault) => {
            return Err(EngineError::NotFound {
                tried: vec![format!("{candidate}: {fault}")],
            });
        }
    };
    let owner = rustix::net::sockopt::socket_peercred(&stream);
    let root = owner.is_ok_and(|owner| owner.uid.is_root());
    Ok(if root { Peer::Root } else { Peer::User })
}

fn open(socket: &Path) -> Result<Docker, EngineError> {
    let path = socket.to_string_lossy();
    // The library's limit is for the whole call; ours, per call, are shorter.
    Docker::connect_with_unix(&path, SILENCE.as_secs(), API_DEFAULT_VERSION)
        .map_err(|fault| refusal("connect", fault))
}

/// Refuses an engine that cannot hold a sandbox.
fn usable(report: &EngineReport) -> Result<(), EngineError> {
    let numbers = report.api_version.split_once('.');
    let spoken =
        numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    if spoken.is_none_or(|spoken: (u32, u32)| spoken < OLDEST_API) {
        return Err(EngineError::Unsupported {
            what: format!(
                "{} speaks API `{}`, older than 1.41",
                report.name, report.api_version
            ),
            advice: "install Docker 20.10 or Podman 4, or newer".to_owned(),
        });
    }
    if report.rootless && !report.is_podman() {
        return Err(EngineError::Unsupported {
            what: "rootless Docker cannot keep a user's id inside a container".to_owned(),
            advice: "use rootless Podman: `apt-get install podman`, then `--engine podman`"
                .to_owned(),
        });
    }
    let old = matches!(report.cgroup, Cgroup::V1 | Cgroup::Hybrid);
    if old && report.runtime == "crun" {
        return Err(discovery::needs_runc(report.cgroup));
    }
    Ok(())
}

fn acceptable(spec: &ContainerSpec, report: &EngineReport) -> Result<(), EngineError> {
    let refuse = |what: &str, advice: &str| {
        Err(EngineError::Unsupported {
            what: what.to_owned(),
            advice: advice.to_owned(),
        })
    };
    if spec.user.0 == 0 || spec.user.1 == 0 {
        return refuse(
            "a sandbox never runs as root",
            "give a user and a group id above 0",
        );
    }
    if spec.keep_id && !(report.rootless && report.is_podman()) {
        return refuse("only rootless Podman keeps ids", "ask without `keep_id`");
    }
    if spec.memory == 0 || spec.pids == 0 || !(spec.cpus > 0.0) {
        return refuse(
            "a sandbox has limits",
            "give memory, processes and processors above 0",
        );
    }
    Ok(())
}

/// The most processes a service of this machine can allow: Podman lowers its own limit to the
/// kernel's number of process ids, and no container may have more than its service.
fn most_processes() -> Option<u64> {
    let ids = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let ids = ids.and_then(|text| text.trim().parse().ok());
    [getrlimit(Resource::Nproc).maximum, ids]
        .into_iter()
        .flatten()
        .min()
}

async fn within<T>(
    call: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer.map_err(|fault| refusal(call, fault)),
        Err(_) => Err(EngineError::TimedOut {
            call: call.to_owned(),
            after: limit,
        }),
    }
}

/// Reads a stream of progress to its end.
async fn follow<T>(
    call: &str,
    silence: Duration,
    stream: impl Stream<Item = Result<T, ApiError>>,
    mut step: impl FnMut(T),
) -> Result<(), EngineError> {
    let mut stream = Box::pin(stream);
    loop {
        match tokio::time::timeout(silence, stream.next()).await {
            Ok(Some(next)) => step(next.map_err(|fault| refusal(call, fault))?),
            Ok(None) => return Ok(()),
            Err(_) => {
                return Err(EngineError::TimedOut {
                    call: call.to_owned(),
                    after: silence,
                });
            }
        }
    }
}

fn refusal(call: &str, fault: ApiError) -> EngineError {
    let call = call.to_owned();
    match fault {
        ApiError::DockerResponseServerError {
            status_code,
            message,
        } => EngineError::Api {
            call,
            status: Some(status_code),
            message,
        },
        ApiError::DockerStreamError { error } => EngineError::Api {
            call,
            status: None,
            message: error,
        },
        ApiError::RequestTimeoutError => EngineError::TimedOut {
            call,
            after: SILENCE,
        },
        other => EngineError::Api {
            call,
            status: None,
            message: other.to_string(),
        },
    }
}

fn absent<T>(
    answer: Result<T, EngineError>,
    kind: &'static str,
    name: &str,
) -> Result<T, EngineError> {
    answer.map_err(|fault| match fault {
        EngineError::Api {
            status: Some(404), ..
        } => EngineError::Absent {
            kind,
            name: name.to_owned(),
        },
        other => other,
    })
}

/// Podman calls a container `stopped` from the end of its processes until it has cleaned up after
/// it, and then `exited`. Docker's API has no such word, so the client cannot read the answer.
fn is_between_states(fault: &EngineError) -> bool {
    matches!(fault, EngineError::Api { status: None, message, .. } if message.contains("unknown variant `stopped`"))
}

fn gone_is_fine(done: Result<(), EngineError>) -> Result<(), EngineError> {
    match done {
        Err(EngineError::Api {
            status: Some(404), ..
        }) => Ok(()),
        other => other,
    }
}

fn by_label(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

fn listed(summary: bollard::models::ContainerSummary) -> Listed {
    let name = summary
        .names
        .unwrap_or_default()
        .into_iter()
        .next()
        .unwrap_or_default();
    Listed {
        id: ContainerId(summary.id.unwrap_or_default()),
        name: name.trim_start_matches('/').to_owned(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        state: summary
            .state
            .map(|state| state.to_string())
            .unwrap_or_default(),
    }
}

/// Podman leaves the algorithm out in some answers.
fn with_algorithm(id: String) -> String {
    if id.contains(':') {
        id
    } else {
        format!("sha256:{id}")
    }
}

/// Splits `name:tag`; a colon before a slash belongs to a port.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// Streams a file in pieces, so that an image never stands in memory whole.
async fn file_stream<B: From<Vec<u8>>>(
    path: &Path,
) -> Result<impl Stream<Item = io::Result<B>> + Send + 'static, EngineError> {
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|source| EngineError::Read {
            path: path.to_owned(),
            source,
        })?;
    Ok(futures_util::stream::try_unfold(
        file,
        |mut file| async move {
            let mut piece = vec![0; 1 << 18];
            let length = file.read(&mut piece).await?;
            piece.truncate(length);
            Ok((length > 0).then(|| (B::from(piece), file)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::{acceptable, most_processes, split_tag, usable, with_algorithm};
    use crate::engine::{Cgroup, ContainerSpec, EngineReport};

    fn report() -> EngineReport {
        EngineReport {
            name: "podman",
            version: "4.3.1".to_owned(),
            api_version: "1.41".to_owned(),
            rootless: false,
            cgroup: Cgroup::V2,
            runtime: "crun".to_owned(),
            runtime_version: String::new(),
            seccomp: "default".to_owned(),
            selinux: false,
            endpoint: String::new(),
            limits: true,
            tmpfs_inodes: false,
        }
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            user: (1, 1),
            memory: 1,
            pids: 1,
            cpus: 0.1,
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn an_engine_that_cannot_hold_a_sandbox_is_refused_with_what_to_do() {
        assert!(usable(&report()).is_ok());
        let old = EngineReport {
            api_version: "1.40".to_owned(),
            ..report()
        };
        assert!(
            usable(&old)
                .unwrap_err()
                .to_string()
                .contains("Docker 20.10")
        );
        let odd = EngineReport {
            api_version: "new".to_owned(),
            ..report()
        };
        assert!(usable(&odd).is_err());
        let docker = EngineReport {
            name: "docker",
            rootless: true,
            ..report()
        };
        assert!(
            usable(&docker)
                .unwrap_err()
                .to_string()
                .contains("--engine podman")
        );
        let hybrid = EngineReport {
            cgroup: Cgroup::Hybrid,
            ..report()
        };
        assert!(
            usable(&hybrid)
                .unwrap_err()
                .to_string()
                .contains("apt-get install runc")
        );
    }

    #[test]
    fn root_and_missing_limits_are_refused_before_the_engine_is_asked() {
        assert!(acceptable(&spec(), &report()).is_ok());
        let bad = [
            ContainerSpec {
                user: (0, 1),
                ..spec()
            },
            ContainerSpec {
                user: (1, 0),
                ..spec()
            },
            ContainerSpec {
                keep_id: true,
                ..spec()
            },
            ContainerSpec {
                memory: 0,
                ..spec()
            },
            ContainerSpec { pids: 0, ..spec() },
            ContainerSpec {
                cpus: f64::NAN,
                ..spec()
            },
        ];
        for spec in bad {
            assert!(acceptable(&spec, &report()).is_err(), "{spec:?}");
        }
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split_tag("debian:bookworm-slim"),
            ("debian", "bookworm-slim")
        );
        assert_eq!(
            split_tag("mirror:5000/debian"),
            ("mirror:5000/debian", "latest")
        );
        assert_eq!(with_algorithm("ab".to_owned()), "sha256:ab");
    }

    #[test]
    fn the_process_limit_is_one_that_this_machine_allows() {
        let ids: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(most_processes().unwrap() <= ids);
    }
}
