//! Everything is bounded: who is too fast waits, who is too slow goes.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Duration;

use super::world::*;
use crate::packet::{Delivery, Packet, ProtocolVersion, QoS, ReasonCode};
use crate::shard::Backend;
use crate::{Count, Limits, PublishOutcome, WhenAwayFull};

/// A subscriber to `local/t` that acknowledges nothing, with room for two in flight and two in the queue.
fn slow() -> (World, crate::ConnectionId) {
    let two = NonZeroU16::new(2).unwrap();
    let mut world = World::with(Limits { inflight_max: two, queue_messages_max: 2, ..limits() });
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    (world, subscriber)
}

#[test]
fn a_slow_subscriber_slows_its_publishers_and_nothing_is_lost() {
    let (mut world, subscriber) = slow();
    let publishers = [world.connect(V5, "p"), world.connect(V311, "q")];
    for n in 1..=10 {
        for publisher in publishers {
            world.publish(publisher, "local/t", qos1(n));
        }
    }
    let acknowledged: usize = publishers.iter().map(|&p| world.read_pubacks(p).len()).sum();
    assert_eq!(acknowledged, 4, "two in flight, two in the queue");
    assert!(world.count(Count::ParkedSubscriber) > 0);
    assert_eq!(world.take_publishes(subscriber, true).len(), 20);
    let acknowledged: usize = publishers.iter().map(|&p| world.read_pubacks(p).len()).sum();
    assert_eq!(acknowledged, 16);
    assert_eq!(world.gauges().connections_paused, 0);
}

