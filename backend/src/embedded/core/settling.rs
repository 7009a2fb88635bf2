//! Acknowledging, refusing, putting back, and removing.

use super::arguments::QueueKind;
use super::broker::{Broker, ChannelKey};
use super::channel::Unacknowledged;
use super::counters::{DeathReason, DropReason};
use super::exception::{Exception, ReplyCode};
use super::identity::{DeliveryTag, QueueId};
use super::output::Reply;
use super::queue::Entry;
use crate::embedded::log::Record;
use std::collections::BTreeSet;

impl Broker {
    pub(super) fn acknowledge(&mut self, key: ChannelKey, tag: u64, multiple: bool) -> Result<(), Exception> {
        let mut touched = BTreeSet::new();
        for Unacknowledged { queue: id, entry, .. } in self.take_unacknowledged(key, tag, multiple)? {
            self.counters.acknowledged += 1;
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.unacknowledged -= 1;
                queue.figures.acknowledged += 1;
                touched.insert(id);
            }
            self.remove(id, &entry);
        }
        self.dispatch_after_settling(key, touched);
        Ok(())
    }

    pub(super) fn refuse(
        &mut self,
        key: ChannelKey,
        tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Exception> {
        let mut touched = BTreeSet::new();
        for Unacknowledged { queue: id, entry, .. } in self.take_unacknowledged(key, tag, multiple)? {
            touched.insert(id);
            if requeue {
                self.put_back(id, entry);
            } else if let Some(queue) = self.queues.get_mut(&id) {
                queue.unacknowledged -= 1;
                self.die(id, entry, DeathReason::Rejected);
            } else {
                self.remove(id, &entry);
            }
        }
        self.dispatch_after_settling(key, touched);
        Ok(())
    }

    /// `basic.recover`
    pub(super) fn recover(&mut self, key: ChannelKey, requeue: bool, nowait: bool) -> Result<(), Exception> {
        if !requeue {
            return Err(Exception::new(ReplyCode::NotImplemented, "requeue=false"));
        }
        let mut touched = BTreeSet::new();
        for Unacknowledged { queue, entry, .. } in self.take_unacknowledged(key, 0, true)? {
            touched.insert(queue);
            self.put_back(queue, entry);
        }
        self.answer_unless(nowait, key, Reply::Recovered);
        self.dispatch_after_settling(key, touched);
        Ok(())
    }

    /// Takes the deliveries a tag means, in their order; 0 with `multiple` means all.
    fn take_unacknowledged(
        &mut self,
        key: ChannelKey,
        tag: u64,
        multiple: bool,
    ) -> Result<Vec<Unacknowledged>, Exception> {
        let channel = self.channel_mut(key).expect("the operation came on an open channel");
        let taken: Vec<Unacknowledged> = if multiple && tag == 0 {
            std::mem::take(&mut channel.unacknowledged).into_values().collect()
        } else {
            let tag = DeliveryTag(tag);
            let Some(one) = channel.unacknowledged.remove(&tag) else {
                let text = format!("unknown delivery tag {}", tag.0);
                return Err(Exception::new(ReplyCode::PreconditionFailed, text));
            };
            if multiple {
                let later = channel.unacknowledged.split_off(&tag);
                let earlier = std::mem::replace(&mut channel.unacknowledged, later);
                earlier.into_values().chain([one]).collect()
            } else {
                vec![one]
            }
        };
        for one in &taken {
            if let Some(tag) = &one.consumer {
                channel.prefetched -= 1;
                if let Some(consumer) = channel.consumers.get_mut(tag) {
                    consumer.unacknowledged = consumer.unacknowledged.saturating_sub(1);
                }
            }
        }
        Ok(taken)
    }

    fn dispatch_after_settling(&mut self, key: ChannelKey, touched: BTreeSet<QueueId>) {
        for queue in touched {
            self.dispatch(queue);
        }
        // With a prefetch of the channel, or at its bound, another queue may have been waiting for this.
        let unacknowledged_max = self.limits.unacknowledged_per_channel_max;
        let Some(channel) = self.channel_mut(key) else { return };
        let near_bound = channel.unacknowledged.len() * 2 > unacknowledged_max;
        if channel.channel_prefetch > 0 || near_bound {
            self.dispatch_channel(key);
        }
    }

    /// Puts a delivered message back to its place, or lets it die when it came back too often.
    pub(super) fn put_back(&mut self, id: QueueId, mut entry: Entry) {
        let Some(queue) = self.queues.get_mut(&id) else {
            self.counters.drop_message(DropReason::QueueDeleted);
            return self.remove(id, &entry);
        };
        queue.unacknowledged -= 1;
        entry.redelivered = true;
        entry.returns += 1;
        let counts = queue.arguments.kind == QueueKind::Quorum;
        if counts && queue.arguments.delivery_limit.is_some_and(|limit| entry.returns > limit) {
            return self.die(id, entry, DeathReason::DeliveryLimit);
        }
        queue.figures.requeued += 1;
        self.counters.requeued += 1;
        let (position, returns, logged) = (entry.position, entry.returns, entry.logged);
        queue.put_back(entry);
        if counts && logged {
            self.append(Record::Returned { queue: id, position, returns });
        }
    }

    /// Frees what a message that left a queue held: memory, and its place in the log.
    pub(super) fn remove(&mut self, id: QueueId, entry: &Entry) {
        self.memory_bytes -= entry.message.cost_bytes();
        if entry.logged && self.queues.contains_key(&id) {
            self.append(Record::Removed { queue: id, position: entry.position });
        }
    }
}
