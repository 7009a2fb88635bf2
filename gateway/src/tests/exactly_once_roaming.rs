//! QoS 2 of a session that moves to another gateway: its handshakes go on there.

use std::time::Duration;

use roost_wire::{Control, NoSessionReason, QuestionId, SessionAnswer, SessionId, Sighting};

use super::roaming::{answer, arrive, asked, connack, device, order, waiting};
use super::world::*;
use crate::packet::{Ack, Delivery, Packet, PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::{ConnectionId, Count, PublishOutcome};

/// A gateway where the device is connected, with a session that it keeps.
fn home(version: ProtocolVersion) -> (World, ConnectionId, SessionId) {
    let mut world = World::roaming();
    let client = world.begin_connect(persistent(version, "s"));
    let (request, _) = asked(&mut world).expect("it may be elsewhere");
    answer(&mut world, request, SessionAnswer::Nobody);
    assert!(!connack(&mut world, client).unwrap().session_present);
    let session = world.session(&device());
    (world, client, session)
}

/// The session arrives at another gateway, where its device waits for it.
fn elsewhere(version: ProtocolVersion, body: bytes::Bytes) -> (World, ConnectionId, Vec<Packet>) {
    let mut world = World::roaming();
    let client = world.begin_connect(persistent(version, "s"));
    let (request, _) = asked(&mut world).expect("it asks");
    arrive(&mut world, request, body);
    let mut packets = world.read(client);
    assert!(matches!(packets.remove(0), Packet::Connack(connack) if connack.session_present));
    (world, client, packets)
}

fn repeat(n: u16) -> Delivery {
    Delivery::ExactlyOnce { packet_id: id(n), dup: true }
}

fn pubrec(packet_id: PacketId) -> Packet {
    Packet::Pubrec(Ack::success(packet_id))
}

#[test]
fn what_was_published_is_a_repeat_at_the_next_gateway() {
    for version in [V5, V311] {
        let (mut world, client, session) = home(version);
        world.publish(client, "a", qos2(1));
        world.publish(client, "a", qos2(2));
        world.confirm_all();
        world.send(client, Packet::Pubrel(Ack::success(id(2))));
        order(&mut world, session);
        let (mut world, client, packets) = elsewhere(version, world.given.pop().unwrap().body);
        assert_eq!(packets, []);
        world.publish(client, "a", repeat(1));
        assert_eq!((world.events.len(), world.read(client)), (0, vec![pubrec(id(1))]));
        world.send(client, Packet::Pubrel(Ack::success(id(1))));
        assert_eq!(world.read(client), [Packet::Pubcomp(Ack::success(id(1)))]);
        world.publish(client, "a", qos2(2));
        assert_eq!(world.events.len(), 1, "that one was released");
    }
}

#[test]
fn what_was_sent_goes_on_at_the_next_gateway() {
    for version in [V5, V311] {
        let (mut world, client, session) = home(version);
        world.subscribe(client, "local/t", QoS::ExactlyOnce);
        let publisher = world.connect(V5, "p");
        for n in 1..=3 {
            let publish = publish_packet("local/t", n.to_string().as_bytes(), qos2(n));
            world.send(publisher, Packet::Publish(publish));
        }
        let ids: Vec<_> = world
            .read_publishes(client)
            .iter()
            .map(|publish| publish.delivery.packet_id().unwrap())
            .collect();
        world.send(client, pubrec(ids[0]));
        world.send(client, pubrec(ids[1]));
        world.send(client, Packet::Pubcomp(Ack::success(ids[0])));
        world.cut(client);
        world.send(publisher, Packet::Publish(publish_packet("local/t", b"4", qos2(4))));
        order(&mut world, session);
        let (mut world, client, packets) = elsewhere(version, world.given.pop().unwrap().body);
        let [Packet::Pubrel(second), Packet::Publish(third), Packet::Publish(fourth)] = &packets[..] else {
            panic!("{packets:?}")
        };
        assert_eq!(second.packet_id, ids[1]);
        assert_eq!(third.delivery, Delivery::ExactlyOnce { packet_id: ids[2], dup: true });
        let Delivery::ExactlyOnce { packet_id, dup: false } = fourth.delivery else { panic!("{fourth:?}") };
        assert!(!ids[1..].contains(&packet_id), "an id in use is not used again");
        world.send(client, Packet::Pubcomp(Ack::success(ids[1])));
        let counted = [Count::PubcompUnknown, Count::PubrecUnknown].map(|count| world.count(count));
        assert_eq!(counted, [0, 0]);
    }
}

#[test]
fn a_session_moves_when_what_it_has_published_is_safe() {
    for connected in [true, false] {
        let (mut world, client, session) = home(V5);
        world.publish(client, "a", qos2(1));
        if !connected {
            world.cut(client);
        }
        order(&mut world, session);
        assert!(world.given.is_empty(), "nobody knows what it has yet");
        assert!(world.is_closed(client), "it has no connection here any more");
        world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(world.count(Count::GivenMoved), 1);
        let (mut world, client, _) = elsewhere(V5, world.given.pop().unwrap().body);
        world.publish(client, "a", repeat(1));
        assert_eq!((world.events.len(), world.read(client)), (0, vec![pubrec(id(1))]));
    }
}

#[test]
fn a_session_stays_if_that_takes_too_long() {
    let (mut world, client, session) = home(V5);
    world.publish(client, "a", qos2(1));
    order(&mut world, session);
    world.pass_with_lease(Duration::from_secs(2));
    let refused = |sighting: &Sighting| match sighting {
        Sighting::NoSession { reason, question, .. } => Some((*reason, *question)),
        _ => None,
    };
    let refused: Vec<_> = world.sightings.iter().filter_map(refused).collect();
    assert_eq!(refused, [(NoSessionReason::Busy, QuestionId(1))]);
    assert_eq!((world.count(Count::GivenUnsettled), world.gauges().sessions), (1, 1));
    world.answer_event(PublishOutcome::Confirmed);
    assert!(world.given.is_empty(), "that question is not open any more");
}

#[test]
fn a_device_that_is_back_before_its_session_could_leave_keeps_it() {
    let (mut world, client, session) = home(V5);
    world.publish(client, "a", qos2(1));
    world.cut(client);
    order(&mut world, session);
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    world.publish(client, "a", repeat(1));
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read(client), [pubrec(id(1))]);
    assert_eq!((world.count(Count::GivenNewer), world.given.len()), (1, 0));
}

