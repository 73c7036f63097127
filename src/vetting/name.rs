//! Names of packages in the one form in which they are compared.

use crate::policy::RegistryKind;

/// The longest name that any of the registries allows.
const LONGEST: usize = 214;

/// Returns the form in which names of a kind are compared; none for what is no name there.
pub(super) fn canonical(kind: RegistryKind, name: &str) -> Option<String> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    match kind {
        RegistryKind::Npm => npm(name),
        RegistryKind::Pypi => pypi(name),
        RegistryKind::Crates => crates(name),
        RegistryKind::Debian => debian(name),
    }
}

fn npm(name: &str) -> Option<String> {
    let part = |part: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
        !part.is_empty() && part != "-" && !part.starts_with('.') && part.bytes().all(letter)
    };
    let fits = match name.strip_prefix('@') {
        Some(scoped) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| part(scope) && part(name)),
        None => part(name),
    };
    fits.then(|| name.to_owned())
}

/// PEP 503: runs of `-`, `_` and `.` are one `-`, letters are small.
fn pypi(name: &str) -> Option<String> {
    let joins = |b: u8| b"-_.".contains(&b);
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || joins(b))
        && !name.bytes().next().is_some_and(joins)
        && !name.bytes().last().is_some_and(joins);
    fits.then(|| folded(name))
}

fn folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if folded.ends_with('-') => {}
            '-' | '_' | '.' => folded.push('-'),
            c => folded.push(c.to_ascii_lowercase()),
        }
    }
    folded
}

/// A registry of crates takes neither case nor `_` and `-` for a difference.
fn crates(name: &str) -> Option<String> {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    let fits = name.len() <= 64
        && name.bytes().all(letter)
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    fits.then(|| name.to_ascii_lowercase().replace('_', "-"))
}

fn debian(name: &str) -> Option<String> {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b);
    let fits = name.bytes().all(letter)
        && name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
    fits.then(|| name.to_owned())
}

/// Returns whether an entry of `allow` or `deny` names a package, whatever its version: `left-pad`,
/// `@scope/*`.
pub(super) fn matches(kind: RegistryKind, pattern: &str, name: &str) -> bool {
    let pattern = match kind {
        RegistryKind::Npm | RegistryKind::Debian => pattern.to_owned(),
        RegistryKind::Pypi => folded(pattern),
        RegistryKind::Crates => pattern.to_ascii_lowercase().replace('_', "-"),
    };
    spans(&pattern, name)
}

/// Compares with a pattern in which `*` is any text, in time linear in both for each `*`.
fn spans(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(first) else {
        return false;
    };
    let mut rest: Vec<&str> = rest.split('*').collect();
    let last = rest.pop().unwrap_or_default();
    for part in rest {
        match left.split_once(part) {
            Some((_, behind)) => left = behind,
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_the_form_of_their_registry() {
        use RegistryKind::{Crates, Debian, Npm, Pypi};
        for (kind, name, form) in [
            (Npm, "JSONStream", Some("JSONStream")),
            (Npm, "@types/node", Some("@types/node")),
            (Npm, "@types", None),
            (Npm, "@a/b/c", None),
            (Npm, ".bin", None),
            (Npm, "-", None),
            (Npm, "a b", None),
            (Pypi, "Zope.Interface", Some("zope-interface")),
            (Pypi, "a__b--c", Some("a-b-c")),
            (Pypi, "-a", None),
            (Pypi, "a/b", None),
            (Crates, "Serde_JSON", Some("serde-json")),
            (Crates, "1password", None),
            (Debian, "libstdc++6", Some("libstdc++6")),
            (Debian, "OpenSSL", None),
            (Debian, "", None),
        ] {
            assert_eq!(canonical(kind, name).as_deref(), form, "{name}");
        }
        assert_eq!(canonical(Npm, &"a".repeat(215)), None);
    }

    #[test]
    fn patterns_match_names_in_any_spelling() {
        use RegistryKind::{Crates, Npm, Pypi};
        for (kind, pattern, name, expected) in [
            (Npm, "left-pad", "left-pad", true),
            (Npm, "left-pad", "left-pad2", false),
            (Npm, "@scope/*", "@scope/a", true),
            (Npm, "@scope/*", "@scope2/a", false),
            (Npm, "*pad*", "left-padded", true),
            (Npm, "a*a", "a", false),
            (Npm, "a*b*c", "abbc", true),
            (Pypi, "Zope.*", "zope-interface", true),
            (Pypi, "python_dateutil", "python-dateutil", true),
            (Crates, "Serde_*", "serde-json", true),
            (Npm, "*", "x", true),
        ] {
            assert_eq!(matches(kind, pattern, name), expected, "{pattern} {name}");
        }
    }
}
