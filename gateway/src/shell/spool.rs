//! The spool's disk: the log, and who reads from it and marks it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use roost_log::{
    Log, LogConfig, LogError, LogStatus, Lsn, Opened, Replayed, Snapshot, Tail, WrittenSnapshot,
};
use roost_ops::{Problem, now};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::hub::Hub;
use super::world::World;
use crate::spool::{Found, LogStands, Spool, SpoolGauges, SpoolInput, SpoolLimits, SpoolRecordError};

/// Where the spool is, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Its directory, made if it is absent. One process at a time has it open.
    pub directory: PathBuf,
    /// Its bounds.
    pub limits: SpoolLimits,
}

/// Why a spool is not opened. The operator is to act: nothing in it is passed over.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk, or what is on it.
    #[error("the spool: {0}")]
    Log(#[from] LogError),
    /// Another build wrote it.
    #[error("the spool in {}: {source}: start the build that wrote it until the spool is empty", directory.display())]
    Mark {
        /// Where it is.
        directory: PathBuf,
        /// What cannot be read.
        source: SpoolRecordError,
    },
    /// A rule says `spooled`, and there is no directory.
    #[error("an uplink rule says `acknowledge: spooled`, which needs a directory: set `data`")]
    NoDirectory,
}

/// A segment leaves the disk when all of it is done: small, so that it soon is, and large enough that files stay few.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// What is read at once.
const READ_RECORDS: usize = 500;
const READ_BYTES: usize = 1024 * 1024;

/// What cannot be read is tried again after this.
const READ_RETRY: Duration = Duration::from_secs(5);

/// What the last records and the last mark get at the end.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// A spool and its disk, ready for a world.
pub(super) struct OpenSpool {
    pub(super) core: Spool,
    pub(super) disk: Disk,
    pub(super) status: watch::Receiver<LogStatus>,
    pub(super) jobs: mpsc::Receiver<Job>,
}

/// What is done on a thread that may block.
pub(super) enum Job {
    /// Read from this place on.
    Read {
        tail: Tail,
        to: Lsn,
    },
    Mark {
        snapshot: Snapshot,
        record: Bytes,
    },
}

/// The log, as the world's thread uses it: it never waits.
pub(super) struct Disk {
    log: Log,
    /// Records that the log's queue had no room for. The core stops taking events in before they are many.
    waiting: VecDeque<Bytes>,
    tail: Option<Tail>,
    jobs: mpsc::Sender<Job>,
}

impl OpenSpool {
    /// Opens the spool; `None` if none is wanted and none was left. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// [`SpoolError`]
    pub(super) fn open(config: Option<SpoolConfig>, is_wanted: bool) -> Result<Option<Self>, SpoolError> {
        let Some(SpoolConfig { directory, limits }) = config else {
            return if is_wanted { Err(SpoolError::NoDirectory) } else { Ok(None) };
        };
        // What an earlier configuration has left goes on to the backend.
        if !is_wanted && !directory.exists() {
            return Ok(None);
        }
        let opened = Opened::open(LogConfig {
            segment_bytes: SEGMENT_BYTES.min(limits.bytes_max / 8),
            // A spool that has filled its disk makes room by itself once the backend has what is in it.
            forgets: true,
            ..LogConfig::new(directory.clone())
        })?;
        if let Some(cut) = opened.cut() {
            tracing::warn!(
                file = %cut.path.display(), offset = cut.offset, bytes = cut.bytes,
                "a crash had torn the end of the spool, which was never acknowledged: cut"
            );
        }
        let mark = match opened.replay().next().transpose()? {
            Some(Replayed::Snapshot(record)) => Some(Bytes::from(record)),
            Some(Replayed::Record(..)) | None => None,
        };
        let mark_error = |source| SpoolError::Mark { directory: directory.clone(), source };
        let named = mark.as_ref().map_or(Ok(0), Spool::named_by).map_err(mark_error)?;
        let opened = opened.numbered_beyond(Lsn(named));
        let (last, covered) = (opened.last().0, opened.covered().0);
        let log = opened.start()?;
        let status = log.status();
        let disk_bytes = status.borrow().segment_bytes;
        let core =
            Spool::open(limits, now(), &Found { last, covered, mark, disk_bytes }).map_err(mark_error)?;
        let left = core.gauges();
        tracing::info!(events = left.events, bytes = left.bytes, "the spool is open");
        // One to read and one to mark: the core asks for no more.
        let (jobs, received) = mpsc::channel(2);
        let disk = Disk { log, waiting: VecDeque::new(), tail: None, jobs };
        Ok(Some(Self { core, disk, status, jobs: received }))
    }
}

