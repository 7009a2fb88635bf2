//! What a session keeps, for how long, and what is sent again (3.1.2.4, 4.1, 4.4).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Connect, Publish, ack, ack_with};

pub(crate) const CASES: &[Case] = &[
    case!(what_comes_while_a_client_is_away_waits_for_it,
        v4: ["MQTT-3.1.2-5", "MQTT-4.1.0-1", "MQTT-4.5.0-1"],
        v5: ["MQTT-3.1.2-23", "MQTT-4.5.0-1"]),
    case!(a_clean_start_forgets_subscriptions_and_messages,
        v4: ["MQTT-3.1.2-6"],
        v5: ["MQTT-3.1.2-4"]),
    case!(a_session_ends_when_its_expiry_has_passed,
        v4: [],
        v5: ["MQTT-4.1.0-2", "MQTT-3.1.2-8"]),
    case!(a_session_lasts_as_long_as_its_connection,
        v4: ["MQTT-4.1.0-2"],
        v5: ["MQTT-4.1.0-1"]),
    case!(retained_messages_outlive_the_session_of_their_publisher,
        v4: ["MQTT-3.1.2-7"],
        v5: []),
    case!(a_session_belongs_to_its_client_id,
        v4: ["MQTT-3.1.3-2"],
        v5: ["MQTT-3.1.3-2"]),
    case!(what_was_not_acknowledged_comes_again_with_its_id_dup_and_order,
        v4: ["MQTT-2.3.1-3", "MQTT-3.3.1-1", "MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-4.4.0-1", "MQTT-4.6.0-1"],
        v5: ["MQTT-3.3.1-1", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.4.0-1"]),
    case!(a_pubrel_comes_again_and_its_publish_does_not,
        v4: ["MQTT-4.3.3-1", "MQTT-4.4.0-1"],
        v5: ["MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.4.0-1"]),
    case!(what_the_client_refuses_is_not_sent_again,
        v4: [],
        v5: ["MQTT-4.4.0-2"]),
    case!(a_publish_at_qos_2_is_the_same_on_the_next_connection,
        v4: ["MQTT-4.3.3-2", "MQTT-4.4.0-1"],
        v5: ["MQTT-4.3.3-10", "MQTT-4.4.0-1"]),
];

async fn what_comes_while_a_client_is_away_waits_for_it(at: At) {
    let topic = at.topic("t");
    let mut away = Client::kept(at, "away").await;
    away.subscribe(&topic, 2).await;
    away.leave().await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"one").at(1, 1)).await;
    publisher.publish(Publish::new(&topic, b"two").at(2, 2)).await;
    let mut back = Client::kept(at, "away").await;
    assert!(back.session_present());
    let came = [back.take().await, back.take().await];
    let came = came.each_ref().map(|message| (message.text(), message.qos));
    assert_eq!(came, [("one", 1), ("two", 2)]);
    back.has_no_more().await;
}

async fn a_clean_start_forgets_subscriptions_and_messages(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    let mut away = Client::kept(at, "a").await;
    away.subscribe(&topic, 1).await;
    away.leave().await;
    publisher.publish(Publish::new(&topic, b"old").at(1, 1)).await;
    let mut anew = Client::clean(at, "a").await;
    publisher.publish(Publish::new(&topic, b"new").at(1, 1)).await;
    anew.has_no_more().await;
    anew.leave().await;
    // The session of a clean start is not taken up by a later one either.
    assert!(!Client::kept(at, "a").await.session_present());
}

/// Its will, which would wait for a minute, is published with the session's end: then a return finds none.
async fn a_session_ends_when_its_expiry_has_passed(at: At) {
    let topic = at.topic("will");
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&topic, 0).await;
    let a_second = [0x11, 0, 0, 0, 1];
    let a_minute = [0x18, 0, 0, 0, 60];
    let connect = Connect::clean(5, &at.id("a")).with(&a_second).with_will_of(0, &topic, b"gone", &a_minute);
    Client::connect(at, &connect).await.break_off().await;
    assert_eq!(watcher.text().await, "gone");
    assert!(!Client::kept(at, "a").await.session_present());
}

