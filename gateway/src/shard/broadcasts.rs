//! Broadcasts: what was published for the subscribers of all gateways, on its way to those of this one.
//!
//! ```text
//!  a device here ──► its subscribers here, at once ──► the uplink, as any event, to `roost.fanout`
//!  the queue of this gateway's link ─┬─ published here: done ──────────────────────────────────────────┐
//!                                    ├─ no broadcast: counted ─────────────────────────────────────────┤
//!                                    └─ in line ──► nobody who is connected is full ──► subscribers ───┴─► taken
//! ```
//! Those in line keep their order. As long as they are not taken the broker sends no more than its prefetch, so a subscriber that is full
//! slows the line, and neither commands nor what clients publish.

use std::collections::VecDeque;
use std::sync::Arc;

use roost_wire::envelope::header;
use roost_wire::{Broadcast, BroadcastError, Device, Now, Qos, Topic};

use super::connection::HeldBy;
use super::crossing::Told;
use super::learn::Lesson;
use super::routes::Route;
use super::{Output, Shard};
use crate::message::Message;
use crate::packet::QoS;
use crate::retained::Stamp;
use crate::{BroadcastNumber, Count, Notice};

/// The broadcasts of a shard that its subscribers do not have yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    line: VecDeque<Waiting>,
    bytes: usize,
    /// The full subscriber, or group, for which the first of them waits.
    held_by: Option<HeldBy>,
}

#[derive(Debug)]
struct Waiting {
    number: BroadcastNumber,
    message: Arc<Message>,
    qos: QoS,
    publisher: Option<Device>,
    stamp: Stamp,
    /// It was retained at another gateway, and is of use only if it is news here.
    is_lesson: bool,
}

/// Why a message is not for this gateway's subscribers.
#[derive(Debug)]
struct Rejected {
    why: Count,
    /// What is wrong with it, if it is no broadcast.
    error: Option<BroadcastError>,
}

impl From<Count> for Rejected {
    fn from(why: Count) -> Self {
        Self { why, error: None }
    }
}

impl Broadcasts {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the first of them waits for that one.
    pub(super) fn wait_for(&self, holder: HeldBy) -> bool {
        self.held_by == Some(holder)
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.message.bytes();
        self.line.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting> {
        let first = self.line.pop_front()?;
        self.bytes -= first.message.bytes();
        Some(first)
    }
}

impl Shard {
    /// Whether the subscribers of every gateway are to have what is published to this topic.
    pub(super) fn is_broadcast(&self, topic: &str) -> bool {
        self.config.broadcasts.iter().any(|prefix| prefix.covers(topic))
    }

    /// Which of two retained messages is the newer one is the same at every gateway: what a device has published here counts from now.
    /// So it is in every shard of the process, of which each keeps all.
    pub(super) fn stamp_here(&mut self, now: Now, topic: &str) -> Option<Stamp> {
        if self.is_broadcast(topic) {
            // As other gateways have it from the event.
            return Some(Stamp { at: now.wall, origin: self.config.incarnation.0 });
        }
        let is_alone = self.config.interests.shards() == 1;
        (!is_alone).then(|| self.crossings.stamp(now.wall, self.config.placement.index()))
    }

    /// A message has come through the queue of broadcasts.
    pub(super) fn broadcast_came(
        &mut self,
        now: Now,
        number: BroadcastNumber,
        message: &roost_wire::Message,
    ) {
        if self.hears_of_retained(now, message) {
            return self.broadcast_taken(number, None);
        }
        match self.judge_broadcast(now, number, message) {
            Ok(waiting) => self.broadcasts.push(waiting),
            Err(Rejected { why, error }) => {
                // All shards find the same, but for what waits in them.
                let is_told = self.speaks_for_the_gateway() || why == Count::BroadcastBacklog;
                if why.metric() == Count::BroadcastInvalid.metric() && is_told {
                    let topic = message.properties.text(header::TOPIC).and_then(|t| Topic::parse(t).ok());
                    self.tell_of_dropped_broadcast(why, topic, error);
                }
                self.broadcast_taken(number, Some(why));
            }
        }
    }

    /// The queue of broadcasts had no room, or no time, for a message.
    pub(super) fn broadcast_missed(&mut self, has_expired: bool) {
        let why = if has_expired { Count::BroadcastExpired } else { Count::BroadcastQueueFull };
        self.count(why);
        self.tell_of_dropped_broadcast(why, None, None);
    }

