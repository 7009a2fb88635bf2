//! What has changed in an outbox, for its copy on disk. A message has a number there, and its place in flight another, so that what is sent
//! or acknowledged costs a few bytes, however long the message is.

use super::LocalCopy;
use crate::packet::PacketId;

/// One thing that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutboxChange {
    /// A message waits.
    Queued { number: u64, copy: LocalCopy },
    /// One that waited was sent for the first time.
    Sent { order: u64, packet_id: PacketId, number: u64 },
    /// One that was sent is gone.
    Landed { order: u64, number: u64 },
    /// One that waited is gone.
    Dropped { number: u64 },
    /// An id waits for PUBCOMP.
    Released { order: u64, packet_id: PacketId },
    /// It does no longer.
    Completed { order: u64 },
}

impl OutboxChange {
    /// The message that is gone with it.
    pub(crate) const fn gone(&self) -> Option<u64> {
        match self {
            Self::Landed { number, .. } | Self::Dropped { number } => Some(*number),
            Self::Queued { .. } | Self::Sent { .. } | Self::Released { .. } | Self::Completed { .. } => None,
        }
    }
}

/// The changes since they were asked for last. They are asked for after each input, which bounds them.
#[derive(Debug, Default)]
pub(crate) struct OutboxLog {
    is_kept: bool,
    last_number: u64,
    last_order: u64,
    changes: Vec<OutboxChange>,
}

impl OutboxLog {
    pub(super) fn keep(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
        self.changes = Vec::new();
    }

    pub(super) fn take(&mut self) -> Vec<OutboxChange> {
        std::mem::take(&mut self.changes)
    }

    /// The next numbers are greater than these.
    pub(super) fn begin_behind(&mut self, order: u64, number: u64) {
        self.last_order = self.last_order.max(order);
        self.last_number = self.last_number.max(number);
    }

    pub(super) fn note(&mut self, change: impl FnOnce() -> OutboxChange) {
        if self.is_kept {
            self.changes.push(change());
        }
    }

    pub(super) fn queued(&mut self, copy: &LocalCopy) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.note(|| OutboxChange::Queued { number, copy: copy.clone() });
        number
    }

    pub(super) fn sent(&mut self, packet_id: PacketId, number: u64) -> u64 {
        self.last_order += 1;
        let order = self.last_order;
        self.note(|| OutboxChange::Sent { order, packet_id, number });
        order
    }

    pub(super) fn landed(&mut self, order: u64, number: u64) {
        self.note(|| OutboxChange::Landed { order, number });
    }

    pub(super) fn dropped(&mut self, number: u64) {
        self.note(|| OutboxChange::Dropped { number });
    }

    pub(super) fn released(&mut self, packet_id: PacketId) -> u64 {
        self.last_order += 1;
        let order = self.last_order;
        self.note(|| OutboxChange::Released { order, packet_id });
        order
    }

    pub(super) fn completed(&mut self, order: u64) {
        self.note(|| OutboxChange::Completed { order });
    }
}
