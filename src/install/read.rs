//! Reads lock files and manifests as far as deciding goes: whether anything is installed at all,
//! and whether the lock file says exactly what.
//!
//! All of it is text that an agent may have written. What cannot be read is refused, never guessed.

use serde_json::{Map, Value};

use super::{Refusal, Want};
use crate::text::visible;

/// The largest lock file or manifest that is read, in bytes.
pub const LARGEST: usize = 8 << 20;

/// The parts of a package's manifest that an install depends on. Scripts are not among them: those
/// of the project itself are not run.
const PARTS: [&str; 15] = [
    "name",
    "version",
    "private",
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "bundleDependencies",
    "bundledDependencies",
    "overrides",
    "workspaces",
    "engines",
    "os",
    "cpu",
];

/// Options of a file of requirements that lead nowhere else.
const HARMLESS: [&str; 6] = [
    "--hash",
    "--require-hashes",
    "--no-binary",
    "--only-binary",
    "--prefer-binary",
    "--pre",
];

/// How a file of the tree is given to an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// As it stands.
    Whole,
    /// Only the parts that count.
    Parts,
    /// Its name alone, without what is in it.
    Empty,
}

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What is to be installed, exactly.
    Packages,
    /// That nothing is.
    Nothing,
}

/// Returns how a file below the directory of the lock file is given to the install; none is not at
/// all. `deep`: also those in directories below it.
#[must_use]
pub fn takes(want: &Want, path: &str) -> Option<Take> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    if path == want.lock_name() {
        return Some(Take::Whole);
    }
    match want.tool.name.as_str() {
        "npm" if name == "package.json" => Some(Take::Parts),
        "cargo" if name == "Cargo.toml" => Some(Take::Whole),
        "cargo" if name.ends_with(".rs") => Some(Take::Empty),
        _ => None,
    }
}

/// Returns whether the manifests below the directory of the lock file count, too: always with
/// cargo, with npm where the manifest beside it says so.
#[must_use]
pub fn is_workspace(want: &Want, manifest: Option<&[u8]>) -> bool {
    match want.tool.name.as_str() {
        "cargo" => true,
        "npm" => manifest
            .and_then(object)
            .is_some_and(|map| map.contains_key("workspaces")),
        _ => false,
    }
}

