//! A drain finishes what was begun, and does not wait for what cannot come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roost_backend::{Queue, Topology, contract};
use roost_harness::{PATIENCE, eventually};
use roost_wire::{CommandRequest, Message, ShardId};
use serde_json::json;
use tokio::time::timeout;

use crate::amqp::{Nobody, at, embedded};
use crate::service::{Reader, Sender, command, publish};
use crate::stage::start;

const GRACE: Duration = Duration::from_secs(600);

/// No flow is longer: a router that never stops taking commands fails the test, and does not fill the machine.
const COMMANDS_MAX: u32 = 50_000;

/// It ends as soon as it is taken, since nothing may live so long: what is begun owes a receipt at once.
fn hopeless(id: &str) -> CommandRequest {
    CommandRequest { lifetime_ms: Some(u64::from(u32::MAX)), ..command("pump", id) }
}

/// It waits for a device of its own, which has the same name.
fn patient(id: &str) -> CommandRequest {
    command(id, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_in_full_flow_finishes_what_it_took_and_leaves_the_rest_in_the_queue() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let amqp = at(broker.address());
    let receipts = Topology::of(Queue::classic("receipts")).bind("receipts", contract::RECEIPTS, "#");
    let mut receipts = Reader::new(&amqp, Topology::contract(1).and(receipts), "receipts").await;
    let (router, api) = start(data.path(), &amqp).await;
    api.becomes(200, "ready").await;

    // A service that goes on sending before, while and after the router drains.
    let is_over = Arc::new(AtomicBool::new(false));
    let flow = tokio::spawn({
        let (is_over, mut sender) = (Arc::clone(&is_over), Sender::new(&amqp));
        async move {
            let mut sent = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                let id = format!("m-{}", sent.len());
                assert!(sent.len() < COMMANDS_MAX as usize, "the drain has no end");
                sender.send(if sent.len() % 2 == 0 { patient(&id) } else { hopeless(&id) }).await;
                sent.insert(id);
            }
            sender.confirmed().await;
            sent
        }
    });
    eventually("it flows", PATIENCE, async || {
        let accepted = api.metric("roost_router_commands_accepted_total").await;
        if accepted >= 250.0 { Ok(()) } else { Err(format!("{accepted}")) }
    })
    .await;
    let report = router.drain(GRACE).await;
    is_over.store(true, Ordering::Relaxed);
    let sent = flow.await.unwrap();
    assert_eq!((report.records_cut, report.publications_unconfirmed), (0, 0));

    // What it took is in the journal or has its receipt; what it did not take is in the queue; and nothing is both.
    let shard_queue = contract::router_queue(ShardId(0));
    publish(&amqp, [hopeless("end")]).await;
    let mut queue = Reader::new(&amqp, Topology::contract(1), &shard_queue).await;
    let left = queue.until("end", |message| message.properties.message_id.clone()).await;
    queue.close().await;
    let (_next, api) = start(data.path(), &amqp).await;
    api.becomes(200, "ready").await;
    let mut kept = BTreeSet::new();
    for id in sent.difference(&left) {
        match api.waiting(id).await {
            0 => {}
            1 => drop(kept.insert(id.clone())),
            other => panic!("{other} commands wait for {id}"),
        }
    }
    // And the next router owes none of these receipts: the first that it publishes is that of a command of its own.
    publish(&amqp, [hopeless("next")]).await;
    let told = receipts.until("next", |receipt: &Message| receipt.properties.correlation_id.clone()).await;
    receipts.close().await;
    let sizes = format!("{} kept, {} told of, {} left of {}", kept.len(), told.len(), left.len(), sent.len());
    assert!(!kept.is_empty() && !told.is_empty() && !left.is_empty(), "{sizes}");
    assert_eq!(told.intersection(&left).count(), 0, "told of, and not acknowledged: {sizes}");
    assert_eq!(
        api.metric("roost_router_commands_in_custody").await,
        kept.len() as f64,
        "kept, and not acknowledged: {sizes}"
    );
    assert_eq!(told.intersection(&kept).count(), 0, "ended, and kept: {sizes}");
    assert_eq!(
        kept.len() + told.len() + left.len(),
        sent.len(),
        "acknowledged, and neither kept nor told of: {sizes}"
    );
    assert!(told.is_subset(&sent) && left.is_subset(&sent), "{sizes}");
}

#[tokio::test]
async fn without_amqp_a_drain_waits_for_the_disk_only() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (router, api) = start(data.path(), &nobody.address()).await;
    api.accepted("pump", "m").await;
    let report = timeout(PATIENCE, router.drain(GRACE)).await.expect("it does not use up its grace");
    assert_eq!(report.records_cut, 0);
    let (_next, api) = start(data.path(), &nobody.address()).await;
    assert_eq!(api.waiting("pump").await, 1);
    let again = api.send("pump", "", json!({"message_id": "m"})).await;
    assert_eq!(again.body["duplicate"], true, "{again:?}");
}
