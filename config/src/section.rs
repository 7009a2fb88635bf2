//! One mapping of a file, read key by key. The keys it was asked for are the keys that exist.

use std::cell::RefCell;

use crate::Problem;
use crate::document::{Node, Placed, Position};
use crate::nearest::nearest;

/// Collects what is wrong, from all sections of a file.
#[derive(Debug, Default)]
pub(crate) struct Findings(RefCell<Vec<Problem>>);

/// One mapping. Every reading method says a problem if there is one and goes on with the default, so that a file is
/// checked to its end. [`Section::finish`] then says which keys nobody asked for.
pub(crate) struct Section<'a> {
    findings: &'a Findings,
    at: Position,
    entries: &'a [(Placed<String>, Placed<Node>)],
    asked: Vec<&'static str>,
}

impl Findings {
    pub(crate) fn say(&self, at: Position, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { at, message: message.into() });
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

impl<'a> Section<'a> {
    /// A value as a section; a problem, and an empty section, if it is no mapping.
    pub(crate) fn of(findings: &'a Findings, node: &'a Placed<Node>) -> Self {
        let entries: &[_] = match &node.value {
            Node::Map(entries) => entries,
            Node::Null => &[],
            other => {
                findings.say(node.at, format!("expected keys with values, found {}", other.kind()));
                &[]
            }
        };
        Self { findings, at: node.at, entries, asked: Vec::new() }
    }

    /// The value of `key` by `parse`, or the default.
    pub(crate) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// The value of `key` by `parse`, if the key is there and has one.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.placed(key)?;
        match parse(&value.value) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.findings.say(value.at, format!("{key}: {message}"));
                None
            }
        }
    }

    /// The value of `key` by `parse`; a problem if the key is not there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        if self.placed(key).is_none() {
            self.findings.say(self.at, format!("{key} is missing; it has no default"));
            return None;
        }
        self.optional(key, parse)
    }

    /// Whether `key` is there and has a value.
    pub(crate) fn has(&mut self, key: &'static str) -> bool {
        self.placed(key).is_some()
    }

    /// The keys as they stand.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|(key, _)| key.value.as_str())
    }

    /// The section under `key`, empty if the key is not there.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'a> {
        match self.placed(key) {
            Some(node) => Section::of(self.findings, node),
            None => Section { findings: self.findings, at: self.at, entries: &[], asked: Vec::new() },
        }
    }

    /// The items of the list under `key`, if the key is there: none is different from an empty list.
    pub(crate) fn list(&mut self, key: &'static str) -> Option<&'a [Placed<Node>]> {
        let node = self.placed(key)?;
        match &node.value {
            Node::List(items) => Some(items),
            other => {
                self.findings.say(node.at, format!("{key}: expected a list, found {}", other.kind()));
                None
            }
        }
    }

    /// One item of a list by `parse`.
    pub(crate) fn item<T>(
        &self,
        item: &Placed<Node>,
        parse: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        parse(&item.value).map_err(|message| self.findings.say(item.at, message)).ok()
    }

    /// One item of a list as a section.
    pub(crate) fn item_section(&self, item: &'a Placed<Node>) -> Section<'a> {
        Section::of(self.findings, item)
    }

    /// Says a problem with the value of `key`: at that value, or at the section if it is a default.
    pub(crate) fn say(&mut self, key: &'static str, message: impl std::fmt::Display) {
        let at = self.placed(key).map_or(self.at, |value| value.at);
        self.findings.say(at, format!("{key}: {message}"));
    }

    /// Says which keys nobody asked for, each with the nearest one that exists.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.asked.contains(&key.value.as_str())) {
            let hint = match nearest(&key.value, &self.asked) {
                Some(name) => format!("did you mean {name:?}?"),
                None => format!("the keys here are {}", self.asked.join(", ")),
            };
            self.findings.say(key.at, format!("unknown key {:?}; {hint}", key.value));
        }
    }

    /// The value of `key`, unless it is absent or empty (`key:` alone is the default).
    fn placed(&mut self, key: &'static str) -> Option<&'a Placed<Node>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (_, value) = self.entries.iter().find(|(name, _)| name.value == key)?;
        (value.value != Node::Null).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document, value};

    fn check(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<String> {
        let (tree, problems) = document::read(text);
        assert_eq!(problems, Vec::new());
        let tree = tree.unwrap();
        let findings = Findings::default();
        let mut section = Section::of(&findings, &tree);
        read(&mut section);
        section.finish();
        let said = findings.into_problems().into_iter();
        said.map(|p| format!("{}:{}: {}", p.at.line, p.at.column, p.message)).collect()
    }

    #[test]
    fn a_key_is_read_or_has_its_default() {
        let said = check("a: 5\nb:\n", |section| {
            assert_eq!(section.or("a", 1, value::whole(0..=9)), 5);
            assert_eq!(section.or("b", 2, value::whole(0..=9)), 2, "an empty value is the default");
            assert_eq!(section.or("c", 3, value::whole(0..=9)), 3);
            assert_eq!(section.required("a", value::whole(0..=9)), Some(5));
        });
        assert_eq!(said, Vec::<String>::new());
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let said = check("a: 50\nlist: 3\nsub: [1]\nlits: 1\nwhatever: 1\n", |section| {
            assert_eq!(section.or("a", 1, value::whole(0..=9)), 1);
            assert_eq!(section.required("id", value::text), None);
            assert_eq!(section.list("list"), None);
            section.section("sub").finish();
        });
        let expected = [
            "1:4: a: 50 is not in 0 to 9",
            "1:1: id is missing; it has no default",
            "2:7: list: expected a list, found a number",
            "3:6: expected keys with values, found a list",
            "4:1: unknown key \"lits\"; did you mean \"list\"?",
            "5:1: unknown key \"whatever\"; the keys here are a, id, list, sub",
        ];
        assert_eq!(said, expected);
    }
}
