//! SUBSCRIBE and UNSUBSCRIBE with their answers, and who gets what (3.8 to 3.11, 3.3.4).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Publish, ack, field, framed, properties, subscribe, unsubscribe};

pub(crate) const CASES: &[Case] = &[
    case!(a_subscribe_is_answered_with_its_id,
        v4: ["MQTT-2.3.1-7", "MQTT-3.8.4-1", "MQTT-3.8.4-2"],
        v5: ["MQTT-2.2.1-6", "MQTT-3.8.4-1", "MQTT-3.8.4-2"]),
    case!(each_filter_has_its_answer_in_order_in_one_suback,
        v4: ["MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2"],
        v5: ["MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2"]),
    case!(a_filter_that_comes_again_replaces_its_subscription,
        v4: ["MQTT-3.8.4-3"],
        v5: ["MQTT-3.8.4-3"]),
    case!(overlapping_subscriptions_count_with_the_highest_qos,
        v4: ["MQTT-3.3.5-1"],
        v5: ["MQTT-3.3.4-2"]),
    case!(one_copy_has_the_identifiers_of_all_subscriptions,
        v4: [],
        v5: ["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5"]),
    case!(no_local_spares_the_publisher,
        v4: [],
        v5: ["MQTT-3.8.3-3"]),
    case!(no_local_with_a_shared_subscription_ends_the_connection,
        v4: [],
        v5: ["MQTT-3.8.3-4"]),
    case!(a_subscribe_without_a_filter_ends_the_connection,
        v4: ["MQTT-3.8.3-3"],
        v5: ["MQTT-3.8.3-2"]),
    case!(reserved_bits_behind_a_filter_end_the_connection,
        v4: ["MQTT-3.8.3-4"],
        v5: ["MQTT-3.8.3-5"]),
    case!(filters_are_utf_8,
        v4: ["MQTT-3.8.3-1", "MQTT-3.10.3-1"],
        v5: ["MQTT-3.8.3-1", "MQTT-3.10.3-1"]),
    case!(what_was_unsubscribed_comes_no_more,
        v4: ["MQTT-3.10.4-2", "MQTT-3.10.4-4"],
        v5: ["MQTT-3.10.4-2", "MQTT-3.10.4-4"]),
    case!(only_the_very_same_filter_is_unsubscribed,
        v4: ["MQTT-3.10.4-1"],
        v5: ["MQTT-3.10.4-1"]),
    case!(an_unsubscribe_of_nothing_is_answered_too,
        v4: ["MQTT-2.3.1-7", "MQTT-3.10.4-5"],
        v5: ["MQTT-2.2.1-6", "MQTT-3.10.4-5"]),
    case!(several_filters_are_unsubscribed_with_one_answer,
        v4: ["MQTT-3.10.4-6"],
        v5: ["MQTT-3.10.4-6", "MQTT-3.11.3-1", "MQTT-3.11.3-2"]),
    case!(what_was_sent_before_an_unsubscribe_is_completed,
        v4: ["MQTT-3.10.4-3"],
        v5: ["MQTT-3.10.4-3"]),
    case!(an_unsubscribe_without_a_filter_ends_the_connection,
        v4: ["MQTT-3.10.3-2"],
        v5: ["MQTT-3.10.3-2"]),
];

async fn a_subscribe_is_answered_with_its_id(at: At) {
    let mut client = Client::clean(at, "a").await;
    for id in [1_u16, 0x1234, 0xFFFF] {
        client.send(&subscribe(at.level, id, &[(&at.topic("t"), 1)], &[])).await;
        let body = [&id.to_be_bytes()[..], &properties(at.level, &[]), &[1]].concat();
        client.expect(&framed(0x90, &body)).await;
    }
}

