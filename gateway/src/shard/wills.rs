//! Wills: kept with a connection, published when it ends without its client's goodbye [MQTT-3.1.2-8].
//!
//! ```text
//! CONNECT ─► with the connection ─┬─ DISCONNECT 0x00 ───────────────────────► discarded
//!                                 └─ any other end ─► with the session ─┬───► resumed in time: discarded
//!                                                                       └───► delay over, or session over ─► in line ─► published
//! ```
//! A will at QoS 1 waits in line as a publish does: for a subscriber that is connected and full, for the uplink, for the spool. All wills
//! together, wherever they are, have so many bytes as they may: one that would be too much is not taken in with its CONNECT.

use std::collections::VecDeque;
use std::sync::Arc;

use roost_wire::{Device, Now, Qos};

use super::connection::HeldBy;
use super::crossing::{ToCross, Told};
use super::publish::Parts;
use super::routes::{Carriage, Route};
use super::{Shard, TimerFor};
use crate::packet::QoS;
use crate::session::{DueWill, PendingWill, SessionKey, Will};
use crate::{ConnectionId, Count, WillOnTakeover};

/// The wills of a shard. Those that wait for their time are with their connections and sessions.
#[derive(Debug, Default)]
pub(super) struct Wills {
    /// Those whose time has come, the oldest first.
    line: VecDeque<DueWill>,
    /// For whom the first of them waits.
    held_by: Option<HeldBy>,
    len: usize,
    bytes: usize,
}

impl Wills {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes they have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn keep(&mut self, will: &Will) {
        self.len += 1;
        self.bytes += will.bytes();
    }

    fn release(&mut self, bytes: usize) {
        self.len -= 1;
        self.bytes -= bytes;
    }

    /// Whether the first of those whose time has come waits for that one.
    pub(super) fn wait_for(&self, holder: HeldBy) -> bool {
        self.held_by == Some(holder)
    }

    /// Whether none waits to be published.
    pub(super) fn none_waits(&self) -> bool {
        self.line.is_empty()
    }
}

