//! The positive control of attacks: a container of the same image that was deliberately opened, in
//! which a probe must reach what it is after. A probe that reaches nothing there shows nothing.

use std::time::Duration;

use super::{Engine, Said, World};

const LIMIT: Duration = Duration::from_secs(300);

/// Runs a Python probe as root, with rights, without a filter, beside a PID 1 that is a shell.
#[track_caller]
pub(crate) fn opened(world: &World, engine: Engine, probe: &str) -> Said {
    opened_with(world, engine, probe, &[])
}

/// Like [`opened`], with more options for the engine's own program.
#[track_caller]
pub(crate) fn opened_with(world: &World, engine: Engine, probe: &str, options: &[&str]) -> Said {
    let image = world.image();
    let mut args = vec![
        "run",
        "--rm",
        "--user=0",
        "--env=CONTROL=1",
        "--network=none",
    ];
    args.push("--security-opt=seccomp=unconfined");
    args.extend(match engine {
        Engine::Docker => &[
            "--cap-add=SYS_ADMIN",
            "--cap-add=SYS_PTRACE",
            "--cap-add=DAC_READ_SEARCH",
            "--security-opt=systempaths=unconfined",
            "--security-opt=apparmor=unconfined",
        ][..],
        // Podman asks for more open files and processes than such a host may give.
        Engine::PodmanRootful => &[
            "--privileged",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ],
    });
    args.extend(options);
    args.extend([&image, "sh", "-c", "python3 -c \"$0\"; exit $?", probe]);
    world.start(engine.program(), &args).wait(LIMIT).exits(0)
}
