//! Files of users, read once at the start.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::authentication::scram::{Users, UsersError};
use crate::authentication::{Authentication, Scram, ServerSecret};

/// What is asked of who connects, and where the answers stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// Whether a client that names no authentication method is let in.
    pub anonymous: bool,
    /// The users of SCRAM-SHA-256; without it the method is not known.
    pub scram: Option<PathBuf>,
}

impl Default for AuthenticationConfig {
    /// Everybody is let in.
    fn default() -> Self {
        Self { anonymous: true, scram: None }
    }
}

/// Why a file of users is not taken. Nobody is let in for that: the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum UsersFileError {
    /// It cannot be read.
    #[error("the users in {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is larger than a file of users may be.
    #[error("the users in {}: more than {BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// It is read, and a line is wrong.
    #[error("the users in {}: {error}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What.
        error: UsersError,
    },
}

/// Bound on a file: 300 bytes for each of as many users as may be.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

impl AuthenticationConfig {
    /// Reads the files. It blocks.
    ///
    /// # Errors
    /// [`UsersFileError`].
    pub(super) fn open(&self) -> Result<Authentication, UsersFileError> {
        let scram = self.scram.as_deref().map(read).transpose()?;
        let scram = scram.map(|users| Arc::new(Scram::new(users, ServerSecret::new(rand::random()))));
        Ok(Authentication { anonymous: self.anonymous, scram })
    }
}

fn read(path: &Path) -> Result<Users, UsersFileError> {
    let unreadable = |error| UsersFileError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(UsersFileError::TooLarge { path: path.to_owned() });
    }
    let users =
        Users::parse(&text).map_err(|error| UsersFileError::Wrong { path: path.to_owned(), error })?;
    let (path, count) = (path.display(), users.len());
    tracing::info!(%path, users = count, "users of SCRAM-SHA-256 read");
    if mode & 0o077 != 0 {
        let mode = format_args!("{mode:04o}");
        tracing::warn!(%path, %mode, "others may read the file of users; passwords can be tried against what it holds");
    }
    if users.is_empty() {
        tracing::warn!(%path, "the file of users has none: nobody can log in by it");
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::scram::Verifier;

    fn open(text: &str) -> Result<Authentication, UsersFileError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        std::fs::write(&path, text).unwrap();
        AuthenticationConfig { anonymous: false, scram: Some(path) }.open()
    }

    #[test]
    fn a_file_lets_its_users_in_and_a_bad_one_nobody() {
        let verifier = Verifier::of_password("secret", b"saltsalt", 4_096).unwrap().to_text();
        let good = open(&format!("a:{verifier}\n")).unwrap();
        assert!(!good.anonymous && good.offers("SCRAM-SHA-256") && !good.offers("SCRAM-SHA-1"));
        let wrong = open(&format!("a:{verifier}\nb:{}\n", verifier.replace("4096", "99"))).unwrap_err();
        let said = wrong.to_string();
        assert!(said.contains("/users: line 2: the iterations"), "{said}");
        let absent = AuthenticationConfig { anonymous: false, scram: Some("/nowhere/users".into()) };
        let said = absent.open().unwrap_err().to_string();
        assert!(said.contains("the users in /nowhere/users: No such file"), "{said}");
        assert!(AuthenticationConfig::default().open().unwrap().scram.is_none());
    }
}
