//! Shared subscriptions: who is in a group, and who gets what (MQTT5 §4.8.2).

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use roost_wire::Outcome;

use super::retained::retained;
use super::subscribing::{ids_of, subscribe_as};
use super::world::*;
use crate::packet::{
    Ack, Delivery, Packet, QoS, ReasonCode, RetainHandling, SubscribeOptions, Text, Unsubscribe, Will,
    WillProperties,
};
use crate::{ConnectionId, Count, Limits, WhenAwayFull};

pub(super) const SHARED: &str = "$share/g/local/+";

/// A gateway whose clients take one message at a time, with room for two more in the queue of each, and for four where that may be more.
pub(super) fn narrow() -> World {
    World::with(narrow_limits())
}

fn narrow_limits() -> Limits {
    Limits { inflight_max: NonZeroU16::MIN, queue_messages_max: 2, stalled_queue_factor: 2, ..limits() }
}

/// A client with a clean session that shares.
pub(super) fn member(world: &mut World, name: &str) -> ConnectionId {
    let client = world.connect(V5, name);
    assert_eq!(world.subscribe(client, SHARED, QoS::AtLeastOnce), ReasonCode::GrantedQos1);
    client
}

/// One with a session that is kept.
pub(super) fn kept_member(world: &mut World, name: &str) -> ConnectionId {
    let client = world.connect_as(persistent(V5, name));
    assert_eq!(world.subscribe(client, SHARED, QoS::ExactlyOnce), ReasonCode::GrantedQos2);
    client
}

/// Publishes these texts at QoS 1.
pub(super) fn say(world: &mut World, publisher: ConnectionId, texts: impl IntoIterator<Item = u16>) {
    for n in texts {
        let packet = publish_packet("local/t", n.to_string().as_bytes(), qos1(n));
        world.send(publisher, Packet::Publish(packet));
    }
}

