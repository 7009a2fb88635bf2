//! When the journal is compacted, and the task that writes the snapshot beside the appends.

use std::io;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::backlog::Backlog;
use crate::journal::Record;
use roost_log::WrittenSnapshot;

/// At most one snapshot is in the making.
#[derive(Debug)]
pub(super) struct Compaction {
    every_bytes: u64,
    task: Option<JoinHandle<io::Result<WrittenSnapshot>>>,
    not_before: Instant,
}

/// The least time between two: a snapshot that is refused is tried again then, and one that was written has been put in
/// force by then.
const PAUSE: Duration = Duration::from_secs(5);

impl Compaction {
    pub(super) fn new(every_bytes: u64) -> Self {
        Self { every_bytes, task: None, not_before: Instant::now() }
    }

    /// Begins a snapshot if one is due, and puts it in force when it is written. `records` stand for everything that was
    /// given to the backlog.
    ///
    /// Due means: the segments are larger than a snapshot is likely to be, so that rewriting costs at most as much as
    /// appending did.
    pub(super) async fn proceed(&mut self, backlog: &mut Backlog, records: impl FnOnce() -> Vec<Record>) {
        if let Some(task) = self.task.take_if(|task| task.is_finished()) {
            self.task = install(task, backlog).await;
            return;
        }
        let status = backlog.status();
        let is_due = status.segment_bytes >= self.every_bytes.max(status.snapshot_bytes);
        if self.task.is_some() || !is_due || status.stuck.is_some() || Instant::now() < self.not_before {
            return;
        }
        // No room: soon again.
        let Some(snapshot) = backlog.log_if_level().and_then(|log| log.try_snapshot()) else { return };
        self.not_before = Instant::now() + PAUSE;
        let records = records();
        self.task = Some(spawn_blocking(move || snapshot.write(records.iter().map(Record::encode))));
    }

    /// Waits for what is in the making. It never was, unless it is in force: the journal stays as it is.
    pub(super) async fn end(self) {
        if let Some(task) = self.task {
            // How it went does not matter any more.
            let _ = task.await;
        }
    }
}

/// Puts what a finished task has written in force; returns a task again if the log's queue is full for now.
async fn install(
    task: JoinHandle<io::Result<WrittenSnapshot>>,
    backlog: &mut Backlog,
) -> Option<JoinHandle<io::Result<WrittenSnapshot>>> {
    match task.await {
        Ok(Ok(written)) => match backlog.log().try_install(written) {
            Ok(()) => None,
            Err(written) => Some(spawn_blocking(move || Ok(written))),
        },
        Ok(Err(error)) => {
            tracing::warn!(%error, "the journal's snapshot could not be written; it is tried again in {PAUSE:?}");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the journal's snapshot could not be made");
            None
        }
    }
}
