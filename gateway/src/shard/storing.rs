//! What is to outlive the process goes to the store, and what was promised on it waits until it is there. See [`crate::store`].

use std::collections::VecDeque;

use bytes::Bytes;
use roost_wire::Now;

use super::connection::HeldBy;
use super::restore::Loading;
use super::{Output, Shard};
use crate::session::{DiskHead, Session, SessionKey};
use crate::share::{Filter, Groups};
use crate::store::{
    Head, NO_BOOT, ROUTER, SessionRecords, StoreBatch, StoreChange, StoreNumber, StoredRetained, retained_key,
};
use crate::subscriptions::SubscriptionTree;
use crate::{BroadcastNumber, ConnectionId, Count};

/// How the store stands, for a shard.
#[derive(Debug, Default)]
pub(super) struct Storing {
    /// Without it nothing is written.
    is_on: bool,
    /// It can't be written at the moment.
    is_stuck: bool,
    /// Names the run of the machine.
    pub(super) boot: u64,
    /// The last batch that was given out, and the last one that is durable.
    last: StoreNumber,
    durable: StoreNumber,
    /// Those between them, with their bytes.
    outstanding: VecDeque<(StoreNumber, usize)>,
    outstanding_bytes: usize,
    /// Connections with bytes that promise what is not durable yet. Each once.
    held: Vec<ConnectionId>,
    /// Broadcasts that are to be acknowledged when a batch is durable.
    taken: VecDeque<(StoreNumber, BroadcastNumber, Option<Count>)>,
    /// Clients whose next publish waits, the longest first. At most once each.
    pub(super) line: VecDeque<ConnectionId>,
    /// Sessions that are on disk and not here yet.
    pub(super) loading: Option<Loading>,
    /// Whether this gateway has ever had a router, in this run or an earlier one; and whether the disk knows.
    pub(super) had_router: bool,
    is_router_stored: bool,
}

/// The bytes of changes that may be on their way to the disk. Beyond: publishes at QoS 1 and 2 wait. What else changes is bounded by what
/// may wait for a client: its answers are not sent before.
const OUTSTANDING_BYTES_MAX: usize = 32 * 1024 * 1024;

impl Storing {
    pub(super) fn begin(&mut self, boot: u64, had_router: bool) {
        self.is_on = true;
        (self.boot, self.had_router, self.is_router_stored) = (boot, had_router, had_router);
    }

    /// Whether anything is written at all.
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) const fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Whether everything that was given out is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.last
    }

    /// How many batches are not.
    pub(super) fn len(&self) -> usize {
        self.outstanding.len()
    }

    /// How many bytes they have.
    pub(super) const fn bytes(&self) -> usize {
        self.outstanding_bytes
    }

    /// The batch that what changes now is in, if anything does.
    pub(super) const fn next(&self) -> StoreNumber {
        if self.is_on { StoreNumber(self.last.0 + 1) } else { StoreNumber(0) }
    }

    /// Whether what waits for that batch may leave. A batch that was not needed has no number: then the one before it counts.
    pub(super) fn is_safe(&self, number: StoreNumber) -> bool {
        number <= self.durable || self.is_durable()
    }

    /// Who makes publishes at QoS 1 and 2 wait.
    pub(super) fn holds_up(&self) -> Option<HeldBy> {
        let has_room = self.outstanding_bytes < OUTSTANDING_BYTES_MAX;
        (self.loading.is_some() || !has_room).then_some(HeldBy::Store)
    }

    /// Bytes of that connection wait.
    pub(super) fn hold(&mut self, id: ConnectionId) {
        self.held.push(id);
    }

    fn give_out(&mut self, changes: Vec<StoreChange>) -> StoreBatch {
        let number = self.next();
        self.last = number;
        let bytes = changes.iter().map(StoreChange::bytes).sum();
        self.outstanding.push_back((number, bytes));
        self.outstanding_bytes += bytes;
        StoreBatch { number, changes }
    }
}

impl Shard {
    /// Gives out what the input that was handled has changed.
    pub(super) fn store_changes(&mut self, now: Now) {
        if !self.storing.is_on() {
            return;
        }
        let mut changes = Vec::new();
        // A device may have a new session by now.
        for device in self.sessions.take_ended() {
            SessionRecords::new(&device, &mut changes).end();
        }
        let boot = self.storing.boot;
        while let Some(touched) = self.sessions.next_touched() {
            store_session(now, boot, touched, (&self.subscriptions, &self.groups), &mut changes);
        }
        for topic in self.retained.take_changed() {
            // Each shard keeps all; one of them writes it, and who has published it is told by that one as well.
            if !self.config.placement.writes(&topic) {
                continue;
            }
            let key = retained_key(&topic);
            changes.push(match self.retained.of_topic(&topic) {
                Some(kept) => StoreChange::put(key, StoredRetained::encode(now, kept)),
                None => StoreChange::Delete { key },
            });
        }
        if self.storing.had_router && !self.storing.is_router_stored {
            self.storing.is_router_stored = true;
            changes.push(StoreChange::put(Bytes::from_static(ROUTER), Bytes::new()));
        }
        if !changes.is_empty() {
            let batch = self.storing.give_out(changes);
            self.outputs.push_back(Output::Store(Box::new(batch)));
        }
        self.take_broadcasts();
    }

    /// Everything up to that batch is durable.
    pub(super) fn stored(&mut self, up_to: StoreNumber) {
        self.storing.durable = up_to.min(self.storing.last).max(self.storing.durable);
        let durable = self.storing.durable;
        while let Some((_, bytes)) = self.storing.outstanding.pop_front_if(|(number, _)| *number <= durable) {
            self.storing.outstanding_bytes -= bytes;
        }
        self.to_write.extend(std::mem::take(&mut self.storing.held));
        self.take_broadcasts();
        self.wake_next(HeldBy::Store);
    }

