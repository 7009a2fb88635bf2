//! Reads a log that is being appended to.

use std::sync::Arc;

use super::directory::Directory;
use super::frame::Kind;
use super::reader::{Next, Reader};
use super::{LogError, Lsn};

/// A place in an open log, from which records are read in order. It blocks for as long as the disk needs.
///
/// It needs the memory of one record, and keeps one file open.
#[derive(Debug)]
pub struct Tail {
    directory: Arc<Directory>,
    next: Lsn,
    reader: Option<(Lsn, Reader)>,
}

impl Tail {
    pub(super) fn new(directory: Arc<Directory>, from: Lsn) -> Self {
        Self { directory, next: from, reader: None }
    }

    /// The number of the record that it reads next.
    #[must_use]
    pub fn at(&self) -> Lsn {
        self.next
    }

    /// The next record, if it is at most `durable`: give what [`super::LogStatus::durable`] says. What is behind that may be torn, or
    /// be written once more elsewhere.
    ///
    /// # Errors
    /// [`LogError`] if a durable record cannot be read. The place stays.
    pub fn next(&mut self, durable: Lsn) -> Result<Option<Vec<u8>>, LogError> {
        while self.next <= durable {
            let (first, mut reader) = match self.reader.take() {
                Some(open) => open,
                None => self.open()?,
            };
            match reader.next()? {
                Next::Record { lsn, .. } if lsn < self.next => self.reader = Some((first, reader)),
                Next::Record { lsn, bytes } => {
                    self.next = lsn.next();
                    self.reader = Some((first, reader));
                    return Ok(Some(bytes));
                }
                // The writer goes on in another segment: after a full one, or after a write that failed.
                Next::FileEnd | Next::Bad(_) if self.segment()? != Some(first) => {}
                Next::FileEnd => return Err(reader.damaged("the file ends too early")),
                Next::Bad(problem) => return Err(reader.damaged(problem)),
                Next::SnapshotEnd => {
                    unreachable!("a segment has no such mark: the reader checked its kind")
                }
            }
        }
        Ok(None)
    }

    fn open(&self) -> Result<(Lsn, Reader), LogError> {
        let Some(first) = self.segment()? else {
            return Err(LogError::Missing {
                path: self.directory.path().to_owned(),
                from: self.next,
                to: self.next,
            });
        };
        Ok((first, Reader::open(&self.directory.file(Kind::Segment, first), Kind::Segment, first)?))
    }

    /// The segment that has the next record: the last that begins at it or before.
    fn segment(&self) -> Result<Option<Lsn>, LogError> {
        let segments = self.directory.list()?.segments;
        Ok(segments.into_iter().take_while(|first| *first <= self.next).last())
    }
}
