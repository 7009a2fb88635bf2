//! Users and their verifiers, as a file has them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use super::super::{UserName, UserNameError};
use super::{Verifier, VerifierError};

/// Users of SCRAM-SHA-256. The file has a line for each, `NAME:SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`; a name may hold
/// colons. Empty lines, and lines that begin with `#`, say nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<UserName, Verifier>);

/// What is wrong with a file of users. The operator is to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct UsersError {
    /// From 1.
    pub line: usize,
    /// What.
    pub error: LineError,
}

/// What is wrong with a line. It does not say what stands there: that may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// There are not a name and a verifier.
    #[error(
        "expected NAME:SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, as `roost user add` writes it"
    )]
    Form,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] UserNameError),
    /// The verifier is none.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// A name that stands there already.
    #[error("the user has a line already")]
    Repeated,
    /// A name that would make its line a comment.
    #[error("a name that begins with # would be a comment")]
    Comment,
    /// More users than may be.
    #[error("more than 200000 users")]
    TooMany,
}

/// What stands between name and verifier. A verifier holds no such thing behind its beginning, so the last one in a line is it.
const SEPARATOR: &str = ":SCRAM-SHA-256$";

impl Users {
    /// Bound on the users of a file: as many as a gateway has sessions by default.
    pub const MAX: usize = 200_000;

    /// Reads a file. There may be no user in it.
    ///
    /// # Errors
    /// [`UsersError`], for the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        let mut users = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !says_nothing(line)) {
            let wrong = |error| UsersError { line: at + 1, error };
            let (name, verifier) = user(line).map_err(wrong)?;
            if users.len() == Self::MAX {
                return Err(wrong(LineError::TooMany));
            }
            match users.entry(name) {
                Entry::Vacant(entry) => entry.insert(verifier),
                Entry::Occupied(_) => return Err(wrong(LineError::Repeated)),
            };
        }
        Ok(Self(users))
    }

    /// The text of a file with a user's line in the place of the one that it had, or behind all others.
    ///
    /// # Errors
    /// [`UsersError`] of the text as it was, or of the line that is to be written.
    pub fn with_user(text: &str, name: &UserName, verifier: &Verifier) -> Result<String, UsersError> {
        let users = Self::parse(text)?;
        if name.as_str().starts_with('#') {
            return Err(UsersError { line: text.lines().count() + 1, error: LineError::Comment });
        }
        if users.0.len() == Self::MAX && !users.0.contains_key(name) {
            return Err(UsersError { line: text.lines().count() + 1, error: LineError::TooMany });
        }
        let line = format!("{}:{}", name.as_str(), verifier.to_text());
        let mut was_there = false;
        let mut lines: Vec<&str> = Vec::new();
        for old in text.lines() {
            let is_users = !says_nothing(old) && user(old).is_ok_and(|(other, _)| other == *name);
            was_there |= is_users;
            lines.push(if is_users { &line } else { old });
        }
        lines.extend((!was_there).then_some(line.as_str()));
        Ok(lines.join("\n") + "\n")
    }

    /// The text of a file without a user's line; `None` if there is no such user.
    ///
    /// # Errors
    /// [`UsersError`] of the text as it was.
    pub fn without_user(text: &str, name: &UserName) -> Result<Option<String>, UsersError> {
        if !Self::parse(text)?.0.contains_key(name) {
            return Ok(None);
        }
        let stays = |line: &&str| says_nothing(line) || user(line).is_ok_and(|(other, _)| other != *name);
        Ok(Some(text.lines().filter(stays).map(|line| format!("{line}\n")).collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn verifier(&self, name: &UserName) -> Option<&Verifier> {
        self.0.get(name)
    }

    pub(super) fn verifiers(&self) -> impl Iterator<Item = &Verifier> {
        self.0.values()
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.0.len())
    }
}

fn says_nothing(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

fn user(line: &str) -> Result<(UserName, Verifier), LineError> {
    let at = line.rfind(SEPARATOR).ok_or(LineError::Form)?;
    Ok((UserName::parse(&line[..at])?, line[at + 1..].parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn name(text: &str) -> UserName {
        UserName::parse(text).unwrap()
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let text = format!("# ours\n\na:{VERIFIER}\nb:c d:{VERIFIER}\r\n  \n:SCRAM-SHA-256$:{VERIFIER}\n");
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.len(), 3);
        for user in ["a", "b:c d", ":SCRAM-SHA-256$"] {
            assert!(users.verifier(&name(user)).is_some(), "{user}");
        }
        assert!(Users::parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_nothing_of_it() {
        for (text, line, what) in [
            ("\nuser\n".to_owned(), 2, "expected NAME:"),
            ("user:password".to_owned(), 1, "expected NAME:"),
            (VERIFIER.to_owned(), 1, "expected NAME:"),
            (format!(":{VERIFIER}"), 1, "user name is empty"),
            (format!("a\tb:{VERIFIER}"), 1, "SASLprep"),
            (format!("a:{VERIFIER}x"), 1, "a key is not"),
            (format!("a:{}", VERIFIER.replace("4096", "1")), 1, "iterations"),
            (format!("a:{VERIFIER}\n#\na\u{AD}:{VERIFIER}"), 3, "has a line already"),
        ] {
            let error = Users::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            let said = error.to_string();
            assert!(said.contains(what) && !said.contains("WG5d") && !said.contains("password"), "{said}");
        }
    }

    #[test]
    fn a_line_is_put_in_its_place_and_all_else_stays() {
        let verifier: Verifier = VERIFIER.parse().unwrap();
        let other = Verifier::of_password("other", b"saltsalt", 4_096).unwrap();
        let added = Users::with_user("# ours\nz:", &name("a"), &verifier);
        assert_eq!(added.unwrap_err().line, 2, "a file that is wrong is left alone");
        let comment = Users::with_user("# ours", &name("#a"), &verifier).unwrap_err();
        assert_eq!(comment, UsersError { line: 2, error: LineError::Comment });
        let text = Users::with_user("# ours", &name("a"), &verifier).unwrap();
        assert_eq!(text, format!("# ours\na:{VERIFIER}\n"));
        let text = Users::with_user(&text, &name("b"), &verifier).unwrap();
        let text = Users::with_user(&text, &name("a"), &other).unwrap();
        assert_eq!(text, format!("# ours\na:{}\nb:{VERIFIER}\n", other.to_text()));
        assert_eq!(Users::without_user(&text, &name("c")), Ok(None));
        let text = Users::without_user(&text, &name("a")).unwrap().unwrap();
        assert_eq!(text, format!("# ours\nb:{VERIFIER}\n"));
    }
}
