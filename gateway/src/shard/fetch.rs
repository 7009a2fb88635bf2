//! A CONNECT wants the session that its device has elsewhere: the router is asked for it, and the connection waits.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_wire::{BootTime, Device, Now, SessionAnswer, SessionArrival, SessionRequest, Sighting};

use super::close::Farewell;
use super::fetches::Fetch;
use super::turn::Turn;
use super::{Output, Shard, TimerFor};
use crate::link::FromShard;
use crate::packet::Connect;
use crate::session::{Carried, CarriedError, CarriedShare, LocalCopy, SessionKey};
use crate::share::{Filter, Share};
use crate::{ConnectionId, Count, Notice};

/// For how long a session is taken in whose device has left before it came. It is its only copy: longer than the bound of a CONNECT.
const KEPT_FOR_THE_LATE: Duration = Duration::from_secs(30);

/// What a CONNECT that wants a session is to be answered with.
enum Choice {
    /// What is here.
    Local,
    /// What the router says.
    Ask,
    /// A fresh session, and the reason.
    Fresh(Count),
}

impl Shard {
    /// Whether a CONNECT that wants its session has to wait for the router. If not, what is here is what it gets: a copy that may
    /// be stale, and that nobody can be asked about, is forgotten.
    pub(super) fn fetches_session(&mut self, now: Now, device: &Device) -> bool {
        match self.choose(now.boot, device) {
            Choice::Local => false,
            Choice::Ask => true,
            Choice::Fresh(why) => {
                self.forsake_copy(now, device);
                self.count(why);
                let notice = Notice::SessionFetched { device: device.clone(), outcome: why, took: None };
                self.outputs.push_back(Output::Notice(Box::new(notice)));
                false
            }
        }
    }

    fn choose(&self, now: BootTime, device: &Device) -> Choice {
        let limits = &self.config.limits;
        if limits.session_transfer.is_zero() || self.turn.roams == Some(false) {
            return Choice::Local;
        }
        let copy = self.by_device.get(device).and_then(|key| self.sessions.get(key));
        if copy.is_some_and(|copy| self.turn.is_unbroken(copy.left_in, now)) {
            return Choice::Local;
        }
        if !self.turn.lease_is_valid(now) && !self.awaits_router(device) {
            return Choice::Fresh(Count::FetchUnreachable);
        }
        match self.fetches.len() < limits.fetches_max {
            true => Choice::Ask,
            false => Choice::Fresh(Count::FetchBusy),
        }
    }

    /// Whether a device's session was read from the store, and no router has spoken since the start: one is waited for.
    fn awaits_router(&self, device: &Device) -> bool {
        let copy = self.by_device.get(device).and_then(|key| self.sessions.get(key));
        !self.turn.had_lease() && copy.is_some_and(|copy| copy.left_in == Turn::NEVER)
    }

    /// Whether such a device is to come back later: as many wait as may, and what it has here is not to be lost for that.
    pub(super) fn is_to_come_later(&self, now: BootTime, device: &Device) -> bool {
        now < self.undecided_until
            && self.fetches.len() >= self.config.limits.fetches_max
            && !self.config.limits.session_transfer.is_zero()
            && self.turn.roams != Some(false)
            && self.awaits_router(device)
    }

    /// Asks for the session of a CONNECT that came at `began`. Nothing more is read from the connection before it is answered.
    pub(super) fn fetch(
        &mut self,
        began: BootTime,
        id: ConnectionId,
        connect: Connect,
        device: Device,
        earlier: Option<(SessionRequest, BootTime)>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let request = SessionRequest(self.config.placement.sequence(self.next_request));
        self.next_request += 1;
        connection.fetches = Some(request);
        let is_asked = self.turn.lease_is_valid(self.now);
        let waiting = Some((id, Box::new(connect)));
        self.fetches.insert(device.clone(), Fetch { request, earlier, began, is_asked, waiting });
        self.timers.set(TimerFor::Fetch(request), began + self.config.limits.session_transfer);
        if is_asked {
            self.ask_router(device, request, began);
        }
    }

