//! What an agent plants in its worktree, and what the host does with it.

use std::fs;

use super::{START, World, on_each, world};

/// Plants everything that makes git start programs, in the repository of the current directory.
/// `MARK` is the command that would run.
const PLANT: &str = r##"
set -u
for hook in pre-commit post-checkout post-merge post-commit reference-transaction post-index-change fsmonitor-watchman; do
    mkdir -p .git/hooks
    printf '#!/bin/sh\nMARK\n' >.git/hooks/$hook
    chmod 755 .git/hooks/$hook
done
cat >>.git/config <<'END'
[core]
	fsmonitor = "MARK; false"
	sshCommand = "MARK; false"
	pager = "MARK; cat"
	editor = "MARK; true"
	gitProxy = "MARK"
[filter "evil"]
	clean = "MARK; cat"
	smudge = "MARK; cat"
	process = "MARK"
	required = true
[diff "evil"]
	textconv = "MARK; cat"
	command = "MARK; true"
[merge "evil"]
	driver = "MARK; true"
[gpg]
	program = "MARK"
[commit]
	gpgSign = true
[include]
	path = ../src/planted.config
END
printf '[core]\n\tfsmonitor = "MARK; false"\n' >src/planted.config
printf '* filter=evil diff=evil merge=evil\n' >src/.gitattributes
mkdir -p .git/info
cp src/.gitattributes .git/info/attributes
echo "print('changed')" >src/app.py
"##;

const AGENT: &str = r#"
case $LOKI_TASK in
inner)
    mkdir -p src/bare src/pointer src/whole/src
    git init -q --bare src/bare
    printf '[core]\n\tfsmonitor = "MARK; false"\n' >>src/bare/config
    : >src/bare/file
    echo 'gitdir: ../../../elsewhere' >src/pointer/.git
    : >src/pointer/file
    git init -q src/whole
    cd src/whole
    PLANT ;;
*)
    PLANT ;;
esac
exit 0
"#;

fn spec(tasks: &[&str]) -> String {
    let mut text = "# Planted\n\n## Tasks\n\n".to_owned();
    for (index, task) in tasks.iter().enumerate() {
        text += &format!("{}. `{task}` (eng-backend): Plant it.\n", index + 1);
    }
    text + "\n## Tests\n\n- `true`\n"
}

/// Runs a script as the agent of each of these tasks and returns the journal.
fn run(world: &World, agent: &str, tasks: &[&str], code: i32) -> String {
    world.write("agent.sh", format!("#!/bin/sh\n{agent}"));
    world.write("spec.md", spec(tasks));
    let said = world.loki(&START).exits(code);
    drop(said);
    world.loki(&["events"]).exits(0).stdout
}

/// Asserts that the gate refused a path, by this rule.
#[track_caller]
fn refused(events: &str, rule: &str, path: &str) {
    let found = events
        .lines()
        .any(|line| line.contains(rule) && line.contains(path));
    assert!(found, "`{path}` was not refused by `{rule}`\n{events}");
}

/// Returns the name of the run's branch.
fn branch(world: &World) -> String {
    world
        .git(&["branch", "--list", "--format=%(refname:short)", "loki/*"])
        .trim()
        .to_owned()
}

/// Returns every path that the run's branch ever held.
fn landed(world: &World) -> String {
    world.git(&["log", "--name-only", "--format=", &branch(world)])
}

#[test]
fn attack_g01_nothing_planted_for_git_runs_on_the_host() {
    on_each(|engine| {
        let world = world(engine);
        let marker = world.path("../marker");
        let mark = format!("touch {}", marker.display());
        let plant = PLANT.replace("MARK", &mark);
        let agent = AGENT.replace("PLANT", &plant).replace("MARK", &mark);
        let events = run(&world, &agent, &["flat", "inner"], 5);
        for folder in ["bare", "pointer", "whole"] {
            refused(&events, "nested-repository", &format!("src/{folder}"));
        }
        // What the person does next does not fire it either.
        for args in [
            &["diff", "flat"][..],
            &["approve", "flat", "--yes"],
            &["status"],
            &["logs"],
            &["audit", "verify"],
        ] {
            drop(world.loki(args).exits(0));
        }
        drop(world.loki(&["resume"]).exits(1));
        drop(world.loki(&["clean", "--yes"]).exits(0));
        let branch = branch(&world);
        drop(world.git(&["diff", "main", &branch]));
        drop(world.git(&["checkout", "--quiet", &branch]));
        drop(world.git(&["status"]));
        assert!(
            !marker.exists(),
            "a planted command ran on the host\n{events}"
        );
        let seen = landed(&world);
        assert!(seen.contains("src/app.py"), "nothing landed\n{seen}");
        assert!(
            !seen.contains("bare") && !seen.contains("pointer") && !seen.contains("whole"),
            "a nested repository landed\n{seen}"
        );
        // The same script in a repository of the host, and plain git.
        let control = plant + "\ngit status; git diff; git add --all; exit 0";
        super::on_the_host(&world, &control);
        assert!(
            marker.exists(),
            "the control did not fire: the test shows nothing"
        );
    });
}

#[test]
fn attack_g07_a_symbolic_link_out_of_the_tree_is_not_followed_and_does_not_land() {
    const CANARY: &str = "canary-7f3a-of-the-host";
    on_each(|engine| {
        let world = world(engine);
        let secret = world.path("../secret");
        fs::write(&secret, CANARY).unwrap();
        let agent = format!(
            "case $LOKI_TASK in\n\
             inside) ln -s app.py src/alias; echo marked-as-landed >src/new.py ;;\n\
             outside) ln -s {} src/absolute; ln -s /etc/shadow src/shadow; ln -s ../../../../../../secret src/upwards;\n\
             ln -s .. src/up; ln -s up/../../secret src/through; ln -s / src/folder ;;\n\
             esac\nexit 0\n",
            secret.display()
        );
        let events = run(&world, &agent, &["inside", "outside"], 1);
        let bad = ["absolute", "shadow", "upwards", "through", "folder"];
        for link in bad {
            refused(&events, "symlink-escape", &format!("src/{link}"));
        }
        let seen = landed(&world);
        assert!(
            seen.contains("src/alias"),
            "the control, a link inside the tree, did not land\n{seen}"
        );
        assert!(!bad.iter().any(|link| seen.contains(link)), "{seen}");
        // Whoever follows a link to store what it names has read it into an object.
        let objects = world.git(&["cat-file", "--batch-all-objects", "--batch"]);
        assert!(
            objects.contains("marked-as-landed"),
            "the search finds nothing at all"
        );
        assert!(!objects.contains(CANARY), "the target of a link was read");
        assert!(
            !objects.contains("root:*:")
                && !objects.contains("root:!:")
                && !objects.contains("root:$"),
            "/etc/shadow was read"
        );
    });
}
