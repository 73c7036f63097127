//! S12: names that a shell, an option parser or a terminal would take for something else.

use super::{World, on_each, world};

const NAMES: [&str; 5] = [
    "--help.md",
    "$(touch x).md",
    "'; touch x; '.md",
    "new\nline.md",
    "\u{1b}[2J.md",
];
const SPEC: &str =
    "# Names\n\n## Tasks\n\n1. `names` (eng-backend): Add a file.\n\n## Tests\n\n- `true`\n";
const AGENT: &str = r#"#!/bin/sh
: >"src/\$(touch x).py"
: >"src/\$(touch x)-$$.py"
: >"src/--help"
: >"src/'; touch x; '"
: >"src/-rf"
printf new >"src/$(printf 'new\nline\033[2J')"
"#;

fn start(world: &World, spec: &str) -> super::super::harness::Said {
    let args = [
        "start",
        "--provider",
        "command",
        "--command",
        "./agent.sh",
        "--",
        spec,
    ];
    // One of the agent's names is for a person to look at.
    world.loki(&args).exits(5)
}

/// Asserts that no name ran, anywhere that a program of this test works in.
#[track_caller]
fn nothing_ran(world: &World) {
    for folder in ["", "src", "..", "../home", "../tmp", ".git", ".loki"] {
        for made in ["x", "y"] {
            let path = world.path(folder).join(made);
            assert!(
                !path.exists(),
                "a name was run: `{}` exists",
                path.display()
            );
        }
    }
}

#[test]
fn attack_s12_names_are_never_commands_or_options() {
    on_each(|engine| {
        let world = world(engine);
        world.write("agent.sh", AGENT);
        for name in NAMES {
            world.write(name, SPEC);
            world.write(&format!("lib/{name}"), "a file of the project");
        }
        world.git(&["add", "--all"]);
        world.git(&["commit", "--quiet", "--message=names"]);
        world.git(&[
            "checkout",
            "--quiet",
            "-b",
            "$(touch${IFS}y)';touch${IFS}y;'",
        ]);
        for name in NAMES {
            let said = start(&world, name);
            let shown = [
                &said.stderr,
                &said.stdout,
                &world.loki(&["status"]).exits(0).stdout,
                &world.loki(&["events"]).exits(0).stdout,
            ]
            .map(String::as_str)
            .concat();
            assert!(
                !shown.contains('\u{1b}') && !shown.contains("new\nline"),
                "a name was shown raw\n{shown}"
            );
            nothing_ran(&world);
        }
        // What the agents named lands under just that name.
        let approved = world.loki(&["approve", "names", "--yes"]).exits(0);
        let resumed = world.loki(&["resume"]).exits(0);
        for said in [approved, resumed] {
            let raw = |text: &str| text.contains('\u{1b}') || text.contains("new\nline");
            assert!(!raw(&said.stdout) && !raw(&said.stderr), "{said}");
        }
        let branch = world.git(&["branch", "--list", "--format=%(refname:short)", "loki/*"]);
        let branch = branch.lines().last().expect("a run has a branch");
        let listed = world.git(&["ls-tree", "-r", "-z", "--name-only", branch]);
        for name in [
            "src/$(touch x).py",
            "src/--help",
            "src/'; touch x; '",
            "src/-rf",
            "src/new\nline\u{1b}[2J",
        ] {
            assert!(
                listed.split('\0').any(|one| one == name),
                "{name:?} did not land\n{listed:?}"
            );
        }
        nothing_ran(&world);
        // The control: a shell that is given such a name runs it.
        let control = format!(": {}", NAMES[1].replace(".md", ""));
        super::on_the_host(&world, &control);
        assert!(
            world.path("x").exists(),
            "the control did not run: the test shows nothing"
        );
    });
}
