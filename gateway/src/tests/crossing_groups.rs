//! Groups whose members are in several shards, and what may wait for them.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use roost_wire::Broadcast;

use super::broadcasts::from_service;
use super::crossing::{SHARDS, device, payloads, publish, world_with};
use super::wills::with_will;
use super::world::*;
use crate::packet::{Delivery, QoS};
use crate::shard::{Input, Shard};
use crate::share::Filter;
use crate::{ConnectionId, Count, Limits, Placement, ShardIndex};

/// A group of `local/jobs` whose owner is that shard.
fn group_of(owner: u16) -> String {
    let placement = Placement::new(ShardIndex(0), SHARDS);
    let owned = |name: &String| {
        let Filter::Shared(filter) = Filter::parse(name).unwrap() else { panic!("{name} is shared") };
        placement.owner_of(&filter) == ShardIndex(owner)
    };
    (0..).map(|n| format!("$share/g{n}/local/jobs")).find(owned).unwrap()
}

fn two_in_flight() -> Limits {
    Limits { inflight_max: NonZeroU16::new(2).unwrap(), queue_messages_max: 2, ..limits() }
}

fn member(world: &mut World, shard: u16, group: &str) -> ConnectionId {
    let member = world.connect(V5, &device(shard, 0));
    world.subscribe(member, group, QoS::AtLeastOnce);
    member
}

#[test]
fn a_member_that_comes_back_leaves_what_it_has_to_the_others() {
    let (mut world, group) = (world_with(limits()), group_of(0));
    let publisher = world.connect(V5, "publisher");
    let stays = member(&mut world, 0, &group);
    let first = member(&mut world, 2, &group);
    world.cut(first);
    let again = member(&mut world, 2, &group);
    for n in 1..=4 {
        publish(&mut world, publisher, "local/jobs", &n.to_string(), qos1(n));
    }
    assert_eq!(world.read_pubacks(publisher).len(), 4);
    // It has acknowledged none of its own.
    assert_eq!(payloads(&mut world, again).len(), 2);
    world.cut(again);
    let mut got = world.take_publishes(stays, true);
    got.sort_unstable();
    assert_eq!(
        (got, world.count(Count::DroppedShareAlone)),
        (["1", "2", "3", "4"].map(str::to_owned).to_vec(), 0)
    );
}

#[test]
fn a_member_that_is_full_in_another_shard_is_waited_for_and_not_one_that_is_away() {
    let (mut world, group) = (world_with(two_in_flight()), group_of(0));
    let publisher = world.connect(V5, "publisher");
    let away = world.connect_as(persistent(V5, &device(1, 0)));
    world.subscribe(away, &group, QoS::AtLeastOnce);
    world.cut(away);
    publish(&mut world, publisher, "local/jobs", "a", qos1(1));
    publish(&mut world, publisher, "local/jobs", "b", qos1(2));
    assert_eq!(world.read_pubacks(publisher).len(), 2, "it waits for who is away");
    let full = member(&mut world, 2, &group);
    for n in 3..=10 {
        publish(&mut world, publisher, "local/jobs", &n.to_string(), qos1(n));
    }
    assert_eq!(world.read_pubacks(publisher).len(), 4, "two in flight, two in the queue");
    let mut got = world.take_publishes(full, true);
    got.retain(|text| text.parse::<u16>().is_ok());
    assert_eq!(got, (3..=10).map(|n: u16| n.to_string()).collect::<Vec<_>>());
    assert_eq!((world.read_pubacks(publisher).len(), world.count(Count::DroppedQueueFull)), (4, 0));
}

#[test]
fn a_message_that_finds_no_member_is_acknowledged_when_another_one_has_it() {
    let (mut world, group) = (world_with(two_in_flight()), group_of(0));
    let publisher = world.connect(V5, &device(0, 0));
    let (leaves, full) = (member(&mut world, 1, &group), member(&mut world, 2, &group));
    world.others.holds_words = true;
    for n in 1..=10 {
        publish(&mut world, publisher, "local/jobs", &n.to_string(), qos1(n));
    }
    // Half of them are on their way to who is not there any more.
    world.cut(leaves);
    world.others.holds_words = false;
    world.run();
    let acknowledged = world.read_pubacks(publisher).len();
    assert!(acknowledged <= 4, "two in flight, two in the queue of the other one: {acknowledged}");
    let mut got = world.take_publishes(full, true);
    got.sort_by_key(|text| text.parse::<u16>().unwrap());
    assert_eq!(got, (1..=10).map(|n: u16| n.to_string()).collect::<Vec<_>>());
    assert_eq!(acknowledged + world.read_pubacks(publisher).len(), 10);
}

