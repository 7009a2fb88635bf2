//! One router has a shard: the lock is a queue that only one connection can have.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use roost_backend::{AmqpAddress, contract};
use roost_harness::{PATIENCE, eventually};
use roost_wire::{CommandRequest, ShardId};
use serde_json::json;

use crate::amqp::{at, embedded};
use crate::service::{command, publish};
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
    publish(amqp, (0..700).map(numbered)).await;
    waits(&active, 700).await;
    assert_eq!(in_custody(&active, 0..700).await, (0..700).collect());
    assert_eq!(standby.metric("roost_router_commands_in_custody").await, 0.0);

    let report = first.drain(GRACE).await;
    assert_eq!((report.records_cut, report.publications_unconfirmed), (0, 0));
    standby.becomes(200, "ready").await;
    publish(amqp, (700..710).map(numbered)).await;
    // What the first had not acknowledged would stand before these in the queue.
    eventually("the last one is there", PATIENCE, async || match standby.waiting("d-709").await {
        1 => Ok(()),
        other => Err(format!("{other} wait")),
    })
    .await;
    assert_eq!(in_custody(&standby, 0..710).await, (700..710).collect());
    assert_eq!(standby.metric("roost_router_commands_in_custody").await, 10.0);
    standby.accepted("pump", "m").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_stands_by_consumes_nothing() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let amqp = at(broker.address());
    let (_first, active) = start(&data.path().join("first"), &amqp).await;
    active.becomes(200, "ready").await;
    let (_second, standby) = start(&data.path().join("second"), &amqp).await;
    // Seen twice, so that it has tried and was refused with everything else up.
    standby.becomes(503, "standby: another router").await;
    let refused = "roost_link_downs_total{link=\"reports\",reason=\"resource_locked\"}";
    let before = standby.metric(refused).await;
    eventually("it tries again", PATIENCE, async || {
        let now = standby.metric(refused).await;
        if now > before { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
    let queues = broker.queues().await;
    let shard = ShardId(0);
    for name in [
        contract::router_queue(shard),
        contract::expired_queue(shard),
        contract::sightings_queue(shard),
        contract::settle_queue(shard),
    ] {
        let queue = queues.iter().find(|queue| *queue.name == *name).unwrap();
        assert_eq!(queue.consumers, 1, "{queue:?}");
    }
    assert_eq!(standby.metric("roost_link_up{link=\"reports\"}").await, 0.0);
    assert_eq!(standby.metric("roost_link_attempts_total{link=\"commands\"}").await, 0.0);
    assert_eq!(active.metric("roost_link_up{link=\"commands\"}").await, 1.0);
}

/// A command to a device of its own.
fn numbered(number: u64) -> CommandRequest {
    command(&format!("d-{number}"), &format!("m-{number}"))
}

/// The numbers among these whose command the router has, and not twice.
async fn in_custody(api: &Api, numbers: Range<u64>) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for number in numbers {
        match api.waiting(&format!("d-{number}")).await {
            0 => {}
            1 => drop(found.insert(number)),
            other => panic!("{other} commands for d-{number}"),
        }
    }
    found
}

/// Waits until the router has custody of so many commands.
async fn waits(api: &Api, count: u32) {
    eventually(&format!("{count} commands in custody"), PATIENCE, async || {
        let found = api.metric("roost_router_commands_in_custody").await;
        if found == f64::from(count) { Ok(()) } else { Err(format!("{found}")) }
    })
    .await;
}
