//! What a session owes its client at QoS 1: messages sent and not acknowledged, and those that wait for their turn.
//!
//! ```text
//! push → queue → (window has room) → in flight → PUBACK → gone
//!                                       └ the client comes back: sent again, in order, with DUP
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use roost_wire::BootTime;

use crate::message::Message;
use crate::packet::{PacketId, SubscriptionId};

/// One copy of a message for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalCopy {
    pub(crate) message: Arc<Message>,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<SubscriptionId>,
}

/// A copy that is to be written now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due<'a> {
    pub(crate) packet_id: PacketId,
    pub(crate) dup: bool,
    pub(crate) copy: &'a LocalCopy,
}

/// How much an outbox holds, or all of a shard's together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Depth {
    /// Messages that wait for their turn.
    pub(crate) queued: usize,
    /// Their size.
    pub(crate) queued_bytes: usize,
    /// Messages sent and not acknowledged, on this connection or an earlier one.
    pub(crate) inflight: usize,
}

impl Depth {
    /// An outbox that is part of this sum has changed.
    pub(crate) fn changed(&mut self, before: Self, after: Self) {
        self.queued = self.queued + after.queued - before.queued;
        self.queued_bytes = self.queued_bytes + after.queued_bytes - before.queued_bytes;
        self.inflight = self.inflight + after.inflight - before.inflight;
    }
}

/// The QoS 1 messages of one session. It survives the connection; commands are never in it.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<LocalCopy>,
    queue_bytes: usize,
    /// In the order of their first sending [MQTT-4.6.0-1]; the first `sent` were sent on the present connection.
    inflight: VecDeque<Inflight>,
    sent: usize,
}

#[derive(Debug)]
struct Inflight {
    packet_id: PacketId,
    dup: bool,
    copy: LocalCopy,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), queue_bytes: 0, inflight: VecDeque::new(), sent: 0 }
    }

    /// How much it holds.
    pub(crate) fn depth(&self) -> Depth {
        Depth { queued: self.queue.len(), queued_bytes: self.queue_bytes, inflight: self.inflight.len() }
    }

    /// Whether a message of that size is one too many for the queue. An empty queue takes any one message.
    pub(crate) fn is_full_for(&self, bytes: usize, messages_max: usize, bytes_max: usize) -> bool {
        let len = self.queue.len();
        len >= messages_max || (len > 0 && self.queue_bytes + bytes > bytes_max)
    }

    /// Puts a copy at the end of the queue. The caller has asked [`Outbox::is_full_for`].
    pub(crate) fn push(&mut self, copy: LocalCopy) {
        self.queue_bytes += copy.message.bytes();
        self.queue.push_back(copy);
    }

    /// Drops the queue's front while it has expired; gives how many.
    pub(crate) fn drop_expired(&mut self, now: BootTime) -> u64 {
        let mut dropped = 0;
        while self.queue.front().is_some_and(|copy| copy.message.is_expired(now)) {
            self.pop_queue();
            dropped += 1;
        }
        dropped
    }

    /// How many publishes are sent on this connection and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.sent
    }

    /// Whether anything waits to be sent.
    pub(crate) fn has_due(&self) -> bool {
        self.sent < self.inflight.len() || !self.queue.is_empty()
    }

    /// The next copy to write, counted as sent: first those of an earlier connection, then the queue's front under
    /// `free_id`. `None` if there is nothing.
    pub(crate) fn send_next(&mut self, free_id: PacketId) -> Option<Due<'_>> {
        if self.sent == self.inflight.len() {
            let packet_id = free_id;
            let copy = self.pop_queue()?;
            self.inflight.push_back(Inflight { packet_id, dup: false, copy });
        }
        self.sent += 1;
        let Inflight { packet_id, dup, copy } = &self.inflight[self.sent - 1];
        Some(Due { packet_id: *packet_id, dup: *dup, copy })
    }

    /// Takes back what [`Outbox::send_next`] gave last: it could not be written to this client, and never will be.
    pub(crate) fn drop_last_sent(&mut self) {
        self.sent -= 1;
        self.inflight.remove(self.sent);
    }

    /// Whether the packet id is taken.
    pub(crate) fn uses(&self, packet_id: PacketId) -> bool {
        self.inflight.iter().any(|inflight| inflight.packet_id == packet_id)
    }

    /// Takes in a PUBACK; false if nothing was sent under that id.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId) -> bool {
        let Some(at) = self.inflight.iter().position(|inflight| inflight.packet_id == packet_id) else {
            return false;
        };
        self.inflight.remove(at);
        if at < self.sent {
            self.sent -= 1;
        }
        true
    }

    /// The connection is gone: what was sent is to be sent again to the next one, with DUP [MQTT-4.4.0-1].
    pub(crate) fn disconnect(&mut self) {
        for inflight in self.inflight.iter_mut().take(self.sent) {
            inflight.dup = true;
        }
        self.sent = 0;
        self.queue.shrink_to_fit();
        self.inflight.shrink_to_fit();
    }

    /// What is in flight and what waits, each in order, for a session that moves.
    pub(crate) fn contents(
        &self,
    ) -> (impl DoubleEndedIterator<Item = (PacketId, &LocalCopy)>, impl DoubleEndedIterator<Item = &LocalCopy>)
    {
        (self.inflight.iter().map(|inflight| (inflight.packet_id, &inflight.copy)), self.queue.iter())
    }

    /// Puts a message in flight that another connection has had, behind those that are. Nothing else has its packet id.
    pub(crate) fn push_inflight(&mut self, packet_id: PacketId, copy: LocalCopy) {
        self.inflight.push_back(Inflight { packet_id, dup: true, copy });
    }

    fn pop_queue(&mut self) -> Option<LocalCopy> {
        let copy = self.queue.pop_front()?;
        self.queue_bytes -= copy.message.bytes();
        Some(copy)
    }
}

#[cfg(test)]
mod tests;
