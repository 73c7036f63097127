//! Reads lock files and manifests as far as deciding goes: whether anything is installed at all,
//! and whether the lock file says exactly what.
//!
//! All of it is text that an agent may have written. What cannot be read is refused, never guessed.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Refusal, Want, json, requirements};
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

/// The hashes that npm checks, and how long each is. The first is weak, and all that old packages
/// have.
const HASHES: [(&str, usize); 4] = [("sha1", 20), ("sha256", 32), ("sha384", 48), ("sha512", 64)];

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
            .and_then(|bytes| json::members(bytes, &["workspaces"]))
            .is_some_and(|found| !found.is_empty()),
        _ => false,
    }
}

/// Returns the parts of a manifest that count.
///
/// # Errors
/// When it is none.
pub fn reduced(want: &Want, path: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let Some(parts) = json::members(bytes, &PARTS) else {
        return Err(want.refused(format!("`{path}` is not a JSON object; mend it")));
    };
    let mut text = Vec::new();
    for (name, value) in parts {
        text.push(if text.is_empty() { b'{' } else { b',' });
        text.extend(format!("\"{name}\":").into_bytes());
        text.extend(value);
    }
    if text.is_empty() {
        text.push(b'{');
    }
    text.push(b'}');
    Ok(text)
}

/// Reads a lock file.
///
/// # Errors
/// When it does not say exactly what would be installed.
pub fn read(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    match want.tool.name.as_str() {
        "npm" => npm(want, lock),
        "pip" => requirements::read(want, lock),
        _ => cargo(want, lock),
    }
}

fn npm(want: &Want, lock: &[u8]) -> Result<Told, Refusal> {
    let name = &want.lock;
    let (mut told, mut loose) = (Told::Nothing, None);
    let read = json::packages(lock, |path, package| {
        if !path.contains("node_modules/") || package.link {
            return true;
        }
        told = Told::Packages;
        // What is bundled stands below what bundles it.
        let bundled = package.bundled && path.matches("node_modules/").count() > 1;
        if !bundled && !package.integrity.as_deref().is_some_and(pins) {
            loose = Some(path.to_owned());
        }
        loose.is_none()
    });
    match (loose, read) {
        (Some(path), _) => Err(unpinned(want, &path, "integrity")),
        (None, None) => Err(want.refused(format!("`{name}` is not a JSON object; mend it"))),
        (None, Some(false)) => Err(want.refused(format!(
            "`{name}` is of an old form without `packages`; write it anew with npm 7 or newer"
        ))),
        (None, Some(true)) => Ok(told),
    }
}

/// Returns whether a text of npm's says what a package is: hashes, each whole and of a kind that npm
/// checks. It passes over those that it does not know.
fn pins(integrity: &str) -> bool {
    let mut hashes = integrity.split_ascii_whitespace().peekable();
    hashes.peek().is_some()
        && hashes.all(|hash| {
            let Some((kind, digest)) = hash.split_once('-') else {
                return false;
            };
            let known = HASHES.iter().find(|(name, _)| *name == kind);
            known.is_some_and(|(_, bytes)| {
                STANDARD
                    .decode(digest)
                    .is_ok_and(|digest| digest.len() == *bytes)
            })
        })
}

fn unpinned(want: &Want, package: &str, missing: &str) -> Refusal {
    want.refused(format!(
        "`{}` has no `{missing}` for `{}`, so it does not say what would be installed; write it anew",
        want.lock,
        visible(package)
    ))
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
        let checksum = value("checksum").unwrap_or_default();
        if checksum.len() != 64 || !checksum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
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
        let integrity = |hash: &str| package(&format!(r#""integrity": "{hash}""#));
        let whole =
            |kind: &str, bytes: usize| format!("{kind}-{}", STANDARD.encode(vec![7; bytes]));
        for (kind, bytes) in HASHES {
            assert_eq!(said("npm", &integrity(&whole(kind, bytes))), "Packages");
        }
        let two = format!("{} {}", whole("sha1", 20), whole("sha512", 64));
        assert_eq!(said("npm", &integrity(&two)), "Packages");
        let bundled = package(r#""inBundle": true"#);
        assert!(said("npm", &bundled).contains("no `integrity`"));
        let below = bundled.replace("node_modules/a", "node_modules/b/node_modules/a");
        assert_eq!(said("npm", &below), "Packages");
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

    /// npm installs what it has no hash for that it knows, without a word.
    #[test]
    fn attack_g16_a_hash_that_npm_would_not_check_pins_nothing() {
        let good = STANDARD.encode([7; 64]);
        for hash in [
            String::new(),
            " ".to_owned(),
            "none".to_owned(),
            "sha512-".to_owned(),
            "sha512-x".to_owned(),
            format!("md5-{}", STANDARD.encode([7; 16])),
            format!("SHA512-{good}"),
            format!("sha256-{good}"),
            format!("sha512-{good}?x"),
            format!("sha512-{good} none"),
        ] {
            let fields = format!(r#""integrity": "{hash}""#);
            let lock = format!(r#"{{"packages": {{"node_modules/a": {{{fields}}}}}}}"#);
            assert!(said("npm", &lock).contains("no `integrity`"), "{hash}");
        }
        // The last of two counts, here as there.
        let lock = format!(
            r#"{{"packages": {{"node_modules/a": {{"integrity": "sha512-{good}", "integrity": ""}}}}}}"#
        );
        assert!(said("npm", &lock).contains("no `integrity`"));
        for value in ["null", "true", "[]", "{}", "1"] {
            let lock = format!(r#"{{"packages": {{"node_modules/a": {{"integrity": {value}}}}}}}"#);
            assert!(said("npm", &lock).contains("no `integrity`"), "{value}");
        }
    }

    /// The most memory that this process had, in bytes.
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// Built in memory, each of these files would be more than a gigabyte.
    #[test]
    fn attack_b2_the_largest_lock_file_or_manifest_costs_little_memory() {
        let items = "{\"\":0},".repeat((LARGEST - 100) / 7);
        let before = peak();
        let lock = format!(r#"{{"packages": {{}}, "x": [{items}0]}}"#);
        assert_eq!(said("npm", &lock), "Nothing");
        drop(lock);
        let manifest = format!(r#"{{"dependencies": [{items}0]}}"#);
        let kept = reduced(&want("npm"), "package.json", manifest.as_bytes()).unwrap();
        assert_eq!(kept.len(), manifest.len() - 1);
        assert!(
            peak() - before < 400 << 20,
            "{} MiB",
            (peak() - before) >> 20
        );
    }

    #[test]
    fn a_lock_file_of_cargo_has_checksums_and_no_repositories() {
        let package =
            |fields: &str| format!("version = 3\n\n[[package]]\nname = \"a\"\n{fields}\n");
        assert_eq!(
            said(
                "cargo",
                &package(&format!(
                    "source = \"registry+x\"\nchecksum = \"{}\"",
                    "0a".repeat(32)
                ))
            ),
            "Packages"
        );
        assert!(
            said(
                "cargo",
                &package("source = \"registry+x\"\nchecksum = \"0\"")
            )
            .contains("no `checksum` for `a`")
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
