//! A segmented log on disk: records that are reported durable are there after any crash, in their order.
//!
//! It knows nothing of what is in a record. A directory holds it:
//!
//! ```text
//! lock                            held (flock) by the one process that has the log open
//! segment-<first lsn>.log         header, then frames: records in the order of their numbers
//! snapshot-<covered lsn>.log      header, then frames that stand for all records up to that number
//! *.tmp                           a file in the making; removed when the log is opened
//! ```
//!
//! - [`open`](Opened::open) checks the directory, cuts what a crash tore off the end, and replays.
//! - [`Log`] hands records to one writer thread, which collects all that wait, writes them at once and syncs once (group
//!   commit), then says how far the log is durable ([`LogStatus`]).
//! - A [`Snapshot`] is written beside the appends and then takes the place of the records it covers. One of an earlier record and with
//!   little in it is a mark: what is before it is done with ([`Log::mark`]).
//! - A [`Tail`] reads the log from some record on while it is appended to.
//!
//! **What a crash may leave.** A segment is begun only when everything before it is durable, so only the last one may have
//! a torn end. Each frame says how many records before it were not yet durable when it was written; a bad frame is
//! therefore either a torn end, which was never reported durable and is cut, or damage to a durable record, which is an
//! error that names file and offset ([`LogError::Damaged`]) and is never passed over. One case cannot be told apart by any log
//! without a second copy: damage to the very last batch.
//!
//! **Full disk.** A write or sync that fails is tried again, in a new segment, until it works; meanwhile nothing is reported
//! durable, the queue fills, and whoever appends has to wait. [`LogStatus::stuck`] says so. A log that has filled the disk itself has no room
//! for a mark either: it gives back what its owner has said to be of no use any more ([`Log::forget`]).

mod appender;
mod batch;
mod directory;
mod error;
pub mod fields;
mod frame;
mod lsn;
mod opened;
mod reader;
mod replay;
mod snapshot;
mod status;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

pub use appender::{Closed, Full, Log};
pub use error::LogError;
pub use lsn::Lsn;
pub use opened::{Cut, Opened};
pub use replay::{Replay, Replayed};
pub use snapshot::{Snapshot, WrittenSnapshot};
pub use status::LogStatus;
pub use tail::Tail;

use std::path::PathBuf;
use std::time::Duration;

/// Where a log is and how large its parts are.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Its directory, made if it is absent. One process at a time has it open.
    pub directory: PathBuf,
    /// A new segment is begun at the first batch after so many bytes.
    pub segment_bytes: u64,
    /// A batch is closed after so many bytes. One record may be larger.
    pub batch_bytes: usize,
    /// How many records may wait for the writer; then [`Log::try_append`] answers [`Full`].
    pub queue_records: usize,
    /// How long the writer waits before it tries a failed write again.
    pub retry: Duration,
    /// Whether [`Log::forget`] may be called: then segments may be gone from the front of the log without a snapshot that covers
    /// them, and a log that was opened begins at the first that is there. Else such a gap is damage.
    pub forgets: bool,
}

impl LogConfig {
    /// The longest record, in bytes. A longer length in a file is damage, so that reading needs bounded memory.
    pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

    /// A segment: small enough to be read at once when its end is torn, large enough that files stay few.
    pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

    /// A batch: a disk writes 4 MiB in about the time of one sync, so larger ones only add delay.
    pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

    /// The queue: twice what one sync of 2 ms collects at 500,000 records a second.
    pub const QUEUE_RECORDS: usize = 2_048;

    /// A full disk is looked at again four times a second: soon enough for people, cheap enough for a machine in trouble.
    pub const RETRY: Duration = Duration::from_millis(250);

    /// A log in `directory` with the sizes above.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            segment_bytes: Self::SEGMENT_BYTES,
            batch_bytes: Self::BATCH_BYTES,
            queue_records: Self::QUEUE_RECORDS,
            retry: Self::RETRY,
            forgets: false,
        }
    }
}
