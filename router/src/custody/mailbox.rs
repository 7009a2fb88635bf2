//! One device's commands.

use std::collections::BTreeMap;

use roost_wire::{
    BootTime, CommandRequest, Epoch, GatewayId, Incarnation, ReceiptReason, ReceiptState, Region, SessionId,
};

use super::Hold;
use crate::{Lsn, RequestId};

/// The commands of one device, in the order of their places, which is the order in which they reach it.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) hold: Option<Hold>,
    /// The session that has no subscription for the first command, until it says that it has subscribed.
    pub(crate) unsubscribed: Option<(GatewayId, Incarnation, SessionId)>,
    /// Nothing is given to a gateway before this record is on disk.
    pub(crate) behind: Lsn,
    /// Nothing is offered before the timer: a gateway gave a command back for a reason of its own.
    pub(crate) is_resting: bool,
    waiting: usize,
    waiting_bytes: usize,
    /// How many commands have a supersede key.
    keyed: usize,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The record of its acceptance.
    pub(crate) lsn: Lsn,
    pub(crate) bytes: usize,
    /// A later command with the same one takes its place while it waits.
    key: Option<Box<str>>,
    /// How often it was given to a gateway.
    pub(crate) attempt: u32,
    /// How often the broker refused to take it to a gateway.
    pub(crate) refusals: u32,
    /// When it was given to a gateway last.
    pub(crate) given_at: BootTime,
    /// HTTP requests that hear of it.
    pub(crate) watchers: Vec<RequestId>,
    /// What was said of it last.
    pub(crate) told: Option<(ReceiptState, Option<ReceiptReason>, u32)>,
    /// How often something was said of it that can come more than once.
    pub(crate) tellings: u32,
    /// The gateway it was given to last.
    pub(crate) last: Option<LastGiven>,
    /// It has been tried too often, and its letter is on its way to `roost.dead`: it ends when that is there.
    pub(crate) is_buried: bool,
    is_outstanding: bool,
}

/// Where a command was last.
#[derive(Debug, Clone)]
pub(crate) struct LastGiven {
    pub(crate) epoch: Epoch,
    pub(crate) gateway: GatewayId,
    pub(crate) region: Option<Region>,
}

impl Mailbox {
    /// Takes a command in, behind the others.
    pub(crate) fn put(&mut self, sequence: u64, lsn: Lsn, request: &CommandRequest, attempt: u32) {
        let (bytes, key) = (request.payload.len(), request.supersede_key.as_deref());
        self.keyed += usize::from(key.is_some());
        let entry = Entry {
            lsn,
            bytes,
            key: key.map(Into::into),
            attempt,
            refusals: 0,
            given_at: BootTime::default(),
            watchers: Vec::new(),
            told: None,
            tellings: 0,
            last: None,
            is_buried: false,
            is_outstanding: false,
        };
        self.entries.insert(sequence, entry);
        self.waiting += 1;
        self.waiting_bytes += bytes;
    }

