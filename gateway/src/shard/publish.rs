//! A client's PUBLISH: checked, given to local subscribers and the uplink, acknowledged when it is safe.

use roost_backend::contract;
use roost_wire::{BootTime, Device, Event, Now, Qos, Topic};

use super::close::Farewell;
use super::connection::{HeldBy, Parked};
use super::park::Place;
use super::{Backend, Output, Shard, TimerFor};
use crate::message::Message;
use crate::packet::{Delivery, PayloadFormat, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::session::Publisher;
use crate::spool::WhenFull;
use crate::sys;
use crate::trace::{self, Begun, Ending};
use crate::uplink::{EventEnd, Next, Waiter, retry};
use crate::{
    Acknowledge, ConnectionId, Count, Notice, PublishOutcome, PublishToken, UplinkOrder, WhenAwayFull,
};

/// What an event is made of.
pub(super) struct Parts {
    pub(super) device: Device,
    pub(super) message: Message,
    pub(super) qos: Qos,
    pub(super) dup: bool,
    pub(super) read_at: BootTime,
}

/// What a client's publish breaks. It costs the client its connection.
pub(super) struct Unacceptable(pub(super) Count, pub(super) ReasonCode);

/// How what the mesh itself carries goes, where no rule says anything.
const UNRULED: (&str, Acknowledge, UplinkOrder) = ("", Acknowledge::Confirmed, UplinkOrder::Strict);

/// AMQP's header frame takes 128 KiB by default; the mesh's own headers and the encoding of many pairs need their part.
const HEADERS_BYTES_MAX: usize = 96 * 1024;

/// AMQP's `content-type` is a short string.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

impl Shard {
    pub(super) fn publish(&mut self, now: Now, id: ConnectionId, mut publish: Publish) {
        let checked = self.resolve_alias(id, &mut publish).and_then(|()| self.check_publish(id, &publish));
        if let Err(Unacceptable(count, reason)) = checked {
            return self.close(now, id, count, Farewell::Disconnect(reason));
        }
        match publish.delivery {
            Delivery::AtMostOnce => self.publish_unacknowledged(now, id, publish),
            Delivery::AtLeastOnce { packet_id, .. } => {
                let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) else {
                    return;
                };
                let publisher = Publisher::Connection(id, client.pending.push(packet_id));
                self.publish_acknowledged(now, id, publish, publisher);
            }
            Delivery::ExactlyOnce { packet_id, .. } => {
                if let Some(publisher) = self.receive(now, id, packet_id) {
                    self.publish_acknowledged(now, id, publish, publisher);
                }
            }
        }
    }

    fn publish_unacknowledged(&mut self, now: Now, id: ConnectionId, publish: Publish) {
        self.counters.received(QoS::AtMostOnce, publish.payload.len());
        let refusal = refusal_of(&publish);
        let message = Message::from_publish(now.boot, publish);
        // Nothing is spooled.
        match refusal.or_else(|| self.refusal_of_headers(id, &message)) {
            Some((count, _)) => self.refused_publish(id, count),
            None => self.route_unacknowledged(now, id, message),
        }
    }

    fn publish_acknowledged(&mut self, now: Now, id: ConnectionId, publish: Publish, publisher: Publisher) {
        let delivery = publish.delivery;
        self.counters.received(delivery.qos(), publish.payload.len());
        let refusal = refusal_of(&publish);
        let message = Message::from_publish(now.boot, publish);
        let refusal = refusal
            .or_else(|| self.refusal_of_headers(id, &message))
            .or_else(|| self.refusal_for_room(id, &message));
        if let Some((count, reason)) = refusal {
            self.refused_publish(id, count);
            return self.acknowledge(now, publisher, reason);
        }
        self.route_acknowledged(now, id, Parked { publisher, message, delivery, read_at: now.boot });
    }

    /// Why there is no room for a publish now, if its client can be told so and is to be told, instead of waiting or losing it for one
    /// session.
    pub(super) fn refusal_for_room(
        &self,
        id: ConnectionId,
        message: &Message,
    ) -> Option<(Count, ReasonCode)> {
        let limits = &self.config.limits;
        let is_spool_refusing = self.spooling.is_full() && limits.when_spool_full == WhenFull::Refuse;
        if !is_spool_refusing && limits.when_away_full != WhenAwayFull::Refuse {
            return None;
        }
        let client = self.connections.get(&id).and_then(|c| c.client.as_deref())?;
        if client.version() != ProtocolVersion::V5 {
            return None;
        }
        let is_spooled =
            || self.carried(id, &message.topic).is_some_and(|(_, how, _)| self.spooling.takes(how));
        let why = if is_spool_refusing && is_spooled() {
            Count::PublishSpoolFull
        } else if self.is_refused_for_one_away(Some(client.session), message) {
            Count::PublishQueueFull
        } else {
            return None;
        };
        Some((why, ReasonCode::QuotaExceeded))
    }

    pub(super) fn refused_publish(&mut self, id: ConnectionId, why: Count) {
        self.count(why);
        if let Some(device) = self.device_of(id).cloned() {
            self.outputs.push_back(Output::Notice(Box::new(Notice::PublishRefused { device, why })));
        }
    }

    /// What a v3.1.1 client cannot be told in an acknowledgement, and what no client may do.
    fn check_publish(&self, id: ConnectionId, publish: &Publish) -> Result<(), Unacceptable> {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else { return Ok(()) };
        let may_come = match publish.delivery {
            Delivery::AtMostOnce => true,
            Delivery::AtLeastOnce { .. } => self.has_place(client),
            Delivery::ExactlyOnce { packet_id, .. } => self.has_place_and_id(client, packet_id),
        };
        if !may_come {
            return Err(Unacceptable(Count::ClosedReceiveMaximum, ReasonCode::ReceiveMaximumExceeded));
        }
        if client.version() != ProtocolVersion::V5 && Topic::check(&publish.topic).is_err() {
            return Err(Unacceptable(Count::PublishTopicInvalid, ReasonCode::TopicNameInvalid));
        }
        Ok(())
    }

    /// The exchange that a client's publish goes to: that of answers, if it is one of this client, that of broadcasts, or what the rules say;
    /// `None` if it stays here.
    fn exchange(&self, id: ConnectionId, topic: &str) -> Option<&str> {
        self.carried(id, topic).map(|(exchange, _, _)| exchange)
    }

    /// The same, with how it is acknowledged, and in which order it goes: as the rules say, also for an answer.
    fn carried(&self, id: ConnectionId, topic: &str) -> Option<(&str, Acknowledge, UplinkOrder)> {
        let device = self.config.answers.may_be_answer(topic).then(|| self.device_of(id)).flatten();
        match device {
            Some(device) => self.carried_from(device, topic),
            None => self.carried_by_topic(topic),
        }
    }

    /// A broadcast goes to all gateways instead of where the rules say, and how they say it: services bind to that exchange as well.
    fn carried_by_topic(&self, topic: &str) -> Option<(&str, Acknowledge, UplinkOrder)> {
        let by_rule = self.config.uplink.carried(topic);
        if !self.is_broadcast(topic) {
            return by_rule;
        }
        let (_, acknowledge, order) = by_rule.unwrap_or(UNRULED);
        Some((contract::FANOUT, acknowledge, order))
    }

    /// The same for what is published in the name of a device.
    pub(super) fn carried_from(
        &self,
        device: &Device,
        topic: &str,
    ) -> Option<(&str, Acknowledge, UplinkOrder)> {
        let answers = &self.config.answers;
        let is_answer = answers.may_be_answer(topic) && answers.is_answer(&device.id, topic);
        if !is_answer {
            return self.carried_by_topic(topic);
        }
        let (_, acknowledge, order) = self.config.uplink.carried(topic).unwrap_or(UNRULED);
        Some((contract::ANSWERS, acknowledge, order))
    }

    /// Why an event could not carry the message's headers through AMQP.
    fn refusal_of_headers(&self, id: ConnectionId, message: &Message) -> Option<(Count, ReasonCode)> {
        if headers_fit(message) || self.exchange(id, &message.topic).is_none() {
            return None;
        }
        Some((Count::PublishHeadersTooLarge, ReasonCode::QuotaExceeded))
    }

    fn route_unacknowledged(&mut self, now: Now, id: ConnectionId, message: Message) {
        if message.retain && self.retain_of(now, id, &message, QoS::AtMostOnce).is_err() {
            return;
        }
        let had_locally = self.deliver_locally(now, self.session_of(id), &message, QoS::AtMostOnce);
        let Some(exchange) = self.exchange(id, &message.topic).map(str::to_owned) else {
            if !had_locally && !message.retain {
                self.count(Count::PublishUnwanted);
            }
            return;
        };
        if let Some(why) = self.drops_event(Qos::AtMostOnce) {
            return self.count(why);
        }
        let Some(device) = self.device_of(id).cloned() else { return };
        let parts = Parts { device, message, qos: Qos::AtMostOnce, dup: false, read_at: now.boot };
        if let Some((event, trace)) = self.event(now, parts) {
            let publication = self.uplink.publish(event, &exchange, None, trace);
            self.publish_to_backend(publication);
        }
    }

    /// Why an event of that quality of service would be dropped now; at QoS 1 none is.
    pub(super) fn drops_event(&self, qos: Qos) -> Option<Count> {
        match (qos, self.backend) {
            (Qos::AtLeastOnce | Qos::ExactlyOnce, _) => None,
            (Qos::AtMostOnce, Backend::Away) => Some(Count::EventDroppedAway),
            (Qos::AtMostOnce, Backend::Up) => {
                (!self.uplink.has_room(Qos::AtMostOnce)).then_some(Count::EventDroppedFull)
            }
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

    /// Who makes the publish wait: a subscriber that is connected and full, a group of such, an event of the same device that the backend refused
    /// and that is tried again, or the uplink. Where there is room nobody waits (any more), so a newcomer overtakes nobody.
    pub(super) fn who_holds_up(&self, id: ConnectionId, message: &Message) -> Option<HeldBy> {
        if let Some(holder) = self.full_locally(self.session_of(id), message) {
            return Some(holder);
        }
        let (_, acknowledge, _) = self.carried(id, &message.topic)?;
        if self.spooling.takes(acknowledge) {
            return (!self.spool_has_room()).then_some(HeldBy::Spool);
        }
        if self.device_of(id).is_some_and(|device| self.uplink.is_trying_again(device)) {
            return Some(HeldBy::Refusal);
        }
        (!self.uplink.has_room(Qos::AtLeastOnce)).then_some(HeldBy::Uplink)
    }

    /// Gives a publish to everybody who wants it. Nothing holds it up.
    pub(super) fn route(&mut self, now: Now, id: ConnectionId, publish: Parked) {
        let Parked { publisher, message, delivery, read_at } = publish;
        let is_retained = message.retain;
        if is_retained && let Err(why) = self.retain_of(now, id, &message, delivery.qos()) {
            self.refused_publish(id, why);
            return self.acknowledge(now, publisher, ReasonCode::QuotaExceeded);
        }
        let had_locally = self.deliver_locally(now, self.session_of(id), &message, delivery.qos());
        let carried = self.carried(id, &message.topic);
        let carried = carried.map(|(exchange, acknowledge, order)| (exchange.to_owned(), acknowledge, order));
        let (qos, dup) = (as_wire_qos(delivery.qos()), delivery.dup());
        let event = carried.and_then(|carried| {
            let device = self.device_of(id)?.clone();
            let parts = Parts { device, message, qos, dup, read_at };
            Some((self.event(now, parts)?, carried))
        });
        let waiter = Waiter { publisher, had_locally };
        match event {
            Some((event, (exchange, acknowledge, order))) if self.spooling.takes(acknowledge) => {
                self.spool(event, (exchange, order), Some(waiter));
            }
            Some(((event, trace), (exchange, _, _))) => {
                let publication = self.uplink.publish(event, &exchange, Some(waiter), trace);
                self.publish_to_backend(publication);
            }
            None if had_locally => self.acknowledge(now, publisher, ReasonCode::Success),
            None => {
                self.counters.add_many(Count::PublishUnwanted, u64::from(!is_retained));
                self.acknowledge(now, publisher, ReasonCode::NoMatchingSubscribers);
            }
        }
    }

    /// The publish is safe, or refused: its publisher is told when it is its turn.
    pub(super) fn acknowledge(&mut self, now: Now, publisher: Publisher, reason: ReasonCode) {
        match publisher {
            Publisher::Connection(id, number) => {
                if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
                    client.pending.complete(number, reason);
                    self.send_acknowledgements(now, id);
                }
            }
            Publisher::Session(key, packet_id) => self.settle_received(now, key, packet_id, reason),
        }
    }

    /// `None` if its topic is not one that the mesh carries: checked before.
    pub(super) fn event(&mut self, now: Now, parts: Parts) -> Option<(Event, Option<Box<Begun>>)> {
        let Parts { device, message, qos, dup, read_at } = parts;
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
                    self.acknowledge(now, waiter.publisher, answer_to(end, waiter.had_locally));
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

/// Whether an event could carry the message's headers through AMQP.
pub(super) fn headers_fit(message: &Message) -> bool {
    let content_type = message.properties.as_ref().and_then(|p| p.content_type.as_ref());
    message.topic.len() + message.properties_bytes() <= HEADERS_BYTES_MAX
        && content_type.is_none_or(|text| text.len() <= CONTENT_TYPE_BYTES_MAX)
}

/// Why a publish is refused that leaves its client connected.
fn refusal_of(publish: &Publish) -> Option<(Count, ReasonCode)> {
    if Topic::check(&publish.topic).is_err() {
        return Some((Count::PublishTopicInvalid, ReasonCode::TopicNameInvalid));
    }
    if sys::is_below(&publish.topic) {
        return Some((Count::PublishReserved, ReasonCode::NotAuthorized));
    }
    let is_as_declared = publish.payload_is_as_declared();
    (!is_as_declared).then_some((Count::PublishPayloadFormat, ReasonCode::PayloadFormatInvalid))
}

const fn as_wire_qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

fn answer_to(end: EventEnd, had_locally: bool) -> ReasonCode {
    match end {
        EventEnd::Unwanted if !had_locally => ReasonCode::NoMatchingSubscribers,
        EventEnd::Accepted | EventEnd::Unwanted => ReasonCode::Success,
        EventEnd::Dead => ReasonCode::UnspecifiedError,
    }
}
