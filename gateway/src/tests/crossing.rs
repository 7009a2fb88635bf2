//! A publish finds its subscribers in whichever shard they are, and its publisher waits for them as if they were in its own.

use std::num::NonZeroU16;
use std::time::Duration;

use super::retained::retained;
use super::world::*;
use crate::packet::{
    BinaryData, Delivery, Packet, PayloadFormat, PublishProperties, QoS, ReasonCode, Will, WillProperties,
};
use crate::shard::Shard;
use crate::{ConnectionId, Count, Limits, Placement, PublishOutcome, ShardIndex, WhenAwayFull};

pub(super) const SHARDS: u16 = 3;

/// The `n`-th device that belongs to that shard.
pub(super) fn device(shard: u16, n: usize) -> String {
    let placement = Placement::new(ShardIndex(0), SHARDS);
    let names = (0..).map(|n| format!("d{n}"));
    let mut own = names.filter(|name| placement.shard_of(&name.parse().unwrap()) == ShardIndex(shard));
    own.nth(n).unwrap()
}

pub(super) fn world_with(limits: Limits) -> World {
    World::of_shards(SHARDS, |config| config.limits = limits)
}

/// A publisher in the second shard, and a subscriber in the third that has room for two in flight and two that wait.
fn apart() -> (World, ConnectionId, ConnectionId) {
    let two = NonZeroU16::new(2).unwrap();
    let mut world = world_with(Limits { inflight_max: two, queue_messages_max: 2, ..limits() });
    let publisher = world.connect(V5, &device(1, 0));
    let subscriber = world.connect(V5, &device(2, 0));
    world.subscribe(subscriber, "local/+", QoS::AtLeastOnce);
    (world, publisher, subscriber)
}

pub(super) fn payloads(world: &mut World, client: ConnectionId) -> Vec<String> {
    let text = |payload: &[u8]| std::str::from_utf8(payload).unwrap().to_owned();
    world.read_publishes(client).iter().map(|publish| text(&publish.payload)).collect()
}

pub(super) fn publish(
    world: &mut World,
    client: ConnectionId,
    topic: &str,
    payload: &str,
    delivery: Delivery,
) {
    world.send(client, Packet::Publish(publish_packet(topic, payload.as_bytes(), delivery)));
}

#[test]
fn a_puback_leaves_when_every_shard_has_taken_the_message() {
    let (mut world, publisher, subscriber) = apart();
    world.others.holds_words = true;
    world.publish(publisher, "local/t", qos1(1));
    assert_eq!(world.read_pubacks(publisher), []);
    assert_eq!((world.gauges().crossing_publishes, world.count(Count::Crossed)), (1, 1));
    world.others.holds_words = false;
    world.run();
    assert_eq!(world.read_publishes(subscriber).len(), 1);
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::Success)]);
    let gauges = world.gauges();
    assert_eq!((gauges.crossing_publishes, gauges.crossing_bytes, gauges.guest_publishes), (0, 0, 0));
}

#[test]
fn an_event_is_acknowledged_when_the_backend_and_every_shard_have_it() {
    let (mut world, publisher, subscriber) = apart();
    world.subscribe(subscriber, "up", QoS::AtLeastOnce);
    world.others.holds_words = true;
    for n in 1..=3 {
        world.publish(publisher, "up", qos1(n));
    }
    world.answer_event(PublishOutcome::Confirmed);
    world.others.holds_words = false;
    world.run();
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::Success)]);
    // Nobody takes it from the backend: it is in `roost.unrouted`, and the subscriber has it.
    world.answer_event(PublishOutcome::Returned);
    world.confirm_all();
    assert_eq!(world.read_pubacks(publisher), [(2, ReasonCode::Success), (3, ReasonCode::Success)]);
}

#[test]
fn nothing_crosses_to_where_nobody_subscribes() {
    let (mut world, publisher, subscriber) = apart();
    world.publish(publisher, "local/t/deeper", qos1(1));
    // What begins as a filter with a wildcard does is looked for there.
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::NoMatchingSubscribers)]);
    assert_eq!((world.count(Count::Crossed), world.count(Count::PublishUnwanted)), (1, 1));
    let filters = vec![crate::packet::Text::from_static("local/+")];
    let unsubscribe = crate::packet::Unsubscribe { packet_id: id(1), filters, properties: None };
    world.send(subscriber, Packet::Unsubscribe(unsubscribe));
    world.publish(publisher, "local/t", qos1(2));
    assert_eq!(world.read_pubacks(publisher), [(2, ReasonCode::NoMatchingSubscribers)]);
    assert_eq!((world.count(Count::Crossed), world.count(Count::PublishUnwanted)), (1, 2));
    world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
    world.cut(subscriber);
    world.publish(publisher, "local/t", qos1(3));
    assert_eq!(world.count(Count::Crossed), 1, "its subscriptions ended with its session");
}