    /// A command has ended.
    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let was_first = self.first_waiting(Lsn(u64::MAX)) == Some(sequence);
        let entry = self.entries.remove(&sequence)?;
        self.keyed -= usize::from(entry.key.is_some());
        if entry.is_outstanding {
            if let Some(hold) = &mut self.hold {
                hold.outstanding.remove(&sequence);
            }
        } else {
            self.waiting -= 1;
            self.waiting_bytes -= entry.bytes;
        }
        if was_first {
            // The next one may have another topic.
            self.unsubscribed = None;
        }
        Some(entry)
    }

    /// Who heard of a command in `before` hears of it here.
    pub(crate) fn take_watchers(&mut self, before: Self) {
        for (sequence, entry) in before.entries {
            if let Some(again) = self.entries.get_mut(&sequence) {
                again.watchers = entry.watchers;
            }
        }
    }

    /// A request hears of a command from now on.
    pub(crate) fn watch(&mut self, sequence: u64, request: RequestId) {
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.watchers.push(request);
        }
    }

    /// How many requests hear of a command.
    pub(crate) fn watchers(&self, sequence: u64) -> usize {
        self.entries.get(&sequence).map_or(0, |entry| entry.watchers.len())
    }

    /// It is at the gateway that has the hold.
    pub(crate) fn give(&mut self, sequence: u64) {
        let (Some(hold), Some(entry)) = (&mut self.hold, self.entries.get_mut(&sequence)) else { return };
        if !std::mem::replace(&mut entry.is_outstanding, true) {
            self.waiting -= 1;
            self.waiting_bytes -= entry.bytes;
        }
        hold.outstanding.insert(sequence);
    }

    /// It waits again, at its old place, and the hold ends. True if it was outstanding.
    pub(crate) fn take_back(&mut self, sequence: u64) -> bool {
        let Some(hold) = self.hold.as_mut().filter(|hold| hold.outstanding.contains(&sequence)) else {
            return false;
        };
        hold.outstanding.remove(&sequence);
        hold.is_ending = true;
        if let Some(entry) = self.entries.get_mut(&sequence) {
            entry.is_outstanding = false;
            self.waiting += 1;
            self.waiting_bytes += entry.bytes;
        }
        true
    }

    pub(crate) fn is_outstanding(&self, sequence: u64) -> bool {
        self.entries.get(&sequence).is_some_and(|entry| entry.is_outstanding)
    }

    /// The first command that waits, if it is durable: nothing goes out before its turn.
    pub(crate) fn first_waiting(&self, durable: Lsn) -> Option<u64> {
        let (sequence, entry) = self.entries.iter().find(|(_, entry)| !entry.is_outstanding)?;
        (entry.lsn <= durable).then_some(*sequence)
    }

    /// The commands that wait and are durable, in order.
    pub(crate) fn waiting(&self, durable: Lsn) -> impl Iterator<Item = u64> {
        let waits =
            self.entries.iter().filter(move |(_, entry)| !entry.is_outstanding && entry.lsn <= durable);
        waits.map(|(sequence, _)| *sequence)
    }

    /// The commands that wait, are durable and have a later one with the same key behind them, in order, each with the newest of
    /// those.
    pub(crate) fn superseded(&self, durable: Lsn) -> Vec<(u64, u64)> {
        if self.keyed < 2 {
            return Vec::new();
        }
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut superseded = Vec::new();
        for (sequence, entry) in self.entries.iter().rev() {
            let Some(key) = entry.key.as_deref() else { continue };
            let by = *newest.entry(key).or_insert(*sequence);
            if by != *sequence && !entry.is_outstanding && entry.lsn <= durable {
                superseded.push((*sequence, by));
            }
        }
        superseded.reverse();
        superseded
    }

    /// The commands that wait before this one with its key.
    pub(crate) fn superseded_by(&self, by: u64) -> Vec<u64> {
        let Some(key) = self.entries.get(&by).and_then(|entry| entry.key.as_deref()) else {
            return Vec::new();
        };
        let earlier = self.entries.range(..by);
        let same = earlier.filter(|(_, entry)| !entry.is_outstanding && entry.key.as_deref() == Some(key));
        same.map(|(sequence, _)| *sequence).collect()
    }

    /// How many commands wait that one more with this key would take the place of, and how many bytes they have.
    pub(crate) fn waiting_with(&self, key: &str) -> (usize, usize) {
        if self.keyed == 0 {
            return (0, 0);
        }
        let same =
            self.entries.values().filter(|entry| !entry.is_outstanding && entry.key.as_deref() == Some(key));
        same.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.bytes))
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// When the command that waits longest for an answer was given away.
    pub(crate) fn oldest_given_at(&self) -> Option<BootTime> {
        self.entries.values().filter(|entry| entry.is_outstanding).map(|entry| entry.given_at).min()
    }

    /// Whether nothing is left to remember.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.hold.as_ref().is_none_or(|hold| hold.outstanding.is_empty())
    }
}
