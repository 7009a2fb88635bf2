//! The thread that writes.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roost_ops::{Exposition, Histogram, MetricKind};
use tokio::sync::{mpsc, watch};

use super::file::File;
use crate::store::{StoreBatch, StoreChange, StoreNumber, StoreRecord};

/// How the store fares.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreStatus {
    /// Everything up to this batch is on disk.
    pub durable: StoreNumber,
    /// Why nothing can be written, while it can't.
    pub stuck: Option<String>,
    /// Commits, of any number of batches each.
    pub commits: u64,
    /// The batches.
    pub batches: u64,
    /// Bytes of keys and values that were written.
    pub written_bytes: u64,
    /// Commits that failed.
    pub failures: u64,
    /// What the file takes.
    pub disk_bytes: u64,
    /// How long commits took.
    pub commit_times: Histogram,
}

/// Batches that are committed together, at most: what comes later is not to wait for too long.
const BATCHES_MAX: usize = 4_000;

/// Their changes' bytes, but for those of the last batch.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What can't be written is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Starts it. It ends with its sender, and by itself if the file is damaged.
pub(super) fn start(
    file: Arc<File>,
    batches: mpsc::Receiver<StoreBatch>,
) -> io::Result<(watch::Receiver<StoreStatus>, JoinHandle<()>)> {
    let status = StoreStatus { disk_bytes: file.bytes(), ..StoreStatus::default() };
    let (told, status) = watch::channel(status);
    let thread = thread::Builder::new().name("store-write".to_owned());
    Ok((status, thread.spawn(move || write(&file, batches, &told))?))
}

fn write(file: &File, mut batches: mpsc::Receiver<StoreBatch>, told: &watch::Sender<StoreStatus>) {
    while let Some(first) = batches.blocking_recv() {
        let mut group = Group::default();
        group.add(first);
        while group.has_room() {
            let Ok(next) = batches.try_recv() else { break };
            group.add(next);
        }
        if !commit(file, &group, &batches, told) {
            return;
        }
    }
}

/// Commits until it is done; false if that is in vain.
fn commit(
    file: &File,
    group: &Group,
    batches: &mpsc::Receiver<StoreBatch>,
    told: &watch::Sender<StoreStatus>,
) -> bool {
    loop {
        let begun = Instant::now();
        let error = match file.commit(|table| group.apply(table)) {
            Ok(()) => {
                let (took, disk_bytes) = (begun.elapsed(), file.bytes());
                told.send_modify(|status| status.committed(group, took, disk_bytes));
                return true;
            }
            Err(error) => error,
        };
        let why = error.to_string();
        if told.borrow().stuck.as_ref() != Some(&why) {
            tracing::error!(
                error = why,
                "the store of sessions can't be written; it is tried again each second"
            );
        }
        told.send_modify(|status| {
            status.stuck = Some(why);
            status.failures += 1;
        });
        if matches!(error, redb::Error::Corrupted(_)) {
            tracing::error!("the store of sessions is damaged, and the gateway ends");
            return false;
        }
        // Nobody waits for it any longer, at the end.
        if batches.is_closed() {
            return false;
        }
        thread::sleep(RETRY);
        if let Err(error) = file.reopen() {
            tracing::debug!(%error, "the store of sessions can't be opened again");
        }
    }
}

/// Batches as one: of several changes of a record the last counts.
#[derive(Default)]
struct Group {
    last: StoreNumber,
    batches: usize,
    bytes: usize,
    /// Before all else.
    erased: Vec<Bytes>,
    changes: BTreeMap<Bytes, Option<Bytes>>,
}

impl Group {
    fn has_room(&self) -> bool {
        self.batches < BATCHES_MAX && self.bytes < BYTES_MAX
    }

    fn add(&mut self, batch: StoreBatch) {
        self.last = batch.number;
        self.batches += 1;
        for change in batch.changes {
            self.bytes += change.bytes();
            match change {
                StoreChange::Put(StoreRecord { key, value }) => {
                    self.changes.insert(key, Some(value));
                }
                StoreChange::Delete { key } => {
                    self.changes.insert(key, None);
                }
                StoreChange::DeleteAll { prefix } => {
                    let mut rest = self.changes.split_off(&prefix);
                    let is_behind = |key: &Bytes| !key.starts_with(&prefix);
                    let behind = rest.keys().find(|key| is_behind(key)).cloned();
                    if let Some(behind) = behind {
                        self.changes.append(&mut rest.split_off(&behind));
                    }
                    self.erased.push(prefix);
                }
            }
        }
    }

    fn apply(&self, table: &mut redb::Table<'_, &[u8], &[u8]>) -> Result<(), redb::Error> {
        for prefix in &self.erased {
            let end = end_of(prefix);
            table.retain_in::<&[u8], _>(&prefix[..]..&end[..], |_, _| false)?;
        }
        for (key, value) in &self.changes {
            match value {
                Some(value) => drop(table.insert(&key[..], &value[..])?),
                None => drop(table.remove(&key[..])?),
            }
        }
        Ok(())
    }
}

/// The first key behind all that begin so. The prefixes end with a zero byte.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

impl StoreStatus {
    fn committed(&mut self, group: &Group, took: Duration, disk_bytes: u64) {
        if self.stuck.take().is_some() {
            tracing::info!("the store of sessions can be written again");
        }
        self.durable = group.last;
        self.commits += 1;
        self.batches += group.batches as u64;
        self.written_bytes +=
            group.changes.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Bytes::len)).sum::<usize>()
                as u64;
        self.disk_bytes = disk_bytes;
        self.commit_times.observe(took);
    }

    /// As Prometheus reads it.
    pub(crate) fn write(&self, page: &mut Exposition) {
        let Self { commits, batches, written_bytes, failures, disk_bytes, stuck, commit_times, durable: _ } =
            self;
        page.singles(
            MetricKind::Counter,
            [
                ("roost_store_commits_total", "Commits to the store of sessions, each durable.", *commits),
                ("roost_store_batches_total", "Batches of changes in these commits.", *batches),
                ("roost_store_written_bytes_total", "Bytes of the records written by them.", *written_bytes),
                ("roost_store_failures_total", "Commits to the store of sessions that failed.", *failures),
            ],
        );
        let help = "Time to commit a group of changes of sessions durably.";
        page.family("roost_store_commit_seconds", MetricKind::Histogram, help).histogram(&[], commit_times);
        page.singles(
            MetricKind::Gauge,
            [
                ("roost_store_disk_bytes", "Bytes of the store's file; 0 without a store.", *disk_bytes),
                (
                    "roost_store_stuck",
                    "Whether the store of sessions can't be written at the moment.",
                    u64::from(stuck.is_some()),
                ),
            ],
        );
    }
}
