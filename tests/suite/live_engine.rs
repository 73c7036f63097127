//! Both real engines, driven through the one trait. A missing engine fails these tests.

use loki::{
    egress::{SystemResolver, Threads},
    engine::{
        ContainerId, ContainerSpec, Engine, EngineError, Environment, Import, Mount, Tmpfs,
        connect, images,
    },
    event::HeldBy,
    policy::Policy,
    sandbox::{Grant, Labels, Launcher, Occupant, Slot},
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const LABEL: &str = "loki.test";

fn environment(engine: &str) -> Environment {
    Environment {
        engine: Some(engine.to_owned()),
        path: std::env::var_os("PATH").unwrap_or_default(),
        uid: rustix::process::getuid().as_raw(),
        ..Environment::default()
    }
}

async fn engine(name: &str) -> Arc<dyn Engine> {
    let found = connect(&environment(name)).await;
    found.unwrap_or_else(|fault| {
        panic!("{name}: {fault}\nstart it: scripts/engines.sh start {name}")
    })
}

/// Where finished images stay between runs of the tests.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/images")
}

async fn base(engine: &dyn Engine) -> String {
    let image = images::ensure(engine, "base", &cache(), &|line| println!("{line}")).await;
    image
        .unwrap_or_else(|fault| panic!("base image: {fault}"))
        .id
}

fn spec(name: &str, image: &str, script: &str) -> ContainerSpec {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("loki-test-{name}-{}-{next}", std::process::id());
    ContainerSpec {
        labels: [(LABEL.to_owned(), name.clone())].into(),
        name,
        image: image.to_owned(),
        user: (1000, 1000),
        entrypoint: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        tmpfs: vec![Tmpfs {
            target: "/tmp".to_owned(),
            size: 1 << 22,
            inodes: 500,
            mode: 0o1777,
            exec: true,
        }],
        memory: 256 << 20,
        pids: 64,
        cpus: 0.5,
        ulimits: vec![("nofile".to_owned(), 1024, 2048)],
        shm_size: 1 << 22,
        hostname: "sandbox".to_owned(),
        ..ContainerSpec::default()
    }
}

/// Waits for the end of a container and returns its exit code.
async fn ended(engine: &dyn Engine, id: &ContainerId) -> i64 {
    for _ in 0..200 {
        let state = engine.inspect(id).await.unwrap();
        if let (false, Some(code)) = (state.running, state.exit_code) {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the container {id} did not end within 10 s");
}

/// Creates, starts, inspects, lists and removes one container.
async fn lives_and_goes(engine: &dyn Engine) {
    let image = base(engine).await;
    let spec = spec("lives", &image, "exec sleep 60");
    let label = format!("{LABEL}={}", spec.name);
    let id = engine.create(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    let state = engine.inspect(&id).await.unwrap();
    assert!(state.running && state.pid.is_some(), "{state:?}");
    assert_eq!(state.exit_code, None);
    assert_eq!(
        (state.network_mode.as_str(), state.user.as_str()),
        ("none", "1000:1000")
    );
    assert!(state.capabilities_dropped && state.read_only_root && state.no_new_privileges);
    assert_eq!(
        (state.memory, state.pids, state.image.as_str()),
        (256 << 20, 64, image.as_str())
    );
    assert_eq!(state.runtime, engine.report().runtime);
    let listed = engine.list(&label).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].id, &listed[0].name, listed[0].state.as_str()),
        (&id, &spec.name, "running")
    );
    let label_value = listed[0].labels.get(LABEL);
    assert_eq!(label_value, Some(&spec.name));
    engine.kill(&id).await.unwrap();
    assert_eq!(ended(engine, &id).await, 137);
    engine
        .kill(&id)
        .await
        .expect("killing the dead is no error");
    engine.remove(&id).await.unwrap();
    engine
        .remove(&id)
        .await
        .expect("removing the removed is no error");
    assert_eq!(engine.list(&label).await.unwrap(), []);
    assert!(matches!(
        engine.inspect(&id).await,
        Err(EngineError::Absent { .. })
    ));
    assert!(matches!(
        engine.start(&id).await,
        Err(EngineError::Absent { .. })
    ));
}