/// The texts that the client has got since the last call, and acknowledges, perhaps. At QoS 2 only those of PUBLISHes.
pub(super) fn heard(world: &mut World, client: ConnectionId, acknowledges: bool) -> Vec<u16> {
    let texts = world.take_publishes(client, acknowledges);
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(super) fn unsubscribe(world: &mut World, client: ConnectionId, filter: &str) -> ReasonCode {
    let filters = vec![Text::parse(filter).unwrap()];
    world.send(client, Packet::Unsubscribe(Unsubscribe { packet_id: id(1), filters, properties: None }));
    match world.read(client).pop() {
        Some(Packet::Unsuback(unsuback)) => unsuback.reasons[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_shared_subscription_is_granted_and_ended_as_any_other() {
    for version in [V5, V311, V31] {
        let mut world = World::new();
        let client = world.connect(version, "a");
        for (filter, qos, granted) in [
            ("$share/g/a", QoS::AtMostOnce, ReasonCode::Success),
            ("$share/g/a", QoS::AtLeastOnce, ReasonCode::GrantedQos1),
            ("$share/h/a", QoS::ExactlyOnce, ReasonCode::GrantedQos2),
            ("a", QoS::AtLeastOnce, ReasonCode::GrantedQos1),
        ] {
            assert_eq!(world.subscribe(client, filter, qos), granted, "{filter}");
        }
        assert_eq!(world.gauges().subscriptions, 3);
        if version != V5 {
            continue;
        }
        for filter in ["$share/g/a", "$share/h/a"] {
            assert_eq!(unsubscribe(&mut world, client, filter), ReasonCode::Success);
            assert_eq!(unsubscribe(&mut world, client, filter), ReasonCode::NoSubscriptionExisted);
        }
        assert_eq!(unsubscribe(&mut world, client, "$share/g"), ReasonCode::TopicFilterInvalid);
        assert_eq!(world.gauges().subscriptions, 1);
    }
}

#[test]
fn a_filter_that_can_not_be_shared_is_refused() {
    let bad = ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"];
    for (version, refused) in [(V5, ReasonCode::TopicFilterInvalid), (V311, ReasonCode::UnspecifiedError)] {
        let mut world = World::new();
        let client = world.connect(version, "a");
        for filter in bad.into_iter().chain(["$share/g/a#", "$share/g/$share/h/a"]) {
            assert_eq!(world.subscribe(client, filter, QoS::AtLeastOnce), refused, "{filter}");
        }
        assert_eq!(world.gauges().subscriptions, 0);
    }
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut world = World::new();
    let client = world.connect(V5, "a");
    world.send_bytes(client, BytesMut::from(&b"\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x05"[..]));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError), "[MQTT-3.8.3-4]");
}

#[test]
fn shared_subscriptions_count_among_those_of_their_session() {
    let mut world = World::with(Limits { subscriptions_max: 2, ..limits() });
    let client = world.connect(V5, "a");
    for (filter, answer) in [
        ("$share/g/a", ReasonCode::Success),
        ("b", ReasonCode::Success),
        ("$share/g/b", ReasonCode::QuotaExceeded),
        ("$share/g/a", ReasonCode::Success),
    ] {
        assert_eq!(world.subscribe(client, filter, QoS::AtMostOnce), answer, "{filter}");
    }
}

#[test]
fn each_message_goes_to_one_of_each_group_in_turn_and_to_everybody_else() {
    let mut world = World::new();
    let subscriber = |world: &mut World, name: &str, filter| {
        let client = world.connect(if name.len() == 1 { V5 } else { V311 }, name);
        world.subscribe(client, filter, QoS::AtLeastOnce);
        client
    };
    let three = ["a", "bb", "c"].map(|name| subscriber(&mut world, name, "$share/g/local/#"));
    let two = ["d", "ee"].map(|name| subscriber(&mut world, name, "$share/h/local/#"));
    let alone = subscriber(&mut world, "f", "$share/g/local/t");
    let own = subscriber(&mut world, "g", "local/#");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=6);
    let of_three = three.map(|client| heard(&mut world, client, true));
    assert_eq!(of_three, [[1, 4], [2, 5], [3, 6]]);
    let of_two = two.map(|client| heard(&mut world, client, true));
    assert_eq!(of_two, [[1, 3, 5], [2, 4, 6]]);
    for client in [alone, own] {
        assert_eq!(heard(&mut world, client, true), [1, 2, 3, 4, 5, 6]);
    }
    assert!(world.read_pubacks(publisher).iter().all(|(_, reason)| *reason == ReasonCode::Success));
}

#[test]
fn one_client_gets_a_copy_for_each_of_its_groups_and_one_for_itself() {
    let mut world = World::new();
    let client = world.connect(V5, "a");
    let at_least_once = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    for (n, filter) in [(1, "local/#"), (2, "local/+"), (3, "$share/g/local/+"), (4, "$share/h/local/#")] {
        subscribe_as(&mut world, client, n, &[(filter, at_least_once)]);
    }
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", qos1(1));
    let mut ids: Vec<_> = world.read_publishes(client).iter().map(ids_of).collect();
    ids.sort();
    assert_eq!(ids, [vec![1, 2], vec![3], vec![4]]);
}

#[test]
fn a_client_in_many_groups_gets_of_one_message_what_its_queue_holds_beyond_its_bounds() {
    let mut world = World::with(Limits { queue_bytes_max: 100, ..narrow_limits() });
    let client = world.connect(V5, "a");
    for n in 0..6 {
        world.subscribe(client, &format!("$share/g{n}/local/+"), QoS::AtLeastOnce);
    }
    let publisher = world.connect(V5, "p");
    world.send(publisher, Packet::Publish(publish_packet("local/t", &[b'7'; 50], qos1(1))));
    assert_eq!(world.take_publishes(client, true).len(), 4, "one in flight, three of 57 bytes in the queue");
    assert_eq!(world.count(Count::DroppedShareFull), 2);
}

#[test]
fn a_member_that_subscribes_again_is_still_one_with_the_new_options() {
    let mut world = World::new();
    let [first, second] = ["a", "b"].map(|name| member(&mut world, name));
    let options = SubscribeOptions { qos: QoS::AtMostOnce, ..SubscribeOptions::default() };
    subscribe_as(&mut world, first, 7, &[(SHARED, options)]);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=4);
    let got = world.read_publishes(first);
    let got: Vec<_> = got.iter().map(|publish| (publish.delivery.qos(), ids_of(publish))).collect();
    assert_eq!(got, [(QoS::AtMostOnce, vec![7]), (QoS::AtMostOnce, vec![7])]);
    assert_eq!(heard(&mut world, second, true), [2, 4]);
}

