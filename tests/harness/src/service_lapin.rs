//! lapin as a microservice.

use futures_util::StreamExt as _;
use lapin::message::Delivery as Received;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::device::Lost;
use crate::service::{Delivery, Publication};

/// Messages not yet looked at: when they are that many, the consumer waits.
const DELIVERIES_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Lapin {
    connection: Connection,
    publishing: Channel,
    deliveries: mpsc::Sender<Delivery>,
}

impl Lapin {
    pub(crate) async fn connect(uri: &str) -> (Self, mpsc::Receiver<Delivery>) {
        let connected = async {
            let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
            let publishing = connection.create_channel().await?;
            publishing.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>((connection, publishing))
        };
        let (connection, publishing) =
            connected.await.unwrap_or_else(|error| panic!("lapin: {uri}: {error}"));
        let (sender, deliveries) = mpsc::channel(DELIVERIES_MAX);
        (Self { connection, publishing, deliveries: sender }, deliveries)
    }

    pub(crate) async fn consume(&mut self, exchange: &str, pattern: &str) -> Result<(), Lost> {
        let (_, consumer) = self.consumer(Some((exchange, pattern))).await.map_err(lost)?;
        // Ends with the connection, which this owns.
        tokio::spawn(forward(consumer, self.deliveries.clone()));
        Ok(())
    }

    pub(crate) async fn listen(&mut self) -> Result<String, Lost> {
        let (queue, consumer) = self.consumer(None).await.map_err(lost)?;
        tokio::spawn(forward(consumer, self.deliveries.clone()));
        Ok(queue)
    }

    pub(crate) async fn consume_kept(
        &mut self,
        queue: &str,
        exchange: &str,
        pattern: &str,
    ) -> Result<(), Lost> {
        let consumer = self.kept(queue, exchange, pattern).await.map_err(lost)?;
        tokio::spawn(forward(consumer, self.deliveries.clone()));
        Ok(())
    }

    pub(crate) async fn jam(&self, exchange: &str, pattern: &str) -> Result<(), lapin::Error> {
        let channel = self.connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        let queue = channel.queue_declare("".into(), options, arguments).await?;
        let (bind, table) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.name().clone(), exchange.into(), pattern.into(), bind, table).await
    }

    /// A queue of its own and its consumer, bound to an exchange by a pattern.
    async fn consumer(&self, bound: Option<(&str, &str)>) -> Result<(String, Consumer), lapin::Error> {
        let channel = self.connection.create_channel().await?;
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?;
        let name = queue.name().clone();
        if let Some((exchange, pattern)) = bound {
            let (bind, table) = (QueueBindOptions::default(), FieldTable::default());
            channel.queue_bind(name.clone(), exchange.into(), pattern.into(), bind, table).await?;
        }
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume(name.clone(), "".into(), options, table).await?;
        Ok((name.as_str().to_owned(), consumer))
    }

    /// A durable queue, declared again if it is there, and its consumer.
    async fn kept(&self, queue: &str, exchange: &str, pattern: &str) -> Result<Consumer, lapin::Error> {
        let channel = self.connection.create_channel().await?;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        let (bind, table) = (QueueBindOptions::default(), FieldTable::default());
        channel.queue_bind(queue.into(), exchange.into(), pattern.into(), bind, table).await?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        channel.basic_consume(queue.into(), "".into(), options, table).await
    }

    pub(crate) async fn publish(&mut self, publication: &Publication) -> Result<(), Lost> {
        let sent = self.publishing.basic_publish(
            publication.exchange.as_str().into(),
            publication.key.as_str().into(),
            BasicPublishOptions::default(),
            &publication.body,
            properties(publication),
        );
        match sent.await.map_err(lost)?.await.map_err(lost)? {
            Confirmation::Ack(_) => Ok(()),
            refused @ (Confirmation::Nack(_) | Confirmation::NotRequested) => {
                Err(Lost::because(format!("not confirmed: {refused:?}")))
            }
        }
    }
}

async fn forward(mut consumer: Consumer, deliveries: mpsc::Sender<Delivery>) {
    while let Some(Ok(received)) = consumer.next().await {
        if received.ack(BasicAckOptions::default()).await.is_err() {
            return; // the connection is gone, and with it the exclusive queue
        }
        if deliveries.send(delivery(received)).await.is_err() {
            return; // the service was dropped
        }
    }
}

fn properties(publication: &Publication) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &publication.headers {
        headers.insert(name.as_str().into(), AMQPValue::LongString(LongString::from(value.as_str())));
    }
    if let Some(retain) = publication.retain {
        headers.insert("roost-retain".into(), AMQPValue::Boolean(retain));
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(if publication.persistent { 2 } else { 1 })
        .with_headers(headers);
    if let Some(message_id) = &publication.message_id {
        properties = properties.with_message_id(message_id.as_str().into());
    }
    if let Some(queue) = &publication.reply_to {
        properties = properties.with_reply_to(queue.as_str().into());
    }
    if let Some(id) = &publication.correlation_id {
        properties = properties.with_correlation_id(id.as_str().into());
    }
    if let Some(expiration_ms) = publication.expiration_ms {
        properties = properties.with_expiration(expiration_ms.to_string().into());
    }
    properties
}

fn delivery(received: Received) -> Delivery {
    let text = |value: &lapin::types::ShortString| value.as_str().to_owned();
    let properties = &received.properties;
    let headers = properties.headers().as_ref();
    Delivery {
        exchange: text(&received.exchange),
        key: text(&received.routing_key),
        message_id: properties.message_id().as_ref().map(text),
        correlation_id: properties.correlation_id().as_ref().map(text),
        headers: headers
            .map(|table| table.inner().iter().map(|(name, value)| (text(name), as_json(value))).collect())
            .unwrap_or_default(),
        body: received.data,
    }
}

/// Text, numbers and flags as such; anything else as the client prints it.
fn as_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::Boolean(flag) => json!(flag),
        AMQPValue::ShortShortInt(number) => json!(number),
        AMQPValue::ShortShortUInt(number) => json!(number),
        AMQPValue::ShortInt(number) => json!(number),
        AMQPValue::ShortUInt(number) => json!(number),
        AMQPValue::LongInt(number) => json!(number),
        AMQPValue::LongUInt(number) => json!(number),
        AMQPValue::LongLongInt(number) => json!(number),
        AMQPValue::Timestamp(number) => json!(number),
        other => json!(format!("{other:?}")),
    }
}

fn lost(error: lapin::Error) -> Lost {
    Lost::because(format!("lapin: {error}"))
}
