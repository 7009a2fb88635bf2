//! MQTT 3.1, whose protocol is called MQIsdp: on the same port, with the differences to 3.1.1 that there are.

use bytes::BytesMut;

use super::world::*;
use crate::Count;
use crate::packet::{Delivery, Packet, QoS, ReasonCode};

#[test]
fn a_client_of_mqtt_3_1_publishes_and_subscribes() {
    let mut world = World::new();
    let client = world.open(V31);
    world.send_bytes(client, BytesMut::from(&b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x01d"[..]));
    assert!(
        matches!(&world.read(client)[..], [Packet::Connack(connack)] if connack.reason == ReasonCode::Success)
    );
    assert_eq!(world.subscribe(client, "local/#", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
    world.publish(client, "local/t", Delivery::AtMostOnce);
    assert_eq!(world.take_publishes(client, true), ["x"]);
    world.publish(client, "a", qos1(1));
    world.confirm_all();
    assert_eq!(world.read_pubacks(client), [(1, ReasonCode::Success)]);
}

#[test]
fn its_session_is_kept_although_its_connack_cannot_say_so() {
    for (version, is_told) in [(V31, false), (V311, true)] {
        let mut world = World::new();
        let client = world.connect_as(persistent(version, "d"));
        world.subscribe(client, "local/t", QoS::AtLeastOnce);
        world.cut(client);
        let publisher = world.connect(V5, "p");
        world.publish(publisher, "local/t", qos1(1));
        let (client, connack) = world.try_connect(persistent(version, "d"));
        assert_eq!(connack.session_present, is_told, "{version:?}: the bit is reserved in 3.1");
        assert_eq!(world.take_publishes(client, true), ["x"], "{version:?}");
    }
}

#[test]
fn it_has_no_empty_client_id_and_may_have_a_longer_one_than_it_says() {
    let mut world = World::new();
    let (client, connack) = world.try_connect(connect_packet(V31, ""));
    assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
    assert!(world.is_closed(client));
    assert_eq!(world.count(Count::RefusedClientId), 1);
    world.connect(V31, &"x".repeat(64));
}

#[test]
fn a_subscription_that_is_refused_ends_the_connection_since_no_suback_can_say_it() {
    for filter in ["a/#/b", "$share/g"] {
        let mut world = World::new();
        let client = world.connect(V31, "d");
        let body = [&[0, 1, 0, 1, b'b', 1, 0][..], &[filter.len() as u8], filter.as_bytes(), &[1]].concat();
        let packet = [&[0x82, body.len() as u8][..], &body].concat();
        world.send_bytes(client, BytesMut::from(&packet[..]));
        assert!(world.is_closed(client), "{filter}");
        assert_eq!(world.read(client), [], "{filter}: and no SUBACK");
        assert_eq!(world.count(Count::ClosedSubscription), 1, "{filter}");
    }
}

#[test]
fn what_it_sends_again_may_say_so() {
    let subscribe_again = &b"\x8a\x06\x00\x01\x00\x01a\x00"[..];
    for (version, is_taken) in [(V31, true), (V311, false)] {
        let mut world = World::new();
        let client = world.connect(version, "d");
        world.send_bytes(client, BytesMut::from(subscribe_again));
        assert_eq!(!world.is_closed(client), is_taken, "{version:?}: a SUBSCRIBE with DUP");
    }
}

#[test]
fn a_user_name_that_is_announced_may_be_missing() {
    let mut world = World::new();
    let client = world.open(V31);
    world.send_bytes(client, BytesMut::from(&b"\x10\x0f\x00\x06MQIsdp\x03\xc2\x00\x0a\x00\x01d"[..]));
    assert!(!world.is_closed(client), "the length of the packet counts");
}

#[test]
fn what_it_may_not_do_ends_its_connection_as_in_3_1_1() {
    let mut world = World::new();
    let client = world.connect(V31, "d");
    world.publish(client, &"/".repeat(64), qos1(1));
    assert!(world.is_closed(client), "a PUBACK can only mean success");
    assert_eq!(world.count(Count::PublishTopicInvalid), 1);
}
