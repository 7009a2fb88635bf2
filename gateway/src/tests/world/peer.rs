//! A client that keeps its half of a session, as MQTT asks of it: what it has to send again, and what it knows as a repeat.

use std::collections::{BTreeSet, VecDeque};

use super::{V5, World, persistent, publish_packet};
use crate::ConnectionId;
use crate::packet::{Ack, Connack, Connect, Delivery, Packet, PacketId, ProtocolVersion, QoS, ReasonCode};

/// Such a client. What it has not read when its connection breaks is lost on the way.
pub(in crate::tests) struct Peer {
    version: ProtocolVersion,
    name: &'static str,
    pub(in crate::tests) connection: Option<ConnectionId>,
    /// Published and not over, in order.
    sending: VecDeque<Sending>,
    next_id: PacketId,
    /// The ids of what it has received at QoS 2 and that were not released.
    held: BTreeSet<PacketId>,
    /// What it has received, repeats of QoS 2 left out.
    pub(in crate::tests) got: Vec<String>,
    /// What it was told to be safe, or refused.
    pub(in crate::tests) answered: Vec<(String, ReasonCode)>,
}

struct Sending {
    packet_id: PacketId,
    topic: &'static str,
    payload: String,
    qos: QoS,
    /// It may have left before.
    dup: bool,
    /// A PUBREC has come: from now on it is PUBREL that goes.
    answer: Option<ReasonCode>,
}

impl Sending {
    fn packet(&self) -> Packet {
        let (packet_id, dup) = (self.packet_id, self.dup);
        if self.answer.is_some() {
            return Packet::Pubrel(Ack::success(packet_id));
        }
        let delivery = match self.qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        };
        Packet::Publish(publish_packet(self.topic, self.payload.as_bytes(), delivery))
    }
}

impl Peer {
    pub(in crate::tests) fn new(version: ProtocolVersion, name: &'static str) -> Self {
        Self {
            version,
            name,
            connection: None,
            sending: VecDeque::new(),
            next_id: PacketId::FIRST,
            held: BTreeSet::new(),
            got: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// As it connects: its session is to be kept.
    pub(in crate::tests) fn connect_packet(&self) -> Connect {
        persistent(self.version, self.name)
    }

    /// Connects, and sends again what it has to. An older connection of it is left as it is.
    pub(in crate::tests) fn connect(&mut self, world: &mut World) {
        let (connection, connack) = world.try_connect(self.connect_packet());
        self.connected(world, connection, &connack);
    }

    /// The same, for who has sent that CONNECT already.
    pub(in crate::tests) fn connected(
        &mut self,
        world: &mut World,
        connection: ConnectionId,
        connack: &Connack,
    ) {
        assert_eq!(connack.reason, ReasonCode::Success);
        self.connection = Some(connection);
        if !connack.session_present {
            self.held.clear();
            self.sending.clear();
        }
        for sending in &mut self.sending {
            sending.dup = true;
            world.send(connection, sending.packet());
        }
    }

    /// How many of its publishes are not over.
    pub(in crate::tests) fn unanswered(&self) -> usize {
        self.sending.len()
    }

    /// Publishes; the packet is lost if there is no connection.
    pub(in crate::tests) fn publish(
        &mut self,
        world: &mut World,
        topic: &'static str,
        payload: String,
        qos: QoS,
    ) {
        while self.sending.iter().any(|sending| sending.packet_id == self.next_id) {
            self.next_id = self.next_id.next();
        }
        let packet_id = self.next_id;
        self.next_id = packet_id.next();
        let dup = self.connection.is_none();
        self.sending.push_back(Sending { packet_id, topic, payload, qos, dup, answer: None });
        if let Some(connection) = self.connection {
            world.send(connection, self.sending[self.sending.len() - 1].packet());
        }
    }

    /// Reads what has come and answers, until nothing comes any more.
    pub(in crate::tests) fn take(&mut self, world: &mut World) {
        while let Some(connection) = self.connection {
            let packets = world.read(connection);
            if packets.is_empty() {
                break;
            }
            for packet in packets {
                let reply = self.react(packet);
                if let Some(reply) = reply.filter(|_| !world.is_closed(connection)) {
                    world.send(connection, reply);
                }
            }
            self.is_there(world);
        }
    }

    /// Reads what has come; the answers are lost, since the connection breaks.
    pub(in crate::tests) fn take_and_break(&mut self, world: &mut World) {
        let Some(connection) = self.connection else { return };
        for packet in world.read(connection) {
            self.react(packet);
        }
        self.cut(world);
    }

    /// Its connection breaks, and what it has not read with it.
    pub(in crate::tests) fn cut(&mut self, world: &mut World) {
        if self.is_there(world)
            && let Some(connection) = self.connection.take()
        {
            world.read(connection);
            world.cut(connection);
        }
    }

    /// Whether the gateway has left the connection open.
    pub(in crate::tests) fn is_there(&mut self, world: &World) -> bool {
        self.connection.take_if(|connection| world.is_closed(*connection));
        self.connection.is_some()
    }

    /// Takes a packet in; gives what it has to say to that.
    pub(in crate::tests) fn react(&mut self, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                match publish.delivery {
                    Delivery::AtMostOnce => {
                        self.got.push(payload);
                        None
                    }
                    Delivery::AtLeastOnce { packet_id, .. } => {
                        self.got.push(payload);
                        Some(Packet::Puback(Ack::success(packet_id)))
                    }
                    Delivery::ExactlyOnce { packet_id, dup } => {
                        let is_new = self.held.insert(packet_id);
                        assert!(is_new || dup, "only a repeat comes under an id in use");
                        if is_new {
                            self.got.push(payload);
                        }
                        Some(Packet::Pubrec(Ack::success(packet_id)))
                    }
                }
            }
            Packet::Pubrel(ack) => {
                self.held.remove(&ack.packet_id);
                Some(Packet::Pubcomp(Ack::success(ack.packet_id)))
            }
            Packet::Puback(ack) => {
                let at = self.first_unanswered(ack.packet_id);
                let sending = self.sending.remove(at)?;
                assert_eq!(sending.qos, QoS::AtLeastOnce);
                self.answered.push((sending.payload, ack.reason));
                None
            }
            Packet::Pubrec(ack) => {
                let at = self.first_unanswered(ack.packet_id);
                assert_eq!(self.sending[at].qos, QoS::ExactlyOnce);
                self.sending[at].answer = Some(ack.reason);
                if ack.reason.is_error() && self.version == V5 {
                    let sending = self.sending.remove(at)?;
                    self.answered.push((sending.payload, ack.reason));
                    return None;
                }
                Some(self.sending[at].packet())
            }
            Packet::Pubcomp(ack) => {
                let at = self.sending.iter().position(|sending| sending.packet_id == ack.packet_id);
                let sending = self.sending.remove(at.expect("it was released"))?;
                self.answered.push((sending.payload, sending.answer.expect("PUBREC came before")));
                None
            }
            Packet::Disconnect(_) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledgements come in the order of the publishes [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    fn first_unanswered(&self, packet_id: PacketId) -> usize {
        let at = self.sending.iter().position(|sending| sending.answer.is_none());
        let at = at.expect("something was published");
        assert_eq!(self.sending[at].packet_id, packet_id, "acknowledgements come in order");
        at
    }
}
