//! QoS 2 from a client: whatever is lost on the way, its message is taken in once.

use std::num::NonZeroU16;
use std::time::Duration;

use roost_wire::Event;

use super::world::*;
use crate::packet::{Ack, Delivery, Packet, PacketId, ProtocolVersion, QoS, ReasonCode};
use crate::shard::Input;
use crate::{
    Acknowledge, ConnectionId, Count, Limits, PublishOutcome, SpoolState, UplinkOrder, UplinkRule,
    UplinkRules,
};

const OK: ReasonCode = ReasonCode::Success;
const NOBODY: ReasonCode = ReasonCode::NoMatchingSubscribers;

/// A packet of a handshake, as a test writes it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Puback(u16, ReasonCode),
    Pubrec(u16, ReasonCode),
    Pubcomp(u16, ReasonCode),
}

use Said::{Puback, Pubcomp, Pubrec};

fn said(world: &mut World, client: ConnectionId) -> Vec<Said> {
    let said = |packet| match packet {
        Packet::Puback(ack) => Puback(ack.packet_id.value(), ack.reason),
        Packet::Pubrec(ack) => Pubrec(ack.packet_id.value(), ack.reason),
        Packet::Pubcomp(ack) => Pubcomp(ack.packet_id.value(), ack.reason),
        other => panic!("{other:?}"),
    };
    world.read(client).into_iter().map(said).collect()
}

fn repeat(n: u16) -> Delivery {
    Delivery::ExactlyOnce { packet_id: id(n), dup: true }
}

fn pubrel(world: &mut World, client: ConnectionId, packet_id: PacketId) {
    world.send(client, Packet::Pubrel(Ack::success(packet_id)));
}

/// A client of that version with a session that outlives its connections.
fn device(version: ProtocolVersion) -> (World, ConnectionId) {
    let mut world = World::new();
    let client = world.connect_as(persistent(version, "d"));
    (world, client)
}

/// It comes back, and its session is there.
fn back(world: &mut World, version: ProtocolVersion) -> ConnectionId {
    let (client, connack) = world.try_connect(persistent(version, "d"));
    assert!(connack.session_present);
    client
}

#[test]
fn a_publish_is_taken_in_once_and_its_id_is_free_after_pubrel() {
    for version in [V5, V311] {
        let (mut world, client) = device(version);
        world.publish(client, "a", qos2(1));
        world.pass(Duration::from_secs(3_600));
        assert_eq!(said(&mut world, client), [], "an hour makes it no safer");
        let publication = world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(Event::from_message(&publication.message).unwrap().qos, roost_wire::Qos::ExactlyOnce);
        assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
        pubrel(&mut world, client, id(1));
        assert_eq!(said(&mut world, client), [Pubcomp(1, OK)]);
        world.publish(client, "a", qos2(1));
        assert_eq!(world.events.len(), 1, "under the same id it is another message");
        assert_eq!((world.count(Count::PublishQos2), world.count(Count::PublishRepeated)), (2, 0));
    }
}

#[test]
fn a_repeat_before_pubrec_waits_with_the_first() {
    for version in [V5, V311] {
        let (mut world, client) = device(version);
        world.publish(client, "a", qos2(1));
        world.publish(client, "a", repeat(1));
        assert_eq!((world.events.len(), said(&mut world, client)), (1, vec![]));
        world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(said(&mut world, client), [Pubrec(1, OK), Pubrec(1, OK)], "[MQTT-4.3.3-10]");
    }
}

#[test]
fn a_repeat_after_pubrec_is_answered_and_goes_nowhere() {
    for version in [V5, V311] {
        let (mut world, client) = device(version);
        world.subscribe(client, "a", QoS::AtMostOnce);
        world.publish(client, "a", qos2(1));
        world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(world.read(client).len(), 2, "its own copy, and PUBREC");
        // DUP is not what tells a repeat.
        for delivery in [repeat(1), qos2(1)] {
            world.publish(client, "a", delivery);
            assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
        }
        assert_eq!((world.events.len(), world.count(Count::PublishRepeated)), (0, 2));
    }
}

#[test]
fn after_pubcomp_the_same_id_is_a_new_message_also_with_dup() {
    let (mut world, client) = device(V5);
    world.publish(client, "a", qos2(1));
    world.answer_event(PublishOutcome::Confirmed);
    pubrel(&mut world, client, id(1));
    world.publish(client, "a", repeat(1));
    assert_eq!(world.events.len(), 1, "[MQTT-4.3.3-12]");
}