/// What a first process finds, checked from within; it writes what is wrong into /out.
const SELF_CHECK: &str = r#"
bad() { echo "$*" >>/out/bad; }
[ "$(id -u):$(id -g):$(id -G)" = 1000:1000:1000 ] || bad "ids $(id)"
grep -E '^Cap' /proc/self/status | grep -v 0000000000000000 && bad capabilities
grep -q 'NoNewPrivs:.*1' /proc/self/status || bad no_new_privs
grep -q 'Seccomp:.*2' /proc/self/status || bad seccomp
[ "$(grep -c : /proc/net/dev)" = 1 ] || bad "network $(cat /proc/net/dev)"
[ "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" = 0 ] || bad ports
[ "$(ulimit -c)" = 0 ] || bad "core $(ulimit -c)"
[ "$(ulimit -n)" = 1024 ] || bad "nofile $(ulimit -n)"
for path in /etc/x /usr/x /run/x /var/tmp/x /work/x /home/agent/x /loki/x /in/x; do
    (echo x >$path) 2>/dev/null && bad "writable $path"
done
cat /etc/shadow 2>/dev/null && bad shadow
(echo '#!/bin/sh' >/tmp/p && chmod +x /tmp/p && /tmp/p) || bad "tmp not executable"
head -c 8000000 /dev/zero >/tmp/big 2>/dev/null && bad "tmp without size"
[ -n "$(find / -xdev -perm /6000 2>/dev/null)" ] && bad "setuid $(find / -xdev -perm /6000)"
[ "$(cat /in/word)" = "$WORD" ] || bad "mount or environment"
[ "$(cat /proc/sys/kernel/hostname)" = sandbox ] || bad hostname
echo done >>/out/done
"#;

