//! Bytes that no good client sends.

use crate::client::{Client, PATIENCE};
use crate::{on_a_free_port, start, url};
use roost_backend::embedded::core::Limits;
use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADER: &[u8] = b"AMQP\0\0\x09\x01";

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xce);
    bytes
}

/// The frames up to an open connection with channel 1.
fn opening() -> Vec<u8> {
    let start_ok = b"\x00\x0a\x00\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
    let tune_ok = b"\x00\x0a\x00\x1f\x07\xff\x00\x02\x00\x00\x00\x00";
    let open = b"\x00\x0a\x00\x28\x01/\0\0";
    let channel_open = b"\x00\x14\x00\x0a\0";
    let mut bytes = HEADER.to_vec();
    bytes.extend(frame(1, 0, start_ok));
    bytes.extend(frame(1, 0, tune_ok));
    bytes.extend(frame(1, 0, open));
    bytes.extend(frame(1, 1, channel_open));
    bytes
}

/// Sends bytes, and reads until the broker closes or `enough` has come.
async fn answer(broker: &EmbeddedBroker, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let read = async {
        while !enough(&answer) {
            match stream.read(&mut chunk).await.unwrap() {
                0 => return,
                read => answer.extend_from_slice(&chunk[..read]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the broker answers or closes");
    answer
}

/// The reply code of a `connection.close` (10.50) or `channel.close` (20.40) among frames.
fn close_code(mut bytes: &[u8]) -> Option<(u16, u16)> {
    while bytes.len() > 11 {
        let length = u32::from_be_bytes(bytes[3..7].try_into().unwrap()) as usize;
        let payload = bytes.get(7..7 + length)?;
        if bytes[0] == 1 && (payload.starts_with(&[0, 10, 0, 50]) || payload.starts_with(&[0, 20, 0, 40])) {
            let class = u16::from_be_bytes([payload[0], payload[1]]);
            return Some((class, u16::from_be_bytes([payload[4], payload[5]])));
        }
        bytes = &bytes[length + 8..];
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_protocol_header_is_answered_with_the_right_one() {
    let broker = start(on_a_free_port()).await;
    for wrong in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"AMQP\0\x01\0\0", b"AMQP\x01\x01\x00\x0a", b"\x10\x0c\0\x04MQTT"]
    {
        assert_eq!(answer(&broker, wrong, |_| false).await, HEADER, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_are_answered_and_harm_nobody_else() {
    let broker = start(on_a_free_port()).await;
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    let publish = frame(1, 1, b"\x00\x3c\x00\x28\0\0\0\x01q\0");
    let header = |class: u8, size: u64| {
        let mut payload = vec![0, class, 0, 0];
        payload.extend(size.to_be_bytes());
        payload.extend([0, 0]);
        frame(2, 1, &payload)
    };
    let deep = {
        let mut value = vec![b'V'];
        for _ in 0..20_000 {
            let mut outer = vec![b'A'];
            outer.extend((value.len() as u32).to_be_bytes());
            outer.append(&mut value);
            value = outer;
        }
        let mut payload = b"\x00\x32\x00\x0a\0\0\x01n\0".to_vec();
        payload.extend((value.len() as u32 + 2).to_be_bytes());
        payload.extend([1, b'k']);
        payload.extend(value);
        frame(1, 1, &payload)
    };
    let cases: [(&str, Vec<u8>, (u16, u16)); 14] = [
        ("unknown frame type", frame(7, 0, b""), (10, 501)),
        ("256 MB declared", vec![3, 0, 1, 0x10, 0, 0, 0], (10, 501)),
        ("wrong end mark", vec![1, 0, 1, 0, 0, 0, 0, 0], (10, 501)),
        ("method cut short", frame(1, 1, b"\x00\x32\x00\x0a"), (10, 502)),
        ("tables too deep", deep, (10, 502)),
        ("no such method", frame(1, 1, b"\x00\x63\x00\x01"), (10, 503)),
        ("connection method on a channel", frame(1, 1, b"\x00\x0a\x00\x33"), (10, 503)),
        ("transactions", frame(1, 1, b"\x00\x5a\x00\x0a"), (10, 540)),
        ("channel not open", frame(1, 5, b"\x00\x3c\x00\x46\0\0\x01q\0"), (10, 504)),
        ("channel above the maximum", frame(1, 3000, b"\x00\x14\x00\x0a\0"), (10, 504)),
        ("body without method", frame(3, 1, b"x"), (10, 505)),
        (
            "method amid content",
            [publish.clone(), frame(1, 1, b"\x00\x14\x00\x28\0\0\0\0\0\0\0")].concat(),
            (10, 505),
        ),
        ("header of another class", [publish.clone(), header(50, 1)].concat(), (10, 505)),
        ("16 EiB announced", [publish, header(60, u64::MAX)].concat(), (20, 406)),
    ];
    for (what, bytes, expected) in cases {
        let sent = [opening(), bytes].concat();
        let answered = answer(&broker, &sent, |answer| close_code(answer).is_some()).await;
        assert_eq!(close_code(&answered), Some(expected), "{what}");
    }
    client.fill(&queue, &["the others go on"]).await;
    broker.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_cut_after_the_handshake_timeout() {
    let limits = Limits { handshake_timeout_ms: 50, handshakes_max: 2, ..Limits::default() };
    let broker = start(EmbeddedConfig { limits, ..on_a_free_port() }).await;
    let silent = [&b""[..], HEADER, b"AMQ"].map(|bytes| answer(&broker, bytes, |_| false));
    for answer in futures_util::future::join_all(silent).await {
        assert_eq!(close_code(&answer), None);
    }
    Client::connect(&url(&broker)).await.queue("q", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_never_stop_the_broker() {
    let broker = start(on_a_free_port()).await;
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for round in 0..100 {
        let mut bytes = opening();
        let garbage: Vec<u8> = (0..64).map(|_| random()).collect();
        let method = [0, [10, 20, 40, 50, 60, 85][round % 6], 0, random() % 130];
        bytes.extend(frame(1, u16::from(random() % 2), &[&method[..], &garbage].concat()));
        bytes.extend(garbage);
        let mut stream = TcpStream::connect(broker.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    }
    let client = Client::connect(&url(&broker)).await;
    let queue = client.queue("q", &[]).await;
    client.fill(&queue, &["still here"]).await;
}
