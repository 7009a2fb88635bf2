//! A broker with clients that are calls.

use crate::embedded::core::*;
use crate::embedded::log::Record;

pub(super) const ALICE: ConnectionId = ConnectionId(1);
pub(super) const BOB: ConnectionId = ConnectionId(2);

/// A broker, the time, and what came out of it.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: u64,
    pub(super) records: Vec<Record>,
}

/// What a client sees, short enough to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Declared(String, u32, u32),
    Deliver { tag: u64, body: String, redelivered: bool, count: u32 },
    Got { tag: u64, body: String, remaining: u32 },
    GotNothing,
    Acked(u64, bool),
    Nacked(u64, bool),
    Returned(String),
    Cancelled(String),
    ChannelError(ReplyCode, String),
    ConnectionError(ReplyCode, String),
    Blocked,
    Unblocked,
    Other(String),
}

impl World {
    /// In memory, with Alice's and Bob's channels 1 open.
    pub(super) fn new() -> Self {
        Self::with(Limits::default(), Storage::Memory)
    }

    pub(super) fn logged() -> Self {
        Self::with(Limits::default(), Storage::Log)
    }

    pub(super) fn with(limits: Limits, storage: Storage) -> Self {
        Self::around(Broker::new(limits, storage, 7, UnixMillis(1_000_000)))
    }

    pub(super) fn around(broker: Broker) -> Self {
        let mut world = Self { broker, now: 1_000_000, records: Vec::new() };
        for (connection, user) in [(ALICE, "alice"), (BOB, "bob")] {
            world.input(Input::ConnectionOpened { connection, user: user.into() });
            world.act(connection, Operation::Open);
        }
        world
    }

    /// The broker that a restart finds when the log was safe up to `synced`.
    pub(super) fn crash(&self, synced: usize) -> Self {
        let mut image = Image::default();
        for record in &self.records[..synced] {
            image.apply(record.clone());
        }
        let now = UnixMillis(self.now);
        Self::around(Broker::restore(Limits::default(), Storage::Log, 8, image, now))
    }

    pub(super) fn input(&mut self, input: Input) -> Vec<(ConnectionId, Seen)> {
        self.broker.handle(UnixMillis(self.now), input);
        let mut seen = Vec::new();
        while let Some(output) = self.broker.poll_output() {
            match output.connection() {
                Some(connection) => seen.push((connection, self::seen(output))),
                None => {
                    if let Output::Log(lsn, record) = output {
                        self.records.push(record);
                        assert_eq!(lsn, Lsn(self.records.len() as u64), "records come without gaps");
                    }
                }
            }
        }
        seen
    }

    /// What everybody sees when one channel 1 does that.
    pub(super) fn all(
        &mut self,
        connection: ConnectionId,
        operation: Operation,
    ) -> Vec<(ConnectionId, Seen)> {
        self.input(Input::Operation { connection, channel: ChannelNumber(1), operation })
    }

    /// What the one who does it sees of it.
    pub(super) fn act(&mut self, connection: ConnectionId, operation: Operation) -> Vec<Seen> {
        mine(connection, self.all(connection, operation))
    }

    pub(super) fn wait(&mut self, milliseconds: u64) -> Vec<(ConnectionId, Seen)> {
        self.now += milliseconds;
        self.input(Input::Tick)
    }

    pub(super) fn sync(&mut self) -> Vec<(ConnectionId, Seen)> {
        self.input(Input::Synced(Lsn(self.records.len() as u64)))
    }

    pub(super) fn declare(&mut self, queue: &str, arguments: &[(&str, AMQPValue)]) -> Vec<Seen> {
        self.act(ALICE, declare(queue, arguments))
    }

    pub(super) fn exchange(&mut self, exchange: &str, kind: &str) {
        let (exchange, kind) = (exchange.to_owned(), kind.to_owned());
        let declaration = ExchangeDeclaration { exchange, kind, durable: true, ..Default::default() };
        self.act(ALICE, Operation::DeclareExchange(declaration));
    }

