//! PUBLISH, its acknowledgements, and what of it is carried to subscribers (3.3 to 3.7, 4.3, 4.6).

use crate::case::{At, Case, case};
use crate::client::{Client, Received};
use crate::packets::{Connect, Publish, ack};

pub(crate) const CASES: &[Case] = &[
    case!(at_qos_0_there_is_no_id_no_dup_and_no_answer,
        v4: ["MQTT-2.3.1-5", "MQTT-3.3.1-2", "MQTT-3.3.4-1", "MQTT-4.3.1-1"],
        v5: ["MQTT-2.2.1-2", "MQTT-3.3.1-2", "MQTT-3.3.4-1", "MQTT-4.3.1-1"]),
    case!(at_qos_1_the_answer_is_puback,
        v4: ["MQTT-2.3.1-6", "MQTT-3.3.4-1", "MQTT-4.3.2-2"],
        v5: ["MQTT-2.2.1-5", "MQTT-3.3.4-1", "MQTT-4.3.2-4"]),
    case!(after_puback_the_same_id_is_a_new_message,
        v4: ["MQTT-4.3.2-2"],
        v5: ["MQTT-4.3.2-5"]),
    case!(at_qos_2_the_answers_are_pubrec_and_pubcomp,
        v4: ["MQTT-2.3.1-6", "MQTT-3.3.4-1", "MQTT-4.3.3-2"],
        v5: ["MQTT-2.2.1-5", "MQTT-3.3.4-1", "MQTT-4.3.3-8", "MQTT-4.3.3-11"]),
    case!(until_pubrel_a_repeat_is_answered_and_not_delivered,
        v4: ["MQTT-4.3.3-2"],
        v5: ["MQTT-4.3.3-10"]),
    case!(after_pubcomp_the_same_id_is_a_new_message,
        v4: ["MQTT-4.3.3-2"],
        v5: ["MQTT-4.3.3-12"]),
    case!(a_message_goes_out_with_an_unused_id_and_without_the_publishers_dup,
        v4: ["MQTT-2.3.1-1", "MQTT-2.3.1-4", "MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1"],
        v5: ["MQTT-2.2.1-4", "MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2"]),
    case!(at_qos_2_pubrec_is_answered_with_pubrel,
        v4: ["MQTT-2.3.1-6", "MQTT-4.3.3-1"],
        v5: ["MQTT-2.2.1-5", "MQTT-4.3.3-4"]),
    case!(messages_of_one_publisher_come_in_order,
        v4: ["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        v5: ["MQTT-4.6.0-5", "MQTT-4.6.0-6"]),
    case!(acknowledgements_may_come_out_of_order,
        v4: ["MQTT-4.6.0-2", "MQTT-4.6.0-3"],
        v5: ["MQTT-4.6.0-2", "MQTT-4.6.0-3"]),
    case!(pubrels_may_come_out_of_order,
        v4: ["MQTT-4.6.0-4"],
        v5: ["MQTT-4.6.0-4"]),
    case!(ids_of_a_client_are_its_own_and_may_be_any,
        v4: ["MQTT-2.3.1-2"],
        v5: ["MQTT-2.2.1-3"]),
    case!(qos_0_stays_qos_0_for_a_subscription_at_qos_1,
        v4: ["MQTT-3.8.4-6"],
        v5: ["MQTT-3.8.4-8"]),
    case!(the_lower_qos_of_message_and_subscription_counts,
        v4: ["MQTT-3.8.4-6"],
        v5: ["MQTT-3.8.4-8"]),
    case!(properties_reach_every_subscriber_as_they_were,
        v4: [],
        v5: ["MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20"]),
    case!(expiry_is_told_as_what_is_left_of_it,
        v4: [],
        v5: ["MQTT-3.3.2-6"]),
    case!(a_handshake_goes_on_although_its_message_has_expired,
        v4: [],
        v5: ["MQTT-4.3.3-7", "MQTT-4.3.3-13"]),
    case!(a_packet_without_properties_says_that_they_have_no_length,
        v4: [],
        v5: ["MQTT-2.2.2-1"]),
    case!(aliases_under_a_wildcard_reach_each_subscriber_as_their_topics,
        v4: [],
        v5: ["MQTT-3.1.2-26", "MQTT-3.1.2-27", "MQTT-3.3.2-10", "MQTT-3.3.2-11", "MQTT-3.3.2-12"]),
    case!(an_alias_ends_with_its_connection,
        v4: [],
        v5: ["MQTT-3.3.2-7"]),
    case!(an_alias_that_may_not_be_used_ends_the_connection,
        v4: [],
        v5: ["MQTT-3.2.2-17", "MQTT-3.3.2-8", "MQTT-3.3.2-9"]),
];

/// Somebody who has subscribed to all topics of the case at QoS 2.
async fn watcher(at: At) -> Client {
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&at.topic("#"), 2).await;
    watcher
}

async fn at_qos_0_there_is_no_id_no_dup_and_no_answer(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"x")).await;
    publisher.has_no_more().await;
    // With a packet id the payload would begin two bytes later.
    let payload = b"x".to_vec();
    let (qos, retain, dup, packet_id, properties) = (0, false, false, 0, Vec::new());
    let expected = Received { topic, payload, qos, retain, dup, packet_id, properties };
    assert_eq!(watcher.message().await, expected);
}

