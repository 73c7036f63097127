//! Where an engine may be, in order. Pure: what the machine holds comes in as [`Facts`].

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::{Cgroup, EngineError};

/// Docker's default socket.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Podman's socket when root runs its service.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// What the user's environment says about engines. Only the command line reads variables.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `--engine` or `LOKI_ENGINE`: `docker`, `podman` or `unix:///path`.
    pub engine: Option<String>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `CONTAINER_HOST`.
    pub container_host: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// The user's id.
    pub uid: u32,
    /// `PATH`, where programs are looked up.
    pub path: OsString,
    /// Where this user's Podman keeps images and containers, unless its settings say otherwise.
    pub podman_store: Option<PathBuf>,
    /// This user's settings of Podman's storage.
    pub podman_storage_conf: Option<PathBuf>,
    /// Where to keep what engines say of themselves; without it each is asked each time.
    pub cache: Option<PathBuf>,
}

/// What the machine holds, as far as the order depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The podman program.
    pub(super) podman: Option<PathBuf>,
    /// The runc program.
    pub(super) runc: Option<PathBuf>,
    /// The host's cgroups.
    pub(super) cgroup: Cgroup,
}

impl Facts {
    pub(super) fn of(environment: &Environment) -> Self {
        Self {
            podman: program("podman", environment),
            runc: program("runc", environment),
            cgroup: Cgroup::of_host(),
        }
    }
}

/// Finds a program in `PATH` and where administrators' programs stand, which users' `PATH` lacks.
fn program(name: &str, environment: &Environment) -> Option<PathBuf> {
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&environment.path)
        .filter(|folder| folder.is_absolute())
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A place to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidate {
    /// A socket, and why it is looked at.
    Socket { path: PathBuf, why: &'static str },
    /// A Podman service of Loki's own.
    Private {
        podman: PathBuf,
        runtime: Option<&'static str>,
    },
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { path, why } => write!(f, "`{}` ({why})", path.display()),
            Self::Private { podman, .. } => write!(f, "a service of `{}`", podman.display()),
        }
    }
}

/// Returns the places to try, in order.
///
/// A socket that the user named stands alone: another engine than the one named would surprise.
pub(super) fn plan(
    environment: &Environment,
    facts: &Facts,
) -> Result<Vec<Candidate>, EngineError> {
    let docker_host = given(environment.docker_host.as_deref());
    let container_host = given(environment.container_host.as_deref());
    match (
        given(environment.engine.as_deref()),
        docker_host,
        container_host,
    ) {
        (Some("docker"), Some(host), _) | (None, Some(host), _) => {
            Ok(vec![named(host, "DOCKER_HOST")?])
        }
        (Some("podman"), _, Some(host)) | (None, None, Some(host)) => {
            Ok(vec![named(host, "CONTAINER_HOST")?])
        }
        (Some("docker"), ..) => Ok(docker()),
        (Some("podman"), ..) => podman(environment, facts),
        (Some(endpoint), ..) => Ok(vec![named(endpoint, "--engine")?]),
        (None, None, None) => {
            let mut all = docker();
            match podman(environment, facts) {
                Ok(more) => all.extend(more),
                // Docker may still answer; without it this is what to say.
                Err(fault) if !Path::new(DOCKER_SOCKET).exists() => return Err(fault),
                Err(_) => {}
            }
            Ok(all)
        }
    }
}

fn given(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

fn named(endpoint: &str, why: &'static str) -> Result<Candidate, EngineError> {
    let unsupported = |advice: &str| EngineError::Unsupported {
        what: format!("`{}` from {why} cannot be used", endpoint.escape_debug()),
        advice: advice.to_owned(),
    };
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') {
        return Ok(Candidate::Socket {
            path: path.into(),
            why,
        });
    }
    if endpoint.contains("://") {
        return Err(unsupported(
            "an engine on another machine is not supported yet, for bind mounts and passed descriptors need one kernel; run Loki there, or give `unix:///path/to/socket` of an engine here",
        ));
    }
    Err(unsupported(
        "give `docker`, `podman` or `unix:///path/to/socket`",
    ))
}

fn docker() -> Vec<Candidate> {
    vec![Candidate::Socket {
        path: DOCKER_SOCKET.into(),
        why: "Docker's default socket",
    }]
}

/// Returns every socket that an engine of this machine may listen on, whatever the user named.
pub(super) fn everywhere(environment: &Environment) -> Vec<Candidate> {
    let mut all = docker();
    if let Some(folder) = &environment.xdg_runtime_dir {
        all.push(Candidate::Socket {
            path: folder.join("docker.sock"),
            why: "Docker's rootless socket",
        });
    }
    all.extend(podman_sockets(environment));
    all
}

fn podman(environment: &Environment, facts: &Facts) -> Result<Vec<Candidate>, EngineError> {
    let mut all = podman_sockets(environment);
    if facts.podman.is_some() {
        all.push(private(facts)?);
    }
    Ok(all)
}

