//! Shared subscriptions: groups of sessions that divide among themselves what their filter matches, so that each message goes to one
//! member (MQTT5 §4.8.2). Here is who is a member, and whose turn it is; who has room, and what becomes of what a member leaves behind,
//! the shard knows.
//!
//! The groups have a subscription tree of their own, in which a group is the subscriber. So a topic that nobody shares costs one look at
//! an empty tree, and a subscription that is not shared costs what it did.
//!
//! With several shards a group has one owner, the shard that its name and filter hash to: only there it is in the tree, and of the members
//! that other shards have it is known there how many they are. Another shard that has members has the group as well, with those alone.

mod filter;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU64;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) use filter::{Filter, SharedFilter};
use roost_wire::BootTime;

use crate::ConnectionId;
use crate::packet::QoS;
use crate::placement::Seeded;
use crate::session::SessionKey;
use crate::subscriptions::{Inserted, Subscription, SubscriptionTree};
use crate::{Interests, Placement, ShardIndex};

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
    /// Groups that have ended here while other shards had members, until what their last member has left behind is given on.
    ended: BTreeMap<GroupKey, Group>,
    last: u64,
    placement: Placement,
    interests: Arc<Interests>,
}

/// The members of a group that a shard has, as another one knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MembersThere {
    /// Those whose clients are connected.
    pub(crate) connected: u32,
    /// The others.
    pub(crate) away: u32,
    /// None that is connected has room.
    pub(crate) are_full: bool,
}

impl MembersThere {
    /// Whether there is none.
    pub(crate) const fn is_none(self) -> bool {
        self.connected == 0 && self.away == 0
    }
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
    /// Those of other shards that have any, if this one is the owner; else the owner, with all that it knows of.
    elsewhere: BTreeMap<ShardIndex, MembersThere>,
    /// What each of them was told last of those that it does not have.
    told: BTreeMap<ShardIndex, MembersThere>,
    /// Counts the messages that went to a member that is connected, so that each place has its turn.
    dealt: u32,
    /// Somebody waits for a member of this shard whom the owner has chosen.
    are_full: bool,
}

/// Bound on the members of one group: whose turn it is may be found only by looking at each. Beyond: SUBACK 0x97.
pub(crate) const MEMBERS_MAX: usize = 1_000;

/// Bound on the shared subscriptions of a shard: some tens of bytes each in a large group, some hundreds in one that has no other. Beyond:
/// SUBACK 0x97.
pub(crate) const MEMBERSHIPS_MAX: u32 = 200_000;

