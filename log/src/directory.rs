//! The directory of a log: its lock, its files by name, and how a file is made so that a crash leaves it whole or absent.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::frame::{HEADER_BYTES, Header, Kind};
use super::{LogError, Lsn};

/// An open log directory. The lock is held as long as this lives, and no longer, even if the process is killed.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
    /// What tests break.
    #[cfg(test)]
    pub(super) faults: super::tests::Faults,
}

/// The log's files, each list in the order of its numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub segments: Vec<Lsn>,
    pub snapshots: Vec<Lsn>,
    pub unfinished: Vec<PathBuf>,
}

impl Directory {
    /// Makes the directory if it is absent, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        fs::create_dir_all(path).map_err(LogError::io("create", path))?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(LogError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(LogError::io("lock", &lock_path)(source)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        })
    }

    /// The log's files. What is not named like one is somebody else's and left alone.
    pub(super) fn list(&self) -> Result<Listing, LogError> {
        let error = || LogError::io("list", &self.path);
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path).map_err(error())? {
            let name = entry.map_err(error())?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(lsn) = parse(name, "segment-", ".log") {
                listing.segments.push(lsn);
            } else if let Some(lsn) = parse(name, "snapshot-", ".log") {
                listing.snapshots.push(lsn);
            } else if parse(name, "segment-", ".tmp").or(parse(name, "snapshot-", ".tmp")).is_some() {
                listing.unfinished.push(self.path.join(name));
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        Ok(listing)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, kind: Kind, lsn: Lsn) -> PathBuf {
        self.path.join(format!("{}-{:020}.log", prefix(kind), lsn.0))
    }

    pub(super) fn unfinished(&self, kind: Kind, lsn: Lsn) -> PathBuf {
        self.path.join(format!("{}-{:020}.tmp", prefix(kind), lsn.0))
    }

    /// How many bytes the file has; 0 if nobody can say.
    pub(super) fn bytes(&self, kind: Kind, lsn: Lsn) -> u64 {
        fs::metadata(self.file(kind, lsn)).map_or(0, |file| file.len())
    }

    /// Makes a file with its header under a name that is not the log's yet. One of the same name is emptied first.
    pub(super) fn begin(&self, header: &Header) -> io::Result<File> {
        let mut file = File::create(self.unfinished(header.kind, header.lsn))?;
        self.write(&mut file, &header.encode())?;
        Ok(file)
    }

    /// Gives a file that was begun and is synced its name in the log; a file of that name is replaced. Durable on return.
    pub(super) fn finish(&self, kind: Kind, lsn: Lsn) -> io::Result<()> {
        fs::rename(self.unfinished(kind, lsn), self.file(kind, lsn))?;
        self.sync_names()
    }

    /// Makes every change of names durable.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    pub(super) fn remove(&self, kind: Kind, lsn: Lsn) -> io::Result<()> {
        #[cfg(test)]
        let bytes = self.bytes(kind, lsn);
        fs::remove_file(self.file(kind, lsn))?;
        #[cfg(test)]
        self.faults.removed(bytes);
        Ok(())
    }

    pub(super) fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_write(file, bytes)?;
        file.write_all(bytes)
    }

    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_sync()?;
        file.sync_data()
    }

    /// Begins, syncs and names a segment.
    pub(super) fn new_segment(&self, lsn: Lsn, salt: u32) -> io::Result<File> {
        let file = self.begin(&Header { kind: Kind::Segment, salt, lsn })?;
        self.sync(&file)?;
        self.finish(Kind::Segment, lsn)?;
        Ok(file)
    }
}

/// A new file's position is behind its header.
pub(super) const FIRST_FRAME_AT: u64 = HEADER_BYTES as u64;

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Segment => "segment",
        Kind::Snapshot => "snapshot",
    }
}

fn parse(name: &str, prefix: &str, suffix: &str) -> Option<Lsn> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(Lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_that_the_directory_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(matches!(&error, LogError::InUse { path } if path == dir.path()), "{error}");
        drop(first);
        assert!(Directory::open(dir.path()).is_ok());
    }

    #[test]
    fn only_files_of_the_log_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        directory.new_segment(Lsn(12), 1).unwrap();
        directory.new_segment(Lsn(3), 1).unwrap();
        directory.begin(&Header { kind: Kind::Snapshot, salt: 1, lsn: Lsn(2) }).unwrap();
        for name in ["notes.txt", "segment-1.log", "segment-0000000000000000001x.log", "snapshot-.log"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let listing = directory.list().unwrap();
        assert_eq!(listing.segments, [Lsn(3), Lsn(12)]);
        assert!(listing.snapshots.is_empty());
        assert_eq!(listing.unfinished, [directory.unfinished(Kind::Snapshot, Lsn(2))]);
    }
}
