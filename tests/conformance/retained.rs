//! Retained messages (3.3.1.3, 3.8.3.1).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::Publish;

pub(crate) const CASES: &[Case] = &[
    case!(the_last_retained_message_comes_to_who_subscribes_with_the_flag,
        v4: ["MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8"],
        v5: ["MQTT-3.3.1-5"]),
    case!(one_at_qos_0_replaces_the_one_before,
        v4: ["MQTT-3.3.1-7"],
        v5: ["MQTT-3.3.1-5"]),
    case!(who_has_subscribed_already_gets_it_without_the_flag,
        v4: ["MQTT-3.3.1-9"],
        v5: ["MQTT-3.3.1-12"]),
    case!(who_wants_the_flag_as_published_gets_it_so,
        v4: [],
        v5: ["MQTT-3.3.1-13"]),
    case!(an_empty_one_is_delivered_and_deletes,
        v4: ["MQTT-3.3.1-10", "MQTT-3.3.1-11"],
        v5: ["MQTT-3.3.1-6", "MQTT-3.3.1-7"]),
    case!(without_the_flag_an_empty_message_deletes_nothing_and_another_replaces_nothing,
        v4: ["MQTT-3.3.1-12"],
        v5: ["MQTT-3.3.1-8"]),
    case!(five_hundred_come_with_one_subscribe,
        v4: ["MQTT-3.3.1-6"],
        v5: ["MQTT-3.3.1-9"]),
    case!(who_subscribes_again_gets_them_again,
        v4: ["MQTT-3.8.4-3"],
        v5: ["MQTT-3.3.1-9", "MQTT-3.8.4-4"]),
    case!(retain_handling_says_when_they_come,
        v4: [],
        v5: ["MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11"]),
];

const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
/// Only with a new subscription.
const IF_NEW: u8 = 0b0001_0000;
const NEVER: u8 = 0b0010_0000;

/// What somebody who subscribes now at QoS 2 gets of a topic.
async fn kept(at: At, topic: &str) -> Vec<(String, u8)> {
    let mut client = Client::clean(at, "reader").await;
    client.subscribe(topic, 2).await;
    // Behind what is kept comes what is published now.
    client.publish(Publish::new(topic, b"end").at(2, 1)).await;
    let mut kept = Vec::new();
    loop {
        let message = client.take().await;
        if message.text() == "end" {
            client.leave().await;
            return kept;
        }
        assert!(message.retain, "{message:?}");
        kept.push((message.text().to_owned(), message.qos));
    }
}

fn entry(text: &str, qos: u8) -> Vec<(String, u8)> {
    vec![(text.to_owned(), qos)]
}

async fn the_last_retained_message_comes_to_who_subscribes_with_the_flag(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    for (payload, qos) in [("one", 1), ("two", 2), ("three", 1)] {
        publisher.publish(Publish::new(&topic, payload.as_bytes()).at(qos, 1).retained()).await;
        assert_eq!(kept(at, &topic).await, entry(payload, qos), "with its QoS");
    }
    let mut under_a_wildcard = Client::clean(at, "reader").await;
    under_a_wildcard.subscribe(&at.topic("+"), 2).await;
    assert_eq!(under_a_wildcard.text().await, "three");
}

async fn one_at_qos_0_replaces_the_one_before(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"one").at(1, 1).retained()).await;
    publisher.publish(Publish::new(&topic, b"two").retained()).await;
    publisher.has_no_more().await;
    assert_eq!(kept(at, &topic).await, entry("two", 0));
}

async fn who_has_subscribed_already_gets_it_without_the_flag(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 1).await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x").at(1, 1).retained()).await;
    let message = client.take().await;
    assert!(message.text() == "x" && !message.retain, "{message:?}");
}

async fn who_wants_the_flag_as_published_gets_it_so(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, RETAIN_AS_PUBLISHED).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"x").retained()).await;
    publisher.publish(Publish::new(&topic, b"x")).await;
    assert_eq!([client.message().await.retain, client.message().await.retain], [true, false]);
}

async fn an_empty_one_is_delivered_and_deletes(at: At) {
    let topic = at.topic("t");
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&topic, 1).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"kept").at(1, 1).retained()).await;
    publisher.publish(Publish::new(&topic, b"").at(1, 1).retained()).await;
    assert_eq!([watcher.text().await, watcher.text().await], ["kept", ""]);
    watcher.leave().await;
    assert_eq!(kept(at, &topic).await, [], "neither the one before nor the empty one");
}

async fn without_the_flag_an_empty_message_deletes_nothing_and_another_replaces_nothing(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"kept").at(1, 1).retained()).await;
    publisher.publish(Publish::new(&topic, b"").at(1, 1)).await;
    assert_eq!(kept(at, &topic).await, entry("kept", 1));
    publisher.publish(Publish::new(&topic, b"other").at(1, 1)).await;
    assert_eq!(kept(at, &topic).await, entry("kept", 1));
}

async fn five_hundred_come_with_one_subscribe(at: At) {
    const MANY: usize = 500;
    let mut publisher = Client::clean(at, "publisher").await;
    for n in 0..MANY {
        let topic = at.topic(&format!("many/{n}"));
        publisher.publish(Publish::new(&topic, n.to_string().as_bytes()).at(1, 1).retained()).await;
    }
    for qos in [0, 1] {
        let mut client = Client::clean(at, "a").await;
        client.subscribe(&at.topic("many/+"), qos).await;
        let mut came = std::collections::BTreeSet::new();
        for _ in 0..MANY {
            let message = client.take().await;
            assert!(
                message.retain && message.topic.ends_with(&format!("/{}", message.text())),
                "{message:?}"
            );
            came.insert(message.topic);
        }
        assert_eq!(came.len(), MANY, "each once");
        client.has_no_more().await;
        client.leave().await;
    }
}

async fn who_subscribes_again_gets_them_again(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.publish(Publish::new(&topic, b"kept").retained()).await;
    for _ in 0..2 {
        client.subscribe(&topic, 0).await;
        let message = client.message().await;
        assert!(message.text() == "kept" && message.retain, "{message:?}");
    }
    client.publish(Publish::new(&topic, b"live")).await;
    assert_eq!(client.text().await, "live", "and nothing else is interrupted");
    client.has_no_more().await;
}

async fn retain_handling_says_when_they_come(at: At) {
    let topic = at.topic("t");
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"kept").at(1, 1).retained()).await;
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, NEVER).await;
    client.has_no_more().await;
    client.subscribe(&topic, IF_NEW).await;
    client.has_no_more().await;
    client.subscribe(&topic, 0).await;
    assert_eq!(client.text().await, "kept");
    client.leave().await;
    let mut other = Client::clean(at, "b").await;
    other.subscribe(&topic, IF_NEW).await;
    assert_eq!(other.text().await, "kept");
}
