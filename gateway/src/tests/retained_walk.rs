//! Whatever is retained, replaced and deleted while somebody subscribes, breaks off and comes back: what is kept then comes, or something
//! newer, in its topic's order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::retained::retained;
use super::world::*;
use crate::packet::{Delivery, Packet, PacketId, QoS, RetainHandling, SubscribeOptions};
use crate::{ConnectionId, Limits};

const WINDOW: u16 = 2;
const TOPICS: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    /// Somebody publishes to that topic, retained or not; empty: what is kept is deleted.
    Publish {
        topic: usize,
        is_retained: bool,
        is_empty: bool,
        at_qos_1: bool,
    },
    /// The device subscribes (again).
    Subscribe(RetainHandling),
    Acknowledge,
    /// The device's connection breaks, and it comes back.
    Reconnect,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let handling = prop_oneof![Just(RetainHandling::SendAlways), Just(RetainHandling::SendIfNew)];
    let publish = (0..TOPICS, any::<bool>(), prop_oneof![4 => Just(false), 1 => Just(true)], any::<bool>());
    prop_oneof![
        6 => publish.prop_map(|(topic, is_retained, is_empty, at_qos_1)| Step::Publish { topic, is_retained, is_empty, at_qos_1 }),
        2 => handling.prop_map(Step::Subscribe),
        6 => Just(Step::Acknowledge),
        1 => Just(Step::Reconnect),
        1 => (1..100_u64).prop_map(Step::Pass),
    ]
}

struct Play {
    world: World,
    publisher: ConnectionId,
    subscriber: ConnectionId,
    unacknowledged: VecDeque<PacketId>,
    is_subscribed: bool,
    number: u32,
    /// The number of what is kept, by topic.
    kept: BTreeMap<usize, (u32, bool)>,
    /// What the device has to get, at QoS 1: of each topic that one or a newer one.
    owed: BTreeMap<usize, u32>,
    /// The newest that it has got at QoS 1, of each topic, as published or because it subscribed.
    newest: BTreeMap<(usize, bool), u32>,
    /// How many were published before it subscribed last, and of which topics it has got a later one: what was kept came before that.
    subscribed_at: u32,
    passed: BTreeSet<usize>,
}

impl Play {
    fn new(shards: u16) -> Self {
        let window = NonZeroU16::new(WINDOW).unwrap();
        let limits = Limits { inflight_max: window, queue_messages_max: 100_000, ..limits() };
        let mut world = World::of_shards(shards, |config| config.limits = limits);
        let publisher = world.connect(V5, "p");
        let subscriber = world.connect_as(persistent(V5, "s"));
        Self {
            world,
            publisher,
            subscriber,
            unacknowledged: VecDeque::new(),
            is_subscribed: false,
            number: 0,
            kept: BTreeMap::new(),
            owed: BTreeMap::new(),
            newest: BTreeMap::new(),
            subscribed_at: 0,
            passed: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { topic, is_retained, is_empty, at_qos_1 } => {
                self.number += 1;
                let payload = if is_empty { String::new() } else { self.number.to_string() };
                let delivery = if at_qos_1 { qos1(1) } else { Delivery::AtMostOnce };
                let name = format!("local/{topic}");
                let packet = match is_retained {
                    true => retained(&name, payload.as_bytes(), delivery),
                    false => Packet::Publish(publish_packet(&name, payload.as_bytes(), delivery)),
                };
                self.world.send(self.publisher, packet);
                self.world.read(self.publisher);
                match (is_retained, is_empty) {
                    (true, true) => {
                        self.kept.remove(&topic);
                        // It may come, and need not any more.
                        self.owed.remove(&topic);
                    }
                    (true, false) => {
                        self.kept.insert(topic, (self.number, at_qos_1));
                        // The older one is not the last any more; this one comes by itself, if at QoS 1.
                        self.owed.remove(&topic);
                    }
                    (false, _) => {}
                }
                if self.is_subscribed && at_qos_1 && !is_empty {
                    self.owed.insert(topic, self.number);
                }
            }
            Step::Subscribe(retain_handling) => {
                let options = SubscribeOptions {
                    qos: QoS::AtLeastOnce,
                    retain_handling,
                    ..SubscribeOptions::default()
                };
                let is_new = !std::mem::replace(&mut self.is_subscribed, true);
                self.read();
                self.world.subscribe_with(self.subscriber, "local/#", options);
                if is_new || retain_handling == RetainHandling::SendAlways {
                    for (topic, (number, at_qos_1)) in &self.kept {
                        let owed = self.owed.entry(*topic).or_default();
                        *owed = (*owed).max(if *at_qos_1 { *number } else { 0 });
                    }
                    // Each may come again.
                    self.newest.retain(|(_, is_retained), _| !is_retained);
                    self.subscribed_at = self.number;
                    self.passed.clear();
                }
            }
            Step::Acknowledge => {
                if let Some(packet_id) = self.unacknowledged.pop_front() {
                    self.world.puback(self.subscriber, packet_id);
                }
            }
            Step::Reconnect => {
                self.read();
                self.world.cut(self.subscriber);
                self.unacknowledged.clear();
                self.newest.clear();
                self.passed.clear();
                self.subscriber = self.world.connect_as(persistent(V5, "s"));
            }
            Step::Pass(ms) => self.world.pass_with_lease(Duration::from_millis(ms)),
        }
        self.read();
    }

    fn read(&mut self) {
        for packet in self.world.read(self.subscriber) {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let topic: usize = publish.topic.strip_prefix("local/").unwrap().parse().unwrap();
            let Some(packet_id) = publish.delivery.packet_id() else { continue };
            self.unacknowledged.push_back(packet_id);
            assert!(self.unacknowledged.len() <= usize::from(WINDOW), "the window is kept");
            let Ok(number) = std::str::from_utf8(&publish.payload).unwrap().parse::<u32>() else { continue };
            let newest = self.newest.entry((topic, publish.retain)).or_default();
            assert!(number >= *newest, "{number} of {topic} comes behind {newest}");
            *newest = number;
            assert!(!publish.retain || !self.passed.contains(&topic), "{number} of {topic} comes too late");
            if !publish.retain && number > self.subscribed_at {
                self.passed.insert(topic);
            }
            if self.owed.get(&topic).is_some_and(|owed| number >= *owed) {
                self.owed.remove(&topic);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_comes_or_something_newer_in_order(
        steps in proptest::collection::vec(step(), 1..120), shards in shards(),
    ) {
        let mut play = Play::new(shards);
        for step in steps {
            play.step(step);
        }
        while !play.unacknowledged.is_empty() {
            play.step(Step::Acknowledge);
        }
        play.owed.retain(|_, number| *number > 0);
        prop_assert!(play.owed.is_empty(), "missing: {:?}", play.owed);
        let gauges = play.world.gauges();
        prop_assert_eq!((gauges.queued_messages, gauges.inflight_messages), (0, 0));
        prop_assert_eq!(gauges.retained_messages, play.kept.len());

        let late = play.world.connect(V5, "late");
        play.world.subscribe(late, "local/#", QoS::AtMostOnce);
        let received: Vec<_> = play.world.read_publishes(late).into_iter().map(|publish| {
            assert!(publish.retain);
            std::str::from_utf8(&publish.payload).unwrap().parse::<u32>().unwrap()
        }).collect();
        let expected: Vec<_> = play.kept.values().map(|(number, _)| *number).collect();
        prop_assert_eq!(received, expected);
    }
}