#[test]
fn a_client_that_subscribes_to_itself_does_not_stop_itself() {
    let (mut world, client) = slow();
    for n in 1..=20 {
        world.publish(client, "local/t", qos1(n));
    }
    let mut publishes = 0;
    let mut pubacks = 0;
    loop {
        let packets = world.read(client);
        if packets.is_empty() {
            break;
        }
        for packet in packets {
            match packet {
                Packet::Publish(publish) => {
                    publishes += 1;
                    world.puback(client, publish.delivery.packet_id().unwrap());
                }
                Packet::Puback(_) => pubacks += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((publishes, pubacks), (20, 20));
}

#[test]
fn who_takes_nothing_while_others_wait_is_disconnected() {
    let (mut world, subscriber) = slow();
    let publisher = world.connect(V5, "p");
    for n in 1..=4 {
        world.publish(publisher, "local/t", qos1(n));
    }
    world.pass_with_lease(Duration::from_secs(3_600));
    assert!(!world.is_closed(subscriber), "nobody waits for it");
    world.publish(publisher, "local/t", qos1(5));
    assert_eq!(world.read_pubacks(publisher).len(), 5, "nor then: it is stalled, and more is kept for it");
    world.pass_with_lease(Duration::from_secs(29));
    let first = world.read_publishes(subscriber).remove(0);
    world.puback(subscriber, first.delivery.packet_id().unwrap());
    world.publish(publisher, "local/t", qos1(6));
    world.pass_with_lease(Duration::from_secs(29));
    assert!(!world.is_closed(subscriber), "it made progress");
    assert_eq!(world.count(Count::ParkedSubscriber), 1, "so that the last waited for it, a second");
    world.pass_with_lease(Duration::from_secs(1));
    assert_eq!(world.closed_with(subscriber), Some(ReasonCode::QuotaExceeded));
    assert_eq!(world.count(Count::ClosedSlow), 1);
    assert_eq!(world.read_pubacks(publisher).len(), 1);
}

#[test]
fn publishers_wait_for_a_moment_for_one_that_acknowledges_nothing_and_then_no_more() {
    let (mut world, subscriber) = slow();
    let other = world.connect(V5, "o");
    world.subscribe(other, "local/t", QoS::AtMostOnce);
    let publishers = [world.connect(V5, "p"), world.connect(V311, "q")];
    for n in 1..=10 {
        for publisher in publishers {
            world.publish(publisher, "local/t", qos1(n));
        }
    }
    let acknowledged =
        |world: &mut World| publishers.map(|p| world.read_pubacks(p).len()).iter().sum::<usize>();
    world.pass_with_lease(Duration::from_millis(999));
    assert_eq!(acknowledged(&mut world), 4, "two in flight, two in the queue");
    world.pass_with_lease(Duration::from_millis(1));
    assert_eq!(acknowledged(&mut world), 14, "and eight times as many");
    assert_eq!(world.read_publishes(other).len(), 18);
    assert_eq!(world.count(Count::SubscriberStalled), 1);
    world.pass_with_lease(Duration::from_millis(3_999));
    assert!(!world.is_closed(subscriber));
    world.pass_with_lease(Duration::from_millis(1));
    assert_eq!(world.closed_with(subscriber), Some(ReasonCode::QuotaExceeded), "they had no more patience");
    assert_eq!((acknowledged(&mut world), world.read_publishes(other).len()), (2, 2));
    assert_eq!(world.gauges().queued_messages, 0);
}

#[test]
fn one_that_was_stalled_and_acknowledges_again_gets_all_in_order_and_holds_up_nobody_for_long() {
    let (mut world, subscriber) = slow();
    let publisher = world.connect(V5, "p");
    let publish = |world: &mut World, n: u16| {
        let payload = n.to_string();
        world.send(publisher, Packet::Publish(publish_packet("local/t", payload.as_bytes(), qos1(n))));
    };
    (1..=4).for_each(|n| publish(&mut world, n));
    world.pass_with_lease(Duration::from_secs(2));
    (5..=30).for_each(|n| publish(&mut world, n));
    assert_eq!(world.read_pubacks(publisher).len(), 18, "two in flight, sixteen in the queue");
    let (mut arrived, mut got) = (VecDeque::new(), Vec::new());
    let mut take_one = |world: &mut World| {
        arrived.extend(world.read_publishes(subscriber));
        let Some(first) = arrived.pop_front() else { return false };
        world.puback(subscriber, first.delivery.packet_id().unwrap());
        got.push(String::from_utf8(first.payload.to_vec()).unwrap());
        true
    };
    for n in 0..3 {
        assert!(take_one(&mut world));
        assert_eq!(world.read_pubacks(publisher).len(), 1, "{n}: each that it takes lets one in");
        world.pass_with_lease(Duration::from_millis(900));
    }
    while take_one(&mut world) {}
    assert_eq!(got, (1..=30).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(world.read_pubacks(publisher).len(), 9);
    assert_eq!((world.is_closed(subscriber), world.count(Count::DroppedQueueFull)), (false, 0));
}

#[test]
fn one_that_is_closed_as_too_slow_finds_everything_that_was_acknowledged_when_it_is_back() {
    let mut world = World::with(Limits { queue_messages_max: 2, ..limits() });
    let mut subscriber = Peer::new(V5, "s");
    subscriber.connect(&mut world);
    world.subscribe(subscriber.connection.unwrap(), "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    let all: Vec<u16> = (1..=110).collect();
    for n in &all[..102] {
        world.publish(publisher, "local/t", qos1(*n));
    }
    world.pass_with_lease(Duration::from_secs(2));
    for n in &all[102..] {
        world.publish(publisher, "local/t", qos1(*n));
    }
    assert_eq!(world.read_pubacks(publisher).len(), all.len());
    world.pass_with_lease(Duration::from_secs(30));
    assert_eq!(world.count(Count::ClosedSlow), 1);
    subscriber.connect(&mut world);
    subscriber.take(&mut world);
    assert_eq!(subscriber.got.len(), all.len());
    assert_eq!(world.count(Count::DroppedQueueFull), 0);
}

#[test]
fn all_queues_together_have_a_bound_beyond_which_nobody_is_given_more_than_its_own() {
    let mut world = World::with(Limits {
        inflight_max: NonZeroU16::MIN,
        queue_messages_max: 2,
        queued_bytes_total_max: 1,
        ..limits()
    });
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    for n in 1..=5 {
        world.publish(publisher, "local/t", qos1(n));
    }
    world.pass_with_lease(Duration::from_millis(4_999));
    assert_eq!(world.read_pubacks(publisher).len(), 3);
    assert_eq!(world.count(Count::SubscriberStalled), 0);
    world.pass_with_lease(Duration::from_millis(1));
    assert_eq!((world.is_closed(subscriber), world.read_pubacks(publisher).len()), (true, 2));
}

/// A session that is away with room for two messages, and what became of four publishes of a client of that version.
fn away_and_full(
    when_away_full: WhenAwayFull,
    version: ProtocolVersion,
) -> (World, Vec<ReasonCode>, Vec<String>) {
    let mut world = World::with(Limits { queue_messages_max: 2, when_away_full, ..limits() });
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let other = world.connect(V5, "o");
    world.subscribe(other, "local/t", QoS::AtMostOnce);
    let publisher = world.connect(version, "p");
    for n in 1..=4 {
        let payload = n.to_string();
        world.send(publisher, Packet::Publish(publish_packet("local/t", payload.as_bytes(), qos1(n))));
    }
    let told = world.read_pubacks(publisher).into_iter().map(|(_, reason)| reason).collect();
    let others = world.read_publishes(other).len();
    assert_eq!(
        others,
        4 - usize::try_from(world.count(Count::PublishQueueFull)).unwrap(),
        "nobody gets what is refused"
    );
    let (subscriber, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    let got = world.take_publishes(subscriber, true);
    (world, told, got)
}

#[test]
fn a_full_queue_of_one_that_is_away_drops_the_newest_or_the_oldest_or_refuses_and_counts() {
    let ok = ReasonCode::Success;
    let full = ReasonCode::QuotaExceeded;
    for (when, version, told, got, (dropped, refused)) in [
        (WhenAwayFull::DropNewest, V5, [ok; 4], ["1", "2"], (2, 0)),
        (WhenAwayFull::DropOldest, V5, [ok; 4], ["3", "4"], (2, 0)),
        (WhenAwayFull::Refuse, V5, [ok, ok, full, full], ["1", "2"], (0, 2)),
        (WhenAwayFull::Refuse, V311, [ok; 4], ["1", "2"], (2, 0)),
    ] {
        let (world, was_told, was_got) = away_and_full(when, version);
        assert_eq!(
            (was_told, was_got),
            (told.to_vec(), got.map(str::to_owned).to_vec()),
            "{when:?} {version:?}"
        );
        let counts = (world.count(Count::DroppedQueueFull), world.count(Count::PublishQueueFull));
        assert_eq!(counts, (dropped, refused), "{when:?} {version:?}");
    }
}

#[test]
fn reading_without_acknowledging_is_no_progress() {
    let (mut world, subscriber) = slow();
    let publisher = world.connect(V5, "p");
    for n in 1..=5 {
        world.publish(publisher, "local/t", qos1(n));
    }
    for _ in 0..29 {
        world.pass_with_lease(Duration::from_secs(1));
        world.send(subscriber, Packet::Pingreq);
        assert!(!world.is_closed(subscriber));
    }
    world.pass_with_lease(Duration::from_secs(1));
    assert!(world.is_closed(subscriber));
}

#[test]
fn a_socket_that_takes_nothing_bounds_what_waits_for_it() {
    let mut world = World::with(Limits { outgoing_bytes_max: 1_000, ..limits() });
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
    let publisher = world.connect(V5, "p");
    world.stick(subscriber);
    for _ in 0..100 {
        world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'z'; 100], Delivery::AtMostOnce)));
    }
    let dropped = world.count(Count::DroppedConnectionFull);
    assert!((85..100).contains(&dropped), "{dropped}");
    world.send(subscriber, Packet::Pingreq);
    assert!(world.is_paused(subscriber), "it is not read from either");
    world.unstick(subscriber);
    assert!(!world.is_paused(subscriber));
    assert_eq!(world.read(subscriber).len(), 100 - usize::try_from(dropped).unwrap() + 1);
    world.stick(subscriber);
    world.publish(publisher, "local/t", Delivery::AtMostOnce);
    world.pass_with_lease(Duration::from_secs(30));
    assert!(world.is_closed(subscriber));
    assert_eq!(world.count(Count::ClosedSlow), 1);
}

#[test]
fn while_the_backend_is_away_pubacks_are_withheld_and_then_reading_stops() {
    for version in [V5, V311] {
        let mut world = World::with(Limits { receive_maximum: NonZeroU16::new(3).unwrap(), ..limits() });
        world.backend(Backend::Away);
        let device = world.connect(version, "d");
        for n in 1..=3 {
            world.publish(device, "a", qos1(n));
        }
        assert_eq!(world.read(device), []);
        assert!(!world.is_paused(device));
        world.publish(device, "a", qos1(4));
        if version == V5 {
            assert_eq!(world.closed_with(device), Some(ReasonCode::ReceiveMaximumExceeded), "[MQTT-3.3.4-9]");
            continue;
        }
        assert!(world.is_paused(device), "v3.1.1 has no such word: nothing more is read");
        world.pass(Duration::from_secs(60));
        world.backend(Backend::Up);
        world.confirm_all();
        assert!(!world.is_paused(device));
        let ids: Vec<_> = world.read_pubacks(device).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    }
}

#[test]
fn the_uplinks_window_is_shared_in_turn() {
    let mut world = World::with(Limits { uplink_events_max: 4, ..limits() });
    let devices: Vec<_> = (0..4).map(|n| world.connect(V5, &format!("d{n}"))).collect();
    for n in 1..=5 {
        for &device in &devices {
            world.publish(device, "a", qos1(n));
        }
    }
    assert_eq!(world.events.len(), 4);
    let mut rounds = 0;
    while !world.events.is_empty() {
        for _ in 0..world.events.len() {
            world.answer_event(PublishOutcome::Confirmed);
        }
        rounds += 1;
        assert!(world.events.len() <= 4);
        let served: Vec<_> = devices.iter().map(|&d| world.read_pubacks(d).len()).collect();
        assert_eq!(served, [1, 1, 1, 1], "round {rounds}");
    }
    assert_eq!(rounds, 5);
}

#[test]
fn what_waits_in_connections_is_bounded_by_bytes() {
    let bounds =
        Limits { uplink_events_max: 1, parked_bytes_max: 250, parked_bytes_total_max: 450, ..limits() };
    let mut world = World::with(bounds);
    let first = world.connect(V5, "a");
    let publish = |n| Packet::Publish(publish_packet("t", &[b'x'; 100], qos1(n)));
    for n in 1..=4 {
        world.send(first, publish(n));
        assert!(!world.is_paused(first), "{n}");
    }
    world.send(first, publish(5));
    assert!(world.is_paused(first), "one in the uplink, three parked, the fifth is not read");
    let second = world.connect(V5, "b");
    world.send(second, publish(1));
    world.send(second, publish(2));
    world.send(second, publish(3));
    assert!(world.is_paused(second), "the shard's own bound");
    world.confirm_all();
    assert_eq!((world.read_pubacks(first).len(), world.read_pubacks(second).len()), (5, 3));
    assert_eq!(world.gauges().connections_paused, 0);
}

#[test]
fn a_client_that_waits_is_not_blamed_for_its_silence() {
    let mut world = World::with(Limits { receive_maximum: NonZeroU16::new(1).unwrap(), ..limits() });
    world.backend(Backend::Away);
    let mut connect = connect_packet(V311, "d");
    connect.keep_alive_s = 10;
    let device = world.connect_as(connect);
    world.publish(device, "a", qos1(1));
    world.publish(device, "a", qos1(2));
    assert!(world.is_paused(device));
    world.pass(Duration::from_secs(100));
    assert!(!world.is_closed(device));
    world.backend(Backend::Up);
    world.confirm_all();
    assert!(!world.is_paused(device));
    world.pass(Duration::from_secs(15));
    assert!(world.is_closed(device), "from here on its silence is its own");
}

#[test]
fn who_waits_and_goes_leaves_nothing_behind() {
    let (mut world, subscriber) = slow();
    let publishers: Vec<_> = (0..3).map(|n| world.connect(V5, &format!("p{n}"))).collect();
    for n in 1..=5 {
        for &publisher in &publishers {
            world.publish(publisher, "local/t", qos1(n));
        }
    }
    world.cut(publishers[0]);
    world.cut(publishers[1]);
    let received = world.take_publishes(subscriber, true).len();
    assert!((7..=9).contains(&received), "what was parked for the two is theirs to send again: {received}");
    assert!(world.read_pubacks(publishers[2]).len() == 5);
}

#[test]
fn the_turn_of_one_that_goes_or_has_to_wait_elsewhere_is_the_nexts() {
    let mut world = World::with(Limits {
        uplink_events_max: 1,
        queue_messages_max: 1,
        inflight_max: NonZeroU16::MIN,
        ..limits()
    });
    let [first, gone, moved, last] = ["a", "b", "c", "d"].map(|name| world.connect(V5, name));
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "both", QoS::AtLeastOnce);
    world.publish(first, "up", qos1(1));
    world.publish(gone, "up", qos1(1));
    world.publish(moved, "both", qos1(1));
    world.publish(last, "up", qos1(1));
    world.cut(gone);
    // Before its turn comes, the one that waits for the uplink gets a full subscriber to wait for as well.
    let other = world.connect(V5, "o");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    for n in 1..=2 {
        world.publish(other, "local/t", qos1(n));
    }
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.events.len(), 1, "the last has its turn");
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(last).len(), 1);
    assert_eq!(world.take_publishes(subscriber, true).len(), 3);
    world.confirm_all();
    assert_eq!(world.read_pubacks(moved).len(), 1);
}

