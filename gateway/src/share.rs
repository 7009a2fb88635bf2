//! Shared subscriptions: groups of sessions that divide among themselves what their filter matches, so that each message goes to one
//! member (MQTT5 §4.8.2). Here is who is a member, and whose turn it is; who has room, and what becomes of what a member leaves behind,
//! the shard knows.
//!
//! The groups have a subscription tree of their own, in which a group is the subscriber. So a topic that nobody shares costs one look at
//! an empty tree, and a subscription that is not shared costs what it did.
//!
//! A group is one shard's, which is all there is today. With several, a group would belong to the shard that its name and filter hash to
//! (as devices do: [`crate::Placement`]). The border would come at [`Groups::visit_matches`], where the others would find it in their tree
//! and hand the message to the owner, and at the member whose turn it is, whose session another shard may have.

mod filter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Bound;

pub(crate) use filter::{Filter, SharedFilter};
use roost_wire::BootTime;

use crate::ConnectionId;
use crate::packet::QoS;
use crate::placement::Seeded;
use crate::session::SessionKey;
use crate::subscriptions::{Inserted, Subscription, SubscriptionTree};

/// Names a group for as long as it has members; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupKey(NonZeroU64);

/// How a copy came to its session: as a member's share. Another member may get it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) group: GroupKey,
    /// As it was published: the other member's subscription may grant more than this one's [MQTT-4.8.2-3].
    pub(crate) published: QoS,
}

/// A session in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) session: SessionKey,
    pub(crate) subscription: Subscription,
    pub(crate) is_connected: bool,
}

/// There is no room for another member. Answer with reason code 0x97, quota exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// In the group.
    #[error("the group has {MEMBERS_MAX} members already")]
    Members,
    /// On the whole.
    #[error("there are {MEMBERSHIPS_MAX} shared subscriptions already")]
    Memberships,
}

/// All groups of a shard.
#[derive(Debug)]
pub(crate) struct Groups {
    tree: SubscriptionTree<GroupKey>,
    groups: HashMap<GroupKey, Group, Seeded>,
    by_filter: HashMap<SharedFilter, GroupKey, Seeded>,
    of_session: BTreeSet<(SessionKey, GroupKey)>,
    last: u64,
}

/// The members of one.
#[derive(Debug)]
struct Group {
    filter: SharedFilter,
    /// In the order in which they joined.
    members: Vec<Member>,
    /// Where to look first for the next.
    turn: usize,
    /// Publishers that wait until a member has room, the longest first. At most once each.
    waiting: VecDeque<ConnectionId>,
    /// Since when somebody waits and no member's client has acknowledged anything.
    stalled_since: BootTime,
}

/// Bound on the members of one group: whose turn it is may be found only by looking at each. Beyond: SUBACK 0x97.
pub(crate) const MEMBERS_MAX: usize = 1_000;

/// Bound on the shared subscriptions of a shard: some tens of bytes each in a large group, some hundreds in one that has no other. Beyond:
/// SUBACK 0x97.
pub(crate) const MEMBERSHIPS_MAX: u32 = 200_000;

