//! The flow up: PUBACK means safe.

use std::time::Duration;

use roost_wire::{Event, envelope::header};

use super::world::*;
use crate::packet::{Delivery, Packet, PayloadFormat, PublishProperties, QoS, ReasonCode, Text};
use crate::shard::Backend;
use crate::{Count, OnLoss, PublishOutcome};

#[test]
fn an_event_carries_what_the_device_published() {
    let mut world = World::new();
    let device = world.connect(V5, "pump 7");
    let mut publish =
        publish_packet("state/temp", b"21", Delivery::AtLeastOnce { packet_id: id(3), dup: true });
    publish.properties = Some(Box::new(PublishProperties {
        payload_format: Some(PayloadFormat::Utf8),
        message_expiry_s: Some(60),
        content_type: Some(Text::from_static("text/plain")),
        response_topic: Some(Text::from_static("r")),
        ..PublishProperties::default()
    }));
    world.send(device, Packet::Publish(publish));
    let publication = world.answer_event(PublishOutcome::Confirmed);
    assert!(publication.mandatory);
    assert_eq!(publication.on_loss, OnLoss::PublishAgain);
    assert_eq!(publication.message.exchange, "roost.up");
    let event = Event::from_message(&publication.message).unwrap();
    assert_eq!(
        (event.device.to_string(), event.topic.as_str(), &event.payload[..]),
        ("main/pump 7".into(), "state/temp", &b"21"[..])
    );
    assert_eq!((event.qos, event.dup, event.replayed), (roost_wire::Qos::AtLeastOnce, true, false));
    assert_eq!(
        (event.gateway.as_str(), event.region.as_str(), event.received_at),
        ("eu-1", "eu", world.now.wall)
    );
    assert_eq!(
        (event.content_type.as_deref(), event.expiry_s, event.payload_is_utf8),
        (Some("text/plain"), Some(60), true)
    );
    assert_eq!(event.response_topic.as_deref(), Some("r"));
}

#[test]
fn no_puback_before_the_backend_has_confirmed() {
    for version in [V5, V311] {
        let mut world = World::new();
        let device = world.connect(version, "d");
        world.publish(device, "a", qos1(1));
        world.pass(Duration::from_secs(3_600));
        assert_eq!(world.read(device), [], "an hour makes it no safer");
        world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)]);
    }
}

#[test]
fn pubacks_leave_in_the_order_of_the_publishes_whatever_the_order_of_the_confirms() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    let subscriber = world.connect(V5, "s");
    world.subscribe(subscriber, "local/#", QoS::AtMostOnce);
    for (n, topic) in [(1, "a"), (2, "local/x"), (3, "b"), (4, "a")] {
        world.publish(device, topic, qos1(n));
    }
    assert_eq!(world.read(device), []);
    let last = world.events.pop_back().unwrap();
    world.answer(last.token, PublishOutcome::Confirmed);
    assert_eq!(world.read(device), []);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success), (2, ReasonCode::Success)]);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device), [(3, ReasonCode::Success), (4, ReasonCode::Success)]);
}

#[test]
fn an_event_that_no_queue_wants_is_kept_and_told() {
    for (has_subscriber, expected) in
        [(false, ReasonCode::NoMatchingSubscribers), (true, ReasonCode::Success)]
    {
        let mut world = World::new();
        if has_subscriber {
            let subscriber = world.connect(V5, "s");
            world.subscribe(subscriber, "a", QoS::AtMostOnce);
        }
        let device = world.connect(V5, "d");
        world.publish(device, "a", qos1(1));
        world.answer_event(PublishOutcome::Returned);
        assert_eq!(world.read(device), [], "it is not safe yet");
        let kept = world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(kept.message.exchange, "roost.unrouted");
        assert_eq!(world.read_pubacks(device), [(1, expected)]);
        assert_eq!(world.count(Count::EventUnrouted), 1);
    }
}

#[test]
fn a_refused_event_is_tried_with_growing_delay_and_then_put_with_the_dead() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    world.publish(device, "a", qos1(1));
    world.publish(device, "b", qos1(2));
    let first = world.answer_event(PublishOutcome::Nacked);
    world.answer_event(PublishOutcome::Confirmed);
    let id = first.message.properties.message_id;
    for delay_ms in [400, 800, 1_600, 3_200, 6_400] {
        world.pass(Duration::from_millis(delay_ms - 1));
        assert!(world.events.is_empty(), "not before {delay_ms} ms");
        world.pass(Duration::from_millis(1));
        let again = world.answer_event(PublishOutcome::Nacked);
        assert_eq!(again.message.properties.message_id, id);
    }
    assert_eq!(world.read(device), [], "the second waits for the first");
    let dead = world.answer_event(PublishOutcome::Confirmed);
    assert_eq!((&*dead.message.exchange, &*dead.message.routing_key), ("roost.dead", "main.d"));
    assert!(dead.message.properties.text(header::REASON).is_some());
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::UnspecifiedError), (2, ReasonCode::Success)]);
    assert_eq!((world.count(Count::EventRetried), world.count(Count::EventDead)), (5, 1));
}

