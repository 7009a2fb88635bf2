//! Publishers and subscribers in three shards, slow ones among them, that come and go while words between the shards are held up: what was
//! acknowledged is with every subscriber that was there, once and in its publisher's order.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;

use proptest::prelude::*;

use super::world::*;
use crate::packet::{Delivery, Packet, PacketId, QoS};
use crate::{ConnectionId, Limits};

const CLIENTS: usize = 6;
const NAMES: [&str; CLIENTS] = ["a", "b", "c", "d", "e", "f"];
const TOPICS: [&str; 3] = ["local/x", "local/y", "local/z"];
const FILTERS: [&str; 5] = ["local/x", "local/y", "local/+", "local/z", "#"];

#[derive(Debug, Clone)]
enum Step {
    Publish {
        by: usize,
        topic: usize,
        at_qos_1: bool,
    },
    Subscribe {
        who: usize,
        filter: usize,
    },
    /// Client n acknowledges the oldest message that it has not.
    Acknowledge(usize),
    /// Words between shards are held up, or go on.
    Hold(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..CLIENTS, 0..TOPICS.len(), prop_oneof![1 => Just(false), 4 => Just(true)])
            .prop_map(|(by, topic, at_qos_1)| Step::Publish { by, topic, at_qos_1 }),
        3 => (0..CLIENTS, 0..FILTERS.len()).prop_map(|(who, filter)| Step::Subscribe { who, filter }),
        12 => (0..CLIENTS).prop_map(Step::Acknowledge),
        3 => any::<bool>().prop_map(Step::Hold),
    ]
}

struct Client {
    connection: ConnectionId,
    next_id: u16,
    /// What it has subscribed to, and from which publish on that is certain.
    filters: BTreeMap<usize, u32>,
    to_acknowledge: VecDeque<PacketId>,
    /// What it has got at QoS 1: by publisher and topic, in order.
    got: BTreeMap<(usize, usize), Vec<u32>>,
    acknowledged: Vec<u16>,
}

struct Walk {
    world: World,
    clients: Vec<Client>,
    number: u32,
    /// At QoS 1: its number, by whom, its topic, and its packet id.
    published: Vec<(u32, usize, usize, u16)>,
}

fn matches(filter: usize, topic: usize) -> bool {
    FILTERS[filter].parse::<roost_wire::TopicFilter>().unwrap().matches(TOPICS[topic])
}

impl Walk {
    fn new(shards: u16) -> Self {
        let two = NonZeroU16::new(2).unwrap();
        let limits = Limits { inflight_max: two, queue_messages_max: 3, ..limits() };
        let mut world = World::of_shards(shards, |config| config.limits = limits);
        let clients = NAMES.map(|name| Client {
            connection: world.connect(V311, name),
            next_id: 0,
            filters: BTreeMap::new(),
            to_acknowledge: VecDeque::new(),
            got: BTreeMap::new(),
            acknowledged: Vec::new(),
        });
        Self { world, clients: clients.into(), number: 0, published: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { by, topic, at_qos_1 } => self.publish(by, topic, at_qos_1),
            Step::Subscribe { who, filter } => {
                // Its answer is given out at once, whatever is held up.
                self.world.subscribe(self.clients[who].connection, FILTERS[filter], QoS::AtLeastOnce);
                self.clients[who].filters.entry(filter).or_insert(self.number);
            }
            Step::Acknowledge(n) => {
                if let Some(packet_id) = self.clients[n].to_acknowledge.pop_front() {
                    self.world.puback(self.clients[n].connection, packet_id);
                }
            }
            Step::Hold(is_held) => {
                self.world.others.holds_words = is_held;
                self.world.run();
            }
        }
        (0..CLIENTS).for_each(|n| self.read(n));
    }

    fn publish(&mut self, by: usize, topic: usize, at_qos_1: bool) {
        self.number += 1;
        let delivery = match at_qos_1 {
            false => Delivery::AtMostOnce,
            true => {
                let client = &mut self.clients[by];
                client.next_id += 1;
                self.published.push((self.number, by, topic, client.next_id));
                qos1(client.next_id)
            }
        };
        let payload = format!("{by} {topic} {}", self.number);
        let publish = publish_packet(TOPICS[topic], payload.as_bytes(), delivery);
        self.world.send(self.clients[by].connection, Packet::Publish(publish));
    }

    fn read(&mut self, n: usize) {
        let client = &mut self.clients[n];
        for packet in self.world.read(client.connection) {
            match packet {
                Packet::Puback(ack) => client.acknowledged.push(ack.packet_id.value()),
                Packet::Publish(publish) => {
                    let Some(packet_id) = publish.delivery.packet_id() else { continue };
                    client.to_acknowledge.push_back(packet_id);
                    let text = std::str::from_utf8(&publish.payload).unwrap();
                    let parts: Vec<u32> = text.split(' ').map(|part| part.parse().unwrap()).collect();
                    let [by, topic, number] = parts[..] else { panic!("{text}") };
                    client.got.entry((by as usize, topic as usize)).or_default().push(number);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(&mut self) {
        self.step(Step::Hold(false));
        while self.clients.iter().any(|client| !client.to_acknowledge.is_empty()) {
            (0..CLIENTS).for_each(|n| self.step(Step::Acknowledge(n)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_subscriber_has_what_was_acknowledged_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..200), shards in shards(),
    ) {
        let mut walk = Walk::new(shards);
        for step in steps {
            walk.step(step);
        }
        walk.settle();
        for (n, client) in walk.clients.iter().enumerate() {
            let own: Vec<u16> = walk.published.iter().filter(|it| it.1 == n).map(|it| it.3).collect();
            prop_assert_eq!(&client.acknowledged, &own, "each is acknowledged, in order");
            for got in client.got.values() {
                prop_assert!(got.is_sorted_by(|a, b| a < b), "{:?}", got);
            }
            for (number, by, topic, _) in &walk.published {
                let since = client.filters.iter().filter(|(filter, _)| matches(**filter, *topic));
                let is_owed = since.map(|(_, since)| since).min().is_some_and(|since| number > since);
                let has = client.got.get(&(*by, *topic)).is_some_and(|got| got.contains(number));
                prop_assert!(has || !is_owed, "{} of {} is missing at {}", number, by, n);
            }
        }
        let gauges = walk.world.gauges();
        prop_assert_eq!((gauges.crossing_publishes, gauges.crossing_bytes, gauges.guest_publishes), (0, 0, 0));
        prop_assert_eq!((gauges.queued_messages, gauges.inflight_messages, gauges.parked_bytes), (0, 0, 0));
    }
}
