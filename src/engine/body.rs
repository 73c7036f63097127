//! The translation of a [`ContainerSpec`] into the API's body, and the check of what came of it.
//! Pure: what differs between engines comes in as a [`Dialect`].

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount as ApiMount, MountType,
    ResourcesUlimits,
};

use super::{ContainerId, ContainerSpec, ContainerState, EngineReport, Listed, Tmpfs};

/// What Podman adds to every container unless it is told to drop it.
const PODMAN_CAPABILITIES: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Where engines differ.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    /// Podman's API, not Docker's.
    pub(super) podman: bool,
    /// SELinux labels containers, which would keep them from the host's directories.
    pub(super) selinux: bool,
    /// Memory, process and processor limits can be set.
    pub(super) limits: bool,
    /// The engine's default runtime.
    pub(super) runtime: String,
    /// The most processes a user may have here. Podman sets a limit of its own choice, above what
    /// a confined host allows, unless it is told one.
    pub(super) nproc: Option<u64>,
}

impl Dialect {
    pub(super) fn of(report: &EngineReport, nproc: Option<u64>) -> Self {
        Self {
            podman: report.is_podman(),
            selinux: report.selinux,
            limits: report.limits,
            runtime: report.runtime.clone(),
            nproc,
        }
    }
}

/// Returns the request body.
pub(super) fn create_body(spec: &ContainerSpec, dialect: &Dialect) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(spec.hostname.clone()),
        user: Some(user(spec)),
        env: Some(
            spec.env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        // Without an empty command the image's own would be appended to the entry point.
        cmd: Some(Vec::new()),
        image: Some(spec.image.clone()),
        entrypoint: Some(spec.entrypoint.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        host_config: Some(host_config(spec, dialect)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, dialect: &Dialect) -> HostConfig {
    let limit = |value: u64| dialect.limits.then(|| clamp(value));
    HostConfig {
        memory: limit(spec.memory),
        // The same number: no swap on top.
        memory_swap: limit(spec.memory),
        pids_limit: limit(u64::from(spec.pids)),
        nano_cpus: dialect.limits.then(|| nano_cpus(spec.cpus)),
        ulimits: Some(ulimits(spec, dialect)),
        shm_size: Some(clamp(spec.shm_size)),
        mounts: Some(mounts(spec, dialect)),
        binds: Some(binds(spec, dialect)).filter(|binds| !binds.is_empty()),
        tmpfs: Some(tmpfs(spec, dialect)),
        sysctls: Some(sysctls(spec)),
        runtime: spec.runtime.clone().filter(|_| !dialect.podman),
        userns_mode: spec.keep_id.then(|| "keep-id".to_owned()),
        security_opt: Some(security_options(dialect)),
        ..fixed()
    }
}

/// What holds for every sandbox; there is no argument to change it.
fn fixed() -> HostConfig {
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        ..shared()
    }
}

/// What holds for every container of Loki's, opened ones included.
pub(super) fn shared() -> HostConfig {
    HostConfig {
        network_mode: Some("none".to_owned()),
        privileged: Some(false),
        // The first process is ours; a daemon's own default would put another in its place.
        init: Some(false),
        auto_remove: Some(false),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: Some(HashMap::new()),
        }),
        ..HostConfig::default()
    }
}

fn security_options(dialect: &Dialect) -> Vec<String> {
    let mut options = vec!["no-new-privileges:true".to_owned()];
    if dialect.selinux {
        options.push("label=disable".to_owned());
    }
    options
}

fn mounts(spec: &ContainerSpec, dialect: &Dialect) -> Vec<ApiMount> {
    let mount = |mount: &super::Mount| ApiMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..ApiMount::default()
    };
    spec.mounts
        .iter()
        .filter(|each| bind(spec, dialect, each).is_none())
        .map(mount)
        .collect()
}

/// Mounts in the older form, which alone has options on Podman and on Docker has none of these.
fn binds(spec: &ContainerSpec, dialect: &Dialect) -> Vec<String> {
    spec.mounts
        .iter()
        .filter_map(|each| bind(spec, dialect, each))
        .collect()
}