impl Groups {
    /// None. The seed is that of [`SubscriptionTree::new`].
    pub(crate) fn new(hash_seed: u64, placement: Placement, interests: Arc<Interests>) -> Self {
        let seed = Seeded(hash_seed);
        Self {
            // Those of all shards may be this one's.
            tree: SubscriptionTree::new(hash_seed, MEMBERSHIPS_MAX * u32::from(interests.shards())),
            groups: HashMap::with_hasher(seed),
            by_filter: HashMap::with_hasher(seed),
            of_session: BTreeSet::new(),
            ended: BTreeMap::new(),
            last: 0,
            placement,
            interests,
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
        self.groups.get(&group).or_else(|| self.ended.get(&group)).map(|group| &group.filter)
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
        if self.owns(filter) {
            let inserted = self.tree.insert(key, filter.filter(), Subscription::default());
            inserted.map_err(|_| Full::Memberships)?;
            self.interests.add(self.placement.index(), filter.filter());
        }
        self.by_filter.insert(filter.clone(), key);
        let group = Group {
            filter: filter.clone(),
            members: Vec::new(),
            turn: 0,
            waiting: VecDeque::new(),
            stalled_since: BootTime::default(),
            elsewhere: BTreeMap::new(),
            told: BTreeMap::new(),
            dealt: 0,
            are_full: false,
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
        self.end_if_empty(key)
    }

    /// A group that has no member in any shard, or none here where another shard is its owner, ends.
    fn end_if_empty(&mut self, key: GroupKey) -> VecDeque<ConnectionId> {
        let Some(group) = self.groups.get(&key) else { return VecDeque::new() };
        let is_owned = self.owns(&group.filter);
        if !group.members.is_empty() || (is_owned && !group.elsewhere.is_empty()) {
            return VecDeque::new();
        }
        let Some(mut group) = self.groups.remove(&key) else { return VecDeque::new() };
        self.by_filter.remove(&group.filter);
        let waiting = std::mem::take(&mut group.waiting);
        if is_owned {
            self.tree.remove(&key, group.filter.filter());
            self.interests.remove(self.placement.index(), group.filter.filter());
        } else if !group.elsewhere.is_empty() {
            self.ended.insert(key, group);
        }
        waiting
    }

    /// What was left behind is given on.
    pub(crate) fn forget_ended(&mut self) {
        self.ended.clear();
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

    // --- the members of other shards

    /// Whether this shard decides which member is next.
    pub(crate) fn owns(&self, filter: &SharedFilter) -> bool {
        self.placement.owner_of(filter) == self.placement.index()
    }

    /// The group that a filter names, if anybody is in it.
    pub(crate) fn by_filter(&self, filter: &SharedFilter) -> Option<GroupKey> {
        self.by_filter.get(filter).copied()
    }

    /// A shard has these members now, or, where another one is the owner, that one knows of these in other shards than this. The group may
    /// begin by it, or end: who waits for it then is given back.
    ///
    /// # Errors
    /// [`Full`] if there is no room for the group.
    pub(crate) fn set_elsewhere(
        &mut self,
        filter: &SharedFilter,
        shard: ShardIndex,
        there: MembersThere,
    ) -> Result<(Option<GroupKey>, VecDeque<ConnectionId>), Full> {
        let key = match self.by_filter.get(filter) {
            Some(&key) => key,
            None if there.is_none() || !self.owns(filter) => return Ok((None, VecDeque::new())),
            None => self.begin(filter)?,
        };
        if let Some(group) = self.groups.get_mut(&key) {
            match there.is_none() {
                true => {
                    // Should it have members again, it knows nothing of the others.
                    group.told.remove(&shard);
                    group.elsewhere.remove(&shard)
                }
                false => group.elsewhere.insert(shard, there),
            };
        }
        Ok((Some(key), self.end_if_empty(key)))
    }

    /// The members that other shards have, as far as this one knows.
    pub(crate) fn elsewhere(&self, key: GroupKey) -> impl Iterator<Item = (ShardIndex, MembersThere)> {
        let group = self.groups.get(&key).or_else(|| self.ended.get(&key));
        group.into_iter().flat_map(|group| group.elsewhere.iter().map(|(shard, there)| (*shard, *there)))
    }

    /// Of the members that are connected and may have room: the shard of the one whose turn it is; `None` if that is one of this shard, or
    /// there is none.
    pub(crate) fn next_place(&mut self, key: GroupKey) -> Option<ShardIndex> {
        let group = self.groups.get_mut(&key).filter(|group| !group.elsewhere.is_empty())?;
        // There are no more than a thousand.
        let here = group.members.iter().filter(|member| member.is_connected).count() as u32;
        let free = |there: &MembersThere| if there.are_full { 0 } else { there.connected };
        let all = here + group.elsewhere.values().map(free).sum::<u32>();
        group.dealt = group.dealt.wrapping_add(1);
        let mut place = group.dealt.checked_rem(all)?.checked_sub(here)?;
        let mut shards = group.elsewhere.iter();
        shards.find_map(|(shard, there)| {
            let is_there = place < free(there);
            place = place.saturating_sub(free(there));
            is_there.then_some(*shard)
        })
    }

    /// What is to be told of the group to another shard, if that has changed since: to the owner those that are here, to another that has
    /// members those that it does not have.
    pub(crate) fn news_for(&mut self, key: GroupKey, shard: ShardIndex) -> Option<MembersThere> {
        let group = self.groups.get_mut(&key)?;
        let connected = group.members.iter().filter(|member| member.is_connected).count() as u32;
        let mut news = MembersThere {
            connected,
            away: group.members.len() as u32 - connected,
            are_full: group.are_full,
        };
        if self.placement.owner_of(&group.filter) == self.placement.index() {
            news.are_full = false;
            for (_, there) in group.elsewhere.iter().filter(|(other, _)| **other != shard) {
                news.connected += there.connected;
                news.away += there.away;
            }
        }
        let told = group.told.insert(shard, news).unwrap_or_default();
        (told != news).then_some(news)
    }

    /// Whether somebody waits for a member of this shard whom the owner has chosen; tells whether that is new.
    pub(crate) fn set_full(&mut self, key: GroupKey, are_full: bool) -> bool {
        let group = self.groups.get_mut(&key);
        group.is_some_and(|group| std::mem::replace(&mut group.are_full, are_full) != are_full)
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
