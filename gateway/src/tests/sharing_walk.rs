//! Whoever joins, leaves, breaks off, begins anew and takes its time: each message goes to one member of each group, to another only if the
//! first may not have it, at QoS 2 to nobody else; and none is lost without being counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::world::*;
use crate::packet::{Packet, ProtocolVersion, QoS, Text, Unsubscribe};
use crate::{ConnectionId, Count, Limits};

const MEMBERS: usize = 5;
/// The first three share under one name, the others under another.
const NAMES: [&str; MEMBERS] = ["a", "b", "c", "d", "e"];
const VERSIONS: [ProtocolVersion; MEMBERS] = [V5, V311, V5, V311, V5];
const GRANTED: [QoS; MEMBERS] =
    [QoS::ExactlyOnce, QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce];
const GROUPS: [&str; 2] = ["$share/g/local/t", "$share/h/local/+"];
const RECEIVE_MAXIMUM: u16 = 4;

const fn group_of(member: usize) -> usize {
    if member < 3 { 0 } else { 1 }
}

#[derive(Debug, Clone)]
enum Step {
    Publish(QoS),
    /// Member n reads what has come.
    Read(usize),
    /// Member n says the next thing that it has to say to that.
    Answer(usize),
    /// Member n's connection breaks: what it has not said is lost.
    Cut(usize),
    /// Member n comes back, perhaps while its older connection looks open.
    Connect(usize),
    /// Member n comes back and wants nothing of what was.
    Begin(usize),
    Subscribe(usize),
    Unsubscribe(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..MEMBERS;
    // So each group has a member with a session that is kept.
    let may_leave = proptest::sample::select(vec![1, 2, 4]);
    let qos = prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        12 => qos.prop_map(Step::Publish),
        8 => n.clone().prop_map(Step::Read),
        10 => n.clone().prop_map(Step::Answer),
        3 => n.clone().prop_map(Step::Cut),
        4 => n.clone().prop_map(Step::Connect),
        1 => may_leave.clone().prop_map(Step::Begin),
        2 => n.prop_map(Step::Subscribe),
        1 => may_leave.prop_map(Step::Unsubscribe),
        1 => (1..9_000_u64).prop_map(Step::Pass),
    ]
}

/// A member, and what it has read and not said yet: with each word the message that is done by it.
struct Member {
    peer: Peer,
    words: VecDeque<(Packet, Option<String>)>,
    is_subscribed: bool,
}

struct Walk {
    world: World,
    publisher: Peer,
    members: Vec<Member>,
    next: u32,
    at_qos_2: BTreeSet<String>,
    /// Who has got a message of a group last, and on which connection.
    holders: BTreeMap<(usize, String), (usize, ConnectionId)>,
    /// Those that are over, by group.
    done: BTreeSet<(usize, String)>,
    /// How often each was got at QoS 2, by group.
    got_at_qos_2: BTreeMap<(usize, String), u32>,
}

