//! Records in a segment: length, checksum, record; and where a torn one begins.

use super::record::Record;
use bytes::{Buf, Bytes};

/// What every segment begins with: a name and the version of the format.
pub(in crate::embedded) const SEGMENT_HEAD: [u8; 8] = *b"roostq01";
/// Length and CRC32C before each record, four bytes each, little endian.
const FRAME_HEAD_BYTES: usize = 8;

/// Appends a record with its head; how many bytes it takes.
pub(in crate::embedded) fn append_frame(record: &Record, out: &mut Vec<u8>) -> u64 {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    record.encode(out);
    let payload = start + FRAME_HEAD_BYTES;
    let length = (out.len() - payload) as u32;
    let checksum = crc32c::crc32c(&out[payload..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..payload].copy_from_slice(&checksum.to_le_bytes());
    (out.len() - start) as u64
}

/// A segment's records and how far they reach.
#[derive(Debug)]
pub(in crate::embedded) struct Scan {
    /// The whole ones, each with the bytes it takes.
    pub(in crate::embedded) records: Vec<(Record, u64)>,
    /// Bytes up to the end of the last whole one.
    pub(in crate::embedded) whole_bytes: u64,
    /// Bytes behind it that are no record.
    pub(in crate::embedded) torn_bytes: u64,
}

/// Reads a segment up to the first thing that is not a whole record.
pub(in crate::embedded) fn scan(segment: Bytes) -> Scan {
    let total = segment.len() as u64;
    let mut records = Vec::new();
    let mut whole_bytes = 0;
    let mut rest = segment;
    if rest.starts_with(&SEGMENT_HEAD) {
        rest.advance(SEGMENT_HEAD.len());
        whole_bytes = SEGMENT_HEAD.len() as u64;
        while let Some((record, bytes)) = take_frame(&mut rest) {
            whole_bytes += bytes;
            records.push((record, bytes));
        }
    }
    Scan { records, whole_bytes, torn_bytes: total - whole_bytes }
}

fn take_frame(rest: &mut Bytes) -> Option<(Record, u64)> {
    let head = rest.first_chunk::<FRAME_HEAD_BYTES>()?;
    let [a, b, c, d, checksum @ ..] = *head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if rest.len() - FRAME_HEAD_BYTES < length {
        return None;
    }
    let payload = rest.slice(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + length);
    if crc32c::crc32c(&payload) != u32::from_le_bytes(checksum) {
        return None;
    }
    let record = Record::decode(&payload)?;
    rest.advance(FRAME_HEAD_BYTES + length);
    Some((record, (FRAME_HEAD_BYTES + length) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::core::{Position, QueueId};

    fn segment(count: u64) -> Vec<u8> {
        let mut bytes = SEGMENT_HEAD.to_vec();
        for position in 0..count {
            append_frame(&Record::Removed { queue: QueueId(1), position: Position(position) }, &mut bytes);
        }
        bytes
    }

    #[test]
    fn a_segment_cut_anywhere_gives_its_whole_records() {
        let whole = segment(3);
        let frame = (whole.len() - SEGMENT_HEAD.len()) / 3;
        for cut in 0..=whole.len() {
            let scan = scan(Bytes::copy_from_slice(&whole[..cut]));
            let expected = cut.saturating_sub(SEGMENT_HEAD.len()) / frame;
            assert_eq!(scan.records.len(), expected, "{cut}");
            assert_eq!(scan.whole_bytes + scan.torn_bytes, cut as u64);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_scan_there() {
        let whole = segment(3);
        let frame = (whole.len() - SEGMENT_HEAD.len()) / 3;
        for at in SEGMENT_HEAD.len()..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(scan(Bytes::from(bytes)).records.len(), (at - SEGMENT_HEAD.len()) / frame, "{at}");
        }
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = segment(2);
        let whole = bytes.len() as u64;
        bytes.resize(bytes.len() + 100, 0);
        let scan = scan(Bytes::from(bytes));
        assert_eq!((scan.records.len(), scan.whole_bytes, scan.torn_bytes), (2, whole, 100));
    }
}
