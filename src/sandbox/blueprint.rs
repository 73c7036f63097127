//! The whole container in one pure function: nothing about a sandbox's walls is decided elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use loki_guest::{GUEST_PATH, LINK_PATH};

use crate::{
    engine::{ContainerSpec, Mount, Tmpfs},
    policy::Rights,
};

use super::{confine::OPEN_FILES, delivery, own_code::runs_own_code, slot::Slot, trust};

/// Bytes of /dev/shm: browsers and multiprocessing need some.
const SHARED_MEMORY: u64 = 64 << 20;
/// Bytes of the agent's private repository.
const PRIVATE_REPOSITORY: u64 = 256 << 20;
/// Files that fit into /tmp.
const TMP_INODES: u64 = 100_000;

/// Labels that say whose a container is; sweeping and `sandbox ls` go by them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The run, or `adhoc` for `loki sandbox run`.
    pub run: String,
    /// The task, or what else the sandbox is for.
    pub task: String,
    /// A digest of the repository's path.
    pub repository: String,
    /// The orchestrator process, see [`super::owner`].
    pub owner: String,
}

/// What of the machine a blueprint depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The image by digest.
    pub image: String,
    /// User and group the agent runs as; never 0.
    pub user: (u32, u32),
    /// The container's user namespace maps the caller's user to itself (rootless Podman).
    pub keep_id: bool,
    /// The guest program on this host.
    pub guest: PathBuf,
    /// The home directory holds programs that were put there to be run, such as a provider's.
    pub home_runs: bool,
}

/// Returns the container for one sandbox of a role.
#[must_use]
pub fn blueprint(
    name: &str,
    rights: &Rights,
    slot: &Slot,
    place: &Place,
    labels: &Labels,
) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        image: place.image.clone(),
        user: place.user,
        keep_id: place.keep_id,
        entrypoint: vec![GUEST_PATH.to_owned()],
        env: BTreeMap::new(),
        labels: label_map(rights, labels),
        mounts: mounts(rights, slot, place),
        noexec: noexec(rights, place),
        tmpfs: tmpfs(rights),
        memory: rights.resources.memory,
        pids: rights.resources.pids,
        cpus: rights.resources.cpus,
        ulimits: ulimits(rights),
        shm_size: SHARED_MEMORY,
        sysctls: BTreeMap::from([(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        )]),
        hostname: "sandbox".to_owned(),
        runtime: None,
    }
}

fn label_map(rights: &Rights, labels: &Labels) -> BTreeMap<String, String> {
    [
        ("loki.run", labels.run.as_str()),
        ("loki.task", labels.task.as_str()),
        ("loki.role", rights.role.as_str()),
        ("loki.repository", labels.repository.as_str()),
        ("loki.owner", labels.owner.as_str()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn mounts(rights: &Rights, slot: &Slot, place: &Place) -> Vec<Mount> {
    let link = LINK_PATH
        .rsplit_once('/')
        .map_or(LINK_PATH, |(directory, _)| directory);
    let mount = |source, target: &str, read_only| Mount {
        source,
        target: target.to_owned(),
        read_only,
    };
    [
        mount(place.guest.clone(), GUEST_PATH, true),
        mount(slot.link(), link, true),
        mount(slot.work(), "/work", rights.is_read_only()),
        mount(slot.home(), "/home/agent", false),
        mount(slot.etc("resolv.conf"), "/etc/resolv.conf", true),
        mount(slot.etc("passwd"), "/etc/passwd", true),
        mount(slot.etc("group"), "/etc/group", true),
    ]
    .into_iter()
    .chain(trust::mounts(slot))
    .collect()
}

/// Returns where a role that runs nothing of its own finds nothing that could be run.
fn noexec(rights: &Rights, place: &Place) -> BTreeSet<String> {
    if runs_own_code(rights) {
        return BTreeSet::new();
    }
    let home = (!place.home_runs).then_some("/home/agent");
    let filled = ["/work"].into_iter().chain(home);
    filled.map(str::to_owned).collect()
}

fn tmpfs(rights: &Rights) -> Vec<Tmpfs> {
    let sized = |target: &str, size, exec| Tmpfs {
        target: target.to_owned(),
        size,
        inodes: TMP_INODES,
        mode: 0o1777,
        exec,
    };
    let mut all = vec![
        sized(
            "/tmp",
            rights.resources.disk.min(rights.resources.memory),
            runs_own_code(rights),
        ),
        sized("/work/.git", PRIVATE_REPOSITORY, false),
    ];
    if delivery::has_files(rights) {
        all.push(sized(delivery::FILES, delivery::FILES_SIZE, false));
    }
    all
}

fn ulimits(rights: &Rights) -> Vec<(String, u64, u64)> {
    let file_size = rights.resources.disk;
    vec![
        ("nofile".to_owned(), OPEN_FILES, OPEN_FILES),
        ("core".to_owned(), 0, 0),
        ("fsize".to_owned(), file_size, file_size),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::sample::{labels, place, policy, shipped};
    use super::*;

    fn spec(role: &str) -> ContainerSpec {
        let (slot, place) = (Slot::at("/slot".into()), place(1_900_000_000));
        blueprint("loki-r-t-1", &shipped(role), &slot, &place, &labels())
    }

    #[test]
    fn the_whole_container_of_a_builder_is_exactly_this() {
        insta::assert_debug_snapshot!(spec("eng-backend"));
    }

    #[test]
    fn the_whole_container_of_a_reviewer_is_exactly_this() {
        insta::assert_debug_snapshot!(spec("review-code"));
    }

    #[test]
    fn what_runs_nothing_of_its_own_finds_nothing_to_run_from() {
        let mut rights = shipped("eng-backend");
        let place = |home_runs| Place {
            home_runs,
            ..place(7)
        };
        assert_eq!(noexec(&rights, &place(false)), BTreeSet::new());
        assert!(tmpfs(&rights)[0].exec);
        rights.programs.clear();
        assert!(
            noexec(&rights, &place(false))
                .iter()
                .eq(["/home/agent", "/work"])
        );
        assert!(noexec(&rights, &place(true)).iter().eq(["/work"]));
        assert!(!tmpfs(&rights)[0].exec);
    }

    #[test]
    fn every_shipped_role_gets_a_user_and_limits_and_only_our_mounts() {
        let policy = policy();
        for role in policy.roles() {
            let spec = spec(role.as_str());
            assert_ne!(spec.user.0, 0, "{role}");
            assert!(
                spec.memory > 0 && spec.pids > 0 && spec.cpus > 0.0,
                "{role}"
            );
            let ours = |mount: &Mount| {
                mount.source.starts_with("/slot") || mount.source.starts_with("/cache")
            };
            assert!(spec.mounts.iter().all(ours), "{role}: {:?}", spec.mounts);
            let work = spec
                .mounts
                .iter()
                .find(|mount| mount.target == "/work")
                .unwrap();
            let rights = policy.rights(role).unwrap();
            assert_eq!(work.read_only, rights.is_read_only(), "{role}");
        }
    }
}
