//! Sessions that roam: asked for, handed over, resumed, and what becomes of them when somebody is late, gone or dead.

use std::time::Duration;

use bytes::Bytes;
use roost_wire::{
    CloseReason, Control, Device, NoSessionReason, Outcome, QuestionId, RouterRun, SessionAnswer,
    SessionArrival, SessionId, SessionRequest, Sighting,
};

use super::world::*;
use crate::packet::{Connack, Packet, ProtocolVersion, PublishProperties, QoS, ReasonCode};
use crate::shard::Input;
use crate::{ConnectionId, Count, Limits, PublishOutcome};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn device() -> Device {
    "s".parse().unwrap()
}

/// What the gateway has asked the router since the last call: the number, and its own copy.
pub(super) fn asked(world: &mut World) -> Option<(SessionRequest, Option<SessionId>)> {
    let wants = |sighting: &Sighting| match sighting {
        Sighting::WantsSession { request, held, .. } => Some((*request, *held)),
        _ => None,
    };
    let found: Vec<_> = world.sightings.iter().filter_map(wants).collect();
    world.sightings.retain(|sighting| wants(sighting).is_none());
    assert!(found.len() <= 1, "{found:?}");
    found.first().copied()
}

pub(super) fn answer(world: &mut World, request: SessionRequest, answer: SessionAnswer) {
    world.router_says(1, vec![Control::SessionAnswer { request, device: device(), answer }]);
}

pub(super) fn arrive(world: &mut World, request: SessionRequest, body: Bytes) {
    world.input(Input::Session(Box::new(SessionArrival { device: device(), request, body })));
}

/// The router has the session handed over.
pub(super) fn order(world: &mut World, session: SessionId) {
    let (question, device) = (QuestionId(1), device());
    world.router_says(1, vec![Control::MoveSession { question, device, session }]);
}

/// The CONNACK that has come, if any.
pub(super) fn connack(world: &mut World, client: ConnectionId) -> Option<Connack> {
    match world.read(client).into_iter().next() {
        Some(Packet::Connack(connack)) => Some(connack),
        Some(other) => panic!("{other:?} instead of CONNACK"),
        None => None,
    }
}

fn publish_local(world: &mut World, publisher: ConnectionId, payload: &str, n: u16) {
    world.send(publisher, Packet::Publish(publish_packet("local/t", payload.as_bytes(), qos1(n))));
}

/// A gateway that has a session with a subscription, two messages in flight and two that wait.
pub(super) fn owner(version: ProtocolVersion) -> (World, SessionId) {
    let mut world = World::roaming();
    let subscriber = world.begin_connect(persistent(version, "s"));
    let (request, held) = asked(&mut world).expect("it may be elsewhere");
    assert_eq!(held, None);
    answer(&mut world, request, SessionAnswer::Nobody);
    assert!(!connack(&mut world, subscriber).unwrap().session_present);
    world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
    let publisher = world.connect(V5, "p");
    for (n, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        publish_local(&mut world, publisher, payload, n);
    }
    let received = world.read_publishes(subscriber);
    world.puback(subscriber, received[1].delivery.packet_id().unwrap());
    world.cut(subscriber);
    publish_local(&mut world, publisher, "four", 4);
    let mut publish = publish_packet("local/t", b"five", qos1(5));
    publish.properties =
        Some(Box::new(PublishProperties { message_expiry_s: Some(60), ..PublishProperties::default() }));
    world.send(publisher, Packet::Publish(publish));
    let session = world.session(&device());
    (world, session)
}

/// What that session is, handed over.
pub(super) fn body(version: ProtocolVersion) -> Bytes {
    let (mut world, session) = owner(version);
    order(&mut world, session);
    world.given.pop().unwrap().body
}

/// A gateway that a device waits at.
pub(super) fn waiting() -> (World, ConnectionId, SessionRequest) {
    waiting_with(limits())
}

