//! With a disk: what was promised is there when the gateway was killed, and nothing is promised before it is.

use std::time::Duration;

use super::world::*;
use crate::packet::{Ack, Delivery, Packet, QoS, ReasonCode, SubscribeOptions, Text, Unsubscribe};
use crate::shard::Input;
use crate::store::{RETAINED, SESSIONS};
use crate::{ConnectionId, Count};

/// A device that subscribes to `local/#` at QoS 2, and somebody who publishes.
fn subscriber() -> (World, ConnectionId, ConnectionId) {
    let mut world = World::storing();
    let subscriber = world.connect_as(persistent(V5, "s"));
    world.subscribe(subscriber, "local/#", QoS::ExactlyOnce);
    let publisher = world.connect(V5, "p");
    (world, subscriber, publisher)
}

fn say(world: &mut World, publisher: ConnectionId, payload: &str, delivery: Delivery) {
    world.send(publisher, Packet::Publish(publish_packet("local/t", payload.as_bytes(), delivery)));
    if let Delivery::ExactlyOnce { packet_id, .. } = delivery {
        world.send(publisher, Packet::Pubrel(Ack::success(packet_id)));
    }
}

/// The device is back, and its session with it; what it is sent: payloads, packet ids, DUP.
fn back(world: &mut World) -> (ConnectionId, Vec<(String, u16, bool)>) {
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    let publishes = world.read_publishes(client);
    (client, publishes.into_iter().map(told).collect())
}

fn told(publish: crate::packet::Publish) -> (String, u16, bool) {
    let delivery = publish.delivery;
    let packet_id = delivery.packet_id().expect("QoS 1 or 2").value();
    (String::from_utf8(publish.payload.to_vec()).unwrap(), packet_id, delivery.dup())
}

#[test]
fn what_is_in_flight_comes_again_under_its_id_and_what_waits_behind_it() {
    let (mut world, subscriber, publisher) = subscriber();
    for (payload, delivery) in [("1", qos1(1)), ("2", qos2(2)), ("3", qos1(3)), ("4", qos2(4))] {
        say(&mut world, publisher, payload, delivery);
    }
    let sent: Vec<_> = world.read_publishes(subscriber).into_iter().map(told).collect();
    world.puback(subscriber, id(sent[2].1));
    world.send(subscriber, Packet::Pubrec(Ack::success(id(sent[3].1))));
    world.cut(subscriber);
    say(&mut world, publisher, "5", qos1(5));

    let mut world = world.restarted();
    assert_eq!(world.count(Count::SessionRestored), 1, "that of the publisher ended with its connection");
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    let mut came = world.read(client).into_iter();
    assert_eq!(came.next(), Some(Packet::Pubrel(Ack::success(id(sent[3].1)))));
    let came: Vec<_> = came
        .map(|packet| match packet {
            Packet::Publish(publish) => told(publish),
            other => panic!("{other:?}"),
        })
        .collect();
    let again = |sent: &(String, u16, bool)| (sent.0.clone(), sent.1, true);
    assert_eq!(came[..2], [again(&sent[0]), again(&sent[1])]);
    assert_eq!((&*came[2].0, came[2].2), ("5", false));
    assert!(!sent.iter().take(2).any(|(_, taken, _)| *taken == came[2].1), "its id is free");
    // The subscription is there, too.
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, "6", qos1(1));
    assert_eq!(world.read_publishes(client).len(), 1);
}

#[test]
fn a_publish_that_was_answered_is_not_taken_in_twice() {
    let (mut world, _, _) = subscriber();
    let publisher = world.connect_as(persistent(V5, "q"));
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"once", qos2(7))));
    assert_eq!(world.read(publisher), [Packet::Pubrec(Ack::success(id(7)))]);

    let mut world = world.restarted();
    let publisher = world.connect_as(persistent(V5, "q"));
    let again = Delivery::ExactlyOnce { packet_id: id(7), dup: true };
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"once", again)));
    world.send(publisher, Packet::Pubrel(Ack::success(id(7))));
    assert_eq!(world.read(publisher).len(), 2);
    assert_eq!(back(&mut world).1.len(), 1);
    // The id is free, and stays so.
    let mut world = world.restarted();
    let publisher = world.connect_as(persistent(V5, "q"));
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"twice", qos2(7))));
    assert_eq!(back(&mut world).1.len(), 2);
}

