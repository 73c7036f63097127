//! The project's own install step on real engines: the real npm, pip and cargo fetch what lock files
//! name through the gateway, once; agents and checks find it; and no agent changes what another gets.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;

use super::harness::{Engine, START, Said, World, on_each};

/// How long making the image may take where no archive of it is cached, other tests beside it.
const COLD: Duration = Duration::from_secs(1200);

const POLICY: &str = "version: 1
agents: { eng-backend: { image: full }, check: { image: full } }
permissions:
  eng-backend: { read: [\"**\"], write: [\"**\"], host_executable: [lockfile], execute: [\"@shell\", \"@git\", \"@python\", \"@node\", \"@rust\", \"@c\", \"./**\"] }
  check: { read: [\"**\"], write: [\"**\"], execute: [\"@shell\", \"@git\", \"@python\", \"@node\", \"@rust\", \"@c\", \"./**\"] }
";

const NPM_LOCK: &str = r#"{"name": "p", "lockfileVersion": 3, "requires": true, "packages": {"": {"dependencies": {"ms": "2.1.3"}},
"node_modules/ms": {"version": "2.1.3", "integrity": "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="}}}"#;
const REQUIREMENTS: &str = "six==1.17.0 \\\n    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";
const CARGO: &str = "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ncfg-if = \"=1.0.0\"\n";
/// A lock file of one package, from where this project's own are.
fn cargo_lock() -> String {
    let own = include_str!("../../Cargo.lock").lines();
    let mut sources = own.filter(|line| line.starts_with("source = "));
    let source = sources.next().expect("it names where packages are from");
    format!(
        r#"version = 3

[[package]]
name = "cfg-if"
version = "1.0.0"
{source}
checksum = "baf1de4339761588bc0619e3cbc0120ee582ebb74b53b4efbf79117bd2da40fd"

[[package]]
name = "p"
version = "0.1.0"
dependencies = [
 "cfg-if",
]
"#
    )
}

/// What this machine's tools say of their registries: URLs among other words.
const ASKED: &str = r#"npm config get registry
python3 -I -c "from pip._internal.models.index import PyPI as p; print(p.simple_url, 'https://' + p.file_storage_domain)"
python3 -m pip config list
for at in ~/.cargo/registry/index/*/; do name=$(basename "$at"); echo "https://${name%-*}"; cat "$at/config.json"; done 2>/dev/null
true"#;

/// Returns pins of the registries' names to what this machine resolves them to: behind some proxies
/// that is an address which nothing may dial unpinned.
fn pins() -> String {
    let said = std::process::Command::new("sh")
        .args(["-c", ASKED])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let ends = |c: char| c.is_whitespace() || "/'\"{}\\:".contains(c);
    let names = said
        .split("https://")
        .skip(1)
        .filter_map(|rest| rest.split(ends).next());
    let names: std::collections::BTreeSet<&str> = names.filter(|name| name.contains('.')).collect();
    assert!(!names.is_empty(), "no tool names a registry: {said}");
    let pin = |name: &str| {
        let mut all = std::net::ToSocketAddrs::to_socket_addrs(&(name, 443)).ok()?;
        let at = all.find(std::net::SocketAddr::is_ipv4)?;
        Some(format!("  {name}: \"{at}\"\n"))
    };
    let pins: String = names.into_iter().filter_map(pin).collect();
    format!("hosts:\n{pins}")
}

/// A world whose roles have all toolchains, with a program as its agent.
fn world(engine: Engine, agent: &str) -> World {
    let world = World::on(engine);
    drop(world.spawn(&["image", "build", "full"]).wait(COLD).exits(0));
    world.write("../policy.yaml", POLICY.to_owned() + &pins());
    world.write("agent.sh", format!("#!/bin/sh\n{agent}"));
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.path("agent.sh"), mode).unwrap();
    world
}

fn with_npm(world: &World) {
    let manifest =
        r#"{"name": "p", "dependencies": {"ms": "2.1.3"}, "scripts": {"preinstall": "exit 1"}}"#;
    world.write("package.json", manifest);
    world.write("package-lock.json", NPM_LOCK);
}

/// Runs `spec.md` with one task and these checks.
fn start(world: &World, install: &str, checks: &[&str]) -> super::harness::Run {
    let checks: String = checks
        .iter()
        .map(|check| format!("  - accept: `{check}`\n"))
        .collect();
    let spec = format!(
        "# P\n\n{install}## Tasks\n\n- `a` (eng-backend): Make it\n{checks}\n## Tests\n\n- `true`\n"
    );
    world.write("spec.md", spec);
    world.commit();
    world.loki(&[&START[..], &["--policy", "../policy.yaml"]].concat())
}

fn texts(events: &[Value], field: &str) -> Vec<String> {
    let text = |event: &Value| event[field].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = events.iter().map(text).collect();
    all.sort();
    all.dedup();
    all
}

/// Returns where the one entry of a tool is kept.
fn entry(world: &World, tool: &str) -> PathBuf {
    let listed = world.loki(&["cache", "list", "--json"]).exits(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let of = |one: &&Value| one["entry"]["facts"]["tool"] == tool;
    let mut found = listed["entries"].as_array().unwrap().iter().filter(of);
    let key = found.next().expect("it is kept")["key"].as_str().unwrap();
    assert!(found.next().is_none(), "{listed}");
    world.path(".loki/cache/deps").join(key).join("tree")
}

/// What an agent finds, and everything by which it could change what others get.
const ATTACKER: &str = r#"
mkdir -p src
node -e 'console.log(require("ms")("1s"))' >src/found 2>&1
for at in node_modules $(ls -d /loki/deps/* 2>/dev/null); do
  for act in "touch $at/evil" "rm -rf $at/ms" "mv $at/ms $at/gone" "mv $at $at.old" "rm -rf $at" "chmod -R 777 $at" \
      "ln -s /etc $at/out" "mkdir $at/d" "cp -r $at/ms $at/more" "touch -d 2000-01-01 $at"; do
    $act 2>/dev/null && echo "done: $act" >>src/attacks
  done
  echo x 2>/dev/null >$at/ms/index.js && echo "done: write $at" >>src/attacks
done
ln node_modules/ms/index.js src/linked 2>/dev/null && echo "done: link" >>src/attacks
ln -s ../node_modules/ms/index.js /tmp/led && echo x 2>/dev/null >/tmp/led && echo "done: led" >>src/attacks
mount -o remount,rw /work/node_modules 2>/dev/null && echo "done: mount" >>src/attacks
grep ' /work/node_modules ' /proc/self/mountinfo | cut -d' ' -f6 >src/mounted
git status --porcelain >src/status
ls ~/.cache ~/.npm ~/.cargo/registry 2>/dev/null >src/homes
true
"#;

#[test]
fn live_install_npm_pip_and_cargo_are_installed_once_and_given_to_agents_and_checks() {
    on_each(|engine| {
        let world = world(engine, ATTACKER);
        with_npm(&world);
        let npm = "node -e 'require(\"ms\")' && ! touch node_modules/x";
        let all = engine == Engine::Docker;
        let mut checks = vec![npm];
        if all {
            // Where cargo is a proxy of rustup, it finds its toolchain there.
            let rustup = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".rustup");
            if rustup.exists() {
                symlink(rustup, world.path("../home/.rustup")).unwrap();
            }
            world.write("requirements.txt", REQUIREMENTS);
            world.write("Cargo.toml", CARGO);
            world.write("Cargo.lock", cargo_lock());
            world.write(
                "src/lib.rs",
                "cfg_if::cfg_if! { if #[cfg(unix)] { pub fn f() {} } }\n",
            );
            checks.extend([
                "python3 -c 'import six; print(six.__file__)'",
                "cargo build",
            ]);
        }
        let tools: &[&str] = if all {
            &["cargo", "npm", "pip"]
        } else {
            &["npm"]
        };
        let said = start(&world, "", &checks).exits(0);
        let installed = world.events_of("installed");
        assert_eq!(texts(&installed, "tool"), tools, "{said}");
        assert_eq!(installed.len(), tools.len(), "each once: {installed:?}");
        assert_eq!(
            texts(&world.events_of("install_reused"), "tool"),
            tools,
            "{said}"
        );
        attacks_came_to_nothing(&world, &said);
        a_poisoned_entry_is_made_anew(&world, npm);
        world.loki(&["cache", "prune"]).exits(0).says(&["removed"]);
        assert_eq!(world.leftovers(), Vec::<String>::new());
    });
}

/// Somebody changes one entry on the disk: it is found, told of and made anew.
fn a_poisoned_entry_is_made_anew(world: &World, check: &str) {
    let file = entry(world, "npm").join("ms/index.js");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "throw 'poisoned'").unwrap();
    world.git(&["branch", "-D", &world.run_branch()]);
    let again = start(world, "", &[check]).exits(0);
    assert!(
        !world
            .path(".loki/cache/deps/.unfinished")
            .read_dir()
            .unwrap()
            .any(|_| true)
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), good);
    let refused = world.events_of("install_refused");
    assert_eq!(texts(&refused, "tool"), ["npm"], "{again}");
    assert!(
        texts(&refused, "reason")[0].contains("was changed"),
        "{refused:?}"
    );
    assert_eq!(
        texts(&world.events_of("installed"), "tool"),
        ["npm"],
        "{again}"
    );
}

/// What the agent wrote landed, and says that nothing it tried was done.
fn attacks_came_to_nothing(world: &World, said: &Said) {
    let branch = world.run_branch();
    let landed = |path: &str| world.git(&["show", &format!("{branch}:{path}")]);
    assert_eq!(landed("src/found"), "1000\n", "{said}");
    assert!(
        landed("src/mounted").starts_with("ro,"),
        "{}",
        landed("src/mounted")
    );
    assert!(!landed("src/status").contains("node_modules"));
    let files = world.git(&["ls-tree", "-r", "--name-only", &branch]);
    assert!(
        !files.contains("node_modules") && !files.contains("src/attacks"),
        "{files}"
    );
    assert_eq!(landed("src/homes"), "");
}

/// The agent changes a lock file: what it gets then is another entry, and the first stays as it was.
/// What the install's own command leaves behind is looked at before it is kept.
#[test]
fn attack_g16_a_changed_lock_file_leads_elsewhere_and_planted_links_are_refused() {
    on_each(|engine| {
        let agent = "mkdir -p src; sed -i 's/2.1.3/2.1.2/' package-lock.json; cp package-lock.json src/lock.json; echo x >src/x";
        let world = world(engine, agent);
        with_npm(&world);
        let install = "## Install\n\n- npm: `mkdir node_modules && cp package-lock.json node_modules/ && chmod 6755 node_modules/*`\n\n";
        start(
            &world,
            install,
            &["cmp node_modules/package-lock.json package-lock.json"],
        )
        .exits(0);
        let listed = world.loki(&["cache", "list", "--json"]).exits(0).stdout;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["entries"].as_array().unwrap().len(), 2, "{listed}");
        let branch = world.run_branch();
        world.git(&["branch", "-D", &branch]);
        let install = "## Install\n\n- npm: `mkdir node_modules; echo a >node_modules/a; ln -s /etc node_modules/out`\n\n";
        let said = start(&world, install, &[]).exits(1);
        said.says(&[
            "nothing was checked, for installing from `package-lock.json` failed",
            "`out`, a link that leads out",
        ]);
        let install = "## Install\n\n- npm: `echo no such package; exit 3`\n\n";
        world.git(&["branch", "-D", &world.run_branch()]);
        let said = start(&world, install, &[]).exits(1);
        said.says(&["ended with exit code 3", "no such package"]);
    });
}
