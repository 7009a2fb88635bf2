//! A YAML file as a tree in which every key and every value knows where it stands.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, MessageFormatter, Spanned, UserMessageFormatter};

use crate::Problem;

/// The largest file that is read: far above any that a person writes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// One value with the place where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: Position,
}

/// Line and column, both counted from 1; a column is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1, in characters.
    pub column: u64,
}

/// A YAML value as it stands in the file, before anybody says what it means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Placed<Node>>),
    Map(Vec<(Placed<String>, Placed<Node>)>),
}

impl Position {
    /// Where a file begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// Reads a file's text. What is not YAML is a problem and yields no tree; a duplicated key is a problem and still yields
/// one (with the first of the two), so that everything else can be checked as well.
pub(crate) fn read(text: &str) -> (Option<Placed<Node>>, Vec<Problem>) {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is {} bytes long, at most {FILE_BYTES_MAX} are read", text.len());
        return (None, vec![Problem { at: Position::START, message }]);
    }
    match parse(text, DuplicateKeyPolicy::Error) {
        Ok(tree) => (Some(tree), Vec::new()),
        Err(error) => {
            let problem = problem(&error);
            // Fails again, with the same problem, unless the duplicate was all that was wrong.
            (parse(text, DuplicateKeyPolicy::FirstWins).ok(), vec![problem])
        }
    }
}

fn parse(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Placed<Node>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        strict_booleans: true, // `region: no` is Norway
    };
    serde_saphyr::from_str_with_options::<Placed<Node>>(text, options)
}

fn problem(error: &serde_saphyr::Error) -> Problem {
    let message = UserMessageFormatter.format_message(error.without_snippet()).into_owned();
    Problem { at: error.location().map_or(Position::START, Position::from), message }
}

impl Node {
    /// The value's kind, in the words of an error message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        // A location that the parser does not know is line 0.
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Placed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, at: spanned.referenced.into() })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        // No key takes a number that large; as the largest one it fails the key's own bound.
        Ok(Node::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Position {
        Position { line, column }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let (tree, problems) = read("# comment\na: 1\nb:\n  - x\n  - {c: no}\n");
        assert_eq!(problems, Vec::new());
        let Some(Placed { value: Node::Map(entries), .. }) = tree else { panic!("a mapping") };
        assert_eq!((entries[0].0.at, entries[0].1.at), (at(2, 1), at(2, 4)));
        assert_eq!(entries[0].1.value, Node::Int(1));
        let Node::List(items) = &entries[1].1.value else { panic!("a list") };
        assert_eq!((items[0].at, items[1].at), (at(4, 5), at(5, 5)));
        let Node::Map(inner) = &items[1].value else { panic!("a mapping") };
        assert_eq!(inner[0].1.at, at(5, 9));
        assert_eq!(inner[0].1.value, Node::Text("no".to_owned()), "only true and false are booleans");
    }

    #[test]
    fn a_duplicated_key_is_said_and_the_rest_is_still_read() {
        let (tree, problems) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(problems.iter().map(|p| p.at).collect::<Vec<_>>(), [at(3, 1)]);
        assert!(problems[0].message.contains("duplicate"), "{}", problems[0].message);
        assert!(matches!(tree, Some(Placed { value: Node::Map(entries), .. }) if entries.len() == 2));
    }

    #[test]
    fn what_is_not_yaml_is_said_once_with_its_place() {
        for (text, line) in [("a: [1\nb: 2\n", 2), ("a: \"x\n", 2), ("a:\n\t- b\n", 2)] {
            let (tree, problems) = read(text);
            assert!(tree.is_none(), "{text:?}");
            assert_eq!(problems.len(), 1, "{text:?}");
            assert_eq!(problems[0].at.line, line, "{text:?}: {}", problems[0].message);
        }
    }

    #[test]
    fn a_file_has_a_bound() {
        let (tree, problems) = read(&"#".repeat(FILE_BYTES_MAX + 1));
        assert!(tree.is_none());
        assert_eq!(problems[0].message, "the file is 1048577 bytes long, at most 1048576 are read");
    }
}