impl Disk {
    pub(super) fn append(&mut self, record: Bytes) {
        self.waiting.push_back(record);
        self.push();
    }

    /// Gives the log what it has room for.
    pub(super) fn push(&mut self) {
        while let Some(record) = self.waiting.pop_front() {
            if let Err(roost_log::Full(record)) = self.log.try_append(record) {
                self.waiting.push_front(record);
                break;
            }
        }
    }

    pub(super) fn read(&mut self, from: u64, to: u64) {
        let tail = self.tail.take().filter(|tail| tail.at() == Lsn(from));
        let tail = tail.unwrap_or_else(|| self.log.tail(Lsn(from)));
        self.order(Job::Read { tail, to: Lsn(to) });
    }

    pub(super) fn mark(&mut self, covers: u64, record: Bytes) {
        let snapshot = self.log.mark(Lsn(covers));
        self.order(Job::Mark { snapshot, record });
    }

    pub(super) fn forget(&self, up_to: u64) {
        self.log.forget(Lsn(up_to));
    }

    /// Puts a mark in force. False if the log's queue is full of records.
    fn install(&mut self, written: WrittenSnapshot) -> bool {
        self.log.try_install(written).is_ok()
    }

    fn order(&mut self, job: Job) {
        let is_taken = self.jobs.try_send(job).is_ok();
        debug_assert!(is_taken, "the core asks for one read and one mark at a time");
    }
}

/// How the log stands, in the core's words.
pub(super) fn stands(status: &LogStatus) -> LogStands {
    LogStands {
        durable: status.durable.0,
        is_stuck: status.stuck.is_some(),
        disk_bytes: status.segment_bytes,
    }
}

/// Tells the world how the log stands, whenever that changes.
pub(super) async fn watch_log(world: Rc<RefCell<World>>, mut status: watch::Receiver<LogStatus>) {
    while status.changed().await.is_ok() {
        let status = status.borrow_and_update().clone();
        world.borrow_mut().with_hub(|hub| hub.spool_log(status));
    }
}

/// Reads and marks, one after the other.
pub(super) async fn work(world: Rc<RefCell<World>>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Read { tail, to } => {
                let first = tail.at();
                let (tail, records) = match spawn_blocking(move || read(tail, to)).await {
                    Ok(done) => done,
                    Err(error) => {
                        tracing::error!(%error, "reading the spool has failed");
                        (None, Vec::new())
                    }
                };
                if records.is_empty() {
                    sleep(READ_RETRY).await;
                }
                world.borrow_mut().with_hub(|hub| hub.spool_read(first.0, tail, records));
            }
            Job::Mark { snapshot, record } => {
                let written = spawn_blocking(move || snapshot.write([record])).await;
                let written = match written {
                    Ok(Ok(written)) => Some(written),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the spool's mark could not be written; it is tried again");
                        None
                    }
                    Err(error) => {
                        tracing::error!(%error, "the spool's mark could not be made");
                        None
                    }
                };
                world.borrow_mut().with_hub(|hub| hub.spool_marked(written));
            }
        }
    }
}

