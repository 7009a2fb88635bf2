//! The aliases that a client uses.

use std::num::NonZeroU16;

use crate::packet::{FIELD_BYTES_MAX, Text};

/// One topic of the greatest length, or 255 of those that devices have.
const TOPICS_BYTES_MAX: usize = FIELD_BYTES_MAX;

/// Which topics a client's aliases stand for. The caller bounds the aliases, and so their number; their length is bounded here.
#[derive(Debug, Default)]
pub(crate) struct InboundAliases {
    /// The topic of alias 1 first; an empty one where an alias stands for nothing.
    topics: Vec<Text>,
    bytes: usize,
}

/// Why an alias gives no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AliasError {
    /// It stands for nothing yet.
    Unknown,
    /// All of the client's topics together would be longer than is allowed.
    TooLong,
}

impl InboundAliases {
    /// The topic of a publish that came with `topic` and an alias: an empty one is what the alias stands for, any other is what it stands
    /// for from now on.
    ///
    /// # Errors
    /// [`AliasError`]; the connection is then to be closed.
    pub(crate) fn resolve(&mut self, alias: NonZeroU16, topic: Text) -> Result<Text, AliasError> {
        let at = usize::from(alias.get() - 1);
        let known = self.topics.get(at).filter(|known| !known.is_empty());
        if topic.is_empty() {
            return known.cloned().ok_or(AliasError::Unknown);
        }
        if known == Some(&topic) {
            return Ok(topic);
        }
        let bytes = self.bytes - known.map_or(0, |known| known.len()) + topic.len();
        if bytes > TOPICS_BYTES_MAX {
            return Err(AliasError::TooLong);
        }
        if self.topics.len() <= at {
            self.topics.resize(at + 1, Text::EMPTY);
        }
        self.topics[at] = topic.detached();
        self.bytes = bytes;
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(n: u16) -> NonZeroU16 {
        NonZeroU16::new(n).unwrap()
    }

    #[test]
    fn an_alias_stands_for_the_last_topic_that_came_with_it() {
        let mut aliases = InboundAliases::default();
        let text = Text::from_static;
        assert_eq!(aliases.resolve(alias(3), Text::EMPTY), Err(AliasError::Unknown));
        assert_eq!(aliases.resolve(alias(3), text("a")), Ok(text("a")));
        assert_eq!(aliases.resolve(alias(3), Text::EMPTY), Ok(text("a")));
        assert_eq!(
            aliases.resolve(alias(1), Text::EMPTY),
            Err(AliasError::Unknown),
            "below one that is known"
        );
        assert_eq!(aliases.resolve(alias(1), text("a")), Ok(text("a")), "two may stand for one topic");
        assert_eq!(aliases.resolve(alias(3), text("b")), Ok(text("b")));
        assert_eq!(aliases.resolve(alias(3), Text::EMPTY), Ok(text("b")));
        assert_eq!(aliases.resolve(alias(1), Text::EMPTY), Ok(text("a")));
    }

    #[test]
    fn the_topics_of_a_client_are_bounded_together() {
        let mut aliases = InboundAliases::default();
        let long = Text::parse("x".repeat(FIELD_BYTES_MAX)).unwrap();
        let longer = Text::parse("y".repeat(FIELD_BYTES_MAX)).unwrap();
        aliases.resolve(alias(1), long).unwrap();
        assert!(aliases.resolve(alias(1), longer).is_ok(), "in the place of the other");
        assert_eq!(aliases.resolve(alias(2), Text::from_static("z")), Err(AliasError::TooLong));
        aliases.resolve(alias(1), Text::from_static("short")).unwrap();
        assert!(aliases.resolve(alias(2), Text::from_static("z")).is_ok());
    }

    #[test]
    fn a_topic_that_is_kept_lets_go_of_the_buffer_it_was_read_into() {
        let mut aliases = InboundAliases::default();
        let buffer = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        let topic = Text::from_bytes(buffer.slice(..3)).unwrap();
        aliases.resolve(alias(1), topic).unwrap();
        let kept = aliases.resolve(alias(1), Text::EMPTY).unwrap();
        assert_ne!(kept.as_ptr(), buffer.as_ptr());
    }
}
