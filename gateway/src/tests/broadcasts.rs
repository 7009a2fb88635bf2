//! What is published for the subscribers of all gateways.

use std::time::Duration;

use bytes::Bytes;
use roost_wire::envelope::header;
use roost_wire::{Broadcast, BroadcastPrefix, Event, Incarnation, Message, Qos, Topic, WallTime};

use super::wills::with_will;
use super::world::*;
use crate::packet::{BinaryData, Delivery, Packet, PayloadFormat, QoS, ReasonCode, SubscribeOptions, Text};
use crate::shard::{Backend, Input};
use crate::{
    Acknowledge, BroadcastNumber, ConnectionId, Count, Limits, PublishOutcome, SpoolState, UplinkOrder,
    UplinkRule, UplinkRules,
};

const SECOND: Duration = Duration::from_secs(1);

/// A gateway at which what is below `broadcast/` is a broadcast.
fn world_with(limits: Limits) -> World {
    World::configured(|config| {
        config.broadcasts = vec![BroadcastPrefix::parse("broadcast/").unwrap()];
        config.limits = limits;
    })
}

fn world() -> World {
    world_with(limits())
}

fn broadcast(topic: &str, payload: &'static str) -> Broadcast {
    Broadcast::new(Topic::parse(topic).unwrap(), Bytes::from_static(payload.as_bytes()))
}

/// It comes through the queue of broadcasts.
fn comes(world: &mut World, number: u64, message: Message) {
    world.input(Input::Broadcast { number: BroadcastNumber(number), message: Box::new(message) });
}

pub(super) fn from_service(world: &mut World, number: u64, broadcast: Broadcast) {
    comes(world, number, broadcast.into_message("roost.fanout"));
}

/// A device of another gateway has published it with RETAIN, at that time of that gateway's clock.
fn from_elsewhere(topic: &str, payload: &'static str, at_ms: u64) -> Message {
    let event = Event {
        device: "other".parse().unwrap(),
        topic: Topic::parse(topic).unwrap(),
        payload: Bytes::from_static(payload.as_bytes()),
        qos: Qos::AtLeastOnce,
        retain: true,
        dup: false,
        gateway: "us-1".parse().unwrap(),
        region: "us".parse().unwrap(),
        incarnation: Incarnation(99),
        sequence: at_ms,
        received_at: WallTime::from_millis(at_ms),
        replayed: false,
        content_type: None,
        expiry_s: None,
        payload_is_utf8: false,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        trace: None,
    };
    event.into_broadcast("roost.fanout")
}

fn subscribed(world: &mut World, name: &str) -> ConnectionId {
    let client = world.connect(V5, name);
    world.subscribe(client, "broadcast/#", QoS::AtLeastOnce);
    client
}

/// What a new subscriber finds retained.
fn kept(world: &mut World) -> Vec<String> {
    let late = subscribed(world, "late");
    world.take_publishes(late, true)
}

#[test]
fn a_services_broadcast_comes_with_its_properties_to_every_subscriber_once() {
    let mut world = world();
    let [first, second] = ["first", "second"].map(|name| subscribed(&mut world, name));
    world.subscribe(first, "broadcast/+", QoS::AtMostOnce);
    let rich = Broadcast {
        content_type: Some("text/plain".to_owned()),
        payload_is_utf8: true,
        response_topic: Topic::parse("answers/here").ok(),
        correlation_data: Some(Bytes::from_static(b"\x00\x01")),
        user_properties: vec![("k".to_owned(), "v".to_owned()), ("k".to_owned(), "w".to_owned())],
        expires_in_ms: Some(9_500),
        ..broadcast("broadcast/news", "grüß Gott")
    };
    from_service(&mut world, 0, rich);
    assert_eq!(world.taken, [0]);
    for client in [first, second] {
        let publishes = world.read_publishes(client);
        let [publish] = publishes.as_slice() else { panic!("{publishes:?}") };
        assert_eq!((&*publish.topic, publish.delivery.qos()), ("broadcast/news", QoS::AtLeastOnce));
        assert_eq!(publish.payload, "grüß Gott".as_bytes());
        let properties = publish.properties.as_deref().unwrap();
        assert_eq!(properties.message_expiry_s, Some(10));
        assert_eq!(properties.payload_format, Some(PayloadFormat::Utf8));
        assert_eq!(properties.content_type, Some(Text::from_static("text/plain")));
        assert_eq!(properties.response_topic, Some(Text::from_static("answers/here")));
        assert_eq!(properties.correlation_data, BinaryData::parse(&b"\x00\x01"[..]).ok());
        let pairs: Vec<_> = properties.user_properties.iter().map(|p| (&*p.name, &*p.value)).collect();
        assert_eq!(pairs, [("k", "v"), ("k", "w")]);
    }
    let at_most_once = Broadcast { qos: Qos::AtMostOnce, ..broadcast("broadcast/news", "0") };
    from_service(&mut world, 1, at_most_once);
    assert_eq!(world.read_publishes(first)[0].delivery.qos(), QoS::AtMostOnce);
    assert!(world.events.is_empty(), "what came through the backend does not go there");
    from_service(&mut world, 2, broadcast("broadcast/", "nobody is told what this is about"));
    assert_eq!((world.count(Count::BroadcastDelivered), world.count(Count::BroadcastUnwanted)), (3, 0));
}

