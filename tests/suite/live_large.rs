//! A repository of more than ten thousand files, worked on by a run.

use std::fs;

use super::harness::{Engine, START, World};

const FILES: usize = 10_500;
const SPEC: &str = "# Large\n\n## Tasks\n\n1. `one` (eng-backend): Change it.\n\n## Tests\n\n- `test -f src/0/1.txt && test -f src/new.txt`\n";
/// The agent's own repository holds every file, and knows what it changed.
const AGENT: &str = "#!/bin/sh\nset -eu\ntest \"$(git ls-files | wc -l)\" -gt 10500\ntest -z \"$(git status --porcelain)\"\necho new >src/new.txt\nrm src/0/2.txt\necho changed >src/1/101.txt\ntest \"$(git status --porcelain | wc -l)\" = 3\nexit 0\n";

#[test]
fn live_a_run_in_a_repository_of_ten_thousand_files_lands_what_was_changed() {
    let world = World::on(Engine::Docker);
    for folder in 0..FILES.div_ceil(100) {
        fs::create_dir_all(world.path(&format!("src/{folder}"))).unwrap();
    }
    for number in 0..FILES {
        let path = world.path(&format!("src/{}/{number}.txt", number / 100));
        fs::write(path, format!("{number}\n")).unwrap();
    }
    world.write("spec.md", SPEC);
    world.write("agent.sh", AGENT);
    world.git(&["init", "--quiet", "--initial-branch=main"]);
    world.git(&["-c", "core.bigFileThreshold=1", "add", "--all"]);
    world.git(&["commit", "--quiet", "--message=first"]);
    drop(world.loki(&START).exits(0));
    let branch = world.run_branch();
    let changes = world.git(&["diff", "--name-status", "main", &branch]);
    assert_eq!(
        changes,
        "D\tsrc/0/2.txt\nM\tsrc/1/101.txt\nA\tsrc/new.txt\n"
    );
    assert_eq!(world.git(&["status", "--porcelain"]), "");
}
