//! Budgets and `loki plan` where nothing is started: what is refused and shown, and that a plan
//! needs no engine and leaves nothing behind.

use serde_json::Value;

use super::harness::{World, source::root};

const SPEC: &str = "# Two files\n\n## Tasks\n\n\
    1. `first` (eng-backend): Write the first file.\n   - accept: `test -s src/first`\n\
    2. `second` (eng-qa): Test it.\n   - depends on: `first`\n\n## Tests\n\n- `true`\n";
const AGENT: [&str; 4] = ["--provider", "command", "--command", "./agent.sh"];

fn world() -> World {
    World::with_spec(SPEC)
}

fn words<'a>(first: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    [first, &AGENT[..], rest].concat()
}

#[test]
fn a_plan_says_what_runs_when_and_needs_no_engine_and_leaves_nothing() {
    let world = world();
    let engine = ["--engine", "unix:///nowhere.sock", "plan", "spec.md"];
    let said = world.loki(&words(
        &engine,
        &["--max-iterations", "1", "--parallel", "3"],
    ));
    said.exits(0).prints(&[
        "Plan of `spec.md`: Two files",
        "2 tasks for 2 roles, provider `command`, at most 3 at once",
        "Wave 1 (1 at once)",
        "second             eng-qa             Test it.  (after first)",
        "Longest chain: first → second",
        "iterations  2 agent sessions to 4 agent sessions",
        "tokens      not known",
        "a guess of ours, not a measurement",
        "Budget: 1 agent session",
        "iterations  is not enough even if things go well",
    ]);
    let only = world
        .loki(&words(&["start", "spec.md"], &["--plan-only"]))
        .exits(0);
    only.prints(&["Plan of `spec.md`", "The run has no budget"]);
    // Nobody needs to be named who would do it.
    world
        .loki(&["plan", "spec.md"])
        .exits(0)
        .prints(&["no provider yet"]);
    assert!(!world.path(".loki").exists(), "a plan wrote something");
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_plan_as_json_has_its_documented_fields() {
    let world = world();
    let example = root().join("examples/simple-todo-app.md");
    let said = world.loki(&[
        "plan",
        &example.to_string_lossy(),
        "--json",
        "--budget",
        "5USD",
    ]);
    let plan: Value = serde_json::from_str(&said.exits(0).stdout).unwrap();
    assert_eq!(plan["schema"], 1);
    assert_eq!(plan["provider"], "replay");
    assert_eq!(plan["waves"][0], serde_json::json!(["store", "page"]));
    assert_eq!(plan["tasks"][2]["wave"], 2);
    assert_eq!(
        plan["estimate"]["money_micros"],
        serde_json::json!({ "low": 0, "high": 0 })
    );
    assert_eq!(plan["budget"]["money_micros"], 5_000_000);
    assert_eq!(plan["compared"]["money"], "enough");
    let because = plan["estimate"]["roles"][0]["because"].as_str().unwrap();
    assert!(because.contains("asks no model"), "{because}");
}

#[test]
fn what_is_no_budget_is_a_usage_error_that_says_what_to_write() {
    let world = world();
    for (option, amount, help) in [
        ("--budget", "5EUR", "only US dollars"),
        ("--budget", "0", "a budget of nothing"),
        ("--max-tokens", "many", "such as 500k or 2M"),
        ("--max-time", "30", "30s, 5m, 1h, 1d"),
        ("--max-iterations", "1.5", "a whole number"),
    ] {
        let said = world.loki(&words(&["start", "spec.md"], &[option, amount]));
        said.exits(2).says(&[option, help]);
    }
}

#[test]
fn a_budget_that_nobody_could_hold_is_refused_before_anything_is_made() {
    let world = world();
    let hint = [
        "does not say what it spends",
        "`--max-time`",
        "docs/budgets.md",
    ];
    for (option, amount) in [("--budget", "5USD"), ("--max-tokens", "2M")] {
        world
            .loki(&words(&["start", "spec.md"], &[option, amount]))
            .exits(2)
            .says(&hint);
    }
    world.write(
        "../home/.config/loki/budget.yaml",
        "version: 1\nroles: { eng-*: { money: 1USD } }\n",
    );
    world
        .loki(&words(&["start", "spec.md"], &[]))
        .exits(2)
        .says(&hint);
    assert!(!world.path(".loki/journal").exists());
}

#[test]
fn faults_of_a_budget_file_are_shown_with_their_pictures() {
    let world = world();
    world.write(
        ".loki/config/budget.yaml",
        "version: 1\nrun: { mony: 5USD }\nroles:\n  eng-qa: { time: forever }\n",
    );
    let said = world.loki(&words(&["plan", "spec.md"], &[])).exits(3);
    said.says(&[
        "budget.yaml:2:8: unknown key `mony`",
        "did you mean `money`?",
        "budget.yaml:4:19: `forever` is no budget of time",
        "2 faults found",
    ]);
    std::fs::remove_file(world.path(".loki/config/budget.yaml")).unwrap();
    let planted = world.path(".loki/config/budget.yaml");
    std::os::unix::fs::symlink("/etc/passwd", planted).unwrap();
    let said = world.loki(&words(&["plan", "spec.md"], &[])).exits(2);
    let said = said.says(&["budget.yaml` is a symbolic link"]);
    assert!(!said.stderr.contains("root:"), "{said}");
}