/// Longer than its expiry: the will of a client that left at the same moment tells when that has passed.
async fn a_session_lasts_as_long_as_its_connection(at: At) {
    let (topic, will) = (at.topic("t"), at.topic("will"));
    let a_second = [0x11, 0, 0, 0, 1];
    let mut stays = Client::connect(at, &Connect::clean(at.level, &at.id("stays")).with(&a_second)).await;
    stays.subscribe(&topic, 0).await;
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&will, 0).await;
    let leaves = Connect::clean(at.level, &at.id("leaves")).with(&a_second);
    let delay = if at.is_v5() { &[0x18, 0, 0, 0, 60][..] } else { &[] };
    drop(Client::connect(at, &leaves.with_will_of(0, &will, b"gone", delay)).await);
    assert_eq!(watcher.text().await, "gone");
    watcher.publish(Publish::new(&topic, b"still")).await;
    assert_eq!(stays.text().await, "still");
}

async fn retained_messages_outlive_the_session_of_their_publisher(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"kept").retained()).await;
    publisher.leave().await;
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 0).await;
    assert_eq!(later.text().await, "kept");
}

async fn a_session_belongs_to_its_client_id(at: At) {
    let topic = at.topic("t");
    let mut one = Client::kept(at, "a").await;
    one.subscribe(&topic, 1).await;
    one.leave().await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x").at(1, 1)).await;
    for other in ["A", "ab", "b"] {
        let mut other = Client::kept(at, other).await;
        assert!(!other.session_present());
        other.has_no_more().await;
    }
    assert_eq!(Client::kept(at, "a").await.text().await, "x");
}

async fn what_was_not_acknowledged_comes_again_with_its_id_dup_and_order(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for (payload, qos) in [(b"1", 1), (b"2", 2), (b"3", 1), (b"4", 2)] {
        publisher.publish(Publish::new(&topic, payload).at(qos, 1)).await;
    }
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(client.message().await);
    }
    assert!(first.iter().all(|message| !message.dup), "{first:?}");
    client.send(&ack(0x40, first[2].packet_id)).await;
    // On a living connection nothing is sent again.
    client.has_no_more().await;
    drop(client);
    let mut back = Client::kept(at, "a").await;
    for before in [&first[0], &first[1], &first[3]] {
        let again = back.take().await;
        assert!(again.dup, "{again:?}");
        assert_eq!((again.packet_id, &again.payload), (before.packet_id, &before.payload));
    }
    back.has_no_more().await;
}

async fn a_pubrel_comes_again_and_its_publish_does_not(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.subscribe(&topic, 2).await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x").at(2, 1)).await;
    let id = client.message().await.packet_id;
    client.send(&ack(0x50, id)).await;
    client.expect(&ack(0x62, id)).await;
    drop(client);
    let mut back = Client::kept(at, "a").await;
    back.expect(&ack(0x62, id)).await;
    back.has_no_more().await;
    back.send(&ack(0x70, id)).await;
    back.has_no_more().await;
    back.leave().await;
    Client::kept(at, "a").await.has_no_more().await;
}

async fn what_the_client_refuses_is_not_sent_again(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for (qos, refusal) in [(1, 0x40), (2, 0x50)] {
        publisher.publish(Publish::new(&topic, b"x").at(qos, 1)).await;
        let id = client.message().await.packet_id;
        client.send(&ack_with(refusal, id, 0x80)).await;
    }
    // A PUBREC that refuses is not answered with PUBREL.
    client.has_no_more().await;
    drop(client);
    Client::kept(at, "a").await.has_no_more().await;
}

async fn a_publish_at_qos_2_is_the_same_on_the_next_connection(at: At) {
    let topic = at.topic("t");
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&topic, 2).await;
    let publish = Publish::new(&topic, b"once").at(2, 7);
    let mut client = Client::kept(at, "a").await;
    client.send(&publish.bytes(at.level)).await;
    client.expect(&ack(0x50, 7)).await;
    drop(client);
    let mut back = Client::kept(at, "a").await;
    back.publish(publish.again()).await;
    back.publish(Publish::new(&topic, b"end").at(2, 8)).await;
    assert_eq!([watcher.text().await, watcher.text().await], ["once", "end"]);
}
