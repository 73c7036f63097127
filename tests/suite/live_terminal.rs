//! Terminals in sandboxes, with a person at a real one here: what is seen, typed, resized and
//! interrupted, and what is left of the person's terminal afterwards. And what else can be asked of
//! a throw-away sandbox.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Engine, Run, World, as_backend};

const LIMIT: Duration = Duration::from_secs(180);
const PERSON: &str = include_str!("harness/probes/person.py");

fn world(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.commit();
    world
}

/// What a person saw, and how it ended.
#[derive(Debug)]
struct Sitting {
    shown: String,
    code: i64,
    restored: bool,
}

/// Lets a person start `loki` on a terminal and follow these steps.
#[track_caller]
fn sit(world: &World, args: &[&str], steps: &[Value]) -> Sitting {
    let steps = Value::from(steps.to_vec()).to_string();
    let mut argv = vec!["-c", PERSON, &steps, env!("CARGO_BIN_EXE_loki")];
    argv.extend(args);
    let said = world.start("python3", &argv).wait(LIMIT).exits(0);
    let told: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"));
    Sitting {
        shown: told["shown"].as_str().unwrap().to_owned(),
        code: told["code"].as_i64().unwrap(),
        restored: told["restored"].as_bool().unwrap(),
    }
}

fn run(world: &World, options: &[&str], script: &str) -> Run {
    let role = ["sandbox", "run", "--role", "eng-backend"];
    world.loki(&[&role, options, &["--", "sh", "-c", script]].concat())
}

#[test]
fn live_a_program_on_a_terminal_has_it_for_everything_and_in_its_size() {
    let probe = "stty size; tty; test -t 0 && test -t 1 && test -t 2 && echo all three; \
        echo by name >/dev/tty; stty size </dev/tty; echo TERM=$TERM; ls /dev/pts; exit 6";
    for engine in Engine::ALL {
        let world = world(engine);
        let sat = sit(&world, &as_backend(&["sh", "-c", probe]), &[]);
        let lines: Vec<&str> = sat.shown.lines().collect();
        let expected = [
            "33 101",
            "/dev/pts/0",
            "all three",
            "by name",
            "33 101",
            "TERM=xterm",
            "0",
            "ptmx",
        ];
        // Names of a directory stand on one line of a terminal.
        let shown: Vec<&str> = lines
            .iter()
            .flat_map(|line| match *line {
                "0  ptmx" => vec!["0", "ptmx"],
                line => vec![line],
            })
            .collect();
        assert_eq!(shown, expected, "{sat:?}");
        assert_eq!((sat.code, sat.restored), (6, true), "{sat:?}");
    }
}

#[test]
fn live_a_window_that_changes_changes_inside() {
    let probe = "trap 'stty size' WINCH; echo ready; while sleep 0.1; do :; done";
    for engine in Engine::ALL {
        let world = world(engine);
        let steps = [
            json!(["see", "ready"]),
            json!(["resize", 44, 55]),
            json!(["see", "44 55"]),
            json!(["resize", 10, 200]),
            json!(["see", "10 200"]),
            json!(["type", "\u{3}"]),
        ];
        let sat = sit(&world, &as_backend(&["sh", "-c", probe]), &steps);
        assert_eq!((sat.code, sat.restored), (130, true), "{sat:?}");
    }
}

#[test]
fn live_control_c_goes_to_the_program_inside() {
    let probe = "trap 'echo caught; exit 7' INT; echo ready; while sleep 0.1; do :; done";
    for engine in Engine::ALL {
        let world = world(engine);
        let steps = [
            json!(["see", "ready"]),
            json!(["raw", true]),
            json!(["type", "\u{3}"]),
            json!(["see", "caught"]),
        ];
        let sat = sit(&world, &as_backend(&["sh", "-c", probe]), &steps);
        assert_eq!((sat.code, sat.restored), (7, true), "{sat:?}");
    }
}

