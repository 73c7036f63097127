//! The verbs of `loki checkpoint`, through the binary and without an engine: a directory is kept,
//! looked at, given back and forgotten, and whatever is wrong is refused in words.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Run, World};

const SOON: Duration = Duration::from_secs(120);

fn world() -> World {
    let world = World::new();
    world.write("README.md", "# Mine\n");
    world.commit();
    world.write("tree/src/main.rs", "fn main() {}\n");
    world.write("tree/tool", "#!/bin/sh\n");
    fs::set_permissions(world.path("tree/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    world
}

fn checkpoint(world: &World, words: &str) -> Run {
    let words = words.split(' ').filter(|word| !word.is_empty());
    world.loki(&[&["checkpoint"], &words.collect::<Vec<_>>()[..]].concat())
}

/// Keeps `tree` and returns the checkpoint's name.
#[track_caller]
fn kept(world: &World) -> String {
    checkpoint(world, "create --dir tree")
        .exits(0)
        .stdout
        .trim()
        .to_owned()
}

fn packs(world: &World) -> Vec<PathBuf> {
    let all = fs::read_dir(world.path(".loki/checkpoints/packs")).unwrap();
    all.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_directory_is_kept_looked_at_and_given_back() {
    let world = world();
    let first = kept(&world);
    world.write("tree/src/main.rs", "fn main() { todo() }\n");
    fs::remove_file(world.path("tree/tool")).unwrap();
    let second = kept(&world);
    let list: Value =
        serde_json::from_str(&checkpoint(&world, "list --json").exits(0).stdout).unwrap();
    let ids: Vec<&str> = list["checkpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [&first, &second]);
    checkpoint(&world, "list")
        .exits(0)
        .prints(&[&first, &second, "CHECKPOINT"]);
    checkpoint(&world, &format!("show {first}"))
        .exits(0)
        .prints(&["files/src/main.rs", "- 0755", "d 0755"]);
    let shown = checkpoint(&world, &format!("show {second} --json"))
        .exits(0)
        .stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let paths: Vec<&str> = shown["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["files", "files/src", "files/src/main.rs"]);
    checkpoint(&world, &format!("diff {first} {second}"))
        .exits(1)
        .prints(&["changed  files/src/main.rs", "removed  files/tool"]);
    checkpoint(&world, &format!("diff {first} {first}")).exits(0);
    checkpoint(&world, "verify")
        .exits(0)
        .prints(&[&first, &second, "intact"]);
}

#[test]
fn a_directory_is_given_back_and_what_is_pruned_is_gone() {
    let world = world();
    let first = kept(&world);
    world.write("tree/src/main.rs", "fn main() { loop {} }\n");
    let second = kept(&world);
    checkpoint(&world, &format!("restore {first} --to back"))
        .exits(0)
        .says(&["restored 4 entries"]);
    let tool = fs::metadata(world.path("back/files/tool")).unwrap();
    assert_eq!(tool.permissions().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::read_to_string(world.path("back/files/src/main.rs")).unwrap(),
        "fn main() {}\n"
    );
    checkpoint(&world, &format!("export {first} --out out.tar.zst")).exits(0);
    let listed = world
        .start("tar", &["--zstd", "-tf", "out.tar.zst"])
        .wait(SOON)
        .exits(0);
    listed.prints(&["files/src/main.rs", "files/tool"]);
    checkpoint(&world, "prune --keep 1 --dry-run")
        .exits(0)
        .prints(&[&first])
        .says(&["would remove"]);
    checkpoint(&world, "prune --keep 1")
        .exits(0)
        .prints(&[&first]);
    checkpoint(&world, &format!("show {first}"))
        .exits(2)
        .says(&["there is no checkpoint", "loki checkpoint list"]);
    checkpoint(&world, "verify").exits(0).prints(&[&second]);
    assert_eq!(world.git(&["status", "--porcelain", "--", ".loki"]), "");
}

#[test]
fn attack_c7_a_changed_part_is_named_and_nothing_is_unpacked() {
    let world = world();
    let id = kept(&world);
    let pack = packs(&world).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[20] ^= 4;
    fs::write(&pack, bytes).unwrap();
    checkpoint(&world, "verify").exits(1).says(&[
        &id,
        "cannot be believed",
        "was changed on the disk",
    ]);
    checkpoint(&world, &format!("restore {id} --to back"))
        .exits(1)
        .says(&["cannot be believed"]);
    checkpoint(&world, &format!("export {id} --out out.tar")).exits(1);
    assert!(!world.path("back").exists() && !world.path("out.tar").exists());
    let head = world.path(&format!(".loki/checkpoints/heads/{id}.json"));
    let text = fs::read_to_string(&head).unwrap();
    fs::write(
        &head,
        text.replace("\\\"entries\\\":4", "\\\"entries\\\":5"),
    )
    .unwrap();
    checkpoint(&world, "list")
        .exits(1)
        .says(&["its signature does not fit"]);
}

#[test]
fn a_key_of_somebody_else_is_not_believed_unless_it_is_named() {
    let world = world();
    let id = kept(&world);
    let key = world.path("../home/.config/loki/journal.key");
    fs::rename(&key, world.path("../theirs.key")).unwrap();
    checkpoint(&world, "verify")
        .exits(2)
        .says(&["there is no key of this user", "--key"]);
    let list = "list --key 1111111111111111111111111111111111111111111111111111111111111111";
    let said = checkpoint(&world, list)
        .exits(1)
        .says(&["which is not trusted here"]);
    let signer = said
        .stderr
        .split("the key ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    checkpoint(&world, &format!("verify {id} --key {signer}")).exits(0);
}

#[test]
fn what_is_asked_wrongly_is_said_in_words() {
    let world = world();
    checkpoint(&world, "list")
        .exits(0)
        .says(&["loki checkpoint create"]);
    checkpoint(&world, "verify 20270101-000000-000-0000")
        .exits(2)
        .says(&["there is no checkpoint"]);
    let id = kept(&world);
    for (words, says) in [
        ("show ../../etc", "checkpoint"),
        (
            "restore 20270101-000000-000-0000 --to x",
            "there is no checkpoint",
        ),
        ("prune", "--keep"),
        ("create --dir tree --quota 5", "500MiB"),
        ("create --dir tree store-1", "cannot be used with"),
    ] {
        checkpoint(&world, words).exits(2).says(&[says]);
    }
    checkpoint(&world, "create --dir nowhere")
        .exits(1)
        .says(&["nowhere"]);
    checkpoint(&world, "create --dir tree/tool")
        .exits(1)
        .says(&["tool"]);
    checkpoint(&world, &format!("restore {id} --to tree"))
        .exits(2)
        .says(&["not an empty directory"]);
    checkpoint(&world, &format!("export {id} --out README.md"))
        .exits(1)
        .says(&["README.md"]);
    assert_eq!(
        fs::read_to_string(world.path("README.md")).unwrap(),
        "# Mine\n"
    );
    let noise: Vec<u8> = (0_u32..9000)
        .map(|n| u8::try_from(n * n % 251).unwrap())
        .collect();
    world.write("tree/noise", noise);
    checkpoint(&world, "create --dir tree --quota 1KiB")
        .exits(1)
        .says(&["loki checkpoint prune"]);
}

#[test]
fn attack_c8_what_holds_a_kept_secret_is_left_out() {
    let world = world();
    world.loki(&["secrets", "init"]).exits(0);
    let value = "canary-4815162342-value";
    world
        .loki_fed(&["secrets", "set", "API_KEY"], value)
        .exits(0);
    world.write("tree/.history", format!("curl -H 'x: {value}'\n"));
    let said = checkpoint(&world, "create --dir tree")
        .exits(0)
        .says(&["1 left out"]);
    let id = said.stdout.trim().to_owned();
    let said = checkpoint(&world, &format!("show {id}")).exits(0);
    said.prints(&["files/.history: holds a secret value"]);
    let said = checkpoint(&world, &format!("export {id} --format tar --out out.tar")).exits(0);
    assert!(!said.stderr.contains(value));
    let bytes = fs::read(world.path("out.tar")).unwrap();
    assert!(
        !bytes
            .windows(value.len())
            .any(|part| part == value.as_bytes())
    );
}

#[test]
fn a_strangers_archive_is_kept_or_refused_as_a_whole() {
    let world = world();
    world
        .start("tar", &["-czf", "good.tar.gz", "-C", "tree", "."])
        .wait(SOON)
        .exits(0);
    let said = checkpoint(&world, "create --archive good.tar.gz").exits(0);
    let id = said.stdout.trim().to_owned();
    checkpoint(&world, &format!("restore {id} --to back")).exits(0);
    assert!(world.path("back/files/src/main.rs").exists());
    world
        .start("ln", &["tree/tool", "tree/twin"])
        .wait(SOON)
        .exits(0);
    world
        .start("tar", &["-cf", "hard.tar", "-C", "tree", "."])
        .wait(SOON)
        .exits(0);
    checkpoint(&world, "create --archive hard.tar")
        .exits(1)
        .says(&["hard links are not taken"]);
    world
        .start(
            "tar",
            &["-cPf", "up.tar", "--transform=s,^tree,../up,", "tree/tool"],
        )
        .wait(SOON)
        .exits(0);
    checkpoint(&world, "create --archive up.tar")
        .exits(1)
        .says(&["a path is relative"]);
    checkpoint(&world, "create --archive README.md")
        .exits(1)
        .says(&["archive"]);
    let list: Value =
        serde_json::from_str(&checkpoint(&world, "list --json").exits(0).stdout).unwrap();
    assert_eq!(list["checkpoints"].as_array().unwrap().len(), 1);
}

/// Writes what takes a moment to keep.
fn large(world: &World) {
    for at in 0_u32..40 {
        let bytes: Vec<u8> = (0_u32..500_000)
            .map(|n| u8::try_from((n * (at + 7)) % 251).unwrap())
            .collect();
        world.write(&format!("tree/large/{at}"), bytes);
    }
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_that_is_believed_by_half() {
    let world = world();
    kept(&world);
    large(&world);
    let mut killed = 0;
    for round in 0..12 {
        let run = world.spawn(&["checkpoint", "create", "--dir", "tree"]);
        std::thread::sleep(Duration::from_millis(15 * round));
        run.signal(Signal::KILL);
        let said = run.wait(SOON).in_any_case();
        killed += usize::from(said.stdout.is_empty());
        let listed: Value =
            serde_json::from_str(&checkpoint(&world, "list --json").exits(0).stdout).unwrap();
        assert!(!listed["checkpoints"].as_array().unwrap().is_empty());
        checkpoint(&world, "verify").exits(0);
    }
    assert!(killed > 0, "none was killed in time");
    let id = kept(&world);
    checkpoint(&world, &format!("restore {id} --to back")).exits(0);
    let same = world
        .start("diff", &["-r", "tree", "back/files"])
        .wait(SOON);
    same.exits(0).says_nothing();
    let names = fs::read_dir(world.path(".loki/checkpoints/packs")).unwrap();
    let left = names.filter(|name| {
        name.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".new")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_write_that_fails_anywhere_leaves_nothing_that_is_believed_by_half() {
    let world = world();
    let first = kept(&world);
    large(&world);
    let loki = env!("CARGO_BIN_EXE_loki");
    let mut failed = 0;
    // No file may grow beyond so many blocks: what a full disk does, at every length.
    for blocks in [0, 1, 2, 8, 64, 512, 2048] {
        let script =
            format!("trap '' XFSZ; ulimit -f {blocks}; exec {loki} checkpoint create --dir tree");
        let run = world.start("bash", &["-c", &script]).wait(SOON);
        let said = run.never_panicked().in_any_case();
        failed += usize::from(said.stdout.is_empty());
        checkpoint(&world, "verify").exits(0).prints(&[&first]);
    }
    assert!(failed >= 3, "only {failed} failed");
    let names = fs::read_dir(world.path(".loki/checkpoints/packs")).unwrap();
    let left = names.filter(|name| {
        name.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".new")
    });
    assert_eq!(left.count(), 0);
}
