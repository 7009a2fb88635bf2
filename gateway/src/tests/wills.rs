//! What is published for a client whose connection ends without its goodbye.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use roost_wire::{Event, Qos};

use super::world::*;
use crate::packet::{
    BinaryData, Connect, Disconnect, DisconnectProperties, Packet, PayloadFormat, ProtocolVersion,
    PublishProperties, QoS, ReasonCode, SubscribeOptions, Text, UserProperty, Will, WillProperties,
};
use crate::shard::{Backend, Input};
use crate::{
    Acknowledge, ConnectionId, Count, Limits, OnLoss, PublishOutcome, SpoolState, UplinkOrder, UplinkRule,
    UplinkRules,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Its client's id is the payload, so that a test sees whose it is.
pub(super) fn with_will(mut connect: Connect, change: impl FnOnce(&mut Will)) -> Connect {
    let mut will = Will {
        topic: Text::from_static("local/will"),
        payload: BinaryData::parse(connect.client_id.as_bytes().to_vec()).unwrap(),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: WillProperties::default(),
    };
    change(&mut will);
    connect.will = Some(will);
    connect
}

/// A CONNECT with a will, and a session that ends with the connection.
pub(super) fn mortal(version: ProtocolVersion, client_id: &str) -> Connect {
    with_will(connect_packet(version, client_id), |_| {})
}

/// A CONNECT of MQTT 5 with a will that is delayed, and a session of an hour.
pub(super) fn delayed(client_id: &str, delay_s: u32) -> Connect {
    with_will(persistent(V5, client_id), |will| will.properties.delay_interval_s = Some(delay_s))
}

/// A gateway, and somebody who waits for wills there.
pub(super) fn watched_with(limits: Limits) -> (World, ConnectionId) {
    let mut world = World::with(limits);
    let watcher = world.connect(V5, "watcher");
    world.subscribe(watcher, "local/will", QoS::AtLeastOnce);
    (world, watcher)
}

fn watched() -> (World, ConnectionId) {
    watched_with(limits())
}

pub(super) fn heard(world: &mut World, watcher: ConnectionId) -> Vec<String> {
    world.take_publishes(watcher, true)
}

fn goodbye(reason: ReasonCode, session_expiry_interval_s: Option<u32>) -> Packet {
    let properties = session_expiry_interval_s
        .map(|_| DisconnectProperties { session_expiry_interval_s, ..DisconnectProperties::default() })
        .map(Box::new);
    Packet::Disconnect(Disconnect { reason, properties })
}

/// [MQTT-3.1.2-8], with the ends that it lists (MQTT5 §3.1.2.5), and a takeover [MQTT-3.1.4-3].
#[test]
fn it_is_published_however_the_connection_ends() {
    type End = fn(&mut World, ConnectionId);
    let ends: [(&str, End); 5] = [
        ("the connection breaks", World::cut),
        ("nothing is heard for one and a half keep alives", |world, _| world.pass_with_lease(15 * SECOND)),
        ("a packet against the protocol", |world, client| {
            let again = Packet::Connect(Box::new(connect_packet(V5, "x")));
            world.send(client, again);
        }),
        ("a packet that is none", |world, client| {
            world.send_bytes(client, BytesMut::from(&b"\x00\x00"[..]));
        }),
        ("its device connects again", |world, _| {
            world.connect(V311, "d");
        }),
    ];
    for version in [V5, V311] {
        for (what, end) in ends {
            let (mut world, watcher) = watched();
            let mut connect = mortal(version, "d");
            connect.keep_alive_s = 10;
            let client = world.connect_as(connect);
            assert_eq!(world.gauges().wills, 1);
            end(&mut world, client);
            assert!(world.is_closed(client), "{what}");
            assert_eq!(heard(&mut world, watcher), ["d"], "{what}, {version:?}");
            assert_eq!(world.count(Count::WillPublished), 1);
            let gauges = world.gauges();
            assert_eq!((gauges.wills, gauges.will_bytes), (0, 0), "{what}");
        }
    }
}

/// [MQTT-3.1.2-10], [MQTT-3.14.4-3], [MQTT311 MQTT-3.14.4-3]
#[test]
fn a_goodbye_discards_it() {
    for version in [V5, V311] {
        let (mut world, watcher) = watched();
        let client = world.connect_as(mortal(version, "d"));
        world.send(client, goodbye(ReasonCode::Success, None));
        world.input(Input::Closed { connection: client });
        world.pass(SECOND);
        assert_eq!(heard(&mut world, watcher), [""; 0]);
        assert_eq!((world.count(Count::WillDiscarded), world.gauges().will_bytes), (1, 0));
    }
}

#[test]
fn a_goodbye_with_any_other_reason_publishes_it() {
    for reason in [
        ReasonCode::DisconnectWithWill,
        ReasonCode::UnspecifiedError,
        ReasonCode::ProtocolError,
        ReasonCode::AdministrativeAction,
    ] {
        let (mut world, watcher) = watched();
        let client = world.connect_as(mortal(V5, "d"));
        world.send(client, goodbye(reason, None));
        assert_eq!(heard(&mut world, watcher), ["d"], "{reason:?}");
    }
}

/// [MQTT5 §3.14.2.2.2] makes it a protocol error.
#[test]
fn a_goodbye_that_is_none_publishes_it() {
    let (mut world, watcher) = watched();
    let client = world.connect_as(mortal(V5, "d"));
    world.send(client, goodbye(ReasonCode::Success, Some(60)));
    assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError));
    assert_eq!(heard(&mut world, watcher), ["d"]);
}

