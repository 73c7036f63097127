//! What an engine says about itself, read once when it is connected.

use std::{fmt, path::Path};

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::socket::Peer;

/// How the host groups processes to limit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroup {
    /// One hierarchy per controller.
    V1,
    /// Controllers in the old hierarchies, processes also in the new one.
    Hybrid,
    /// One hierarchy.
    V2,
    /// None that the engine can use.
    None,
}

impl Cgroup {
    /// Reads what this host has.
    pub(super) fn of_host() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            Self::V2
        } else if root.join("unified/cgroup.controllers").exists() {
            Self::Hybrid
        } else if root.join("memory").exists() {
            Self::V1
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
            Self::None => "none",
        })
    }
}

/// What is known about a connected engine; part of the isolation level and of `loki doctor`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EngineReport {
    /// `docker` or `podman`.
    pub name: &'static str,
    /// The engine's version.
    pub version: String,
    /// The API version that is spoken.
    pub api_version: String,
    /// Whether the engine runs without root.
    pub rootless: bool,
    /// The host's cgroup version.
    pub cgroup: Cgroup,
    /// The default OCI runtime.
    pub runtime: String,
    /// That runtime's version, as the engine tells it; empty where it does not.
    pub runtime_version: String,
    /// The seccomp profile: `default`, `unconfined`, a path, or `none`.
    pub seccomp: String,
    /// Whether SELinux labels containers.
    pub selinux: bool,
    /// Where it was reached.
    pub endpoint: String,
    /// Whether memory, process and processor limits hold.
    pub limits: bool,
    /// Whether a file system in memory can be limited in files. Podman 4 cannot say it.
    pub tmpfs_inodes: bool,
}

impl EngineReport {
    /// Joins the engine's answers with what the socket told.
    pub(super) fn of(version: &SystemVersion, info: &SystemInfo, peer: Peer) -> Self {
        let options = info.security_options.clone().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option.starts_with(name));
        let podman = component(version, "Podman").is_some();
        let rootless = peer == Peer::User || has("name=rootless");
        let runtime = info.default_runtime.clone().unwrap_or_default();
        let cgroup = match (info.cgroup_version, Cgroup::of_host()) {
            (Some(SystemInfoCgroupVersionEnum::_2), _) => Cgroup::V2,
            (_, found @ (Cgroup::V1 | Cgroup::Hybrid)) => found,
            _ => Cgroup::None,
        };
        let held = [info.memory_limit, info.pids_limit, info.cpu_cfs_quota];
        Self {
            name: if podman { "podman" } else { "docker" },
            version: version.version.clone().unwrap_or_default(),
            api_version: version.api_version.clone().unwrap_or_default(),
            rootless,
            cgroup,
            runtime_version: runtime_version(version, &runtime),
            runtime,
            seccomp: seccomp(&options),
            selinux: has("name=selinux"),
            endpoint: String::new(),
            limits: held.iter().all(|limit| *limit == Some(true))
                && !(rootless && cgroup != Cgroup::V2),
            tmpfs_inodes: !podman,
        }
    }

    /// Returns whether this is Podman.
    #[must_use]
    pub fn is_podman(&self) -> bool {
        self.name == "podman"
    }
}

fn component<'a>(version: &'a SystemVersion, name: &str) -> Option<&'a str> {
    let components = version.components.as_deref().unwrap_or_default();
    let found = components
        .iter()
        .find(|component| component.name.starts_with(name))?;
    Some(&found.version)
}

/// Docker names the component after the runtime, Podman puts it in brackets and writes lines.
fn runtime_version(version: &SystemVersion, runtime: &str) -> String {
    let text = component(version, runtime)
        .or_else(|| component(version, &format!("OCI Runtime ({runtime})")))
        .unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    line.rsplit(' ').next().unwrap_or_default().to_owned()
}

fn seccomp(options: &[String]) -> String {
    let found = options
        .iter()
        .find_map(|option| option.strip_prefix("name=seccomp"));
    let Some(rest) = found else {
        return "none".to_owned();
    };
    match rest.strip_prefix(",profile=") {
        None | Some("builtin" | "default" | "") => "default".to_owned(),
        Some(other) => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, EngineReport, Peer, seccomp};
    use bollard::models::{
        SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion, SystemVersionComponents,
    };

    fn podman() -> (SystemVersion, SystemInfo) {
        let component = |name: &str, version: &str| SystemVersionComponents {
            name: name.to_owned(),
            version: version.to_owned(),
            details: None,
        };
        let version = SystemVersion {
            components: Some(vec![
                component("Podman Engine", "4.3.1"),
                component("OCI Runtime (runc)", "runc version 1.1.5\ncommit: x"),
            ]),
            version: Some("4.3.1".to_owned()),
            api_version: Some("1.41".to_owned()),
            ..SystemVersion::default()
        };
        let info = SystemInfo {
            memory_limit: Some(true),
            pids_limit: Some(true),
            cpu_cfs_quota: Some(true),
            default_runtime: Some("runc".to_owned()),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_2),
            security_options: Some(vec!["name=seccomp,profile=default".to_owned()]),
            ..SystemInfo::default()
        };
        (version, info)
    }

    #[test]
    fn podman_is_known_by_its_component() {
        let (version, info) = podman();
        let report = EngineReport::of(&version, &info, Peer::Root);
        assert_eq!(
            (report.name, report.runtime_version.as_str()),
            ("podman", "1.1.5")
        );
        assert_eq!(report.cgroup, Cgroup::V2);
        assert!(report.limits && !report.rootless && !report.tmpfs_inodes);
    }

    #[test]
    fn a_missing_controller_means_that_limits_do_not_hold() {
        let (version, mut info) = podman();
        info.pids_limit = Some(false);
        assert!(!EngineReport::of(&version, &info, Peer::Root).limits);
        info.pids_limit = None;
        assert!(!EngineReport::of(&version, &info, Peer::Root).limits);
    }

    #[test]
    fn an_unconfined_engine_is_not_called_default() {
        assert_eq!(
            seccomp(&["name=seccomp,profile=unconfined".to_owned()]),
            "unconfined"
        );
        assert_eq!(seccomp(&["name=apparmor".to_owned()]), "none");
        assert_eq!(
            seccomp(&["name=seccomp,profile=builtin".to_owned()]),
            "default"
        );
    }
}
