//! Delivery: consumers, prefetch, windows, and `basic.get`.

use super::arguments::QueueKind;
use super::broker::{Broker, ChannelKey};
use super::channel::{Consumer, Unacknowledged};
use super::exception::{Exception, ReplyCode};
use super::identity::{DeliveryTag, QueueId};
use super::operation::Subscription;
use super::output::{Delivery, Reply};
use super::queue::{ConsumerKey, Entry, Queue};
use std::sync::Arc;

impl Broker {
    pub(super) fn consume(&mut self, key: ChannelKey, subscription: Subscription) -> Result<(), Exception> {
        let id = self.find_queue(key, &subscription.queue)?;
        let tag = self.consumer_tag(key, &subscription.consumer_tag)?;
        let consumers_max = self.limits.consumers_per_channel_max;
        let now = self.now;
        let queue = self.queues.get_mut(&id).expect("find_queue found it");
        let in_use = queue.consumed_exclusively
            || subscription.exclusive
                && (!queue.consumers.is_empty() || queue.arguments.single_active_consumer);
        if in_use {
            let text = format!("queue '{}' in vhost '/' in exclusive use", queue.definition.name);
            return Err(Exception::new(ReplyCode::AccessRefused, text));
        }
        let channel =
            self.connections.get_mut(&key.connection).and_then(|one| one.channels.get_mut(&key.number));
        let channel = channel.expect("the operation came on an open channel");
        if channel.consumers.len() >= consumers_max {
            let text = format!("consumer limit of a channel ({consumers_max}) is reached");
            return Err(Exception::new(ReplyCode::PreconditionFailed, text));
        }
        let consumer = Consumer {
            queue: id,
            no_ack: subscription.no_ack,
            prefetch: channel.consumer_prefetch,
            unacknowledged: 0,
        };
        channel.consumers.insert(Arc::clone(&tag), consumer);
        queue.used_at = now;
        queue.consumed_exclusively = subscription.exclusive;
        let (connection, channel) = (key.connection, key.number);
        queue.consumers.push_back(ConsumerKey { connection, channel, tag: Arc::clone(&tag) });
        self.answer_unless(subscription.nowait, key, Reply::Consuming { consumer_tag: tag });
        self.dispatch(id);
        Ok(())
    }

    fn consumer_tag(&mut self, key: ChannelKey, wanted: &str) -> Result<Arc<str>, Exception> {
        let seed = self.seed;
        let channel = self.channel_mut(key).expect("the operation came on an open channel");
        if wanted.is_empty() {
            channel.tags_drawn += 1;
            let number = channel.tags_drawn;
            let (connection, channel) = (key.connection.0, key.number.0);
            return Ok(format!("amq.ctag-{seed:x}-{connection}-{channel}-{number}").into());
        }
        if channel.consumers.contains_key(wanted) {
            let text = format!("attempt to reuse consumer tag '{wanted}'");
            return Err(Exception::new(ReplyCode::NotAllowed, text));
        }
        Ok(wanted.into())
    }

    /// Ends a consumer at its client's wish. One that is not there is answered all the same, as RabbitMQ does.
    pub(super) fn cancel(&mut self, key: ChannelKey, tag: &str, nowait: bool) {
        let consumer = self.channel_mut(key).and_then(|channel| channel.consumers.remove(tag));
        self.answer_unless(nowait, key, Reply::Cancelled { consumer_tag: tag.into() });
        if let Some(consumer) = consumer {
            self.leave_queue(key, tag, consumer.queue);
            self.dispatch(consumer.queue);
        }
    }

    /// Takes a consumer off its queue; an auto-delete queue ends with the last one.
    pub(super) fn leave_queue(&mut self, key: ChannelKey, tag: &str, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let before = queue.consumers.len();
        queue
            .consumers
            .retain(|one| one.connection != key.connection || one.channel != key.number || &*one.tag != tag);
        if queue.consumers.is_empty() && before > 0 {
            queue.consumed_exclusively = false;
            queue.used_at = self.now;
            if queue.definition.auto_delete {
                self.end_queue(id);
            } else {
                self.set_timer(id);
            }
        }
    }

    /// Delivers what can be delivered, lets expire what has expired, and sets the timer.
    pub(super) fn dispatch(&mut self, id: QueueId) {
        loop {
            self.expire(id, false);
            let Some(queue) = self.queues.get(&id) else { return };
            if queue.first().is_none() {
                break;
            }
            let Some(consumer) = self.next_consumer(id) else { break };
            let Some(entry) = self.queues.get_mut(&id).and_then(Queue::take_first) else { break };
            self.deliver(id, entry, consumer);
        }
        // A lifetime of 0 means "now or never": it ends after delivery was tried.
        self.expire(id, true);
        self.set_timer(id);
    }

    /// The consumer whose turn it is and who has room. Single active consumer: only the first may.
    fn next_consumer(&mut self, id: QueueId) -> Option<ConsumerKey> {
        let queue = self.queues.get(&id)?;
        let size = queue.first()?.message.body.len() + super::limits::DELIVERY_OVERHEAD_BYTES;
        let turns = if queue.arguments.single_active_consumer { 1 } else { queue.consumers.len() };
        let place = (0..turns.min(queue.consumers.len()))
            .find(|place| self.has_room(&queue.consumers[*place], size))?;
        let queue = self.queues.get_mut(&id)?;
        if queue.arguments.single_active_consumer {
            return queue.consumers.front().cloned();
        }
        // The one that is served goes to the end; those that had no room keep their turn.
        let consumer = queue.consumers.remove(place)?;
        queue.consumers.push_back(consumer.clone());
        Some(consumer)
    }

