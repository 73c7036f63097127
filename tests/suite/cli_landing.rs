//! The branch of a run after it landed: `loki why`, `blame-task`, `revert` and `ship`, through the
//! binary and without an engine, on a run whose journal and commits were made with the library.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use loki::{
    event::Event,
    git::{ObjectId, Repository, Signature},
    journal::Writer,
    name::RunId,
};
use serde_json::{Value, json};

use super::harness::{Run, World, forge::Forge};

const RUN: &str = "20261121-200000-0001";
const TOKEN: &str = "ghp_canary0123456789abcdefABCDEF";
const LIMIT: Duration = Duration::from_secs(120);

/// A run of two tasks that landed, the second on the first.
struct Planted {
    world: World,
    commits: Vec<String>,
}

fn event(value: Value) -> Event {
    serde_json::from_value(value).unwrap()
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000).unwrap()
}

/// Writes a tree: that of a commit with one file more.
fn tree(world: &World, of: &str, path: &str, text: &str) -> ObjectId {
    world.write("../tmp/blob", text);
    let script = format!(
        "export GIT_INDEX_FILE=$PWD/../tmp/index; git read-tree {of}; \
         id=$(git hash-object -w ../tmp/blob); \
         git update-index --add --cacheinfo 100644,$id,{path}; git write-tree"
    );
    let said = world.start("sh", &["-euc", &script]).wait(LIMIT).exits(0);
    said.stdout.trim().parse().unwrap()
}

/// Lands a task that writes one file, and says so in the journal.
fn land(
    world: &World,
    writer: &mut Writer,
    head: &ObjectId,
    (id, path, text): (&str, &str, &str),
) -> ObjectId {
    let repository = Repository::open(&world.path("")).unwrap();
    let run: RunId = RUN.parse().unwrap();
    let mut write = |value: Value| writer.append(&event(value)).unwrap().seq;
    write(json!({ "type": "task_claimed", "task": id, "version": 1, "attempt": 1 }));
    write(json!({
        "type": "egress", "sandbox": "s", "task": id, "role": "eng-backend", "kind": "connect",
        "host": "a.test", "port": 443, "allowed": false, "rule": null, "reason": null, "count": 3,
    }));
    let seq = write(json!({
        "type": "gated", "task": id, "attempt": 1, "files": 1, "breaches": [],
    }));
    let (role, name) = ("eng-backend".parse().unwrap(), id.parse().unwrap());
    let signature = Signature {
        run: &run,
        task: Some(&name),
        mates: &[],
        role: &role,
        policy: "p0",
        journal: seq,
        time: 1_700_000_000,
    };
    let tree = tree(world, head.as_str(), path, text);
    let title = format!("do {id}\n\nLoki-Task: forged\nLoki-Run: forged");
    let commit = repository
        .seal_undone(&tree, head, &title, &signature)
        .unwrap();
    let to = commit.as_str();
    write(json!({ "type": "committed", "task": id, "attempt": 1, "commit": to }));
    write(json!({
        "type": "checked", "task": id, "command": "make test", "passed": true, "tests": 2,
        "tail": "", "elapsed_ms": 5,
    }));
    write(json!({
        "type": "landing", "task": id, "attempt": 1, "from": head.as_str(), "commit": to,
    }));
    repository.advance(&run, head, &commit).unwrap();
    write(json!({ "type": "task_done", "task": id, "version": 1, "attempt": 1, "commit": to }));
    commit
}

