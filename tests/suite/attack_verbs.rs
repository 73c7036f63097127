//! THREATS G1 for every verb: a repository that is hostile to git, and each thing that a person can
//! type in it. A verb that nobody has listed here fails the test.

use std::{fs, os::unix::fs::PermissionsExt};

use super::harness::{Engine, START, World};

/// Verbs that touch the repository around them, and words that have them do so. `CHECKPOINT` and
/// `OTHER` stand for checkpoints of the run, `COMMIT` for its newest commit.
const TOUCHING: &[(&str, &str)] = &[
    // `start` has come before these; `clean` comes last.
    ("status", "status --json"),
    ("logs", "logs"),
    ("events", "events"),
    ("stop", "stop"),
    ("attach", "attach"),
    (
        "sandbox run",
        "sandbox run --role eng-backend -- git log --oneline",
    ),
    ("sandbox shell", "sandbox shell --role eng-backend"),
    ("sandbox ls", "sandbox ls"),
    ("sandbox rm", "sandbox rm --all"),
    ("policy check", "policy check"),
    ("policy show", "policy show eng-backend"),
    (
        "policy explain",
        "policy explain eng-backend --write src/app.rs",
    ),
    ("policy diff", "policy diff ../p.yaml ../p.yaml"),
    ("policy replay", "policy replay"),
    ("policy suggest", "policy suggest"),
    ("policy trust", "policy trust --yes"),
    ("secrets init", "secrets init"),
    ("secrets set", "secrets set API_KEY"),
    ("secrets list", "secrets list"),
    ("secrets rm", "secrets rm API_KEY"),
    ("secrets edit", "secrets edit"),
    ("secrets recipients list", "secrets recipients list"),
    ("secrets recipients add", "secrets recipients add nonsense"),
    ("secrets recipients rm", "secrets recipients rm nonsense"),
    ("egress log", "egress log"),
    ("egress top", "egress top"),
    ("egress denied", "egress denied"),
    (
        "egress allow",
        "egress allow --role eng-backend --save example.test:443",
    ),
    ("cache list", "cache list"),
    ("cache prune", "cache prune"),
    ("checkpoint create", "checkpoint create --dir src"),
    ("checkpoint list", "checkpoint list"),
    ("checkpoint show", "checkpoint show CHECKPOINT"),
    ("checkpoint diff", "checkpoint diff CHECKPOINT OTHER"),
    (
        "checkpoint restore",
        "checkpoint restore CHECKPOINT --to ../restored",
    ),
    (
        "checkpoint export",
        "checkpoint export CHECKPOINT --out ../exported.tar",
    ),
    ("checkpoint verify", "checkpoint verify"),
    ("checkpoint prune", "checkpoint prune --keep 1"),
    ("plan", "plan spec.md"),
    ("task list", "task list --json"),
    ("task show", "task show one"),
    ("task add", "task add More"),
    ("task cancel", "task cancel one"),
    ("task retry", "task retry one"),
    ("task priority", "task priority one high"),
    ("resume", "resume"),
    ("show", "show one"),
    ("diff", "diff"),
    ("approve", "approve one --yes"),
    ("reject", "reject one --reason no"),
    ("why", "why COMMIT"),
    ("blame-task", "blame-task src/one.txt:1 --at COMMIT"),
    ("ship", "ship --remote x"),
    ("revert", "revert two"),
    ("apply", "apply --to mine"),
    ("drop", "drop one --yes"),
    ("gate kinds", "gate kinds"),
    ("gate patterns", "gate patterns"),
    ("audit verify", "audit verify"),
    ("audit anchor", "audit anchor"),
    ("audit export", "audit export --format jsonl"),
    ("audit prune", "audit prune --keep 0"),
    ("pool status", "pool status --json"),
    ("doctor", "doctor"),
    ("image build", "image build"),
    ("image list", "image list"),
    ("agents list", "agents list"),
    ("clean", "clean --yes --branches"),
];

/// Verbs that touch no repository of a person's, and why.
const APART: &[(&str, &str)] = &[
    ("start", "it is what makes the run that the others look at"),
    (
        "sandbox attest",
        "it works in a repository that it makes itself",
    ),
    ("policy schema", "it prints what is built in"),
    (
        "advisories import",
        "it reads and writes the user's own store",
    ),
    ("advisories list", "it reads the user's own store"),
    ("advisories remove", "it writes the user's own store"),
    ("advisories status", "it reads the user's own store"),
    ("audit init", "it writes the user's own keys"),
    ("audit rotate", "it writes the user's own keys"),
    ("audit key", "it reads the user's own keys"),
    ("version", "it prints what is built in"),
];

