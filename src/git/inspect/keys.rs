//! Which keys of a JSON object changed, and whether what they name comes from where it should.

use std::collections::HashSet;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// Returns whether two texts of a JSON object differ in one of these keys. What is no such object,
/// or has a key twice anywhere, differs; nothing at all is an empty one.
pub(in crate::git) fn differ(old: Option<&[u8]>, new: Option<&[u8]>, keys: &[String]) -> bool {
    // Which of two counts depends on who reads.
    if new.is_some_and(|new| serde_json::from_slice::<Single>(new).is_err()) {
        return true;
    }
    let read = |text: Option<&[u8]>| match text {
        None => Some(Vec::new()),
        Some(text) => serde_json::from_slice::<Pairs>(text).ok().map(|pairs| {
            let all = pairs.0.into_iter();
            all.filter_map(|(key, value)| Some((watched(&key, value, keys)?, key)))
                .collect::<Vec<_>>()
        }),
    };
    match (read(old), read(new)) {
        (Some(old), Some(new)) => old != new,
        _ => true,
    }
}

/// Returns what counts of a key's value.
fn watched(key: &str, value: Value, keys: &[String]) -> Option<Value> {
    if keys.iter().any(|one| one == key) {
        return Some(value);
    }
    let lower = key.to_lowercase();
    let mut ends = keys.iter().filter_map(|one| one.strip_prefix('*'));
    ends.any(|end| lower.ends_with(end)).then_some(())?;
    let Value::Object(mut packages) = value else {
        return Some(value);
    };
    packages.retain(|_, from| !from.as_str().is_some_and(is_of_registry));
    (!packages.is_empty()).then_some(Value::Object(packages))
}

/// Returns whether a package comes from a registry, or from the workspace it is named in: anything
/// else is an address, a path, an archive or a repository, whose scripts run on install.
fn is_of_registry(from: &str) -> bool {
    if let Some(catalog) = from.strip_prefix("catalog:") {
        return is_version(catalog);
    }
    let prefixes = ["npm:", "workspace:", "jsr:"];
    let Some(rest) = prefixes.iter().find_map(|prefix| from.strip_prefix(prefix)) else {
        return is_version(from);
    };
    // The name of another package may stand before the version.
    let scoped = rest.strip_prefix('@').and_then(|rest| rest.split_once('/'));
    match (scoped, rest.split_once('@')) {
        (Some((scope, rest)), _) => {
            let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
            is_word(scope) && is_word(name) && is_version(version)
        }
        (None, Some((name, version))) => is_word(name) && is_version(version),
        (None, None) => is_version(rest),
    }
}

/// Returns whether this is a range of versions, or the word for one. What begins with a dot, or ends
/// as archives do, is a file to some.
fn is_version(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+*^~<>=| ".contains(c);
    text.chars().all(plain) && !text.split([' ', '|']).any(is_file)
}

fn is_word(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.is_empty() && name.chars().all(plain) && !name.starts_with('.')
}

fn is_file(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let end = lower
        .get(lower.len().saturating_sub(7)..)
        .unwrap_or_default();
    // Some read the second dot as any letter.
    let packed = end.starts_with(".tar") && end.ends_with("gz");
    word.starts_with('.') || packed || lower.ends_with(".tgz") || lower.ends_with(".tar")
}

/// A text in which no object has a key twice, at any depth.
struct Single;

