//! What is shared goes to one member of each group: the next in turn of those with room. What a member leaves behind goes to another.
//!
//! ```text
//!  a message ──► a member whose client takes it at once ──► a connected one with room in its queue ──► if all are stalled, one of
//!                them, beyond its bounds ──► one that is away, if no connected one takes messages at QoS 1 or 2; else its publisher
//!                waits until a member has room
//!
//!  a member's connection ends ──► what waits, and what is in flight at QoS 1, goes to connected members; the rest stays with the session
//!  its session ends           ──► ... to any member, but not what was sent at QoS 2 [MQTT-4.8.2-5]: that is dropped, and counted
//!  it unsubscribes            ──► what waits goes to connected members; the rest is still the client's [MQTT-3.10.4-3]
//!  it refuses a message       ──► that is dropped [MQTT-4.8.2-6]
//! ```
//! What is given on may fill a queue beyond its bounds, as far as that of a stalled client, and at least to twice: it was taken in before, so
//! nobody can be made to wait for its place. While a queue is that full its member is passed over, and if all are publishers wait. Where
//! that does not suffice it stays where it is, or is dropped and counted with the session that ends.

use std::sync::Arc;

use roost_wire::Now;

use super::close::Farewell;
use super::connection::HeldBy;
use super::routes::Route;
use super::{Shard, TimerFor};
use crate::message::Message;
use crate::packet::{QoS, ReasonCode};
use crate::session::{LocalCopy, SessionKey, SharedCopy};
use crate::share::{GroupKey, Member, Share};
use crate::{ConnectionId, Count, WhenAwayFull};

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Its connection has ended, and its session is kept.
    Away,
    /// Its session ends; it is in no group any more.
    Ended,
    /// It is not in this group any more.
    Unsubscribed(GroupKey),
}

/// Where a member is to have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// In its client's window, with nothing before it.
    AtOnce,
    /// In its queue.
    Queue,
    /// Beyond its queue's bounds.
    Overflow,
    /// Whatever its queue holds: the oldest that waits there goes for it.
    Made,
}

/// Which member is looked for, and where it is to have room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Connected(Room),
    Away(Room),
}

/// In that order. The third is for who has filled the queue with other copies of the same message, as a member of several groups.
const FOR_NEW: &[Candidate] = &[
    Candidate::Connected(Room::AtOnce),
    Candidate::Connected(Room::Queue),
    Candidate::Connected(Room::Overflow),
    Candidate::Away(Room::Queue),
];
const FOR_NEW_AND_CONNECTED: &[Candidate] = &[
    Candidate::Connected(Room::AtOnce),
    Candidate::Connected(Room::Queue),
    Candidate::Connected(Room::Overflow),
];
const FOR_NEW_BEFORE_OLD: &[Candidate] = &[Candidate::Away(Room::Made)];
const FOR_WHAT_MAY_STAY: &[Candidate] = &[
    Candidate::Connected(Room::AtOnce),
    Candidate::Connected(Room::Queue),
    Candidate::Connected(Room::Overflow),
];
const FOR_WHAT_MUST_GO: &[Candidate] = &[
    Candidate::Connected(Room::AtOnce),
    Candidate::Connected(Room::Queue),
    Candidate::Connected(Room::Overflow),
    Candidate::Away(Room::Queue),
    Candidate::Away(Room::Overflow),
];

impl Shard {
    // --- a message

    /// A group that the message goes to at QoS 1 or 2, and whose connected members are all full.
    pub(super) fn full_group(&self, message: &Message, route: &Route) -> Option<GroupKey> {
        let bytes = message.bytes();
        route.groups.iter().copied().find(|group| self.is_group_full(*group, bytes))
    }

    /// Whether publishers are to wait for the group: no connected member has room, and one that acknowledges may have some soon.
    pub(super) fn is_group_full(&self, key: GroupKey, bytes: usize) -> bool {
        if self.has_member_elsewhere(key, true) {
            return false;
        }
        // Then those of other shards that are connected are full.
        let mut is_full = self.has_connected_elsewhere(key);
        for member in self.groups.members(key).iter().filter(|member| member.is_connected) {
            if self.member_takes(member, bytes, QoS::AtLeastOnce, Room::Queue) {
                return false;
            }
            is_full |= member.subscription.options.qos != QoS::AtMostOnce
                && self.sessions.get(&member.session).is_some_and(|session| self.is_full_for(session, bytes));
        }
        is_full
    }