#[test]
fn topics_that_stay_are_acknowledged_at_once() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    for (n, topic) in [(1, "local/x"), (2, "$x/y")] {
        world.publish(device, topic, qos1(n));
        assert_eq!(world.read_pubacks(device), [(n, ReasonCode::NoMatchingSubscribers)]);
    }
    assert!(world.events.is_empty());
}

#[test]
fn at_qos_0_events_are_sent_once_or_dropped_and_counted() {
    let mut world = World::new();
    let device = world.connect(V311, "d");
    world.publish(device, "a", Delivery::AtMostOnce);
    let event = world.answer_event(PublishOutcome::Lost);
    assert_eq!(event.on_loss, OnLoss::Report);
    assert!(world.events.is_empty());
    world.backend(Backend::Away);
    world.publish(device, "a", Delivery::AtMostOnce);
    assert!(world.events.is_empty());
    assert_eq!((world.count(Count::EventDroppedLost), world.count(Count::EventDroppedAway)), (1, 1));
}

#[test]
fn at_qos_0_what_is_not_dropped_comes_in_order() {
    let mut world = World::new();
    let device = world.connect(V311, "d");
    let mut sent = Vec::new();
    for number in 0..60_u8 {
        // Away for a while, back; and now and then one is lost on its way.
        world.backend(if number % 20 < 5 { Backend::Away } else { Backend::Up });
        world.send(device, Packet::Publish(publish_packet("a", &[number], Delivery::AtMostOnce)));
        if number % 10 == 9 {
            world.answer_event(PublishOutcome::Lost);
            sent.extend(world.events.iter().map(|event| event.message.body[0]));
            world.confirm_all();
        }
    }
    assert_eq!(sent.len(), 60 - 15 - 6);
    assert!(sent.is_sorted(), "{sent:?}");
}

#[test]
fn what_the_mesh_cannot_carry_is_refused_in_the_puback() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.publish(client, &"/".repeat(64), qos1(1));
    let mut publish = publish_packet("a", b"\xff", qos1(2));
    publish.properties =
        Some(Box::new(PublishProperties { payload_format: Some(PayloadFormat::Utf8), ..Default::default() }));
    world.send(client, Packet::Publish(publish));
    let mut publish = publish_packet("a", b"", qos1(3));
    let content_type = Text::parse("x".repeat(256)).unwrap();
    publish.properties =
        Some(Box::new(PublishProperties { content_type: Some(content_type), ..Default::default() }));
    world.send(client, Packet::Publish(publish));
    assert_eq!(
        world.read_pubacks(client),
        [
            (1, ReasonCode::TopicNameInvalid),
            (2, ReasonCode::PayloadFormatInvalid),
            (3, ReasonCode::QuotaExceeded)
        ]
    );
    assert!(world.events.is_empty());
    let client = world.connect(V311, "d");
    world.publish(client, &"/".repeat(64), qos1(1));
    assert!(world.is_closed(client), "a v3.1.1 PUBACK can only mean success");
}

#[test]
fn a_publish_outlives_its_connection() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    world.publish(device, "a", qos1(1));
    world.cut(device);
    let device = world.connect(V5, "d");
    world.send(
        device,
        Packet::Publish(publish_packet("a", b"x", Delivery::AtLeastOnce { packet_id: id(1), dup: true })),
    );
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read(device), [], "the confirm belongs to the first");
    let again = world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(again.message.properties.bool(header::DUP), Some(true));
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)]);
}

#[test]
fn what_a_device_publishes_next_does_not_overtake_an_event_that_is_tried_again() {
    let mut world = World::new();
    let [device, other] = ["d", "o"].map(|name| world.connect(V5, name));
    world.publish(device, "a", qos1(1));
    world.answer_event(PublishOutcome::Nacked);
    world.publish(device, "b", qos1(2));
    world.publish(device, "c", qos1(3));
    assert!(world.events.is_empty(), "live events queue behind the device's backlog");
    world.publish(other, "a", qos1(1));
    assert_eq!(world.answer_event(PublishOutcome::Confirmed).message.routing_key, "main.o.a", "others go on");
    world.pass(Duration::from_millis(400));
    world.answer_event(PublishOutcome::Nacked);
    world.pass(Duration::from_millis(800));
    let topics = |world: &World| -> Vec<String> {
        world.events.iter().map(|event| event.message.routing_key.clone()).collect()
    };
    assert_eq!(topics(&world), ["main.d.a"]);
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(topics(&world), ["main.d.b", "main.d.c"], "together again, in order");
    world.confirm_all();
    let pubacks = [1, 2, 3].map(|n| (n, ReasonCode::Success));
    assert_eq!(world.read_pubacks(device), pubacks);
}

#[test]
fn a_device_that_leaves_while_its_event_is_tried_again_leaves_nothing_behind() {
    let mut world = World::new();
    let device = world.connect(V5, "d");
    world.publish(device, "a", qos1(1));
    world.answer_event(PublishOutcome::Nacked);
    world.publish(device, "b", qos1(2));
    world.cut(device);
    world.pass(Duration::from_millis(400));
    world.answer_event(PublishOutcome::Confirmed);
    assert!(world.events.is_empty());
    let device = world.connect(V5, "d");
    world.publish(device, "b", qos1(2));
    world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device), [(2, ReasonCode::Success)]);
}
