//! Publishes on their way between the shards of a process.
//!
//! ```text
//!  the publisher's shard                                       a shard with a subscriber
//!  routed ─► its own subscribers, the uplink
//!         └► a word to each shard that is interested ────────► nobody is full ─► its subscribers ──┐
//!                                                              └ else ─► in its publisher's line ──┴─► taken, or nobody there
//!  all have answered, and the uplink ─► PUBACK ◄───────────────────────────────────────────────────────────┘
//! ```
//! What a publisher has said keeps its order: a word after another between two shards, and one line for each publisher where it waits, as its
//! connection has in its own shard. A line is bounded by what its publisher may have unacknowledged, and in bytes by what a connection, and all
//! of a shard, may have waiting. Of words that the other shard has not seen there are at most [`UNSEEN_MAX`]: then publishes wait at QoS 1
//! and 2, and are dropped at QoS 0, so a shard that is busy blocks nobody's turn.

mod guests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use roost_wire::{Device, Now, WallTime};

use super::connection::{Client, HeldBy};
use super::routes::Route;
use super::share_elsewhere::Directed;
use super::{Output, Shard};
use crate::interest::ShardSet;
use crate::message::Message;
use crate::packet::{QoS, ReasonCode};
use crate::placement::Numbered;
use crate::retained::Stamp;
use crate::session::Publisher;
use crate::share::{MembersThere, SharedFilter};
use crate::store::StoreNumber;
use crate::uplink::{EventEnd, Waiter};
use crate::{BroadcastNumber, ConnectionId, Count, ShardIndex};

/// What one shard says to another of its process. Opaque: made by one, taken by the other in the order in which it was made.
#[derive(Debug)]
pub struct ShardWord(Word);

#[derive(Debug)]
enum Word {
    Publish(Box<Crossed>),
    Answers(Answers),
    /// That shard has these members of a group; or, from its owner, the others have. Answered by [`Word::Known`] if a question came with it.
    Members {
        group: SharedFilter,
        there: MembersThere,
        question: Option<u64>,
    },
    /// The group has no member there any more: it is to go to another.
    NoMember {
        number: CrossingNumber,
        group: SharedFilter,
    },
    Known(u64),
    /// The connection has ended, and nobody would be told any more: what of it waits at QoS 1 is given up, as it is in its own shard.
    Ended(ConnectionId),
}

/// Names a publish among those that cross from one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CrossingNumber(u64);

/// A publish that another shard has taken in.
#[derive(Debug)]
struct Crossed {
    number: CrossingNumber,
    /// Whose publishes it is to stay in order with.
    line: ConnectionId,
    message: Arc<Message>,
    qos: QoS,
    /// Whether its publisher can be told that there is no room.
    may_refuse: bool,
    retained: Option<Retained>,
    /// It is for one member of this group, and for nobody else.
    only: Option<SharedFilter>,
}

/// What the publish makes of what is kept of its topic.
#[derive(Debug, Clone)]
pub(super) struct Retained {
    pub(super) stamp: Stamp,
    pub(super) publisher: Option<Device>,
    /// Else there was no room for it, and what was there is stale.
    pub(super) is_kept: bool,
}

/// What became of publishes of the shard that is told.
#[derive(Debug, Default)]
struct Answers {
    /// How many more were taken in.
    seen: usize,
    done: Vec<(CrossingNumber, Done)>,
}

/// What became of a publish in another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    /// A session has it.
    Had,
    /// Nobody there wants it, or can have it.
    Unwanted,
    /// A session that is away has no room, and the publisher is to be told.
    Full,
    /// It was given up with its connection.
    GivenUp,
}

/// A publish that others have not all answered.
#[derive(Debug)]
struct Crossing {
    told: Told,
    line: ConnectionId,
    /// What went to a member of a group, should it come back.
    shared: Option<Box<(Arc<Message>, QoS)>>,
    bytes: usize,
    /// How many answers are missing, that of the uplink among them.
    left: u32,
    had: bool,
    is_full: bool,
    /// Whether it is counted if nobody wants it.
    counts_unwanted: bool,
    end: Option<EventEnd>,
}

