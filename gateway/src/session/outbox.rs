//! What a session owes its client at QoS 1 and 2: messages sent and not acknowledged, and those that wait for their turn.
//!
//! ```text
//! push → queue → (window has room) → in flight ─ PUBACK, a PUBREC that refuses ─→ gone
//!                                       │ └ the client comes back: sent again, in order, with DUP
//!                                       └ PUBREC → released, the message is the client's → PUBCOMP → gone
//!                                                     └ the client comes back: PUBREL again, in order
//! ```

mod log;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use log::{OutboxChange, OutboxLog};
use roost_wire::BootTime;

use crate::message::Message;
use crate::packet::{Delivery, PacketId, QoS, SubscriptionId};
use crate::share::Share;

/// One copy of a message for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalCopy {
    pub(crate) message: Arc<Message>,
    /// 1 or 2, where it is in an outbox.
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: Vec<SubscriptionId>,
    /// Another session might have it as well.
    pub(crate) share: Option<Share>,
}

/// A copy that came through a shared subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedCopy {
    /// Its place among all that the outbox holds, for [`Outbox::take_at`].
    pub(crate) at: usize,
    pub(crate) message: Arc<Message>,
    pub(crate) share: Share,
    /// It was sent at QoS 2: no other client gets it [MQTT-4.8.2-4], [MQTT-4.8.2-5].
    pub(crate) is_being_completed: bool,
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
    /// Messages sent and not acknowledged by PUBACK or PUBREC, on this connection or an earlier one.
    pub(crate) inflight: usize,
}

/// How much may wait in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueBounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl QueueBounds {
    /// As much so many times.
    pub(crate) const fn times(self, factor: usize) -> Self {
        Self { messages: self.messages.saturating_mul(factor), bytes: self.bytes.saturating_mul(factor) }
    }
}

impl Due<'_> {
    /// As it stands in its PUBLISH.
    pub(crate) fn delivery(&self) -> Delivery {
        self.copy.delivery(self.packet_id, self.dup)
    }
}

impl LocalCopy {
    /// As it stands in a PUBLISH with that id.
    pub(crate) const fn delivery(&self, packet_id: PacketId, dup: bool) -> Delivery {
        match self.qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        }
    }
}

impl Depth {
    /// An outbox that is part of this sum has changed.
    pub(crate) fn changed(&mut self, before: Self, after: Self) {
        self.queued = self.queued + after.queued - before.queued;
        self.queued_bytes = self.queued_bytes + after.queued_bytes - before.queued_bytes;
        self.inflight = self.inflight + after.inflight - before.inflight;
    }
}

/// The QoS 1 and 2 messages of one session. It survives the connection; commands are never in it.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    /// How many the queue has given out, and one more: what is put in front has a place, too.
    taken: u64,
    /// In the order of their first sending [MQTT-4.6.0-1]; the first `sent` were sent on the present connection.
    inflight: VecDeque<Inflight>,
    sent: usize,
    /// QoS 2, and the client has the message: what is left is PUBREL and PUBCOMP. In the order of their PUBRECs [MQTT-4.6.0-4].
    released: VecDeque<Released>,
    /// For its copy on disk.
    log: OutboxLog,
}

#[derive(Debug)]
struct Queued {
    number: u64,
    copy: LocalCopy,
}

#[derive(Debug)]
struct Inflight {
    /// Greater than that of all that were sent for the first time before.
    order: u64,
    number: u64,
    packet_id: PacketId,
    dup: bool,
    copy: LocalCopy,
}

