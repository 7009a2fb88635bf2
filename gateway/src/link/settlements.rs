//! The stream of settlements: what became of commands, and the syncs between.
//!
//! A settlement is kept until the broker has confirmed it: the publisher publishes it again, in order, when its connection
//! breaks, and this stream when the broker refuses it. A sync is published only when everything before it is confirmed, and
//! is never published again: where it is lost, a new one with a new number takes its place. So the router never reads a
//! sync that stands before a settlement it should stand behind, nor one that is older than what it forwarded since. Its parts
//! go one after the other, each when the one before is confirmed: when a connection breaks, what was under way is lost and what
//! was not sent yet leaves with the next, and a sync without its middle would be taken for a whole one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use roost_wire::{BootTime, InFlight, LinkId, SettlementItem, SyncNumber, mesh::ITEMS_MAX};

use super::gather::Gather;
use crate::{Count, Counters, OnLoss, ShardIndex};

/// What the link says about commands.
#[derive(Debug)]
pub(super) struct Settlements {
    shards: u16,
    is_ready: bool,
    /// The link that items come from now.
    link: LinkId,
    number: SyncNumber,
    gather: Option<Gather<InFlight>>,
    waiting: VecDeque<(LinkId, SettlementItem)>,
    /// Items of shards that have listed already: they belong behind the sync.
    behind: VecDeque<(LinkId, SettlementItem)>,
    unconfirmed: BTreeMap<u64, Batch>,
    /// Refused ones, to be published again before anything newer.
    refused: BTreeMap<u64, Batch>,
    syncs: BTreeSet<u64>,
    not_before: BootTime,
}

/// Items that make one report.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub(super) link: LinkId,
    pub(super) items: Vec<SettlementItem>,
}

/// What the caller has to do after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It was not one of these.
    NotMine,
    /// Nothing.
    Nothing,
    /// A new sync is needed.
    Sync,
}

/// Reports published and not confirmed. Beyond: settlements wait, and reports grow.
const REPORTS_MAX: usize = 64;
/// Settlements waiting and unconfirmed. Beyond: a new sync number turns further commands away until all are confirmed, so
/// at most the commands in flight are added.
const ITEMS_KEPT_MAX: usize = 20_000;
/// How long to wait after the broker refused a report: its queue may be full.
const RETRY: Duration = Duration::from_secs(1);

