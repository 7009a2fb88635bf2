//! Broadcasts come to every shard of a process, and are acknowledged and counted once.

use std::collections::BTreeMap;

use crate::{BroadcastNumber, Count};

/// Those that not all shards have taken.
#[derive(Debug)]
pub struct BroadcastsGiven {
    shards: u16,
    /// How many have not, and what became of it in the others.
    given: BTreeMap<BroadcastNumber, (u16, Option<Count>)>,
}

impl BroadcastsGiven {
    /// Of so many shards.
    #[must_use]
    pub const fn new(shards: u16) -> Self {
        Self { shards, given: BTreeMap::new() }
    }

    /// One is given to every shard.
    pub fn give(&mut self, number: BroadcastNumber) {
        self.given.insert(number, (self.shards, None));
    }

    /// A shard has said [`crate::shard::Output::BroadcastTaken`]. If it was the last one: what the broadcast counts as, if as anything.
    pub fn taken(&mut self, number: BroadcastNumber, outcome: Option<Count>) -> Option<Option<Count>> {
        let (left, all) = self.given.get_mut(&number)?;
        *left -= 1;
        *all = of_both(*all, outcome);
        if *left > 0 {
            return None;
        }
        self.given.remove(&number).map(|(_, all)| all)
    }
}

/// What has been dropped in one shard is dropped, and what has been delivered in one delivered.
fn of_both(one: Option<Count>, other: Option<Count>) -> Option<Count> {
    let rank = |outcome: Option<Count>| match outcome {
        None => 0,
        Some(Count::BroadcastDelivered) => 2,
        Some(why) if why.metric() == Count::BroadcastInvalid.metric() => 3,
        Some(_) => 1,
    };
    if rank(other) > rank(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_subscriber_of_one_shard_has_is_delivered_once() {
        let mut given = BroadcastsGiven::new(3);
        let (first, second) = (BroadcastNumber(1), BroadcastNumber(2));
        given.give(first);
        given.give(second);
        assert_eq!(given.taken(first, Some(Count::BroadcastUnwanted)), None);
        assert_eq!(given.taken(first, Some(Count::BroadcastDelivered)), None);
        assert_eq!(given.taken(second, Some(Count::BroadcastDelivered)), None);
        assert_eq!(given.taken(first, Some(Count::BroadcastUnwanted)), Some(Some(Count::BroadcastDelivered)));
        assert_eq!(given.taken(second, Some(Count::BroadcastExpired)), None);
        assert_eq!(given.taken(second, None), Some(Some(Count::BroadcastExpired)), "every drop is counted");
        assert_eq!(given.taken(second, None), None, "it is over");
    }
}
