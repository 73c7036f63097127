//! The state of the repository itself, as tests: file lengths, host names, documents and scripts.
//! One command tells all.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::harness::source::{code, files, is_tests, read, root, without_tests};

/// Non-test lines that one file may have.
const LINES: usize = 400;

fn rust_files() -> Vec<PathBuf> {
    ["src", "guest/src"]
        .iter()
        .flat_map(|dir| files(dir, "rs"))
        .collect()
}

/// Returns every file that is or could become part of the repository.
fn tracked() -> Vec<PathBuf> {
    let list = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()
        .expect("git lists the files of this repository");
    assert!(
        list.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&list.stderr)
    );
    let names = String::from_utf8(list.stdout).expect("file names are UTF-8");
    names
        .split('\0')
        .filter(|n| !n.is_empty())
        .map(PathBuf::from)
        .filter(|p| root().join(p).is_file())
        .collect()
}

#[test]
fn no_file_grows_long() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| !is_tests(path))
        .map(|path| (without_tests(&read(&path)).lines().count(), path))
        .filter(|(lines, _)| *lines > LINES)
        .map(|(lines, path)| format!("{}: {lines} lines without tests", path.display()))
        .collect();
    assert!(
        long.is_empty(),
        "over {LINES} lines: split by subject:\n  {}",
        long.join("\n  ")
    );
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["todo!", "unimplemented!", "#[ignore", "dbg!"];
    let mut left = Vec::new();
    for path in rust_files().into_iter().chain(files("tests", "rs")) {
        let text = code(&read(&path));
        left.extend(
            marks
                .iter()
                .filter(|m| text.contains(**m))
                .map(|m| format!("{}: `{m}`", path.display())),
        );
    }
    assert!(left.is_empty(), "finish these:\n  {}", left.join("\n  "));
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let files = rust_files().into_iter().chain(files("tests", "rs"));
    let silent: Vec<PathBuf> = files
        .filter(|path| !path.ends_with("tests.rs") && !read(path).starts_with("//!"))
        .collect();
    assert!(
        silent.is_empty(),
        "these do not begin with a module comment: {silent:?}"
    );
}

#[test]
fn no_test_file_is_forgotten() {
    let list = read("tests/suite/mod.rs");
    let listed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let there: BTreeSet<String> = fs::read_dir(root().join("tests/suite"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "mod")
        .collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert_eq!(
        there, listed,
        "tests/suite/mod.rs must list every file of its folder"
    );
    let beside: Vec<PathBuf> = files("tests", "rs")
        .into_iter()
        .filter(|p| p.components().count() == 2)
        .collect();
    assert_eq!(
        beside,
        [PathBuf::from("tests/main.rs")],
        "all integration tests are one binary"
    );
}

/// Returns what a program prints, or nothing where this machine does not have it.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .current_dir("/")
        .output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default()
}

/// Returns the host of every address in a text.
fn hosts(text: &str) -> Vec<String> {
    let ends = |c: char| c == '/' || c.is_whitespace() || "'\"[]".contains(c);
    let authorities = text
        .split("://")
        .skip(1)
        .filter_map(|rest| rest.split(ends).next());
    let hosts = authorities.filter_map(|a| a.rsplit('@').next()?.split(':').next());
    hosts.map(str::to_owned).collect()
}

/// Asks the tools of this machine which registries they use.
fn registries() -> BTreeSet<String> {
    let mut found = hosts(&said("npm", &["config", "get", "registry"]));
    found.extend(hosts(&said("python3", &["-m", "pip", "config", "list"])));
    let pip =
        "from pip._internal.models.index import PyPI as p; print(p.netloc, p.file_storage_domain)";
    found.extend(
        said("python3", &["-c", pip])
            .split_whitespace()
            .map(str::to_owned),
    );
    found.extend(cargo_hosts());
    found.extend(hosts(&apt_sources(Path::new("/etc/apt"))));
    found
        .into_iter()
        .filter(|h| h.contains('.') && h.parse::<IpAddr>().is_err())
        .collect()
}

/// Cargo keeps each registry's index in a folder named `<host>-<hash>`.
fn cargo_hosts() -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let index = home
        .expect("CARGO_HOME or HOME is set")
        .join("registry/index");
    let entries = fs::read_dir(index)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names
        .filter_map(|n| n.rsplit_once('-').map(|(host, _)| host.to_owned()))
        .collect()
}

