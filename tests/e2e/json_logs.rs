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

    for message in ["command accepted", "command forwarded", "command taken in", "command ended"] {
        eventually(&format!("\"{message}\" is logged"), PATIENCE, async || {
            let objects = objects(&mesh.output());
            let found = objects.iter().find(|object| object["message"] == message);
            let found = found.ok_or_else(|| format!("{objects:?}"))?;
            let has_epoch = found["epoch"].is_string() == (message != "command accepted");
            let is_whole = found["tenant"] == "main"
                && found["device"] == "lamp"
                && found["trace_id"] == TRACE
                && found["level"] == "DEBUG"
                && has_epoch;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_connections_can_be_followed_and_refusals_are_bounded() {
    let log = "info,roost_gateway=debug,lapin=off";
    let mesh = Mesh::start_with(Backend::Embedded, &["--log-format", "json", "--log", log]).await;
    let to = Connect::to(mesh.mqtt_port("eu-1"), "lamp");
    let first = Device::connected(DeviceKind::RumqttcV5, &to).await;
    let second = Device::connected(DeviceKind::RumqttcV5, &to).await;
    drop((first, second));
    // Not what a device may be called; far more often than once in ten seconds.
    for _ in 0..50 {
        let wrong = Connect::to(mesh.mqtt_port("eu-1"), "a#b");
        Device::connect(DeviceKind::RumqttcV5, &wrong).await.expect_err("it is refused");
    }
    for (message, reason) in [
        ("device connected", None),
        ("device taken over", Some("taken_over")),
        ("device disconnected", Some("connection_lost")),
    ] {
        eventually(&format!("\"{message}\" is logged"), PATIENCE, async || {
            let objects = objects(&mesh.output());
            let found = objects.iter().any(|object| {
                object["message"] == message
                    && object["tenant"] == "main"
                    && object["device"] == "lamp"
                    && object["level"] == "DEBUG"
                    && object["reason"].as_str() == reason
            });
            if found { Ok(()) } else { Err(format!("{objects:?}")) }
        })
        .await;
    }
    let objects = objects(&mesh.output());
    let refusals: Vec<&Value> =
        objects.iter().filter(|object| object["message"] == "connection refused").collect();
    assert!(refusals.iter().all(|refusal| refusal["level"] == "WARN"), "{refusals:?}");
    let told = refusals.iter().filter(|refusal| refusal["reason"] == "client_id").count();
    let most = 50 / 5;
    assert!((1..=most).contains(&told), "{told} lines for 50 refusals");
}