/// MQTT5 §3.1.3.2
#[test]
fn it_carries_all_that_its_client_gave_it() {
    let (mut world, watcher) = watched();
    let text = Text::from_static;
    let connect = with_will(connect_packet(V5, "d"), |will| {
        will.properties = WillProperties {
            delay_interval_s: None,
            payload_format: Some(PayloadFormat::Utf8),
            message_expiry_s: Some(60),
            content_type: Some(text("text/plain")),
            response_topic: Some(text("answers")),
            correlation_data: Some(BinaryData::parse(&b"\x00\x01"[..]).unwrap()),
            user_properties: vec![UserProperty { name: text("a"), value: text("1") }],
        };
    });
    let client = world.connect_as(connect);
    world.pass_with_lease(1_000 * SECOND);
    world.cut(client);
    let received = world.read_publishes(watcher);
    let expected = PublishProperties {
        payload_format: Some(PayloadFormat::Utf8),
        // Its life begins when it is published.
        message_expiry_s: Some(60),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("answers")),
        correlation_data: Some(BinaryData::parse(&b"\x00\x01"[..]).unwrap()),
        user_properties: vec![UserProperty { name: text("a"), value: text("1") }],
        ..PublishProperties::default()
    };
    assert_eq!(received[0].properties.as_deref(), Some(&expected));
    assert_eq!((&*received[0].topic, &received[0].payload[..]), ("local/will", &b"d"[..]));
}

/// [MQTT-3.1.2-14], [MQTT-3.1.2-15]
#[test]
fn it_is_retained_if_its_client_says_so() {
    for (retain, expected) in [(true, 1), (false, 0)] {
        for version in [V5, V311] {
            let (mut world, _) = watched();
            let client = world.connect_as(with_will(connect_packet(version, "d"), |w| w.retain = retain));
            world.cut(client);
            let late = world.connect(version, "late");
            world.subscribe(late, "local/will", QoS::AtMostOnce);
            let received = world.read_publishes(late);
            assert_eq!(received.len(), expected);
            assert!(received.iter().all(|publish| publish.retain));
        }
    }
}

#[test]
fn one_that_cannot_be_retained_is_published_all_the_same() {
    let (mut world, watcher) = watched_with(Limits { retained_bytes_max: 1, ..limits() });
    let client = world.connect_as(with_will(connect_packet(V5, "d"), |will| will.retain = true));
    world.cut(client);
    assert_eq!(heard(&mut world, watcher), ["d"]);
    assert_eq!(world.count(Count::RetainedBytesFull), 1);
}

