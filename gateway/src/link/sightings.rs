//! The stream of sightings: where devices are, as it happens, or as a whole.
//!
//! Sightings are not kept. While they cannot be published they are dropped, and when they can be again a complete
//! snapshot takes their place; so does it when the broker loses or refuses a report. History is never told twice. The parts of a
//! snapshot go one after the other, each when the one before is confirmed: one without its middle would be taken for a whole one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use roost_wire::{BootTime, Present, Sighting, mesh::ITEMS_MAX};

use super::gather::Gather;
use crate::{Count, Counters, ShardIndex};

/// What the link says about devices and about itself.
#[derive(Debug)]
pub(super) struct Sightings {
    shards: u16,
    /// Whether they can be published now.
    is_ready: bool,
    waiting: VecDeque<Sighting>,
    /// Sightings of shards that have listed already: they belong behind the snapshot.
    behind: VecDeque<Sighting>,
    gather: Option<Gather<Present>>,
    is_snapshot_wanted: bool,
    not_before: BootTime,
    refusals: u32,
    unconfirmed: BTreeSet<u64>,
    /// The snapshot's part that the next one waits for.
    part: Option<Part>,
}

/// A part of a snapshot that is not the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Taken for a report that has no number yet.
    Taken,
    /// In the report with this number.
    Published(u64),
}

/// Reports published and not confirmed. Beyond: sightings wait.
const REPORTS_MAX: usize = 64;
/// Sightings that wait. Beyond: they are dropped, and a snapshot follows.
const WAITING_MAX: usize = 16 * ITEMS_MAX;
/// How long to wait with a snapshot after the broker refused a report, since its queue may be full: doubling from here with
/// each refusal in a row.
const RETRY: Duration = Duration::from_secs(1);
/// The most doublings: half a minute.
const DOUBLINGS_MAX: u32 = 5;

impl Sightings {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            shards,
            is_ready: false,
            waiting: VecDeque::new(),
            behind: VecDeque::new(),
            gather: None,
            is_snapshot_wanted: false,
            not_before: BootTime::default(),
            refusals: 0,
            unconfirmed: BTreeSet::new(),
            part: None,
        }
    }

    /// They can be published from now on, or no more.
    pub(super) fn set_ready(&mut self, is_ready: bool, counters: &mut Counters) {
        self.is_ready = is_ready;
        self.drop_all(Count::SightingAway, counters);
    }

    /// A snapshot is to follow.
    pub(super) fn want_snapshot(&mut self) {
        self.is_snapshot_wanted = true;
    }

    /// A shard says something, or the link itself.
    pub(super) fn say(&mut self, shard: Option<ShardIndex>, sighting: Sighting, counters: &mut Counters) {
        if !self.is_ready {
            self.is_snapshot_wanted = true;
            return counters.add(Count::SightingAway);
        }
        // That its session was accepted may be among what was lost. The snapshot says the same by not naming it.
        if self.is_snapshot_wanted && matches!(sighting, Sighting::Gone { .. }) {
            return counters.add(Count::SightingAway);
        }
        let is_behind = shard.zip(self.gather.as_ref()).is_some_and(|(shard, gather)| gather.has(shard));
        let queue = if is_behind { &mut self.behind } else { &mut self.waiting };
        queue.push_back(sighting);
        if self.waiting.len() + self.behind.len() > WAITING_MAX {
            self.drop_all(Count::SightingBacklog, counters);
        }
    }

    /// Whether the shards are to be asked for their lists now.
    pub(super) fn begin_snapshot(&mut self, now: BootTime) -> bool {
        let begins =
            self.is_snapshot_wanted && self.is_ready && self.gather.is_none() && now >= self.not_before;
        if begins {
            self.is_snapshot_wanted = false;
            self.gather = Some(Gather::new(self.shards));
        }
        begins
    }

    /// A shard's list.
    pub(super) fn listed(&mut self, shard: ShardIndex, present: Vec<Present>, counters: &mut Counters) {
        let Some(gather) = &mut self.gather else { return };
        gather.put(shard, present);
        if let Some(gather) = self.gather.take_if(|gather| gather.is_complete()) {
            for part in gather.into_parts(ITEMS_MAX) {
                let snapshot =
                    Sighting::Snapshot { first: part.is_first, last: part.is_last, present: part.list };
                self.waiting.push_back(snapshot);
            }
            self.waiting.append(&mut self.behind);
            counters.add(Count::Snapshotted);
        }
    }

    /// The next report's items; empty if there is none for now.
    pub(super) fn next_report(&mut self) -> Vec<Sighting> {
        let mut items = Vec::new();
        let mut size = 0;
        while self.is_ready && self.unconfirmed.len() < REPORTS_MAX {
            let (next, goes_on) = match self.waiting.front() {
                Some(Sighting::Snapshot { first: false, .. }) if self.part.is_some() => break,
                Some(Sighting::Snapshot { present, last, .. }) => (present.len().max(1), !last),
                Some(_) => (1, false),
                None => break,
            };
            if size + next > ITEMS_MAX {
                break;
            }
            size += next;
            items.extend(self.waiting.pop_front());
            if goes_on {
                self.part = Some(Part::Taken);
            }
        }
        items
    }

    /// A report was published under this number.
    pub(super) fn published(&mut self, number: u64) {
        self.unconfirmed.insert(number);
        if self.part == Some(Part::Taken) {
            self.part = Some(Part::Published(number));
        }
    }

    /// What became of a report; false if it is not one of these.
    pub(super) fn outcome(
        &mut self,
        now: BootTime,
        number: u64,
        is_confirmed: bool,
        counters: &mut Counters,
    ) -> bool {
        if !self.unconfirmed.remove(&number) {
            return false;
        }
        if self.part == Some(Part::Published(number)) {
            self.part = None;
            if !is_confirmed {
                self.waiting.retain(|sighting| !matches!(sighting, Sighting::Snapshot { .. }));
            }
        }
        if is_confirmed {
            // The broker takes reports again: no need to wait for longer than after a first refusal.
            self.refusals = 0;
            self.not_before = self.not_before.min(now + RETRY);
            return true;
        }
        counters.add(Count::SightingLost);
        self.is_snapshot_wanted = true;
        // Heartbeats are refused meanwhile too; they put nothing off.
        if now >= self.not_before {
            self.not_before = now + RETRY * (1 << self.refusals.min(DOUBLINGS_MAX));
            self.refusals += 1;
        }
        true
    }

    /// When a wanted snapshot may begin.
    pub(super) fn next_time(&self) -> Option<BootTime> {
        (self.is_snapshot_wanted && self.is_ready && self.gather.is_none()).then_some(self.not_before)
    }

    /// Whether nothing waits and all is confirmed.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unconfirmed.is_empty()
    }

    fn drop_all(&mut self, count: Count, counters: &mut Counters) {
        counters.add_many(count, (self.waiting.len() + self.behind.len()) as u64);
        self.waiting.clear();
        self.behind.clear();
        self.gather = None;
        self.is_snapshot_wanted = true;
    }
}
