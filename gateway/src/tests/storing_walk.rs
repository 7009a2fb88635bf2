//! Whatever happens, the disk has what the gateway has: a walk at random, with kills in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::*;
use crate::packet::{Ack, Packet, PacketId, QoS, Text, Unsubscribe};
use crate::store::{SESSIONS, StoredSession, prefix_of};
use crate::{ConnectionId, Limits};

const DEVICES: [&str; 3] = ["a", "b", "c"];
const FILTERS: [&str; 4] = ["local/x", "local/+", "$share/g/local/#", "local/y/#"];
const TOPICS: [&str; 3] = ["local/x", "local/y", "local/y/z"];

#[derive(Debug, Clone)]
enum Step {
    Connect {
        device: usize,
        is_clean: bool,
    },
    Cut {
        device: usize,
    },
    Subscribe {
        device: usize,
        filter: usize,
        qos: QoS,
    },
    Unsubscribe {
        device: usize,
        filter: usize,
    },
    /// By whom, where to, and at which QoS.
    Publish {
        device: usize,
        topic: usize,
        qos: QoS,
        retain: bool,
        is_empty: bool,
    },
    /// The client answers the oldest that it was sent, or that it has published.
    Answer {
        device: usize,
        refuses: bool,
    },
    SlowDisk(bool),
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let device = || 0..DEVICES.len();
    let qos = || prop::sample::select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
    prop_oneof![
        3 => (device(), prop::bool::weighted(0.1)).prop_map(|(device, is_clean)| Step::Connect { device, is_clean }),
        1 => device().prop_map(|device| Step::Cut { device }),
        3 => (device(), 0..FILTERS.len(), qos()).prop_map(|(device, filter, qos)| Step::Subscribe { device, filter, qos }),
        1 => (device(), 0..FILTERS.len()).prop_map(|(device, filter)| Step::Unsubscribe { device, filter }),
        8 => (device(), 0..TOPICS.len(), qos(), prop::bool::weighted(0.2), prop::bool::weighted(0.3))
            .prop_map(|(device, topic, qos, retain, is_empty)| Step::Publish { device, topic, qos, retain, is_empty }),
        8 => (device(), prop::bool::weighted(0.1)).prop_map(|(device, refuses)| Step::Answer { device, refuses }),
        1 => any::<bool>().prop_map(Step::SlowDisk),
        1 => Just(Step::Kill),
    ]
}

#[derive(Default)]
struct Client {
    connection: Option<ConnectionId>,
    next_id: u16,
    /// What it has to answer.
    owed: Vec<Packet>,
}

struct Walk {
    world: World,
    clients: [Client; 3],
}

impl Walk {
    fn take(mut self, step: &Step) -> Self {
        match *step {
            Step::Connect { device, is_clean } => self.connect(device, is_clean),
            Step::Cut { device } => {
                if let Some(connection) = self.clients[device].connection.take() {
                    self.world.cut(connection);
                }
            }
            Step::Subscribe { device, filter, qos } => {
                // Whoever waits for the disk gets no answer.
                let is_slow = self.world.store.as_ref().is_some_and(|store| store.is_slow);
                if let Some(connection) = self.open(device).filter(|_| !is_slow) {
                    let before = self.world.read(connection);
                    self.clients[device].note(before);
                    self.world.subscribe(connection, FILTERS[filter], qos);
                }
            }
            Step::Unsubscribe { device, filter } => {
                let filters = vec![Text::from_static(FILTERS[filter])];
                self.send(
                    device,
                    Packet::Unsubscribe(Unsubscribe { packet_id: id(3), filters, properties: None }),
                );
            }
            Step::Publish { device, topic, qos, retain, is_empty } => {
                let client = &mut self.clients[device];
                client.next_id = client.next_id % 50 + 1;
                let delivery = match qos {
                    QoS::AtMostOnce => crate::packet::Delivery::AtMostOnce,
                    QoS::AtLeastOnce => qos1(client.next_id),
                    QoS::ExactlyOnce => qos2(client.next_id),
                };
                let payload: &[u8] = if is_empty { b"" } else { &client.next_id.to_be_bytes() };
                let publish =
                    crate::packet::Publish { retain, ..publish_packet(TOPICS[topic], payload, delivery) };
                self.send(device, Packet::Publish(publish));
            }
            Step::Answer { device, refuses } => self.answer(device, refuses),
            Step::SlowDisk(is_slow) => self.world.disk_is_slow(is_slow),
            Step::Kill => return self.kill(),
        }
        self
    }