#[derive(Debug)]
struct Released {
    order: u64,
    packet_id: PacketId,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            queue_bytes: 0,
            taken: 1,
            inflight: VecDeque::new(),
            sent: 0,
            released: VecDeque::new(),
            log: OutboxLog::default(),
        }
    }

    /// How much it holds.
    pub(crate) fn depth(&self) -> Depth {
        Depth { queued: self.queue.len(), queued_bytes: self.queue_bytes, inflight: self.inflight.len() }
    }

    /// Whether a message of that size is one too many for the queue. An empty queue takes any one message.
    pub(crate) fn is_full_for(&self, bytes: usize, bounds: QueueBounds) -> bool {
        let len = self.queue.len();
        len >= bounds.messages || (len > 0 && self.queue_bytes + bytes > bounds.bytes)
    }

    /// Whether the queue holds more than those bounds.
    pub(crate) fn is_over(&self, bounds: QueueBounds) -> bool {
        self.queue.len() > bounds.messages || (self.queue.len() > 1 && self.queue_bytes > bounds.bytes)
    }

    /// Drops the copy that waits the longest; false if none does.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let oldest = self.pop_queue();
        if let Some(Queued { number, .. }) = &oldest {
            self.log.dropped(*number);
        }
        oldest.is_some()
    }

    /// Puts a copy at the end of the queue. The caller has asked [`Outbox::is_full_for`].
    pub(crate) fn push(&mut self, copy: LocalCopy) {
        self.queue_bytes += copy.message.bytes();
        let number = self.log.queued(&copy);
        self.queue.push_back(Queued { number, copy });
    }

    /// Puts a copy in front of the queue, which is given out next. At most one at a time.
    pub(crate) fn push_front(&mut self, copy: LocalCopy) {
        self.taken -= 1;
        self.insert(0, copy);
    }

    /// Puts a copy into the queue behind so many others, or at its end.
    pub(crate) fn insert(&mut self, at: usize, copy: LocalCopy) {
        self.queue_bytes += copy.message.bytes();
        let number = self.log.queued(&copy);
        self.queue.insert(at.min(self.queue.len()), Queued { number, copy });
    }

    /// The place of the queue's front among all that it has ever given out.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The place that the next copy gets.
    pub(crate) fn end(&self) -> u64 {
        self.taken + self.queue.len() as u64
    }

    /// Drops the queue's front while it has expired; gives how many.
    pub(crate) fn drop_expired(&mut self, now: BootTime) -> u64 {
        let mut dropped = 0;
        while self.queue.front().is_some_and(|queued| queued.copy.message.is_expired(now)) {
            self.drop_oldest();
            dropped += 1;
        }
        dropped
    }

    /// How many of the client's receive maximum are taken: publishes sent on this connection and not acknowledged, and those that wait
    /// for PUBCOMP, of whichever connection [MQTT-3.3.4-9].
    pub(crate) fn unacknowledged(&self) -> usize {
        self.sent + self.released.len()
    }

    /// Whether anything was sent on an earlier connection, and has to be sent again first.
    pub(crate) fn sends_again(&self) -> bool {
        self.sent < self.inflight.len()
    }

    /// Whether anything waits to be sent.
    pub(crate) fn has_due(&self) -> bool {
        self.sends_again() || !self.queue.is_empty()
    }

    /// The next copy to write, counted as sent: first those of an earlier connection, then the queue's front under
    /// `free_id`. `None` if there is nothing.
    pub(crate) fn send_next(&mut self, free_id: PacketId) -> Option<Due<'_>> {
        if self.sent == self.inflight.len() {
            let packet_id = free_id;
            let Queued { number, copy } = self.pop_queue()?;
            let order = self.log.sent(packet_id, number);
            self.inflight.push_back(Inflight { order, number, packet_id, dup: false, copy });
        }
        self.sent += 1;
        let Inflight { packet_id, dup, copy, .. } = &self.inflight[self.sent - 1];
        Some(Due { packet_id: *packet_id, dup: *dup, copy })
    }

    /// Takes back what [`Outbox::send_next`] gave last: it could not be written to this client, and never will be. At QoS 2 the client may
    /// have it from an earlier connection, and would take what comes under its id next for a repeat: then the id is to be released.
    pub(crate) fn drop_last_sent(&mut self) -> Option<PacketId> {
        self.sent -= 1;
        let Inflight { order, number, packet_id, dup, copy } = self.inflight.remove(self.sent)?;
        self.log.landed(order, number);
        let may_be_known = dup && copy.qos == QoS::ExactlyOnce;
        if may_be_known {
            self.push_released(packet_id);
        }
        may_be_known.then_some(packet_id)
    }

    /// Whether the packet id is taken: until PUBACK, PUBCOMP or a PUBREC that refuses (MQTT5 §4.3.3).
    pub(crate) fn uses(&self, packet_id: PacketId) -> bool {
        self.inflight.iter().any(|inflight| inflight.packet_id == packet_id) || self.is_released(packet_id)
    }

    /// Takes in a PUBACK: the message that it is for; none if nothing was sent at QoS 1 under that id.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId) -> Option<Arc<Message>> {
        self.take(packet_id, QoS::AtLeastOnce)
    }

    /// Takes in a PUBREC that refuses; none if nothing was sent at QoS 2 under that id, or the client had taken it.
    pub(crate) fn refuse(&mut self, packet_id: PacketId) -> Option<Arc<Message>> {
        self.take(packet_id, QoS::ExactlyOnce)
    }

    /// Takes in a PUBREC: the message is the client's, and not sent again [MQTT-4.3.3-6]. None as with [`Outbox::refuse`].
    pub(crate) fn release(&mut self, packet_id: PacketId) -> Option<Arc<Message>> {
        let taken = self.take(packet_id, QoS::ExactlyOnce);
        if taken.is_some() {
            self.push_released(packet_id);
        }
        taken
    }

    /// Whether its PUBREC has come, and no PUBCOMP.
    pub(crate) fn is_released(&self, packet_id: PacketId) -> bool {
        self.released.iter().any(|released| released.packet_id == packet_id)
    }

    /// Takes in a PUBCOMP; false if none was due.
    pub(crate) fn complete(&mut self, packet_id: PacketId) -> bool {
        let at = self.released.iter().position(|released| released.packet_id == packet_id);
        let Some(Released { order, .. }) = at.and_then(|at| self.released.remove(at)) else { return false };
        self.log.completed(order);
        true
    }

    /// What waits for PUBCOMP, in the order of the PUBRELs.
    pub(crate) fn released(&self) -> impl Iterator<Item = PacketId> + '_ {
        self.released.iter().map(|released| released.packet_id)
    }

    /// Puts an id behind those that wait for PUBCOMP, of a session that has moved here. Nothing else has it.
    pub(crate) fn push_released(&mut self, packet_id: PacketId) {
        let order = self.log.released(packet_id);
        self.released.push_back(Released { order, packet_id });
    }

    fn take(&mut self, packet_id: PacketId, qos: QoS) -> Option<Arc<Message>> {
        let is_it = |inflight: &Inflight| inflight.packet_id == packet_id && inflight.copy.qos == qos;
        let at = self.inflight.iter().position(is_it)?;
        self.remove_inflight(at).map(|inflight| inflight.copy.message)
    }

    fn remove_inflight(&mut self, at: usize) -> Option<Inflight> {
        let removed = self.inflight.remove(at);
        if let Some(Inflight { order, number, .. }) = &removed {
            self.log.landed(*order, *number);
        }
        if at < self.sent {
            self.sent -= 1;
        }
        removed
    }

    /// The connection is gone: what was sent is to be sent again to the next one, with DUP [MQTT-4.4.0-1].
    pub(crate) fn disconnect(&mut self) {
        for inflight in self.inflight.iter_mut().take(self.sent) {
            inflight.dup = true;
        }
        self.sent = 0;
        self.queue.shrink_to_fit();
        self.inflight.shrink_to_fit();
        self.released.shrink_to_fit();
    }

    /// What is in flight and what waits, each in order, for a session that moves.
    pub(crate) fn contents(
        &self,
    ) -> (impl DoubleEndedIterator<Item = (PacketId, &LocalCopy)>, impl DoubleEndedIterator<Item = &LocalCopy>)
    {
        let inflight = self.inflight.iter().map(|inflight| (inflight.packet_id, &inflight.copy));
        (inflight, self.queue.iter().map(|queued| &queued.copy))
    }

    /// The first copy in that place or behind it that came through a shared subscription: those in flight come first, then those that wait.
    pub(crate) fn next_shared(&self, from: usize) -> Option<SharedCopy> {
        let inflight = self.inflight.len();
        let of = |at: usize, copy: &LocalCopy| {
            let is_being_completed = at < inflight && copy.qos == QoS::ExactlyOnce;
            let share = copy.share?;
            Some(SharedCopy { at, message: Arc::clone(&copy.message), share, is_being_completed })
        };
        let sent = self.inflight.iter().enumerate().skip(from);
        let queued = self.queue.iter().enumerate().skip(from.saturating_sub(inflight));
        sent.map(|(at, sent)| (at, &sent.copy))
            .chain(queued.map(|(at, queued)| (inflight + at, &queued.copy)))
            .find_map(|(at, copy)| of(at, copy))
    }

    /// Takes out what is in that place. If it has waited, gives the place that it had, as [`Outbox::taken`] counts: what was behind it moves
    /// up.
    pub(crate) fn take_at(&mut self, at: usize) -> Option<u64> {
        if at < self.inflight.len() {
            self.remove_inflight(at);
            return None;
        }
        let at = at - self.inflight.len();
        let Queued { number, copy } = self.queue.remove(at)?;
        self.log.dropped(number);
        self.queue_bytes -= copy.message.bytes();
        Some(self.taken + at as u64)
    }

    /// Puts a message in flight that another connection has had, behind those that are. Nothing else has its packet id.
    pub(crate) fn push_inflight(&mut self, packet_id: PacketId, copy: LocalCopy) {
        let number = self.log.queued(&copy);
        let order = self.log.sent(packet_id, number);
        self.inflight.push_back(Inflight { order, number, packet_id, dup: true, copy });
    }

    fn pop_queue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.taken += 1;
        self.queue_bytes -= queued.copy.message.bytes();
        Some(queued)
    }

    // --- its copy on disk

    /// From now on what changes is noted, and all that there is counts as new; or nothing is noted any more.
    pub(crate) fn keep_log(&mut self, is_kept: bool) {
        self.log.keep(is_kept);
        if !is_kept {
            return;
        }
        for Queued { number, copy } in &self.queue {
            self.log.note(|| OutboxChange::Queued { number: *number, copy: copy.clone() });
        }
        for Inflight { order, number, packet_id, copy, .. } in &self.inflight {
            self.log.note(|| OutboxChange::Queued { number: *number, copy: copy.clone() });
            self.log.note(|| OutboxChange::Sent { order: *order, packet_id: *packet_id, number: *number });
        }
        for Released { order, packet_id } in &self.released {
            self.log.note(|| OutboxChange::Released { order: *order, packet_id: *packet_id });
        }
    }

    /// What has changed since the last call.
    pub(crate) fn take_changes(&mut self) -> Vec<OutboxChange> {
        self.log.take()
    }

    /// Puts back what the disk has, in any order within its kind, into an outbox that is new: in flight with those orders, and waiting by
    /// number. Then what changes is noted.
    pub(crate) fn restore(
        &mut self,
        inflight: impl IntoIterator<Item = (u64, PacketId, u64, LocalCopy)>,
        queue: impl IntoIterator<Item = (u64, LocalCopy)>,
        released: impl IntoIterator<Item = (u64, PacketId)>,
    ) {
        for (order, packet_id, number, copy) in inflight {
            self.log.begin_behind(order, number);
            self.inflight.push_back(Inflight { order, number, packet_id, dup: true, copy });
        }
        for (number, copy) in queue {
            self.log.begin_behind(0, number);
            self.queue_bytes += copy.message.bytes();
            self.queue.push_back(Queued { number, copy });
        }
        for (order, packet_id) in released {
            self.log.begin_behind(order, 0);
            self.released.push_back(Released { order, packet_id });
        }
        self.log.keep(true);
    }
}

#[cfg(test)]
mod tests;