impl Walk {
    fn new(shards: u16) -> Self {
        let limits = Limits {
            inflight_max: NonZeroU16::new(2).unwrap(),
            receive_maximum: NonZeroU16::new(RECEIVE_MAXIMUM).unwrap(),
            queue_messages_max: 3,
            takeovers_burst: 1_000_000,
            ..limits()
        };
        let mut world = World::of_shards(shards, |config| config.limits = limits);
        let mut publisher = Peer::new(V5, "p");
        publisher.connect(&mut world);
        let member = |n: usize| Member {
            peer: Peer::new(VERSIONS[n], NAMES[n]),
            words: VecDeque::new(),
            is_subscribed: false,
        };
        let members = (0..MEMBERS).map(member).collect();
        let mut walk = Self {
            world,
            publisher,
            members,
            next: 0,
            at_qos_2: BTreeSet::new(),
            holders: BTreeMap::new(),
            done: BTreeSet::new(),
            got_at_qos_2: BTreeMap::new(),
        };
        for n in 0..MEMBERS {
            walk.step(Step::Connect(n));
            walk.step(Step::Subscribe(n));
        }
        walk
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(qos) => self.publish(qos),
            Step::Read(n) => self.read(n),
            Step::Answer(n) => self.answer(n),
            Step::Cut(n) => {
                self.members[n].words.clear();
                self.members[n].peer.cut(&mut self.world);
            }
            Step::Connect(n) => self.connect(n, false),
            Step::Begin(n) => self.connect(n, true),
            Step::Subscribe(n) => {
                if let Some(connection) = self.connection(n) {
                    self.world.subscribe(connection, GROUPS[group_of(n)], GRANTED[n]);
                    self.members[n].is_subscribed = true;
                }
            }
            Step::Unsubscribe(n) => {
                if let Some(connection) = self.connection(n) {
                    let filters = vec![Text::from_static(GROUPS[group_of(n)])];
                    let unsubscribe = Unsubscribe { packet_id: id(9), filters, properties: None };
                    self.world.send(connection, Packet::Unsubscribe(unsubscribe));
                    self.members[n].is_subscribed = false;
                }
            }
            Step::Pass(ms) => self.world.pass_with_lease(Duration::from_millis(ms)),
        }
        self.publisher.take(&mut self.world);
    }

    fn publish(&mut self, qos: QoS) {
        if self.publisher.unanswered() >= usize::from(RECEIVE_MAXIMUM) {
            return;
        }
        self.next += 1;
        let text = self.next.to_string();
        if qos == QoS::ExactlyOnce {
            self.at_qos_2.insert(text.clone());
        }
        self.publisher.publish(&mut self.world, "local/t", text, qos);
    }

    /// The member's connection, if the gateway has left it open.
    fn connection(&mut self, n: usize) -> Option<ConnectionId> {
        let member = &mut self.members[n];
        if !member.peer.is_there(&self.world) {
            member.words.clear();
        }
        member.peer.connection
    }

    fn connect(&mut self, n: usize, begins_anew: bool) {
        let member = &mut self.members[n];
        member.words.clear();
        let mut connect = member.peer.connect_packet();
        connect.clean_start = begins_anew;
        if begins_anew && connect.version == V311 {
            // There it would end with its connection.
            self.world.connect_as(connect);
            connect = self.members[n].peer.connect_packet();
        }
        let (connection, connack) = self.world.try_connect(connect);
        let member = &mut self.members[n];
        member.is_subscribed &= connack.session_present;
        member.peer.connected(&mut self.world, connection, &connack);
    }

    fn read(&mut self, n: usize) {
        let Some(connection) = self.connection(n) else { return };
        for packet in self.world.read(connection) {
            if matches!(packet, Packet::Unsuback(_)) {
                continue;
            }
            let before = self.members[n].peer.got.len();
            let is_publish = matches!(packet, Packet::Publish(_));
            let text = match &packet {
                Packet::Publish(publish) => String::from_utf8(publish.payload.to_vec()).unwrap(),
                _ => String::new(),
            };
            let is_handshake =
                matches!(&packet, Packet::Publish(publish) if publish.delivery.qos() == QoS::ExactlyOnce);
            let word = self.members[n].peer.react(packet);
            if is_publish {
                let is_new = self.members[n].peer.got.len() > before;
                self.got(n, connection, &text, is_handshake && is_new);
            }
            if let Some(word) = word {
                self.members[n].words.push_back((word, is_publish.then_some(text)));
            }
        }
    }

    /// A PUBLISH has come to a member. Nobody else may have it now, and nobody has said that it is done.
    fn got(&mut self, n: usize, connection: ConnectionId, text: &str, is_first_at_qos_2: bool) {
        let of = (group_of(n), text.to_owned());
        assert!(!self.done.contains(&of), "{text} was done");
        if let Some((holder, on)) = self.holders.insert(of.clone(), (n, connection)) {
            assert!(on != connection && self.world.is_closed(on), "{text} is {}'s", NAMES[holder]);
        }
        if is_first_at_qos_2 {
            let times = self.got_at_qos_2.entry(of).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{text} was got twice at QoS 2");
        }
    }

    fn answer(&mut self, n: usize) {
        let Some(connection) = self.connection(n) else { return };
        if let Some((word, text)) = self.members[n].words.pop_front() {
            self.world.send(connection, word);
            self.done.extend(text.map(|text| (group_of(n), text)));
        }
    }

    /// Everybody is there and takes what comes.
    fn settle(&mut self) {
        for _ in 0..100 {
            for n in 0..MEMBERS {
                if self.connection(n).is_none() {
                    self.step(Step::Connect(n));
                }
                if !self.members[n].is_subscribed {
                    self.step(Step::Subscribe(n));
                }
                self.step(Step::Read(n));
                while !self.members[n].words.is_empty() {
                    self.step(Step::Answer(n));
                }
            }
        }
    }

    fn dropped(&self) -> u64 {
        let counts = [Count::DroppedQueueFull, Count::DroppedShareQos2, Count::DroppedShareFull];
        counts.map(|count| self.world.count(count)).iter().sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn each_message_goes_to_one_member_and_none_is_lost_uncounted(
        steps in proptest::collection::vec(step(), 1..250), shards in shards(),
    ) {
        let mut walk = Walk::new(shards);
        for step in steps {
            walk.step(step);
        }
        walk.settle();
        prop_assert_eq!(walk.publisher.unanswered(), 0);
        let mut missing = 0;
        for (text, reason) in &walk.publisher.answered {
            for group in 0..2 {
                let is_there = walk.holders.contains_key(&(group, text.clone()));
                missing += u64::from(!is_there && !reason.is_error());
            }
        }
        prop_assert!(missing <= walk.dropped(), "{} are missing, {} were dropped", missing, walk.dropped());
        prop_assert_eq!(walk.world.count(Count::DroppedShareAlone), 0);
        let gauges = walk.world.gauges();
        prop_assert_eq!((gauges.queued_messages, gauges.queued_bytes, gauges.inflight_messages), (0, 0, 0));
        prop_assert_eq!((gauges.connections_paused, gauges.parked_bytes), (0, 0));
        prop_assert_eq!(gauges.subscriptions, MEMBERS);
    }
}
