//! Messages that are kept for who subscribes later.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use roost_wire::{Event, SessionAnswer};

use super::roaming;
use super::world::*;
use crate::packet::{
    Delivery, Packet, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling,
    Subscribe, SubscribeFilter, SubscribeOptions, SubscribeProperties, SubscriptionId, Text, Unsubscribe,
};
use crate::{ConnectionId, Count, Limits, PublishOutcome};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn retained(topic: &str, payload: &[u8], delivery: Delivery) -> Packet {
    Packet::Publish(Publish { retain: true, ..publish_packet(topic, payload, delivery) })
}

/// A gateway, and somebody who publishes there.
fn world_with(limits: Limits) -> (World, ConnectionId) {
    let mut world = World::with(limits);
    let publisher = world.connect(V5, "p");
    (world, publisher)
}

fn retain(world: &mut World, publisher: ConnectionId, topic: &str, payload: &str) {
    world.send(publisher, retained(topic, payload.as_bytes(), qos1(1)));
    world.confirm_all();
    let answered = world.read_pubacks(publisher);
    assert!(matches!(answered[..], [(1, _)]) && !answered[0].1.is_error(), "{answered:?}");
}

/// Retains a number at each of so many topics below `local`.
fn retain_many(world: &mut World, publisher: ConnectionId, many: usize) -> Vec<String> {
    let payloads: Vec<String> = (0..many).map(|n| n.to_string()).collect();
    for (n, payload) in payloads.iter().enumerate() {
        retain(world, publisher, &format!("local/t/{n:05}"), payload);
    }
    payloads
}

/// What a client reads that acknowledges each message, with the flag.
fn take(world: &mut World, client: ConnectionId) -> Vec<(String, bool)> {
    let mut taken = Vec::new();
    loop {
        let publishes = world.read_publishes(client);
        if publishes.is_empty() {
            return taken;
        }
        for publish in publishes {
            taken.push((String::from_utf8(publish.payload.to_vec()).unwrap(), publish.retain));
            if let Some(packet_id) = publish.delivery.packet_id() {
                world.puback(client, packet_id);
            }
        }
    }
}

fn flagged(payloads: &[&str]) -> Vec<(String, bool)> {
    payloads.iter().map(|payload| ((*payload).to_owned(), true)).collect()
}

fn options(retain_handling: RetainHandling) -> SubscribeOptions {
    SubscribeOptions { qos: QoS::AtLeastOnce, retain_handling, ..SubscribeOptions::default() }
}

/// [MQTT-3.3.1-5], [MQTT311 MQTT-3.3.1-6], [MQTT311 MQTT-3.3.1-8]
#[test]
fn who_subscribes_later_gets_the_last_message_with_the_flag() {
    for version in [V5, V311] {
        for delivery in [Delivery::AtMostOnce, qos1(1)] {
            let mut world = World::new();
            let publisher = world.connect(version, "p");
            for payload in [&b"older"[..], b"last"] {
                world.send(publisher, retained("local/t", payload, delivery));
            }
            world.cut(publisher);
            for filter in ["local/t", "local/+", "#"] {
                let subscriber = world.connect(version, "s");
                world.subscribe(subscriber, filter, QoS::AtLeastOnce);
                assert_eq!(take(&mut world, subscriber), flagged(&["last"]), "{filter}, {version:?}");
            }
            assert_eq!(world.count(Count::RetainedDelivered), 3);
            assert_eq!(world.gauges().retained_messages, 1);
        }
    }
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13], [MQTT311 MQTT-3.3.1-9]
#[test]
fn who_subscribes_already_gets_the_flag_only_as_published() {
    let (mut world, publisher) = world_with(limits());
    let old = world.connect(V311, "old");
    world.subscribe(old, "local/t", QoS::AtLeastOnce);
    let subscribers = [false, true].map(|retain_as_published| {
        let subscriber = world.connect(V5, &format!("s{retain_as_published}"));
        let options = SubscribeOptions { retain_as_published, ..SubscribeOptions::default() };
        world.subscribe_with(subscriber, "local/t", options);
        subscriber
    });
    retain(&mut world, publisher, "local/t", "kept");
    world.publish(publisher, "local/t", Delivery::AtMostOnce);
    let text = |text: &str, flag| (text.to_owned(), flag);
    assert_eq!(take(&mut world, old), [text("kept", false), text("x", false)]);
    assert_eq!(take(&mut world, subscribers[0]), [text("kept", false), text("x", false)]);
    assert_eq!(take(&mut world, subscribers[1]), [text("kept", true), text("x", false)]);
}

