//! What a member of a group leaves behind: who gets it, and what becomes of the rest (MQTT5 §4.8.2).

use std::num::NonZeroU16;
use std::time::Duration;

use super::retained::retained;
use super::roaming::{arrive, device, order, waiting};
use super::sharing::{SHARED, heard, kept_member, member, narrow, say, unsubscribe};
use super::subscribing::{ids_of, subscribe_as};
use super::world::*;
use crate::packet::{Ack, Packet, QoS, ReasonCode, SubscribeOptions};
use crate::{ConnectionId, Count, Limits};

fn publish_at_qos_2(world: &mut World, publisher: ConnectionId, n: u16) {
    let packet = publish_packet("local/t", n.to_string().as_bytes(), qos2(n));
    world.send(publisher, Packet::Publish(packet));
    world.send(publisher, Packet::Pubrel(Ack::success(id(n))));
}

#[test]
fn what_was_not_acknowledged_goes_to_another_member_in_order() {
    for is_kept in [true, false] {
        let mut world = narrow();
        let leaving = if is_kept { kept_member(&mut world, "a") } else { member(&mut world, "a") };
        let publisher = world.connect(V5, "p");
        say(&mut world, publisher, 1..=3);
        assert_eq!(heard(&mut world, leaving, false), [1]);
        let other = world.connect(V5, "b");
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        subscribe_as(&mut world, other, 7, &[(SHARED, options)]);
        world.cut(leaving);
        let first = world.read_publishes(other).remove(0);
        assert_eq!((&first.payload[..], first.delivery.dup(), ids_of(&first)), (&b"1"[..], false, vec![7]));
        world.puback(other, first.delivery.packet_id().unwrap());
        assert_eq!(heard(&mut world, other, true), [2, 3]);
        assert_eq!(world.count(Count::ShareHandedOn), 3);
        let back = world.connect_as(persistent(V5, "a"));
        assert_eq!(world.read(back), [], "it is not its any more");
    }
}

#[test]
fn a_kept_member_that_leaves_with_unacknowledged_messages_has_them_when_it_is_back_if_there_is_no_other() {
    for version in [V5, V311] {
        let mut world = narrow();
        let client = world.connect_as(persistent(version, "a"));
        world.subscribe(client, SHARED, QoS::AtLeastOnce);
        let publisher = world.connect(V5, "p");
        say(&mut world, publisher, 1..=2);
        assert_eq!(heard(&mut world, client, false), [1]);
        world.cut(client);
        say(&mut world, publisher, [3]);
        let client = world.connect_as(persistent(version, "a"));
        let first = world.read_publishes(client).remove(0);
        assert_eq!((&first.payload[..], first.delivery.dup()), (&b"1"[..], true));
        world.puback(client, first.delivery.packet_id().unwrap());
        assert_eq!(heard(&mut world, client, true), [2, 3]);
        say(&mut world, publisher, [4]);
        assert_eq!(heard(&mut world, client, true), [4], "and it goes on");
    }
}

#[test]
fn what_was_sent_at_qos_2_is_completed_with_its_client() {
    let mut world = narrow();
    let leaving = kept_member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    publish_at_qos_2(&mut world, publisher, 1);
    publish_at_qos_2(&mut world, publisher, 2);
    let sent = world.read_publishes(leaving).remove(0);
    let other = kept_member(&mut world, "b");
    world.cut(leaving);
    assert_eq!(heard(&mut world, other, false), [2], "it was never sent");
    let back = world.connect_as(persistent(V5, "a"));
    let again = world.read_publishes(back);
    assert_eq!(again.len(), 1, "[MQTT-4.8.2-4]");
    assert_eq!((&again[0].payload, again[0].delivery.dup()), (&sent.payload, true));
    assert_eq!(again[0].delivery.packet_id(), sent.delivery.packet_id());
    world.send(back, Packet::Pubrec(Ack::success(sent.delivery.packet_id().unwrap())));
    assert!(matches!(world.read(back)[..], [Packet::Pubrel(_)]));
}

#[test]
fn what_was_sent_at_qos_2_ends_with_the_session_of_its_client() {
    let mut world = narrow();
    let leaving = kept_member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    publish_at_qos_2(&mut world, publisher, 1);
    let other = kept_member(&mut world, "b");
    world.cut(leaving);
    world.pass_with_lease(Duration::from_secs(3_601));
    assert_eq!(world.count(Count::SessionExpired), 1);
    assert_eq!(world.read(other), [], "[MQTT-4.8.2-5]");
    assert_eq!((world.count(Count::DroppedShareQos2), world.count(Count::ShareHandedOn)), (1, 0));
}