impl Settlements {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            shards,
            is_ready: false,
            link: LinkId::default(),
            number: SyncNumber::default(),
            gather: None,
            waiting: VecDeque::new(),
            behind: VecDeque::new(),
            unconfirmed: BTreeMap::new(),
            refused: BTreeMap::new(),
            syncs: BTreeSet::new(),
            not_before: BootTime::default(),
        }
    }

    /// They can be published from now on, or no more.
    pub(super) fn set_ready(&mut self, is_ready: bool) {
        self.is_ready = is_ready;
    }

    /// Items come from this link from now on.
    pub(super) fn set_link(&mut self, link: LinkId) {
        self.link = link;
    }

    /// Raises the number: every shard is told it and asked for its list.
    pub(super) fn begin_sync(&mut self) -> SyncNumber {
        self.number = self.number.next();
        // A sync that is not published yet is given up; what stood behind it stands before this one.
        self.waiting.retain(|(_, item)| !matches!(item, SettlementItem::Sync { .. }));
        self.waiting.append(&mut self.behind);
        self.gather = Some(Gather::new(self.shards));
        self.number
    }

    /// A shard says something; true if a sync is needed because too much is kept.
    pub(super) fn say(&mut self, shard: ShardIndex, item: SettlementItem, counters: &mut Counters) -> bool {
        let is_behind = self.gather.as_ref().is_some_and(|gather| gather.has(shard));
        let queue = if is_behind { &mut self.behind } else { &mut self.waiting };
        queue.push_back((self.link, item));
        let is_too_much = self.gather.is_none() && self.kept() > ITEMS_KEPT_MAX;
        if is_too_much {
            counters.add(Count::SettlementBacklog);
        }
        is_too_much
    }

    /// A shard's list for the sync of that number.
    pub(super) fn listed(&mut self, shard: ShardIndex, number: SyncNumber, list: Vec<InFlight>) {
        if let Some(gather) = self.gather.as_mut().filter(|_| number == self.number) {
            gather.put(shard, list);
        }
    }

    /// The next report's items, to be published under `number`; `None` if there is none for now.
    pub(super) fn next_report(
        &mut self,
        now: BootTime,
        number: u64,
        counters: &mut Counters,
    ) -> Option<(Batch, OnLoss)> {
        if !self.is_ready || now < self.not_before {
            return None;
        }
        if let Some((_, batch)) = self.refused.pop_first() {
            self.unconfirmed.insert(number, batch.clone());
            return Some((batch, OnLoss::PublishAgain));
        }
        self.sync_if_due(counters);
        let &(link, ref first) = self.waiting.front()?;
        if let SettlementItem::Sync { first: is_first, .. } = first {
            if !is_first && !self.syncs.is_empty() {
                return None;
            }
            let (link, part) = self.waiting.pop_front()?;
            self.syncs.insert(number);
            return Some((Batch { link, items: vec![part] }, OnLoss::Report));
        }
        if self.unconfirmed.len() >= REPORTS_MAX {
            return None;
        }
        let belongs = |(of, item): &&(LinkId, SettlementItem)| {
            *of == link && !matches!(item, SettlementItem::Sync { .. })
        };
        let size = self.waiting.iter().take(ITEMS_MAX).take_while(belongs).count();
        let items = self.waiting.drain(..size).map(|(_, item)| item).collect();
        let batch = Batch { link, items };
        self.unconfirmed.insert(number, batch.clone());
        Some((batch, OnLoss::PublishAgain))
    }

    /// What became of a report.
    pub(super) fn outcome(
        &mut self,
        now: BootTime,
        number: u64,
        is_confirmed: bool,
        counters: &mut Counters,
    ) -> After {
        if self.syncs.remove(&number) {
            if is_confirmed {
                return After::Nothing;
            }
            // The rest of its parts, and whether the router saw it whole, matter no more.
            self.syncs.clear();
            counters.add(Count::SyncLost);
            self.not_before = now + RETRY;
            return After::Sync;
        }
        let Some(batch) = self.unconfirmed.remove(&number) else { return After::NotMine };
        if is_confirmed {
            return After::Nothing;
        }
        counters.add(Count::SettlementNacked);
        self.refused.insert(number, batch);
        self.not_before = now + RETRY;
        After::Sync
    }

    /// When there may be something to publish that has to wait now.
    pub(super) fn next_time(&self) -> Option<BootTime> {
        let has_any = !self.waiting.is_empty() || !self.refused.is_empty() || self.gather.is_some();
        (self.is_ready && has_any).then_some(self.not_before)
    }

    /// Whether nothing waits and all is confirmed.
    pub(super) fn is_settled(&self) -> bool {
        self.kept() == 0 && self.syncs.is_empty()
    }

    /// Puts the sync into the stream, if every shard has listed and everything before it is confirmed.
    fn sync_if_due(&mut self, counters: &mut Counters) {
        if !self.waiting.is_empty() || !self.unconfirmed.is_empty() {
            return;
        }
        let Some(gather) = self.gather.take_if(|gather| gather.is_complete()) else { return };
        for part in gather.into_parts(ITEMS_MAX) {
            let item = SettlementItem::Sync {
                number: self.number,
                first: part.is_first,
                last: part.is_last,
                in_flight: part.list,
            };
            self.waiting.push_back((self.link, item));
        }
        self.waiting.append(&mut self.behind);
        counters.add(Count::Synced);
    }

    fn kept(&self) -> usize {
        let batches = self.unconfirmed.values().chain(self.refused.values());
        self.waiting.len() + self.behind.len() + batches.map(|batch| batch.items.len()).sum::<usize>()
    }
}
