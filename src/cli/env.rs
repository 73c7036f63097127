//! The only place that reads the process environment.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where the environment is read"
)]

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::egress::ProxySettings;

use super::exit::{Exit, Fault};
use crate::redact::Values;

/// The variables that the command of a credential gets, where they are set: who and where the user
/// is, keyrings and agents of the session, and the way out of this host.
const COMMANDS: [&str; 24] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
    "GNUPGHOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// Variables that name a place. One that is relative begins where Loki was started, for a process
/// of Loki's that goes on elsewhere, too.
const PLACES: [&str; 10] = [
    "HOME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "GNUPGHOME",
    "SSL_CERT_FILE",
    "LOKI_AGE_IDENTITY",
];

/// Begins the name of a key, where a file should be named.
pub(super) const KEY: &str = "AGE-SECRET-KEY-";

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
    /// `TERM`, which says what kind of terminal a person has.
    pub(super) term: Option<String>,
    /// `~/.config/loki`, or below `XDG_CONFIG_HOME`; none without a home.
    pub(super) config: Option<PathBuf>,
    /// Where this user's Podman keeps images and containers.
    pub(super) podman_store: Option<PathBuf>,
    /// This user's settings of Podman's storage.
    pub(super) podman_storage_conf: Option<PathBuf>,
    /// `LOKI_AGE_IDENTITY`: the file that opens secrets.
    pub(super) age_identity: Option<String>,
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in small letters, which
    /// count first.
    pub(super) proxies: ProxySettings,
    /// What the commands of credentials get: see [`COMMANDS`].
    pub(super) commands: Vec<(OsString, OsString)>,
    /// `HOME`.
    pub(super) home: Option<PathBuf>,
    /// `VISUAL`, else `EDITOR`.
    pub(super) editor: Option<String>,
    /// `SSL_CERT_FILE`: the authorities that Loki's own calls believe, instead of the machine's.
    pub(super) certificates: Option<PathBuf>,
    /// `LOKI_MAX_RETRIES`: how often in a row a busy provider is waited for.
    pub(super) max_retries: Option<String>,
    /// `LOKI_BASE_WAIT`: the first wait, in seconds.
    pub(super) base_wait: Option<String>,
    /// `LOKI_MAX_WAIT`: the longest, in seconds.
    pub(super) max_wait: Option<String>,
    /// The secrets of this machine and project, once they were needed.
    pub(super) secrets: OnceLock<Arc<Values>>,
    /// `LOKI_KILL_AT_WRITE`, for tests: at which write of a journal this process dies.
    #[cfg(debug_assertions)]
    pub(super) kill_at_write: Option<String>,
    cache: Option<PathBuf>,
    data: Option<PathBuf>,
    state: Option<PathBuf>,
}

fn of_commands() -> Vec<(OsString, OsString)> {
    let set = |name: &str| Some((name.into(), value(name)?));
    COMMANDS.into_iter().filter_map(set).collect()
}

/// Returns every variable that names a place, for a process that does not begin here.
pub(super) fn places() -> impl Iterator<Item = (&'static str, OsString)> {
    let set = |name: &'static str| Some((name, value(name)?));
    PLACES.into_iter().filter_map(set)
}

fn value(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    Some(match PLACES.contains(&name) {
        true => from_here(value),
        false => value,
    })
}

fn from_here(place: OsString) -> OsString {
    let is_key = |place: &OsStr| place.to_string_lossy().starts_with(KEY);
    match std::path::absolute(&place) {
        Ok(absolute) if !is_key(&place) => absolute.into_os_string(),
        // A key is refused later, and what is empty names nothing.
        _ => place,
    }
}

impl Environment {
    /// Reads it.
    pub(super) fn read() -> Self {
        let text = |name: &str| {
            let text = value(name)?.into_string().ok();
            text.filter(|value| !value.is_empty())
        };
        let below = |name: &str, usual: &str, inside: &str| {
            let place = text(name).map(PathBuf::from);
            let place = place.or_else(|| text("HOME").map(|home| Path::new(&home).join(usual)));
            place.map(|place| place.join(inside))
        };
        let either = |name: &str| text(&name.to_ascii_lowercase()).or_else(|| text(name));
        let under = |name: &str, usual: &str| below(name, usual, "loki");
        Self {
            engine: text("LOKI_ENGINE"),
            docker_host: text("DOCKER_HOST"),
            container_host: text("CONTAINER_HOST"),
            runtime_dir: text("XDG_RUNTIME_DIR").map(PathBuf::from),
            path: text("PATH").unwrap_or_default(),
            term: text("TERM"),
            config: under("XDG_CONFIG_HOME", ".config"),
            podman_store: below("XDG_DATA_HOME", ".local/share", "containers/storage"),
            podman_storage_conf: below("XDG_CONFIG_HOME", ".config", "containers/storage.conf"),
            age_identity: text("LOKI_AGE_IDENTITY"),
            proxies: ProxySettings {
                https: either("HTTPS_PROXY"),
                http: either("HTTP_PROXY"),
                all: either("ALL_PROXY"),
                no: either("NO_PROXY"),
            },
            commands: of_commands(),
            home: text("HOME").map(PathBuf::from),
            editor: text("VISUAL").or_else(|| text("EDITOR")),
            certificates: text("SSL_CERT_FILE").map(PathBuf::from),
            max_retries: text("LOKI_MAX_RETRIES"),
            base_wait: text("LOKI_BASE_WAIT"),
            max_wait: text("LOKI_MAX_WAIT"),
            secrets: OnceLock::new(),
            #[cfg(debug_assertions)]
            kill_at_write: text("LOKI_KILL_AT_WRITE"),
            cache: under("XDG_CACHE_HOME", ".cache"),
            data: under("XDG_DATA_HOME", ".local/share"),
            state: under("XDG_STATE_HOME", ".local/state"),
        }
    }

    /// Returns the same without the secrets, which another run opens anew: they may have changed.
    pub(super) fn without_secrets(&self) -> Self {
        Self {
            secrets: OnceLock::new(),
            ..self.clone()
        }
    }

    /// Returns where the guest program and images are kept: `~/.cache/loki`, or below
    /// `XDG_CACHE_HOME`.
    pub(super) fn cache(&self) -> Result<&Path, Fault> {
        self.cache.as_deref().ok_or_else(|| {
            Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CACHE_HOME` is set")
                .hint("set `HOME`: Loki keeps its images there")
        })
    }

    /// Returns where the newest seals of journals are kept: `~/.local/state/loki`, or below
    /// `XDG_STATE_HOME`.
    pub(super) fn state(&self) -> Result<&Path, Fault> {
        self.state.as_deref().ok_or_else(|| {
            Fault::new(Exit::Usage, "neither `HOME` nor `XDG_STATE_HOME` is set")
                .hint("set `HOME`: Loki keeps the newest seals there")
        })
    }

    /// Returns where advisories are kept: `~/.local/share/loki`, or below `XDG_DATA_HOME`.
    pub(super) fn data(&self) -> Result<&Path, Fault> {
        self.data.as_deref().ok_or_else(|| {
            Fault::new(Exit::Usage, "neither `HOME` nor `XDG_DATA_HOME` is set")
                .hint("set `HOME`: Loki keeps advisories there")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_begins_where_loki_was_started() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(from_here("key.txt".into()), here.join("key.txt"));
        assert_eq!(from_here("/a/key.txt".into()), "/a/key.txt");
        assert_eq!(from_here("".into()), "");
        let key = "AGE-SECRET-KEY-1";
        assert_eq!(from_here(key.into()), key);
    }
}
