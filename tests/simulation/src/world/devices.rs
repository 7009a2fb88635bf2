//! TCP connections between devices and gateways.

use bytes::BytesMut;
use roost_gateway::packet::{Encoder, Packet, ReasonCode};

use super::World;
use crate::device::Want;
use crate::event::{Event, NodeId};
use crate::socket::{Note, Socket, SocketId};
use crate::story::{Actor, Channel};
use crate::time::MILLI;

impl World {
    pub(super) fn device_wants(&mut self, device: usize, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Connect { gateway } => self.device_connects(device, gateway),
                Want::Write { socket, packet, note } => self.device_writes(socket, &packet, note),
                Want::Close { socket, tells } => self.device_closes(socket, tells),
                Want::Later { after, act } => {
                    self.agenda.put(self.at + after, Event::DeviceActs { device, act });
                }
                Want::Got { socket, command, command_id } => {
                    self.witness.got(self.at, device, socket, command, command_id);
                }
                Want::EventSafe { number } => self.witness.event_safe(device, number),
                Want::AnswerSafe { command } => self.witness.answer_safe(command),
            }
        }
    }

    fn device_connects(&mut self, device: usize, gateway: usize) {
        if !self.gateways[gateway].is_up() {
            let wants = self.devices[device].refused(&mut self.chance);
            return self.device_wants(device, wants);
        }
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        let life = self.gateways[gateway].life;
        let mut socket = Socket::new(device, gateway, life, self.devices[device].version());
        socket.to_gateway_free = self.at + self.latency();
        self.agenda.put(socket.to_gateway_free, Event::GatewayAccepts { socket: id });
        self.sockets.insert(id, socket);
        self.trace
            .note(self.at, format_args!("device {device} connects to gateway {gateway}, socket {}", id.0));
        let wants = self.devices[device].connected(id, gateway);
        self.device_wants(device, wants);
    }

    fn device_writes(&mut self, id: SocketId, packet: &Packet, note: Option<Note>) {
        let latency = self.latency();
        let words = self.story.of_device(packet, note.as_ref());
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.is_cut) else { return };
        let (from, to) = (Actor::Device(socket.device), Actor::Gateway(socket.gateway));
        let items = words.about(socket.device);
        if socket.loses_to_gateway {
            return self.story.lost(self.at, (from, to), items);
        }
        let encoder = Encoder::new(self.devices[socket.device].version());
        let mut bytes = BytesMut::new();
        encoder.encode(packet, &mut bytes).expect("a device writes what the specification allows");
        socket.to_gateway_free = socket.to_gateway_free.max(self.at + latency);
        // Packets come in pieces, now and then.
        if bytes.len() > 1 && self.chance.one_in(4) {
            let rest = bytes.split_off(1 + self.chance.below(bytes.len() as u64 - 1) as usize);
            let first = std::mem::replace(&mut bytes, rest);
            let read = Event::GatewayReads { socket: id, bytes: first, note: None };
            self.story.sent(Channel::ToGateway(id), self.at, (from, to), Vec::new());
            self.agenda.put(socket.to_gateway_free, read);
        }
        self.story.sent(Channel::ToGateway(id), self.at, (from, to), items);
        self.agenda.put(socket.to_gateway_free, Event::GatewayReads { socket: id, bytes, note });
    }

    fn device_closes(&mut self, id: SocketId, tells: bool) {
        let latency = self.latency();
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.at_device = false;
        if tells && !socket.loses_to_gateway {
            let at = socket.to_gateway_free.max(self.at + latency);
            self.agenda.put(at, Event::GatewayLoses { socket: id });
        } else {
            // The gateway finds out by the keep alive.
            socket.is_cut = true;
        }
    }

    pub(super) fn gateway_accepts(&mut self, id: SocketId) {
        let entropy = self.chance.bits();
        let Some(socket) = self.at_its_gateway(id) else { return };
        let gateway = socket.gateway;
        let effects = self.gateways[gateway].open(self.at, id, entropy);
        self.perform(NodeId::Gateway(gateway), effects);
    }

    /// What a device wrote has arrived.
    pub(super) fn gateway_hears(&mut self, id: SocketId, bytes: BytesMut, note: Option<Note>) {
        let passes = self.at_its_gateway(id).is_some_and(|socket| !socket.is_cut);
        self.story.arrives(Channel::ToGateway(id), self.at, passes);
        self.gateway_reads(id, bytes, note);
    }

    fn gateway_reads(&mut self, id: SocketId, bytes: BytesMut, note: Option<Note>) {
        let at = self.at;
        let Some(socket) = self.at_its_gateway(id).filter(|socket| !socket.is_cut) else { return };
        if socket.is_paused {
            socket.unread.push_back((bytes, note));
            return;
        }
        let (gateway, device) = (socket.gateway, socket.device);
        if let Some(Note::Acknowledges { command, is_success }) = note {
            self.witness.acknowledged(at, gateway, device, id, command, is_success);
        }
        let effects = self.gateways[gateway].read(at, id, bytes);
        self.perform(NodeId::Gateway(gateway), effects);
    }

    pub(super) fn gateway_wrote(&mut self, id: SocketId, bytes: usize) {
        let Some(gateway) = self.at_its_gateway(id).map(|socket| socket.gateway) else { return };
        let effects = self.gateways[gateway].wrote(self.at, id, bytes);
        self.perform(NodeId::Gateway(gateway), effects);
    }

    pub(super) fn gateway_loses(&mut self, id: SocketId) {
        let Some(socket) = self.at_its_gateway(id) else { return };
        socket.at_gateway = false;
        let gateway = socket.gateway;
        let effects = self.gateways[gateway].closed(self.at, id);
        self.perform(NodeId::Gateway(gateway), effects);
    }

    pub(super) fn socket_write(&mut self, id: SocketId, bytes: &[u8]) {
        self.deliver(id, bytes);
        // The kernel takes it, also for a device that is gone; of one that does not read only so much.
        let mut at = self.at + self.chance.between(10, MILLI);
        if let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.deaf_until > at) {
            socket.unread_bytes += bytes.len();
            if socket.unread_bytes > self.settings.kernel_bytes_max {
                at += socket.deaf_until - at;
                self.witness.note("a device did not read, and its kernel was full");
            }
        }
        self.agenda.put(at, Event::GatewayWrote { socket: id, bytes: bytes.len() });
    }

    pub(super) fn socket_close(&mut self, id: SocketId, last: &[u8]) {
        self.deliver(id, last);
        let latency = self.latency();
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        socket.at_gateway = false;
        if !socket.is_cut && socket.at_device && !socket.loses_to_device {
            let at = socket.to_device_free.max(self.at + latency);
            self.agenda.put(at, Event::DeviceLoses { socket: id });
        }
    }

    pub(super) fn socket_pause(&mut self, id: SocketId, paused: bool) {
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.is_paused = paused;
        }
    }

    /// What has come while it was paused is read in order, until it is told to stop again: reads of their own put it back then.
    pub(super) fn socket_reads_on(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| !socket.is_paused) else { return };
        let unread = std::mem::take(&mut socket.unread);
        for (bytes, note) in unread {
            self.gateway_reads(id, bytes, note);
        }
    }

    /// What a gateway writes, packet by packet.
    fn deliver(&mut self, id: SocketId, bytes: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let (gateway, device) = (socket.gateway, socket.device);
        for packet in socket.written(bytes) {
            let latency = self.chance.between(100, self.settings.latency_max);
            let Some(socket) = self.sockets.get_mut(&id) else { return };
            match &packet {
                Packet::Connack(connack) => socket.is_accepted = connack.reason == ReasonCode::Success,
                Packet::Publish(publish) => {
                    let (name, id) = (&self.devices[device].name, &self.gateways[gateway].id);
                    let command = String::from_utf8_lossy(&publish.payload).into_owned();
                    self.witness.written(self.at, name, id, &command);
                }
                _ => {}
            }
            let between = (Actor::Gateway(gateway), Actor::Device(device));
            let items = self.story.of_gateway(&packet).about(device);
            if socket.is_cut || !socket.at_device || socket.loses_to_device {
                self.story.lost(self.at, between, items);
            } else {
                let free = socket.to_device_free.max(self.at + latency).max(socket.deaf_until);
                socket.to_device_free = free;
                self.story.sent(Channel::ToDevice(id), self.at, between, items);
                self.agenda.put(socket.to_device_free, Event::DeviceReads { socket: id, packet });
            }
        }
    }

    pub(super) fn device_reads(&mut self, id: SocketId, packet: Packet) {
        let passes = self.sockets.get(&id).is_some_and(|socket| !socket.is_cut && socket.at_device);
        self.story.arrives(Channel::ToDevice(id), self.at, passes);
        let Some(socket) = self.sockets.get(&id).filter(|s| !s.is_cut && s.at_device) else { return };
        let device = socket.device;
        let wants = self.devices[device].reads(id, packet, &mut self.chance);
        self.device_wants(device, wants);
    }

    pub(super) fn device_loses(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(&id).filter(|socket| socket.at_device) else { return };
        socket.at_device = false;
        let device = socket.device;
        let wants = self.devices[device].lost(id, &mut self.chance);
        self.device_wants(device, wants);
    }

    /// A gateway is gone, and its connections with it.
    pub(super) fn sockets_crashed(&mut self, gateway: usize) {
        let lost: Vec<SocketId> = self
            .sockets
            .iter_mut()
            .filter(|(_, socket)| socket.gateway == gateway && socket.at_gateway)
            .map(|(id, socket)| {
                (socket.at_gateway, socket.is_cut) = (false, true);
                *id
            })
            .collect();
        for id in lost {
            let at = self.at + self.chance.between(MILLI, 3_000 * MILLI);
            self.agenda.put(at, Event::DeviceLoses { socket: id });
        }
    }

    /// The socket, if the gateway that accepted it still lives and believes in it.
    fn at_its_gateway(&mut self, id: SocketId) -> Option<&mut Socket> {
        let gateways = &self.gateways;
        self.sockets
            .get_mut(&id)
            .filter(|socket| socket.at_gateway && gateways[socket.gateway].life == socket.life)
    }
}
