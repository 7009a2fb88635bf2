//! What comes out of the broker's core.

use super::exception::Exception;
use super::identity::{ChannelNumber, ConnectionId, DeliveryTag, Lsn};
use super::limits::DELIVERY_OVERHEAD_BYTES;
use super::message::Message;
use crate::embedded::log::Record;
use std::sync::Arc;

/// One effect to perform, in the order they are polled.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The connection may go on.
    Opened {
        /// Which.
        connection: ConnectionId,
    },
    /// The connection that asked to close is closed.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// An answer or message for a channel.
    Reply {
        /// Whose.
        connection: ConnectionId,
        /// Its channel.
        channel: ChannelNumber,
        /// What.
        reply: Reply,
    },
    /// The channel is closed by the broker.
    ChannelException {
        /// Whose.
        connection: ConnectionId,
        /// Its channel.
        channel: ChannelNumber,
        /// Why.
        exception: Exception,
    },
    /// The connection is closed by the broker; the core has forgotten it.
    ConnectionException {
        /// Which.
        connection: ConnectionId,
        /// The channel at fault; 0: none.
        channel: ChannelNumber,
        /// Why.
        exception: Exception,
    },
    /// The connection published above a bound: it is to be told, and not read until `Unblocked`.
    Blocked {
        /// Which.
        connection: ConnectionId,
        /// Which bound.
        reason: BlockReason,
    },
    /// It may be read again.
    Unblocked {
        /// Which.
        connection: ConnectionId,
    },
    /// A record for the durable log. Records come numbered without gaps; what waits for one is released by
    /// `Input::Synced`.
    Log(Lsn, Record),
}

impl Output {
    /// The connection it is for; none for log records.
    pub fn connection(&self) -> Option<ConnectionId> {
        match self {
            Self::Opened { connection }
            | Self::Closed { connection }
            | Self::Reply { connection, .. }
            | Self::ChannelException { connection, .. }
            | Self::ConnectionException { connection, .. }
            | Self::Blocked { connection, .. }
            | Self::Unblocked { connection } => Some(*connection),
            Self::Log(..) => None,
        }
    }
}

/// Why publishers are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockReason {
    /// The messages of all queues are above the memory bound.
    Memory,
    /// The log is full or behind.
    Log,
}

impl BlockReason {
    /// The text of `connection.blocked`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Memory => "low on memory",
            Self::Log => "low on disk",
        }
    }
}

/// What a channel is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `channel.open-ok`
    ChannelOpened,
    /// `channel.close-ok`
    ChannelClosed,
    /// `channel.flow-ok`
    FlowSet,
    /// `exchange.declare-ok`
    ExchangeDeclared,
    /// `exchange.delete-ok`
    ExchangeDeleted,
    /// `queue.declare-ok`
    QueueDeclared {
        /// The name, drawn by the broker if none was given.
        queue: Arc<str>,
        /// Messages that are ready.
        messages: u32,
        /// Consumers.
        consumers: u32,
    },
    /// `queue.bind-ok`
    QueueBound,
    /// `queue.unbind-ok`
    QueueUnbound,
    /// `queue.purge-ok`
    QueuePurged {
        /// Messages removed.
        messages: u32,
    },
    /// `queue.delete-ok`
    QueueDeleted {
        /// Messages that were ready.
        messages: u32,
    },
    /// `basic.qos-ok`
    QosSet,
    /// `basic.consume-ok`
    Consuming {
        /// The tag, drawn by the broker if none was given.
        consumer_tag: Arc<str>,
    },
    /// `basic.cancel-ok`
    Cancelled {
        /// The tag.
        consumer_tag: Arc<str>,
    },
    /// `basic.cancel` from the broker: the queue is gone.
    ConsumerCancelled {
        /// The tag.
        consumer_tag: Arc<str>,
    },
    /// `basic.deliver`
    Deliver {
        /// To whom.
        consumer_tag: Arc<str>,
        /// What.
        delivery: Delivery,
    },
    /// `basic.get-ok`
    Got {
        /// What.
        delivery: Delivery,
        /// Messages that stay ready.
        remaining: u32,
    },
    /// `basic.get-empty`
    GotNothing,
    /// `basic.recover-ok`
    Recovered,
    /// `confirm.select-ok`
    ConfirmSelected,
    /// `basic.ack`: the messages are safe.
    Confirmed {
        /// The publish, from 1.
        delivery_tag: DeliveryTag,
        /// All up to it.
        multiple: bool,
    },
    /// `basic.nack`: a queue did not take the message.
    Refused {
        /// The publish, from 1.
        delivery_tag: DeliveryTag,
        /// All up to it.
        multiple: bool,
    },
    /// `basic.return`, 312 NO_ROUTE. It comes before the confirm.
    Returned {
        /// The message.
        message: Arc<Message>,
    },
}

/// One delivery of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its number on the channel.
    pub delivery_tag: DeliveryTag,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// How often a quorum queue delivered it before: the header `x-delivery-count`, when it is not 0.
    pub delivery_count: u32,
    /// The message.
    pub message: Arc<Message>,
}

impl Delivery {
    /// What it counts in the connection's outgoing window.
    pub fn cost_bytes(&self) -> usize {
        self.message.body.len() + DELIVERY_OVERHEAD_BYTES
    }
}
