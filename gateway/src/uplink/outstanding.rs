//! Events that were published and that the backend has not answered for good.
//!
//! ```text
//!          ┌─ nacked, tried again ──────┐
//! event ───┴─> published ─ confirmed ───┴──────────────────> accepted
//!                 ├─ returned ─> unrouted ─ confirmed ─────> unwanted
//!                 └─ nacked ───> dead ───── confirmed ─────> dead
//! ```

use std::collections::BTreeMap;

use roost_backend::contract;
use roost_wire::{Device, Event, HeaderValue, Message, Qos, RoutingKey, envelope::header};

use super::retry::{RETRIES_MAX, RETRIES_MIN};
use crate::session::Publisher;
use crate::shard::CrossingNumber;
use crate::trace::{Begun, EventFate};
use crate::{Count, Counters, OnLoss, Publication, PublishOrigin, PublishOutcome, PublishToken};

/// Who is told when an event is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) publisher: Publisher,
    /// Whether a local subscriber has the message.
    pub(crate) had_locally: bool,
    /// The same publish on its way to other shards, which have to answer as well.
    pub(crate) crossing: Option<CrossingNumber>,
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Event,
    Unrouted,
    Dead,
}

#[derive(Debug)]
struct Outstanding<W> {
    event: Event,
    exchange: String,
    stage: Stage,
    refusals: u32,
    /// Whether it was refused at any stage, and so stands in [`Uplink::refused`].
    was_refused: bool,
    bytes: usize,
    waiter: Option<W>,
    trace: Option<Box<Begun>>,
}

/// How an event ended. It is safe, or it was at QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventEnd {
    /// The backend has it.
    Accepted,
    /// No queue wanted it; it is in `roost.unrouted`.
    Unwanted,
    /// The backend refused it each time; it is in `roost.dead`.
    Dead,
}

/// What an outcome leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<W> {
    /// It is over; tell the waiter. The device it frees has no event that is tried again any more.
    Ended { waiter: Option<W>, end: EventEnd, frees: Option<Device>, trace: Option<(Box<Begun>, EventFate)> },
    /// Publish this.
    Publish(Box<Publication>),
    /// Wait, then ask [`Uplink::retry`] with this number.
    Retry { number: u64, refusals: u32 },
    /// The token is not known: an outcome that was told twice.
    Unknown,
}

/// Events that are not answered for good, each with who waits for that; bounded by the caller with [`Uplink::has_room`].
#[derive(Debug)]
pub(crate) struct Uplink<W> {
    origin: PublishOrigin,
    events_max: usize,
    bytes_max: usize,
    next_number: u64,
    outstanding: BTreeMap<u64, Outstanding<W>>,
    bytes: usize,
    /// Devices with events that were refused and are tried again, and with how many.
    refused: BTreeMap<Device, usize>,
    /// All of those.
    refused_events: usize,
    /// Whether the last event that was refused and has ended got through in none of its tries.
    is_in_vain: bool,
}

/// The value of the header that says why an event is in `roost.dead`.
const REASON_NACKED: &str = "refused by the backend each time: a queue may be full";

impl<W> Uplink<W> {
    pub(crate) fn new(origin: PublishOrigin, events_max: usize, bytes_max: usize) -> Self {
        Self {
            origin,
            events_max,
            bytes_max,
            next_number: 0,
            outstanding: BTreeMap::new(),
            bytes: 0,
            refused: BTreeMap::new(),
            refused_events: 0,
            is_in_vain: false,
        }
    }

