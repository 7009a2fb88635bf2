//! Topic aliases: a number instead of a topic, on one connection.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use roost_wire::Event;

use super::world::*;
use crate::packet::{Connect, Delivery, Packet, PublishProperties, QoS, ReasonCode};
use crate::{ConnectionId, Count, Limits, PublishOutcome};

/// A PUBLISH with an alias; an empty topic is left out.
fn with_alias(topic: &str, alias: u16, delivery: Delivery) -> Packet {
    let mut publish = publish_packet(topic, b"x", delivery);
    let topic_alias = NonZeroU16::new(alias);
    publish.properties = Some(Box::new(PublishProperties { topic_alias, ..PublishProperties::default() }));
    Packet::Publish(publish)
}

/// The topics of the events that the backend has been given, all confirmed.
fn event_topics(world: &mut World) -> Vec<String> {
    let mut topics = Vec::new();
    while !world.events.is_empty() {
        let event = world.answer_event(PublishOutcome::Confirmed);
        topics.push(Event::from_message(&event.message).unwrap().topic.as_str().to_owned());
    }
    topics
}

/// A subscriber to everything local that takes so many aliases.
fn subscriber(world: &mut World, connect: Connect, max: u16) -> ConnectionId {
    let mut connect = connect;
    connect.properties.topic_alias_maximum = Some(max);
    let client = world.connect_as(connect);
    world.subscribe(client, "local/#", QoS::AtLeastOnce);
    client
}

fn whole(topic: &str) -> (String, Option<u16>) {
    (topic.to_owned(), None)
}

fn new(topic: &str, alias: u16) -> (String, Option<u16>) {
    (topic.to_owned(), Some(alias))
}

fn by(alias: u16) -> (String, Option<u16>) {
    (String::new(), Some(alias))
}

#[test]
fn a_clients_alias_stands_for_the_topic_that_came_with_it_last() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    for (n, (topic, alias)) in
        [("a", 1), ("", 1), ("b", 16), ("", 1), ("b", 1), ("", 1)].into_iter().enumerate()
    {
        world.send(device, with_alias(topic, alias, qos1(n as u16 + 1)));
    }
    assert_eq!(event_topics(&mut world), ["a", "a", "b", "a", "b", "b"]);
    assert_eq!(world.read_pubacks(device).len(), 6);
}

#[test]
fn local_subscribers_get_the_topic_and_not_the_publishers_alias() {
    let mut world = World::new();
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/+", QoS::AtMostOnce);
    let device = world.connect(V5, "d");
    for topic in ["local/t", ""] {
        world.send(device, with_alias(topic, 3, Delivery::AtMostOnce));
    }
    for publish in world.read_publishes(subscriber) {
        assert_eq!((publish.topic.as_str(), publish.properties), ("local/t", None));
    }
    assert_eq!(world.spellings(subscriber), [whole("local/t"), whole("local/t")]);
}

#[test]
fn an_alias_that_may_not_be_used_ends_the_connection() {
    let none = Limits { topic_alias_maximum: 0, ..limits() };
    for (what, limits, topic, alias, reason) in [
        ("above the maximum", limits(), "a", 17, ReasonCode::TopicAliasInvalid),
        ("where none may be", none, "a", 1, ReasonCode::TopicAliasInvalid),
        ("that stands for nothing", limits(), "", 1, ReasonCode::ProtocolError),
    ] {
        let mut world = World::with(limits);
        let device = world.connect(V5, "d");
        world.send(device, with_alias(topic, alias, Delivery::AtMostOnce));
        assert_eq!(world.closed_with(device), Some(reason), "an alias {what}");
        assert_eq!(world.count(Count::ClosedProtocol), 1, "an alias {what}");
        assert!(world.events.is_empty(), "an alias {what}");
    }
    let mut world = World::new();
    let device = world.connect(V5, "d");
    world.send_bytes(device, BytesMut::from(&b"\x30\x07\x00\x01a\x03\x23\x00\x00"[..]));
    assert_eq!(world.closed_with(device), Some(ReasonCode::TopicAliasInvalid), "0 [MQTT-3.3.2-8]");
}

#[test]
fn the_topics_of_a_clients_aliases_are_bounded() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    for alias in 1..=2 {
        world.send(device, with_alias(&"x".repeat(40_000), alias, Delivery::AtMostOnce));
    }
    assert_eq!(world.closed_with(device), Some(ReasonCode::QuotaExceeded));
    assert_eq!(world.count(Count::ClosedTopicAliases), 1);
}

#[test]
fn a_clients_aliases_end_with_its_connection() {
    let mut world = World::new();
    let device = world.connect_as(persistent(V5, "d"));
    world.send(device, with_alias("a", 1, Delivery::AtMostOnce));
    world.cut(device);
    let device = world.connect_as(persistent(V5, "d"));
    world.send(device, with_alias("", 1, Delivery::AtMostOnce));
    assert_eq!(world.closed_with(device), Some(ReasonCode::ProtocolError), "[MQTT-3.3.2-7]");
}

#[test]
fn a_publish_that_waits_keeps_the_topic_that_its_alias_stood_for() {
    let mut world = World::with(Limits { uplink_events_max: 1, ..limits() });
    let device = world.connect(V5, "d");
    for (n, (topic, alias)) in [("a", 1), ("", 1), ("b", 1), ("", 1)].into_iter().enumerate() {
        world.send(device, with_alias(topic, alias, qos1(n as u16 + 1)));
    }
    assert_eq!(world.events.len(), 1, "the others wait");
    assert_eq!(event_topics(&mut world), ["a", "a", "b", "b"]);
}

