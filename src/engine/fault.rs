//! Why an engine cannot be used, or would not do what it was asked.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A fault of the engine, or of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No engine answers.
    #[error(
        "no container engine answers ({}): run `scripts/engines.sh install podman`, or install Docker or Podman with your package manager",
        tried.join("; ")
    )]
    NotFound {
        /// Every place that was looked at, each with what was found there.
        tried: Vec<String>,
    },
    /// A socket is there, but this user may not connect to it.
    #[error(
        "no permission to connect to `{}`: {}",
        socket.display(),
        way_in(socket)
    )]
    NoPermission {
        /// The socket that refused.
        socket: PathBuf,
    },
    /// The engine is there, but it cannot hold a sandbox.
    #[error("{what}: {advice}")]
    Unsupported {
        /// What it is or lacks.
        what: String,
        /// What to type or choose instead.
        advice: String,
    },
    /// The engine refused a call.
    #[error("the engine refused to {call}{}: {message}", status_words(*status))]
    Api {
        /// What it was asked to do.
        call: String,
        /// The HTTP status, where there was an answer.
        status: Option<u16>,
        /// What it said.
        message: String,
    },
    /// The engine did not answer in time.
    #[error("the engine did not {call} within {} s: see `loki doctor`", after.as_secs())]
    TimedOut {
        /// What it was asked to do.
        call: String,
        /// How long it was given.
        after: Duration,
    },
    /// A container or an image is not there.
    #[error("the engine has no {kind} `{name}`")]
    Absent {
        /// What kind of object.
        kind: &'static str,
        /// The name or id that was asked for.
        name: String,
    },
    /// The engine made a container that is not the one asked for; it was removed.
    #[error("the engine does not hold what the sandbox needs ({}): nothing was started", faults.join("; "))]
    Mismatch {
        /// Each property with the value asked for and the value read back.
        faults: Vec<String>,
    },
    /// Loki's own Podman service did not come up.
    #[error("the podman service that Loki started did not come up: {log}")]
    Service {
        /// The end of its log.
        log: String,
        /// What failed, where it was not the program itself.
        #[source]
        source: Option<std::io::Error>,
    },
    /// A file to be sent to the engine cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn status_words(status: Option<u16>) -> String {
    status.map_or_else(String::new, |status| format!(" (HTTP {status})"))
}

/// Docker's socket has a group of its own; Podman's is root's alone, and nobody else needs it.
fn way_in(socket: &Path) -> &'static str {
    if socket.ends_with("podman.sock") {
        return "it is root's Podman, and no group opens it; use your own, which needs no daemon: `--engine podman` without `CONTAINER_HOST`";
    }
    "join the group that owns the socket (`sudo usermod -aG docker $USER`, then log in again), or install Podman, which needs no group"
}

#[cfg(test)]
mod tests {
    use super::EngineError;

    #[test]
    fn who_may_not_connect_is_told_the_way_for_that_engine() {
        let said = |socket: &str| {
            let socket = socket.into();
            EngineError::NoPermission { socket }.to_string()
        };
        assert!(said("/var/run/docker.sock").contains("-aG docker"));
        let podman = said("/run/podman/podman.sock");
        assert!(
            podman.contains("--engine podman") && !podman.contains("docker"),
            "{podman}"
        );
    }
}
