//! The reason for the router: what is for a known device goes to its gateway and to no other.

use std::collections::BTreeMap;

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, PATIENCE, Publication, ServiceKind, eventually,
    on_both_backends,
};

const DEVICES: usize = 10;
const COMMANDS_EACH: usize = 100;

/// 1,000 commands for devices at `us-1`: all in order, none through `eu-1`'s inbox, as the broker counts it.
async fn commands_go_to_their_gateway_only(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut devices = BTreeMap::new();
    for number in 0..DEVICES {
        let id = format!("device-{number}");
        let mut device =
            Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), &id)).await;
        device.subscribe(&format!("devices/{id}/cmd"), 1).await.expect("subscribed");
        mesh.api().located(&id, "us-1").await;
        devices.insert(id, device);
    }
    // Somebody is at eu-1 too: its inbox is there and empty for a reason.
    let mut neighbour =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "neighbour")).await;
    neighbour.subscribe("#", 1).await.expect("subscribed");
    let before = mesh.broker().published_total("roost.inbox.eu-1.").await;

    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.*.delivered").await;
    for number in 0..COMMANDS_EACH {
        for id in devices.keys() {
            let (topic, body) = (format!("devices/{id}/cmd"), number.to_string());
            let command = Publication::command(id, &topic, body.as_bytes(), &format!("{id}/{number}"));
            service.publish(&command).await.expect("the mesh has it");
        }
    }
    for (id, device) in &mut devices {
        for number in 0..COMMANDS_EACH {
            let message = device.next().await.expect("still connected");
            assert_eq!(message.text(), number.to_string(), "{id}: in order");
        }
    }
    for _ in 0..DEVICES * COMMANDS_EACH {
        service.next().await;
    }

    let total = (DEVICES * COMMANDS_EACH) as u64;
    eventually("the broker has counted us-1's inbox", PATIENCE, async || {
        match mesh.broker().published_total("roost.inbox.us-1.").await {
            count if count >= total => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    let inboxes = mesh.queues().await;
    assert!(
        inboxes.iter().any(|queue| queue.name.starts_with("roost.inbox.eu-1.")),
        "eu-1's inbox is not among {inboxes:?}"
    );
    assert_eq!(
        mesh.broker().published_total("roost.inbox.eu-1.").await - before,
        0,
        "messages put into eu-1's inbox"
    );
    assert_eq!(neighbour.arrived(), Vec::new());
}

on_both_backends!(commands_go_to_their_gateway_only);
