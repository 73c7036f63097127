//! A Podman service of Loki's own, for machines where no daemon runs.
//!
//! It listens in a private directory and ends with the value: at once when dropped, by itself
//! within [`IDLE_SECONDS`] when Loki is killed, for then its lifeline (a request that never
//! ends) breaks and the service has no client left.

use std::{
    fs::{DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use tempfile::TempDir;

use super::{EngineError, Environment};

/// How long the service lives without a client.
const IDLE_SECONDS: u32 = 5;
/// How long it may take to come up.
const START: Duration = Duration::from_secs(20);
/// The start of every private directory's name.
const PREFIX: &str = "loki-podman-";
/// A request that stays open without saying anything: nothing here makes volume events.
const LIFELINE: &str = "GET /v1.41/events?filters=%7B%22type%22%3A%5B%22volume%22%5D%7D HTTP/1.1\r\nHost: loki\r\n\r\n";

/// The running service.
#[derive(Debug)]
pub(super) struct PrivateService {
    child: Child,
    folder: TempDir,
    /// Held, never read.
    lifeline: Option<UnixStream>,
}

impl PrivateService {
    /// Starts the service and waits until it answers.
    pub(super) async fn start(
        podman: &Path,
        runtime: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Service {
            log: format!("`{} system service`", podman.display()),
            source: Some(source),
        };
        let mut service = spawn(podman, runtime, environment).map_err(failed)?;
        match tokio::time::timeout(START, service.comes_up()).await {
            Ok(Ok(lifeline)) => service.lifeline = Some(lifeline),
            Ok(Err(source)) => {
                return Err(EngineError::Service {
                    log: service.log(),
                    source: Some(source),
                });
            }
            Err(_) => {
                return Err(EngineError::Service {
                    log: service.log(),
                    source: None,
                });
            }
        }
        Ok(service)
    }

    /// Returns the socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("podman.sock")
    }

    async fn comes_up(&mut self) -> io::Result<UnixStream> {
        loop {
            if let Ok(mut stream) = UnixStream::connect(self.socket()) {
                stream.write_all(LIFELINE.as_bytes())?;
                return Ok(stream);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended with {status}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of what the service said.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("service.log"));
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" / ")
    }
}

impl Drop for PrivateService {
    fn drop(&mut self) {
        self.lifeline = None;
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already; the child is not reaped yet, so the id is still its own.
            kill_process(pid, Signal::TERM).ok();
        }
        for _ in 0..100 {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one program that the engine module starts; a half-written configuration dies with its directory"
)]
fn spawn(
    podman: &Path,
    runtime: Option<&str>,
    environment: &Environment,
) -> io::Result<PrivateService> {
    let folder = private_folder(environment)?;
    let configuration = folder.path().join("containers.conf");
    std::fs::write(
        &configuration,
        containers_conf(runtime, cgroup_manager(runtime)),
    )?;
    let log = File::create(folder.path().join("service.log"))?;
    let mut address = std::ffi::OsString::from("unix://");
    address.push(folder.path().join("podman.sock"));
    let child = Command::new(podman)
        .envs(storage_driver(environment).map(|driver| ("STORAGE_DRIVER", driver)))
        .args(["--log-level", "error", "system", "service", "--time", &IDLE_SECONDS.to_string()])
        .arg(address)
        .env("CONTAINERS_CONF", &configuration)
        // Container monitors inherit it, and leave a file there when a container runs out of memory.
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C on the terminal is Loki's to handle: the service is still needed to clean up.
        .process_group(0)
        .spawn()?;
    Ok(PrivateService {
        child,
        folder,
        lifeline: None,
    })
}

/// Chooses the storage of a user's first use of Podman, which would settle for the driver that
/// copies the whole image for every container. What exists or was chosen by people stays.
fn storage_driver(environment: &Environment) -> Option<&'static str> {
    let system = Path::new("/etc/containers/storage.conf");
    let settings = environment.podman_storage_conf.as_deref();
    let chosen = [Some(system), settings, environment.podman_store.as_deref()]
        .into_iter()
        .flatten()
        .any(Path::exists);
    let known = environment.podman_store.is_some() && settings.is_some();
    (environment.uid != 0 && known && !chosen).then_some("overlay")
}

