//! Which shards of a process may have subscribers for a topic: what every shard says of its own subscriptions, and all others read.
//!
//! ```text
//!   a/b/c    ─► counted under "this very topic: a/b/c"          a/+/c, a/# ─► counted under "below a"
//!   a topic a/b/c is looked up as: this very topic a/b/c; below nothing, below a, below a/b, below a/b/c
//! ```
//! A table of counters by hash for each shard, written by that shard alone. It has no false negatives: a subscription is counted before its
//! SUBACK is given out. A false positive costs one message to a shard that has no use for it. So no shard keeps another's subscriptions,
//! and what is subscribed here is known everywhere at once, without a word.

use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use roost_wire::TopicFilter;

use crate::ShardIndex;
use crate::placement::Seeded;

/// The counters of one shard: 1 MiB. With 250,000 filters of its own, every third topic that has no subscriber there looks as if it had.
const COUNTERS: usize = 1 << 19;

/// What all shards of a process want. One for all of them.
pub struct Interests {
    seed: Seeded,
    shards: Box<[Box<[AtomicU16]>]>,
    /// Raised after every change that may change an answer.
    version: AtomicU64,
}

/// A set of shards of one process, of which there are at most [`ShardSet::SHARDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardSet(u64);

/// What a filter is counted under, and a topic looked up.
#[derive(Hash)]
enum Place<'a> {
    /// This very topic.
    Exactly(&'a str),
    /// Everything that begins with these levels; without any: everything.
    Below(&'a str),
}

impl Interests {
    /// Of so many shards that want nothing yet. One alone needs no counters, and has none. Devices choose the topics, so their hash is
    /// seeded with a number that they can't know.
    ///
    /// # Panics
    /// If there are more than [`ShardSet::SHARDS_MAX`] shards, which is a mistake in the program.
    #[must_use]
    pub fn new(hash_seed: u64, shards: u16) -> Self {
        assert!(shards <= ShardSet::SHARDS_MAX, "a set of shards is a number");
        let counters = if shards > 1 { COUNTERS } else { 0 };
        let table = || (0..counters).map(|_| AtomicU16::new(0)).collect();
        Self {
            seed: Seeded(hash_seed),
            shards: (0..shards).map(|_| table()).collect(),
            version: AtomicU64::new(0),
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        // As many as it was made with.
        self.shards.len() as u16
    }

    /// The answers are the same for as long as this number is. Read it before you ask.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The shard has a subscription with this filter, one more than before. Only that shard may say so.
    pub fn add(&self, shard: ShardIndex, filter: &TopicFilter) {
        let Some(counter) = self.counter(shard, &Place::of(filter)) else { return };
        let count = counter.load(Ordering::Relaxed);
        if count < STUCK {
            counter.store(count + 1, Ordering::Release);
        }
        if count == 0 {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// It has one less. Only that shard may say so, and of one that it has added.
    pub fn remove(&self, shard: ShardIndex, filter: &TopicFilter) {
        let Some(counter) = self.counter(shard, &Place::of(filter)) else { return };
        let count = counter.load(Ordering::Relaxed);
        debug_assert!(count > 0, "{filter} was added");
        if count == 0 || count == STUCK {
            // How many there are is not known any more: it stays as it is.
            return;
        }
        counter.store(count - 1, Ordering::Release);
        if count == 1 {
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The shards, but for that one, that may have a subscription that matches the topic, a valid topic name.
    #[must_use]
    pub fn of(&self, topic: &str, but: ShardIndex) -> ShardSet {
        let mut set = ShardSet::default();
        for shard in (0..self.shards()).map(ShardIndex).filter(|shard| *shard != but) {
            let mut places = std::iter::once(Place::Exactly(topic)).chain(Place::above(topic));
            let is_wanted = |place: &Place<'_>| {
                self.counter(shard, place).is_some_and(|counter| counter.load(Ordering::Acquire) > 0)
            };
            if places.any(|place| is_wanted(&place)) {
                set.insert(shard);
            }
        }
        set
    }

    /// All shards but that one.
    #[must_use]
    pub fn others(&self, but: ShardIndex) -> ShardSet {
        let mut set = ShardSet::default();
        (0..self.shards()).map(ShardIndex).filter(|shard| *shard != but).for_each(|shard| set.insert(shard));
        set
    }

    fn counter(&self, shard: ShardIndex, place: &Place<'_>) -> Option<&AtomicU16> {
        let table = self.shards.get(usize::from(shard.0)).filter(|table| !table.is_empty())?;

        // The low bits are as good as any.
        table.get(self.seed.hash_one(place) as usize % COUNTERS)
    }
}

/// A counter that has come so far stays there: it says "perhaps" for ever.
const STUCK: u16 = u16::MAX;

impl std::fmt::Debug for Interests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interests")
            .field("shards", &self.shards.len())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ShardSet {
    /// How many there may be.
    pub const SHARDS_MAX: u16 = 64;

    /// Takes one in.
    pub fn insert(&mut self, shard: ShardIndex) {
        self.0 |= 1 << shard.0;
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Those that are in one of the two.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Them, the first first.
    pub fn iter(self) -> impl Iterator<Item = ShardIndex> {
        (0..Self::SHARDS_MAX).filter(move |index| self.0 >> index & 1 == 1).map(ShardIndex)
    }
}

impl<'a> Place<'a> {
    fn of(filter: &'a TopicFilter) -> Self {
        let text = filter.as_str();
        let Some(at) = text.find(['+', '#']) else { return Self::Exactly(text) };
        // A wildcard is a whole level: before it is nothing, or levels and a slash.
        Self::Below(text[..at].strip_suffix('/').unwrap_or_default())
    }

    /// Those of the filters with wildcards that may match the topic.
    fn above(topic: &'a str) -> impl Iterator<Item = Self> {
        let ends = topic.match_indices('/').map(|(at, _)| at).chain([topic.len()]);
        std::iter::once("").chain(ends.map(|at| &topic[..at])).map(Self::Below)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::subscriptions::{Subscription, SubscriptionTree};

    const HERE: ShardIndex = ShardIndex(0);
    const THERE: ShardIndex = ShardIndex(1);

    fn wants(interests: &Interests, topic: &str) -> bool {
        !interests.of(topic, HERE).is_empty()
    }

    #[test]
    fn a_shard_is_told_of_what_it_subscribes_to_until_it_does_no_more() {
        let interests = Interests::new(1, 3);
        let filters = ["a/b", "a/+/c", "#", "+/x", "a//#", "/+"].map(|f| f.parse::<TopicFilter>().unwrap());
        let topics =
            [&["a/b"][..], &["a/b/c", "a/x"], &["z", "a/b/c", "$x"], &["y/x"], &["a/", "a//b"], &["/b"]];
        for (filter, topics) in filters.iter().zip(topics) {
            let before = interests.version();
            interests.add(THERE, filter);
            interests.add(THERE, filter);
            assert_eq!(interests.version(), before + 1, "the second changes no answer");
            for topic in topics {
                let found: Vec<_> = interests.of(topic, HERE).iter().collect();
                assert_eq!(found, [THERE], "{filter} {topic}");
                assert!(interests.of(topic, THERE).is_empty(), "its own it knows itself");
            }
            interests.remove(THERE, filter);
            assert!(wants(&interests, topics[0]));
            interests.remove(THERE, filter);
            assert!(!wants(&interests, topics[0]), "{filter}");
        }
        assert!(interests.others(THERE).iter().eq([HERE, ShardIndex(2)]));
    }

    #[test]
    fn one_shard_alone_has_no_counters_and_asks_nobody() {
        let interests = Interests::new(1, 1);
        interests.add(HERE, &"#".parse().unwrap());
        assert!(!wants(&interests, "a") && interests.others(HERE).is_empty());
        assert_eq!(interests.shards[0].len(), 0);
    }

    #[test]
    fn a_counter_that_overflows_says_perhaps_for_ever() {
        let (interests, filter) = (Interests::new(1, 2), "a".parse().unwrap());
        (0..=u32::from(STUCK)).for_each(|_| interests.add(THERE, &filter));
        (0..=u32::from(STUCK)).for_each(|_| interests.remove(THERE, &filter));
        assert!(wants(&interests, "a"));
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn whatever_a_filter_matches_is_of_interest(
            filter in text(&["a", "b", "", "+"]), rest in any::<bool>(), topic in text(&["a", "b", ""]),
        ) {
            let filter = if rest { format!("{filter}/#") } else { filter };
            let (Ok(filter), Ok(_)) = (filter.parse::<TopicFilter>(), topic.parse::<roost_wire::Topic>()) else {
                return Ok(());
            };
            let mut tree = SubscriptionTree::new(1, 9);
            tree.insert(0_u8, &filter, Subscription::default()).unwrap();
            let mut matches = false;
            tree.visit_matches(&topic, |_, _| matches = true);
            let interests = Interests::new(1, 2);
            interests.add(THERE, &filter);
            prop_assert!(wants(&interests, &topic) || !matches, "{filter} {topic}");
            interests.remove(THERE, &filter);
            prop_assert!(!wants(&interests, &topic));
        }
    }
}
