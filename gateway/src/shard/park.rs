//! Publishes that have to wait: for a subscriber with a full queue, for a group of such, for the uplink, for the spool, or for the store. Each holder of
//! others lets one of them try at a time, and the next when that one is done; so those that wait are served in turn, and none is forgotten.

use std::collections::VecDeque;
use std::sync::Arc;

use roost_wire::{Device, Now};

use super::connection::HeldBy;
use super::routes::Route;
use super::{Shard, Todo};
use crate::message::Message;
use crate::packet::ReasonCode;
use crate::{ConnectionId, Count};

/// Where in the line to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It tried, and there was not enough room for it yet.
    First,
    /// Behind everybody.
    Last,
}

impl Shard {
    /// Routes the first parked publish of a connection if nothing holds it up any more; then it is others' turn.
    pub(super) fn route_parked(&mut self, now: Now, id: ConnectionId) {
        let is_draining = self.is_draining();
        let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) else {
            return self.route_guest(now, id);
        };
        if is_draining {
            // It stays unacknowledged: the client publishes it again elsewhere.
            return;
        }
        let woken_by = client.woken_by.take();
        let first = client.parked.front().filter(|_| client.waits_for.is_none());
        if let Some(message) = first.map(|first| Arc::clone(&first.message)) {
            let route = self.route_of(&message.topic);
            let goes_on = self.try_parked(now, id, woken_by, &message, &route);
            self.routes.put(route);
            if !goes_on {
                return;
            }
        }
        if let Some(holder) = woken_by {
            self.wake_next(holder);
        }
    }

    /// Routes the first parked publish, or has it wait on; false if whoever woke it has nobody else to wake.
    fn try_parked(
        &mut self,
        now: Now,
        id: ConnectionId,
        woken_by: Option<HeldBy>,
        message: &Message,
        route: &Route,
    ) -> bool {
        // What is refused goes as well, with another answer.
        let refusal = self.refusal_for_room(id, message, route);
        let held_by = self.who_holds_up(id, message, route).filter(|_| refusal.is_none());
        let Some(held_by) = held_by else {
            self.unpark(now, id, refusal, route);
            return true;
        };
        let place = if woken_by == Some(held_by) { Place::First } else { Place::Last };
        self.wait_for(now, id, held_by, place);
        place == Place::Last
    }

    fn unpark(&mut self, now: Now, id: ConnectionId, refusal: Option<(Count, ReasonCode)>, route: &Route) {
        let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) else {
            return;
        };
        let Some(publish) = client.parked.pop_front() else { return };
        let bytes = publish.message.bytes();
        client.parked_bytes -= bytes;
        self.parked_bytes -= bytes;
        if client.parked.is_empty() {
            client.parked = VecDeque::new();
        } else {
            self.todo.push_back(Todo::Route(id));
        }
        match refusal {
            Some((why, reason)) => {
                self.refused_publish(id, why);
                self.acknowledge(now, publish.publisher, reason);
            }
            None => self.route(now, id, publish, route),
        }
        self.read_on(id);
    }

    pub(super) fn wait_for(&mut self, now: Now, id: ConnectionId, held_by: HeldBy, place: Place) {
        if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
            client.waits_for = Some(held_by);
        } else if !self.crossings.guest_waits_for(id, held_by) {
            return;
        }
        if let (HeldBy::Group(group), Place::Last) = (held_by, place)
            && !self.groups.is_waited_for(group)
        {
            self.watch_group(now, group);
        }
        let line = match held_by {
            HeldBy::Uplink => Some(&mut self.uplink_line),
            HeldBy::Spool => Some(&mut self.spooling.line),
            HeldBy::Store => Some(&mut self.storing.line),
            HeldBy::Subscriber(key) => self.sessions.touch(&key).map(|session| &mut session.holds_up),
            HeldBy::Group(group) => self.groups.waiting(group),
            HeldBy::Shard(shard) => self.crossings.waiting(shard),
            // Nobody else waits for it: there is no line.
            HeldBy::Refusal => None,
        };
        match (line, place) {
            (None, _) => {}
            (Some(line), Place::First) => line.push_front(id),
            (Some(line), Place::Last) => line.push_back(id),
        }
        if let HeldBy::Subscriber(key) = held_by {
            self.watch_stall(now, key);
        }
        match (held_by, place) {
            // It has been counted.
            (_, Place::First) => {}
            (HeldBy::Uplink, Place::Last) => self.count(Count::ParkedUplink),
            (HeldBy::Spool, Place::Last) => self.count(Count::ParkedSpool),
            (HeldBy::Store, Place::Last) => self.count(Count::ParkedStore),
            (HeldBy::Refusal, Place::Last) => self.count(Count::ParkedRefusal),
            (HeldBy::Subscriber(_), Place::Last) => self.count(Count::ParkedSubscriber),
            (HeldBy::Group(_), Place::Last) => self.count(Count::ParkedGroup),
            (HeldBy::Shard(_), Place::Last) => self.count(Count::ParkedShard),
        }
    }

    /// If there is room, lets the next of those that wait for it try.
    pub(super) fn wake_next(&mut self, holder: HeldBy) {
        let next = match holder {
            HeldBy::Uplink if self.uplink.has_room(roost_wire::Qos::AtLeastOnce) => {
                self.uplink_line.pop_front()
            }
            HeldBy::Spool if self.spool_has_room() => self.spooling.line.pop_front(),
            HeldBy::Store if self.storing.holds_up().is_none() => self.storing.line.pop_front(),
            HeldBy::Shard(shard) if self.crossings.takes(shard) => {
                self.crossings.waiting(shard).and_then(VecDeque::pop_front)
            }
            HeldBy::Uplink | HeldBy::Spool | HeldBy::Store | HeldBy::Shard(_) | HeldBy::Refusal => None,
            HeldBy::Subscriber(key) => {
                let may_try = self.sessions.get(&key).is_some_and(|session| self.takes_another(session, 0));
                self.sessions.touch(&key).filter(|_| may_try).and_then(|s| s.holds_up.pop_front())
            }
            HeldBy::Group(group) if self.groups.is_waited_for(group) && self.group_has_room(group) => {
                self.groups.waiting(group).and_then(VecDeque::pop_front)
            }
            HeldBy::Group(_) => None,
        };
        match (next, holder) {
            (Some(id), _) => self.wake(id, Some(holder)),
            (None, HeldBy::Group(group)) => self.has_room_again(group),
            (None, _) => {}
        }
    }

    /// Lets the client's first parked publish have another try.
    pub(super) fn wake(&mut self, id: ConnectionId, by: Option<HeldBy>) {
        if let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) {
            client.waits_for = None;
            client.woken_by = by;
        } else if !self.crossings.wake_guest(id, by) {
            return;
        }
        self.todo.push_back(Todo::Route(id));
    }

    /// No event of a device is tried again any more: what its client has published meanwhile goes on.
    pub(super) fn wake_held_by_refusal(&mut self, device: &Device) {
        let session = self.by_device.get(device).and_then(|key| self.sessions.get(key));
        let Some(id) = session.and_then(|session| session.connection) else { return };
        let client = self.connections.get(&id).and_then(|c| c.client.as_deref());
        if client.is_some_and(|client| client.waits_for == Some(HeldBy::Refusal)) {
            self.wake(id, None);
        }
    }

    /// A connection that waited closes.
    pub(super) fn no_longer_waits(&mut self, id: ConnectionId, held_by: HeldBy) {
        match held_by {
            HeldBy::Uplink => self.uplink_line.retain(|waiting| *waiting != id),
            HeldBy::Spool => self.spooling.line.retain(|waiting| *waiting != id),
            HeldBy::Store => self.storing.line.retain(|waiting| *waiting != id),
            HeldBy::Shard(shard) => {
                if let Some(waiting) = self.crossings.waiting(shard) {
                    waiting.retain(|waiting| *waiting != id);
                }
            }
            HeldBy::Refusal => {}
            HeldBy::Subscriber(key) => {
                if let Some(session) = self.sessions.touch(&key) {
                    session.holds_up.retain(|waiting| *waiting != id);
                }
                // It may have been the one that there was not enough room for.
                self.wake_next(held_by);
            }
            HeldBy::Group(group) => {
                if let Some(waiting) = self.groups.waiting(group) {
                    waiting.retain(|waiting| *waiting != id);
                }
                self.wake_next(held_by);
            }
        }
    }
}
