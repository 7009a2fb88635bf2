//! Local subscribers get what clients publish.

use std::sync::Arc;

use roost_wire::{BootTime, Now};

use super::Shard;
use super::connection::{Connection, HeldBy};
use super::routes::Route;
use crate::message::Message;
use crate::packet::{Delivery, QoS};
use crate::session::{LocalCopy, Session, SessionKey};
use crate::{Count, WhenAwayFull};

impl Shard {
    /// Who of those that the message goes to here at QoS 1 or 2 is connected and has no room for it; or the store, if nobody can say.
    pub(super) fn full_locally(
        &self,
        publisher: Option<SessionKey>,
        message: &Message,
        route: &Route,
    ) -> Option<HeldBy> {
        if let Some(holder) = self.storing.holds_up() {
            return Some(holder);
        }
        let bytes = message.bytes();
        let full = self.find_subscriber(publisher, route, |session| self.is_full_for(session, bytes));
        full.map(HeldBy::Subscriber).or_else(|| self.full_group(message, route).map(HeldBy::Group))
    }

    /// Whether the message is for a session that is away and has no room for it, and its publisher is to be told so.
    pub(super) fn is_refused_for_one_away(
        &self,
        publisher: Option<SessionKey>,
        message: &Message,
        route: &Route,
    ) -> bool {
        let (bytes, bounds) = (message.bytes(), self.config.limits.queue());
        let is_full =
            |session: &Session| session.connection.is_none() && session.outbox.is_full_for(bytes, bounds);
        self.config.limits.when_away_full == WhenAwayFull::Refuse
            && (self.find_subscriber(publisher, route, is_full).is_some()
                || self.is_for_full_group_away(message, route))
    }

    /// One of the sessions that are to get a message at QoS 1 or 2.
    fn find_subscriber(
        &self,
        publisher: Option<SessionKey>,
        route: &Route,
        is_it: impl Fn(&Session) -> bool,
    ) -> Option<SessionKey> {
        let mut wanted = route.matches(publisher).filter(|found| found.qos != QoS::AtMostOnce);
        wanted.find(|found| self.sessions.get(&found.key).is_some_and(&is_it)).map(|found| found.key)
    }

    /// Whether a session is connected and has no place for a message of that size.
    pub(super) fn is_full_for(&self, session: &Session, bytes: usize) -> bool {
        session.connection.is_some() && !self.takes_another(session, bytes)
    }

    /// Whether a message may be put behind those that wait for a connected session: within its bounds, or beyond them if it is stalled, so
    /// that nobody waits for it. One that was stalled and acknowledges again keeps that room until it needs it no more: waiting until it is
    /// within its bounds could take as long as it likes.
    pub(super) fn takes_another(&self, session: &Session, bytes: usize) -> bool {
        let limits = &self.config.limits;
        let bounds = limits.queue();
        let fits = |factor: usize| !session.outbox.is_full_for(bytes, bounds.times(factor));
        fits(1)
            || (self.depth.queued_bytes < limits.queued_bytes_total_max
                && fits(limits.stalled_queue_factor)
                && (session.outbox.is_over(bounds) || self.is_stalled(session)))
    }

    fn is_stalled(&self, session: &Session) -> bool {
        self.silent_since(session).is_some_and(|since| since + self.config.limits.stalled_after <= self.now)
    }

    /// Since when a session's client has acknowledged nothing although it could, or its socket has taken nothing that comes before.
    pub(super) fn silent_since(&self, session: &Session) -> Option<BootTime> {
        if session.unacknowledged() > 0 {
            return Some(session.moved_at);
        }
        let connection = session.connection.and_then(|id| self.connections.get(&id));
        connection.and_then(|connection| connection.outgoing.stuck_since())
    }