    fn ask_router(&mut self, device: Device, request: SessionRequest, began: BootTime) {
        let copy = self.by_device.get(&device).and_then(|key| self.sessions.get(key));
        // When it was accepted nobody can say of one of an earlier boot.
        let copy = copy.filter(|copy| !copy.disk.is_of_earlier_boot);
        let (held, held_since) = copy.map(|copy| (copy.id, copy.accepted_at)).unzip();
        self.tell_link(FromShard::Sighting(Sighting::WantsSession {
            device,
            request,
            held,
            held_since,
            asked_at: Some(began),
        }));
    }

    /// A router has spoken: it is asked for the sessions that wait for it, if it moves any.
    pub(super) fn ask_what_waits(&mut self, now: Now) {
        while let Some(device) = self.fetches.next_unasked() {
            let Some(mut fetch) = self.fetches.remove(&device) else { return };
            if self.turn.roams == Some(false) {
                self.timers.cancel(TimerFor::Fetch(fetch.request));
                self.end_fetch(now, device, fetch, Count::FetchCurrent);
                continue;
            }
            fetch.is_asked = true;
            let (request, began) = (fetch.request, fetch.began);
            self.fetches.insert(device.clone(), fetch);
            self.ask_router(device, request, began);
        }
    }

    /// A CONNECT of that device has come: one that waits does so no longer. The request that it takes the place of.
    pub(super) fn supersede_fetch(
        &mut self,
        now: Now,
        device: &Device,
    ) -> Option<(SessionRequest, BootTime)> {
        let Fetch { request, began, waiting, .. } = self.fetches.remove(device)?;
        self.timers.cancel(TimerFor::Fetch(request));
        self.fetched(device, Count::FetchSuperseded, now, began);
        if let Some((older, _)) = waiting {
            self.takeovers.note(now.boot, device);
            self.close(now, older, Count::RefusedTakenOver, Farewell::None);
        }
        Some((request, began))
    }

    /// The connection that waited has ended. What comes all the same is its device's, and kept.
    pub(super) fn fetch_left(&mut self, now: Now, request: SessionRequest) {
        if let Some((_, fetch)) = self.fetches.find(request) {
            fetch.waiting = None;
            self.timers.cancel(TimerFor::Fetch(request));
            self.timers.set(TimerFor::Fetch(request), now.boot + KEPT_FOR_THE_LATE);
        }
    }

    /// Nothing came in time.
    pub(super) fn fetch_due(&mut self, now: Now, request: SessionRequest) {
        let Some((device, _)) = self.fetches.find(request) else { return };
        let Some(fetch) = self.fetches.remove(&device) else { return };
        match fetch.waiting {
            Some((id, connect)) if !fetch.is_asked && now.boot < self.undecided_until => {
                self.fetched(&device, Count::FetchUnreachable, now, fetch.began);
                self.stop_waiting(id);
                self.refuse_undecided(now, id, &connect);
            }
            _ => self.end_fetch(now, device, fetch, Count::FetchTimedOut),
        }
    }

    /// The router says that no session comes, and why.
    pub(super) fn session_answered(
        &mut self,
        now: Now,
        request: SessionRequest,
        device: &Device,
        answer: Option<SessionAnswer>,
    ) {
        let Some(fetch) = self.fetches.take(request, device) else {
            return self.count(Count::SessionAnswerUnknown);
        };
        self.timers.cancel(TimerFor::Fetch(request));
        let outcome = match answer {
            Some(SessionAnswer::Current) => Count::FetchCurrent,
            Some(SessionAnswer::Nobody) => Count::FetchNobody,
            Some(SessionAnswer::OwnerDead) => Count::FetchOwnerDead,
            Some(SessionAnswer::OwnerCannot) => Count::FetchOwnerCannot,
            Some(SessionAnswer::Busy) => Count::FetchRouterBusy,
            Some(SessionAnswer::Elsewhere) => Count::FetchElsewhere,
            Some(SessionAnswer::TimedOut) => Count::FetchOwnerSilent,
            Some(SessionAnswer::Undecided) => Count::FetchUndecided,
            None => Count::FetchUnreachable,
        };
        self.end_fetch(now, device.clone(), fetch, outcome);
    }