    /// The store can be written, or can't.
    pub(super) fn store_is_stuck(&mut self, is_stuck: bool) {
        self.storing.is_stuck = is_stuck;
    }

    /// Whatever a broadcast has changed here is given out with this input: it may be acknowledged when that is durable.
    pub(super) fn broadcast_taken(&mut self, number: BroadcastNumber, outcome: Option<Count>) {
        match self.storing.is_on() {
            true => self.storing.taken.push_back((self.storing.next(), number, outcome)),
            false => self.outputs.push_back(Output::BroadcastTaken { number, outcome }),
        }
    }

    fn take_broadcasts(&mut self) {
        while let Some(&(batch, number, outcome)) = self.storing.taken.front() {
            if !self.storing.is_safe(batch) {
                return;
            }
            self.storing.taken.pop_front();
            self.outputs.push_back(Output::BroadcastTaken { number, outcome });
        }
    }
}

fn store_session(
    now: Now,
    boot: u64,
    (key, session): (SessionKey, &mut Session),
    (own, groups): (&SubscriptionTree<SessionKey>, &Groups),
    changes: &mut Vec<StoreChange>,
) {
    let is_kept = session.outlives_its_process();
    let is_new = is_kept != session.disk.is_there;
    let mut records = SessionRecords::new(&session.device, changes);
    if is_new {
        session.outbox.keep_log(is_kept);
        session.received.keep_log(is_kept);
        session.disk.is_there = is_kept;
        session.disk.head = None;
    }
    if !is_kept {
        session.disk.take_filters();
        session.disk.owed.clear();
        return if is_new {
            records.end()
        };
    }
    let head = session.disk_head();
    if session.disk.head.replace(head) != Some(head) {
        let DiskHead { expiry, expires_at, accepted_at } = head;
        let kept_until = expires_at.map(|at| now.wall + at.since(now.boot));
        let boot = if session.disk.is_of_earlier_boot { NO_BOOT } else { boot };
        records.head(&Head { expiry, kept_until, accepted_at, boot });
    }
    for (filter, subscription) in session.disk.take_filters() {
        let is_owed = subscription.is_some() && notes_owed(session, &filter);
        records.subscription(filter, subscription.as_ref().map(|subscription| (subscription, is_owed)));
    }
    if is_new {
        for (filter, subscription) in own.subscriptions_of(&key) {
            let filter = Filter::Own(filter);
            let is_owed = notes_owed(session, &filter);
            records.subscription(filter, Some((subscription, is_owed)));
        }
        for (_, filter, subscription) in groups.subscriptions_of(key) {
            records.subscription(filter, Some((&subscription, false)));
        }
    }
    let (owed, had): (Vec<_>, Vec<_>) =
        std::mem::take(&mut session.disk.owed).into_iter().partition(|filter| session.catch_up.owes(filter));
    session.disk.owed = owed;
    for filter in had {
        // It may have ended meanwhile, and its record with it.
        if let Some(subscription) = own.subscription(&key, &filter).copied() {
            records.subscription(Filter::Own(filter), Some((&subscription, false)));
        }
    }
    records.outbox(now, session.outbox.take_changes(), |group| groups.filter_of(group));
    for (packet_id, reason) in session.received.take_changes() {
        records.received(packet_id, reason);
    }
}

/// Whether the subscription's retained messages are owed; then it is remembered that its record says so.
fn notes_owed(session: &mut Session, filter: &Filter) -> bool {
    match filter {
        Filter::Own(filter) if session.catch_up.owes(filter) => {
            if !session.disk.owed.contains(filter) {
                session.disk.owed.push(filter.clone());
            }
            true
        }
        Filter::Own(_) | Filter::Shared(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PacketId;
    use crate::session::LocalCopy;

    impl LocalCopy {
        /// For comparisons.
        pub(crate) fn in_words(&self) -> String {
            let (topic, payload) = (&self.message.topic, &self.message.payload);
            format!("{topic:?} {payload:?} {:?} {}", self.qos, self.retain)
        }
    }

    impl Shard {
        /// What there is of each session that outlives the process: subscriptions, in flight, waiting, released, received.
        #[expect(clippy::type_complexity, reason = "compared as a whole")]
        pub(crate) fn kept_sessions(
            &self,
        ) -> impl Iterator<
            Item = (
                String,
                (Vec<String>, Vec<(PacketId, String)>, Vec<String>, Vec<PacketId>, Vec<PacketId>),
            ),
        > {
            let kept = self.sessions.iter().filter(|(_, session)| session.outlives_its_process());
            kept.map(|(key, session)| {
                let own =
                    self.subscriptions.subscriptions_of(key).map(|(filter, it)| (Filter::Own(filter), *it));
                let shared = self.groups.subscriptions_of(*key).map(|(_, filter, it)| (filter, it));
                let subscriptions =
                    own.chain(shared).map(|(filter, it)| format!("{filter} {:?}", it.options.qos));
                let mut subscriptions: Vec<_> = subscriptions.collect();
                subscriptions.sort();
                let (inflight, queue) = session.outbox.contents();
                let inflight = inflight.map(|(id, copy)| (id, copy.in_words())).collect();
                let queue = queue.map(LocalCopy::in_words).collect();
                let released = session.outbox.released().collect();
                let received = session.received.settled().map(|(id, _)| id).collect();
                (session.device.id.as_str().to_owned(), (subscriptions, inflight, queue, released, received))
            })
        }
    }
}
