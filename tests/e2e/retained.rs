//! Messages that a gateway keeps for who subscribes later, over raw sockets.

use roost_harness::{Backend, Mesh, Metrics, PATIENCE, RawMqtt, eventually, on_both_backends};

use crate::raw_client::RawClient;

const RETAIN: u8 = 0b0001;
const QOS_1: u8 = 0b0010;

/// Publishes at QoS 1 with RETAIN, and waits for the PUBACK.
pub(crate) async fn retain(raw: &mut RawMqtt, level: u8, topic: &str, payload: &[u8]) {
    let mut body = u16::try_from(topic.len()).expect("it is short").to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&[0, 1]);
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    raw.send_packet(0x30 | QOS_1 | RETAIN, &body).await;
    let (first, body) = raw.packet().await.expect("a PUBACK");
    assert_eq!((first, &body[..2]), (0x40, &[0, 1][..]), "{body:?}");
    assert!(body.get(2).is_none_or(|reason| *reason < 0x80), "{body:?}");
}

/// The next publish: its flags and its last bytes, acknowledged.
async fn next(raw: &mut RawMqtt) -> (u8, Vec<u8>) {
    let (first, body) = raw.packet().await.expect("a PUBLISH");
    assert_eq!(first & 0xF0, 0x30, "{first:#x}");
    if first & QOS_1 != 0 {
        let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        raw.send_packet(0x40, &body[at..at + 2]).await;
    }
    (first & 0x0F, body)
}

async fn who_subscribes_later_gets_what_was_retained(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    for level in [4, 5] {
        let topic = format!("local/kept/{level}");
        let mut publisher = RawClient::clean(port, level, "publisher").await;
        for payload in [&b"older"[..], b"last"] {
            retain(&mut publisher.raw, level, &topic, payload).await;
        }
        let mut subscriber = RawClient::clean(port, level, "subscriber").await;
        subscriber.subscribe("local/kept/#").await;
        let (flags, body) = next(&mut subscriber.raw).await;
        assert_eq!(flags & (RETAIN | QOS_1), RETAIN | QOS_1, "it is flagged, level {level}");
        assert!(body.ends_with(b"last"), "level {level}");
        subscriber.has_no_more().await;
        // It is delivered as any publish, and gone for who comes then.
        retain(&mut publisher.raw, level, &topic, b"").await;
        let (flags, _) = next(&mut subscriber.raw).await;
        assert_eq!(flags & RETAIN, 0, "an established subscription gets no flag, level {level}");
        let mut late = RawClient::clean(port, level, "late").await;
        late.subscribe("local/kept/#").await;
        late.has_no_more().await;
    }
}

/// A client that takes one at a time gets all, and what was published meanwhile behind them.
async fn five_hundred_come_one_by_one(backend: Backend) {
    const MANY: usize = 500;
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let mut publisher = RawClient::clean(port, 5, "publisher").await;
    for n in 0..MANY {
        retain(&mut publisher.raw, 5, &format!("local/many/{n:03}"), format!("{n:03}").as_bytes()).await;
    }
    eventually("they are counted", PATIENCE, async || {
        let kept = Metrics::of(&mesh.admin("eu-1")).await.sum("roost_gateway_retained_messages", &[]);
        if kept == MANY as f64 { Ok(()) } else { Err(format!("{kept}")) }
    })
    .await;
    let mut subscriber = RawClient::one_at_a_time(port, "subscriber").await;
    subscriber.subscribe("local/many/+").await;
    retain(&mut publisher.raw, 5, "local/many/000", b"new").await;
    for n in 0..MANY {
        let (flags, body) = next(&mut subscriber.raw).await;
        assert!(body.ends_with(format!("{n:03}").as_bytes()) && flags & RETAIN != 0, "{n}: {body:?}");
    }
    let (flags, body) = next(&mut subscriber.raw).await;
    assert!(body.ends_with(b"new") && flags & RETAIN == 0, "{body:?}");
    subscriber.has_no_more().await;
}

on_both_backends!(who_subscribes_later_gets_what_was_retained, five_hundred_come_one_by_one);
