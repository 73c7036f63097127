//! The README's first run and its questions to policies, as a reader would do them.

use std::time::Duration;

use super::harness::{Engine, World, source::read};

/// Returns the README's block of this mark.
fn block(mark: &str) -> String {
    let page = read("README.md");
    let block = page
        .split(&format!("```sh {mark}\n"))
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block
        .unwrap_or_else(|| panic!("README.md has no block marked `sh {mark}`"))
        .to_owned()
}

#[test]
fn live_the_first_run_of_the_readme_works_on_every_engine() {
    for engine in Engine::ALL {
        let world = World::on(engine);
        let run = world
            .start("bash", &["-euc", &block("first-run")])
            .wait(Duration::from_secs(300));
        let run = run.never_panicked().exits(0);
        assert!(run.stdout.contains("greet"), "status names the task\n{run}");
        let branches = world.git(&["for-each-ref", "--format=%(refname)", "refs/heads/loki/*"]);
        let branch = branches.lines().next().expect("the run left its branch");
        assert_eq!(
            world.git(&["show", &format!("{branch}:src/greet.sh")]),
            "echo hello\n"
        );
        assert_eq!(
            world.git(&["status", "--porcelain"]),
            "",
            "the checkout was touched"
        );
        assert_eq!(world.git(&["symbolic-ref", "--short", "HEAD"]), "main\n");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn cli_the_questions_of_the_readme_have_the_answers_it_says() {
    let world = World::new();
    let line = block("policies");
    let said = world
        .start("bash", &["-euc", &line])
        .wait(Duration::from_secs(60));
    drop(said.never_panicked().exits(0).prints(&[
        "allowed: biz-finance connect `api.stripe.com:443`",
        "denied: eng-frontend write `src/backend/x`",
        "to allow it, add to",
        "denied, and what would allow it",
    ]));
}