#[test]
fn a_devices_broadcast_goes_to_its_neighbours_at_once_and_to_all_gateways() {
    let mut world = world();
    let neighbour = subscribed(&mut world, "neighbour");
    let device = world.connect(V5, "device");
    world.publish(device, "broadcast/news", qos1(1));
    assert_eq!(world.read_publishes(neighbour).len(), 1);
    assert_eq!(world.read(device), [], "no PUBACK before the backend has it");
    let event = world.answer_event(PublishOutcome::Confirmed);
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)]);
    assert_eq!((&*event.message.exchange, &*event.message.routing_key), ("roost.fanout", "broadcast.news"));
    assert!(!event.mandatory, "that no other gateway is there is no fault");
    assert_eq!(event.message.properties.text(header::ORIGIN), Some("eu-1/0000000000000007"));
    assert!(world.events.is_empty(), "it is there instead of in roost.up");

    // It comes back, as to every gateway.
    comes(&mut world, 0, event.message.clone());
    assert_eq!((world.read(neighbour), world.taken.clone()), (Vec::new(), vec![0]));
    assert_eq!(world.count(Count::BroadcastOwn), 1);
    // An earlier run of this gateway had spooled it: its subscribers are not those of today.
    let mut earlier = event.message;
    earlier.properties.set(header::ORIGIN, "eu-1/0000000000000006");
    comes(&mut world, 1, earlier);
    assert_eq!(world.read_publishes(neighbour).len(), 1);
}

#[test]
fn a_broadcast_is_acknowledged_as_its_topics_rule_says() {
    let filter = "broadcast/safe/#".parse().unwrap();
    let (acknowledge, order) = (Acknowledge::Spooled, UplinkOrder::Fresh);
    let rule = UplinkRule::Carry { filter, exchange: "mine".to_owned(), acknowledge, order };
    let mut world = World::configured(|config| {
        config.broadcasts = vec![BroadcastPrefix::parse("broadcast/").unwrap()];
        config.uplink = UplinkRules::new(vec![rule]);
    });
    world.input(Input::Spool(SpoolState::Open));
    world.input(Input::Backend(Backend::Away));
    let device = world.connect(V5, "device");
    world.publish(device, "broadcast/safe/x", qos1(1));
    assert_eq!((world.spooled.len(), world.spooled[0].2), (1, UplinkOrder::Fresh));
    world.safe(1);
    assert_eq!(world.read_pubacks(device), [(1, ReasonCode::Success)]);
    world.publish(device, "broadcast/x", qos1(2));
    assert_eq!(
        (world.events.len(), world.read(device)),
        (1, Vec::new()),
        "no rule: it waits for the backend"
    );
    assert_eq!(world.events[0].message.exchange, "roost.fanout");
}

