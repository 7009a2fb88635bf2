//! Commands that the router gave this gateway to deliver.

use std::time::Duration;

use roost_wire::{
    BootTime, CommandId, Delivery, Epoch, LinkId, Now, Outcome, Qos, Refusal, ReturnReason, Settlement,
    SettlementItem, envelope::header,
};

use super::connection::Connection;
use super::{Output, Shard};
use crate::hold::{Waiting, Written};
use crate::link::FromShard;
use crate::message::seconds_left;
use crate::packet::{
    self, PublishPropertiesRef, PublishRef, QoS, ReasonCode, SubscriptionId, Text, UserProperty,
};
use crate::session::SessionKey;
use crate::trace::{self, Begun, Ending};
use crate::{ConnectionId, Count};

/// What is to be done with a command that came.
enum Verdict {
    /// It is not for this turn: the router learns that from the sync.
    Drop(Count),
    /// Answer at once.
    Answer(Outcome),
    /// Take it in.
    Take(SessionKey, ConnectionId),
}

impl Shard {
    pub(super) fn deliver_command(&mut self, now: Now, link: LinkId, mut delivery: Box<Delivery>) {
        let verdict = self.judge(now, link, &delivery);
        match verdict {
            Verdict::Drop(count) => self.count(count),
            Verdict::Answer(outcome) => {
                let key = self.addressee(&delivery).map(|(key, _)| key);
                let trace = self.begin_trace(now, &mut delivery);
                self.answer(key, &delivery, outcome, trace);
            }
            Verdict::Take(key, id) => {
                self.count(Count::CommandTaken);
                self.commands += 1;
                self.command_bytes += delivery.payload.len();
                self.holding.insert(key);
                let deadline = now.boot + Duration::from_millis(delivery.expires_in_ms);
                let trace = self.begin_trace(now, &mut delivery);
                if let Some(session) = self.sessions.touch(&key) {
                    session.hold.wait(Waiting { delivery, deadline, trace });
                }
                self.pump(now, id);
                self.arm(id);
            }
        }
    }

    /// The order of these questions is the protocol's.
    fn judge(&mut self, now: Now, link: LinkId, delivery: &Delivery) -> Verdict {
        if self.turn.link != Some(link) {
            return Verdict::Drop(Count::CommandOldLink);
        }
        if self.turn.number != Some(delivery.sync) {
            return Verdict::Drop(Count::CommandOldSync);
        }
        let returned = |reason| Verdict::Answer(Outcome::Returned { reason });
        if !self.turn.lease_is_valid(now.boot) {
            return returned(ReturnReason::LeaseLapsed);
        }
        let Some((key, id)) = self.addressee(delivery) else {
            return Verdict::Answer(Outcome::Gone { written: false });
        };
        let limits = &self.config.limits;
        let Some(session) = self.sessions.touch(&key) else { return Verdict::Drop(Count::CommandRepeated) };
        if let Some(reason) = session.hold.judge(delivery.epoch) {
            return returned(reason);
        }
        if session.hold.adopt(delivery.id, delivery.epoch) {
            return Verdict::Drop(Count::CommandRepeated);
        }
        if !matches!(self.drain, super::DrainState::Serving) {
            return returned(ReturnReason::Draining);
        }
        if delivery.expires_in_ms == 0 {
            return Verdict::Answer(Outcome::Refused { reason: Refusal::Expired });
        }
        if self.subscriptions.granted_qos(&key, delivery.topic.as_str()).is_none() {
            return Verdict::Answer(Outcome::NoSubscription);
        }
        let is_full = session.hold.len() >= limits.device_commands_max
            || self.commands >= limits.commands_max
            || self.command_bytes + delivery.payload.len() > limits.command_bytes_max;
        if is_full { returned(ReturnReason::Full) } else { Verdict::Take(key, id) }
    }

    /// The session that the command is for, if it is the device's present one and connected.
    fn addressee(&self, delivery: &Delivery) -> Option<(SessionKey, ConnectionId)> {
        let key = *self.by_device.get(&delivery.device)?;
        let session = self.sessions.get(&key).filter(|session| session.id == delivery.session)?;
        Some((key, session.connection?))
    }