    fn open(&self, device: usize) -> Option<ConnectionId> {
        self.clients[device].connection.filter(|connection| !self.world.is_closed(*connection))
    }

    fn connect(&mut self, device: usize, is_clean: bool) {
        let mut connect = persistent(V5, DEVICES[device]);
        connect.clean_start = is_clean;
        let client = &mut self.clients[device];
        client.owed.clear();
        client.connection = Some(self.world.begin_connect(connect));
    }

    fn send(&mut self, device: usize, packet: Packet) {
        if let Some(connection) = self.open(device) {
            self.world.send(connection, packet);
        }
    }

    fn answer(&mut self, device: usize, refuses: bool) {
        let Some(connection) = self.open(device) else { return };
        let read = self.world.read(connection);
        let client = &mut self.clients[device];
        client.note(read);
        if client.owed.is_empty() {
            return;
        }
        let answer = match client.owed.remove(0) {
            Packet::Pubrec(ack) if refuses => {
                Packet::Pubrec(Ack::with_reason(ack.packet_id, crate::packet::ReasonCode::UnspecifiedError))
            }
            answer => answer,
        };
        self.world.send(connection, answer);
    }

    fn kill(mut self) -> Self {
        self.world.disk_is_slow(false);
        let before = self.what_is_kept();
        let world = self.world.restarted();
        let walk = Self { world, clients: Default::default() };
        assert_eq!(walk.what_is_kept(), before, "it is all there again");
        walk
    }

    /// What the gateway has of the sessions that it keeps.
    fn what_is_kept(&self) -> BTreeMap<String, Kept> {
        self.world.shard.kept_sessions().collect()
    }

    /// What the disk has of them.
    fn what_is_stored(&self) -> BTreeMap<String, Kept> {
        let records = self.world.store.as_ref().unwrap().beginning_with(SESSIONS);
        let sessions = records.chunk_by(|a, b| prefix_of(&a.key) == prefix_of(&b.key));
        sessions.map(|records| stored(StoredSession::read(self.world.now, records).unwrap())).collect()
    }
}

impl Client {
    fn note(&mut self, packets: Vec<Packet>) {
        for packet in packets {
            match packet {
                Packet::Publish(publish) => match publish.delivery {
                    crate::packet::Delivery::AtMostOnce => {}
                    crate::packet::Delivery::AtLeastOnce { packet_id, .. } => {
                        self.owed.push(Packet::Puback(Ack::success(packet_id)));
                    }
                    crate::packet::Delivery::ExactlyOnce { packet_id, .. } => {
                        self.owed.push(Packet::Pubrec(Ack::success(packet_id)));
                    }
                },
                Packet::Pubrel(ack) => self.owed.push(Packet::Pubcomp(Ack::success(ack.packet_id))),
                Packet::Pubrec(ack) => self.owed.push(Packet::Pubrel(Ack::success(ack.packet_id))),
                _ => {}
            }
        }
    }
}

/// Of one session: subscriptions, in flight, waiting, released, received.
type Kept = (Vec<String>, Vec<(PacketId, String)>, Vec<String>, Vec<PacketId>, Vec<PacketId>);

fn stored(session: StoredSession) -> (String, Kept) {
    assert_eq!(session.unreadable, 0);
    let mut subscriptions: Vec<_> = session
        .subscriptions
        .iter()
        .map(|(filter, it, _)| format!("{filter} {:?}", it.options.qos))
        .collect();
    subscriptions.sort();
    let inflight = session.inflight.iter().map(|(_, id, _, copy)| (*id, copy.copy.in_words())).collect();
    let queue = session.queue.iter().map(|(_, copy)| copy.copy.in_words()).collect();
    let released = session.released.iter().map(|(_, id)| *id).collect();
    let received = session.received.iter().map(|(id, _)| *id).collect();
    (session.device.id.as_str().to_owned(), (subscriptions, inflight, queue, released, received))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_has_what_the_gateway_has(steps in prop::collection::vec(step(), 1..80)) {
        let limits = Limits { queue_messages_max: 4, when_away_full: crate::WhenAwayFull::DropOldest, ..limits() };
        let mut walk = Walk { world: World::storing_with(limits), clients: Default::default() };
        for step in &steps {
            walk = walk.take(step);
            if !walk.world.store.as_ref().unwrap().is_slow {
                prop_assert_eq!(walk.what_is_stored(), walk.what_is_kept(), "after {:?}", step);
            }
        }
    }
}
