//! A gateway that goes away owes nobody anything.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use roost_wire::{Outcome, ReturnReason, Sighting};

use super::world::*;
use crate::link::LinkInput;
use crate::packet::{Packet, QoS, ReasonCode, Text};
use crate::shard::Input;
use crate::{Hints, PublishOutcome};

fn drain(world: &mut World) {
    world.link_input(LinkInput::Drain);
    world.input(Input::Drain { grace: Duration::from_secs(30) });
}

#[test]
fn what_is_outstanding_finishes_and_then_clients_are_sent_elsewhere() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let idle = world.connect(V311, "idle");
    world.publish(client, "a", qos1(1));
    drain(&mut world);
    assert!(!world.is_drained);
    assert!(world.heartbeats.last().unwrap().draining);
    let (late, connack) = world.try_connect(connect_packet(V5, "late"));
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert!(world.is_closed(late));
    assert_eq!(world.try_connect(connect_packet(V311, "late")).1.reason, ReasonCode::ServerUnavailable);
    world.publish(client, "a", qos1(2));
    assert!(world.is_paused(client), "nothing new is taken in");
    world.sightings.clear();
    world.answer_event(PublishOutcome::Confirmed);
    assert!(world.is_drained && world.is_closed(idle));
    let packets = world.read(client);
    let [Packet::Puback(ack), Packet::Disconnect(disconnect)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!((ack.packet_id.value(), disconnect.reason), (1, ReasonCode::ServerShuttingDown));
    assert_eq!(world.sightings.iter().filter(|s| matches!(s, Sighting::Gone { .. })).count(), 2);
    assert!(world.link.is_settled());
}

#[test]
fn clients_are_told_where_else_to_go_if_the_operator_says_where() {
    let server_reference = Some(Text::from_static("us.example.org:1883"));
    let mut world =
        World::with_hints(Hints { server_reference: server_reference.clone(), ..Hints::default() });
    let client = world.connect(V5, "d");
    let old = world.connect(V311, "old");
    let mut connect = connect_packet(V5, "narrow");
    connect.properties.maximum_packet_size = NonZeroU32::new(48);
    let narrow = world.connect_as(connect);
    let last = world.connect(V5, "last");
    world.publish(last, "a", qos1(1));
    drain(&mut world);
    let (_, connack) = world.try_connect(connect_packet(V5, "late"));
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert_eq!(connack.properties.unwrap().server_reference, server_reference);
    world.answer_event(PublishOutcome::Confirmed);
    let packets = world.read(client);
    let [Packet::Disconnect(disconnect)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(disconnect.reason, ReasonCode::UseAnotherServer);
    assert_eq!(disconnect.properties.as_ref().unwrap().server_reference, server_reference);
    assert_eq!(world.closed_with(old), None, "3.1.1 has no DISCONNECT from a server");
    assert_eq!(
        world.closed_with(narrow),
        Some(ReasonCode::UseAnotherServer),
        "which takes no packet as large"
    );
}

#[test]
fn commands_that_wait_go_back_and_those_in_flight_get_their_time() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    drain(&mut world);
    let draining = Outcome::Returned { reason: ReturnReason::Draining };
    assert_eq!(world.outcomes(), [(2, draining)]);
    let command = world.new_command("d", epoch(1, 2));
    world.deliver(command);
    assert_eq!(world.outcomes(), [(3, draining)]);
    assert!(!world.is_drained);
    world.take_publishes(client, false);
    world.puback(client, id(1));
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
    assert!(world.is_drained);
}

#[test]
fn the_grace_ends_the_waiting() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.publish(client, "a", qos1(1));
    drain(&mut world);
    world.pass(Duration::from_millis(29_999));
    assert!(!world.is_drained);
    world.pass(Duration::from_millis(1));
    assert!(world.is_drained);
    assert_eq!(world.closed_with(client), Some(ReasonCode::ServerShuttingDown));
}

#[test]
fn an_idle_gateway_is_drained_at_once() {
    let mut world = World::new();
    drain(&mut world);
    assert!(world.is_drained);
}
