//! What an operator wants MQTT 5 devices to know stands in CONNACK, and in the DISCONNECT of a gateway that goes away.

use roost_harness::{Backend, Federation, RawMqtt, on_both_backends};

const HERE: &str = "limits: {keep_alive_s_max: 30, topic_alias_maximum: 3}\nresponse_information: local/answers/{device}/\n\
    drain: {server_reference: 'us.example.org:1883'}\n";
const USE_ANOTHER_SERVER: u8 = 0x9C;

/// A CONNECT with a keep alive of 60 s that asks for Response Information.
const CONNECT: &[u8] = b"\x00\x04MQTT\x05\x02\x00\x3c\x02\x19\x01\x00\x05meter";

fn holds(body: &[u8], property: &[u8]) -> bool {
    body.windows(property.len()).any(|window| window == property)
}

async fn devices_are_told_what_the_operator_says(backend: Backend) {
    let mut mesh = Federation::of(backend).await.with_gateways(HERE).started().await;
    let mut device = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    device.send_packet(0x10, CONNECT).await;
    let (first, connack) = device.packet().await.expect("a CONNACK");
    assert_eq!((first, connack[1]), (0x20, 0));
    assert!(holds(&connack, b"\x13\x00\x1e"), "Server Keep Alive: {connack:02x?}");
    assert!(holds(&connack, b"\x22\x00\x03"), "Topic Alias Maximum: {connack:02x?}");
    assert!(holds(&connack, b"\x1a\x00\x14local/answers/meter/"), "Response Information: {connack:02x?}");

    let mut old = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    old.send_connect(4, b"old").await;
    assert_eq!(old.packet().await, Some((0x20, vec![0, 0])), "3.1.1 has no place for any of it");

    mesh.stop_gateway("eu-1").await;
    let (first, disconnect) = device.packet().await.expect("a DISCONNECT");
    assert_eq!((first, disconnect[0]), (0xE0, USE_ANOTHER_SERVER));
    assert!(disconnect.ends_with(b"\x1c\x00\x13us.example.org:1883"), "Server Reference: {disconnect:02x?}");
    assert!(old.rest().await.is_empty(), "3.1.1 has no such packet either");
}

on_both_backends!(devices_are_told_what_the_operator_says);