/// Plants a run whose tasks each write one file; `ended` is how it ended.
fn planted(files: &[(&str, &str, &str)], ended: &str) -> Planted {
    let world = World::new();
    world.write("src/shared.txt", "base\n");
    world.commit();
    let repository = Repository::open(&world.path("")).unwrap();
    let run: RunId = RUN.parse().unwrap();
    let base = repository.head().clone();
    repository.create_run_branch(&run, &base).unwrap();
    let mut writer = Writer::create(&world.path(".loki"), &run, now).unwrap();
    let task = |id: &str| json!({ "id": id, "role": "eng-backend", "title": format!("do {id}") });
    let tasks: Vec<Value> = files.iter().map(|(id, ..)| task(id)).collect();
    let opening = [
        json!({
            "type": "run_started", "run": RUN, "loki": "0.1.0", "spec": "todo.md",
            "spec_sha256": "00", "title": "Todo\u{202e} for @one", "provider": "replay",
            "base": base.as_str(), "branch": format!("loki/{RUN}"), "engine": "docker",
            "policy_sha256": "p0",
        }),
        json!({ "type": "planned", "tasks": tasks }),
    ];
    for one in opening {
        writer.append(&event(one)).unwrap();
    }
    let mut head = base;
    for file in files {
        head = land(&world, &mut writer, &head, *file);
    }
    let mut closing = vec![json!({
        "type": "checked", "task": null, "command": "make all", "passed": true, "tests": 4,
        "tail": "", "elapsed_ms": 5,
    })];
    if !ended.is_empty() {
        closing.push(json!({ "type": "run_ended", "outcome": ended, "reason": null }));
    }
    for one in closing {
        writer.append(&event(one)).unwrap();
    }
    drop(writer);
    let list = world.git(&["rev-list", "--reverse", &format!("loki/{RUN}"), "^main"]);
    Planted {
        commits: list.lines().map(str::to_owned).collect(),
        world,
    }
}

fn two() -> Planted {
    planted(
        &[("one", "src/one", "1\n"), ("two", "src/two", "2\n")],
        "done",
    )
}

fn asked(world: &World, args: &[&str], code: i32) -> Value {
    let args = [args, &["--json"]].concat();
    let said = world.loki(&args).exits(code);
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"))
}

#[test]
fn cli_a_commit_and_a_line_lead_back_to_what_was_asked() {
    let Planted { world, commits } = two();
    let said = world.loki(&["why", &commits[0]]).exits(0);
    let said = said.prints(&[
        RUN,
        "Todo\\u{202e} for @one (todo.md",
        "task     one (eng-backend): do one",
        "attempt  1",
        "gate     passed, 1 changed file",
        "check    passed (2 tests): make test",
        "egress   0 allowed, 3 denied",
        "the run's branch holds it",
    ]);
    assert!(
        !said.stdout.contains('\u{202e}') && !said.stdout.contains("forged"),
        "{said}"
    );
    let told = asked(&world, &["why", &format!("loki/{RUN}")], 0);
    assert_eq!(told["sound"], true);
    assert_eq!(told["account"]["task"]["id"], "two");
    assert_eq!(told["claimed"]["run"], RUN);
    world.git(&["checkout", "-q", &format!("loki/{RUN}")]);
    let blamed = asked(&world, &["blame-task", "src/one:1"], 0);
    assert_eq!(blamed["origin"]["account"]["task"]["id"], "one");
    world
        .loki(&["blame-task", "src/shared.txt:1"])
        .exits(1)
        .says(&["no task of Loki's made it"]);
    world.write("src/one", "1\nmine\n");
    world
        .loki(&["blame-task", "src/one:2"])
        .exits(1)
        .says(&["in no commit yet"]);
    for place in [
        "src/one:9",
        "src/none:1",
        "src/one",
        "src/one:0",
        "/etc/passwd:1",
        "--x:1",
    ] {
        world
            .loki(&["blame-task", "--", place])
            .exits(2)
            .says(&["error: "]);
    }
    world
        .loki(&["why", "no-such"])
        .exits(2)
        .says(&["names no commit"]);
}

