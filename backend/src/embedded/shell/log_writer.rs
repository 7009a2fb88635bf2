//! The thread that writes the log.

use super::segments::{LogError, Segments};
use crate::embedded::core::{Image, Lsn};
use crate::embedded::log::{Liveness, Record, append_frame};
use roost_ops::Histogram;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bytes written before they are made safe, when more is waiting: a bound on how long the first waits for the last.
const WRITE_BYTES_MAX: usize = 4 << 20;
/// How long to wait before a full or failing disk is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long to wait after a compaction that failed: each reads a whole segment.
const COMPACT_PAUSE: Duration = Duration::from_secs(60);

/// What a data directory held when it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments read.
    pub segments: u64,
    /// Records read.
    pub records: u64,
    /// Durable queues found.
    pub queues: u64,
    /// Messages found in them.
    pub messages: u64,
    /// Bytes cut from the last segment, because they were no whole record: a write that a crash tore.
    pub torn_bytes: u64,
}

/// How the log fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// How long it took to write a batch and make it safe.
    pub syncs: Histogram,
    /// Bytes written since the start.
    pub written_bytes: u64,
    /// Bytes that wait to be written.
    pub pending_bytes: usize,
    /// Bytes of its segments on disk.
    pub disk_bytes: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Whether nothing can be written at the moment.
    pub failing: bool,
}

/// The way to the log's thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    progress: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<(Lsn, Record)>,
    pending_bytes: usize,
    closing: bool,
    progress: Progress,
    figures: LogFigures,
}

/// How far the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to this is safe.
    pub(super) synced: Lsn,
    /// The disk is full or failing.
    pub(super) failing: bool,
    /// Bytes that wait.
    pub(super) pending_bytes: usize,
}

impl LogWriter {
    /// Opens the directory, replays it into an image, and starts the thread. Blocks.
    pub(super) fn open(directory: &Path, segment_bytes: u64) -> Result<(Self, Image, Recovery), LogError> {
        let mut image = Image::default();
        let mut liveness = Liveness::default();
        let mut recovery = Recovery::default();
        let (segments, torn_bytes) = Segments::open(directory, |segment, record, bytes| {
            recovery.records += 1;
            liveness.note(segment, &record, bytes);
            image.apply(record);
        })?;
        let (queues, messages) = image.size();
        recovery = Recovery {
            segments: segments.older() as u64,
            queues: queues as u64,
            messages: messages as u64,
            torn_bytes,
            ..recovery
        };
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(Arc::clone(&shared), segments, liveness, segment_bytes);
        let thread = std::thread::Builder::new()
            .name("amqp-log".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| LogError::Io { path: directory.to_owned(), source })?;
        Ok((Self { shared, thread: Some(thread) }, image, recovery))
    }

    /// Hands records to the thread. Never waits: what bounds them is that publishers are blocked while too many wait.
    pub(super) fn append(&self, records: &mut Vec<(Lsn, Record)>) {
        if records.is_empty() {
            return;
        }
        let bytes: usize = records.iter().map(|(_, record)| record.cost_bytes()).sum();
        let mut state = self.shared.lock();
        state.pending.append(records);
        state.pending_bytes += bytes;
        drop(state);
        self.shared.work.notify_one();
    }

    /// Waits until something has changed since the last call.
    pub(super) async fn progressed(&self) {
        self.shared.progress.notified().await;
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        let state = self.shared.lock();
        Progress { pending_bytes: state.pending_bytes, ..state.progress }
    }

    /// How it fares.
    pub(super) fn figures(&self) -> LogFigures {
        let state = self.shared.lock();
        LogFigures { pending_bytes: state.pending_bytes, failing: state.progress.failing, ..state.figures }
    }

    /// Writes what waits and ends the thread. Blocks.
    pub(super) fn close(mut self) {
        self.ask_to_close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's thread panicked");
        }
    }

    fn ask_to_close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.ask_to_close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every holder leaves the state whole, also one that panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    shared: Arc<Shared>,
    segments: Segments,
    liveness: Liveness,
    segment_bytes: u64,
    buffer: Vec<u8>,
    /// Not before then, after one failed.
    compact_from: Option<Instant>,
}

impl Worker {
    fn new(shared: Arc<Shared>, segments: Segments, liveness: Liveness, segment_bytes: u64) -> Self {
        Self { shared, segments, liveness, segment_bytes, buffer: Vec::new(), compact_from: None }
    }

    fn run(mut self) {
        loop {
            let batch = self.take_batch();
            if batch.is_empty() {
                return;
            }
            if !self.write_batch(&batch) {
                tracing::error!(
                    records = batch.len(),
                    "the log was closed with records the disk did not take"
                );
                return;
            }
            if self.compact_from.is_some_and(|from| Instant::now() < from) {
                continue;
            }
            self.compact_from = None;
            if let Err(error) = self.compact() {
                self.compact_from = Some(Instant::now() + COMPACT_PAUSE);
                tracing::error!(%error, "the log could not be compacted, and grows; trying again in a minute");
            }
        }
    }

    /// Waits for records; none: it is time to end.
    fn take_batch(&self) -> Vec<(Lsn, Record)> {
        let mut state = self.shared.lock();
        while state.pending.is_empty() && !state.closing {
            state = self.shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.pending)
    }

