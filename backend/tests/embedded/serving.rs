//! Starting, figures, bounds and stopping.

use crate::client::*;
use crate::{on_a_free_port, start, url};
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{Confirmation, Connection, ConnectionProperties};
use roost_backend::embedded::core::Limits;
use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig, EmbeddedError, LogError, Secret};
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_with_its_address() {
    let broker = start(on_a_free_port()).await;
    let second = EmbeddedConfig { listen: broker.address(), ..EmbeddedConfig::default() };
    let error = EmbeddedBroker::start(second).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::AddressInUse { address } if address == broker.address()));
    let text = error.to_string();
    assert!(text.contains(&broker.address().to_string()) && text.contains("choose another port"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_in_use_is_told() {
    let data = tempfile::tempdir().unwrap();
    let config = || EmbeddedConfig { data: Some(data.path().into()), ..on_a_free_port() };
    let broker = start(config()).await;
    let error = EmbeddedBroker::start(config()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Log(LogError::InUse { .. })), "{error}");
    broker.shutdown(GRACE).await;
    start(config()).await.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_tell_their_figures() {
    let broker = start(on_a_free_port()).await;
    let handle = broker.handle();
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["a", "b", "c"]).await;
    client.prefetch(1).await;
    let mut consumer = client.consume(&queue).await;
    next(&mut consumer).await.ack(BasicAckOptions::default()).await.unwrap();
    next(&mut consumer).await;
    let queues = handle.queues().await;
    let [figures] = &queues[..] else { panic!("{queues:?}") };
    assert_eq!((&*figures.name, figures.durable, figures.exclusive), (&*queue, true, false));
    assert_eq!((figures.ready, figures.unacknowledged, figures.consumers), (1, 1, 1));
    let totals = (figures.published_total, figures.delivered_total, figures.acknowledged_total);
    assert_eq!(totals, (3, 2, 1));
    let counters = broker.counters().await;
    assert_eq!((counters.published, counters.connections), (3, 1));
    broker.shutdown(GRACE).await;
    assert!(handle.queues().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_that_the_broker_stops() {
    let broker = start(on_a_free_port()).await;
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    let mut consumer = client.consume(&queue).await;
    broker.shutdown(GRACE).await;
    let told = tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut consumer)).await;
    if let Some(Err(error)) = told.expect("the consumer ends") {
        assert_eq!(code(&error), 320);
    }
    assert!(!client.connection.status().connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused() {
    let users = vec![("eu-1".to_owned(), Secret::new("right"))];
    let broker = start(EmbeddedConfig { users, ..on_a_free_port() }).await;
    let with = |password: &str| format!("amqp://eu-1:{password}@{}/%2f", broker.address());
    let options = ConnectionProperties::default;
    let refused = Connection::connect(&with("wrong"), options()).await.map(drop);
    assert_eq!(code(&refused.unwrap_err()), 403);
    let opened = Connection::connect(&with("right"), options()).await.unwrap();
    opened.close(200, "".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_above_the_memory_bound_wait_until_consumers_made_room() {
    let limits = Limits { memory_bytes_max: 200_000, ..Limits::default() };
    let broker = start(EmbeddedConfig { limits, ..on_a_free_port() }).await;
    let publisher = Client::connect(&url(&broker)).await;
    let consumer = publisher.again(&url(&broker)).await;
    let queue = publisher.queue("q", &[]).await;
    let sending = {
        let queue = queue.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                assert_eq!(publisher.publish("", &queue, &[0; 10_000]).await, Confirmation::Ack(None));
            }
        })
    };
    let blocked = async {
        while broker.counters().await.blocked == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, blocked).await.expect("the publisher is blocked");
    assert!(broker.counters().await.memory_bytes < 2 * 200_000);
    for _ in 0..200 {
        consumer.await_message(&queue).await;
    }
    sending.await.unwrap();
    broker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_large_closes_its_channel_only() {
    let limits = Limits { message_bytes_max: 1000, ..Limits::default() };
    let broker = start(EmbeddedConfig { limits, ..on_a_free_port() }).await;
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    let options = BasicPublishOptions::default();
    let large = vec![0; 500_000];
    let publish =
        client.channel.basic_publish("".into(), queue.as_str().into(), options, &large, Default::default());
    let error = match publish.await {
        Ok(confirm) => confirm.await.expect_err("the channel is closed"),
        Err(error) => error,
    };
    assert_eq!(code(&error), 406);
    let channel = client.connection.create_channel().await.unwrap();
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await.unwrap();
    assert_eq!(found.message_count(), 0);
}