async fn confines(engine: &dyn Engine) {
    use std::os::unix::fs::PermissionsExt;
    let image = base(engine).await;
    let (out, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&out, &input] {
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    }
    std::fs::write(input.path().join("word"), "a b").unwrap();
    let mut spec = spec("confines", &image, SELF_CHECK);
    let mount = |folder: &tempfile::TempDir, target: &str, read_only| Mount {
        source: folder.path().into(),
        target: target.to_owned(),
        read_only,
    };
    // The image has no such directories: the engine makes them below the read-only root.
    spec.mounts = vec![mount(&out, "/out", false), mount(&input, "/in", true)];
    spec.env.insert("WORD".to_owned(), "a b".to_owned());
    let id = engine.create(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    let code = ended(engine, &id).await;
    engine.remove(&id).await.unwrap();
    let bad = std::fs::read_to_string(out.path().join("bad")).unwrap_or_default();
    assert_eq!(bad, "");
    assert_eq!(code, 0);
    assert_eq!(
        std::fs::read_to_string(out.path().join("done")).unwrap(),
        "done\n"
    );
}

/// A name is not followed: it may be given to another image between two containers of a run.
async fn follows_no_name(engine: &dyn Engine) {
    let named = spec("named", "loki/base:latest", "true");
    let fault = engine.create(&named).await.unwrap_err().to_string();
    assert!(fault.contains("`loki/base:latest`"), "{fault}");

    let folder = tempfile::tempdir().unwrap();
    let name = format!(
        "loki-test/moved:{}-{}",
        engine.report().name,
        std::process::id()
    );
    let mut ids = Vec::new();
    for word in ["first", "second"] {
        let tar = folder.path().join(word);
        let mut tree = tar::Builder::new(std::fs::File::create(&tar).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        tree.append_data(&mut header, word, std::io::empty())
            .unwrap();
        tree.into_inner().unwrap().flush().unwrap();
        let import = Import {
            reference: &name,
            tar: &tar,
            label: (LABEL, "moved"),
        };
        ids.push(engine.import(import, &|_| {}).await.unwrap().id);
    }
    assert_eq!(engine.image(&name).await.unwrap().unwrap().id, ids[1]);
    let id = engine
        .create(&spec("fixed", &ids[0], "true"))
        .await
        .unwrap();
    let state = engine.inspect(&id).await.unwrap();
    engine.remove(&id).await.unwrap();
    for id in &ids {
        engine.remove_image(id).await.unwrap();
    }
    assert_eq!(state.image, ids[0]);
}

async fn explains(engine: &dyn Engine) {
    let absent = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let fault = engine
        .create(&spec("absent", absent, "true"))
        .await
        .unwrap_err();
    assert!(
        matches!(&fault, EngineError::Absent { kind: "image", .. }),
        "{fault}"
    );
    assert_eq!(engine.image("loki/no-such:image").await.unwrap(), None);
    engine
        .remove_image("loki/no-such:image")
        .await
        .expect("removing an absent image is no error");
    let image = base(engine).await;
    let mut missing = spec("missing", &image, "true");
    missing.mounts = vec![Mount {
        source: "/nonexistent".into(),
        target: "/in".to_owned(),
        read_only: true,
    }];
    let fault = engine
        .create(&missing)
        .await
        .expect_err("a mount needs a source");
    assert!(fault.to_string().contains("/nonexistent"), "{fault}");
    let label = format!("{LABEL}={}", missing.name);
    assert_eq!(engine.list(&label).await.unwrap(), []);
    assert!(
        !Path::new("/nonexistent").exists(),
        "the engine made the source"
    );
}

/// A container that eats memory is killed by its own limit, and the engine says so.
async fn holds_memory(engine: &dyn Engine) {
    let image = base(engine).await;
    let hungry = "python3 -c 'x = bytearray(400 << 20); print(len(x))'";
    let spec = ContainerSpec {
        memory: 64 << 20,
        ..spec("memory", &image, hungry)
    };
    let id = engine.create(&spec).await.unwrap();
    engine.start(&id).await.unwrap();
    let code = ended(engine, &id).await;
    engine.remove(&id).await.unwrap();
    assert_eq!(code, 137);
}

/// Imports and builds small images, finds them by label and removes them.
async fn makes_images(engine: &dyn Engine) {
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("root.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&tar).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "word", &b"hi"[..])
        .unwrap();
    builder.into_inner().unwrap().flush().unwrap();
    let name = format!("loki-test/small:{}", std::process::id());
    let value = std::process::id().to_string();
    let import = Import {
        reference: &name,
        tar: &tar,
        label: (LABEL, &value),
    };
    let image = engine.import(import, &|_| {}).await.unwrap();
    assert!(image.id.starts_with("sha256:"), "{image:?}");
    assert_eq!(engine.image(&image.id).await.unwrap().unwrap().id, image.id);
    let label = format!("{LABEL}={value}");
    let found = engine.images(&label).await.unwrap();
    assert_eq!(
        found.iter().map(|each| &each.id).collect::<Vec<_>>(),
        [&image.id]
    );

    let mut context = tar::Builder::new(Vec::new());
    let text = format!("FROM {name}\nCOPY more /more\nLABEL built=yes\n");
    for (path, text) in [("Containerfile", text.as_str()), ("more", "x")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        context
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    let built_name = format!("loki-test/built:{}", std::process::id());
    let lines = Mutex::new(Vec::new());
    let record = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let built = engine
        .build(
            &built_name,
            loki::engine::Context::Whole(context.into_inner().unwrap()),
            &record,
        )
        .await
        .unwrap();
    assert_ne!(built.id, image.id);
    assert!(
        lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains("COPY more"))
    );
    engine.remove_image(&built_name).await.unwrap();
    engine.remove_image(&name).await.unwrap();
    assert_eq!(engine.images(&label).await.unwrap(), []);
}

#[tokio::test]
async fn docker_reports_itself() {
    let engine = engine("docker").await;
    let report = engine.report();
    assert_eq!(
        (report.name, report.rootless, report.seccomp.as_str()),
        ("docker", false, "default")
    );
    assert!(report.limits && report.tmpfs_inodes, "{report:?}");
    assert!(
        !report.runtime.is_empty() && !report.version.is_empty(),
        "{report:?}"
    );
}

#[tokio::test]
async fn podman_reports_itself() {
    let engine = engine("podman").await;
    let report = engine.report();
    assert_eq!(
        (report.name, report.seccomp.as_str()),
        ("podman", "default")
    );
    assert!(report.limits, "{report:?}");
    assert!(!report.runtime_version.is_empty(), "{report:?}");
}

macro_rules! on_both {
    ($($test:ident => $docker:ident, $podman:ident;)*) => {$(
        #[tokio::test]
        async fn $docker() {
            $test(&*engine("docker").await).await;
        }

        #[tokio::test]
        async fn $podman() {
            $test(&*engine("podman").await).await;
        }
    )*};
}

on_both! {
    lives_and_goes => docker_container_lives_and_goes, podman_container_lives_and_goes;
    confines => docker_container_is_confined, podman_container_is_confined;
    follows_no_name => docker_follows_no_name, podman_follows_no_name;
    explains => docker_refusals_are_explained, podman_refusals_are_explained;
    holds_memory => docker_holds_the_memory_limit, podman_holds_the_memory_limit;
    makes_images => docker_imports_and_builds, podman_imports_and_builds;
}

/// Podman without any daemon: an environment whose sockets answer nowhere.
async fn daemonless(runtime_dir: &Path) -> Arc<dyn Engine> {
    let program = environment("podman");
    let service = Environment {
        xdg_runtime_dir: Some(runtime_dir.into()),
        ..program
    };
    loki::engine::connect_privately(&service)
        .await
        .unwrap_or_else(|fault| panic!("no private podman service: {fault}"))
}

#[tokio::test]
async fn a_private_podman_service_serves_and_ends_with_its_value() {
    let runtime_dir = tempfile::tempdir().unwrap();
    let engine = daemonless(runtime_dir.path()).await;
    let endpoint = engine.report().endpoint.clone();
    assert!(endpoint.contains("/loki-podman-"), "{endpoint}");
    lives_and_goes(&*engine).await;
    // Longer than it lives without a client: the lifeline holds it.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(engine.list("loki.test=none").await.unwrap(), []);
    let begun = Instant::now();
    drop(engine);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(std::fs::read_dir(runtime_dir.path()).unwrap().count(), 0);
    assert_eq!(processes(runtime_dir.path()), "");
}

/// The command lines that name a directory.
fn processes(folder: &Path) -> String {
    let output = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let folder = folder.to_string_lossy();
    text.lines()
        .filter(|line| line.contains(&*folder))
        .collect()
}

#[tokio::test]
async fn a_place_where_nothing_listens_is_named() {
    let fault = connect(&environment("unix:///nonexistent/engine.sock"))
        .await
        .unwrap_err();
    assert!(matches!(fault, EngineError::NotFound { .. }));
    assert!(
        fault.to_string().contains("/nonexistent/engine.sock"),
        "{fault}"
    );
    assert!(
        fault.to_string().contains("scripts/engines.sh install"),
        "{fault}"
    );
}

/// A launcher of this machine's Docker whose sandboxes use at most this Landlock ABI.
async fn launcher(landlock: u32) -> Launcher {
    let mut launcher = Launcher::new(
        engine("docker").await,
        cache(),
        Arc::new(Threads::start().unwrap()),
        Arc::new(SystemResolver::new().unwrap()),
    );
    launcher.landlock = landlock;
    launcher
}

fn occupant(name: &str, image: &str, landlock: u32) -> Occupant {
    let policy = Policy::check(&Policy::builtin_sources()).unwrap();
    let mut rights = policy.rights(&"eng-backend".parse().unwrap()).unwrap();
    rights.minimum.landlock = landlock;
    Occupant {
        name: format!("loki-test-{name}-{}", std::process::id()),
        rights: rights.into(),
        labels: Labels {
            run: "test".to_owned(),
            task: name.to_owned(),
            repository: "test".to_owned(),
            owner: loki::sandbox::owner(),
        },
        home: Vec::new(),
        given: Vec::new(),
        image: image.to_owned(),
    }
}

/// What an agent may and may not do, whatever the Landlock; then what only newer ones hold.
const OLD_LANDLOCK: &str = r#"
bad() { echo "bad $*"; }
echo new >src/new || bad "write"
mkdir src/in && python3 -c 'import os; os.rename("src/new", "src/in/new")' 2>/dev/null && echo refers
(echo x >/work/outside) 2>/dev/null && bad "write outside"
(echo x >docs.md) 2>/dev/null && bad "change outside"
rm -f docs.md 2>/dev/null; [ -e docs.md ] || bad "removed outside"
cat /usr/bin/mount >/dev/null 2>&1 && bad "read a program that may not run"
python3 -c 'import os; os.truncate("docs.md", 0)' 2>/dev/null && echo truncates
echo end
"#;

#[tokio::test]
async fn every_older_landlock_holds_files_and_says_what_it_lacks() {
    let image = base(&*engine("docker").await).await;
    for abi in 1..=6 {
        let launcher = launcher(abi).await;
        let folder = tempfile::tempdir().unwrap();
        let slot = Slot::at(folder.path().join("slot"));
        std::fs::create_dir_all(slot.work().join(".git")).unwrap();
        std::fs::write(slot.work().join("docs.md"), "docs\n").unwrap();
        let user = launcher.user();
        // The agent's own, so that only Landlock keeps it from the file.
        std::os::unix::fs::chown(slot.work().join("docs.md"), Some(user.0), Some(user.1)).unwrap();
        let name = format!("abi{abi}");
        let record = Arc::new(|_| {});
        let sandbox = launcher
            .launch(&occupant(&name, &image, abi), &slot, user, record)
            .await
            .unwrap_or_else(|fault| panic!("ABI {abi}: {fault}"));
        let found = sandbox.isolation().clone();
        let argv = ["sh", "-c", OLD_LANDLOCK].map(str::to_owned);
        let mut process = sandbox.exec(&argv, &[], &Grant::default()).await.unwrap();
        drop(process.stdin.take());
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut process.stdout, &mut said)
            .await
            .unwrap();
        sandbox.end().await.unwrap();
        assert_eq!(found.landlock_abi, abi);
        let lacks = found.landlock_lacks.join("; ");
        assert!(
            said.ends_with("end\n") && !said.contains("bad"),
            "ABI {abi}: {said}"
        );
        assert_eq!(said.contains("refers"), abi >= 2, "ABI {abi}: {said}");
        assert_eq!(lacks.contains("renaming"), abi < 2, "{lacks}");
        assert_eq!(said.contains("truncates"), abi < 3, "ABI {abi}: {said}");
        assert_eq!(lacks.contains("truncating"), abi < 3, "{lacks}");
    }
}

#[tokio::test]
async fn a_role_that_asks_for_a_newer_landlock_than_there_is_does_not_start() {
    let image = base(&*engine("docker").await).await;
    let launcher = launcher(2).await;
    let folder = tempfile::tempdir().unwrap();
    let slot = Slot::at(folder.path().join("slot"));
    let wanted = occupant("newer", &image, 3);
    let launched = launcher
        .launch(&wanted, &slot, launcher.user(), Arc::new(|_| {}))
        .await;
    let Err(fault) = launched else {
        panic!("it started");
    };
    assert!(fault.to_string().contains("asks for 3"), "{fault}");
}

/// What the record says of limits is what the kernel's own files say, not what was asked for.
#[tokio::test]
async fn limits_are_read_back_from_the_kernel() {
    let image = base(&*engine("docker").await).await;
    let launcher = launcher(6).await;
    let folder = tempfile::tempdir().unwrap();
    let slot = Slot::at(folder.path().join("slot"));
    let mut wanted = occupant("limits", &image, 1);
    let caps = &mut Arc::make_mut(&mut wanted.rights).resources;
    caps.memory = 123 << 20;
    caps.pids = 77;
    caps.cpus = 0.7;
    let user = launcher.user();
    let sandbox = launcher
        .launch(&wanted, &slot, user, Arc::new(|_| {}))
        .await
        .unwrap();
    let found = sandbox.isolation().clone();
    sandbox.end().await.unwrap();
    assert!(found.cgroup_limits, "{found:?}");
    let held = found.held;
    assert_eq!(held.by, HeldBy::Cgroup, "its files can be read here");
    let numbers = (held.memory, held.processes, held.millicpus);
    assert_eq!(numbers, (Some(123 << 20), Some(77), Some(700)));
}
