//! Without an AMQP server a role keeps trying, says so, and is not ready; devices are not told lies.

use roost_harness::{Connect, Device, DeviceKind, Federation, PATIENCE, eventually};

/// Alive, and not ready.
async fn is_waiting(api: &roost_harness::Api) {
    eventually(&format!("{} lives and is not ready", api.url()), PATIENCE, async || {
        let (alive, ready) = (api.get("/livez").await?, api.get("/readyz").await?);
        if (alive.status, ready.status) == (200, 503) { Ok(()) } else { Err(format!("{alive:?} {ready:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_waits_for_amqp_and_begins_when_it_is_there() {
    let mut mesh = Federation::without_backend().await;
    for api in [mesh.api(), mesh.admin("eu-1"), mesh.admin("us-1")] {
        is_waiting(&api).await;
    }
    mesh.start_backend().await;
    for api in [mesh.api(), mesh.admin("eu-1"), mesh.admin("us-1")] {
        api.ready().await;
    }
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "early")).await;
    device.publish("at/last", b"", 1).await.expect("the PUBACK says that it is safe");
}

/// PUBACK means safe: while AMQP is away there is none, and when it is back there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_puback_waits_until_amqp_is_back() {
    let mut mesh = Federation::start(roost_harness::Backend::Embedded).await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "patient");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    device.publish("before", b"", 1).await.expect("the PUBACK says that it is safe");
    mesh.kill_backend();
    for api in [mesh.api(), mesh.admin("eu-1")] {
        is_waiting(&api).await;
    }
    let publish = tokio::spawn(async move { device.publish("meanwhile", b"", 1).await });
    is_waiting(&mesh.admin("eu-1")).await;
    assert!(!publish.is_finished(), "acknowledged although nothing is safe");
    mesh.start_backend().await;
    publish.await.expect("the task has not panicked").expect("acknowledged once it is safe");
}
