//! What an agent can do to PID 1 of its sandbox, and to programs of the image that it may not run:
//! nothing. Every probe is also run in a container that was deliberately opened, where it must
//! reach what it is after.

use super::harness::{Engine, Said, World, on_each, opened};

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.commit();
    world
}

#[track_caller]
fn confined(world: &World, options: &[&str], probe: &str) -> Said {
    let role = ["sandbox", "run", "--role", "eng-backend"];
    let python = ["--", "python3", "-c", probe];
    world.loki(&[&role, options, &python].concat()).exits(0)
}

/// Returns what stands behind these words at the beginning of lines.
fn lines<'a>(said: &'a Said, word: &str) -> Vec<&'a str> {
    let lines = said.stdout.lines();
    lines
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::trim))
        .collect()
}

#[test]
fn attack_k06_pid_1_is_not_traced_signalled_read_or_starved() {
    let probe = include_str!("harness/probes/guest.py");
    on_each(|engine| {
        let world = world(engine);
        let said = confined(&world, &[], probe);
        assert_eq!(lines(&said, "REACHED"), Vec::<&str>::new(), "{said}");
        assert!(lines(&said, "CLOSED").len() > 50, "{said}");
        assert_eq!(lines(&said, "OOM"), ["500 0"], "{said}");
        assert_eq!(lines(&said, "ORPHANS LEFT"), ["0"], "{said}");

        let control = opened(&world, engine, probe);
        let closed = lines(&control, "CLOSED");
        // What the kernel has not, or has for nobody.
        let missing = [
            "read stack",
            "write clear_refs",
            "write autogroup",
            "write sched",
            "read syscall",
            "kcmp",
            "map_files",
            "pidfd_getfd",
        ];
        let odd: Vec<_> = closed
            .iter()
            .filter(|line| !missing.iter().any(|name| line.contains(name)))
            .collect();
        assert!(
            odd.is_empty(),
            "the control is refused, so the probe shows nothing: {odd:?}\n{control}"
        );
    });
}

#[test]
fn attack_k06_a_program_that_may_not_run_is_not_run_nor_read_by_any_trick() {
    let probe = include_str!("harness/probes/execute.py");
    on_each(|engine| {
        let world = world(engine);
        let said = confined(&world, &[], probe);
        assert_eq!(lines(&said, "REACHED"), Vec::<&str>::new(), "{said}");
        let said = said.prints(&["own script\n", "by the loader\n"]);
        let ways = lines(&said, "CLOSED").len();
        let control = opened(&world, engine, probe);
        assert_eq!(lines(&control, "CLOSED"), Vec::<&str>::new(), "{control}");
        assert_eq!(lines(&control, "REACHED").len(), ways, "{control}");
    });
}

#[test]
fn attack_k06_no_program_of_the_image_is_readable_that_may_not_run() {
    let probe = include_str!("harness/probes/readable.py");
    let policy = "version: 1\nagents: { eng-lone: { image: base } }\npermissions: { eng-lone: { read: [\"**\"], execute: [python3] } }\n";
    on_each(|engine| {
        let world = world(engine);
        world.write("p.yaml", policy);
        let run = [
            "sandbox", "run", "--role", "eng-lone", "--policy", "p.yaml", "--", "python3", "-c",
            probe,
        ];
        let said = world.loki(&run).exits(0);
        let strangers: Vec<_> = lines(&said, "READABLE")
            .into_iter()
            .filter(|path| {
                let name = path.rsplit('/').next().unwrap();
                !name.starts_with("python3") && !name.starts_with("ld-linux") && name != "libc.so.6"
            })
            .collect();
        assert_eq!(strangers, Vec::<&str>::new(), "{said}");
        let control = opened(&world, engine, probe);
        assert!(lines(&control, "READABLE").len() > 200, "{control}");
    });
}

/// A role that runs nothing of its own: both layers hold on Podman; on Docker, whose API cannot
/// mount a directory so, Landlock alone on the worktree and the home directory.
#[test]
fn attack_k06_a_role_that_runs_nothing_of_its_own_finds_nothing_to_run_from() {
    let policy = "version: 1\nagents: { eng-plain: { image: base } }\npermissions: { eng-plain: { read: [\"**\"], write: [\"src/**\"], execute: [sh, cp, cat, chmod, echo, git] } }\n";
    let probe = "for place in /tmp /home/agent /work/src; do
        cp /usr/bin/echo $place/own && chmod 755 $place/own || exit 9
        $place/own DIRECT $place
        /lib64/ld-linux-x86-64.so.2 $place/own LOADED $place
    done
    cat /proc/self/mountinfo; echo end";
    on_each(|engine| {
        let world = world(engine);
        world.write("p.yaml", policy);
        let run = |role: &str| {
            let args = [
                "sandbox", "run", "--role", role, "--policy", "p.yaml", "--", "sh", "-c", probe,
            ];
            world.loki(&args).exits(0).prints(&["\nend\n"])
        };
        let said = run("eng-plain");
        assert_eq!(
            lines(&said, "DIRECT"),
            Vec::<&str>::new(),
            "Landlock holds\n{said}"
        );
        let noexec = |place: &str| {
            let holds =
                |line: &&str| line.split(' ').nth(4) == Some(place) && line.contains("noexec");
            said.stdout.lines().any(|line| holds(&line))
        };
        let places = ["/tmp", "/home/agent", "/work"].map(noexec);
        let loaded = lines(&said, "LOADED");
        match engine {
            Engine::PodmanRootful => {
                assert_eq!(places, [true; 3], "{said}");
                assert_eq!(loaded, Vec::<&str>::new(), "{said}");
            }
            Engine::Docker => {
                assert_eq!(places, [true, false, false], "{said}");
                assert_eq!(
                    loaded,
                    ["/home/agent", "/work/src"],
                    "docs/files.md says so\n{said}"
                );
            }
        }
        // The control: a role with a glob for programs of its own runs them where the glob says.
        let control = run("eng-backend");
        assert!(
            lines(&control, "DIRECT").contains(&"/work/src"),
            "{control}"
        );
        assert_eq!(lines(&control, "LOADED").len(), 3, "{control}");
    });
}
