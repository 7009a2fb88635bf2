//! A gateway learns from another one which retained broadcasts it has missed.

use std::time::Duration;

use bytes::Bytes;
use roost_wire::{Broadcast, BroadcastPrefix, Message, Topic};

use super::world::*;
use crate::packet::QoS;
use crate::shard::{Backend, Input};
use crate::{BroadcastNumber, Count, PublishOutcome};

const SECOND: Duration = Duration::from_secs(1);

/// Some gateways, each with its queue of broadcasts.
struct Mesh {
    gateways: Vec<(String, World)>,
    next: u64,
    /// What none of them gets.
    lost: fn(&Message) -> bool,
}

impl Mesh {
    fn of(names: &[&str]) -> Self {
        let mut mesh = Self { gateways: Vec::new(), next: 0, lost: |_| false };
        for name in names {
            mesh.join(name);
            mesh.pass(10 * SECOND);
        }
        mesh
    }

    /// A gateway starts.
    fn join(&mut self, name: &str) {
        let world = World::configured(|config| {
            config.gateway = name.parse().unwrap();
            config.broadcasts = vec![BroadcastPrefix::parse("broadcast/").unwrap()];
        });
        self.gateways.push((format!("queue of {name}"), world));
        self.link_up(self.gateways.len() - 1);
    }

    fn link_up(&mut self, at: usize) {
        let (queue, world) = &mut self.gateways[at];
        world.input(Input::BroadcastsLink { queue: Some(queue.clone()) });
        self.carry();
    }

    /// Everything that was published is where it belongs.
    fn carry(&mut self) {
        while let Some(message) = self.published() {
            if (self.lost)(&message) {
                continue;
            }
            for (queue, world) in &mut self.gateways {
                if message.exchange == "roost.fanout" || message.routing_key == *queue {
                    let number = BroadcastNumber(self.next);
                    self.next += 1;
                    world.input(Input::Broadcast { number, message: Box::new(message.clone()) });
                }
            }
        }
    }

    fn published(&mut self) -> Option<Message> {
        let (_, world) = self.gateways.iter_mut().find(|(_, world)| !world.events.is_empty())?;
        Some(world.answer_event(PublishOutcome::Confirmed).message)
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_secs() {
            self.gateways.iter_mut().for_each(|(_, world)| world.pass_with_lease(SECOND));
            self.carry();
        }
    }

    /// A service has it retained, at those gateways.
    fn retain(&mut self, at: &[usize], topic: &str, payload: &str) {
        let topic = Topic::parse(topic).unwrap();
        let broadcast =
            Broadcast { retain: true, ..Broadcast::new(topic, Bytes::copy_from_slice(payload.as_bytes())) };
        for at in at {
            let number = BroadcastNumber(self.next);
            self.next += 1;
            let message = Box::new(broadcast.clone().into_message("roost.fanout"));
            self.gateways[*at].1.input(Input::Broadcast { number, message });
        }
    }

    fn world(&mut self, at: usize) -> &mut World {
        &mut self.gateways[at].1
    }

    fn kept(&mut self, at: usize) -> Vec<String> {
        let world = self.world(at);
        let late = world.connect(V5, "late");
        world.subscribe(late, "broadcast/#", QoS::AtLeastOnce);
        world.take_publishes(late, true)
    }
}

#[test]
fn a_gateway_that_starts_learns_all_of_them_page_by_page() {
    let mut mesh = Mesh::of(&["eu-1"]);
    let all: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    for text in &all {
        mesh.retain(&[0], &format!("broadcast/{text}"), text);
    }
    // What is no broadcast stays where it is.
    let world = mesh.world(0);
    let client = world.connect(V5, "client");
    let mut publish = publish_packet("local/x", b"x", crate::packet::Delivery::AtMostOnce);
    publish.retain = true;
    world.send(client, crate::packet::Packet::Publish(publish));
    mesh.join("us-1");
    mesh.pass(2 * SECOND);
    assert_eq!(mesh.kept(1), all);
    let world = mesh.world(1);
    assert_eq!((world.gauges().retained_messages, world.count(Count::Learned)), (200, 1));
    assert!(world.events.is_empty() && world.gauges().uplink_events == 0);
}

#[test]
fn who_was_cut_off_learns_what_is_newer_and_its_subscribers_get_it() {
    let mut mesh = Mesh::of(&["eu-1", "us-1"]);
    for topic in ["broadcast/same", "broadcast/changed", "broadcast/deleted"] {
        mesh.retain(&[0, 1], topic, "before");
    }
    let world = mesh.world(1);
    let subscriber = world.connect(V311, "subscriber");
    world.subscribe(subscriber, "broadcast/#", QoS::AtLeastOnce);
    assert_eq!(world.take_publishes(subscriber, true).len(), 3);
    world.input(Input::BroadcastsLink { queue: None });
    mesh.pass(SECOND);
    mesh.retain(&[0], "broadcast/changed", "after");
    mesh.retain(&[0], "broadcast/deleted", "");
    mesh.link_up(1);
    mesh.pass(3 * SECOND);
    assert_eq!(mesh.world(1).take_publishes(subscriber, true), ["after", ""], "and nothing that it had");
    assert_eq!(mesh.kept(1), ["after", "before"]);
    assert_eq!(mesh.world(1).count(Count::BroadcastKnown), 1);
}

#[test]
fn the_eldest_is_asked() {
    let mut mesh = Mesh::of(&["old", "young"]);
    mesh.retain(&[0], "broadcast/x", "of the old one");
    mesh.retain(&[1], "broadcast/y", "of the young one");
    mesh.join("new");
    mesh.pass(2 * SECOND);
    assert_eq!(mesh.kept(2), ["of the old one"]);
}

#[test]
fn nobody_is_waited_for_without_end() {
    let mut mesh = Mesh::of(&["eu-1"]);
    assert_eq!(mesh.world(0).count(Count::LearnedNobody), 1, "it is alone");
    mesh.retain(&[0], "broadcast/x", "x");
    // Whatever is given is lost on the way.
    mesh.lost = |message| message.properties.kind.as_deref() == Some("roost.retained.end");
    mesh.join("us-1");
    mesh.pass(60 * SECOND);
    assert_eq!(mesh.world(1).count(Count::LearnedTimedOut), 3);
    assert_eq!(mesh.kept(1), ["x"], "what came is kept");
    mesh.lost = |_| false;
    mesh.link_up(1);
    mesh.pass(2 * SECOND);
    assert_eq!(mesh.world(1).count(Count::Learned), 1, "with the next link it begins anew");
}

#[test]
fn it_asks_when_the_backend_can_be_published_to() {
    let mut mesh = Mesh::of(&["eu-1"]);
    mesh.retain(&[0], "broadcast/x", "x");
    mesh.join("us-1");
    let world = mesh.world(1);
    world.input(Input::Backend(Backend::Away));
    let queue = Some("queue of us-1".to_owned());
    world.input(Input::BroadcastsLink { queue });
    assert!(world.events.is_empty());
    world.input(Input::Backend(Backend::Up));
    assert_eq!(world.events.len(), 1);
    mesh.carry();
    mesh.pass(2 * SECOND);
    assert_eq!(mesh.kept(1), ["x"]);
}
