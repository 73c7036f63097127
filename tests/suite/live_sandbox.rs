//! `loki sandbox run` on real engines: what a program in a sandbox is, sees and may not do, and
//! how its end becomes the end of the command.

use std::time::Duration;

use rustix::process::Signal;

use super::harness::{Engine, Run, Said, World, as_backend};

const SOON: Duration = Duration::from_secs(60);

fn repository(engine: Engine) -> World {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.commit();
    world
}

fn run(world: &World, argv: &[&str]) -> Run {
    world.loki(&as_backend(argv))
}

/// Returns the value of a line `Key:\tvalue` of `/proc/self/status`.
#[track_caller]
fn field<'a>(said: &'a Said, key: &str) -> &'a str {
    let found = said
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    found.unwrap_or_else(|| panic!("/proc/self/status has no {key}\n{said}"))
}

#[test]
fn live_a_program_in_a_sandbox_has_no_rights_no_network_and_no_way_out_of_its_files() {
    let probe = "id -u; cat /proc/self/status; cat /proc/net/dev; cat /etc/shadow; touch /etc/x; touch /work/outside; echo end";
    for engine in Engine::ALL {
        let world = repository(engine);
        let said = run(&world, &["sh", "-c", probe]).exits(0);
        let uid: u32 = said.stdout.lines().next().unwrap().parse().unwrap();
        assert_ne!(uid, 0, "{said}");
        assert!(
            field(&said, "Uid")
                .split_whitespace()
                .all(|one| one == uid.to_string()),
            "{said}"
        );
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&said, set), "0000000000000000", "{set}\n{said}");
        }
        assert_eq!(field(&said, "NoNewPrivs"), "1");
        assert_eq!(field(&said, "Seccomp"), "2");
        let devices: Vec<&str> = said
            .stdout
            .lines()
            .filter_map(|line| line.trim().split_once(": "))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(devices, ["lo"], "{said}");
        let said = said.prints(&["\nend\n"]);
        let refusals: Vec<&str> = said.stderr.lines().collect();
        assert_eq!(refusals.len(), 3, "{said}");
        for (line, (what, why)) in refusals.iter().zip([
            ("/etc/shadow", "Permission denied"),
            ("/etc/x", "Read-only file system"),
            ("/work/outside", "Permission denied"),
        ]) {
            assert!(line.contains(what) && line.contains(why), "{line}");
        }
        world.git(&["diff", "--exit-code"]);
        nothing_left(&world);
    }
}

/// The control of the test above: the same role may write where its globs say, and read its copy.
#[test]
fn live_a_program_in_a_sandbox_can_do_what_its_role_may_do() {
    for engine in Engine::ALL {
        let world = repository(engine);
        let work = "cat src/app.py && echo new > src/new.py && cat src/new.py && python3 src/app.py && git status --short";
        run(&world, &["sh", "-c", work]).exits(0).prints(&[
            "print('app')",
            "new\n",
            "app\n",
            "?? src/new.py",
        ]);
        assert!(
            !world.path("src/new.py").exists(),
            "the copy is thrown away"
        );
        assert_eq!(world.git(&["status", "--porcelain"]), "");
        nothing_left(&world);
    }
}

#[test]
fn live_the_end_of_a_program_is_the_end_of_the_command() {
    for engine in Engine::ALL {
        let world = repository(engine);
        run(&world, &["true"]).exits(0).says_nothing();
        run(&world, &["sh", "-c", "exit 3"]).exits(3).says_nothing();
        run(&world, &["sh", "-c", "kill -TERM $$"])
            .exits(128 + 15)
            .says_nothing();
        run(&world, &["no-such-program"])
            .exits(127)
            .says(&["`no-such-program`", "hint: "]);
        run(&world, &["mount"]).exits(126).says(&[
            "`mount`",
            "may not run",
            "hint: `loki policy show eng-backend`",
        ]);
        run(&world, &["src/app.py"])
            .exits(126)
            .says(&["`src/app.py`", "hint: "]);
        nothing_left(&world);
    }
}

