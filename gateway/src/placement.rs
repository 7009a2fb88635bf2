//! Which shard of the process a device belongs to, and numbers that no two shards both hand out.

use std::hash::{BuildHasher, Hasher};

use roost_wire::{Device, SessionId};

use crate::share::SharedFilter;

/// A transport connection of a client, numbered by the shell, below 2^62; never used twice within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One of the shards of a process: single-threaded worlds that divide the devices among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

/// Names one publication from the moment a core asks for it to the moment its outcome comes back. It says which core
/// asked, so that a shell with one publisher for all finds the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishToken(pub u64);

/// Who asked for a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishOrigin {
    /// The link: sightings and settlements.
    Link,
    /// A shard: events.
    Shard(ShardIndex),
    /// The spool: events that are on disk.
    Spool,
}

/// A shard's number for an event that it has given to the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolNumber(pub u64);

/// The shell's number for a broadcast that it has given to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BroadcastNumber(pub u64);

/// The place of one shard among those of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    index: u16,
    shards: u16,
}

const ORIGIN_BITS: u32 = 16;

impl PublishToken {
    /// The token of the `number`-th publication of that origin. Numbers above 2^48 would repeat: never reached.
    #[must_use]
    pub const fn new(origin: PublishOrigin, number: u64) -> Self {
        let origin = match origin {
            PublishOrigin::Link => 0,
            PublishOrigin::Shard(ShardIndex(index)) => index as u64 + 1,
            PublishOrigin::Spool => u16::MAX as u64,
        };
        Self(number << ORIGIN_BITS | origin)
    }

    /// The number it was made with.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 >> ORIGIN_BITS
    }

    /// Who asked for it, and so who is told the outcome.
    #[must_use]
    pub const fn origin(self) -> PublishOrigin {
        match self.0 as u16 {
            0 => PublishOrigin::Link,
            u16::MAX => PublishOrigin::Spool,
            index => PublishOrigin::Shard(ShardIndex(index - 1)),
        }
    }
}

impl Placement {
    /// The only shard of its process.
    pub const ALONE: Self = Self { index: 0, shards: 1 };

    /// The shard `index` of `shards`.
    ///
    /// # Panics
    /// If there is no such shard, which is a mistake in the program.
    #[must_use]
    pub const fn new(index: ShardIndex, shards: u16) -> Self {
        assert!(index.0 < shards && shards < u16::MAX - 1, "a shard is one of its process's");
        Self { index: index.0, shards }
    }

    /// Which one it is.
    #[must_use]
    pub const fn index(self) -> ShardIndex {
        ShardIndex(self.index)
    }

    /// Which shard of the process the device belongs to. All of a process agree; two processes need not.
    #[must_use]
    pub fn shard_of(self, device: &Device) -> ShardIndex {
        if self.shards == 1 {
            return ShardIndex(0);
        }
        // The remainder by a u16 fits.
        ShardIndex((Seeded(0).hash_one(device) % u64::from(self.shards)) as u16)
    }

    /// Which shard of the process decides what goes to which member of a group. All of a process agree.
    #[must_use]
    pub(crate) fn owner_of(self, group: &SharedFilter) -> ShardIndex {
        // The remainder by a u16 fits.
        ShardIndex((Seeded(0).hash_one(group) % u64::from(self.shards)) as u16)
    }

    /// Whether this shard writes to disk what is retained of the topic. One of a process does.
    #[must_use]
    pub(crate) fn writes(self, topic: &str) -> bool {
        self.shards == 1 || Seeded(0).hash_one(topic) % u64::from(self.shards) == u64::from(self.index)
    }

    /// Whether the device belongs here.
    #[must_use]
    pub fn holds(self, device: &Device) -> bool {
        self.shard_of(device) == self.index()
    }

    /// The `number`-th session of this shard, as the process numbers them. Starts at 1.
    #[must_use]
    pub const fn session(self, number: u64) -> SessionId {
        SessionId(self.sequence(number) + 1)
    }

    /// The `number`-th event of this shard, as the process numbers them.
    #[must_use]
    pub const fn sequence(self, number: u64) -> u64 {
        number * self.shards as u64 + self.index as u64
    }
}

/// Hashes with a seed that the shell drew: clients choose the names that are keys here, and must not be able to choose
/// them so that they collide. With the same seed everything repeats exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeded(pub(crate) u64);

impl BuildHasher for Seeded {
    type Hasher = std::hash::DefaultHasher;

    fn build_hasher(&self) -> Self::Hasher {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// Hashes the numbers that the process itself hands out one after the other: no client chooses them, so they need no seed, and cost a
/// multiplication.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbered;

/// See [`Numbered`].
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl BuildHasher for Numbered {
    type Hasher = NumberHasher;

    fn build_hasher(&self) -> NumberHasher {
        NumberHasher::default()
    }
}

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    // The discriminant of an enum of keys.
    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 by the golden ratio: numbers that follow each other are far apart in the high bits. The table looks at the low ones as well.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let spread = (self.0.rotate_left(5) ^ number).wrapping_mul(SPREAD);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_finds_the_way_back() {
        for origin in
            [PublishOrigin::Link, PublishOrigin::Shard(ShardIndex(0)), PublishOrigin::Shard(ShardIndex(7))]
        {
            assert_eq!(PublishToken::new(origin, 1 << 40).origin(), origin);
        }
    }

    #[test]
    fn numbers_that_follow_each_other_are_spread() {
        let hashes: Vec<u64> = (0..4_096_u64).map(|n| Numbered.hash_one(ConnectionId(n))).collect();
        // A table of as many places looks at the low bits for the place and at the highest seven for the tag.
        for part in [|hash: u64| hash & 0xFFF, |hash: u64| hash >> 57] {
            let mut places = std::collections::BTreeMap::<u64, u32>::new();
            hashes.iter().for_each(|hash| *places.entry(part(*hash)).or_default() += 1);
            let most = places.values().copied().max().unwrap();
            let even = hashes.len() as u32 / places.len() as u32;
            assert!(most <= 8 * even, "{most} in one of {}", places.len());
        }
    }

    #[test]
    fn every_device_has_one_shard_and_every_number_one_owner() {
        let shards = [0, 1, 2].map(|index| Placement::new(ShardIndex(index), 3));
        let mut held = [0; 3];
        for i in 0..300 {
            let device: Device = format!("d{i}").parse().unwrap();
            let holders: Vec<_> = shards.iter().filter(|shard| shard.holds(&device)).collect();
            assert_eq!(holders.len(), 1);
            held[usize::from(holders[0].index)] += 1;
        }
        assert!(held.iter().all(|&devices| devices > 50), "{held:?}");
        let mut numbers: Vec<u64> = shards.iter().flat_map(|s| [s.sequence(0), s.sequence(1)]).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
        assert_eq!(Placement::ALONE.session(0), SessionId(1));
    }
}