    /// The device sees this gateway's place in the command's trace from here on.
    fn begin_trace(&mut self, now: Now, delivery: &mut Delivery) -> Option<Box<Begun>> {
        let place = self.tracer.down(delivery.trace)?;
        delivery.trace = Some(place.context);
        let parent = place.recorded?;
        Some(Box::new(Begun {
            context: place.context,
            parent,
            device: delivery.device.clone(),
            topic: delivery.topic.clone(),
            message_id: delivery.id.to_string(),
            qos: delivery.qos,
            payload_bytes: delivery.payload.len(),
            start: now.boot,
            attempt: delivery.attempt,
            written_at: None,
        }))
    }

    /// Settles a command that is not in the hold (any more). An answer other than delivered or sent ends the hold, and
    /// what waits of it goes back behind it.
    fn answer(
        &mut self,
        key: Option<SessionKey>,
        delivery: &Delivery,
        outcome: Outcome,
        trace: Option<Box<Begun>>,
    ) {
        let settlement = Settlement {
            command: delivery.id,
            device: delivery.device.clone(),
            session: delivery.session,
            epoch: delivery.epoch,
            outcome,
        };
        self.tell_settlement(settlement, trace);
        if let Some(key) = key {
            self.after_answer(key, delivery.epoch, outcome);
        }
    }

    /// As `answer`, for a command of which only the ids are left.
    pub(super) fn settle(
        &mut self,
        key: SessionKey,
        (command, epoch): (CommandId, Epoch),
        outcome: Outcome,
        trace: Option<Box<Begun>>,
    ) {
        let Some(session) = self.sessions.get(&key) else { return };
        let (device, session) = (session.device.clone(), session.id);
        self.tell_settlement(Settlement { command, device, session, epoch, outcome }, trace);
        self.after_answer(key, epoch, outcome);
    }

    fn after_answer(&mut self, key: SessionKey, epoch: Epoch, outcome: Outcome) {
        if outcome.is_success() {
            return self.no_longer_holding(key);
        }
        let Some(session) = self.sessions.touch(&key) else { return };
        session.hold.owes_subscribed |= outcome == Outcome::NoSubscription;
        let ended = session.hold.end(epoch);
        let (device, session) = (session.device.clone(), session.id);
        for Waiting { delivery, trace, .. } in ended {
            self.release(delivery.payload.len());
            let settlement = Settlement {
                command: delivery.id,
                device: device.clone(),
                session,
                epoch: delivery.epoch,
                outcome: Outcome::Returned { reason: ReturnReason::HoldEnded },
            };
            self.tell_settlement(settlement, trace);
        }
        self.no_longer_holding(key);
    }

    fn no_longer_holding(&mut self, key: SessionKey) {
        if self.sessions.get(&key).is_none_or(|session| session.hold.len() == 0) {
            self.holding.remove(&key);
        }
    }

    fn tell_settlement(&mut self, settlement: Settlement, trace: Option<Box<Begun>>) {
        self.count(count_of(settlement.outcome));
        if let Some(begun) = trace {
            let how = Ending::Command { epoch: settlement.epoch, outcome: settlement.outcome };
            self.outputs.push_back(Output::Trace(begun.ended(self.now, how)));
        }
        self.tell_link(FromShard::Settlement(SettlementItem::Settled(settlement)));
    }

    /// A command has left the hold.
    pub(super) fn release(&mut self, payload_bytes: usize) {
        self.commands -= 1;
        self.command_bytes -= payload_bytes;
    }

    /// Returns everything that waits, in all sessions: nothing of it was written.
    pub(super) fn return_waiting(&mut self, reason: ReturnReason) {
        for key in self.holding.clone() {
            let Some(session) = self.sessions.touch(&key) else { continue };
            for waiting in session.hold.take_waiting() {
                self.release(waiting.payload_bytes());
                let delivery = waiting.delivery;
                self.settle(key, (delivery.id, delivery.epoch), Outcome::Returned { reason }, waiting.trace);
            }
            self.no_longer_holding(key);
        }
    }

