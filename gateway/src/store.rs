//! What of the gateway outlives its process where `sessions: store` says `disk`: sessions that are kept, and retained messages.
//!
//! ```text
//!  shard ── changes, in batches with numbers ──> writer ── durable up to a number ──> what was promised on them leaves
//!    ▲                                                                                (PUBACK, PUBREC, SUBACK, CONNACK, PUBLISH, …)
//!    └── at a start: retained messages, then sessions page by page; one at once whose device connects, or is asked about
//! ```
//!
//! The store is one sorted map of records. All of a session begins with the same bytes, so one range is one session; a message is one
//! record, and that it was sent, and under which id, another: so nothing is written twice for its length. `key` and `record` say how.
//!
//! **What is written.** A session that outlives its connection, from the moment its client may count on it; none that ends with its
//! connection, one whose client may not know that it took the place of another, or one that is in doubt. Wills
//! are not written: they end with the process. Nor is how far a session has got with the retained messages that a subscription brings: until
//! it has had all, they begin again.
//!
//! **What waits.** Of one input, everything that it changes is one batch, and a batch is durable as a whole or not at all. Whatever is
//! written to a client and promises something waits until all batches before it are durable, and its own. So does the acknowledgement of a
//! broadcast. QoS 0, and commands, which the router answers for, wait for nothing but what stands before them on their connection.
//!
//! **At a start** the gateway serves at once. Sessions come in the background. A device that connects meanwhile has its own read first; a
//! publish at QoS 1 or 2 (also a will, or a broadcast) waits until all subscriptions are known, since a session that is not there yet may
//! want it. So nothing that is acknowledged is missed, and nobody waits who does not publish.
//!
//! **Time.** What expires is written with the wall clock's time. The boot clock, by which gateways are compared, goes on when a process
//! dies, but not over a reboot: then nobody can say which of two copies of a session is the newer.

mod key;
mod record;
mod stored;
#[cfg(test)]
mod tests;

use bytes::Bytes;
pub use key::{SESSIONS, device_of, prefix_of};
pub(crate) use key::{of_retained as retained_key, of_session as session_prefix};
pub(crate) use record::{Head, StoredRetained};
pub(crate) use stored::{SessionRecords, StoredCopy, StoredSession};

/// A shard's number for what it wants written; they count up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreNumber(pub u64);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRecord {
    /// Where it is. What is sorted is these bytes.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
}

/// One thing that is to be different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChange {
    /// This record is there, in the place of one with its key.
    Put(StoreRecord),
    /// No record with that key is there.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// No record whose key begins so is there.
    DeleteAll {
        /// How they begin.
        prefix: Bytes,
    },
}

/// Changes that are made in their order, and are durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreBatch {
    /// Names it.
    pub number: StoreNumber,
    /// At least one.
    pub changes: Vec<StoreChange>,
}

/// What a store has when it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreOpened {
    /// Names the run of the machine, not of the process: the boot clock is another one in another.
    pub boot: u64,
    /// Whether there may be sessions: they follow.
    pub has_sessions: bool,
    /// The record [`ROUTER`], if it is there.
    pub had_router: bool,
    /// All records that begin with [`RETAINED`].
    pub retained: Vec<StoreRecord>,
}

/// What the keys of all retained messages begin with.
pub const RETAINED: &[u8] = b"r";

/// The key that is there once a router has given this gateway a lease.
pub const ROUTER: &[u8] = b"m/router";

/// The key of the store's version.
pub const VERSION: &[u8] = b"m/version";

/// No run of a machine is named so.
pub(crate) const NO_BOOT: u64 = 0;

/// The version that this build writes, and the only one that it reads.
pub const VERSION_WRITTEN: &[u8] = &[1];

impl StoreChange {
    /// What it counts against bounds in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// What a change takes in memory beside its bytes.
        const OVERHEAD_BYTES: usize = 64;
        OVERHEAD_BYTES
            + match self {
                Self::Put(StoreRecord { key, value }) => key.len() + value.len(),
                Self::Delete { key } => key.len(),
                Self::DeleteAll { prefix } => prefix.len(),
            }
    }

    pub(crate) fn put(key: Bytes, value: impl Into<Bytes>) -> Self {
        Self::Put(StoreRecord { key, value: value.into() })
    }
}