#[test]
fn what_waits_for_a_session_that_ends_goes_to_another_one_connected_or_not() {
    for is_connected in [true, false] {
        let mut world = narrow();
        let leaving = kept_member(&mut world, "a");
        let publisher = world.connect(V5, "p");
        world.cut(leaving);
        say(&mut world, publisher, 1..=2);
        let other = kept_member(&mut world, "b");
        if !is_connected {
            world.cut(other);
        }
        // Its device begins anew.
        world.connect(V5, "a");
        assert_eq!(world.count(Count::ShareHandedOn), 2);
        let other = if is_connected { other } else { world.connect_as(persistent(V5, "b")) };
        assert_eq!(heard(&mut world, other, true), [1, 2]);
    }
}

#[test]
fn what_is_given_on_may_fill_a_queue_beyond_its_bounds_and_then_stays_with_a_session_that_is_kept() {
    let mut world = narrow();
    let publisher = world.connect(V5, "p");
    let full = member(&mut world, "full");
    say(&mut world, publisher, 1..=3);
    let leaving = kept_member(&mut world, "a");
    say(&mut world, publisher, 4..=6);
    world.cut(leaving);
    let gauges = world.gauges();
    assert_eq!(
        (gauges.inflight_messages, gauges.queued_messages),
        (1, 4 + 1),
        "two were more than its bound"
    );
    assert_eq!(heard(&mut world, full, true), [1, 2, 3, 4, 5]);
    let back = world.connect_as(persistent(V5, "a"));
    assert_eq!(heard(&mut world, back, true), [6]);
    assert_eq!(world.count(Count::DroppedShareFull), 0);
}

#[test]
fn what_nobody_has_room_for_is_dropped_with_a_session_that_ends_and_counted() {
    let mut world = narrow();
    let publisher = world.connect(V5, "p");
    member(&mut world, "full");
    say(&mut world, publisher, 1..=3);
    let leaving = member(&mut world, "a");
    say(&mut world, publisher, 4..=6);
    world.cut(leaving);
    assert_eq!((world.count(Count::ShareHandedOn), world.count(Count::DroppedShareFull)), (2, 1));
    assert_eq!(world.gauges().queued_messages, 4);
}

#[test]
fn what_the_last_member_leaves_behind_is_dropped_with_its_session_and_counted() {
    let mut world = narrow();
    let last = member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=3);
    world.cut(last);
    assert_eq!(world.count(Count::DroppedShareAlone), 3);
    assert_eq!((world.gauges().queued_messages, world.gauges().subscriptions), (0, 0));
}

#[test]
fn a_member_that_unsubscribes_completes_what_was_sent_to_it_and_the_rest_goes_to_others() {
    let mut world = narrow();
    let leaving = kept_member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=3);
    let other = member(&mut world, "b");
    let sent = world.read_publishes(leaving).remove(0);
    assert_eq!(unsubscribe(&mut world, leaving, SHARED), ReasonCode::Success);
    assert_eq!(heard(&mut world, other, true), [2, 3]);
    world.puback(leaving, sent.delivery.packet_id().unwrap());
    assert_eq!((heard(&mut world, other, true), world.read(leaving)), (vec![], vec![]), "[MQTT-3.10.4-3]");
    assert_eq!(world.count(Count::PubackUnknown), 0);
    say(&mut world, publisher, 4..=5);
    assert_eq!((heard(&mut world, other, true), world.read(leaving)), (vec![4, 5], vec![]));
}

#[test]
fn who_waits_for_a_member_goes_on_when_what_filled_its_queue_goes_to_another() {
    let mut world = narrow();
    let leaving = member(&mut world, "a");
    world.subscribe(leaving, "local/x/own", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=3);
    let waiting = world.connect(V5, "q");
    world.publish(waiting, "local/x/own", qos1(1));
    assert_eq!(world.read(waiting), [], "its queue is full");
    let other = member(&mut world, "b");
    world.read(leaving);
    unsubscribe(&mut world, leaving, SHARED);
    assert_eq!((world.read_pubacks(waiting).len(), heard(&mut world, other, true)), (1, vec![2, 3]));
}

#[test]
fn what_waits_for_the_last_member_is_still_its_after_it_has_unsubscribed() {
    let mut world = narrow();
    let client = member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=3);
    let first = world.read_publishes(client).remove(0);
    unsubscribe(&mut world, client, SHARED);
    world.puback(client, first.delivery.packet_id().unwrap());
    assert_eq!(heard(&mut world, client, true), [2, 3]);
}

#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let mut world = narrow();
    let refusing = kept_member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, [1]);
    publish_at_qos_2(&mut world, publisher, 2);
    let other = kept_member(&mut world, "b");
    let first = world.read_publishes(refusing).remove(0).delivery.packet_id().unwrap();
    world.send(refusing, Packet::Puback(Ack::with_reason(first, ReasonCode::UnspecifiedError)));
    let second = world.read_publishes(refusing).remove(0).delivery.packet_id().unwrap();
    world.send(refusing, Packet::Pubrec(Ack::with_reason(second, ReasonCode::UnspecifiedError)));
    world.cut(refusing);
    assert_eq!(world.read(other), [], "[MQTT-4.8.2-6]");
    assert_eq!(world.gauges().inflight_messages, 0);
}

