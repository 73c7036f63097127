//! Canaries: secret values that programs in real sandboxes print, encode, keep and hunt for, and
//! where they show afterwards. Of a secret that only the gateway uses, nothing may show anywhere.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::harness::{Engine, START, Said, World, on_each};

const LIMIT: Duration = Duration::from_secs(180);
const ROLE: [&str; 6] = [
    "sandbox",
    "run",
    "--policy",
    "policy.yaml",
    "--role",
    "eng-backend",
];
const POLICY: &str = "version: 1\nsecrets:\n  eng-backend:\n    - GATE_KEY\n    \
    - { name: FILE_KEY, deliver: file }\n    - { name: ENV_KEY, deliver: env }\n";
const NAMES: [&str; 3] = ["GATE_KEY", "FILE_KEY", "ENV_KEY"];

/// What a hostile or careless agent does with what it can see: prints it in many forms, in pieces
/// of a stream, on both outputs.
const PRINTS: &str = r#"
import base64, json, os, sys, time, urllib.parse
for value in (open("/run/secrets/FILE_KEY").read(), os.environ["ENV_KEY"]):
    raw = value.encode()
    for out in (sys.stdout, sys.stderr):
        print("plain", value, "hex", raw.hex(), raw.hex().upper(), file=out)
        print("url", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), file=out)
        print("json", json.dumps({"key": value}), file=out)
        for before in (b"", b"u", b"us"):
            print("base64", base64.b64encode(before + raw).decode(), base64.urlsafe_b64encode(before + raw).decode(), file=out)
    for at in range(0, len(value), 5):
        sys.stdout.write(value[at:at + 5])
        sys.stdout.flush()
        time.sleep(0.01)
    print()
"#;

/// A world with three secrets, whose values appear nowhere but in its store.
struct Kept {
    world: World,
    canaries: BTreeMap<&'static str, String>,
}

fn kept(engine: Engine) -> Kept {
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.write("prints.py", PRINTS);
    world.write("policy.yaml", POLICY);
    world.commit();
    world.loki(&["secrets", "init"]).exits(0).prints(&["age1"]);
    let canaries = NAMES.map(|name| (name, canary(name)));
    for (name, value) in &canaries {
        world
            .loki_fed(&["secrets", "set", name], value)
            .exits(0)
            .says(&["set"]);
    }
    fs::remove_file(world.path("../tmp/input")).unwrap();
    Kept {
        world,
        canaries: canaries.into(),
    }
}

/// Makes a value that no other test has, with characters that every encoder treats in its own way.
fn canary(name: &str) -> String {
    let random = fs::read("/proc/sys/kernel/random/uuid").unwrap();
    let random = String::from_utf8(random).unwrap();
    format!("{}/+ \"{}\"", name.to_lowercase(), random.trim())
}

/// Returns the forms in which a value would be recognised.
fn forms(value: &str) -> [String; 4] {
    use base64::{Engine, engine::general_purpose::STANDARD};
    // What base64 has of a value wherever it begins: the inner digits of each alignment.
    let inner = |before: &str| {
        let all = STANDARD.encode(format!("{before}{value}"));
        all.get(4..40).unwrap().to_owned()
    };
    let random = value.split('"').nth(1).unwrap().to_owned();
    [inner(""), inner("u"), inner("us"), random]
}

impl Kept {
    #[track_caller]
    fn is_absent(&self, place: &str, bytes: &[u8], names: &[&str]) {
        let text = String::from_utf8_lossy(bytes);
        for name in names {
            for form in forms(&self.canaries[name]) {
                assert!(!text.contains(&form), "{name} shows in {place}:\n{text}");
            }
        }
    }

    #[track_caller]
    fn is_absent_in(&self, said: &Said, names: &[&str]) {
        self.is_absent("what was said", format!("{said}").as_bytes(), names);
    }

