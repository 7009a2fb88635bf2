//! A device is at another gateway now: its session is handed over, or forgotten.

use std::collections::BTreeMap;

use roost_wire::{
    BootTime, Device, NoSessionReason, Now, QuestionId, RouterRun, SessionHandOver, SessionId, Sighting,
};

use super::close::Farewell;
use super::share::Leaving;
use super::{Shard, TimerFor};
use crate::Count;
use crate::link::FromShard;
use crate::packet::ReasonCode;
use crate::session::{Carried, CarriedShare, LocalCopy, Session, SessionKey};
use crate::share::Filter;

/// A session that the router wants handed over.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) question: QuestionId,
    pub(super) run: RouterRun,
    pub(super) device: Device,
    pub(super) session: SessionId,
}

/// Why a session is not handed over.
enum NotGiven {
    /// For that reason, whatever comes.
    For(Count, NoSessionReason),
    /// What it has published at QoS 2 is not safe yet.
    Yet(SessionKey),
}

impl Shard {
    /// Says whether there is a session of that device here, connected or not.
    pub(super) fn answer_find(&mut self, now: Now, question: QuestionId, run: RouterRun, device: Device) {
        if self.may_be_stored(&device) {
            return self.answer_when_read(question, run, &device);
        }
        let answer = self.find_session(now, question, run, device);
        self.tell_link(FromShard::Sighting(answer));
    }

    fn find_session(&self, now: Now, question: QuestionId, run: RouterRun, device: Device) -> Sighting {
        let at = Some(now.boot);
        let found = self.by_device.get(&device).and_then(|key| self.sessions.get(key));
        match found {
            Some(session) if session.disk.is_of_earlier_boot => {
                // It may be newer than all that began before this boot.
                let (forgot, reason) = (Some(BootTime::default()), NoSessionReason::Absent);
                Sighting::NoSession { question, run, device, reason, forgot, at }
            }
            Some(session) => Sighting::HoldsSession {
                question,
                run,
                present: session.present(),
                connected: session.connection.is_some(),
                at,
            },
            None => {
                let (forgot, reason) = (self.doubts.find(&device), NoSessionReason::Absent);
                Sighting::NoSession { question, run, device, reason, forgot, at }
            }
        }
    }

    /// Gives a session away: a connection of it is closed, its commands go back, and what is left of it leaves as a whole.
    ///
    /// One that is connected under another number than the router's is newer than what the router knew, so it stays. A session that
    /// ends with its connection ends by that. One that has published at QoS 2 what is not safe yet waits for that, within the bound of the
    /// CONNECT that wants it: until then nobody knows what the next gateway may answer to a repeat.
    pub(super) fn give_session(&mut self, now: Now, wanted: Wanted) {
        match self.take_out(now, &wanted.device, wanted.session) {
            Ok((session, body)) => {
                self.count(Count::GivenMoved);
                self.given += 1;
                let (gateway, incarnation) = (self.config.gateway.clone(), self.config.incarnation);
                let Wanted { question, run, device, .. } = wanted;
                let given = SessionHandOver { device, gateway, incarnation, session, question, run, body };
                self.tell_link(FromShard::Session(Box::new(given)));
            }
            Err(NotGiven::For(count, reason)) => self.refuse_to_give(now, wanted, count, reason),
            Err(NotGiven::Yet(key)) => {
                self.timers.set(TimerFor::Give(key), now.boot + self.config.limits.session_transfer);
                if let Some(earlier) = self.gives.insert(key, wanted) {
                    self.refuse_to_give(now, earlier, Count::GivenUnsettled, NoSessionReason::Busy);
                }
            }
        }
    }

    /// Everything that a session has published at QoS 2 is safe, or refused.
    pub(super) fn give_settled(&mut self, now: Now, key: SessionKey) {
        if let Some(wanted) = self.gives.remove(&key) {
            self.timers.cancel(TimerFor::Give(key));
            self.give_session(now, wanted);
        }
    }

    /// It took too long: the session stays, and its device begins anew where it is.
    pub(super) fn give_due(&mut self, now: Now, key: SessionKey) {
        if let Some(wanted) = self.gives.remove(&key) {
            self.refuse_to_give(now, wanted, Count::GivenUnsettled, NoSessionReason::Busy);
        }
    }

    fn refuse_to_give(&mut self, now: Now, wanted: Wanted, count: Count, reason: NoSessionReason) {
        self.count(count);
        let Wanted { question, run, device, .. } = wanted;
        let (forgot, at) = (self.doubts.find(&device), Some(now.boot));
        self.tell_link(FromShard::Sighting(Sighting::NoSession {
            question,
            run,
            device,
            reason,
            forgot,
            at,
        }));
    }

