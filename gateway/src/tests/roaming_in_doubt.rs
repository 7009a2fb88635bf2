//! Sessions of which nobody can say that they are their device's newest: none is resumed, and whoever goes on with one is told.

use std::time::Duration;

use roost_wire::{CloseReason, Control, QuestionId, SessionAnswer, SessionId, Sighting};

use super::roaming::{answer, arrive, asked, body, connack, device, owner, waiting};
use super::world::*;
use crate::Count;
use crate::packet::{Packet, QoS, ReasonCode};

fn doubt(session: SessionId) -> Vec<Control> {
    vec![Control::Forget { device: device(), session }]
}

fn elsewhere(session: SessionId) -> Vec<Control> {
    vec![Control::Close { device: device(), session, reason: CloseReason::TakenOver, forget: true }]
}

#[test]
fn a_session_in_doubt_that_is_away_is_forgotten() {
    let (mut world, session) = owner(V5);
    world.router_says(1, doubt(SessionId(session.0 + 1)));
    assert_eq!(world.gauges().sessions, 2, "that is another one");
    world.router_says(1, doubt(session));
    assert_eq!((world.gauges().sessions, world.count(Count::SessionStale)), (1, 1));
    assert_eq!(world.count(Count::DroppedWithSession), 4);
}

/// A router that was restarted since does not know that there was one.
#[test]
fn a_gateway_remembers_what_it_has_forgotten_in_doubt() {
    for is_away in [true, false] {
        let (mut world, mut session) = owner(V5);
        let client = (!is_away).then(|| world.try_connect(persistent(V5, "s")).0);
        if client.is_some() {
            session = world.session(&device());
        }
        let find = vec![Control::FindSession { question: QuestionId(3), device: device() }];
        world.router_says(1, find.clone());
        let Some(Sighting::HoldsSession { present, .. }) = world.sightings.pop() else { panic!() };
        world.router_says(1, doubt(session));
        if let Some(client) = client {
            world.cut(client);
        }
        world.router_says(1, find);
        let Some(Sighting::NoSession { forgot, .. }) = world.sightings.pop() else { panic!() };
        assert_eq!(forgot, Some(present.accepted_at));
    }
}

#[test]
fn a_session_in_doubt_that_is_connected_ends_with_its_connection() {
    let (mut world, _) = owner(V5);
    let (client, _) = world.try_connect(persistent(V5, "s"));
    let session = world.session(&device());
    world.router_says(1, doubt(session));
    assert!(!world.is_closed(client), "it may be behind it, and has what it expects");
    world.cut(client);
    assert_eq!(world.count(Count::SessionStale), 1);
    let client = world.begin_connect(persistent(V5, "s"));
    let (request, held) = asked(&mut world).unwrap();
    assert_eq!(held, None);
    answer(&mut world, request, SessionAnswer::Undecided);
    assert!(!connack(&mut world, client).unwrap().session_present);
    assert_eq!(world.count(Count::FetchUndecided), 1);
}

/// Its device came back before the word did, and has gone on with what is not its newest.
#[test]
fn one_that_was_resumed_before_the_word_came_is_closed_and_begins_anew() {
    for word in [doubt, elsewhere] {
        let (mut world, session) = owner(V5);
        let (client, connack) = world.try_connect(persistent(V5, "s"));
        assert!(connack.session_present);
        let resumed = world.session(&device());
        world.sightings.clear();
        world.router_says(1, word(session));
        let said: Vec<_> =
            world.sightings.iter().filter(|said| !matches!(said, Sighting::Heartbeat(_))).collect();
        assert!(
            matches!(&said[..], [Sighting::Accepted(newer), Sighting::Gone { session, .. }]
                if newer.session == resumed && *session == resumed),
            "the router may not have heard that there was a newer one: {said:?}"
        );
        assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
        assert_eq!(world.gauges().sessions, 1, "the publisher's");
        world.begin_connect(persistent(V5, "s"));
        assert_eq!(asked(&mut world).unwrap().1, None, "nothing is left of it");
    }
}

