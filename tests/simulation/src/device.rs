//! A device: an MQTT client with habits, good and bad.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use roost_gateway::packet::{
    Ack, Connack, Connect, ConnectProperties, Delivery, Disconnect, Packet, PacketId, ProtocolVersion,
    Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use roost_wire::{Device as Name, Topic};

use crate::chance::Chance;
use crate::socket::{Note, SocketId};
use crate::time::{MILLI, Micros, SECOND};

/// Events that a device may have unacknowledged: it stops publishing there.
const UNACKNOWLEDGED_MAX: usize = 20;
const PATIENCE: Micros = 10 * SECOND;

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: Name,
    habits: Habits,
    state: State,
    /// Faults are over: it behaves.
    is_calm: bool,
    /// It never comes back.
    is_retired: bool,
    next_event: u64,
    unacknowledged: VecDeque<(PacketId, u64)>,
    /// Answers to commands: to which topic, and to which command.
    answers: VecDeque<(PacketId, Text, String)>,
    next_packet_id: PacketId,
    gateways: usize,
    gateway: usize,
    /// At which gateways the session that may have been kept has its subscription.
    subscribed_at: BTreeSet<usize>,
}

#[derive(Debug)]
struct Habits {
    version: ProtocolVersion,
    clean: bool,
    keep_alive_s: u16,
    subscribes_after: Micros,
    granted: QoS,
    acknowledges_after: Micros,
    /// Once in so many times it acknowledges a command never, or refuses it; 0: always does.
    silent_one_in: u64,
    refuses_one_in: u64,
    publishes_every: Micros,
    stays_s: u64,
}

#[derive(Debug)]
enum State {
    Away,
    Connecting { socket: SocketId, gateway: usize, had_subscribed: bool },
    Online { socket: SocketId, gateway: usize, is_subscribed: bool, awaits_pong: bool },
}

/// What it does by itself, at a time of its choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Connect,
    LosePatience(SocketId),
    Subscribe(SocketId),
    Publish(SocketId),
    Ping(SocketId),
    Acknowledge {
        socket: SocketId,
        packet_id: PacketId,
        command: String,
        reason: ReasonCode,
    },
    /// Answers a command that it has acknowledged, where the command says.
    Answer {
        socket: SocketId,
        topic: Text,
        command: String,
    },
    Leave(SocketId),
    /// It has had enough for ever.
    Retire,
}

/// What it wants done.
#[derive(Debug)]
pub(crate) enum Want {
    Connect {
        gateway: usize,
    },
    Write {
        socket: SocketId,
        packet: Packet,
        note: Option<Note>,
    },
    /// Close it, or just forget it: then the gateway learns nothing.
    Close {
        socket: SocketId,
        tells: bool,
    },
    Later {
        after: Micros,
        act: Act,
    },
    /// A command came.
    Got {
        socket: SocketId,
        command: String,
        command_id: Option<String>,
    },
    /// An event was acknowledged.
    EventSafe {
        number: u64,
    },
    /// An answer was acknowledged.
    AnswerSafe {
        command: String,
    },
}

