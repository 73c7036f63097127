//! The container and the engine beside it, as far as it takes this host to see them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;

use super::{LIMIT, World, as_backend, on_each, world};

#[test]
fn attack_k01_no_program_of_an_engine_is_in_a_sandbox() {
    on_each(|engine| {
        let world = world(engine);
        for program in ["docker", "podman"] {
            drop(world.loki(&as_backend(&[program, "version"])).exits(127));
        }
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
fn attack_k03_a_descriptor_that_loki_itself_was_given_goes_no_further() {
    on_each(|engine| {
        let world = world(engine);
        let attest = "exec 9</etc; exec loki sandbox attest --only K3";
        drop(world.start("sh", &["-c", attest]).wait(LIMIT).exits(0));
        // The control: a program started in this way has it.
        let control = world.start("sh", &["-c", "exec 9</etc; exec readlink /proc/self/fd/9"]);
        drop(control.wait(LIMIT).exits(0).prints(&["/etc"]));
    });
}

#[test]
fn attack_k05_nobody_on_the_host_gets_near_a_set_id_program_of_an_agent() {
    on_each(|engine| {
        let world = world(engine);
        let plant =
            "cp /bin/sh src/planted && chmod 6755 src/planted && echo planted && exec sleep 60";
        let mut running = world.spawn(&as_backend(&["sh", "-c", plant]));
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
fn attack_k06_rare_calls_are_refused_in_every_kind_of_role() {
    on_each(|engine| {
        let world = world(engine);
        // `prod-techwriter` has no program that could make such a call; attest brings one.
        for role in ["eng-qa", "check", "review-code", "prod-techwriter"] {
            let attest = ["sandbox", "attest", "--only", "K6", "--role", role];
            drop(world.loki(&attest).exits(0).prints(&["1 passed, 0 failed"]));
        }
    });
}
