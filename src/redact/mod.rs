//! Keeps secret values out of everything that is shown or kept.
//!
//! A [`Redactor`] is made of all [`Values`] and knows each as it is and in the forms that programs
//! give it: base64 (both alphabets, wherever in a longer text it begins), percent and hex digits
//! (both cases), JSON. What it finds becomes `[secret:NAME]`. A [`Stream`] does the same for bytes
//! that come in parts, whatever the parts are. A [`Search`], which only asks whether there is a
//! value, also sees those that a program broke into lines; a mask hides of these what it sees.
//!
//! It finds no value that somebody hides on purpose: spelt backwards, in parts, compressed or
//! encrypted. Whoever must not have a value must not be given it.

mod forms;
mod joined;
mod machine;
mod stream;
#[cfg(test)]
mod tests;
mod values;

use std::{borrow::Cow, sync::Arc};

use machine::Machine;
pub use stream::{Search, Stream};
pub use values::Values;

/// The fewest bytes of a value: a shorter one could not be told from ordinary words.
pub const SHORTEST: usize = forms::SHORTEST;

/// Finds and masks secret values. The default knows none and changes nothing.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Machine>>);

impl Redactor {
    /// Learns every form of every value.
    #[must_use]
    pub fn new(values: &Values) -> Self {
        Self(Machine::new(values).map(Arc::new))
    }

    /// Returns the mask of a stream that is to begin.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(self.0.clone())
    }

    /// Returns the bytes with every value masked.
    #[must_use]
    pub fn bytes<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let mut stream = self.stream();
        let begun = stream.push(bytes);
        let rest = stream.finish();
        if rest.is_empty() {
            return begun;
        }
        Cow::Owned([&begun, rest.as_slice()].concat())
    }

    /// Returns the text with every value masked.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Masks every text of a JSON value, keys included, and returns whether there was a value.
    pub fn json(&self, value: &mut serde_json::Value) -> bool {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                let masked = self.text(text);
                let found = masked != *text;
                if found {
                    *text = masked.into_owned();
                }
                found
            }
            // No short circuit: everything is to be masked.
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |found, item| found | self.json(item)),
            Value::Object(fields) => {
                let asked = std::mem::take(fields);
                let mut found = false;
                for (key, mut value) in asked {
                    let shown = self.text(&key).into_owned();
                    found |= shown != key;
                    found |= self.json(&mut value);
                    fields.insert(shown, value);
                }
                found
            }
            // A value may be nothing but digits.
            Value::Number(number) => {
                let text = number.to_string();
                let masked = self.text(&text);
                let found = masked != text;
                if found {
                    *value = Value::String(masked.into_owned());
                }
                found
            }
            Value::Null | Value::Bool(_) => false,
        }
    }

    /// Returns whether there is no value to find.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.0.is_none()
    }

    /// Returns a search through bytes that come in parts.
    #[must_use]
    pub fn search(&self) -> Search {
        Search::new(self.0.clone())
    }

    /// Returns whether a value shows in the bytes, in any form.
    #[must_use]
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.search().finds(bytes)
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}