/// Its device may have been elsewhere while its old socket looked open here.
#[test]
fn a_takeover_needs_no_router_unless_the_lease_was_broken_since() {
    for is_broken in [false, true] {
        let (mut world, session) = owner(V5);
        let (client, _) = world.try_connect(persistent(V5, "s"));
        if is_broken {
            world.pass(Duration::from_secs(11));
            world.answer_heartbeats(1);
        }
        assert!(!world.is_closed(client));
        let again = world.begin_connect(persistent(V5, "s"));
        assert_eq!(asked(&mut world).map(|(_, held)| held > Some(session)), is_broken.then_some(true));
        assert_eq!(connack(&mut world, again).is_some(), !is_broken);
    }
}

#[test]
fn what_is_said_of_a_session_is_not_said_of_one_that_came_after_it() {
    for word in [doubt, elsewhere] {
        let (mut world, session) = owner(V5);
        world.pass(Duration::from_secs(11));
        world.answer_heartbeats(1);
        let client = world.begin_connect(persistent(V5, "s"));
        let (request, _) = asked(&mut world).unwrap();
        arrive(&mut world, request, body(V5));
        assert!(connack(&mut world, client).unwrap().session_present);
        world.router_says(1, word(session));
        assert!(!world.is_closed(client));
        world.cut(client);
        assert_eq!(world.gauges().sessions, 2, "what has come is kept");
    }
}

/// A CONNACK may be lost. Resumed, the empty session would look to its client like the one that it had.
#[test]
fn a_fresh_session_whose_client_may_not_know_is_not_kept() {
    for is_heard in [false, true] {
        let (mut world, client, request) = waiting();
        answer(&mut world, request, SessionAnswer::OwnerDead);
        assert!(!connack(&mut world, client).unwrap().session_present);
        if is_heard {
            world.send(client, Packet::Pingreq);
        }
        world.cut(client);
        assert_eq!(world.gauges().sessions, usize::from(is_heard));
    }
    // One that wanted a clean start knows.
    let mut world = World::roaming();
    let mut connect = persistent(V5, "s");
    connect.clean_start = true;
    let client = world.connect_as(connect);
    world.cut(client);
    assert_eq!(world.gauges().sessions, 1);
    // And one that is taken over before it is heard of begins anew again.
    let (mut world, _, request) = waiting();
    answer(&mut world, request, SessionAnswer::Nobody);
    let (client, connack) = world.try_connect(persistent(V5, "s"));
    assert!(!connack.session_present);
    world.subscribe(client, "local/t", QoS::AtLeastOnce);
    assert!(world.try_connect(persistent(V5, "s")).1.session_present);
}

/// The clients of a gateway that goes away come to another one at once, and ask for their sessions there.
#[test]
fn a_gateway_that_goes_away_waits_a_little_for_the_sessions_of_its_clients() {
    for is_asked_for in [true, false] {
        // One of a device that has been away for long is not waited for.
        let (mut world, session) = owner(V5);
        let mut connect = persistent(V5, "t");
        connect.clean_start = true;
        let client = world.connect_as(connect);
        world.input(crate::shard::Input::Drain { grace: Duration::from_secs(30) });
        assert!(world.is_closed(client) && !world.is_drained);
        if is_asked_for {
            let (question, device) = (QuestionId(1), "t".parse().unwrap());
            world.router_says(1, vec![Control::MoveSession { question, device, session }]);
            assert_eq!(world.given.len(), 1, "it refuses none");
        } else {
            world.pass_with_lease(Duration::from_secs(5));
        }
        assert!(world.is_drained);
    }
}

#[test]
fn answers_and_heartbeats_say_how_the_clock_runs_and_since_when() {
    let (mut world, _) = owner(V5);
    world.router_says(1, vec![Control::FindSession { question: QuestionId(3), device: device() }]);
    let now = Some(world.now.boot);
    assert!(matches!(world.sightings.pop().unwrap(), Sighting::HoldsSession { at, .. } if at == now));
    let nobody = "x".parse().unwrap();
    world.router_says(1, vec![Control::FindSession { question: QuestionId(3), device: nobody }]);
    assert!(matches!(world.sightings.pop().unwrap(), Sighting::NoSession { at, .. } if at == now));
    world.pass(Duration::from_secs(3));
    let began = world.heartbeats.last().unwrap().started_at;
    world.pass(Duration::from_secs(60));
    assert!(began.is_some() && began <= now);
    assert_eq!(world.heartbeats.last().unwrap().started_at, began, "of the incarnation, not of the link");
}