#[test]
fn what_of_a_handshake_is_lost_comes_again_and_nothing_comes_twice() {
    for version in [V5, V311] {
        // PUBLISH was lost: it is the first.
        let (mut world, client) = device(version);
        world.cut(client);
        let client = back(&mut world, version);
        world.publish(client, "a", repeat(1));
        world.answer_event(PublishOutcome::Confirmed);
        // PUBREC was lost.
        world.cut(client);
        let client = back(&mut world, version);
        world.publish(client, "a", repeat(1));
        assert_eq!((world.events.len(), said(&mut world, client)), (0, vec![Pubrec(1, OK)]));
        // PUBREL was lost.
        world.cut(client);
        let client = back(&mut world, version);
        pubrel(&mut world, client, id(1));
        assert_eq!(said(&mut world, client), [Pubcomp(1, OK)]);
        // PUBCOMP was lost: the id is not known any more, and that is the end of it.
        world.cut(client);
        let client = back(&mut world, version);
        pubrel(&mut world, client, id(1));
        let unknown = if version == V5 { ReasonCode::PacketIdentifierNotFound } else { OK };
        assert_eq!(said(&mut world, client), [Pubcomp(1, unknown)]);
        assert_eq!(world.count(Count::PubrelUnknown), 1);
        assert!(world.events.is_empty());
    }
}

#[test]
fn a_connection_that_breaks_before_the_backend_has_confirmed_changes_nothing() {
    for version in [V5, V311] {
        for confirmed_when_away in [true, false] {
            let (mut world, client) = device(version);
            world.publish(client, "a", qos2(1));
            world.cut(client);
            if confirmed_when_away {
                world.answer_event(PublishOutcome::Confirmed);
            }
            let client = back(&mut world, version);
            world.publish(client, "a", repeat(1));
            if !confirmed_when_away {
                assert_eq!(said(&mut world, client), [], "it is not safe yet");
                world.answer_event(PublishOutcome::Confirmed);
            }
            assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
            assert!(world.events.is_empty(), "it is not published again");
        }
    }
}

#[test]
fn a_publish_that_waited_for_its_turn_when_the_connection_broke_is_taken_in_when_it_comes_again() {
    let mut world = World::with(Limits { uplink_events_max: 1, ..limits() });
    let client = world.connect_as(persistent(V5, "d"));
    world.publish(client, "a", qos2(1));
    world.publish(client, "b", qos2(2));
    assert_eq!(world.events.len(), 1, "the second is parked");
    world.cut(client);
    let client = back(&mut world, V5);
    world.publish(client, "a", repeat(1));
    world.publish(client, "b", repeat(2));
    assert_eq!(world.answer_event(PublishOutcome::Confirmed).message.routing_key, "main.d.a");
    assert_eq!(world.answer_event(PublishOutcome::Confirmed).message.routing_key, "main.d.b");
    assert_eq!(said(&mut world, client), [Pubrec(1, OK), Pubrec(2, OK)]);
    assert!(world.events.is_empty());
}

#[test]
fn a_takeover_takes_the_handshakes_along() {
    let (mut world, older) = device(V5);
    world.publish(older, "a", qos2(1));
    world.publish(older, "b", qos2(2));
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, older), [Pubrec(1, OK)]);
    let newer = back(&mut world, V5);
    assert!(world.is_closed(older));
    pubrel(&mut world, newer, id(1));
    world.publish(newer, "b", repeat(2));
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, newer), [Pubcomp(1, OK), Pubrec(2, OK)]);
    assert!(world.events.is_empty());
}

#[test]
fn a_session_that_begins_anew_knows_no_repeats() {
    let (mut world, client) = device(V5);
    world.publish(client, "a", qos2(1));
    world.cut(client);
    let client = world.connect(V5, "d");
    world.publish(client, "a", qos2(1));
    assert_eq!(world.events.len(), 2);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), [], "that was for the session before");
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
}

/// The backend refuses the oldest event each time, and then it is in `roost.dead`.
fn refuse(world: &mut World) {
    for delay_ms in [400, 800, 1_600, 3_200, 6_400] {
        world.answer_event(PublishOutcome::Nacked);
        world.pass(Duration::from_millis(delay_ms));
    }
    world.answer_event(PublishOutcome::Nacked);
    assert_eq!(world.answer_event(PublishOutcome::Confirmed).message.exchange, "roost.dead");
}

