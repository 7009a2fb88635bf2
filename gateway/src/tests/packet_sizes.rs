//! Maximum Packet Size: what a client may send, and what it is sent.

use std::num::{NonZeroU16, NonZeroU32};

use roost_wire::{Outcome, Refusal};

use super::world::*;
use crate::packet::{
    Connect, DecodeLimits, Delivery, Packet, ProtocolVersion, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeOptions, Text,
};
use crate::{Count, Limits};

/// A CONNECT of a client that takes packets of so many bytes.
fn taking(max: u32, client_id: &str) -> Connect {
    let mut connect = connect_packet(V5, client_id);
    connect.properties.maximum_packet_size = NonZeroU32::new(max);
    connect
}

#[test]
fn a_packet_may_be_as_large_as_connack_says_and_no_larger() {
    const MAX: u32 = 1_024;
    let decode = DecodeLimits { packet_bytes_max: MAX, ..DecodeLimits::default() };
    for version in [V5, V311] {
        let mut world = World::with(Limits { decode, ..limits() });
        let client = world.connect(version, "d");
        // Three bytes of fixed header, three of topic, and in v5 one of properties.
        let payload = vec![b'y'; MAX as usize - 6 - usize::from(version == ProtocolVersion::V5)];
        let mut publish = publish_packet("a", &payload, Delivery::AtMostOnce);
        world.send(client, Packet::Publish(publish.clone()));
        assert_eq!(world.events.len(), 1, "{version:?}");
        publish.topic = Text::from_static("aa");
        world.send(client, Packet::Publish(publish));
        let expected = (version == V5).then_some(ReasonCode::PacketTooLarge);
        assert_eq!(world.closed_with(client), expected, "{version:?} [MQTT-3.2.2-15]");
        assert_eq!(world.count(Count::ClosedProtocol), 1);
    }
}

#[test]
fn what_is_larger_than_a_client_takes_is_left_out_as_if_it_had_been_sent() {
    let mut world = World::new();
    let mut connect = taking(64, "s");
    // Its window has room for one: what is left out takes no place in it.
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let subscriber = world.connect_as(connect);
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    for (n, payload) in [(1, &[b'y'; 100][..]), (2, b"small"), (3, &[b'z'; 100]), (4, b"also small")] {
        world.send(publisher, Packet::Publish(publish_packet("local/t", payload, qos1(n))));
    }
    assert_eq!(world.take_publishes(subscriber, true), ["small", "also small"], "[MQTT-3.1.2-25]");
    assert_eq!(world.count(Count::DroppedTooLarge), 2);
    let pubacks = [1, 2, 3, 4].map(|n| (n, ReasonCode::Success));
    assert_eq!(world.read_pubacks(publisher), pubacks, "its publisher is not told");
    assert_eq!(world.gauges().inflight_messages, 0);
    world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'y'; 100], Delivery::AtMostOnce)));
    assert_eq!(world.read(subscriber), []);
    assert_eq!(world.count(Count::DroppedTooLarge), 3);
}

#[test]
fn what_fits_the_connection_it_was_sent_on_and_not_the_next_is_left_out_there() {
    let mut world = World::new();
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'y'; 100], qos1(1))));
    assert_eq!(world.take_publishes(subscriber, false).len(), 1);
    world.cut(subscriber);
    let mut connect = persistent(V5, "s");
    connect.properties.maximum_packet_size = NonZeroU32::new(64);
    let subscriber = world.connect_as(connect);
    assert_eq!(world.read(subscriber), []);
    assert_eq!((world.count(Count::DroppedTooLarge), world.gauges().inflight_messages), (1, 0));
}

#[test]
fn a_command_that_is_too_large_is_refused_and_the_next_one_comes() {
    let mut world = World::new();
    let client = world.connect_as(taking(128, "d"));
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let mut large = world.new_command("d", epoch(1, 1));
    large.payload = vec![b'y'; 200].into();
    world.deliver(large);
    let refused = Outcome::Refused { reason: Refusal::PacketTooLarge };
    assert_eq!(world.outcomes(), [(1, refused)]);
    let small = world.new_command("d", epoch(1, 2));
    world.deliver(small);
    assert_eq!(world.take_publishes(client, true), ["2"]);
}

#[test]
fn an_answer_that_is_too_large_ends_the_connection() {
    let mut world = World::new();
    let client = world.connect_as(taking(64, "d"));
    let filter = |n| SubscribeFilter {
        filter: Text::parse(format!("a/{n}")).unwrap(),
        options: SubscribeOptions::default(),
    };
    // A SUBACK has five bytes, and one for each filter.
    let subscribe =
        |count| Subscribe { packet_id: id(1), filters: (0..count).map(filter).collect(), properties: None };
    world.send(client, Packet::Subscribe(subscribe(59)));
    assert!(matches!(&world.read(client)[..], [Packet::Suback(suback)] if suback.reasons.len() == 59));
    world.send(client, Packet::Subscribe(subscribe(60)));
    assert_eq!(world.closed_with(client), Some(ReasonCode::PacketTooLarge), "[MQTT-3.1.2-24]");
    assert_eq!(world.count(Count::ClosedAnswerTooLarge), 1);
}

#[test]
fn who_takes_no_packet_as_large_as_its_connack_is_not_let_in() {
    let mut world = World::new();
    for max in 1..=5 {
        let client = world.begin_connect(taking(max, "d"));
        assert!(world.is_closed(client));
        match &world.read(client)[..] {
            [] => assert!(max < 5, "{max}: no room for five bytes"),
            [Packet::Connack(connack)] => {
                assert_eq!((max, connack.reason), (5, ReasonCode::ImplementationSpecificError));
                assert_eq!(connack.properties, None, "[MQTT-3.2.2-19]");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.count(Count::RefusedPacketSize), 5);
    assert_eq!(world.gauges().sessions, 0);
    let fits = (1..200).find(|&max| {
        let client = world.begin_connect(taking(max, ""));
        !world.is_closed(client)
    });
    assert!(fits.is_some_and(|max| max > 30), "{fits:?}: the first that is as large as the CONNACK");
    assert_eq!(world.gauges().sessions_connected, 1);
}

#[test]
fn a_refusal_leaves_its_reason_string_out_where_it_does_not_fit() {
    for (max, is_told) in [(20, false), (200, true)] {
        let mut world = World::new();
        let (_, connack) = world.try_connect(taking(max, "a+b"));
        assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
        assert_eq!(connack.properties.is_some(), is_told, "{max} [MQTT-3.2.2-19]");
    }
}