    /// Looks into every file below a folder, whatever it is called.
    #[track_caller]
    fn is_absent_below(&self, folder: &Path, names: &[&str]) -> usize {
        let mut seen = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                seen += self.is_absent_below(&path, names);
            } else if kind.is_file() {
                self.is_absent(
                    &path.display().to_string(),
                    &fs::read(&path).unwrap(),
                    names,
                );
                seen += 1;
            }
        }
        seen
    }

    /// Looks at the arguments and the environment of every process of this machine. Those of the
    /// sandbox have the variables that they were given, and nothing else.
    #[track_caller]
    fn is_absent_of_processes(&self) -> usize {
        let mut seen = 0;
        for entry in fs::read_dir("/proc").unwrap() {
            let process = entry.unwrap().path();
            for (file, names) in [("cmdline", &NAMES[..]), ("environ", &NAMES[..2])] {
                // Processes end meanwhile.
                if let Ok(bytes) = fs::read(process.join(file)) {
                    let bytes: Vec<u8> = bytes
                        .iter()
                        .map(|byte| if *byte == 0 { b'\n' } else { *byte })
                        .collect();
                    self.is_absent(&format!("{}/{file}", process.display()), &bytes, names);
                    seen += 1;
                }
            }
        }
        seen
    }
}

#[test]
fn attack_s1_a_secret_that_is_printed_in_any_form_shows_nowhere() {
    on_each(|engine| {
        let kept = kept(engine);
        let said = kept
            .world
            .loki(&[&ROLE[..], &["--", "python3", "prints.py"]].concat())
            .exits(0);
        kept.is_absent_in(&said, &NAMES);
        let said = said
            .prints(&[
                "plain [secret:FILE_KEY] hex [secret:FILE_KEY] [secret:FILE_KEY]",
                "plain [secret:ENV_KEY]",
                "json {\"key\": \"[secret:FILE_KEY]\"}",
            ])
            .says(&[
                "role `eng-backend` gets secret `ENV_KEY` in its environment",
                "plain [secret:ENV_KEY]",
            ]);
        assert!(said.stdout.contains("\n[secret:FILE_KEY]\n"), "{said}");
    });
}

#[test]
fn attack_s1_a_delivered_file_is_the_roles_to_read_and_nobodys_to_change() {
    on_each(|engine| {
        let kept = kept(engine);
        let script = "stat -c '%a %s' /run/secrets/FILE_KEY; stat -f -c %T /run/secrets; id -u | grep -qx 0 && echo root
            test \"$(stat -c %u /run/secrets/FILE_KEY)\" = \"$(id -u)\" && echo own
            cat /run/secrets/FILE_KEY | sha256sum
            for act in 'echo x > /run/secrets/FILE_KEY' 'echo x > /run/secrets/NEW' 'rm -f /run/secrets/FILE_KEY' 'ls /run/secrets' 'chmod u+w /run/secrets/FILE_KEY && echo x >> /run/secrets/FILE_KEY'; do
                sh -c \"$act\" 2>/dev/null && echo \"did: $act\"; done; true";
        let said = kept
            .world
            .loki(&[&ROLE[..], &["--", "sh", "-c", script]].concat())
            .exits(0);
        let value = &kept.canaries["FILE_KEY"];
        let hash = loki::digest::Digest::of(value.as_bytes());
        let expected = format!("400 {}\ntmpfs\nown\n{hash}  -\n", value.len());
        assert_eq!(said.stdout, expected, "{said}");

        // A role that names none has none, and one that names what is not kept does not start.
        let other = [
            "sandbox",
            "run",
            "--policy",
            "policy.yaml",
            "--role",
            "eng-qa",
            "--",
            "sh",
            "-c",
            "env; ls /run/secrets",
        ];
        let said = kept.world.loki(&other).in_any_case();
        kept.is_absent_in(&said, &NAMES);
        said.says(&["/run/secrets"]);
        kept.world
            .loki(&["secrets", "rm", "FILE_KEY"])
            .exits(0)
            .says(&["removed"]);
        let refused = kept
            .world
            .loki(&[&ROLE[..], &["--", "true"]].concat())
            .exits(3);
        refused.says(&["no secret is called `FILE_KEY`"]);
    });
}