#[test]
fn live_the_three_streams_of_a_program_are_its_own() {
    for engine in Engine::ALL {
        let world = repository(engine);
        let said = run(&world, &["sh", "-c", "echo out; echo err >&2"]).exits(0);
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str()),
            ("out\n", "err\n")
        );
        let large = "0123456789abcde\n".repeat(64 * 1024);
        let said = world
            .loki_fed(&as_backend(&["cat"]), &large)
            .exits(0)
            .says_nothing();
        assert!(
            said.stdout == large,
            "{} of {} bytes came back",
            said.stdout.len(),
            large.len()
        );
        // An input that is not read to its end does not hold up the end.
        world
            .loki_fed(&as_backend(&["head", "-c", "4"]), &large)
            .exits(0)
            .prints(&["0123"]);
    }
}

#[test]
fn live_an_input_that_never_ends_does_not_hold_up_the_end_of_a_program() {
    let world = repository(Engine::Docker);
    let loki = env!("CARGO_BIN_EXE_loki");
    let line = format!(
        "mkfifo ../tmp/open; exec 9<>../tmp/open; exec {loki} sandbox run --role eng-backend -- true <&9"
    );
    world
        .start("sh", &["-c", &line])
        .wait(SOON)
        .exits(0)
        .says_nothing();
}

#[test]
fn live_control_c_ends_a_sandbox_and_leaves_nothing() {
    for engine in Engine::ALL {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let world = repository(engine);
            let mut running = world.spawn(&as_backend(&["sh", "-c", "echo ready; exec sleep 60"]));
            running.wait_until(SOON, |said| said.stdout == "ready\n");
            running.signal(signal);
            drop(running.wait(Duration::from_secs(20)).exits(code));
            nothing_left(&world);
        }
    }
}

#[test]
fn live_sandbox_faults_say_what_to_type_next() {
    let world = repository(Engine::Docker);
    let unknown = ["sandbox", "run", "--role", "eng-nobody", "--", "true"];
    world
        .loki(&unknown)
        .exits(2)
        .says(&["`eng-nobody`", "`loki agents list`"]);
    world
        .loki(&["sandbox", "run", "--role", "eng-backend"])
        .exits(2)
        .says(&["loki sandbox run"]);
    world
        .loki(&["sandbox", "rm", "nosuch"])
        .exits(1)
        .says(&["`nosuch`", "`loki sandbox ls`"]);
    nothing_left(&world);
}

#[track_caller]
fn nothing_left(world: &World) {
    assert_eq!(
        world.leftovers(),
        Vec::<String>::new(),
        "containers are left"
    );
    let left = world.start(
        "find",
        &[
            ".", "-path", "./.git", "-prune", "-o", "-path", "./.loki*", "-type", "f", "-print",
        ],
    );
    assert_eq!(
        left.wait(SOON).exits(0).stdout,
        "",
        "files are left in .loki"
    );
}

#[test]
fn live_what_a_program_leaves_running_neither_holds_up_its_end_nor_cuts_its_words() {
    for engine in Engine::ALL {
        let world = repository(engine);
        let left = run(&world, &["sh", "-c", "sleep 600 & echo hi; exit 3"]).exits(3);
        assert_eq!(left.stdout, "hi\n", "{left}");
        let loud = run(&world, &["sh", "-c", "yes & exit 4"]).exits(4);
        assert!(
            loud.stdout.starts_with("y\n"),
            "{} bytes",
            loud.stdout.len()
        );
        nothing_left(&world);
    }
    // What takes the output sleeps longer than last words are waited for.
    let world = repository(Engine::Docker);
    let loki = env!("CARGO_BIN_EXE_loki");
    let line = format!(
        "{loki} sandbox run --role eng-backend -- sh -c 'sleep 600 & head -c 1000000 /dev/zero' | (sleep 6; wc -c)"
    );
    let said = world.start("sh", &["-c", &line]).wait(SOON).exits(0);
    assert_eq!(said.stdout.trim(), "1000000", "{said}");
}