/// Who is told when a publish is safe.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    /// Of QoS 0, of a will, and of what a member of a group has left behind.
    Nobody,
    Publisher(Publisher),
    /// It came from that shard, and goes on from here to a member of a group.
    Shard(ShardIndex, CrossingNumber),
    /// Who acknowledges it to the broker.
    Broadcast(BroadcastNumber),
}

/// Publishes of another shard's client that wait here, each with the shard that it came from.
#[derive(Debug)]
struct Guest {
    line: VecDeque<(ShardIndex, Crossed)>,
    waits_for: Option<HeldBy>,
    woken_by: Option<HeldBy>,
}

/// What a shard has to do with the others.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    next: u64,
    unanswered: HashMap<CrossingNumber, Crossing, Numbered>,
    /// Those of them that are wills.
    wills: usize,
    bytes: usize,
    guests: HashMap<ConnectionId, Guest, Numbered>,
    others: Vec<Other>,
    /// The greatest that was given out or heard of.
    stamp: Option<Stamp>,
}

/// What a shard has to do with one other.
#[derive(Debug, Default)]
struct Other {
    /// Publishes that it has not seen.
    unseen: usize,
    /// Clients whose next publish waits until it has seen more, the longest first. At most once each.
    line: VecDeque<ConnectionId>,
    /// What it is to be told.
    answers: Answers,
    /// The same, of what is not durable.
    unsafe_answers: VecDeque<(StoreNumber, CrossingNumber, Done)>,
}

/// Publishes on their way to another shard that it has not seen. It sees them within its next turn, which takes milliseconds.
const UNSEEN_MAX: usize = 4_096;

/// Of a stamp's origin, for the shard's index.
const INDEX_BITS: u32 = 16;

/// Wills that others have not answered. No client's receive maximum bounds them: those that come after wait in line.
const WILLS_MAX: usize = 64;

impl Crossings {
    pub(super) fn new(shards: u16) -> Self {
        Self { others: (0..shards).map(|_| Other::default()).collect(), ..Self::default() }
    }

    /// The publishes that others have not all answered.
    pub(super) fn len(&self) -> usize {
        self.unanswered.len()
    }

    /// Their size.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The publishes of others' clients that wait here.
    pub(super) fn guests(&self) -> usize {
        self.guests.values().map(|guest| guest.line.len()).sum()
    }

    /// Whether all that was said to others was seen by them.
    pub(super) fn is_seen(&self) -> bool {
        self.others.iter().all(|other| other.unseen == 0)
    }

    /// Whether others have answered everything, and nothing of theirs waits here.
    pub(super) fn is_over(&self) -> bool {
        self.unanswered.is_empty() && self.guests.is_empty()
    }

    /// One to which no more may be said until it has seen some.
    fn busy(&self, to: ShardSet) -> Option<ShardIndex> {
        to.iter().find(|shard| !self.takes(*shard))
    }

    pub(super) fn takes(&self, shard: ShardIndex) -> bool {
        self.others.get(usize::from(shard.0)).is_none_or(|other| other.unseen < UNSEEN_MAX)
    }

    /// Clients that wait until that shard has seen more.
    pub(super) fn waiting(&mut self, shard: ShardIndex) -> Option<&mut VecDeque<ConnectionId>> {
        self.others.get_mut(usize::from(shard.0)).map(|other| &mut other.line)
    }

    fn other(&mut self, shard: ShardIndex) -> &mut Other {
        &mut self.others[usize::from(shard.0)]
    }

