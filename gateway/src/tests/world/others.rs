//! The other shards of the process, if there are any. Clients connect to the first one, and are handed over.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::Strategy;
use roost_wire::{BootTime, Now};

use super::World;
use crate::shard::{Gauges, HandOver, Input, Output, Shard, ShardConfig, ShardWord};
use crate::{
    BroadcastNumber, BroadcastsGiven, ConnectionId, Count, Interests, Placement, PublishOrigin, ShardIndex,
    SpoolNumber,
};

/// Them, and what is on its way between any two.
pub(in crate::tests) struct Others {
    shards: Vec<Shard>,
    /// Where the connections are that are not at the first.
    homes: BTreeMap<ConnectionId, ShardIndex>,
    words: BTreeMap<(ShardIndex, ShardIndex), Vec<ShardWord>>,
    /// Who has given an event to the spool, the first first.
    spooled: VecDeque<ShardIndex>,
    broadcasts: BroadcastsGiven,
    drained: usize,
    /// Nothing is passed on for as long.
    pub(in crate::tests) holds_words: bool,
}

impl Others {
    /// As the first is made: they differ in their place.
    pub(super) fn of(first: &ShardConfig) -> Self {
        let shards = first.interests.shards();
        let other = |index| {
            let placement = Placement::new(ShardIndex(index), shards);
            Shard::new(ShardConfig { placement, ..first.clone() })
        };
        Self {
            shards: (1..shards).map(other).collect(),
            homes: BTreeMap::new(),
            words: BTreeMap::new(),
            spooled: VecDeque::new(),
            broadcasts: BroadcastsGiven::new(shards),
            drained: 0,
            holds_words: false,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<BootTime> {
        self.shards.iter().filter_map(Shard::poll_timeout).min()
    }

    pub(super) fn tick(&mut self, now: Now) {
        self.shards.iter_mut().for_each(|shard| shard.handle(now, Input::Tick));
    }

    pub(super) fn poll_output(&mut self) -> Option<(ShardIndex, Output)> {
        let mut shards = (1..).map(ShardIndex).zip(&mut self.shards);
        shards.find_map(|(index, shard)| Some((index, shard.poll_output()?)))
    }

    pub(super) fn say(&mut self, from: ShardIndex, to: ShardIndex, word: ShardWord) {
        self.words.entry((from, to)).or_default().push(word);
    }

    pub(super) fn spools(&mut self, from: ShardIndex) {
        self.spooled.push_back(from);
    }

    /// One more is drained: whether that was the last.
    pub(super) fn all_drained(&mut self) -> bool {
        self.drained += 1;
        self.drained > self.shards.len()
    }

    pub(super) fn count(&self, count: Count) -> u64 {
        self.shards.iter().map(|shard| shard.counters().of(count)).sum()
    }
}

/// A gateway has one, or several.
pub(in crate::tests) fn shards() -> impl Strategy<Value = u16> {
    proptest::sample::select(vec![1, 3])
}

impl World {
    /// Of so many shards.
    pub(in crate::tests) fn of_shards(shards: u16, change: impl FnOnce(&mut ShardConfig)) -> Self {
        Self::configured(|config| {
            config.placement = Placement::new(ShardIndex(0), shards);
            config.interests = Arc::new(Interests::new(config.hash_seed, shards));
            change(config);
        })
    }

    pub(super) fn shard_mut(&mut self, shard: ShardIndex) -> &mut Shard {
        match usize::from(shard.0) {
            0 => &mut self.shard,
            at => &mut self.others.shards[at - 1],
        }
    }

    /// What there is in all of them.
    pub(in crate::tests) fn gauges(&self) -> Gauges {
        self.shards().fold(Gauges::default(), |mut sum, shard| {
            sum.add(&shard.gauges());
            sum
        })
    }

    /// All of them, the first first.
    pub(in crate::tests) fn shards(&self) -> impl Iterator<Item = &Shard> {
        std::iter::once(&self.shard).chain(&self.others.shards)
    }

    /// To whom it is for.
    pub(super) fn give(&mut self, input: Input) {
        let now = self.now;
        let to = match &input {
            Input::Received { connection, .. }
            | Input::Written { connection, .. }
            | Input::Closed { connection } => self.others.homes.get(connection).copied(),
            Input::Published { token, .. } => match token.origin() {
                PublishOrigin::Shard(shard) => Some(shard),
                origin => panic!("{origin:?} is no shard"),
            },
            Input::Backend(backend) => self.give_others(|| Input::Backend(*backend)),
            Input::Spool(state) => self.give_others(|| Input::Spool(*state)),
            Input::Drain { grace } => self.give_others(|| Input::Drain { grace: *grace }),
            Input::BroadcastsLink { queue } => {
                self.give_others(|| Input::BroadcastsLink { queue: queue.clone() })
            }
            Input::Broadcast { number, message } => {
                self.others.broadcasts.give(*number);
                self.give_others(|| Input::Broadcast { number: *number, message: message.clone() })
            }
            Input::Session(arrival) => Some(self.shard_of(&arrival.device)),
            Input::Delivery { delivery, .. } => Some(self.shard_of(&delivery.device)),
            _ => None,
        };
        self.shard_mut(to.unwrap_or(ShardIndex(0))).handle(now, input);
    }

    fn give_others(&mut self, input: impl Fn() -> Input) -> Option<ShardIndex> {
        let now = self.now;
        self.others.shards.iter_mut().for_each(|shard| shard.handle(now, input()));
        None
    }

    pub(super) fn broadcast_taken(&mut self, number: BroadcastNumber, outcome: Option<Count>) {
        let Some(outcome) = self.others.broadcasts.taken(number, outcome) else { return };
        outcome.iter().for_each(|outcome| self.counted.add(*outcome));
        self.taken.push(number.0);
    }

    pub(super) fn give_spooled(&mut self, numbers: &[SpoolNumber]) {
        let now = self.now;
        let by: Vec<_> = self.others.spooled.drain(..numbers.len()).collect();
        for index in 0..=self.others.shards.len() {
            let index = ShardIndex(index as u16);
            let own = numbers.iter().zip(&by).filter(|(_, by)| **by == index);
            let numbers: Vec<_> = own.map(|(number, _)| *number).collect();
            if !numbers.is_empty() {
                self.shard_mut(index).handle(now, Input::Spooled { numbers });
            }
        }
    }

    fn shard_of(&self, device: &roost_wire::Device) -> ShardIndex {
        let shards = 1 + self.others.shards.len();
        Placement::new(ShardIndex(0), shards as u16).shard_of(device)
    }

    pub(super) fn hand_over(&mut self, to: ShardIndex, hand_over: Box<HandOver>) {
        assert!(!self.others.shards.is_empty(), "there is one shard");
        self.others.homes.insert(hand_over.connection(), to);
        let now = self.now;
        self.shard_mut(to).handle(now, Input::HandedOver(hand_over));
    }

    /// Gives each shard what the others have said; false if they have said nothing.
    pub(super) fn pass_words(&mut self) -> bool {
        if self.others.holds_words {
            return false;
        }
        let words = std::mem::take(&mut self.others.words);
        let now = self.now;
        let was_said = !words.is_empty();
        for ((from, to), words) in words {
            self.shard_mut(to).handle(now, Input::Shard { from, words });
        }
        was_said
    }
}
