//! The verbs of `loki audit`, through the binary and without an engine: journals are sealed by the
//! library as a run seals them, then looked at as a person does, and with stock tools.

use std::{fs, path::PathBuf, time::Duration};

use loki::{
    event::{Event, Outcome},
    journal::{Key, Sealing, Writer},
    name::RunId,
    sandbox::repository_label,
};
use serde_json::Value;

use super::harness::{
    Run, World,
    source::{code, files, read, without_tests},
};

const SOON: Duration = Duration::from_secs(120);

fn audit(world: &World, words: &str) -> Run {
    let words = words.split(' ').filter(|word| !word.is_empty());
    world.loki(&[&["audit"], &words.collect::<Vec<_>>()[..]].concat())
}

fn settings(world: &World) -> PathBuf {
    world.path("../home/.config/loki")
}

fn anchors(world: &World) -> PathBuf {
    let root = fs::canonicalize(world.path("")).unwrap();
    let label = repository_label(&root);
    world.path("../home/.local/state/loki/anchors").join(label)
}

fn file(world: &World, run: &str, suffix: &str) -> PathBuf {
    world.path(&format!(".loki/journal/{run}.{suffix}"))
}

fn said(world: &World, words: &str) -> Value {
    let said = audit(world, words).in_any_case();
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}\n{said}"))
}

/// A world with a key and a repository.
fn world() -> World {
    let world = World::new();
    world.commit();
    audit(&world, "init").exits(0);
    world
}

/// Writes a sealed journal of `claims` claims as a run does, ended at a time; or one that goes on.
fn lived(world: &World, name: &str, claims: u32, ended: Option<&str>) {
    let run: RunId = name.parse().unwrap();
    let now: jiff::Timestamp = ended.unwrap_or("2026-11-21T08:00:00Z").parse().unwrap();
    let home = world.path(".loki");
    let writer = Writer::create(&home, &run, move || now).unwrap();
    let sealing = Sealing {
        key: Key::open_or_make(&settings(world)).unwrap(),
        anchors: anchors(world),
        clock: Box::new(move || now),
        every: Duration::from_secs(3600),
    };
    let mut writer = writer.sealed_by(&run, sealing).unwrap();
    let text = || "x".to_owned();
    let mut events = vec![Event::RunStarted {
        run: run.clone(),
        loki: text(),
        spec: text(),
        spec_sha256: text(),
        title: text(),
        provider: text(),
        base: text(),
        branch: text(),
        engine: text(),
        policy_sha256: text(),
        asked: None,
    }];
    events.extend((1..=claims).map(|attempt| Event::TaskClaimed {
        task: "store".parse().unwrap(),
        version: u64::from(attempt),
        attempt,
    }));
    if ended.is_some() {
        events.push(Event::RunEnded {
            outcome: Outcome::Done,
            reason: None,
        });
    }
    for event in &events {
        writer.append(event).unwrap();
    }
}

const RUN: &str = "20261121-080000-0001";
const ENDED: Option<&str> = Some("2026-11-21T08:00:00Z");

#[test]
fn cli_a_key_is_made_once_shown_and_followed_by_another() {
    let world = World::new();
    world.commit();
    audit(&world, "key").exits(2).says(&["loki audit init"]);
    audit(&world, "rotate").exits(1).says(&["loki audit init"]);
    let made = audit(&world, "init").exits(0).says(&["journal.key"]);
    let first = made.stdout.trim().to_owned();
    assert_eq!(audit(&world, "init").exits(0).stdout.trim(), first);
    lived(&world, RUN, 3, ENDED);
    fs::write(world.path("../pub"), &first).unwrap();
    let second = audit(&world, "rotate").exits(0).says(&[&first]);
    let second = second.stdout.trim().to_owned();
    assert_ne!(first, second);
    let shown = audit(&world, "key").exits(0).stdout;
    assert_eq!(shown.lines().next(), Some(second.as_str()));
    assert!(shown.lines().nth(1).unwrap().contains(&first));
    let json = said(&world, "key --json");
    assert_eq!(json["key"], second);
    assert_eq!(json["handovers"][0]["old"], first);
    // By the new key, by the old, by a file of either, and by nobody else's.
    fs::write(world.path("../keys"), shown).unwrap();
    for key in [
        "",
        "--key ../pub",
        "--key ../keys",
        &format!("--key {first}"),
    ] {
        audit(&world, &format!("verify {key}")).exits(0);
    }
    let stranger = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let wrong = said(&world, &format!("verify --json --key {stranger}"));
    assert_eq!(wrong["fault"]["kind"], "wrong-key");
    audit(&world, "verify --key nonsense")
        .exits(2)
        .says(&["loki audit key"]);
}

