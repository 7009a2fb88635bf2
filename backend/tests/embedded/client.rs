//! A lapin client with the words that the scenarios need.

use futures_util::StreamExt;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use std::time::Duration;

/// Longer than anything takes; reached only by a broken broker.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) channel: Channel,
    prefix: String,
}

impl Client {
    /// A connection with one confirming channel. Names get a prefix that no other test run has.
    pub(crate) async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let prefix = format!("roost-test-{:016x}-", rand::random::<u64>());
        Self { connection, channel, prefix }
    }

    /// Another connection that calls things by the same names.
    pub(crate) async fn again(&self, url: &str) -> Self {
        Self { prefix: self.prefix.clone(), ..Self::connect(url).await }
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A durable queue that a real RabbitMQ forgets after a minute.
    pub(crate) async fn queue(&self, name: &str, arguments: &[(&str, AMQPValue)]) -> String {
        let name = self.name(name);
        let idle = [("x-expires", AMQPValue::LongInt(60_000))];
        let arguments = table(&[&idle, arguments].concat());
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
        name
    }

    pub(crate) async fn exchange(&self, name: &str, kind: lapin::ExchangeKind) -> String {
        let name = self.name(name);
        let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
        self.channel
            .exchange_declare(name.as_str().into(), kind, options, FieldTable::default())
            .await
            .unwrap();
        name
    }

    pub(crate) async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let options = QueueBindOptions::default();
        self.channel
            .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
            .await
            .unwrap();
    }

    /// Publishes mandatory and persistent, and waits for the confirm.
    pub(crate) async fn publish(&self, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
        self.publish_with(exchange, key, body, BasicProperties::default()).await
    }

    pub(crate) async fn publish_with(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Confirmation {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        let publish = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = tokio::time::timeout(PATIENCE, async { publish.await.unwrap().await.unwrap() });
        confirm.await.expect("a publish is answered")
    }

    /// Publishes bodies to a queue; all must be taken.
    pub(crate) async fn fill(&self, queue: &str, bodies: &[&str]) {
        for body in bodies {
            let confirmation = self.publish("", queue, body.as_bytes()).await;
            assert!(matches!(confirmation, Confirmation::Ack(None)), "{confirmation:?}");
        }
    }

    pub(crate) async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions::default();
        self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
    }

    pub(crate) async fn prefetch(&self, count: u16) {
        self.channel.basic_qos(count, BasicQosOptions::default()).await.unwrap();
    }

    /// Takes a message without need to acknowledge it.
    pub(crate) async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
    }

    /// Takes a message, waiting until there is one.
    pub(crate) async fn await_message(&self, queue: &str) -> BasicGetMessage {
        let wait = async {
            loop {
                if let Some(message) = self.get(queue).await {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a message comes")
    }

    /// Messages that are ready, as the broker counts them.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        queue.message_count()
    }
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, consumer.next());
    next.await.expect("a delivery comes").expect("the consumer goes on").unwrap()
}

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

/// The AMQP reply code that an error carries.
pub(crate) fn code(error: &lapin::Error) -> u16 {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => error.get_id(),
        other => panic!("not an AMQP error: {other:?}"),
    }
}
