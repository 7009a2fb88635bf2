//! The name of a user, in the form in which names are compared.

use std::fmt;

/// A user's name as SASLprep [RFC 4013] leaves it: the same for every way to write it. Not empty, and no more than
/// [`UserName::BYTES_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// Why something is no user's name. Whoever wrote it is to write another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserNameError {
    /// It has a character that SASLprep prohibits, a control character for example, or mixes directions of writing.
    #[error("the user name has a character that SASLprep (RFC 4013) prohibits")]
    Prohibited,
    /// Nothing is left of it [RFC 5802 §5.1].
    #[error("the user name is empty")]
    Empty,
    /// Longer than [`UserName::BYTES_MAX`].
    #[error("the user name has more than 256 bytes")]
    TooLong,
}

impl UserName {
    /// Bound on its UTF-8: a mail address fits.
    pub const BYTES_MAX: usize = 256;

    /// Prepares a name. Code points that Unicode 3.2 does not assign are refused here as in the file of users, where RFC 4013 demands it
    /// of stored strings: a name that has one is nobody's.
    ///
    /// # Errors
    /// [`UserNameError`].
    pub fn parse(text: &str) -> Result<Self, UserNameError> {
        // What is prepared may be several times as long; nobody is to make us do that for nothing.
        if text.len() > Self::BYTES_MAX {
            return Err(UserNameError::TooLong);
        }
        let prepared = stringprep::saslprep(text).map_err(|_| UserNameError::Prohibited)?;
        match prepared.len() {
            0 => Err(UserNameError::Empty),
            1..=Self::BYTES_MAX => Ok(Self(prepared.into_owned())),
            _ => Err(UserNameError::TooLong),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_name_is_the_same_name() {
        // The examples of RFC 4013 §3, and a space that is not ASCII's.
        for (written, prepared) in [
            ("I\u{AD}X", Ok("IX")),
            ("user", Ok("user")),
            ("USER", Ok("USER")),
            ("\u{AA}", Ok("a")),
            ("\u{2168}", Ok("IX")),
            ("a\u{A0}b", Ok("a b")),
            ("\u{7}", Err(UserNameError::Prohibited)),
            ("\u{627}1", Err(UserNameError::Prohibited)),
            ("\u{221}", Err(UserNameError::Prohibited)),
            ("", Err(UserNameError::Empty)),
            ("\u{AD}", Err(UserNameError::Empty)),
        ] {
            let name = UserName::parse(written);
            assert_eq!(name.as_ref().map(UserName::as_str).map_err(|error| *error), prepared, "{written:?}");
        }
        let most = "x".repeat(UserName::BYTES_MAX);
        assert!(UserName::parse(&most).is_ok());
        assert_eq!(UserName::parse(&(most + "x")), Err(UserNameError::TooLong));
        // One character of three bytes becomes eighteen: U+FDFA.
        assert_eq!(UserName::parse(&"\u{FDFA}".repeat(85)), Err(UserNameError::TooLong));
    }
}