#[test]
fn a_second_question_for_the_same_session_takes_the_place_of_the_first() {
    let (mut world, client, session) = home(V5);
    world.publish(client, "a", qos2(1));
    order(&mut world, session);
    let question = QuestionId(2);
    world.router_says(1, vec![Control::MoveSession { question, device: device(), session }]);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.given.pop().unwrap().question, question);
    assert_eq!(world.count(Count::GivenUnsettled), 1, "and the first is answered");
}

#[test]
fn what_the_backend_refused_is_told_at_the_next_gateway() {
    let (mut world, client, session) = home(V5);
    world.publish(client, "a", qos2(1));
    world.cut(client);
    for delay_ms in [400, 800, 1_600, 3_200, 6_400] {
        world.answer_event(PublishOutcome::Nacked);
        world.pass_with_lease(Duration::from_millis(delay_ms));
    }
    world.answer_event(PublishOutcome::Nacked);
    world.answer_event(PublishOutcome::Confirmed);
    order(&mut world, session);
    let (mut world, client, _) = elsewhere(V5, world.given.pop().unwrap().body);
    world.publish(client, "a", repeat(1));
    let told = Ack::with_reason(id(1), ReasonCode::UnspecifiedError);
    assert_eq!((world.events.len(), world.read(client)), (0, vec![Packet::Pubrec(told)]));
}

#[test]
fn a_session_without_anything_of_qos_2_is_read_by_older_gateways() {
    let (mut world, client, session) = home(V5);
    world.subscribe(client, "local/t", QoS::ExactlyOnce);
    world.publish(client, "a", qos2(1));
    world.confirm_all();
    world.send(client, Packet::Pubrel(Ack::success(id(1))));
    order(&mut world, session);
    let body = world.given.pop().unwrap().body;
    assert_eq!(body[0], 1, "the version");
    let (mut world, client, request) = waiting();
    arrive(&mut world, request, body);
    assert!(connack(&mut world, client).unwrap().session_present);
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos2(1));
    assert_eq!(world.read_publishes(client)[0].delivery.qos(), QoS::ExactlyOnce, "its subscription is whole");
}
