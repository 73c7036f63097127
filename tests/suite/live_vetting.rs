//! The real npm, pip and cargo in real sandboxes, against registries of the test's own: what is
//! fine is installed, and what is not is refused with the reason, lock file or not.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::PathBuf,
    time::Duration,
};

use loki::digest::Digest;

use super::harness::{Engine, START, Said, World, as_backend_by_policy, https, on_each};

const NAMES: [&str; 3] = ["npm.test", "pypi.test", "crates.test"];
const LONG_AGO: &str = "2020-01-01T00:00:00Z";
/// What each registry has, and when it came out: one fine, one with an advisory, one new.
const PACKAGES: [&str; 3] = ["left-ok", "left-bad", "left-new"];
const SOON: Duration = Duration::from_secs(120);
/// How long making the image may take where no archive of it is cached, other tests beside it.
const COLD: Duration = Duration::from_secs(1200);

/// What a registry answers, by host and path.
type Site = HashMap<String, Vec<u8>>;

fn published(package: &str) -> String {
    match package {
        "left-new" => jiff::Timestamp::now().to_string(),
        _ => LONG_AGO.to_owned(),
    }
}

/// Runs a program of this machine in a directory of the world's own.
#[track_caller]
fn tool(world: &World, script: &str) -> Said {
    world.start("sh", &["-euc", script]).wait(SOON).exits(0)
}

/// Makes the packages of all three registries with this machine's own tools.
fn site(world: &World) -> Site {
    let mut site = Site::new();
    for package in PACKAGES {
        npm(world, package, &mut site);
        python(world, package, &mut site);
        crates(world, package, &mut site);
    }
    let config = r#"{"dl": "https://crates.test/dl"}"#;
    site.insert("crates.test/config.json".to_owned(), config.into());
    site
}

fn npm(world: &World, package: &str, site: &mut Site) {
    let manifest = format!(r#"{{"name": "{package}", "version": "1.0.0"}}"#);
    world.write(
        &format!("../made/npm/{package}/package/package.json"),
        manifest,
    );
    tool(
        world,
        &format!("tar -czf ../made/{package}.tgz -C ../made/npm/{package} package"),
    );
    let file = format!("npm.test/{package}/-/{package}-1.0.0.tgz");
    let packument = format!(
        r#"{{"name": "{package}", "dist-tags": {{"latest": "1.0.0"}}, "time": {{"1.0.0": "{}"}},
            "versions": {{"1.0.0": {{"name": "{package}", "version": "1.0.0", "dist": {{"tarball": "https://{file}"}}}}}}}}"#,
        published(package)
    );
    site.insert(format!("npm.test/{package}"), packument.into());
    site.insert(file, made(world, &format!("{package}.tgz")));
}

fn python(world: &World, package: &str, site: &mut Site) {
    let name = package.replace('-', "_");
    let wheel = format!("{name}-1.0.0-py3-none-any.whl");
    let inside = format!("../made/python/{package}");
    world.write(&format!("{inside}/{name}.py"), "");
    let info = format!("{inside}/{name}-1.0.0.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n");
    world.write(&format!("{info}/METADATA"), metadata);
    let kind = "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    world.write(&format!("{info}/WHEEL"), kind);
    let files = [
        format!("{name}.py"),
        format!("{name}-1.0.0.dist-info/METADATA"),
        format!("{name}-1.0.0.dist-info/WHEEL"),
        format!("{name}-1.0.0.dist-info/RECORD"),
    ];
    world.write(
        &format!("{info}/RECORD"),
        files.map(|file| file + ",,\n").concat(),
    );
    let zip = format!(
        "cd {inside} && python3 -m zipfile -c ../../{wheel} {name}.py {name}-1.0.0.dist-info"
    );
    tool(world, &zip);
    let page = format!(
        r#"{{"meta": {{"api-version": "1.1"}}, "name": "{package}", "files": [{{"filename": "{wheel}", "url": "../files/{wheel}", "hashes": {{}}, "upload-time": "{}"}}]}}"#,
        published(package)
    );
    site.insert(format!("pypi.test/simple/{package}/"), page.into());
    site.insert(
        format!("pypi.test/simple/files/{wheel}"),
        made(world, &wheel),
    );
}

fn crates(world: &World, package: &str, site: &mut Site) {
    let inside = format!("../made/crates/{package}-1.0.0");
    let manifest =
        format!("[package]\nname = \"{package}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n");
    world.write(&format!("{inside}/Cargo.toml"), manifest);
    world.write(&format!("{inside}/src/lib.rs"), "");
    tool(
        world,
        &format!("tar -czf ../made/{package}.crate -C ../made/crates {package}-1.0.0"),
    );
    let bytes = made(world, &format!("{package}.crate"));
    let line = format!(
        r#"{{"name": "{package}", "vers": "1.0.0", "deps": [], "cksum": "{}", "features": {{}}, "yanked": false, "pubtime": "{}"}}"#,
        String::from_utf8_lossy(&Digest::of(&bytes).hex()),
        published(package)
    );
    site.insert(format!("crates.test/le/ft/{package}"), (line + "\n").into());
    site.insert(format!("crates.test/dl/{package}/1.0.0/download"), bytes);
}