#[test]
fn a_message_too_large_for_what_is_free_keeps_its_place() {
    let two = NonZeroU16::MIN;
    let mut world =
        World::with(Limits { inflight_max: two, queue_messages_max: 10, queue_bytes_max: 100, ..limits() });
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let [small, large] = ["a", "b"].map(|name| world.connect(V5, name));
    for n in 1..=3 {
        world.send(small, Packet::Publish(publish_packet("local/t", &[b's'; 30], qos1(n))));
    }
    world.send(large, Packet::Publish(publish_packet("local/t", &[b'L'; 90], qos1(1))));
    for n in 4..=6 {
        world.send(small, Packet::Publish(publish_packet("local/t", &[b's'; 30], qos1(n))));
    }
    let order: String = world.take_publishes(subscriber, true).iter().map(|payload| &payload[..1]).collect();
    assert_eq!(order.len(), 7);
    assert_eq!(&order[..3], "sss");
    assert!(order.find('L') < Some(6), "{order}: it is not overtaken for ever");
}

#[test]
fn a_newcomer_does_not_overtake_those_that_wait_for_the_uplink() {
    let mut world = World::with(Limits { uplink_events_max: 1, ..limits() });
    let [first, waiting, newcomer] = ["a", "b", "c"].map(|name| world.connect(V5, name));
    world.publish(first, "up", qos1(1));
    world.publish(waiting, "up", qos1(1));
    world.publish(newcomer, "up", qos1(1));
    let devices: Vec<_> = (0..3)
        .map(|_| {
            let event = world.answer_event(PublishOutcome::Confirmed);
            event.message.properties.text(roost_wire::envelope::header::DEVICE).unwrap().to_owned()
        })
        .collect();
    assert_eq!(devices, ["a", "b", "c"]);
}
