//! Messages that are kept for who subscribes later, and what a new subscription gets of them.

use std::sync::Arc;
use std::time::Duration;

use roost_wire::{Device, Now, TopicFilter};

use super::crossing::Retained;
use super::{Shard, TimerFor};
use crate::message::Message;
use crate::packet::{ProtocolVersion, QoS, RetainHandling};
use crate::retained::{Full, Next, Stamp};
use crate::session::{CatchUp, LocalCopy, Pass, Session, SessionKey};
use crate::subscriptions::{Inserted, Subscription};
use crate::{ConnectionId, Count};

/// How many topics are looked at for one client at a time: about a millisecond. Then it is others' turn.
pub(super) const STEPS_AT_ONCE: usize = 2_000;

/// When it goes on then.
const PAUSE: Duration = Duration::from_millis(1);

/// How many topics are looked at for a session that leaves, all its subscriptions together: some 50 ms.
const STEPS_FOR_A_MOVE: usize = 100_000;

impl Shard {
    /// Keeps what a client wants retained; gives what the other shards are to make of theirs. The error says why a client is to be told that it does not fit; one that cannot be told has its
    /// message routed as any, and what was kept before is stale then [MQTT311 MQTT-3.3.1-7].
    pub(super) fn retain_of(
        &mut self,
        now: Now,
        id: ConnectionId,
        message: &Message,
        qos: QoS,
    ) -> Result<Option<Retained>, Count> {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else {
            return Ok(None);
        };
        let Some(session) = self.sessions.get(&client.session) else { return Ok(None) };
        let (version, device) = (client.version(), session.device.clone());
        match self.retain_here(now, &device, message, qos) {
            Err((why, _)) if version == ProtocolVersion::V5 && qos != QoS::AtMostOnce => Err(why),
            Err((why, retained)) => {
                self.retain_nothing(message, why);
                Ok(retained)
            }
            Ok(retained) => Ok(retained),
        }
    }

    /// Keeps what a device has published here; gives what the other shards are to make of theirs.
    pub(super) fn retain_here(
        &mut self,
        now: Now,
        device: &Device,
        message: &Message,
        qos: QoS,
    ) -> Result<Option<Retained>, (Count, Option<Retained>)> {
        let stamp = self.stamp_here(now, &message.topic);
        let retained =
            |is_kept| stamp.map(|stamp| Retained { stamp, publisher: Some(device.clone()), is_kept });
        match self.retain(now, Some(device.clone()), message, qos, stamp) {
            Ok(()) => Ok(retained(true)),
            Err(why) => Err((why, retained(false))),
        }
    }

    /// Keeps a message, or deletes what was kept if it has no payload [MQTT-3.3.1-6], [MQTT-3.3.1-7]. The error says what there is no room for.
    /// A broadcast, which has a stamp, changes nothing if a newer one of its topic was here before it: so all gateways keep the same one.
    pub(super) fn retain(
        &mut self,
        now: Now,
        publisher: Option<Device>,
        message: &Message,
        qos: QoS,
        stamp: Option<Stamp>,
    ) -> Result<(), Count> {
        if let Some(what) = self.keep(now, publisher, message, qos, stamp)? {
            self.count(what);
        }
        Ok(())
    }

    /// The same, for who does not count it: gives what it would be counted as, if as anything.
    pub(super) fn keep(
        &mut self,
        now: Now,
        publisher: Option<Device>,
        message: &Message,
        qos: QoS,
        stamp: Option<Stamp>,
    ) -> Result<Option<Count>, Count> {
        if stamp.is_some_and(|stamp| self.retained.has_newer(now.boot, &message.topic, stamp)) {
            return Ok(Some(Count::RetainedStale));
        }
        if message.payload.is_empty() {
            let was_kept = self.retained.delete(&message.topic);
            if let Some(stamp) = stamp {
                self.retained.remember_deleted(now.boot, &message.topic, stamp);
            }
            return Ok(was_kept.then_some(Count::RetainedDeleted));
        }
        // What is kept for long shares no read buffer.
        let own = Arc::new(message.detached());
        self.retained.set(own, qos, publisher, stamp).map_err(Full::count)?;
        self.watch_retained_expiry(now);
        Ok(Some(Count::RetainedSet))
    }

    /// A message that goes on all the same cannot be kept, nor may the one before it be any longer: it is not the last one.
    pub(super) fn retain_nothing(&mut self, message: &Message, why: Count) {
        self.count(why);
        if self.retained.delete(&message.topic) {
            self.count(Count::RetainedDisplaced);
        }
    }

    /// The time of the next message to expire has come.
    pub(super) fn expire_retained(&mut self, now: Now) {
        let expired = self.retained.expire(now.boot);
        self.counters.add_many(Count::RetainedExpired, expired);
        self.watch_retained_expiry(now);
    }

    fn watch_retained_expiry(&mut self, now: Now) {
        if let Some(at) = self.retained.next_expiry() {
            self.timers.set(TimerFor::RetainedExpiry, at.max(now.boot));
        }
    }

