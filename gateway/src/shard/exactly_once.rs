//! QoS 2: what of its handshakes is more than a publish and its acknowledgement.
//!
//! ```text
//!  from a client:  PUBLISH ──► taken in as at QoS 1, its id kept by the session ──► PUBREC when it is safe
//!                  PUBLISH again ──► PUBREC again, and nothing else
//!                  PUBREL ──► the id is free ──► PUBCOMP
//!  to a client:    PUBLISH ──► PUBREC ──► the message is forgotten ──► PUBREL ──► PUBCOMP ──► the id is free
//! ```
//! The ids of both directions are independent. An id that is not known is no error: its other half may have been lost with a session.

use std::collections::VecDeque;

use roost_wire::Now;

use super::Shard;
use super::close::Farewell;
use super::connection::{Client, Parked};
use crate::packet::{Ack, Packet, PacketId, ProtocolVersion, ReasonCode};
use crate::session::{Arrival, Publisher, Release, SessionKey};
use crate::{ConnectionId, Count};

impl Shard {
    /// How many publishes of a client are unanswered, as it counts them itself: those at QoS 2 until PUBCOMP (MQTT5 §3.3.4). 3.1.1 has no
    /// receive maximum, and is only made to wait for what the gateway is due.
    pub(super) fn unanswered(&self, client: &Client) -> usize {
        let told = match client.version() {
            ProtocolVersion::V31 | ProtocolVersion::V311 => 0,
            ProtocolVersion::V5 => {
                self.sessions.get(&client.session).map_or(0, |session| session.received.told())
            }
        };
        client.pending.len() + told
    }

    /// Whether another publish at QoS 1 keeps to the receive maximum.
    pub(super) fn has_place(&self, client: &Client) -> bool {
        self.unanswered(client) < usize::from(self.config.limits.receive_maximum.get())
    }

    /// The same at QoS 2, where it needs an id as well: those that its client has left from earlier connections add up.
    pub(super) fn has_place_and_id(&self, client: &Client, packet_id: PacketId) -> bool {
        let limits = &self.config.limits;
        let receive_maximum = usize::from(limits.receive_maximum.get());
        let Some(session) = self.sessions.get(&client.session) else { return false };
        match session.received.has(packet_id) {
            // A repeat has the place of the first.
            true => client.pending.len() < receive_maximum,
            false => {
                self.has_place(client)
                    && session.received.len() < limits.received_ids_max.max(2 * receive_maximum)
            }
        }
    }

    /// A PUBLISH at QoS 2 whose place and id were looked at; its publisher if it is the first under its id, else its PUBREC is all
    /// [MQTT-4.3.3-10].
    pub(super) fn receive(&mut self, now: Now, id: ConnectionId, packet_id: PacketId) -> Option<Publisher> {
        let client = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut())?;
        let session = self.sessions.touch(&client.session)?;
        client.pending.push_received(packet_id);
        match session.received.arrive(packet_id) {
            Arrival::New => return Some(Publisher::Session(client.session, packet_id)),
            Arrival::Early => {}
            Arrival::Late(reason) => client.pending.complete_received(packet_id, reason),
        }
        self.count(Count::PublishRepeated);
        self.send_acknowledgements(now, id);
        None
    }

    /// A publish at QoS 2 is safe, or refused: whichever connection its session has now is told, or the next one that asks.
    pub(super) fn settle_received(
        &mut self,
        now: Now,
        key: SessionKey,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        let Some(session) = self.sessions.touch(&key) else { return };
        session.received.settle(packet_id, reason);
        let is_settled = session.received.is_settled();
        if let Some(id) = session.connection {
            if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
                client.pending.complete_received(packet_id, reason);
            }
            self.send_acknowledgements(now, id);
        }
        if is_settled {
            self.give_settled(now, key);
        }
    }

    /// Publishes end unrouted, with their connection: what its client sends again under their ids is no repeat.
    pub(super) fn forget_parked(&mut self, key: SessionKey, parked: &VecDeque<Parked>) {
        let Some(session) = self.sessions.touch(&key) else { return };
        for publish in parked {
            match publish.publisher {
                Publisher::Connection(..) => {}
                Publisher::Session(_, packet_id) => session.received.forget(packet_id),
            }
        }
    }

    pub(super) fn pubrel(&mut self, now: Now, id: ConnectionId, ack: &Ack) {
        let Some(session) = self.session_of(id).and_then(|key| self.sessions.touch(&key)) else { return };
        // [MQTT-4.3.3-11]
        let reason = match session.received.release(ack.packet_id) {
            Release::Done => ReasonCode::Success,
            Release::Unknown => {
                self.count(Count::PubrelUnknown);
                ReasonCode::PacketIdentifierNotFound
            }
            Release::TooEarly => {
                let farewell = Farewell::Disconnect(ReasonCode::ProtocolError);
                return self.close(now, id, Count::ClosedProtocol, farewell);
            }
        };
        self.send(now, id, &Packet::Pubcomp(Ack::with_reason(ack.packet_id, reason)));
    }

    pub(super) fn pubrec(&mut self, now: Now, id: ConnectionId, ack: &Ack) {
        let Some(key) = self.session_of(id) else { return };
        let Some(session) = self.sessions.touch(&key) else { return };
        let before = session.outbox.depth();
        let is_refusal = ack.reason.is_error();
        let taken = match is_refusal {
            true => session.outbox.refuse(ack.packet_id),
            false => session.outbox.release(ack.packet_id),
        };
        let is_new = taken.is_some();
        let is_known = is_new || session.outbox.is_released(ack.packet_id);
        self.depth.changed(before, session.outbox.depth());
        if let Some(message) = taken {
            self.messages.give_back(message);
        }
        if is_new && is_refusal {
            self.count(Count::DroppedRefused);
        }
        if !is_known {
            self.count(Count::PubrecUnknown);
        }
        if !is_refusal {
            // [MQTT-4.3.3-4]; at once, so in the order of the PUBRECs [MQTT-4.6.0-4].
            let reason = if is_known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
            self.send(now, id, &Packet::Pubrel(Ack::with_reason(ack.packet_id, reason)));
        }
        if is_new {
            self.made_progress(now, key);
        }
    }

    pub(super) fn pubcomp(&mut self, now: Now, id: ConnectionId, ack: &Ack) {
        let Some(key) = self.session_of(id) else { return };
        let Some(session) = self.sessions.touch(&key) else { return };
        match session.outbox.complete(ack.packet_id) {
            true => self.made_progress(now, key),
            false => self.count(Count::PubcompUnknown),
        }
    }

    /// What waits for PUBCOMP is asked for again on a new connection [MQTT-4.4.0-1], whatever the receive maximum [MQTT-3.3.4-10].
    pub(super) fn release_again(&mut self, now: Now, id: ConnectionId, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let released: Vec<PacketId> = session.outbox.released().collect();
        for packet_id in released {
            self.send(now, id, &Packet::Pubrel(Ack::success(packet_id)));
        }
    }
}
