//! A queue: its messages in order, its consumers, and its figures.

use super::arguments::{Overflow, QueueArguments, QueueKind};
use super::identity::{ChannelNumber, ConnectionId, Position, UnixMillis};
use super::message::Message;
use amq_protocol::types::FieldTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a queue was declared with.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueDefinition {
    /// Its name.
    pub name: Arc<str>,
    /// It survives a restart.
    pub durable: bool,
    /// It ends with its last consumer.
    pub auto_delete: bool,
    /// Its arguments as they came.
    pub arguments: FieldTable,
}

/// One message in one queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) message: Arc<Message>,
    pub(crate) deadline: Option<UnixMillis>,
    /// It was delivered before.
    pub(crate) redelivered: bool,
    /// How often it came back.
    pub(crate) returns: u32,
    /// It is in the durable log.
    pub(crate) logged: bool,
}

/// A consumer's place: its connection, channel and tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConsumerKey {
    pub(crate) connection: ConnectionId,
    pub(crate) channel: ChannelNumber,
    pub(crate) tag: Arc<str>,
}

/// The figures of a queue since it was declared or recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acknowledged: u64,
    pub(crate) requeued: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) refused: u64,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) definition: QueueDefinition,
    pub(crate) arguments: QueueArguments,
    /// The connection it belongs to, if it is exclusive.
    pub(crate) owner: Option<ConnectionId>,
    /// In the order they came; the first is the single active one, if the queue is such.
    pub(crate) consumers: VecDeque<ConsumerKey>,
    /// The first consumer is exclusive.
    pub(crate) consumed_exclusively: bool,
    /// The exchanges it has bindings of.
    pub(crate) bound_to: BTreeSet<Arc<str>>,
    /// Delivered and not yet acknowledged.
    pub(crate) unacknowledged: u64,
    pub(crate) figures: Figures,
    /// When it was last used, for `x-expires`.
    pub(crate) used_at: UnixMillis,
    /// The timer it is registered with.
    pub(crate) timer: Option<UnixMillis>,
    next_position: u64,
    /// Requeued messages. Delivery takes the lowest place first, so each of them stood before all of `fresh`.
    returned: BTreeMap<Position, Entry>,
    fresh: VecDeque<Entry>,
    ready_bytes: u64,
}

impl Queue {
    pub(crate) fn new(
        definition: QueueDefinition,
        arguments: QueueArguments,
        owner: Option<ConnectionId>,
        now: UnixMillis,
    ) -> Self {
        Self {
            definition,
            arguments,
            owner,
            consumers: VecDeque::new(),
            consumed_exclusively: false,
            bound_to: BTreeSet::new(),
            unacknowledged: 0,
            figures: Figures::default(),
            used_at: now,
            timer: None,
            next_position: 1,
            returned: BTreeMap::new(),
            fresh: VecDeque::new(),
            ready_bytes: 0,
        }
    }

    /// Its declaration and bindings are in the log. An exclusive queue ends with its connection, so it never is.
    pub(crate) fn is_logged(&self) -> bool {
        self.definition.durable && self.owner.is_none()
    }

    /// Whether that message is kept on disk in it. A quorum queue keeps all, as RabbitMQ's do.
    pub(crate) fn keeps(&self, message: &Message) -> bool {
        self.is_logged() && (message.is_persistent() || self.arguments.kind == QueueKind::Quorum)
    }

    /// The next free place.
    pub(crate) fn draw_position(&mut self) -> Position {
        let position = Position(self.next_position);
        self.next_position += 1;
        position
    }