impl Groups {
    /// None. The seed is that of [`SubscriptionTree::new`].
    pub(crate) fn new(hash_seed: u64) -> Self {
        let seed = Seeded(hash_seed);
        Self {
            tree: SubscriptionTree::new(hash_seed, MEMBERSHIPS_MAX),
            groups: HashMap::with_hasher(seed),
            by_filter: HashMap::with_hasher(seed),
            of_session: BTreeSet::new(),
            last: 0,
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many shared subscriptions there are.
    pub(crate) fn memberships(&self) -> usize {
        self.of_session.len()
    }

    /// The group that a session is in by that filter.
    pub(crate) fn find(&self, session: SessionKey, filter: &SharedFilter) -> Option<GroupKey> {
        let key = *self.by_filter.get(filter)?;
        self.of_session.contains(&(session, key)).then_some(key)
    }

    /// What a group shares; `None` if it has ended.
    pub(crate) fn filter_of(&self, group: GroupKey) -> Option<&SharedFilter> {
        self.groups.get(&group).map(|group| &group.filter)
    }

    /// Subscribes, or replaces the session's subscription to the same [MQTT-3.8.4-3].
    ///
    /// # Errors
    /// [`Full`]; nothing is changed then.
    pub(crate) fn join(&mut self, filter: &SharedFilter, member: Member) -> Result<Inserted, Full> {
        if let Some(key) = self.find(member.session, filter) {
            let known = self.members_mut(key).iter_mut().find(|known| known.session == member.session);
            let known = known.expect("a session is a member of its groups");
            let old = std::mem::replace(known, member);
            return Ok(Inserted::Replaced(old.subscription));
        }
        if self.memberships() >= MEMBERSHIPS_MAX as usize {
            return Err(Full::Memberships);
        }
        let key = match self.by_filter.get(filter) {
            Some(&key) if self.members(key).len() >= MEMBERS_MAX => return Err(Full::Members),
            Some(&key) => key,
            None => self.begin(filter)?,
        };
        self.of_session.insert((member.session, key));
        if let Some(group) = self.groups.get_mut(&key) {
            group.members.push(member);
        }
        Ok(Inserted::New)
    }

    fn begin(&mut self, filter: &SharedFilter) -> Result<GroupKey, Full> {
        self.last += 1;
        let key = GroupKey(NonZeroU64::new(self.last).expect("it counts from 1"));
        let inserted = self.tree.insert(key, filter.filter(), Subscription::default());
        inserted.map_err(|_| Full::Memberships)?;
        self.by_filter.insert(filter.clone(), key);
        let group = Group {
            filter: filter.clone(),
            members: Vec::new(),
            turn: 0,
            waiting: VecDeque::new(),
            stalled_since: BootTime::default(),
        };
        self.groups.insert(key, group);
        Ok(key)
    }

    /// Ends a session's subscription. A group ends with its last member: who waits for it is given back, and does so no more.
    pub(crate) fn leave(&mut self, session: SessionKey, key: GroupKey) -> VecDeque<ConnectionId> {
        if !self.of_session.remove(&(session, key)) {
            return VecDeque::new();
        }
        let Some(group) = self.groups.get_mut(&key) else { return VecDeque::new() };
        let at = group.members.iter().position(|member| member.session == session);
        let at = at.expect("a session is a member of its groups");
        group.members.remove(at);
        group.turn -= usize::from(at < group.turn);
        if !group.members.is_empty() {
            return VecDeque::new();
        }
        let Some(group) = self.groups.remove(&key) else { return VecDeque::new() };
        self.by_filter.remove(&group.filter);
        self.tree.remove(&key, group.filter.filter());
        group.waiting
    }

    /// The session's client has come, or is gone.
    pub(crate) fn set_connected(&mut self, session: SessionKey, is_connected: bool) {
        let mut last = None;
        while let Some(key) = self.next_of(session, last) {
            let member = self.members_mut(key).iter_mut().find(|member| member.session == session);
            member.expect("a session is a member of its groups").is_connected = is_connected;
            last = Some(key);
        }
    }

    /// The groups of a session, one by one: the first, or the one behind that which was given last.
    pub(crate) fn next_of(&self, session: SessionKey, last: Option<GroupKey>) -> Option<GroupKey> {
        const FIRST: GroupKey = GroupKey(NonZeroU64::MIN);
        const LAST: GroupKey = GroupKey(NonZeroU64::MAX);
        let from = last.map_or(Bound::Included((session, FIRST)), |last| Bound::Excluded((session, last)));
        self.of_session.range((from, Bound::Included((session, LAST)))).next().map(|(_, key)| *key)
    }

    /// What a session shares in, by its groups' age.
    pub(crate) fn subscriptions_of(
        &self,
        session: SessionKey,
    ) -> impl Iterator<Item = (GroupKey, Filter, Subscription)> {
        let first = self.next_of(session, None);
        let keys = std::iter::successors(first, move |last| self.next_of(session, Some(*last)));
        keys.filter_map(move |key| {
            let group = self.groups.get(&key)?;
            let member = group.members.iter().find(|member| member.session == session)?;
            Some((key, Filter::Shared(group.filter.clone()), member.subscription))
        })
    }

    /// Visits each group whose filter matches the topic, a valid topic name. Allocates nothing.
    pub(crate) fn version(&self) -> u64 {
        self.tree.version()
    }

    pub(crate) fn visit_matches(&self, topic: &str, mut visit: impl FnMut(GroupKey)) {
        if !self.is_empty() {
            self.tree.visit_matches(topic, |key, _| visit(*key));
        }
    }

    /// The members of a group; none if it has ended.
    pub(crate) fn members(&self, key: GroupKey) -> &[Member] {
        self.groups.get(&key).map_or(&[], |group| &group.members)
    }

    fn members_mut(&mut self, key: GroupKey) -> &mut [Member] {
        self.groups.get_mut(&key).map_or(&mut [], |group| &mut group.members)
    }

    /// The next in turn of the members that something may be given to, and its place in [`Groups::members`].
    pub(crate) fn next_in_turn(
        &self,
        key: GroupKey,
        mut takes: impl FnMut(&Member) -> bool,
    ) -> Option<(usize, Member)> {
        let group = self.groups.get(&key)?;
        let (before, from) = group.members.split_at_checked(group.turn)?;
        let places = (group.turn..).zip(from).chain((0..).zip(before));
        places.map(|(at, member)| (at, *member)).find(|(_, member)| takes(member))
    }

    /// The member in that place has had its turn.
    pub(crate) fn had_turn(&mut self, key: GroupKey, at: usize) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.turn = (at + 1) % group.members.len().max(1);
        }
    }

    // --- who waits

    /// Who waits until a member has room.
    pub(crate) fn waiting(&mut self, key: GroupKey) -> Option<&mut VecDeque<ConnectionId>> {
        self.groups.get_mut(&key).map(|group| &mut group.waiting)
    }

    /// Whether anybody does.
    pub(crate) fn is_waited_for(&self, key: GroupKey) -> bool {
        self.groups.get(&key).is_some_and(|group| !group.waiting.is_empty())
    }

    /// From now on somebody waits where nobody did, or a member's client has acknowledged something.
    pub(crate) fn stalls_from(&mut self, key: GroupKey, now: BootTime) {
        if let Some(group) = self.groups.get_mut(&key) {
            group.stalled_since = now;
        }
    }

    /// Since when somebody has waited and nothing was acknowledged; of no meaning while nobody waits. `None` if the group has ended.
    pub(crate) fn stalled_since(&self, key: GroupKey) -> Option<BootTime> {
        self.groups.get(&key).map(|group| group.stalled_since)
    }
}