#[test]
fn cli_verify_says_what_is_wrong_in_words_and_in_json() {
    let world = world();
    audit(&world, "verify").exits(1).says(&["no run was made"]);
    lived(&world, RUN, 4, ENDED);
    let good = audit(&world, "verify").exits(0);
    good.prints(&[
        "6 records, chain intact",
        "sealed to record 6 by 2 seals",
        "record 6 is kept outside",
    ]);
    let (journal, seals) = (file(&world, RUN, "jsonl"), file(&world, RUN, "seals"));
    let (text, sealed) = (
        fs::read_to_string(&journal).unwrap(),
        fs::read_to_string(&seals).unwrap(),
    );
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let kind = |word: &str| {
        let found = said(&world, "verify --json");
        assert_eq!(
            (&found["sound"], &found["fault"]["kind"]),
            (&false.into(), &word.into())
        );
        audit(&world, "verify")
            .exits(1)
            .says(&["error: ", "hint: "]);
    };
    fs::write(&journal, text.replace("\"attempt\":2", "\"attempt\":9")).unwrap();
    let record = audit(&world, "verify").exits(1);
    drop(record.says(&["record 3 of", "its bytes hash to"]));
    kind("record");
    fs::write(&journal, lines[..4].concat()).unwrap();
    audit(&world, "verify").exits(1).says(&["record 5 of"]);
    kind("cut");
    fs::write(&journal, &text).unwrap();
    fs::write(&seals, "nonsense\n").unwrap();
    kind("seal");
    fs::remove_file(&seals).unwrap();
    kind("seals-cut");
    fs::remove_dir_all(anchors(&world)).unwrap();
    kind("unsealed");
    audit(&world, "verify --unsealed")
        .exits(0)
        .says(&["no seal covers the last 6 records"]);
    fs::write(&seals, sealed).unwrap();
    audit(&world, "verify")
        .exits(0)
        .prints(&["none is kept outside"]);
    let other = "20261121-080000-0002";
    fs::rename(&journal, file(&world, other, "jsonl")).unwrap();
    let taken = audit(&world, &format!("verify --unsealed --run {other}")).exits(1);
    drop(taken.says(&["is the journal of run"]));
    audit(&world, &format!("verify --run {RUN}"))
        .exits(2)
        .says(&["there is no run", "verify --all"]);
}

#[test]
fn cli_an_anchor_kept_elsewhere_shows_an_older_copy_and_a_run_that_is_gone() {
    let world = world();
    lived(&world, RUN, 1, None);
    let copy = [file(&world, RUN, "jsonl"), file(&world, RUN, "seals")];
    let old = copy.clone().map(|path| fs::read(path).unwrap());
    let line = audit(&world, "anchor").exits(0).stdout;
    assert_eq!(line.lines().count(), 1);
    fs::remove_dir_all(world.path(".loki")).unwrap();
    let gone = audit(&world, "verify").exits(1);
    drop(gone.says(&["is gone", "2 records were sealed"]));
    // Whoever removed it himself removes what says so, too.
    fs::remove_dir_all(anchors(&world)).unwrap();
    lived(&world, RUN, 5, ENDED);
    audit(&world, "anchor --to ../kept")
        .exits(0)
        .says(&["record 7"]);
    audit(&world, "verify --anchor ../kept").exits(0);
    for (path, bytes) in copy.iter().zip(old) {
        fs::write(path, bytes).unwrap();
    }
    audit(&world, "verify").exits(1);
    fs::remove_dir_all(anchors(&world)).unwrap();
    audit(&world, "verify").exits(0);
    audit(&world, "verify --anchor ../kept").exits(1);
    audit(&world, "verify --anchor ../missing")
        .exits(2)
        .says(&["loki audit anchor"]);
}

#[test]
fn cli_prune_leaves_one_line_of_ended_runs_and_asks_first() {
    let world = world();
    let (old, young) = ("20260901-080000-0001", "20261121-080000-0002");
    lived(&world, old, 2, Some("2026-09-01T08:00:00Z"));
    lived(&world, young, 2, None);
    lived(&world, RUN, 2, ENDED);
    audit(&world, "prune").exits(2);
    audit(&world, "prune --keep 0")
        .exits(0)
        .prints(&[old, RUN])
        .says(&["nothing was removed", young, "has not ended"]);
    let asked = said(&world, "prune --older-than 30d --keep 1 --json");
    assert_eq!(asked["pruned"], serde_json::json!([]));
    assert!(asked["found"].as_array().unwrap().contains(&old.into()));
    audit(&world, "prune --keep 0 --yes")
        .exits(0)
        .prints(&[old, RUN]);
    assert!(file(&world, young, "jsonl").exists());
    assert!(!file(&world, old, "jsonl").exists() && !file(&world, RUN, "seals").exists());
    audit(&world, &format!("verify --run {old}"))
        .exits(0)
        .prints(&["4 records, pruned at"]);
    let all = said(&world, "verify --all --json");
    assert_eq!(all["runs"].as_array().unwrap().len(), 3);
    fs::remove_file(file(&world, old, "pruned")).unwrap();
    audit(&world, "verify --all").exits(1).says(&["is gone"]);
}

