//! The README's first run, as a reader would do it, on every engine.

use std::time::Duration;

use super::harness::{Engine, World, source::read};

/// Returns the README's block that is marked as the first run.
fn first_run() -> String {
    let page = read("README.md");
    let block = page
        .split("```sh first-run\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block
        .expect("README.md has a block marked `sh first-run`")
        .to_owned()
}

#[test]
fn live_the_first_run_of_the_readme_works_on_every_engine() {
    for engine in Engine::ALL {
        let world = World::on(engine);
        let run = world
            .start("bash", &["-euc", &first_run()])
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
