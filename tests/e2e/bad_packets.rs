//! What no client would send is answered and never fatal: the next client finds the gateway as it was.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, PATIENCE, RawMqtt, eventually, on_both_backends,
};

const CONNACK: u8 = 0x20;
const DISCONNECT: u8 = 0xE0;

const MALFORMED_PACKET: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
const TOPIC_FILTER_INVALID: u8 = 0x8F;
const TOPIC_NAME_INVALID: u8 = 0x90;
const PACKET_TOO_LARGE: u8 = 0x95;

/// What a gateway may answer before it closes: one of these reason codes, where MQTT 5 leaves a choice.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    reasons: &'static [u8],
}

fn case(what: &'static str, bytes: impl Into<Vec<u8>>, reasons: &'static [u8]) -> Case {
    Case { what, bytes: bytes.into(), reasons }
}

/// After a good CONNECT with MQTT 5.
fn bad_packets() -> Vec<Case> {
    const MALFORMED: &[u8] = &[MALFORMED_PACKET, PROTOCOL_ERROR];
    vec![
        case("a length of five bytes", [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MALFORMED),
        // 268,435,455 bytes: refused when it is declared, not when it has come.
        case("a PUBLISH of 256 MB", [0x30, 0xFF, 0xFF, 0xFF, 0x7F], &[PACKET_TOO_LARGE]),
        case("packet type 0", [0x00, 0x00], MALFORMED),
        case(
            "a second CONNECT",
            b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01x".as_slice(),
            &[PROTOCOL_ERROR],
        ),
        case("a CONNACK from a client", [0x20, 0x03, 0, 0, 0], MALFORMED),
        case("a PUBLISH of QoS 3", [0x36, 0x06, 0, 1, b't', 0, 1, 0], MALFORMED),
        case("a PUBREL with the wrong flags", [0x60, 0x02, 0, 1], MALFORMED),
        case("a topic longer than its packet", [0x30, 0x05, 0xFF, 0xFF, b't', 0, 0], MALFORMED),
        case(
            "a topic with a wildcard",
            [0x30, 0x06, 0, 3, b'a', b'/', b'#', 0],
            &[TOPIC_NAME_INVALID, MALFORMED_PACKET],
        ),
        case("a topic that is not UTF-8", [0x30, 0x05, 0, 2, 0xC3, 0x28, 0], MALFORMED),
        case(
            "a topic with NUL",
            [0x30, 0x05, 0, 2, b'a', 0, 0],
            &[MALFORMED_PACKET, PROTOCOL_ERROR, TOPIC_NAME_INVALID],
        ),
        case("a packet id of 0", [0x32, 0x06, 0, 1, b't', 0, 0, 0], MALFORMED),
        case("a SUBSCRIBE without a filter", [0x82, 0x03, 0, 1, 0], &[MALFORMED_PACKET, PROTOCOL_ERROR]),
        case("a SUBSCRIBE with the wrong flags", [0x80, 0x07, 0, 1, 0, 0, 1, b'a', 0], MALFORMED),
        case("an unknown property", [0x30, 0x05, 0, 1, b't', 1, 0x7F], MALFORMED),
        case("a property twice", [0x30, 0x08, 0, 1, b't', 4, 1, 0, 1, 0], MALFORMED),
        case("an AUTH that nobody asked for", [0xF0, 0x00], MALFORMED),
    ]
}

async fn bad_packets_are_answered_and_hurt_nobody_else(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let mut bystander = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "bystander")).await;
    for Case { what, bytes, reasons } in bad_packets() {
        let mut raw = RawMqtt::connect(port).await;
        raw.send_connect(5, b"rude").await;
        let connack = raw.packet().await;
        assert!(matches!(&connack, Some((CONNACK, body)) if body[1] == 0), "{what}: {connack:?}");
        raw.send(&bytes).await;
        let Some((first, body)) = raw.packet().await else { panic!("{what}: closed without a word") };
        assert_eq!(first, DISCONNECT, "{what}");
        assert!(body.first().is_some_and(|reason| reasons.contains(reason)), "{what}: {body:02x?}");
        assert!(raw.rest().await.is_empty(), "{what}: closed after the DISCONNECT");
    }
    bystander.publish("still/here", b"", 1).await.expect("nobody else noticed");
}

