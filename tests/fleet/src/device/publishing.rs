//! What a device publishes: its own messages when they are due, and answers to commands.
//!
//! ```text
//!  QoS 1   published ──────────── PUBACK ─────────→ acknowledged
//!  QoS 2   published ── PUBREC ──→ released ── PUBCOMP ──→ acknowledged
//! ```
//! What is in flight when a connection ends goes on at the next one, if the session is still there: PUBLISH again with DUP, or
//! PUBREL again. \[MQTT-4.4.0-1\]

use std::collections::VecDeque;
use std::time::Duration;

use roost_gateway::packet::{
    Ack, BinaryData, Delivery, Encoder, Packet, PacketId, Publish, PublishPropertiesRef, PublishRef, QoS,
    ReasonCode, Text,
};
use roost_wire::BootTime;

use super::{Device, Effects, text};
use crate::{Count, Kind, Plan, Schedule, Span, Stamp};

/// Messages written in one turn: so that one device that has much to catch up does not hold up the others.
const PUBLISHES_PER_TURN: usize = 32;
/// How long a PINGRESP may take before the connection is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers in flight beyond the window of a device's own messages; one more is skipped, and counted. Together with the default
/// window they are fewer than the receive maximum of any broker that is known.
const ANSWERS_BEYOND_WINDOW: usize = 4;

/// A message that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct InFlight {
    id: PacketId,
    /// Its serial number; an answer has that of the command.
    sequence: u32,
    /// When it was due; an answer has the time of the command.
    due: BootTime,
    /// PUBREC has come: from now on it is PUBREL that goes again. (QoS 2)
    released: bool,
    /// Where it goes if it is an answer.
    answer: Option<Box<Address>>,
}

/// Where an answer goes.
#[derive(Debug)]
struct Address {
    topic: Text,
    correlation_data: Option<BinaryData>,
}

impl Device {
    pub(super) fn serve(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        self.skip_overdue(plan, now, effects);
        for _ in 0..PUBLISHES_PER_TURN {
            if self.publish_due(plan).is_none_or(|due| due > now) {
                break;
            }
            self.publish(plan, now, effects);
        }
        if self.ping_sent.is_some_and(|sent| now.since(sent) >= PING_TIMEOUT) {
            effects.figures.count(Count::ConnectionLost);
            return self.hang_up(plan, now, effects);
        }
        if self.ping_sent.is_none() && self.ping_due(plan).is_some_and(|due| due <= now) {
            self.ping_sent = Some(now);
            self.last_written = now;
            self.write(plan, &Packet::Pingreq, effects);
        }
    }

    fn skip_overdue(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let Some(schedule) = &mut self.schedule else { return };
        for _ in 0..schedule.overdue(now, plan.traffic.backlog_max) {
            schedule.take(plan, self.index);
            effects.figures.count(Count::Skipped);
        }
    }

    fn publish(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        let taken = self.schedule.as_mut().and_then(|schedule| schedule.take(plan, self.index));
        let Some((sequence, due)) = taken else { return };
        effects.figures.count(Count::Published);
        let message = InFlight { id: self.take_id(), sequence, due, released: false, answer: None };
        self.send(plan, now, message, effects);
    }

    /// Answers a command that has come for the first time: to its Response Topic, else where the plan says.
    pub(super) fn answer_command(
        &mut self,
        plan: &Plan,
        now: BootTime,
        stamp: Stamp,
        command: &Publish,
        effects: &mut Effects,
    ) {
        let properties = command.properties.as_deref();
        let asked = properties.and_then(|properties| properties.response_topic.as_ref());
        let topic = match (asked, plan.answer_topic(self.index)) {
            (Some(topic), _) => topic.detached(),
            (None, Some(topic)) => text(topic),
            (None, None) => return,
        };
        if topic.as_str().contains(['+', '#']) {
            effects.figures.count(Count::ProtocolError); // [MQTT-3.3.2-14]
            return;
        }
        if self.in_flight.len() >= usize::from(plan.traffic.in_flight_max) + ANSWERS_BEYOND_WINDOW {
            effects.figures.count(Count::AnswerSkipped);
            return;
        }
        let correlation_data = properties.and_then(|properties| properties.correlation_data.as_ref());
        let correlation_data = correlation_data.map(BinaryData::detached);
        let (sequence, due) = (stamp.sequence, stamp.intended);
        let answer = Some(Box::new(Address { topic, correlation_data }));
        effects.figures.count(Count::AnswerPublished);
        let message = InFlight { id: self.take_id(), sequence, due, released: false, answer };
        self.send(plan, now, message, effects);
    }