    /// Somebody's publishes wait for that one; false if it is nobody's of another shard.
    pub(super) fn guest_waits_for(&mut self, line: ConnectionId, held_by: HeldBy) -> bool {
        let guest = self.guests.get_mut(&line);
        guest.map(|guest| guest.waits_for = Some(held_by)).is_some()
    }

    /// The first of somebody's publishes may have another try; false if it is nobody's of another shard.
    pub(super) fn wake_guest(&mut self, line: ConnectionId, by: Option<HeldBy>) -> bool {
        let Some(guest) = self.guests.get_mut(&line) else { return false };
        (guest.waits_for, guest.woken_by) = (None, by);
        true
    }

    /// Whether somebody's publishes wait here that is another shard's.
    pub(super) fn has_guest(&self, line: ConnectionId) -> bool {
        self.guests.contains_key(&line)
    }

    /// A stamp that is greater than all before, here and, as far as they were heard of, in other shards.
    /// Within a millisecond they are counted, so that many do not run ahead of the clock.
    pub(super) fn stamp(&mut self, at: WallTime, here: ShardIndex) -> Stamp {
        let counted = |at, count: u64| Stamp { at, origin: count << INDEX_BITS | u64::from(here.0) };
        let mut stamp = counted(at, 0);
        if let Some(last) = self.stamp.filter(|last| stamp <= *last) {
            stamp = counted(last.at, (last.origin >> INDEX_BITS) + 1);
        }
        self.stamp = Some(stamp);
        stamp
    }

    pub(super) fn heard_of(&mut self, stamp: Stamp) {
        self.stamp = self.stamp.max(Some(stamp));
    }
}

/// What of a publish crosses, and for whom.
pub(super) struct ToCross<'a> {
    pub(super) told: Told,
    /// Whose order it keeps.
    pub(super) line: ConnectionId,
    pub(super) message: &'a Arc<Message>,
    pub(super) qos: QoS,
    pub(super) may_refuse: bool,
    pub(super) retained: Option<Retained>,
    /// Whether a subscriber here has it.
    pub(super) had: bool,
    /// Whether the uplink answers as well.
    pub(super) is_event: bool,
    /// Whether it is counted if nobody wants it.
    pub(super) counts_unwanted: bool,
}

impl Shard {
    /// The shards that the message crosses to: what is retained is kept by all.
    pub(super) fn crosses_to(&self, message: &Message, route: &Route) -> ShardSet {
        match message.retain {
            true => self.config.interests.others(self.config.placement.index()),
            false => route.others,
        }
    }

    /// The shard that makes the publish wait, if one does.
    pub(super) fn busy_shard(&self, message: &Message, route: &Route) -> Option<HeldBy> {
        let to = self.crosses_to(message, route);
        self.crossings.busy(to).map(HeldBy::Shard)
    }

    /// The same for a will.
    pub(super) fn busy_shard_for_will(&self, message: &Message, route: &Route) -> Option<HeldBy> {
        let first = || self.crosses_to(message, route).iter().next().map(HeldBy::Shard);
        self.busy_shard(message, route)
            .or_else(|| if self.crossings.wills >= WILLS_MAX { first() } else { None })
    }

    /// Whether a publish at QoS 0 has to be dropped whole: what is retained goes to all shards, or is retained in none.
    pub(super) fn drops_retained(&self, line: ConnectionId, message: &Message, route: &Route) -> bool {
        let to = self.crosses_to(message, route);
        !to.is_empty() && (self.crosses_too_much(line) || self.crossings.busy(to).is_some())
    }

    /// Whether as much of a connection, or of all, as may be waits in other shards. Then publishes that are acknowledged wait before they
    /// are read, and others are dropped.
    fn crosses_too_much(&self, line: ConnectionId) -> bool {
        let limits = &self.config.limits;
        let client = self.connections.get(&line).and_then(|connection| connection.client.as_deref());
        client.is_some_and(|client| client.crossing_bytes >= limits.parked_bytes_max)
            || self.crossings.bytes >= limits.parked_bytes_total_max
    }