    fn tell_of_dropped_broadcast(&mut self, why: Count, topic: Option<Topic>, error: Option<BroadcastError>) {
        let notice = Notice::BroadcastDropped { why, topic, error };
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    fn judge_broadcast(
        &self,
        now: Now,
        number: BroadcastNumber,
        message: &roost_wire::Message,
    ) -> Result<Waiting, Rejected> {
        let lesson = Lesson::from_message(message);
        let is_lesson = lesson.is_some();
        let (broadcast, (publisher, stamp)) = match lesson {
            Some(Lesson { broadcast, stamp, publisher }) => (broadcast, (publisher, stamp)),
            None => {
                let broadcast = Broadcast::from_message(message)
                    .map_err(|error| Rejected { why: Count::BroadcastInvalid, error: Some(error) })?;
                let origin = origin(now, &broadcast);
                (broadcast, origin)
            }
        };
        let (gateway, incarnation) = (&self.config.gateway, self.config.incarnation);
        let is_own = |origin: &roost_wire::BroadcastOrigin| {
            origin.gateway == *gateway && origin.incarnation == incarnation
        };
        if broadcast.origin.as_ref().is_some_and(is_own) {
            return Err(Count::BroadcastOwn.into());
        }
        if !self.is_broadcast(broadcast.topic.as_str()) {
            return Err(Count::BroadcastTopic.into());
        }
        let qos = match broadcast.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce | Qos::ExactlyOnce => QoS::AtLeastOnce,
        };
        let message =
            Message::from_broadcast(now.boot, broadcast).ok_or(Rejected::from(Count::BroadcastInvalid))?;
        let limits = &self.config.limits;
        if message.bytes() > limits.decode.packet_bytes_max as usize {
            return Err(Count::BroadcastTooLarge.into());
        }
        let is_full = self.broadcasts.len() >= limits.broadcasts_max
            || self.broadcasts.bytes() + message.bytes() > limits.broadcast_bytes_max;
        if is_full {
            return Err(Count::BroadcastBacklog.into());
        }
        let message = Arc::new(message);
        Ok(Waiting { number, message, qos, publisher, stamp, is_lesson })
    }

    /// Gives the subscribers those that wait, as far as nothing holds them up.
    pub(super) fn publish_broadcasts(&mut self, now: Now) {
        while let Some(first) = self.broadcasts.line.front() {
            let message = Arc::clone(&first.message);
            let route = self.route_of(&message.topic);
            let first = self.broadcasts.line.front();
            let held_by = first.and_then(|first| self.who_holds_up_broadcast(now, first, &route));
            self.broadcasts_wait_for(now, held_by);
            if held_by.is_none()
                && let Some(next) = self.broadcasts.pop()
            {
                self.publish_broadcast(now, next, &route);
            }
            self.routes.put(route);
            if held_by.is_some() {
                return;
            }
        }
    }

    fn who_holds_up_broadcast(&self, now: Now, first: &Waiting, route: &Route) -> Option<HeldBy> {
        let Waiting { message, qos, .. } = first;
        if *qos == QoS::AtMostOnce || message.is_expired(now.boot) {
            return None;
        }
        // To ask the one who held it up costs less than to ask all.
        let still = self.broadcasts.held_by.filter(|holder| match holder {
            HeldBy::Subscriber(key) => {
                let session = self.sessions.get(key);
                session.is_some_and(|session| self.is_full_for(session, message.bytes()))
                    && self.subscriptions.granted_qos(key, &message.topic) > Some(QoS::AtMostOnce)
            }
            HeldBy::Group(_)
            | HeldBy::Uplink
            | HeldBy::Spool
            | HeldBy::Store
            | HeldBy::Shard(_)
            | HeldBy::Refusal => false,
        });
        still.or_else(|| self.full_locally(None, message, route))
    }

    fn broadcasts_wait_for(&mut self, now: Now, held_by: Option<HeldBy>) {
        let before = std::mem::replace(&mut self.broadcasts.held_by, held_by);
        if before == held_by {
            return;
        }
        self.counters.add_many(Count::BroadcastWaited, u64::from(held_by.is_some()));
        self.watch_holders(now, before, held_by);
    }

    fn publish_broadcast(&mut self, now: Now, next: Waiting, route: &Route) {
        let number = next.number;
        if let Some(outcome) = self.outcome_of(now, next, route) {
            self.broadcast_taken(number, Some(outcome));
        }
    }

    /// What becomes of it here; `None` if another shard has yet to answer.
    fn outcome_of(&mut self, now: Now, next: Waiting, route: &Route) -> Option<Count> {
        let Waiting { number, message, qos, publisher, stamp, is_lesson } = next;
        if message.is_expired(now.boot) {
            return Some(Count::BroadcastExpired);
        }
        if is_lesson && self.knows(now, &message, stamp) {
            return Some(Count::BroadcastKnown);
        }
        if message.retain
            && let Err(why) = self.retain(now, publisher, &message, qos, Some(stamp))
        {
            self.retain_nothing(&message, why);
        }
        let had_locally = self.deliver_locally(now, None, &message, qos, route);
        // It comes to every shard; one is a group's owner, and may have to give it to a member of another.
        let (line, told) = (self.broadcasts_line(), Told::Broadcast(number));
        if self.cross_directed(&message, qos, line, told, had_locally) {
            return None;
        }
        Some(if had_locally { Count::BroadcastDelivered } else { Count::BroadcastUnwanted })
    }
}

/// Who has published it, and when.
fn origin(now: Now, broadcast: &Broadcast) -> (Option<Device>, Stamp) {
    match &broadcast.origin {
        Some(origin) => {
            let stamp = Stamp { at: origin.received_at, origin: origin.incarnation.0 };
            (Some(origin.device.clone()), stamp)
        }
        // A service has no clock that is ours: it counts from its arrival.
        None => (None, Stamp { at: now.wall, origin: 0 }),
    }
}