fn made(world: &World, file: &str) -> Vec<u8> {
    fs::read(world.path("../made").join(file)).unwrap()
}

fn answer(head: &str, site: &Site, to: &mut dyn Write) -> io::Result<()> {
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    let host = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim())
    });
    let place = format!("{}{path}", host.unwrap_or_default());
    let kind = if place.starts_with("pypi.test/simple/") && place.ends_with('/') {
        "application/vnd.pypi.simple.v1+json"
    } else {
        "application/json"
    };
    let (status, body) = match site.get(&place) {
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", &b"none"[..]),
    };
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )?;
    to.write_all(body)
}

const CARGO: &str = "[source.crates-io]\nreplace-with = \"own\"\n[source.own]\nregistry = \"sparse+https://crates.test/\"\n";

/// A world whose machine is configured for the test's registries.
fn world(engine: Engine) -> World {
    let world = World::on(engine);
    let site = site(&world);
    let (at, authority) = https(&NAMES, move |head, to| answer(head, &site, to));
    world.write("../ca.pem", &authority);
    world.write("../home/.npmrc", "registry=https://npm.test/\n");
    world.write(
        "../home/.config/pip/pip.conf",
        "[global]\nindex-url = https://pypi.test/simple\n",
    );
    world.write("../home/.cargo/config.toml", CARGO);
    let kept = "../home/.cargo/registry/index/crates.test-0/config.json";
    world.write(kept, r#"{"dl": "https://crates.test/dl"}"#);
    // Where cargo is a proxy of rustup, it finds its toolchain there.
    let rustup = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".rustup");
    if rustup.exists() {
        symlink(rustup, world.path("../home/.rustup")).unwrap();
    }
    world.write("src/README.md", "# Try\n");
    world.write("src/cargo/.cargo/config.toml", CARGO);
    world.write("src/cargo/src/lib.rs", "");
    let ca = fs::canonicalize(world.path("../ca.pem")).unwrap();
    let hosts =
        NAMES.map(|name| format!("  {name}: {{ to: \"{at}\", ca: \"{}\" }}\n", ca.display()));
    let policy = format!(
        "version: 1
agents: {{ eng-backend: {{ image: full }} }}
permissions:
  eng-backend: {{ read: [\"**\"], write: [\"src/**\"], execute: [\"@shell\", \"@git\", \"@python\", \"@node\", \"@rust\", curl] }}
network_policies:
  eng-backend:
    egress:
      - {{ registry: npm, min_age: 3d, advisories: true }}
      - {{ registry: pypi, min_age: 3d }}
      - {{ registry: crates, min_age: 3d }}
hosts:
{}",
        hosts.concat()
    );
    world.write("../policy.yaml", policy);
    world.commit();
    drop(world.spawn(&["image", "build", "full"]).wait(COLD).exits(0));
    for (ecosystem, id) in [
        ("npm", "GHSA-npm"),
        ("PyPI", "PYSEC-py"),
        ("crates.x", "RUSTSEC-rs"),
    ] {
        let record = format!(
            r#"{{"id": "{id}", "modified": "{LONG_AGO}", "aliases": ["CVE-2020-1"], "affected": [{{"package": {{"ecosystem": "{ecosystem}", "name": "left-bad"}},
                "ranges": [{{"type": "ECOSYSTEM", "events": [{{"introduced": "0"}}, {{"fixed": "1.0.1"}}]}}]}}]}}"#
        );
        world.write(&format!("../osv/{id}.json"), record);
    }
    world
}

fn run(world: &World, script: &str) -> Said {
    world
        .loki(&as_backend_by_policy(&["sh", "-uc", script]))
        .exits(0)
}

/// Says `done` or `refused` behind each, and installs each of the packages by itself.
const NPM: &str = "cd src
for one in left-ok left-bad left-new; do
  mkdir $one && cd $one && echo '{\"name\": \"n\", \"version\": \"1.0.0\"}' >package.json
  npm install --registry https://npm.test/ --no-audit --no-fund $one@1.0.0 && cat node_modules/$one/package.json && echo $one done || echo $one refused
  cd ..
done
mkdir locked && cd locked
echo '{\"name\": \"n\", \"version\": \"1.0.0\", \"dependencies\": {\"left-new\": \"1.0.0\"}}' >package.json
echo '{\"name\": \"n\", \"version\": \"1.0.0\", \"lockfileVersion\": 3, \"requires\": true, \"packages\": {\"\": {\"name\": \"n\", \"version\": \"1.0.0\", \"dependencies\": {\"left-new\": \"1.0.0\"}}, \"node_modules/left-new\": {\"version\": \"1.0.0\", \"resolved\": \"https://npm.test/left-new/-/left-new-1.0.0.tgz\"}}}' >package-lock.json
npm ci --registry https://npm.test/ --no-audit --no-fund && echo lock done || echo lock refused";