/// [MQTT-3.3.1-8]
#[test]
fn a_publish_without_the_flag_changes_nothing_that_is_kept() {
    let (mut world, publisher) = world_with(limits());
    retain(&mut world, publisher, "local/t", "kept");
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"other", Delivery::AtMostOnce)));
    world.send(publisher, Packet::Publish(publish_packet("local/t", b"", Delivery::AtMostOnce)));
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
    assert_eq!(take(&mut world, subscriber), flagged(&["kept"]));
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7]
#[test]
fn an_empty_payload_deletes_what_is_kept_and_is_delivered_as_any() {
    let (mut world, publisher) = world_with(limits());
    retain(&mut world, publisher, "local/t", "kept");
    let early = world.connect(V5, "early");
    let never = SubscribeOptions { retain_as_published: true, ..options(RetainHandling::DoNotSend) };
    world.subscribe_with(early, "local/t", never);
    retain(&mut world, publisher, "local/t", "");
    assert_eq!(take(&mut world, early), flagged(&[""]));
    let late = world.connect(V5, "late");
    world.subscribe(late, "local/t", QoS::AtMostOnce);
    assert_eq!(world.read(late), []);
    let gauges = world.gauges();
    assert_eq!((gauges.retained_messages, gauges.retained_bytes), (0, 0));
    assert_eq!((world.count(Count::RetainedSet), world.count(Count::RetainedDeleted)), (1, 1));
}

/// [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11], [MQTT-3.8.4-4]
#[test]
fn a_subscription_says_when_it_wants_what_is_kept() {
    use RetainHandling::{DoNotSend, SendAlways, SendIfNew};
    for (handling, at_first, again) in [(SendAlways, 1, 1), (SendIfNew, 1, 0), (DoNotSend, 0, 0)] {
        let (mut world, publisher) = world_with(limits());
        retain(&mut world, publisher, "local/t", "kept");
        let subscriber = world.connect(V5, "s");
        for expected in [at_first, again] {
            world.subscribe_with(subscriber, "local/t", options(handling));
            assert_eq!(take(&mut world, subscriber).len(), expected, "{handling:?}");
        }
        world.send(
            subscriber,
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(1),
                filters: vec![Text::from_static("local/t")],
                properties: None,
            }),
        );
        world.read(subscriber);
        world.subscribe_with(subscriber, "local/t", options(handling));
        assert_eq!(take(&mut world, subscriber).len(), at_first, "{handling:?}: it is new again");
    }
    let (mut world, publisher) = world_with(limits());
    retain(&mut world, publisher, "local/t", "kept");
    let subscriber = world.connect(V311, "s");
    for _ in 0..2 {
        world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
        assert_eq!(take(&mut world, subscriber).len(), 1, "[MQTT311 MQTT-3.8.4-3]");
    }
}

#[test]
fn a_session_that_goes_on_has_not_subscribed_anew() {
    for version in [V5, V311] {
        let (mut world, publisher) = world_with(limits());
        retain(&mut world, publisher, "local/t", "kept");
        let subscriber = world.connect_as(persistent(version, "s"));
        world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
        assert_eq!(take(&mut world, subscriber).len(), 1);
        let (subscriber, connack) = world.try_connect(persistent(version, "s"));
        assert!(connack.session_present);
        assert_eq!(world.read(subscriber), []);
    }
}

#[test]
fn the_lesser_quality_of_service_counts() {
    for (published, granted, expected) in [
        (Delivery::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce),
        (qos1(1), QoS::AtMostOnce, QoS::AtMostOnce),
        (qos1(1), QoS::AtLeastOnce, QoS::AtLeastOnce),
    ] {
        let (mut world, publisher) = world_with(limits());
        world.send(publisher, retained("local/t", b"kept", published));
        let subscriber = world.connect(V5, "s");
        world.subscribe(subscriber, "local/t", granted);
        let received = world.read_publishes(subscriber);
        assert_eq!((received.len(), received[0].delivery.qos()), (1, expected));
    }
}