#[test]
fn attack_s1_s5_no_engine_process_or_disk_of_the_host_knows_a_secret() {
    on_each(|engine| {
        let kept = kept(engine);
        let hunt = "import os
print('ready', flush=True)
import time; time.sleep(600)";
        let args = [&ROLE[..], &["--", "python3", "-c", hunt]].concat();
        let mut running = kept.world.spawn(&args);
        running.wait_until(LIMIT, |said| said.stdout.contains("ready"));

        let ids = kept.world.leftovers();
        assert_eq!(ids.len(), 1);
        let inspected = kept
            .world
            .start(engine.program(), &["inspect", &ids[0]])
            .wait(LIMIT)
            .exits(0);
        assert!(inspected.stdout.contains("/run/secrets"), "{inspected}");
        kept.is_absent_in(&inspected, &NAMES);
        let logged = kept
            .world
            .start(engine.program(), &["logs", &ids[0]])
            .wait(LIMIT);
        kept.is_absent_in(&logged.in_any_case(), &NAMES);
        let history = kept
            .world
            .start(engine.program(), &["image", "inspect", &kept.world.image()])
            .wait(LIMIT);
        kept.is_absent_in(&history.exits(0), &NAMES);
        assert!(kept.is_absent_of_processes() > 20);
        assert!(kept.is_absent_below(&kept.world.path(".."), &NAMES) > 10);

        // No core file, whatever happens to it; no swap, where it may lock memory.
        let status =
            |file: &str| fs::read_to_string(format!("/proc/{}/{file}", running.id())).unwrap();
        let core = status("limits")
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap()
            .to_owned();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        running.signal(rustix::process::Signal::TERM);
        drop(running.wait(LIMIT).exits(143));
    });
}

#[test]
fn attack_s1_a_gateways_secret_is_nowhere_in_its_sandbox() {
    on_each(|engine| {
        let kept = kept(engine);
        kept.world.write(
            "policy.yaml",
            "version: 1\nsecrets: { eng-backend: [GATE_KEY] }\n",
        );
        // The hunter knows only how a canary begins.
        let hunt = r#"
import os
found, read = [], 0
for name, value in os.environ.items():
    if "gate_key/" in value: found.append(name)
for top in ("/proc", "/run", "/tmp", "/home", "/work", "/etc", "/dev/shm"):
    for folder, _, files in os.walk(top):
        for file in files:
            path = os.path.join(folder, file)
            if path.endswith(("kmsg", "pagemap")) or not os.path.isfile(path): continue
            try: data = open(path, "rb").read(1 << 20)
            except OSError: continue
            read += 1
            if b"gate_key/" in data and b"hunt" not in data: found.append(path)
print("read", read > 100, "found", found)
"#;
        let said = kept
            .world
            .loki(&[&ROLE[..], &["--", "python3", "-c", hunt]].concat())
            .exits(0);
        assert_eq!(said.stdout, "read True found []\n", "{said}");
    });
}

#[test]
fn attack_s1_a_runs_journal_logs_views_and_commits_hold_no_secret() {
    on_each(|engine| {
        let kept = kept(engine);
        let world = &kept.world;
        world.write("agent.sh", "#!/bin/sh\npython3 prints.py\nmkdir -p src\necho 'print(1)' > src/new.py\n\
            test \"$LOKI_ATTEMPT\" = 1 && { { printf 'last words '; cat /run/secrets/FILE_KEY; } >&2; exit 3; }\n\
            test \"$LOKI_ATTEMPT\" = 2 && base64 -w0 < /run/secrets/FILE_KEY > src/kept.txt\ntrue\n");
        world.write("spec.md", "# A\n\nB.\n\n## Tasks\n\n- `one` (eng-backend): Write src/new.py\n  - accept: `test -f src/new.py`\n");
        world.git(&["add", "--all"]);
        world.git(&["commit", "--quiet", "--message=spec"]);
        let args = [&START[..], &["--policy", "policy.yaml"]].concat();
        let said = world.loki(&args).exits(0);
        kept.is_absent_in(&said, &NAMES);
        for verb in [
            &["events"][..],
            &["events", "--json"],
            &["logs"],
            &["status"],
            &["status", "--json"],
        ] {
            let said = world.loki(verb).exits(0);
            kept.is_absent_in(&said, &NAMES);
        }
        world
            .loki(&["logs"])
            .exits(0)
            .prints(&["plain [secret:FILE_KEY]", "last words [secret:FILE_KEY]"]);
        world.loki(&["events", "--json"]).exits(0).prints(&[
            "last words [secret:FILE_KEY]",
            "secret-value",
            "src/kept.txt",
        ]);
        assert!(kept.is_absent_below(&world.path(""), &NAMES) > 10);
        let all = world.git(&["log", "--all", "--patch", "--format=full"]);
        kept.is_absent("the commits", all.as_bytes(), &NAMES);
        assert!(all.contains("src/new.py"), "{all}");
    });
}
