//! The one implementation of [`Engine`]: bollard over a unix socket of Docker or Podman.

use std::{collections::HashMap, path::PathBuf};

use bollard::{
    Docker,
    query_parameters::{
        BuildImageOptions, CreateContainerOptions, CreateImageOptions, InspectContainerOptions,
        KillContainerOptions, ListContainersOptions, ListImagesOptions, RemoveContainerOptions,
        RemoveImageOptions, StartContainerOptions,
    },
};
use futures_util::FutureExt;

use super::{
    Answer, ContainerId, ContainerSpec, ContainerState, Context, Engine, EngineError, EngineReport,
    Environment, Image, Import, Listed, Opened, OpenedContainer, Progress, Said, admission,
    body::{self, Dialect},
    call::{
        ASK, CHANGE, REGISTRY_SILENCE, SETTLE, SILENCE, absent, carries, file_stream, follow,
        gone_is_fine, is_podman_word, is_settling, split_tag, with_algorithm, within,
    },
    discovery::Candidate,
    facts,
    kept::Shelf,
    raw,
    service::{PrivateService, most_processes},
    socket::{open, peer},
    turns::Turns,
};

/// A connected engine.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) docker: Docker,
    pub(super) socket: PathBuf,
    pub(super) report: EngineReport,
    pub(super) dialect: Dialect,
    turns: Turns,
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
        let (peer, server) = peer(&socket, candidate)?;
        let shelf = environment.cache.as_deref().zip(server);
        let shelf = shelf.map(|(cache, server)| Shelf::of(cache, &socket, server));
        let docker = open(&socket)?;
        let report = EngineReport {
            endpoint: format!("unix://{}", socket.display()),
            ..facts::ask(&docker, &socket, peer, shelf.as_ref()).await?
        };
        admission::usable(&report)?;
        let dialect = Dialect::of(&report, most_processes());
        Ok(Self {
            docker,
            socket,
            report,
            dialect,
            turns: Turns::of_machine(),
            _service: service,
        })
    }

    async fn known_image(&self, reference: &str) -> Result<Image, EngineError> {
        let found = self.image(reference).await?;
        found.ok_or_else(|| EngineError::Absent {
            kind: "image",
            name: reference.to_owned(),
        })
    }

    async fn remove_once(&self, id: &ContainerId) -> Result<(), EngineError> {
        let call = format!("remove the container `{id}`");
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let _turn = self.turns.next().await;
        let remove = self.docker.remove_container(id.as_str(), Some(options));
        gone_is_fine(within(&call, CHANGE, remove).await)
    }

    async fn create_checked(&self, spec: &ContainerSpec) -> Result<ContainerId, EngineError> {
        admission::acceptable(spec, &self.report)?;
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()),
            ..CreateContainerOptions::default()
        };
        let body = body::create_body(spec, &self.dialect);
        let call = format!("create the container `{}`", spec.name);
        let _turn = self.turns.next().await;
        let created = within(
            &call,
            CHANGE,
            self.docker.create_container(Some(options), body),
        )
        .await;
        let created = created.map_err(|fault| admission::explained(fault, spec));
        Ok(ContainerId(absent(created, "image", &spec.image)?.id))
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
                progress(&step.status.unwrap_or_default());
            })
            .await?;
            self.known_image(import.reference).await
        }
        .boxed()
    }

    fn build<'a>(
        &'a self,
        reference: &'a str,
        context: Context<'a>,
        progress: Progress<'a>,
    ) -> Answer<'a, Image> {
        async move {
            let (body, networkmode) = match context {
                Context::Whole(tar) => (bollard::body_full(tar.into()), None),
                Context::Layer(tar) => (
                    bollard::body_try_stream(file_stream(tar).await?),
                    Some("none".to_owned()),
                ),
            };
            let options = BuildImageOptions {
                networkmode,
                dockerfile: "Containerfile".to_owned(),
                t: Some(reference.to_owned()),
                rm: true,
                forcerm: true,
                ..BuildImageOptions::default()
            };
            let call = format!("build the image `{reference}`");
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
                progress(&step.status.unwrap_or_default());
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

    fn confirm<'a>(
        &'a self,
        id: &'a ContainerId,
        spec: &'a ContainerSpec,
    ) -> Answer<'a, ContainerState> {
        self.confirmed(id, spec).boxed()
    }

    fn start<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let call = format!("start the container `{id}`");
            let _turn = self.turns.next().await;
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
            let mut found = within(&call, ASK, inspect).await;
            if found.as_ref().is_err_and(is_podman_word) {
                found =
                    raw::get(&self.socket, &format!("/v1.41/containers/{id}/json"), &call).await;
            }
            Ok(body::state(
                absent(found, "container", id.as_str())?,
                &self.dialect,
            ))
        }
        .boxed()
    }

    fn kill<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let call = format!("kill the container `{id}`");
            let options = KillContainerOptions {
                signal: "KILL".to_owned(),
            };
            let kill = self.docker.kill_container(id.as_str(), Some(options));
            let done = absent(within(&call, CHANGE, kill).await, "container", id.as_str());
            match done {
                // Docker and Podman have different words for one that has ended or never ran.
                Err(EngineError::Api { .. }) if !self.inspect(id).await?.running => Ok(()),
                other => other,
            }
        }
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        self.freeze(id).boxed()
    }

    fn resume<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        self.thaw(id).boxed()
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> Answer<'a, ()> {
        async move {
            let (pause, times) = SETTLE;
            for _ in 1..times {
                match self.remove_once(id).await {
                    Err(fault) if is_settling(&fault) => tokio::time::sleep(pause).await,
                    done => return done,
                }
            }
            self.remove_once(id).await
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
            let list = self.docker.list_containers(Some(options));
            let mut found = within("list containers", ASK, list).await;
            if found.as_ref().is_err_and(is_podman_word) {
                let all = "/v1.41/containers/json?all=true";
                found = raw::get(&self.socket, all, "list containers").await;
            }
            let mut listed: Vec<_> = found?.into_iter().map(body::listed).collect();
            listed.retain(|each| carries(&each.labels, label));
            Ok(listed)
        }
        .boxed()
    }

    fn open<'a>(&'a self, opened: &'a Opened) -> Answer<'a, OpenedContainer> {
        self.open_checked(opened).boxed()
    }

    fn run_opened<'a>(
        &'a self,
        container: &'a OpenedContainer,
        argv: &'a [String],
    ) -> Answer<'a, Said> {
        self.run_in(container, argv).boxed()
    }
}

fn by_label(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}
