//! A command whose lifetime ends before its device is there says so; a sender that does not want to wait is told at once.

use roost_harness::{Backend, Connect, Device, DeviceKind, Mesh, Publication, ServiceKind, on_both_backends};

async fn a_command_expires_while_its_device_is_away(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.late.*").await;
    let short = Publication::command("late", "devices/late/cmd", b"too late", "short").expiring_after_ms(300);
    service.publish(&short).await.expect("the mesh has it");
    let receipts = service.receipts_of("short").await;
    assert_eq!(receipts.last().expect("the final one")["state"], "expired", "{receipts:?}");

    // It is gone: what was sent after it arrives alone.
    let long = Publication::command("late", "devices/late/cmd", b"in time", "long");
    service.publish(&long).await.expect("the mesh has it");
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "late")).await;
    device.subscribe("devices/late/cmd", 1).await.expect("subscribed");
    assert_eq!(device.next().await.expect("still connected").text(), "in time");
    assert_eq!(service.receipts_of("long").await[0]["state"], "delivered");
    assert_eq!(device.arrived(), Vec::new());
}

async fn a_command_that_must_not_wait_is_unreachable(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.nobody.*").await;
    let command = Publication::command("nobody", "devices/nobody/cmd", b"now or never", "1")
        .header("roost-offline", "fail");
    service.publish(&command).await.expect("the mesh has it");
    let receipts = service.receipts_of("1").await;
    assert_eq!(receipts.last().expect("the final one")["state"], "unreachable", "{receipts:?}");
}

/// QoS 0 has no acknowledgement to wait for: the honest word is `sent`.
async fn a_command_at_qos_0_is_sent(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.casual.*").await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "casual")).await;
    device.subscribe("devices/casual/cmd", 0).await.expect("subscribed");
    let command = Publication::command("casual", "devices/casual/cmd", b"fyi", "1");
    service.publish(&command).await.expect("the mesh has it");
    let message = device.next().await.expect("still connected");
    assert_eq!((message.text(), message.qos), ("fyi", 0));
    assert_eq!(service.receipts_of("1").await[0]["state"], "sent");
}

on_both_backends!(
    a_command_expires_while_its_device_is_away,
    a_command_that_must_not_wait_is_unreachable,
    a_command_at_qos_0_is_sent,
);