/// Before the gateway knows whom it talks to it closes, and where a CONNECT could be read it says why.
async fn a_bad_connect_is_refused(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".as_slice()),
        ("a PUBLISH first", b"\x30\x04\x00\x01t\x00".as_slice()),
        ("another protocol", b"\x10\x0d\x00\x04COAP\x05\x02\x00\x3c\x00\x00\x00".as_slice()),
        ("a CONNECT of 256 MB", b"\x10\xff\xff\xff\x7f".as_slice()),
        ("the reserved flag", b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x00".as_slice()),
    ] {
        let mut raw = RawMqtt::connect(port).await;
        raw.send(bytes).await;
        let said = raw.rest().await;
        assert!(said.is_empty() || said[0] == CONNACK && said[3] != 0, "{what}: {said:02x?}");
    }
    let mut raw = RawMqtt::connect(port).await;
    raw.send_connect(9, b"x").await;
    let (first, body) = raw.packet().await.expect("a CONNACK tells an unknown level");
    assert!(first == CONNACK && body[1] != 0, "{body:02x?}");
    Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, "next")).await.disconnect().await;
}

async fn a_bad_client_id_is_refused(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let longest = "ü".repeat(32); // 64 bytes
    for (what, id) in [
        ("65 bytes", format!("{longest}x")),
        ("thousands of bytes", "x".repeat(5000)),
        ("a wildcard", "a+b".to_owned()),
        ("a hash", "a#".to_owned()),
        ("a control character", "a\u{7}b".to_owned()),
    ] {
        let mut raw = RawMqtt::connect(port).await;
        raw.send_connect(5, id.as_bytes()).await;
        let (first, body) = raw.packet().await.unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert_eq!((first, body[1]), (CONNACK, CLIENT_IDENTIFIER_NOT_VALID), "{what}");
        assert!(raw.rest().await.is_empty(), "{what}");

        let mut raw = RawMqtt::connect(port).await;
        raw.send_connect(4, id.as_bytes()).await;
        let (first, body) = raw.packet().await.unwrap_or_else(|| panic!("{what}: closed without a word"));
        assert_eq!((first, body[1]), (CONNACK, 2), "{what}: identifier rejected, in 3.1.1");
    }
    let mut device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, &longest)).await;
    device.publish("fits", b"", 1).await.expect("64 bytes are allowed");
}

/// A filter is refused alone: the connection and the filters beside it stay.
async fn a_bad_filter_is_refused_alone(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut raw = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    raw.send_connect(5, b"picky").await;
    raw.packet().await.expect("connected");
    raw.send_packet(0x82, b"\x00\x01\x00\x00\x03a/b\x01\x00\x04a/#b\x01\x00\x03c/#\x01").await;
    let (first, body) = raw.packet().await.expect("a SUBACK");
    assert_eq!((first, &body[..]), (0x90, &[0, 1, 0, 1, TOPIC_FILTER_INVALID, 1][..]));
}

/// Who connects and says nothing is not kept for ever.
async fn silence_is_ended(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut silent = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    let mut half = RawMqtt::connect(mesh.mqtt_port("eu-1")).await;
    half.send(b"\x10\x20\x00\x04MQ").await;
    assert!(silent.rest().await.is_empty());
    assert!(half.rest().await.is_empty());
    eventually("the gateway is well", PATIENCE, async || {
        match mesh.admin("eu-1").get("/readyz").await?.status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

on_both_backends!(
    bad_packets_are_answered_and_hurt_nobody_else,
    a_bad_connect_is_refused,
    a_bad_client_id_is_refused,
    a_bad_filter_is_refused_alone,
    silence_is_ended,
);
