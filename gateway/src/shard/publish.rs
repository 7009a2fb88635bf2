//! A client's PUBLISH: checked, given to local subscribers and the uplink, acknowledged when it is safe.

use roost_backend::contract;
use roost_wire::{BootTime, Event, Now, Qos, Topic};

use super::close::Farewell;
use super::connection::{HeldBy, Parked};
use super::park::Place;
use super::{Backend, Output, Shard, TimerFor};
use crate::message::Message;
use crate::packet::{Delivery, PayloadFormat, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::session::PublishNumber;
use crate::spool::WhenFull;
use crate::trace::{self, Begun, Ending};
use crate::uplink::{EventEnd, Next, Waiter, retry};
use crate::{Acknowledge, ConnectionId, Count, Notice, PublishOutcome, PublishToken, UplinkOrder};

/// What an event is made of.
struct Parts {
    message: Message,
    qos: Qos,
    dup: bool,
    read_at: BootTime,
}

/// What a client's publish breaks. It costs the client its connection.
struct Unacceptable(Count, ReasonCode);

/// What a publisher hears whose event the full spool refuses.
const SPOOL_FULL: (Count, ReasonCode) = (Count::PublishSpoolFull, ReasonCode::QuotaExceeded);

/// AMQP's header frame takes 128 KiB by default; the mesh's own headers and the encoding of many pairs need their part.
const HEADERS_BYTES_MAX: usize = 96 * 1024;

/// AMQP's `content-type` is a short string.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

impl Shard {
    pub(super) fn publish(&mut self, now: Now, id: ConnectionId, publish: Publish) {
        if let Err(Unacceptable(count, reason)) = self.check_publish(id, &publish) {
            return self.close(now, id, count, Farewell::Disconnect(reason));
        }
        let refusal = refusal_of(&publish);
        let delivery = publish.delivery;
        let payload_bytes = publish.payload.len() as u64;
        let message = Message::from_publish(now.boot, publish);
        let refusal = refusal.or_else(|| self.refusal_of_headers(id, &message));
        // At QoS 0 nothing is spooled.
        let is_spooled = delivery.packet_id().is_some();
        let refusal =
            refusal.or_else(|| (is_spooled && self.is_refused_by_spool(id, &message)).then_some(SPOOL_FULL));
        match delivery {
            Delivery::AtMostOnce => {
                self.count(Count::PublishQos0);
                self.counters.add_many(Count::PublishBytesQos0, payload_bytes);
                match refusal {
                    Some((count, _)) => self.refused_publish(id, count),
                    None => self.route_unacknowledged(now, id, message),
                }
            }
            Delivery::AtLeastOnce { packet_id, dup } | Delivery::ExactlyOnce { packet_id, dup } => {
                self.count(Count::PublishQos1);
                self.counters.add_many(Count::PublishBytesQos1, payload_bytes);
                let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) else {
                    return;
                };
                let number = client.pending.push(packet_id);
                if let Some((count, reason)) = refusal {
                    self.refused_publish(id, count);
                    return self.acknowledge(now, id, number, reason);
                }
                self.route_acknowledged(now, id, Parked { number, message, dup, read_at: now.boot });
            }
        }
    }

    /// Whether the spool is full, and the client is to be told so instead of waiting.
    pub(super) fn is_refused_by_spool(&self, id: ConnectionId, message: &Message) -> bool {
        if !self.spooling.is_full() || self.config.limits.when_spool_full == WhenFull::Withhold {
            return false;
        }
        let client = self.connections.get(&id).and_then(|c| c.client.as_deref());
        client.is_some_and(|client| client.version() == ProtocolVersion::V5)
            && self
                .carried(id, &message.topic)
                .is_some_and(|(_, acknowledge, _)| self.spooling.takes(acknowledge))
    }

    /// Answers a publish that waited, and that the full spool refuses.
    pub(super) fn refuse_parked(&mut self, now: Now, id: ConnectionId, publish: &Parked) {
        let (count, reason) = SPOOL_FULL;
        self.refused_publish(id, count);
        self.acknowledge(now, id, publish.number, reason);
    }

    fn refused_publish(&mut self, id: ConnectionId, why: Count) {
        self.count(why);
        let device =
            self.session_of(id).and_then(|key| self.sessions.get(&key)).map(|session| session.device.clone());
        if let Some(device) = device {
            self.outputs.push_back(Output::Notice(Box::new(Notice::PublishRefused { device, why })));
        }
    }

    /// What a v3.1.1 client cannot be told in a PUBACK, and what no client may do.
    fn check_publish(&self, id: ConnectionId, publish: &Publish) -> Result<(), Unacceptable> {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else { return Ok(()) };
        // [MQTT-3.2.2-11], [MQTT-3.2.2-14], [MQTT-3.2.2-18]: what CONNACK said is not available.
        if publish.delivery.qos() == QoS::ExactlyOnce {
            return Err(Unacceptable(Count::ClosedUnsupported, ReasonCode::QosNotSupported));
        }
        if publish.retain {
            return Err(Unacceptable(Count::ClosedUnsupported, ReasonCode::RetainNotSupported));
        }
        if publish.properties.as_ref().is_some_and(|p| p.topic_alias.is_some()) {
            return Err(Unacceptable(Count::ClosedProtocol, ReasonCode::TopicAliasInvalid));
        }
        let receive_maximum = usize::from(self.config.limits.receive_maximum.get());
        if publish.delivery.packet_id().is_some() && client.pending.len() >= receive_maximum {
            return Err(Unacceptable(Count::ClosedReceiveMaximum, ReasonCode::ReceiveMaximumExceeded));
        }
        if client.version() == ProtocolVersion::V311 && Topic::check(&publish.topic).is_err() {
            return Err(Unacceptable(Count::PublishTopicInvalid, ReasonCode::TopicNameInvalid));
        }
        Ok(())
    }

    /// The exchange that a client's publish goes to: that of answers, if it is one of this client, or what the rules say; `None` if it
    /// stays here.
    fn exchange(&self, id: ConnectionId, topic: &str) -> Option<&str> {
        self.carried(id, topic).map(|(exchange, _, _)| exchange)
    }

    /// The same, with how it is acknowledged, and in which order it goes: as the rules say, also for an answer.
    fn carried(&self, id: ConnectionId, topic: &str) -> Option<(&str, Acknowledge, UplinkOrder)> {
        let answers = &self.config.answers;
        let is_answer = answers.may_be_answer(topic)
            && self
                .session_of(id)
                .and_then(|key| self.sessions.get(&key))
                .is_some_and(|session| answers.is_answer(&session.device.id, topic));
        match (is_answer, self.config.uplink.carried(topic)) {
            (false, carried) => carried,
            (true, Some((_, acknowledge, order))) => Some((contract::ANSWERS, acknowledge, order)),
            (true, None) => Some((contract::ANSWERS, Acknowledge::Confirmed, UplinkOrder::Strict)),
        }
    }

    /// Why an event could not carry the message's headers through AMQP.
    fn refusal_of_headers(&self, id: ConnectionId, message: &Message) -> Option<(Count, ReasonCode)> {
        let content_type = message.properties.as_ref().and_then(|p| p.content_type.as_ref());
        let fits = message.topic.len() + message.properties_bytes() <= HEADERS_BYTES_MAX
            && content_type.is_none_or(|text| text.len() <= CONTENT_TYPE_BYTES_MAX);
        if fits || self.exchange(id, &message.topic).is_none() {
            return None;
        }
        Some((Count::PublishHeadersTooLarge, ReasonCode::QuotaExceeded))
    }

    fn route_unacknowledged(&mut self, now: Now, id: ConnectionId, message: Message) {
        let had_locally = self.deliver_locally(now, id, &message, QoS::AtMostOnce);
        let Some(exchange) = self.exchange(id, &message.topic).map(str::to_owned) else {
            if !had_locally {
                self.count(Count::PublishUnwanted);
            }
            return;
        };
        if self.backend == Backend::Away {
            return self.count(Count::EventDroppedAway);
        }
        if !self.uplink.has_room(Qos::AtMostOnce) {
            return self.count(Count::EventDroppedFull);
        }
        let read_at = now.boot;
        if let Some((event, trace)) =
            self.event(now, id, Parts { message, qos: Qos::AtMostOnce, dup: false, read_at })
        {
            let publication = self.uplink.publish(event, &exchange, None, trace);
            self.publish_to_backend(publication);
        }
    }

    /// Routes a publish, or parks it behind those that wait already.
    fn route_acknowledged(&mut self, now: Now, id: ConnectionId, publish: Parked) {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else { return };
        let held_by = match client.parked.is_empty() {
            true => self.who_holds_up(id, &publish.message),
            false => client.waits_for,
        };
        let waits = held_by.is_some() || !client.parked.is_empty();
        if !waits {
            return self.route(now, id, publish);
        }
        let is_first = client.parked.is_empty();
        let bytes = publish.message.bytes();
        if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
            client.parked_bytes += bytes;
            client.parked.push_back(publish);
            self.parked_bytes += bytes;
        }
        if let (true, Some(held_by)) = (is_first, held_by) {
            self.wait_for(now, id, held_by, Place::Last);
        }
        self.give_up_waiting(now, id);
    }

    /// Who makes the publish wait: a subscriber that is connected and full, an event of the same device that the backend refused
    /// and that is tried again, or the uplink. Where there is room nobody waits (any more), so a newcomer overtakes nobody.
    pub(super) fn who_holds_up(&self, id: ConnectionId, message: &Message) -> Option<HeldBy> {
        if let Some(key) = self.full_subscriber(id, message) {
            return Some(HeldBy::Subscriber(key));
        }
        let (_, acknowledge, _) = self.carried(id, &message.topic)?;
        if self.spooling.takes(acknowledge) {
            return (!self.spool_has_room()).then_some(HeldBy::Spool);
        }
        let device =
            self.session_of(id).and_then(|key| self.sessions.get(&key)).map(|session| &session.device);
        if device.is_some_and(|device| self.uplink.is_trying_again(device)) {
            return Some(HeldBy::Refusal);
        }
        (!self.uplink.has_room(Qos::AtLeastOnce)).then_some(HeldBy::Uplink)
    }

    /// Gives a publish to everybody who wants it. Nothing holds it up.
    pub(super) fn route(&mut self, now: Now, id: ConnectionId, publish: Parked) {
        let Parked { number, message, dup, read_at } = publish;
        let had_locally = self.deliver_locally(now, id, &message, QoS::AtLeastOnce);
        let carried = self.carried(id, &message.topic);
        let carried = carried.map(|(exchange, acknowledge, order)| (exchange.to_owned(), acknowledge, order));
        let parts = Parts { message, qos: Qos::AtLeastOnce, dup, read_at };
        let event = carried.and_then(|carried| Some((self.event(now, id, parts)?, carried)));
        let waiter = Waiter { connection: id, publish: number, had_locally };
        match event {
            Some((event, (exchange, acknowledge, order))) if self.spooling.takes(acknowledge) => {
                self.spool(event, (exchange, order), waiter);
            }
            Some(((event, trace), (exchange, _, _))) => {
                let publication = self.uplink.publish(event, &exchange, Some(waiter), trace);
                self.publish_to_backend(publication);
            }
            None if had_locally => self.acknowledge(now, id, number, ReasonCode::Success),
            None => {
                self.count(Count::PublishUnwanted);
                self.acknowledge(now, id, number, ReasonCode::NoMatchingSubscribers);
            }
        }
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        id: ConnectionId,
        number: PublishNumber,
        reason: ReasonCode,
    ) {
        if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
            client.pending.complete(number, reason);
            self.send_pubacks(now, id);
        }
    }

    /// `None` if the connection is gone, or its topic is not one that the mesh carries: checked before.
    fn event(&mut self, now: Now, id: ConnectionId, parts: Parts) -> Option<(Event, Option<Box<Begun>>)> {
        let Parts { message, qos, dup, read_at } = parts;
        let device = self.sessions.get(&self.session_of(id)?)?.device.clone();
        let sequence = self.config.placement.sequence(self.next_sequence);
        self.next_sequence += 1;
        let properties = message.properties.map(|p| *p).unwrap_or_default();
        let place = self.tracer.up(trace::said(&properties.user_properties));
        let event = Event {
            device,
            topic: Topic::parse(&message.topic).ok()?,
            payload: message.payload,
            qos,
            retain: message.retain,
            dup,
            gateway: self.config.gateway.clone(),
            region: self.config.region.clone(),
            incarnation: self.config.incarnation,
            sequence,
            received_at: now.wall,
            replayed: false,
            content_type: properties.content_type.map(|text| text.as_str().to_owned()),
            expiry_s: properties.message_expiry_s,
            payload_is_utf8: properties.payload_format == Some(PayloadFormat::Utf8),
            response_topic: properties.response_topic.map(|text| text.as_str().to_owned()),
            correlation_data: properties.correlation_data.map(crate::packet::BinaryData::into_bytes),
            user_properties: properties
                .user_properties
                .iter()
                .map(|pair| (pair.name.as_str().to_owned(), pair.value.as_str().to_owned()))
                .collect(),
            trace: place.map(|place| place.context),
        };
        let begun = place.and_then(|place| {
            let parent = place.recorded?;
            Some(Box::new(Begun {
                context: place.context,
                parent,
                device: event.device.clone(),
                topic: event.topic.clone(),
                message_id: event.id(),
                qos,
                payload_bytes: event.payload.len(),
                start: read_at,
                attempt: 0,
                written_at: None,
            }))
        });
        Some((event, begun))
    }

    pub(super) fn published(&mut self, now: Now, token: PublishToken, outcome: PublishOutcome) {
        match self.uplink.published(token, outcome, &mut self.counters) {
            Next::Ended { waiter, end, frees, trace } => {
                if let Some(device) = frees {
                    self.wake_held_by_refusal(&device);
                }
                if let Some(waiter) = waiter {
                    self.acknowledge(
                        now,
                        waiter.connection,
                        waiter.publish,
                        answer_to(end, waiter.had_locally),
                    );
                }
                if let Some((begun, fate)) = trace {
                    self.outputs.push_back(Output::Trace(begun.ended(now.boot, Ending::Event { fate })));
                }
                self.wake_next(HeldBy::Uplink);
            }
            Next::Publish(publication) => self.publish_to_backend(publication),
            Next::Retry { number, refusals } => {
                self.timers.set(TimerFor::Retry(number), now.boot + retry::delay(refusals));
            }
            Next::Unknown => {}
        }
    }
}

/// Why a publish is refused that leaves its client connected.
fn refusal_of(publish: &Publish) -> Option<(Count, ReasonCode)> {
    if Topic::check(&publish.topic).is_err() {
        return Some((Count::PublishTopicInvalid, ReasonCode::TopicNameInvalid));
    }
    let is_as_declared = publish.payload_is_as_declared();
    (!is_as_declared).then_some((Count::PublishPayloadFormat, ReasonCode::PayloadFormatInvalid))
}

fn answer_to(end: EventEnd, had_locally: bool) -> ReasonCode {
    match end {
        EventEnd::Unwanted if !had_locally => ReasonCode::NoMatchingSubscribers,
        EventEnd::Accepted | EventEnd::Unwanted => ReasonCode::Success,
        EventEnd::Dead => ReasonCode::UnspecifiedError,
    }
}
