//! Messages that are traced: where they are in their trace, and what is told of them when their way through the gateway ends.

use std::time::Duration;

use roost_wire::{Event, Outcome, Qos, ReturnReason, TraceContext};

use super::world::*;
use crate::packet::{Packet, PublishProperties, QoS, Text, UserProperty};
use crate::{ConnectionId, Count, Ending, EventFate, Limits, Notice, PublishOutcome};

const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn came() -> TraceContext {
    TraceContext::parse(CAME).unwrap()
}

fn pair(name: &'static str, value: &'static str) -> UserProperty {
    UserProperty { name: Text::from_static(name), value: Text::from_static(value) }
}

/// Publishes with a user property, and returns the event as it is in AMQP.
fn publish_saying(world: &mut World, device: ConnectionId, said: Option<&'static str>) -> Event {
    let mut publish = publish_packet("a", b"x", qos1(1));
    let user_properties = said.into_iter().map(|value| pair("traceparent", value)).collect();
    publish.properties =
        Some(Box::new(PublishProperties { user_properties, ..PublishProperties::default() }));
    world.send(device, Packet::Publish(publish));
    let event = Event::from_message(&world.events.back().unwrap().message).unwrap();
    world.pass(Duration::from_millis(5));
    event
}

/// Delivers a command that is in a trace, and returns what the device reads of it.
fn deliver_traced(world: &mut World, client: ConnectionId) -> Vec<UserProperty> {
    let mut command = world.new_command("d", epoch(1, 1));
    command.trace = Some(came());
    command.user_properties = vec![("traceparent".to_owned(), "00-the-senders-own".to_owned())];
    world.deliver(command);
    let publish = world.read_publishes(client).pop();
    publish.map_or(Vec::new(), |publish| publish.properties.unwrap().user_properties.clone())
}

fn outcome(world: &mut World) -> (Option<u64>, Outcome) {
    let trace = world.traces.pop().expect("one is told");
    assert_eq!(world.traces, [], "one for each attempt");
    assert_eq!((trace.begun.context.trace, trace.begun.parent), (came().trace, Some(came().span)));
    let Ending::Command { outcome, .. } = trace.how else { panic!("{trace:?}") };
    (trace.begun.written_at.map(|at| trace.end.since(at).as_millis() as u64), outcome)
}

#[test]
fn a_devices_trace_goes_on_through_the_gateway_to_its_event() {
    let mut world = World::traced();
    let device = world.connect(V5, "d");
    let event = publish_saying(&mut world, device, Some(CAME));
    let place = event.trace.unwrap();
    assert_eq!((place.trace, place.is_sampled()), (came().trace, true));
    assert_ne!(place.span, came().span, "the header names the gateway's own span");
    assert_eq!(event.user_properties, [("traceparent".to_owned(), CAME.to_owned())], "as they came");
    assert_eq!(world.traces, [], "it is not over before the backend has it");
    world.answer_event(PublishOutcome::Confirmed);
    let trace = world.traces.pop().unwrap();
    assert_eq!((trace.begun.context, trace.begun.parent), (place, Some(came().span)));
    assert_eq!(trace.begun.message_id, event.id());
    assert_eq!(
        trace.end.since(trace.begun.start),
        Duration::from_millis(5),
        "from the PUBLISH to the PUBACK"
    );
    assert_eq!(trace.how, Ending::Event { fate: EventFate::Accepted });
}

#[test]
fn where_nobody_began_a_trace_the_gateway_does_and_malformed_is_nobody() {
    for (version, said) in [(V311, None), (V5, None), (V5, Some("00-malformed"))] {
        let mut world = World::traced();
        let device = world.connect(version, "d");
        let event = match version {
            V31 | V311 => {
                world.publish(device, "a", qos1(1));
                Event::from_message(&world.events[0].message).unwrap()
            }
            V5 => publish_saying(&mut world, device, said),
        };
        world.answer_event(PublishOutcome::Confirmed);
        let trace = world.traces.pop().unwrap();
        assert_eq!((event.trace, trace.begun.parent), (Some(trace.begun.context), None));
    }
}

#[test]
fn off_what_the_device_says_goes_to_the_header_as_it_is_and_nothing_is_told() {
    for (said, expected) in [(Some(CAME), Some(came())), (Some("00-malformed"), None), (None, None)] {
        let mut world = World::new();
        let device = world.connect(V5, "d");
        assert_eq!(publish_saying(&mut world, device, said).trace, expected);
        world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(world.traces, []);
    }
}

#[test]
fn an_event_that_is_tried_again_has_one_span_and_one_place() {
    let mut world = World::traced();
    let device = world.connect(V5, "d");
    let first = publish_saying(&mut world, device, Some(CAME)).trace;
    world.answer_event(PublishOutcome::Nacked);
    world.pass(Duration::from_secs(60));
    let again = Event::from_message(&world.events[0].message).unwrap();
    assert!(again.replayed && again.trace == first);
    world.answer_event(PublishOutcome::Returned);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.traces.len(), 1);
    assert_eq!(world.traces[0].how, Ending::Event { fate: EventFate::Unrouted });
}

