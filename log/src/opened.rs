//! Opening: what is on disk is checked, a torn end is cut, and the log can be replayed and appended to.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use super::directory::Directory;
use super::frame::{Kind, durable_before};
use super::reader::{Next, Reader};
use super::{Log, LogConfig, LogError, Lsn, Replay};

/// A log that is open and locked, and not appended to yet.
#[derive(Debug)]
pub struct Opened {
    config: LogConfig,
    directory: Arc<Directory>,
    snapshot: Option<Lsn>,
    segments: Vec<Lsn>,
    last: Lsn,
    cut: Option<Cut>,
}

/// What a crash had torn off the end of the log; none of it had been reported durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The last segment.
    pub path: PathBuf,
    /// Where it ends now, in bytes.
    pub offset: u64,
    /// How many bytes were there beyond that.
    pub bytes: u64,
}

impl Opened {
    /// Locks the directory and brings it in order: removes unfinished files and those a snapshot covers, and cuts a torn end.
    ///
    /// # Errors
    /// [`LogError`]; a log with damage is never opened.
    pub fn open(config: LogConfig) -> Result<Self, LogError> {
        let directory = Directory::open(&config.directory)?;
        let mut listing = directory.list()?;
        for path in &listing.unfinished {
            fs::remove_file(path).map_err(LogError::io("remove", path))?;
        }
        let snapshot = listing.snapshots.pop();
        for lsn in listing.snapshots {
            remove(&directory, Kind::Snapshot, lsn)?;
        }
        let covered = snapshot.unwrap_or_default();
        let (superfluous, segments) = covered_segments(&listing.segments, covered);
        for lsn in superfluous {
            remove(&directory, Kind::Segment, lsn)?;
        }
        directory.sync_names().map_err(LogError::io("sync", directory.path()))?;
        let mut opened =
            Self { config, directory: Arc::new(directory), snapshot, segments, last: covered, cut: None };
        opened.check_begin()?;
        opened.find_end()?;
        Ok(opened)
    }

    /// What was cut off, if anything was.
    #[must_use]
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    /// The last record that the snapshot stands for, or that was forgotten; [`Lsn::ZERO`] if there is none.
    #[must_use]
    pub fn covered(&self) -> Lsn {
        let covered = self.snapshot.unwrap_or_default();
        match self.segments.first() {
            Some(first) => covered.max(Lsn(first.0 - 1)),
            None => self.last,
        }
    }

    /// Where all segments were forgotten: the next record gets a number beyond this one, which something in the snapshot still names.
    #[must_use]
    pub fn numbered_beyond(self, named: Lsn) -> Self {
        match self.segments.is_empty() && self.config.forgets {
            true => Self { last: self.last.max(named), ..self },
            false => self,
        }
    }

    /// The last record there is.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// All that is in the log, from the beginning: the snapshot's records, then the others in order.
    #[must_use]
    pub fn replay(&self) -> Replay {
        Replay::new(self.directory.clone(), self.snapshot, &self.segments, self.last)
    }

    /// Begins to append, behind the last record: starts the writer thread.
    ///
    /// # Errors
    /// [`LogError::Io`] if the thread can't be started.
    pub fn start(self) -> Result<Log, LogError> {
        Log::start(self.config, self.directory, self.segments, self.snapshot.unwrap_or_default(), self.last)
    }

    /// What tests break.
    #[cfg(test)]
    pub(super) fn faults(&self) -> super::tests::Faults {
        self.directory.faults.clone()
    }

    fn check_begin(&self) -> Result<(), LogError> {
        let from = self.snapshot.unwrap_or_default().next();
        match self.segments.first() {
            Some(&first) if first > from && !self.config.forgets => Err(LogError::Missing {
                path: self.directory.file(Kind::Segment, first),
                from,
                to: Lsn(first.0 - 1),
            }),
            _ => Ok(()),
        }
    }

    /// Reads the last segment through, and cuts what is torn at its end.
    fn find_end(&mut self) -> Result<(), LogError> {
        let Some(&first) = self.segments.last() else { return Ok(()) };
        let path = self.directory.file(Kind::Segment, first);
        let mut reader = Reader::open(&path, Kind::Segment, first)?;
        let problem = loop {
            match reader.next()? {
                Next::Record { .. } => {}
                Next::FileEnd => break None,
                Next::SnapshotEnd => unreachable!("a segment has no such mark: the reader checked its kind"),
                Next::Bad(problem) => break Some(problem),
            }
        };
        if let Some(problem) = problem {
            self.cut_end(&reader, problem)?;
        }
        // Whole records may be there that were never synced: what is replayed is relied on, so it must be durable first.
        File::open(&path).and_then(|file| file.sync_all()).map_err(LogError::io("sync", &path))?;
        let last = Lsn(reader.expected().0 - 1);
        if last < first || last > self.last {
            self.last = self.last.max(last);
        } else {
            // A crash came between a snapshot and the removal of all that it covers.
            remove(&self.directory, Kind::Segment, first)?;
            self.segments.pop();
        }
        Ok(())
    }

    fn cut_end(&mut self, reader: &Reader, problem: &'static str) -> Result<(), LogError> {
        let (path, offset) = (reader.path(), reader.offset());
        let mut file =
            File::options().read(true).write(true).open(path).map_err(LogError::io("open", path))?;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_to_end(&mut rest))
            .map_err(LogError::io("read", path))?;
        let was_durable = durable_before(&rest, reader.salt(), reader.expected());
        if was_durable.is_some_and(|durable| durable >= reader.expected()) {
            return Err(reader.damaged(problem));
        }
        file.set_len(offset).and_then(|()| file.sync_all()).map_err(LogError::io("cut", path))?;
        self.cut = Some(Cut { path: path.to_owned(), offset, bytes: rest.len() as u64 });
        Ok(())
    }
}

/// Splits segments into those whose every record is covered, and the rest. Where a segment ends the next one says; how long
/// the last one is only reading would tell, so it stays.
pub(super) fn covered_segments(segments: &[Lsn], covered: Lsn) -> (Vec<Lsn>, Vec<Lsn>) {
    let count = segments.windows(2).take_while(|pair| pair[1] <= covered.next()).count();
    (segments[..count].to_vec(), segments[count..].to_vec())
}

fn remove(directory: &Directory, kind: Kind, lsn: Lsn) -> Result<(), LogError> {
    directory.remove(kind, lsn).map_err(LogError::io("remove", &directory.file(kind, lsn)))
}