#[test]
fn each_member_gets_what_was_granted_to_it() {
    let mut world = World::new();
    let granted = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let members = granted.map(|qos| {
        let client = world.connect(V5, &format!("m{}", qos.byte()));
        world.subscribe(client, SHARED, qos);
        client
    });
    let publisher = world.connect(V5, "p");
    for published in [qos2(1), qos1(2), Delivery::AtMostOnce] {
        // Each member has its turn.
        for _ in 0..3 {
            world.publish(publisher, "local/t", published);
            world.send(publisher, Packet::Pubrel(Ack::success(id(1))));
        }
        for (member, granted) in members.into_iter().zip(granted) {
            let got: Vec<_> = world.read_publishes(member).iter().map(|p| p.delivery.qos()).collect();
            assert_eq!(got, [published.qos().min(granted)], "[MQTT-4.8.2-3]");
        }
    }
}

#[test]
fn what_is_retained_is_not_sent_to_who_shares() {
    let mut world = World::new();
    let publisher = world.connect(V5, "p");
    world.send(publisher, retained("local/t", b"1", qos1(1)));
    let client = world.connect(V5, "a");
    for retain_handling in [RetainHandling::SendAlways, RetainHandling::SendIfNew] {
        let options = SubscribeOptions { retain_handling, ..SubscribeOptions::default() };
        world.subscribe_with(client, SHARED, options);
        assert_eq!(world.read(client), []);
    }
    world.subscribe(client, "local/t", QoS::AtMostOnce);
    assert_eq!(world.read_publishes(client).len(), 1, "it is there");
}

#[test]
fn what_is_published_as_retained_says_so_to_a_member_that_asked_for_it() {
    for retain_as_published in [true, false] {
        let mut world = World::new();
        let client = world.connect(V5, "a");
        let options = SubscribeOptions { retain_as_published, ..SubscribeOptions::default() };
        world.subscribe_with(client, SHARED, options);
        let publisher = world.connect(V5, "p");
        world.send(publisher, retained("local/t", b"1", Delivery::AtMostOnce));
        assert_eq!(world.read_publishes(client)[0].retain, retain_as_published);
    }
}

#[test]
fn who_is_full_is_passed_over_while_another_has_room() {
    let mut world = narrow();
    let [slow, quick] = ["a", "b"].map(|name| member(&mut world, name));
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=2);
    assert_eq!((heard(&mut world, slow, false), heard(&mut world, quick, true)), (vec![1], vec![2]));
    for n in 3..=20 {
        say(&mut world, publisher, [n]);
        assert_eq!(heard(&mut world, quick, true), [n], "the other's window is full");
    }
    assert_eq!(world.read_pubacks(publisher).len(), 20);
    say(&mut world, publisher, 21..=25);
    assert_eq!(heard(&mut world, quick, false), [21], "the windows of both are full: the queues take turns");
    assert_eq!((heard(&mut world, slow, false), world.read_pubacks(publisher).len()), (vec![], 5));
    say(&mut world, publisher, [26]);
    assert_eq!(world.read_pubacks(publisher), [], "and so are the queues");
}

