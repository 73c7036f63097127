//! What is refused before any engine is asked: an engine that cannot hold a sandbox, and a
//! container that would not be one.

use super::{Cgroup, ContainerSpec, EngineError, EngineReport, discovery};

/// The oldest API that has everything needed: Docker 20.10, Podman 4.
const OLDEST_API: (u32, u32) = (1, 41);

/// A mode that an engine cannot hold a sandbox in.
struct Unfit {
    applies: fn(&EngineReport) -> bool,
    what: &'static str,
    advice: &'static str,
}

const UNFIT: [Unfit; 3] = [
    Unfit {
        applies: |report| report.rootless && !report.is_podman(),
        what: "rootless Docker cannot keep a user's id inside a container, so an agent could not write its own worktree",
        advice: "use rootless Podman: `apt-get install podman runc uidmap`, then `--engine podman`",
    },
    Unfit {
        applies: |report| report.remapped,
        what: "this Docker maps every container's users to others (`userns-remap`), so an agent could not write its own worktree",
        advice: "remove `userns-remap` from /etc/docker/daemon.json and restart Docker, or use Podman: `--engine podman`",
    },
    Unfit {
        applies: |report| report.seccomp == "none",
        what: "the engine was built without seccomp",
        advice: "install an engine with it, or name another one with `--engine`",
    },
];

/// Runtimes with a kernel of their own between the sandbox and the host's.
const STRONGER: [&str; 4] = ["runsc", "kata", "krun", "firecracker"];

/// Refuses an engine that cannot hold a sandbox.
pub(super) fn usable(report: &EngineReport) -> Result<(), EngineError> {
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
    if let Some((what, advice)) = UNFIT
        .iter()
        .find(|unfit| (unfit.applies)(report))
        .map(|unfit| (unfit.what, unfit.advice))
    {
        return Err(EngineError::Unsupported {
            what: what.to_owned(),
            advice: advice.to_owned(),
        });
    }
    if let Some(runtime) = STRONGER.iter().find(|name| report.runtime.contains(**name)) {
        return Err(EngineError::Unsupported {
            what: format!(
                "{}'s default runtime is `{}`: {runtime} has a kernel of its own, out of which no descriptor of a sandbox's link can travel",
                report.name, report.runtime
            ),
            advice: "make `runc` the default runtime, or name another engine with `--engine`"
                .to_owned(),
        });
    }
    let old = matches!(report.cgroup, Cgroup::V1 | Cgroup::Hybrid);
    if old && report.runtime == "crun" {
        return Err(discovery::needs_runc(report.cgroup));
    }
    Ok(())
}

/// Refuses a container that is no sandbox.
pub(super) fn acceptable(spec: &ContainerSpec, report: &EngineReport) -> Result<(), EngineError> {
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
    if !spec.image.starts_with("sha256:") {
        let what = format!(
            "the image `{}` is named, and a name may be given to another one",
            spec.image.escape_debug()
        );
        return refuse(&what, "give its id, `sha256:…`");
    }
    if spec.keep_id && !(report.rootless && report.is_podman()) {
        return refuse("only rootless Podman keeps ids", "ask without `keep_id`");
    }
    if spec.memory == 0 || spec.pids == 0 || spec.cpus.is_nan() || spec.cpus <= 0.0 {
        return refuse(
            "a sandbox has limits",
            "give memory, processes and processors above 0",
        );
    }
    for mount in &spec.mounts {
        // Podman would make what is missing, as root, on the host.
        if !mount.source.is_absolute() || !mount.source.exists() {
            let what = format!("there is no `{}` to mount", mount.source.display());
            return refuse(&what, "give the absolute path of what exists");
        }
    }
    Ok(())
}

/// Explains what rootless Podman leaves without a word: it keeps no ids while a pause process of an
/// earlier start, or of other id ranges, is still there.
pub(super) fn explained(fault: EngineError, spec: &ContainerSpec) -> EngineError {
    match fault {
        EngineError::Api { message, .. } if spec.keep_id && message.trim().is_empty() => {
            EngineError::Unsupported {
                what: "rootless Podman did not create a container that keeps your user's id, and said no reason"
                    .to_owned(),
                advice: "run `podman system migrate`, which ends a pause process left from before (and your running containers with it), then try again"
                    .to_owned(),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{acceptable, explained, usable};
    use crate::engine::{
        Cgroup, ContainerSpec, EngineError, EngineReport, Mount, recorded, socket::Peer,
    };

    #[test]
    fn a_refusal_to_keep_ids_without_a_reason_says_what_mends_it() {
        let refused = |message: &str| EngineError::Api {
            call: "create the container `x`".to_owned(),
            status: Some(500),
            message: message.to_owned(),
        };
        let keeping = ContainerSpec {
            keep_id: true,
            ..spec()
        };
        let said = |message, spec| explained(refused(message), spec).to_string();
        assert!(said(" \n", &keeping).contains("`podman system migrate`"));
        assert!(said("no space left", &keeping).contains("no space left"));
        assert!(!said("", &spec()).contains("migrate"));
    }

    fn report() -> EngineReport {
        EngineReport {
            cgroup: Cgroup::V2,
            runtime: "crun".to_owned(),
            ..recorded::report("podman-4.3-rootful", Peer::Root)
        }
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            image: "sha256:0".to_owned(),
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
    fn modes_that_cannot_hold_a_sandbox_name_what_can() {
        for (name, peer, next) in [
            ("docker-20.10-rootless", Peer::User, "`--engine podman`"),
            ("docker-20.10-remapped", Peer::Root, "`--engine podman`"),
        ] {
            let fault = usable(&recorded::report(name, peer)).unwrap_err();
            assert!(fault.to_string().contains(next), "{name}: {fault}");
        }
        for (name, peer) in [
            ("docker-20.10-rootful", Peer::Root),
            ("podman-4.3-rootful", Peer::Root),
            ("podman-4.3-rootless", Peer::User),
        ] {
            assert!(usable(&recorded::report(name, peer)).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_runtime_with_a_kernel_of_its_own_is_refused() {
        for runtime in ["runsc", "kata-runtime", "io.containerd.kata.v2", "krun"] {
            let other = EngineReport {
                runtime: runtime.to_owned(),
                ..report()
            };
            let fault = usable(&other).unwrap_err().to_string();
            assert!(
                fault.contains(runtime) && fault.contains("`runc`"),
                "{fault}"
            );
        }
        let bare = EngineReport {
            seccomp: "none".to_owned(),
            ..report()
        };
        assert!(usable(&bare).unwrap_err().to_string().contains("seccomp"));
    }

    #[test]
    fn root_and_missing_limits_are_refused_before_the_engine_is_asked() {
        assert!(acceptable(&spec(), &report()).is_ok());
        let mount = |source: &str| Mount {
            source: source.into(),
            target: "/in".to_owned(),
            read_only: true,
        };
        let bad = [
            ContainerSpec {
                image: "loki/base:latest".to_owned(),
                ..spec()
            },
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
            ContainerSpec {
                mounts: vec![mount("/dev/null/gone")],
                ..spec()
            },
            ContainerSpec {
                mounts: vec![mount(".")],
                ..spec()
            },
        ];
        for spec in bad {
            assert!(acceptable(&spec, &report()).is_err(), "{spec:?}");
        }
    }
}