#[test]
fn who_gets_it_instead_gets_what_was_granted_to_it() {
    let mut world = World::new();
    let first = member(&mut world, "a");
    let publisher = world.connect(V5, "p");
    publish_at_qos_2(&mut world, publisher, 1);
    assert_eq!(world.read_publishes(first)[0].delivery.qos(), QoS::AtLeastOnce);
    let second = kept_member(&mut world, "b");
    world.cut(first);
    assert_eq!(world.read_publishes(second)[0].delivery.qos(), QoS::ExactlyOnce, "[MQTT-3.8.4-8]");
}

#[test]
fn what_is_retained_keeps_its_place_when_something_before_it_goes_to_another() {
    let mut world = World::with(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
    let publisher = world.connect(V5, "p");
    world.send(publisher, retained("local/x/kept", b"5", qos1(1)));
    let client = kept_member(&mut world, "a");
    world.subscribe(client, "local/x/own", QoS::AtLeastOnce);
    say(&mut world, publisher, 1..=3);
    let own = |text: &[u8]| Packet::Publish(publish_packet("local/x/own", text, qos1(9)));
    world.send(publisher, own(b"4"));
    world.subscribe(client, "local/x/kept", QoS::AtLeastOnce);
    world.send(publisher, own(b"6"));
    let other = member(&mut world, "b");
    let first = world.read_publishes(client).remove(0);
    assert_eq!(&first.payload[..], b"1");
    unsubscribe(&mut world, client, SHARED);
    assert_eq!(heard(&mut world, other, true), [2, 3]);
    world.puback(client, first.delivery.packet_id().unwrap());
    assert_eq!(heard(&mut world, client, true), [4, 5, 6]);
}

/// A device with a session that is kept connects as a member, as one that may have been elsewhere.
fn roaming_member(world: &mut World) -> ConnectionId {
    let mut connect = persistent(V5, "s");
    connect.clean_start = true;
    let client = world.connect_as(connect);
    world.subscribe(client, SHARED, QoS::AtLeastOnce);
    client
}

#[test]
fn when_a_member_moves_to_another_gateway_what_it_has_goes_to_members_here_first() {
    let mut world = World::roaming();
    let client = roaming_member(&mut world);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=2);
    world.cut(client);
    say(&mut world, publisher, [3]);
    let here = member(&mut world, "b");
    let session = world.session(&device());
    order(&mut world, session);
    assert_eq!(heard(&mut world, here, true), [1, 2, 3]);
    let given = world.given.pop().unwrap();
    say(&mut world, publisher, 4..=5);
    assert_eq!(heard(&mut world, here, true), [4, 5], "it has left the group");

    let (mut other, client, request) = waiting();
    arrive(&mut other, request, given.body);
    assert!(matches!(other.read(client)[..], [Packet::Connack(_)]));
    let publisher = other.connect(V5, "p");
    say(&mut other, publisher, [1]);
    assert_eq!(heard(&mut other, client, true), [1], "and is in the group of the same name there");
}

#[test]
fn what_moves_with_a_member_is_shared_where_it_is_then() {
    let mut world = World::roaming();
    let client = roaming_member(&mut world);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=2);
    world.cut(client);
    say(&mut world, publisher, [3]);
    let session = world.session(&device());
    order(&mut world, session);
    let given = world.given.pop().unwrap();
    assert_eq!((world.gauges().subscriptions, world.count(Count::DroppedShareAlone)), (0, 0));

    let (mut other, client, request) = waiting();
    let here = member(&mut other, "b");
    arrive(&mut other, request, given.body);
    let packets = other.read(client);
    assert_eq!(packets.len(), 1 + 3, "CONNACK and all three: {packets:?}");
    other.cut(client);
    assert_eq!(heard(&mut other, here, true), [1, 2, 3]);
}

#[test]
fn a_session_that_is_forgotten_for_a_newer_one_elsewhere_leaves_to_others_what_it_has() {
    let mut world = World::roaming();
    let client = roaming_member(&mut world);
    world.cut(client);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, 1..=2);
    let other = member(&mut world, "b");
    let session = world.session(&device());
    let reason = roost_wire::CloseReason::TakenOver;
    let close = roost_wire::Control::Close { device: device(), session, reason, forget: true };
    world.router_says(1, vec![close]);
    assert_eq!(world.count(Count::SessionElsewhere), 1);
    assert_eq!(heard(&mut world, other, true), [1, 2]);
    assert_eq!(world.count(Count::DroppedWithSession), 0);
}
