//! The container, the kernel behind it and the engine beside it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use rustix::process::Signal;

use super::{Engine, LIMIT, World, closed, confined, confined_as, on_each, opened, reached, world};

#[test]
fn attack_k01_no_socket_of_an_engine_is_in_a_sandbox() {
    let probe = include_str!("probes/k01_engine_socket.py");
    on_each(|engine| {
        let world = world(engine);
        closed(confined(&world, probe, &[]), "LOOKED");
        for program in ["docker", "podman"] {
            let run = [
                "sandbox",
                "run",
                "--role",
                "eng-backend",
                "--",
                program,
                "version",
            ];
            drop(world.loki(&run).exits(127));
        }
        // Not an engine's real socket: one of the test's own, mounted where such a socket would be.
        let path = world.path("../engine.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let mount = format!("--volume={}:/run/docker.sock", path.display());
        let control = opened(&world, engine, probe, &[&mount]);
        reached(
            &control,
            &["socket /run/docker.sock", "connect /run/docker.sock"],
        );
    });
}

#[test]
fn attack_k01_no_policy_mounts_anything() {
    let world = World::new();
    for text in [
        "mounts: [/var/run/docker.sock]",
        "agents: { eng-backend: { mounts: [/var/run/docker.sock] } }",
        "permissions: { eng-backend: { read: [/var/run/docker.sock] } }",
    ] {
        world.write("p.yaml", format!("version: 1\n{text}\n"));
        drop(world.loki(&["policy", "check", "p.yaml"]).exits(3));
    }
    world.write(
        "p.yaml",
        "version: 1\npermissions: { eng-backend: { read: [docker.sock] } }\n",
    );
    drop(world.loki(&["policy", "check", "p.yaml"]).exits(0));
}

#[test]
fn attack_k03_no_descriptor_of_the_host_is_inherited() {
    let probe = include_str!("probes/k03_descriptors.py");
    on_each(|engine| {
        let world = world(engine);
        closed(confined(&world, probe, &[]), "IN /work\n");
        // Loki itself is started with a descriptor too many.
        let script = format!(
            "exec 9</etc; exec loki sandbox run --role eng-backend -- python3 -c '{probe}'"
        );
        closed(
            world.start("sh", &["-c", &script]).wait(LIMIT).exits(0),
            "IN /work\n",
        );
        let script = format!("exec 9</etc; exec python3 -c '{probe}'");
        reached(
            &world.start("sh", &["-c", &script]).wait(LIMIT).exits(0),
            &["9 /etc"],
        );
    });
}

#[test]
fn attack_k05_set_id_programs_and_capabilities_give_nothing() {
    let probe = include_str!("probes/k05_privileges.py");
    on_each(|engine| {
        let world = world(engine);
        closed(confined(&world, probe, &[]), "LOOKED");
        let planted = format!(
            "import os, shutil, struct\nshutil.copy('/bin/sh', '/tmp/sh')\nos.chmod('/tmp/sh', 0o6755)\n\
             shutil.copy('/bin/sh', '/usr/local/capable')\n\
             os.setxattr('/usr/local/capable', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 13, 0, 0, 0))\n{probe}"
        );
        let control = opened(&world, engine, &planted, &[]);
        reached(
            &control,
            &[
                "set-id /tmp/sh",
                "file capability /usr/local/capable",
                "CapEff",
                "CapBnd",
                "new privileges",
                "uid 0",
            ],
        );
    });
}

#[test]
fn attack_k05_nobody_on_the_host_gets_near_a_set_id_program_of_an_agent() {
    on_each(|engine| {
        let world = world(engine);
        let plant =
            "cp /bin/sh src/planted && chmod 6755 src/planted && echo planted && exec sleep 60";
        let mut running = world.spawn(&[
            "sandbox",
            "run",
            "--role",
            "eng-backend",
            "--",
            "sh",
            "-c",
            plant,
        ]);
        running.wait_until(LIMIT, |said| said.stdout == "planted\n");
        let slots = world.path(".loki/adhoc");
        let slot = fs::read_dir(slots)
            .unwrap()
            .next()
            .expect("a sandbox runs")
            .unwrap()
            .path();
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode();
        // The control: the program is there and has the bits, so that only the way to it protects.
        assert_eq!(mode(&slot.join("work/src/planted")) & 0o7777, 0o6755);
        assert_eq!(
            mode(&slot) & 0o7777,
            0o700,
            "others can run `{}`",
            slot.display()
        );
        running.signal(Signal::TERM);
        drop(running.wait(LIMIT).in_any_case());
    });
}

#[test]
fn attack_k06_namespaces_and_rare_calls_are_refused_in_every_role() {
    let probe = include_str!("probes/k06_calls.py");
    // Of each kind of role one. `prod-techwriter` has no program that could make such a call.
    let roles = ["eng-backend", "eng-qa", "check", "review-code"];
    on_each(|engine: Engine| {
        let world = world(engine);
        for role in roles {
            closed(confined_as(&world, role, probe, &[]), "OWN CHILD traced");
        }
        let control = opened(&world, engine, probe, &[]);
        let refused = control
            .stdout
            .lines()
            .filter(|line| line.starts_with("CLOSED"));
        assert_eq!(
            refused.collect::<Vec<_>>(),
            Vec::<&str>::new(),
            "the control is refused, so the probe shows nothing"
        );
        reached(
            &control,
            &[
                "unshare-user",
                "io_uring_setup",
                "bpf",
                "userfaultfd",
                "keyctl",
                "process_vm_readv-init",
                "/proc/1/mem",
                "kill init",
            ],
        );
    });
}