#[test]
fn a_will_below_a_prefix_is_a_broadcast() {
    let mut world = world();
    let neighbour = subscribed(&mut world, "neighbour");
    let mortal =
        with_will(connect_packet(V5, "device"), |will| will.topic = Text::from_static("broadcast/gone"));
    let device = world.connect_as(mortal);
    world.cut(device);
    assert_eq!(world.take_publishes(neighbour, true), ["device"]);
    let event = world.answer_event(PublishOutcome::Confirmed).message;
    assert_eq!((&*event.exchange, &*event.routing_key), ("roost.fanout", "broadcast.gone"));
}

#[test]
fn what_is_no_broadcast_is_dropped_with_a_reason() {
    let limits = limits();
    let longest = "x".repeat(limits.decode.packet_bytes_max as usize);
    let mut world = world_with(limits);
    let client = subscribed(&mut world, "client");
    let good = || broadcast("broadcast/a", "x").into_message("roost.fanout");
    let mut without_topic = good();
    without_topic.properties.headers.remove(header::TOPIC);
    let mut with_nul = good();
    with_nul.properties.content_type = Some("\0".to_owned());
    let too_long = Message { body: Bytes::from(longest), ..good() };
    let expired = Broadcast { expires_in_ms: Some(0), ..broadcast("broadcast/a", "x") };
    let cases = [
        (without_topic, Count::BroadcastInvalid),
        (with_nul, Count::BroadcastInvalid),
        (
            broadcast("broadcast", "the key of the prefix matches").into_message("roost.fanout"),
            Count::BroadcastTopic,
        ),
        (too_long, Count::BroadcastTooLarge),
        (expired.into_message("roost.fanout"), Count::BroadcastExpired),
    ];
    for (number, (message, why)) in (0..).zip(cases) {
        let before = world.count(why);
        comes(&mut world, number, message);
        assert_eq!(world.count(why), before + 1, "{why:?}");
        assert_eq!(world.taken.pop(), Some(number), "it does not come again");
    }
    world.input(Input::BroadcastMissed { has_expired: false });
    world.input(Input::BroadcastMissed { has_expired: true });
    assert_eq!((world.count(Count::BroadcastQueueFull), world.count(Count::BroadcastExpired)), (1, 2));
    assert_eq!(world.read(client), []);
}

/// A gateway with a subscriber that acknowledges nothing and whose queue of two is full of broadcasts 0 to 2.
fn jammed() -> (World, ConnectionId) {
    let limits = Limits { queue_messages_max: 2, inflight_max: std::num::NonZeroU16::MIN, ..limits() };
    let mut world = world_with(limits);
    let slow = subscribed(&mut world, "slow");
    for number in 0..3 {
        from_service(&mut world, number, broadcast("broadcast/a", "x"));
    }
    assert_eq!(world.taken, [0, 1, 2]);
    (world, slow)
}

#[test]
fn a_full_subscriber_holds_up_broadcasts_and_nothing_else() {
    let (mut world, slow) = jammed();
    let other = subscribed(&mut world, "other");
    for number in 3..6 {
        from_service(&mut world, number, broadcast("broadcast/a", "x"));
    }
    assert_eq!((world.taken.len(), world.gauges().broadcasts), (3, 3));
    assert_eq!(world.read(other), [], "they keep their order");
    // Commands and other publishes go on.
    world.subscribe(other, "devices/other/cmd", QoS::AtLeastOnce);
    world.subscribe(other, "local/x", QoS::AtMostOnce);
    let command = world.new_command("other", epoch(1, 1));
    world.deliver(command);
    world.publish(other, "local/x", Delivery::AtMostOnce);
    assert_eq!(world.take_publishes(other, true), ["1", "x"]);
    // Each PUBACK makes room for one.
    world.puback(slow, id(1));
    assert_eq!(world.taken, [0, 1, 2, 3]);
    assert_eq!(world.count(Count::BroadcastWaited), 2);
    // Who makes no progress is closed, and they go on without it.
    world.pass_with_lease(40 * SECOND);
    assert_eq!(world.closed_with(slow), Some(ReasonCode::QuotaExceeded));
    assert_eq!((world.taken.len(), world.gauges().broadcast_bytes), (6, 0));
    assert_eq!(world.take_publishes(other, true).len(), 3);
}

