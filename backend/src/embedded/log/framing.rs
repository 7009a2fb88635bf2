//! Records in a segment: length, checksum, record; and where a torn one begins.

use super::record::Record;
use bytes::Bytes;
use std::io::{self, Read};

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

/// The records of a segment, read one after another up to the first thing that is not a whole record: a segment is never in memory
/// as a whole.
#[derive(Debug)]
pub(in crate::embedded) struct Frames<R> {
    source: R,
    /// Bytes that are not read yet.
    left: u64,
    whole_bytes: u64,
    total_bytes: u64,
    has_ended: bool,
}

impl<R: Read> Frames<R> {
    /// Reads a segment of `bytes` bytes from its begin.
    pub(in crate::embedded) fn new(source: R, bytes: u64) -> Self {
        Self { source, left: bytes, whole_bytes: 0, total_bytes: bytes, has_ended: false }
    }

    /// The next record, with the bytes it takes; `None` behind the last whole one.
    ///
    /// # Errors
    /// Those of the source, also that it ends before its time: that is no torn record.
    pub(in crate::embedded) fn next(&mut self) -> io::Result<Option<(Record, u64)>> {
        if self.has_ended {
            return Ok(None);
        }
        let begun = self.whole_bytes > 0 || self.begin()?;
        let frame = if begun { self.frame()? } else { None };
        match &frame {
            Some((_, bytes)) => self.whole_bytes += bytes,
            None => self.has_ended = true,
        }
        Ok(frame)
    }

    /// Bytes up to the end of the last whole record that was read.
    pub(in crate::embedded) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// Bytes behind it; once there is no next record, they are none.
    pub(in crate::embedded) fn torn_bytes(&self) -> u64 {
        self.total_bytes - self.whole_bytes
    }

    /// Whether it begins as a segment does.
    fn begin(&mut self) -> io::Result<bool> {
        let mut head = [0; SEGMENT_HEAD.len()];
        let is_segment = self.read(&mut head)? && head == SEGMENT_HEAD;
        self.whole_bytes = if is_segment { head.len() as u64 } else { 0 };
        Ok(is_segment)
    }

    fn frame(&mut self) -> io::Result<Option<(Record, u64)>> {
        let mut head = [0; FRAME_HEAD_BYTES];
        if !self.read(&mut head)? {
            return Ok(None);
        }
        let [a, b, c, d, checksum @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        // A torn length may be any number: what is not there is not asked for.
        if u64::from(length) > self.left {
            return Ok(None);
        }
        let mut payload = vec![0; length as usize];
        if !self.read(&mut payload)? || crc32c::crc32c(&payload) != u32::from_le_bytes(checksum) {
            return Ok(None);
        }
        let record = Record::decode(&Bytes::from(payload));
        Ok(record.map(|record| (record, FRAME_HEAD_BYTES as u64 + u64::from(length))))
    }

    /// False if there is not so much.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        if bytes.len() as u64 > self.left {
            return Ok(false);
        }
        self.source.read_exact(bytes)?;
        self.left -= bytes.len() as u64;
        Ok(true)
    }
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

    /// How many whole records there are, how far they reach, and what is behind them.
    fn scan(bytes: &[u8]) -> (usize, u64, u64) {
        let mut frames = Frames::new(bytes, bytes.len() as u64);
        let mut records = 0;
        while frames.next().unwrap().is_some() {
            records += 1;
        }
        assert!(frames.next().unwrap().is_none(), "it does not go on behind its end");
        (records, frames.whole_bytes(), frames.torn_bytes())
    }

    #[test]
    fn a_segment_cut_anywhere_gives_its_whole_records() {
        let whole = segment(3);
        let frame = (whole.len() - SEGMENT_HEAD.len()) / 3;
        for cut in 0..=whole.len() {
            let (records, whole_bytes, torn_bytes) = scan(&whole[..cut]);
            let expected = cut.saturating_sub(SEGMENT_HEAD.len()) / frame;
            assert_eq!(records, expected, "{cut}");
            assert_eq!(whole_bytes + torn_bytes, cut as u64);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_scan_there() {
        let whole = segment(3);
        let frame = (whole.len() - SEGMENT_HEAD.len()) / 3;
        for at in SEGMENT_HEAD.len()..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(scan(&bytes).0, (at - SEGMENT_HEAD.len()) / frame, "{at}");
        }
    }

    #[test]
    fn a_tail_of_zeros_is_torn() {
        let mut bytes = segment(2);
        let whole = bytes.len() as u64;
        bytes.resize(bytes.len() + 100, 0);
        assert_eq!(scan(&bytes), (2, whole, 100));
    }

    #[test]
    fn a_source_that_fails_is_no_torn_record() {
        let bytes = segment(2);
        let mut frames = Frames::new(&bytes[..bytes.len() - 1], bytes.len() as u64);
        assert!(frames.next().unwrap().is_some());
        assert!(frames.next().is_err());
    }
}