/// Returns the older form of a mount from which nothing may run, where the engine has one. Its
/// parts are told apart by `:`, so a path that holds one is mounted the other way.
fn bind(spec: &ContainerSpec, dialect: &Dialect, mount: &super::Mount) -> Option<String> {
    let source = mount.source.to_str()?;
    let wanted = dialect.podman && spec.noexec.contains(&mount.target);
    let access = if mount.read_only { "ro" } else { "rw" };
    (wanted && !source.contains(':'))
        .then(|| format!("{source}:{}:{access},noexec,nosuid,nodev", mount.target))
}

fn tmpfs(spec: &ContainerSpec, dialect: &Dialect) -> HashMap<String, String> {
    let mut all: HashMap<_, _> = spec
        .tmpfs
        .iter()
        .map(|each| (each.target.clone(), tmpfs_options(each, dialect)))
        .collect();
    if dialect.podman {
        // On a read-only root Podman mounts these writable and without a size.
        for target in ["/run", "/var/tmp"] {
            all.entry(target.to_owned())
                .or_insert_with(|| "ro,noexec,nosuid,nodev,size=64k,mode=0755".to_owned());
        }
    }
    all
}

fn tmpfs_options(tmpfs: &Tmpfs, dialect: &Dialect) -> String {
    let exec = if tmpfs.exec { "exec" } else { "noexec" };
    let inodes = if dialect.podman {
        String::new()
    } else {
        format!(",nr_inodes={}", tmpfs.inodes)
    };
    format!(
        "rw,{exec},nosuid,nodev,size={}{inodes},mode={:04o}",
        tmpfs.size, tmpfs.mode
    )
}

fn sysctls(spec: &ContainerSpec) -> HashMap<String, String> {
    let mut all: HashMap<_, _> = spec.sysctls.clone().into_iter().collect();
    // Docker's default, not Podman's: the guest listens on 53, 80 and 443 without a capability.
    all.insert(
        "net.ipv4.ip_unprivileged_port_start".to_owned(),
        "0".to_owned(),
    );
    all
}

fn ulimits(spec: &ContainerSpec, dialect: &Dialect) -> Vec<ResourcesUlimits> {
    let ulimit = |name: &str, soft, hard| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(clamp(soft)),
        hard: Some(clamp(hard)),
    };
    let given = |name: &str| spec.ulimits.iter().any(|(each, ..)| each == name);
    let mut all = vec![ulimit("core", 0, 0)];
    all.extend(
        spec.ulimits
            .iter()
            .filter(|(name, ..)| name != "core")
            .map(|(name, soft, hard)| ulimit(name, *soft, *hard)),
    );
    if let (true, false, Some(nproc)) = (dialect.podman, given("nproc"), dialect.nproc) {
        all.push(ulimit("nproc", nproc, nproc));
    }
    all
}

fn user(spec: &ContainerSpec) -> String {
    format!("{}:{}", spec.user.0, spec.user.1)
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of processors is a small number"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

/// Reads the engine's answer about a container.
pub(super) fn state(answer: ContainerInspectResponse, dialect: &Dialect) -> ContainerState {
    let host = answer.host_config.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    let count = |value: Option<i64>| u64::try_from(value.unwrap_or(0)).unwrap_or(0);
    let running = state.running.unwrap_or(false);
    let status = state
        .status
        .map(|status| status.to_string())
        .unwrap_or_default();
    ContainerState {
        id: answer.id.unwrap_or_default(),
        running,
        pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid > 0),
        exit_code: state
            .exit_code
            .filter(|_| matches!(status.as_str(), "exited" | "dead" | "stopped")),
        status,
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        runtime: match host.runtime.as_deref() {
            None | Some("" | "oci") => dialect.runtime.clone(),
            Some(runtime) => runtime.to_owned(),
        },
        capabilities_dropped: capabilities_dropped(&host),
        no_new_privileges: has_no_new_privileges(&host),
        label_off: has_option(&host, &["label=disable", "label:disable"]),
        read_only_root: host.readonly_rootfs.unwrap_or(false),
        network_mode: host.network_mode.unwrap_or_default(),
        user: answer
            .config
            .and_then(|config| config.user)
            .unwrap_or_default(),
        memory: count(host.memory),
        pids: count(host.pids_limit),
        image: answer.image.unwrap_or_default(),
    }
}

/// Reads one line of the engine's listing.
pub(super) fn listed(summary: ContainerSummary) -> Listed {
    let name = summary
        .names
        .unwrap_or_default()
        .into_iter()
        .next()
        .unwrap_or_default();
    Listed {
        id: ContainerId(summary.id.unwrap_or_default()),
        name: name.trim_start_matches('/').to_owned(),
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        state: summary
            .state
            .map(|state| state.to_string())
            .unwrap_or_default(),
    }
}