#[test]
fn nothing_is_promised_before_it_is_on_disk() {
    let (mut world, subscriber, publisher) = subscriber();
    world.disk_is_slow(true);
    say(&mut world, publisher, "1", qos1(1));
    assert_eq!(world.read(publisher), [], "no PUBACK");
    assert_eq!(world.read(subscriber), [], "it would come under another id after a crash");
    let newcomer = world.begin_connect(persistent(V5, "n"));
    assert_eq!(world.read(newcomer), [], "no CONNACK");
    world.disk_is_slow(false);
    assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::Success)]);
    assert_eq!(world.read_publishes(subscriber).len(), 1);
    assert!(matches!(world.read(newcomer)[..], [Packet::Connack(_)]));

    world.disk_is_slow(true);
    let filter = Text::from_static("local/n");
    let filters =
        vec![crate::packet::SubscribeFilter { filter: filter.clone(), options: SubscribeOptions::default() }];
    let subscribe = crate::packet::Subscribe { packet_id: id(1), filters, properties: None };
    world.send(newcomer, Packet::Subscribe(subscribe));
    world.send(
        newcomer,
        Packet::Unsubscribe(Unsubscribe { packet_id: id(2), filters: vec![filter], properties: None }),
    );
    assert_eq!(world.read(newcomer), []);
    // A killed gateway has promised nothing of that.
    let gauges = world.gauges();
    assert_eq!((gauges.store_batches, gauges.store_bytes > 0), (2, true));
    world.disk_is_slow(false);
    assert!(matches!(world.read(newcomer)[..], [Packet::Suback(_), Packet::Unsuback(_)]));
    assert_eq!((world.gauges().store_batches, world.gauges().store_bytes), (0, 0));
}

#[test]
fn what_promises_nothing_waits_for_nothing() {
    let (mut world, subscriber, publisher) = subscriber();
    let clean = world.connect(V5, "c");
    world.subscribe(clean, "local/#", QoS::AtMostOnce);
    world.disk_is_slow(true);
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"0", Delivery::AtMostOnce)));
    assert_eq!((world.read(clean).len(), world.read(subscriber).len()), (1, 1));
    say(&mut world, publisher, "1", qos1(1));
    assert_eq!((world.read(clean).len(), world.read(subscriber).len()), (1, 0));
}

#[test]
fn sessions_that_end_with_their_connection_are_never_written() {
    let mut world = World::storing();
    let publisher = world.connect(V5, "p");
    let client = world.connect(V5, "c");
    world.subscribe(client, "local/#", QoS::ExactlyOnce);
    say(&mut world, publisher, "1", qos1(1));
    say(&mut world, publisher, "2", qos2(2));
    let batches = world.store.as_ref().unwrap().batches;
    assert_eq!((world.stored(), batches), (0, 1), "that there is a router is all that was written");
}

#[test]
fn a_session_that_ends_leaves_nothing_on_disk() {
    for how in ["clean start", "expiry", "goodbye"] {
        let (mut world, subscriber, publisher) = subscriber();
        for n in 1..=3 {
            say(&mut world, publisher, "x", qos1(n));
        }
        assert!(world.stored() > 3, "{how}");
        match how {
            "clean start" => drop(world.connect(V5, "s")),
            "expiry" => {
                world.cut(subscriber);
                world.pass(Duration::from_secs(3_601));
            }
            _ => {
                let properties = crate::packet::DisconnectProperties {
                    session_expiry_interval_s: Some(0),
                    ..Default::default()
                };
                let goodbye = crate::packet::Disconnect {
                    reason: ReasonCode::Success,
                    properties: Some(properties.into()),
                };
                world.send(subscriber, Packet::Disconnect(goodbye));
            }
        }
        assert_eq!(world.stored(), 0, "{how}");
    }
}

#[test]
fn a_message_that_is_acknowledged_leaves_the_disk_and_so_does_an_expired_session_while_nobody_runs() {
    let (mut world, subscriber, publisher) = subscriber();
    let before = world.stored();
    say(&mut world, publisher, "1", qos1(1));
    assert_eq!(world.stored(), before + 2);
    let packet_id = world.read_publishes(subscriber)[0].delivery.packet_id().unwrap();
    world.puback(subscriber, packet_id);
    assert_eq!(world.stored(), before);
    world.cut(subscriber);
    // By the wall clock, which goes on.
    world.now.wall = world.now.wall + Duration::from_secs(3_601);
    let mut world = world.restarted();
    world.pass(Duration::ZERO);
    assert_eq!((world.count(Count::SessionExpired), world.stored()), (1, 0));
}

