//! Groups whose members are in several shards of the process.
//!
//! ```text
//!   a shard with members ── how many, whether all are full ──► the owner ── how many others have ──► shards with members
//!   a publish ──► the owner: whose turn is it? ─┬─ a member of its own ──► as in a group that is all here
//!                                               └─ one of another shard ──► a word ──► that shard chooses among its own
//!   what a member leaves behind and no other here may have ──► the owner, if others have members
//! ```
//! A SUBACK waits until the owner knows of its shard, since only what the owner knows of gets anything. A message that finds no member any
//! more where it went comes back, and goes to another.

use roost_wire::Now;

use super::crossing::{ToCross, Told};
use super::{Shard, share::Leaving};
use crate::message::Message;
use crate::packet::{Packet, QoS, Suback};
use crate::session::SharedCopy;
use crate::share::{GroupKey, MembersThere, SharedFilter};
use crate::{ConnectionId, ShardIndex};

use std::sync::Arc;

/// A message that is to go to a member that another shard chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directed {
    pub(super) to: ShardIndex,
    pub(super) group: SharedFilter,
}

/// A SUBACK that waits until the owners of its groups know of this shard.
#[derive(Debug)]
struct WaitingSuback {
    connection: ConnectionId,
    suback: Suback,
    /// The questions that are not answered.
    asked: Vec<u64>,
}

/// What a shard has to do with others about groups.
#[derive(Debug, Default)]
pub(super) struct SharedElsewhere {
    /// What the message that is being delivered leads to: taken out with the rest of what crosses of it.
    pub(super) directed: Vec<Directed>,
    next_question: u64,
    /// What the SUBSCRIBE that is being handled has asked; none if none is.
    asked: Option<Vec<u64>>,
    /// No more than one for each SUBSCRIBE that a client may have on its way.
    subacks: Vec<WaitingSuback>,
}

impl SharedElsewhere {
    /// Names what an owner is asked to confirm, if a SUBACK waits for that.
    fn ask(&mut self) -> Option<u64> {
        let asked = self.asked.as_mut()?;
        self.next_question += 1;
        asked.push(self.next_question);
        Some(self.next_question)
    }
}

impl Shard {
    // --- what is told

    /// The members of a group have changed here: those who have to know are told.
    pub(super) fn group_changed(&mut self, filter: &SharedFilter) {
        if self.config.interests.shards() == 1 {
            return;
        }
        let (owner, here) = (self.config.placement.owner_of(filter), self.config.placement.index());
        if owner == here {
            return self.tell_members_elsewhere(filter);
        }
        let news = match self.groups.by_filter(filter) {
            Some(key) => self.groups.news_for(key, owner),
            // It has ended here.
            None => Some(MembersThere::default()),
        };
        if let Some(news) = news {
            let question = self.shared_elsewhere.ask();
            self.tell_shard_of_members(owner, filter.clone(), news, question);
        }
    }

    /// The same for all groups of a session.
    pub(super) fn groups_of_changed(&mut self, key: crate::session::SessionKey) {
        if self.config.interests.shards() == 1 {
            return;
        }
        let mut last = None;
        while let Some(group) = self.groups.next_of(key, last) {
            last = Some(group);
            if let Some(filter) = self.groups.filter_of(group).cloned() {
                self.group_changed(&filter);
            }
        }
    }

    fn tell_members_elsewhere(&mut self, filter: &SharedFilter) {
        let Some(key) = self.groups.by_filter(filter) else { return };
        let shards: Vec<ShardIndex> = self.groups.elsewhere(key).map(|(shard, _)| shard).collect();
        for shard in shards {
            if let Some(news) = self.groups.news_for(key, shard) {
                self.tell_shard_of_members(shard, filter.clone(), news, None);
            }
        }
    }

    /// Another shard has these members of a group now, or its owner knows of these in others.
    pub(super) fn members_elsewhere(
        &mut self,
        from: ShardIndex,
        filter: &SharedFilter,
        there: MembersThere,
        question: Option<u64>,
    ) {
        let owns = self.groups.owns(filter);
        match self.groups.set_elsewhere(filter, from, there) {
            Ok((Some(key), waiting)) => {
                waiting.into_iter().for_each(|id| self.wake(id, None));
                self.wake_next(super::connection::HeldBy::Group(key));
                if owns {
                    self.tell_members_elsewhere(filter);
                }
            }
            Ok((None, _)) => {}
            // There is room for all that every shard has room for.
            Err(full) => debug_assert!(false, "{full}"),
        }
        if let Some(question) = question {
            self.answer_about_members(from, question);
        }
    }

    // --- SUBACKs

    /// Whether the SUBACK of the SUBSCRIBE that was handled has to wait; then it is kept.
    pub(super) fn suback_waits(&mut self, connection: ConnectionId, suback: &Suback) -> bool {
        let asked = self.shared_elsewhere.asked.take().unwrap_or_default();
        let waits = !asked.is_empty();
        if waits {
            let suback = suback.clone();
            self.shared_elsewhere.subacks.push(WaitingSuback { connection, suback, asked });
        }
        waits
    }