impl Shard {
    /// The client has said goodbye [MQTT-3.14.4-3].
    pub(super) fn discard_will(&mut self, id: ConnectionId) {
        let client = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut());
        if let Some(will) = client.and_then(|client| client.will.take()) {
            self.end_will(&will, Count::WillDiscarded);
        }
    }

    /// The connection has ended without a goodbye: its will is its session's now.
    pub(super) fn leave_will(&mut self, now: Now, key: SessionKey, will: Box<Will>, why: Option<Count>) {
        let is_elsewhere = why == Some(Count::ClosedElsewhere);
        if is_elsewhere && self.config.limits.will_on_takeover == WillOnTakeover::Discard {
            return self.end_will(&will, Count::WillElsewhere);
        }
        if let Some(session) = self.sessions.touch(&key) {
            let due_at = now.boot + will.delay;
            session.will = Some(PendingWill { will, due_at });
        }
    }

    /// The session goes on without its client: its will is published after its delay.
    pub(super) fn delay_will(&mut self, now: Now, key: SessionKey) {
        let due_at = self.sessions.get(&key).and_then(|session| session.will.as_ref()).map(|it| it.due_at);
        match due_at {
            Some(at) if at > now.boot => self.timers.set(TimerFor::Will(key), at),
            Some(_) => self.session_will_due(key),
            None => {}
        }
    }

    /// A will's delay is over, unless its client is about to resume the session: it waits for the router's word.
    pub(super) fn will_due(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.sessions.get(&key) else { return };
        let Some(pending) = &session.will else { return };
        let at = match self.fetches.has_waiting(&session.device) {
            true => now.boot + self.config.limits.session_transfer,
            false => pending.due_at,
        };
        match at > now.boot {
            true => self.timers.set(TimerFor::Will(key), at),
            false => self.session_will_due(key),
        }
    }

    /// The session goes on before the delay was over, here or elsewhere [MQTT-3.1.3-9].
    pub(super) fn cancel_will(&mut self, key: SessionKey, count: Count) {
        let pending = self.sessions.touch(&key).and_then(|session| session.will.take());
        if let Some(PendingWill { will, .. }) = pending {
            self.timers.cancel(TimerFor::Will(key));
            self.end_will(&will, count);
        }
    }

    /// A session has ended, and its will is due with it, unless its client goes on elsewhere.
    pub(super) fn session_with_will_ended(
        &mut self,
        key: SessionKey,
        device: Device,
        pending: PendingWill,
        why: Count,
    ) {
        self.timers.cancel(TimerFor::Will(key));
        let is_discarded = self.config.limits.will_on_takeover == WillOnTakeover::Discard;
        match why {
            Count::SessionMoved => self.end_will(&pending.will, Count::WillMoved),
            Count::SessionElsewhere if is_discarded => self.end_will(&pending.will, Count::WillElsewhere),
            _ => self.wills.line.push_back(pending.will.due(self.now, device)),
        }
    }

    fn session_will_due(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.touch(&key) else { return };
        let Some(PendingWill { will, .. }) = session.will.take() else { return };
        let device = session.device.clone();
        self.timers.cancel(TimerFor::Will(key));
        self.wills.line.push_back(will.due(self.now, device));
    }

    fn end_will(&mut self, will: &Will, count: Count) {
        self.wills.release(will.bytes());
        self.count(count);
    }

    /// Publishes those whose time has come, as far as nothing holds them up.
    pub(super) fn publish_wills(&mut self, now: Now) {
        while let Some(first) = self.wills.line.front() {
            let is_expired = first.message.is_expired(now.boot);
            let message = Arc::clone(&first.message);
            let route = self.route_of(&message.topic);
            let first = self.wills.line.front().filter(|_| !is_expired);
            let held_by = first.and_then(|first| self.who_holds_up_will(first, &route));
            self.wills_wait_for(now, held_by);
            if held_by.is_none()
                && let Some(due) = self.wills.line.pop_front()
            {
                self.wills.release(due.bytes);
                match is_expired {
                    true => self.count(Count::WillExpired),
                    false => self.publish_will(now, due, &route),
                }
            }
            self.routes.put(route);
            if held_by.is_some() {
                return;
            }
        }
        // A burst leaves no buffer behind.
        self.wills.line = VecDeque::new();
    }

    /// As for a client's publish, but for the events of its device that the backend refused: it would hold up all others for them.
    fn who_holds_up_will(&self, will: &DueWill, route: &Route) -> Option<HeldBy> {
        let DueWill { device, message, qos, .. } = will;
        if *qos == QoS::AtMostOnce {
            return None;
        }
        let publisher = self.by_device.get(device).copied();
        let holder = self.full_locally(publisher, message, route);
        if let Some(holder) = holder.or_else(|| self.busy_shard_for_will(message, route)) {
            return Some(holder);
        }
        if self.spooling.takes(self.carriage(Some(device), route)?.acknowledge) {
            return (!self.spool_has_room()).then_some(HeldBy::Spool);
        }
        (!self.uplink.has_room(Qos::AtLeastOnce)).then_some(HeldBy::Uplink)
    }

    fn wills_wait_for(&mut self, now: Now, held_by: Option<HeldBy>) {
        let before = std::mem::replace(&mut self.wills.held_by, held_by);
        if before == held_by {
            return;
        }
        self.watch_holders(now, before, held_by);
        match held_by {
            None | Some(HeldBy::Refusal) => {}
            Some(HeldBy::Subscriber(_)) => self.count(Count::ParkedSubscriber),
            Some(HeldBy::Group(_)) => self.count(Count::ParkedGroup),
            Some(HeldBy::Uplink) => self.count(Count::ParkedUplink),
            Some(HeldBy::Spool) => self.count(Count::ParkedSpool),
            Some(HeldBy::Store) => self.count(Count::ParkedStore),
            Some(HeldBy::Shard(_)) => self.count(Count::ParkedShard),
        }
    }

    /// Publishes it as if its device did.
    fn publish_will(&mut self, now: Now, will: DueWill, route: &Route) {
        let DueWill { device, message, qos, .. } = will;
        self.count(Count::WillPublished);
        let retained = match message.retain {
            true => self.retain_here(now, &device, &message, qos).unwrap_or_else(|(why, retained)| {
                self.retain_nothing(&message, why);
                retained
            }),
            false => None,
        };
        let publisher = self.by_device.get(&device).copied();
        let had_locally = self.deliver_locally(now, publisher, &message, qos, route);
        let carriage = self.carriage(Some(&device), route);
        let crossing = ToCross {
            told: Told::Nobody,
            line: self.wills_line(),
            message: &message,
            qos,
            may_refuse: false,
            retained,
            had: had_locally,
            is_event: false,
            counts_unwanted: carriage.is_none() && !message.retain,
        };
        let crosses = self.cross(crossing, self.crosses_to(&message, route)).is_some();
        let Some(Carriage { exchange, acknowledge, order }) = carriage else {
            let is_unwanted = !had_locally && !crosses && !message.retain;
            self.counters.add_many(Count::PublishUnwanted, u64::from(is_unwanted));
            return;
        };
        let (qos, is_spooled) = match qos {
            QoS::AtMostOnce => (Qos::AtMostOnce, false),
            QoS::AtLeastOnce => (Qos::AtLeastOnce, self.spooling.takes(*acknowledge)),
            QoS::ExactlyOnce => (Qos::ExactlyOnce, self.spooling.takes(*acknowledge)),
        };
        if let Some(why) = self.drops_event(qos) {
            return self.count(why);
        }
        let parts = Parts { device, message, qos, dup: false, read_at: now.boot };
        let Some((event, trace)) = self.event(now, parts) else { return };
        if is_spooled {
            return self.spool((event, trace), (exchange.to_string(), *order), None);
        }
        let publication = self.uplink.publish(event, exchange, None, trace);
        self.publish_to_backend(publication);
    }

    /// The sessions that are left end with the gateway, and so do the delays of their wills.
    pub(super) fn end_delays(&mut self) {
        let has_will = self.sessions.iter().filter(|(_, session)| session.will.is_some());
        let mut keys: Vec<SessionKey> = has_will.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            self.session_will_due(key);
        }
    }

    /// The time of the gateway is over: what was not published is cut.
    pub(super) fn cut_wills(&mut self) {
        for due in std::mem::take(&mut self.wills.line) {
            self.wills.release(due.bytes);
            self.count(Count::WillDraining);
        }
    }
}
