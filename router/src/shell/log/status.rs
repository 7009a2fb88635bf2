//! How far the log is, and how it fares.

use roost_ops::Histogram;

use super::Lsn;

/// What the writer thread last said. It is a state and no event: who looks late sees the newest, and nothing queues.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogStatus {
    /// Every record up to this one is on disk and synced.
    pub durable: Lsn,
    /// Why nothing can be written at the moment (for example a full disk); `None` while all is well.
    pub stuck: Option<String>,
    /// Whether the writer thread has ended.
    pub closed: bool,
    /// Batches written and synced.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// How long it took to write a batch and sync it, failed attempts left out.
    pub syncs: Histogram,
    /// Bytes written, with frames.
    pub written_bytes: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Their bytes: what a snapshot of now would free.
    pub segment_bytes: u64,
    /// Bytes of the snapshot in force.
    pub snapshot_bytes: u64,
    /// Snapshots that have taken their place.
    pub snapshots: u64,
    /// The newest of them stands for the records up to this one.
    pub covered: Lsn,
}
