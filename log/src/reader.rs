//! Reads one file, frame by frame, in the memory of one record.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::directory::FIRST_FRAME_AT;
use super::frame::{FRAME_BYTES, Frame, HEADER_BYTES, Header, HeaderError, Kind};
use super::{LogError, Lsn};

/// A file that is being read from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    next: Lsn,
    offset: u64,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A record in its place.
    Record { lsn: Lsn, bytes: Vec<u8> },
    /// The mark at the end of a snapshot.
    SnapshotEnd,
    /// The file ends behind a whole frame.
    FileEnd,
    /// No good frame begins here.
    Bad(&'static str),
}

impl Reader {
    /// Opens the file and checks its header: a file gets its name only when that is durable, so it can't be torn.
    pub(super) fn open(path: &Path, kind: Kind, lsn: Lsn) -> Result<Self, LogError> {
        let mut file = BufReader::new(File::open(path).map_err(LogError::io("open", path))?);
        let damaged = |problem| LogError::Damaged { path: path.to_owned(), offset: 0, lsn, problem };
        let mut bytes = [0; HEADER_BYTES];
        if fill(&mut file, &mut bytes).map_err(LogError::io("read", path))? < HEADER_BYTES {
            return Err(damaged("the file ends in its header"));
        }
        let header = Header::decode(&bytes).map_err(|e| match e {
            HeaderError::Damaged(problem) => damaged(problem),
            HeaderError::Format(version) => LogError::Format { path: path.to_owned(), version },
        })?;
        if (header.kind, header.lsn) != (kind, lsn) {
            return Err(damaged("the file's name and header differ"));
        }
        let next = match kind {
            Kind::Segment => lsn,
            Kind::Snapshot => Lsn(1),
        };
        Ok(Self { path: path.to_owned(), file, header, next, offset: FIRST_FRAME_AT })
    }

    /// Reads on. After anything but a record there is nothing more to read.
    pub(super) fn next(&mut self) -> Result<Next, LogError> {
        let mut head = [0; FRAME_BYTES];
        match self.fill(&mut head)? {
            0 => return Ok(Next::FileEnd),
            FRAME_BYTES => {}
            _ => return Ok(Next::Bad("the file ends in the head of a record")),
        }
        let frame = Frame::decode(&head);
        if frame.lsn != self.next {
            return Ok(Next::Bad("the record has another number"));
        }
        if !frame.length_is_possible() {
            return Ok(Next::Bad("the record's length is impossible"));
        }
        let mut bytes = vec![0; frame.length as usize];
        if self.fill(&mut bytes)? < bytes.len() {
            return Ok(Next::Bad("the file ends in a record"));
        }
        if !frame.matches(self.header.salt, &bytes) {
            return Ok(Next::Bad("the record's checksum is wrong"));
        }
        if self.header.kind == Kind::Snapshot && frame.unsynced == Frame::END {
            return Ok(Next::SnapshotEnd);
        }
        self.next = self.next.next();
        self.offset += (FRAME_BYTES + bytes.len()) as u64;
        Ok(Next::Record { lsn: frame.lsn, bytes })
    }

    /// The number that the next record must have.
    pub(super) fn expected(&self) -> Lsn {
        self.next
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn salt(&self) -> u32 {
        self.header.salt
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a durable record that is not there.
    pub(super) fn damaged(&self, problem: &'static str) -> LogError {
        LogError::Damaged { path: self.path.clone(), offset: self.offset, lsn: self.next, problem }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, LogError> {
        fill(&mut self.file, bytes).map_err(LogError::io("read", &self.path))
    }
}

/// Reads until `bytes` is full or the file ends; says how much there was.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