#[test]
fn a_topic_that_comes_again_goes_out_as_an_alias_as_far_as_there_are_any() {
    let mut world = World::new();
    let subscriber = subscriber(&mut world, connect_packet(V5, "s"), 2);
    let publisher = world.connect(V5, "p");
    for topic in ["local/a", "local/b", "local/a", "local/a", "local/b", "local/c", "local/b", "local/a"] {
        world.publish(publisher, topic, Delivery::AtMostOnce);
    }
    let topics: Vec<_> = world.read_publishes(subscriber).iter().map(|p| p.topic.to_string()).collect();
    assert_eq!(
        topics,
        ["local/a", "local/b", "local/a", "local/a", "local/b", "local/c", "local/b", "local/a"]
    );
    assert_eq!(
        world.spellings(subscriber),
        [new("local/a", 1), new("local/b", 2), by(1), by(1), by(2), whole("local/c"), by(2), by(1)]
    );
}

#[test]
fn who_takes_no_aliases_gets_none() {
    for (version, max) in [(V5, None), (V5, Some(0)), (V311, None)] {
        let mut world = World::new();
        let mut connect = connect_packet(version, "s");
        connect.properties.topic_alias_maximum = max;
        let subscriber = world.connect_as(connect);
        world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
        let publisher = world.connect(V5, "p");
        for _ in 0..3 {
            world.publish(publisher, "local/t", Delivery::AtMostOnce);
        }
        assert_eq!(world.spellings(subscriber), ["local/t"; 3].map(whole), "[MQTT-3.1.2-27]");
    }
}

#[test]
fn where_the_operator_wants_none_the_gateway_uses_none() {
    let mut world = World::with(Limits { topic_alias_maximum: 0, ..limits() });
    let subscriber = subscriber(&mut world, connect_packet(V5, "s"), 10);
    let publisher = world.connect(V5, "p");
    for _ in 0..3 {
        world.publish(publisher, "local/t", Delivery::AtMostOnce);
    }
    assert_eq!(world.spellings(subscriber), [whole("local/t"), whole("local/t"), whole("local/t")]);
}

#[test]
fn what_is_sent_again_on_another_connection_tells_its_topic_anew() {
    let mut world = World::new();
    let first = subscriber(&mut world, persistent(V5, "s"), 2);
    let publisher = world.connect(V5, "p");
    for n in 1..=3 {
        world.publish(publisher, "local/t", qos1(n));
    }
    assert_eq!(world.spellings(first), [new("local/t", 1), by(1), by(1)]);
    world.cut(first);
    world.publish(publisher, "local/t", qos1(4));
    let mut connect = persistent(V5, "s");
    connect.properties.topic_alias_maximum = Some(1);
    let second = world.connect_as(connect);
    let again = world.read_publishes(second);
    assert!(again.iter().all(|publish| publish.topic == "local/t"));
    assert_eq!(again.iter().map(|p| p.delivery.dup()).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(world.spellings(second), [new("local/t", 1), by(1), by(1), by(1)]);
    world.cut(second);
    let third = world.connect_as(persistent(V5, "s"));
    assert_eq!(world.read_publishes(third).len(), 4);
    assert_eq!(world.spellings(third).len(), 4, "this one takes no aliases, and got none");
}

#[test]
fn a_packet_is_not_dropped_for_its_alias_and_one_that_is_dropped_tells_none() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "s");
    connect.properties.maximum_packet_size = NonZeroU32::new(64);
    let subscriber = subscriber(&mut world, connect, 2);
    let publisher = world.connect(V5, "p");
    let publish = |world: &mut World, topic: &str, bytes: usize| {
        let payload = vec![b'y'; bytes];
        world.send(publisher, Packet::Publish(publish_packet(topic, &payload, Delivery::AtMostOnce)));
        world.spellings(subscriber)
    };
    // 62 bytes as it is, 65 with an alias beside its topic.
    assert_eq!(publish(&mut world, "local/t", 50), [whole("local/t")]);
    assert_eq!(publish(&mut world, "local/t", 50), [whole("local/t")]);
    assert_eq!(publish(&mut world, "local/t", 1), [new("local/t", 1)]);
    assert_eq!(publish(&mut world, "local/t", 50), [by(1)]);
    assert_eq!(publish(&mut world, "local/t", 60), [], "too large either way");
    for _ in 0..2 {
        assert_eq!(publish(&mut world, "local/u", 60), []);
    }
    assert_eq!(publish(&mut world, "local/u", 1), [new("local/u", 2)], "the dropped ones told nothing");
    assert_eq!(publish(&mut world, "local/u", 1), [by(2)]);
    assert_eq!(world.count(Count::DroppedTooLarge), 3);
    assert_eq!(world.read_publishes(subscriber).len(), 6);
}

#[test]
fn commands_have_aliases_as_well() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.topic_alias_maximum = Some(1);
    let device = world.connect_as(connect);
    world.subscribe(device, "#", QoS::AtLeastOnce);
    for _ in 0..3 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    assert_eq!(world.take_publishes(device, true), ["1", "2", "3"]);
    let topic = "devices/d/cmd";
    assert_eq!(world.spellings(device), [new(topic, 1), by(1), by(1)]);
    assert_eq!(world.outcomes().len(), 3);
}