    /// Whose order the broadcasts that go on from here to another shard keep.
    pub(super) fn broadcasts_line(&self) -> ConnectionId {
        ConnectionId(self.wills_line().0 - u64::from(u16::MAX) - 1)
    }

    /// Whose order the wills of this shard keep: no connection is numbered so.
    pub(super) fn wills_line(&self) -> ConnectionId {
        ConnectionId(u64::MAX - u64::from(self.config.placement.index().0))
    }

    /// Gives the message to those shards, and to those that are to choose a member of a group for it; `None` if there is none.
    pub(super) fn cross(&mut self, crossing: ToCross<'_>, to: ShardSet) -> Option<CrossingNumber> {
        let ToCross { told, line, message, qos, may_refuse, retained, had, is_event, counts_unwanted } =
            crossing;
        if to.is_empty() && self.shared_elsewhere.directed.is_empty() {
            return None;
        }
        self.crossings.next += 1;
        let number = CrossingNumber(self.crossings.next);
        let is_too_much = self.crosses_too_much(line);
        let mut others = 0;
        let all = to.iter().map(|shard| (shard, None));
        let directed = std::mem::take(&mut self.shared_elsewhere.directed);
        let is_shared = !directed.is_empty();
        for (to, only) in all.chain(directed.into_iter().map(|Directed { to, group }| (to, Some(group)))) {
            // One that is busy was found before the publish was routed, but at QoS 0 where nothing is retained.
            if qos == QoS::AtMostOnce && retained.is_none() && (is_too_much || !self.crossings.takes(to)) {
                self.counters.add(Count::DroppedShardBusy);
                continue;
            }
            others += 1;
            self.crossings.other(to).unseen += 1;
            let (message, retained) = (Arc::clone(message), retained.clone());
            let line = if only.is_some() { line_to_members(line) } else { line };
            let crossed = Crossed { number, line, message, qos, may_refuse, retained, only };
            self.tell_shard(to, Word::Publish(Box::new(crossed)));
        }
        if others == 0 {
            return None;
        }
        let left = others + u32::from(is_event);
        let shared = is_shared.then(|| Box::new((Arc::clone(message), qos)));
        self.count(Count::Crossed);
        let bytes = message.bytes();
        self.crossings.bytes += bytes;
        self.crossings.wills += usize::from(line == self.wills_line());
        if let Some(client) = self.connections.get_mut(&line).and_then(|c| c.client.as_deref_mut()) {
            client.crossing_bytes += bytes;
        }
        let (is_full, end) = (false, None);
        let crossing = Crossing { told, line, shared, bytes, left, had, is_full, counts_unwanted, end };
        self.crossings.unanswered.insert(number, crossing);
        Some(number)
    }

    /// An event is safe, or refused: so is its publish, if no other shard has to answer.
    pub(super) fn event_ended(&mut self, now: Now, waiter: Waiter, end: EventEnd) {
        let Waiter { publisher, had_locally, crossing } = waiter;
        match crossing {
            None => self.acknowledge(now, publisher, answer_to(end, had_locally)),
            Some(number) => self.crossing_answered(now, number, |crossing| crossing.end = Some(end)),
        }
    }

