//! Bytes of a client become packets, as long as they need not wait.

use bytes::BytesMut;
use roost_wire::Now;

use super::close::Farewell;
use super::connection::Connection;
use super::{Output, Shard, TimerFor, Todo};
use crate::packet::{Ack, DecodeError, Disconnect, Encoder, Packet, ProtocolVersion, ReasonCode};
use crate::{ConnectionId, Count};

impl Shard {
    pub(super) fn opened(&mut self, now: Now, id: ConnectionId, entropy: u64) {
        self.count(Count::Opened);
        if self.connections.len() >= self.config.limits.connections_max {
            self.count(Count::RefusedConnections);
            self.outputs.push_back(Output::Close {
                connection: id,
                last: bytes::Bytes::new(),
                is_goodbye: false,
            });
            return;
        }
        let connection = Connection::new(now.boot, entropy, self.config.limits.decode);
        self.connections.insert(id, Box::new(connection));
        self.timers.set(TimerFor::Connection(id), now.boot + self.config.limits.connect_timeout);
    }

    pub(super) fn received(&mut self, now: Now, id: ConnectionId, bytes: BytesMut) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.sys.traffic.bytes_received += bytes.len() as u64;
        if let Some(client) = &mut connection.client {
            client.heard_at = now.boot;
        }
        connection.receive(bytes);
        self.read(now, id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.keep_leftovers();
        }
    }

    /// Decodes and handles what there is, and pauses or resumes reading as that leaves it.
    pub(super) fn read(&mut self, now: Now, id: ConnectionId) {
        while !self.must_wait(id) {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            match connection.decoder.decode(&mut connection.unread) {
                Ok(Some(packet)) => {
                    self.sys.traffic.packets_received += 1;
                    self.packet(now, id, packet);
                }
                Ok(None) => break,
                Err(error) => return self.undecodable(now, id, error),
            }
        }
        self.settle_reading(now, id);
    }

    /// Whether the connection's next packet has to wait, and with it all behind it.
    fn must_wait(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(&id) else { return true };
        let limits = &self.config.limits;
        if connection.outgoing.waiting_bytes() > limits.outgoing_bytes_max {
            return true;
        }
        let Some(client) = connection.client.as_deref() else {
            return connection.fetches.is_some() || connection.is_read_for;
        };
        if !connection.next_is_acknowledged_publish() {
            return false;
        }
        let parks_too_much = (!client.parked.is_empty() || client.crossing_bytes > 0)
            && (client.parked_bytes + client.crossing_bytes >= limits.parked_bytes_max
                || self.parked_bytes + self.crossings.bytes() >= limits.parked_bytes_total_max);
        // A v5 client knows the receive maximum and is disconnected when it breaks it.
        let window_is_full = client.version() != ProtocolVersion::V5
            && client.pending.len() >= usize::from(limits.receive_maximum.get());
        parks_too_much || window_is_full || self.is_draining()
    }

    fn settle_reading(&mut self, now: Now, id: ConnectionId) {
        let waits = self.must_wait(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.paused == waits {
            return;
        }
        connection.paused = waits;
        if waits {
            self.paused += 1;
            self.outputs.push_back(Output::PauseReading { connection: id });
            self.give_up_waiting(now, id);
        } else {
            self.paused -= 1;
            // While it was not read from, its silence was ours.
            if let Some(client) = &mut connection.client {
                client.heard_at = now.boot;
            }
            self.outputs.push_back(Output::ResumeReading { connection: id });
            self.arm(id);
        }
    }

    /// Reads on if the connection was waiting for what may have changed now.
    pub(super) fn read_on(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| connection.paused) {
            self.todo.push_back(Todo::Read(id));
        }
    }

    fn packet(&mut self, now: Now, id: ConnectionId, packet: Packet) {
        match self.session_of(id) {
            Some(key) => {
                if let Some(session) = self.sessions.touch(&key) {
                    session.is_untold = false;
                }
            }
            None if self.refuse_packet_of_login(now, id, &packet) => return,
            None => {}
        }
        match packet {
            Packet::Connect(connect) => self.connect(now, id, *connect),
            Packet::Publish(publish) => self.publish(now, id, publish),
            Packet::Puback(ack) => self.puback(now, id, &ack),
            Packet::Pubrec(ack) => self.pubrec(now, id, &ack),
            Packet::Pubrel(ack) => self.pubrel(now, id, &ack),
            Packet::Pubcomp(ack) => self.pubcomp(now, id, &ack),
            Packet::Subscribe(subscribe) => self.subscribe(now, id, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, id, &unsubscribe),
            Packet::Pingreq => self.send(now, id, &Packet::Pingresp),
            Packet::Disconnect(disconnect) => self.disconnect(now, id, &disconnect),
            Packet::Auth(auth) => self.auth(now, id, &auth),
            // Only a server sends these, so the decoder refuses them.
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.close_protocol(now, id);
            }
        }
    }

    /// Closes with a protocol error.
    pub(super) fn close_protocol(&mut self, now: Now, id: ConnectionId) {
        let farewell = Farewell::Disconnect(ReasonCode::ProtocolError);
        self.close(now, id, Count::ClosedProtocol, farewell);
    }

    fn puback(&mut self, now: Now, id: ConnectionId, ack: &Ack) {
        let Some(key) = self.session_of(id) else { return };
        let Some(session) = self.sessions.touch(&key) else { return };
        let before = session.outbox.depth();
        if let Some(message) = session.outbox.acknowledge(ack.packet_id) {
            self.depth.changed(before, session.outbox.depth());
            self.messages.give_back(message);
            self.made_progress(now, key);
        } else if let Some(written) = session.hold.acknowledge(ack.packet_id) {
            self.command_acknowledged(key, written, ack.reason);
            self.made_progress(now, key);
        } else {
            // It may answer what was sent before the session's messages expired or its connection changed.
            self.count(Count::PubackUnknown);
        }
    }

    /// The client of a session has acknowledged something: there is room for more.
    pub(super) fn made_progress(&mut self, now: Now, key: crate::session::SessionKey) {
        let Some(session) = self.sessions.touch(&key) else { return };
        (session.stalled_since, session.moved_at) = (None, now.boot);
        let (connection, is_member) = (session.connection, session.shared > 0);
        if is_member {
            self.groups_made_progress(now, key);
        }
        if let Some(connection) = connection {
            self.pump(now, connection);
        }
    }

    fn disconnect(&mut self, now: Now, id: ConnectionId, disconnect: &Disconnect) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(client) = connection.client.as_deref() else {
            // It breaks its authentication off [MQTT-3.1.2-30].
            return self.close(now, id, Count::RefusedLeft, Farewell::None);
        };
        let wish = disconnect.properties.as_ref().and_then(|p| p.session_expiry_interval_s);
        if let Some(seconds) = wish {
            // A session that was to end with its connection cannot be kept after all [MQTT5 §3.14.2.2.2].
            if !client.asked_for_expiry && seconds > 0 {
                let farewell = Farewell::Disconnect(ReasonCode::ProtocolError);
                return self.close(now, id, Count::ClosedProtocol, farewell);
            }
            let expiry = self.expiry_granted(seconds);
            if let Some(session) = self.sessions.touch(&client.session) {
                session.expiry = expiry;
            }
        }
        if disconnect.reason == ReasonCode::Success {
            self.discard_will(id);
        }
        self.close(now, id, Count::ClosedByClient, Farewell::Goodbye);
    }

    fn undecodable(&mut self, now: Now, id: ConnectionId, error: DecodeError) {
        let Some(connection) = self.connections.get(&id) else { return };
        let reason = error.reason();
        if connection.client.is_some() {
            return self.close(now, id, Count::ClosedProtocol, Farewell::Disconnect(reason));
        }
        let is_version = reason == ReasonCode::UnsupportedProtocolVersion;
        let count = if is_version { Count::RefusedVersion } else { Count::RefusedMalformed };
        let farewell = match connection.decoder.version() {
            // v3 has no return code for a malformed packet [MQTT-3.1.4-1].
            Some(ProtocolVersion::V31 | ProtocolVersion::V311) if !is_version => Farewell::None,
            Some(version) => Farewell::Connack(Encoder::new(version), reason, None),
            None => Farewell::None,
        };
        self.close(now, id, count, farewell);
    }
}
