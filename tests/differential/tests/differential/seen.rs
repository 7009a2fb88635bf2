//! What a decoder made of a packet, in words that all of them share: a field that says what is so without it is left out.

use std::collections::BTreeMap;

/// The fields of a packet by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<String, String>);

impl Seen {
    pub(crate) fn of(packet: &str) -> Self {
        Self::default().put("packet", packet)
    }

    pub(crate) fn put(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    pub(crate) fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// A value that says nothing is left out.
    pub(crate) fn unless<T: ToString + PartialEq>(self, default: T, name: &str, value: Option<T>) -> Self {
        self.maybe(name, value.filter(|value| *value != default))
    }

    pub(crate) fn flag(self, name: &str, is_set: bool) -> Self {
        self.unless(false, name, Some(is_set))
    }

    pub(crate) fn bytes(self, name: &str, value: Option<&[u8]>) -> Self {
        self.maybe(name, value.map(|value| format!("{value:02x?}")))
    }

    pub(crate) fn list<T: ToString>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let mut seen = self;
        for (at, value) in values.into_iter().enumerate() {
            seen = seen.put(&format!("{name} {at}"), value);
        }
        seen
    }

    pub(crate) fn pairs(self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.list("user property", pairs.into_iter().map(|(name, value)| format!("{name:?}={value:?}")))
    }

    /// All under a common first word.
    pub(crate) fn with(mut self, prefix: &str, other: Self) -> Self {
        self.0.extend(other.0.into_iter().map(|(name, value)| (format!("{prefix} {name}"), value)));
        self
    }

    /// The names of the fields in which the two differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut differing: Vec<_> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        differing.sort();
        differing.dedup();
        differing
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