    /// The bytes of their payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Them.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.outstanding.values().map(|outstanding| &outstanding.event)
    }

    /// How many events are outstanding.
    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// Whether another event may be published. QoS 0 leaves a quarter of the window to QoS 1, so that a flood of it
    /// stops no client.
    pub(crate) fn has_room(&self, qos: Qos) -> bool {
        let (events_max, bytes_max) = match qos {
            Qos::AtMostOnce => (self.events_max / 4 * 3, self.bytes_max / 4 * 3),
            Qos::AtLeastOnce | Qos::ExactlyOnce => (self.events_max, self.bytes_max),
        };
        self.outstanding.len() < events_max && self.bytes < bytes_max
    }

    /// Whether half of the window is free: what can wait leaves the other half to what cannot.
    pub(crate) fn is_half_empty(&self) -> bool {
        self.outstanding.len() < self.events_max / 2 && self.bytes < self.bytes_max / 2
    }

    /// Whether an event of the device was refused and is tried again: what it publishes next must not overtake that.
    pub(crate) fn is_trying_again(&self, device: &Device) -> bool {
        self.refused.contains_key(device)
    }

    /// How often an event is tried again. All events share the window: where trying again has turned out to be in vain, a queue that
    /// stays full may have an eighth of it, and what else it refuses goes to `roost.dead` sooner.
    fn retries_max(&self) -> u32 {
        let takes_too_much = self.refused_events >= (self.events_max / 8).max(1);
        if self.is_in_vain && takes_too_much { RETRIES_MIN } else { RETRIES_MAX }
    }

    /// Publishes an event. The caller has asked [`Uplink::has_room`].
    pub(crate) fn publish(
        &mut self,
        event: Event,
        exchange: &str,
        waiter: Option<W>,
        trace: Option<Box<Begun>>,
    ) -> Box<Publication> {
        let bytes = event.payload.len();
        self.bytes += bytes;
        let exchange = exchange.to_owned();
        let (stage, refusals, was_refused) = (Stage::Event, 0, false);
        self.start(Outstanding { event, exchange, stage, refusals, was_refused, bytes, waiter, trace })
    }

    /// A token for what is published beside the events, whose outcome is nobody's.
    pub(crate) fn unanswered_token(&mut self) -> PublishToken {
        let number = self.next_number;
        self.next_number += 1;
        PublishToken::new(self.origin, number)
    }

    /// Publishes again what was refused before.
    pub(crate) fn retry(&mut self, number: u64) -> Option<Box<Publication>> {
        let mut again = self.outstanding.remove(&number)?;
        again.event.replayed = true;
        Some(self.start(again))
    }

    /// Takes in the outcome of a publication.
    pub(crate) fn published(
        &mut self,
        token: PublishToken,
        outcome: PublishOutcome,
        counters: &mut Counters,
    ) -> Next<W> {
        let number = token.number();
        let Some(mut outstanding) = self.outstanding.remove(&number) else { return Next::Unknown };
        let is_qos0 = outstanding.event.qos == Qos::AtMostOnce;
        match (outstanding.stage, outcome) {
            (stage, PublishOutcome::Confirmed) => {
                let end = stage.end();
                counters.add(end.count());
                self.is_in_vain &= !(outstanding.was_refused && stage == Stage::Event);
                self.end(outstanding, end, end.fate())
            }
            (Stage::Event, PublishOutcome::Returned) => {
                outstanding.stage = Stage::Unrouted;
                Next::Publish(self.start(outstanding))
            }
            (_, PublishOutcome::Lost) if is_qos0 => {
                counters.add(Count::EventDroppedLost);
                self.end(outstanding, EventEnd::Accepted, EventFate::Dropped)
            }
            (_, PublishOutcome::Nacked | PublishOutcome::Returned) if is_qos0 => {
                counters.add(Count::EventDroppedNacked);
                self.end(outstanding, EventEnd::Accepted, EventFate::Dropped)
            }
            (Stage::Event, PublishOutcome::Nacked) if outstanding.refusals >= self.retries_max() => {
                self.is_in_vain = true;
                outstanding.stage = Stage::Dead;
                outstanding.refusals = 0;
                Next::Publish(self.start(outstanding))
            }
            // Returned here means that `roost.unrouted` or `roost.dead` has lost its queue: until somebody declares it
            // again there is no safe place, and so no PUBACK.
            (_, PublishOutcome::Nacked | PublishOutcome::Lost | PublishOutcome::Returned) => {
                let has_queue = outcome != PublishOutcome::Returned;
                counters.add(if has_queue { Count::EventRetried } else { Count::EventRetriedNoQueue });
                outstanding.refusals += 1;
                let refusals = outstanding.refusals;
                if !std::mem::replace(&mut outstanding.was_refused, true) {
                    self.refused_events += 1;
                    *self.refused.entry(outstanding.event.device.clone()).or_default() += 1;
                }
                self.outstanding.insert(number, outstanding);
                Next::Retry { number, refusals }
            }
        }
    }

    fn start(&mut self, outstanding: Outstanding<W>) -> Box<Publication> {
        let number = self.next_number;
        self.next_number += 1;
        let on_loss = match outstanding.event.qos {
            Qos::AtMostOnce => OnLoss::Report,
            Qos::AtLeastOnce | Qos::ExactlyOnce => OnLoss::PublishAgain,
        };
        let publication = Publication {
            token: PublishToken::new(self.origin, number),
            message: outstanding.message(),
            mandatory: !outstanding.is_broadcast(),
            on_loss,
        };
        self.outstanding.insert(number, outstanding);
        Box::new(publication)
    }

    fn end(&mut self, outstanding: Outstanding<W>, end: EventEnd, fate: EventFate) -> Next<W> {
        self.bytes -= outstanding.bytes;
        let Outstanding { event, was_refused, waiter, trace, .. } = outstanding;
        self.refused_events -= usize::from(was_refused);
        let left = self.refused.get_mut(&event.device).filter(|_| was_refused);
        let is_free = left.is_some_and(|left| {
            *left -= 1;
            *left == 0
        });
        if is_free {
            self.refused.remove(&event.device);
        }
        let trace = trace.map(|begun| (begun, fate));
        Next::Ended { waiter, end, frees: is_free.then_some(event.device), trace }
    }
}