impl<'de> Deserialize<'de> for Single {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Single {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("objects without a key that stands twice")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self, M::Error> {
        let mut keys = HashSet::new();
        while let Some((key, Self)) = map.next_entry::<String, Self>()? {
            if !keys.insert(key) {
                return Err(M::Error::custom("a key stands twice"));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while let Some(Self) = items.next_element::<Self>()? {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

/// The pairs of an object in their order, those whose key stands twice included.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Pairs, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Each)
    }
}

#[cfg(test)]
mod tests {
    use super::differ;

    #[test]
    fn only_the_keys_that_run_something_count() {
        let keys = ["scripts".to_owned(), "bin".to_owned()];
        let differ =
            |old: &str, new: &str| differ(Some(old.as_bytes()), Some(new.as_bytes()), &keys);
        assert!(!differ(r#"{"name":"a"}"#, r#"{"name":"b","version":"1"}"#));
        assert!(!differ(
            r#"{"scripts":{"a":"b"},"name":"a"}"#,
            r#"{"name":"c","scripts":{"a":"b"}}"#
        ));
        assert!(differ(
            r#"{"name":"a"}"#,
            r#"{"name":"a","scripts":{"postinstall":"x"}}"#
        ));
        assert!(differ(r#"{"bin":"a"}"#, r#"{"bin":"b"}"#));
        assert!(differ(r#"{"scripts":{"a":"b"}}"#, "{}"));
        // Who reads the first of two, and who the last?
        assert!(differ(
            r#"{"scripts":{}}"#,
            r#"{"scripts":{"install":"x"},"scripts":{}}"#
        ));
        for twice in [
            r#"{"scripts":{"a":"x","a":"b"}}"#,
            r#"{"scripts":{"a":"b"},"x":[{"y":{"k":1,"k":2}}]}"#,
        ] {
            assert!(differ(r#"{"scripts":{"a":"b"}}"#, twice), "{twice}");
        }
        for no_object in ["", "[]", "{", "\u{feff}{}", "{} x", "null"] {
            assert!(differ("{}", no_object), "{no_object}");
        }
    }

    #[test]
    fn attack_g11_a_package_that_comes_from_no_registry_counts() {
        let keys = ["scripts".to_owned(), "*dependencies".to_owned()];
        let differ = |key: &str, from: &str| {
            let new = format!(r#"{{"{key}":{{"left-pad":"1.0.0","a":"{from}"}}}}"#);
            let old = format!(r#"{{"{key}":{{"left-pad":"0.9.0"}}}}"#);
            differ(Some(old.as_bytes()), Some(new.as_bytes()), &keys)
        };
        for from in [
            "http://h.test/a.tgz",
            "https://h.test/a.tgz",
            "git+ssh://h.test/a",
            "git:h.test/a",
            "file:../a",
            "link:./a",
            "portal:./a",
            "github:o/r",
            "o/r",
            "./a",
            "~/a",
            "..\\\\a",
            "workspace:../../a",
            "vendored.tgz",
            "vendored.TGZ",
            "vendored.tar.gz",
            "vendored.tarxgz",
            "a.tar",
            " a.tgz ",
            ".evil",
            ".",
            "~evil/a",
            "npm:b@file.tgz",
            "npm:@scope/b/c@1",
            "workspace:./a",
            "jsr:..",
            "a%2fb",
            "git@h.test",
        ] {
            for key in ["dependencies", "devDependencies", "optionalDependencies"] {
                assert!(differ(key, from), "{key} {from}");
            }
        }
        for from in [
            "1.2.3",
            "^1",
            "~1.2",
            ">=1 <2 || 3.x",
            "latest",
            "*",
            "",
            "npm:@scope/b@1",
            "workspace:*",
            "workspace:^",
            "workspace:other@*",
            "jsr:@std/path@^1.0.0",
            "next",
            "v1.2.3-beta.1+build",
            "1.0.0 - 2.9999.9999",
            "catalog:",
        ] {
            assert!(!differ("dependencies", from), "{from}");
        }
        assert!(!differ("description", "o/r"));
    }

    #[test]
    fn a_file_that_comes_or_goes_differs_by_what_it_has() {
        let keys = ["scripts".to_owned()];
        let scripts = Some(&br#"{"scripts":{}}"#[..]);
        assert!(differ(None, scripts, &keys) && differ(scripts, None, &keys));
        assert!(!differ(None, Some(b"{}"), &keys));
    }
}
