//! The handle that appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::directory::Directory;
use super::frame::Kind;
use super::snapshot::{Snapshot, WrittenSnapshot};
use super::writer::{Job, Writer};
use super::{LogConfig, LogError, LogStatus, Lsn, Tail};

/// An open log. It has one owner, since who appends decides the order.
#[derive(Debug)]
pub struct Log {
    directory: Arc<Directory>,
    jobs: mpsc::Sender<Job>,
    status: watch::Receiver<LogStatus>,
    last: Lsn,
    give_up: Arc<AtomicBool>,
    /// The record up to which all may be forgotten; `None` if this log forgets nothing.
    forgotten: Option<Arc<AtomicU64>>,
    thread: JoinHandle<()>,
}

/// The queue before the writer is full: the disk is slower than whoever appends, or stuck. The record comes back; try again
/// when [`Log::room`] returns, and take in nothing new until then.
#[derive(Debug, PartialEq, Eq)]
pub struct Full(pub Bytes);

/// How a log was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Everything up to this record is durable.
    pub durable: Lsn,
    /// How many records were appended after that: the disk did not take them within the grace period.
    pub cut: u64,
}

impl Log {
    pub(super) fn start(
        config: LogConfig,
        directory: Arc<Directory>,
        segments: Vec<Lsn>,
        covered: Lsn,
        last: Lsn,
    ) -> Result<Self, LogError> {
        let (jobs, queue) = mpsc::channel(config.queue_records);
        let first = LogStatus {
            durable: last,
            covered,
            segments: segments.len() as u64,
            segment_bytes: segments.iter().map(|&lsn| directory.bytes(Kind::Segment, lsn)).sum(),
            snapshot_bytes: directory.bytes(Kind::Snapshot, covered),
            ..LogStatus::default()
        };
        let (status_sender, status) = watch::channel(first);
        let give_up = Arc::new(AtomicBool::new(false));
        let path = config.directory.clone();
        let forgotten = config.forgets.then(Arc::<AtomicU64>::default);
        let writer = Writer::new(
            config,
            directory.clone(),
            segments,
            covered,
            queue,
            status_sender,
            give_up.clone(),
            forgotten.clone(),
        );
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(LogError::io("start the writer thread of", &path))?;
        Ok(Self { directory, jobs, status, last, give_up, forgotten, thread })
    }

    /// Queues a record and says which number it has. It is safe when [`LogStatus::durable`] has reached that number.
    ///
    /// # Errors
    /// [`Full`] gives the record back; nothing has happened.
    ///
    /// # Panics
    /// If the record is longer than [`LogConfig::RECORD_BYTES_MAX`]: that bound is far above any message's.
    pub fn try_append(&mut self, record: Bytes) -> Result<Lsn, Full> {
        assert!(record.len() <= LogConfig::RECORD_BYTES_MAX, "a record of {} bytes", record.len());
        let lsn = self.last.next();
        match self.jobs.try_send(Job::Append(lsn, record)) {
            Ok(()) => {
                self.last = lsn;
                Ok(lsn)
            }
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => match job {
                Job::Append(_, record) => Err(Full(record)),
                Job::Seal | Job::Install(_) => unreachable!("what comes back is what was sent"),
            },
        }
    }

    /// Waits until the queue has room for one record.
    pub async fn room(&self) {
        // An error means that the writer has ended, which it only does after a panic; then there is never room again.
        match self.jobs.reserve().await {
            Ok(permit) => drop(permit),
            Err(_) => std::future::pending().await,
        }
    }

    /// The number of the last record that was appended.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// How far it is durable and how it fares, and a way to wait for a change of that.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<LogStatus> {
        self.status.clone()
    }

    /// Begins a snapshot that will stand for everything appended so far; appends go on meanwhile. Write it on a thread that
    /// may block, then give it to [`Self::try_install`].
    ///
    /// # Errors
    /// `None` while the queue is full; try later.
    pub fn try_snapshot(&mut self) -> Option<Snapshot> {
        self.jobs.try_send(Job::Seal).ok()?;
        Some(Snapshot::new(self.directory.clone(), self.last))
    }

    /// Begins a snapshot that will stand for everything up to `covers`, which must be durable; what is behind stays as it is. Write and
    /// install it as any other.
    ///
    /// # Panics
    /// If that record is not durable.
    #[must_use]
    pub fn mark(&self, covers: Lsn) -> Snapshot {
        let durable = self.status.borrow().durable;
        assert!(covers <= durable, "{covers} is not durable: {durable}");
        Snapshot::new(self.directory.clone(), covers)
    }

    /// Says that nobody wants the records up to this one any more, whatever a crash leaves of them. Nothing happens while the disk can be
    /// written: a mark takes them away. If it cannot, whole segments of them are removed, so that there is room again.
    ///
    /// # Panics
    /// If the log was not opened as one that [`forgets`](LogConfig::forgets).
    pub fn forget(&self, up_to: Lsn) {
        let forgotten = self.forgotten.as_ref().expect("whoever forgets has opened the log for it");
        forgotten.fetch_max(up_to.0, Ordering::Relaxed);
    }

    /// Reads from a record on, while the log is appended to. It must not be covered by a snapshot.
    #[must_use]
    pub fn tail(&self, from: Lsn) -> Tail {
        Tail::new(self.directory.clone(), from)
    }

    /// Lets a snapshot take the place of what it covers, once all of that is durable. [`LogStatus::covered`] says when.
    ///
    /// # Errors
    /// Gives the snapshot back while the queue is full.
    pub fn try_install(&mut self, snapshot: WrittenSnapshot) -> Result<(), WrittenSnapshot> {
        self.jobs.try_send(Job::Install(snapshot)).map_err(|error| match error.into_inner() {
            Job::Install(snapshot) => snapshot,
            Job::Seal | Job::Append(..) => unreachable!("what comes back is what was sent"),
        })
    }

    /// Writes what is queued and ends the writer thread. If the disk does not take it within `grace`, the rest is given up and
    /// counted.
    pub async fn close(self, grace: Duration) -> Closed {
        let Self { directory: _, jobs, mut status, last, give_up, forgotten: _, thread } = self;
        drop(jobs);
        let in_time = tokio::time::timeout(grace, status.wait_for(|status| status.closed)).await.is_ok();
        if !in_time {
            give_up.store(true, Ordering::Release);
            thread.thread().unpark();
            // An error means that the thread is gone already.
            let _ = status.wait_for(|status| status.closed).await;
        }
        // The thread has said its last word, so this does not wait; a panic in it was logged by its hook.
        let _ = thread.join();
        let durable = status.borrow().durable;
        Closed { durable, cut: last.0 - durable.0 }
    }
}
