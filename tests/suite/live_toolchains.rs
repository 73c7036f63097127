//! Real programs under the whole confinement: what the filter of system calls, the path rules and
//! the limits of a sandbox must leave alone. Each runs as a shipped role on the image that has them
//! all, on every engine.

use std::{sync::OnceLock, time::Duration};

use super::harness::{Engine, Said, World};

/// The shipped roles, on the image that holds every toolchain.
const POLICY: &str = "version: 1
agents:
  data-ml: { image: full }
  eng-backend: { image: full }
  eng-frontend: { image: full }
  eng-perf: { image: full }
rate_limits:
  default: { file_writes_per_minute: 100000 }
  data-*: { file_writes_per_minute: 100000 }
  eng-*: { file_writes_per_minute: 100000 }
";
/// A pace that a program which writes 330 files must wait for, some six seconds. What the compiler
/// writes is not counted.
const SLOW: &str = "version: 1
agents: { eng-backend: { image: full } }
rate_limits: { eng-backend: { file_writes_per_minute: 300, uncounted: [\"build/**\"] } }
";

/// The sources of `tests/toolchains`, and where they lie in the repository.
const SOURCES: [(&str, &str); 8] = [
    ("ml/pools.py", include_str!("../toolchains/pools.py")),
    ("web/workers.js", include_str!("../toolchains/workers.js")),
    ("web/page.html", include_str!("../toolchains/page.html")),
    ("src/square.c", include_str!("../toolchains/square.c")),
    ("src/tables.c", include_str!("../toolchains/tables.c")),
    ("src/writers.go", include_str!("../toolchains/writers.go")),
    ("src/Pools.java", include_str!("../toolchains/Pools.java")),
    (
        "src/hello/src/main.rs",
        include_str!("../toolchains/threads.rs"),
    ),
];
const MANIFEST: &str = "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

/// How long making the image may take where no archive of it is cached, other tests beside it.
const COLD: Duration = Duration::from_secs(1200);

/// Builds the image once per engine, so that no test waits for it within its own time.
#[track_caller]
fn world(engine: Engine) -> World {
    static READY: [OnceLock<()>; 2] = [OnceLock::new(), OnceLock::new()];
    let world = World::on(engine);
    READY[engine as usize].get_or_init(|| {
        drop(world.spawn(&["image", "build", "full"]).wait(COLD).exits(0));
    });
    for (path, text) in SOURCES {
        world.write(path, text);
    }
    world.write("src/hello/Cargo.toml", MANIFEST);
    world.write("../policy.yaml", POLICY);
    world.commit();
    world
}

/// Runs a script as a role.
#[track_caller]
fn run(world: &World, role: &str, script: &str) -> Said {
    let policy = ["--policy", "../policy.yaml", "--role", role];
    let program = ["--", "sh", "-euc", script];
    let argv = [&["sandbox", "run"][..], &policy, &program].concat();
    world.loki(&argv).exits(0)
}

#[test]
fn live_toolchain_node_has_threads_children_files_and_servers() {
    for engine in Engine::ALL {
        run(&world(engine), "eng-frontend", "node web/workers.js")
            .prints(&["node 1 4 9 16 50 served\n"]);
    }
}

#[test]
fn live_toolchain_python_has_threads_children_pools_and_shared_memory() {
    for engine in Engine::ALL {
        run(&world(engine), "data-ml", "python3 ml/pools.py")
            .prints(&["python 14 42 child True\n"]);
    }
}

#[test]
fn live_toolchain_python_makes_environments_and_runs_tests() {
    let script = "cd ml && python3 -m venv --without-pip here && here/bin/python3 -c 'import sys; print(sys.prefix)'
        printf 'def test_sum():\\n    assert 1 + 1 == 2\\n' >test_sum.py && python3 -m pytest -q test_sum.py";
    for engine in Engine::ALL {
        run(&world(engine), "data-ml", script).prints(&["/work/ml/here\n", "1 passed"]);
    }
}

#[test]
fn live_toolchain_git_commits_and_clones() {
    let script = "git config user.name A && git config user.email a@example.test
        echo more >src/more && git add src/more && git commit --quiet --message=second
        git clone --quiet /work /tmp/copy && cd /tmp/copy && git log --format=%s && git fsck && git gc --quiet
        git worktree add --quiet /tmp/tree && ls /tmp/tree/src/more";
    for engine in Engine::ALL {
        run(&world(engine), "eng-backend", script)
            .prints(&["second\nbase\n", "/tmp/tree/src/more\n"]);
    }
}

#[test]
fn live_toolchain_a_c_program_is_built_traced_and_debugged() {
    let script = "cc -g -pthread -o build/square src/square.c && build/square
        strace --follow-forks --output=/tmp/trace build/square && grep -c 'clone(.*CLONE_THREAD' /tmp/trace
        gdb -quiet -batch -ex 'break square' -ex run -ex 'print n' -ex backtrace -ex continue build/square
        sleep 60 & child=$!
        gdb -quiet -batch -pid $child -ex 'print $_inferior' -ex detach
        kill $child";
    for engine in Engine::ALL {
        run(&world(engine), "eng-perf", script).prints(&[
            "c 49\nc 49\n1\n",
            "square (n=7) at src/square.c:4",
            "$1 = 7",
            "exited normally",
            "detached",
        ]);
    }
}

/// The control of the test above: what is not one's own child is not traced.
#[test]
fn live_toolchain_a_debugger_does_not_reach_what_is_not_its_own() {
    let script =
        "gdb -quiet -batch -pid 1 -ex 'info registers' 2>&1 || true; strace -p 1 2>&1 || true";
    for engine in Engine::ALL {
        run(&world(engine), "eng-perf", script).prints(&[
            "ptrace: Operation not permitted",
            "attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted",
        ]);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn live_toolchain_calls_by_the_numbers_of_other_machines_are_refused() {
    let script = "cc -o build/tables src/tables.c && build/tables";
    for engine in Engine::ALL {
        run(&world(engine), "eng-perf", script).prints(&["i386 killed\nx32 missing\n"]);
    }
}

#[test]
fn live_toolchain_cargo_builds_runs_and_tests() {
    let script = "export CARGO_TARGET_DIR=/work/target; cd src/hello
        cargo build --offline --quiet && /work/target/debug/hello && cargo test --offline --quiet";
    for engine in Engine::ALL {
        run(&world(engine), "eng-backend", script).prints(&["rust 14\n", "1 passed"]);
    }
}

#[test]
fn live_toolchain_go_builds_and_writes_many_files_at_once() {
    let script = "mkdir src/out && go build -o build/writers src/writers.go && build/writers && go vet src/writers.go";
    for engine in Engine::ALL {
        run(&world(engine), "eng-backend", script).prints(&["go 330\n"]);
    }
}

/// The runtime of Go signals its threads all the time, also those whose writes wait: none may fail
/// or be lost.
#[test]
fn live_toolchain_go_writes_while_the_write_meter_delays_it() {
    let script =
        "mkdir -p src/out build/tmp; export GOCACHE=/work/build/cache GOTMPDIR=/work/build/tmp
        go build -o build/writers src/writers.go
        begun=$(date +%s%N); build/writers; echo waited $((($(date +%s%N) - begun) / 1000000))";
    for engine in Engine::ALL {
        let world = world(engine);
        world.write("../policy.yaml", SLOW);
        let said = run(&world, "eng-backend", script).prints(&["go 330\n"]);
        let waited = said
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("waited "));
        let waited: u64 = waited.unwrap().parse().unwrap();
        println!("{engine:?}: 330 writes at 300 a minute: {waited} ms");
        assert!((5_000..60_000).contains(&waited), "{waited} ms\n{said}");
    }
}

#[test]
fn live_toolchain_java_compiles_and_runs_and_maven_starts() {
    let script = "javac -d build src/Pools.java && java -cp build Pools && mvn --version";
    for engine in Engine::ALL {
        run(&world(engine), "eng-backend", script)
            .prints(&["java 285 written 0\n", "Apache Maven"]);
    }
}

#[test]
fn live_toolchain_a_browser_shows_a_page() {
    // Its own sandbox needs user namespaces, which no agent may make: this sandbox takes its place.
    let script = "chromium --headless --no-sandbox --disable-gpu --dump-dom file:///work/web/page.html 2>/dev/null
        chromium --headless --no-sandbox --disable-gpu --screenshot=/tmp/shot.png file:///work/web/page.html 2>/dev/null
        file -b --mime-type /tmp/shot.png 2>/dev/null || head -c 4 /tmp/shot.png";
    for engine in Engine::ALL {
        run(&world(engine), "eng-frontend", script).prints(&["scripts ran 42", "PNG"]);
    }
}

/// What drives a browser in tests of pages: a server on the loopback address that starts one.
#[test]
fn live_toolchain_a_browser_is_driven() {
    let script = r#"chromedriver --port=9515 >/dev/null 2>&1 & driver=$!
        until curl --silent --fail localhost:9515/status >/dev/null; do sleep 0.1; done
        options='{"capabilities":{"alwaysMatch":{"goog:chromeOptions":{"args":["--headless","--no-sandbox"]}}}}'
        session=localhost:9515/session/$(curl --silent --data "$options" localhost:9515/session | jq -r .value.sessionId)
        curl --silent --data '{"url":"file:///work/web/page.html"}' "$session/url"
        curl --silent "$session/title"
        curl --silent --request DELETE "$session"; kill $driver"#;
    for engine in Engine::ALL {
        run(&world(engine), "eng-frontend", script).prints(&["{\"value\":\"A page\"}"]);
    }
}
