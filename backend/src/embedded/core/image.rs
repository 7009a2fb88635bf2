//! What the durable log says is there: the fold of its records, and a broker made from it.

use super::arguments::{QueueArguments, alternate_exchange};
use super::broker::{Broker, Storage};
use super::exchange::{Exchange, ExchangeDefinition};
use super::identity::{Position, QueueId, UnixMillis};
use super::limits::Limits;
use super::message::Message;
use super::queue::{Entry, Queue, QueueDefinition};
use crate::embedded::log::{BindingKey, DurableBinding, Record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The state that a log's records, applied in their order, add up to. A record applied twice changes nothing.
#[derive(Debug, Default)]
pub struct Image {
    exchanges: BTreeMap<Arc<str>, ExchangeDefinition>,
    queues: BTreeMap<QueueId, QueueDefinition>,
    bindings: BTreeMap<BindingKey, DurableBinding>,
    messages: BTreeMap<(QueueId, Position), Kept>,
    queues_declared: u64,
}

#[derive(Debug)]
struct Kept {
    message: Arc<Message>,
    arrived: UnixMillis,
    returns: u32,
}

impl Image {
    /// Applies the next record.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::ExchangeDeclared(definition) => {
                self.exchanges.insert(Arc::clone(&definition.name), definition);
            }
            Record::ExchangeDeleted { exchange } => {
                self.exchanges.remove(&exchange);
                self.bindings.retain(|binding, _| binding.exchange != exchange);
            }
            Record::QueueDeclared { queue, definition } => {
                self.queues_declared = self.queues_declared.max(queue.0);
                self.queues.insert(queue, definition);
            }
            Record::QueueDeleted { queue } => {
                self.queues_declared = self.queues_declared.max(queue.0);
                self.queues.remove(&queue);
                self.bindings.retain(|binding, _| binding.queue != queue);
                let first = (queue, Position(0));
                let last = (queue, Position(u64::MAX));
                let gone: Vec<_> = self.messages.range(first..=last).map(|(place, _)| *place).collect();
                for place in gone {
                    self.messages.remove(&place);
                }
            }
            Record::Bound(binding) => {
                self.bindings.insert(binding.key(), binding);
            }
            Record::Unbound(binding) => {
                self.bindings.remove(&binding.key());
            }
            Record::Published { placements, arrived, message } => {
                for place in placements {
                    let kept = Kept { message: Arc::clone(&message), arrived, returns: 0 };
                    self.messages.entry(place).or_insert(kept);
                }
            }
            Record::Removed { queue, position } => {
                self.messages.remove(&(queue, position));
            }
            Record::Returned { queue, position, returns } => {
                if let Some(kept) = self.messages.get_mut(&(queue, position)) {
                    kept.returns = kept.returns.max(returns);
                }
            }
        }
    }

    /// Queues and messages in it.
    pub fn size(&self) -> (usize, usize) {
        (self.queues.len(), self.messages.len())
    }
}

impl Broker {
    /// The broker as it was when the image's last record was written. Deliveries are not in the log, so every message
    /// that comes back is marked as redelivered: it may have been. Lifetimes go on from when a message arrived; the
    /// idle time of queues begins anew.
    pub fn restore(limits: Limits, storage: Storage, seed: u64, image: Image, now: UnixMillis) -> Self {
        let mut broker = Self::new(limits, storage, seed, now);
        broker.queues_declared = image.queues_declared;
        for (name, definition) in image.exchanges {
            // What was declared once has been checked then.
            let alternate = alternate_exchange(&name, &definition.arguments).unwrap_or(None);
            broker.exchanges.insert(name, Exchange::new(definition, alternate));
        }
        for (id, definition) in image.queues {
            let arguments =
                QueueArguments::parse(&definition.name, &definition.arguments).unwrap_or_default();
            broker.queue_names.insert(Arc::clone(&definition.name), id);
            broker.queues.insert(id, Queue::new(definition, arguments, None, now));
        }
        for binding in image.bindings.into_values() {
            let DurableBinding { exchange, queue: id, routing_key, arguments } = binding;
            let (Some(state), Some(queue)) =
                (broker.exchanges.get_mut(&exchange), broker.queues.get_mut(&id))
            else {
                continue;
            };
            if state.bind(id, &routing_key, &arguments) {
                queue.bound_to.insert(exchange);
                broker.bindings += 1;
            }
        }
        for ((id, position), Kept { message, arrived, returns }) in image.messages {
            let Some(queue) = broker.queues.get_mut(&id) else { continue };
            broker.memory_bytes += message.cost_bytes();
            let deadline = queue.deadline(&message, arrived);
            queue.push(Entry { position, message, deadline, redelivered: true, returns, logged: true });
        }
        let queues: Vec<QueueId> = broker.queues.keys().copied().collect();
        for queue in queues {
            broker.set_timer(queue);
        }
        broker
    }
}