#[test]
fn cli_export_prints_each_record_on_a_line_up_to_the_first_that_is_wrong() {
    let world = world();
    lived(&world, RUN, 3, ENDED);
    let journal = file(&world, RUN, "jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    assert_eq!(audit(&world, "export --format jsonl").exits(0).stdout, text);
    let ocsf = audit(&world, "export --format ocsf").exits(0).stdout;
    let first: Value = serde_json::from_str(ocsf.lines().next().unwrap()).unwrap();
    assert_eq!(
        (ocsf.lines().count(), &first["class_uid"]),
        (5, &6002.into())
    );
    let syslog = audit(&world, "export --format syslog").exits(0).stdout;
    assert!(syslog.lines().all(|line| line.starts_with("<1")));
    fs::write(&journal, text.replace("\"attempt\":3", "\"attempt\":4")).unwrap();
    let cut = audit(&world, "export --format syslog").exits(1);
    assert_eq!(cut.stdout.lines().count(), 3);
    drop(cut.says(&["record 4 of"]));
    audit(&world, "export --format xml").exits(2);
}

/// Every command of the page about verifying, with the tools it names, in the order it gives them.
#[test]
fn cli_the_documented_commands_verify_a_journal_with_stock_tools() {
    let world = world();
    lived(&world, RUN, 3, ENDED);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit.md")).unwrap();
    let blocks: Vec<&str> = page
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains("run.jsonl") || block.contains("run.seals"))
        .collect();
    assert_eq!(blocks.len(), 3, "the chain, the seal, and what joins them");
    let script = format!("set -eu\n{}", blocks.concat());
    world.write("../check.sh", script);
    fs::create_dir(world.path("../look")).unwrap();
    let copy = |suffix| {
        let name = format!("../look/run.{suffix}");
        fs::copy(file(&world, RUN, suffix), world.path(&name)).unwrap();
    };
    let shell = || {
        let args = ["-c", "cd ../look && sh ../check.sh"];
        world.start("sh", &args).wait(SOON)
    };
    copy("jsonl");
    copy("seals");
    fs::write(
        world.path("../look/key.pem"),
        audit(&world, "key --pem").exits(0).stdout,
    )
    .unwrap();
    shell()
        .exits(0)
        .prints(&["Signature Verified Successfully", "sealed"]);
    let seals = fs::read_to_string(file(&world, RUN, "seals")).unwrap();
    let forged = seals.replace("\"seq\":5", "\"seq\":4");
    assert_ne!(forged, seals);
    fs::write(world.path("../look/run.seals"), forged).unwrap();
    let refused = shell().in_any_case();
    assert!(!refused.stdout.contains("sealed\n"), "{refused}");
    copy("seals");
    let text = fs::read_to_string(file(&world, RUN, "jsonl")).unwrap();
    let changed = text.replace("\"attempt\":2", "\"attempt\":7");
    fs::write(world.path("../look/run.jsonl"), changed).unwrap();
    let refused = shell().in_any_case();
    assert!(
        refused.stdout.contains("record 3 is not what was written"),
        "{refused}"
    );
}

/// A journal that one verb seals and another does not would be refused by the first.
#[test]
fn every_verb_that_writes_a_journal_seals_it() {
    let files = files("src/cli", "rs").into_iter();
    let writing: Vec<(PathBuf, String)> = files
        .map(|path| (path.clone(), without_tests(&code(&read(path)))))
        .filter(|(_, code)| code.contains("Writer::create(") || code.contains("Writer::reopen("))
        .collect();
    assert!(!writing.is_empty());
    for (path, code) in writing {
        if path.ends_with("src/cli/audit/mod.rs") {
            assert!(code.contains("let writer = sealed(env,"), "{code}");
            continue;
        }
        let opened =
            code.matches("Writer::create(").count() + code.matches("Writer::reopen(").count();
        let sealed = code.matches("audit::sealed(").count();
        assert_eq!(
            opened,
            sealed,
            "{} opens journals and does not seal them",
            path.display()
        );
    }
}

#[test]
fn attack_s16_a_destroyed_newest_journal_is_found_without_its_name() {
    let world = world();
    lived(
        &world,
        "20261120-080000-0001",
        1,
        Some("2026-11-20T08:00:00Z"),
    );
    lived(&world, RUN, 2, None);
    let journal = file(&world, RUN, "jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    for destroyed in [
        String::new(),
        text.replacen("\"seq\":1", "\"seq\":7", 1),
        text.replace('\n', ""),
    ] {
        fs::write(&journal, destroyed).unwrap();
        audit(&world, "verify").exits(1);
    }
    fs::write(&journal, &text).unwrap();
    audit(&world, "verify").exits(0);
    // Also when another was made to look newer, and the seals are gone with it.
    fs::remove_file(file(&world, RUN, "seals")).unwrap();
    fs::remove_dir_all(anchors(&world)).unwrap();
    for lines in [0, 1] {
        let left: String = text.split_inclusive('\n').take(lines).collect();
        fs::write(&journal, left).unwrap();
        let said = audit(&world, "verify").exits(1);
        drop(said.says(&["no seal", RUN]));
    }
}
