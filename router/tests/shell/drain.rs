//! A drain finishes what was begun, and does not wait for what cannot come.

use std::time::Duration;

use roost_backend::contract;
use roost_harness::{PATIENCE, eventually};
use roost_wire::ShardId;
use serde_json::json;
use tokio::time::timeout;

use crate::amqp::{Nobody, at, embedded};
use crate::stage::start;

const GRACE: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_leaves_nothing_unacknowledged_and_no_receipt_owed() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let (router, api) = start(data.path(), &at(broker.address())).await;
    api.becomes(200, "ready").await;
    // Each ends at once, and so owes a receipt when the drain begins.
    let sends = (0..50).map(|number| {
        let api = api.clone();
        let body = json!({"message_id": format!("m-{number}"), "offline": "fail", "expires_ms": 1});
        tokio::spawn(async move { api.send("pump", "", body).await })
    });
    for send in sends.collect::<Vec<_>>() {
        assert!(send.await.unwrap().status.is_success());
    }
    eventually("all have ended", PATIENCE, async || match api.waiting("pump").await {
        0 => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    })
    .await;
    let report = router.drain(GRACE).await;
    assert_eq!((report.records_cut, report.publications_unconfirmed), (0, 0));
    let (_router, api) = start(data.path(), &at(broker.address())).await;
    api.becomes(200, "ready").await;
    assert_eq!(api.metric("roost_router_publications_waiting").await, 0.0);
    let queues = broker.queues().await;
    let shard_queue = contract::router_queue(ShardId(0));
    assert!(queues.iter().any(|queue| *queue.name == *shard_queue && queue.unacknowledged == 0));
    // What is owed at a start is published at once: nothing was.
    let published = |queues: &[roost_backend::embedded::core::QueueStatistics]| {
        queues.iter().map(|queue| queue.published_total).sum::<u64>()
    };
    assert_eq!(published(&broker.queues().await), published(&queues));
}

#[tokio::test]
async fn without_amqp_a_drain_waits_for_the_disk_only() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (router, api) = start(data.path(), &nobody.address()).await;
    api.accepted("pump", "m").await;
    let report = timeout(PATIENCE, router.drain(GRACE)).await.expect("it does not use up its grace");
    assert_eq!(report.records_cut, 0);
}
