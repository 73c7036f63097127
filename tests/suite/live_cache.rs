//! Answers that are given again, in real sandboxes: the second request does not reach the server,
//! another role gets its own answer, and no sandbox sees where they are kept.

use super::{
    harness::{Engine, Said, World},
    live_inspect::{Server, server},
};

fn world(engine: Engine, server: &Server) -> World {
    let world = World::on(engine);
    world.write("README.md", "# Try\n");
    world.write("../ca.pem", &server.authority);
    let ca = std::fs::canonicalize(world.path("../ca.pem")).unwrap();
    let role = "{ read: [\"**\"], execute: [\"@shell\", curl, find] }";
    let rule = "{ egress: [{ host: a.test, port: 443, methods: [GET], cache: 1h }] }";
    let policy = format!(
        "version: 1
permissions: {{ eng-backend: {role}, eng-frontend: {role} }}
network_policies: {{ eng-backend: {rule}, eng-frontend: {rule} }}
hosts: {{ a.test: {{ to: \"{}\", ca: \"{}\" }} }}
",
        server.at,
        ca.display()
    );
    world.write("../policy.yaml", policy);
    world.commit();
    world
}

fn run(world: &World, role: &str, script: &str) -> Said {
    let words = [
        "sandbox",
        "run",
        "--policy",
        "../policy.yaml",
        "--role",
        role,
    ];
    let run = world.loki(&[&words[..], &["--", "sh", "-uc", script]].concat());
    run.exits(0)
}

/// Asks until the answer comes from the cache: it is kept a moment after it was read.
const UNTIL_KEPT: &str =
    "n=0; while [ $n -lt 100 ]; do n=$((n+1)); curl -sSi https://a.test/kept > /tmp/said
grep -qi '^cache-status: loki; hit' /tmp/said && break; done; cat /tmp/said";
/// Asks once more, and looks for what is kept, beside something that is there.
const ONCE: &str = "curl -sSi --retry 9 --retry-all-errors https://a.test/kept
find /etc /work /home/agent /tmp /loki /run \\( -name passwd -o -name research -o -name answers.key -o -name .unfinished \\) 2>/dev/null
cat /proc/self/mountinfo";

#[test]
fn live_cache_a_second_request_does_not_reach_the_server_and_no_sandbox_the_cache() {
    for engine in Engine::ALL {
        let server = server("a.test");
        let world = world(engine, &server);
        let asked = || server.heard.lock().unwrap().len();
        let said = run(&world, "eng-backend", UNTIL_KEPT);
        let said = said.prints(&["cache-status: loki; hit", "age: "]);
        let before = asked();
        assert!((1..100).contains(&before), "{before}: {said}");
        assert!(world.path(".loki/cache/research/eng-backend").is_dir());
        let again = run(&world, "eng-backend", ONCE).prints(&[
            "cache-status: loki; hit",
            "kept ",
            "/etc/passwd",
            " /work ",
        ]);
        assert_eq!(asked(), before, "{again}");
        for hint in ["/research", "answers.key", ".unfinished"] {
            assert!(!again.stdout.contains(hint), "{again}");
        }
        let other = run(&world, "eng-frontend", ONCE);
        assert!(asked() > before, "{other}");
        assert!(!other.stdout.contains("loki; hit"), "{other}");
    }
}
