//! A gateway's spool: production's core, on a disk that can lose what was not synced.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use roost_gateway::shard::{Backend, Input, Shard};
use roost_gateway::spool::{Found, LogStands, Spool, SpoolInput, SpoolLimits, SpoolOutput};
use roost_gateway::{Publication, PublishOutcome, PublishToken};
use roost_wire::Now;

use crate::chance::Chance;

/// What outlives the gateway.
#[derive(Debug, Default)]
pub(crate) struct SpoolDisk {
    records: BTreeMap<u64, Bytes>,
    last: u64,
    covered: u64,
    mark: Option<Bytes>,
}

/// A spool in one life of its gateway.
#[derive(Debug)]
pub(crate) struct SpoolRun {
    core: Spool,
    /// Written, and not synced.
    written: Vec<Bytes>,
    /// Written beside it.
    marking: Option<(u64, Bytes)>,
    is_syncing: bool,
    /// The disk is full: the last sync has failed, and is tried again.
    is_stuck: bool,
}

impl SpoolDisk {
    fn bytes(&self) -> u64 {
        self.records.values().map(|record| record.len() as u64).sum()
    }

    fn stands(&self) -> LogStands {
        LogStands { durable: self.last, is_stuck: false, disk_bytes: self.bytes() }
    }

    fn stands_stuck(&self) -> LogStands {
        LogStands { is_stuck: true, ..self.stands() }
    }
}

impl SpoolRun {
    pub(crate) fn start(now: Now, limits: SpoolLimits, disk: &SpoolDisk) -> Self {
        let found = Found {
            last: disk.last,
            covered: disk.covered,
            mark: disk.mark.clone(),
            disk_bytes: disk.bytes(),
        };
        let core = Spool::open(limits, now, &found).expect("what it has written is readable");
        Self { core, written: Vec::new(), marking: None, is_syncing: false, is_stuck: false }
    }

    /// The end of a life. Of what was written and not synced some may be on disk: a prefix.
    pub(crate) fn crash(mut self, disk: &mut SpoolDisk, chance: &mut Chance) {
        let kept = chance.below(self.written.len() as u64 + 1) as usize;
        // A full disk has taken none of it.
        self.keep(disk, if self.is_stuck { 0 } else { kept });
    }

    fn keep(&mut self, disk: &mut SpoolDisk, many: usize) {
        for record in self.written.drain(..many) {
            disk.last += 1;
            disk.records.insert(disk.last, record);
        }
    }

    pub(crate) fn handle(&mut self, now: Now, input: SpoolInput) {
        self.core.handle(now, input);
    }

    pub(crate) fn backend(&mut self, now: Now, backend: Backend) {
        self.core.handle(now, SpoolInput::Backend(backend));
    }

    pub(crate) fn published(&mut self, now: Now, token: PublishToken, outcome: PublishOutcome) {
        self.core.handle(now, SpoolInput::Published { token, outcome });
    }

    /// Whether it begins to sync.
    pub(crate) fn begins_sync(&mut self) -> Option<usize> {
        let has_something = !self.written.is_empty() || self.marking.is_some();
        (has_something && !std::mem::replace(&mut self.is_syncing, true)).then_some(self.written.len())
    }

    /// The disk is full: the sync has failed, and is tried again.
    pub(crate) fn stuck(&mut self, now: Now, disk: &SpoolDisk) {
        if !std::mem::replace(&mut self.is_stuck, true) {
            self.core.handle(now, SpoolInput::Log(disk.stands_stuck()));
        }
    }

    /// The disk has so many more records, and the mark that was being written.
    pub(crate) fn synced(&mut self, now: Now, disk: &mut SpoolDisk, many: usize) {
        (self.is_syncing, self.is_stuck) = (false, false);
        self.keep(disk, many);
        if let Some((covers, record)) = self.marking.take() {
            disk.records = disk.records.split_off(&(covers + 1));
            (disk.covered, disk.mark) = (covers, Some(record));
            self.core.handle(now, SpoolInput::Marked { is_in_force: true });
        }
        self.core.handle(now, SpoolInput::Log(disk.stands()));
    }

    /// Performs what it wants; what is to be published goes to `publish`. False if there was nothing.
    pub(crate) fn perform(
        &mut self,
        now: Now,
        disk: &SpoolDisk,
        shard: &mut Shard,
        mut publish: impl FnMut(Publication),
    ) -> bool {
        let mut was_quiet = true;
        while let Some(output) = self.core.poll_output() {
            was_quiet = false;
            match output {
                SpoolOutput::Append(record) => self.written.push(record),
                SpoolOutput::Read { from, to } => {
                    let records = disk.records.range(from..=to).take(7).map(|(_, record)| record.clone());
                    let records = records.collect();
                    self.core.handle(now, SpoolInput::Read { first: from, records });
                }
                SpoolOutput::Mark { covers, record } => self.marking = Some((covers, record)),
                // A full disk has room again by itself here.
                SpoolOutput::Forget { .. } => {}
                SpoolOutput::Publish(publication) => publish(*publication),
                SpoolOutput::Safe { shard: _, numbers } => shard.handle(now, Input::Spooled { numbers }),
                SpoolOutput::State(state) => shard.handle(now, Input::Spool(state)),
                SpoolOutput::Unreadable { number, why } => panic!("record {number}: {why}"),
            }
        }
        !was_quiet
    }

    pub(crate) fn core(&self) -> &Spool {
        &self.core
    }
}

/// Small, so that everything in it happens.
pub(crate) fn draw_limits(chance: &mut Chance) -> SpoolLimits {
    SpoolLimits {
        bytes_max: chance.pick(&[4_000, 1_000_000]),
        age_max: Duration::from_secs(24 * 3_600),
        drain_per_s: chance.pick(&[50, 10_000]),
        window_events: chance.pick(&[4, 100]),
        memory_events: chance.pick(&[2, 50]),
        ..SpoolLimits::default()
    }
}
