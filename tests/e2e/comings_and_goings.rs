//! Clients that come, subscribe and leave, again and again, leave nothing behind in their gateway's memory.

use std::sync::Arc;

use roost_harness::{Backend, Federation, Metrics, PATIENCE, eventually};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::raw_client::RawClient;

const CLIENTS: usize = 4_000;
const ROUNDS: usize = 10;
/// From then on the allocator has what a round needs, and the tables have grown to their size.
const SETTLED: usize = 3;
/// Connections at the same time: a test has no more descriptors than a shell gives it.
const AT_A_TIME: usize = 250;
/// Over the rounds that are compared 28,000 clients come and go: 112 bytes for each, where a subscription alone takes nearly 200 and a
/// session several hundred. An allocator that settles takes less than 1 MiB.
const GROWTH_BYTES_MAX: f64 = 3.0 * 1024.0 * 1024.0;

/// Every client comes once, says what it wants, and leaves.
async fn a_round(port: u16) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        clients.spawn(async move {
            let mut client =
                RawClient::clean(port, if n % 2 == 0 { 4 } else { 5 }, &format!("guest-{n}")).await;
            client.subscribe(&format!("local/guests/{n}/+")).await;
            client.raw.send_packet(0xE0, &[]).await;
            assert!(client.raw.rest().await.is_empty(), "a goodbye is not answered");
            drop(place);
        });
    }
    while let Some(left) = clients.join_next().await {
        left.expect("each of them is served");
    }
}

/// What the gateway has in memory once it has heard of all ends.
async fn resident_bytes(mesh: &Federation) -> f64 {
    eventually("all have left", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.admin("eu-1")).await;
        match metrics.sum("roost_gateway_sessions", &[]) + metrics.sum("roost_gateway_subscriptions", &[]) {
            0.0 => Ok(metrics.sum("roost_process_resident_memory_bytes", &[])),
            left => Err(format!("{left} sessions and subscriptions")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_and_go_leave_no_memory_behind() {
    let mesh = Federation::start(Backend::Embedded).await;
    let mut after = Vec::new();
    for _ in 0..ROUNDS {
        a_round(mesh.mqtt_port("eu-1")).await;
        after.push(resident_bytes(&mesh).await);
    }
    let growth = after[ROUNDS - 1] - after[SETTLED - 1];
    assert!(
        growth <= GROWTH_BYTES_MAX,
        "{growth} bytes more from round {SETTLED} to round {ROUNDS}: {after:?}"
    );
}