    /// When a message that arrives at `arrived` is too old for this queue.
    pub(crate) fn deadline(&self, message: &Message, arrived: UnixMillis) -> Option<UnixMillis> {
        // Publishing checked the text; what a log brings back was checked then.
        let own = message.lifetime_ms().unwrap_or(None);
        let lifetime = match (own, self.arguments.message_lifetime_ms) {
            (Some(own), Some(queue)) => own.min(queue),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        Some(arrived.plus(lifetime))
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.ready_bytes += entry.message.body.len() as u64;
        self.next_position = self.next_position.max(entry.position.0 + 1);
        self.fresh.push_back(entry);
    }

    /// Puts a delivered message back to its place.
    pub(crate) fn put_back(&mut self, entry: Entry) {
        self.ready_bytes += entry.message.body.len() as u64;
        self.returned.insert(entry.position, entry);
    }

    pub(crate) fn first(&self) -> Option<&Entry> {
        self.returned.first_key_value().map(|(_, entry)| entry).or_else(|| self.fresh.front())
    }

    pub(crate) fn take_first(&mut self) -> Option<Entry> {
        let entry = match self.returned.pop_first() {
            Some((_, entry)) => Some(entry),
            None => self.fresh.pop_front(),
        }?;
        self.ready_bytes -= entry.message.body.len() as u64;
        Some(entry)
    }

    pub(crate) fn ready(&self) -> u64 {
        (self.returned.len() + self.fresh.len()) as u64
    }

    pub(crate) fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// More is ready than `x-max-length` or `x-max-length-bytes` allow.
    pub(crate) fn is_over_length(&self) -> bool {
        self.arguments.messages_max.is_some_and(|most| self.ready() > most)
            || self.arguments.bytes_max.is_some_and(|most| self.ready_bytes > most)
    }

    /// It refuses publishers now.
    pub(crate) fn refuses_publish(&self) -> bool {
        match self.arguments.overflow {
            Overflow::DropHead => false,
            Overflow::RejectPublish | Overflow::RejectPublishDeadLetter => {
                self.arguments.messages_max.is_some_and(|most| self.ready() >= most)
                    || self.arguments.bytes_max.is_some_and(|most| self.ready_bytes >= most)
            }
        }
    }

    /// When something is due: its first message expires, or it has idled for `x-expires`.
    pub(crate) fn next_timeout(&self) -> Option<UnixMillis> {
        let expiry = self.first().and_then(|entry| entry.deadline);
        let idle = self.idle_deadline();
        match (expiry, idle) {
            (Some(expiry), Some(idle)) => Some(expiry.min(idle)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// When it is deleted for lack of use.
    pub(crate) fn idle_deadline(&self) -> Option<UnixMillis> {
        let lifetime = self.arguments.idle_lifetime_ms.filter(|_| self.consumers.is_empty())?;
        Some(self.used_at.plus(lifetime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue() -> Queue {
        let definition = QueueDefinition {
            name: "q".into(),
            durable: true,
            auto_delete: false,
            arguments: FieldTable::default(),
        };
        Queue::new(definition, QueueArguments::default(), None, UnixMillis(0))
    }

    fn entry(position: Position) -> Entry {
        let message = Message {
            exchange: "".into(),
            routing_key: "q".into(),
            properties: Default::default(),
            body: bytes::Bytes::from(vec![0; position.0 as usize % 7]),
        };
        Entry {
            position,
            message: Arc::new(message),
            deadline: None,
            redelivered: false,
            returns: 0,
            logged: false,
        }
    }

    proptest! {
        // The model: a sorted set of places. Taking gives the lowest; a returned one stands where it stood.
        #[test]
        fn messages_leave_in_the_order_of_their_places(steps in prop::collection::vec((0..3_u8, any::<prop::sample::Index>()), 1..200)) {
            let mut queue = queue();
            let mut model = std::collections::BTreeSet::new();
            let mut taken: Vec<Entry> = Vec::new();
            for (step, which) in steps {
                match step {
                    0 => {
                        let position = queue.draw_position();
                        model.insert(position);
                        queue.push(entry(position));
                    }
                    1 => {
                        let first = queue.take_first();
                        prop_assert_eq!(first.as_ref().map(|entry| entry.position), model.pop_first());
                        taken.extend(first);
                    }
                    _ if taken.is_empty() => {}
                    _ => {
                        let back = taken.swap_remove(which.index(taken.len()));
                        model.insert(back.position);
                        queue.put_back(back);
                    }
                }
                prop_assert_eq!(queue.ready(), model.len() as u64);
                let bytes: u64 = model.iter().map(|position| position.0 % 7).sum();
                prop_assert_eq!(queue.ready_bytes(), bytes);
            }
        }
    }

    #[test]
    fn the_shorter_lifetime_counts() {
        let mut queue = queue();
        for (own, of_queue, expected) in [
            (None, None, None),
            (Some("5"), None, Some(105)),
            (None, Some(7), Some(107)),
            (Some("5"), Some(7), Some(105)),
            (Some("9"), Some(7), Some(107)),
        ] {
            queue.arguments.message_lifetime_ms = of_queue;
            let mut message = (*entry(Position(1)).message).clone();
            if let Some(own) = own {
                message.properties = message.properties.with_expiration(own.into());
            }
            assert_eq!(queue.deadline(&message, UnixMillis(100)), expected.map(UnixMillis));
        }
    }
}
