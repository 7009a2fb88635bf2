//! A snapshot: records that stand for everything up to one number.

use std::io;
use std::sync::Arc;

use super::directory::Directory;
use super::frame::{Frame, Header, Kind};
use super::{LogConfig, Lsn};

/// A snapshot that is to be written. Dropped unwritten, it never was.
#[derive(Debug)]
pub struct Snapshot {
    directory: Arc<Directory>,
    covers: Lsn,
}

/// A snapshot that is on disk and synced, and not yet in effect: see [`super::Log::try_install`].
#[derive(Debug)]
pub struct WrittenSnapshot {
    pub(super) covers: Lsn,
}

/// So much is gathered before it is written.
const CHUNK_BYTES: usize = 1024 * 1024;

impl Snapshot {
    pub(super) fn new(directory: Arc<Directory>, covers: Lsn) -> Self {
        Self { directory, covers }
    }

    /// The last record that it stands for.
    #[must_use]
    pub fn covers(&self) -> Lsn {
        self.covers
    }

    /// Writes and syncs the records: blocks, for as long as the disk needs.
    ///
    /// # Errors
    /// What the disk said, for example that it is full. The log is as before; try again later.
    ///
    /// # Panics
    /// If a record is longer than [`LogConfig::RECORD_BYTES_MAX`].
    pub fn write<R: AsRef<[u8]>>(self, records: impl IntoIterator<Item = R>) -> io::Result<WrittenSnapshot> {
        let written = self.write_file(records);
        if written.is_err() {
            // Gives back the space; if even that can't be done, opening the log does it.
            let _ = std::fs::remove_file(self.directory.unfinished(Kind::Snapshot, self.covers));
        }
        written.map(|()| WrittenSnapshot { covers: self.covers })
    }

    fn write_file<R: AsRef<[u8]>>(&self, records: impl IntoIterator<Item = R>) -> io::Result<()> {
        let salt = rand::random();
        let mut file = self.directory.begin(&Header { kind: Kind::Snapshot, salt, lsn: self.covers })?;
        let mut chunk = Vec::new();
        let mut number = Lsn(1);
        for record in records {
            let record = record.as_ref();
            assert!(record.len() <= LogConfig::RECORD_BYTES_MAX, "a record of {} bytes", record.len());
            Frame::encode(&mut chunk, salt, number, 0, record);
            number = number.next();
            if chunk.len() >= CHUNK_BYTES {
                self.directory.write(&mut file, &chunk)?;
                chunk.clear();
            }
        }
        Frame::encode(&mut chunk, salt, number, Frame::END, &[]);
        self.directory.write(&mut file, &chunk)?;
        self.directory.sync(&file)
    }
}