    /// Whether the message is for a group whose members are all away and have no room for it.
    pub(super) fn is_for_full_group_away(&self, message: &Message, route: &Route) -> bool {
        let bytes = message.bytes();
        let is_kept = |member: &Member| member.subscription.options.qos != QoS::AtMostOnce;
        let takes = |member: &Member| {
            is_kept(member) && self.member_takes(member, bytes, QoS::AtLeastOnce, Room::Queue)
        };
        route.groups.iter().any(|group| {
            let members = self.groups.members(*group);
            !self.has_member_elsewhere(*group, false)
                && members.iter().all(|member| !member.is_connected)
                && members.iter().any(is_kept)
                && !members.iter().any(takes)
        })
    }

    /// Gives the message to one member; tells whether any took it.
    pub(super) fn share(
        &mut self,
        now: Now,
        group: GroupKey,
        message: &Arc<Message>,
        published: QoS,
    ) -> bool {
        let share = Share { group, published };
        if self.directs(group) {
            return false;
        }
        let mut member = self.choose_member(share, message.bytes(), FOR_NEW_AND_CONNECTED);
        if member.is_none() {
            if self.directs_instead(group) {
                return false;
            }
            member = self.choose_member(share, message.bytes(), FOR_NEW);
        }
        if member.is_none() && self.directs_to_one_away(group) {
            return false;
        }
        let drops_old = self.config.limits.when_away_full == WhenAwayFull::DropOldest;
        if member.is_none() && drops_old && !self.groups.members(group).iter().any(|m| m.is_connected) {
            member = self.choose_member(share, message.bytes(), FOR_NEW_BEFORE_OLD);
            if let Some(member) = &member {
                self.make_place(member.session, message.bytes());
            }
        }
        match member {
            Some(member) => self.give_share(now, &member, message, share),
            None => {
                self.count(self.why_nobody_has_room(share));
                false
            }
        }
    }

    fn why_nobody_has_room(&self, share: Share) -> Count {
        let members = self.groups.members(share.group);
        let is_kept =
            |member: &Member| share.published.min(member.subscription.options.qos) != QoS::AtMostOnce;
        let mut connected = members.iter().filter(|member| member.is_connected);
        if connected.clone().any(is_kept) {
            Count::DroppedShareFull
        } else if connected.next().is_some() {
            Count::DroppedConnectionFull
        } else if members.iter().any(is_kept) {
            Count::DroppedQueueFull
        } else {
            Count::DroppedOffline
        }
    }

    /// The next in turn that has room, and now has had its turn.
    fn choose_member(&mut self, share: Share, bytes: usize, candidates: &[Candidate]) -> Option<Member> {
        let next = |is_connected, room| {
            self.groups.next_in_turn(share.group, |member| {
                member.is_connected == is_connected && self.member_takes(member, bytes, share.published, room)
            })
        };
        let (at, member) = candidates.iter().find_map(|candidate| match *candidate {
            Candidate::Connected(room) => next(true, room),
            Candidate::Away(room) => next(false, room),
        })?;
        self.groups.had_turn(share.group, at);
        Some(member)
    }

    fn member_takes(&self, member: &Member, bytes: usize, published: QoS, room: Room) -> bool {
        let Some(session) = self.sessions.get(&member.session) else { return false };
        if published.min(member.subscription.options.qos) == QoS::AtMostOnce {
            return session.connection.is_some_and(|id| self.has_room(id, member.session, false));
        }
        let limits = &self.config.limits;
        match room {
            Room::AtOnce => {
                !session.outbox.has_due()
                    && session.connection.is_some_and(|id| self.has_room(id, member.session, true))
            }
            Room::Queue => !session.outbox.is_full_for(bytes, limits.queue()),
            Room::Overflow => {
                let bounds = limits.queue().times(limits.stalled_queue_factor.max(2));
                !session.outbox.is_full_for(bytes, bounds)
            }
            Room::Made => true,
        }
    }

