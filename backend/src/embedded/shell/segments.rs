//! The log's files: a directory of numbered segments, of which the last is written.

use crate::embedded::log::{Frames, Record, SEGMENT_HEAD};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is read of a segment at once.
const READ_BYTES: usize = 256 * 1024;

/// The directory, locked, with the segment that is written.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    /// Held as long as the broker runs: two on one directory would destroy it.
    _lock: File,
    /// Older segments with their lengths, the oldest first.
    old: VecDeque<Segment>,
    current: Segment,
    file: File,
}

/// A segment's number and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another broker has it.
    #[error(
        "data directory {directory} is in use by another broker: stop that one, or choose another directory"
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A segment that was complete is not any more.
    #[error(
        "segment {segment} is damaged at byte {at}, and later segments follow: this is no torn write but lost data. \
         Restore the directory from a copy, or move it away to start empty"
    )]
    Damaged {
        /// The segment's file.
        segment: PathBuf,
        /// Where its last whole record ends.
        at: u64,
    },
    /// A segment between two others is missing.
    #[error(
        "segment {segment} is missing: restore the directory from a copy, or move it away to start empty"
    )]
    Missing {
        /// The segment's file.
        segment: PathBuf,
    },
    /// The system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Segments {
    /// Opens the directory and replays its records in their order, each with its segment and bytes, then begins a new segment.
    /// Returns how many bytes of a torn tail were cut.
    ///
    /// # Errors
    /// [`LogError`], saying what to do.
    pub(super) fn open(
        directory: &Path,
        mut replay: impl FnMut(u64, Record, u64),
    ) -> Result<(Self, u64), LogError> {
        let fail = |path: &Path, source| LogError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(|source| fail(directory, source))?;
        let lock = lock(directory)?;
        let numbers = numbers(directory).map_err(|source| fail(directory, source))?;
        let mut old = VecDeque::new();
        let mut torn_bytes = 0;
        for (index, number) in numbers.iter().copied().enumerate() {
            if number != numbers[0] + index as u64 {
                return Err(LogError::Missing { segment: path(directory, numbers[0] + index as u64) });
            }
            let path = path(directory, number);
            let mut frames = frames(&path).map_err(|source| fail(&path, source))?;
            while let Some((record, bytes)) = frames.next().map_err(|source| fail(&path, source))? {
                replay(number, record, bytes);
            }
            let whole_bytes = frames.whole_bytes();
            if frames.torn_bytes() > 0 {
                if index + 1 < numbers.len() {
                    return Err(LogError::Damaged { segment: path, at: whole_bytes });
                }
                torn_bytes = frames.torn_bytes();
                cut(&path, whole_bytes).map_err(|source| fail(&path, source))?;
            }
            old.push_back(Segment { number, bytes: whole_bytes });
        }
        let number = numbers.last().map_or(1, |last| last + 1);
        let file = create(directory, number).map_err(|source| fail(&path(directory, number), source))?;
        let current = Segment { number, bytes: SEGMENT_HEAD.len() as u64 };
        Ok((Self { directory: directory.to_owned(), _lock: lock, old, current, file }, torn_bytes))
    }

    /// The segment that is written.
    pub(super) fn current(&self) -> Segment {
        self.current
    }

    /// The oldest segment, if it is not the one that is written.
    pub(super) fn oldest(&self) -> Option<Segment> {
        self.old.front().copied()
    }

    /// How many segments there are besides the one that is written.
    pub(super) fn older(&self) -> usize {
        self.old.len()
    }

    /// Bytes of all segments.
    pub(super) fn total_bytes(&self) -> u64 {
        self.old.iter().map(|segment| segment.bytes).sum::<u64>() + self.current.bytes
    }

    /// Appends bytes and makes them safe. After an error nothing of them counts; [`Segments::repair`] comes next.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.current.bytes)?;
        self.file.sync_data()?;
        self.current.bytes += bytes.len() as u64;
        Ok(())
    }

    /// After a write or sync that went wrong: cuts what may be there of it, and goes on in a new segment. The old file
    /// is not written again, for after a failed sync the system may have forgotten that its pages are dirty.
    pub(super) fn repair(&mut self) -> io::Result<()> {
        if self.current.bytes == SEGMENT_HEAD.len() as u64 {
            // Nothing in it counts yet: it is made anew, or a full disk would get one more file with every attempt.
            self.file = create(&self.directory, self.current.number)?;
            return Ok(());
        }
        self.file.set_len(self.current.bytes)?;
        self.file.sync_all()?;
        self.roll()
    }

    /// Begins a new segment.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        let number = self.current.number + 1;
        self.file = create(&self.directory, number)?;
        self.old.push_back(self.current);
        self.current = Segment { number, bytes: SEGMENT_HEAD.len() as u64 };
        Ok(())
    }

    /// Reads an older segment again.
    pub(super) fn read(&self, number: u64) -> io::Result<Frames<BufReader<File>>> {
        frames(&path(&self.directory, number))
    }

    /// Removes the oldest segment.
    pub(super) fn remove_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.old.front() else { return Ok(()) };
        std::fs::remove_file(path(&self.directory, oldest.number))?;
        self.old.pop_front();
        Ok(())
    }
}

fn frames(path: &Path) -> io::Result<Frames<BufReader<File>>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok(Frames::new(BufReader::with_capacity(READ_BYTES, file), bytes))
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.segment"))
}

fn lock(directory: &Path) -> Result<File, LogError> {
    let path = directory.join("lock");
    let fail = |source| LogError::Io { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// The numbers of the segments that are there, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".segment"));
        numbers.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn create(directory: &Path, number: u64) -> io::Result<File> {
    let path = path(directory, number);
    // A file left by an attempt that did not get this far holds nothing.
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    file.write_all(&SEGMENT_HEAD)?;
    file.sync_all()?;
    // The name itself must be safe, or the file's bytes are not.
    File::open(directory)?.sync_all()?;
    Ok(file)
}

fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    if bytes == 0 {
        // Torn while it was created.
        file.set_len(0)?;
        file.write_all(&SEGMENT_HEAD)?;
    } else {
        file.set_len(bytes)?;
    }
    file.sync_all()
}
