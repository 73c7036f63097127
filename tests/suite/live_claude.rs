//! The agent program `claude` as it is shipped by its makers, in real sandboxes on real engines: it
//! works against the suite's own model server, which stands under the provider's real name, and
//! never sees the key that the gateway adds.

use std::{
    fs,
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use serde_json::json;

use super::harness::{
    Engine, Run, Said, World,
    model::{Asked, HOST, Model, Reply},
    on_each,
};

/// The real key: it must reach the server and be nowhere else.
pub(super) const CANARY: &str = "sk-ant-api03-canary-8d1f0c6be7a94f2d9a3b5c7e1f20463857ab-AA";

const SPEC: &str = "\
# A greeting

One module with a function `greet(name)`, and a test for it.

## Tasks

1. `greet` (eng-backend): Greet in English.
   Write `src/english.py` and `tests/test_english.py`.
   - accept: `python3 -m unittest -v tests/test_english.py`

## Tests

```sh
python3 -m unittest discover -s tests -v
```
";

const MODULE: &str = "def greet(name):\n    return f\"Hello, {name}!\"\n";
const TEST: &str = "\
import unittest
from src.english import greet

class Greets(unittest.TestCase):
    def test_name(self):
        self.assertEqual(greet('Ada'), 'Hello, Ada!')
";

/// Looks around as a thief would, then writes the test.
///
/// Needle and answer are put together there, for the script itself stands in what is searched.
const LOOK: &str = "\
set -eu
mkdir -p tests && touch src/__init__.py tests/__init__.py
env | sort > /tmp/environment
{ cat /tmp/environment; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; } > /tmp/seen
grep -r -s -l -F \"canary-8d1f$(printf 0c6b)\" /tmp /home/agent /work /etc /usr/local/share && echo LEA''KED
grep '^ANTHROPIC_API_KEY=' /tmp/environment
id -u";

/// Does the task in three steps: writes, looks and tests, says that it is done.
fn works(asked: &Asked) -> Reply {
    match asked.tools_used() {
        0 => Reply::Tool(
            "Write",
            json!({"file_path": "/work/src/english.py", "content": MODULE}),
        ),
        1 => Reply::Tool(
            "Bash",
            json!({"command": LOOK, "description": "Look around"}),
        ),
        2 => Reply::Tool(
            "Write",
            json!({"file_path": "/work/tests/test_english.py", "content": TEST}),
        ),
        _ => Reply::Text("The module and its test are written.".to_owned()),
    }
}

/// Looks at the agent from outside while it works: what its engine knows of every sandbox, and the
/// arguments and environment of every process of this machine.
fn from_outside(engine: Engine) -> String {
    let program = engine.program();
    let script = format!(
        "{program} inspect $({program} ps --quiet --filter label=loki.run)
        for id in $({program} ps --quiet --filter label=loki.run); do {program} logs $id 2>&1; done
        cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    );
    let seen = std::process::Command::new("sh")
        .args(["-c", &script])
        .output();
    String::from_utf8_lossy(&seen.expect("a shell").stdout).into_owned()
}

/// A repository with the specification, the key among its secrets, and the model's name pinned to
/// the suite's server.
pub(super) fn stage(engine: Engine, model: &Model) -> World {
    let world = World::on(engine);
    world.write("spec.md", SPEC);
    world.write("README.md", "# Mine\n");
    world.commit();
    world.write("../home/model-ca.pem", model.authority());
    let authority = world.path("../home/model-ca.pem").canonicalize().unwrap();
    let pinned = format!(
        "version: 1\nhosts:\n  {HOST}: {{ to: \"{}\", ca: \"{}\" }}\n",
        model.address(),
        authority.display()
    );
    world.write("../home/.config/loki/policies/model.yaml", pinned);
    keep(&world, "ANTHROPIC_API_KEY", CANARY);
    world.loki(&["image", "build", "claude"]).exits(0);
    world
}

fn keep(world: &World, name: &str, value: &str) {
    world.loki(&["secrets", "init"]).exits(0);
    world.loki_fed(&["secrets", "set", name], value).exits(0);
}

/// No run of these takes longer.
const LIMIT: Duration = Duration::from_secs(600);

fn start(world: &World) -> Run {
    let loki = env!("CARGO_BIN_EXE_loki");
    let patience = ["LOKI_BASE_WAIT=1", "LOKI_MAX_RETRIES=4"];
    let words = ["start", "spec.md", "--provider", "claude", "--sandbox"];
    let argv = [&patience[..], &[loki], &words].concat();
    world.start("env", &argv).wait(LIMIT).never_panicked()
}

/// Returns what this model is asked in a run whose only task fails, and what the run says.
fn failing(
    key: &str,
    script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> (World, Said, Vec<Asked>) {
    let model = Model::start(key, script);
    let world = stage(Engine::Docker, &model);
    let said = start(&world).exits(1);
    assert_eq!(world.events_of("run_ended")[0]["outcome"], "failed");
    assert_eq!(world.leftovers(), Vec::<String>::new());
    (world, said, model.asked())
}

#[test]
fn live_claude_ends_an_own_specification_as_merged_code_and_never_sees_the_key() {
    on_each(|engine| {
        let (tell, outside) = mpsc::channel();
        let model = Model::start(CANARY, move |asked| {
            if asked.tools_used() == 1 {
                tell.send(from_outside(engine)).ok();
            }
            works(asked)
        });
        let world = stage(engine, &model);
        let said = start(&world).exits(0);
        let said = said.says(&["greet: landed as", "done: branch `loki/"]);
        let outside = outside.recv().expect("it worked");
        assert!(
            outside.contains("/work"),
            "no sandbox was looked at: {outside}"
        );
        no_canary(&outside, "what the engine or a process shows");
        let branch = world.run_branch();
        let module = world.git(&["show", &format!("{branch}:src/english.py")]);
        assert_eq!(module, MODULE);
        assert!(
            world
                .events_of("checked")
                .iter()
                .all(|check| check["passed"] == true)
        );
        assert_eq!(world.leftovers(), Vec::<String>::new());
        the_key_reached_the_server_and_nobody_else(&world, &model);
        what_it_used_is_told(&world);
        no_canary(&said.to_string(), "what the run said");
    });
}

/// Looks at what the server was sent, and for the key everywhere a run leaves something.
#[track_caller]
fn the_key_reached_the_server_and_nobody_else(world: &World, model: &Model) {
    let asked = model.asked();
    assert!(asked.len() >= 4, "{asked:?}");
    for one in &asked {
        let shown = (&one.method, &one.path, one.status, one.header("x-api-key"));
        assert_eq!(one.status, 200, "{shown:?}");
        assert_eq!(one.header("x-api-key"), Some(CANARY), "{shown:?}");
        assert_eq!(
            one.path.split('?').next(),
            Some("/v1/messages"),
            "{shown:?}"
        );
        no_canary(&one.body.to_string(), "a request's body");
    }
    let last = asked.last().expect("several");
    assert!(
        last.mentions("ANTHROPIC_API_KEY=loki-placeholder-ANTHROPIC_API_KEY"),
        "it looked around"
    );
    assert!(!last.mentions("LEAKED"), "{}", last.body["messages"]);
    for folder in [".loki", ".git"] {
        no_file_holds_the_canary(&world.path(folder));
    }
    no_canary(
        &world.git(&["log", "--all", "--patch", "--format=raw"]),
        "a commit",
    );
    for words in [
        &["logs", "greet"][..],
        &["events", "--json"],
        &["status", "--json"],
    ] {
        no_canary(&world.loki(words).exits(0).to_string(), words[0]);
    }
}

#[track_caller]
fn no_canary(text: &str, what: &str) {
    assert!(
        !text.contains("canary-8d1f0c6b"),
        "the key stands in {what}"
    );
}

#[track_caller]
fn no_file_holds_the_canary(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            no_file_holds_the_canary(&path);
        } else if kind.is_file() {
            let text = fs::read(&path).unwrap();
            no_canary(&String::from_utf8_lossy(&text), &path.display().to_string());
        }
    }
}