#[test]
fn the_expiry_of_messages_goes_on_while_nobody_runs() {
    let (mut world, subscriber, publisher) = subscriber();
    world.cut(subscriber);
    for seconds in [10, 100] {
        let mut publish = publish_packet("local/t", seconds.to_string().as_bytes(), qos1(seconds));
        let expiry =
            crate::packet::PublishProperties { message_expiry_s: Some(seconds.into()), ..Default::default() };
        publish.properties = Some(Box::new(expiry));
        world.send(publisher, Packet::Publish(publish));
    }
    world.now.wall = world.now.wall + Duration::from_secs(60);
    let mut world = world.restarted();
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    let came = world.read_publishes(client);
    let left = came[0].properties.as_ref().unwrap().message_expiry_s;
    assert_eq!((came.len(), &came[0].payload[..], left), (1, &b"100"[..], Some(40)));
    assert_eq!(world.count(Count::DroppedExpired), 1);
}

#[test]
fn retained_messages_are_there_again_as_they_were() {
    let mut world = World::storing();
    let publisher = world.connect(V5, "p");
    let retain = |world: &mut World, topic: &str, payload: &[u8], delivery: Delivery| {
        let publish = crate::packet::Publish { retain: true, ..publish_packet(topic, payload, delivery) };
        world.send(publisher, Packet::Publish(publish));
    };
    retain(&mut world, "local/a", b"old", qos1(1));
    retain(&mut world, "local/a", b"new", qos2(2));
    retain(&mut world, "local/b", b"b", Delivery::AtMostOnce);
    retain(&mut world, "local/c", b"c", qos1(3));
    retain(&mut world, "local/c", b"", qos1(4));
    assert_eq!(world.store.as_ref().unwrap().beginning_with(RETAINED).len(), 2);
    let mut world = world.restarted();
    assert_eq!(world.gauges().retained_messages, 2);
    let client = world.connect(V5, "c");
    world.subscribe(client, "local/#", QoS::ExactlyOnce);
    let mut came: Vec<_> = world
        .read_publishes(client)
        .iter()
        .map(|p| (p.topic.to_string(), p.payload.clone(), p.retain, p.delivery.qos()))
        .collect();
    came.sort();
    assert_eq!(came[0], ("local/a".to_owned(), "new".into(), true, QoS::ExactlyOnce));
    assert_eq!(came[1], ("local/b".to_owned(), "b".into(), true, QoS::AtMostOnce));
}

