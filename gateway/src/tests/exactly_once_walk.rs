//! Whatever is lost between clients and the gateway, and whatever the backend does: at QoS 2 everything comes once, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;
use roost_wire::Event;

use super::world::*;
use crate::packet::QoS;
use crate::shard::Backend;
use crate::{Limits, PublishOutcome};

const LOCAL: &str = "local/t";
const UP: &str = "up";
const RECEIVE_MAXIMUM: u16 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// Device n publishes, to all of them or to the backend. Without a connection the packet is lost.
    Publish {
        n: usize,
        is_local: bool,
        qos: QoS,
    },
    /// Device n reads and answers all that comes.
    Take(usize),
    /// Device n's connection breaks: what it has not read is lost.
    Cut(usize),
    /// Device n reads, and its connection breaks: what it says is lost.
    TakeAndBreak(usize),
    /// Device n connects, perhaps while its older connection looks open.
    Connect(usize),
    /// The n-th outstanding event is answered.
    Answer {
        n: usize,
        outcome: PublishOutcome,
    },
    Backend(Backend),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![1 => Just(QoS::AtLeastOnce), 3 => Just(QoS::ExactlyOnce)];
    let outcome = prop_oneof![
        8 => Just(PublishOutcome::Confirmed),
        2 => Just(PublishOutcome::Nacked),
        1 => Just(PublishOutcome::Returned),
    ];
    prop_oneof![
        10 => (0..2_usize, any::<bool>(), qos).prop_map(|(n, is_local, qos)| Step::Publish { n, is_local, qos }),
        8 => (0..2_usize).prop_map(Step::Take),
        2 => (0..2_usize).prop_map(Step::Cut),
        3 => (0..2_usize).prop_map(Step::TakeAndBreak),
        6 => (0..2_usize).prop_map(Step::Connect),
        8 => (0..4_usize, outcome).prop_map(|(n, outcome)| Step::Answer { n, outcome }),
        1 => prop_oneof![Just(Backend::Up), Just(Backend::Away)].prop_map(Step::Backend),
        3 => (1..4_000_u64).prop_map(Step::Pass),
    ]
}

struct Walk {
    world: World,
    devices: [Peer; 2],
    /// What was published at QoS 2, by whether it is local.
    published: BTreeMap<String, bool>,
    /// The ids under which events went to the backend, by payload.
    events: BTreeMap<String, BTreeSet<String>>,
    next: u32,
}

impl Walk {
    fn new(shards: u16) -> Self {
        let limits = Limits {
            inflight_max: NonZeroU16::new(2).unwrap(),
            receive_maximum: NonZeroU16::new(RECEIVE_MAXIMUM).unwrap(),
            uplink_events_max: 3,
            queue_messages_max: 10_000,
            takeovers_burst: 1_000_000,
            ..limits()
        };
        let mut world = World::of_shards(shards, |config| config.limits = limits);
        let mut devices = [Peer::new(V5, "a"), Peer::new(V311, "b")];
        for device in &mut devices {
            device.connect(&mut world);
            world.subscribe(device.connection.unwrap(), LOCAL, QoS::ExactlyOnce);
        }
        Self { world, devices, published: BTreeMap::new(), events: BTreeMap::new(), next: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { n, is_local, qos } => self.publish(n, is_local, qos),
            Step::Take(n) => self.devices[n].take(&mut self.world),
            Step::Cut(n) => self.devices[n].cut(&mut self.world),
            Step::TakeAndBreak(n) => self.devices[n].take_and_break(&mut self.world),
            Step::Connect(n) => self.devices[n].connect(&mut self.world),
            Step::Answer { n, outcome } => {
                if !self.world.events.is_empty() {
                    let event = self.world.events.remove(n % self.world.events.len()).unwrap();
                    self.world.answer(event.token, outcome);
                }
            }
            Step::Backend(backend) => self.world.backend(backend),
            Step::Pass(ms) => self.world.pass_with_lease(Duration::from_millis(ms)),
        }
        self.look();
    }

    fn publish(&mut self, n: usize, is_local: bool, qos: QoS) {
        let device = &mut self.devices[n];
        device.is_there(&self.world);
        if device.unanswered() >= usize::from(RECEIVE_MAXIMUM) {
            return;
        }
        self.next += 1;
        let payload = self.next.to_string();
        if qos == QoS::ExactlyOnce {
            self.published.insert(payload.clone(), is_local);
        }
        let topic = if is_local { LOCAL } else { UP };
        device.publish(&mut self.world, topic, payload, qos);
    }

    /// What must hold at every moment.
    fn look(&mut self) {
        for publication in &self.world.events {
            let event = Event::from_message(&publication.message).unwrap();
            let payload = String::from_utf8(event.payload.to_vec()).unwrap();
            self.events.entry(payload).or_default().insert(event.id());
        }
        for (payload, is_local) in &self.published {
            match is_local {
                true => assert!(
                    self.devices.iter().all(|device| times(device, payload) <= 1),
                    "{payload} came twice"
                ),
                false => assert!(
                    self.events.get(payload).is_none_or(|ids| ids.len() == 1),
                    "{payload} is more than one event"
                ),
            }
        }
    }

    /// Everybody is back and behaves.
    fn settle(&mut self) {
        self.world.backend(Backend::Up);
        for _ in 0..200 {
            for n in 0..2 {
                if !self.devices[n].is_there(&self.world) {
                    self.step(Step::Connect(n));
                }
                self.step(Step::Take(n));
            }
            while !self.world.events.is_empty() {
                self.step(Step::Answer { n: 0, outcome: PublishOutcome::Confirmed });
            }
            self.step(Step::Pass(100));
        }
    }
}

fn times(device: &Peer, payload: &str) -> usize {
    device.got.iter().filter(|got| *got == payload).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn at_qos_2_everything_comes_once(
        steps in proptest::collection::vec(step(), 1..200), shards in shards(),
    ) {
        let mut walk = Walk::new(shards);
        for step in steps {
            walk.step(step);
        }
        walk.settle();
        for (payload, is_local) in &walk.published {
            match is_local {
                true => prop_assert!(walk.devices.iter().all(|device| times(device, payload) == 1), "{} is missing", payload),
                false => prop_assert!(walk.events.contains_key(payload), "{} is missing", payload),
            }
        }
        for device in &walk.devices {
            prop_assert_eq!(device.unanswered(), 0);
            for (payload, _) in &device.answered {
                let is_known = walk.events.contains_key(payload) || times(device, payload) > 0;
                prop_assert!(is_known, "{} was acknowledged and is nowhere", payload);
            }
        }
        let gauges = walk.world.gauges();
        prop_assert_eq!((gauges.uplink_events, gauges.queued_messages, gauges.inflight_messages), (0, 0, 0));
        prop_assert_eq!((gauges.connections_paused, gauges.parked_bytes), (0, 0));
    }
}