/// As much as is read at once.
fn read(mut tail: Tail, to: Lsn) -> (Option<Tail>, Vec<Bytes>) {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < READ_RECORDS && bytes < READ_BYTES {
        match tail.next(to) {
            Ok(Some(record)) => {
                bytes += record.len();
                records.push(Bytes::from(record));
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the spool cannot be read: what is behind this waits");
                return (None, records);
            }
        }
    }
    (Some(tail), records)
}

/// `GET /spool`: how much waits, how old it is, and for how long there is room.
pub(super) fn answer(gauges: &SpoolGauges, status: &LogStatus) -> Response {
    let SpoolGauges { events, bytes, bytes_max, oldest, full_in, state } = *gauges;
    if bytes_max == 0 {
        return Problem::new(StatusCode::NOT_FOUND, "this gateway has no spool").into_response();
    }
    Json(json!({
        "state": state.as_str(),
        "stuck": status.stuck,
        "events": events,
        "bytes": bytes,
        "bytes_max": bytes_max,
        "oldest_age_ms": oldest.map(|oldest| now().wall.since(oldest).as_millis() as u64),
        "full_in_ms": full_in.map(|left| left.as_millis() as u64),
    }))
    .into_response()
}

/// The end: what is queued is written, and what is done is marked, so that it is not published again.
pub(super) async fn close(mut core: Spool, mut disk: Disk) {
    let written = timeout(CLOSE_GRACE, async {
        while !disk.waiting.is_empty() {
            disk.log.room().await;
            disk.push();
        }
        let last = disk.log.last();
        let mut status = disk.log.status();
        // An error means that the writer has ended, and nothing changes any more.
        let _ = status.wait_for(|status| status.durable >= last).await;
    });
    let is_written = written.await.is_ok();
    let status = disk.log.status().borrow().clone();
    if let Some((covers, record)) = core.last_mark(stands(&status)) {
        let snapshot = disk.log.mark(Lsn(covers));
        // What is not marked is published again, with the same ids.
        if let Ok(Ok(written)) = spawn_blocking(move || snapshot.write([record])).await {
            disk.install(written);
        }
    }
    let left = core.gauges().events;
    let closed = disk.log.close(CLOSE_GRACE).await;
    if !is_written || closed.cut > 0 {
        tracing::warn!(
            events = closed.cut,
            "events were given to the spool and not written: nobody was told that they are safe"
        );
    }
    tracing::info!(events = left, "the spool is closed");
}

/// Waits for the mark that is being written, if one is: the last one comes behind it.
pub(super) async fn marked(world: &Rc<RefCell<World>>) {
    let Some(marked) = world.borrow_mut().hub().map(|hub| Rc::clone(&hub.marked)) else { return };
    let is_marking = || {
        let mut world = world.borrow_mut();
        let spool = world.hub().and_then(|hub| hub.spool.as_ref());
        spool.is_some_and(|(core, _)| core.is_marking())
    };
    let written = async {
        while is_marking() {
            marked.notified().await;
        }
    };
    // A disk that does not write it in time has the events published again at the next start, with the same ids.
    let _ = timeout(CLOSE_GRACE, written).await;
}

impl Hub {
    /// The log stands differently.
    fn spool_log(&mut self, status: LogStatus) {
        if let Some((_, disk)) = &mut self.spool {
            disk.push();
        }
        let stands = stands(&status);
        self.spool_status = status;
        self.spool_input(SpoolInput::Log(stands));
    }

    fn spool_read(&mut self, first: u64, tail: Option<Tail>, records: Vec<Bytes>) {
        if let Some((_, disk)) = &mut self.spool {
            disk.tail = tail;
        }
        self.spool_input(SpoolInput::Read { first, records });
    }

    fn spool_marked(&mut self, written: Option<WrittenSnapshot>) {
        let is_in_force = match (&mut self.spool, written) {
            (Some((_, disk)), Some(written)) => disk.install(written),
            (None, _) | (_, None) => false,
        };
        self.spool_input(SpoolInput::Marked { is_in_force });
        self.marked.notify_one();
    }
}
