//! The store of sessions on disk: one redb file, and the threads that read and write it.
//!
//! Every commit is one fsync of data and one of what names it (redb's quick repair), so that a process that was killed opens the file as
//! fast as one that was not. A writer takes all batches that wait together. What cannot be written is tried again each second, with the
//! file opened anew, since redb gives up on one that has failed once.

mod file;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use file::File;
pub(super) use reader::WasRead;
use roost_wire::Device;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use writer::StoreStatus;

use super::hub::Hub;
use super::world::World;
use crate::ShardIndex;
use crate::shard::Input;
use crate::store::{StoreBatch, StoreNumber, StoreOpened, StoreRecord, device_of, prefix_of};

pub use writer::StoreStatus as StoreFigures;

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Its directory, made if it is absent. One process at a time has it open.
    pub directory: PathBuf,
}

/// Why a store is not opened. The operator is to act.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made.
    #[error("the sessions in {}: {source}", directory.display())]
    Directory {
        /// Where it is.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file cannot be read: another process has it, the disk fails, or it is damaged.
    #[error("the sessions in {}: {source}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// Another build wrote it.
    #[error("the sessions in {} were written by another build: start that one, or take the file away, and all sessions begin anew", path.display())]
    Version {
        /// Where it is.
        path: PathBuf,
    },
    /// The system gives no thread.
    #[error("the store of sessions cannot start: {0}")]
    Thread(std::io::Error),
}

/// Batches on their way to the writer. Those beyond wait in front of it, and the shard gives no more than it may.
const BATCHES: usize = 256;

/// Questions for sessions on their way to the reader. Those beyond wait in front of it.
const QUESTIONS: usize = 64;

/// What was read and not taken in: pages of a megabyte or so.
const PAGES: usize = 2;

/// What the last batches get at the end.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// A store with its threads, ready for a world.
pub(super) struct OpenStore {
    pub(super) opened: StoreOpened,
    pub(super) disk: StoreDisk,
    pub(super) status: watch::Receiver<StoreStatus>,
    pub(super) was_read: mpsc::Receiver<WasRead>,
}

/// The store, as the world's thread uses it: it never waits.
pub(super) struct StoreDisk {
    batches: mpsc::Sender<StoreBatch>,
    waiting_batches: VecDeque<StoreBatch>,
    last: StoreNumber,
    questions: mpsc::Sender<(Device, Bytes)>,
    waiting_questions: VecDeque<(Device, Bytes)>,
    status: watch::Receiver<StoreStatus>,
    /// They end when this has, and nobody takes what they read.
    threads: Vec<JoinHandle<()>>,
}

/// The store, as several shards use it, each with numbers of its own.
pub(super) struct SharedStore {
    pub(super) disk: StoreDisk,
    shards: u16,
    last: u64,
    /// Batches that are not durable: their number, who has given them, and that one's number.
    outstanding: VecDeque<(StoreNumber, ShardIndex, StoreNumber)>,
}

impl OpenStore {
    /// Opens the store; `None` if none is wanted. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) fn open(config: Option<StoreConfig>) -> Result<Option<Self>, StoreError> {
        let Some(StoreConfig { directory }) = config else { return Ok(None) };
        Self::start(File::open(&directory)?).map(Some)
    }

    fn start(file: File) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        let opened = file.read_opened()?;
        tracing::info!(
            path = %file.path().display(), retained = opened.retained.len(), had_router = opened.had_router,
            "the store of sessions is open"
        );
        let (batches, received) = mpsc::channel(BATCHES);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (found, was_read) = mpsc::channel(PAGES);
        let (status, writer) = writer::start(Arc::clone(&file), received).map_err(StoreError::Thread)?;
        let reader = reader::answer(Arc::clone(&file), asked, found.clone()).map_err(StoreError::Thread)?;
        let mut threads = vec![writer, reader];
        if opened.has_sessions {
            threads.push(reader::read_all(file, found).map_err(StoreError::Thread)?);
        }
        let disk = StoreDisk {
            batches,
            waiting_batches: VecDeque::new(),
            last: StoreNumber::default(),
            questions,
            waiting_questions: VecDeque::new(),
            status: status.clone(),
            threads,
        };
        Ok(Self { opened, disk, status, was_read })
    }
}

impl StoreDisk {
    pub(super) fn write(&mut self, batch: StoreBatch) {
        self.last = batch.number;
        self.waiting_batches.push_back(batch);
        self.push();
    }

    pub(super) fn read(&mut self, device: Device, prefix: Bytes) {
        self.waiting_questions.push_back((device, prefix));
        self.push();
    }

    /// How it stands.
    pub(super) fn status(&self) -> StoreStatus {
        self.status.borrow().clone()
    }

    /// Gives the threads what they have room for.
    fn push(&mut self) {
        push(&self.batches, &mut self.waiting_batches);
        push(&self.questions, &mut self.waiting_questions);
    }
}

fn push<T>(to: &mpsc::Sender<T>, waiting: &mut VecDeque<T>) {
    while let Some(first) = waiting.pop_front() {
        if let Err(mpsc::error::TrySendError::Full(first) | mpsc::error::TrySendError::Closed(first)) =
            to.try_send(first)
        {
            return waiting.push_front(first);
        }
    }
}

