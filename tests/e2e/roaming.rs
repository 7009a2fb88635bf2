//! A device that moves to another gateway: its commands follow, its old connection is closed.

use roost_harness::{Backend, Connect, Device, DeviceKind, Mesh, Publication, ServiceKind, on_both_backends};

const SESSION_TAKEN_OVER: u8 = 0x8E;

async fn commands_follow_a_device_that_moves(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.rover.*").await;
    let mut previous: Option<Device> = None;
    // There, back, and there again.
    for (round, gateway) in ["eu-1", "us-1", "eu-1", "us-1"].into_iter().enumerate() {
        let how = Connect::to(mesh.mqtt_port(gateway), "rover");
        let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
        device.subscribe("devices/rover/cmd", 1).await.expect("subscribed");
        if let Some(mut old) = previous.take() {
            assert_eq!(old.arrived(), Vec::new(), "nothing new at the old gateway");
            assert_eq!(old.lost().await.code, Some(SESSION_TAKEN_OVER));
        }
        mesh.api().located("rover", gateway).await;
        let id = format!("round-{round}");
        let command = Publication::command("rover", "devices/rover/cmd", id.as_bytes(), &id);
        service.publish(&command).await.expect("the mesh has it");
        assert_eq!(device.next().await.expect("still connected").text(), id);
        let receipts = service.receipts_of(&id).await;
        assert_eq!((&receipts[0]["state"], &receipts[0]["gateway"]), (&"delivered".into(), &gateway.into()));
        previous = Some(device);
    }
}

/// The same on one gateway, as any broker does it. [MQTT-3.1.4-3]
async fn the_newer_connection_wins_at_one_gateway(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let how = Connect::to(mesh.mqtt_port("eu-1"), "twin");
    let mut first = Device::connected(DeviceKind::RumqttcV5, &how).await;
    let mut second = Device::connected(DeviceKind::RumqttcV5, &how).await;
    assert_eq!(first.lost().await.code, Some(SESSION_TAKEN_OVER));
    second.publish("still/here", b"", 1).await.expect("the second one stays");
}

on_both_backends!(commands_follow_a_device_that_moves, the_newer_connection_wins_at_one_gateway);
