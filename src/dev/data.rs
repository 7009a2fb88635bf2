//! Where `roost dev` keeps its files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// A directory for the journal and the broker's log.
#[derive(Debug)]
pub(crate) enum Data {
    /// Given with `--data`: stays.
    Kept(PathBuf),
    /// Ours: removed at the end.
    Temporary(TempDir),
}

impl Data {
    /// Makes the directory, if it is not there.
    pub(crate) fn prepare(given: Option<PathBuf>) -> anyhow::Result<Self> {
        match given {
            Some(path) => {
                std::fs::create_dir_all(&path)
                    .with_context(|| format!("--data {}: cannot make it", path.display()))?;
                Ok(Self::Kept(path))
            }
            None => {
                let made = tempfile::Builder::new().prefix("roost-dev-").tempdir();
                made.map(Self::Temporary).context("cannot make a temporary directory; name one with --data")
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    /// Leaves it where it is, also if it is ours: it is evidence.
    pub(crate) fn keep(self) -> PathBuf {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.keep(),
        }
    }

    /// Removes it, if it is ours.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        match self {
            Self::Kept(_) => Ok(()),
            Self::Temporary(directory) => {
                let path = directory.path().to_owned();
                directory.close().with_context(|| format!("removing {}", path.display()))
            }
        }
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(path) => path.display().fmt(f),
            Self::Temporary(directory) => {
                write!(f, "{}  (temporary: removed at the end)", directory.path().display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_goes_and_a_given_one_stays() {
        let ours = Data::prepare(None).unwrap();
        let path = ours.path().to_owned();
        assert!(path.is_dir() && ours.to_string().contains("removed at the end"));
        ours.remove().unwrap();
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let given = Data::prepare(Some(parent.path().join("a/b"))).unwrap();
        let path = given.path().to_owned();
        given.remove().unwrap();
        assert!(path.is_dir());
    }
}
