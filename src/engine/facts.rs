//! What an engine says about itself, read once when it is connected: here of Docker's answers,
//! in `libpod` of Podman's.

use std::{collections::BTreeMap, fmt, path::Path};

use bollard::{
    Docker,
    models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion},
};

use super::{
    EngineError,
    call::{ASK, within},
    kept::Shelf,
    libpod::Description,
    raw,
    socket::Peer,
};

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
        Self::of_mounts(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default())
    }

    /// Returns what this host has for an engine that does not use the one hierarchy.
    pub(super) fn old() -> Self {
        match Self::of_host() {
            found @ (Self::V1 | Self::Hybrid) => found,
            _ => Self::None,
        }
    }

    /// Tells from the mount table: what counts is which kind holds the controllers of memory.
    pub(super) fn of_mounts(table: &str) -> Self {
        let mut old = false;
        let mut new = None;
        for line in table.lines() {
            let mut fields = line.split(' ');
            let (Some(_), Some(at), Some(kind), Some(options)) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            match kind {
                "cgroup" => old |= options.split(',').any(|option| option == "memory"),
                "cgroup2" => new = Some(at),
                _ => {}
            }
        }
        match (old, new) {
            (true, Some(_)) => Self::Hybrid,
            (true, None) => Self::V1,
            (false, Some("/sys/fs/cgroup")) => Self::V2,
            (false, _) => Self::None,
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
    /// Whether the daemon maps every container's users to others (Docker's `userns-remap`).
    pub remapped: bool,
    /// The host's cgroup version.
    pub cgroup: Cgroup,
    /// The default OCI runtime.
    pub runtime: String,
    /// That runtime's version, as the engine tells it; empty where it does not.
    pub runtime_version: String,
    /// Versions of all that the engine names, such as `containerd`, `conmon` and `runc`.
    pub components: BTreeMap<String, String>,
    /// The seccomp profile: `default`, `unconfined`, a path, or `none`.
    pub seccomp: String,
    /// Whether SELinux labels containers.
    pub selinux: bool,
    /// How it stores images and containers, such as `overlay`.
    pub storage: String,
    /// Where it was reached.
    pub endpoint: String,
    /// Whether memory, process and processor limits hold.
    pub limits: bool,
    /// Whether a file system in memory can be limited in files. Podman 4 cannot say it.
    pub tmpfs_inodes: bool,
}

impl EngineReport {
    /// Joins Docker's answers with what the socket told.
    pub(super) fn of(version: &SystemVersion, info: &SystemInfo, peer: Peer) -> Self {
        let options = info.security_options.clone().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option.starts_with(name));
        let rootless = peer == Peer::User || has("name=rootless");
        let runtime = info.default_runtime.clone().unwrap_or_default();
        let cgroup = match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_2) => Cgroup::V2,
            _ => Cgroup::old(),
        };
        let components = components(version);
        let held = [info.memory_limit, info.pids_limit, info.cpu_cfs_quota];
        Self {
            name: "docker",
            version: version.version.clone().unwrap_or_default(),
            api_version: version.api_version.clone().unwrap_or_default(),
            rootless,
            remapped: has("name=userns"),
            cgroup,
            runtime_version: components.get(&runtime).cloned().unwrap_or_default(),
            components,
            runtime,
            seccomp: seccomp(&options),
            selinux: has("name=selinux"),
            storage: info.driver.clone().unwrap_or_default(),
            endpoint: String::new(),
            limits: held.iter().all(|limit| *limit == Some(true))
                && !(rootless && cgroup != Cgroup::V2),
            tmpfs_inodes: true,
        }
    }

    /// Returns whether this is Podman.
    #[must_use]
    pub fn is_podman(&self) -> bool {
        self.name == "podman"
    }
}

/// Asks an engine for everything it says of itself. The library's negotiation would ask for the
/// version once more, to no end. What a Podman says is taken from the shelf where it stands there.
pub(super) async fn ask(
    docker: &Docker,
    socket: &Path,
    peer: Peer,
    shelf: Option<&Shelf>,
) -> Result<EngineReport, EngineError> {
    let server = raw::ping(socket).await?;
    if let Some(libpod) = server.libpod {
        if let Some(told) = shelf.and_then(Shelf::read) {
            return Ok(told.report(server.api, peer));
        }
        let path = format!("/v{libpod}/libpod/info");
        let told: Description = raw::get(socket, &path, "describe itself").await?;
        if let Some(shelf) = shelf {
            shelf.keep(&told);
        }
        return Ok(told.report(server.api, peer));
    }
    let (version, info) = futures_util::try_join!(
        within("tell its version", ASK, docker.version()),
        within("describe itself", ASK, docker.info())
    )?;
    Ok(EngineReport::of(&version, &info, peer))
}