    pub(super) fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        let binding = Binding {
            queue: queue.to_owned(),
            exchange: exchange.to_owned(),
            routing_key: key.to_owned(),
            ..Default::default()
        };
        self.act(ALICE, Operation::Bind(binding));
    }

    /// Publishes by the default exchange; bodies are persistent.
    pub(super) fn publish(&mut self, queue: &str, body: &str) -> Vec<(ConnectionId, Seen)> {
        self.all(ALICE, publish("", queue, body))
    }

    pub(super) fn get(&mut self, queue: &str) -> Option<String> {
        let operation = Operation::Get { queue: queue.to_owned(), no_ack: true };
        match self.act(ALICE, operation).first() {
            Some(Seen::Got { body, .. }) => Some(body.clone()),
            _ => None,
        }
    }

    /// Everything that is ready, taken.
    pub(super) fn drain(&mut self, queue: &str) -> Vec<String> {
        std::iter::from_fn(|| self.get(queue)).collect()
    }

    pub(super) fn queue(&self, name: &str) -> Option<QueueStatistics> {
        self.broker.queues().into_iter().find(|queue| &*queue.name == name)
    }
}

pub(super) fn mine(connection: ConnectionId, seen: Vec<(ConnectionId, Seen)>) -> Vec<Seen> {
    seen.into_iter().filter(|(whose, _)| *whose == connection).map(|(_, seen)| seen).collect()
}

pub(super) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(super) fn number(number: i32) -> AMQPValue {
    AMQPValue::LongInt(number)
}

pub(super) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

pub(super) fn declare(queue: &str, arguments: &[(&str, AMQPValue)]) -> Operation {
    let (queue, arguments) = (queue.to_owned(), table(arguments));
    Operation::DeclareQueue(QueueDeclaration { queue, durable: true, arguments, ..Default::default() })
}

pub(super) fn publication(exchange: &str, key: &str, body: &str) -> Publication {
    Publication {
        exchange: exchange.to_owned(),
        routing_key: key.to_owned(),
        properties: BasicProperties::default().with_delivery_mode(2),
        body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        ..Default::default()
    }
}

pub(super) fn publish(exchange: &str, key: &str, body: &str) -> Operation {
    Operation::Publish(Box::new(publication(exchange, key, body)))
}

pub(super) fn consume(queue: &str, tag: &str) -> Operation {
    let (queue, consumer_tag) = (queue.to_owned(), tag.to_owned());
    Operation::Consume(Subscription { queue, consumer_tag, nowait: true, ..Default::default() })
}

pub(super) fn prefetch(count: u16, global: bool) -> Operation {
    Operation::Qos { prefetch_bytes: 0, prefetch_count: count, global }
}

pub(super) fn ack(tag: u64) -> Operation {
    Operation::Ack { delivery_tag: tag, multiple: false }
}

pub(super) fn nack(tag: u64, requeue: bool) -> Operation {
    Operation::Nack { delivery_tag: tag, multiple: false, requeue, reject: false }
}

pub(super) fn confirm_select() -> Operation {
    Operation::ConfirmSelect { nowait: true }
}

/// The bodies delivered, in order.
pub(super) fn bodies(seen: &[Seen]) -> Vec<&str> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Deliver { body, .. } => Some(body.as_str()),
            _ => None,
        })
        .collect()
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

fn seen(output: Output) -> Seen {
    match output {
        Output::ChannelException { exception, .. } => Seen::ChannelError(exception.code, exception.text),
        Output::ConnectionException { exception, .. } => {
            Seen::ConnectionError(exception.code, exception.text)
        }
        Output::Blocked { .. } => Seen::Blocked,
        Output::Unblocked { .. } => Seen::Unblocked,
        Output::Reply { reply, .. } => match reply {
            Reply::QueueDeclared { queue, messages, consumers } => {
                Seen::Declared(queue.to_string(), messages, consumers)
            }
            Reply::Deliver { delivery, .. } => Seen::Deliver {
                tag: delivery.delivery_tag.0,
                body: body(&delivery.message),
                redelivered: delivery.redelivered,
                count: delivery.delivery_count,
            },
            Reply::Got { delivery, remaining } => {
                Seen::Got { tag: delivery.delivery_tag.0, body: body(&delivery.message), remaining }
            }
            Reply::GotNothing => Seen::GotNothing,
            Reply::Confirmed { delivery_tag, multiple } => Seen::Acked(delivery_tag.0, multiple),
            Reply::Refused { delivery_tag, multiple } => Seen::Nacked(delivery_tag.0, multiple),
            Reply::Returned { message } => Seen::Returned(body(&message)),
            Reply::ConsumerCancelled { consumer_tag } => Seen::Cancelled(consumer_tag.to_string()),
            other => Seen::Other(format!("{other:?}")),
        },
        other => Seen::Other(format!("{other:?}")),
    }
}