const PIP: &str = "cd src
for one in left-ok left-bad left-new; do
  python3 -m pip install --no-cache-dir --disable-pip-version-check --index-url https://pypi.test/simple --target $one $one==1.0.0 && ls $one && echo $one done || echo $one refused
done
echo 'left-new @ https://pypi.test/simple/files/left_new-1.0.0-py3-none-any.whl' >locked.txt
python3 -m pip install --no-cache-dir --disable-pip-version-check --index-url https://pypi.test/simple --target locked -r locked.txt && echo lock done || echo lock refused";

/// The cargo of the image knows sparse indexes, but not yet without being told.
const FETCH: &str = "cd src/cargo; export RUSTC_BOOTSTRAP=1
for one in left-ok left-bad left-new; do
  printf '[package]\\nname = \"c\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\n%s = \"=1.0.0\"\\n' $one >Cargo.toml
  rm -f Cargo.lock
  cargo -Z sparse-registry fetch && echo $one done || echo $one refused
  cargo -Z sparse-registry fetch --locked && echo $one lock done || echo $one lock refused
  [ $one = left-ok ] || curl -s https://crates.test/dl/$one/1.0.0/download
done";

fn holds(said: Said, (id, package): (&str, &str)) {
    let said = said.prints(&[
        "left-ok done\n",
        "left-bad refused\n",
        "left-new refused\n",
        "lock refused\n",
    ]);
    let shown = format!("{}{}", said.stdout, said.stderr);
    assert!(
        !said.stdout.contains("left-bad done") && !said.stdout.contains("left-new done"),
        "{said}"
    );
    for reason in [
        id.to_owned(),
        "fixed in 1.0.1".to_owned(),
        format!("{package} 1.0.0"),
        "younger than 3 days".to_owned(),
    ] {
        assert!(shown.contains(&reason), "no `{reason}`\n{said}");
    }
}

#[test]
fn live_vetting_npm_pip_and_cargo_install_what_is_fine_and_are_told_what_is_not() {
    on_each(|engine| {
        let world = world(engine);
        let imported = world.loki(&["advisories", "import", "../osv"]).exits(0);
        imported.says(&["imported advisories (crates 1, npm 1, pypi 1) about 3 packages"]);
        holds(run(&world, NPM), ("GHSA-npm", "left-bad"));
        holds(run(&world, PIP), ("PYSEC-py", "left-bad"));
        let said = run(&world, FETCH).prints(&[
            "left-ok done\n",
            "left-bad refused\n",
            "left-bad lock refused\n",
            "left-new refused\n",
        ]);
        let shown = format!("{}{}", said.stdout, said.stderr);
        for reason in [
            "RUSTSEC-rs",
            "fixed in 1.0.1",
            "its rule wants versions that are 3 days old",
        ] {
            assert!(shown.contains(reason), "no `{reason}`\n{said}");
        }
    });
}

#[test]
fn live_vetting_what_was_refused_stands_in_the_log_with_its_advisory() {
    on_each(|engine| {
        let world = world(engine);
        world.loki(&["advisories", "import", "../osv"]).exits(0);
        world.write(
            "spec.md",
            "# A\n\nB.\n\n## Tasks\n\n- `a` (eng-backend): c\n  - accept: `true`\n",
        );
        world.write(
            "agent.sh",
            "#!/bin/sh\ncurl -s https://npm.test/left-bad/-/left-bad-1.0.0.tgz\necho a >src/a\n",
        );
        tool(&world, "chmod +x agent.sh");
        world.commit();
        let policy = ["--policy", "../policy.yaml"];
        let started = world.loki(&[&START[..], &policy].concat());
        drop(started.in_any_case());
        let reason = "`left-bad 1.0.0` has a known advisory: GHSA-npm (CVE-2020-1); fixed in 1.0.1";
        world.loki(&["egress", "log"]).exits(0).prints(&[reason]);
        let denied = world.loki(&[&["egress", "denied"][..], &policy].concat());
        denied.exits(0).prints(&["npm.test:443"]);
        let explain = [
            "policy",
            "explain",
            "eng-backend",
            "--connect",
            "npm.test:443",
            "--path",
        ];
        let bad = [&explain[..], &["/left-bad/-/left-bad-1.0.0.tgz"], &policy].concat();
        world.loki(&bad).exits(1).prints(&[reason]);
        let fine = [&explain[..], &["/left-ok/-/left-ok-1.0.0.tgz"], &policy].concat();
        world
            .loki(&fine)
            .exits(0)
            .prints(&["at least 3.0 days ago"]);
        // The rule for npm demands them.
        world.loki(&["advisories", "remove"]).exits(0);
        world
            .loki(&fine)
            .exits(1)
            .prints(&["`loki advisories import DIR`"]);
    });
}
