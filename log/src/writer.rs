//! The writer thread: the only one that changes the log's files once it is open.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::batch::Batch;
use super::directory::{Directory, FIRST_FRAME_AT};
use super::frame::Kind;
use super::opened::covered_segments;
use super::snapshot::WrittenSnapshot;
use super::{LogConfig, LogStatus, Lsn};

/// What the thread is asked to do. It does one after the other, so what comes later finds the earlier durable.
#[derive(Debug)]
pub(super) enum Job {
    Append(Lsn, Bytes),
    /// Begin a new segment at the next record.
    Seal,
    Install(WrittenSnapshot),
}

pub(super) struct Writer {
    config: LogConfig,
    directory: Arc<Directory>,
    segments: Vec<Lsn>,
    covered: Lsn,
    open: Option<OpenSegment>,
    batch: Batch,
    queue: mpsc::Receiver<Job>,
    status: watch::Sender<LogStatus>,
    give_up: Arc<AtomicBool>,
    forgotten: Option<Arc<AtomicU64>>,
}

/// The segment that is appended to. After any failure it is left, since what a failed sync has done nobody knows.
struct OpenSegment {
    file: File,
    salt: u32,
    durable_bytes: u64,
}

impl Writer {
    #[expect(clippy::too_many_arguments, reason = "the thread owns all of it, and there is one caller")]
    pub(super) fn new(
        config: LogConfig,
        directory: Arc<Directory>,
        segments: Vec<Lsn>,
        covered: Lsn,
        queue: mpsc::Receiver<Job>,
        status: watch::Sender<LogStatus>,
        give_up: Arc<AtomicBool>,
        forgotten: Option<Arc<AtomicU64>>,
    ) -> Self {
        let batch = Batch::new();
        Self { config, directory, segments, covered, open: None, batch, queue, status, give_up, forgotten }
    }

    /// Works until the log is closed and the queue is empty, or it is told to give up.
    pub(super) fn run(mut self) {
        while let Some(job) = self.queue.blocking_recv() {
            let after = self.collect(job);
            if !self.flush() {
                break;
            }
            match after {
                None | Some(Job::Append(..)) => {}
                Some(Job::Seal) => self.open = None,
                Some(Job::Install(snapshot)) => self.install(&snapshot),
            }
        }
        self.status.send_modify(|status| status.closed = true);
    }

    /// Takes all records that wait, up to a batch; returns the first job that is none.
    fn collect(&mut self, job: Job) -> Option<Job> {
        let mut next = Some(job);
        while let Some(job) = next {
            match job {
                Job::Append(lsn, record) => self.batch.push(lsn, record),
                other @ (Job::Seal | Job::Install(_)) => return Some(other),
            }
            let is_full = self.batch.bytes() >= self.config.batch_bytes;
            next = if is_full { None } else { self.queue.try_recv().ok() };
        }
        None
    }

    /// Makes the batch durable, however long that takes. False if it was given up.
    fn flush(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let mut started = Instant::now();
        while let Err(error) = self.write_batch() {
            self.abandon_segment();
            self.status.send_modify(|status| {
                status.failures += 1;
                status.stuck = Some(error.to_string());
            });
            if self.give_up.load(Ordering::Acquire) {
                return false;
            }
            if self.forget() {
                continue;
            }
            std::thread::park_timeout(self.config.retry);
            started = Instant::now();
        }
        let took = started.elapsed();
        let (durable, bytes) = (self.batch.last(), self.batch.bytes() as u64);
        let records = durable.0 + 1 - self.batch.first().0;
        self.batch.clear(self.config.batch_bytes);
        self.status.send_modify(|status| {
            status.durable = durable;
            status.stuck = None;
            status.batches += 1;
            status.records += records;
            status.syncs.observe(took);
            status.written_bytes += bytes;
            status.segments = self.segments.len() as u64;
            status.segment_bytes += bytes;
        });
        true
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let is_full = |open: &OpenSegment| open.durable_bytes >= self.config.segment_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let (first, salt) = (self.batch.first(), rand::random());
                let file = self.directory.new_segment(first, salt)?;
                // One with this number held nothing durable, and was replaced.
                if self.segments.last() != Some(&first) {
                    self.segments.push(first);
                }
                self.open.insert(OpenSegment { file, salt, durable_bytes: FIRST_FRAME_AT })
            }
        };
        let bytes = self.batch.encode(open.salt);
        self.directory.write(&mut open.file, bytes)?;
        self.directory.sync(&open.file)?;
        open.durable_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Leaves the segment with what is durable in it. The batch is written again into a new one, whose number tells a reader
    /// where this one ends; so cutting it only gives back space, and may fail.
    fn abandon_segment(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = open.file.set_len(open.durable_bytes);
        }
    }

    /// Removes the segments that nobody wants any more; whether there was one. No segment is open.
    fn forget(&mut self) -> bool {
        let Some(forgotten) = &self.forgotten else { return false };
        let forgotten = Lsn(forgotten.load(Ordering::Relaxed));
        let (mut unwanted, mut kept) = covered_segments(&self.segments, forgotten);
        if self.status.borrow().durable <= forgotten {
            unwanted.append(&mut kept);
        }
        // One that can't be removed is tried again with the next failure.
        let (removed, left): (Vec<Lsn>, Vec<Lsn>) =
            unwanted.into_iter().partition(|lsn| self.directory.remove(Kind::Segment, *lsn).is_ok());
        self.segments = left.into_iter().chain(kept).collect();
        // If this fails, a crash brings back what was done: it is published again, with the same ids.
        let _ = self.directory.sync_names();
        let segment_bytes = self.segments.iter().map(|&lsn| self.directory.bytes(Kind::Segment, lsn)).sum();
        self.status.send_modify(|status| {
            status.segments = self.segments.len() as u64;
            status.segment_bytes = segment_bytes;
        });
        !removed.is_empty()
    }

    /// Puts a snapshot into effect, then removes what it covers. If the disk refuses, the log stays as it is, only longer.
    fn install(&mut self, snapshot: &WrittenSnapshot) {
        let installed = self.replace_by(snapshot.covers);
        let segment_bytes = self.segments.iter().map(|&lsn| self.directory.bytes(Kind::Segment, lsn)).sum();
        self.status.send_modify(|status| {
            match installed {
                Ok(()) => status.snapshots += 1,
                Err(_) => status.failures += 1,
            }
            status.covered = self.covered;
            status.segments = self.segments.len() as u64;
            status.segment_bytes = segment_bytes;
            status.snapshot_bytes = self.directory.bytes(Kind::Snapshot, self.covered);
        });
    }

    fn replace_by(&mut self, covers: Lsn) -> io::Result<()> {
        self.directory.finish(Kind::Snapshot, covers)?;
        let older = std::mem::replace(&mut self.covered, covers);
        let (mut superfluous, kept) = covered_segments(&self.segments, covers);
        self.segments = kept;
        if self.open.is_none() && self.status.borrow().durable <= covers {
            // Nothing was appended since the snapshot was begun: the last segment is covered as well.
            superfluous.append(&mut self.segments);
        }
        // What can't be removed now is when the log is opened again.
        let mut removed = match older == covers || older == Lsn::ZERO {
            true => Ok(()),
            false => self.directory.remove(Kind::Snapshot, older),
        };
        for lsn in superfluous {
            removed = removed.and(self.directory.remove(Kind::Segment, lsn));
        }
        removed.and(self.directory.sync_names())
    }
}