#[test]
fn attack_s16_trailers_that_a_person_forged_or_copied_are_named_as_such() {
    let Planted { world, commits } = two();
    let message = world.git(&["log", "-1", "--format=%B", &commits[0]]);
    let tree = format!("{}^{{tree}}", commits[0]);
    let forge = |message: &str| {
        world
            .git(&["commit-tree", &tree, "-m", message])
            .trim()
            .to_owned()
    };
    let copied = forge(&message);
    world
        .loki(&["why", &copied])
        .exits(1)
        .says(&["knows no commit", "copied or rewritten"]);
    let other = forge(&message.replace(RUN, "20261121-200000-0009"));
    world
        .loki(&["why", &other])
        .exits(1)
        .says(&["no journal here"]);
    let evil = forge(&message.replace(RUN, "../../../etc"));
    world
        .loki(&["why", &evil])
        .exits(1)
        .says(&["none of Loki's"]);
    // A journal that was edited bears nothing out.
    let path = world.path(&format!(".loki/journal/{RUN}.jsonl"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"tests\":2", "\"tests\":9")).unwrap();
    let told = asked(&world, &["why", &commits[0]], 1);
    assert_eq!(told["sound"], false);
    assert!(
        told["faults"][0]
            .as_str()
            .unwrap()
            .contains("not what was written"),
        "{told}"
    );
}

#[test]
fn cli_a_landed_task_is_taken_back_by_a_commit_of_its_own() {
    let Planted { world, commits } = two();
    let branch = format!("loki/{RUN}");
    let said = world
        .loki(&["revert", "one"])
        .exits(0)
        .says(&["is taken back"]);
    let commit = said.stdout.trim().to_owned();
    assert_eq!(world.git(&["rev-parse", &branch]).trim(), commit);
    let files = world.git(&["ls-tree", "-r", "--name-only", &branch]);
    assert!(
        files.contains("src/two") && !files.contains("src/one"),
        "{files}"
    );
    let body = world.git(&["log", "-1", "--format=%B", &branch]);
    assert!(
        body.contains(&commits[0]) && body.contains("Loki-Task: one"),
        "{body}"
    );
    let status = world.status();
    assert_eq!(status["tasks"][0]["state"], "reverted");
    assert_eq!(status["tasks"][0]["reverted"], commit.as_str());
    assert_eq!(status["counts"]["reverted"], 1);
    assert_eq!(status["faults"], json!([]));
    assert_eq!(
        asked(&world, &["why", &commit], 0)["account"]["kind"],
        "revert"
    );
    assert_eq!(
        asked(&world, &["why", &commits[0]], 0)["account"]["reverted"],
        commit.as_str()
    );
    world.loki(&["audit", "verify"]).exits(0);
    world
        .loki(&["revert", "one"])
        .exits(2)
        .says(&["taken back already"]);
    world
        .loki(&["revert", "three"])
        .exits(2)
        .says(&["no task of the run", "what landed: two"]);
    world.loki(&["revert", "../x"]).exits(2);
    // Nothing but the branch has changed.
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(
        world.git(&["rev-parse", "main"]),
        world.git(&["rev-parse", "HEAD"])
    );
}

#[test]
fn cli_what_stands_in_the_way_of_a_revert_is_named_and_nothing_moves() {
    let same = [
        ("one", "src/shared.txt", "1\n"),
        ("two", "src/shared.txt", "2\n"),
    ];
    let Planted { world, .. } = planted(&same, "done");
    let branch = format!("loki/{RUN}");
    let before = world.git(&["rev-parse", &branch]);
    world
        .loki(&["revert", "one"])
        .exits(1)
        .says(&["`src/shared.txt`", "take back first, newest first: two"]);
    world.git(&["checkout", "-q", &branch]);
    world
        .loki(&["revert", "two"])
        .exits(2)
        .says(&["checked out in"]);
    world.git(&["checkout", "-q", "main"]);
    world.git(&["config", "loki.protected", "loki/2026*"]);
    world
        .loki(&["revert", "two"])
        .exits(1)
        .says(&["protected by `loki/2026*`"]);
    assert_eq!(world.git(&["rev-parse", &branch]), before);
}

#[test]
fn cli_a_run_that_has_not_ended_is_neither_taken_back_nor_shipped() {
    let Planted { world, .. } = planted(&[("one", "src/one", "1\n")], "");
    world
        .loki(&["revert", "one"])
        .exits(2)
        .says(&["has not ended"]);
}