    fn take_out(
        &mut self,
        now: Now,
        device: &Device,
        id: SessionId,
    ) -> Result<(SessionId, bytes::Bytes), NotGiven> {
        const ABSENT: NotGiven = NotGiven::For(Count::GivenAbsent, NoSessionReason::Absent);
        let session = self.by_device.get(device).and_then(|key| self.sessions.get(key)).ok_or(ABSENT)?;
        if session.connection.is_some() && session.id != id {
            return Err(NotGiven::For(Count::GivenNewer, NoSessionReason::Newer));
        }
        if self.given >= self.config.limits.session_moves_max {
            return Err(NotGiven::For(Count::GivenBusy, NoSessionReason::Busy));
        }
        let id = session.id;
        if let Some(connection) = session.connection {
            self.takeovers.note(now.boot, device);
            let farewell = Farewell::Disconnect(ReasonCode::SessionTakenOver);
            self.close(now, connection, Count::ClosedElsewhere, farewell);
        }
        // One that ends with its connection has ended by that.
        let key = *self.by_device.get(device).ok_or(ABSENT)?;
        if self.sessions.get(&key).is_some_and(|session| !session.received.is_settled()) {
            return Err(NotGiven::Yet(key));
        }
        // Its members here come first.
        self.hand_on(now, key, Leaving::Away);
        self.queue_what_is_owed(now, key);
        let carried = self.what_moves(now, key).ok_or(ABSENT)?;
        let Some((body, left_behind)) = carried.encode(now.boot, self.config.limits.session_bytes_max) else {
            return Err(NotGiven::For(Count::GivenTooLarge, NoSessionReason::TooLarge));
        };
        self.counters.add_many(Count::DroppedLeftBehind, left_behind);
        self.end_session(now, key, Count::SessionMoved);
        Ok((id, body))
    }

    fn what_moves(&mut self, now: Now, key: SessionKey) -> Option<Carried> {
        let session = self.sessions.get(&key)?;
        let own = self.subscriptions.subscriptions_of(&key);
        let mut subscriptions: Vec<_> =
            own.map(|(filter, subscription)| (Filter::Own(filter), *subscription)).collect();
        let mut groups = BTreeMap::new();
        for (group, filter, subscription) in self.groups.subscriptions_of(key) {
            groups.insert(group, subscriptions.len());
            subscriptions.push((filter, subscription));
        }
        let mut carried = Carried {
            expiry: session.expires_at.map_or(session.expiry, |at| at.since(now.boot)),
            subscriptions,
            received: session.received.settled().collect(),
            released: session.outbox.released().collect(),
            ..Carried::default()
        };
        let carry = |carried: &mut Carried, copy: &LocalCopy| {
            let in_group = copy.share.and_then(|share| Some((groups.get(&share.group)?, share.published)));
            if let Some((&subscription, published)) = in_group {
                carried.shares.push(CarriedShare { message: carried.messages(), subscription, published });
            }
            LocalCopy { share: None, ..copy.clone() }
        };
        let (inflight, queue) = session.outbox.contents();
        for (packet_id, copy) in inflight {
            let copy = carry(&mut carried, copy);
            carried.inflight.push((packet_id, copy));
        }
        for copy in queue.filter(|copy| !copy.message.is_expired(now.boot)) {
            let copy = carry(&mut carried, copy);
            carried.queue.push(copy);
        }
        let expired = session.outbox.depth().queued - carried.queue.len();
        self.counters.add_many(Count::DroppedExpired, expired as u64);
        Some(carried)
    }

    /// The device has a newer session elsewhere than that one.
    pub(super) fn forget_elsewhere(&mut self, now: Now, device: &Device, id: SessionId) {
        let Some(&key) = self.by_device.get(device) else { return };
        let is_it = |session: &Session| session.continues(id) && session.connection.is_none();
        if self.sessions.get(&key).is_some_and(is_it) {
            self.forsake(now, key, Count::SessionElsewhere);
        }
    }

    /// Nobody can say whether that session is its device's newest: it is resumed nowhere. One that was resumed from it already is
    /// closed, so that its device is told.
    pub(super) fn doubt(&mut self, now: Now, device: &Device, id: SessionId) {
        let Some(&key) = self.by_device.get(device) else { return };
        let Some(session) = self.sessions.touch(&key).filter(|session| session.continues(id)) else {
            return;
        };
        session.is_doubted = true;
        if session.connection.is_none() {
            self.forsake(now, key, Count::SessionStale);
        } else if session.id != id {
            self.close_elsewhere(now, device, id, true);
        }
    }
}