#[test]
fn who_unsubscribes_holds_nothing_up_any_more() {
    let (mut world, slow) = jammed();
    from_service(&mut world, 3, broadcast("broadcast/a", "x"));
    assert_eq!(world.taken.len(), 3);
    let unsubscribe = crate::packet::Unsubscribe {
        packet_id: id(9),
        filters: vec![Text::from_static("broadcast/#")],
        properties: None,
    };
    world.send(slow, Packet::Unsubscribe(unsubscribe));
    assert_eq!(world.taken.len(), 4);
}

#[test]
fn those_that_wait_are_bounded_also_over_links_that_are_lost() {
    let inflight_max = std::num::NonZeroU16::MIN;
    let limits = Limits { broadcasts_max: 2, queue_messages_max: 1, inflight_max, ..limits() };
    let mut world = world_with(limits);
    subscribed(&mut world, "slow");
    for number in 0..6 {
        from_service(&mut world, number, broadcast("broadcast/a", "x"));
    }
    assert_eq!((world.gauges().broadcasts, world.count(Count::BroadcastBacklog)), (2, 2));
    assert_eq!(world.taken, [0, 1, 4, 5], "what is dropped does not come again");
}

#[test]
fn a_retained_broadcast_is_kept_and_an_empty_one_deletes_it() {
    let mut world = world();
    let retained = |payload| Broadcast { retain: true, ..broadcast("broadcast/mode", payload) };
    let early = world.connect(V5, "early");
    let options =
        SubscribeOptions { qos: QoS::AtLeastOnce, retain_as_published: true, ..SubscribeOptions::default() };
    world.subscribe_with(early, "broadcast/#", options);
    from_service(&mut world, 0, retained("night"));
    assert!(world.read_publishes(early)[0].retain, "as published");
    assert_eq!(kept(&mut world), ["night"]);
    from_service(&mut world, 1, retained("day"));
    assert_eq!(kept(&mut world), ["day"]);
    from_service(&mut world, 2, retained(""));
    assert_eq!(kept(&mut world), [""; 0]);
}

#[test]
fn of_two_retained_broadcasts_the_newer_one_is_kept_in_whichever_order_they_come() {
    let newer = || from_elsewhere("broadcast/mode", "newer", 2_000);
    let older = || from_elsewhere("broadcast/mode", "older", 1_000);
    let deletes = || from_elsewhere("broadcast/mode", "", 3_000);
    for messages in [[older(), newer()], [newer(), older()]] {
        let mut world = world();
        let client = subscribed(&mut world, "client");
        for (number, message) in (0..).zip(messages) {
            comes(&mut world, number, message);
        }
        assert_eq!(world.take_publishes(client, true).len(), 2, "who is there gets both");
        assert_eq!(kept(&mut world), ["newer"]);
    }
    let mut world = world();
    comes(&mut world, 0, deletes());
    comes(&mut world, 1, newer());
    assert_eq!((kept(&mut world), world.count(Count::RetainedStale)), (Vec::new(), 1));
    // What a device publishes here counts from now, and later than what was published elsewhere before.
    let device = world.connect(V5, "device");
    let mut publish = publish_packet("broadcast/mode", b"here", qos1(1));
    publish.retain = true;
    world.send(device, Packet::Publish(publish));
    let now_ms = world.now.wall.as_millis();
    comes(&mut world, 2, from_elsewhere("broadcast/mode", "before", now_ms - 1));
    assert_eq!(kept(&mut world), ["here"]);
    comes(&mut world, 3, from_elsewhere("broadcast/mode", "after", now_ms + 1));
    assert_eq!(kept(&mut world), ["after"]);
}

#[test]
fn a_deletion_is_remembered_for_ten_minutes() {
    let mut world = world();
    let older = || from_elsewhere("broadcast/mode", "older", 1_000);
    comes(&mut world, 0, from_elsewhere("broadcast/mode", "", 3_000));
    world.pass_with_lease(590 * SECOND);
    comes(&mut world, 1, older());
    assert_eq!(kept(&mut world), [""; 0]);
    world.pass_with_lease(11 * SECOND);
    comes(&mut world, 2, older());
    assert_eq!(kept(&mut world), ["older"]);
}