    /// Writes the commands that wait for a client, in order, as far as there is room.
    pub(super) fn pump_commands(&mut self, now: Now, id: ConnectionId, key: SessionKey) {
        loop {
            let Some(session) = self.sessions.get(&key) else { return };
            let Some(first) = session.hold.first_waiting() else { return };
            let granted = self.subscriptions.granted_with_ids(&key, first.delivery.topic.as_str());
            let outcome = if !self.turn.lease_is_valid(now.boot) {
                Outcome::Returned { reason: ReturnReason::LeaseLapsed }
            } else if first.deadline <= now.boot {
                Outcome::Refused { reason: Refusal::Expired }
            } else if let Some((granted, ids)) = granted {
                let qos = granted.min(as_packet_qos(first.delivery.qos));
                if !self.has_room(id, key, qos != QoS::AtMostOnce) {
                    return;
                }
                if self.write_command(now, (id, key), qos, &ids) {
                    continue;
                }
                Outcome::Refused { reason: Refusal::PacketTooLarge }
            } else {
                // It was unsubscribed while the command waited.
                Outcome::NoSubscription
            };
            self.answer_first_waiting(key, outcome);
        }
    }

    fn answer_first_waiting(&mut self, key: SessionKey, outcome: Outcome) {
        let first = self.sessions.touch(&key).and_then(|session| session.hold.pop_waiting());
        if let Some(Waiting { delivery, trace, .. }) = first {
            self.release(delivery.payload.len());
            self.answer(Some(key), &delivery, outcome, trace);
        }
    }

    /// Writes the first waiting command, with the identifiers of the subscriptions that it matches [MQTT-3.3.4-3]; false if its client takes
    /// no packet as large, and then it still waits.
    fn write_command(
        &mut self,
        now: Now,
        (id, key): (ConnectionId, SessionKey),
        qos: QoS,
        subscription_ids: &[SubscriptionId],
    ) -> bool {
        let (Some(connection), Some(session)) = (self.connections.get_mut(&id), self.sessions.touch(&key))
        else {
            return false;
        };
        let Connection { outgoing, client: Some(client), .. } = &mut **connection else { return false };
        let packet_id = (qos != QoS::AtMostOnce).then(|| session.next_packet_id());
        let Some(Waiting { delivery, deadline, .. }) = session.hold.first_waiting() else { return false };
        let as_delivery = match packet_id {
            Some(packet_id) => packet::Delivery::AtLeastOnce { packet_id, dup: false },
            None => packet::Delivery::AtMostOnce,
        };
        let pairs = user_properties(delivery);
        let answer_to = delivery
            .correlation_id
            .as_ref()
            .map(|_| self.config.answers.of_command(&delivery.device.id, delivery.id));
        let publish = PublishRef {
            topic: delivery.topic.as_str(),
            delivery: as_delivery,
            retain: false,
            payload: &delivery.payload,
            properties: PublishPropertiesRef {
                message_expiry_s: Some(seconds_left(deadline.since(now.boot))),
                user_properties: &pairs,
                subscription_ids,
                content_type: delivery.content_type.as_deref(),
                response_topic: answer_to.as_deref(),
                correlation_data: delivery.correlation_id.as_deref().map(str::as_bytes),
                ..PublishPropertiesRef::default()
            },
        };
        if !outgoing.publish(&mut self.buffers, now.boot, client, &publish) {
            return false;
        }
        let mut written = Written {
            command: delivery.id,
            epoch: delivery.epoch,
            packet_id,
            written_at: now.boot,
            ends_at: outgoing.encoded(),
            payload_bytes: delivery.payload.len(),
            trace: None,
        };
        let payload_bytes = written.payload_bytes;
        written.trace = session.hold.pop_waiting().and_then(|waiting| waiting.trace);
        if let Some(begun) = &mut written.trace {
            begun.written_at = Some(now.boot);
        }
        session.hold.write(written);
        self.counters.written(qos, payload_bytes);
        self.has_output(id);
        true
    }

