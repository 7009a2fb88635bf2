//! SUBSCRIBE, and who gets what.

use super::world::*;
use crate::packet::{
    Delivery, Packet, PublishProperties, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeOptions,
    SubscribeProperties, SubscriptionId, Text, Unsubscribe,
};

#[test]
fn each_filter_gets_its_own_answer() {
    for (version, bad, shared) in [
        (V5, ReasonCode::TopicFilterInvalid, ReasonCode::SharedSubscriptionsNotSupported),
        (V311, ReasonCode::UnspecifiedError, ReasonCode::UnspecifiedError),
    ] {
        let mut world = World::new();
        let client = world.connect(version, "d");
        assert_eq!(world.subscribe(client, "a/+", QoS::AtMostOnce), ReasonCode::Success);
        assert_eq!(world.subscribe(client, "a/#", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
        assert_eq!(
            world.subscribe(client, "b", QoS::ExactlyOnce),
            ReasonCode::GrantedQos1,
            "no more than there is"
        );
        assert_eq!(world.subscribe(client, "a/#/b", QoS::AtMostOnce), bad);
        assert_eq!(world.subscribe(client, "$share/g/a", QoS::AtMostOnce), shared);
        assert_eq!(world.shard.gauges().subscriptions, 3);
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
        let properties =
            SubscribeProperties { subscription_id: SubscriptionId::new(n), ..Default::default() };
        let filters = vec![SubscribeFilter { filter: Text::from_static(filter), options }];
        let subscribe = Subscribe { packet_id: id(1), filters, properties: Some(Box::new(properties)) };
        world.send(subscriber, Packet::Subscribe(subscribe));
    }
    world.read(subscriber);
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos1(1));
    let received = world.read_publishes(subscriber);
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].delivery.qos(), QoS::AtLeastOnce);
    let mut ids: Vec<_> =
        received[0].properties.as_ref().unwrap().subscription_ids.iter().map(|id| id.value()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
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

#[test]
fn what_is_larger_than_a_client_takes_is_left_out() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "s");
    connect.properties.maximum_packet_size = std::num::NonZeroU32::new(64);
    let subscriber = world.connect_as(connect);
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'y'; 100], qos1(1))));
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"small", qos1(2))));
    assert_eq!(world.take_publishes(subscriber, true), ["small"]);
    assert_eq!(world.count(crate::Count::DroppedTooLarge), 1);
}