/// Tells the hub how the store stands, whenever that changes.
pub(super) async fn watch_store(world: Rc<RefCell<World>>, mut status: watch::Receiver<StoreStatus>) {
    let mut was_stuck = false;
    while status.changed().await.is_ok() {
        let (durable, stuck) = {
            let status = status.borrow_and_update();
            (status.durable, status.stuck.clone())
        };
        world.borrow_mut().with_hub(|hub| {
            if stuck.is_some() != was_stuck {
                was_stuck = stuck.is_some();
                hub.store_is_stuck(stuck);
            }
            hub.stored(durable);
        });
    }
}

/// How often the shards pass on what they have heard of each other's sessions, at most: who has members of a group says so to the group's
/// owner, and that one to all.
const ROUNDS: usize = 3;

/// Gives the shards what was read.
pub(super) async fn take_in(world: Rc<RefCell<World>>, mut was_read: mpsc::Receiver<WasRead>) {
    while let Some(read) = was_read.recv().await {
        match read {
            WasRead::Session { device, records } => {
                world.borrow_mut().with_hub(|hub| hub.session_read(device, records));
            }
            WasRead::Sessions { records, is_last } => {
                world.borrow_mut().with_hub(|hub| hub.sessions_read(records));
                // No more is read than is taken in, and nobody publishes before all subscriptions of all shards are known.
                for _ in 0..if is_last { ROUNDS } else { 1 } {
                    all_have_it(&world).await;
                }
                if is_last {
                    world.borrow_mut().with_hub(Hub::all_sessions_read);
                }
            }
            // The gateway ends with it: what it may have promised on what can't be read, nobody knows.
            WasRead::Damaged => return,
        }
        // Clients have their turn between two pages.
        tokio::task::yield_now().await;
    }
}

/// Waits until every other shard has taken in what it was told.
async fn all_have_it(world: &Rc<RefCell<World>>) {
    let fence = Rc::clone(&world.borrow().fence);
    if world.borrow_mut().raise_fence() {
        fence.notified().await;
    }
}

/// The end: what is on its way to the disk is written, within a bound.
pub(super) async fn close(mut disk: StoreDisk) {
    let last = disk.last;
    let written = timeout(CLOSE_GRACE, async {
        let mut status = disk.status.clone();
        loop {
            disk.push();
            if status.borrow_and_update().durable >= last || status.changed().await.is_err() {
                return;
            }
        }
    });
    let _ = written.await;
    let StoreDisk { batches, questions, status, threads, .. } = disk;
    // Which is what the threads end with.
    drop((batches, questions));
    let ended = spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
    // Whoever opens the file next is told that it is in use, if a disk holds one of them up for longer.
    let _ = timeout(CLOSE_GRACE, ended).await;
    if status.borrow().durable < last {
        tracing::warn!("changes of sessions were not written: nobody was promised anything on them");
    }
    tracing::info!("the store of sessions is closed");
}

impl SharedStore {
    /// Of so many shards.
    pub(super) fn new(disk: StoreDisk, shards: u16) -> Self {
        Self { disk, shards, outstanding: VecDeque::new(), last: 0 }
    }

    /// How it stands.
    pub(super) fn status(&self) -> StoreStatus {
        self.disk.status()
    }

    pub(super) fn write(&mut self, shard: ShardIndex, batch: StoreBatch) {
        self.last += 1;
        let number = StoreNumber(self.last);
        self.outstanding.push_back((number, shard, batch.number));
        self.disk.write(StoreBatch { number, ..batch });
    }

    /// All up to that one are durable: gives the last of each shard that has more than before.
    fn durable(&mut self, up_to: StoreNumber) -> Vec<(ShardIndex, StoreNumber)> {
        let mut changed = vec![None; usize::from(self.shards)];
        while let Some((_, shard, number)) = self.outstanding.pop_front_if(|(number, ..)| *number <= up_to) {
            changed[usize::from(shard.0)] = Some(number);
        }
        let changed = (0..).map(ShardIndex).zip(changed);
        changed.filter_map(|(shard, number)| Some((shard, number?))).collect()
    }
}

impl Hub {
    /// All batches up to that one are durable.
    fn stored(&mut self, up_to: StoreNumber) {
        let Some(store) = &mut self.store else { return };
        store.disk.push();
        for (shard, up_to) in store.durable(up_to) {
            self.tell(shard, Input::Stored { up_to });
        }
    }

    fn session_read(&mut self, device: Device, records: Vec<StoreRecord>) {
        if let Some(store) = &mut self.store {
            store.disk.push();
        }
        self.tell(self.shard_of(&device), Input::SessionRead { device, records });
    }

    /// Each shard gets its own. Nobody's go to the first one, which says that they are.
    fn sessions_read(&mut self, records: Vec<StoreRecord>) {
        let mut of_shards: BTreeMap<ShardIndex, Vec<StoreRecord>> = BTreeMap::new();
        for session in records.chunk_by(|a, b| prefix_of(&a.key) == prefix_of(&b.key)) {
            let device = session.first().and_then(|record| device_of(&record.key));
            let shard = device.map_or(ShardIndex(0), |device| self.shard_of(&device));
            of_shards.entry(shard).or_default().extend_from_slice(session);
        }
        for (shard, records) in of_shards {
            self.tell(shard, Input::SessionsRead { records, is_last: false });
        }
    }

    fn all_sessions_read(&mut self) {
        self.tell_all(|| Input::SessionsRead { records: Vec::new(), is_last: true });
    }
}
