//! A client's PUBLISH: checked, given to local subscribers and the uplink, acknowledged when it is safe.

use std::sync::Arc;

use roost_wire::{BootTime, Device, Event, Now, Qos, Topic};

use super::close::Farewell;
use super::connection::{HeldBy, Parked};
use super::crossing::{ToCross, Told};
use super::park::Place;
use super::routes::{Carriage, Route};
use super::{Backend, Output, Shard, TimerFor};
use crate::message::Message;
use crate::packet::{Delivery, PayloadFormat, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::session::Publisher;
use crate::spool::WhenFull;
use crate::sys;
use crate::trace::{self, Begun, Ending};
use crate::uplink::{EventEnd, Next, Waiter, retry};
use crate::{ConnectionId, Count, Notice, PublishOutcome, PublishToken, WhenAwayFull};

/// What an event is made of.
pub(super) struct Parts {
    pub(super) device: Device,
    pub(super) message: Arc<Message>,
    pub(super) qos: Qos,
    pub(super) dup: bool,
    pub(super) read_at: BootTime,
}

/// What a client's publish breaks. It costs the client its connection.
pub(super) struct Unacceptable(pub(super) Count, pub(super) ReasonCode);

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
        if let Some((count, _)) = refusal_of(&publish) {
            return self.refused_publish(id, count);
        }
        let route = self.route_of(&publish.topic);
        let message = self.messages.make(now.boot, publish, &route.topic);
        // Nothing is spooled.
        match self.refusal_of_headers(id, &message, &route) {
            Some((count, _)) => self.refused_publish(id, count),
            None => self.route_unacknowledged(now, id, message, &route),
        }
        self.routes.put(route);
    }

    fn publish_acknowledged(&mut self, now: Now, id: ConnectionId, publish: Publish, publisher: Publisher) {
        let delivery = publish.delivery;
        self.counters.received(delivery.qos(), publish.payload.len());
        if let Some((count, reason)) = refusal_of(&publish) {
            self.refused_publish(id, count);
            return self.acknowledge(now, publisher, reason);
        }
        let route = self.route_of(&publish.topic);
        let message = self.messages.make(now.boot, publish, &route.topic);
        let refusal = self.refusal_of_headers(id, &message, &route);
        match refusal.or_else(|| self.refusal_for_room(id, &message, &route)) {
            Some((count, reason)) => {
                self.refused_publish(id, count);
                self.acknowledge(now, publisher, reason);
            }
            None => {
                let publish = Parked { publisher, message, delivery, read_at: now.boot };
                self.route_acknowledged(now, id, publish, &route);
            }
        }
        self.routes.put(route);
    }

    /// Why there is no room for a publish now, if its client can be told so and is to be told, instead of waiting or losing it for one
    /// session.
    pub(super) fn refusal_for_room(
        &self,
        id: ConnectionId,
        message: &Message,
        route: &Route,
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
            || self.carried(id, route).is_some_and(|carriage| self.spooling.takes(carriage.acknowledge));
        let why = if is_spool_refusing && is_spooled() {
            Count::PublishSpoolFull
        } else if self.is_refused_for_one_away(Some(client.session), message, route) {
            Count::PublishQueueFull
        } else {
            return None;
        };
        Some((why, ReasonCode::QuotaExceeded))
    }

    /// Whether the client can be told, and is to be told, that there is no room for its publish with a session that is away.
    fn may_refuse(&self, id: ConnectionId) -> bool {
        let client = self.connections.get(&id).and_then(|c| c.client.as_deref());
        self.config.limits.when_away_full == WhenAwayFull::Refuse
            && client.is_some_and(|client| client.version() == ProtocolVersion::V5)
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

    /// How a client's publish goes to the backend; `None` if it stays here.
    fn carried<'r>(&self, id: ConnectionId, route: &'r Route) -> Option<&'r Carriage> {
        self.carriage(self.device_of(id), route)
    }

    /// Why an event could not carry the message's headers through AMQP.
    fn refusal_of_headers(
        &self,
        id: ConnectionId,
        message: &Message,
        route: &Route,
    ) -> Option<(Count, ReasonCode)> {
        if headers_fit(message) || self.carried(id, route).is_none() {
            return None;
        }
        Some((Count::PublishHeadersTooLarge, ReasonCode::QuotaExceeded))
    }

    fn route_unacknowledged(&mut self, now: Now, id: ConnectionId, message: Arc<Message>, route: &Route) {
        if message.retain && self.drops_retained(id, &message, route) {
            self.count(Count::DroppedShardBusy);
            return self.carry_unacknowledged(now, id, message, route);
        }
        let mut retained = None;
        if message.retain {
            match self.retain_of(now, id, &message, QoS::AtMostOnce) {
                Ok(crosses) => retained = crosses,
                Err(_) => return,
            }
        }
        let had_locally = self.deliver_locally(now, self.session_of(id), &message, QoS::AtMostOnce, route);
        let carriage = self.carried(id, route);
        let crossing = ToCross {
            told: Told::Nobody,
            line: id,
            message: &message,
            qos: QoS::AtMostOnce,
            may_refuse: false,
            retained,
            had: had_locally,
            // Its answer is waited for by nobody.
            is_event: false,
            counts_unwanted: carriage.is_none() && !message.retain,
        };
        let crosses = self.cross(crossing, self.crosses_to(&message, route)).is_some();
        if carriage.is_none() && !had_locally && !crosses && !message.retain {
            self.count(Count::PublishUnwanted);
        }
        self.carry_unacknowledged(now, id, message, route);
    }

    /// Gives a publish at QoS 0 to the backend, if it goes there.
    fn carry_unacknowledged(&mut self, now: Now, id: ConnectionId, message: Arc<Message>, route: &Route) {
        let Some(Carriage { exchange, .. }) = self.carried(id, route) else {
            return self.messages.give_back(message);
        };
        if let Some(why) = self.drops_event(Qos::AtMostOnce) {
            self.count(why);
            return self.messages.give_back(message);
        }
        let Some(device) = self.device_of(id).cloned() else { return };
        let parts = Parts { device, message, qos: Qos::AtMostOnce, dup: false, read_at: now.boot };
        if let Some((event, trace)) = self.event(now, parts) {
            let publication = self.uplink.publish(event, exchange, None, trace);
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
    fn route_acknowledged(&mut self, now: Now, id: ConnectionId, publish: Parked, route: &Route) {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else { return };
        let held_by = match client.parked.is_empty() {
            true => self.who_holds_up(id, &publish.message, route),
            false => client.waits_for,
        };
        let waits = held_by.is_some() || !client.parked.is_empty();
        if !waits {
            return self.route(now, id, publish, route);
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
    pub(super) fn who_holds_up(&self, id: ConnectionId, message: &Message, route: &Route) -> Option<HeldBy> {
        let holder = self.full_locally(self.session_of(id), message, route);
        if let Some(holder) = holder.or_else(|| self.busy_shard(message, route)) {
            return Some(holder);
        }
        if self.spooling.takes(self.carried(id, route)?.acknowledge) {
            return (!self.spool_has_room()).then_some(HeldBy::Spool);
        }
        if self.device_of(id).is_some_and(|device| self.uplink.is_trying_again(device)) {
            return Some(HeldBy::Refusal);
        }
        (!self.uplink.has_room(Qos::AtLeastOnce)).then_some(HeldBy::Uplink)
    }

    /// Gives a publish to everybody who wants it. Nothing holds it up.
    pub(super) fn route(&mut self, now: Now, id: ConnectionId, publish: Parked, route: &Route) {
        let Parked { publisher, message, delivery, read_at } = publish;
        let is_retained = message.retain;
        let mut retained = None;
        if is_retained {
            match self.retain_of(now, id, &message, delivery.qos()) {
                Ok(crosses) => retained = crosses,
                Err(why) => {
                    self.refused_publish(id, why);
                    return self.acknowledge(now, publisher, ReasonCode::QuotaExceeded);
                }
            }
        }
        let had_locally = self.deliver_locally(now, self.session_of(id), &message, delivery.qos(), route);
        let carried = self.carried(id, route).zip(self.device_of(id).cloned());
        let crossing = ToCross {
            told: Told::Publisher(publisher),
            line: id,
            message: &message,
            qos: delivery.qos(),
            may_refuse: self.may_refuse(id),
            retained,
            had: had_locally,
            is_event: carried.is_some(),
            counts_unwanted: carried.is_none() && !is_retained,
        };
        let crossing = self.cross(crossing, self.crosses_to(&message, route));
        let Some((carriage, device)) = carried else {
            self.messages.give_back(message);
            if crossing.is_some() {
                return;
            }
            let is_unwanted = !had_locally && !is_retained;
            self.counters.add_many(Count::PublishUnwanted, u64::from(is_unwanted));
            let reason = match had_locally {
                true => ReasonCode::Success,
                false => ReasonCode::NoMatchingSubscribers,
            };
            return self.acknowledge(now, publisher, reason);
        };
        let waiter = Waiter { publisher, had_locally, crossing };
        let (qos, dup) = (as_wire_qos(delivery.qos()), delivery.dup());
        let parts = Parts { device, message, qos, dup, read_at };
        match self.event(now, parts) {
            Some(event) if self.spooling.takes(carriage.acknowledge) => {
                self.spool(event, (carriage.exchange.to_string(), carriage.order), Some(waiter));
            }
            Some((event, trace)) => {
                let publication = self.uplink.publish(event, &carriage.exchange, Some(waiter), trace);
                self.publish_to_backend(publication);
            }
            // Checked before.
            None => self.event_ended(now, waiter, EventEnd::Dead),
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
        // Its subscribers may have it as well.
        let message = Arc::unwrap_or_clone(message);
        let properties = message.properties.map(|p| *p).unwrap_or_default();
        let place = self.tracer.up(trace::said(&properties.user_properties));
        let event = Event {
            device,
            topic: Topic::parse(&message.topic).ok()?,
            payload: message.payload.into_bytes(),
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
                    self.event_ended(now, waiter, end);
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