#[test]
fn live_a_terminal_gets_its_modes_back_however_the_end_comes() {
    let world = world(Engine::Docker);
    let killed = sit(
        &world,
        &as_backend(&["sh", "-c", "stty -echo raw; kill -9 $$"]),
        &[],
    );
    assert_eq!((killed.code, killed.restored), (137, true), "{killed:?}");
    for (signal, code) in [(15, 143), (1, 129), (2, 130)] {
        let steps = [
            json!(["see", "ready"]),
            json!(["raw", true]),
            json!(["kill", signal]),
        ];
        let sat = sit(
            &world,
            &as_backend(&["sh", "-c", "echo ready; sleep 60"]),
            &steps,
        );
        assert_eq!((sat.code, sat.restored), (code, true), "{sat:?}");
    }
    let refused = sit(&world, &as_backend(&["mount"]), &[]);
    assert_eq!((refused.code, refused.restored), (126, true), "{refused:?}");
    let late = [
        "sandbox",
        "run",
        "--role",
        "eng-backend",
        "--timeout",
        "2s",
        "--",
        "sleep",
        "60",
    ];
    let late = sit(&world, &late, &[json!(["raw", true])]);
    assert_eq!((late.code, late.restored), (124, true), "{late:?}");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn live_what_was_shown_last_is_not_lost_and_nothing_that_stays_holds_up_the_end() {
    let world = world(Engine::Docker);
    let many = sit(&world, &as_backend(&["seq", "100000"]), &[]);
    assert!(
        many.shown.ends_with("\r\n99999\r\n100000\r\n"),
        "{} bytes",
        many.shown.len()
    );
    assert_eq!(many.shown.lines().count(), 100_000);
    let stays = "trap '' HUP; sleep 60 & echo left; exit 3";
    let sat = sit(&world, &as_backend(&["sh", "-c", stays]), &[]);
    assert_eq!((sat.code, sat.shown.as_str()), (3, "left\r\n"), "{sat:?}");
}

#[test]
fn live_a_shell_is_interactive_and_has_the_role_s_rights() {
    for engine in Engine::ALL {
        let world = world(engine);
        let steps = [
            json!(["type", "echo a${NOTHING}b; pwd; ls\r"]),
            json!(["see", "ab\r\n/work\r\n"]),
            json!(["see", "src"]),
            json!(["type", "touch /work/outside; echo $?\r"]),
            json!(["see", "Permission denied"]),
            json!(["type", "sh -c 'echo wai''ting; exec sleep 60'\r"]),
            json!(["see", "waiting"]),
            json!(["type", "\u{1a}"]),
            json!(["see", "Stopped"]),
            json!(["see", "$ "]),
            // Told before the next prompt: until then a shell does not leave its job behind.
            json!(["type", "kill -9 %1; sleep 1\r"]),
            json!(["see", "Killed"]),
            json!(["type", "exit 5\r"]),
        ];
        let sat = sit(
            &world,
            &["sandbox", "shell", "--role", "eng-backend"],
            &steps,
        );
        assert!(!sat.shown.contains("no job control"), "{sat:?}");
        assert_eq!((sat.code, sat.restored), (5, true), "{sat:?}");
        assert_eq!(world.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn live_a_shell_needs_a_terminal_and_a_role_that_may_run_one() {
    let world = world(Engine::Docker);
    let shell = ["sandbox", "shell", "--role", "eng-backend"];
    drop(
        world
            .loki(&shell)
            .exits(2)
            .says(&["needs a terminal", "`loki sandbox run"]),
    );
    world.write(
        "p.yaml",
        "version: 1\nagents: { eng-dumb: { image: base } }\npermissions: { eng-dumb: { read: [\"**\"], execute: [git] } }\n",
    );
    let shell = [
        "sandbox", "shell", "--role", "eng-dumb", "--policy", "p.yaml",
    ];
    let sat = sit(&world, &shell, &[]);
    assert_eq!((sat.code, sat.restored), (126, true), "{sat:?}");
    assert!(sat.shown.contains("`sh` may not run"), "{sat:?}");
}

#[test]
fn live_who_wants_a_terminal_or_none_says_so() {
    let world = world(Engine::Docker);
    let probe = "test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size; cat";
    // No terminal here: one of the usual size, which ends when the input does.
    let forced = [
        "sandbox",
        "run",
        "--role",
        "eng-backend",
        "-t",
        "--",
        "sh",
        "-c",
        probe,
    ];
    let said = world.loki_fed(&forced, "typed\n").exits(0);
    drop(said.prints(&["terminal\r\n", "24 80\r\n", "typed\r\n"]));
    let refused = [
        "sandbox",
        "run",
        "--role",
        "eng-backend",
        "-T",
        "--",
        "sh",
        "-c",
        "test -t 0 || test -t 1 || echo pipes",
    ];
    let sat = sit(&world, &refused, &[]);
    assert_eq!((sat.code, sat.shown.as_str()), (0, "pipes\r\n"), "{sat:?}");
}

#[test]
fn live_variables_are_given_one_by_one_and_nothing_else_is_taken_over() {
    for engine in Engine::ALL {
        let world = world(engine);
        let given = [
            "--env",
            "GREETING=hello = world",
            "--env",
            "EMPTY=",
            "--env",
            "GREETING=last",
        ];
        let said = run(&world, &given, "env | sort").exits(0);
        // Where programs find the certificates they trust is Loki's to say, as a path is.
        let own = said
            .stdout
            .lines()
            .filter(|line| !line.ends_with("=/etc/ssl/certs/ca-certificates.crt"));
        let names: Vec<&str> = own.filter_map(|line| line.split('=').next()).collect();
        let expected = [
            "EMPTY",
            "GREETING",
            "HOME",
            "LANG",
            "LOGNAME",
            "LOKI_ROLE",
            "PATH",
            "PWD",
            "TMPDIR",
            "USER",
        ];
        assert_eq!(names, expected, "{said}");
        drop(said.prints(&["GREETING=last\n", "EMPTY=\n"]));
    }
    let world = World::new();
    for (text, why) in [
        ("PATH=/x", "`PATH` is set by Loki"),
        ("LD_PRELOAD=/x", "`LD_PRELOAD`"),
        ("LOKI_ROLE=check", "`LOKI_ROLE`"),
        ("HOME", "NAME=VALUE"),
        ("1=2", "begins with no digit"),
    ] {
        drop(run(&world, &["--env", text], "env").exits(2).says(&[why]));
    }
}

#[test]
fn live_a_time_that_is_over_ends_everything() {
    for engine in Engine::ALL {
        let world = world(engine);
        let script = "trap '' TERM INT; echo started; sleep 60 & sleep 60; echo never";
        let said = run(&world, &["--timeout", "2s"], script).exits(124);
        assert_eq!(said.stdout, "started\n");
        drop(said.says(&["ended after 2 s, as `--timeout` says"]));
        drop(
            run(&world, &["--timeout", "1m"], "exit 9")
                .exits(9)
                .says_nothing(),
        );
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
    let world = World::new();
    for text in ["30", "0s", "soon"] {
        drop(
            run(&world, &["--timeout", text], "true")
                .exits(2)
                .says(&["30s, 5m"]),
        );
    }
}

#[test]
fn live_a_sandbox_works_on_the_commit_that_is_named() {
    let world = world(Engine::Docker);
    world.git(&["tag", "old"]);
    world.write("src/app.py", "print('newer')\n");
    world.git(&["commit", "--quiet", "--all", "--message=second"]);
    world.write("src/app.py", "print('not committed')\n");
    let script = "cat src/app.py; git status --short";
    for (options, expected) in [
        (&[][..], "print('newer')\n"),
        (&["--worktree", "old"], "print('app')\n"),
        (&["--worktree", "HEAD~1"], "print('app')\n"),
        (&["--worktree", "main"], "print('newer')\n"),
    ] {
        let said = run(&world, options, script).exits(0);
        assert_eq!(said.stdout, expected, "{options:?}");
    }
    for name in ["nosuch", "--all", "HEAD:src/app.py", ""] {
        let option = format!("--worktree={name}");
        drop(
            run(&world, &[&option], "true")
                .exits(2)
                .says(&["names no commit", "hint: "]),
        );
    }
    assert_eq!(world.git(&["status", "--porcelain"]), " M src/app.py\n");
}

#[test]
fn live_without_a_network_even_what_the_policy_allows_is_not_there() {
    let world = world(Engine::Docker);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    world.write(
        "p.yaml",
        format!(
            "version: 1\nnetwork_policies:\n  eng-backend: {{ egress: [\"sink.test:80\"] }}\nhosts:\n  sink.test: \"127.0.0.1:{port}\"\n"
        ),
    );
    // A denied name resolves too, to what explains the denial: only the sink knows who came.
    let ask = "curl --silent --max-time 5 http://sink.test/; echo asked";
    for (options, wanted) in [
        (&[][..], true),
        (&["--network", "none"], false),
        (&["--network", "policy"], true),
    ] {
        let options = [&["--policy", "p.yaml"], options].concat();
        drop(run(&world, &options, ask).exits(0).prints(&["asked"]));
        assert_eq!(listener.accept().is_ok(), wanted, "{options:?}");
    }
    drop(
        run(&world, &["--network", "host"], "true")
            .exits(2)
            .says(&["none"]),
    );
}

#[test]
fn live_a_person_at_a_terminal_is_not_ended_by_the_caps_of_agents() {
    let world = world(Engine::Docker);
    world.write(
        "p.yaml",
        "version: 1\nresources: { eng-backend: { idle_timeout: 1s, timeout: 2s } }\n",
    );
    let role = ["--role", "eng-backend", "--policy", "p.yaml"];
    let steps = [
        json!(["type", "sleep 4; echo do''ne\r"]),
        json!(["see", "done"]),
        json!(["type", "exit 5\r"]),
    ];
    let sat = sit(&world, &[&["sandbox", "shell"][..], &role].concat(), &steps);
    assert_eq!((sat.code, sat.restored), (5, true), "{sat:?}");
    let quiet = [&["sandbox", "run"][..], &role, &["-T", "--", "sleep", "60"]].concat();
    let said = world.loki(&quiet).exits(137);
    drop(said.says(&["of role `eng-backend`, set in p.yaml:2: see `loki policy show"]));
}
