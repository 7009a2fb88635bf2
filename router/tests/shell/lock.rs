//! One router has a shard: the lock is a queue that only one connection can have.

use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_backend::shell::{
    LinkConfig, OnLoss, Publish, Published, PublisherConfig, PublisherEvent, publisher,
};
use roost_backend::{Topology, contract};
use roost_harness::{PATIENCE, eventually};
use roost_wire::CommandRequest;
use serde_json::json;

use crate::amqp::{at, embedded};
use crate::stage::{Api, start};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_router_stands_by_on_the_embedded_broker() {
    let broker = embedded().await;
    a_second_router_stands_by_and_takes_over(&at(broker.address())).await;
}

#[cfg(feature = "live")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_router_stands_by_on_rabbitmq() {
    let vhost = roost_harness::Vhost::create().await;
    a_second_router_stands_by_and_takes_over(&vhost.uri().parse().unwrap()).await;
}

async fn a_second_router_stands_by_and_takes_over(amqp: &AmqpAddress) {
    let data = tempfile::tempdir().unwrap();
    let (first, active) = start(&data.path().join("first"), amqp).await;
    active.becomes(200, "ready").await;
    let (_second, standby) = start(&data.path().join("second"), amqp).await;
    standby.becomes(503, "standby: another router").await;

    let answer = standby.send("pump", "", json!({"message_id": "m"})).await;
    assert_eq!((answer.status.as_u16(), answer.retry_after_s), (503, Some(5)), "{answer:?}");
    assert!(answer.body["detail"].as_str().unwrap().contains("stands by"), "{answer:?}");
    assert_eq!(standby.metric("roost_router_http_not_taken_total{reason=\"standby\"}").await, 1.0);

    // Commands of the shard queue go to the one that has the lock, however many there are.
    publish(amqp, 0..700).await;
    waits(&active, 700).await;
    assert_eq!(standby.metric("roost_router_commands_in_custody").await, 0.0);

    let report = first.drain(GRACE).await;
    assert_eq!((report.records_cut, report.publications_unconfirmed), (0, 0));
    standby.becomes(200, "ready").await;
    publish(amqp, 700..710).await;
    waits(&standby, 10).await;
    standby.accepted("pump", "m").await;
}

/// Waits until the router has custody of so many commands.
async fn waits(api: &Api, count: u32) {
    eventually(&format!("{count} commands in custody"), PATIENCE, async || {
        let found = api.metric("roost_router_commands_in_custody").await;
        if found == f64::from(count) { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}

/// Publishes commands to as many devices and waits until all are confirmed.
async fn publish(amqp: &AmqpAddress, numbers: std::ops::Range<u64>) {
    let link = LinkConfig::new(amqp.clone(), "a service");
    let (sender, mut events) = publisher(link, Topology::contract(1), PublisherConfig::default());
    let mut confirmed = 0;
    for token in numbers.clone() {
        let device = format!("d-{token}").parse().unwrap();
        let id = format!("m-{token}").parse().unwrap();
        let message = CommandRequest::new(device, id, "x".into()).into_message(contract::DOWN);
        let publish = Publish { message, mandatory: true, on_loss: OnLoss::PublishAgain, token };
        sender.publish(publish).await.unwrap();
    }
    while confirmed < numbers.end - numbers.start {
        match events.recv().await.unwrap() {
            PublisherEvent::Done { outcome, .. } => {
                assert_eq!(outcome, Published::Confirmed);
                confirmed += 1;
            }
            PublisherEvent::Up | PublisherEvent::Unblocked => {}
            other @ (PublisherEvent::Down { .. } | PublisherEvent::Blocked { .. }) => panic!("{other:?}"),
        }
    }
    sender.close(GRACE).await;
}