impl Device {
    pub(crate) fn new(index: usize, gateways: usize, chance: &mut Chance) -> Self {
        let version = chance.pick(&[ProtocolVersion::V311, ProtocolVersion::V5]);
        let is_flaky = chance.one_in(6);
        let habits = Habits {
            version,
            clean: chance.one_in(2),
            keep_alive_s: chance.between(5, 60) as u16,
            subscribes_after: if chance.one_in(3) { chance.below(15 * SECOND) } else { 0 },
            granted: if chance.one_in(5) { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            acknowledges_after: chance.between(MILLI, 400 * MILLI),
            silent_one_in: if is_flaky { 4 } else { 0 },
            refuses_one_in: if version == ProtocolVersion::V5 && chance.one_in(5) { 8 } else { 0 },
            publishes_every: chance.between(SECOND, 8 * SECOND),
            stays_s: chance.pick(&[5, 20, 60, 600]),
        };
        Self {
            name: format!("main/device-{index}").parse().expect("it is a good name"),
            habits,
            state: State::Away,
            is_calm: false,
            is_retired: false,
            next_event: 0,
            unacknowledged: VecDeque::new(),
            answers: VecDeque::new(),
            next_packet_id: PacketId::FIRST,
            gateways,
            gateway: chance.below(gateways as u64) as usize,
            subscribed_at: BTreeSet::new(),
        }
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.habits.version
    }

    /// Where it believes to be connected, subscribed and with nothing unacknowledged.
    pub(crate) fn settled_at(&self) -> Option<SocketId> {
        match self.state {
            State::Online { socket, is_subscribed: true, .. }
                if self.unacknowledged.is_empty() && self.answers.is_empty() =>
            {
                Some(socket)
            }
            State::Online { .. } | State::Connecting { .. } | State::Away => None,
        }
    }

    /// Whether it has left for ever.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// From now on it behaves: it stays, subscribes and acknowledges.
    pub(crate) fn calm(&mut self, chance: &mut Chance) -> Vec<Want> {
        self.is_calm = true;
        match self.state {
            State::Away if self.is_retired => Vec::new(),
            State::Away => vec![later(chance.below(5 * SECOND), Act::Connect)],
            State::Online { socket, is_subscribed: false, .. } => vec![later(0, Act::Subscribe(socket))],
            State::Online { .. } | State::Connecting { .. } => Vec::new(),
        }
    }

    pub(crate) fn acts(&mut self, act: Act, chance: &mut Chance) -> Vec<Want> {
        match act {
            Act::Connect if matches!(self.state, State::Away) && !self.is_retired => {
                vec![Want::Connect { gateway: self.gateway }]
            }
            Act::LosePatience(socket) if matches!(self.state, State::Connecting { socket: own, .. } if own == socket) => {
                self.leave(socket, chance.one_in(2), 0, chance)
            }
            Act::Subscribe(socket) => self.subscribe(socket),
            Act::Publish(socket) => self.publish(socket, chance),
            Act::Ping(socket) => self.ping(socket, chance),
            Act::Acknowledge { socket, packet_id, command, reason } if self.is_online_at(socket) => {
                let packet = Packet::Puback(Ack::with_reason(packet_id, reason));
                let note = Note::Acknowledges { command, is_success: !reason.is_error() };
                vec![Want::Write { socket, packet, note: Some(note) }]
            }
            Act::Answer { socket, topic, command }
                if self.is_online_at(socket) && self.answers.len() < UNACKNOWLEDGED_MAX =>
            {
                let packet_id = self.packet_id();
                let packet = answer(packet_id, topic.clone(), &command, false);
                self.answers.push_back((packet_id, topic, command));
                vec![Want::Write { socket, packet, note: None }]
            }
            Act::Leave(socket) if self.is_online_at(socket) && !self.is_calm => {
                let mut wants = Vec::new();
                let (says_so, tells) = (chance.one_in(2), chance.one_in(2));
                if says_so {
                    let packet = Packet::Disconnect(Disconnect::default());
                    wants.push(Want::Write { socket, packet, note: None });
                }
                let away = chance.pick(&[0, SECOND, 20 * SECOND]);
                wants.extend(self.leave(socket, says_so || tells, away, chance));
                wants
            }
            Act::Retire => {
                self.is_retired = true;
                let (State::Online { socket, .. } | State::Connecting { socket, .. }) = self.state else {
                    return Vec::new();
                };
                self.state = State::Away;
                let packet = Packet::Disconnect(Disconnect::default());
                vec![Want::Write { socket, packet, note: None }, Want::Close { socket, tells: true }]
            }
            Act::Connect
            | Act::LosePatience(_)
            | Act::Acknowledge { .. }
            | Act::Answer { .. }
            | Act::Leave(_) => Vec::new(),
        }
    }

    /// Its TCP connection was made.
    pub(crate) fn connected(&mut self, socket: SocketId, gateway: usize) -> Vec<Want> {
        // Until it is answered nobody knows what the gateway has made of the session: a new one may be there by then.
        let had_subscribed = self.subscribed_at.remove(&gateway);
        // It has one session, wherever it is: what it had elsewhere moves here, or is forgotten there.
        self.subscribed_at.clear();
        self.state = State::Connecting { socket, gateway, had_subscribed };
        let is_v5 = self.habits.version == ProtocolVersion::V5;
        let expiry = (is_v5 && !self.habits.clean).then_some(300);
        let connect = Connect {
            version: self.habits.version,
            clean_start: self.habits.clean,
            keep_alive_s: self.habits.keep_alive_s,
            client_id: Text::parse(self.name.id.as_str()).expect("it is a good id"),
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties {
                session_expiry_interval_s: expiry,
                ..ConnectProperties::default()
            },
        };
        let packet = Packet::Connect(Box::new(connect));
        vec![Want::Write { socket, packet, note: None }, later(PATIENCE, Act::LosePatience(socket))]
    }

    /// Nobody listens there: another one, later.
    pub(crate) fn refused(&mut self, chance: &mut Chance) -> Vec<Want> {
        self.gateway = (self.gateway + 1) % self.gateways;
        vec![later(chance.between(200 * MILLI, 5 * SECOND), Act::Connect)]
    }

    pub(crate) fn reads(&mut self, socket: SocketId, packet: Packet, chance: &mut Chance) -> Vec<Want> {
        match packet {
            Packet::Connack(connack) => self.answered(socket, &connack, chance),
            Packet::Suback(suback) => {
                assert!(!suback.reasons.iter().any(|reason| reason.is_error()), "{suback:?}");
                if let State::Online { socket: own, gateway, is_subscribed, .. } = &mut self.state
                    && *own == socket
                {
                    *is_subscribed = true;
                    self.subscribed_at.insert(*gateway);
                }
                Vec::new()
            }
            Packet::Puback(ack) => {
                // What a service's full queue refused is safe in `roost.dead`; 3.1.1 cannot be told.
                let is_expected = !ack.reason.is_error() || ack.reason == ReasonCode::UnspecifiedError;
                assert!(is_expected, "{ack:?}");
                let found = self.unacknowledged.iter().position(|(packet_id, _)| *packet_id == ack.packet_id);
                if let Some((_, number)) = found.and_then(|at| self.unacknowledged.remove(at)) {
                    return vec![Want::EventSafe { number }];
                }
                let found = self.answers.iter().position(|(packet_id, ..)| *packet_id == ack.packet_id);
                let answer = found.and_then(|at| self.answers.remove(at));
                answer.map(|(_, _, command)| Want::AnswerSafe { command }).into_iter().collect()
            }
            Packet::Publish(publish) => self.command(socket, &publish, chance),
            Packet::Pingresp => {
                if let State::Online { socket: own, awaits_pong, .. } = &mut self.state
                    && *own == socket
                {
                    *awaits_pong = false;
                }
                Vec::new()
            }
            Packet::Disconnect(_) => Vec::new(),
            other => panic!("a gateway sends no {:?}", other.packet_type()),
        }
    }

    /// Its TCP connection is gone.
    pub(crate) fn lost(&mut self, socket: SocketId, chance: &mut Chance) -> Vec<Want> {
        match self.state {
            State::Connecting { socket: own, .. } | State::Online { socket: own, .. } if own == socket => {
                self.state = State::Away;
                // To another one, now and then: that is roaming.
                vec![later(self.back_after(0, chance), Act::Connect)]
            }
            State::Connecting { .. } | State::Online { .. } | State::Away => Vec::new(),
        }
    }

    fn answered(&mut self, socket: SocketId, connack: &Connack, chance: &mut Chance) -> Vec<Want> {
        let State::Connecting { socket: own, gateway, had_subscribed } = self.state else {
            return Vec::new();
        };
        if own != socket {
            return Vec::new();
        }
        if connack.reason != ReasonCode::Success {
            self.state = State::Away;
            return vec![
                Want::Close { socket, tells: true },
                later(chance.between(SECOND, 5 * SECOND), Act::Connect),
            ];
        }
        let is_subscribed = connack.session_present && had_subscribed;
        if is_subscribed {
            self.subscribed_at.insert(gateway);
        }
        self.state = State::Online { socket, gateway, is_subscribed, awaits_pong: false };
        let again: Vec<(PacketId, u64)> = self.unacknowledged.iter().copied().collect();
        let mut wants: Vec<Want> = again
            .into_iter()
            .map(|(packet_id, number)| Want::Write {
                socket,
                packet: self.event(packet_id, number, true),
                note: None,
            })
            .collect();
        let again = self.answers.iter().map(|(packet_id, topic, command)| Want::Write {
            socket,
            packet: answer(*packet_id, topic.clone(), command, true),
            note: None,
        });
        wants.extend(again);
        if !is_subscribed {
            let after = if self.is_calm { 0 } else { self.habits.subscribes_after };
            wants.push(later(after, Act::Subscribe(socket)));
        }
        wants.push(later(chance.below(self.habits.publishes_every), Act::Publish(socket)));
        wants.push(later(u64::from(self.habits.keep_alive_s) * SECOND / 2, Act::Ping(socket)));
        wants.push(later(chance.between(1, self.habits.stays_s) * SECOND, Act::Leave(socket)));
        wants
    }

    fn subscribe(&mut self, socket: SocketId) -> Vec<Want> {
        if !self.is_online_at(socket) {
            return Vec::new();
        }
        let topic = Topic::default_for_commands(&self.name.id);
        let subscribe = Subscribe {
            packet_id: self.packet_id(),
            filters: vec![SubscribeFilter {
                filter: Text::parse(topic.as_str()).expect("a topic is a text"),
                options: SubscribeOptions { qos: self.habits.granted, ..SubscribeOptions::default() },
            }],
            properties: None,
        };
        vec![Want::Write { socket, packet: Packet::Subscribe(subscribe), note: None }]
    }

    fn publish(&mut self, socket: SocketId, chance: &mut Chance) -> Vec<Want> {
        if !self.is_online_at(socket) || self.is_calm {
            return Vec::new();
        }
        let mut wants = vec![later(chance.between(1, 2 * self.habits.publishes_every), Act::Publish(socket))];
        if self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
            for _ in 0..chance.between(1, 3) {
                let (packet_id, number) = (self.packet_id(), self.next_event);
                self.next_event += 1;
                self.unacknowledged.push_back((packet_id, number));
                let packet = self.event(packet_id, number, false);
                wants.push(Want::Write { socket, packet, note: None });
            }
        }
        wants
    }