async fn each_filter_has_its_answer_in_order_in_one_suback(at: At) {
    let mut client = Client::clean(at, "a").await;
    let [a, b, c] = ["a", "b", "c"].map(|name| at.topic(name));
    let bad = at.topic("#/bad");
    client.send(&subscribe(at.level, 1, &[(&a, 2), (&bad, 1), (&b, 0), (&c, 1)], &[])).await;
    let refusal = if at.is_v5() { 0x8F } else { 0x80 };
    let body = [&[0, 1][..], &properties(at.level, &[]), &[2, refusal, 0, 1]].concat();
    client.expect(&framed(0x90, &body)).await;
    for (topic, qos) in [(&a, 2), (&b, 0), (&c, 1)] {
        Client::clean(at, "publisher").await.publish(Publish::new(topic, b"x").at(2, 1)).await;
        let message = client.take().await;
        assert_eq!((&message.topic, message.qos), (topic, qos), "each is a subscription of its own");
    }
}

async fn a_filter_that_comes_again_replaces_its_subscription(at: At) {
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 2).await;
    client.subscribe(&topic, 0).await;
    client.publish(Publish::new(&topic, b"x").at(2, 1)).await;
    let message = client.take().await;
    assert_eq!(message.qos, 0, "the new one counts");
    client.has_no_more().await;
}

async fn overlapping_subscriptions_count_with_the_highest_qos(at: At) {
    let topic = at.topic("a/b");
    let mut client = Client::clean(at, "a").await;
    for (filter, qos) in [("#", 0), ("a/+", 2), ("+/b", 1)] {
        client.subscribe(&at.topic(filter), qos).await;
    }
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x").at(2, 1)).await;
    assert_eq!(client.take().await.qos, 2);
    client.has_no_more().await;
}

async fn one_copy_has_the_identifiers_of_all_subscriptions(at: At) {
    let topic = at.topic("a");
    let mut client = Client::clean(at, "a").await;
    for (filter, identifier) in
        [("#", &[0x0B, 1][..]), ("a", &[0x0B, 0x80, 1]), ("b", &[0x0B, 3]), ("+", &[])]
    {
        client.send(&subscribe(5, 1, &[(&at.topic(filter), 0)], identifier)).await;
        client.next().await;
    }
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"x")).await;
    let properties = client.message().await.properties;
    let is_expected = properties == [0x0B, 1, 0x0B, 0x80, 1] || properties == [0x0B, 0x80, 1, 0x0B, 1];
    assert!(is_expected, "1 and 128, in any order: {properties:02x?}");
    client.has_no_more().await;
}

async fn no_local_spares_the_publisher(at: At) {
    const NO_LOCAL: u8 = 0b100;
    let topic = at.topic("t");
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, NO_LOCAL).await;
    client.publish(Publish::new(&topic, b"own")).await;
    client.has_no_more().await;
    Client::clean(at, "other").await.publish(Publish::new(&topic, b"other's")).await;
    assert_eq!(client.text().await, "other's");
}

async fn no_local_with_a_shared_subscription_ends_the_connection(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.send(&subscribe(5, 1, &[("$share/group/t", 0b100)], &[])).await;
    client.expect_disconnect(0x82).await;
}

async fn a_subscribe_without_a_filter_ends_the_connection(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.send(&subscribe(at.level, 1, &[], &[])).await;
    client.expect_disconnect(0x82).await;
}

async fn reserved_bits_behind_a_filter_end_the_connection(at: At) {
    // In 3.1.1 all but the QoS are reserved; QoS 3 is none in either.
    let options =
        if at.is_v5() { &[0x40, 0x80, 0x03][..] } else { &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x03] };
    for options in options {
        let mut client = Client::clean(at, "a").await;
        client.send(&subscribe(at.level, 1, &[(&at.topic("t"), *options)], &[])).await;
        client.expect_disconnect(if *options == 0x03 { 0x82 } else { 0x81 }).await;
    }
}

async fn filters_are_utf_8(at: At) {
    for (first, behind) in [(0x82, &[0][..]), (0xA2, &[])] {
        for bad in [&b"a/\xC3\x28"[..], b"a/\xED\xA0\x80", b"a/\x00"] {
            let mut client = Client::clean(at, "a").await;
            let body = [&[0, 1][..], &properties(at.level, &[]), &field(bad), behind].concat();
            client.send(&framed(first, &body)).await;
            client.expect_disconnect(0x81).await;
        }
    }
}

