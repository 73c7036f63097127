//! Reads JSON without building it in memory: what a file of some megabytes can be made to cost is
//! bounded by what is wanted of it.
//!
//! Only objects are read as objects: serde would take an array for one, too, and the tool would not.
//! Of a key that comes twice the last counts, as it does for the tool.

use std::{collections::BTreeMap, fmt};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// What a lock file of npm says of a package.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// Its hash, as it is written.
    pub(super) integrity: Option<String>,
    /// It is a link to another place of the project.
    pub(super) link: bool,
    /// It is part of another package, whose hash covers it.
    pub(super) bundled: bool,
}

/// Shows every package of a lock file of npm to `look`, which says whether to go on. Returns whether
/// it has a list of packages; none where it is no such JSON object, or was not read to its end.
pub(super) fn packages(lock: &[u8], look: impl FnMut(&str, &Package) -> bool) -> Option<bool> {
    let mut lock_file = Lock { look, found: false };
    read(lock, &mut lock_file)?;
    Some(lock_file.found)
}

/// Returns those members of an object that are wanted, each as JSON; none where it is no object.
pub(super) fn members(bytes: &[u8], wanted: &[&str]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut members = Members {
        wanted,
        found: BTreeMap::new(),
    };
    read(bytes, &mut members)?;
    Some(members.found)
}

fn read<'de>(bytes: &'de [u8], object: impl Visitor<'de, Value = ()>) -> Option<()> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    json.deserialize_map(object).ok()?;
    json.end().ok()
}

struct Lock<F> {
    look: F,
    found: bool,
}

impl<'de, F: FnMut(&str, &Package) -> bool> Visitor<'de> for &mut Lock<F> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a lock file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "packages" {
                map.next_value_seed(Packages(&mut self.look))?;
                self.found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Packages<'f, F>(&'f mut F);

impl<'de, F: FnMut(&str, &Package) -> bool> DeserializeSeed<'de> for Packages<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, &Package) -> bool> Visitor<'de> for Packages<'_, F> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(path) = map.next_key::<String>()? {
            if !(self.0)(&path, &map.next_value()?) {
                return Err(Error::custom("enough was read"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Package {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Said;
        impl<'de> Visitor<'de> for Said {
            type Value = Package;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a package")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Package, A::Error> {
                let mut package = Package::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "integrity" => {
                            package.integrity = match map.next_value()? {
                                Loose::Text(text) => Some(text),
                                Loose::True | Loose::Other => None,
                            }
                        }
                        "link" => package.link = matches!(map.next_value()?, Loose::True),
                        "inBundle" => package.bundled = matches!(map.next_value()?, Loose::True),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(package)
            }
        }
        from.deserialize_map(Said)
    }
}

/// A value that should be a text, or true.
enum Loose {
    Text(String),
    True,
    Other,
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("anything")
            }

            fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
                Ok(Loose::Text(text.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
                Ok(if value { Loose::True } else { Loose::Other })
            }

            fn visit_unit<E>(self) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Loose, E> {
                Ok(Loose::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Loose::Other)
            }
        }
        from.deserialize_any(Any)
    }
}

struct Members<'w> {
    wanted: &'w [&'w str],
    found: BTreeMap<String, Vec<u8>>,
}

impl<'de> Visitor<'de> for &mut Members<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.wanted.contains(&key.as_str()) {
                let mut copy = Vec::new();
                map.next_value_seed(Copy(&mut copy))?;
                self.found.insert(key, copy);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Writes a value as it is read, without the space around its parts.
struct Copy<'o>(&'o mut Vec<u8>);

impl Copy<'_> {
    fn put<E: Error>(self, plain: &(impl serde::Serialize + ?Sized)) -> Result<(), E> {
        serde_json::to_writer(self.0, plain).map_err(Error::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Copy<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Copy<'_> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("anything")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.put(&())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(&value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.put(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut before = b'[';
        loop {
            let at = self.0.len();
            self.0.push(before);
            if items.next_element_seed(Copy(self.0))?.is_none() {
                self.0.truncate(at);
                break;
            }
            before = b',';
        }
        self.0.extend(close(before, [b'[', b']']));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut before = b'{';
        while let Some(key) = map.next_key::<String>()? {
            self.0.push(before);
            Copy(self.0).put::<A::Error>(&key)?;
            self.0.push(b':');
            map.next_value_seed(Copy(self.0))?;
            before = b',';
        }
        self.0.extend(close(before, [b'{', b'}']));
        Ok(())
    }
}

/// What ends a list or an object: both signs where nothing stood in it.
fn close(before: u8, [open, end]: [u8; 2]) -> Vec<u8> {
    if before == open {
        vec![open, end]
    } else {
        vec![end]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, proptest};
    use serde_json::Value;

    use super::*;

    /// Any JSON of some depth.
    fn json() -> impl Strategy<Value = Value> {
        let plain = proptest::prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        plain.prop_recursive(4, 32, 5, |inner| {
            proptest::prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..5)
                    .prop_map(|map| Value::from_iter(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_copied_is_the_same_json(value in json()) {
            let text = serde_json::json!({ "left": 1, "wanted": value }).to_string();
            let found = members(text.as_bytes(), &["wanted", "missing"]).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(serde_json::from_slice::<Value>(&found["wanted"]).unwrap(), value);
        }
    }

    #[test]
    fn only_objects_are_objects_and_nothing_stands_behind_them() {
        for text in [
            "[]",
            "[{}]",
            "1",
            "",
            "{} {}",
            "{\"packages\": []}",
            "{\"packages\": {\"a\": [\"sha512-x\", true]}}",
        ] {
            assert_eq!(packages(text.as_bytes(), |_, _| true), None, "{text}");
        }
        assert_eq!(packages(b"{}", |_, _| true), Some(false));
        assert!(members(b"[1]", &["a"]).is_none());
    }
}
