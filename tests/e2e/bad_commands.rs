//! Commands that are none: refused with the reason, kept in `roost.dead`, and never in the way of good ones.

use roost_harness::{
    Backend, Connect, Delivery, Device, DeviceKind, Mesh, Publication, Service, ServiceKind, on_both_backends,
};

/// What is wrong, how it is written, and what the reason must speak of.
fn bad_commands() -> [(&'static str, Publication, &'static str); 4] {
    let good = |id: &str| Publication::command("lamp", "devices/lamp/cmd", b"bad", id);
    [
        ("no message id", Publication { message_id: None, ..good("") }, "message_id"),
        (
            "a topic with a wildcard",
            Publication { headers: Vec::new(), ..good("2") }.header("roost-topic", "a/#"),
            "roost-topic",
        ),
        ("an unknown choice of receipts", good("3").header("roost-receipts", "sometimes"), "roost-receipts"),
        ("a key that names no device", Publication { key: "NOBODY".to_owned(), ..good("4") }, "NOBODY"),
    ]
}

async fn bad_commands_are_refused_with_the_reason(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "lamp")).await;
    device.subscribe("#", 1).await.expect("subscribed");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.lamp.*").await;
    service.consume("roost.dead", "#").await;

    for (what, publication, about) in bad_commands() {
        service.publish(&publication).await.expect("the broker takes anything");
        let names_a_device = publication.key == "main.lamp";
        let (dead, receipt) = dead_and_receipt(&mut service, names_a_device).await;
        assert_eq!(dead.body, publication.body, "{what}: the body is kept");
        let reason = dead.header("roost-reason").unwrap_or_else(|| panic!("{what}: no reason: {dead:?}"));
        assert!(!reason.is_empty(), "{what}");
        let Some(receipt) = receipt.map(|receipt| receipt.json()) else { continue };
        assert_eq!(
            (&receipt["state"], &receipt["reason"]),
            (&"rejected".into(), &"invalid".into()),
            "{what}"
        );
        let detail = receipt["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(about), "{what}: {detail:?} does not speak of {about}");
    }

    let good = Publication::command("lamp", "devices/lamp/cmd", b"good", "good");
    service.publish(&good).await.expect("the mesh has it");
    assert_eq!(
        device.next().await.expect("still connected").text(),
        "good",
        "only this one reaches the device"
    );
    assert_eq!(service.receipts_of("good").await[0]["state"], "delivered");
}

/// They may come in either order.
async fn dead_and_receipt(service: &mut Service, receipt_owed: bool) -> (Delivery, Option<Delivery>) {
    let (mut dead, mut receipt) = (None, None);
    loop {
        let delivery = service.next().await;
        let place = if delivery.exchange == "roost.dead" { &mut dead } else { &mut receipt };
        assert_eq!(place.replace(delivery), None, "told once");
        match (dead.take(), receipt.take()) {
            (Some(dead), receipt) if receipt.is_some() == receipt_owed => return (dead, receipt),
            (kept_dead, kept_receipt) => (dead, receipt) = (kept_dead, kept_receipt),
        }
    }
}

on_both_backends!(bad_commands_are_refused_with_the_reason);