#[test]
fn a_broadcast_is_acknowledged_when_the_member_of_another_shard_has_it() {
    let group = group_of(0);
    let mut world = World::of_shards(SHARDS, |config| {
        config.limits = two_in_flight();
        config.broadcasts = vec!["local/".parse().unwrap()];
    });
    let full = member(&mut world, 2, &group);
    for number in 1..=10 {
        from_service(
            &mut world,
            number,
            Broadcast::new("local/jobs".parse().unwrap(), Bytes::from_static(b"x")),
        );
    }
    assert_eq!(world.taken, [1, 2, 3, 4], "two in flight, two in the queue");
    assert_eq!(world.take_publishes(full, true).len(), 10);
    assert_eq!((world.taken.len(), world.count(Count::BroadcastDelivered)), (10, 10));
}

/// A publisher in the second shard, one of whose messages waits for a full subscriber in the third.
fn with_one_that_waits(limits: Limits) -> (World, ConnectionId, ConnectionId) {
    let mut world = world_with(limits);
    let publisher = world.connect(V5, &device(1, 0));
    let subscriber = world.connect(V5, &device(2, 0));
    world.subscribe(subscriber, "local/+", QoS::AtLeastOnce);
    for n in 1..=5 {
        publish(&mut world, publisher, "local/t", &n.to_string(), qos1(n));
    }
    assert_eq!(world.gauges().guest_publishes, 1);
    (world, publisher, subscriber)
}

#[test]
fn what_waits_at_qos_0_behind_a_full_subscriber_is_bounded() {
    let bounds = Limits { parked_bytes_max: 1_000, ..two_in_flight() };
    let (mut world, publisher, subscriber) = with_one_that_waits(bounds);
    let long = "x".repeat(100);
    for _ in 0..1_000 {
        publish(&mut world, publisher, "local/t", &long, Delivery::AtMostOnce);
    }
    let gauges = world.gauges();
    assert!(gauges.guest_publishes <= 11 && gauges.crossing_bytes <= 1_200, "{gauges:?}");
    assert!(world.count(Count::DroppedShardBusy) >= 990);
    let got = world.take_publishes(subscriber, true);
    assert!(["1", "2", "3", "4", "5"].iter().all(|text| got.contains(&(*text).to_owned())));
    assert_eq!((world.gauges().guest_publishes, world.gauges().crossing_bytes), (0, 0));
}

#[test]
fn retained_messages_at_qos_0_are_bounded_and_the_same_in_every_shard() {
    let mut world = world_with(limits());
    let publisher = world.connect(V5, &device(1, 0));
    world.others.holds_words = true;
    for n in 0..5_000_u32 {
        let mut retained = publish_packet("local/t", n.to_string().as_bytes(), Delivery::AtMostOnce);
        retained.retain = true;
        world.send(publisher, crate::packet::Packet::Publish(retained));
    }
    assert_eq!(world.count(Count::DroppedShardBusy), 5_000 - 4_096);
    world.others.holds_words = false;
    world.run();
    let kept: Vec<_> = world.shards().map(|shard: &Shard| shard.retained_payload("local/t")).collect();
    assert_eq!(kept, vec![Some(b"4095".to_vec()); usize::from(SHARDS)]);
}

#[test]
fn what_waits_in_a_shard_that_drains_goes_on() {
    let (mut world, _, full) = with_one_that_waits(two_in_flight());
    let free = world.connect_as(persistent(V5, &device(2, 1)));
    world.subscribe(free, "local/will", QoS::AtLeastOnce);
    let mourned = world.connect_as(with_will(connect_packet(V5, &device(0, 0)), |_| {}));
    world.cut(mourned);
    assert_eq!(world.gauges().guest_publishes, 2, "the full one has subscribed to it as well");
    world.link_input(crate::link::LinkInput::Drain);
    world.input(Input::Drain { grace: Duration::from_secs(30) });
    world.pass(Duration::from_secs(31));
    assert!(world.is_closed(full) && world.is_drained);
    assert_eq!((world.gauges().guest_publishes, world.gauges().crossing_publishes), (0, 0));
    assert_eq!(world.gauges().queued_messages, 1, "the will waits for who has the session");
}