    fn send(&mut self, plan: &Plan, now: BootTime, message: InFlight, effects: &mut Effects) {
        self.last_written = now;
        self.write_publish(plan, &message, false, effects);
        match plan.traffic.qos() {
            QoS::AtMostOnce => self.complete(now, &message, effects),
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                effects.figures.in_flight += 1;
                self.in_flight.push_back(message);
            }
        }
    }

    fn write_publish(&self, plan: &Plan, message: &InFlight, dup: bool, effects: &mut Effects) {
        let kind = if message.answer.is_some() { Kind::Answer } else { Kind::Event };
        let (run, device) = (plan.run, self.index);
        let stamp = Stamp { kind, run, device, sequence: message.sequence, intended: message.due };
        let packet_id = message.id;
        let delivery = match plan.traffic.qos() {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        };
        let (topic, size) = match &message.answer {
            Some(address) => (address.topic.as_str().to_owned(), 0),
            None => (plan.topic(self.index), plan.traffic.size as usize),
        };
        let correlation_data = message
            .answer
            .as_ref()
            .and_then(|address| address.correlation_data.as_ref())
            .map(|data| &data[..]);
        let publish = PublishRef {
            topic: &topic,
            delivery,
            retain: false,
            payload: &stamp.payload(size),
            properties: PublishPropertiesRef { correlation_data, ..PublishPropertiesRef::default() },
        };
        Encoder::new(plan.mqtt.version())
            .encode_publish(&publish, &mut effects.wire)
            .expect("topics were parsed, the size is bounded, and no limit was set");
    }

    /// At the begin of a connection: only a session that outlived the last one has some.
    pub(super) fn send_again(&mut self, plan: &Plan, effects: &mut Effects) {
        for message in std::mem::take(&mut self.in_flight) {
            effects.figures.count(Count::PublishedAgain);
            match message.released {
                true => self.write(plan, &Packet::Pubrel(Ack::success(message.id)), effects),
                false => self.write_publish(plan, &message, true, effects),
            }
            self.in_flight.push_back(message);
        }
    }

    /// The broker has no session. A message of QoS 1 goes again all the same; of QoS 2 it is not known whether it has arrived.
    pub(super) fn lose_session(&mut self, plan: &Plan, effects: &mut Effects) {
        self.unreleased = Vec::new();
        if plan.traffic.qos() == QoS::ExactlyOnce {
            self.forget_in_flight(effects);
        }
    }

    pub(super) fn forget_in_flight(&mut self, effects: &mut Effects) {
        let forgotten = std::mem::take(&mut self.in_flight);
        effects.figures.in_flight -= forgotten.len() as i64;
        for message in forgotten {
            effects.figures.count(match message.answer {
                Some(_) => Count::AnswerAbandoned,
                None => Count::Abandoned,
            });
        }
    }

    // --- acknowledgements

    /// PUBACK.
    pub(super) fn acknowledged(&mut self, now: BootTime, ack: &Ack, effects: &mut Effects) {
        // "No matching subscribers" is a success: the broker has it, and nobody wanted it.
        match self.take_in_flight(ack.packet_id, effects) {
            Some(message) if ack.reason.is_error() => refuse(&message, effects),
            Some(message) => self.complete(now, &message, effects),
            None => effects.figures.count(Count::ProtocolError),
        }
    }

    /// PUBREC. It is answered in any case, or the broker would wait for ever.
    pub(super) fn received(&mut self, plan: &Plan, now: BootTime, ack: &Ack, effects: &mut Effects) {
        if ack.reason.is_error() {
            if let Some(message) = self.take_in_flight(ack.packet_id, effects) {
                refuse(&message, effects);
            }
            return;
        }
        let message = self.in_flight.iter_mut().find(|message| message.id == ack.packet_id);
        let is_known = message.is_some();
        if let Some(message) = message {
            message.released = true;
        }
        self.last_written = now;
        self.write(plan, &Packet::Pubrel(found(plan, ack.packet_id, is_known)), effects);
    }

    /// PUBCOMP. That the broker does not know the message any more says that it is complete there.
    pub(super) fn completed(&mut self, now: BootTime, ack: &Ack, effects: &mut Effects) {
        match self.take_in_flight(ack.packet_id, effects) {
            Some(message) => self.complete(now, &message, effects),
            None => effects.figures.count(Count::ProtocolError),
        }
    }

    fn take_in_flight(&mut self, id: PacketId, effects: &mut Effects) -> Option<InFlight> {
        let at = self.in_flight.iter().position(|message| message.id == id)?;
        effects.figures.in_flight -= 1;
        let message = self.in_flight.remove(at);
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new(); // a device that waits for nothing keeps no memory for it
        }
        message
    }

    fn complete(&mut self, now: BootTime, message: &InFlight, effects: &mut Effects) {
        match message.answer {
            Some(_) => {
                effects.figures.count(Count::AnswerAcknowledged);
                self.records.answered.insert(message.sequence);
            }
            None => {
                effects.figures.count(Count::Acknowledged);
                effects.figures.took(Span::Publish, now.since(message.due));
                self.records.acknowledged.insert(message.sequence);
            }
        }
    }

    // --- when

    /// When the next message can go; `None` while the window is full.
    pub(super) fn publish_due(&self, plan: &Plan) -> Option<BootTime> {
        let has_room = self.in_flight.len() < usize::from(plan.traffic.in_flight_max);
        self.schedule.as_ref().and_then(Schedule::due).filter(|_| has_room)
    }

    pub(super) fn ping_due(&self, plan: &Plan) -> Option<BootTime> {
        let keep_alive = Duration::from_secs(u64::from(plan.mqtt.keep_alive_s));
        match self.ping_sent {
            Some(sent) => Some(sent + PING_TIMEOUT),
            None => (!keep_alive.is_zero()).then(|| self.last_written + keep_alive),
        }
    }

    pub(super) fn take_id(&mut self) -> PacketId {
        // In the window there are far fewer than there are identifiers.
        while self.in_flight.iter().any(|message| message.id == self.next_id) {
            self.next_id = self.next_id.next();
        }
        let id = self.next_id;
        self.next_id = id.next();
        id
    }
}

fn refuse(message: &InFlight, effects: &mut Effects) {
    effects.figures.count(match message.answer {
        Some(_) => Count::AnswerRefused,
        None => Count::PublishRefused,
    });
}

/// An answer to a packet of a message that is known, or is not any more, which only MQTT 5 can say.
pub(super) fn found(plan: &Plan, packet_id: PacketId, is_known: bool) -> Ack {
    match is_known || !plan.mqtt.v5 {
        true => Ack::success(packet_id),
        false => Ack::with_reason(packet_id, ReasonCode::PacketIdentifierNotFound),
    }
}