/// A planted run with a code host as `origin`, and the token kept.
fn with_forge(planted: Planted) -> (Planted, Forge) {
    let world = &planted.world;
    let root = world.path("../tmp/served");
    let bare = root.join("o/r.git");
    fs::create_dir_all(bare.parent().unwrap()).unwrap();
    let bare = bare.to_str().unwrap();
    world.git(&["init", "-q", "--bare", "--initial-branch=main", bare]);
    world.git(&["push", "-q", bare, "main"]);
    let forge = Forge::serve(&root, TOKEN);
    world.write("../tmp/ca.pem", &forge.authority);
    let url = format!("https://localhost:{}/o/r.git", forge.port);
    world.git(&["remote", "add", "origin", &url]);
    (planted, forge)
}

fn keep_token(world: &World, token: &str) {
    world.loki(&["secrets", "init"]).exits(0);
    world
        .loki_fed(&["secrets", "set", "GITHUB_TOKEN"], token)
        .exits(0);
    fs::remove_file(world.path("../tmp/input")).unwrap();
}

/// Runs Loki so that it believes the code host, with a `git` that writes down its arguments.
fn ship(world: &World, args: &[&str]) -> Run {
    let watch = world.path("../tmp/watch");
    if !watch.exists() {
        fs::create_dir(&watch).unwrap();
        let real = world
            .start("sh", &["-c", "command -v git"])
            .wait(LIMIT)
            .exits(0)
            .stdout;
        let log = world.path("../tmp/argv");
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$*\" >> {}\nexec {} \"$@\"\n",
            log.display(),
            real.trim()
        );
        fs::write(watch.join("git"), script).unwrap();
        fs::set_permissions(watch.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let script = format!(
        "PATH={}:$PATH SSL_CERT_FILE=$PWD/../tmp/ca.pem exec loki ship \"$@\"",
        watch.display()
    );
    let argv = [&["-c", &script, "loki"], args].concat();
    world.start("sh", &argv).wait(LIMIT).never_panicked()
}

/// Asserts that the token stands in no file below a folder, in no form.
fn holds_no_token(folder: &Path) {
    let forms = [
        TOKEN.to_owned(),
        BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")),
    ];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            holds_no_token(&path);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for form in &forms {
            let found = bytes
                .windows(form.len())
                .any(|part| part == form.as_bytes());
            assert!(!found, "the token is in `{}`", path.display());
        }
    }
}

/// Plants everything in the repository's own settings that could start a program or lead a push
/// elsewhere, and returns what appears when one does.
fn plant_vectors(world: &World, forge: &Forge) -> std::path::PathBuf {
    let fired = world.path("../tmp/fired");
    let evil = world.path("../tmp/evil");
    fs::write(
        &evil,
        format!("#!/bin/sh\necho \"$0 $*\" >> {}\n", fired.display()),
    )
    .unwrap();
    fs::set_permissions(&evil, PermissionsExt::from_mode(0o755)).unwrap();
    let evil = evil.to_str().unwrap();
    let url = format!("https://localhost:{}/", forge.port);
    for (key, value) in [
        (format!("url.ext::{evil} .insteadOf"), url.clone()),
        (format!("url.ext::{evil} .pushInsteadOf"), url.clone()),
        ("credential.helper".to_owned(), evil.to_owned()),
        (format!("credential.{url}.helper"), evil.to_owned()),
        ("core.askPass".to_owned(), evil.to_owned()),
        ("core.sshCommand".to_owned(), evil.to_owned()),
        ("core.gitProxy".to_owned(), evil.to_owned()),
        (
            "core.hooksPath".to_owned(),
            world.path("../tmp/hooks").display().to_string(),
        ),
        ("http.proxy".to_owned(), "http://127.0.0.1:1".to_owned()),
        (format!("http.{url}.proxy"), "http://127.0.0.1:1".to_owned()),
        ("http.sslVerify".to_owned(), "false".to_owned()),
        ("remote.origin.receivepack".to_owned(), evil.to_owned()),
        (
            "remote.origin.proxy".to_owned(),
            "http://127.0.0.1:1".to_owned(),
        ),
        ("remote.origin.vcs".to_owned(), "evil".to_owned()),
        ("push.gpgSign".to_owned(), "true".to_owned()),
        ("gpg.program".to_owned(), evil.to_owned()),
        ("push.followTags".to_owned(), "true".to_owned()),
        ("protocol.ext.allow".to_owned(), "always".to_owned()),
    ] {
        world.git(&["config", "--add", &key, &value]);
    }
    fs::create_dir(world.path("../tmp/hooks")).unwrap();
    for place in ["../tmp/hooks/pre-push", ".git/hooks/pre-push"] {
        fs::create_dir_all(world.path(place).parent().unwrap()).unwrap();
        fs::copy(evil, world.path(place)).unwrap();
    }
    world.git(&[
        "tag",
        "-a",
        "-m",
        "secret tag",
        "v1",
        &format!("loki/{RUN}"),
    ]);
    fired
}

