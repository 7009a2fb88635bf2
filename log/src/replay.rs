//! Reading a log from its beginning, in the memory of one record.

use std::collections::VecDeque;
use std::sync::Arc;

use super::directory::Directory;
use super::frame::Kind;
use super::reader::{Next, Reader};
use super::{LogError, Lsn};

/// One record, as it comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// One of those that stand for everything up to the number of the snapshot.
    Snapshot(Vec<u8>),
    /// A record as it was appended.
    Record(Lsn, Vec<u8>),
}

/// Yields each record once, in order, and ends after the first error.
#[derive(Debug)]
pub struct Replay {
    directory: Arc<Directory>,
    files: VecDeque<(Kind, Lsn)>,
    reader: Option<Reader>,
    covered: Lsn,
    last: Lsn,
    failed: bool,
}

impl Replay {
    pub(super) fn new(directory: Arc<Directory>, snapshot: Option<Lsn>, segments: &[Lsn], last: Lsn) -> Self {
        let snapshots = snapshot.into_iter().map(|lsn| (Kind::Snapshot, lsn));
        let files = snapshots.chain(segments.iter().map(|&lsn| (Kind::Segment, lsn))).collect();
        Self { directory, files, reader: None, covered: snapshot.unwrap_or_default(), last, failed: false }
    }

    fn step(&mut self) -> Result<Option<Replayed>, LogError> {
        loop {
            let Some(&(kind, first)) = self.files.front() else { return Ok(None) };
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => self.reader.insert(Reader::open(&self.directory.file(kind, first), kind, first)?),
            };
            let end = match self.files.get(1) {
                Some(&(Kind::Segment, next)) => Lsn(next.0 - 1),
                _ => self.last,
            };
            match kind {
                Kind::Snapshot => match reader.next()? {
                    Next::Record { bytes, .. } => return Ok(Some(Replayed::Snapshot(bytes))),
                    Next::SnapshotEnd => {}
                    Next::FileEnd => return Err(reader.damaged("the snapshot ends without its mark")),
                    Next::Bad(problem) => return Err(reader.damaged(problem)),
                },
                // What follows the next segment's first number was written again there, after a write that failed.
                Kind::Segment if reader.expected() > end => {}
                Kind::Segment => match reader.next()? {
                    Next::Record { lsn, .. } if lsn <= self.covered => continue,
                    Next::Record { lsn, bytes } => return Ok(Some(Replayed::Record(lsn, bytes))),
                    Next::FileEnd => return Err(reader.damaged("the file ends too early")),
                    Next::Bad(problem) => return Err(reader.damaged(problem)),
                    Next::SnapshotEnd => {
                        unreachable!("a segment has no such mark: the reader checked its kind")
                    }
                },
            }
            self.reader = None;
            self.files.pop_front();
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Replayed, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}
