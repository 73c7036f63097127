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
    let json = words(&["start", "spec.md"], &["--plan-only", "--json"]);
    let plan: Value = serde_json::from_str(&world.loki(&json).exits(0).stdout).unwrap();
    assert_eq!(plan["provider"], "command");
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

#[test]
fn a_plan_refuses_what_a_start_refuses_with_the_same_exit_code() {
    let world = world();
    let both = |rest: &[&str], (code, says): (i32, &[&str])| {
        world
            .loki(&words(&["plan", "spec.md"], rest))
            .exits(code)
            .says(says);
        world
            .loki(&words(&["start", "spec.md"], rest))
            .exits(code)
            .says(says);
    };
    world.write(
        ".loki/config/circuit-breakers.yaml",
        "version: 1\nnonsense: 1\n",
    );
    both(&[], (3, &["circuit-breakers.yaml", "`nonsense`"]));
    std::fs::remove_file(world.path(".loki/config/circuit-breakers.yaml")).unwrap();
    world.write(".loki/config/budget.yaml", "version: 1\n");
    world.git(&["add", "--force", ".loki/config/budget.yaml"]);
    both(&[], (2, &[".loki"]));
    world.git(&["rm", "--quiet", "--force", ".loki/config/budget.yaml"]);
    for verb in ["plan", "start"] {
        let wait = "LOKI_BASE_WAIT=soon";
        let loki = [wait, env!("CARGO_BIN_EXE_loki"), verb, "spec.md"];
        let run = world.start("env", &words(&loki, &[]));
        let run = run.wait(std::time::Duration::from_secs(60));
        run.exits(2).says(&["`LOKI_BASE_WAIT` is `soon`"]);
        let claude = [verb, "spec.md", "--provider", "claude"];
        world
            .loki(&claude)
            .exits(3)
            .says(&["secret `ANTHROPIC_API_KEY` is not kept"]);
    }
    // Shipping is checked where it is asked for, and no option is taken and left out.
    for (verb, option) in [
        ("start", "--draft"),
        ("start", "--detach"),
        ("plan", "--ship"),
        ("plan", "--detach"),
    ] {
        let only: &[&str] = if verb == "start" {
            &["--plan-only"]
        } else {
            &[]
        };
        let typed = [&[verb, "spec.md", option], only].concat();
        world.loki(&words(&typed, &[])).exits(2).says(&[option]);
    }
}

#[test]
fn a_plan_compares_the_budgets_of_roles_too() {
    let world = world();
    world.write(
        "../home/.config/loki/budget.yaml",
        "version: 1\nroles: { eng-qa: { iterations: 1, time: 100h }, prod-pm: { iterations: 1 } }\n",
    );
    let said = world.loki(&words(&["plan", "spec.md"], &[])).exits(0);
    let said = said.prints(&[
        "The run has no budget",
        "Budget of `eng-qa`: 4d4h, 1 agent session",
        "iterations  may not be enough",
        "time        is enough by this estimate",
    ]);
    assert!(!said.stdout.contains("prod-pm"), "{said}");
    let said = world.loki(&words(&["plan", "spec.md", "--json"], &[]));
    let plan: Value = serde_json::from_str(&said.exits(0).stdout).unwrap();
    let of_qa = &plan["role_budgets"]["eng-qa"];
    assert_eq!(of_qa["budget"]["iterations"], 1, "{plan}");
    assert_eq!(of_qa["compared"]["iterations"], "may_not_be_enough");
}

#[test]
fn a_projects_price_does_not_count_and_says_where_to_write_it() {
    let world = world();
    world.write(
        ".loki/config/budget.yaml",
        "version: 1\nprices: { theirs: { input: 0USD, cache_write: 0USD, cache_read: 0USD, output: 0USD } }\n",
    );
    let said = world.loki(&words(&["plan", "spec.md"], &[])).exits(0);
    said.says(&[
        "the price of `theirs`",
        "does not count",
        "~/.config/loki/budget.yaml",
    ]);
}

#[test]
fn a_verb_that_there_is_not_says_where_budgets_are() {
    let world = world();
    for typed in [&["budget"][..], &["budget", "show", "--json"]] {
        world
            .loki(typed)
            .exits(2)
            .says(&["--budget 5USD", "`loki plan SPEC.md`", "`loki status`"]);
    }
}
