//! Exchanges, queues and bindings as a value: what a link declares before it is up.

/// A set of exchanges, queues and bindings. Declaring it is idempotent: what is there already with the same properties
/// stays as it is, and with others the broker refuses it (406) and the link says which object it was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Declared first.
    pub exchanges: Vec<Exchange>,
    /// Declared second.
    pub queues: Vec<Queue>,
    /// Made last.
    pub bindings: Vec<Binding>,
}

/// A durable exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub kind: ExchangeKind,
}

/// How an exchange routes (AMQP 0-9-1, 3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    /// By equal keys.
    Direct,
    /// To every bound queue.
    Fanout,
    /// By patterns with `*` and `#`.
    Topic,
}

/// A queue and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How long it lives.
    pub life: QueueLife,
    /// How the broker keeps it (`x-queue-type`).
    pub kind: QueueKind,
    /// One consumer gets all messages, the next only when it is gone (`x-single-active-consumer`).
    pub single_active_consumer: bool,
    /// The most messages that wait (`x-max-length`), and what happens when it is reached.
    pub length_max: Option<(u32, Overflow)>,
    /// Where expired, rejected and dropped messages go.
    pub dead_letter: Option<DeadLetter>,
    /// How long a message may wait, in milliseconds (`x-message-ttl`).
    pub message_ttl_ms: Option<u32>,
    /// How long the queue stays without a consumer, in milliseconds, before it is deleted with all that is in it (`x-expires`).
    /// None is for ever.
    pub idle_max_ms: Option<u32>,
    /// How often a message may come back to the queue before it is dead-lettered or, without a place for those, dropped
    /// (`x-delivery-limit`, quorum queues only). None is the broker's default: 20 since RabbitMQ 4.0, no limit before.
    pub delivery_limit: Option<u32>,
}

/// How long a queue lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLife {
    /// Until somebody deletes it; it survives a restart of the broker.
    Durable,
    /// As long as the link that declared it, which alone may use it: exclusive, auto-delete, transient.
    Link,
}

/// How a broker keeps a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    /// On one node.
    Classic,
    /// Replicated by a quorum of nodes; only durable ones.
    Quorum,
}

/// What happens to a message that finds its queue full (`x-overflow`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest is dropped for it, or dead-lettered.
    DropHead,
    /// It is refused: its publisher gets a nack.
    RejectPublish,
}

/// Where a queue's dead letters go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The exchange (`x-dead-letter-exchange`); empty is the default exchange.
    pub exchange: String,
    /// The key instead of the message's own (`x-dead-letter-routing-key`).
    pub routing_key: Option<String>,
    /// How safely they travel.
    pub strategy: DeadLetterStrategy,
}

/// How safely dead letters travel (`x-dead-letter-strategy`, quorum queues only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterStrategy {
    /// They may be lost on the way.
    AtMostOnce,
    /// They leave the queue when the next one confirmed them. The queue must then refuse publishes when it is full.
    AtLeastOnce,
}

/// A binding of a queue to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The queue.
    pub queue: String,
    /// The exchange.
    pub exchange: String,
    /// The key, or a pattern for a topic exchange.
    pub key: String,
}

impl Topology {
    /// This, and then the other.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.exchanges.extend(other.exchanges);
        self.queues.extend(other.queues);
        self.bindings.extend(other.bindings);
        self
    }

    /// A topology of one queue.
    #[must_use]
    pub fn of(queue: Queue) -> Self {
        Self { queues: vec![queue], ..Self::default() }
    }

    /// Whether a queue of it takes every message to this exchange with this key. Of patterns only `#` counts.
    #[must_use]
    pub fn has_place_for(&self, exchange: &str, key: &str) -> bool {
        let is_direct = exchange.is_empty() && self.queues.iter().any(|queue| queue.name == key);
        let takes =
            |binding: &Binding| binding.exchange == exchange && (binding.key == "#" || binding.key == key);
        is_direct || self.bindings.iter().any(takes)
    }

    /// With one more binding.
    #[must_use]
    pub fn bind(mut self, queue: &str, exchange: &str, key: &str) -> Self {
        let own = str::to_owned;
        self.bindings.push(Binding { queue: own(queue), exchange: own(exchange), key: own(key) });
        self
    }
}

impl Queue {
    /// A durable queue on one node.
    #[must_use]
    pub fn classic(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            life: QueueLife::Durable,
            kind: QueueKind::Classic,
            single_active_consumer: false,
            length_max: None,
            dead_letter: None,
            message_ttl_ms: None,
            idle_max_ms: None,
            delivery_limit: None,
        }
    }

    /// A durable queue replicated by a quorum.
    #[must_use]
    pub fn quorum(name: impl Into<String>) -> Self {
        Self { kind: QueueKind::Quorum, ..Self::classic(name) }
    }

    /// A queue of the link that declares it.
    #[must_use]
    pub fn of_link(name: impl Into<String>) -> Self {
        Self { life: QueueLife::Link, ..Self::classic(name) }
    }
}

impl Exchange {
    /// A durable exchange.
    #[must_use]
    pub fn new(name: &str, kind: ExchangeKind) -> Self {
        Self { name: name.to_owned(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_place_for_what_its_own_bindings_take() {
        let topology = Topology::of(Queue::classic("q"))
            .bind("q", "all", "#")
            .bind("q", "some", "a.b")
            .bind("q", "more", "a.*");
        assert!(topology.has_place_for("all", "x.y") && topology.has_place_for("some", "a.b"));
        assert!(topology.has_place_for("", "q"));
        assert!(!topology.has_place_for("some", "a.c") && !topology.has_place_for("", "other"));
        assert!(!topology.has_place_for("more", "a.b"), "not told from what it does not take");
    }
}