    /// A session has come from another gateway.
    pub(super) fn session_arrived(&mut self, now: Now, arrival: SessionArrival) {
        let SessionArrival { device, request, body } = arrival;
        let carried = Carried::decode(now.boot, body);
        let earlier = self.fetches.earlier(request, &device);
        if let (Some(began), Ok(carried)) = (earlier, &carried) {
            return self.earlier_arrived(now, device, began, carried);
        }
        let (fetch, carried) = match (self.fetches.take(request, &device), carried) {
            (Some(fetch), Ok(carried)) => (fetch, carried),
            (fetch, carried) => return self.session_unusable(now, device, fetch, carried),
        };
        self.timers.cancel(TimerFor::Fetch(fetch.request));
        let Fetch { began, waiting, .. } = fetch;
        let waiting = match waiting {
            Some((id, connect)) => self.may_still_connect(now, id, connect),
            None => None,
        };
        let outcome = if waiting.is_some() { Count::FetchMoved } else { Count::FetchKept };
        match (self.take_in(now, &device, &carried), waiting) {
            (Some(key), Some((id, connect))) => {
                self.fetched(&device, outcome, now, began);
                self.accept(now, id, &connect, key, true);
            }
            (Some(key), None) => {
                self.fetched(&device, outcome, now, began);
                self.keep_away(now, key, began, carried.expiry);
            }
            // It is refused for the same reason.
            (None, Some((id, connect))) => self.answer_connect(now, id, &connect, device),
            (None, None) => {}
        }
    }

    /// What the CONNECT before this one had asked for has come. Its device may have had another session elsewhere since, so the router is
    /// told that it is here, and asked anew.
    fn earlier_arrived(&mut self, now: Now, device: Device, earlier: BootTime, carried: &Carried) {
        let Some(Fetch { request, began, waiting, .. }) = self.fetches.remove(&device) else { return };
        self.timers.cancel(TimerFor::Fetch(request));
        if let Some(key) = self.take_in(now, &device, carried) {
            self.fetched(&device, Count::FetchKept, now, earlier);
            self.keep_away(now, key, earlier, carried.expiry);
        }
        if let Some((id, connect)) = waiting {
            self.fetch(began, id, *connect, device, None);
        }
    }

    /// Puts what came in the place of a copy that is here; `None` if there are as many sessions as may be.
    fn take_in(&mut self, now: Now, device: &Device, carried: &Carried) -> Option<SessionKey> {
        if let Some(&key) = self.by_device.get(device) {
            self.cancel_will(key, Count::WillMoved);
        }
        self.forsake_copy(now, device);
        if self.sessions.len() >= self.config.limits.sessions_max {
            self.count(Count::FetchSessionsFull);
            self.counters.add_many(Count::DroppedLate, carried.messages() as u64);
            return None;
        }
        let key = self.new_session(now, device.clone());
        self.fill(key, carried);
        Some(key)
    }

    /// Nobody waits for what came, or it can't be read.
    fn session_unusable(
        &mut self,
        now: Now,
        device: Device,
        fetch: Option<Fetch>,
        carried: Result<Carried, CarriedError>,
    ) {
        match &carried {
            Ok(carried) => {
                self.count(Count::FetchLate);
                self.counters.add_many(Count::DroppedLate, carried.messages() as u64);
            }
            Err(error) => {
                let notice = Notice::SessionUnreadable { device: device.clone(), why: error.to_string() };
                self.outputs.push_back(Output::Notice(Box::new(notice)));
            }
        }
        if let Some(fetch) = fetch {
            self.timers.cancel(TimerFor::Fetch(fetch.request));
            self.end_fetch(now, device, fetch, Count::FetchUnreadable);
        }
    }

    /// Accepts who waits with what is here: a copy that may be stale is not, unless the router has said that it is the newest.
    fn end_fetch(&mut self, now: Now, device: Device, fetch: Fetch, outcome: Count) {
        let Fetch { began, waiting, .. } = fetch;
        let Some((id, connect)) = waiting else { return self.fetched(&device, Count::FetchLeft, now, began) };
        self.fetched(&device, outcome, now, began);
        if outcome != Count::FetchCurrent {
            self.forsake_copy(now, &device);
        }
        if let Some((id, connect)) = self.may_still_connect(now, id, connect) {
            self.answer_connect(now, id, &connect, device);
        }
    }