#[test]
fn publishers_wait_while_all_are_full_and_go_on_when_one_has_room() {
    let mut world = narrow();
    let [first, second] = ["a", "b"].map(|name| member(&mut world, name));
    let publishers = [world.connect(V5, "p"), world.connect(V311, "q")];
    for n in 1..=8 {
        for publisher in publishers {
            world.publish(publisher, "local/t", qos1(n));
        }
    }
    let told =
        |world: &mut World| publishers.map(|client| world.read_pubacks(client).len()).iter().sum::<usize>();
    assert_eq!(told(&mut world), 6, "two in flight, four in the queues");
    assert_eq!(world.count(Count::ParkedGroup), 2);
    let got = world.take_publishes(second, true).len();
    assert_eq!(told(&mut world) + 6, 3 + got, "what one takes goes on, and the other holds up nobody");
    assert_eq!(got + world.take_publishes(first, true).len(), 16);
    assert_eq!((world.gauges().parked_bytes, world.gauges().connections_paused), (0, 0));
}

#[test]
fn publishers_that_wait_go_on_when_a_member_joins_and_when_the_last_one_leaves() {
    for newcomer in [true, false] {
        let mut world = narrow();
        let full = kept_member(&mut world, "a");
        let publisher = world.connect(V5, "p");
        say(&mut world, publisher, 1..=4);
        assert_eq!(world.read_pubacks(publisher).len(), 3);
        if newcomer {
            let other = member(&mut world, "b");
            assert_eq!(heard(&mut world, other, true), [4]);
        } else {
            unsubscribe(&mut world, full, SHARED);
        }
        assert_eq!(world.read_pubacks(publisher).len(), 1);
    }
}

#[test]
fn a_member_that_takes_nothing_is_disconnected_and_another_gets_what_it_leaves() {
    let mut world = World::with(Limits { stalled_queue_factor: 8, ..narrow_limits() });
    let [first, second] = ["a", "b"].map(|name| member(&mut world, name));
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=6);
    world.pass_with_lease(Duration::from_secs(3_600));
    assert!(!world.is_closed(first) && !world.is_closed(second), "nobody waits");
    say(&mut world, publisher, 7..=9);
    assert_eq!(
        world.read_pubacks(publisher).len(),
        9,
        "nor then: they are stalled, and more is kept for them"
    );
    world.pass_with_lease(Duration::from_secs(29));
    let got = world.read_publishes(second).remove(0);
    world.puback(second, got.delivery.packet_id().unwrap());
    world.pass_with_lease(Duration::from_secs(1));
    assert_eq!(world.closed_with(first), Some(ReasonCode::QuotaExceeded));
    assert!(!world.is_closed(second), "it has taken something");
    assert_eq!(world.count(Count::ClosedSlow), 1);
    assert_eq!(world.take_publishes(second, true).len(), 8, "and it gets what the other has left");
}

#[test]
fn publishers_wait_for_a_group_that_takes_nothing_until_their_patience_is_over() {
    let mut world = World::with(Limits { stalled_queue_factor: 1, ..narrow_limits() });
    let members = ["a", "b"].map(|name| member(&mut world, name));
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=7);
    world.pass_with_lease(Duration::from_millis(4_999));
    assert_eq!(world.read_pubacks(publisher).len(), 6);
    assert!(members.iter().all(|id| !world.is_closed(*id)));
    world.pass_with_lease(Duration::from_millis(1));
    assert!(members.iter().all(|id| world.closed_with(*id) == Some(ReasonCode::QuotaExceeded)));
    assert_eq!((world.count(Count::ClosedSlow), world.read_pubacks(publisher).len()), (2, 1));
}

#[test]
fn a_group_of_which_all_are_away_and_full_loses_what_the_gateway_is_told_to_lose() {
    let full = ReasonCode::QuotaExceeded;
    for (when_away_full, told, kept) in [
        (WhenAwayFull::DropNewest, ReasonCode::NoMatchingSubscribers, [1, 2]),
        (WhenAwayFull::DropOldest, ReasonCode::Success, [2, 3]),
        (WhenAwayFull::Refuse, full, [1, 2]),
    ] {
        let mut world = World::with(Limits { when_away_full, ..narrow_limits() });
        let client = kept_member(&mut world, "a");
        world.cut(client);
        let publisher = world.connect(V5, "p");
        say(&mut world, publisher, 1..=3);
        assert_eq!(world.read_pubacks(publisher).last().map(|(_, reason)| *reason), Some(told));
        let client = world.connect_as(persistent(V5, "a"));
        assert_eq!(heard(&mut world, client, true), kept, "{when_away_full:?}");
    }
}