/// Returns the verbs that can be typed, as their own help tells them.
fn verbs(world: &World, above: &str) -> Vec<String> {
    let words: Vec<&str> = above.split(' ').filter(|word| !word.is_empty()).collect();
    let help = world
        .loki(&[&words[..], &["--help"]].concat())
        .exits(0)
        .stdout;
    let listed = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"));
    let listed = listed.skip(1).take_while(|line| !line.is_empty());
    // A description that goes on in the next line stands further to the right.
    let starts = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = starts
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if names.is_empty() {
        return vec![above.to_owned()];
    }
    let below = |name: &str| verbs(world, format!("{above} {name}").trim_start());
    names.into_iter().flat_map(below).collect()
}

#[test]
fn attack_g01_every_verb_is_known_to_touch_the_repository_or_not() {
    let world = World::new();
    let mut typed = verbs(&world, "");
    let mut known: Vec<&str> = TOUCHING
        .iter()
        .chain(APART)
        .map(|(verb, _)| *verb)
        .collect();
    typed.sort();
    known.sort_unstable();
    assert_eq!(
        typed, known,
        "add a new verb to one of the lists in tests/suite/attack_verbs.rs"
    );
}

/// Turns the repository into one that starts a program at every turn.
fn plant(world: &World) -> std::path::PathBuf {
    let (marker, evil) = (world.path("../MARKER"), world.path("../evil.sh"));
    fs::write(
        &evil,
        format!("#!/bin/sh\ntouch '{}'\nexit 1\n", marker.display()),
    )
    .unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    let evil = evil.display().to_string();
    for hook in [
        "pre-commit",
        "post-commit",
        "post-checkout",
        "post-merge",
        "post-index-change",
        "reference-transaction",
        "pre-auto-gc",
        "post-rewrite",
        "pre-merge-commit",
    ] {
        for dir in [".git/hooks", ".git/others"] {
            let file = format!("{dir}/{hook}");
            world.write(&file, format!("#!/bin/sh\n{evil}\n"));
            fs::set_permissions(world.path(&file), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let settings = SETTINGS
        .replace("EVIL", &evil)
        .replace("OTHERS", &world.path(".git/others").display().to_string());
    let before = fs::read_to_string(world.path(".git/config")).unwrap();
    world.write(".git/config", before + &settings);
    world.write(".git/more", format!("[core]\n\tfsmonitor = {evil}\n"));
    world.write(
        ".git/config.worktree",
        format!("[core]\n\tfsmonitor = {evil}\n"),
    );
    world.write(
        ".git/info/attributes",
        "* filter=clean diff=text merge=evil\n",
    );
    world.write("sub/HEAD", "ref: refs/heads/main\n");
    world.write(
        "sub/config",
        format!("[core]\n\tbare = false\n\tworktree = .\n\tfsmonitor = {evil}\n"),
    );
    for dir in ["sub/objects", "sub/refs"] {
        fs::create_dir_all(world.path(dir)).unwrap();
    }
    marker
}

const SETTINGS: &str = r#"
[core]
	fsmonitor = EVIL
	hooksPath = OTHERS
	editor = EVIL
	pager = EVIL
	sshCommand = EVIL
	gitProxy = EVIL
	askPass = EVIL
	alternateRefsCommand = EVIL
[extensions]
	worktreeConfig = true
[include]
	path = more
[filter "clean"]
	clean = EVIL
	smudge = EVIL
	required = true
[filter "process"]
	process = EVIL
[diff]
	external = EVIL
[diff "text"]
	textconv = EVIL
	command = EVIL
[merge]
	default = evil
[merge "evil"]
	driver = EVIL
[gpg]
	program = EVIL
[commit]
	gpgSign = true
[credential]
	helper = EVIL
[protocol "ext"]
	allow = always
[remote "x"]
	url = ext::EVIL
	uploadpack = EVIL
[hook "lint"]
	command = EVIL
	event = pre-commit
"#;

const SPEC: &str = "# Hostile\n\n## Tasks\n\n1. `one` (eng-backend): Do it.\n2. `two` (eng-backend): Do it.\n\n## Tests\n\n- `true`\n";
const AGENT: &str = "#!/bin/sh\necho $LOKI_TASK >src/$LOKI_TASK.txt\ncp -r sub src/inner-$LOKI_TASK 2>/dev/null\nrm -rf src/inner-$LOKI_TASK\nexit 0\n";

/// What a shell that calls Loki may have set, by a hook for one.
fn strange_environment(world: &World) -> Vec<String> {
    let evil = world.path("../evil.sh").display().to_string();
    let pairs = [
        ("GIT_DIR", "/nowhere/.git"),
        ("GIT_WORK_TREE", "/nowhere"),
        ("GIT_INDEX_FILE", "/nowhere/index"),
        ("GIT_OBJECT_DIRECTORY", "/nowhere/objects"),
        ("GIT_NAMESPACE", "spoofed"),
        ("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/nowhere"),
        ("GIT_COMMON_DIR", "/nowhere"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "core.fsmonitor"),
        ("GIT_CONFIG_VALUE_0", &evil),
        ("GIT_CONFIG_PARAMETERS", "'core.hooksPath'='/nowhere'"),
        ("GIT_EXEC_PATH", "/nowhere"),
        ("GIT_EXTERNAL_DIFF", &evil),
        ("GIT_SSH_COMMAND", &evil),
        ("GIT_EDITOR", &evil),
        ("GIT_PAGER", &evil),
        ("GIT_TRACE", "1"),
        ("GIT_CEILING_DIRECTORIES", "/"),
        ("GIT_DEFAULT_HASH", "sha256"),
        ("GIT_AUTHOR_DATE", "yesterday"),
        ("GIT_QUARANTINE_PATH", "/nowhere"),
        ("GIT_LITERAL_PATHSPECS", "0"),
        ("GIT_ATTR_SOURCE", "HEAD"),
        ("GIT_REPLACE_REF_BASE", "refs/heads"),
    ];
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[test]
fn attack_g01_no_verb_starts_what_a_hostile_repository_plants() {
    let world = World::on(Engine::Docker);
    world.write("src/app.rs", "fn main() {}\n");
    world.write("spec.md", SPEC);
    world.write("agent.sh", AGENT);
    world.write(
        ".gitattributes",
        "src/** filter=process diff=text merge=evil\n",
    );
    world.write("../p.yaml", "version: 1\n");
    world.commit();
    let marker = plant(&world);
    let strange = strange_environment(&world);
    let words: Vec<&str> = strange
        .iter()
        .map(String::as_str)
        .chain([env!("CARGO_BIN_EXE_loki")])
        .chain(START)
        .collect();
    let started = world.start("env", &words);
    drop(
        started
            .wait(std::time::Duration::from_secs(120))
            .never_panicked()
            .exits(0),
    );
    assert!(!marker.exists(), "`start` started what was planted");
    let ids = checkpoints(&world);
    let status: serde_json::Value =
        serde_json::from_str(&world.loki(&["status", "--json"]).exits(0).stdout).unwrap();
    let commit = status["tasks"][1]["commit"].as_str().unwrap().to_owned();
    for (verb, words) in TOUCHING {
        let words = words
            .replace("CHECKPOINT", &ids[0])
            .replace("OTHER", &ids[ids.len() - 1])
            .replace("COMMIT", &commit);
        let words: Vec<&str> = words.split(' ').collect();
        let said = world.loki_fed(&words, "exit\n").in_any_case();
        assert!(
            !marker.exists(),
            "`{verb}` started what was planted\n{said}"
        );
        let usage = said.stderr.contains("Usage:");
        assert!(
            !usage,
            "`{verb}` did not get as far as the repository\n{said}"
        );
    }
    // Plain git, as the control: what is planted does start.
    drop(
        world
            .start("git", &["status"])
            .wait(std::time::Duration::from_secs(60)),
    );
    assert!(
        marker.exists(),
        "the control did not fire: the test shows nothing"
    );
}

fn checkpoints(world: &World) -> Vec<String> {
    for text in ["one\n", "two\n"] {
        world.write("kept/file", text);
        drop(
            world
                .loki(&["checkpoint", "create", "--dir", "kept"])
                .exits(0),
        );
    }
    let listed = world
        .loki(&["checkpoint", "list", "--json"])
        .exits(0)
        .stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let all = listed["checkpoints"].as_array().unwrap();
    all.iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn attack_g12_nothing_attaches_an_editor_to_a_sandbox() {
    let world = World::new();
    let typed = verbs(&world, "");
    // `loki attach` follows a journal.
    let attach = |verb: &&String| verb.contains("attach") && *verb != "attach";
    assert_eq!(typed.iter().find(attach), None);
    for file in super::harness::source::files("src", "rs") {
        let text = super::harness::source::read(&file).to_lowercase();
        let found = [
            "vscode:",
            "vscode-server",
            "code-server",
            "devcontainers/cli",
        ]
        .iter()
        .find(|one| text.contains(**one));
        assert_eq!(found, None, "{}", file.display());
    }
}