#[test]
fn what_the_backend_refuses_is_told_and_frees_its_id() {
    let (mut world, client) = device(V5);
    world.publish(client, "a", qos2(1));
    refuse(&mut world);
    assert_eq!(said(&mut world, client), [Pubrec(1, ReasonCode::UnspecifiedError)]);
    world.publish(client, "a", qos2(1));
    assert_eq!(world.events.len(), 1, "a new message [MQTT-4.3.3-9]");
    world.confirm_all();
    assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
    assert_eq!(world.count(Count::PublishRepeated), 0);
}

#[test]
fn a_refusal_that_was_not_told_is_told_to_the_repeat() {
    for version in [V5, V311] {
        let (mut world, client) = device(version);
        world.publish(client, "a", qos2(1));
        world.cut(client);
        refuse(&mut world);
        let client = back(&mut world, version);
        world.publish(client, "a", repeat(1));
        assert!(world.events.is_empty(), "it is safe where it is");
        let told = if version == V5 { ReasonCode::UnspecifiedError } else { OK };
        assert_eq!(said(&mut world, client), [Pubrec(1, told)]);
        // 3.1.1 knows no refusal and goes on.
        pubrel(&mut world, client, id(1));
        let unknown = if version == V5 { ReasonCode::PacketIdentifierNotFound } else { OK };
        assert_eq!(said(&mut world, client), [Pubcomp(1, unknown)]);
        assert_eq!(world.count(Count::PubrelUnknown), u64::from(version == V5));
    }
}

#[test]
fn the_reasons_are_those_of_a_puback() {
    let (mut world, client) = device(V5);
    world.publish(client, &"/".repeat(64), qos2(1));
    assert_eq!(said(&mut world, client), [Pubrec(1, ReasonCode::TopicNameInvalid)]);
    world.publish(client, "local/x", qos2(1));
    assert_eq!(said(&mut world, client), [Pubrec(1, NOBODY)]);
    world.publish(client, "local/x", repeat(1));
    assert_eq!(said(&mut world, client), [Pubrec(1, NOBODY)], "the same again");
    world.publish(client, "a", qos2(2));
    world.answer_event(PublishOutcome::Returned);
    assert_eq!(said(&mut world, client), []);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), [Pubrec(2, NOBODY)]);
    pubrel(&mut world, client, id(2));
    pubrel(&mut world, client, id(1));
    assert_eq!(said(&mut world, client), [Pubcomp(2, OK), Pubcomp(1, OK)]);
}

#[test]
fn pubrecs_and_pubacks_leave_in_the_order_of_their_publishes() {
    let (mut world, client) = device(V5);
    world.publish(client, "a", qos2(1));
    world.publish(client, "a", qos1(2));
    world.publish(client, "a", qos2(3));
    let tokens: Vec<_> = world.events.drain(..).map(|event| event.token).collect();
    world.answer(tokens[2], PublishOutcome::Confirmed);
    world.answer(tokens[1], PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), []);
    world.answer(tokens[0], PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), [Pubrec(1, OK), Puback(2, OK), Pubrec(3, OK)]);
}

#[test]
fn a_publish_that_is_spooled_is_received_when_it_is_on_disk() {
    let rules = UplinkRules::new(vec![UplinkRule::Carry {
        filter: "#".parse().unwrap(),
        exchange: "roost.up".to_owned(),
        acknowledge: Acknowledge::Spooled,
        order: UplinkOrder::Strict,
    }]);
    let mut world = World::unconnected(limits(), rules);
    world.input(Input::Spool(SpoolState::Open));
    let client = world.connect_as(persistent(V311, "d"));
    world.publish(client, "a", qos2(1));
    world.cut(client);
    let client = back(&mut world, V311);
    world.publish(client, "a", repeat(1));
    assert_eq!((world.spooled.len(), said(&mut world, client)), (1, vec![]));
    world.safe(1);
    assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
}