#[test]
fn what_a_subscription_is_owed_of_retained_messages_comes_after_a_kill() {
    let mut world = World::storing();
    let publisher = world.connect(V5, "p");
    for n in 1..=3 {
        let publish = publish_packet(&format!("local/{n}"), b"kept", qos1(n));
        world.send(publisher, Packet::Publish(crate::packet::Publish { retain: true, ..publish }));
    }
    let mut connect = persistent(V5, "s");
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    let subscriber = world.connect_as(connect.clone());
    world.subscribe(subscriber, "local/#", QoS::AtLeastOnce);
    let first = world.read_publishes(subscriber)[0].delivery.packet_id().unwrap();
    world.puback(subscriber, first);
    assert_eq!(world.read_publishes(subscriber).len(), 1, "the second, and the third has no place");

    let mut world = world.restarted();
    let (subscriber, _) = world.try_connect(persistent(V5, "s"));
    let mut topics = Vec::new();
    loop {
        let came = world.read_publishes(subscriber);
        if came.is_empty() {
            break;
        }
        for publish in came {
            topics.push(publish.topic.to_string());
            world.puback(subscriber, publish.delivery.packet_id().unwrap());
        }
    }
    // What it has had, or was being sent, comes again; nothing is missing.
    assert_eq!(topics, ["local/2", "local/1", "local/2", "local/3"]);
    // That is over, and the disk knows.
    let mut world = world.restarted();
    let (subscriber, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    assert_eq!(world.read(subscriber), []);
}

#[test]
fn a_shared_copy_is_its_groups_again() {
    let mut world = World::storing();
    let member = world.connect_as(persistent(V5, "m1"));
    world.subscribe(member, "$share/g/local/#", QoS::AtLeastOnce);
    world.cut(member);
    let publisher = world.connect(V5, "p");
    say(&mut world, publisher, "1", qos1(1));
    let mut world = world.killed().up();
    // Another member is there before all are read.
    let other = world.begin_connect(connect_packet(V5, "m2"));
    world.read_asked();
    assert!(matches!(world.read(other)[..], [Packet::Connack(_)]));
    world.subscribe(other, "$share/g/local/#", QoS::AtLeastOnce);
    assert_eq!(world.read_publishes(other), []);
    world.read_all();
    assert_eq!(world.read_publishes(other).len(), 1, "the member that is away has left it");
    assert_eq!(world.count(Count::ShareHandedOn), 1);
}

#[test]
fn a_device_that_comes_before_all_sessions_are_read_has_its_own_read_first() {
    let (mut world, subscriber, publisher) = subscriber();
    world.cut(subscriber);
    say(&mut world, publisher, "1", qos1(1));
    let mut world = world.killed().up();
    assert!(world.gauges().store_loading);
    let client = world.begin_connect(persistent(V5, "s"));
    assert_eq!(world.read(client), []);
    assert_eq!(world.read_asked().id.as_str(), "s");
    assert!(matches!(world.read(client)[..], [Packet::Connack(_), Packet::Publish(_)]));
    // What the pages say of it comes too late.
    world.read_all();
    assert_eq!((world.gauges().sessions, world.count(Count::SessionRestored)), (1, 1));
    assert!(!world.gauges().store_loading);
}

#[test]
fn whoever_began_anew_or_left_meanwhile_finds_nothing_of_old() {
    let (mut world, subscriber, publisher) = subscriber();
    world.cut(subscriber);
    say(&mut world, publisher, "1", qos1(1));
    let mut world = world.killed().up();
    // Two at once, the first of which leaves.
    let left = world.begin_connect(persistent(V5, "s"));
    world.cut(left);
    assert_eq!(world.count(Count::RefusedLeft), 1);
    let clean = world.begin_connect(connect_packet(V5, "s"));
    let pages = world.store.as_ref().unwrap().beginning_with(SESSIONS);
    world.read_asked();
    world.read(clean);
    world.cut(clean);
    world.input(Input::SessionsRead { records: pages, is_last: false });
    world.input(Input::SessionsRead { records: Vec::new(), is_last: true });
    assert_eq!((world.gauges().sessions, world.stored()), (0, 0));
}

#[test]
fn publishes_wait_until_all_subscriptions_are_known() {
    let (mut world, subscriber, _) = subscriber();
    world.cut(subscriber);
    let mut world = world.killed().up();
    let publisher = world.begin_connect(connect_packet(V5, "p"));
    world.read_asked();
    world.read(publisher);
    say(&mut world, publisher, "0", Delivery::AtMostOnce);
    say(&mut world, publisher, "1", qos1(1));
    say(&mut world, publisher, "2", qos1(2));
    assert_eq!(world.read(publisher), []);
    assert_eq!(world.count(Count::ParkedStore), 1, "the second waits behind the first");
    world.read_all();
    assert_eq!(world.read_pubacks(publisher).len(), 2);
    let payloads: Vec<_> = back(&mut world).1.into_iter().map(|(payload, ..)| payload).collect();
    assert_eq!(payloads, ["1", "2"]);
}

#[test]
fn publishes_wait_while_too_much_is_on_its_way_to_the_disk() {
    let (mut world, subscriber, _) = subscriber();
    world.cut(subscriber);
    let publishers = ["p0", "p1"].map(|id| world.connect(V5, id));
    // Other sessions take them as well, so that one queue does not fill up.
    for n in 0..40 {
        let other = world.connect_as(persistent(V5, &format!("o{n}")));
        world.subscribe(other, "local/#", QoS::AtLeastOnce);
        world.cut(other);
    }
    world.disk_is_slow(true);
    let payload = vec![b'x'; 200_000];
    for n in 1..=6 {
        world.send(publishers[0], Packet::Publish(publish_packet("local/t", &payload, qos1(n))));
    }
    assert_eq!(world.count(Count::ParkedStore), 1);
    world.send(publishers[1], Packet::Publish(publish_packet("local/t", b"1", qos1(1))));
    assert_eq!(world.count(Count::ParkedStore), 2);
    world.disk_is_slow(false);
    assert_eq!(world.read_pubacks(publishers[0]).len(), 6);
    assert_eq!(world.read_pubacks(publishers[1]).len(), 1);
}

#[test]
fn a_disk_that_is_stuck_lets_nobody_new_in() {
    let (mut world, subscriber, _) = subscriber();
    world.input(Input::StoreStuck { is_stuck: true });
    let (_, connack) = world.try_connect(persistent(V5, "n"));
    assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
    assert_eq!(world.count(Count::RefusedStoreStuck), 1);
    assert!(!world.is_closed(subscriber));
    world.input(Input::StoreStuck { is_stuck: false });
    world.connect_as(persistent(V5, "n"));
}

#[test]
fn a_drain_waits_for_the_disk_and_the_sessions_are_there_after_it() {
    let (mut world, _, publisher) = subscriber();
    world.disk_is_slow(true);
    say(&mut world, publisher, "1", qos1(1));
    world.input(Input::Drain { grace: Duration::from_secs(30) });
    assert!(!world.is_drained);
    world.disk_is_slow(false);
    assert!(world.is_drained);
    assert!(matches!(world.read(publisher)[..], [Packet::Puback(_), Packet::Disconnect(_)]));
    let mut world = world.restarted();
    assert_eq!(back(&mut world).1, [("1".to_owned(), 1, true)]);
}

#[test]
fn a_drain_that_cannot_wait_promises_nothing_that_is_not_on_disk() {
    let (mut world, _, publisher) = subscriber();
    world.disk_is_slow(true);
    say(&mut world, publisher, "1", qos1(1));
    world.input(Input::Drain { grace: Duration::from_secs(30) });
    world.pass(Duration::from_secs(31));
    assert!(world.is_drained);
    assert!(matches!(world.read(publisher)[..], [Packet::Disconnect(_)]));
}

#[test]
fn records_that_cannot_be_read_are_passed_over_and_counted() {
    let (mut world, subscriber, publisher) = subscriber();
    world.cut(subscriber);
    say(&mut world, publisher, "1", qos1(1));
    say(&mut world, publisher, "2", qos1(2));
    let store = world.store.as_mut().unwrap();
    // Another build's, or a message cut short.
    let message =
        store.records.keys().find(|key| key.ends_with(&[3, 0, 0, 0, 0, 0, 0, 0, 1])).cloned().unwrap();
    store.records.insert(message, "x".into());
    store.records.insert("smain/s\0\u{7f}x".into(), "x".into());
    store.records.insert("smain/headless\0\u{1}".into(), "x".into());
    store.records.insert("rlocal/a".into(), "x".into());
    let mut world = world.restarted();
    assert_eq!(world.count(Count::StoreUnreadable), 4);
    let unreadable = |notice: &&crate::Notice| matches!(notice, crate::Notice::StoreUnreadable { .. });
    assert_eq!(world.notices.iter().filter(unreadable).count(), 3);
    assert_eq!(back(&mut world).1.len(), 1);
}

#[test]
fn subscriptions_without_room_are_counted() {
    let mut world = World::storing();
    for n in 0..=crate::share::MEMBERS_MAX {
        let member = world.connect_as(persistent(V5, &format!("m{n}")));
        world.subscribe(member, "$share/g/local/#", QoS::AtLeastOnce);
        if n == 0 {
            // It makes room for another, and is written as if it had not.
            let forgotten = world.store.clone();
            world.connect(V5, "m0");
            world.store.as_mut().unwrap().records.extend(forgotten.unwrap().records);
        }
    }
    let world = world.restarted();
    assert_eq!(world.count(Count::StoreSubscriptionsFull), 1);
}

#[test]
fn a_session_whose_client_may_not_know_of_it_is_not_written_before_it_does() {
    let mut world = World::storing_and_roaming();
    let client = world.begin_connect(persistent(V5, "s"));
    world.pass(Duration::from_secs(2));
    assert!(matches!(world.read(client)[..], [Packet::Connack(_)]), "it begins anew");
    assert_eq!(world.stored(), 0);
    world.send(client, Packet::Pingreq);
    assert_eq!(world.stored(), 1);
}