async fn what_was_unsubscribed_comes_no_more(at: At) {
    let [topic, marker] = ["t", "marker"].map(|name| at.topic(name));
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 0).await;
    client.subscribe(&marker, 0).await;
    client.send(&unsubscribe(at.level, 7, &[&topic])).await;
    let body: &[u8] = if at.is_v5() { &[0, 7, 0, 0] } else { &[0, 7] };
    client.expect(&framed(0xB0, body)).await;
    let mut publisher = Client::clean(at, "publisher").await;
    publisher.publish(Publish::new(&topic, b"x")).await;
    publisher.publish(Publish::new(&marker, b"end")).await;
    assert_eq!(client.text().await, "end");
}

async fn only_the_very_same_filter_is_unsubscribed(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&at.topic("a/+"), 0).await;
    let others = ["a/b", "a/#", "a/+/", "A/+", "#"].map(|filter| at.topic(filter));
    client.send(&unsubscribe(at.level, 1, &others.each_ref().map(String::as_str))).await;
    let reasons = &[0x11; 5][..if at.is_v5() { 5 } else { 0 }];
    client.expect(&framed(0xB0, &[&[0, 1][..], &properties(at.level, &[]), reasons].concat())).await;
    client.publish(Publish::new(&at.topic("a/b"), b"x")).await;
    assert_eq!(client.text().await, "x");
    client.send(&unsubscribe(at.level, 2, &[&at.topic("a/+")])).await;
    client.next().await;
    client.publish(Publish::new(&at.topic("a/b"), b"x")).await;
    client.has_no_more().await;
}

async fn an_unsubscribe_of_nothing_is_answered_too(at: At) {
    let mut client = Client::clean(at, "a").await;
    for id in [1_u16, 0xFFFF] {
        client.send(&unsubscribe(at.level, id, &[&at.topic("t")])).await;
        let reasons = &[0, 0x11][..if at.is_v5() { 2 } else { 0 }];
        client.expect(&framed(0xB0, &[&id.to_be_bytes()[..], reasons].concat())).await;
    }
}

async fn several_filters_are_unsubscribed_with_one_answer(at: At) {
    let [a, b, c] = ["a", "b", "c"].map(|name| at.topic(name));
    let mut client = Client::clean(at, "a").await;
    for topic in [&a, &b] {
        client.subscribe(topic, 0).await;
    }
    client.send(&unsubscribe(at.level, 1, &[&a, &c, &b])).await;
    let reasons = &[0, 0, 0x11, 0][..if at.is_v5() { 4 } else { 0 }];
    client.expect(&framed(0xB0, &[&[0, 1][..], reasons].concat())).await;
    for topic in [&a, &b, &c] {
        client.publish(Publish::new(topic, b"x")).await;
    }
    client.has_no_more().await;
}

async fn what_was_sent_before_an_unsubscribe_is_completed(at: At) {
    let topic = at.topic("t");
    let mut client = Client::kept(at, "a").await;
    client.subscribe(&topic, 2).await;
    let mut publisher = Client::clean(at, "publisher").await;
    for qos in [1, 2] {
        publisher.publish(Publish::new(&topic, b"x").at(qos, 1)).await;
    }
    let (first, second) = (client.message().await, client.message().await);
    client.send(&unsubscribe(at.level, 2, &[&topic])).await;
    assert_eq!(client.next().await.0, 0xB0, "UNSUBACK");
    client.send(&ack(0x50, second.packet_id)).await;
    client.expect(&ack(0x62, second.packet_id)).await;
    drop(client);
    // What was not acknowledged comes again, although nobody subscribes to it any more.
    let mut back = Client::kept(at, "a").await;
    let mut came = [back.next().await, back.next().await];
    came.sort();
    assert_eq!(came[0].0, 0x3A, "the message at QoS 1 with DUP: {came:02x?}");
    assert_eq!(came[1], (0x62, second.packet_id.to_be_bytes().to_vec()), "and the PUBREL");
    back.send(&[ack(0x40, first.packet_id), ack(0x70, second.packet_id)].concat()).await;
    back.has_no_more().await;
}

async fn an_unsubscribe_without_a_filter_ends_the_connection(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.send(&unsubscribe(at.level, 1, &[])).await;
    client.expect_disconnect(0x82).await;
}
