//! Wills (3.1.2.5, 3.1.3.2, 3.14.4).

use std::time::{Duration, Instant};

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Connect, DISCONNECT, Publish};

pub(crate) const CASES: &[Case] = &[
    case!(a_will_is_published_when_its_connection_breaks,
        v4: ["MQTT-3.1.2-8", "MQTT-3.1.2-16"],
        v5: ["MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-14"]),
    case!(a_will_is_published_when_its_client_breaks_the_protocol,
        v4: ["MQTT-3.1.2-8"],
        v5: ["MQTT-3.1.2-8"]),
    case!(a_will_may_be_retained,
        v4: ["MQTT-3.1.2-17"],
        v5: ["MQTT-3.1.2-15"]),
    case!(a_goodbye_discards_the_will,
        v4: ["MQTT-3.1.2-10", "MQTT-3.14.4-3"],
        v5: ["MQTT-3.1.2-10", "MQTT-3.14.4-3"]),
    case!(a_goodbye_with_another_reason_publishes_the_will,
        v4: [],
        v5: ["MQTT-3.14.4-3"]),
    case!(a_will_is_published_once,
        v4: ["MQTT-3.1.2-10"],
        v5: ["MQTT-3.1.2-10"]),
    case!(who_has_no_will_leaves_none,
        v4: ["MQTT-3.1.2-12"],
        v5: ["MQTT-3.1.2-11"]),
    case!(a_will_waits_for_its_delay,
        v4: [],
        v5: ["MQTT-3.1.2-8"]),
    case!(who_is_back_within_the_delay_is_not_mourned,
        v4: [],
        v5: ["MQTT-3.1.3-9"]),
    case!(the_properties_of_a_will_keep_their_order,
        v4: [],
        v5: ["MQTT-3.1.3-10"]),
];

async fn watcher(at: At) -> Client {
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&at.topic("#"), 2).await;
    watcher
}

/// Nothing has come to the watcher before what is published now.
async fn nothing_came(at: At, watcher: &mut Client) {
    Client::clean(at, "publisher").await.publish(Publish::new(&at.topic("end"), b"end").at(1, 1)).await;
    assert_eq!(watcher.text().await, "end");
}

async fn a_will_is_published_when_its_connection_breaks(at: At) {
    let topic = at.topic("will");
    let mut watcher = watcher(at).await;
    for qos in 0..=2 {
        let connect = Connect::clean(at.level, &at.id("a")).with_will_of(qos << 3, &topic, b"gone", &[]);
        Client::connect(at, &connect).await.break_off().await;
        let will = watcher.take().await;
        assert_eq!((&will.topic, will.text(), will.qos, will.retain), (&topic, "gone", qos, false));
    }
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 0).await;
    later.has_no_more().await;
}

async fn a_will_is_published_when_its_client_breaks_the_protocol(at: At) {
    let mut watcher = watcher(at).await;
    let connect = Connect::clean(at.level, &at.id("a")).with_will(&at.topic("will"), b"gone");
    let mut client = Client::connect(at, &connect).await;
    client.send(&connect.bytes()).await;
    client.expect_disconnect(0x82).await;
    assert_eq!(watcher.text().await, "gone");
}

async fn a_will_may_be_retained(at: At) {
    let topic = at.topic("will");
    let mut watcher = watcher(at).await;
    let connect = Connect::clean(at.level, &at.id("a")).with_will_of(0b0010_1000, &topic, b"gone", &[]);
    Client::connect(at, &connect).await.break_off().await;
    assert!(!watcher.take().await.retain, "who has subscribed already sees no flag");
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 1).await;
    let kept = later.take().await;
    assert!(kept.text() == "gone" && kept.retain && kept.qos == 1, "{kept:?}");
}

async fn a_goodbye_discards_the_will(at: At) {
    let mut watcher = watcher(at).await;
    let connect = Connect::kept(at.level, &at.id("a")).with_will(&at.topic("will"), b"gone");
    Client::connect(at, &connect).await.leave().await;
    nothing_came(at, &mut watcher).await;
    // Nor is it published with a later connection, which has none.
    Client::kept(at, "a").await.break_off().await;
    Client::kept(at, "a").await.leave().await;
    nothing_came(at, &mut watcher).await;
}

async fn a_goodbye_with_another_reason_publishes_the_will(at: At) {
    let mut watcher = watcher(at).await;
    let connect = Connect::clean(5, &at.id("a")).with_will(&at.topic("will"), b"gone");
    let mut client = Client::connect(at, &connect).await;
    client.send(&[0xE0, 1, 0x04]).await;
    client.expect_end().await;
    assert_eq!(watcher.text().await, "gone");
}

async fn a_will_is_published_once(at: At) {
    let mut watcher = watcher(at).await;
    let connect = Connect::kept(at.level, &at.id("a")).with_will(&at.topic("will"), b"gone");
    Client::connect(at, &connect).await.break_off().await;
    assert_eq!(watcher.text().await, "gone");
    // The session goes on, and its next connection breaks too.
    Client::kept(at, "a").await.break_off().await;
    let back = Client::kept(at, "a").await;
    assert!(back.session_present());
    back.leave().await;
    nothing_came(at, &mut watcher).await;
}

/// A connection that took its place has seen the end of the one before.
async fn who_has_no_will_leaves_none(at: At) {
    let mut watcher = watcher(at).await;
    Client::kept(at, "a").await.break_off().await;
    Client::kept(at, "a").await.leave().await;
    nothing_came(at, &mut watcher).await;
}

async fn a_will_waits_for_its_delay(at: At) {
    let mut watcher = watcher(at).await;
    let a_second = [0x18, 0, 0, 0, 1];
    let connect = Connect::kept(5, &at.id("a")).with_will_of(0, &at.topic("will"), b"gone", &a_second);
    let mut client = Client::connect(at, &connect).await;
    client.has_no_more().await;
    let left = Instant::now();
    drop(client);
    assert_eq!(watcher.text().await, "gone");
    assert!(left.elapsed() >= Duration::from_secs(1), "{:?}", left.elapsed());
}

/// Another's will with the same delay says when it has passed.
async fn who_is_back_within_the_delay_is_not_mourned(at: At) {
    let mut watcher = watcher(at).await;
    let two_seconds = [0x18, 0, 0, 0, 2];
    let connect = |name: &str| {
        Connect::kept(5, &at.id(name)).with_will_of(0, &at.topic(name), name.as_bytes(), &two_seconds)
    };
    Client::connect(at, &connect("back")).await.break_off().await;
    let mut back = Client::kept(at, "back").await;
    Client::connect(at, &connect("away")).await.break_off().await;
    assert_eq!(watcher.text().await, "away");
    back.has_no_more().await;
}

async fn the_properties_of_a_will_keep_their_order(at: At) {
    let mut watcher = watcher(at).await;
    let pairs = b"\x26\x00\x01b\x00\x011\x26\x00\x01a\x00\x012\x26\x00\x01b\x00\x013";
    let connect = Connect::clean(5, &at.id("a")).with_will_of(0, &at.topic("will"), b"gone", pairs);
    let mut client = Client::connect(at, &connect).await;
    // A DISCONNECT that is none breaks the connection.
    client.send(&[DISCONNECT[0] | 1, 0]).await;
    client.expect_disconnect(0x81).await;
    assert_eq!(watcher.message().await.properties, pairs);
}
