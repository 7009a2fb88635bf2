//! What is written and synced at once.

use bytes::Bytes;

use super::Lsn;
use super::frame::{FRAME_BYTES, Frame};

/// Records that are not durable yet, in order, kept until they are: a write that failed is done again from here.
#[derive(Debug)]
pub(super) struct Batch {
    first: Lsn,
    records: Vec<Bytes>,
    bytes: usize,
    encoded: Vec<u8>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { first: Lsn::ZERO, records: Vec::new(), bytes: 0, encoded: Vec::new() }
    }

    pub(super) fn push(&mut self, lsn: Lsn, record: Bytes) {
        if self.records.is_empty() {
            self.first = lsn;
        }
        debug_assert_eq!(lsn.0, self.first.0 + self.records.len() as u64, "records come without gaps");
        self.bytes += FRAME_BYTES + record.len();
        self.records.push(record);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Its size on disk.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn first(&self) -> Lsn {
        self.first
    }

    pub(super) fn last(&self) -> Lsn {
        Lsn(self.first.0 + self.records.len() as u64 - 1)
    }

    /// The frames, for a file with this salt.
    pub(super) fn encode(&mut self, salt: u32) -> &[u8] {
        self.encoded.clear();
        self.encoded.reserve(self.bytes);
        for (behind, record) in self.records.iter().enumerate() {
            let unsynced = u32::try_from(behind).expect("a batch is bounded by the queue and its bytes");
            Frame::encode(&mut self.encoded, salt, Lsn(self.first.0 + behind as u64), unsynced, record);
        }
        &self.encoded
    }

    /// Empties it. Memory that one giant needed is given back.
    pub(super) fn clear(&mut self, keep_bytes: usize) {
        self.records.clear();
        self.bytes = 0;
        self.encoded.clear();
        self.encoded.shrink_to(keep_bytes);
    }
}