    /// A SUBSCRIBE is going to be handled: its SUBACK waits for the owners of its groups.
    pub(super) fn ask_owners(&mut self) {
        self.shared_elsewhere.asked = Some(Vec::new());
    }

    /// An owner knows what it was told.
    pub(super) fn owner_knows(&mut self, now: Now, question: u64) {
        let asked = |waiting: &WaitingSuback| waiting.asked.contains(&question);
        let Some(at) = self.shared_elsewhere.subacks.iter().position(asked) else { return };
        let waiting = &mut self.shared_elsewhere.subacks[at];
        waiting.asked.retain(|asked| *asked != question);
        if waiting.asked.is_empty() {
            let WaitingSuback { connection, suback, .. } = self.shared_elsewhere.subacks.remove(at);
            self.send(now, connection, &Packet::Suback(suback));
            self.has_output(connection);
        }
    }

    // --- messages

    /// If it is the turn of a member of another shard, the message is noted as one for that shard.
    pub(super) fn directs(&mut self, group: GroupKey) -> bool {
        let place = self.groups.next_place(group);
        self.direct(group, place)
    }

    /// The same where no member that is connected here has room.
    pub(super) fn directs_instead(&mut self, group: GroupKey) -> bool {
        let free = self.groups.elsewhere(group).find(|(_, there)| there.connected > 0 && !there.are_full);
        self.direct(group, free.map(|(shard, _)| shard))
    }

    /// The same where no member is connected at all, and none here has room.
    pub(super) fn directs_to_one_away(&mut self, group: GroupKey) -> bool {
        let place = self.best_elsewhere(group);
        self.direct(group, place)
    }

    /// The shard whose member has the message soonest: one that is connected comes first.
    fn best_elsewhere(&self, group: GroupKey) -> Option<ShardIndex> {
        let elsewhere = self.groups.elsewhere(group);
        let best = elsewhere.min_by_key(|(_, there)| (there.connected == 0, there.are_full));
        best.map(|(shard, _)| shard)
    }

    fn direct(&mut self, group: GroupKey, to: Option<ShardIndex>) -> bool {
        let Some((to, filter)) = to.zip(self.groups.filter_of(group)) else { return false };
        // Only the owner knows whose turn it is.
        if !self.groups.owns(filter) {
            return false;
        }
        let group = filter.clone();
        self.shared_elsewhere.directed.push(Directed { to, group });
        true
    }

    /// Whether a member of another shard may have room, or there is one at least.
    pub(super) fn has_member_elsewhere(&self, group: GroupKey, with_room: bool) -> bool {
        let Some(filter) = self.groups.filter_of(group) else { return false };
        let owns = self.groups.owns(filter);
        let mut elsewhere = self.groups.elsewhere(group);
        owns && elsewhere.any(|(_, there)| !with_room || (there.connected > 0 && !there.are_full))
    }

    /// Whether a member of another shard is connected, full or not.
    pub(super) fn has_connected_elsewhere(&self, group: GroupKey) -> bool {
        let Some(filter) = self.groups.filter_of(group) else { return false };
        self.groups.owns(filter) && self.groups.elsewhere(group).any(|(_, there)| there.connected > 0)
    }

    /// Whether what a member leaves behind may go to one of another shard.
    pub(super) fn has_heir_elsewhere(&self, group: GroupKey, leaving: Leaving) -> bool {
        self.groups.elsewhere(group).any(|(_, there)| match leaving {
            Leaving::Away | Leaving::Unsubscribed(_) => there.connected > 0,
            Leaving::Ended => !there.is_none(),
        })
    }

    /// A member may have room: if the owner was told that none has, and nobody waits any more, it is told so.
    pub(super) fn has_room_again(&mut self, group: GroupKey) {
        if self.config.interests.shards() == 1 || self.groups.is_waited_for(group) {
            return;
        }
        if self.group_has_room(group)
            && self.groups.set_full(group, false)
            && let Some(filter) = self.groups.filter_of(group).cloned()
        {
            self.group_changed(&filter);
        }
    }

    /// Gives what a member has left behind to the other shards.
    pub(super) fn hand_on_elsewhere(&mut self, found: &SharedCopy) {
        let Some(filter) = self.groups.filter_of(found.share.group).cloned() else { return };
        let (owner, here) = (self.config.placement.owner_of(&filter), self.config.placement.index());
        let to = match owner == here {
            true => {
                let next = self.groups.next_place(found.share.group);
                next.or_else(|| self.best_elsewhere(found.share.group))
            }
            false => Some(owner),
        };
        if let Some(to) = to {
            self.shared_elsewhere.directed.push(Directed { to, group: filter });
            self.cross_directed(
                &found.message,
                found.share.published,
                self.wills_line(),
                Told::Nobody,
                false,
            );
        }
    }

    /// Gives the message to the other shards that are to choose a member for it.
    pub(super) fn cross_directed(
        &mut self,
        message: &Arc<Message>,
        qos: QoS,
        line: ConnectionId,
        told: Told,
        had: bool,
    ) -> bool {
        let crossing = ToCross {
            told,
            line,
            message,
            qos,
            may_refuse: false,
            retained: None,
            had,
            is_event: false,
            counts_unwanted: false,
        };
        self.cross(crossing, crate::ShardSet::default()).is_some()
    }
}
