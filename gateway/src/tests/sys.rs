//! What the gateway tells of itself below `$SYS`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wills::with_will;
use super::world::*;
use crate::packet::{Delivery, Packet, QoS, ReasonCode, SubscribeOptions, Text};
use crate::shard::Input;
use crate::{ConnectionId, Count, ShardFigures};

const INTERVAL: Duration = Duration::from_secs(10);

fn world() -> World {
    World::configured(|config| config.sys_interval = INTERVAL)
}

/// What has come: the values by topic without `$SYS/broker/`, and whether they were retained.
fn told(world: &mut World, client: ConnectionId) -> BTreeMap<String, (String, bool)> {
    let publishes = world.read_publishes(client).into_iter();
    let told = publishes.map(|publish| {
        assert_eq!(publish.delivery, Delivery::AtMostOnce);
        let name = publish.topic.strip_prefix("$SYS/broker/").unwrap().to_owned();
        (name, (String::from_utf8(publish.payload.to_vec()).unwrap(), publish.retain))
    });
    told.collect()
}

#[test]
fn who_subscribes_has_all_values_at_once_and_then_what_changes() {
    let mut world = world();
    world.connect(V5, "other");
    world.pass(25 * Duration::from_secs(1));
    let client = world.connect(V311, "client");
    assert_eq!(world.gauges().retained_messages, 0, "nobody has asked");
    world.subscribe(client, "$SYS/#", QoS::AtLeastOnce);
    let first = told(&mut world, client);
    assert_eq!(first.len(), 49);
    assert!(first.values().all(|(_, is_retained)| *is_retained));
    let value = |name: &str| first[name].0.as_str();
    assert_eq!(
        (value("clients/connected"), value("clients/total"), value("uptime")),
        ("2", "2", "25 seconds")
    );
    assert_eq!((value("subscriptions/count"), value("messages/received")), ("0", "3"));
    assert_eq!(value("load/connections/1min"), "0.78", "one in the first interval, none in the second");
    // The values of the next interval, five seconds later.
    world.pass(Duration::from_secs(5));
    let second = told(&mut world, client);
    assert_eq!(second["uptime"], ("30 seconds".to_owned(), false));
    assert_eq!(second["subscriptions/count"].0, "1");
    assert!(!second.contains_key("version") && !second.contains_key("clients/total"), "{second:?}");
    // Who comes later finds the values of then.
    let late = world.connect(V5, "late");
    world.subscribe(late, "$SYS/broker/uptime", QoS::AtMostOnce);
    assert_eq!(told(&mut world, late)["uptime"], ("30 seconds".to_owned(), true));
}

#[test]
fn nothing_is_kept_or_told_while_nobody_subscribes() {
    let mut world = world();
    let client = world.connect(V5, "client");
    world.subscribe(client, "#", QoS::AtMostOnce);
    world.subscribe(client, "+/broker/uptime", QoS::AtMostOnce);
    world.pass(3 * INTERVAL);
    assert_eq!((world.read(client), world.gauges().retained_messages), (Vec::new(), 0));
    world.subscribe(client, "$SYS/broker/clients/+", QoS::AtMostOnce);
    assert_eq!(told(&mut world, client).len(), 5);
    assert_eq!(world.gauges().retained_messages, 49);
    world.cut(client);
    world.pass(INTERVAL);
    assert_eq!((world.gauges().retained_messages, world.gauges().retained_bytes), (0, 0));
    assert!(world.events.is_empty(), "none is an event");
}

#[test]
fn an_interval_of_zero_turns_them_off() {
    let mut world = World::new();
    let client = world.connect(V5, "client");
    world.subscribe(client, "$SYS/#", QoS::AtMostOnce);
    world.pass(3 * INTERVAL);
    assert_eq!(world.read(client), []);
}

#[test]
fn they_wait_for_nobody_who_is_away() {
    let mut world = world();
    let client = world.connect_as(persistent(V5, "client"));
    world.subscribe(client, "$SYS/#", QoS::ExactlyOnce);
    world.cut(client);
    world.pass(3 * INTERVAL);
    let gauges = world.gauges();
    assert_eq!((gauges.queued_messages, world.count(Count::DroppedOffline)), (0, 0));
}

#[test]
fn a_subscription_says_how_it_wants_them() {
    let mut world = world();
    let client = world.connect(V5, "client");
    let options = SubscribeOptions {
        retain_as_published: true,
        retain_handling: crate::packet::RetainHandling::DoNotSend,
        ..SubscribeOptions::default()
    };
    world.subscribe_with(client, "$SYS/broker/uptime", options);
    assert_eq!(world.read(client), []);
    world.pass(INTERVAL);
    assert_eq!(told(&mut world, client)["uptime"], ("10 seconds".to_owned(), true));
}

#[test]
fn no_client_publishes_there() {
    let mut world = world();
    let watcher = world.connect(V5, "watcher");
    world.subscribe(watcher, "$SYS/#", QoS::AtMostOnce);
    world.subscribe(watcher, "$other/#", QoS::AtMostOnce);
    told(&mut world, watcher);
    for version in [V5, V311] {
        let client = world.connect(version, "client");
        for (number, topic) in (1..).zip(["$SYS/broker/uptime", "$SYS"]) {
            world.publish(client, topic, Delivery::AtMostOnce);
            world.publish(client, topic, qos1(number));
            let reason = if version == V5 { ReasonCode::NotAuthorized } else { ReasonCode::Success };
            assert_eq!(world.read_pubacks(client), [(number, reason)], "{topic}");
        }
        world.publish(client, "$other/x", Delivery::AtMostOnce);
        assert_eq!(world.read_publishes(watcher).len(), 1, "other topics with $ are the clients' own");
        let connect =
            with_will(connect_packet(version, "mortal"), |will| will.topic = Text::from_static("$SYS/will"));
        assert_eq!(world.try_connect(connect).1.reason, ReasonCode::NotAuthorized);
    }
    assert_eq!((world.count(Count::PublishReserved), world.count(Count::RefusedWill)), (8, 2));
    assert!(world.events.is_empty());
    assert!(world.read(watcher).iter().all(|packet| !matches!(packet, Packet::Publish(_))));
}

#[test]
fn the_values_are_those_of_all_shards() {
    let mut world = world();
    let client = world.connect(V5, "client");
    let mut others = ShardFigures::default();
    others.gauges.sessions = 4;
    others.gauges.sessions_connected = 3;
    others.gauges.subscriptions = 7;
    others.traffic.packets_received = 100;
    world.input(Input::Others(Box::new(others)));
    world.subscribe(client, "$SYS/#", QoS::AtMostOnce);
    let told = told(&mut world, client);
    let value = |name: &str| told[name].0.as_str();
    assert_eq!(
        (value("clients/connected"), value("clients/total"), value("clients/maximum")),
        ("4", "5", "4")
    );
    assert_eq!((value("subscriptions/count"), value("messages/received")), ("7", "102"));
}