impl<W> Outstanding<W> {
    /// Whether it goes to the other gateways. That none of them wants it is no fault.
    fn is_broadcast(&self) -> bool {
        self.stage == Stage::Event && self.exchange == contract::FANOUT
    }

    fn message(&self) -> Message {
        let event = self.event.clone();
        match self.stage {
            Stage::Event if self.is_broadcast() => event.into_broadcast(&self.exchange),
            Stage::Event => event.into_message(&self.exchange),
            Stage::Unrouted => event.into_message(contract::UNROUTED),
            Stage::Dead => {
                let key = RoutingKey::for_device(&event.device);
                let mut message = event.into_message(contract::DEAD);
                key.as_str().clone_into(&mut message.routing_key);
                let reason = HeaderValue::Text(REASON_NACKED.to_owned());
                message.properties.set(header::REASON, reason);
                message
            }
        }
    }
}

impl Stage {
    const fn end(self) -> EventEnd {
        match self {
            Self::Event => EventEnd::Accepted,
            Self::Unrouted => EventEnd::Unwanted,
            Self::Dead => EventEnd::Dead,
        }
    }
}

impl EventEnd {
    const fn fate(self) -> EventFate {
        match self {
            Self::Accepted => EventFate::Accepted,
            Self::Unwanted => EventFate::Unrouted,
            Self::Dead => EventFate::Dead,
        }
    }

