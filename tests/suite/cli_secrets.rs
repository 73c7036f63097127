//! `loki secrets`: what it keeps, that the program `age` reads and writes the same file, what it
//! refuses, and that no verb shows a value.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use super::harness::{Run, START, Said, World};

const VALUE: &str = "canary-0123456789-abcdef";
const STORE: &str = ".loki/secrets.env.age";
const IDENTITY: &str = "../home/.config/loki/identity.txt";
const PERSON: &str = include_str!("harness/probes/person.py");
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);

/// Returns a world whose repository has an empty store.
fn kept() -> World {
    let world = World::new();
    world.write(
        "spec.md",
        "# A\n\nB.\n\n## Tasks\n\n- `a` (eng-backend): c\n  - accept: `true`\n",
    );
    world.commit();
    let made = world.loki(&["secrets", "init"]).exits(0);
    made.prints(&["recipient age1"])
        .says(&["made an identity", "secrets.env.age"]);
    world
}

fn set(world: &World, name: &str, value: &str) -> Run {
    let run = world.loki_fed(&["secrets", "set", name], value);
    fs::remove_file(world.path("../tmp/input")).unwrap();
    run
}

/// Runs a program of this machine, which must be there.
#[track_caller]
fn tool(world: &World, argv: &[&str]) -> Said {
    world.start(argv[0], &argv[1..]).wait(LIMIT).exits(0)
}

