//! Which topics are broadcasts.

use crate::{RoutingKey, Topic, TopicError};

/// How the topics begin that are carried to all gateways: whole levels, none of them a wildcard, with `/` behind the last one.
/// `broadcast/` covers `broadcast/a` and `broadcast/a/b`, and not `broadcast`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BroadcastPrefix {
    text: String,
    binding_key: String,
}

/// Why something is no prefix of broadcasts. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastPrefixError {
    /// Its levels are none of a topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The last level does not end.
    #[error("prefix {prefix:?} does not end with /: it is made of whole levels")]
    NoEnd {
        /// The whole prefix.
        prefix: String,
    },
    /// Topics that begin with `$` are the gateway's own [MQTT-4.7.2-1].
    #[error("prefix {prefix:?} begins with $: such topics never leave their gateway")]
    Own {
        /// The whole prefix.
        prefix: String,
    },
    /// AMQP could not bind it.
    #[error("prefix is {bytes} bytes long, at most {} are allowed", BroadcastPrefix::BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl BroadcastPrefix {
    /// The longest prefix: with every character escaped it still leaves a routing key room for more.
    pub const BYTES_MAX: usize = 64;

    /// Checks a prefix and keeps a copy.
    ///
    /// # Errors
    /// [`BroadcastPrefixError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BroadcastPrefixError> {
        let own = || text.to_owned();
        if text.len() > Self::BYTES_MAX {
            return Err(BroadcastPrefixError::TooLong { bytes: text.len() });
        }
        let Some(levels) = text.strip_suffix('/') else {
            return Err(BroadcastPrefixError::NoEnd { prefix: own() });
        };
        if text.starts_with('$') {
            return Err(BroadcastPrefixError::Own { prefix: own() });
        }
        // `/` alone is one empty level.
        let topic = Topic::parse(if levels.is_empty() { text } else { levels })?;
        let binding_key = match levels.is_empty() {
            true => ".#".to_owned(),
            false => format!("{}.#", RoutingKey::for_topic(&topic)),
        };
        Ok(Self { text: own(), binding_key })
    }

    /// The text as it was parsed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a topic is below it.
    #[must_use]
    pub fn covers(&self, topic: &str) -> bool {
        topic.starts_with(&self.text)
    }

    /// The key that binds a queue to the broadcasts below it. It matches the keys of a few others too, as that of the prefix without
    /// its `/`: whoever reads the queue asks [`BroadcastPrefix::covers`].
    #[must_use]
    pub fn binding_key(&self) -> &str {
        &self.binding_key
    }
}

impl std::fmt::Display for BroadcastPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for BroadcastPrefix {
    type Err = BroadcastPrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_is_below_its_levels() {
        let cases = [
            ("broadcast/", "broadcast.#", &["broadcast/a", "broadcast/", "broadcast/a/b"][..]),
            ("a.b/c/", "a%2Eb.c.#", &["a.b/c/d"]),
            ("/", ".#", &["/a", "/"]),
            ("/a/", ".a.#", &["/a/b"]),
        ];
        for (text, key, below) in cases {
            let prefix = BroadcastPrefix::parse(text).unwrap();
            assert_eq!((prefix.binding_key(), prefix.to_string().as_str()), (key, text));
            assert!(below.iter().all(|topic| prefix.covers(topic)), "{text}");
        }
        let prefix = BroadcastPrefix::parse("broadcast/").unwrap();
        for other in ["broadcast", "broadcasts/a", "a/broadcast/b", "Broadcast/a"] {
            assert!(!prefix.covers(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        let long = format!("{}/", "%".repeat(BroadcastPrefix::BYTES_MAX));
        for bad in ["", "broadcast", "a/+/", "a/#/", "$SYS/", "a\0/", long.as_str()] {
            assert!(BroadcastPrefix::parse(bad).is_err(), "{bad:?}");
        }
        let longest = format!("{}/", "%".repeat(BroadcastPrefix::BYTES_MAX - 1));
        let key = BroadcastPrefix::parse(&longest).unwrap().binding_key().to_owned();
        assert!(key.len() < RoutingKey::MAX_BYTES && !key.contains("%cut"), "{key}");
    }
}