    fn give_share(&mut self, now: Now, member: &Member, message: &Arc<Message>, share: Share) -> bool {
        let Member { session, subscription, .. } = *member;
        let copy = LocalCopy {
            message: Arc::clone(message),
            qos: share.published.min(subscription.options.qos),
            retain: subscription.options.retain_as_published && message.retain,
            subscription_ids: subscription.subscription_id.into_iter().collect(),
            share: Some(share),
        };
        match copy.qos {
            QoS::AtMostOnce => self.deliver_at_most_once(now, session, &copy),
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.enqueue(now, session, copy),
        }
    }

    // --- what a member leaves behind

    /// Gives on what a member has not acknowledged, in its order, as far as others have room.
    pub(super) fn hand_on(&mut self, now: Now, key: SessionKey, leaving: Leaving) {
        // Behind the first that there is no room for it is not looked for again: it would be overtaken.
        let mut without_room: Vec<GroupKey> = Vec::new();
        let mut from = match leaving {
            Leaving::Away | Leaving::Ended => 0,
            // What is in flight is completed with its client.
            Leaving::Unsubscribed(_) => self.sessions.get(&key).map_or(0, |s| s.outbox.depth().inflight),
        };
        while let Some(found) = self.sessions.get(&key).and_then(|s| s.outbox.next_shared(from)) {
            let group = found.share.group;
            let may_go = !found.is_being_completed
                && !found.message.is_expired(now.boot)
                && leaving.leaves(group)
                && !without_room.contains(&group);
            let heir = match may_go {
                true => self.choose_member(found.share, found.message.bytes(), leaving.heirs()),
                false => None,
            };
            if heir.is_none() && may_go && self.has_heir_elsewhere(group, leaving) {
                self.take_shared(key, found.at);
                self.count(Count::ShareHandedOn);
                self.hand_on_elsewhere(&found);
                from = found.at;
                continue;
            }
            if heir.is_none() && may_go {
                without_room.push(group);
            }
            from = found.at;
            match (heir, leaving) {
                (Some(heir), _) => {
                    self.take_shared(key, found.at);
                    self.count(Count::ShareHandedOn);
                    self.give_share(now, &heir, &found.message, found.share);
                }
                (None, Leaving::Ended) => {
                    self.take_shared(key, found.at);
                    self.count(self.why_it_ends(now, &found));
                }
                (None, Leaving::Away | Leaving::Unsubscribed(_)) => from += 1,
            }
        }
        self.groups.forget_ended();
        // Of one that stays connected the queue may have room now for what it subscribes to itself.
        self.wake_next(HeldBy::Subscriber(key));
    }

    fn take_shared(&mut self, key: SessionKey, at: usize) {
        let Some(session) = self.sessions.touch(&key) else { return };
        let before = session.outbox.depth();
        session.take_shared(at);
        self.depth.changed(before, session.outbox.depth());
    }

    fn why_it_ends(&self, now: Now, found: &SharedCopy) -> Count {
        if found.is_being_completed {
            Count::DroppedShareQos2
        } else if found.message.is_expired(now.boot) {
            Count::DroppedExpired
        } else if self.groups.members(found.share.group).is_empty() {
            Count::DroppedShareAlone
        } else {
            Count::DroppedShareFull
        }
    }

    /// The session is in no group any more, and nobody waits for it there.
    pub(super) fn leave_groups(&mut self, key: SessionKey) {
        while let Some(group) = self.groups.next_of(key, None) {
            self.leave_group(key, group);
        }
    }

    pub(super) fn leave_group(&mut self, key: SessionKey, group: GroupKey) {
        let filter = self.groups.filter_of(group).cloned();
        for id in self.groups.leave(key, group) {
            self.wake(id, None);
        }
        if let Some(filter) = filter {
            self.group_changed(&filter);
        }
        if let Some(session) = self.sessions.touch(&key) {
            session.shared -= 1;
        }
        // If those that are left are away, nobody waits for them.
        self.wake_next(HeldBy::Group(group));
    }

