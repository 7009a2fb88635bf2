//! The aliases that the gateway uses towards a client that takes some.

use std::hash::{DefaultHasher, Hasher as _};
use std::num::NonZeroU16;

/// How many topics are remembered by their hashes alone, to know which come again: a few more than most clients take aliases.
const SEEN: usize = 32;
/// An alias takes three bytes and may lengthen the properties' length by one: a shorter topic gains nothing.
const TOPIC_BYTES_MIN: usize = 5;
/// A longer topic goes out whole: each that has an alias is kept.
const TOPIC_BYTES_MAX: usize = 1024;

/// Which topics the gateway's aliases stand for.
///
/// A topic gets an alias at once as long as one is left. Then it gets one when it comes for the second time, so that a thousand topics that
/// come in turn cost nothing: one that was not used since the last such topic came to it is taken. A topic that comes often keeps its own.
#[derive(Debug, Default)]
pub(crate) struct OutboundAliases {
    /// The topic of alias 1 first.
    told: Vec<Told>,
    /// At each place the hash of the topic that came there last.
    seen: [u32; SEEN],
    /// Which one is looked at next when none is left.
    hand: usize,
}

/// A topic that the client knows by an alias.
#[derive(Debug)]
struct Told {
    hash: u32,
    /// Its memory serves the next topic as well.
    topic: String,
    was_used: bool,
}

/// How the topic of a publish is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As it is.
    Whole,
    /// By an alias that the client knows.
    Alias(NonZeroU16),
    /// Whole, with an alias that stands for it from then on: say so with [`OutboundAliases::told`] once it is written.
    NewAlias(NonZeroU16),
}

impl OutboundAliases {
    /// How to tell a topic to a client that takes aliases up to `max`, always the same.
    pub(crate) fn spell(&mut self, topic: &str, max: u16) -> Spelling {
        if !(TOPIC_BYTES_MIN..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Spelling::Whole;
        }
        let hash = hash(topic);
        let known = self.told.iter_mut().zip(1..).find(|(told, _)| told.hash == hash && told.topic == topic);
        if let Some((told, alias)) = known {
            told.was_used = true;
            return NonZeroU16::new(alias).map_or(Spelling::Whole, Spelling::Alias);
        }
        let is_one_left = self.told.len() < usize::from(max);
        let place = &mut self.seen[hash as usize % SEEN];
        let has_come_before = std::mem::replace(place, hash) == hash;
        let alias = (is_one_left || has_come_before).then(|| self.free(max)).flatten();
        alias.map_or(Spelling::Whole, Spelling::NewAlias)
    }

    /// The client has been told what the alias, which [`OutboundAliases::spell`] gave, stands for.
    pub(crate) fn told(&mut self, alias: NonZeroU16, topic: &str) {
        let (hash, at) = (hash(topic), usize::from(alias.get() - 1));
        match self.told.get_mut(at) {
            Some(told) => {
                told.topic.clear();
                told.topic.push_str(topic);
                (told.hash, told.was_used) = (hash, false);
            }
            None => self.told.push(Told { hash, topic: topic.to_owned(), was_used: false }),
        }
    }

    /// An alias that stands for nothing, or whose topic has not come lately. One is looked at each time.
    fn free(&mut self, max: u16) -> Option<NonZeroU16> {
        if self.told.len() < usize::from(max) {
            return NonZeroU16::new(u16::try_from(self.told.len() + 1).ok()?);
        }
        let at = self.hand;
        self.hand = (at + 1) % self.told.len().max(1);
        let told = self.told.get_mut(at)?;
        match std::mem::take(&mut told.was_used) {
            true => None,
            false => NonZeroU16::new(u16::try_from(at + 1).ok()?),
        }
    }
}

/// Two topics with one hash only cost one of them its place.
fn hash(topic: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(topic.as_bytes());
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Tells a topic, and gives what the client is told.
    fn tell(aliases: &mut OutboundAliases, topic: &str, max: u16) -> Spelling {
        let spelling = aliases.spell(topic, max);
        if let Spelling::NewAlias(alias) = spelling {
            aliases.told(alias, topic);
        }
        spelling
    }

    fn alias(n: u16) -> NonZeroU16 {
        NonZeroU16::new(n).unwrap()
    }

    #[test]
    fn a_topic_gets_an_alias_that_is_left_and_keeps_it() {
        let mut aliases = OutboundAliases::default();
        let told: Vec<_> = (0..4).map(|_| tell(&mut aliases, "a/topic", 1)).collect();
        let first = alias(1);
        assert_eq!(
            told,
            [
                Spelling::NewAlias(first),
                Spelling::Alias(first),
                Spelling::Alias(first),
                Spelling::Alias(first)
            ]
        );
    }

    #[test]
    fn an_alias_that_was_not_told_stands_for_nothing() {
        let mut aliases = OutboundAliases::default();
        aliases.spell("a/topic", 1);
        assert_eq!(aliases.spell("a/topic", 1), Spelling::NewAlias(alias(1)), "the packet was not written");
        assert_eq!(tell(&mut aliases, "a/topic", 1), Spelling::NewAlias(alias(1)));
        assert_eq!(tell(&mut aliases, "a/topic", 1), Spelling::Alias(alias(1)));
    }

    #[test]
    fn topics_that_come_in_turn_and_are_many_take_no_aliases() {
        let mut aliases = OutboundAliases::default();
        let mut new = 0;
        for n in 0..100_000 {
            let spelling = tell(&mut aliases, &format!("devices/{}/state", n % 10_000), 16);
            new += u32::from(matches!(spelling, Spelling::NewAlias(_)));
        }
        assert!(new < 100, "{new} of 100,000 were told an alias that never served");
    }

    #[test]
    fn a_topic_that_comes_often_keeps_its_alias_among_those_that_come_and_go() {
        let mut aliases = OutboundAliases::default();
        assert!(matches!(tell(&mut aliases, "often", 2), Spelling::NewAlias(_)));
        for n in 0..1_000 {
            let rare = format!("rare/{n}");
            for _ in 0..3 {
                tell(&mut aliases, &rare, 2);
                assert!(matches!(tell(&mut aliases, "often", 2), Spelling::Alias(_)), "{n}");
            }
        }
        let now: Vec<_> = (0..4).map(|_| tell(&mut aliases, "rare/new", 2)).collect();
        assert!(matches!(now[3], Spelling::Alias(_)), "the rare ones share what is left: {now:?}");
    }

    #[test]
    fn short_and_very_long_topics_go_out_whole() {
        let mut aliases = OutboundAliases::default();
        for topic in ["a/b/", &"x".repeat(TOPIC_BYTES_MAX + 1)] {
            for _ in 0..3 {
                assert_eq!(tell(&mut aliases, topic, 16), Spelling::Whole);
            }
        }
    }

    proptest! {
        /// Whatever comes: a client that does what the specification says reads the topics that were meant.
        #[test]
        fn a_client_reads_every_topic_as_it_was_meant(max in 1..5_u16, topics in proptest::collection::vec(0..12_u8, 0..400)) {
            let mut aliases = OutboundAliases::default();
            let mut known = HashMap::new();
            for n in topics {
                let topic = format!("topic/{n}");
                match tell(&mut aliases, &topic, max) {
                    Spelling::Whole => {}
                    Spelling::NewAlias(alias) => {
                        prop_assert!(alias.get() <= max);
                        known.insert(alias, topic);
                    }
                    Spelling::Alias(alias) => prop_assert_eq!(known.get(&alias), Some(&topic)),
                }
            }
        }
    }
}
