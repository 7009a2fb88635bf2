//! Whatever clients, commands and the backend do in whatever order: the promises hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;
use roost_wire::{Outcome, Qos};

use super::world::*;
use crate::packet::{Delivery, Packet, Publish, PublishProperties, QoS, Text};
use crate::shard::Backend;
use crate::{ConnectionId, Limits, PublishOutcome};

const WINDOW: u16 = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Device n publishes at QoS 1, to the others if `is_local`, else to the backend.
    Publish {
        n: usize,
        is_local: bool,
    },
    /// Device n acknowledges the oldest publish it has.
    Acknowledge(usize),
    /// Device n's connection breaks, or it connects again.
    Toggle(usize),
    /// The router sends device n a command.
    Command {
        n: usize,
        qos: u8,
    },
    /// The n-th outstanding event is answered.
    Answer {
        n: usize,
        outcome: PublishOutcome,
    },
    Backend(Backend),
    /// The link is lost and a new one comes.
    NewLink,
    /// The router restarts.
    NewRun,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        8 => Just(PublishOutcome::Confirmed),
        1 => Just(PublishOutcome::Nacked),
        1 => Just(PublishOutcome::Returned),
    ];
    prop_oneof![
        8 => (0..3_usize, any::<bool>()).prop_map(|(n, is_local)| Step::Publish { n, is_local }),
        8 => (0..3_usize).prop_map(Step::Acknowledge),
        2 => (0..3_usize).prop_map(Step::Toggle),
        6 => (0..3_usize, 0..2_u8).prop_map(|(n, qos)| Step::Command { n, qos }),
        8 => (0..4_usize, outcome).prop_map(|(n, outcome)| Step::Answer { n, outcome }),
        1 => prop_oneof![Just(Backend::Up), Just(Backend::Away)].prop_map(Step::Backend),
        1 => Just(Step::NewLink),
        1 => Just(Step::NewRun),
        2 => (1..4_000_u64).prop_map(Step::Pass),
    ]
}

/// One device and all it knows.
#[derive(Default)]
struct Device {
    connection: Option<ConnectionId>,
    /// Received at QoS 1 and not acknowledged, on this connection.
    unacknowledged: VecDeque<crate::packet::PacketId>,
    /// Published at QoS 1 and not acknowledged, on this connection.
    unconfirmed: VecDeque<(u16, String)>,
    received: Vec<String>,
    next_packet: u16,
    /// The topics that it has given aliases, on this connection.
    aliases: Vec<&'static str>,
}

struct Fleet {
    world: World,
    devices: [Device; 3],
    /// Messages to the others that got their PUBACK.
    safe: BTreeSet<String>,
    /// Events that got their PUBACK, by payload.
    safe_events: BTreeSet<String>,
    confirmed_events: BTreeSet<String>,
    next_message: u32,
    commands: BTreeMap<u64, Vec<Outcome>>,
    turn: u64,
    run: u64,
    link: u32,
}

impl Device {
    /// Names an alias beside the topic, or instead of it where the gateway knows.
    fn use_alias(&mut self, topic: &'static str, publish: &mut Publish) {
        let known = self.aliases.iter().position(|known| *known == topic);
        let at = known.unwrap_or(self.aliases.len());
        match known {
            Some(_) => publish.topic = Text::EMPTY,
            None => self.aliases.push(topic),
        }
        let topic_alias = NonZeroU16::new(at as u16 + 1);
        publish.properties =
            Some(Box::new(PublishProperties { topic_alias, ..PublishProperties::default() }));
    }
}

impl Fleet {
    fn new(shards: u16) -> Self {
        let window = NonZeroU16::new(WINDOW).unwrap();
        let limits = Limits { inflight_max: window, queue_messages_max: 10_000, ..limits() };
        let mut fleet = Self {
            world: World::of_shards(shards, |config| config.limits = limits),
            devices: Default::default(),
            safe: BTreeSet::new(),
            safe_events: BTreeSet::new(),
            confirmed_events: BTreeSet::new(),
            next_message: 0,
            commands: BTreeMap::new(),
            turn: 0,
            run: 1,
            link: 1,
        };
        for n in 0..3 {
            fleet.toggle(n);
            let client = fleet.devices[n].connection.unwrap();
            fleet.world.subscribe(client, "local/t", QoS::AtLeastOnce);
            fleet.world.subscribe(client, &format!("devices/d{n}/cmd"), QoS::AtLeastOnce);
        }
        fleet
    }