async fn at_qos_1_the_answer_is_puback(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.send(&Publish::new(&topic, b"x").at(1, 0x1234).bytes(at.level)).await;
    publisher.expect(&ack(0x40, 0x1234)).await;
    publisher.has_no_more().await;
    assert_eq!(watcher.text().await, "x");
}

async fn after_puback_the_same_id_is_a_new_message(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"one").at(1, 1)).await;
    publisher.publish(Publish::new(&topic, b"two").at(1, 1).again()).await;
    assert_eq!([watcher.text().await, watcher.text().await], ["one", "two"]);
}

async fn at_qos_2_the_answers_are_pubrec_and_pubcomp(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.send(&Publish::new(&topic, b"x").at(2, 0x1234).bytes(at.level)).await;
    publisher.expect(&ack(0x50, 0x1234)).await;
    publisher.send(&ack(0x62, 0x1234)).await;
    publisher.expect(&ack(0x70, 0x1234)).await;
    assert_eq!(watcher.text().await, "x");
}

async fn until_pubrel_a_repeat_is_answered_and_not_delivered(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    let publish = Publish::new(&topic, b"once").at(2, 1);
    for publish in [publish.clone(), publish.clone().again(), publish.again()] {
        publisher.send(&publish.bytes(at.level)).await;
        publisher.expect(&ack(0x50, 1)).await;
    }
    publisher.send(&ack(0x62, 1)).await;
    publisher.expect(&ack(0x70, 1)).await;
    publisher.publish(Publish::new(&topic, b"end").at(2, 2)).await;
    assert_eq!([watcher.text().await, watcher.text().await], ["once", "end"]);
}

async fn after_pubcomp_the_same_id_is_a_new_message(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"one").at(2, 1)).await;
    publisher.publish(Publish::new(&topic, b"two").at(2, 1).again()).await;
    assert_eq!([watcher.text().await, watcher.text().await], ["one", "two"]);
}

async fn a_message_goes_out_with_an_unused_id_and_without_the_publishers_dup(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for n in 0..20 {
        // All of them have the id 9, and say that they come again.
        publisher.publish(Publish::new(&topic, b"x").at(1 + n % 2, 9).again()).await;
    }
    let mut ids = std::collections::BTreeSet::new();
    for n in 0..20 {
        let message = watcher.message().await;
        assert!(message.qos == 1 + n % 2 && !message.dup, "{message:?}");
        assert!(message.packet_id > 0 && ids.insert(message.packet_id), "{message:?} and {ids:?}");
    }
}

async fn at_qos_2_pubrec_is_answered_with_pubrel(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x").at(2, 1)).await;
    let id = watcher.message().await.packet_id;
    watcher.send(&ack(0x50, id)).await;
    watcher.expect(&ack(0x62, id)).await;
    watcher.send(&ack(0x70, id)).await;
    watcher.has_no_more().await;
}

async fn messages_of_one_publisher_come_in_order(at: At) {
    let topic = at.topic("t");
    for qos in 0..=2 {
        let mut watcher = watcher(at).await;
        let mut publisher = Client::clean(at, "publisher").await;
        for n in 0..50_u8 {
            publisher.publish(Publish::new(&topic, &[n]).at(qos, 1)).await;
        }
        for n in 0..50_u8 {
            assert_eq!(watcher.take().await.payload, [n], "QoS {qos}");
        }
        watcher.leave().await;
    }
}

