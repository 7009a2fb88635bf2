//! What the AMQP client reaches without a mesh: one publisher with confirms and one consumer, both lapin, each on a connection
//! of its own. The broker does for each message what it does for one hop of the mesh.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

use crate::cpu::Meter;

/// As the mesh's publishers and consumers have it.
const OUTSTANDING_MAX: usize = 2_000;
const PREFETCH: u16 = 2_000;
/// One acknowledgement for so many deliveries.
const ACK_EVERY: u64 = 64;

/// Which queue stands behind the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueKind {
    /// Of one consumer, gone with it: how a service that only listens has its events.
    Exclusive,
    /// Replicated by consensus, on disk: how commands wait for the router.
    Quorum,
}

/// What was reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    /// Messages a second that were confirmed and consumed.
    pub(crate) rate: f64,
    /// Cores that the two clients kept busy.
    pub(crate) client_cores: f64,
    /// Cores that the broker kept busy.
    pub(crate) broker_cores: f64,
}

/// Publishes as fast as confirms allow, for `time`.
pub(crate) async fn measure(
    uri: &str,
    broker_pid: u32,
    kind: QueueKind,
    bytes: usize,
    time: Duration,
) -> anyhow::Result<Reached> {
    let connect = || Connection::connect(uri, ConnectionProperties::default());
    let (publishing, consuming) = (connect().await?, connect().await?);
    let (publisher, consumer) = (publishing.create_channel().await?, consuming.create_channel().await?);
    let queue = declare(&consumer, kind).await?;
    publisher.confirm_select(ConfirmSelectOptions::default()).await?;
    let (told, consumed) = tokio::sync::watch::channel(0);
    let reading = tokio::spawn(consume(consumer, queue.clone(), told));

    let (own, broker) = (Meter::start(std::process::id())?, Meter::start(broker_pid)?);
    let begin = Instant::now();
    let published = publish(&publisher, bytes, begin + time).await?;
    let elapsed = begin.elapsed();
    let reached = Reached {
        rate: published as f64 / elapsed.as_secs_f64(),
        client_cores: own.cores()?,
        broker_cores: broker.cores()?,
    };
    let mut consumed = consumed;
    let all = consumed.wait_for(|count| *count >= published);
    tokio::time::timeout(time.max(Duration::from_secs(10)), all)
        .await
        .context("the consumer does not keep up: the rate is not one that the broker sustains")??;
    reading.abort();
    if kind == QueueKind::Quorum {
        publisher.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    // It was measured: how the connections end is nobody's concern.
    publishing.close(200, "done".into()).await.ok();
    consuming.close(200, "done".into()).await.ok();
    Ok(reached)
}

const EXCHANGE: &str = "figures.up";
const KEY: &str = "main.fleet-000042.devices.fleet-000042.state";

async fn declare(channel: &Channel, kind: QueueKind) -> anyhow::Result<String> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    let (name, options, mut arguments) = match kind {
        QueueKind::Exclusive => {
            let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
            ("", own, FieldTable::default())
        }
        QueueKind::Quorum => {
            let durable = QueueDeclareOptions { durable: true, ..Default::default() };
            ("figures.quorum", durable, FieldTable::default())
        }
    };
    if kind == QueueKind::Quorum {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    }
    let queue = channel.queue_declare(name.into(), options, arguments).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(queue.name().clone(), EXCHANGE.into(), "#".into(), bind, FieldTable::default())
        .await?;
    Ok(queue.name().as_str().to_owned())
}

async fn publish(channel: &Channel, bytes: usize, end: Instant) -> anyhow::Result<u64> {
    let body = vec![7_u8; bytes];
    let mut confirms = VecDeque::new();
    let mut confirmed = 0;
    for number in 0_u64.. {
        if Instant::now() >= end {
            break;
        }
        let sent = channel.basic_publish(
            EXCHANGE.into(),
            KEY.into(),
            BasicPublishOptions { mandatory: true, ..Default::default() },
            &body,
            properties(number),
        );
        confirms.push_back(sent.await?);
        while confirms.len() >= OUTSTANDING_MAX {
            confirmed += take(&mut confirms).await?;
        }
    }
    while !confirms.is_empty() {
        confirmed += take(&mut confirms).await?;
    }
    Ok(confirmed)
}

async fn take<F>(confirms: &mut VecDeque<F>) -> anyhow::Result<u64>
where
    F: Future<Output = lapin::Result<Confirmation>>,
{
    let Some(oldest) = confirms.pop_front() else { return Ok(0) };
    match oldest.await? {
        Confirmation::Ack(None) => Ok(1),
        refused => anyhow::bail!("not confirmed: {refused:?}"),
    }
}

/// The headers of an event (docs/asyncapi.yaml).
fn properties(number: u64) -> BasicProperties {
    let mut headers = FieldTable::default();
    let texts = [
        ("roost-tenant", "main"),
        ("roost-device", "fleet-000042"),
        ("roost-topic", "devices/fleet-000042/state"),
        ("roost-gateway", "eu-1"),
        ("roost-region", "eu"),
        ("roost-received-at", "2026-01-01T00:00:00.000Z"),
    ];
    for (name, text) in texts {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(text)));
    }
    headers.insert("roost-qos".into(), AMQPValue::LongLongInt(1));
    headers.insert("roost-seq".into(), AMQPValue::LongLongInt(number.cast_signed()));
    for flag in ["roost-retain", "roost-replayed", "roost-dup"] {
        headers.insert(flag.into(), AMQPValue::Boolean(false));
    }
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(format!("figures-{number}").into())
        .with_headers(headers)
}

async fn consume(
    channel: Channel,
    queue: String,
    told: tokio::sync::watch::Sender<u64>,
) -> anyhow::Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    let mut count = 0;
    let mut unanswered = None;
    loop {
        // What is left over is acknowledged when no more comes for a moment.
        let next = tokio::time::timeout(Duration::from_millis(20), deliveries.next()).await;
        match next {
            Ok(Some(delivery)) => {
                count += 1;
                let delivery = delivery?;
                if count % ACK_EVERY == 0 {
                    delivery.ack(BasicAckOptions { multiple: true }).await?;
                    unanswered = None;
                    told.send_replace(count);
                } else {
                    unanswered = Some(delivery);
                }
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                if let Some(last) = unanswered.take() {
                    last.ack(BasicAckOptions { multiple: true }).await?;
                }
                told.send_replace(count);
            }
        }
    }
}
