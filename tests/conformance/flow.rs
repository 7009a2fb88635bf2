//! Receive Maximum and Maximum Packet Size, both ways (3.1.2.11, 3.2.2.3, 3.3.4, 4.9).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Connect, PINGREQ, PINGRESP, Publish, ack, framed, subscribe};

pub(crate) const CASES: &[Case] = &[
    case!(no_more_than_the_receive_maximum_is_on_its_way,
        v4: [],
        v5: ["MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"]),
    case!(a_full_window_holds_up_nothing_but_publishes,
        v4: [],
        v5: ["MQTT-3.3.4-10", "MQTT-4.9.0-3"]),
    case!(who_publishes_beyond_the_receive_maximum_expect_disconnect,
        v4: [],
        v5: ["MQTT-3.3.4-7"]),
    case!(a_client_whose_window_is_full_is_answered_all_else,
        v4: [],
        v5: ["MQTT-3.3.4-8", "MQTT-4.9.0-3"]),
    case!(what_is_larger_than_the_client_takes_is_left_out,
        v4: [],
        v5: ["MQTT-3.1.2-24", "MQTT-3.1.2-25"]),
    case!(what_is_larger_than_the_gateway_takes_ends_the_connection,
        v4: ["MQTT-4.8.0-1"],
        v5: ["MQTT-3.2.2-15"]),
];

/// The gateway's Receive Maximum and Maximum Packet Size, as its CONNACK says them.
const RECEIVE_MAXIMUM: [u8; 3] = [0x21, 0, 100];
const MAXIMUM_PACKET_SIZE: [u8; 5] = [0x27, 0, 4, 0, 0];

/// A client of this case that takes two messages at a time, and has subscribed to `t`.
async fn modest(at: At) -> Client {
    let connect = Connect::clean(5, &at.id("modest")).with(&[0x21, 0, 2]);
    let mut client = Client::connect(at, &connect).await;
    client.subscribe(&at.topic("t"), 2).await;
    client
}

async fn no_more_than_the_receive_maximum_is_on_its_way(at: At) {
    let topic = at.topic("t");
    let mut client = modest(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for n in 1..=4 {
        publisher.publish(Publish::new(&topic, b"x").at(1 + n % 2, 1)).await;
    }
    let (first, second) = (client.message().await, client.message().await);
    assert_eq!([first.qos, second.qos], [2, 1]);
    client.has_no_more().await;
    client.send(&ack(0x50, first.packet_id)).await;
    client.expect(&ack(0x62, first.packet_id)).await;
    client.has_no_more().await;
    client.send(&ack(0x70, first.packet_id)).await;
    let third = client.message().await;
    client.has_no_more().await;
    client.send(&ack(0x40, second.packet_id)).await;
    assert_eq!([third.qos, client.message().await.qos], [2, 1]);
}

async fn a_full_window_holds_up_nothing_but_publishes(at: At) {
    let topic = at.topic("t");
    let mut client = modest(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for _ in 0..3 {
        publisher.publish(Publish::new(&topic, b"x").at(1, 1)).await;
    }
    let (first, second) = (client.message().await, client.message().await);
    // Its own publishes, subscriptions and pings are answered meanwhile.
    client.publish(Publish::new(&at.topic("own"), b"x").at(2, 1)).await;
    client.subscribe(&at.topic("more"), 1).await;
    client.send(PINGREQ).await;
    client.expect(PINGRESP).await;
    client.send(&[ack(0x40, first.packet_id), ack(0x40, second.packet_id)].concat()).await;
    assert_eq!(client.message().await.text(), "x");
}

/// What waits for PUBREL counts: the client has no PUBCOMP for it.
async fn who_publishes_beyond_the_receive_maximum_expect_disconnect(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    assert!(client.connack.windows(3).any(|part| part == RECEIVE_MAXIMUM), "{:02x?}", client.connack);
    for id in 1..=100 {
        client.send(&Publish::new(&topic, b"x").at(2, id).bytes(5)).await;
        assert_eq!(client.next().await.0, 0x50, "PUBREC {id}");
    }
    client.send(&Publish::new(&topic, b"x").at(1, 101).bytes(5)).await;
    client.expect_disconnect(0x93).await;
}

async fn a_client_whose_window_is_full_is_answered_all_else(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    for id in 1..=100 {
        client.send(&Publish::new(&topic, b"x").at(2, id).bytes(5)).await;
        assert_eq!(client.next().await.0, 0x50, "PUBREC {id}");
    }
    client.send(PINGREQ).await;
    client.expect(PINGRESP).await;
    client.subscribe(&at.topic("own"), 0).await;
    client.publish(Publish::new(&at.topic("own"), b"QoS 0 counts for nothing")).await;
    assert_eq!(client.text().await, "QoS 0 counts for nothing");
    client.send(&ack(0x62, 50)).await;
    client.expect(&ack(0x70, 50)).await;
    client.publish(Publish::new(&topic, b"x").at(2, 101)).await;
}

async fn what_is_larger_than_the_client_takes_is_left_out(at: At) {
    let topic = at.topic("t");
    let takes_100_bytes = Connect::kept(5, &at.id("a")).with(&[0x27, 0, 0, 0, 100]);
    let mut client = Client::connect(at, &takes_100_bytes).await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::clean(at, "publisher").await;
    // Two bytes of header, two of length and the topic, two of packet id, one of properties, and the payload.
    let room = 100 - 2 - 2 - topic.len() - 2 - 1;
    for (n, bytes) in [room, room + 1, room].into_iter().enumerate() {
        for qos in [1, 2] {
            publisher.publish(Publish::new(&topic, &vec![b'0' + n as u8; bytes]).at(qos, 1)).await;
        }
    }
    for (first, qos) in [(b'0', 1), (b'0', 2), (b'2', 1), (b'2', 2)] {
        let message = client.take().await;
        assert_eq!((message.payload[0], message.payload.len(), message.qos), (first, room, qos));
    }
    client.has_no_more().await;
    client.leave().await;
    // It counts as sent: another connection, which would take it, does not get it.
    Client::kept(at, "a").await.has_no_more().await;
}

async fn what_is_larger_than_the_gateway_takes_ends_the_connection(at: At) {
    let topic = at.topic("t");
    let mut fits = Client::clean(at, "fits").await;
    if at.is_v5() {
        assert!(fits.connack.windows(5).any(|part| part == MAXIMUM_PACKET_SIZE), "{:02x?}", fits.connack);
    }
    let head = Publish::new(&topic, b"").bytes(at.level).len() - 2;
    let largest = 256 * 1024 - 4;
    fits.publish(Publish::new(&topic, &vec![b'x'; largest - head])).await;
    fits.has_no_more().await;
    let mut exceeds = Client::clean(at, "exceeds").await;
    // The header alone says it.
    exceeds.send(&framed(0x30, &vec![0; largest + 1])[..4]).await;
    exceeds.expect_disconnect(0x95).await;
    let mut other = Client::clean(at, "other").await;
    other.send(&subscribe(at.level, 1, &[(&topic, 0)], &[])).await;
    assert_eq!(other.next().await.0, 0x90, "nobody else notices");
}