#[track_caller]
fn decrypted(world: &World, identity: &str) -> String {
    tool(world, &["age", "--decrypt", "--identity", identity, STORE]).stdout
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn cli_what_is_set_is_read_by_age_and_what_age_writes_is_listed() {
    let world = kept();
    set(&world, "API_KEY", &format!("{VALUE}\n"))
        .exits(0)
        .says(&["set `API_KEY`"]);
    set(&world, "PEM", "-----BEGIN-----\nit's two lines\n").exits(0);
    let text = decrypted(&world, IDENTITY);
    assert_eq!(
        text,
        format!("API_KEY={VALUE}\nPEM=\"-----BEGIN-----\nit's two lines\"\n")
    );

    let recipients = ".loki/secrets.recipients";
    let script = format!(
        "printf '# by age\\nOTHER={VALUE}\\n' | age --armor --recipients-file {recipients} > new && mv new {STORE} && chmod 600 {STORE}"
    );
    tool(&world, &["sh", "-c", &script]);
    let listed = world.loki(&["secrets", "list"]).exits(0);
    assert_eq!(listed.stdout, "OTHER\n");
    set(&world, "MORE", VALUE).exits(0);
    let bytes = fs::read_to_string(world.path(STORE)).unwrap();
    assert!(
        bytes.starts_with("-----BEGIN AGE"),
        "it stays as its owner wrote it"
    );
    assert_eq!(
        decrypted(&world, IDENTITY),
        format!("# by age\nOTHER={VALUE}\nMORE={VALUE}\n")
    );
    for path in [STORE, recipients, IDENTITY] {
        assert_eq!(mode(&world.path(path)), 0o600, "{path}");
    }
    assert_eq!(
        world.git(&["status", "--porcelain", "--untracked-files=all"]),
        ""
    );
}

/// Makes an SSH key without a passphrase and returns its public half.
fn ssh_key(world: &World, path: &str, kind: &str) -> String {
    let path = world.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = path.to_str().unwrap();
    let argv = [
        "ssh-keygen",
        "-q",
        "-t",
        kind,
        "-N",
        "",
        "-C",
        "a person",
        "-f",
        file,
    ];
    tool(world, &argv);
    fs::read_to_string(path.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

/// Returns a world whose store is for an ed25519 key, and both halves of that and of an RSA key.
fn kept_for_ssh() -> (World, [String; 2]) {
    let world = World::new();
    world.commit();
    let keys = [
        ssh_key(&world, "../home/.ssh/id_ed25519", "ed25519"),
        ssh_key(&world, "../other/id_rsa", "rsa"),
    ];
    let made = world.loki(&["secrets", "init"]).exits(0);
    made.prints(&["recipient ssh-ed25519 "]);
    set(&world, "API_KEY", VALUE).exits(0);
    let add = ["secrets", "recipients", "add", &keys[1]];
    world.loki(&add).exits(0).says(&["added"]);
    (world, keys)
}

#[test]
fn cli_ssh_keys_are_identities_and_recipients() {
    let (world, _) = kept_for_ssh();
    for identity in ["../home/.ssh/id_ed25519", "../other/id_rsa"] {
        assert_eq!(decrypted(&world, identity), format!("API_KEY={VALUE}\n"));
    }
    let listed = world.loki(&["secrets", "recipients", "list"]).exits(0);
    assert_eq!(listed.stdout.lines().count(), 2, "{listed}");

    // Now with the other key alone, named.
    let named = format!(
        "LOKI_AGE_IDENTITY={}",
        world.path("../other/id_rsa").display()
    );
    let loki = env!("CARGO_BIN_EXE_loki");
    let listed = tool(&world, &["env", &named, loki, "secrets", "list"]);
    assert_eq!(listed.stdout, "API_KEY\n");
}

#[test]
fn cli_who_is_no_recipient_any_more_reads_nothing_and_the_last_one_stays() {
    let (world, [own, other]) = kept_for_ssh();
    let words: Vec<&str> = other.split_whitespace().collect();
    let gone = [&["secrets", "recipients", "rm"][..], &words].concat();
    world
        .loki(&gone)
        .exits(0)
        .says(&["removed", "replace them"]);
    let closed = world.start(
        "age",
        &["--decrypt", "--identity", "../other/id_rsa", STORE],
    );
    closed.wait(LIMIT).exits(1).says(&["no identity matched"]);
    let last = world.loki(&["secrets", "recipients", "rm", &own]).exits(3);
    last.says(&["nothing was changed", "keep a recipient of your own"]);
    let text = decrypted(&world, "../home/.ssh/id_ed25519");
    assert_eq!(text, format!("API_KEY={VALUE}\n"));
}

#[test]
fn cli_a_value_is_never_taken_from_the_command_line_and_never_repeated() {
    let world = kept();
    let pair = format!("API_KEY={VALUE}");
    for args in [
        &["API_KEY", VALUE][..],
        &[pair.as_str()],
        &["API_KEY", "--", VALUE],
        &["API_KEY", "-x", VALUE],
    ] {
        let said = world.loki(&[&["secrets", "set"], args].concat()).exits(2);
        assert!(!format!("{said}").contains("canary"), "{said}");
        said.says(&["command line", "loki secrets set NAME"]);
    }
    for name in ["api_key", "1KEY", "A-B", ""] {
        set(&world, name, VALUE).exits(2).says(&["capital letters"]);
    }
    for (value, said) in [
        ("short", "shorter than 8 bytes"),
        ("", "shorter"),
        ("aaaaaaaaaaaa", "over and over"),
    ] {
        set(&world, "API_KEY", value).exits(3).says(&[said]);
    }
    assert_eq!(world.loki(&["secrets", "list"]).exits(0).stdout, "");
}

#[test]
fn cli_a_value_is_typed_at_a_terminal_that_does_not_show_it() {
    let world = kept();
    let sit = |keys: &str| -> Value {
        let steps = json!([["see", "not shown"], ["raw", true], ["type", keys]]).to_string();
        let argv = [
            "-c",
            PERSON,
            &steps,
            env!("CARGO_BIN_EXE_loki"),
            "secrets",
            "set",
            "API_KEY",
        ];
        let said = world.start("python3", &argv).wait(LIMIT).exits(0);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let cancelled = sit("canary\u{3}");
    assert_eq!(
        (&cancelled["code"], &cancelled["restored"]),
        (&json!(1), &json!(true))
    );
    let sat = sit("canary-01x\u{7f}23456789-abcdef\r");
    assert_eq!(
        (&sat["code"], &sat["restored"]),
        (&json!(0), &json!(true)),
        "{sat}"
    );
    assert!(!sat["shown"].as_str().unwrap().contains("canary"), "{sat}");
    assert_eq!(decrypted(&world, IDENTITY), format!("API_KEY={VALUE}\n"));
}

#[test]
fn cli_names_are_listed_and_removed_and_no_value_is_shown() {
    let world = kept();
    for name in ["B_KEY", "A_KEY"] {
        set(&world, name, VALUE).exits(0);
    }
    let said = world.loki(&["secrets", "list", "--json"]).exits(0);
    let listed: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(listed["schema"], 1);
    assert_eq!(
        listed["secrets"],
        json!([{ "name": "A_KEY" }, { "name": "B_KEY" }])
    );
    assert!(!format!("{said}").contains("canary"));
    world
        .loki(&["secrets", "rm", "A_KEY"])
        .exits(0)
        .says(&["removed `A_KEY`"]);
    world
        .loki(&["secrets", "rm", "A_KEY"])
        .exits(2)
        .says(&["no secret is called", "loki secrets list"]);
    assert_eq!(world.loki(&["secrets", "list"]).exits(0).stdout, "B_KEY\n");
    world
        .loki(&["secrets", "init"])
        .exits(3)
        .says(&["is there already"]);
    // The user's own store is another one.
    world
        .loki(&["secrets", "list", "--user"])
        .exits(3)
        .says(&["loki secrets init"]);
}

#[test]
fn cli_an_edit_happens_in_memory_and_leaves_nothing_behind() {
    let world = kept();
    set(&world, "API_KEY", VALUE).exits(0);
    world.write(
        "../tmp/editor.sh",
        "#!/bin/sh\nset -e\ncase $1 in /dev/shm/*|/run/*) ;; *) exit 7;; esac\n\
        stat -c '%a %n' \"$1\" \"$(dirname \"$1\")\" > \"$TMPDIR/seen\"\n. \"$TMPDIR/edit\"\n",
    );
    let edit = |script: &str| {
        fs::write(world.path("../tmp/edit"), script).unwrap();
        let editor = format!("EDITOR=sh {}", world.path("../tmp/editor.sh").display());
        world
            .start(
                "env",
                &[&editor, env!("CARGO_BIN_EXE_loki"), "secrets", "edit"],
            )
            .wait(LIMIT)
    };
    edit("printf 'MORE=another-value\\n' >> \"$1\"")
        .exits(0)
        .says(&["saved"]);
    let seen = fs::read_to_string(world.path("../tmp/seen")).unwrap();
    let modes: Vec<&str> = seen
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    assert_eq!(modes, ["600", "700"]);
    let text = format!("API_KEY={VALUE}\nMORE=another-value\n");
    assert_eq!(decrypted(&world, IDENTITY), text);

    edit("true").exits(0).says(&["nothing was changed"]);
    edit("exit 1")
        .exits(1)
        .says(&["the editor failed", "nothing was saved"]);
    let faulty = edit("printf 'lower=canary secret\\n' > \"$1\"").exits(3);
    assert!(!format!("{faulty}").contains("canary"), "{faulty}");
    faulty.says(&["secrets.env:1:1", "NAME=value", "nothing was saved"]);
    edit("kill -TERM $PPID; sleep 60")
        .exits(143)
        .says(&["nothing was saved"]);
    assert_eq!(decrypted(&world, IDENTITY), text);
    let file = seen.lines().next().unwrap().split_once(' ').unwrap().1;
    let place = Path::new(file).parent().unwrap().parent().unwrap();
    let left = fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let ours: Vec<_> = left
        .filter(|path| path.to_string_lossy().contains("loki-edit-"))
        .collect();
    // Another test of this suite may be editing; none of what is there is ours.
    let ours: Vec<_> = ours
        .iter()
        .filter(|path| {
            fs::read_to_string(path.join("secrets.env")).is_ok_and(|text| text.contains("MORE"))
        })
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn cli_files_that_others_read_or_brought_along_are_refused_with_what_to_type() {
    let world = kept();
    set(&world, "API_KEY", VALUE).exits(0);
    for (path, exit, linked) in [(STORE, 2, "is a symbolic link"), (IDENTITY, 3, "is a link")] {
        let path = world.path(path);
        chmod(&path, 0o644);
        world
            .loki(&["secrets", "list"])
            .exits(3)
            .says(&["can be read by others", "chmod 600 $TEST"]);
        chmod(&path, 0o600);
        let aside = world.path("../tmp/aside");
        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        world.loki(&["secrets", "list"]).exits(exit).says(&[linked]);
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let key = fs::read_to_string(world.path(IDENTITY)).unwrap();
    let key = key
        .lines()
        .find(|line| line.starts_with("AGE-SECRET-KEY-"))
        .unwrap();
    let in_environment = format!("LOKI_AGE_IDENTITY={key}");
    let loki = env!("CARGO_BIN_EXE_loki");
    let said = world
        .start("env", &[&in_environment, loki, "secrets", "list"])
        .wait(LIMIT)
        .exits(2);
    assert!(!format!("{said}").contains(key), "{said}");

    for (key, said) in [
        (
            "age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t",
            "plugin",
        ),
        (key, "private key"),
        ("ssh-ed25519", "give an age key"),
    ] {
        world
            .loki(&["secrets", "recipients", "add", key])
            .exits(2)
            .says(&[said]);
    }
    world.git(&["add", "--force", STORE]);
    world.git(&["commit", "--quiet", "--message=planted"]);
    world.loki(&["secrets", "list"]).exits(2).says(&[STORE]);
}

#[test]
fn cli_policies_may_name_what_is_kept_and_nothing_else() {
    let world = kept();
    set(&world, "API_KEY", VALUE).exits(0);
    let policy = |list: &str| {
        world.write(
            "../home/.config/loki/policies/own.yaml",
            format!("version: 1\nsecrets: {{ eng-backend: {list} }}\n"),
        );
    };
    policy("[API_KEY, { name: API_KEY, deliver: file }]");
    world.loki(&["policy", "check"]).exits(0).says_nothing();
    policy("[{ name: API_KEYS, deliver: env }]");
    world
        .loki(&["policy", "check"])
        .exits(3)
        .says(&["no secret is called `API_KEYS`", "did you mean `API_KEY`?"]);
    policy("[{ name: API_KEY, deliver: argv }]");
    world
        .loki(&["policy", "check"])
        .exits(3)
        .says(&["`argv` is not `file` or `env`"]);
    policy("[{ name: API_KEY }]");
    world
        .loki(&["policy", "check"])
        .exits(3)
        .says(&["needs a `name` and how to `deliver` it"]);
    policy("[API_KEY]");
    fs::remove_file(world.path(IDENTITY)).unwrap();
    let closed = world.loki(&START).exits(3);
    closed.says(&["no identity here opens", "LOKI_AGE_IDENTITY=FILE"]);
    // A policy that names none needs no key.
    fs::remove_file(world.path("../home/.config/loki/policies/own.yaml")).unwrap();
    world.loki(&["policy", "check"]).exits(0).says_nothing();
}

#[test]
fn cli_what_age_was_given_with_faults_is_shown_without_values() {
    let world = kept();
    let script = format!(
        "printf 'KEY=%s x\\nKEY2=short\\n' {VALUE} | age -R .loki/secrets.recipients > new && mv new {STORE} && chmod 600 {STORE}"
    );
    tool(&world, &["sh", "-c", &script]);
    let said = world.loki(&["secrets", "list"]).exits(3);
    assert!(!format!("{said}").contains("canary"), "{said}");
    said.says(&[
        "secrets.env:1:29",
        "needs quotes",
        "secrets.env:2:1",
        "shorter than 8 bytes",
        "loki secrets edit",
    ]);
}