    /// Writes all, in pieces; false if the log was closed while the disk did not take them.
    fn write_batch(&mut self, batch: &[(Lsn, Record)]) -> bool {
        let mut rest = batch;
        while !rest.is_empty() {
            self.buffer.clear();
            let mut sizes = Vec::new();
            for (_, record) in rest {
                sizes.push(append_frame(record, &mut self.buffer));
                let full = self.segments.current().bytes + self.buffer.len() as u64 >= self.segment_bytes;
                if full || self.buffer.len() >= WRITE_BYTES_MAX {
                    break;
                }
            }
            let (piece, later) = rest.split_at(sizes.len());
            if !self.write_until_it_works() {
                return false;
            }
            self.written(piece, &sizes);
            rest = later;
            if self.segments.current().bytes >= self.segment_bytes && !self.roll_until_it_works() {
                return false;
            }
        }
        true
    }

    fn written(&mut self, piece: &[(Lsn, Record)], sizes: &[u64]) {
        let segment = self.segments.current().number;
        let mut cost = 0;
        for ((_, record), bytes) in piece.iter().zip(sizes) {
            self.liveness.note(segment, record, *bytes);
            cost += record.cost_bytes();
        }
        let mut state = self.shared.lock();
        state.pending_bytes -= cost;
        if let Some((lsn, _)) = piece.last() {
            state.progress.synced = *lsn;
        }
        drop(state);
        self.shared.progress.notify_one();
    }

    /// Writes the buffer, however long the disk refuses; publishers are blocked meanwhile.
    fn write_until_it_works(&mut self) -> bool {
        let mut started = Instant::now();
        let mut result = self.segments.append(&self.buffer);
        while let Err(error) = result {
            if !self.wait_for_the_disk(&error) {
                return false;
            }
            started = Instant::now();
            result = self.segments.repair().and_then(|()| self.segments.append(&self.buffer));
        }
        let disk_bytes = self.segments.total_bytes();
        let mut state = self.shared.lock();
        state.figures.syncs.observe(started.elapsed());
        state.figures.written_bytes += self.buffer.len() as u64;
        state.figures.disk_bytes = disk_bytes;
        drop(state);
        self.tell_failing(false);
        true
    }

    fn roll_until_it_works(&mut self) -> bool {
        while let Err(error) = self.segments.roll() {
            if !self.wait_for_the_disk(&error) {
                return false;
            }
        }
        self.tell_failing(false);
        true
    }

    /// False if the log was closed.
    fn wait_for_the_disk(&self, error: &std::io::Error) -> bool {
        if self.tell_failing(true) {
            tracing::error!(%error, "the log cannot be written: publishers are blocked until it can");
        }
        let state = self.shared.lock();
        if state.closing {
            return false;
        }
        let waited = self.shared.work.wait_timeout_while(state, RETRY_PAUSE, |state| !state.closing);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        true
    }

    /// True if that is news.
    fn tell_failing(&self, failing: bool) -> bool {
        let mut state = self.shared.lock();
        let news = state.progress.failing != failing;
        state.figures.failures += u64::from(failing);
        state.progress.failing = failing;
        drop(state);
        if news {
            self.shared.progress.notify_one();
        }
        news
    }

    /// Removes the oldest segment when little of it counts, or when the log is far larger than what counts in it.
    fn compact(&mut self) -> std::io::Result<()> {
        while let Some(oldest) = self.segments.oldest() {
            let live = self.liveness.live_bytes(oldest.number);
            let allowed = 4 * self.liveness.total_live_bytes() + 4 * self.segment_bytes;
            if live * 2 > oldest.bytes && self.segments.total_bytes() <= allowed {
                return Ok(());
            }
            if live > 0 && !self.save_survivors(oldest.number)? {
                return Ok(());
            }
            self.segments.remove_oldest()?;
        }
        Ok(())
    }

    /// Appends what still counts of a segment; false if the log was closed meanwhile.
    fn save_survivors(&mut self, number: u64) -> std::io::Result<bool> {
        let mut frames = self.segments.read(number)?;
        // All are chosen before the first is written: to note where one is now changes what survives.
        let mut survivors: Vec<(Lsn, Record)> = Vec::new();
        while let Some((record, _)) = frames.next()? {
            survivors.extend(self.liveness.surviving(number, record).map(|record| (Lsn(0), record)));
        }
        if frames.torn_bytes() > 0 {
            // It was whole when it was written or opened. What still counts behind the damage would go with it.
            let at = frames.whole_bytes();
            let error = format!("segment {number:016x} is damaged at byte {at}; it is kept as it is");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        }
        for piece in survivors.chunks(1024) {
            self.buffer.clear();
            let sizes: Vec<u64> =
                piece.iter().map(|(_, record)| append_frame(record, &mut self.buffer)).collect();
            if !self.write_until_it_works() {
                return Ok(false);
            }
            let segment = self.segments.current().number;
            for ((_, record), bytes) in piece.iter().zip(sizes) {
                self.liveness.note(segment, record, bytes);
            }
            if self.segments.current().bytes >= self.segment_bytes && !self.roll_until_it_works() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::core::{Position, QueueId};

    #[test]
    fn a_damaged_segment_is_kept_rather_than_its_records_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (segments, _) = Segments::open(directory.path(), |_, _, _| {}).unwrap();
        let oldest = segments.current().number;
        let mut worker = Worker::new(Arc::default(), segments, Liveness::default(), 1 << 20);
        let removed = |position| Record::Removed { queue: QueueId(1), position: Position(position) };
        let records: Vec<(Lsn, Record)> = (1..4).map(|n| (Lsn(n), removed(n))).collect();
        worker.shared.lock().pending_bytes = records.iter().map(|(_, record)| record.cost_bytes()).sum();
        assert!(worker.write_batch(&records) && worker.roll_until_it_works());
        assert!(worker.save_survivors(oldest).unwrap(), "a whole one is read to its end");

        let file = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = file.filter(|path| path.extension().is_some_and(|end| end == "segment")).min().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let error = worker.save_survivors(oldest).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    }
}