    /// A session has subscribed: it is owed what is kept, unless it does not want that [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11].
    pub(super) fn owe_retained(
        &mut self,
        key: SessionKey,
        filter: &TopicFilter,
        subscription: Subscription,
        inserted: Inserted,
    ) {
        let wants = match (subscription.options.retain_handling, inserted) {
            (RetainHandling::SendAlways, _) | (RetainHandling::SendIfNew, Inserted::New) => true,
            (RetainHandling::SendIfNew, Inserted::Replaced(_)) | (RetainHandling::DoNotSend, _) => false,
        };
        if let Some(session) = self.sessions.touch(&key).filter(|_| wants && self.retained.len() > 0) {
            let place = session.outbox.end();
            session.catch_up.begin(filter, subscription, self.retained.next_number(), place);
        }
    }

    /// Writes the next retained message that the session is owed; false if there is none, no room, or as many topics were looked at as may
    /// be.
    pub(super) fn write_retained(
        &mut self,
        now: Now,
        id: ConnectionId,
        key: SessionKey,
        steps: &mut usize,
    ) -> bool {
        let rests = |catch_up: &CatchUp| catch_up.is_empty() || catch_up.is_paused;
        if self.sessions.get(&key).is_none_or(|session| rests(&session.catch_up)) {
            return false;
        }
        self.write_retained_at_most_once(now, id, key, steps)
            || self.write_retained_at_least_once(now, id, key, steps)
    }

    fn write_retained_at_most_once(
        &mut self,
        now: Now,
        id: ConnectionId,
        key: SessionKey,
        steps: &mut usize,
    ) -> bool {
        if !self.has_room(id, key, false) {
            return false;
        }
        let Some(copy) = self.next_owed(now, key, Pass::AtMostOnce, u64::MAX, steps) else { return false };
        if self.deliver_at_most_once(now, key, &copy) {
            self.count(Count::RetainedDelivered);
        }
        true
    }

    /// It goes through the queue, in front of what waits there, and out of it at once: it has a place in the window.
    fn write_retained_at_least_once(
        &mut self,
        now: Now,
        id: ConnectionId,
        key: SessionKey,
        steps: &mut usize,
    ) -> bool {
        let has_turn = |session: &Session| {
            session.catch_up.precedes(session.outbox.taken()) && !session.outbox.sends_again()
        };
        if !self.sessions.get(&key).is_some_and(has_turn) || !self.has_room(id, key, true) {
            return false;
        }
        let place = self.sessions.get(&key).map_or(0, |session| session.outbox.taken());
        let Some(copy) = self.next_owed(now, key, Pass::AtLeastOnce, place, steps) else {
            // There was nothing more: what waited behind it goes on and, where that has expired, what is owed behind that.
            return self.write_message(now, id, key) || self.write_retained(now, id, key, steps);
        };
        self.count(Count::RetainedDelivered);
        let Some(session) = self.sessions.touch(&key) else { return false };
        let before = session.outbox.depth();
        session.catch_up.has_turn(session.outbox.taken());
        session.outbox.push_front(copy);
        self.depth.changed(before, session.outbox.depth());
        self.write_message(now, id, key)
    }

    /// The next copy that is owed before what the queue gives out in that place: what a later subscription brings may stand behind messages
    /// that wait. If as many topics were looked at as may be, its session has another turn soon.
    fn next_owed(
        &mut self,
        now: Now,
        key: SessionKey,
        pass: Pass,
        place: u64,
        steps: &mut usize,
    ) -> Option<LocalCopy> {
        let session = self.sessions.touch(&key)?;
        while let Some(owed) = session.catch_up.first(pass).filter(|owed| owed.precedes(place)) {
            match self.retained.next_match(&mut owed.walk, steps) {
                Next::Found(kept) => {
                    let copy = owed.copy(kept, now.boot, &session.device, pass);
                    if copy.is_some() {
                        return copy;
                    }
                }
                Next::End => session.catch_up.end_first(pass),
                Next::Paused => {
                    session.catch_up.is_paused = true;
                    self.timers.set(TimerFor::Retained(key), now.boot + PAUSE);
                    return None;
                }
            }
        }
        None
    }

    /// A session's turn has come again.
    pub(super) fn retained_due(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.sessions.touch(&key) else { return };
        session.catch_up.is_paused = false;
        if let Some(id) = session.connection {
            self.pump(now, id);
        }
    }

    /// The session leaves for another gateway, which has retained messages of its own: what it is owed of those here goes into its queue,
    /// as far as there is room.
    pub(super) fn queue_what_is_owed(&mut self, now: Now, key: SessionKey) {
        let bounds = self.config.limits.queue();
        let (mut steps, mut inserted) = (STEPS_FOR_A_MOVE, 0);
        loop {
            let copy = self.next_owed(now, key, Pass::AtLeastOnce, u64::MAX, &mut steps);
            let Some(session) = self.sessions.touch(&key) else { return };
            let taken = session.outbox.taken();
            let Some(owed) = session.catch_up.first(Pass::AtLeastOnce) else { return };
            let at = owed.queued_before(taken).saturating_add(inserted);
            let fits = |copy: &LocalCopy| !session.outbox.is_full_for(copy.message.bytes(), bounds);
            let Some(copy) = copy.filter(fits) else { return self.count(Count::RetainedLeftBehind) };
            let before = session.outbox.depth();
            session.outbox.insert(at, copy);
            inserted += 1;
            self.depth.changed(before, session.outbox.depth());
        }
    }
}

#[cfg(test)]
impl Shard {
    /// What is kept of a topic.
    pub(crate) fn retained_payload(&self, topic: &str) -> Option<Vec<u8>> {
        self.retained.of_topic(topic).map(|kept| kept.message.payload.to_vec())
    }
}
