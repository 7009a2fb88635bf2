//! Sessions come back from the store: page by page at a start, and one at once whose device connects meanwhile, or is asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use roost_wire::{BootTime, Device, Now, QuestionId, RouterRun};

use super::connection::HeldBy;
use super::share::Leaving;
use super::turn::Turn;
use super::{Output, Shard, TimerFor};
use crate::packet::Connect;
use crate::session::{LocalCopy, SessionKey};
use crate::share::{Filter, Share};
use crate::store::{
    StoreOpened, StoreRecord, StoredCopy, StoredRetained, StoredSession, prefix_of, session_prefix,
};
use crate::{ConnectionId, Count, Notice};

/// Sessions that are on disk and may not be here yet.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// Those of these devices were read, or were not there: what pages say of them is no longer so.
    decided: BTreeSet<Device>,
    /// Who waits for the session of a device, which is being read. Bounded by the connections, and by what the router asks at once.
    waiting: BTreeMap<Device, Waiting>,
    /// Sessions with messages that came through groups: others may have them, once all are here.
    members: Vec<SessionKey>,
}

#[derive(Debug, Default)]
struct Waiting {
    connects: Vec<(ConnectionId, Box<Connect>)>,
    questions: Vec<(QuestionId, RouterRun)>,
}

/// For so long after its start a gateway refuses a device whose session it has, as long as no router says whether that is the newest: the
/// router may be starting as well, after a region was without power. Then the device begins anew.
const PATIENCE: Duration = Duration::from_secs(60);

impl Shard {
    /// There is a store, with this in it.
    pub(super) fn store_opened(&mut self, now: Now, opened: StoreOpened) {
        let StoreOpened { boot, has_sessions, had_router, retained } = opened;
        self.storing.begin(boot, had_router);
        self.undecided_until = now.boot + PATIENCE;
        self.sessions.note_changes();
        for StoreRecord { key, value } in retained {
            self.restore_retained(now, &key, &value);
        }
        self.retained.keep_log();
        self.expire_retained(now);
        self.storing.loading = has_sessions.then(Loading::default);
    }

    fn restore_retained(&mut self, now: Now, key: &[u8], value: &bytes::Bytes) {
        let Some(stored) = StoredRetained::decode(now, value) else {
            return self.unreadable(None, &format!("the record {}", key.escape_ascii()), 1);
        };
        let StoredRetained { message, qos, publisher, stamp } = stored;
        // What is published from now on is newer, also if the clock has gone back.
        if let Some(stamp) = stamp.filter(|_| !self.is_broadcast(&message.topic)) {
            self.crossings.heard_of(stamp);
        }
        // More than a bound that is lower now: as for one that is published.
        if let Err(full) = self.retained.set(message.into(), qos, publisher, stamp) {
            self.count(full.count());
        }
    }

    fn unreadable(&mut self, device: Option<Device>, what: &str, records: u64) {
        self.counters.add_many(Count::StoreUnreadable, records);
        let notice = Notice::StoreUnreadable { device, what: what.to_owned() };
        self.outputs.push_back(Output::Notice(Box::new(notice)));
    }

    /// Whether the session of a device may be on disk and not here.
    pub(super) fn may_be_stored(&self, device: &Device) -> bool {
        let Some(loading) = &self.storing.loading else { return false };
        !self.by_device.contains_key(device) && !loading.decided.contains(device)
    }