#[test]
fn a_receive_maximum_of_one_is_taken_until_pubcomp() {
    let one = NonZeroU16::MIN;
    for frees in [Puback(1, OK), Pubcomp(1, OK), Pubrec(1, ReasonCode::TopicNameInvalid)] {
        let mut world = World::with(Limits { receive_maximum: one, ..limits() });
        let client = world.connect(V5, "d");
        let (topic, delivery) = match frees {
            Puback(..) => ("a".to_owned(), qos1(1)),
            Pubcomp(..) => ("a".to_owned(), qos2(1)),
            Pubrec(..) => ("/".repeat(64), qos2(1)),
        };
        world.publish(client, &topic, delivery);
        world.confirm_all();
        if matches!(frees, Pubcomp(..)) {
            assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
            world.publish(client, &topic, repeat(1));
            assert_eq!(said(&mut world, client), [Pubrec(1, OK)], "a repeat takes no other place");
            pubrel(&mut world, client, id(1));
        }
        assert_eq!(said(&mut world, client), [frees]);
        for delivery in [qos1(2), qos2(3)] {
            world.publish(client, "a", delivery);
            world.confirm_all();
            assert!(!world.is_closed(client), "{frees:?} {delivery:?}");
            if delivery.qos() == QoS::ExactlyOnce {
                continue;
            }
            assert_eq!(said(&mut world, client), [Puback(2, OK)]);
        }
        assert_eq!(said(&mut world, client), [Pubrec(3, OK)]);
        world.publish(client, "a", qos1(4));
        assert_eq!(world.closed_with(client), Some(ReasonCode::ReceiveMaximumExceeded), "[MQTT-3.3.4-7]");
    }
}

#[test]
fn the_receive_maximum_counts_anew_on_each_connection_but_the_ids_stay_bounded() {
    let limits = Limits { receive_maximum: NonZeroU16::MIN, received_ids_max: 2, ..limits() };
    let mut world = World::with(limits);
    for n in 1..=2 {
        let client = world.connect_as(persistent(V5, "d"));
        world.publish(client, "a", qos2(n));
        world.confirm_all();
        assert_eq!(said(&mut world, client), [Pubrec(n, OK)]);
        world.cut(client);
    }
    let client = back(&mut world, V5);
    world.publish(client, "a", qos2(3));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ReceiveMaximumExceeded));
    let client = back(&mut world, V5);
    pubrel(&mut world, client, id(1));
    world.publish(client, "a", qos2(3));
    world.confirm_all();
    assert_eq!(said(&mut world, client), [Pubcomp(1, OK), Pubrec(3, OK)]);
}

#[test]
fn a_3_1_1_client_may_publish_a_burst_before_it_reads() {
    let mut world = World::with(Limits { receive_maximum: NonZeroU16::new(2).unwrap(), ..limits() });
    let client = world.connect(V311, "d");
    for n in 1..=50 {
        world.publish(client, "local/t", qos2(n));
    }
    assert_eq!(said(&mut world, client).len(), 50, "it knows no receive maximum");
    for n in 1..=50 {
        pubrel(&mut world, client, id(n));
    }
    assert_eq!(said(&mut world, client).len(), 50);
}

#[test]
fn a_pubrel_before_its_pubrec_ends_the_connection() {
    let (mut world, client) = device(V5);
    world.publish(client, "a", qos2(1));
    pubrel(&mut world, client, id(1));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError));
    let client = back(&mut world, V5);
    world.publish(client, "a", repeat(1));
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
    assert!(world.events.is_empty());
}

#[test]
fn an_answer_at_qos_2_goes_to_the_router() {
    let (mut world, client) = device(V5);
    world.publish(client, "devices/d/answer/00000001-2", qos2(1));
    assert_eq!(world.answer_event(PublishOutcome::Confirmed).message.exchange, "roost.answers");
    assert_eq!(said(&mut world, client), [Pubrec(1, OK)]);
}

#[test]
fn a_full_subscriber_holds_up_a_publish_and_its_pubrec() {
    let two = NonZeroU16::new(2).unwrap();
    let mut world = World::with(Limits { inflight_max: two, queue_messages_max: 1, ..limits() });
    let mut subscriber = Peer::new(V5, "s");
    subscriber.connect(&mut world);
    world.subscribe(subscriber.connection.unwrap(), "local/t", QoS::ExactlyOnce);
    let client = world.connect(V5, "p");
    for n in 1..=5 {
        world.publish(client, "local/t", qos2(n));
    }
    assert_eq!(said(&mut world, client).len(), 3, "two in flight, one in the queue");
    subscriber.take(&mut world);
    assert_eq!((said(&mut world, client).len(), subscriber.got.len()), (2, 5));
}