#[test]
fn a_slow_subscriber_in_another_shard_slows_its_publishers_and_nobody_else() {
    let (mut world, publisher, subscriber) = apart();
    let (other, third) = (world.connect(V311, &device(1, 1)), world.connect(V5, &device(2, 1)));
    world.subscribe(third, "local/third", QoS::AtLeastOnce);
    for n in 1..=10 {
        publish(&mut world, publisher, "local/t", &n.to_string(), qos1(n));
    }
    publish(&mut world, other, "local/third", "other", qos1(1));
    assert_eq!(world.read_pubacks(publisher).len(), 4, "two in flight, two in the queue");
    // "third" wants it as well, but so does the one that is full: `local/+`.
    assert_eq!(world.gauges().guest_publishes, 7);
    let got = world.take_publishes(subscriber, true);
    let order: Vec<_> = got.iter().filter(|it| *it != "other").map(|it| it.parse::<u32>().unwrap()).collect();
    assert_eq!((order, got.len()), ((1..=10).collect(), 11));
    assert_eq!((world.read_pubacks(publisher).len(), world.read_pubacks(other).len()), (6, 1));
    assert_eq!(payloads(&mut world, third), ["other"]);
    assert_eq!((world.gauges().guest_publishes, world.gauges().connections_paused), (0, 0));
}

#[test]
fn what_waits_for_a_client_that_goes_waits_no_more_and_what_waits_of_one_that_goes_is_given_up() {
    let (mut world, publisher, subscriber) = apart();
    (1..=10).for_each(|n| world.publish(publisher, "local/t", qos1(n)));
    world.cut(subscriber);
    assert_eq!((world.gauges().guest_publishes, world.read_pubacks(publisher).len()), (0, 10));

    let (mut world, publisher, subscriber) = apart();
    (1..=8).for_each(|n| world.publish(publisher, "local/t", qos1(n)));
    world.publish(publisher, "local/t", qos2(9));
    world.cut(publisher);
    let gauges = world.gauges();
    assert_eq!(gauges.guest_publishes, 1, "its client will not send again what it sent at QoS 2");
    assert_eq!(world.take_publishes(subscriber, true).len(), 5);
    let gauges = world.gauges();
    assert_eq!((gauges.guest_publishes, gauges.crossing_publishes, gauges.crossing_bytes), (0, 0, 0));
}

#[test]
fn a_shard_that_sees_nothing_has_publishes_wait_and_those_at_qos_0_dropped() {
    let (mut world, publisher, subscriber) = apart();
    world.others.holds_words = true;
    for _ in 0..5_000 {
        world.publish(publisher, "local/t", Delivery::AtMostOnce);
    }
    let dropped = world.count(Count::DroppedShardBusy);
    assert_eq!(dropped, 5_000 - 4_096);
    world.publish(publisher, "local/t", qos1(1));
    world.publish(publisher, "local/t", qos1(2));
    assert_eq!((world.count(Count::ParkedShard), world.gauges().parked_bytes > 0), (1, true));
    world.others.holds_words = false;
    world.run();
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::Success), (2, ReasonCode::Success)]);
    assert!(world.read_publishes(subscriber).len() >= 2);
    assert_eq!((world.gauges().parked_bytes, world.gauges().crossing_publishes), (0, 0));
}

#[test]
fn what_crosses_is_bounded_by_what_a_client_may_have_waiting() {
    let bounds = Limits { parked_bytes_max: 10, ..limits() };
    let mut world = world_with(bounds);
    let publisher = world.connect(V5, &device(1, 0));
    let subscriber = world.connect(V5, &device(2, 0));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    world.others.holds_words = true;
    publish(&mut world, publisher, "local/t", "as long as this", qos1(1));
    publish(&mut world, publisher, "local/t", "the next", qos1(2));
    assert!(world.is_paused(publisher));
    assert_eq!(world.count(Count::Crossed), 1);
    world.others.holds_words = false;
    world.run();
    assert!(!world.is_paused(publisher));
    assert_eq!(payloads(&mut world, subscriber), ["as long as this", "the next"]);
}

#[test]
fn every_shard_keeps_what_is_retained() {
    let mut world = world_with(limits());
    let publisher = world.connect(V5, &device(1, 0));
    world.send(publisher, retained("local/t", b"kept", qos1(1)));
    world.send(publisher, retained("local/gone", b"kept", Delivery::AtMostOnce));
    world.send(publisher, retained("local/gone", b"", Delivery::AtMostOnce));
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::NoMatchingSubscribers)]);
    assert_eq!((world.count(Count::RetainedSet), world.count(Count::RetainedDeleted)), (2, 1));
    for shard in 0..SHARDS {
        let client = world.connect(V5, &device(shard, 1));
        world.subscribe(client, "local/#", QoS::AtLeastOnce);
        assert_eq!(payloads(&mut world, client), ["kept"]);
    }
}

