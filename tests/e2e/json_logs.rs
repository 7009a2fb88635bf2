//! Logs for programs: one JSON object a line, with device, epoch and trace where they exist.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, PATIENCE, Publication, ServiceKind, eventually,
};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The lines that are objects. What else there is on the output is the demo's own, and no log.
fn objects(output: &str) -> Vec<Value> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_can_be_followed_through_the_logs() {
    let log = "info,roost_router=debug,roost_gateway=debug,lapin=off";
    let mesh = Mesh::start_with(Backend::Embedded, &["--log-format", "json", "--log", log]).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "lamp")).await;
    device.subscribe("devices/lamp/cmd", 1).await.expect("subscribed");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.receipts", "main.lamp.*").await;
    let traced = Publication::command("lamp", "devices/lamp/cmd", b"on", "c-1")
        .header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    service.publish(&traced).await.expect("the mesh has it");
    device.next().await.expect("it is delivered");
    service.receipts_of("c-1").await;

    for message in ["command forwarded", "command taken in"] {
        eventually(&format!("\"{message}\" is logged"), PATIENCE, async || {
            let objects = objects(&mesh.output());
            let found = objects.iter().find(|object| object["message"] == message);
            let found = found.ok_or_else(|| format!("{objects:?}"))?;
            let is_whole =
                found["device"] == "main/lamp" && found["trace"] == TRACE && found["epoch"].is_string();
            if is_whole { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    }
    let output = mesh.output();
    for object in objects(&output) {
        let has = |field: &str| object[field].is_string();
        assert!(has("timestamp") && has("level") && has("target") && has("message"), "{object}");
    }
    assert!(
        !output.contains(" DEBUG ") && !output.contains(" INFO "),
        "a log line that is no JSON: {output}"
    );
}
