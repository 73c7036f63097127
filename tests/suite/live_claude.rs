//! The agent program `claude` as it is shipped by its makers, in real sandboxes on real engines: it
//! works against the suite's own model server, which stands under the provider's real name, and
//! never sees the key that the gateway adds.

use std::{fs, path::Path, time::Duration};

use serde_json::json;

use super::harness::{
    Engine, Run, World,
    model::{Asked, HOST, Model, Reply},
    on_each,
};

const LIMIT: Duration = Duration::from_secs(300);

/// The real key: it must reach the server and be nowhere else.
const CANARY: &str = "sk-ant-api03-canary-8d1f0c6be7a94f2d9a3b5c7e1f20463857ab-AA";

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
/// The needle is put together there, for the script itself stands in files of the program's own.
const LOOK: &str = "\
set -eu
mkdir -p tests && touch src/__init__.py tests/__init__.py
env | sort > /tmp/environment
{ cat /tmp/environment; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; } > /tmp/seen
grep -r -s -l -F \"canary-8d1f$(printf 0c6b)\" /tmp /home/agent /work /etc /usr/local/share && echo LEAKED
grep '^ANTHROPIC_API_KEY=' /tmp/environment
id -u";

/// Does the task in three steps: writes, looks and tests, says that it is done.
fn works(asked: &Asked) -> Reply {
    match asked.tools_used() {
        0 => Reply::Tool("Write", json!({"file_path": "/work/src/english.py", "content": MODULE})),
        1 => Reply::Tool("Bash", json!({"command": LOOK, "description": "Look around"})),
        2 => Reply::Tool("Write", json!({"file_path": "/work/tests/test_english.py", "content": TEST})),
        _ => Reply::Text("The module and its test are written.".to_owned()),
    }
}

/// A repository with the specification, the key among its secrets, and the model's name pinned to
/// the suite's server.
fn stage(engine: Engine, model: &Model) -> World {
    let world = World::on(engine);
    world.write("spec.md", SPEC);
    world.write("README.md", "# Mine\n");
    world.commit();
    world.write("../home/model-ca.pem", model.authority());
    let authority = world.path("../home/model-ca.pem");
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

fn start(world: &World) -> Run {
    let mut running = world.spawn(&["start", "spec.md", "--provider", "claude", "--sandbox"]);
    running.wait_until(LIMIT, |said| said.stderr.contains("look at it: git log") || said.stderr.contains("error:"));
    running.wait(LIMIT)
}