#[test]
fn of_two_retained_at_once_in_two_shards_all_keep_the_same() {
    let mut world = world_with(limits());
    let publishers = [0, 1, 2].map(|shard| world.connect(V5, &device(shard, 0)));
    let kept = |world: &World| -> Vec<String> {
        let of = |shard: &Shard| format!("{:?}", shard.retained_payload("local/t"));
        world.shards().map(of).collect()
    };
    for round in 0..4_usize {
        world.others.holds_words = true;
        for n in 0..3 {
            let at = (round + n) % 3;
            let payload = if (round, n) == (3, 2) { String::new() } else { format!("{round} {at}") };
            world.send(publishers[at], retained("local/t", payload.as_bytes(), qos1(1)));
        }
        world.others.holds_words = false;
        world.run();
        let found = kept(&world);
        assert!(found.iter().all(|kept| *kept == found[0]), "{found:?}");
        // Whatever was first: what comes behind it, wherever, is the last one.
        let last = publishers[round % 3];
        world.send(last, retained("local/t", b"last", qos1(2)));
        let found = kept(&world);
        assert!(found.iter().all(|kept| *kept == found[0] && kept.contains("108")), "{found:?}");
    }
}

#[test]
fn wills_reach_subscribers_in_other_shards_and_wait_for_them() {
    let (mut world, _, subscriber) = apart();
    let mut mourned = Vec::new();
    for n in 1..=100 {
        let mut connect = connect_packet(V5, &device(1, n));
        connect.will = Some(Will {
            topic: crate::packet::Text::from_static("local/wills"),
            payload: BinaryData::parse(n.to_string()).unwrap(),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        });
        let client = world.connect_as(connect);
        world.cut(client);
        mourned.push(n.to_string());
    }
    assert_eq!(world.gauges().guest_publishes, 64, "the others wait in their own shard");
    assert_eq!(world.gauges().wills, 100 - 64 - 4);
    let got = world.take_publishes(subscriber, true);
    assert_eq!(got, mourned);
    assert_eq!((world.gauges().wills, world.gauges().crossing_publishes), (0, 0));
}

#[test]
fn a_publisher_is_told_of_a_full_session_that_is_away_in_another_shard() {
    let full = WhenAwayFull::Refuse;
    let mut world = world_with(Limits { queue_messages_max: 2, when_away_full: full, ..limits() });
    let publishers = [world.connect(V5, &device(1, 0)), world.connect(V311, &device(1, 1))];
    let away = world.connect_as(persistent(V5, &device(2, 0)));
    world.subscribe(away, "local/t", QoS::AtLeastOnce);
    world.cut(away);
    (1..=3).for_each(|n| world.publish(publishers[0], "local/t", qos1(n)));
    let said: Vec<_> = world.read_pubacks(publishers[0]).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(said, [ReasonCode::Success, ReasonCode::Success, ReasonCode::QuotaExceeded]);
    world.publish(publishers[1], "local/t", qos1(1));
    assert_eq!(world.read_pubacks(publishers[1]).len(), 1, "who cannot be told has it dropped");
    assert_eq!((world.count(Count::PublishQueueFull), world.count(Count::DroppedQueueFull)), (1, 1));
}

#[test]
fn a_drain_waits_for_what_is_on_its_way_to_another_shard() {
    let (mut world, publisher, subscriber) = apart();
    world.others.holds_words = true;
    world.publish(publisher, "local/t", qos1(1));
    world.link_input(crate::link::LinkInput::Drain);
    world.input(crate::shard::Input::Drain { grace: Duration::from_secs(30) });
    assert!(!world.is_closed(publisher));
    world.others.holds_words = false;
    world.run();
    assert!(world.is_closed(publisher) && world.is_drained);
    assert!(matches!(&world.read(publisher)[..], [Packet::Puback(_), Packet::Disconnect(_)]));
    // It was closed before: its shard had nothing to wait for.
    assert!(world.is_closed(subscriber));
}

#[test]
fn a_message_crosses_with_everything_that_it_has() {
    let (mut world, publisher, subscriber) = apart();
    let mut publish = publish_packet("local/t", b"x", qos1(1));
    publish.properties = Some(Box::new(PublishProperties {
        payload_format: Some(PayloadFormat::Utf8),
        message_expiry_s: Some(60),
        ..PublishProperties::default()
    }));
    world.send(publisher, Packet::Publish(publish));
    let got = world.read_publishes(subscriber).remove(0);
    let properties = got.properties.unwrap();
    assert_eq!(
        (properties.payload_format, properties.message_expiry_s),
        (Some(PayloadFormat::Utf8), Some(60))
    );
}