    fn ping(&mut self, socket: SocketId, chance: &mut Chance) -> Vec<Want> {
        let keep_alive = u64::from(self.habits.keep_alive_s) * SECOND;
        match &mut self.state {
            State::Online { socket: own, awaits_pong, .. } if *own == socket => {
                if *awaits_pong {
                    return self.leave(socket, true, 0, chance);
                }
                *awaits_pong = true;
                let ping = Want::Write { socket, packet: Packet::Pingreq, note: None };
                vec![ping, later(keep_alive / 2, Act::Ping(socket))]
            }
            State::Online { .. } | State::Connecting { .. } | State::Away => Vec::new(),
        }
    }

    fn command(&mut self, socket: SocketId, publish: &Publish, chance: &mut Chance) -> Vec<Want> {
        let expected = Topic::default_for_commands(&self.name.id);
        assert_eq!(publish.topic.as_str(), expected.as_str(), "nobody publishes anything else");
        let command = String::from_utf8_lossy(&publish.payload).into_owned();
        let properties = publish.properties.as_ref();
        let command_id = properties.and_then(|properties| {
            let mut pairs = properties.user_properties.iter();
            pairs.find(|pair| pair.name.as_str() == "roost-command-id").map(|pair| pair.value.to_string())
        });
        let mut wants = vec![Want::Got { socket, command: command.clone(), command_id }];
        let answer_to = properties.and_then(|properties| properties.response_topic.as_ref());
        let answer_to = answer_to.filter(|_| !self.is_calm).map(Text::detached);
        if let Delivery::AtLeastOnce { packet_id, .. } = publish.delivery {
            let does = |one_in: u64, chance: &mut Chance| one_in > 0 && chance.one_in(one_in);
            if !self.is_calm && does(self.habits.silent_one_in, chance) {
                return wants;
            }
            let refuses = !self.is_calm && does(self.habits.refuses_one_in, chance);
            if let Some(topic) = answer_to.filter(|_| !refuses) {
                // Before its acknowledgement, or after.
                let after = chance.between(MILLI, 800 * MILLI);
                wants.push(later(after, Act::Answer { socket, topic, command: command.clone() }));
            }
            let reason = if refuses { ReasonCode::ImplementationSpecificError } else { ReasonCode::Success };
            let act = Act::Acknowledge { socket, packet_id, command, reason };
            wants.push(later(self.habits.acknowledges_after, act));
        }
        wants
    }