#[track_caller]
fn what_it_used_is_told(world: &World) {
    let spent = &world.events_of("agent_spent")[0];
    let tokens = |name: &str| spent[name].as_u64().expect("a number");
    assert!(
        spent["model"]
            .as_str()
            .is_some_and(|model| model.starts_with("claude-")),
        "{spent}"
    );
    assert_eq!(
        (tokens("turns"), tokens("input"), tokens("output")),
        (4, 4_000, 200),
        "{spent}"
    );
    assert!(tokens("cost_micros") > 0, "{spent}");
}

#[test]
fn live_claude_is_the_pinned_version_and_its_rule_is_shown_with_its_origin() {
    let world = World::on(Engine::Docker);
    world.loki(&["image", "build", "claude"]).exits(0);
    let shown = world
        .loki(&["policy", "show", "eng-backend", "--provider", "claude"])
        .exits(0);
    shown.prints(&[
        "api.anthropic.com:443",
        "/v1/messages",
        "ANTHROPIC_API_KEY",
        "policies/providers.yaml:",
        "base+claude",
    ]);
    let without = world.loki(&["policy", "show", "eng-backend"]).exits(0);
    assert!(!without.stdout.contains("anthropic"), "{without}");
}

#[test]
fn live_claude_does_not_start_without_its_key() {
    let world = World::on(Engine::Docker);
    world.write("spec.md", SPEC);
    world.commit();
    let said = world
        .loki(&["start", "spec.md", "--provider", "claude"])
        .exits(3);
    said.says(&[
        "secret `ANTHROPIC_API_KEY` is not kept",
        "loki secrets set ANTHROPIC_API_KEY",
    ]);
}