    /// Gives the message to every session that subscribes to it, once each [MQTT-3.3.4-2], and to one of each group that shares it; tells
    /// whether any took it.
    pub(super) fn deliver_locally(
        &mut self,
        now: Now,
        publisher: Option<SessionKey>,
        message: &Arc<Message>,
        qos: QoS,
        route: &Route,
    ) -> bool {
        let mut was_taken = false;
        for found in route.matches(publisher) {
            let copy = found.copy(message, qos);
            was_taken |= match copy.qos {
                QoS::AtMostOnce => self.deliver_at_most_once(now, found.key, &copy),
                QoS::AtLeastOnce | QoS::ExactlyOnce => self.deliver_acknowledged(now, found.key, copy),
            };
        }
        // A session may have it once by itself, and once as the member of each of its groups (MQTT5 §4.8.2).
        for group in &route.groups {
            was_taken |= self.share(now, *group, message, qos);
        }
        was_taken
    }

    /// Gives a message that the gateway itself publishes, at QoS 0, to those who subscribe to it and are connected.
    pub(super) fn deliver_to_the_present(&mut self, now: Now, message: &Arc<Message>) {
        let route = self.route_of(&message.topic);
        for found in route.matches(None) {
            if self.sessions.get(&found.key).is_some_and(|session| session.connection.is_some()) {
                self.deliver_at_most_once(now, found.key, &found.copy(message, QoS::AtMostOnce));
            }
        }
        self.routes.put(route);
    }

    pub(super) fn deliver_at_most_once(&mut self, now: Now, key: SessionKey, copy: &LocalCopy) -> bool {
        let Some(id) = self.sessions.get(&key).and_then(|session| session.connection) else {
            self.count(Count::DroppedOffline);
            return false;
        };
        if !self.has_room(id, key, false) {
            self.count(Count::DroppedConnectionFull);
            return false;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let Connection { outgoing, client: Some(client), .. } = &mut **connection else { return false };
        let message = &copy.message;
        let publish = message.to_publish(now.boot, Delivery::AtMostOnce, copy.retain, &copy.subscription_ids);
        let was_written = outgoing.publish(&mut self.buffers, now.boot, client, &publish);
        if was_written {
            self.counters.written(QoS::AtMostOnce, message.payload.len());
        }
        self.count(if was_written { Count::LocalDelivered } else { Count::DroppedTooLarge });
        self.has_output(id);
        was_written
    }

    fn deliver_acknowledged(&mut self, now: Now, key: SessionKey, copy: LocalCopy) -> bool {
        let Some(session) = self.sessions.get(&key) else { return false };
        let has_place = match session.connection {
            // One that is full was found before the publish was routed.
            Some(_) => self.takes_another(session, copy.message.bytes()),
            None => self.make_place(key, copy.message.bytes()),
        };
        if !has_place {
            self.count(Count::DroppedQueueFull);
            return false;
        }
        self.enqueue(now, key, copy)
    }

    /// Puts a copy that there is room for into a session's queue, and writes it if its client has room too.
    pub(super) fn enqueue(&mut self, now: Now, key: SessionKey, copy: LocalCopy) -> bool {
        let bounds = self.config.limits.queue();
        let is_over = |session: &Session| session.outbox.is_over(bounds);
        let Some(session) = self.sessions.touch(&key) else { return false };
        let (before, was_over) = (session.outbox.depth(), is_over(session));
        session.outbox.push(copy);
        self.depth.changed(before, session.outbox.depth());
        let (connection, is_over_now) = (session.connection, is_over(session) && !was_over);
        if is_over_now && self.sessions.get(&key).is_some_and(|session| self.is_stalled(session)) {
            self.counters.add(Count::SubscriberStalled);
        }
        if let Some(id) = connection {
            self.pump(now, id);
        }
        true
    }

    /// Whether a session that is away has room for a message, or is made to have it.
    pub(super) fn make_place(&mut self, key: SessionKey, bytes: usize) -> bool {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.touch(&key) else { return false };
        let is_full = |session: &Session| session.outbox.is_full_for(bytes, limits.queue());
        match limits.when_away_full {
            WhenAwayFull::DropNewest | WhenAwayFull::Refuse => !is_full(session),
            WhenAwayFull::DropOldest => {
                let before = session.outbox.depth();
                while is_full(session) && session.outbox.drop_oldest() {
                    self.counters.add(Count::DroppedQueueFull);
                }
                self.depth.changed(before, session.outbox.depth());
                true
            }
        }
    }
}
