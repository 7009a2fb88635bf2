//! What a server keeps of a password.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;

/// Salt, iterations and the two keys of one password [RFC 5802 §3]. As text it is what RFC 5803 writes:
/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`. It is a secret, since passwords can be tried against it and since it lets
/// who has it pass for this server, and does not print by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// Why a text is no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// It is written otherwise.
    #[error("expected SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
    Form,
    /// Fewer or more than may be.
    #[error("the iterations are not a number from 4096 to 10000000")]
    Iterations,
    /// Not base64, or too short or too long.
    #[error("the salt is not 8 to 64 bytes in base64")]
    Salt,
    /// Not base64, or not 32 bytes.
    #[error("a key is not 32 bytes in base64")]
    Key,
}

/// Why a password has no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It has a character that SASLprep prohibits, or that Unicode 3.2 does not know.
    #[error(
        "the password has a character that SASLprep (RFC 4013) prohibits, so that clients would not agree on it"
    )]
    Prohibited,
    /// Nothing is left of it.
    #[error("the password is empty")]
    Empty,
}

const PREFIX: &str = "SCRAM-SHA-256$";

impl Verifier {
    /// The fewest iterations [RFC 7677 §4], and what `roost user` takes by default: they are the device's work at each login, a second or
    /// more of a small one, and buy nothing for passwords that are drawn at random, as those of devices should be. More for those that
    /// people choose: RFC 7677 says 15,000 and more.
    pub const ITERATIONS_MIN: u32 = 4_096;
    /// The most: a mistyped number would keep clients busy for minutes.
    pub const ITERATIONS_MAX: u32 = 10_000_000;
    /// The length of a salt that is drawn here: with 128 bits no two users have the same.
    pub const SALT_BYTES: usize = 16;

    /// The verifier of a password. Takes as long as its iterations do: not for a shard's thread.
    ///
    /// # Errors
    /// [`PasswordError`].
    ///
    /// # Panics
    /// With no iterations.
    pub fn of_password(password: &str, salt: &[u8], iterations: u32) -> Result<Self, PasswordError> {
        // Normalize() of RFC 5802 §2.2: as a stored string.
        let prepared = stringprep::saslprep(password).map_err(|_| PasswordError::Prohibited)?;
        if prepared.is_empty() {
            return Err(PasswordError::Empty);
        }
        // Hi() of RFC 5802 §2.2 is PBKDF2 with one block.
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(iterations).expect("there are iterations");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, prepared.as_bytes(), &mut salted);
        let stored_key = hash(&sign(&salted, b"Client Key"));
        let server_key = sign(&salted, b"Server Key");
        Ok(Self { iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    /// One that fits no password that anybody knows.
    pub(super) fn made_up(iterations: u32, salt: &[u8], keys: [[u8; 32]; 2]) -> Self {
        let [stored_key, server_key] = keys;
        Self { iterations, salt: salt.to_vec(), stored_key, server_key }
    }

    /// As RFC 5803 writes it. Not for logs.
    #[must_use]
    pub fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }

    pub(super) const fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// Whether a proof over what was signed is that of who knows the password [RFC 5802 §3]. How long that takes does not depend on how
    /// much of it is right.
    pub(super) fn is_proven_by(&self, signed: &[u8], proof: &[u8; 32]) -> bool {
        let mut client_key = sign(&self.stored_key, signed);
        client_key.iter_mut().zip(proof).for_each(|(byte, mask)| *byte ^= mask);
        hash(&client_key).ct_eq(&self.stored_key).into()
    }

    /// What shows that the server knows the user's server key [RFC 5802 §3].
    pub(super) fn server_signature(&self, signed: &[u8]) -> [u8; 32] {
        sign(&self.server_key, signed)
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        let rest = text.strip_prefix(PREFIX).ok_or(VerifierError::Form)?;
        let (parameters, keys) = rest.split_once('$').ok_or(VerifierError::Form)?;
        let (iterations, salt) = parameters.split_once(':').ok_or(VerifierError::Form)?;
        let (stored, server) = keys.split_once(':').ok_or(VerifierError::Form)?;
        // What a number may be written like besides, `+4096` for example, is not this form.
        let is_number = iterations.bytes().all(|byte| byte.is_ascii_digit());
        let iterations = iterations
            .parse()
            .ok()
            .filter(|number| is_number && (Self::ITERATIONS_MIN..=Self::ITERATIONS_MAX).contains(number));
        let salt = STANDARD.decode(salt).ok().filter(|salt| (8..=64).contains(&salt.len()));
        let key = |text| {
            let bytes: Result<[u8; 32], _> = STANDARD.decode(text).unwrap_or_default().try_into();
            bytes.map_err(|_| VerifierError::Key)
        };
        Ok(Self {
            iterations: iterations.ok_or(VerifierError::Iterations)?,
            salt: salt.ok_or(VerifierError::Salt)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    bytes_of(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message))
}

/// The bytes of an HMAC-SHA-256.
pub(super) fn bytes_of(tag: hmac::Tag) -> [u8; 32] {
    tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password and salt of RFC 7677 §3, as PostgreSQL writes it too.
    const TEXT: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn a_password_has_the_verifier_of_rfc_5803() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::of_password("pencil", &salt, 4_096).unwrap();
        assert_eq!(verifier.to_text(), TEXT);
        assert_eq!(TEXT.parse(), Ok(verifier.clone()));
        assert_eq!(Verifier::of_password("pen\u{AD}cil", &salt, 4_096), Ok(verifier), "SASLprep");
        assert_eq!(Verifier::of_password("", &salt, 4_096), Err(PasswordError::Empty));
        assert_eq!(Verifier::of_password("a\tb", &salt, 4_096), Err(PasswordError::Prohibited));
    }

    #[test]
    fn another_text_is_refused_for_its_reason() {
        let with = |from: &str, to: &str| TEXT.replace(from, to);
        for (text, expected) in [
            (String::new(), VerifierError::Form),
            (with("256", "1"), VerifierError::Form),
            (with("==$", "=="), VerifierError::Form),
            (with("4096:", ""), VerifierError::Form),
            (with("=:", "="), VerifierError::Form),
            (with("4096", "4095"), VerifierError::Iterations),
            (with("4096", "+4096"), VerifierError::Iterations),
            (with("4096", "10000001"), VerifierError::Iterations),
            (with("4096", ""), VerifierError::Iterations),
            (with("W22Z", "W2Z"), VerifierError::Salt),
            (with("W22ZaJ0SNY7soEsUEjb6gQ==", "YWFh"), VerifierError::Salt),
            (with("WG5d", ""), VerifierError::Key),
            (with("l2dU=", "l2dU= "), VerifierError::Key),
        ] {
            assert_eq!(text.parse::<Verifier>(), Err(expected), "{text}");
        }
    }
}