fn podman_sockets(environment: &Environment) -> Vec<Candidate> {
    let mut all = Vec::new();
    if let Some(folder) = &environment.xdg_runtime_dir {
        all.push(Candidate::Socket {
            path: folder.join("podman/podman.sock"),
            why: "Podman's rootless socket",
        });
    }
    all.push(Candidate::Socket {
        path: PODMAN_SOCKET.into(),
        why: "Podman's rootful socket",
    });
    all
}

/// Returns the place that Loki makes itself.
pub(super) fn private(facts: &Facts) -> Result<Candidate, EngineError> {
    let Some(podman) = facts.podman.clone() else {
        let tried = vec!["no `podman` program".to_owned()];
        return Err(EngineError::NotFound { tried });
    };
    let runtime = runtime(facts)?;
    Ok(Candidate::Private { podman, runtime })
}

/// Podman's default, crun, cannot run on cgroup v1 and hybrid hosts.
fn runtime(facts: &Facts) -> Result<Option<&'static str>, EngineError> {
    match (facts.cgroup, &facts.runc) {
        (Cgroup::V2 | Cgroup::None, _) => Ok(None),
        (Cgroup::V1 | Cgroup::Hybrid, Some(_)) => Ok(Some("runc")),
        (cgroup @ (Cgroup::V1 | Cgroup::Hybrid), None) => Err(needs_runc(cgroup)),
    }
}

/// What to say where Podman would use crun on a host where it cannot run.
pub(super) fn needs_runc(cgroup: Cgroup) -> EngineError {
    EngineError::Unsupported {
        what: format!("podman would use crun, which does not run on this host's {cgroup} cgroups"),
        advice: "run `apt-get install runc`, then try again".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Environment, Facts, plan};
    use crate::engine::{Cgroup, EngineError};

    fn facts() -> Facts {
        Facts {
            podman: Some("/usr/bin/podman".into()),
            runc: Some("/usr/sbin/runc".into()),
            cgroup: Cgroup::Hybrid,
        }
    }

    fn environment(engine: &str, docker_host: &str, container_host: &str) -> Environment {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Environment {
            engine: some(engine),
            docker_host: some(docker_host),
            container_host: some(container_host),
            xdg_runtime_dir: Some("/run/user/7".into()),
            ..Environment::default()
        }
    }

    fn places(engine: &str, docker_host: &str, container_host: &str) -> Vec<String> {
        let found = plan(&environment(engine, docker_host, container_host), &facts()).unwrap();
        let place = |candidate: &Candidate| match candidate {
            Candidate::Socket { path, .. } => path.display().to_string(),
            Candidate::Private { runtime, .. } => format!("private {}", runtime.unwrap_or("-")),
        };
        found.iter().map(place).collect()
    }

    const DOCKER: &str = "/var/run/docker.sock";
    const PODMAN: [&str; 3] = [
        "/run/user/7/podman/podman.sock",
        "/run/podman/podman.sock",
        "private runc",
    ];

    #[test]
    fn nothing_named_tries_docker_then_podman_then_a_service_of_our_own() {
        assert_eq!(places("", "", ""), [&[DOCKER][..], &PODMAN].concat());
    }

    #[test]
    fn what_the_user_named_is_the_only_place() {
        assert_eq!(places("unix:///a", "unix:///b", "unix:///c"), ["/a"]);
        assert_eq!(places("", "unix:///b", "unix:///c"), ["/b"]);
        assert_eq!(places("", "", "unix:///c"), ["/c"]);
        assert_eq!(places("/a", "", ""), ["/a"]);
    }

    #[test]
    fn a_named_engine_reads_only_its_own_variable() {
        assert_eq!(places("docker", "unix:///b", "unix:///c"), ["/b"]);
        assert_eq!(places("podman", "unix:///b", "unix:///c"), ["/c"]);
        assert_eq!(places("docker", "", "unix:///c"), [DOCKER]);
        assert_eq!(places("podman", "unix:///b", ""), PODMAN);
    }

    #[test]
    fn remote_and_unknown_engines_are_refused() {
        for (engine, docker_host) in [("tcp://h:1", ""), ("", "ssh://h"), ("lxc", ""), ("", "h:1")]
        {
            let fault = plan(&environment(engine, docker_host, ""), &facts()).unwrap_err();
            assert!(
                matches!(fault, EngineError::Unsupported { .. }),
                "{engine}{docker_host}"
            );
            assert!(
                fault.to_string().contains("unix:///path/to/socket"),
                "{fault}"
            );
        }
    }

    #[test]
    fn crun_alone_on_old_cgroups_names_the_package_to_install() {
        let bare = Facts {
            runc: None,
            ..facts()
        };
        let fault = plan(&environment("podman", "", ""), &bare).unwrap_err();
        assert!(
            fault.to_string().contains("apt-get install runc"),
            "{fault}"
        );
        let new = Facts {
            cgroup: Cgroup::V2,
            ..bare
        };
        assert_eq!(plan(&environment("podman", "", ""), &new).unwrap().len(), 3);
    }
}
