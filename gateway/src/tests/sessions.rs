//! Sessions that outlive their connections.

use std::time::Duration;

use super::world::*;
use crate::Count;
use crate::packet::{Delivery, Packet, QoS};

/// A device that subscribed to `local/t` and is away, and somebody who publishes there.
fn away(version: crate::packet::ProtocolVersion) -> (World, crate::ConnectionId) {
    let mut world = World::new();
    let subscriber = world.connect_as(persistent(version, "s"));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(V5, "p");
    (world, publisher)
}

#[test]
fn messages_wait_for_a_session_that_is_kept() {
    for version in [V5, V311] {
        let (mut world, publisher) = away(version);
        for n in 1..=3 {
            world.publish(publisher, "local/t", qos1(n));
        }
        world.publish(publisher, "local/t", Delivery::AtMostOnce);
        let (subscriber, connack) = world.try_connect(persistent(version, "s"));
        assert!(connack.session_present);
        assert_eq!(world.take_publishes(subscriber, true).len(), 3);
        assert_eq!(world.count(Count::DroppedOffline), 1, "QoS 0 is not kept");
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_with_dup_first_and_in_order() {
    let (mut world, publisher) = away(V5);
    let subscriber = world.connect_as(persistent(V5, "s"));
    for n in 1..=4 {
        world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'0' + n], qos1(n.into()))));
    }
    let received = world.read_publishes(subscriber);
    let ids: Vec<_> = received.iter().map(|p| p.delivery.packet_id().unwrap()).collect();
    world.puback(subscriber, ids[1]);
    world.cut(subscriber);
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"5", qos1(5))));
    let subscriber = world.connect_as(persistent(V5, "s"));
    let again: Vec<_> = world
        .read_publishes(subscriber)
        .into_iter()
        .map(|p| (p.payload[0], p.delivery.packet_id().unwrap(), p.delivery.dup()))
        .collect();
    assert_eq!(again[..3], [(b'1', ids[0], true), (b'3', ids[2], true), (b'4', ids[3], true)]);
    assert_eq!((again[3].0, again[3].2), (b'5', false));
}

#[test]
fn a_smaller_receive_maximum_after_the_return_is_kept() {
    let (mut world, publisher) = away(V5);
    for n in 1..=10 {
        world.publish(publisher, "local/t", qos1(n));
    }
    let subscriber = world.connect_as(persistent(V5, "s"));
    assert_eq!(world.read_publishes(subscriber).len(), 10);
    world.cut(subscriber);
    let mut connect = persistent(V5, "s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(3);
    let subscriber = world.connect_as(connect);
    let mut received = 0;
    loop {
        let publishes = world.read_publishes(subscriber);
        if publishes.is_empty() {
            break;
        }
        assert!(publishes.len() <= 3, "no more than the client takes");
        received += publishes.len();
        for publish in publishes {
            world.puback(subscriber, publish.delivery.packet_id().unwrap());
        }
    }
    assert_eq!(received, 10);
}

#[test]
fn a_session_ends_when_nobody_comes_back_in_time() {
    let (mut world, _) = away(V5);
    world.pass(Duration::from_secs(3_599));
    assert_eq!(world.gauges().sessions, 2);
    world.pass(Duration::from_secs(1));
    assert_eq!((world.gauges().sessions, world.gauges().subscriptions), (1, 0));
    assert_eq!(world.count(Count::SessionExpired), 1);
    assert!(!world.try_connect(persistent(V5, "s")).1.session_present);
}

#[test]
fn a_session_that_came_back_does_not_expire_under_its_client() {
    let (mut world, _) = away(V5);
    world.pass(Duration::from_secs(3_000));
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.pass(Duration::from_secs(10_000));
    assert!(!world.is_closed(subscriber));
    world.cut(subscriber);
    world.pass(Duration::from_secs(3_599));
    assert_eq!(world.gauges().sessions, 2, "it counts from the last end");
}

#[test]
fn a_clean_start_forgets_everything() {
    for version in [V5, V311] {
        let (mut world, publisher) = away(version);
        world.publish(publisher, "local/t", qos1(1));
        let (subscriber, connack) = world.try_connect(connect_packet(version, "s"));
        assert!(!connack.session_present);
        assert_eq!(world.read(subscriber), []);
        world.publish(publisher, "local/t", qos1(2));
        assert_eq!(world.read(subscriber), [], "the subscription is gone too");
    }
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_taken_over() {
    let mut world = World::new();
    let older = world.connect(V5, "d");
    world.subscribe(older, "local/t", QoS::AtMostOnce);
    let (_, connack) = world.try_connect(persistent(V5, "d"));
    assert!(!connack.session_present, "it ended when the older connection was closed");
    assert_eq!(world.gauges().subscriptions, 0);
}

#[test]
fn a_live_session_is_taken_over_with_what_it_owes() {
    let mut world = World::new();
    let older = world.connect_as(persistent(V5, "d"));
    world.subscribe(older, "local/t", QoS::AtLeastOnce);
    world.publish(older, "local/t", qos1(1));
    let (newer, connack) = world.try_connect(persistent(V5, "d"));
    assert!(connack.session_present && world.is_closed(older));
    let again = world.read_publishes(newer);
    assert!(again.len() == 1 && again[0].delivery.dup());
}

#[test]
fn a_full_queue_of_a_session_that_is_away_drops_and_counts() {
    let mut world = World::with(crate::Limits { queue_messages_max: 2, ..limits() });
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(V5, "p");
    for n in 1..=3 {
        world.publish(publisher, "local/t", qos1(n));
    }
    let pubacks = world.read_pubacks(publisher);
    assert_eq!(pubacks.len(), 3);
    assert!(pubacks[2].1 == crate::packet::ReasonCode::NoMatchingSubscribers, "nobody took the third");
    assert_eq!(world.count(Count::DroppedQueueFull), 1);
}
