//! Ctrl-C: what has been accepted is finished, devices are told, and the exit status is 0.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, PATIENCE, Process, ServiceKind, on_both_backends,
};

const SERVER_SHUTTING_DOWN: u8 = 0x8B;

async fn stops_in_good_order(mesh: Mesh, signal: fn(&Process)) {
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "#").await;
    let mut devices = Vec::new();
    for (gateway, id) in [("eu-1", "a"), ("us-1", "b")] {
        let mut device =
            Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port(gateway), id)).await;
        device.publish("last/words", id.as_bytes(), 1).await.expect("the PUBACK says that it is safe");
        assert_eq!(service.next().await.text(), id);
        devices.push(device);
    }
    let (process, _broker) = mesh.into_process();
    signal(&process);
    for device in &mut devices {
        assert_eq!(device.lost().await.code, Some(SERVER_SHUTTING_DOWN));
    }
    let ended = process.ended(PATIENCE).await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
}

async fn an_interrupt_drains(backend: Backend) {
    stops_in_good_order(Mesh::start(backend).await, Process::interrupt).await;
}

async fn a_service_manager_gets_the_same(backend: Backend) {
    stops_in_good_order(Mesh::start(backend).await, Process::terminate).await;
}

/// What was accepted before the end is there after it.
async fn commands_outlive_an_orderly_end(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let command = serde_json::json!({"topic": "devices/later/cmd", "payload": "kept", "message_id": "kept"});
    let answer = mesh.api().command("later", &command, 0).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let mesh = mesh.restarted().await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "later")).await;
    device.subscribe("devices/later/cmd", 1).await.expect("subscribed");
    assert_eq!(device.next().await.expect("still connected").text(), "kept");
}

on_both_backends!(an_interrupt_drains, a_service_manager_gets_the_same, commands_outlive_an_orderly_end);
