//! PINGREQ and DISCONNECT, from either side (3.12, 3.14).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, framed};

pub(crate) const CASES: &[Case] = &[
    case!(every_ping_is_answered,
        v4: ["MQTT-3.12.4-1"],
        v5: ["MQTT-3.12.4-1"]),
    case!(after_a_goodbye_the_gateway_closes_and_reads_nothing_more,
        v4: ["MQTT-3.14.4-1", "MQTT-3.14.4-2"],
        v5: ["MQTT-3.14.4-1"]),
    case!(a_disconnect_of_the_gateway_is_the_last_and_has_no_expiry,
        v4: [],
        v5: ["MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-4.13.2-1"]),
    case!(a_goodbye_may_change_the_expiry_but_not_begin_one,
        v4: [],
        v5: ["MQTT-3.1.2-23"]),
    case!(a_transport_delivers_bytes_in_any_pieces,
        v4: ["MQTT-7.1.1-1", "MQTT-7.0.0-2"],
        v5: ["MQTT-4.2.0-1"]),
];

async fn every_ping_is_answered(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.send(&PINGREQ.repeat(3)).await;
    for _ in 0..3 {
        client.expect(PINGRESP).await;
    }
}

async fn after_a_goodbye_the_gateway_closes_and_reads_nothing_more(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    let publish = Publish::new(&topic, b"x").retained().bytes(at.level);
    client.send(&[DISCONNECT, &publish, PINGREQ].concat()).await;
    client.expect_end().await;
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 0).await;
    later.has_no_more().await;
}

async fn a_disconnect_of_the_gateway_is_the_last_and_has_no_expiry(at: At) {
    let older = Connect::kept(5, &at.id("a"));
    let mut older = Client::connect(at, &older).await;
    let _newer = Client::kept(at, "a").await;
    let (first, body) = older.next().await;
    assert_eq!((first, body.first()), (0xE0, Some(&0x8E)), "{body:02x?}");
    assert!(body.len() < 2 || body[1] == 0, "no properties: {body:02x?}");
    older.expect_end().await;
}

async fn a_goodbye_may_change_the_expiry_but_not_begin_one(at: At) {
    let goodbye = |expiry_s: u8| framed(0xE0, &[0, 5, 0x11, 0, 0, 0, expiry_s]);
    let mut ends = Client::clean(at, "a").await;
    ends.send(&goodbye(60)).await;
    ends.expect_disconnect(0x82).await;
    let mut kept = Client::kept(at, "b").await;
    kept.send(&goodbye(60)).await;
    kept.expect_end().await;
    let mut kept = Client::kept(at, "b").await;
    assert!(kept.session_present(), "for a minute");
    kept.send(&goodbye(0)).await;
    kept.expect_end().await;
    assert!(!Client::kept(at, "b").await.session_present(), "given up");
}

/// Over plain TCP, with nothing but what the specification has.
async fn a_transport_delivers_bytes_in_any_pieces(at: At) {
    let topic = at.topic("t");
    let mut client = Client::stranger(at).await;
    for byte in Connect::clean(at.level, &at.id("a")).bytes() {
        client.send(&[byte]).await;
    }
    assert_eq!(client.next().await.0, 0x20, "CONNACK");
    client.subscribe(&topic, 1).await;
    for byte in Publish::new(&topic, b"x").bytes(at.level) {
        client.send(&[byte]).await;
    }
    assert_eq!(client.text().await, "x");
    let publishes = Publish::new(&topic, b"y").bytes(at.level).repeat(10);
    client.send(&publishes).await;
    for _ in 0..10 {
        assert_eq!(client.text().await, "y");
    }
}