/// [MQTT-3.8.4-5], [MQTT-3.3.4-3]
#[test]
fn each_filter_of_a_subscribe_brings_its_own_with_its_identifier() {
    let (mut world, publisher) = world_with(limits());
    for topic in ["local/a", "local/b"] {
        retain(&mut world, publisher, topic, topic);
    }
    let subscriber = world.connect(V5, "s");
    let filters = ["local/+", "local/b"].map(|filter| SubscribeFilter {
        filter: Text::from_static(filter),
        options: SubscribeOptions::default(),
    });
    let properties = SubscribeProperties { subscription_id: SubscriptionId::new(7), ..Default::default() };
    let subscribe =
        Subscribe { packet_id: id(1), filters: filters.into(), properties: Some(Box::new(properties)) };
    world.send(subscriber, Packet::Subscribe(subscribe));
    let packets = world.read(subscriber);
    let [Packet::Suback(_), rest @ ..] = &packets[..] else { panic!("{packets:?}") };
    let received: Vec<_> = rest
        .iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => {
                let ids = &publish.properties.as_ref().unwrap().subscription_ids;
                (publish.topic.as_str(), ids.iter().map(|id| id.value()).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(received, [("local/a", vec![7]), ("local/b", vec![7]), ("local/b", vec![7])]);
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_spares_the_publisher_what_it_retained() {
    for (no_local, expected) in [(true, 0), (false, 1)] {
        let (mut world, publisher) = world_with(limits());
        retain(&mut world, publisher, "local/t", "kept");
        let options = SubscribeOptions { no_local, ..SubscribeOptions::default() };
        world.subscribe_with(publisher, "local/t", options);
        assert_eq!(take(&mut world, publisher).len(), expected);
        let other = world.connect(V5, "other");
        world.subscribe_with(other, "local/t", options);
        assert_eq!(take(&mut world, other).len(), 1);
    }
}

/// [MQTT-4.7.2-1]
#[test]
fn a_wildcard_at_the_beginning_finds_no_topic_that_begins_with_a_dollar() {
    let (mut world, publisher) = world_with(limits());
    retain(&mut world, publisher, "$own/t", "hidden");
    for (filter, expected) in [("#", 0), ("+/t", 0), ("$own/#", 1)] {
        let subscriber = world.connect(V5, "s");
        world.subscribe(subscriber, filter, QoS::AtMostOnce);
        assert_eq!(take(&mut world, subscriber).len(), expected, "{filter}");
    }
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn what_is_kept_ages_and_is_deleted_when_it_expires() {
    let (mut world, publisher) = world_with(limits());
    let mut publish = publish_packet("local/t", b"kept", Delivery::AtMostOnce);
    publish.retain = true;
    let properties = PublishProperties {
        message_expiry_s: Some(60),
        content_type: Some(Text::from_static("text/plain")),
        ..PublishProperties::default()
    };
    publish.properties = Some(Box::new(properties.clone()));
    world.send(publisher, Packet::Publish(publish));
    world.pass(40 * SECOND);
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
    let received = world.read_publishes(subscriber);
    let left = PublishProperties { message_expiry_s: Some(20), ..properties };
    assert_eq!(received[0].properties.as_deref(), Some(&left));
    world.pass(20 * SECOND);
    assert_eq!(world.gauges().retained_messages, 0);
    assert_eq!(world.count(Count::RetainedExpired), 1);
    world.subscribe(subscriber, "local/t", QoS::AtMostOnce);
    assert_eq!(world.read(subscriber), []);
}

#[test]
fn what_is_retained_is_an_event_as_any() {
    let mut world = World::new();
    let device = world.connect(V311, "d");
    world.send(device, retained("state", b"21", qos1(1)));
    let publication = world.answer_event(PublishOutcome::Confirmed);
    let event = Event::from_message(&publication.message).unwrap();
    assert!(event.retain && &event.payload[..] == b"21");
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)]);
    world.subscribe(device, "state", QoS::AtMostOnce);
    assert_eq!(take(&mut world, device), flagged(&["21"]));
}

/// More than window and queue hold together.
#[test]
fn as_many_as_there_are_come_as_the_client_has_room() {
    let window = NonZeroU16::new(10).unwrap();
    let (mut world, publisher) =
        world_with(Limits { inflight_max: window, queue_messages_max: 5, ..limits() });
    let payloads = retain_many(&mut world, publisher, 500);
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/#", QoS::AtLeastOnce);
    let mut taken = Vec::new();
    while taken.len() < payloads.len() {
        let received = world.read_publishes(subscriber);
        assert!((1..=10).contains(&received.len()), "{} after {}", received.len(), taken.len());
        assert_eq!(world.gauges().queued_messages, 0, "they wait where they are kept");
        for publish in received {
            taken.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            world.puback(subscriber, publish.delivery.packet_id().unwrap());
        }
    }
    assert_eq!(taken, payloads);
    assert_eq!(world.read(subscriber), []);
    assert_eq!(world.count(Count::RetainedDelivered), 500);
}

#[test]
fn at_qos_0_they_wait_for_the_socket_and_are_not_dropped() {
    let (mut world, publisher) = world_with(Limits { outgoing_bytes_max: 100, ..limits() });
    let payloads = retain_many(&mut world, publisher, 500);
    let subscriber = world.connect(V5, "s");
    world.stick(subscriber);
    world.subscribe(subscriber, "local/#", QoS::AtMostOnce);
    assert!(world.read(subscriber).len() < 20);
    world.unstick(subscriber);
    assert_eq!(world.count(Count::RetainedDelivered), 500);
    assert_eq!(world.count(Count::DroppedConnectionFull), 0);
    let all = world.count(Count::LocalDelivered);
    assert_eq!(all, payloads.len() as u64);
}

#[test]
fn whoever_has_a_lot_to_get_leaves_others_their_turn() {
    let (mut world, publisher) = world_with(limits());
    let payloads = retain_many(&mut world, publisher, 5_000);
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/#", QoS::AtMostOnce);
    assert_eq!(take(&mut world, subscriber).len(), 2_000, "then it is others' turn");
    world.pass(SECOND);
    let rest: Vec<_> = take(&mut world, subscriber).into_iter().map(|(payload, _)| payload).collect();
    assert_eq!(rest, payloads[2_000..]);
}

/// A subscriber to all, with a window of one, that has got the first of three.
fn one_of_three(connect: crate::packet::Connect) -> (World, ConnectionId, ConnectionId) {
    let (mut world, publisher) = world_with(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
    for topic in ["a", "b", "c"] {
        retain(&mut world, publisher, &format!("local/{topic}"), topic);
    }
    let subscriber = world.connect_as(connect);
    world.subscribe(subscriber, "local/#", QoS::AtLeastOnce);
    (world, publisher, subscriber)
}

#[test]
fn what_changes_while_it_waits_comes_once_as_it_is_then() {
    let (mut world, publisher, subscriber) = one_of_three(connect_packet(V5, "s"));
    world.send(publisher, retained("local/b", b"b2", qos1(1)));
    world.send(publisher, retained("local/c", b"", qos1(2)));
    let text = |text: &str, flag| (text.to_owned(), flag);
    assert_eq!(take(&mut world, subscriber), [text("a", true), text("b2", false), text("", false)]);
}

/// [MQTT-4.6.0-5]
#[test]
fn what_is_published_meanwhile_comes_behind() {
    let (mut world, publisher, subscriber) = one_of_three(connect_packet(V5, "s"));
    world.send(publisher, Packet::Publish(publish_packet("local/c", b"not kept", qos1(1))));
    let taken: Vec<_> = take(&mut world, subscriber).into_iter().map(|(payload, _)| payload).collect();
    assert_eq!(taken, ["a", "b", "c", "not kept"]);
}

#[test]
fn what_waited_before_comes_before() {
    let (mut world, publisher) = world_with(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    for payload in ["1", "2", "3"] {
        retain(&mut world, publisher, "local/t", payload);
    }
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let text = |text: &str, flag| (text.to_owned(), flag);
    let expected = [text("1", false), text("2", false), text("3", false), text("3", true)];
    assert_eq!(take(&mut world, subscriber), expected);
}

/// The order of the two subscriptions and of what waits between them, also where that is no more when its turn comes.
#[test]
fn what_a_later_subscription_brings_does_not_overtake_what_waited() {
    for message_expiry_s in [None, Some(5)] {
        let (mut world, publisher) = world_with(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
        for topic in ["local/a", "local/b", "local/b/c"] {
            retain(&mut world, publisher, topic, topic);
        }
        let subscriber = world.connect(V5, "s");
        world.subscribe(subscriber, "local/+", QoS::AtLeastOnce);
        let mut publish = publish_packet("local/t", b"waited", qos1(1));
        publish.properties =
            Some(Box::new(PublishProperties { message_expiry_s, ..PublishProperties::default() }));
        world.send(publisher, Packet::Publish(publish));
        world.subscribe(subscriber, "local/b/c", QoS::AtLeastOnce);
        world.pass(6 * SECOND);
        let taken: Vec<_> = take(&mut world, subscriber).into_iter().map(|(payload, _)| payload).collect();
        match message_expiry_s {
            None => assert_eq!(taken, ["local/a", "local/b", "waited", "local/b/c"]),
            Some(_) => assert_eq!(taken, ["local/a", "local/b", "local/b/c"]),
        }
    }
}

#[test]
fn what_expires_around_it_does_not_hold_it_up() {
    let (mut world, publisher) = world_with(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
    retain(&mut world, publisher, "local/kept", "kept");
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publish = |world: &mut World, payload: &str, message_expiry_s| {
        let mut publish = publish_packet("local/t", payload.as_bytes(), qos1(1));
        publish.properties =
            Some(Box::new(PublishProperties { message_expiry_s, ..PublishProperties::default() }));
        world.send(publisher, Packet::Publish(publish));
    };
    publish(&mut world, "in flight", None);
    publish(&mut world, "before", Some(5));
    world.subscribe(subscriber, "local/kept", QoS::AtLeastOnce);
    publish(&mut world, "behind", Some(5));
    publish(&mut world, "last", None);
    world.pass(6 * SECOND);
    let text = |text: &str, flag| (text.to_owned(), flag);
    let expected = [text("in flight", false), text("kept", true), text("last", false)];
    assert_eq!(take(&mut world, subscriber), expected);
    assert_eq!(world.count(Count::DroppedExpired), 2);
}

#[test]
fn a_kept_session_gets_the_rest_when_it_is_back() {
    for version in [V5, V311] {
        let (mut world, publisher, subscriber) = one_of_three(persistent(version, "s"));
        world.cut(subscriber);
        world.send(publisher, Packet::Publish(publish_packet("local/t", b"later", qos1(1))));
        let subscriber = world.connect_as(persistent(version, "s"));
        let first = world.read_publishes(subscriber).remove(0);
        assert!(first.delivery.dup() && first.retain);
        world.puback(subscriber, first.delivery.packet_id().unwrap());
        let taken: Vec<_> = take(&mut world, subscriber).into_iter().map(|(payload, _)| payload).collect();
        assert_eq!(taken, ["b", "c", "later"]);
    }
}

/// [MQTT-3.10.4-2]
#[test]
fn who_unsubscribes_gets_no_more_of_it() {
    let (mut world, publisher, subscriber) = one_of_three(connect_packet(V5, "s"));
    world.subscribe(subscriber, "other", QoS::AtLeastOnce);
    world.publish(publisher, "other", qos1(1));
    let filters = vec![Text::from_static("local/#")];
    world.send(subscriber, Packet::Unsubscribe(Unsubscribe { packet_id: id(1), filters, properties: None }));
    let packets = world.read(subscriber);
    let [Packet::Publish(first), Packet::Unsuback(_)] = &packets[..] else { panic!("{packets:?}") };
    world.puback(subscriber, first.delivery.packet_id().unwrap());
    assert_eq!(world.take_publishes(subscriber, true), ["x"], "what waited behind it");
}

/// A gateway that has three retained messages, their publisher, and a client whose session may move.
fn owing(limits: Limits) -> (World, ConnectionId, ConnectionId) {
    let mut owner = World::roaming_with(limits);
    let publisher = owner.connect(V5, "p");
    for topic in ["a", "b", "c"] {
        retain(&mut owner, publisher, &format!("local/{topic}"), topic);
    }
    let subscriber = owner.begin_connect(persistent(V5, "s"));
    let (request, _) = roaming::asked(&mut owner).unwrap();
    roaming::answer(&mut owner, request, SessionAnswer::Nobody);
    (owner, publisher, subscriber)
}

#[test]
fn a_session_that_moves_takes_along_what_it_is_owed() {
    let (mut owner, publisher, subscriber) = owing(Limits { inflight_max: NonZeroU16::MIN, ..limits() });
    owner.read(subscriber);
    owner.subscribe(subscriber, "local/#", QoS::AtLeastOnce);
    owner.cut(subscriber);
    owner.send(publisher, Packet::Publish(publish_packet("local/t", b"later", qos1(1))));
    let session = owner.session(&roaming::device());
    roaming::order(&mut owner, session);
    let given = owner.given.pop().unwrap();

    let (mut world, client, request) = roaming::waiting();
    roaming::arrive(&mut world, request, given.body);
    let arrived: Vec<_> = world
        .read(client)
        .into_iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some((publish.payload, publish.retain)),
            _ => None,
        })
        .collect();
    let expected = [("a", true), ("b", true), ("c", true), ("later", false)];
    assert_eq!(arrived, expected.map(|(text, flag)| (Bytes::from_static(text.as_bytes()), flag)));
}

#[test]
fn a_session_that_moves_takes_along_no_more_than_its_queue_may_hold() {
    let (mut owner, _, subscriber) =
        owing(Limits { inflight_max: NonZeroU16::MIN, queue_messages_max: 1, ..limits() });
    owner.subscribe(subscriber, "local/#", QoS::AtLeastOnce);
    let session = owner.session(&roaming::device());
    roaming::order(&mut owner, session);
    assert_eq!(owner.given.len(), 1);
    assert_eq!(owner.count(Count::RetainedLeftBehind), 1);
}

#[test]
fn what_there_is_no_room_for_is_refused_or_routed_and_not_kept() {
    let cases: [(ProtocolVersion, Delivery, bool); 4] = [
        (V5, qos1(1), true),
        (V5, Delivery::AtMostOnce, false),
        (V311, qos1(1), false),
        (V311, Delivery::AtMostOnce, false),
    ];
    for (bound, count) in [
        (Limits { retained_messages_max: 1, ..limits() }, Count::RetainedMessagesFull),
        (Limits { retained_bytes_max: 20, ..limits() }, Count::RetainedBytesFull),
    ] {
        for (version, delivery, is_refused) in cases {
            let mut world = World::with(bound.clone());
            let subscriber = world.connect(V5, "s");
            world.subscribe(subscriber, "local/#", QoS::AtMostOnce);
            let publisher = world.connect(version, "p");
            world.send(publisher, retained("local/a", b"first", delivery));
            world.read(publisher);
            world.read(subscriber);
            world.send(publisher, retained("local/b", b"one too many", delivery));
            assert!(!world.is_closed(publisher));
            assert_eq!(world.count(count), 1, "{count:?}, {version:?}");
            let delivered = world.take_publishes(subscriber, true);
            if is_refused {
                assert_eq!(world.read_pubacks(publisher), [(1, ReasonCode::QuotaExceeded)]);
                assert_eq!(delivered, [""; 0], "a refused message goes nowhere");
            } else {
                assert_eq!(delivered, ["one too many"]);
            }
            assert_eq!(world.gauges().retained_messages, 1);
        }
    }
}

/// [MQTT311 MQTT-3.3.1-7]
#[test]
fn what_is_kept_does_not_outlive_a_newer_one_that_there_is_no_room_for() {
    for (delivery, expected) in [(Delivery::AtMostOnce, 0), (qos1(1), 1)] {
        let (mut world, publisher) = world_with(Limits { retained_bytes_max: 20, ..limits() });
        retain(&mut world, publisher, "local/t", "kept");
        world.send(publisher, retained("local/t", &[b'x'; 100], delivery));
        assert_eq!(world.gauges().retained_messages, expected, "{delivery:?}");
        assert_eq!(world.count(Count::RetainedDisplaced), 1 - expected as u64);
    }
}
