//! Lifetimes: of messages, and of queues that nobody uses.

use super::broker::Broker;
use super::counters::DeathReason;
use super::identity::QueueId;

impl Broker {
    /// Lets the messages at the head of a queue die whose lifetime has ended: before now, or with `inclusive` by now.
    ///
    /// Only the head is looked at, as in RabbitMQ: behind a message that lives longer, an expired one waits, counted
    /// as ready, and dies when it comes to the head. It is never delivered.
    pub(super) fn expire(&mut self, id: QueueId, inclusive: bool) {
        let now = self.now;
        while let Some(queue) = self.queues.get_mut(&id)
            && let Some(deadline) = queue.first().and_then(|entry| entry.deadline)
            && (deadline < now || inclusive && deadline == now)
            && let Some(entry) = queue.take_first()
        {
            self.die(id, entry, DeathReason::Expired);
        }
    }

    /// Registers the queue for its next expiry.
    pub(super) fn set_timer(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let due = queue.next_timeout();
        if queue.timer == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut queue.timer, due) {
            self.timers.remove(&(old, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }

    pub(super) fn run_timers(&mut self) {
        while let Some(&(due, id)) = self.timers.first()
            && due <= self.now
        {
            self.timers.pop_first();
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            queue.timer = None;
            if queue.idle_deadline().is_some_and(|deadline| deadline <= self.now) {
                self.end_queue(id);
            } else {
                self.expire(id, true);
                self.set_timer(id);
            }
        }
    }
}
