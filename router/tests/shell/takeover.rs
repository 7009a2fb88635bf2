//! Two routers, one shard, one gateway with a device: whoever gets the lock, however old its process is, is the one whose
//! commands the gateway takes.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_gateway::shell::{Gateway, GatewayConfig};
use roost_harness::{Connect, Device, DeviceKind};
use roost_router::shell::Router;

use crate::amqp::{at, embedded};
use crate::gate::Gate;
use crate::service::{command, publish};
use crate::stage::{Api, start};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_was_started_first_takes_over_and_its_commands_are_delivered() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let amqp = at(broker.address());
    // The standby is the older process: it is there before the first one, and does not reach AMQP yet.
    let gate = Gate::shut_before(broker.address()).await;
    let (second, standby) = start(&data.path().join("second"), &at(gate.address())).await;
    standby.becomes(503, "AMQP reports").await;
    let (first, active) = start(&data.path().join("first"), &amqp).await;
    active.becomes(200, "ready").await;
    let mut site = Site::new(&amqp).await;
    site.gets(&amqp, "before").await;

    gate.open();
    standby.becomes(503, "standby: another router").await;
    assert_eq!(run(&standby).await, 0.0, "without the lock it has no run");
    let first_run = run(&active).await;
    first.drain(GRACE).await;
    standby.becomes(200, "ready").await;
    assert!(run(&standby).await > first_run);
    site.gets(&amqp, "after").await;
    site.end(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_gets_the_lock_back_begins_a_new_run_and_its_commands_are_delivered() {
    let (data, broker) = (tempfile::tempdir().unwrap(), embedded().await);
    let amqp = at(broker.address());
    let gate = Gate::shut_before(broker.address()).await;
    gate.open();
    let (first, active) = start(&data.path().join("first"), &at(gate.address())).await;
    active.becomes(200, "ready").await;
    let mut site = Site::new(&amqp).await;
    site.gets(&amqp, "by the first").await;
    let (second, standby) = start(&data.path().join("second"), &amqp).await;
    standby.becomes(503, "standby: another router").await;

    gate.shut();
    standby.becomes(200, "ready").await;
    site.gets(&amqp, "by the second").await;
    gate.open();
    active.becomes(503, "standby: another router").await;
    let second_run = run(&standby).await;
    second.drain(GRACE).await;
    active.becomes(200, "ready").await;
    assert!(run(&active).await > second_run);
    site.gets(&amqp, "by the first again").await;
    site.end(first).await;
}

async fn run(router: &Api) -> f64 {
    router.metric("roost_router_run").await
}

/// A gateway, and a device that listens for commands there.
struct Site {
    gateway: Gateway,
    device: Device,
    got: BTreeSet<String>,
}

impl Site {
    async fn new(amqp: &AmqpAddress) -> Self {
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (id, region) = ("g1".parse().unwrap(), "eu".parse().unwrap());
        // It hears of a new router with the next heartbeat.
        let config = GatewayConfig {
            heartbeat: Duration::from_millis(200),
            ..GatewayConfig::new(id, region, port, port, amqp.clone())
        };
        let gateway = Gateway::start(config).await.unwrap();
        let how = Connect::to(gateway.mqtt_address().port(), "pump");
        let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
        device.subscribe("devices/pump/cmd", 1).await.unwrap();
        Self { gateway, device, got: BTreeSet::new() }
    }

    /// Sends the device a command, which it gets, and nothing besides that it had not got before.
    async fn gets(&mut self, amqp: &AmqpAddress, id: &str) {
        publish(amqp, [command("main/pump", id)]).await;
        let message = self.device.next().await.unwrap();
        assert_eq!(message.text(), id);
        assert!(self.got.insert(id.to_owned()), "{id} came twice");
    }

    async fn end(self, router: Router) {
        self.device.disconnect().await;
        self.gateway.drain(GRACE).await;
        router.drain(GRACE).await;
    }
}