#[test]
fn at_qos_0_a_member_whose_connection_is_full_is_passed_over() {
    let mut world = World::with(Limits { outgoing_bytes_max: 100, ..limits() });
    let clients = ["a", "b"].map(|name| {
        let client = world.connect(V5, name);
        world.subscribe(client, SHARED, QoS::AtMostOnce);
        client
    });
    let publisher = world.connect(V5, "p");
    world.stick(clients[0]);
    for _ in 0..50 {
        world.publish(publisher, "local/t", Delivery::AtMostOnce);
    }
    let others = world.read(clients[1]).len();
    assert!((40..50).contains(&others), "{others}");
    world.stick(clients[1]);
    for _ in 0..50 {
        world.publish(publisher, "local/t", Delivery::AtMostOnce);
    }
    assert!(world.count(Count::DroppedConnectionFull) > 30);
}

#[test]
fn a_member_that_is_connected_comes_before_those_that_are_away() {
    let mut world = narrow();
    for name in ["a", "b"] {
        let client = kept_member(&mut world, name);
        world.cut(client);
    }
    let connected = member(&mut world, "c");
    let publisher = world.connect(V5, "p");
    for n in 1..=5 {
        say(&mut world, publisher, [n]);
        assert_eq!(heard(&mut world, connected, true), [n]);
    }
    say(&mut world, publisher, 6..=9);
    assert_eq!(world.read_pubacks(publisher).len(), 8, "it is full, and waited for");
    assert_eq!(world.gauges().queued_messages, 2);
}

#[test]
fn without_a_connected_member_those_that_are_away_take_turns_until_they_are_full() {
    let mut world = narrow();
    let clean = member(&mut world, "c");
    for name in ["a", "b"] {
        let client = kept_member(&mut world, name);
        world.cut(client);
    }
    world.cut(clean);
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "local/t", Delivery::AtMostOnce);
    assert_eq!(world.count(Count::DroppedOffline), 1);
    say(&mut world, publisher, 1..=5);
    assert_eq!(world.count(Count::DroppedQueueFull), 1);
    let reasons: Vec<_> = world.read_pubacks(publisher).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons[..4], [ReasonCode::Success; 4]);
    assert_eq!(reasons[4], ReasonCode::NoMatchingSubscribers);
    for (name, expected) in [("a", [1, 3]), ("b", [2, 4])] {
        let client = world.connect_as(persistent(V5, name));
        assert_eq!(heard(&mut world, client, true), expected);
    }
}

#[test]
fn a_shared_subscription_is_none_for_commands() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let at_least_once = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    subscribe_as(&mut world, client, 1, &[("$share/g/devices/#", at_least_once)]);
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    assert_eq!(world.outcomes(), [(1, Outcome::NoSubscription)]);
    subscribe_as(&mut world, client, 2, &[("devices/d/cmd", at_least_once)]);
    let command = world.new_command("d", epoch(1, 2));
    world.deliver(command);
    let got = world.read_publishes(client);
    assert_eq!(got.iter().map(ids_of).collect::<Vec<_>>(), [[2]]);
}

#[test]
fn a_will_waits_for_a_group_as_a_publish_does() {
    let mut world = narrow();
    let full = member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=3);
    let mut connect = connect_packet(V5, "w");
    connect.will = Some(Will {
        topic: Text::from_static("local/t"),
        payload: crate::packet::BinaryData::parse(vec![b'9']).unwrap(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties::default(),
    });
    let client = world.connect_as(connect);
    world.cut(client);
    assert_eq!((world.count(Count::ParkedGroup), world.count(Count::WillPublished)), (1, 0));
    world.pass_with_lease(Duration::from_secs(29));
    assert_eq!(heard(&mut world, full, true), [1, 2, 3, 9]);
    assert_eq!(world.count(Count::WillPublished), 1);
}