#[test]
fn a_publish_that_waits_for_room_is_traced_from_when_it_was_read() {
    let limits = Limits { uplink_events_max: 1, ..limits() };
    let mut world = World::traced_with(limits);
    let device = world.connect(V5, "d");
    world.publish(device, "a", qos1(1));
    world.publish(device, "a", qos1(2));
    world.pass(Duration::from_millis(100));
    world.confirm_all();
    let lasted: Vec<u128> = world.traces.iter().map(|t| t.end.since(t.begun.start).as_millis()).collect();
    assert_eq!(lasted, [100, 100]);
}

#[test]
fn the_device_sees_the_gateways_place_in_the_commands_trace() {
    let mut world = World::traced();
    let client = world.connect(V5, "d");
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    let pairs = deliver_traced(&mut world, client);
    let places: Vec<&str> = pairs
        .iter()
        .filter(|pair| pair.name.as_str() == "traceparent")
        .map(|pair| pair.value.as_str())
        .collect();
    let [place] = places[..] else { panic!("{pairs:?}") };
    let place = TraceContext::parse(place).unwrap();
    assert_eq!(place.trace, came().trace);
    world.pass(Duration::from_millis(7));
    world.puback(client, id(1));
    assert_eq!(world.traces[0].begun.context, place);
    assert_eq!(outcome(&mut world), (Some(7), Outcome::Delivered));
}

#[test]
fn each_attempt_is_told_however_it_ends() {
    // Nobody is there.
    let mut world = World::traced();
    let client = world.connect(V5, "d");
    world.cut(client);
    deliver_traced(&mut world, client);
    assert_eq!(outcome(&mut world), (None, Outcome::Gone { written: false }));
    // Not subscribed.
    let client = world.connect(V5, "d");
    deliver_traced(&mut world, client);
    assert_eq!(outcome(&mut world), (None, Outcome::NoSubscription));
    // The connection breaks before the PUBACK.
    let mut world = World::traced();
    let client = world.connect(V5, "d");
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    deliver_traced(&mut world, client);
    world.cut(client);
    assert_eq!(outcome(&mut world), (Some(0), Outcome::Gone { written: true }));
    // At QoS 0.
    let client = world.connect(V311, "d");
    world.subscribe(client, "devices/d/cmd", QoS::AtMostOnce);
    let mut command = world.new_command("d", epoch(1, 2));
    (command.trace, command.qos) = (Some(came()), Qos::AtMostOnce);
    world.deliver(command);
    assert_eq!(outcome(&mut world), (Some(0), Outcome::Sent));
    // The lease lapses while it waits for room.
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    let first = world.new_command("d", epoch(1, 1));
    world.deliver(first);
    world.read(client);
    deliver_traced(&mut world, client);
    world.pass(Duration::from_secs(11));
    assert_eq!(outcome(&mut world), (None, Outcome::Returned { reason: ReturnReason::LeaseLapsed }));
}

#[test]
fn off_a_command_keeps_the_place_it_came_with() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    let pairs = deliver_traced(&mut world, client);
    assert!(pairs.contains(&pair("traceparent", CAME)), "{pairs:?}");
    world.puback(client, id(1));
    assert_eq!(world.traces, []);
}

#[test]
fn connections_are_told_with_their_device_and_why_they_end() {
    let mut world = World::new();
    let device: roost_wire::Device = "d".parse().unwrap();
    let first = world.connect(V5, "d");
    world.connect(V5, "d");
    let mut willing = connect_packet(V5, "w");
    willing.properties.authentication_method = Some(Text::from_static("x"));
    world.try_connect(willing);
    assert!(world.is_closed(first));
    let whys: Vec<(Option<&roost_wire::Device>, Option<Count>)> = world
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::Connected { .. }
            | Notice::SharedClientId { .. }
            | Notice::SessionFetched { .. }
            | Notice::SessionUnreadable { .. }
            | Notice::StoreUnreadable { .. } => (notice.device(), None),
            Notice::Closed { why, .. }
            | Notice::Refused { why, .. }
            | Notice::LoginRefused { why, .. }
            | Notice::PublishRefused { why, .. }
            | Notice::BroadcastDropped { why, .. } => (notice.device(), Some(*why)),
        })
        .collect();
    let other = "w".parse().unwrap();
    assert_eq!(
        whys,
        [
            (Some(&device), None),
            (Some(&device), Some(Count::ClosedTakenOver)),
            (Some(&device), None),
            (Some(&other), Some(Count::RefusedAuthMethod)),
        ]
    );
}