/// Docker repeats `ALL`; Podman lists what it would have given and did not.
fn capabilities_dropped(host: &HostConfig) -> bool {
    let bare = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
    let dropped: Vec<_> = host.cap_drop.iter().flatten().map(bare).collect();
    let all = dropped.iter().any(|name| name == "ALL")
        || PODMAN_CAPABILITIES
            .iter()
            .all(|name| dropped.iter().any(|each| each == name));
    all && host.cap_add.iter().flatten().next().is_none() && host.privileged != Some(true)
}

fn has_no_new_privileges(host: &HostConfig) -> bool {
    let spellings = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=true",
    ];
    has_option(host, &spellings)
}

fn has_option(host: &HostConfig, spellings: &[&str]) -> bool {
    let mut options = host.security_opt.iter().flatten();
    options.any(|option| spellings.contains(&option.as_str()))
}

/// Compares what was asked for with what was read back; each difference is one sentence.
pub(super) fn faults(
    spec: &ContainerSpec,
    found: &ContainerState,
    dialect: &Dialect,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, wanted: &str, got: &str| {
        if wanted != got {
            faults.push(format!("{what} is `{got}` instead of `{wanted}`"));
        }
    };
    same("network", "none", &found.network_mode);
    same("user", &user(spec), &found.user);
    same("read-only root", "true", &found.read_only_root.to_string());
    same(
        "capabilities dropped",
        "true",
        &found.capabilities_dropped.to_string(),
    );
    same(
        "no-new-privileges",
        "true",
        &found.no_new_privileges.to_string(),
    );
    if dialect.limits {
        same(
            "memory limit",
            &spec.memory.to_string(),
            &found.memory.to_string(),
        );
        same(
            "process limit",
            &spec.pids.to_string(),
            &found.pids.to_string(),
        );
    }
    let runtime = spec.runtime.as_ref().unwrap_or(&dialect.runtime);
    same("runtime", runtime, &found.runtime);
    if dialect.selinux {
        same("label=disable", "true", &found.label_off.to_string());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{Dialect, create_body, faults, state};
    use crate::engine::{ContainerSpec, Mount, Tmpfs};
    use bollard::models::{
        ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HostConfig,
    };

    fn docker() -> Dialect {
        Dialect {
            podman: false,
            selinux: false,
            limits: true,
            runtime: "runc".to_owned(),
            nproc: Some(32_768),
        }
    }

    fn podman() -> Dialect {
        Dialect {
            podman: true,
            ..docker()
        }
    }

    fn spec() -> ContainerSpec {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        ContainerSpec {
            name: "loki-1".to_owned(),
            image: "sha256:0123".to_owned(),
            user: (1000, 1000),
            entrypoint: vec!["/loki/guest".to_owned()],
            env: [pair("HOME", "/home/agent")].into(),
            labels: [pair("loki.run", "r1")].into(),
            mounts: vec![Mount {
                source: "/srv/a:b".into(),
                target: "/work".to_owned(),
                read_only: false,
            }],
            tmpfs: vec![Tmpfs {
                target: "/tmp".to_owned(),
                size: 1 << 20,
                inodes: 1000,
                mode: 0o1777,
                exec: true,
            }],
            memory: 1 << 28,
            pids: 64,
            cpus: 0.5,
            ulimits: vec![("nofile".to_owned(), 1024, 2048)],
            shm_size: 1 << 24,
            hostname: "sandbox".to_owned(),
            ..ContainerSpec::default()
        }
    }

    #[test]
    fn what_nothing_may_run_from_is_mounted_so_where_the_engine_can() {
        let mut spec = spec();
        spec.noexec = ["/work".to_owned()].into();
        let body = |spec: &_, dialect: &_| create_body(spec, dialect).host_config.unwrap();
        let parted = body(&spec, &podman());
        assert_eq!(parted.binds, None, "a path with `:` cannot be said so");
        spec.mounts[0].source = "/srv/ab".into();
        let held = body(&spec, &podman());
        let bind = "/srv/ab:/work:rw,noexec,nosuid,nodev".to_owned();
        assert_eq!(
            (held.binds, held.mounts),
            (Some(vec![bind]), Some(Vec::new()))
        );
        let plain = body(&spec, &docker());
        assert_eq!((plain.binds, plain.mounts.unwrap().len()), (None, 1));
    }

    fn text(body: &ContainerCreateBody) -> String {
        let value = serde_json::to_value(body).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    }

    /// What an obedient engine answers.
    fn echo(body: ContainerCreateBody) -> ContainerInspectResponse {
        ContainerInspectResponse {
            config: Some(ContainerConfig {
                user: body.user,
                ..ContainerConfig::default()
            }),
            host_config: body.host_config,
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn docker_is_asked_for_exactly_this() {
        insta::assert_snapshot!(text(&create_body(&spec(), &docker())));
    }

    #[test]
    fn podman_is_asked_for_exactly_this() {
        insta::assert_snapshot!(text(&create_body(&spec(), &podman())));
    }

    #[test]
    fn an_obedient_engine_has_no_faults() {
        for dialect in [docker(), podman()] {
            let answer = echo(create_body(&spec(), &dialect));
            let found = state(answer, &dialect);
            assert_eq!(faults(&spec(), &found, &dialect), Vec::<String>::new());
        }
    }

    #[test]
    fn every_weakened_property_is_a_fault() {
        type Weaken = fn(&mut HostConfig);
        let cases: [(&str, Weaken); 8] = [
            ("network", |host| {
                host.network_mode = Some("bridge".to_owned());
            }),
            ("read-only root", |host| host.readonly_rootfs = Some(false)),
            ("capabilities", |host| {
                host.cap_add = Some(vec!["NET_ADMIN".to_owned()]);
            }),
            ("capabilities", |host| {
                host.cap_drop = Some(vec!["CAP_CHOWN".to_owned()]);
            }),
            ("capabilities", |host| host.privileged = Some(true)),
            ("no-new-privileges", |host| host.security_opt = None),
            ("memory", |host| host.memory = Some(0)),
            ("process limit", |host| host.pids_limit = None),
        ];
        for (what, weaken) in cases {
            let mut answer = echo(create_body(&spec(), &docker()));
            weaken(answer.host_config.as_mut().unwrap());
            let found = faults(&spec(), &state(answer, &docker()), &docker());
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert!(found[0].starts_with(what), "{what}: {found:?}");
        }
    }

    #[test]
    fn a_runtime_that_podman_ignores_is_a_fault() {
        let wanted = ContainerSpec {
            runtime: Some("runsc".to_owned()),
            ..spec()
        };
        let body = create_body(&wanted, &podman());
        assert_eq!(body.host_config.as_ref().unwrap().runtime, None);
        let found = state(echo(body), &podman());
        assert_eq!(
            faults(&wanted, &found, &podman()),
            ["runtime is `runc` instead of `runsc`"]
        );
    }

    #[test]
    fn where_selinux_labels_containers_ours_must_have_none() {
        let labelled = Dialect {
            selinux: true,
            ..docker()
        };
        let mut answer = echo(create_body(&spec(), &labelled));
        let found = state(answer.clone(), &labelled);
        assert_eq!(faults(&spec(), &found, &labelled), Vec::<String>::new());
        let host = answer.host_config.as_mut().unwrap();
        host.security_opt = Some(vec!["no-new-privileges:true".to_owned()]);
        assert_eq!(
            faults(&spec(), &state(answer, &labelled), &labelled),
            ["label=disable is `false` instead of `true`"]
        );
    }

    #[test]
    fn an_engine_that_takes_another_runtime_than_its_default_is_a_fault() {
        let mut answer = echo(create_body(&spec(), &docker()));
        answer.host_config.as_mut().unwrap().runtime = Some("runsc".to_owned());
        assert_eq!(
            faults(&spec(), &state(answer, &docker()), &docker()),
            ["runtime is `runsc` instead of `runc`"]
        );
    }

    #[test]
    fn core_dumps_cannot_be_asked_for() {
        let wanted = ContainerSpec {
            ulimits: vec![("core".to_owned(), 1, 1)],
            ..spec()
        };
        let body = create_body(&wanted, &docker());
        let ulimits = body.host_config.unwrap().ulimits.unwrap();
        assert_eq!(ulimits.len(), 1);
        assert_eq!((ulimits[0].soft, ulimits[0].hard), (Some(0), Some(0)));
    }
}
