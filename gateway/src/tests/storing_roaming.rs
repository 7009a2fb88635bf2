//! A gateway was killed and is there again: whether what it has of a device is the newest the router has to say.

use std::time::Duration;

use roost_wire::{Control, Device, QuestionId, SessionAnswer, SessionRequest, Sighting};

use super::world::*;
use crate::packet::{Packet, QoS, ReasonCode};
use crate::{ConnectionId, Count, Limits};

/// A gateway that a device was at when it was killed, in a mesh where sessions move. Nobody has spoken to it since.
fn killed() -> World {
    killed_in_boot(1)
}

fn killed_in_boot(boot: u64) -> World {
    let mut world = World::storing_and_roaming();
    let client = world.begin_connect(persistent(V5, "s"));
    world.pass(Duration::from_secs(2));
    world.read(client);
    world.subscribe(client, "local/#", QoS::AtLeastOnce);
    let mut world = world.killed_in_boot(boot);
    world.read_all();
    world
}

fn asked(world: &World) -> Vec<(SessionRequest, bool)> {
    let wants = world.sightings.iter().filter_map(|sighting| match sighting {
        Sighting::WantsSession { request, held, .. } => Some((*request, held.is_some())),
        _ => None,
    });
    wants.collect()
}

fn answer(world: &mut World, request: SessionRequest, answer: SessionAnswer) {
    let device: Device = "s".parse().unwrap();
    world.router_says(1, vec![Control::SessionAnswer { request, device, answer }]);
}

fn connack(world: &mut World, client: ConnectionId) -> Option<(ReasonCode, bool)> {
    world.read(client).into_iter().find_map(|packet| match packet {
        Packet::Connack(connack) => Some((connack.reason, connack.session_present)),
        _ => None,
    })
}

#[test]
fn a_device_waits_for_the_router_that_is_about_to_come_and_resumes_what_is_the_newest() {
    let mut world = killed();
    let client = world.begin_connect(persistent(V5, "s"));
    assert_eq!(connack(&mut world, client), None);
    let mut world = world.up();
    let [(request, true)] = asked(&world)[..] else { panic!("{:?}", world.sightings) };
    answer(&mut world, request, SessionAnswer::Current);
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, true)));
}

#[test]
fn what_the_router_does_not_call_the_newest_is_forgotten() {
    let mut world = killed().up();
    let client = world.begin_connect(persistent(V5, "s"));
    let [(request, true)] = asked(&world)[..] else { panic!("{:?}", world.sightings) };
    answer(&mut world, request, SessionAnswer::Undecided);
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, false)));
    assert_eq!(world.count(Count::SessionStale), 1);
}

#[test]
fn a_router_that_moves_no_sessions_is_not_asked() {
    let mut world = killed();
    world.roams = false;
    let client = world.begin_connect(persistent(V5, "s"));
    let mut world = world.up();
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, true)));
    assert_eq!(asked(&world), []);
}

#[test]
fn without_a_router_devices_are_refused_for_a_while_and_then_begin_anew() {
    let mut world = killed();
    let client = world.begin_connect(persistent(V5, "s"));
    world.pass(Duration::from_secs(2));
    assert_eq!(connack(&mut world, client), Some((ReasonCode::ServerUnavailable, false)));
    assert_eq!(world.count(Count::RefusedUndecided), 1);
    world.pass(Duration::from_secs(58));
    let client = world.begin_connect(persistent(V5, "s"));
    world.pass(Duration::from_secs(2));
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, false)));
    assert_eq!(world.count(Count::FetchTimedOut), 1);
}

#[test]
fn more_than_may_wait_come_later() {
    let mut world = World::storing_and_roaming();
    let many = Limits::default().fetches_max + 1;
    for n in 0..many {
        let client = world.begin_connect(persistent(V5, &format!("d{n}")));
        let [.., (request, _)] = asked(&world)[..] else { panic!("{:?}", world.sightings) };
        let device = format!("d{n}").parse().unwrap();
        world.router_says(1, vec![Control::SessionAnswer { request, device, answer: SessionAnswer::Nobody }]);
        world.send(client, Packet::Pingreq);
    }
    let mut world = world.killed();
    world.read_all();
    let clients: Vec<_> = (0..many).map(|n| world.begin_connect(persistent(V5, &format!("d{n}")))).collect();
    let last = clients[many - 1];
    assert_eq!(connack(&mut world, last), Some((ReasonCode::ServerUnavailable, false)));
    assert_eq!((world.count(Count::RefusedUndecided), world.count(Count::FetchBusy)), (1, 0));
}

#[test]
fn a_gateway_that_never_had_a_router_asks_nobody() {
    let mut world = World::storing_alone();
    let client = world.connect_as(persistent(V5, "s"));
    world.send(client, Packet::Pingreq);
    let mut world = world.killed();
    world.read_all();
    let client = world.begin_connect(persistent(V5, "s"));
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, true)));
}

fn find(world: &mut World) {
    let device: Device = "s".parse().unwrap();
    world.router_says(1, vec![Control::FindSession { question: QuestionId(5), device }]);
}

#[test]
fn a_device_that_is_elsewhere_finds_its_session_here_with_the_time_of_its_acceptance() {
    let mut world = World::storing_and_roaming();
    let client = world.begin_connect(persistent(V5, "s"));
    world.pass(Duration::from_secs(2));
    world.send(client, Packet::Pingreq);
    let accepted = world.sightings.iter().find_map(|sighting| match sighting {
        Sighting::Accepted(present) => Some(present.accepted_at),
        _ => None,
    });
    let mut world = world.killed().up();
    find(&mut world);
    let found = |world: &World| {
        world.sightings.iter().find_map(|sighting| match sighting {
            Sighting::HoldsSession { present, connected, .. } => Some((present.clone(), *connected)),
            _ => None,
        })
    };
    assert_eq!(found(&world), None, "nobody knows before it is read");
    world.read_asked();
    let (present, connected) = found(&world).unwrap();
    assert_eq!((Some(present.accepted_at), connected), (accepted, false));
    let (device, session) = (present.device, present.session);
    world.router_says(1, vec![Control::MoveSession { question: QuestionId(5), device, session }]);
    assert_eq!((world.given.len(), world.stored()), (1, 0));
}

#[test]
fn after_a_reboot_nobody_can_say_when_it_was_accepted() {
    let mut world = killed_in_boot(2).up();
    find(&mut world);
    let forgot = world.sightings.iter().find_map(|sighting| match sighting {
        Sighting::NoSession { forgot, .. } => Some(*forgot),
        _ => None,
    });
    assert!(forgot.unwrap().is_some(), "one that was accepted before may be older or newer");
    let client = world.begin_connect(persistent(V5, "s"));
    let [(request, false)] = asked(&world)[..] else { panic!("{:?}", world.sightings) };
    answer(&mut world, request, SessionAnswer::Nobody);
    assert_eq!(connack(&mut world, client), Some((ReasonCode::Success, false)));
}
