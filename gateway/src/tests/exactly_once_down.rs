//! QoS 2 to a client: whatever is lost on the way, it gets the message once, and its window is kept.

use std::num::NonZeroU16;
use std::time::Duration;

use super::world::*;
use crate::packet::{Ack, Delivery, Packet, PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::{ConnectionId, Count, Limits};

/// A client of that version that subscribes to `local/#` at QoS 2, and takes so many at a time, and somebody who publishes.
fn subscriber(version: ProtocolVersion, window: u16) -> (World, ConnectionId, ConnectionId) {
    let mut world = World::with(Limits { inflight_max: NonZeroU16::new(window).unwrap(), ..limits() });
    let client = world.connect_as(persistent(version, "s"));
    world.subscribe(client, "local/#", QoS::ExactlyOnce);
    let publisher = world.connect(V5, "p");
    (world, client, publisher)
}

fn back(world: &mut World, version: ProtocolVersion) -> ConnectionId {
    let (client, connack) = world.try_connect(persistent(version, "s"));
    assert!(connack.session_present);
    client
}

/// Publishes one message at that QoS, and everything is said about it.
fn publish(world: &mut World, publisher: ConnectionId, payload: &str, qos: QoS) {
    let delivery = if qos == QoS::ExactlyOnce { qos2(1) } else { qos1(1) };
    world.send(publisher, Packet::Publish(publish_packet("local/t", payload.as_bytes(), delivery)));
    if qos == QoS::ExactlyOnce {
        world.send(publisher, Packet::Pubrel(Ack::success(id(1))));
    }
    world.read(publisher);
}

/// The one PUBLISH at QoS 2 that has come: payload, id, DUP.
fn message(world: &mut World, client: ConnectionId) -> (String, PacketId, bool) {
    let publish = world.read_publishes(client).try_into();
    let [publish]: [crate::packet::Publish; 1] = publish.expect("one PUBLISH");
    let Delivery::ExactlyOnce { packet_id, dup } = publish.delivery else { panic!("{publish:?}") };
    (String::from_utf8(publish.payload.to_vec()).unwrap(), packet_id, dup)
}

fn pubrec(world: &mut World, client: ConnectionId, packet_id: PacketId) {
    world.send(client, Packet::Pubrec(Ack::success(packet_id)));
}

fn pubcomp(world: &mut World, client: ConnectionId, packet_id: PacketId) {
    world.send(client, Packet::Pubcomp(Ack::success(packet_id)));
}

fn pubrel(packet_id: PacketId) -> Packet {
    Packet::Pubrel(Ack::success(packet_id))
}

#[test]
fn the_handshake_goes_its_four_steps() {
    for version in [V5, V311] {
        let (mut world, client, publisher) = subscriber(version, 10);
        publish(&mut world, publisher, "one", QoS::ExactlyOnce);
        let (payload, packet_id, dup) = message(&mut world, client);
        assert_eq!((&*payload, dup), ("one", false));
        pubrec(&mut world, client, packet_id);
        assert_eq!(world.read(client), [pubrel(packet_id)]);
        pubcomp(&mut world, client, packet_id);
        assert_eq!(world.read(client), []);
        world.cut(client);
        let client = back(&mut world, version);
        assert_eq!(world.read(client), [], "it is over");
        let counted = [Count::WrittenQos2, Count::LocalDelivered].map(|count| world.count(count));
        assert_eq!(counted, [1, 1]);
    }
}

#[test]
fn what_of_a_handshake_is_lost_comes_again() {
    for version in [V5, V311] {
        let (mut world, client, publisher) = subscriber(version, 10);
        publish(&mut world, publisher, "one", QoS::ExactlyOnce);
        let (_, packet_id, _) = message(&mut world, client);
        // PUBLISH or PUBREC was lost: nobody knows which.
        world.cut(client);
        let mut client = back(&mut world, version);
        assert_eq!(message(&mut world, client), ("one".to_owned(), packet_id, true));
        pubrec(&mut world, client, packet_id);
        // PUBREL or PUBCOMP was lost.
        for _ in 0..2 {
            world.cut(client);
            client = back(&mut world, version);
            assert_eq!(
                world.read(client),
                [pubrel(packet_id)],
                "the message is not sent again [MQTT-4.3.3-6]"
            );
        }
        pubcomp(&mut world, client, packet_id);
        world.cut(client);
        let client = back(&mut world, version);
        assert_eq!(world.read(client), []);
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_in_the_order_in_which_it_went() {
    let (mut world, client, publisher) = subscriber(V5, 10);
    for (payload, qos) in
        [("1", QoS::ExactlyOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce), ("4", QoS::ExactlyOnce)]
    {
        publish(&mut world, publisher, payload, qos);
    }
    let ids: Vec<_> =
        world.read_publishes(client).iter().map(|publish| publish.delivery.packet_id().unwrap()).collect();
    pubrec(&mut world, client, ids[0]);
    pubrec(&mut world, client, ids[1]);
    world.cut(client);
    publish(&mut world, publisher, "5", QoS::ExactlyOnce);
    let client = back(&mut world, V5);
    let again: Vec<_> = world
        .read(client)
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => (Some(publish.payload[0]), publish.delivery.dup()),
            Packet::Pubrel(ack) => {
                assert!(ids[..2].contains(&ack.packet_id));
                (None, false)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected =
        [(None, false), (None, false), (Some(b'3'), true), (Some(b'4'), true), (Some(b'5'), false)];
    assert_eq!(again, expected);
}

#[test]
fn pubrels_come_again_in_the_order_of_the_pubrecs() {
    let (mut world, client, publisher) = subscriber(V5, 10);
    for payload in ["1", "2", "3"] {
        publish(&mut world, publisher, payload, QoS::ExactlyOnce);
    }
    let ids: Vec<_> =
        world.read_publishes(client).iter().map(|publish| publish.delivery.packet_id().unwrap()).collect();
    let order = [ids[2], ids[0], ids[1]];
    order.iter().for_each(|packet_id| pubrec(&mut world, client, *packet_id));
    assert_eq!(world.read(client), order.map(pubrel), "[MQTT-4.6.0-4]");
    world.cut(client);
    let client = back(&mut world, V5);
    assert_eq!(world.read(client), order.map(pubrel));
}

#[test]
fn a_window_of_one_is_taken_until_puback_or_pubcomp() {
    for version in [V5, V311] {
        let (mut world, client, publisher) = subscriber(version, 1);
        for (payload, qos) in [("1", QoS::ExactlyOnce), ("2", QoS::AtLeastOnce), ("3", QoS::ExactlyOnce)] {
            publish(&mut world, publisher, payload, qos);
        }
        let (_, first, _) = message(&mut world, client);
        pubrec(&mut world, client, first);
        assert_eq!(world.read(client), [pubrel(first)], "the second waits [MQTT-3.3.4-9]");
        pubcomp(&mut world, client, first);
        let second = world.read_publishes(client).remove(0);
        assert_eq!((second.delivery.qos(), &second.payload[..]), (QoS::AtLeastOnce, &b"2"[..]));
        world.puback(client, second.delivery.packet_id().unwrap());
        let (payload, third, _) = message(&mut world, client);
        assert_eq!(payload, "3");
        // It waits over a connection as well, and does not hold up its PUBREL.
        pubrec(&mut world, client, third);
        publish(&mut world, publisher, "4", QoS::ExactlyOnce);
        world.cut(client);
        let client = back(&mut world, version);
        assert_eq!(world.read(client), [pubrel(third)]);
        pubcomp(&mut world, client, third);
        assert_eq!(message(&mut world, client).0, "4");
    }
}

#[test]
fn commands_share_the_window_and_are_never_sent_above_qos_1() {
    let (mut world, client, publisher) = subscriber(V5, 1);
    world.subscribe(client, "devices/s/cmd", QoS::ExactlyOnce);
    publish(&mut world, publisher, "1", QoS::ExactlyOnce);
    let (_, first, _) = message(&mut world, client);
    let mut command = world.new_command("s", epoch(1, 1));
    command.qos = roost_wire::Qos::ExactlyOnce;
    world.deliver(command);
    pubrec(&mut world, client, first);
    assert_eq!(world.read(client), [pubrel(first)]);
    pubcomp(&mut world, client, first);
    let command = world.read_publishes(client).remove(0);
    assert_eq!(command.delivery.qos(), QoS::AtLeastOnce);
    world.puback(client, command.delivery.packet_id().unwrap());
    assert_eq!(world.outcomes(), [(1, roost_wire::Outcome::Delivered)]);
}

#[test]
fn a_pubrec_that_refuses_is_the_end_of_it() {
    let (mut world, client, publisher) = subscriber(V5, 1);
    publish(&mut world, publisher, "1", QoS::ExactlyOnce);
    publish(&mut world, publisher, "2", QoS::ExactlyOnce);
    let (_, first, _) = message(&mut world, client);
    let refusal = Ack::with_reason(first, ReasonCode::QuotaExceeded);
    world.send(client, Packet::Pubrec(refusal.clone()));
    let (payload, second, _) = message(&mut world, client);
    assert_eq!(payload, "2", "no PUBREL, and its place is free");
    world.cut(client);
    let client = back(&mut world, V5);
    assert_eq!(message(&mut world, client), ("2".to_owned(), second, true));
    world.send(client, Packet::Pubrec(refusal));
    assert_eq!(world.read(client), [], "nothing answers the refusal of what is not known");
    assert_eq!((world.count(Count::DroppedRefused), world.count(Count::PubrecUnknown)), (1, 1));
}

#[test]
fn what_is_not_known_is_answered_so() {
    for version in [V5, V311] {
        let (mut world, client, publisher) = subscriber(version, 10);
        publish(&mut world, publisher, "1", QoS::AtLeastOnce);
        let at_qos_1 = world.read_publishes(client)[0].delivery.packet_id().unwrap();
        let reason = if version == V5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        for packet_id in [id(77), at_qos_1] {
            pubrec(&mut world, client, packet_id);
            assert_eq!(world.read(client), [Packet::Pubrel(Ack::with_reason(packet_id, reason))]);
            pubcomp(&mut world, client, packet_id);
            assert_eq!(world.read(client), []);
        }
        assert_eq!((world.count(Count::PubrecUnknown), world.count(Count::PubcompUnknown)), (2, 2));
        publish(&mut world, publisher, "2", QoS::ExactlyOnce);
        let (_, at_qos_2, _) = message(&mut world, client);
        world.puback(client, at_qos_2);
        assert_eq!(world.count(Count::PubackUnknown), 1);
        world.cut(client);
        let client = back(&mut world, version);
        assert_eq!(world.read_publishes(client).len(), 2, "neither of them is acknowledged");
    }
}

#[test]
fn a_repeated_pubrec_gets_another_pubrel() {
    let (mut world, client, publisher) = subscriber(V5, 1);
    publish(&mut world, publisher, "1", QoS::ExactlyOnce);
    let (_, packet_id, _) = message(&mut world, client);
    for _ in 0..2 {
        pubrec(&mut world, client, packet_id);
        assert_eq!(world.read(client), [pubrel(packet_id)]);
    }
}

#[test]
fn the_ids_of_both_directions_are_independent_and_one_in_use_is_not_used_again() {
    let (mut world, client, publisher) = subscriber(V5, 3);
    publish(&mut world, publisher, "1", QoS::ExactlyOnce);
    let (_, first, _) = message(&mut world, client);
    pubrec(&mut world, client, first);
    world.read(client);
    // The client publishes under the same id.
    world.publish(client, "local/other", Delivery::ExactlyOnce { packet_id: first, dup: false });
    let mut ids = vec![first];
    for packet in world.read(client) {
        match packet {
            Packet::Publish(publish) => ids.push(publish.delivery.packet_id().unwrap()),
            Packet::Pubrec(ack) => assert_eq!(ack.packet_id, first),
            other => panic!("{other:?}"),
        }
    }
    world.send(client, Packet::Pubrel(Ack::success(first)));
    assert_eq!(world.read(client), [Packet::Pubcomp(Ack::success(first))]);
    publish(&mut world, publisher, "2", QoS::ExactlyOnce);
    ids.push(message(&mut world, client).1);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
    pubcomp(&mut world, client, first);
    assert_eq!(world.count(Count::PubcompUnknown), 0, "the id that was sent is still its own");
}

#[test]
fn a_takeover_takes_the_handshakes_along() {
    let (mut world, older, publisher) = subscriber(V5, 10);
    publish(&mut world, publisher, "1", QoS::ExactlyOnce);
    let (_, first, _) = message(&mut world, older);
    pubrec(&mut world, older, first);
    publish(&mut world, publisher, "2", QoS::ExactlyOnce);
    let newer = back(&mut world, V5);
    assert!(world.is_closed(older));
    let packets = world.read(newer);
    let [Packet::Pubrel(ack), Packet::Publish(second)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!((ack.packet_id, &second.payload[..], second.delivery.dup()), (first, &b"2"[..], true));
}

#[test]
fn what_is_too_large_for_the_next_connection_is_left_out_and_its_id_released() {
    let (mut world, client, publisher) = subscriber(V5, 10);
    publish(&mut world, publisher, &"x".repeat(100), QoS::ExactlyOnce);
    let (_, packet_id, _) = message(&mut world, client);
    world.cut(client);
    let mut connect = persistent(V5, "s");
    connect.properties.maximum_packet_size = std::num::NonZeroU32::new(64);
    let client = world.connect_as(connect);
    assert_eq!(world.read(client), [pubrel(packet_id)], "the client may have it");
    assert_eq!(world.count(Count::DroppedTooLarge), 1);
    pubcomp(&mut world, client, packet_id);
    assert_eq!(world.gauges().inflight_messages, 0);
}

#[test]
fn what_was_sent_does_not_expire_any_more() {
    let (mut world, client, publisher) = subscriber(V5, 10);
    let mut publish = publish_packet("local/t", b"x", qos2(1));
    let properties = crate::packet::PublishProperties { message_expiry_s: Some(5), ..Default::default() };
    publish.properties = Some(Box::new(properties));
    world.send(publisher, Packet::Publish(publish));
    message(&mut world, client);
    world.cut(client);
    world.pass(Duration::from_secs(60));
    let client = back(&mut world, V5);
    assert!(message(&mut world, client).2, "[MQTT-4.3.3-7]");
}
