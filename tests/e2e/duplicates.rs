//! The same `message_id` twice is one command: a sender that is not sure may simply send again.

use roost_harness::{Backend, Connect, Device, DeviceKind, Mesh, Publication, ServiceKind, on_both_backends};

async fn a_repeated_command_is_delivered_once(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "door")).await;
    device.subscribe("devices/door/cmd", 1).await.expect("subscribed");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.door.*").await;

    let open = Publication::command("door", "devices/door/cmd", b"open", "the same");
    service.publish(&open).await.expect("the mesh has it");
    let first = service.receipts_of("the same").await;
    service.publish(&open).await.expect("the mesh has it");
    let again = service.receipts_of("the same").await;
    assert_eq!((&first[0]["state"], &first[0]["duplicate"]), (&"delivered".into(), &false.into()));
    assert_eq!((&again[0]["state"], &again[0]["duplicate"]), (&"delivered".into(), &true.into()));
    assert_eq!(first[0]["command_id"], again[0]["command_id"]);

    let close = Publication::command("door", "devices/door/cmd", b"close", "another");
    service.publish(&close).await.expect("the mesh has it");
    service.receipts_of("another").await;
    let seen: Vec<String> = device.arrived().iter().map(|message| message.text().to_owned()).collect();
    assert_eq!(seen, ["open", "close"]);
}

on_both_backends!(a_repeated_command_is_delivered_once);
