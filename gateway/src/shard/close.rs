//! The end of a connection, and of a session.

use bytes::{Bytes, BytesMut};
use roost_wire::{Now, Outcome, Sighting};

use super::connection::{Connection, Outgoing};
use super::share::Leaving;
use super::{Output, Shard, TimerFor};
use crate::link::FromShard;
use crate::packet::{
    Connack, ConnackProperties, Disconnect, DisconnectProperties, Encoder, Packet, ProtocolVersion,
    ReasonCode, Text,
};
use crate::session::{Depth, SessionKey};
use crate::{ConnectionId, Count, Notice};

/// What a client is told when its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The client is gone already.
    Gone,
    /// Nothing: it has said goodbye itself, and sends no more [MQTT-3.14.4-1].
    Goodbye,
    /// Nothing.
    None,
    /// v5: a DISCONNECT; v3.1.1, where a server has none: nothing.
    Disconnect(ReasonCode),
    /// As [`Farewell::Disconnect`], with a reason for people.
    DisconnectSaying(ReasonCode, &'static str),
    /// As [`Farewell::Disconnect`], behind everything encoded for it.
    FlushAndDisconnect(ReasonCode),
    /// A CONNACK that refuses, with a reason for people.
    Connack(Encoder, ReasonCode, Option<&'static str>),
}

impl Shard {
    pub(super) fn closed_by_peer(&mut self, now: Now, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id) {
            let waits =
                connection.fetches.is_some() || connection.is_read_for || connection.authenticating.is_some();
            let count = match (&connection.client, waits) {
                (Some(_), _) => Count::ClosedBroken,
                (None, true) => Count::RefusedLeft,
                (None, false) => Count::RefusedMalformed,
            };
            self.close(now, id, count, Farewell::Gone);
        }
    }

    /// Ends a connection: its session goes on without it, or ends with it.
    pub(super) fn close(&mut self, now: Now, id: ConnectionId, count: Count, farewell: Farewell) {
        let session = self.session_of(id).and_then(|key| self.sessions.get(&key));
        let notice = match session {
            Some(session) => {
                Notice::Closed { device: session.device.clone(), session: session.id, why: count }
            }
            None => Notice::Refused { device: None, why: count },
        };
        self.close_saying(now, id, notice, farewell);
    }

    /// As [`Shard::close`], for who knows more of the connection.
    pub(super) fn close_saying(&mut self, now: Now, id: ConnectionId, notice: Notice, farewell: Farewell) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        let mut why = None;
        if let Notice::Closed { why: count, .. }
        | Notice::Refused { why: count, .. }
        | Notice::LoginRefused { why: count, .. } = notice
        {
            self.count(count);
            why = Some(count);
        }
        // Who goes away unasked was not refused: a balancer's probe does so every few seconds.
        if connection.client.is_some() || farewell != Farewell::Gone {
            self.outputs.push_back(Output::Notice(Box::new(notice)));
        }
        self.timers.cancel(TimerFor::Connection(id));
        if let Some(request) = connection.fetches {
            self.fetch_left(now, request);
        }
        if connection.paused {
            self.paused -= 1;
        }
        let farewell = match farewell {
            // What is not durable is not said.
            Farewell::FlushAndDisconnect(reason) if !self.storing.is_safe(connection.outgoing.waits_for) => {
                Farewell::Disconnect(reason)
            }
            _ => farewell,
        };
        if farewell != Farewell::Gone {
            let flushed = match farewell {
                Farewell::FlushAndDisconnect(_) => connection.outgoing.take_packets(),
                Farewell::Gone
                | Farewell::Goodbye
                | Farewell::None
                | Farewell::Disconnect(_)
                | Farewell::DisconnectSaying(..)
                | Farewell::Connack(..) => 0,
            };
            let last = last_words(&mut connection, farewell, self.config.hints.server_reference.as_ref());
            self.sys.traffic.packets_sent += u64::from(flushed) + u64::from(!last.is_empty());
            let is_goodbye = farewell == Farewell::Goodbye;
            self.outputs.push_back(Output::Close { connection: id, last, is_goodbye });
        }
        if let Some(mut client) = connection.client {
            self.parked_bytes -= client.parked_bytes;
            self.forget_parked(client.session, &client.parked);
            self.give_up_crossings(&client, id);
            if let Some(held_by) = client.waits_for {
                self.no_longer_waits(id, held_by);
            }
            if let Some(held_by) = client.woken_by {
                self.wake_next(held_by);
            }
            if let Some(will) = client.will.take() {
                self.leave_will(now, client.session, will, why);
            }
            self.detach(now, client.session, &connection.outgoing);
        }
    }

    /// Takes its connection from a session: commands are never kept, the rest is for as long as the client asked for.
    fn detach(&mut self, now: Now, key: SessionKey, outgoing: &Outgoing) {
        let Some(session) = self.sessions.touch(&key) else { return };
        session.connection = None;
        session.left_in = self.turn.era;
        session.stalled_since = None;
        session.outbox.disconnect();
        session.received.disconnect();
        let hold = std::mem::take(&mut session.hold);
        let (device, id, expiry) = (session.device.clone(), session.id, session.expiry);
        let (is_doubted, is_untold) = (session.is_doubted, session.is_untold);
        self.connected -= 1;
        self.command_sessions_gone(key, hold, outgoing);
        self.tell_link(FromShard::Sighting(Sighting::Gone { device, session: id }));
        self.wake_all_publishers(key);
        self.member_is_connected(key, false);
        if expiry.is_zero() || is_untold {
            self.end_session(now, key, Count::SessionClean);
        } else if is_doubted {
            self.forsake(now, key, Count::SessionStale);
        } else if let Some(session) = self.sessions.touch(&key) {
            let at = now.boot + expiry;
            session.expires_at = Some(at);
            self.timers.set(TimerFor::Session(key), at);
            self.delay_will(now, key);
            // All are on their way to other gateways otherwise, with what they have.
            if !self.is_draining() {
                self.hand_on(now, key, Leaving::Away);
            }
        }
    }

    /// Settles every command of a session whose connection closed, each once.
    fn command_sessions_gone(&mut self, key: SessionKey, mut hold: crate::hold::Hold, outgoing: &Outgoing) {
        let (written, waiting) = hold.take_all();
        for command in written {
            let outcome = Outcome::Gone { written: outgoing.was_handed(command.ends_at) };
            self.release(command.payload_bytes);
            self.settle(key, (command.command, command.epoch), outcome, command.trace);
        }
        for command in waiting {
            self.release(command.payload_bytes());
            let delivery = &command.delivery;
            let id = (delivery.id, delivery.epoch);
            self.settle(key, id, Outcome::Gone { written: false }, command.trace);
        }
        self.holding.remove(&key);
    }

    /// Forgets a session that has no connection. What it has of groups goes to others in them, unless it goes on elsewhere.
    pub(super) fn end_session(&mut self, now: Now, key: SessionKey, count: Count) {
        self.leave_groups(key);
        if count != Count::SessionMoved {
            self.hand_on(now, key, Leaving::Ended);
        }
        self.groups.forget_ended();
        let Some(mut session) = self.sessions.remove(&key) else { return };
        if session.is_doubted {
            self.doubts.note(&session.device, session.accepted_at);
        }
        self.depth.changed(session.outbox.depth(), Depth::default());
        self.by_device.remove(&session.device);
        if self.config.interests.shards() > 1 {
            for (filter, _) in self.subscriptions.subscriptions_of(&key) {
                self.config.interests.remove(self.config.placement.index(), &filter);
            }
        }
        self.subscriptions.remove_all(&key);
        self.timers.cancel(TimerFor::Session(key));
        self.timers.cancel(TimerFor::Retained(key));
        if let Some(pending) = session.will.take() {
            self.session_with_will_ended(key, session.device, pending, count);
        }
        self.count(count);
    }

    /// Forgets a session that has a newer one elsewhere, with the messages that it holds.
    pub(super) fn forsake(&mut self, now: Now, key: SessionKey, count: Count) {
        self.leave_groups(key);
        self.hand_on(now, key, Leaving::Ended);
        let Some(session) = self.sessions.get(&key) else { return };
        let Depth { queued, inflight, .. } = session.outbox.depth();
        self.counters.add_many(Count::DroppedWithSession, (queued + inflight) as u64);
        self.end_session(now, key, count);
    }

    /// The session went away: nobody waits for it any more.
    fn wake_all_publishers(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.touch(&key) else { return };
        for id in std::mem::take(&mut session.holds_up) {
            self.wake(id, None);
        }
    }
}