#[test]
fn attack_g01_a_run_is_shipped_once_and_no_setting_of_the_repository_has_a_part_in_it() {
    let (Planted { world, commits }, forge) = with_forge(two());
    ship(&world, &[])
        .exits(3)
        .says(&["no token is kept", "loki secrets set GITHUB_TOKEN"]);
    keep_token(&world, TOKEN);
    let fired = plant_vectors(&world, &forge);
    let said = ship(&world, &[]).exits(0);
    let url = format!("https://localhost:{}/o/r/pull/1", forge.port);
    assert_eq!(said.stdout.trim(), url, "{said}");
    assert!(!fired.exists(), "{}", fs::read_to_string(&fired).unwrap());
    let bare = world.path("../tmp/served/o/r.git");
    let bare = bare.to_str().unwrap();
    let there = world.git(&[
        "--git-dir",
        bare,
        "for-each-ref",
        "--format=%(refname) %(objectname)",
    ]);
    let branch = format!("refs/heads/loki/{RUN} {}\n", commits[1]);
    assert!(
        there.starts_with(&branch) && there.lines().count() == 2,
        "{there}"
    );
    let pull = forge.pulls().remove(0);
    assert_eq!(
        (&pull["base"]["ref"], &pull["draft"]),
        (&json!("main"), &json!(false))
    );
    let body = pull["body"].as_str().unwrap();
    for part in [
        "` Todo\\u{202e} for @one `",
        "- `one` (eng-backend)",
        "` make all `: passed, tests: 4",
    ] {
        assert!(body.contains(part), "{part}\n{body}");
    }
    assert!(body.contains(&format!("\nLoki-Run: {RUN}\n")), "{body}");
    assert_eq!(world.status()["shipped"], url.as_str());
    world.loki(&["audit", "verify"]).exits(0);
    // Again: nothing is done, and the same is said.
    let records = world.events().len();
    let again = ship(&world, &["--json"]).exits(0);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&again["url"], &again["new"]), (&json!(url), &json!(false)));
    assert_eq!((world.events().len(), forge.pulls().len()), (records, 1));
    // The token is in no argument, no log, no journal and nothing that was printed.
    let argv = fs::read_to_string(world.path("../tmp/argv")).unwrap();
    assert!(argv.contains("push --porcelain"), "{argv}");
    holds_no_token(&world.path("../tmp"));
    holds_no_token(&world.path(""));
    holds_no_token(&world.path("../home"));
}

