//! What a shard does with events whose rule says `spooled`.

use std::num::NonZeroU16;
use std::time::Duration;

use super::world::*;
use crate::packet::{Delivery, Packet, ReasonCode};
use crate::shard::{Backend, Input};
use crate::spool::WhenFull;
use crate::{Acknowledge, Count, Limits, PublishOutcome, SpoolState, UplinkOrder, UplinkRule, UplinkRules};

/// A gateway whose topics `s/#` are spooled and `f/#` as well, fresh; all others wait for the backend, which is away.
fn world(limits: Limits) -> World {
    let rule = |filter: &str, acknowledge, order| UplinkRule::Carry {
        filter: filter.parse().unwrap(),
        exchange: "roost.up".to_owned(),
        acknowledge,
        order,
    };
    let rules = UplinkRules::new(vec![
        rule("s/#", Acknowledge::Spooled, UplinkOrder::Strict),
        rule("f/#", Acknowledge::Spooled, UplinkOrder::Fresh),
        rule("#", Acknowledge::Confirmed, UplinkOrder::Strict),
    ]);
    let mut world = World::unconnected(limits, rules);
    world.input(Input::Spool(SpoolState::Open));
    world
}

#[test]
fn a_puback_leaves_when_the_event_is_on_disk_and_in_its_turn() {
    let mut world = world(limits());
    let device = world.connect(V5, "d");
    for (n, topic) in [(1, "s/a"), (2, "confirmed"), (3, "f/b")] {
        world.publish(device, topic, qos1(n));
    }
    assert_eq!(world.read(device), []);
    let orders: Vec<_> =
        world.spooled.iter().map(|(_, event, order)| (event.topic.as_str(), *order)).collect();
    assert_eq!(orders, [("s/a", UplinkOrder::Strict), ("f/b", UplinkOrder::Fresh)]);
    world.safe(2);
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)], "the second waits for the backend");
    world.backend(Backend::Up);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device), [(2, ReasonCode::Success), (3, ReasonCode::Success)]);
}

#[test]
fn at_qos_0_nothing_is_spooled() {
    let mut world = world(limits());
    let device = world.connect(V5, "d");
    world.publish(device, "s/a", Delivery::AtMostOnce);
    assert_eq!((world.spooled.len(), world.count(Count::EventDroppedAway)), (0, 1));
}

#[test]
fn no_more_events_are_on_their_way_to_disk_than_may_be() {
    let mut world = world(Limits { uplink_events_max: 3, ..limits() });
    let devices = [world.connect(V5, "d"), world.connect(V311, "e")];
    for n in 1..=5 {
        devices.iter().for_each(|&device| world.publish(device, "s/a", qos1(n)));
    }
    assert_eq!(world.spooled.len(), 3);
    let mut acknowledged = 0;
    while !world.spooled.is_empty() {
        world.safe(1);
        assert!(world.spooled.len() <= 3);
        acknowledged += devices.iter().map(|&device| world.read_pubacks(device).len()).sum::<usize>();
    }
    assert_eq!(acknowledged, 10, "who waits is forgotten by nobody");
}

#[test]
fn a_full_spool_withholds_pubacks_then_ends_who_may_publish_no_more_and_refuses_newcomers() {
    let three = NonZeroU16::new(3).unwrap();
    for version in [V5, V311] {
        let mut world = world(Limits { receive_maximum: three, ..limits() });
        let device = world.connect(version, "d");
        let quiet = world.connect(version, "e");
        world.publish(device, "s/a", qos1(1));
        world.publish(device, "s/a", qos1(2));
        world.publish(quiet, "s/a", qos1(1));
        world.input(Input::Spool(SpoolState::Full));
        world.publish(device, "s/a", qos1(3));
        let told = (version == V5).then_some(ReasonCode::QuotaExceeded);
        assert_eq!(world.closed_with(device), told);
        assert!(!world.is_closed(quiet), "{version:?}");
        assert_eq!(world.count(Count::ClosedSpoolFull), 1);
        let (_, connack) = world.try_connect(connect_packet(version, "f"));
        assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
        world.publish(quiet, "s/a", qos1(2));
        world.pass(Duration::from_secs(600));
        assert_eq!(world.read(quiet), []);
        world.safe(3);
        world.input(Input::Spool(SpoolState::Open));
        world.safe(1);
        assert_eq!(world.read_pubacks(quiet).len(), 2, "it goes on by itself");
        world.connect(version, "g");
    }
}

