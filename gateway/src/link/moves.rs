//! Sessions that are given away, until the broker has them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use roost_wire::{BootTime, Device, SessionHandOver};

/// What was given away and is not safe yet. Bounded by the shards: [`crate::Limits::session_moves_max`] of each.
#[derive(Debug, Default)]
pub(super) struct Moves {
    is_ready: bool,
    waiting: VecDeque<SessionHandOver>,
    unconfirmed: BTreeMap<u64, SessionHandOver>,
    not_before: BootTime,
}

/// How long to wait after the broker refused one: its queue may be full.
const RETRY: Duration = Duration::from_secs(1);

impl Moves {
    /// They can be published from now on, or no more.
    pub(super) fn set_ready(&mut self, is_ready: bool) {
        self.is_ready = is_ready;
    }

    /// A shard gives a session away.
    pub(super) fn give(&mut self, session: SessionHandOver) {
        self.waiting.push_back(session);
    }

    /// The next one to publish, under `number`; `None` if there is none for now.
    pub(super) fn next(&mut self, now: BootTime, number: u64) -> Option<SessionHandOver> {
        if !self.is_ready || now < self.not_before {
            return None;
        }
        let session = self.waiting.pop_front()?;
        self.unconfirmed.insert(number, session.clone());
        Some(session)
    }

    /// What became of one: whose it is, and whether it is safe. `None` if it is not one of these.
    pub(super) fn outcome(&mut self, now: BootTime, number: u64, is_safe: bool) -> Option<(Device, bool)> {
        let session = self.unconfirmed.remove(&number)?;
        let device = session.device.clone();
        if !is_safe {
            self.waiting.push_back(session);
            self.not_before = now + RETRY;
        }
        Some((device, is_safe))
    }

    /// When there may be something to publish that has to wait now.
    pub(super) fn next_time(&self) -> Option<BootTime> {
        (self.is_ready && !self.waiting.is_empty()).then_some(self.not_before)
    }

    /// Whether nothing waits and all is confirmed.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unconfirmed.is_empty()
    }
}