    fn crossing_answered(&mut self, now: Now, number: CrossingNumber, answer: impl FnOnce(&mut Crossing)) {
        let Some(crossing) = self.crossings.unanswered.get_mut(&number) else { return };
        answer(crossing);
        crossing.left -= 1;
        if crossing.left > 0 {
            return;
        }
        let Some(crossing) = self.crossings.unanswered.remove(&number) else { return };
        let Crossing { told, line, bytes, had, is_full, counts_unwanted, end, .. } = crossing;
        self.crossings.bytes -= bytes;
        self.crossings.wills -= usize::from(line == self.wills_line());
        if let Some(client) = self.connections.get_mut(&line).and_then(|c| c.client.as_deref_mut()) {
            client.crossing_bytes -= bytes;
        }
        self.counters.add_many(Count::PublishUnwanted, u64::from(counts_unwanted && !had));
        match told {
            Told::Nobody => {}
            Told::Broadcast(number) => {
                let outcome = if had { Count::BroadcastDelivered } else { Count::BroadcastUnwanted };
                self.broadcast_taken(number, Some(outcome));
            }
            Told::Publisher(publisher) => {
                let reason = match (end, had) {
                    _ if is_full => ReasonCode::QuotaExceeded,
                    (Some(end), had) => answer_to(end, had),
                    (None, true) => ReasonCode::Success,
                    (None, false) => ReasonCode::NoMatchingSubscribers,
                };
                self.acknowledge(now, publisher, reason);
            }
            Told::Shard(from, number) => {
                let done = match (is_full, had) {
                    (true, _) => Done::Full,
                    (false, true) => Done::Had,
                    (false, false) => Done::Unwanted,
                };
                self.answer_when_durable(from, number, done);
            }
        }
        self.read_on(line);
    }

    /// A connection has ended: what of it waits in other shards and is to be told to nobody is given up there.
    pub(super) fn give_up_crossings(&mut self, client: &Client, line: ConnectionId) {
        if client.crossing_bytes == 0 {
            return;
        }
        for shard in self.config.interests.others(self.config.placement.index()).iter() {
            self.tell_shard(shard, Word::Ended(line));
        }
    }

    fn tell_shard(&mut self, to: ShardIndex, word: Word) {
        self.outputs.push_back(Output::Shard { to, word: Box::new(ShardWord(word)) });
    }

    pub(super) fn tell_shard_of_members(
        &mut self,
        to: ShardIndex,
        group: SharedFilter,
        there: MembersThere,
        question: Option<u64>,
    ) {
        self.tell_shard(to, Word::Members { group, there, question });
    }

    pub(super) fn answer_about_members(&mut self, to: ShardIndex, question: u64) {
        self.tell_shard(to, Word::Known(question));
    }

    /// What was for a member of a group has come back: it goes to another.
    fn share_again(&mut self, now: Now, number: CrossingNumber, filter: &SharedFilter) {
        let Some(crossing) = self.crossings.unanswered.get(&number) else { return };
        let (line, Some(shared)) = (crossing.line, &crossing.shared) else { return };
        let (message, qos) = (**shared).clone();
        let Some(group) = self.groups.by_filter(filter) else {
            return self.count(Count::DroppedShareAlone);
        };
        let had = self.share(now, group, &message, qos);
        let directed = std::mem::take(&mut self.shared_elsewhere.directed);
        if let Some(crossing) = self.crossings.unanswered.get_mut(&number) {
            crossing.had |= had;
            // It waits for that one now.
            crossing.left += directed.len() as u32;
        }
        for Directed { to, group } in directed {
            self.crossings.other(to).unseen += 1;
            let (line, message) = (line_to_members(line), Arc::clone(&message));
            let (may_refuse, retained, only) = (false, None, Some(group));
            let crossed = Crossed { number, line, message, qos, may_refuse, retained, only };
            self.tell_shard(to, Word::Publish(Box::new(crossed)));
        }
    }
}

/// What is for a member of a group keeps its publisher's order among what is; the publisher may have its connection where the member is. No
/// connection is numbered so.
const fn line_to_members(line: ConnectionId) -> ConnectionId {
    ConnectionId(line.0 ^ 1 << 62)
}

pub(super) fn answer_to(end: EventEnd, had_locally: bool) -> ReasonCode {
    match end {
        EventEnd::Unwanted if !had_locally => ReasonCode::NoMatchingSubscribers,
        EventEnd::Accepted | EventEnd::Unwanted => ReasonCode::Success,
        EventEnd::Dead => ReasonCode::UnspecifiedError,
    }
}
