//! Of several commands with one supersede key a device that was away gets the newest, and the senders of the others are told.

use roost_harness::{
    Backend, Connect, Delivery, Device, DeviceKind, Federation, Publication, ServiceKind, on_both_backends,
};

const TOPIC: &str = "devices/thermostat/cmd";

async fn of_several_wishes_the_last_one_arrives(backend: Backend) {
    let mut mesh = Federation::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.thermostat.*").await;
    let wish = |degrees: &str| {
        Publication::command("thermostat", TOPIC, degrees.as_bytes(), degrees)
            .header("roost-supersede-key", "temperature")
            .header("roost-receipts", "all")
    };
    service.publish(&wish("19")).await.expect("the mesh has it");
    let fan = Publication::command("thermostat", TOPIC, b"fan", "fan");
    service.publish(&fan).await.expect("the mesh has it");
    service.publish(&wish("20")).await.expect("the mesh has it");
    let last = service.receipts_of("19").await.pop().expect("the final one");
    assert_eq!(last["state"], "superseded");
    assert_eq!(last["detail"], "message id 20 took its place");

    mesh.kill_router();
    mesh.start_router().await;
    let again = wish("19");
    service.publish(&again).await.expect("the mesh has it");
    let is_repeated = |receipt: &Delivery| {
        receipt.correlation_id.as_deref() == Some("19") && receipt.json()["duplicate"] == true
    };
    assert_eq!(service.next_where(is_repeated).await.json()["state"], "superseded");
    // Over HTTP it is the same.
    let body = serde_json::json!({"topic": TOPIC, "payload": "21", "message_id": "21", "supersede_key": "temperature"});
    let taken = mesh.api().post("/v1/tenants/main/devices/thermostat/commands", &body).await;
    assert_eq!(taken.expect("the router answers").status, 202);
    let last = service.receipts_of("20").await.pop().expect("the final one");
    assert_eq!(last["state"], "superseded");

    let how = Connect::to(mesh.mqtt_port("eu-1"), "thermostat");
    let mut device = Device::connected(DeviceKind::RumqttcV5, &how).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    for expected in ["fan", "21"] {
        assert_eq!(device.next().await.expect("still connected").text(), expected);
    }
    assert_eq!(service.receipts_of("21").await.pop().expect("the final one")["state"], "delivered");
    assert_eq!(device.arrived(), Vec::new(), "nothing of what was replaced");
}

on_both_backends!(of_several_wishes_the_last_one_arrives);