fn apt_sources(dir: &Path) -> String {
    let parts = fs::read_dir(dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let paths = parts.map(|e| e.path()).chain([dir.join("sources.list")]);
    paths.filter_map(|p| fs::read_to_string(p).ok()).collect()
}

#[test]
fn no_registry_is_named_in_the_tree() {
    let hosts = registries();
    assert!(
        !hosts.is_empty(),
        "no tool on this machine names a registry; even cargo should, once it has fetched"
    );
    let mut named = Vec::new();
    for path in tracked() {
        if path
            .file_name()
            .is_some_and(|n| n == "Cargo.lock" || n == "package-lock.json")
        {
            continue;
        }
        let bytes = fs::read(root().join(&path)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        named.extend(
            hosts
                .iter()
                .filter(|h| text.contains(*h))
                .map(|h| format!("{}: `{h}`", path.display())),
        );
    }
    assert!(
        named.is_empty(),
        "name registries by kind, not by host:\n  {}",
        named.join("\n  ")
    );
}

fn pages() -> Vec<PathBuf> {
    let docs = files("docs", "md");
    docs.into_iter()
        .chain([PathBuf::from("README.md")])
        .collect()
}

/// Returns the targets of the links of a page, without fragments and web addresses.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        let folder = page.parent().expect("a page has a folder").to_owned();
        let targets = links(&read(&page));
        dead.extend(
            targets
                .into_iter()
                .filter(|target| !root().join(&folder).join(target).exists())
                .map(|target| format!("{}: `{target}`", page.display())),
        );
    }
    assert!(dead.is_empty(), "dead links:\n  {}", dead.join("\n  "));
}

#[test]
fn every_page_is_listed_and_every_page_that_code_names_exists() {
    let list = links(&read("docs/README.md"));
    for page in files("docs", "md") {
        let name = page
            .strip_prefix("docs")
            .unwrap()
            .to_string_lossy()
            .into_owned();
        assert!(
            name == "README.md" || list.contains(&name),
            "docs/README.md does not list `{name}`"
        );
    }
    for path in rust_files() {
        let text = read(&path);
        for rest in text.split("docs/").skip(1) {
            let page: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c))
                .collect();
            let page = page.trim_end_matches('.');
            let there = !page.ends_with(".md") || root().join("docs").join(page).is_file();
            assert!(
                there,
                "`{}` names `docs/{page}`, which does not exist",
                path.display()
            );
        }
    }
}

#[test]
fn every_make_target_in_the_documents_exists() {
    let makefile = read("Makefile");
    let mut seen = BTreeSet::new();
    for page in pages() {
        let text = read(&page);
        for line in shell_lines(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(at) = words.iter().position(|w| *w == "make") else {
                continue;
            };
            seen.extend(words[at + 1..].iter().map(|w| (*w).to_owned()));
        }
    }
    assert!(
        seen.contains("demo") && seen.contains("test"),
        "the README shows `make demo` and `make test`"
    );
    for target in seen {
        let rule = format!("\n{target}:");
        assert!(
            makefile.contains(&rule),
            "the documents name `make {target}`, the Makefile does not have it"
        );
    }
}

#[test]
fn every_guarantee_that_names_a_test_has_it() {
    let tests: String = files("tests", "rs")
        .into_iter()
        .map(|path| code(&read(path)))
        .collect();
    let page = read("docs/security.md");
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|n| {
            ["attack_", "live_", "cli_"]
                .iter()
                .any(|kind| n.starts_with(kind))
        })
        .collect();
    assert!(named.len() >= 50, "docs/security.md names only {named:?}");
    let lacking: Vec<&&str> = named
        .iter()
        .filter(|n| !tests.contains(&format!("fn {n}_")) && !tests.contains(&format!("fn {n}(")))
        .collect();
    assert!(
        lacking.is_empty(),
        "docs/security.md promises tests that do not exist: {lacking:?}"
    );
}

/// Returns the lines of a page's ```sh blocks, comments removed.
fn shell_lines(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line.starts_with("```sh");
        } else if inside {
            found.push(line.split(" #").next().unwrap_or(line).trim());
        }
    }
    found
}

#[test]
fn every_script_parses_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let scripts = tracked()
        .into_iter()
        .filter(|p| p.starts_with("scripts") || p.ends_with(".ci/run"));
    let scripts: Vec<PathBuf> = scripts
        .filter(|p| p.extension().is_none_or(|e| e == "sh"))
        .collect();
    assert!(
        scripts.len() >= 3,
        "expected .ci/run, scripts/demo.sh and scripts/test.sh, got {scripts:?}"
    );
    for script in scripts {
        let path = root().join(&script);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(
            mode & 0o111,
            0o111,
            "`{}` is not executable",
            script.display()
        );
        let check = Command::new("bash")
            .arg("-n")
            .arg(&path)
            .output()
            .expect("bash is there");
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stderr)
        );
        let text = read(&script);
        assert!(
            text.contains("set -eu"),
            "`{}` does not stop at its first error",
            script.display()
        );
    }
}

#[test]
fn hosts_are_read_from_addresses_of_every_form() {
    let text = "deb https://user:x@a.example/debian x\nURIs: http://b.example:8080/d\nregistry='https://c.example'";
    assert_eq!(
        hosts(text),
        ["a.example", "b.example", "c.example"].map(str::to_owned)
    );
    assert_eq!(
        links("[a](b.md#c) [d](https://e) [f](g)"),
        ["b.md", "g"].map(str::to_owned)
    );
    assert_eq!(
        shell_lines("x\n```sh\nmake demo # c\n```\nmake no"),
        ["make demo"]
    );
}
