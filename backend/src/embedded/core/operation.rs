//! What a channel can ask of the broker, without frames.

use super::exception::Exception;
use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::FieldTable;
use bytes::Bytes;

/// One operation of one channel. `nowait` ones are not answered when they succeed.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Opens the channel: every channel's first operation.
    Open,
    /// Closes it; what it has not acknowledged goes back to the queues.
    Close,
    /// The client has answered the channel's exception: the number may be opened again.
    CloseOk,
    /// Declares an exchange.
    DeclareExchange(ExchangeDeclaration),
    /// Deletes an exchange.
    DeleteExchange {
        /// Its name.
        exchange: String,
        /// Refuse if it has bindings.
        if_unused: bool,
        /// Do not answer.
        nowait: bool,
    },
    /// Declares a queue.
    DeclareQueue(QueueDeclaration),
    /// Binds a queue to an exchange.
    Bind(Binding),
    /// Removes such a binding; one that is not there is no error.
    Unbind(Binding),
    /// Removes the messages of a queue that are ready.
    Purge {
        /// Its name; empty: the channel's last declared one.
        queue: String,
        /// Do not answer.
        nowait: bool,
    },
    /// Deletes a queue.
    DeleteQueue {
        /// Its name; empty: the channel's last declared one.
        queue: String,
        /// Refuse if it has consumers.
        if_unused: bool,
        /// Refuse if it has messages that are ready.
        if_empty: bool,
        /// Do not answer.
        nowait: bool,
    },
    /// Publishes a message.
    Publish(Box<Publication>),
    /// Consumes from a queue.
    Consume(Subscription),
    /// Stops consuming; what is delivered stays unacknowledged.
    Cancel {
        /// The consumer.
        consumer_tag: String,
        /// Do not answer.
        nowait: bool,
    },
    /// Takes one message.
    Get {
        /// The queue's name; empty: the channel's last declared one.
        queue: String,
        /// It needs no acknowledgement.
        no_ack: bool,
    },
    /// Acknowledges.
    Ack {
        /// The delivery; 0 with `multiple`: all.
        delivery_tag: u64,
        /// All up to it.
        multiple: bool,
    },
    /// Refuses (`basic.nack` and `basic.reject`).
    Nack {
        /// The delivery; 0 with `multiple`: all.
        delivery_tag: u64,
        /// All up to it.
        multiple: bool,
        /// Back to its place in the queue; else it is dead-lettered or dropped.
        requeue: bool,
        /// It came as `basic.reject`.
        reject: bool,
    },
    /// Puts everything unacknowledged back (`basic.recover`).
    Recover {
        /// Must be true.
        requeue: bool,
        /// Do not answer (`basic.recover-async`).
        nowait: bool,
    },
    /// Sets the prefetch: of consumers to come, or of the whole channel.
    Qos {
        /// Must be 0.
        prefetch_bytes: u32,
        /// Unacknowledged deliveries at most; 0: no bound.
        prefetch_count: u16,
        /// Of the whole channel.
        global: bool,
    },
    /// From now on publishes are confirmed.
    ConfirmSelect {
        /// Do not answer.
        nowait: bool,
    },
    /// `channel.flow`; only `active` is supported.
    Flow {
        /// The client wants deliveries.
        active: bool,
    },
    /// The frame layer found the channel at fault, at this place among its operations.
    Fault(Exception),
}

/// A queue to declare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueDeclaration {
    /// Its name; empty: the broker draws one.
    pub queue: String,
    /// Only ask whether it is there.
    pub passive: bool,
    /// It survives a restart.
    pub durable: bool,
    /// It belongs to this connection and ends with it.
    pub exclusive: bool,
    /// It ends with its last consumer.
    pub auto_delete: bool,
    /// Do not answer.
    pub nowait: bool,
    /// `x-…` arguments.
    pub arguments: FieldTable,
}

/// An exchange to declare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExchangeDeclaration {
    /// Its name.
    pub exchange: String,
    /// `direct`, `topic` or `fanout`.
    pub kind: String,
    /// Only ask whether it is there.
    pub passive: bool,
    /// It survives a restart.
    pub durable: bool,
    /// It ends with its last binding.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// Do not answer.
    pub nowait: bool,
    /// `alternate-exchange`.
    pub arguments: FieldTable,
}

/// A queue's binding to an exchange. Two bindings are the same when all but `nowait` is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Binding {
    /// The queue's name; empty: the channel's last declared one.
    pub queue: String,
    /// The exchange.
    pub exchange: String,
    /// The routing key or pattern.
    pub routing_key: String,
    /// Do not answer.
    pub nowait: bool,
    /// They only tell bindings apart.
    pub arguments: FieldTable,
}

/// A message to publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publication {
    /// The exchange; empty: the default one.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// Return it if no queue takes it.
    pub mandatory: bool,
    /// Not supported.
    pub immediate: bool,
    /// Its properties.
    pub properties: BasicProperties,
    /// Its body.
    pub body: Bytes,
}

/// A consumer to start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subscription {
    /// The queue's name; empty: the channel's last declared one.
    pub queue: String,
    /// Its tag; empty: the broker draws one.
    pub consumer_tag: String,
    /// Deliveries need no acknowledgement.
    pub no_ack: bool,
    /// No other consumer beside it.
    pub exclusive: bool,
    /// Do not answer.
    pub nowait: bool,
    /// Not used.
    pub arguments: FieldTable,
}

impl Operation {
    /// The AMQP class and method it came as: what an exception is blamed on.
    pub fn method(&self) -> (u16, u16) {
        match self {
            Self::Open => (20, 10),
            Self::Close => (20, 40),
            Self::CloseOk => (20, 41),
            Self::Flow { .. } => (20, 20),
            Self::DeclareExchange(_) => (40, 10),
            Self::DeleteExchange { .. } => (40, 20),
            Self::DeclareQueue(_) => (50, 10),
            Self::Bind(_) => (50, 20),
            Self::Unbind(_) => (50, 50),
            Self::Purge { .. } => (50, 30),
            Self::DeleteQueue { .. } => (50, 40),
            Self::Publish(_) => (60, 40),
            Self::Consume(_) => (60, 20),
            Self::Cancel { .. } => (60, 30),
            Self::Get { .. } => (60, 70),
            Self::Ack { .. } => (60, 80),
            Self::Nack { reject: true, .. } => (60, 90),
            Self::Nack { reject: false, .. } => (60, 120),
            Self::Recover { .. } => (60, 110),
            Self::Qos { .. } => (60, 10),
            Self::ConfirmSelect { .. } => (85, 10),
            Self::Fault(exception) => exception.method,
        }
    }
}
