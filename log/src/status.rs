//! How far the log is, and how it fares.

use roost_ops::{Exposition, Histogram, MetricKind};

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

impl LogStatus {
    /// Its families, named `roost_<name>_…`.
    pub fn write(&self, name: &str, page: &mut Exposition) {
        let Self { durable, stuck, batches, records, written_bytes, failures, segments, snapshots, .. } =
            self;
        let family = |metric: &str| format!("roost_{name}_{metric}");
        let counters = [
            ("batches_total", "Batches written and synced.", *batches),
            ("records_total", "Records written and synced.", *records),
            ("written_bytes_total", "Bytes written, with frames.", *written_bytes),
            ("failures_total", "Writes and syncs that failed.", *failures),
            ("snapshots_total", "Snapshots that took the place of segments.", *snapshots),
        ];
        for (metric, help, value) in counters {
            page.family(&family(metric), MetricKind::Counter, help).sample(&[], value);
        }
        let help = "Time to write a batch of records and sync it.";
        page.family(&family("sync_seconds"), MetricKind::Histogram, help).histogram(&[], &self.syncs);
        let gauges = [
            ("durable_lsn", "The last record on disk.", durable.0),
            ("segments", "Segments on disk.", *segments),
            ("disk_bytes", "Bytes on disk.", self.segment_bytes + self.snapshot_bytes),
            ("stuck", "Whether nothing can be written at the moment.", u64::from(stuck.is_some())),
        ];
        for (metric, help, value) in gauges {
            page.family(&family(metric), MetricKind::Gauge, help).sample(&[], value);
        }
    }
}