    /// A CONNECT waits until its session is read.
    pub(super) fn connect_when_read(&mut self, id: ConnectionId, connect: Connect, device: &Device) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_read_for = true;
        if let Some(waiting) = self.wait_until_read(device) {
            waiting.connects.push((id, Box::new(connect)));
        }
    }

    /// A question of the router waits until the session is read.
    pub(super) fn answer_when_read(&mut self, question: QuestionId, run: RouterRun, device: &Device) {
        if let Some(waiting) = self.wait_until_read(device) {
            waiting.questions.push((question, run));
        }
    }

    fn wait_until_read(&mut self, device: &Device) -> Option<&mut Waiting> {
        let loading = self.storing.loading.as_mut()?;
        if !loading.waiting.contains_key(device) {
            let prefix = session_prefix(device).into();
            self.outputs.push_back(Output::ReadSession { device: device.clone(), prefix });
        }
        Some(loading.waiting.entry(device.clone()).or_default())
    }

    /// All records of one device's session; none if it has no session.
    pub(super) fn session_read(&mut self, now: Now, device: Device, records: &[StoreRecord]) {
        if self.may_be_stored(&device) && !records.is_empty() {
            self.restore(now, records);
        }
        let Some(loading) = &mut self.storing.loading else { return };
        let waiting = loading.waiting.remove(&device);
        loading.decided.insert(device.clone());
        if let Some(waiting) = waiting {
            self.no_longer_waits_for_disk(now, device, waiting);
        }
    }

    fn no_longer_waits_for_disk(&mut self, now: Now, device: Device, waiting: Waiting) {
        for (question, run) in waiting.questions {
            self.answer_find(now, question, run, device.clone());
        }
        for (id, connect) in waiting.connects {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_read_for = false;
                self.connect(now, id, *connect);
                self.read_on(id);
            }
        }
    }

    /// The next sessions, each with all of its records.
    pub(super) fn sessions_read(&mut self, now: Now, records: &[StoreRecord], is_last: bool) {
        for records in records.chunk_by(|a, b| prefix_of(&a.key) == prefix_of(&b.key)) {
            self.restore(now, records);
        }
        if !is_last {
            return;
        }
        let Some(Loading { waiting, members, .. }) = self.storing.loading.take() else { return };
        for (device, waiting) in waiting {
            self.no_longer_waits_for_disk(now, device, waiting);
        }
        if !self.is_draining() {
            for key in members {
                let is_away = self.sessions.get(&key).is_some_and(|session| session.connection.is_none());
                if is_away {
                    self.hand_on(now, key, Leaving::Away);
                }
            }
        }
        self.wake_next(HeldBy::Store);
    }

    /// A session is here again, away, as its gateway's death has left it. One that a device has got here since stays.
    fn restore(&mut self, now: Now, records: &[StoreRecord]) {
        let Some(stored) = StoredSession::read(now, records) else {
            let what = records.first().map(|record| record.key.escape_ascii().to_string());
            let what = format!("the session at {}", what.unwrap_or_default());
            return self.unreadable(None, &what, records.len() as u64);
        };
        if !self.may_be_stored(&stored.device) {
            return;
        }
        if stored.unreadable > 0 {
            self.unreadable(Some(stored.device.clone()), "records of its session", stored.unreadable);
        }
        let StoredSession { device, head, subscriptions, inflight, queue, released, received, .. } = stored;
        let key = self.new_session(now, device);
        let id = self.config.placement.session(self.next_session);
        self.next_session += 1;
        for (filter, subscription, is_owed) in subscriptions {
            match (self.insert(key, &filter, subscription), filter) {
                (None, _) => self.count(Count::StoreSubscriptionsFull),
                (Some(inserted), Filter::Own(filter)) if is_owed => {
                    self.owe_retained(key, &filter, subscription, inserted);
                    if let Some(session) = self.sessions.touch(&key) {
                        session.disk.owed.push(filter);
                    }
                }
                (Some(_), Filter::Own(_) | Filter::Shared(_)) => {}
            }
        }
        let here = |stored: StoredCopy| self.copy_here(key, stored);
        let inflight: Vec<_> =
            inflight.into_iter().map(|(order, id, n, copy)| (order, id, n, here(copy))).collect();
        let queue: Vec<_> = queue.into_iter().map(|(number, copy)| (number, here(copy))).collect();
        let left = head.kept_until.map_or(head.expiry, |until| until.since(now.wall));
        let expires_at = now.boot + left.min(head.expiry);
        let is_of_earlier_boot = head.boot != self.storing.boot;
        // Without a router from the beginning there is nobody who could say that it is stale.
        let left_in = if self.storing.had_router { Turn::NEVER } else { self.turn.era };
        let Some(session) = self.sessions.touch(&key) else { return };
        session.renumber(id, if is_of_earlier_boot { BootTime::default() } else { head.accepted_at });
        (session.expiry, session.expires_at, session.left_in) = (head.expiry, Some(expires_at), left_in);
        let has_shares = inflight.iter().any(|(.., copy)| copy.share.is_some())
            || queue.iter().any(|(_, copy)| copy.share.is_some());
        let before = session.outbox.depth();
        session.outbox.restore(inflight, queue, released);
        self.depth.changed(before, session.outbox.depth());
        session.received.restore(received);
        session.disk.is_of_earlier_boot = is_of_earlier_boot;
        session.disk.is_there = true;
        session.disk.head = Some(session.disk_head());
        self.timers.set(TimerFor::Session(key), expires_at);
        self.count(Count::SessionRestored);
        if let Some(loading) = self.storing.loading.as_mut().filter(|_| has_shares) {
            loading.members.push(key);
        }
    }

    /// A message that came through a group is as if it had come through the same now; one whose group the session has left is its own.
    fn copy_here(&self, key: SessionKey, stored: StoredCopy) -> LocalCopy {
        let share = stored.share.and_then(|(filter, published)| {
            Some(Share { group: self.groups.find(key, &filter)?, published })
        });
        LocalCopy { share, ..stored.copy }
    }
}
