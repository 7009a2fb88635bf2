//! Two gateways with one id: the newer process is believed, and the older one hears of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_gateway::shell::{Gateway, GatewayConfig};
use roost_harness::{PATIENCE, eventually};

use crate::amqp::{at, embedded};
use crate::stage::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_older_of_two_processes_with_one_id_is_not_ready_and_says_why() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let amqp = at(broker.address());
    let (_router, api) = start(data.path(), &amqp).await;
    api.becomes(200, "ready").await;
    let older = gateway(&amqp).await;
    becomes(&older, "").await;
    let known = async || api.get("/v1/gateways").await.body[0]["incarnation"].clone();
    let of_older = eventually("the router knows it", PATIENCE, async || match known().await {
        serde_json::Value::Null => Err("nothing".to_owned()),
        incarnation => Ok(incarnation),
    })
    .await;
    let newer = gateway(&amqp).await;
    becomes(&older, "another process has this id").await;
    assert_ne!(known().await, of_older);
    becomes(&newer, "").await;
}

async fn gateway(amqp: &AmqpAddress) -> Gateway {
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (id, region) = ("g1".parse().unwrap(), "eu".parse().unwrap());
    let config = GatewayConfig {
        heartbeat: Duration::from_millis(100),
        ..GatewayConfig::new(id, region, port, port, amqp.clone())
    };
    Gateway::start(config).await.unwrap()
}

/// Waits until the gateway waits for `words`; without any, for nothing.
async fn becomes(gateway: &Gateway, words: &str) {
    eventually(&format!("it waits for {words:?}"), PATIENCE, async || {
        let waits = gateway.readiness().waits().join("; ");
        let is_so = if words.is_empty() { waits.is_empty() } else { waits.contains(words) };
        if is_so { Ok(()) } else { Err(waits) }
    })
    .await;
}
