//! In doubt the router asks all gateways, once, and then knows.

use roost_harness::{
    Api, Backend, Connect, Device, DeviceKind, Federation, Mesh, Metrics, Publication, ServiceKind,
    on_both_backends,
};

/// The router's counter of questions to the gateways.
const QUESTIONS: &str = "roost_router_questions_total";

async fn questions(api: &Api) -> f64 {
    Metrics::of(api).await.sum(QUESTIONS, &[])
}

/// Nobody has ever seen the device: one question, all absent, the commands wait; the next one asks nobody.
async fn a_stranger_is_asked_for_once(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.stranger.*").await;
    let before = questions(&mesh.api()).await;
    for number in 1..=2 {
        let command = Publication::command("stranger", "devices/stranger/cmd", b"hello", &number.to_string())
            .header("roost-receipts", "all");
        service.publish(&command).await.expect("the mesh has it");
        let parked = service
            .next_where(|delivery| {
                delivery.correlation_id == Some(number.to_string())
                    && delivery.key.ends_with(".parked")
                    && delivery.json()["reason"] != "asking"
            })
            .await;
        assert_eq!(parked.json()["state"], "parked");
    }
    assert_eq!(questions(&mesh.api()).await - before, 1.0, "questions for two commands");

    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "stranger")).await;
    device.subscribe("devices/stranger/cmd", 1).await.expect("subscribed");
    for number in 1..=2 {
        assert_eq!(device.next().await.expect("still connected").text(), "hello");
        let receipts = service.receipts_of(&number.to_string()).await;
        let last = receipts.last().expect("ends with the final one");
        assert_eq!((&last["state"], &last["gateway"]), (&"delivered".into(), &"us-1".into()), "{last}");
    }
    assert_eq!(questions(&mesh.api()).await - before, 1.0, "it was known when it came");
}

/// A router that was killed finds every connected device again: by question or by snapshot, but without its help.
async fn a_new_router_finds_a_connected_device(backend: Backend) {
    let mut mesh = Federation::start(backend).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "here")).await;
    device.subscribe("devices/here/cmd", 1).await.expect("subscribed");
    mesh.api().located("here", "us-1").await;
    mesh.kill_router();
    mesh.start_router().await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.here.*").await;
    service
        .publish(&Publication::command("here", "devices/here/cmd", b"still?", "1"))
        .await
        .expect("the mesh has it");
    assert_eq!(device.next().await.expect("the router's death is not the device's").text(), "still?");
    let receipts = service.receipts_of("1").await;
    assert_eq!((&receipts[0]["state"], &receipts[0]["gateway"]), (&"delivered".into(), &"us-1".into()));
    mesh.api().located("here", "us-1").await;
}

on_both_backends!(a_stranger_is_asked_for_once, a_new_router_finds_a_connected_device);