    const fn count(self) -> Count {
        match self {
            Self::Accepted => Count::EventConfirmed,
            Self::Unwanted => Count::EventUnrouted,
            Self::Dead => Count::EventDead,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use roost_wire::{Incarnation, Topic, WallTime};

    use super::*;
    use crate::packet::PacketId;
    use crate::session::Pending;
    use crate::{ConnectionId, ShardIndex};

    fn event(qos: Qos, sequence: u64) -> Event {
        Event {
            device: "d".parse().unwrap(),
            topic: Topic::parse("a/b").unwrap(),
            payload: Bytes::from_static(b"12345"),
            qos,
            retain: false,
            dup: false,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(7),
            sequence,
            received_at: WallTime::default(),
            replayed: false,
            content_type: None,
            expiry_s: None,
            payload_is_utf8: false,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
            trace: None,
        }
    }

    fn waiter() -> Option<Waiter> {
        let publisher = Publisher::Connection(ConnectionId(1), Pending::default().push(PacketId::FIRST));
        Some(Waiter { publisher, had_locally: false, crossing: None })
    }

    #[test]
    fn a_refused_event_is_retried_with_its_id_and_then_goes_to_the_dead() {
        let mut counters = Counters::default();
        let mut uplink = Uplink::new(PublishOrigin::Shard(ShardIndex(0)), 10, 1_000);
        let mut publication = uplink.publish(event(Qos::AtLeastOnce, 5), "roost.up", waiter(), None);
        let id = publication.message.properties.message_id.clone();
        for refusal in 1..=RETRIES_MAX {
            let next = uplink.published(publication.token, PublishOutcome::Nacked, &mut counters);
            let Next::Retry { number, refusals } = next else { panic!("{next:?}") };
            assert_eq!(refusals, refusal);
            publication = uplink.retry(number).unwrap();
            assert_eq!(
                (&publication.message.properties.message_id, &*publication.message.exchange),
                (&id, "roost.up")
            );
            assert_eq!(publication.message.properties.bool(header::REPLAYED), Some(true));
        }
        let next = uplink.published(publication.token, PublishOutcome::Nacked, &mut counters);
        let Next::Publish(dead) = next else { panic!("{next:?}") };
        assert_eq!((&*dead.message.exchange, &*dead.message.routing_key), ("roost.dead", "main.d"));
        assert_eq!(dead.message.properties.text(header::REASON), Some(REASON_NACKED));
        assert_eq!(dead.message.properties.message_id, id);
        // Where even that is refused, it is tried until it is safe.
        for _ in 0..20 {
            let next = uplink.published(publication_token(&uplink), PublishOutcome::Nacked, &mut counters);
            let Next::Retry { number, .. } = next else { panic!("{next:?}") };
            uplink.retry(number).unwrap();
        }
        let next = uplink.published(publication_token(&uplink), PublishOutcome::Confirmed, &mut counters);
        let frees = Some("d".parse().unwrap());
        assert_eq!(next, Next::Ended { waiter: waiter(), end: EventEnd::Dead, frees, trace: None });
        assert!(!uplink.is_trying_again(&"d".parse().unwrap()));
        assert_eq!((uplink.len(), uplink.bytes, counters.of(Count::EventDead)), (0, 0, 1));
    }

    fn publication_token(uplink: &Uplink<Waiter>) -> PublishToken {
        let number = *uplink.outstanding.keys().next_back().unwrap();
        PublishToken::new(PublishOrigin::Shard(ShardIndex(0)), number)
    }

    /// Publishes an event, has the backend refuse it, and says how often it was tried again before it went to `roost.dead`.
    fn tries_of_a_refused(uplink: &mut Uplink<Waiter>, counters: &mut Counters, sequence: u64) -> u32 {
        let mut publication = uplink.publish(event(Qos::AtLeastOnce, sequence), "roost.up", waiter(), None);
        for tries in 0.. {
            match uplink.published(publication.token, PublishOutcome::Nacked, counters) {
                Next::Retry { number, .. } => publication = uplink.retry(number).unwrap(),
                Next::Publish(dead) => {
                    uplink.published(dead.token, PublishOutcome::Confirmed, counters);
                    return tries;
                }
                next => panic!("{next:?}"),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_queue_that_stays_full_may_have_an_eighth_of_the_window() {
        let mut counters = Counters::default();
        let mut uplink = Uplink::new(PublishOrigin::Shard(ShardIndex(0)), 16, 1_000);
        let (mut waiting, mut numbers) = (Vec::new(), 1..);
        let mut waits = |uplink: &mut Uplink<Waiter>, counters: &mut Counters| {
            let publication =
                uplink.publish(event(Qos::AtLeastOnce, numbers.next().unwrap()), "roost.up", waiter(), None);
            let next = uplink.published(publication.token, PublishOutcome::Nacked, counters);
            let Next::Retry { number, .. } = next else { panic!("{next:?}") };
            number
        };
        // A node has died, say: as long as it may help, all are tried again, however many they are.
        waiting.extend((0..3).map(|_| waits(&mut uplink, &mut counters)));
        assert_eq!(tries_of_a_refused(&mut uplink, &mut counters, 100), RETRIES_MAX);
        // It was in vain, and three wait, beside the next one.
        assert_eq!(tries_of_a_refused(&mut uplink, &mut counters, 101), RETRIES_MIN);
        // One of them gets through: it is worth trying.
        let again = uplink.retry(waiting.pop().unwrap()).unwrap();
        uplink.published(again.token, PublishOutcome::Confirmed, &mut counters);
        assert_eq!(tries_of_a_refused(&mut uplink, &mut counters, 102), RETRIES_MAX);
        // In vain again; but few wait now, and cost nobody anything.
        for number in waiting.drain(..) {
            let again = uplink.retry(number).unwrap();
            uplink.published(again.token, PublishOutcome::Confirmed, &mut counters);
        }
        uplink.is_in_vain = true;
        assert_eq!(tries_of_a_refused(&mut uplink, &mut counters, 103), RETRIES_MAX);
        assert_eq!((uplink.len(), uplink.refused_events, uplink.refused.len()), (0, 0, 0));
    }

    #[test]
    fn what_no_queue_wants_is_kept_as_unrouted() {
        let mut counters = Counters::default();
        let mut uplink = Uplink::new(PublishOrigin::Shard(ShardIndex(3)), 10, 1_000);
        let publication = uplink.publish(event(Qos::AtLeastOnce, 1), "roost.up", waiter(), None);
        assert!(publication.mandatory);
        let next = uplink.published(publication.token, PublishOutcome::Returned, &mut counters);
        let Next::Publish(unrouted) = next else { panic!("{next:?}") };
        assert_eq!((&*unrouted.message.exchange, unrouted.mandatory), ("roost.unrouted", true));
        let next = uplink.published(unrouted.token, PublishOutcome::Confirmed, &mut counters);
        assert_eq!(next, Next::Ended { waiter: waiter(), end: EventEnd::Unwanted, frees: None, trace: None });
        let again = uplink.published(unrouted.token, PublishOutcome::Confirmed, &mut counters);
        assert_eq!(again, Next::Unknown);
    }

    #[test]
    fn at_qos_0_nothing_is_tried_twice() {
        for (outcome, count) in [
            (PublishOutcome::Nacked, Count::EventDroppedNacked),
            (PublishOutcome::Lost, Count::EventDroppedLost),
        ] {
            let mut counters = Counters::default();
            let mut uplink = Uplink::<Waiter>::new(PublishOrigin::Shard(ShardIndex(0)), 10, 1_000);
            let publication = uplink.publish(event(Qos::AtMostOnce, 1), "roost.up", None, None);
            assert_eq!(publication.on_loss, OnLoss::Report);
            let next = uplink.published(publication.token, outcome, &mut counters);
            let ended = Next::Ended { waiter: None, end: EventEnd::Accepted, frees: None, trace: None };
            assert_eq!((next, counters.of(count)), (ended, 1));
        }
    }

    #[test]
    fn a_quarter_of_the_window_is_left_to_qos_1() {
        let mut uplink = Uplink::<Waiter>::new(PublishOrigin::Shard(ShardIndex(0)), 4, 1_000);
        for n in 0..3 {
            assert!(uplink.has_room(Qos::AtMostOnce));
            uplink.publish(event(Qos::AtMostOnce, n), "x", None, None);
        }
        assert!(!uplink.has_room(Qos::AtMostOnce) && uplink.has_room(Qos::AtLeastOnce));
        uplink.publish(event(Qos::AtLeastOnce, 3), "x", None, None);
        assert!(!uplink.has_room(Qos::AtLeastOnce));
        let by_bytes =
            Uplink { bytes: 1_000, ..Uplink::<Waiter>::new(PublishOrigin::Shard(ShardIndex(0)), 4, 1_000) };
        assert!(!by_bytes.has_room(Qos::AtLeastOnce));
    }
}