    /// The wait is over; meanwhile the gateway may have begun to go away, or its spool may be full.
    fn may_still_connect(
        &mut self,
        now: Now,
        id: ConnectionId,
        connect: Box<Connect>,
    ) -> Option<(ConnectionId, Box<Connect>)> {
        self.stop_waiting(id);
        match self.check_connect(&connect) {
            Ok(()) => Some((id, connect)),
            Err(refused) => {
                self.refuse(now, id, &connect, refused);
                None
            }
        }
    }

    fn stop_waiting(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.fetches = None;
        }
        self.read_on(id);
    }

    fn fetched(&mut self, device: &Device, outcome: Count, now: Now, began: BootTime) {
        self.count(outcome);
        let took = Some(now.boot.since(began));
        let notice = Notice::SessionFetched { device: device.clone(), outcome, took };
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    /// The copy that is here may be stale, and nobody says that it is not.
    fn forsake_copy(&mut self, now: Now, device: &Device) {
        let is_away = |key: &&SessionKey| self.sessions.get(key).is_some_and(|s| s.connection.is_none());
        if let Some(&key) = self.by_device.get(device).filter(is_away) {
            self.forsake(now, key, Count::SessionStale);
        }
    }

    /// Puts what came into a session that is empty, within this gateway's own bounds.
    fn fill(&mut self, key: SessionKey, carried: &Carried) {
        for (filter, subscription) in carried.subscriptions.iter().take(self.config.limits.subscriptions_max)
        {
            self.insert(key, filter, *subscription);
        }
        let shares: BTreeMap<usize, Share> =
            carried.shares.iter().filter_map(|share| self.share_here(key, carried, share)).collect();
        let here =
            |copy: &LocalCopy, at: usize| LocalCopy { share: shares.get(&at).copied(), ..copy.clone() };
        let limits = &self.config.limits;
        let Some(session) = self.sessions.touch(&key) else { return };
        let before = session.outbox.depth();
        for (at, (packet_id, copy)) in carried.inflight.iter().enumerate() {
            session.outbox.push_inflight(*packet_id, here(copy, at));
        }
        carried.released.iter().for_each(|packet_id| session.outbox.push_released(*packet_id));
        // All of them: one that were forgotten would let a repeat through.
        for (packet_id, reason) in &carried.received {
            session.received.take_over(*packet_id, *reason);
        }
        let mut dropped = 0;
        for (copy, at) in carried.queue.iter().zip(carried.inflight.len()..) {
            let bytes = copy.message.bytes();
            if session.outbox.is_full_for(bytes, limits.queue()) {
                dropped += 1;
            } else {
                session.outbox.push(here(copy, at));
            }
        }
        self.depth.changed(before, session.outbox.depth());
        self.counters.add_many(Count::DroppedQueueFull, dropped);
    }

    /// A message that came through a group elsewhere is from now on as if it had come through the same here.
    fn share_here(&self, key: SessionKey, carried: &Carried, share: &CarriedShare) -> Option<(usize, Share)> {
        match &carried.subscriptions.get(share.subscription)?.0 {
            Filter::Own(_) => None,
            Filter::Shared(filter) => {
                let group = self.groups.find(key, filter)?;
                Some((share.message, Share { group, published: share.published }))
            }
        }
    }

    /// The device has left before its session came: it is kept as if it had been here, which is what the router is told. Whether it has
    /// been elsewhere since is asked when it comes.
    fn keep_away(&mut self, now: Now, key: SessionKey, began: BootTime, expiry: Duration) {
        let id = self.config.placement.session(self.next_session);
        self.next_session += 1;
        let expiry = expiry.min(self.config.limits.session_expiry_max);
        let Some(session) = self.sessions.touch(&key) else { return };
        let at = now.boot + expiry;
        session.renumber(id, began);
        session.expiry = expiry;
        session.left_in = Turn::NEVER;
        session.expires_at = Some(at);
        let (present, device) = (session.present(), session.device.clone());
        self.timers.set(TimerFor::Session(key), at);
        self.tell_link(FromShard::Sighting(Sighting::Accepted(present)));
        self.tell_link(FromShard::Sighting(Sighting::Gone { device, session: id }));
    }
}