fn waiting_with(limits: Limits) -> (World, ConnectionId, SessionRequest) {
    let mut world = World::roaming_with(limits);
    let client = world.begin_connect(persistent(V5, "s"));
    let (request, _) = asked(&mut world).expect("it asks");
    (world, client, request)
}

#[test]
fn a_device_finds_at_another_gateway_what_it_had() {
    for version in [V5, V311] {
        let (mut owner, session) = owner(version);
        owner.pass(20 * SECOND / 10);
        order(&mut owner, session);
        let given = owner.given.pop().unwrap();
        assert_eq!((given.device, given.session, given.question), (device(), session, QuestionId(1)));
        let gauges = owner.shard.gauges();
        assert_eq!((gauges.sessions, gauges.subscriptions, gauges.queued_messages), (1, 0, 0));
        assert_eq!((owner.count(Count::GivenMoved), owner.count(Count::SessionMoved)), (1, 1));

        let mut world = World::roaming();
        let client = world.begin_connect(persistent(version, "s"));
        let (request, _) = asked(&mut world).unwrap();
        assert!(world.is_paused(client) && connack(&mut world, client).is_none(), "it waits");
        assert_eq!(world.session(&device()), SessionId(0), "it is not accepted yet");
        arrive(&mut world, request, given.body);
        let packets = world.read(client);
        let [Packet::Connack(connack), Packet::Publish(one), Packet::Publish(three), rest @ ..] =
            &packets[..]
        else {
            panic!("{packets:?}")
        };
        assert!(connack.session_present && !world.is_paused(client));
        let told = |publish: &crate::packet::Publish| {
            (publish.payload.clone(), publish.delivery.packet_id().unwrap().value(), publish.delivery.dup())
        };
        assert_eq!(told(one), (Bytes::from_static(b"one"), 1, true));
        assert_eq!(told(three), (Bytes::from_static(b"three"), 3, true));
        let rest: Vec<_> = rest
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => (publish.payload.clone(), publish.delivery.dup()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(rest, [(Bytes::from_static(b"four"), false), (Bytes::from_static(b"five"), false)]);
        if let (V5, Packet::Publish(five)) = (version, &packets[4]) {
            let left = five.properties.as_ref().and_then(|properties| properties.message_expiry_s);
            assert_eq!(left, Some(58), "its life goes on on the way");
        }
        assert_ne!(world.session(&device()), SessionId(0), "now it is");
        let publisher = world.connect(V5, "p");
        publish_local(&mut world, publisher, "six", 6);
        assert_eq!(world.take_publishes(client, true), ["six"], "it is subscribed");
        assert_eq!(world.count(Count::FetchMoved), 1);
    }
}

#[test]
fn a_copy_is_resumed_at_once_if_the_lease_never_lapsed_since() {
    let (mut world, _) = owner(V5);
    world.pass_with_lease(100 * SECOND);
    let (_, connack) = world.try_connect(persistent(V5, "s"));
    assert!(connack.session_present);
    assert_eq!(asked(&mut world), None);
}

/// Each a reason why the router's word that the device is elsewhere may not have been heard.
#[test]
fn a_copy_that_may_be_stale_is_asked_about() {
    for why in ["the lease lapsed", "a new link", "a new run of the router"] {
        for verdict in [SessionAnswer::Current, SessionAnswer::OwnerDead] {
            let (mut world, session) = owner(V5);
            let run = match why {
                "a new link" => {
                    world.link_down();
                    world.link_up(2);
                    1
                }
                "the lease lapsed" => {
                    world.pass(11 * SECOND);
                    1
                }
                _ => {
                    world.pass(3 * SECOND);
                    2
                }
            };
            world.answer_heartbeats(run);
            let client = world.begin_connect(persistent(V5, "s"));
            let (request, held) = asked(&mut world).expect(why);
            assert_eq!(held, Some(session), "{why}");
            let device = device();
            world.router_says(run, vec![Control::SessionAnswer { request, device, answer: verdict }]);
            let connack = connack(&mut world, client).unwrap();
            let is_current = verdict == SessionAnswer::Current;
            assert_eq!(connack.session_present, is_current, "{why}");
            let dropped = if is_current { 0 } else { 4 };
            assert_eq!(world.count(Count::DroppedWithSession), dropped, "{why}");
            assert_eq!(world.count(Count::SessionStale), u64::from(!is_current), "{why}");
            // Its lease has held since: the next time nobody is asked.
            world.send(client, Packet::Pingreq);
            world.cut(client);
            assert!(world.try_connect(persistent(V5, "s")).1.session_present, "{why}");
            assert_eq!(asked(&mut world), None);
        }
    }
}

#[test]
fn nobody_waits_for_a_router_that_cannot_be_reached() {
    let (mut world, _) = owner(V5);
    world.pass(11 * SECOND);
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(!connack.session_present);
    assert_eq!((asked(&mut world), world.count(Count::FetchUnreachable)), (None, 1));
    assert_eq!((world.count(Count::SessionStale), world.count(Count::DroppedWithSession)), (1, 4));
    // What looks connected may be a socket that its device has left long ago.
    world.subscribe(client, "local/t", QoS::AtLeastOnce);
    assert!(!world.try_connect(persistent(V5, "s")).1.session_present);
}

#[test]
fn a_link_that_is_not_ready_answers_itself() {
    let mut world = World::roaming();
    world.link.handle(world.now, crate::link::LinkInput::Backend(crate::shard::Backend::Away));
    let (_, connack) = world.try_connect(persistent(V5, "s"));
    assert!(!connack.session_present);
    assert_eq!(world.count(Count::FetchUnreachable), 1);
}

#[test]
fn past_the_bound_it_is_a_fresh_session_and_what_comes_later_is_dropped() {
    let (mut world, client, request) = waiting();
    world.pass(Duration::from_millis(1_999));
    assert_eq!(connack(&mut world, client), None);
    world.pass(Duration::from_millis(1));
    assert!(!connack(&mut world, client).unwrap().session_present);
    assert_eq!(world.count(Count::FetchTimedOut), 1);
    arrive(&mut world, request, body(V5));
    assert_eq!((world.count(Count::FetchLate), world.count(Count::DroppedLate)), (1, 4));
    assert_eq!((world.read(client), world.gauges().subscriptions), (vec![], 0));
    answer(&mut world, request, SessionAnswer::TimedOut);
    assert_eq!(world.count(Count::SessionAnswerUnknown), 1);
}

#[test]
fn a_session_comes_once() {
    let (mut world, client, request) = waiting();
    let body = body(V5);
    arrive(&mut world, request, body.clone());
    assert_eq!(world.read(client).len(), 5);
    arrive(&mut world, request, body);
    assert_eq!((world.read(client), world.count(Count::FetchLate)), (vec![], 1));
}

#[test]
fn the_session_of_a_device_that_left_meanwhile_is_kept() {
    let (mut world, client, request) = waiting();
    world.cut(client);
    assert_eq!(world.count(Count::RefusedLeft), 1);
    world.pass(5 * SECOND);
    arrive(&mut world, request, body(V5));
    assert_eq!((world.count(Count::FetchKept), world.gauges().sessions), (1, 1));
    let session = world.session(&device());
    assert!(
        matches!(&world.sightings[..], [.., Sighting::Accepted(_), Sighting::Gone { session: gone, .. }] if *gone == session),
        "the router knows where it is: {:?}",
        world.sightings
    );
    // Whether its device has been elsewhere since the router knows.
    let client = world.begin_connect(persistent(V5, "s"));
    let (request, held) = asked(&mut world).expect("it asks");
    assert_eq!(held, Some(session));
    answer(&mut world, request, SessionAnswer::Current);
    assert!(
        matches!(&world.read(client)[..], [Packet::Connack(connack), _, _, _, _] if connack.session_present)
    );
}

#[test]
fn a_session_that_is_kept_for_a_device_that_left_expires() {
    let (mut world, client, request) = waiting();
    world.cut(client);
    arrive(&mut world, request, body(V5));
    world.pass(3_600 * SECOND);
    assert_eq!((world.gauges().sessions, world.count(Count::SessionExpired)), (0, 1));
}

#[test]
fn who_left_is_not_waited_for_for_ever() {
    let (mut world, client, request) = waiting();
    world.cut(client);
    assert_eq!(world.gauges().fetches, 1);
    world.pass(30 * SECOND);
    assert_eq!((world.gauges().fetches, world.count(Count::FetchLeft)), (0, 1));
    arrive(&mut world, request, body(V5));
    assert_eq!((world.count(Count::FetchLate), world.gauges().sessions), (1, 0));
}

#[test]
fn a_second_connect_takes_the_place_of_the_one_that_waits() {
    let (mut world, older, first) = waiting();
    let newer = world.begin_connect(persistent(V5, "s"));
    assert!(world.is_closed(older) && world.read(older).is_empty());
    assert_eq!(world.count(Count::RefusedTakenOver), 1);
    let (second, _) = asked(&mut world).expect("it asks anew");
    assert_ne!(first, second);
    answer(&mut world, first, SessionAnswer::Elsewhere);
    assert_eq!(connack(&mut world, newer), None, "that was for the other one");
    // What the first one asked for comes all the same: the router is told that it is here, and asked whether it is the newest.
    arrive(&mut world, first, body(V5));
    assert_eq!(connack(&mut world, newer), None);
    let (third, held) = asked(&mut world).expect("it asks with what it has");
    assert_eq!(held, Some(world.session(&device())));
    answer(&mut world, second, SessionAnswer::Nobody);
    assert_eq!(connack(&mut world, newer), None, "that question is not open any more");
    answer(&mut world, third, SessionAnswer::Current);
    assert!(matches!(&world.read(newer)[0], Packet::Connack(connack) if connack.session_present));
}

#[test]
fn a_clean_start_ends_the_wait_and_what_comes_is_dropped() {
    let (mut world, older, request) = waiting();
    let (newer, connack) = world.try_connect(connect_packet(V5, "s"));
    assert!(world.is_closed(older) && !connack.session_present);
    arrive(&mut world, request, body(V5));
    assert_eq!((world.read(newer), world.count(Count::FetchLate)), (vec![], 1));
    assert_eq!(world.gauges().fetches, 0);
}

#[test]
fn as_many_wait_as_may_and_the_next_begins_anew() {
    let (mut world, ..) = waiting_with(Limits { fetches_max: 1, ..limits() });
    let (_, connack) = world.try_connect(persistent(V5, "another"));
    assert!(!connack.session_present);
    assert_eq!((asked(&mut world), world.count(Count::FetchBusy)), (None, 1));
}

#[test]
fn what_cannot_be_read_is_no_session() {
    let (mut world, client, request) = waiting();
    arrive(&mut world, request, Bytes::from_static(b"\x04nonsense"));
    assert!(!connack(&mut world, client).unwrap().session_present);
    assert_eq!(world.count(Count::FetchUnreadable), 1);
    let is_told = |notice: &crate::Notice| matches!(notice, crate::Notice::SessionUnreadable { why, .. } if why.contains("version 4"));
    assert!(world.notices.iter().any(is_told), "{:?}", world.notices);
}

#[test]
fn this_gateways_bounds_hold_for_what_comes() {
    let small = Limits { queue_messages_max: 1, sessions_max: 1, ..limits() };
    let (mut world, client, request) = waiting_with(small.clone());
    arrive(&mut world, request, body(V5));
    assert_eq!(world.read(client).len(), 4, "CONNACK, two that were in flight, one that waited");
    assert_eq!(world.count(Count::DroppedQueueFull), 1);
    let (mut world, client, request) = waiting_with(small);
    world.connect(V5, "another");
    arrive(&mut world, request, body(V5));
    assert_eq!(connack(&mut world, client).unwrap().reason, ReasonCode::QuotaExceeded);
    assert_eq!((world.count(Count::FetchSessionsFull), world.count(Count::DroppedLate)), (1, 4));
}

#[test]
fn a_gateway_that_goes_away_refuses_who_waits_and_keeps_what_came() {
    let (mut world, client, request) = waiting();
    let publisher = world.connect(V5, "p");
    world.publish(publisher, "up", qos1(1));
    world.input(Input::Drain { grace: 20 * SECOND });
    arrive(&mut world, request, body(V5));
    assert_eq!(connack(&mut world, client).unwrap().reason, ReasonCode::UseAnotherServer);
    // Another gateway asks for it.
    let session = world.session(&device());
    order(&mut world, session);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_client_that_is_given_its_id_has_no_session_anywhere() {
    let mut world = World::roaming();
    let (_, connack) = world.try_connect(persistent(V5, ""));
    assert!(!connack.session_present);
    assert_eq!(asked(&mut world), None);
}

#[test]
fn a_connection_that_waits_is_not_read_and_answered_in_order() {
    let (mut world, client, request) = waiting();
    world.send(client, Packet::Pingreq);
    assert_eq!(world.read(client), []);
    answer(&mut world, request, SessionAnswer::Nobody);
    assert!(matches!(&world.read(client)[..], [Packet::Connack(_), Packet::Pingresp]));
}

#[test]
fn a_connected_device_is_closed_its_commands_go_back_and_its_session_leaves() {
    let mut world = World::roaming();
    let client = world.begin_connect(persistent(V5, "s"));
    let (request, _) = asked(&mut world).unwrap();
    answer(&mut world, request, SessionAnswer::Nobody);
    world.read(client);
    world.subscribe(client, "devices/s/cmd", QoS::AtLeastOnce);
    let command = world.new_command("s", epoch(1, 1));
    world.deliver(command);
    assert_eq!(world.read_publishes(client).len(), 1);
    let session = world.session(&device());
    world.sightings.clear();
    order(&mut world, session);
    assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
    assert_eq!(world.outcomes(), [(1, Outcome::Gone { written: true })]);
    assert!(matches!(world.sightings[..], [Sighting::Gone { .. }]));
    let given = world.given.pop().unwrap();
    let (mut other, client, request) = waiting();
    arrive(&mut other, request, given.body);
    assert_eq!(other.read(client).len(), 1, "the CONNACK alone: a command is no part of a session");
    assert_eq!(other.shard.gauges().subscriptions, 1);
}

/// The answer to an order that hands nothing over.
fn refusal(world: &mut World) -> Option<NoSessionReason> {
    world.sightings.iter().rev().find_map(|sighting| match sighting {
        Sighting::NoSession { reason, question: QuestionId(1), run: RouterRun(1), .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn what_is_not_handed_over_is_answered_with_the_reason() {
    let mut nobody = World::roaming();
    order(&mut nobody, SessionId(1));
    assert_eq!(refusal(&mut nobody), Some(NoSessionReason::Absent));

    let mut clean = World::roaming();
    let client = clean.connect(V5, "s");
    let session = clean.session(&device());
    order(&mut clean, session);
    assert_eq!(refusal(&mut clean), Some(NoSessionReason::Absent), "it ended with its connection");
    assert!(clean.is_closed(client));

    let mut newer = World::roaming();
    let client = newer.connect(V5, "s");
    let session = newer.session(&device());
    order(&mut newer, SessionId(session.0 + 7));
    assert_eq!(refusal(&mut newer), Some(NoSessionReason::Newer));
    assert!(!newer.is_closed(client), "an order that is late closes no other session");

    let (mut busy, session) = owner(V5);
    busy.holds_reports = true;
    for n in 0..limits().session_moves_max {
        let mut connect = persistent(V5, &format!("d{n}"));
        connect.clean_start = true;
        let client = busy.connect_as(connect);
        busy.cut(client);
        let (question, device) = (QuestionId(2), format!("d{n}").parse().unwrap());
        busy.router_says(1, vec![Control::MoveSession { question, device, session: SessionId(0) }]);
    }
    order(&mut busy, session);
    while !busy.reports.is_empty() {
        busy.answer_report(PublishOutcome::Confirmed);
    }
    assert_eq!(refusal(&mut busy), Some(NoSessionReason::Busy));
    order(&mut busy, session);
    assert_eq!(busy.reports.len(), 1, "there is room again");
}

#[test]
fn what_is_too_long_loses_its_oldest_messages_or_does_not_move() {
    for (bytes, reason, left_behind) in
        [(1 << 20, None, 0), (130, None, 2), (30, Some(NoSessionReason::TooLarge), 0)]
    {
        let mut world = World::roaming_with(Limits { session_bytes_max: bytes, ..limits() });
        let mut connect = persistent(V5, "s");
        connect.clean_start = true;
        let subscriber = world.connect_as(connect);
        world.subscribe(subscriber, "local/t", QoS::AtLeastOnce);
        world.cut(subscriber);
        let publisher = world.connect(V5, "p");
        for n in 1..=6 {
            publish_local(&mut world, publisher, "x", n);
        }
        let session = world.session(&device());
        order(&mut world, session);
        assert_eq!(
            (refusal(&mut world), world.count(Count::DroppedLeftBehind)),
            (reason, left_behind),
            "{bytes}"
        );
    }
}

#[test]
fn a_session_that_the_broker_refuses_is_published_again_until_it_is_there() {
    let (mut world, session) = owner(V5);
    world.holds_reports = true;
    order(&mut world, session);
    assert_eq!(world.reports.len(), 1);
    world.answer_report(PublishOutcome::Nacked);
    assert_eq!((world.reports.len(), world.link.is_settled()), (0, false));
    world.pass(SECOND);
    world.answer_report(PublishOutcome::Confirmed);
    assert_eq!((world.given.len(), world.count(Count::SessionNacked)), (1, 1));
    assert!(world.link.is_settled());
}

#[test]
fn a_session_that_is_elsewhere_is_forgotten_connected_or_not() {
    let close = |session| {
        let (device, reason) = (device(), CloseReason::TakenOver);
        vec![Control::Close { device, session, reason, forget: true }]
    };
    let (mut world, session) = owner(V5);
    world.router_says(1, close(SessionId(session.0 + 1)));
    assert_eq!(world.gauges().sessions, 2, "that is another one");
    world.router_says(1, close(session));
    assert_eq!((world.gauges().sessions, world.count(Count::SessionElsewhere)), (1, 1));
    assert_eq!(world.count(Count::DroppedWithSession), 4);
    let (mut world, session) = owner(V5);
    let (client, _) = world.try_connect(persistent(V5, "s"));
    assert_ne!(world.session(&device()), session);
    let session = world.session(&device());
    world.router_says(1, close(session));
    assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
    assert_eq!(world.gauges().sessions, 1);
}

#[test]
fn a_router_that_looks_for_a_session_is_told() {
    let (mut world, session) = owner(V5);
    let find = |world: &mut World, device: &str| {
        let (question, device) = (QuestionId(3), device.parse().unwrap());
        world.router_says(1, vec![Control::FindSession { question, device }]);
        world.sightings.pop().unwrap()
    };
    let found = find(&mut world, "s");
    assert!(
        matches!(&found, Sighting::HoldsSession { present, connected: false, .. } if present.session == session),
        "{found:?}"
    );
    assert!(matches!(find(&mut world, "p"), Sighting::HoldsSession { connected: true, .. }));
    assert!(matches!(find(&mut world, "x"), Sighting::NoSession { reason: NoSessionReason::Absent, .. }));
}

#[test]
fn who_does_not_roam_keeps_its_sessions_as_they_are() {
    // The router is an older one, or the configuration says so.
    let old_router = World::new();
    let off = World::roaming_with(Limits { session_transfer: Duration::ZERO, ..limits() });
    for mut world in [old_router, off] {
        let client = world.connect_as(persistent(V5, "s"));
        world.cut(client);
        world.pass(11 * SECOND);
        assert!(world.try_connect(persistent(V5, "s")).1.session_present);
        assert_eq!(asked(&mut world), None);
    }
}