    fn leave(&mut self, socket: SocketId, tells: bool, away: Micros, chance: &mut Chance) -> Vec<Want> {
        self.state = State::Away;
        let back = self.back_after(away, chance);
        vec![Want::Close { socket, tells }, later(back, Act::Connect)]
    }

    /// When it comes back; now and then to another gateway, any of them, which is roaming.
    fn back_after(&mut self, away: Micros, chance: &mut Chance) -> Micros {
        if chance.one_in(2) {
            let further = 1 + chance.below(self.gateways as u64 - 1) as usize;
            self.gateway = (self.gateway + further) % self.gateways;
        }
        away + chance.between(10 * MILLI, 3 * SECOND)
    }

    fn is_online_at(&self, socket: SocketId) -> bool {
        matches!(self.state, State::Online { socket: own, .. } if own == socket)
    }

    fn packet_id(&mut self) -> PacketId {
        let packet_id = self.next_packet_id;
        self.next_packet_id = packet_id.next();
        packet_id
    }

    fn event(&self, packet_id: PacketId, number: u64, dup: bool) -> Packet {
        Packet::Publish(Publish {
            topic: Text::from_static("state"),
            delivery: Delivery::AtLeastOnce { packet_id, dup },
            retain: false,
            payload: Bytes::from(number.to_string()),
            properties: None,
        })
    }
}

/// What a device answers says what it answers.
fn answer(packet_id: PacketId, topic: Text, command: &str, dup: bool) -> Packet {
    Packet::Publish(Publish {
        topic,
        delivery: Delivery::AtLeastOnce { packet_id, dup },
        retain: false,
        payload: Bytes::from(command.to_owned()),
        properties: None,
    })
}

fn later(after: Micros, act: Act) -> Want {
    Want::Later { after, act }
}