    fn has_room(&self, key: &ConsumerKey, size: usize) -> bool {
        let Some(connection) = self.connections.get(&key.connection) else { return false };
        let outgoing = connection.outgoing_bytes;
        if outgoing > 0 && outgoing + size > self.limits.outgoing_bytes_max {
            return false;
        }
        let Some(channel) = connection.channels.get(&key.channel) else { return false };
        let Some(consumer) = channel.consumers.get(&key.tag) else { return false };
        channel.has_room(consumer, self.limits.unacknowledged_per_channel_max)
    }

    fn deliver(&mut self, id: QueueId, entry: Entry, to: ConsumerKey) {
        let key = ChannelKey { connection: to.connection, number: to.channel };
        let Some(channel) = self.channel_mut(key) else { return };
        let Some(consumer) = channel.consumers.get_mut(&to.tag) else { return };
        let no_ack = consumer.no_ack;
        if !no_ack {
            consumer.unacknowledged += 1;
            channel.prefetched += 1;
        }
        let delivery = self.hand_over(key, id, entry, no_ack, Some(Arc::clone(&to.tag)));
        if let Some(connection) = self.connections.get_mut(&to.connection) {
            connection.outgoing_bytes += delivery.cost_bytes();
        }
        self.send(key, Reply::Deliver { consumer_tag: to.tag, delivery });
    }

    /// Notes a message as delivered to a channel: it waits for its acknowledgement, or is done.
    fn hand_over(
        &mut self,
        key: ChannelKey,
        id: QueueId,
        entry: Entry,
        no_ack: bool,
        consumer: Option<Arc<str>>,
    ) -> Delivery {
        let quorum = self.queues.get(&id).is_some_and(|queue| queue.arguments.kind == QueueKind::Quorum);
        let mut delivery = Delivery {
            delivery_tag: DeliveryTag(0),
            redelivered: entry.redelivered,
            delivery_count: if quorum { entry.returns } else { 0 },
            message: Arc::clone(&entry.message),
        };
        self.counters.delivered += 1;
        self.counters.redelivered += u64::from(entry.redelivered);
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.figures.delivered += 1;
            queue.figures.redelivered += u64::from(entry.redelivered);
            queue.unacknowledged += u64::from(!no_ack);
            queue.figures.acknowledged += u64::from(no_ack);
        }
        if no_ack {
            self.counters.acknowledged += 1;
            self.remove(id, &entry);
        }
        if let Some(channel) = self.channel_mut(key) {
            delivery.delivery_tag = channel.draw_tag();
            if !no_ack {
                channel
                    .unacknowledged
                    .insert(delivery.delivery_tag, Unacknowledged { queue: id, entry, consumer });
            }
        }
        delivery
    }

    /// `basic.get`
    pub(super) fn take_one(&mut self, key: ChannelKey, name: &str, no_ack: bool) -> Result<(), Exception> {
        let id = self.find_queue(key, name)?;
        self.expire(id, true);
        let unacknowledged_max = self.limits.unacknowledged_per_channel_max;
        let channel = self.channel_mut(key).expect("the operation came on an open channel");
        if !no_ack && channel.unacknowledged.len() >= unacknowledged_max {
            let text = format!("unacknowledged limit of a channel ({unacknowledged_max}) is reached");
            return Err(Exception::new(ReplyCode::PreconditionFailed, text));
        }
        let now = self.now;
        let queue = self.queues.get_mut(&id).expect("find_queue found it");
        queue.used_at = now;
        let Some(entry) = queue.take_first() else {
            self.set_timer(id);
            self.answer(key, Reply::GotNothing);
            return Ok(());
        };
        let remaining = u32::try_from(queue.ready()).unwrap_or(u32::MAX);
        let delivery = self.hand_over(key, id, entry, no_ack, None);
        self.set_timer(id);
        self.answer(key, Reply::Got { delivery, remaining });
        Ok(())
    }

    pub(super) fn set_prefetch(
        &mut self,
        key: ChannelKey,
        prefetch_bytes: u32,
        prefetch_count: u16,
        global: bool,
    ) -> Result<(), Exception> {
        if prefetch_bytes != 0 {
            let text = format!("prefetch_size!=0 ({prefetch_bytes})");
            return Err(Exception::new(ReplyCode::NotImplemented, text));
        }
        let channel = self.channel_mut(key).expect("the operation came on an open channel");
        if global {
            channel.channel_prefetch = prefetch_count;
        } else {
            channel.consumer_prefetch = prefetch_count;
        }
        self.answer(key, Reply::QosSet);
        if global {
            self.dispatch_channel(key);
        }
        Ok(())
    }

    /// Delivers from every queue the channel consumes.
    pub(super) fn dispatch_channel(&mut self, key: ChannelKey) {
        let Some(channel) = self.channel_mut(key) else { return };
        let queues: std::collections::BTreeSet<QueueId> =
            channel.consumers.values().map(|consumer| consumer.queue).collect();
        for queue in queues {
            self.dispatch(queue);
        }
    }
}
