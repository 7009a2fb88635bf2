//! One record of the durable log.

use crate::embedded::core::{ExchangeDefinition, Message, Position, QueueDefinition, QueueId, UnixMillis};
use amq_protocol::types::FieldTable;
use std::sync::Arc;

/// A change that survives a restart. Applying a record twice changes nothing more: compaction writes live records
/// again before it removes the old ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A durable exchange was declared.
    ExchangeDeclared(ExchangeDefinition),
    /// It was deleted, its bindings with it.
    ExchangeDeleted {
        /// Its name.
        exchange: Arc<str>,
    },
    /// A durable queue was declared.
    QueueDeclared {
        /// Its id; never used again.
        queue: QueueId,
        /// What it was declared with.
        definition: QueueDefinition,
    },
    /// It was deleted, its messages and bindings with it.
    QueueDeleted {
        /// Which.
        queue: QueueId,
    },
    /// A durable queue was bound to a durable exchange.
    Bound(DurableBinding),
    /// The binding was removed.
    Unbound(DurableBinding),
    /// A message was put into durable queues.
    Published {
        /// The queues and its place in each.
        placements: Vec<(QueueId, Position)>,
        /// When; its lifetime counts from here.
        arrived: UnixMillis,
        /// The message.
        message: Arc<Message>,
    },
    /// A message left a queue: acknowledged, dropped or dead-lettered.
    Removed {
        /// The queue.
        queue: QueueId,
        /// Its place.
        position: Position,
    },
    /// A message came back to its place in a queue that counts this.
    Returned {
        /// The queue.
        queue: QueueId,
        /// Its place.
        position: Position,
        /// How often it has come back by now.
        returns: u32,
    },
}

/// A binding of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct DurableBinding {
    /// The exchange's name.
    pub exchange: Arc<str>,
    /// The queue.
    pub queue: QueueId,
    /// The key or pattern.
    pub routing_key: Arc<str>,
    /// What else tells it from others.
    pub arguments: FieldTable,
}

/// What tells bindings apart, in an order: their arguments print the same when they are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::embedded) struct BindingKey {
    pub(in crate::embedded) exchange: Arc<str>,
    pub(in crate::embedded) queue: QueueId,
    routing_key: Arc<str>,
    arguments: String,
}

impl DurableBinding {
    pub(in crate::embedded) fn key(&self) -> BindingKey {
        BindingKey {
            exchange: Arc::clone(&self.exchange),
            queue: self.queue,
            routing_key: Arc::clone(&self.routing_key),
            arguments: format!("{:?}", self.arguments),
        }
    }
}

impl Record {
    /// About how many bytes it takes while it waits for the disk.
    pub fn cost_bytes(&self) -> usize {
        match self {
            Self::Published { message, placements, .. } => {
                message.cost_bytes() as usize + 16 * placements.len()
            }
            Self::ExchangeDeclared(_)
            | Self::ExchangeDeleted { .. }
            | Self::QueueDeclared { .. }
            | Self::QueueDeleted { .. }
            | Self::Bound(_)
            | Self::Unbound(_) => 1024,
            Self::Removed { .. } | Self::Returned { .. } => 64,
        }
    }
}
