//! What leaves for a client: answers at once; commands and messages as its window and its socket have room.

use roost_wire::Now;

use super::close::Farewell;
use super::connection::{Connection, HeldBy};
use super::retain::STEPS_AT_ONCE;
use super::{Output, Shard};
use crate::packet::{Ack, Packet, ProtocolVersion, ReasonCode};
use crate::session::{Answer, Session, SessionKey};
use crate::{ConnectionId, Count};

impl Shard {
    /// Sends an answer. Its client pays for it with the next read: nothing is read while too much waits. One that takes no packet as large
    /// would wait for ever: it is closed.
    pub(super) fn send(&mut self, now: Now, id: ConnectionId, packet: &Packet) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(client) = connection.client.as_deref() else { return };
        connection.outgoing.waits_for = self.storing.next();
        match connection.outgoing.packet(&mut self.buffers, now.boot, client.encoder, packet) {
            true => self.has_output(id),
            false => {
                let farewell = Farewell::Disconnect(ReasonCode::PacketTooLarge);
                self.close(now, id, Count::ClosedAnswerTooLarge, farewell);
            }
        }
    }

    /// Sends the PUBACKs and PUBRECs that may leave, in order [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    pub(super) fn send_acknowledgements(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Connection { outgoing, client: Some(client), .. } = &mut **connection else { return };
        let (mut pubacks, mut pubrecs) = (0, 0);
        while let Some(Answer { packet_id, reason, is_pubrec }) = client.pending.pop() {
            let ack = Ack::with_reason(packet_id, reason);
            let packet = if is_pubrec { Packet::Pubrec(ack) } else { Packet::Puback(ack) };
            // It is shorter than the CONNACK that the client has taken.
            outgoing.packet(&mut self.buffers, now.boot, client.encoder, &packet);
            if !is_pubrec {
                pubacks += 1;
                continue;
            }
            pubrecs += 1;
            if let Some(session) = self.sessions.touch(&client.session) {
                session.received.tell(packet_id, client.version() == ProtocolVersion::V5);
            }
        }
        if pubacks + pubrecs > 0 {
            outgoing.waits_for = self.storing.next();
            self.counters.add_many(Count::PubackSent, pubacks);
            self.counters.add_many(Count::PubrecSent, pubrecs);
            self.has_output(id);
            self.read_on(id);
        }
    }

    pub(super) fn written(&mut self, now: Now, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        self.sys.traffic.bytes_sent += bytes as u64;
        connection.outgoing.take(now.boot, bytes);
        connection.outgoing.rest(&mut self.buffers);
        if connection.client.is_none() {
            return self.has_output(id);
        }
        self.commands_sent(id);
        self.pump(now, id);
        self.has_output(id);
        self.read_on(id);
    }

    /// Writes what waits for the client, as far as there is room: commands first, since they are few.
    pub(super) fn pump(&mut self, now: Now, id: ConnectionId) {
        let Some(key) = self.session_of(id) else { return };
        let owed = self.sessions.get(&key).map_or(0, Session::unacknowledged);
        self.pump_commands(now, id, key);
        let mut wrote = false;
        let mut steps = STEPS_AT_ONCE;
        while self.write_message(now, id, key) || self.write_retained(now, id, key, &mut steps) {
            wrote = true;
        }
        self.has_output(id);
        if let Some(session) = self.sessions.touch(&key).filter(|s| owed == 0 && s.unacknowledged() > 0) {
            session.moved_at = now.boot;
        }
        if wrote {
            self.wake_next(HeldBy::Subscriber(key));
        }
        self.watch_stall(now, key);
        if self.sessions.get(&key).is_some_and(|session| session.shared > 0) {
            self.wake_for_groups_of(key);
        }
    }

    /// Whether another PUBLISH may be added for the client; with QoS 1 or 2 it takes a place in its window.
    pub(super) fn has_room(&self, id: ConnectionId, key: SessionKey, is_acknowledged: bool) -> bool {
        let (Some(connection), Some(session)) = (self.connections.get(&id), self.sessions.get(&key)) else {
            return false;
        };
        let Some(client) = &connection.client else { return false };
        connection.outgoing.waiting_bytes() <= self.config.limits.outgoing_bytes_max
            && (!is_acknowledged || session.unacknowledged() < usize::from(client.window))
    }

    /// Writes the session's next message; false if there is none or no room.
    pub(super) fn write_message(&mut self, now: Now, id: ConnectionId, key: SessionKey) -> bool {
        if !self.sessions.get(&key).is_some_and(Session::has_due) || !self.has_room(id, key, true) {
            return false;
        }
        let (Some(connection), Some(session)) = (self.connections.get_mut(&id), self.sessions.touch(&key))
        else {
            return false;
        };
        let Connection { outgoing, client: Some(client), .. } = &mut **connection else { return false };
        let before = session.outbox.depth();
        let expired = session.outbox.drop_expired(now.boot);
        self.counters.add_many(Count::DroppedExpired, expired);
        let free_id = session.next_packet_id();
        // What has expired may have stood in front of a retained message.
        let due = if session.has_due() { session.outbox.send_next(free_id) } else { None };
        let Some(due) = due else {
            self.depth.changed(before, session.outbox.depth());
            return false;
        };
        let (delivery, copy) = (due.delivery(), due.copy);
        // Under its id it comes again after a crash, and not under another.
        outgoing.waits_for = self.storing.next();
        let publish = copy.message.to_publish(now.boot, delivery, copy.retain, &copy.subscription_ids);
        if outgoing.publish(&mut self.buffers, now.boot, client, &publish) {
            self.counters.written(delivery.qos(), publish.payload.len());
            self.counters.add(Count::LocalDelivered);
        } else {
            if let Some(packet_id) = session.outbox.drop_last_sent() {
                outgoing.packet(
                    &mut self.buffers,
                    now.boot,
                    client.encoder,
                    &Packet::Pubrel(Ack::success(packet_id)),
                );
            }
            self.counters.add(Count::DroppedTooLarge);
        }
        self.depth.changed(before, session.outbox.depth());
        true
    }

    /// Lists the connection among those with bytes to hand over, and watches that its socket takes them.
    pub(super) fn has_output(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.outgoing.waiting_bytes() == 0 {
            return;
        }
        if !connection.outgoing.is_listed {
            connection.outgoing.is_listed = true;
            self.to_write.push_back(id);
        }
        self.arm(id);
    }

    pub(super) fn publish_to_backend(&mut self, publication: Box<crate::Publication>) {
        self.outputs.push_back(Output::Publish(publication));
    }
}
