//! Why a log could not be opened or read.

use std::io;
use std::path::PathBuf;

use super::Lsn;

/// Why a log could not be opened or read. Nothing was changed by the attempt, except that a torn end may have been cut.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has it open. Try again when that one has ended.
    #[error("{} is in use by another process: each needs a directory of its own", path.display())]
    InUse {
        /// The log's directory.
        path: PathBuf,
    },
    /// The operating system refused something; whether a retry helps depends on what.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A durable record cannot be read: the disk or somebody changed it. A person has to look; restore a copy of the
    /// directory, or move it away and lose what is in it.
    #[error("{} is damaged at byte {offset}, where record {lsn} should begin: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes from its beginning.
        offset: u64,
        /// Which record should be there.
        lsn: Lsn,
        /// What is there instead.
        problem: &'static str,
    },
    /// A file that should be there is absent.
    #[error("records {from} to {to} are missing before {}", path.display())]
    Missing {
        /// The first file after the gap.
        path: PathBuf,
        /// First missing record.
        from: Lsn,
        /// Last missing record.
        to: Lsn,
    },
    /// The file was written by a version that this one does not know. Start a version that does.
    #[error("{} has format {version}; this version reads format {}", path.display(), super::frame::FORMAT)]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u16,
    },
}

impl LogError {
    /// For `map_err`: what was tried, with which file.
    pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