#[test]
fn live_a_key_that_is_refused_ends_the_run_at_once_and_says_why() {
    let (world, said, asked) = failing("another key", works);
    said.says(&["answered 401 (authentication_error)"]);
    assert_eq!(
        world.events_of("task_failed").len(),
        1,
        "only a person can help"
    );
    assert!(asked.iter().all(|one| one.status == 401), "{asked:?}");
    assert!(
        asked.len() <= 3,
        "its own retries are turned down: {}",
        asked.len()
    );
}

#[test]
fn live_a_busy_server_is_waited_for_and_the_run_goes_on() {
    let refusals = AtomicUsize::new(0);
    let model = Model::start(CANARY, move |asked| {
        match refusals.fetch_add(1, Ordering::Relaxed) {
            // More often than the program itself tries: its first attempt is over then.
            0..3 => Reply::too_many(1),
            3..6 => Reply::refuse(529, "overloaded_error", "Overloaded"),
            // It asks again by itself for what broke off.
            6 => Reply::Dropped,
            7 => Reply::Cut,
            _ => works(asked),
        }
    });
    let world = stage(Engine::Docker, &model);
    let said = start(&world).exits(0);
    let said = said.says(&[
        "answered 429 (rate_limit_error)",
        "answered 529 (overloaded_error)",
    ]);
    assert_eq!(world.events_of("task_deferred").len(), 2, "{said}");
    assert_eq!(world.events_of("task_failed").len(), 0, "{said}");
    assert_eq!(world.events_of("task_claimed").len(), 3, "{said}");
    let second = model.asked().iter().any(|one| one.mentions("(attempt 2)"));
    assert!(
        !second && !model.asked().iter().any(|one| one.mentions("Learnings")),
        "no fault of the work"
    );
}

#[test]
fn live_a_server_that_hangs_up_for_good_fails_the_run_with_the_reason() {
    let (world, said, asked) = failing(CANARY, |_| Reply::Dropped);
    said.says(&["failed: ", "was answered 502", "its server broke off"]);
    let failures = world.events_of("task_failed");
    assert_eq!(failures.len(), 1, "{failures:?}");
    let reason = failures[0]["reason"].as_str().unwrap();
    assert!(reason.contains("4 times in a row"), "{reason}");
    assert_eq!(world.events_of("task_deferred").len(), 4);
    assert!(asked.len() <= 15, "{} requests", asked.len());
}
