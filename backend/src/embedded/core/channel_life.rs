//! Channels: opening, closing, exceptions, and which operation goes where.

use super::broker::{Broker, ChannelKey};
use super::channel::{Channel, Confirms, Unacknowledged};
use super::exception::{Exception, ReplyCode};
use super::identity::{ConnectionId, QueueId};
use super::operation::Operation;
use super::output::{Output, Reply};
use std::collections::BTreeSet;

impl Broker {
    /// Performs one operation of one channel; an error closes the channel or the connection.
    pub(super) fn operate(&mut self, key: ChannelKey, operation: Operation) {
        let Some(connection) = self.connections.get(&key.connection) else { return };
        let method = operation.method();
        let result = match connection.channels.get(&key.number) {
            None => self.operate_closed(key, operation),
            Some(channel) if channel.closing => {
                self.operate_closing(key, operation);
                Ok(())
            }
            Some(_) => self.perform(key, operation),
        };
        if let Err(exception) = result {
            self.raise(key, exception.blamed_on(method));
        }
    }

    fn operate_closed(&mut self, key: ChannelKey, operation: Operation) -> Result<(), Exception> {
        let Operation::Open = operation else {
            return Err(Exception::new(ReplyCode::ChannelError, "expected 'channel.open'"));
        };
        let channels_max = usize::from(self.limits.channels_max);
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        if connection.channels.len() >= channels_max {
            let text = format!("number of channels opened ({channels_max}) has reached channel_max");
            return Err(Exception::new(ReplyCode::NotAllowed, text));
        }
        connection.channels.insert(key.number, Channel::default());
        self.counters.channels_opened += 1;
        self.send(key, Reply::ChannelOpened);
        Ok(())
    }

    /// A channel that an exception closed ignores everything until the client has noticed.
    fn operate_closing(&mut self, key: ChannelKey, operation: Operation) {
        let close = matches!(operation, Operation::Close);
        if !close && !matches!(operation, Operation::CloseOk) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&key.connection) {
            connection.channels.remove(&key.number);
        }
        if close {
            self.send(key, Reply::ChannelClosed);
        }
    }

    fn perform(&mut self, key: ChannelKey, operation: Operation) -> Result<(), Exception> {
        match operation {
            Operation::Open => Err(Exception::new(ReplyCode::ChannelError, "second 'channel.open' seen")),
            Operation::Close => {
                self.send_confirms(key);
                self.release_channel(key);
                if let Some(connection) = self.connections.get_mut(&key.connection) {
                    connection.channels.remove(&key.number);
                }
                self.send(key, Reply::ChannelClosed);
                Ok(())
            }
            Operation::CloseOk => Ok(()),
            Operation::DeclareExchange(declaration) => self.declare_exchange(key, declaration),
            Operation::DeleteExchange { exchange, if_unused, nowait } => {
                self.delete_exchange(key, &exchange, if_unused, nowait)
            }
            Operation::DeclareQueue(declaration) => self.declare_queue(key, declaration),
            Operation::Bind(binding) => self.bind(key, binding),
            Operation::Unbind(binding) => self.unbind(key, binding),
            Operation::Purge { queue, nowait } => self.purge(key, &queue, nowait),
            Operation::DeleteQueue { queue, if_unused, if_empty, nowait } => {
                self.delete_queue(key, &queue, if_unused, if_empty, nowait)
            }
            Operation::Publish(publication) => self.publish(key, publication),
            Operation::Consume(subscription) => self.consume(key, subscription),
            Operation::Cancel { consumer_tag, nowait } => {
                self.cancel(key, &consumer_tag, nowait);
                Ok(())
            }
            Operation::Get { queue, no_ack } => self.take_one(key, &queue, no_ack),
            Operation::Ack { delivery_tag, multiple } => self.acknowledge(key, delivery_tag, multiple),
            Operation::Nack { delivery_tag, multiple, requeue, reject: _ } => {
                self.refuse(key, delivery_tag, multiple, requeue)
            }
            Operation::Recover { requeue, nowait } => self.recover(key, requeue, nowait),
            Operation::Qos { prefetch_bytes, prefetch_count, global } => {
                self.set_prefetch(key, prefetch_bytes, prefetch_count, global)
            }
            Operation::ConfirmSelect { nowait } => {
                if let Some(channel) = self.channel_mut(key) {
                    channel.confirms.get_or_insert_with(Confirms::default);
                }
                self.answer_unless(nowait, key, Reply::ConfirmSelected);
                Ok(())
            }
            Operation::Flow { active: true } => {
                self.answer(key, Reply::FlowSet);
                Ok(())
            }
            Operation::Flow { active: false } => {
                Err(Exception::new(ReplyCode::NotImplemented, "active=false"))
            }
            Operation::Fault(exception) => Err(exception),
        }
    }

    pub(super) fn answer_unless(&mut self, nowait: bool, key: ChannelKey, reply: Reply) {
        if !nowait {
            self.answer(key, reply);
        }
    }

    /// Closes what the exception closes, and says so.
    fn raise(&mut self, key: ChannelKey, exception: Exception) {
        *self.counters.exceptions.entry(exception.code).or_default() += 1;
        let (connection, channel) = (key.connection, key.number);
        if exception.code.closes_connection() {
            self.forget_connection(connection);
            self.emit(Output::ConnectionException { connection, channel, exception });
        } else {
            self.send_confirms(key);
            self.release_channel(key);
            if let Some(state) = self.channel_mut(key) {
                *state = Channel { closing: true, ..Channel::default() };
            }
            self.emit(Output::ChannelException { connection, channel, exception });
        }
    }

    /// Ends a connection: its channels, then the queues that belong to it.
    pub(super) fn forget_connection(&mut self, connection: ConnectionId) {
        let Some(state) = self.connections.get(&connection) else { return };
        let channels: Vec<_> = state.channels.keys().copied().collect();
        // Its consumers go first, on all channels: nothing that comes back may be delivered to it again.
        let mut touched = BTreeSet::new();
        for number in channels {
            touched.append(&mut self.strip_channel(ChannelKey { connection, number }));
        }
        if let Some(state) = self.connections.remove(&connection) {
            for queue in state.exclusive {
                self.end_queue(queue);
            }
        }
        for queue in touched {
            self.dispatch(queue);
        }
    }

    /// Ends a channel's consumers and puts back what it has not acknowledged.
    fn release_channel(&mut self, key: ChannelKey) {
        for queue in self.strip_channel(key) {
            self.dispatch(queue);
        }
    }

    /// The same without delivering; which queues may have something to deliver now.
    fn strip_channel(&mut self, key: ChannelKey) -> BTreeSet<QueueId> {
        self.drop_held(key);
        let Some(channel) = self.channel_mut(key) else { return BTreeSet::new() };
        channel.held = 0;
        let consumers = std::mem::take(&mut channel.consumers);
        let unacknowledged = std::mem::take(&mut channel.unacknowledged);
        channel.prefetched = 0;
        let mut touched = BTreeSet::new();
        for (tag, consumer) in consumers {
            touched.insert(consumer.queue);
            self.leave_queue(key, &tag, consumer.queue);
        }
        for Unacknowledged { queue, entry, consumer: _ } in unacknowledged.into_values() {
            touched.insert(queue);
            self.put_back(queue, entry);
        }
        touched
    }
}
