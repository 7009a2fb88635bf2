//! Wills in a mesh: of devices that go on at another gateway, and of a gateway that goes away.

use std::time::Duration;

use roost_wire::{CloseReason, Control, SessionAnswer};

use super::roaming::{self, device};
use super::wills::{SECOND, delayed, full_uplink, heard, uplink_will, watched_with, with_will};
use super::world::*;
use crate::link::LinkInput;
use crate::packet::{Packet, QoS, ReasonCode, Text};
use crate::shard::Input;
use crate::{ConnectionId, Count, Limits, WillOnTakeover};

#[test]
fn a_takeover_by_another_gateway_publishes_it_only_where_that_is_wanted() {
    for (will_on_takeover, delay_s, expected) in [
        (WillOnTakeover::Discard, 0, 0),
        (WillOnTakeover::Discard, 10, 0),
        (WillOnTakeover::Publish, 0, 1),
        (WillOnTakeover::Publish, 10, 1),
    ] {
        let (mut world, watcher) = watched_with(Limits { will_on_takeover, ..limits() });
        let client = world.connect_as(delayed("s", delay_s));
        let session = world.session(&device());
        // The device has begun anew there.
        let reason = CloseReason::TakenOver;
        world.router_says(1, vec![Control::Close { device: device(), session, reason, forget: true }]);
        assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
        world.pass(100 * SECOND);
        assert_eq!(heard(&mut world, watcher).len(), expected, "{will_on_takeover:?}, {delay_s}");
        let elsewhere = world.count(Count::WillElsewhere);
        assert_eq!((elsewhere, world.gauges().wills), (1 - expected as u64, 0));
    }
}

/// A gateway where sessions roam, a watcher, and a session of the device whose will is delayed by that much.
fn roaming_with_will(delay_s: u32) -> (World, ConnectionId, ConnectionId) {
    let mut world = World::roaming();
    let watcher = world.connect(V5, "watcher");
    world.subscribe(watcher, "local/will", QoS::AtLeastOnce);
    let client = world.begin_connect(delayed("s", delay_s));
    let (request, _) = roaming::asked(&mut world).unwrap();
    roaming::answer(&mut world, request, SessionAnswer::Nobody);
    assert!(roaming::connack(&mut world, client).is_some());
    world.send(client, Packet::Pingreq);
    (world, watcher, client)
}

#[test]
fn a_session_that_moves_is_not_mourned() {
    for was_connected in [false, true] {
        let (mut world, watcher, client) = roaming_with_will(10);
        if !was_connected {
            world.cut(client);
        }
        let session = world.session(&device());
        roaming::order(&mut world, session);
        assert_eq!(world.given.len(), 1);
        world.pass_with_lease(100 * SECOND);
        assert_eq!(heard(&mut world, watcher), [""; 0]);
        let ended = world.count(Count::WillMoved) + world.count(Count::WillElsewhere);
        assert_eq!((ended, world.gauges().wills), (1, 0));
    }
}

#[test]
fn who_waits_for_its_session_when_the_delay_ends_is_back_in_time() {
    for (verdict, expected) in [(SessionAnswer::Current, 0), (SessionAnswer::Undecided, 1)] {
        let (mut world, watcher, client) = roaming_with_will(15);
        world.cut(client);
        // The lease lapses and is back: the router has to be asked.
        world.pass(14 * SECOND);
        world.answer_heartbeats(1);
        let client = world.begin_connect(delayed("s", 15));
        let (request, held) = roaming::asked(&mut world).expect("it asks");
        assert!(held.is_some());
        world.pass(Duration::from_millis(1_500));
        assert_eq!(heard(&mut world, watcher), [""; 0], "the delay is over, and its client is there");
        roaming::answer(&mut world, request, verdict);
        let connack = roaming::connack(&mut world, client).unwrap();
        assert_eq!(connack.session_present, expected == 0);
        assert_eq!(heard(&mut world, watcher).len(), expected, "{verdict:?}");
    }
}

// --- the gateway goes away

fn drain(world: &mut World) {
    world.link_input(LinkInput::Drain);
    world.input(Input::Drain { grace: 30 * SECOND });
}

#[test]
fn a_gateway_that_goes_away_publishes_the_wills_of_its_clients() {
    let mut world = World::new();
    world.connect_as(uplink_will("d", QoS::AtLeastOnce));
    let away = world.connect_as(with_will(persistent(V5, "away"), |will| {
        will.topic = Text::from_static("state");
        will.properties.delay_interval_s = Some(1_000);
    }));
    world.cut(away);
    drain(&mut world);
    assert!(!world.is_drained, "the backend does not have them yet");
    let bodies: Vec<_> = world.events.iter().map(|event| event.message.body.clone()).collect();
    assert_eq!(bodies, [&b"d"[..], b"away"], "the session of the one that is away ends, too");
    world.confirm_all();
    assert!(world.is_drained);
    assert_eq!(world.count(Count::WillPublished), 2);
}

#[test]
fn it_waits_for_sessions_to_follow_their_clients_before_it_mourns_them() {
    let (mut world, _, client) = roaming_with_will(100);
    drain(&mut world);
    assert!(world.is_closed(client) && !world.is_drained);
    let session = world.session(&device());
    roaming::order(&mut world, session);
    assert!(world.is_drained, "its client is back, elsewhere");
    assert_eq!((world.count(Count::WillMoved), world.count(Count::WillPublished)), (1, 0));

    let (mut world, ..) = roaming_with_will(100);
    drain(&mut world);
    world.pass_with_lease(5 * SECOND);
    assert!(world.is_drained);
    assert_eq!(world.count(Count::WillPublished), 1, "nobody came for it");
}

#[test]
fn what_the_grace_does_not_suffice_for_is_cut_and_counted() {
    let (mut world, _) = full_uplink();
    for name in ["d", "e"] {
        world.connect_as(uplink_will(name, QoS::AtLeastOnce));
    }
    drain(&mut world);
    world.pass(30 * SECOND);
    assert!(world.is_drained);
    assert_eq!((world.count(Count::WillDraining), world.gauges().wills), (2, 0));
}
