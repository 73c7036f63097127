//! The only place that reads the process environment.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where the environment is read"
)]

use std::path::PathBuf;

/// What Loki takes from the environment.
#[derive(Debug, Clone)]
pub(super) struct Environment {
    /// `LOKI_ENGINE`.
    pub(super) engine: Option<String>,
    /// `DOCKER_HOST`.
    pub(super) docker_host: Option<String>,
    /// `CONTAINER_HOST`.
    pub(super) container_host: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub(super) runtime_dir: Option<PathBuf>,
    /// `PATH`.
    pub(super) path: String,
    /// `~/.config/loki`, or below `XDG_CONFIG_HOME`.
    pub(super) config: PathBuf,
    /// `~/.cache/loki`, or below `XDG_CACHE_HOME`.
    pub(super) cache: PathBuf,
}

impl Environment {
    /// Reads it.
    pub(super) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = PathBuf::from(text("HOME").unwrap_or_else(|| "/nonexistent".to_owned()));
        let under = |name: &str, usual: &str| {
            text(name)
                .map_or_else(|| home.join(usual), PathBuf::from)
                .join("loki")
        };
        Self {
            engine: text("LOKI_ENGINE"),
            docker_host: text("DOCKER_HOST"),
            container_host: text("CONTAINER_HOST"),
            runtime_dir: text("XDG_RUNTIME_DIR").map(PathBuf::from),
            path: text("PATH").unwrap_or_default(),
            config: under("XDG_CONFIG_HOME", ".config"),
            cache: under("XDG_CACHE_HOME", ".cache"),
        }
    }
}