/// Makes the directory, and removes those whose owner was killed.
fn private_folder(environment: &Environment) -> io::Result<TempDir> {
    let parent = match &environment.xdg_runtime_dir {
        Some(folder) if folder.is_dir() => folder.clone(),
        _ if environment.uid == 0 => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create("/run/loki")?;
            "/run/loki".into()
        }
        _ => PathBuf::from("/tmp"),
    };
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&parent)?;
    sweep(&parent, folder.path())?;
    Ok(folder)
}

/// A directory of an ended service has a socket that no one listens on, or it is old and has none.
fn sweep(parent: &Path, ours: &Path) -> io::Result<()> {
    let now = ours.metadata()?.modified()?;
    for entry in std::fs::read_dir(parent)?.flatten() {
        let path = entry.path();
        if path == ours || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|changed| now.duration_since(changed).unwrap_or_default());
        let starting = age.is_ok_and(|age| age < 3 * START);
        if !starting && UnixStream::connect(path.join("podman.sock")).is_err() {
            // Another user's, or another Loki swept it first: both are fine.
            std::fs::remove_dir_all(path).ok();
        }
    }
    Ok(())
}

/// Without systemd its cgroup manager does not work; nor does it with runc on old cgroups.
fn cgroup_manager(runtime: Option<&str>) -> Option<&'static str> {
    let systemd = Path::new("/run/systemd/system").exists();
    (!systemd || runtime.is_some()).then_some("cgroupfs")
}

/// The service's configuration. The journal is systemd's too, so events go to a file.
fn containers_conf(runtime: Option<&str>, cgroup_manager: Option<&str>) -> String {
    let line = |key: &str, value: Option<&str>| {
        value
            .map(|value| format!("{key} = \"{value}\"\n"))
            .unwrap_or_default()
    };
    let settings = [
        line("events_logger", Some("file")),
        line("cgroup_manager", cgroup_manager),
        line("runtime", runtime),
    ];
    format!("[engine]\n{}", settings.concat())
}

/// The most processes a service of this machine can allow: Podman lowers its own limit to the
/// kernel's number of process ids, and no container may have more than its service.
pub(super) fn most_processes() -> Option<u64> {
    let ids = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let ids = ids.and_then(|text| text.trim().parse().ok());
    [getrlimit(Resource::Nproc).maximum, ids]
        .into_iter()
        .flatten()
        .min()
}

#[cfg(test)]
mod tests {
    use super::{
        PREFIX, cgroup_manager, containers_conf, most_processes, private_folder, storage_driver,
    };
    use crate::engine::Environment;
    use std::{fs::File, os::unix::fs::PermissionsExt, time::Duration};

    #[test]
    fn old_cgroups_get_runc_and_cgroupfs() {
        let text = containers_conf(Some("runc"), cgroup_manager(Some("runc")));
        assert_eq!(
            text,
            "[engine]\nevents_logger = \"file\"\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\n"
        );
        assert_eq!(
            containers_conf(None, None),
            "[engine]\nevents_logger = \"file\"\n"
        );
    }

    #[test]
    fn only_a_users_first_store_gets_a_driver() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment {
            uid: 1,
            podman_store: Some(home.path().join("store")),
            podman_storage_conf: Some(home.path().join("storage.conf")),
            ..Environment::default()
        };
        let system = std::path::Path::new("/etc/containers/storage.conf").exists();
        let wanted = (!system).then_some("overlay");
        assert_eq!(storage_driver(&environment), wanted);
        let root = Environment {
            uid: 0,
            ..environment.clone()
        };
        assert_eq!(storage_driver(&root), None);
        assert_eq!(storage_driver(&Environment::default()), None);
        std::fs::create_dir(home.path().join("store")).unwrap();
        assert_eq!(storage_driver(&environment), None);
    }

    #[test]
    fn leftovers_of_a_killed_owner_are_swept_and_a_starting_neighbour_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let (old, new) = (format!("{PREFIX}old"), format!("{PREFIX}new"));
        for name in [old.as_str(), new.as_str(), "other"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let stale = File::open(parent.path().join(&old)).unwrap();
        let day = Duration::from_secs(86_400);
        let changed = stale.metadata().unwrap().modified().unwrap();
        stale.set_modified(changed - day).unwrap();
        let environment = Environment {
            xdg_runtime_dir: Some(parent.path().into()),
            uid: 1,
            ..Environment::default()
        };
        let ours = private_folder(&environment).unwrap();
        assert_eq!(
            ours.path().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert!(!parent.path().join(old).exists());
        assert!(parent.path().join(new).exists() && parent.path().join("other").exists());
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