    /// A PUBACK came for a command.
    pub(super) fn command_acknowledged(&mut self, key: SessionKey, written: Written, reason: ReasonCode) {
        let outcome = match reason.is_error() {
            true => Outcome::Refused { reason: Refusal::Device { reason_code: reason.byte() } },
            false => Outcome::Delivered,
        };
        self.release(written.payload_bytes);
        self.settle(key, (written.command, written.epoch), outcome, written.trace);
    }

    /// The socket has taken more: commands at QoS 0 whose last byte it has are sent.
    pub(super) fn commands_sent(&mut self, id: ConnectionId) {
        let Some(taken) = self.connections.get(&id).map(|connection| connection.outgoing.taken()) else {
            return;
        };
        let Some(key) = self.session_of(id) else { return };
        while let Some(written) = self.sessions.touch(&key).and_then(|s| s.hold.pop_sent(taken)) {
            self.release(written.payload_bytes);
            self.settle(key, (written.command, written.epoch), Outcome::Sent, written.trace);
        }
    }

    /// Ends the lifetimes of waiting commands that have passed.
    pub(super) fn expire_commands(&mut self, now: BootTime, key: SessionKey) {
        while let Some(expired) = self.sessions.touch(&key).and_then(|s| s.hold.pop_expired(now)) {
            self.release(expired.payload_bytes());
            self.answer(
                Some(key),
                &expired.delivery,
                Outcome::Refused { reason: Refusal::Expired },
                expired.trace,
            );
        }
    }

    /// Settles the command that was not acknowledged in time; the connection is to be closed then.
    pub(super) fn time_out_command(&mut self, key: SessionKey, written: &Written) {
        let taken = self.sessions.touch(&key).and_then(|session| session.hold.take_written(written.command));
        if let Some(written) = taken {
            self.release(written.payload_bytes);
            self.settle(key, (written.command, written.epoch), Outcome::TimedOut, written.trace);
        }
    }
}

/// The sender's pairs, the command's id so that a device can know a repeated one, and its place in a trace, which stands for whatever
/// the sender said of that among the pairs.
fn user_properties(delivery: &Delivery) -> Vec<UserProperty> {
    let id = (Text::from_static(header::COMMAND_ID), Text::parse(delivery.id.to_string()));
    let pair = |(name, value): &(String, String)| {
        Some(UserProperty {
            name: Text::parse(name.as_str()).ok()?,
            value: Text::parse(value.as_str()).ok()?,
        })
    };
    let is_sent = |(name, _): &&(String, String)| delivery.trace.is_none() || !trace::is_ours(name);
    let sent = delivery.user_properties.iter().filter(is_sent).filter_map(pair);
    let id = UserProperty { name: id.0, value: id.1.expect("a command id is short and has no NUL") };
    let place = delivery.trace.map(|place| UserProperty {
        name: Text::from_static(header::TRACEPARENT),
        value: Text::parse(place.to_string()).expect("a traceparent is short and has no NUL"),
    });
    sent.chain(std::iter::once(id)).chain(place).collect()
}

const fn as_packet_qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce | Qos::ExactlyOnce => QoS::AtLeastOnce,
    }
}

const fn count_of(outcome: Outcome) -> Count {
    match outcome {
        Outcome::Delivered => Count::CommandDelivered,
        Outcome::Sent => Count::CommandSent,
        Outcome::NoSubscription => Count::CommandNoSubscription,
        Outcome::Gone { written: false } => Count::CommandGone,
        Outcome::Gone { written: true } => Count::CommandGoneWritten,
        Outcome::TimedOut => Count::CommandTimedOut,
        Outcome::Refused { reason } => match reason {
            Refusal::Device { .. } => Count::CommandRefusedDevice,
            Refusal::PacketTooLarge => Count::CommandRefusedTooLarge,
            Refusal::Expired => Count::CommandExpired,
        },
        Outcome::Returned { reason } => match reason {
            ReturnReason::HoldEnded => Count::CommandHoldEnded,
            ReturnReason::StaleEpoch => Count::CommandStaleEpoch,
            ReturnReason::LeaseLapsed => Count::CommandLeaseLapsed,
            ReturnReason::Full => Count::CommandFull,
            ReturnReason::Draining => Count::CommandDraining,
        },
    }
}