/// A client owes the order of its acknowledgements; the gateway knows each by its id, in whichever order they come.
async fn acknowledgements_may_come_out_of_order(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for qos in [1, 2] {
        for _ in 0..3 {
            publisher.publish(Publish::new(&topic, b"x").at(qos, 1)).await;
        }
    }
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(client.message().await.packet_id);
    }
    for n in [2, 0, 1] {
        client.send(&ack(0x40, ids[n])).await;
    }
    for n in [5, 3, 4] {
        client.send(&ack(0x50, ids[n])).await;
        client.expect(&ack(0x62, ids[n])).await;
    }
    for n in [4, 5, 3] {
        client.send(&ack(0x70, ids[n])).await;
    }
    client.has_no_more().await;
    client.leave().await;
    Client::kept(at, "a").await.has_no_more().await;
}

async fn pubrels_may_come_out_of_order(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for id in [1, 2, 3] {
        publisher.send(&Publish::new(&topic, id.to_string().as_bytes()).at(2, id).bytes(at.level)).await;
        publisher.expect(&ack(0x50, id)).await;
    }
    for id in [3, 1, 2] {
        publisher.send(&ack(0x62, id)).await;
        publisher.expect(&ack(0x70, id)).await;
    }
    assert_eq!([watcher.text().await, watcher.text().await, watcher.text().await], ["1", "2", "3"]);
}

/// Those of SUBSCRIBE, PUBLISH and of the gateway's own messages do not meet.
async fn ids_of_a_client_are_its_own_and_may_be_any(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 1).await;
    for id in [1, 0x7FFF, 0xFFFF] {
        client.send(&Publish::new(&topic, b"x").at(1, id).bytes(at.level)).await;
        let mut came = [client.next().await, client.next().await];
        came.sort();
        assert_eq!(came[0].0, 0x32, "its own message: {came:02x?}");
        assert_eq!(came[1], (0x40, id.to_be_bytes().to_vec()), "and the answer");
    }
}

async fn qos_0_stays_qos_0_for_a_subscription_at_qos_1(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 1).await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x")).await;
    assert_eq!(client.message().await.qos, 0);
}

async fn the_lower_qos_of_message_and_subscription_counts(at: At) {
    let topic = at.topic("t");
    let mut publisher = Client::clean(at, "publisher").await;
    for granted in 0..=2 {
        let mut client = Client::clean(at, "a").await;
        client.subscribe(&topic, granted).await;
        for published in 0..=2 {
            publisher.publish(Publish::new(&topic, b"x").at(published, 1)).await;
            assert_eq!(client.take().await.qos, granted.min(published), "{published} to {granted}");
            client.has_no_more().await;
        }
        client.leave().await;
    }
}

async fn properties_reach_every_subscriber_as_they_were(at: At) {
    let topic = at.topic("t");
    let mut watchers = [watcher(at).await, Client::clean(at, "other").await];
    watchers[1].subscribe(&topic, 0).await;
    let format_of_text = &b"\x01\x01"[..];
    let content_type = &b"\x03\x00\x0atext/plain"[..];
    let response_topic = &b"\x08\x00\x07answers"[..];
    let correlation_data = &b"\x09\x00\x04\x00\xFF\xC3\x28"[..];
    // The same name twice, and not in the alphabet's order.
    let user_properties = &b"\x26\x00\x01b\x00\x011\x26\x00\x01a\x00\x012\x26\x00\x01b\x00\x013"[..];
    let parts = [format_of_text, content_type, response_topic, correlation_data, user_properties];
    let publish = Publish::new(&topic, "ü".as_bytes());
    Client::clean(at, "publisher").await.publish(publish.with(&parts.concat())).await;
    for watcher in &mut watchers {
        let message = watcher.message().await;
        for part in parts {
            let is_there = message.properties.windows(part.len()).any(|window| window == part);
            assert!(is_there, "{part:02x?} in {:02x?}", message.properties);
        }
        assert_eq!(message.properties.len(), parts.concat().len(), "and nothing else");
        assert_eq!(message.text(), "ü");
    }
}

async fn expiry_is_told_as_what_is_left_of_it(at: At) {
    let topic = at.topic("t");
    let mut watcher = watcher(at).await;
    let publish = Publish::new(&topic, b"x");
    Client::clean(at, "publisher").await.publish(publish.with(&[2, 0, 0, 0, 100])).await;
    let properties = watcher.message().await.properties;
    let [2, 0, 0, 0, left_s] = properties[..] else { panic!("{properties:02x?}") };
    assert!((40..=100).contains(&left_s), "{left_s} s are left");
}

