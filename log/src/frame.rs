//! The bytes: a file's header, and the frame around each record. All numbers are little-endian.
//!
//! ```text
//! header: "roostlog" | format u16 | kind u16 | salt u32 | lsn u64 | crc u32
//! frame:  length u32 | crc u32 | lsn u64 | unsynced u32 | record
//! ```
//! A frame's checksum (CRC32C) covers the file's random salt and the whole frame, so that neither a frame of another file nor a record
//! that looks like a frame passes for one.

use super::{LogConfig, Lsn};

/// The format that this version writes, and the only one it reads.
pub(super) const FORMAT: u16 = 1;
/// Bytes of a file's header.
pub(super) const HEADER_BYTES: usize = 28;
/// Bytes of a frame before its record.
pub(super) const FRAME_BYTES: usize = 20;

const MAGIC: &[u8; 8] = b"roostlog";
const CRC_AT: usize = HEADER_BYTES - 4;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Records in order; the header's number is that of the first.
    Segment,
    /// Records that stand for all up to the header's number.
    Snapshot,
}

/// The head of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub salt: u32,
    pub lsn: Lsn,
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged(&'static str),
    Format(u16),
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub length: u32,
    pub crc: u32,
    pub lsn: Lsn,
    /// How many records right before this one were not known to be durable when it was written. In a snapshot: 0, or
    /// [`Frame::END`] in the empty frame that ends it.
    pub unsynced: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        let kind: u16 = match self.kind {
            Kind::Segment => 0,
            Kind::Snapshot => 1,
        };
        bytes[10..12].copy_from_slice(&kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.lsn.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if &bytes[..8] != MAGIC {
            return Err(HeaderError::Damaged("it does not begin like a log file"));
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format != FORMAT {
            return Err(HeaderError::Format(format));
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) {
            return Err(HeaderError::Damaged("the checksum of the file's header is wrong"));
        }
        let kind = match u16::from_le_bytes([bytes[10], bytes[11]]) {
            0 => Kind::Segment,
            1 => Kind::Snapshot,
            _ => return Err(HeaderError::Damaged("the file is of an unknown kind")),
        };
        Ok(Self { kind, salt: u32_at(bytes, 12), lsn: Lsn(u64_at(bytes, 16)) })
    }
}

impl Frame {
    /// Marks the empty frame that ends a snapshot.
    pub(super) const END: u32 = u32::MAX;

    /// Appends a frame with its record to `out`.
    pub(super) fn encode(out: &mut Vec<u8>, salt: u32, lsn: Lsn, unsynced: u32, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("a record's length was checked when it was appended");
        let crc = checksum(salt, length, lsn, unsynced, record);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&lsn.0.to_le_bytes());
        out.extend_from_slice(&unsynced.to_le_bytes());
        out.extend_from_slice(record);
    }

    pub(super) fn decode(bytes: &[u8; FRAME_BYTES]) -> Self {
        Self {
            length: u32_at(bytes, 0),
            crc: u32_at(bytes, 4),
            lsn: Lsn(u64_at(bytes, 8)),
            unsynced: u32_at(bytes, 16),
        }
    }

    /// Whether a record can be this long.
    pub(super) fn length_is_possible(&self) -> bool {
        self.length as usize <= LogConfig::RECORD_BYTES_MAX
    }

    pub(super) fn matches(&self, salt: u32, record: &[u8]) -> bool {
        checksum(salt, self.length, self.lsn, self.unsynced, record) == self.crc
    }
}

/// The last record that must have been durable when something in `bytes` was written, looking at whole frames wherever they
/// begin; `None` if there is none. Only frames numbered `after` and later count. This is how a torn end is told from damage.
pub(super) fn durable_before(bytes: &[u8], salt: u32, after: Lsn) -> Option<Lsn> {
    let mut durable = None;
    for at in 0..bytes.len().saturating_sub(FRAME_BYTES - 1) {
        let head = bytes[at..at + FRAME_BYTES].try_into().expect("the slice has this length");
        let frame = Frame::decode(head);
        // Frames are at least FRAME_BYTES apart, so a number farther on cannot be one; this keeps the search linear.
        let farthest = after.0.saturating_add((at / FRAME_BYTES) as u64);
        if frame.lsn < after || frame.lsn.0 > farthest || !frame.length_is_possible() {
            continue;
        }
        let record = at + FRAME_BYTES..at + FRAME_BYTES + frame.length as usize;
        if bytes.get(record).is_some_and(|record| frame.matches(salt, record)) {
            durable = durable.max(Some(Lsn(frame.lsn.0.saturating_sub(u64::from(frame.unsynced) + 1))));
        }
    }
    durable
}

fn checksum(salt: u32, length: u32, lsn: Lsn, unsynced: u32, record: &[u8]) -> u32 {
    let mut head = [0; 20];
    head[..4].copy_from_slice(&salt.to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..16].copy_from_slice(&lsn.0.to_le_bytes());
    head[16..].copy_from_slice(&unsynced.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), record)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_reads_back_and_a_changed_one_is_refused() {
        let header = Header { kind: Kind::Snapshot, salt: 7, lsn: Lsn(99) };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for at in 0..HEADER_BYTES {
            let mut changed = bytes;
            changed[at] ^= 0x10;
            assert!(Header::decode(&changed).is_err(), "byte {at}");
        }
        let mut later = bytes;
        later[8] = 2;
        assert_eq!(Header::decode(&later), Err(HeaderError::Format(2)));
    }

    proptest! {
        #[test]
        fn a_frame_reads_back_and_no_changed_bit_passes(record in any::<Vec<u8>>(), salt in any::<u32>(), lsn in any::<u64>(), bit in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            Frame::encode(&mut bytes, salt, Lsn(lsn), 3, &record);
            let frame = Frame::decode(bytes[..FRAME_BYTES].try_into().unwrap());
            prop_assert!(frame.matches(salt, &record));
            prop_assert!(!frame.matches(salt ^ 1, &record));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Frame::decode(bytes[..FRAME_BYTES].try_into().unwrap());
            prop_assert!(changed.length as usize != record.len() || !changed.matches(salt, &bytes[FRAME_BYTES..]));
        }
    }
}