    /// The client of a session in groups has come, or is gone.
    pub(super) fn member_is_connected(&mut self, key: SessionKey, is_connected: bool) {
        self.groups.set_connected(key, is_connected);
        self.groups_of_changed(key);
        self.wake_for_groups_of(key);
    }

    // --- who waits

    /// Whether a publisher that waits for the group may try.
    pub(super) fn group_has_room(&self, key: GroupKey) -> bool {
        !self.is_group_full(key, 0)
    }

    /// A member may have room: lets the next of those that wait for its groups try.
    pub(super) fn wake_for_groups_of(&mut self, key: SessionKey) {
        let mut last = None;
        while let Some(group) = self.groups.next_of(key, last) {
            self.wake_next(HeldBy::Group(group));
            last = Some(group);
        }
    }

    /// A member's client has acknowledged something.
    pub(super) fn groups_made_progress(&mut self, now: Now, key: SessionKey) {
        let mut last = None;
        while let Some(group) = self.groups.next_of(key, last) {
            self.groups.stalls_from(group, now.boot);
            last = Some(group);
        }
    }

    /// A will or a broadcast waits for one now where it waited for another.
    pub(super) fn watch_holders(&mut self, now: Now, before: Option<HeldBy>, held_by: Option<HeldBy>) {
        for holder in [before, held_by] {
            if let Some(HeldBy::Subscriber(key)) = holder {
                self.watch_stall(now, key);
            }
        }
        if let Some(HeldBy::Group(group)) = held_by.filter(|_| before != held_by)
            && !self.groups.is_waited_for(group)
        {
            self.watch_group(now, group);
        }
    }

    /// Somebody waits for a group for which nobody did.
    pub(super) fn watch_group(&mut self, now: Now, group: GroupKey) {
        self.groups.stalls_from(group, now.boot);
        self.timers.set(TimerFor::Group(group), now.boot + self.config.limits.stalled_after);
    }

    /// If all members are stalled by now nobody waits for them any more. If somebody has waited for too long while no member's client
    /// acknowledged anything, those that are full are closed.
    pub(super) fn group_due(&mut self, now: Now, group: GroupKey) {
        let Some(since) = self.groups.stalled_since(group) else { return };
        let holder = HeldBy::Group(group);
        let message_waits = self.wills.wait_for(holder) || self.broadcasts.wait_for(holder);
        if !self.groups.is_waited_for(group) && !message_waits {
            return;
        }
        self.wake_next(HeldBy::Group(group));
        let limits = &self.config.limits;
        let at = since + limits.patience;
        if at > now.boot {
            return self.timers.set(TimerFor::Group(group), at.min(now.boot + limits.stalled_after));
        }
        let stuck = |member: &Member| {
            let session = self.sessions.get(&member.session)?;
            let is_acknowledged = member.subscription.options.qos != QoS::AtMostOnce;
            Some((
                member.session,
                session.connection.filter(|_| is_acknowledged && session.outbox.has_due())?,
            ))
        };
        let stuck: Vec<(SessionKey, ConnectionId)> =
            self.groups.members(group).iter().filter_map(stuck).collect();
        // First, so that none is given what another leaves behind.
        for (key, _) in &stuck {
            self.groups.set_connected(*key, false);
        }
        for (_, id) in stuck {
            self.close(now, id, Count::ClosedSlow, Farewell::Disconnect(ReasonCode::QuotaExceeded));
        }
    }
}

impl Leaving {
    /// Whether what came through that group is left behind.
    fn leaves(self, group: GroupKey) -> bool {
        match self {
            Self::Away | Self::Ended => true,
            Self::Unsubscribed(left) => left == group,
        }
    }

    /// To whom it may go.
    fn heirs(self) -> &'static [Candidate] {
        match self {
            Self::Away | Self::Unsubscribed(_) => FOR_WHAT_MAY_STAY,
            Self::Ended => FOR_WHAT_MUST_GO,
        }
    }
}