#[test]
fn cli_what_must_not_be_shipped_is_not() {
    let (Planted { world, commits }, forge) = with_forge(two());
    keep_token(&world, "a-wrong-token-0123456789");
    ship(&world, &[])
        .exits(3)
        .says(&["does not take the token: Bad credentials"]);
    world
        .loki_fed(&["secrets", "set", "GITHUB_TOKEN"], TOKEN)
        .exits(0);
    // An authority that nobody named is not believed.
    world.loki(&["ship"]).exits(1).says(&["certificate"]);
    ship(&world, &["--base", "no-such"])
        .exits(1)
        .says(&["Validation Failed"]);
    // Somebody pushed to the branch there.
    let bare = world.path("../tmp/served/o/r.git");
    let bare = bare.to_str().unwrap();
    let name = format!("refs/heads/loki/{RUN}");
    let foreign = world.git(&["commit-tree", "main^{tree}", "-p", "main", "-m", "theirs"]);
    world.git(&[
        "push",
        "-q",
        "--force",
        bare,
        &format!("{}:{name}", foreign.trim()),
    ]);
    ship(&world, &[])
        .exits(1)
        .says(&["on the remote, which this run does not hold"]);
    assert_eq!(world.git(&["--git-dir", bare, "rev-parse", &name]), foreign);
    world.git(&["--git-dir", bare, "update-ref", "-d", &name]);
    // The branch was moved here.
    world.git(&["update-ref", &name, "main"]);
    ship(&world, &[]).exits(1).says(&["somebody moved it"]);
    world.git(&["update-ref", &name, &commits[1]]);
    world.git(&["config", "loki.protected", "LOKI/*"]);
    ship(&world, &[])
        .exits(2)
        .says(&["is protected by `LOKI/*`"]);
    world.git(&["config", "--unset", "loki.protected"]);
    // What was taken back has been seen by no check.
    world.loki(&["revert", "two"]).exits(0);
    ship(&world, &[]).exits(1).says(&["no", "--unchecked"]);
    assert_eq!(forge.pulls(), Vec::<Value>::new());
    ship(&world, &["--unchecked", "--draft"]).exits(0);
    let pull = forge.pulls().remove(0);
    assert_eq!(pull["draft"], true);
    assert!(
        pull["body"]
            .as_str()
            .unwrap()
            .contains("Not checked as it is")
    );
    let asked = forge.asked();
    assert!(asked.iter().all(|line| !line.contains(TOKEN)), "{asked:?}");
}

#[test]
fn attack_g06_an_address_that_is_a_command_is_refused_wherever_it_stands() {
    let Planted { world, .. } = two();
    keep_token(&world, TOKEN);
    let fired = world.path("../tmp/fired");
    let evil = format!("ext::touch {}", fired.display());
    // The configuration itself lies elsewhere, behind a link.
    fs::rename(world.path(".git/config"), world.path("../tmp/config")).unwrap();
    std::os::unix::fs::symlink(world.path("../tmp/config"), world.path(".git/config")).unwrap();
    for address in [
        evil.as_str(),
        "--upload-pack=x",
        "-oProxyCommand=x",
        "file:///tmp/x",
        "http://localhost/o/r",
        "https://me:hush@localhost/o/r",
        "https://localhost/o/r\u{202e}",
        "ssh://-oProxyCommand=x/o/r",
    ] {
        world.git(&["config", "remote.origin.url", address]);
        let said = ship(&world, &[]).exits(2).says(&["error: "]);
        assert!(
            !said.stderr.contains("hush") && !said.stderr.contains('\u{202e}'),
            "{said}"
        );
    }
    ship(&world, &["--remote", &evil])
        .exits(2)
        .says(&["error: "]);
    ship(&world, &["--remote", "no-such"])
        .exits(2)
        .says(&["no remote `no-such`"]);
    ship(&world, &["--remote=--upload-pack=x"])
        .exits(2)
        .says(&["no remote"]);
    assert!(!fired.exists());
}

#[test]
fn cli_a_run_that_failed_is_not_shipped() {
    let (Planted { world, .. }, forge) =
        with_forge(planted(&[("one", "src/one", "1\n")], "failed"));
    keep_token(&world, TOKEN);
    ship(&world, &[]).exits(1).says(&["is not done"]);
    ship(&world, &["20990101-000000-0000"])
        .exits(2)
        .says(&["there is no run"]);
    assert_eq!(
        forge.asked(),
        Vec::<String>::new(),
        "nobody was asked anything"
    );
}