fn last_words(connection: &mut Connection, farewell: Farewell, elsewhere: Option<&Text>) -> Bytes {
    let encoder = connection.client.as_ref().map(|client| client.encoder);
    // [MQTT5 §3.2.2.3.16, §3.14.2.2.5]
    let elsewhere_for =
        |reason: ReasonCode| elsewhere.filter(|_| reason == ReasonCode::UseAnotherServer).cloned();
    let disconnect = |reason, text: Option<&'static str>| match encoder {
        Some(encoder) if encoder.version == ProtocolVersion::V5 => {
            let properties = DisconnectProperties {
                reason_string: text.map(Text::from_static),
                server_reference: elsewhere_for(reason),
                ..DisconnectProperties::default()
            };
            disconnect_packet(encoder, reason, properties)
        }
        Some(_) | None => Bytes::new(),
    };
    match farewell {
        Farewell::Gone | Farewell::Goodbye | Farewell::None => Bytes::new(),
        Farewell::Disconnect(reason) => disconnect(reason, None),
        Farewell::DisconnectSaying(reason, text) => disconnect(reason, Some(text)),
        Farewell::FlushAndDisconnect(reason) => {
            let mut last = BytesMut::from(connection.outgoing.take_rest());
            last.extend_from_slice(&disconnect(reason, None));
            last.freeze()
        }
        Farewell::Connack(encoder, reason, text) => {
            let properties = ConnackProperties {
                reason_string: text.map(Text::from_static),
                server_reference: elsewhere_for(reason),
                ..ConnackProperties::default()
            };
            connack_packet(encoder, reason, properties)
        }
    }
}

/// With the properties where those are not what makes it too large for its client. [MQTT-3.1.2-24]
fn connack_packet(encoder: Encoder, reason: ReasonCode, properties: ConnackProperties) -> Bytes {
    let connack = |properties| Packet::Connack(Connack { session_present: false, reason, properties });
    let bytes = encode(encoder, &connack(Some(Box::new(properties))));
    if bytes.is_empty() { encode(encoder, &connack(None)) } else { bytes }
}

/// With the properties where those are not what makes it too large for its client. [MQTT-3.1.2-24]
fn disconnect_packet(encoder: Encoder, reason: ReasonCode, properties: DisconnectProperties) -> Bytes {
    let plain = Disconnect { reason, properties: None };
    let whole = Disconnect { reason, properties: Some(Box::new(properties)) };
    let bytes = encode(encoder, &Packet::Disconnect(whole));
    if bytes.is_empty() { encode(encoder, &Packet::Disconnect(plain)) } else { bytes }
}

fn encode(encoder: Encoder, packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    // One that does not fit its client is left out: the connection closes all the same.
    let _ = encoder.encode(packet, &mut bytes);
    bytes.freeze()
}
