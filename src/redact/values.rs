//! Secret values by name.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

/// Secret values in memory, by name. They are wiped when this is dropped, and never printed.
#[derive(Default)]
pub struct Values(BTreeMap<String, Zeroizing<String>>);

impl Values {
    /// Returns the value of a secret.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    /// Returns the names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let both = self.0.iter();
        both.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Zeroizing<String>)> for Values {
    fn from_iter<I: IntoIterator<Item = (String, Zeroizing<String>)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