#[test]
fn it_has_the_lesser_quality_of_service_of_the_two() {
    for (published, granted, expected) in [
        (QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce),
        (QoS::AtLeastOnce, QoS::AtMostOnce, QoS::AtMostOnce),
        (QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtLeastOnce),
    ] {
        let mut world = World::new();
        let watcher = world.connect(V5, "watcher");
        world.subscribe(watcher, "local/will", granted);
        let client = world.connect_as(with_will(connect_packet(V5, "d"), |will| will.qos = published));
        world.cut(client);
        assert_eq!(world.read_publishes(watcher)[0].delivery.qos(), expected);
    }
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_spares_a_session_its_own_will() {
    for (no_local, expected) in [(true, 0), (false, 1)] {
        let mut world = World::new();
        let client = world.connect_as(with_will(persistent(V5, "d"), |_| {}));
        let options = SubscribeOptions { no_local, qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        world.subscribe_with(client, "local/will", options);
        world.cut(client);
        let client = world.connect_as(persistent(V5, "d"));
        assert_eq!(world.take_publishes(client, true).len(), expected);
    }
}

#[test]
fn it_is_an_event_as_any_publish_of_its_device() {
    for (qos, expected, on_loss) in [
        (QoS::AtMostOnce, Qos::AtMostOnce, OnLoss::Report),
        (QoS::AtLeastOnce, Qos::AtLeastOnce, OnLoss::PublishAgain),
        (QoS::ExactlyOnce, Qos::ExactlyOnce, OnLoss::PublishAgain),
    ] {
        let mut world = World::new();
        let client = world.connect_as(with_will(connect_packet(V311, "pump"), |will| {
            will.topic = Text::from_static("state/gone");
            will.qos = qos;
            will.retain = true;
        }));
        world.cut(client);
        let publication = world.answer_event(PublishOutcome::Confirmed);
        assert_eq!((publication.on_loss, publication.message.exchange.as_str()), (on_loss, "roost.up"));
        let event = Event::from_message(&publication.message).unwrap();
        assert_eq!((event.device.to_string(), event.topic.as_str()), ("main/pump".into(), "state/gone"));
        assert_eq!((event.qos, event.retain, event.dup), (expected, true, false));
        assert_eq!((&event.payload[..], event.received_at), (&b"pump"[..], world.now.wall));
        assert_eq!(world.gauges().uplink_events, 0);
    }
}

/// [MQTT-3.1.3-9]
#[test]
fn a_delay_holds_it_back() {
    let (mut world, watcher) = watched();
    let client = world.connect_as(delayed("d", 10));
    world.cut(client);
    world.pass(Duration::from_millis(9_999));
    assert_eq!(heard(&mut world, watcher), [""; 0]);
    world.pass(Duration::from_millis(1));
    assert_eq!(heard(&mut world, watcher), ["d"]);
    assert_eq!(world.gauges().sessions, 2, "the session goes on without it");
}

#[test]
fn it_is_published_with_the_end_of_its_session_if_that_is_earlier() {
    let (mut world, watcher) = watched();
    let mut connect = delayed("short", 10);
    connect.properties.session_expiry_interval_s = Some(5);
    let client = world.connect_as(connect);
    world.cut(client);
    world.pass(4 * SECOND);
    assert_eq!(heard(&mut world, watcher), [""; 0]);
    world.pass(SECOND);
    assert_eq!(heard(&mut world, watcher), ["short"]);

    let mut connect = delayed("none", 10);
    connect.properties.session_expiry_interval_s = None;
    let client = world.connect_as(connect);
    world.cut(client);
    assert_eq!(heard(&mut world, watcher), ["none"], "the session ends with the connection");

    let client = world.connect_as(delayed("given up", 10));
    world.send(client, goodbye(ReasonCode::DisconnectWithWill, Some(0)));
    assert_eq!(heard(&mut world, watcher), ["given up"]);
}

/// [MQTT-3.1.3-9]
#[test]
fn who_is_back_in_time_is_not_mourned() {
    let (mut world, watcher) = watched();
    let client = world.connect_as(delayed("d", 10));
    world.cut(client);
    world.pass(9 * SECOND);
    let (client, connack) = world.try_connect(delayed("d", 10));
    assert!(connack.session_present);
    world.pass(100 * SECOND);
    assert_eq!(heard(&mut world, watcher), [""; 0]);
    assert_eq!((world.count(Count::WillResumed), world.gauges().wills), (1, 1));
    world.cut(client);
    world.pass(10 * SECOND);
    assert_eq!(heard(&mut world, watcher), ["d"], "the new connection has a will of its own");
    // One that brings none has none.
    let client = world.connect_as(persistent(V5, "d"));
    world.cut(client);
    world.pass(100 * SECOND);
    assert_eq!(heard(&mut world, watcher), [""; 0]);
}

/// MQTT5 §3.1.4: a clean start ends the old session, and with it the delay.
#[test]
fn a_clean_start_publishes_the_old_sessions_will_at_once() {
    for was_connected in [true, false] {
        let (mut world, watcher) = watched();
        let client = world.connect_as(delayed("d", 10));
        if !was_connected {
            world.cut(client);
        }
        world.connect(V5, "d");
        assert_eq!(heard(&mut world, watcher), ["d"]);
        world.pass(100 * SECOND);
        assert_eq!(heard(&mut world, watcher), [""; 0], "once");
    }
}

/// MQTT5 §3.1.4
#[test]
fn a_takeover_that_goes_on_with_the_session_publishes_only_what_has_no_delay() {
    for (delay_s, expected) in [(0, 1), (10, 0)] {
        let (mut world, watcher) = watched();
        let older = world.connect_as(delayed("d", delay_s));
        let (_, connack) = world.try_connect(persistent(V5, "d"));
        assert!(connack.session_present);
        assert_eq!(world.closed_with(older), Some(ReasonCode::SessionTakenOver));
        world.pass(100 * SECOND);
        assert_eq!(heard(&mut world, watcher).len(), expected);
    }
}

#[test]
fn a_will_of_a_refused_connect_is_none() {
    let (mut world, watcher) = watched_with(Limits { sessions_max: 1, ..limits() });
    let (_, connack) = world.try_connect(mortal(V5, "d"));
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    assert_eq!((heard(&mut world, watcher).len(), world.gauges().wills), (0, 0));
}

#[test]
fn one_that_could_not_be_published_is_refused_with_its_connect() {
    type Change = fn(&mut Will);
    let cases: [(&str, Change, ReasonCode); 3] = [
        (
            "a topic of 65 levels",
            |will| will.topic = Text::parse("/".repeat(64)).unwrap(),
            ReasonCode::TopicNameInvalid,
        ),
        (
            "no UTF-8",
            |will| {
                will.payload = BinaryData::parse(&b"\xff"[..]).unwrap();
                will.properties.payload_format = Some(PayloadFormat::Utf8);
            },
            ReasonCode::PayloadFormatInvalid,
        ),
        (
            "a content type that AMQP does not take",
            |will| {
                will.topic = Text::from_static("state");
                will.properties.content_type = Some(Text::parse("x".repeat(256)).unwrap());
            },
            ReasonCode::QuotaExceeded,
        ),
    ];
    for (what, change, reason) in cases {
        let mut world = World::new();
        let (client, connack) = world.try_connect(with_will(connect_packet(V5, "d"), change));
        assert_eq!(connack.reason, reason, "{what}");
        assert!(world.is_closed(client));
        assert_eq!(world.count(Count::RefusedWill), 1, "{what}");
    }
    let mut world = World::new();
    let deep = |will: &mut Will| will.topic = Text::parse("/".repeat(64)).unwrap();
    let (_, connack) = world.try_connect(with_will(connect_packet(V311, "d"), deep));
    assert_eq!(connack.reason, ReasonCode::ServerUnavailable);
}

#[test]
fn all_wills_together_have_a_bound() {
    let mut world = World::with(Limits { wills_bytes_max: 600, ..limits() });
    let first = world.connect_as(mortal(V5, "a"));
    world.connect_as(delayed("b", 10));
    let (_, connack) = world.try_connect(mortal(V5, "c"));
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    assert_eq!(world.try_connect(mortal(V311, "c")).1.reason, ReasonCode::ServerUnavailable);
    assert_eq!(world.count(Count::RefusedWillsFull), 2);
    world.connect(V5, "c");
    world.cut(first);
    world.connect_as(mortal(V5, "c"));
}

// --- what holds it up

/// The event window is full: two events wait for the backend.
pub(super) fn full_uplink() -> (World, ConnectionId) {
    let mut world = World::with(Limits { uplink_events_max: 2, ..limits() });
    let other = world.connect(V5, "other");
    world.publish(other, "a", qos1(1));
    world.publish(other, "a", qos1(2));
    (world, other)
}

pub(super) fn uplink_will(client_id: &str, qos: QoS) -> Connect {
    with_will(connect_packet(V5, client_id), |will| {
        will.topic = Text::from_static("state");
        will.qos = qos;
    })
}

#[test]
fn at_qos_1_it_waits_for_the_backend_as_a_publish_does() {
    let (mut world, other) = full_uplink();
    for name in ["d", "e"] {
        let client = world.connect_as(uplink_will(name, QoS::AtLeastOnce));
        world.cut(client);
    }
    world.publish(other, "a", qos1(3));
    assert_eq!((world.events.len(), world.gauges().wills), (2, 2));
    assert_eq!(world.count(Count::ParkedUplink), 2, "the wills as one, and the publish");
    let mut published = Vec::new();
    while !world.events.is_empty() {
        let event = world.answer_event(PublishOutcome::Confirmed);
        published.push(String::from_utf8(event.message.body.to_vec()).unwrap());
        assert!(world.events.len() <= 2);
    }
    assert_eq!(published, ["x", "x", "d", "e", "x"]);
    assert_eq!((world.count(Count::WillPublished), world.gauges().will_bytes), (2, 0));
    assert_eq!(world.read_pubacks(other).len(), 3);
}

#[test]
fn at_qos_0_what_the_backend_cannot_take_now_is_dropped_and_counted() {
    let (mut world, _) = full_uplink();
    let client = world.connect_as(uplink_will("d", QoS::AtMostOnce));
    world.cut(client);
    world.backend(Backend::Away);
    let client = world.connect_as(uplink_will("d", QoS::AtMostOnce));
    world.cut(client);
    assert_eq!(world.events.len(), 2);
    assert_eq!((world.count(Count::EventDroppedFull), world.count(Count::EventDroppedAway)), (1, 1));
}

#[test]
fn it_waits_for_the_spool_where_its_topic_is_spooled() {
    let spooled = UplinkRule::Carry {
        filter: "#".parse().unwrap(),
        exchange: "roost.up".to_owned(),
        acknowledge: Acknowledge::Spooled,
        order: UplinkOrder::Strict,
    };
    let mut world = World::unconnected(limits(), UplinkRules::new(vec![spooled]));
    world.input(Input::Spool(SpoolState::Open));
    let [early, late] = ["early", "late"].map(|name| world.connect_as(uplink_will(name, QoS::AtLeastOnce)));
    world.cut(early);
    assert_eq!(world.spooled.len(), 1);
    world.safe(1);
    world.input(Input::Spool(SpoolState::Full));
    world.cut(late);
    assert_eq!((world.spooled.len(), world.count(Count::ParkedSpool)), (0, 1));
    world.input(Input::Spool(SpoolState::Open));
    let (_, event, _) = world.spooled.front().unwrap();
    assert_eq!(&event.payload[..], b"late");
    world.safe(1);
    assert_eq!(world.gauges().wills, 0);
}

/// A watcher with room for one in flight and one in the queue, for which wills wait half a minute.
fn slow_watcher() -> (World, ConnectionId) {
    watched_with(Limits {
        inflight_max: NonZeroU16::MIN,
        queue_messages_max: 1,
        stalled_queue_factor: 1,
        patience: 30 * SECOND,
        ..limits()
    })
}

#[test]
fn a_subscriber_that_has_no_room_gets_all_wills_one_by_one() {
    let (mut world, watcher) = slow_watcher();
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let clients: Vec<_> = names.iter().map(|name| world.connect_as(mortal(V5, name))).collect();
    for client in clients {
        world.cut(client);
    }
    assert_eq!(world.gauges().wills, 18);
    assert_eq!(heard(&mut world, watcher), names);
    assert_eq!((world.gauges().wills, world.count(Count::DroppedQueueFull)), (0, 0));
}

#[test]
fn who_takes_nothing_while_wills_wait_is_disconnected() {
    let (mut world, watcher) = slow_watcher();
    let clients: Vec<_> = ["a", "b", "c"].map(|name| world.connect_as(mortal(V5, name))).into();
    for client in clients {
        world.cut(client);
    }
    world.pass_with_lease(29 * SECOND);
    assert!(!world.is_closed(watcher));
    world.pass_with_lease(SECOND);
    assert!(world.is_closed(watcher));
    assert_eq!((world.count(Count::ClosedSlow), world.count(Count::WillPublished)), (1, 3));
}

#[test]
fn one_that_expires_while_it_waits_is_dropped_and_counted() {
    let (mut world, watcher) = slow_watcher();
    for (name, expiry_s) in [("a", 60), ("b", 60), ("c", 5), ("d", 60)] {
        let connect = with_will(connect_packet(V5, name), |will| {
            will.properties.message_expiry_s = Some(expiry_s);
        });
        let client = world.connect_as(connect);
        world.cut(client);
    }
    world.pass(6 * SECOND);
    assert_eq!(heard(&mut world, watcher), ["a", "b", "d"]);
    assert_eq!(world.count(Count::WillExpired), 1);
}
