//! A disk that tests can stop, and a gateway that dies and is there again with what it had written.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use roost_wire::{Device, Incarnation};

use super::{World, limits, shard_config};
use crate::Limits;
use crate::shard::{Backend, Input, ShardConfig};
use crate::store::{
    RETAINED, ROUTER, SESSIONS, StoreBatch, StoreChange, StoreNumber, StoreOpened, StoreRecord, prefix_of,
};

/// Records by key, and what is on its way to them.
#[derive(Debug, Default, Clone)]
pub(in crate::tests) struct FakeStore {
    pub(in crate::tests) records: BTreeMap<Bytes, Bytes>,
    pending: VecDeque<StoreBatch>,
    /// While it is set nothing becomes durable.
    pub(in crate::tests) is_slow: bool,
    /// Sessions that were asked for and not answered.
    pub(in crate::tests) asked: VecDeque<(Device, Bytes)>,
    /// Batches that were made durable.
    pub(in crate::tests) batches: u64,
}

impl FakeStore {
    pub(super) fn push(&mut self, batch: StoreBatch) {
        assert!(!batch.changes.is_empty());
        self.pending.push_back(batch);
    }

    /// Makes everything durable that waits; gives the last number.
    pub(super) fn write(&mut self) -> Option<StoreNumber> {
        if self.is_slow {
            return None;
        }
        let mut last = None;
        for StoreBatch { number, changes } in std::mem::take(&mut self.pending) {
            last = Some(number);
            self.batches += 1;
            for change in changes {
                self.change(change);
            }
        }
        last
    }

    fn change(&mut self, change: StoreChange) {
        match change {
            StoreChange::Put(StoreRecord { key, value }) => {
                self.records.insert(key, value);
            }
            StoreChange::Delete { key } => {
                self.records.remove(&key);
            }
            StoreChange::DeleteAll { prefix } => self.records.retain(|key, _| !key.starts_with(&prefix)),
        }
    }

    pub(in crate::tests) fn beginning_with(&self, prefix: &[u8]) -> Vec<StoreRecord> {
        let found = self.records.iter().filter(|(key, _)| key.starts_with(prefix));
        found.map(|(key, value)| StoreRecord { key: key.clone(), value: value.clone() }).collect()
    }

    fn opened(&self, boot: u64) -> StoreOpened {
        StoreOpened {
            boot,
            has_sessions: !self.beginning_with(SESSIONS).is_empty(),
            had_router: self.records.contains_key(ROUTER),
            retained: self.beginning_with(RETAINED),
        }
    }
}

impl World {
    /// As [`World::new`], with a disk.
    pub(in crate::tests) fn storing() -> Self {
        Self::storing_with(limits())
    }

    pub(in crate::tests) fn storing_with(limits: Limits) -> Self {
        let world = Self::of(ShardConfig { limits, ..shard_config() });
        Self::connected(world.opened(FakeStore::default(), 1))
    }

    /// As [`World::roaming`], with a disk.
    pub(in crate::tests) fn storing_and_roaming() -> Self {
        let world = Self { roams: true, ..Self::of(shard_config()) };
        Self::connected(world.opened(FakeStore::default(), 1))
    }

    /// As [`World::storing_and_roaming`], and neither backend nor router have ever spoken.
    pub(in crate::tests) fn storing_alone() -> Self {
        Self::of(shard_config()).opened(FakeStore::default(), 1)
    }

    fn opened(mut self, store: FakeStore, boot: u64) -> Self {
        let opened = store.opened(boot);
        self.store = Some(store);
        self.input(Input::StoreOpened(Box::new(opened)));
        self
    }

    /// The gateway is killed, and runs again with what was durable. Neither backend nor router have spoken, and no session is read yet.
    pub(in crate::tests) fn killed(self) -> Self {
        self.killed_in_boot(1)
    }

    /// The same, and perhaps the machine was started again in between.
    pub(in crate::tests) fn killed_in_boot(self, boot: u64) -> Self {
        let FakeStore { records, .. } = self.store.expect("there is a store");
        let config = ShardConfig { incarnation: Incarnation(8), ..shard_config() };
        let world = Self { now: self.now, roams: self.roams, ..Self::of(config) };
        world.opened(FakeStore { records, ..FakeStore::default() }, boot)
    }

    /// The same with backend and router, and all sessions read.
    pub(in crate::tests) fn restarted(self) -> Self {
        let mut world = self.killed().up();
        world.read_all();
        world
    }

    /// Backend and router are there.
    pub(in crate::tests) fn up(mut self) -> Self {
        self.backend(Backend::Up);
        self.link_up(1);
        self.answer_heartbeats(1);
        self
    }

    /// Gives the shard all sessions that the disk has, a page for each.
    pub(in crate::tests) fn read_all(&mut self) {
        let all = self.store.as_ref().expect("there is a store").beginning_with(SESSIONS);
        for records in all.chunk_by(|a, b| prefix_of(&a.key) == prefix_of(&b.key)) {
            self.input(Input::SessionsRead { records: records.to_vec(), is_last: false });
        }
        self.input(Input::SessionsRead { records: Vec::new(), is_last: true });
    }

    /// Answers the oldest question for a session.
    pub(in crate::tests) fn read_asked(&mut self) -> Device {
        let store = self.store.as_mut().expect("there is a store");
        let (device, prefix) = store.asked.pop_front().expect("a session is asked for");
        let records = store.beginning_with(&prefix);
        self.input(Input::SessionRead { device: device.clone(), records });
        device
    }

    /// Whether the disk makes anything durable.
    pub(in crate::tests) fn disk_is_slow(&mut self, is_slow: bool) {
        self.store.as_mut().expect("there is a store").is_slow = is_slow;
        self.run();
    }

    pub(in crate::tests) fn stored(&self) -> usize {
        self.store.as_ref().expect("there is a store").beginning_with(SESSIONS).len()
    }
}
