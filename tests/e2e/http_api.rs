//! Commands over HTTP: for programs that have no AMQP client.

use roost_harness::{Backend, Connect, Device, DeviceKind, Mesh, on_both_backends};
use serde_json::json;

async fn a_command_over_http_is_delivered(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "pump")).await;
    device.subscribe("devices/pump/cmd", 1).await.expect("subscribed");
    mesh.api().located("pump", "us-1").await;

    let text = json!({"topic": "devices/pump/cmd", "payload": "start"});
    let answer = mesh.api().command("pump", &text, 30).await;
    assert_eq!((answer.status, &answer.body["state"]), (200, &"delivered".into()), "{answer:?}");
    assert!(answer.body["message_id"].is_string(), "HTTP assigns one: {answer:?}");
    assert_eq!(device.next().await.expect("still connected").text(), "start");

    let binary =
        json!({"topic": "devices/pump/cmd", "payload_base64": "AP8=", "message_id": "mine", "qos": 1});
    let answer = mesh.api().command("pump", &binary, 30).await;
    assert_eq!((answer.status, &answer.body["message_id"]), (200, &"mine".into()), "{answer:?}");
    assert_eq!(device.next().await.expect("still connected").payload, [0, 255]);

    let gateways = mesh.api().get("/v1/gateways").await.expect("the router answers").body.to_string();
    assert!(gateways.contains("\"eu-1\"") && gateways.contains("\"us-1\""), "{gateways}");
}

async fn who_does_not_wait_gets_what_is_known(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let command = json!({"topic": "devices/away/cmd", "payload": "later"});
    let answer = mesh.api().command("away", &command, 1).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(
        ["accepted", "parked"].contains(&answer.body["state"].as_str().unwrap_or_default()),
        "{answer:?}"
    );
}

async fn a_bad_request_says_what_to_change(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let cases = [
        ("a wildcard", json!({"topic": "a/#", "payload": "x"}), "topic"),
        ("two payloads", json!({"topic": "a", "payload": "x", "payload_base64": "eA=="}), "payload"),
        ("no base64", json!({"topic": "a", "payload_base64": "?"}), "payload_base64"),
        ("QoS 2", json!({"topic": "a", "payload": "x", "qos": 2}), "qos"),
        ("an unknown field", json!({"topic": "a", "payload": "x", "expires": 5}), "expires"),
    ];
    for (what, body, about) in cases {
        let answer = mesh.api().command("any", &body, 1).await;
        assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
        let problem = answer.body.to_string();
        assert!(problem.contains(about), "{what}: does not speak of {about}: {problem}");
        assert!(
            answer.body["title"].is_string() && answer.body["status"] == answer.status,
            "{what}: {problem}"
        );
    }
    let answer = mesh.api().get("/v1/tenants/NOT%20ONE/devices/x").await.expect("the router answers");
    assert_eq!(answer.status, 400, "{answer:?}");
}

on_both_backends!(
    a_command_over_http_is_delivered,
    who_does_not_wait_gets_what_is_known,
    a_bad_request_says_what_to_change,
);
