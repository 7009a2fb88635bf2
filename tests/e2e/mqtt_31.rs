//! A client of MQTT 3.1 beside those of later versions.

use roost_harness::{Backend, Mesh, Publication, RawMqtt, ServiceKind, on_both_backends};

/// A CONNECT of the protocol MQIsdp, level 3, with a clean session.
fn connect(client_id: &str) -> Vec<u8> {
    let mut body = b"\x00\x06MQIsdp\x03\x02\x00\x3c\x00".to_vec();
    body.push(u8::try_from(client_id.len()).expect("it is short"));
    body.extend_from_slice(client_id.as_bytes());
    body
}

async fn a_client_of_mqtt_3_1_gets_commands_and_publishes(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.old.#").await;
    let mut old = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    old.send_packet(0x10, &connect("old")).await;
    assert_eq!(old.packet().await, Some((0x20, vec![0, 0])), "CONNACK");
    old.send_packet(0x82, b"\x00\x01\x00\x0fdevices/old/cmd\x01").await;
    assert_eq!(old.packet().await, Some((0x90, vec![0, 1, 1])), "SUBACK");
    service.publish(&Publication::command("old", "devices/old/cmd", b"do", "c-1")).await.expect("taken in");
    let (first, body) = old.packet().await.expect("the command");
    assert_eq!((first, &body[..17], &body[19..]), (0x32, &b"\x00\x0fdevices/old/cmd"[..], &b"do"[..]));
    old.send_packet(0x40, &body[17..19]).await;
    old.send_packet(0x32, b"\x00\x01a\x00\x01on").await;
    assert_eq!(old.packet().await, Some((0x40, vec![0, 1])), "PUBACK");
    assert_eq!(service.next().await.text(), "on");

    let mut nameless = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    nameless.send_packet(0x10, &connect("")).await;
    assert_eq!(nameless.packet().await, Some((0x20, vec![0, 2])), "identifier rejected");
    assert!(nameless.rest().await.is_empty());
}

on_both_backends!(a_client_of_mqtt_3_1_gets_commands_and_publishes);