#[test]
fn where_it_is_configured_a_full_spool_refuses_what_comes_and_what_waits() {
    let limits = Limits { uplink_events_max: 1, when_spool_full: WhenFull::Refuse, ..limits() };
    let mut world = world(limits);
    let (device, old) = (world.connect(V5, "d"), world.connect(V311, "e"));
    world.publish(device, "s/a", qos1(1));
    world.publish(device, "s/a", qos1(2));
    world.publish(old, "s/a", qos1(1));
    assert_eq!(world.spooled.len(), 1, "the others wait for their turn");
    world.input(Input::Spool(SpoolState::Full));
    world.publish(device, "s/a", qos1(3));
    assert_eq!(world.read_pubacks(device), [], "in their order, and the first is on its way to disk");
    world.safe(1);
    let quota = ReasonCode::QuotaExceeded;
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success), (2, quota), (3, quota)]);
    assert_eq!(world.count(Count::PublishSpoolFull), 2);
    assert_eq!(world.read(old), [], "it cannot be told");
    world.publish(device, "s/a", Delivery::AtMostOnce);
    assert_eq!(world.count(Count::PublishSpoolFull), 2, "at QoS 0 nothing is spooled, and nothing refused");
    let (_, connack) = world.try_connect(connect_packet(V5, "f"));
    assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
    world.input(Input::Spool(SpoolState::Open));
    world.publish(device, "s/a", qos1(4));
    world.safe(1);
    world.safe(1);
    assert_eq!(
        (world.read_pubacks(old).len(), world.read_pubacks(device)),
        (1, vec![(4, ReasonCode::Success)])
    );
    assert!(!world.is_closed(device) && !world.is_closed(old));
}

#[test]
fn a_client_that_waits_already_is_ended_when_the_spool_fills() {
    let mut world =
        world(Limits { uplink_events_max: 1, receive_maximum: NonZeroU16::new(2).unwrap(), ..limits() });
    let device = world.connect(V5, "d");
    world.publish(device, "s/a", qos1(1));
    world.publish(device, "s/a", qos1(2));
    world.input(Input::Spool(SpoolState::Full));
    assert_eq!(world.closed_with(device), Some(ReasonCode::QuotaExceeded));
}

#[test]
fn a_client_of_which_as_many_bytes_wait_as_may_is_ended_as_well() {
    let mut world = world(Limits { parked_bytes_max: 100, ..limits() });
    world.input(Input::Spool(SpoolState::Full));
    let before = world.try_connect(connect_packet(V5, "d")).1;
    assert_eq!(before.reason, ReasonCode::ServerUnavailable);
    world.input(Input::Spool(SpoolState::Open));
    let device = world.connect(V5, "d");
    world.input(Input::Spool(SpoolState::Full));
    let topic = format!("s/{}", "x".repeat(60));
    world.publish(device, &topic, qos1(1));
    world.publish(device, &topic, qos1(2));
    assert!(!world.is_closed(device));
    world.publish(device, &topic, qos1(3));
    assert_eq!(world.closed_with(device), Some(ReasonCode::QuotaExceeded));
}

#[test]
fn past_a_disk_that_cannot_be_written_events_wait_for_the_backend() {
    let mut world = world(limits());
    world.backend(Backend::Up);
    let device = world.connect(V5, "d");
    world.input(Input::Spool(SpoolState::Full));
    world.publish(device, "s/a", qos1(1));
    world.input(Input::Spool(SpoolState::Bypassed));
    world.publish(device, "s/a", qos1(2));
    assert_eq!((world.spooled.len(), world.events.len()), (0, 2));
    world.answer_event(PublishOutcome::Confirmed);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device).len(), 2);
}

#[test]
fn a_drain_waits_for_the_disk() {
    let mut world = world(limits());
    let device = world.connect(V5, "d");
    world.publish(device, "s/a", qos1(1));
    world.input(Input::Drain { grace: Duration::from_secs(10) });
    assert!(!world.is_drained);
    world.safe(1);
    assert!(world.is_drained);
    assert!(matches!(world.read(device).first(), Some(Packet::Puback(_))));
}