fn components(version: &SystemVersion) -> BTreeMap<String, String> {
    let each = version.components.iter().flatten();
    each.map(|one| (one.name.to_lowercase(), number(&one.version).to_owned()))
        .collect()
}

/// Finds the number in what a program prints when it is asked for its version:
/// `runc version 1.1.5` and more lines, `conmon version 2.1.6, commit: …`.
pub(super) fn number(printed: &str) -> &str {
    let line = printed.lines().next().unwrap_or_default();
    let number = line.split_once(" version ").map_or(line, |(_, rest)| rest);
    number.split([',', ' ']).next().unwrap_or_default()
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
    use super::{Cgroup, Peer, seccomp};
    use crate::engine::recorded;

    #[test]
    fn podman_names_its_parts() {
        let report = recorded::report("podman-4.3-rootful", Peer::Root);
        assert_eq!(
            (report.name, report.runtime_version.as_str()),
            ("podman", "1.1.5+ds1")
        );
        assert!(!report.rootless && !report.tmpfs_inodes && !report.remapped);
        let names: Vec<_> = report.components.into_iter().collect();
        let wanted = [
            ("conmon", "2.1.6"),
            ("podman engine", "4.3.1"),
            ("runc", "1.1.5+ds1"),
        ];
        assert_eq!(names, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn docker_names_its_parts() {
        let report = recorded::report("docker-20.10-rootful", Peer::Root);
        assert_eq!(
            (report.name, report.runtime_version.as_str()),
            ("docker", "1.1.5+ds1")
        );
        assert_eq!(report.components["containerd"], "1.6.20~ds1");
        assert!(!report.rootless && !report.remapped && report.tmpfs_inodes);
    }

    #[test]
    fn what_runs_as_a_user_or_maps_users_says_so() {
        assert!(recorded::report("podman-4.3-rootless", Peer::User).rootless);
        let docker = recorded::report("docker-20.10-rootless", Peer::User);
        assert!(docker.rootless && !docker.limits);
        assert!(recorded::report("docker-20.10-remapped", Peer::Root).remapped);
    }

    #[test]
    fn limits_hold_where_every_controller_is_there_and_an_ordinary_user_has_them() {
        let of = |change: fn(&mut serde_json::Value), peer| {
            let mut answers = recorded::answers("podman-4.3-rootful");
            answers["libpod"]["host"]["cgroupVersion"] = "v2".into();
            change(&mut answers);
            recorded::read(answers, peer)
        };
        assert!(of(|_| {}, Peer::Root).limits);
        assert!(of(|_| {}, Peer::User).limits);
        let absent = |answers: &mut serde_json::Value| {
            answers["libpod"]["host"]["cgroupControllers"] = serde_json::json!(["cpu", "memory"]);
        };
        assert!(!of(absent, Peer::Root).limits);
        // A user on old cgroups holds nothing, whatever the service says.
        let old = |answers: &mut serde_json::Value| {
            answers["libpod"]["host"]["cgroupVersion"] = "v1".into();
        };
        assert!(!of(old, Peer::User).limits);
    }

    #[test]
    fn a_docker_without_one_of_the_limits_holds_none() {
        let mut answers = recorded::answers("docker-20.10-rootful");
        assert!(recorded::read(answers.clone(), Peer::Root).limits);
        answers["info"]["PidsLimit"] = false.into();
        assert!(!recorded::read(answers.clone(), Peer::Root).limits);
        answers["info"].as_object_mut().unwrap().remove("PidsLimit");
        assert!(!recorded::read(answers, Peer::Root).limits);
    }

    #[test]
    fn the_mount_table_tells_which_cgroups_a_host_has() {
        let old = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                   cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                   cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";
        let beside = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let only = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate,memory_recursiveprot 0 0\n";
        let named = "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n";
        for (table, found) in [
            (old.to_owned(), Cgroup::V1),
            (format!("{old}{named}"), Cgroup::V1),
            (format!("{old}{beside}"), Cgroup::Hybrid),
            (only.to_owned(), Cgroup::V2),
            (format!("{only}{named}"), Cgroup::V2),
            // Controllers nowhere: limits could not be held.
            (format!("{named}{beside}"), Cgroup::None),
            ("proc /proc proc rw 0 0\n\nodd\n".to_owned(), Cgroup::None),
            (String::new(), Cgroup::None),
        ] {
            assert_eq!(Cgroup::of_mounts(&table), found, "{table}");
        }
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
