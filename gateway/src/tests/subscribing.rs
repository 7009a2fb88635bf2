//! SUBSCRIBE, and who gets what.

use super::world::*;
use crate::ConnectionId;
use crate::packet::{
    Delivery, Packet, Publish, PublishProperties, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeOptions, SubscribeProperties, SubscriptionId, Text, Unsubscribe,
};

/// A SUBSCRIBE with an identifier; its SUBACK is read.
pub(super) fn subscribe_as(
    world: &mut World,
    client: ConnectionId,
    n: u32,
    filters: &[(&'static str, SubscribeOptions)],
) {
    let filter = |&(filter, options)| SubscribeFilter { filter: Text::from_static(filter), options };
    let filters = filters.iter().map(filter).collect();
    let properties = SubscribeProperties { subscription_id: SubscriptionId::new(n), ..Default::default() };
    let subscribe = Subscribe { packet_id: id(1), filters, properties: Some(Box::new(properties)) };
    world.send(client, Packet::Subscribe(subscribe));
    assert!(matches!(world.read(client)[..], [Packet::Suback(_)]));
}

/// The subscription identifiers of a publish, from the lowest.
pub(super) fn ids_of(publish: &Publish) -> Vec<u32> {
    let properties = publish.properties.as_ref();
    let ids = properties.map_or(&[][..], |properties| &properties.subscription_ids);
    let mut ids: Vec<_> = ids.iter().map(|id| id.value()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn each_filter_gets_its_own_answer() {
    for (version, bad) in [(V5, ReasonCode::TopicFilterInvalid), (V311, ReasonCode::UnspecifiedError)] {
        let mut world = World::new();
        let client = world.connect(version, "d");
        assert_eq!(world.subscribe(client, "a/+", QoS::AtMostOnce), ReasonCode::Success);
        assert_eq!(world.subscribe(client, "a/#", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
        assert_eq!(world.subscribe(client, "b", QoS::ExactlyOnce), ReasonCode::GrantedQos2);
        assert_eq!(world.subscribe(client, "a/#/b", QoS::AtMostOnce), bad);
        assert_eq!(world.subscribe(client, "$share/g", QoS::AtMostOnce), bad);
        assert_eq!(world.gauges().subscriptions, 3);
    }
}

#[test]
fn a_session_has_a_bounded_number_of_subscriptions() {
    let mut world = World::with(crate::Limits { subscriptions_max: 2, ..limits() });
    let client = world.connect(V5, "d");
    for filter in ["a", "b", "a"] {
        assert_eq!(world.subscribe(client, filter, QoS::AtMostOnce), ReasonCode::Success, "{filter}");
    }
    assert_eq!(world.subscribe(client, "c", QoS::AtMostOnce), ReasonCode::QuotaExceeded);
    let unsubscribe = |filter| {
        let filters = vec![Text::from_static(filter)];
        Packet::Unsubscribe(Unsubscribe { packet_id: id(1), filters, properties: None })
    };
    world.send(client, unsubscribe("b"));
    world.send(client, unsubscribe("b"));
    let reasons: Vec<_> = world
        .read(client)
        .into_iter()
        .map(|packet| match packet {
            Packet::Unsuback(unsuback) => unsuback.reasons[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]);
    assert_eq!(world.subscribe(client, "c", QoS::AtMostOnce), ReasonCode::Success);
}

#[test]
fn a_message_comes_once_with_the_lower_of_the_two_qos() {
    for (published, granted, expected) in [
        (Delivery::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce),
        (qos1(1), QoS::AtMostOnce, QoS::AtMostOnce),
        (qos1(1), QoS::AtLeastOnce, QoS::AtLeastOnce),
        (qos1(1), QoS::ExactlyOnce, QoS::AtLeastOnce),
        (qos2(1), QoS::AtLeastOnce, QoS::AtLeastOnce),
        (qos2(1), QoS::AtMostOnce, QoS::AtMostOnce),
        (qos2(1), QoS::ExactlyOnce, QoS::ExactlyOnce),
    ] {
        let mut world = World::new();
        let subscriber = world.connect(V311, "s");
        world.subscribe(subscriber, "local/t", granted);
        let publisher = world.connect(V5, "p");
        world.publish(publisher, "local/t", published);
        let received = world.read_publishes(subscriber);
        assert_eq!(received.len(), 1);
        assert_eq!((received[0].delivery.qos(), &received[0].payload[..]), (expected, &b"x"[..]));
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy_with_the_highest_qos_and_all_identifiers() {
    let mut world = World::new();
    let subscriber = world.connect(V5, "s");
    for (filter, qos, n) in
        [("local/#", QoS::AtMostOnce, 1), ("local/+", QoS::AtLeastOnce, 2), ("x", QoS::AtMostOnce, 3)]
    {
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        subscribe_as(&mut world, subscriber, n, &[(filter, options)]);
    }
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos1(1));
    let received = world.read_publishes(subscriber);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].delivery.qos(), QoS::AtLeastOnce);
    assert_eq!(ids_of(&received[0]), [1, 2], "[MQTT-3.3.4-3], [MQTT-3.3.4-4]");
}

#[test]
fn subscriptions_that_share_an_identifier_each_say_it() {
    let mut world = World::new();
    let client = world.connect(V5, "s");
    let options = SubscribeOptions::default();
    subscribe_as(&mut world, client, 7, &[("local/#", options), ("local/+", options)]);
    world.publish(client, "local/t", Delivery::AtMostOnce);
    let received = world.read_publishes(client);
    assert_eq!(received.iter().map(ids_of).collect::<Vec<_>>(), [[7, 7]], "[MQTT5 §3.3.4]");
}

#[test]
fn a_subscription_that_is_made_again_has_the_new_identifier_or_none() {
    let mut world = World::new();
    let client = world.connect(V5, "s");
    for (n, expected) in [(1, vec![1]), (2, vec![2])] {
        subscribe_as(&mut world, client, n, &[("local/t", SubscribeOptions::default())]);
        world.publish(client, "local/t", Delivery::AtMostOnce);
        assert_eq!(ids_of(&world.read_publishes(client)[0]), expected);
    }
    world.subscribe(client, "local/t", QoS::AtMostOnce);
    world.publish(client, "local/t", Delivery::AtMostOnce);
    assert_eq!(world.read_publishes(client)[0].properties, None);
}

#[test]
fn identifiers_stay_with_what_waits_and_with_what_is_sent_again() {
    let mut world = World::new();
    let subscriber = world.connect_as(persistent(V5, "s"));
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    subscribe_as(&mut world, subscriber, 1, &[("local/#", options)]);
    subscribe_as(&mut world, subscriber, 2, &[("local/+", options)]);
    world.cut(subscriber);
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos1(1));
    for _ in 0..2 {
        let subscriber = world.connect_as(persistent(V5, "s"));
        let received = world.read_publishes(subscriber);
        assert_eq!(received.iter().map(ids_of).collect::<Vec<_>>(), [[1, 2]]);
        world.cut(subscriber);
    }
}

#[test]
fn a_command_says_which_subscriptions_it_matches() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    for (n, filter) in [(1, "devices/#"), (2, "devices/d/cmd"), (3, "local/#")] {
        subscribe_as(&mut world, client, n, &[(filter, options)]);
    }
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    assert_eq!(ids_of(&world.read_publishes(client)[0]), [1, 2], "[MQTT-3.3.4-3]");
}

#[test]
fn a_subscription_without_the_own_messages_takes_no_part_in_them() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    subscribe_as(&mut world, client, 1, &[("local/#", SubscribeOptions { no_local: true, ..options })]);
    subscribe_as(&mut world, client, 2, &[("local/+", SubscribeOptions { qos: QoS::AtMostOnce, ..options })]);
    world.publish(client, "local/t", qos1(1));
    let other = world.connect(V5, "o");
    world.publish(other, "local/t", qos1(1));
    let publishes = world.read(client).into_iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some((publish.delivery.qos(), ids_of(&publish))),
        _ => None,
    });
    let received: Vec<_> = publishes.collect();
    assert_eq!(received, [(QoS::AtMostOnce, vec![2]), (QoS::AtLeastOnce, vec![1, 2])], "[MQTT-3.8.3-3]");
}

#[test]
fn what_was_not_published_as_retained_is_not_sent_as_retained() {
    for retain_as_published in [true, false] {
        let mut world = World::new();
        let client = world.connect(V5, "d");
        let options = SubscribeOptions { retain_as_published, ..SubscribeOptions::default() };
        world.subscribe_with(client, "local/t", options);
        world.publish(client, "local/t", Delivery::AtMostOnce);
        assert!(!world.read_publishes(client)[0].retain, "[MQTT-3.3.1-12], [MQTT-3.3.1-13]");
    }
}

#[test]
fn no_local_spares_the_publisher_its_own_message() {
    for (no_local, expected) in [(true, 0), (false, 1)] {
        let mut world = World::new();
        let client = world.connect(V5, "d");
        world.subscribe_with(client, "local/t", SubscribeOptions { no_local, ..SubscribeOptions::default() });
        world.publish(client, "local/t", Delivery::AtMostOnce);
        assert_eq!(world.read_publishes(client).len(), expected);
    }
}

#[test]
fn properties_are_carried_and_expiry_counts_down() {
    let mut world = World::new();
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(V5, "p");
    let properties = PublishProperties {
        message_expiry_s: Some(100),
        content_type: Some(Text::from_static("text/plain")),
        response_topic: Some(Text::from_static("answers")),
        user_properties: vec![crate::packet::UserProperty {
            name: Text::from_static("a"),
            value: Text::from_static("1"),
        }],
        ..PublishProperties::default()
    };
    let mut publish = publish_packet("local/t", b"x", qos1(1));
    publish.properties = Some(Box::new(properties.clone()));
    world.send(publisher, Packet::Publish(publish.clone()));
    publish.properties.as_mut().unwrap().message_expiry_s = Some(5);
    world.send(publisher, Packet::Publish(publish));
    world.pass(std::time::Duration::from_secs(40));
    let subscriber = world.connect_as(persistent(V5, "s"));
    let received = world.read_publishes(subscriber);
    assert_eq!(received.len(), 1, "the other has expired");
    let expected = PublishProperties { message_expiry_s: Some(60), ..properties };
    assert_eq!(received[0].properties.as_deref(), Some(&expected));
    assert_eq!(world.count(crate::Count::DroppedExpired), 1);
}