/// A will with a delay says when the message's second has passed.
async fn a_handshake_goes_on_although_its_message_has_expired(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 2).await;
    client.subscribe(&at.topic("will"), 0).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.send(&Publish::new(&topic, b"x").at(2, 1).with(&[2, 0, 0, 0, 1]).bytes(5)).await;
    publisher.expect(&ack(0x50, 1)).await;
    let message = client.message().await;
    let two_seconds = [0x18, 0, 0, 0, 2];
    let leaves = Connect::kept(5, &at.id("leaves")).with_will_of(0, &at.topic("will"), b"now", &two_seconds);
    Client::connect(at, &leaves).await.break_off().await;
    assert_eq!(client.message().await.text(), "now");
    publisher.send(&ack(0x62, 1)).await;
    publisher.expect(&ack(0x70, 1)).await;
    client.send(&ack(0x50, message.packet_id)).await;
    client.expect(&ack(0x62, message.packet_id)).await;
    client.send(&ack(0x70, message.packet_id)).await;
    client.has_no_more().await;
}

async fn a_packet_without_properties_says_that_they_have_no_length(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.send(&crate::packets::subscribe(5, 1, &[(&topic, 0)], &[])).await;
    client.expect(&[0x90, 4, 0, 1, 0, 0]).await;
    client.publish(Publish::new(&topic, b"x")).await;
    client.expect(&Publish::new(&topic, b"x").bytes(5)).await;
    client.send(&crate::packets::unsubscribe(5, 2, &[&topic])).await;
    client.expect(&[0xB0, 4, 0, 2, 0, 0]).await;
}

/// A publisher that says each topic once, in turn; a subscriber that takes no aliases, and one that takes one.
async fn aliases_under_a_wildcard_reach_each_subscriber_as_their_topics(at: At) {
    let topics = [at.topic("a"), at.topic("b"), at.topic("c")];
    let mut plain = watcher(at).await;
    let takes_one = Connect::clean(5, &at.id("one")).with(&[0x22, 0, 1]);
    let mut takes_one = Client::connect(at, &takes_one).await;
    takes_one.subscribe(&at.topic("+"), 0).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for round in 0..5 {
        // The highest alias that CONNACK allows is 16.
        for (topic, alias) in topics.iter().zip([1, 2, 16]) {
            let topic = if round == 0 { topic } else { "" };
            publisher.publish(Publish::new(topic, &[alias]).with(&[0x23, 0, alias])).await;
        }
    }
    let mut stands_for = String::new();
    for _ in 0..5 {
        for (topic, alias) in topics.iter().zip([1, 2, 16]) {
            let whole = plain.message().await;
            assert_eq!((&whole.topic, whole.payload), (topic, vec![alias]));
            assert!(whole.properties.is_empty(), "no alias: {:02x?}", whole.properties);
            let message = takes_one.message().await;
            match message.properties[..] {
                [] => assert_eq!(&message.topic, topic),
                [0x23, 0, 1] if message.topic.is_empty() => assert_eq!(&stands_for, topic),
                [0x23, 0, 1] => {
                    assert_eq!(&message.topic, topic);
                    stands_for = message.topic;
                }
                _ => panic!("{message:02x?}"),
            }
        }
    }
}

async fn an_alias_ends_with_its_connection(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.publish(Publish::new(&topic, b"x").at(1, 1).with(&[0x23, 0, 1])).await;
    client.publish(Publish::new("", b"x").at(1, 2).with(&[0x23, 0, 1])).await;
    client.leave().await;
    let mut back = Client::kept(at, "a").await;
    back.send(&Publish::new("", b"x").at(1, 3).with(&[0x23, 0, 1]).bytes(5)).await;
    back.expect_disconnect_of(&[0x82, 0x94]).await;
}

async fn an_alias_that_may_not_be_used_ends_the_connection(at: At) {
    for alias in [0, 17] {
        let mut client = Client::clean(at, "a").await;
        client.send(&Publish::new(&at.topic("t"), b"x").with(&[0x23, 0, alias]).bytes(5)).await;
        client.expect_disconnect(0x94).await;
    }
}