    fn toggle(&mut self, n: usize) {
        match self.devices[n].connection.take() {
            Some(connection) => self.world.cut(connection),
            None => {
                let mut connect = persistent(if n == 0 { V311 } else { V5 }, &format!("d{n}"));
                // One alias for two topics: it changes hands.
                connect.properties.topic_alias_maximum = (n == 2).then_some(1);
                self.devices[n].connection = Some(self.world.connect_as(connect));
            }
        }
        self.devices[n].unacknowledged.clear();
        self.devices[n].unconfirmed.clear();
        self.devices[n].aliases.clear();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { n, is_local } => self.publish(n, is_local),
            Step::Acknowledge(n) => {
                let device = &mut self.devices[n];
                if let (Some(client), Some(packet_id)) =
                    (device.connection, device.unacknowledged.pop_front())
                {
                    self.world.puback(client, packet_id);
                }
            }
            Step::Toggle(n) => self.toggle(n),
            Step::Command { n, qos } => self.command(n, qos),
            Step::Answer { n, outcome } => self.answer(n, outcome),
            Step::Backend(backend) => self.world.backend(backend),
            Step::NewLink => {
                self.link += 1;
                self.world.link_down();
                self.world.link_up(self.link);
            }
            Step::NewRun => {
                self.run += 1;
                self.world.router_says(self.run, vec![]);
            }
            Step::Pass(ms) => {
                self.world.pass(Duration::from_millis(ms));
                self.world.answer_heartbeats(self.run);
            }
        }
        self.read();
    }

    fn publish(&mut self, n: usize, is_local: bool) {
        let device = &mut self.devices[n];
        // A v5 client keeps to the receive maximum.
        let Some(client) = device.connection.filter(|_| device.unconfirmed.len() < 100) else { return };
        device.next_packet = device.next_packet % 1_000 + 1;
        self.next_message += 1;
        let payload = self.next_message.to_string();
        device.unconfirmed.push_back((device.next_packet, payload.clone()));
        let topic = if is_local { "local/t" } else { "up" };
        let mut publish = publish_packet(topic, payload.as_bytes(), qos1(device.next_packet));
        if n == 2 {
            device.use_alias(topic, &mut publish);
        }
        self.world.send(client, Packet::Publish(publish));
    }

    fn command(&mut self, n: usize, qos: u8) {
        self.turn += 1;
        let mut command = self.world.new_command(&format!("d{n}"), epoch(self.run, self.turn / 4));
        command.qos = Qos::try_from(qos).unwrap();
        self.commands.insert(command.id.sequence, Vec::new());
        self.world.deliver(command);
    }

    fn answer(&mut self, n: usize, outcome: PublishOutcome) {
        if self.world.events.is_empty() {
            return;
        }
        let n = n % self.world.events.len();
        let event = self.world.events.remove(n).unwrap();
        if event.message.exchange == "roost.up" {
            assert!(event.message.routing_key.ends_with(".up"), "the topic that its alias stood for");
        }
        if outcome == PublishOutcome::Confirmed {
            self.confirmed_events.insert(String::from_utf8(event.message.body.to_vec()).unwrap());
        }
        self.world.answer(event.token, outcome);
    }

    /// Each device reads what came, and what must hold at every moment is checked.
    fn read(&mut self) {
        for n in 0..3 {
            let Some(client) = self.devices[n].connection else { continue };
            for packet in self.world.read(client) {
                let device = &mut self.devices[n];
                match packet {
                    Packet::Publish(publish) => {
                        let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                        if &*publish.topic == "local/t" {
                            device.received.push(payload);
                        }
                        if let Delivery::AtLeastOnce { packet_id, .. } = publish.delivery {
                            assert!(
                                !device.unacknowledged.contains(&packet_id),
                                "an id in use is not used again"
                            );
                            device.unacknowledged.push_back(packet_id);
                            assert!(
                                device.unacknowledged.len() <= usize::from(WINDOW),
                                "the receive maximum is kept"
                            );
                        }
                    }
                    Packet::Puback(ack) => {
                        let (expected, payload) = device.unconfirmed.pop_front().expect("it was published");
                        assert_eq!(ack.packet_id.value(), expected, "PUBACKs come in order");
                        self.safe.insert(payload.clone());
                        self.safe_events.insert(payload);
                    }
                    other => panic!("{other:?}"),
                }
            }
            if self.world.is_closed(client) {
                self.devices[n].connection = None;
            }
        }
        for (sequence, outcome) in self.world.outcomes() {
            self.commands.get_mut(&sequence).expect("it was sent").push(outcome);
        }
        let accepted = &self.confirmed_events;
        let local = |payload: &String| self.devices.iter().any(|d| d.received.contains(payload));
        for payload in &self.safe_events {
            assert!(accepted.contains(payload) || local(payload) || self.safe.contains(payload));
        }
    }

    /// Everybody is back and behaves; nothing that was promised is missing.
    fn settle(&mut self) {
        self.world.backend(Backend::Up);
        for _ in 0..400 {
            for n in 0..3 {
                if self.devices[n].connection.is_none() {
                    self.toggle(n);
                }
                while !self.devices[n].unacknowledged.is_empty() {
                    self.step(Step::Acknowledge(n));
                }
            }
            while !self.world.events.is_empty() {
                self.step(Step::Answer { n: 0, outcome: PublishOutcome::Confirmed });
            }
            self.step(Step::Pass(100));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_promised_is_lost_and_every_command_has_at_most_one_answer(
        steps in proptest::collection::vec(step(), 1..200), shards in shards(),
    ) {
        let mut fleet = Fleet::new(shards);
        let mut local = BTreeSet::new();
        for step in steps {
            let is_local = matches!(step, Step::Publish { is_local: true, .. });
            let before = fleet.next_message;
            fleet.step(step);
            if is_local && fleet.next_message > before {
                local.insert(fleet.next_message.to_string());
            }
        }
        fleet.settle();
        for payload in fleet.safe.intersection(&local) {
            for device in &fleet.devices {
                prop_assert!(device.received.contains(payload), "{payload} was acknowledged and is missing");
            }
        }
        for payload in fleet.safe_events.difference(&local) {
            prop_assert!(fleet.confirmed_events.contains(payload), "{payload} was acknowledged before the backend had it");
        }
        for (sequence, outcomes) in &fleet.commands {
            prop_assert!(outcomes.len() <= 1, "command {sequence}: {outcomes:?}");
        }
        prop_assert_eq!(fleet.world.gauges().commands, 0);
        prop_assert_eq!(fleet.world.gauges().uplink_events, 0);
        prop_assert_eq!(fleet.world.gauges().connections_paused, 0);
        prop_assert!(fleet.world.link.is_settled());
    }
}