/// Returns the parts of a manifest that count.
///
/// # Errors
/// When it is none.
pub fn reduced(want: &Want, path: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let Some(mut map) = object(bytes) else {
        return Err(want.refused(format!("`{path}` is not a JSON object; mend it")));
    };
    map.retain(|key, _| PARTS.contains(&key.as_str()));
    Ok(serde_json::to_vec(&map).expect("what was JSON still is"))
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// Reads a lock file.
///
/// # Errors
/// When it does not say exactly what would be installed.
pub fn read(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    match want.tool.name.as_str() {
        "npm" => npm(want, lock),
        "pip" => pip(want, lock),
        _ => cargo(want, lock),
    }
}

fn npm(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    let name = &want.lock;
    let map = object(lock)
        .ok_or_else(|| want.refused(format!("`{name}` is not a JSON object; mend it")))?;
    let Some(Value::Object(packages)) = map.get("packages") else {
        let message = format!(
            "`{name}` is of an old form without `packages`; write it anew with npm 7 or newer"
        );
        return Err(want.refused(message));
    };
    let mut told = Told::Nothing;
    for (path, package) in packages {
        let is = |key: &str| package.get(key) == Some(&Value::Bool(true));
        if !path.contains("node_modules/") || is("link") {
            continue;
        }
        let pinned = package.get("integrity").is_some_and(Value::is_string);
        if !pinned && !is("inBundle") {
            return Err(unpinned(want, path, "integrity"));
        }
        told = Told::Packages;
    }
    Ok(told)
}

fn unpinned(want: &Want, package: &str, missing: &str) -> Refusal {
    want.refused(format!(
        "`{}` has no `{missing}` for `{}`, so it does not say what would be installed; write it anew",
        want.lock,
        visible(package)
    ))
}

fn pip(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    let name = &want.lock;
    let text = std::str::from_utf8(lock)
        .map_err(|_| want.refused(format!("`{name}` is not a text; mend it")))?;
    let lines = text
        .lines()
        .map(|line| line.trim().trim_end_matches('\\').trim());
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let options = lines.iter().filter(|line| line.starts_with('-'));
    for option in options {
        let word = option.split([' ', '=', '\t']).next().unwrap_or(option);
        if !HARMLESS.contains(&word) {
            let message = format!(
                "`{name}` has `{}`, which leads elsewhere; write every package with its hash into the one file",
                visible(word)
            );
            return Err(want.passed_over(message));
        }
    }
    let packages = lines.iter().any(|line| !line.starts_with('-'));
    if !packages {
        return Ok(Told::Nothing);
    }
    if !text.contains("--hash=") {
        let message = format!(
            "`{name}` has no hashes, so it does not say what would be installed; \
             have your tool write them (`--generate-hashes`, `--format requirements-txt`)"
        );
        return Err(want.passed_over(message));
    }
    Ok(Told::Packages)
}

fn cargo(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    let name = &want.lock;
    let text = std::str::from_utf8(lock)
        .map_err(|_| want.refused(format!("`{name}` is not a text; mend it")))?;
    let mut told = Told::Nothing;
    for package in text.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let lines = package.lines().map(str::trim);
            let mut values =
                lines.filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
            values
                .next()
                .map(|value| value.trim().trim_matches('"').to_owned())
        };
        let Some(source) = value("source") else {
            continue;
        };
        let called = value("name").unwrap_or_default();
        if source.starts_with("git+") {
            let message = format!(
                "`{name}` has `{}` from a repository of git, and an install reaches registries only; \
                 vendor it, or take it from a registry",
                visible(&called)
            );
            return Err(want.refused(message));
        }
        if value("checksum").is_none() {
            return Err(unpinned(want, &called, "checksum"));
        }
        told = Told::Packages;
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{super::tools, *};

    fn want(tool: &str) -> Want {
        let tool = tools().iter().find(|one| one.name == tool).unwrap();
        Want {
            tool,
            lock: tool.locks.last().unwrap().clone(),
            command: tool.command.clone(),
            demanded: false,
        }
    }

    fn said(tool: &str, lock: &str) -> String {
        match read(&want(tool), lock.as_bytes()) {
            Ok(told) => format!("{told:?}"),
            Err(refusal) => refusal.reason,
        }
    }

    #[test]
    fn a_lock_file_of_npm_says_by_hash_what_is_installed() {
        let package = |fields: &str| {
            format!(r#"{{"packages": {{"": {{}}, "node_modules/a": {{{fields}}}}}}}"#)
        };
        assert_eq!(
            said("npm", &package(r#""integrity": "sha512-x""#)),
            "Packages"
        );
        assert_eq!(said("npm", &package(r#""inBundle": true"#)), "Packages");
        assert_eq!(said("npm", &package(r#""link": true"#)), "Nothing");
        assert_eq!(said("npm", r#"{"packages": {"": {}}}"#), "Nothing");
        assert!(
            said("npm", &package(r#""version": "1.0.0""#))
                .contains("no `integrity` for `node_modules/a`")
        );
        assert!(said("npm", r#"{"dependencies": {}}"#).contains("old form"));
        assert!(said("npm", "[]").contains("not a JSON object"));
        assert!(said("npm", &"[".repeat(100_000)).contains("not a JSON object"));
    }

    #[test]
    fn requirements_have_hashes_and_lead_nowhere_else() {
        assert_eq!(said("pip", "a==1 \\\n    --hash=sha256:0\n"), "Packages");
        assert_eq!(said("pip", "# none\n\n"), "Nothing");
        assert!(said("pip", "a==1\n").contains("no hashes"));
        for line in [
            "-r b.txt",
            "--index-url https://x.test",
            "-e .",
            "--find-links x",
            "-ihttps://x.test",
        ] {
            let text = format!("{line}\na==1 --hash=sha256:0\n");
            assert!(said("pip", &text).contains("leads elsewhere"), "{line}");
        }
    }

    #[test]
    fn a_lock_file_of_cargo_has_checksums_and_no_repositories() {
        let package =
            |fields: &str| format!("version = 3\n\n[[package]]\nname = \"a\"\n{fields}\n");
        assert_eq!(
            said(
                "cargo",
                &package("source = \"registry+x\"\nchecksum = \"0\"")
            ),
            "Packages"
        );
        assert_eq!(said("cargo", &package("version = \"1\"")), "Nothing");
        assert!(
            said("cargo", &package("source = \"registry+x\"")).contains("no `checksum` for `a`")
        );
        assert!(said("cargo", &package("source = \"git+x\"")).contains("registries only"));
    }

    #[test]
    fn of_a_manifest_only_what_counts_is_given() {
        let text =
            br#"{"name": "n", "scripts": {"install": "evil"}, "dependencies": {"a": "1"}, "x": 1}"#;
        let left = reduced(&want("npm"), "package.json", text).unwrap();
        assert_eq!(left, br#"{"dependencies":{"a":"1"},"name":"n"}"#);
        assert!(reduced(&want("npm"), "package.json", b"no").is_err());
        assert_eq!(takes(&want("npm"), "src/index.js"), None);
        assert_eq!(takes(&want("cargo"), "src/main.rs"), Some(Take::Empty));
        assert_eq!(takes(&want("pip"), "setup.py"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for tool in tools() {
                drop(read(&want(&tool.name), &bytes));
                drop(reduced(&want(&tool.name), "x", &bytes));
            }
        }
    }
}
