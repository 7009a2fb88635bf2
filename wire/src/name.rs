//! Names that people choose: tenants, gateways, regions, and the ids that senders give their commands.

use std::sync::Arc;

/// Why a name was refused. The sender is at fault; the same name will be refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between the quotes.
    #[error("{kind} is empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// Longer than the bound.
    #[error("{kind} is {bytes} bytes long, at most {max_bytes} are allowed")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The bound in bytes.
        max_bytes: usize,
    },
    /// A character outside the allowed set.
    #[error("{kind} {name:?} has {character:?} in it; allowed are {allowed}")]
    Character {
        /// What was being named.
        kind: &'static str,
        /// The whole name, as it came.
        name: String,
        /// The first character that is not allowed.
        character: char,
        /// The allowed set, in words.
        allowed: &'static str,
    },
}

/// Declares a newtype over shared text that exists only if it was parsed.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max_bytes:expr, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The longest one, in bytes.
            pub const MAX_BYTES: usize = $max_bytes;

            /// Checks the length and every character.
            ///
            /// # Errors
            /// [`NameError`] says which rule the text breaks; it is refused every time.
            pub fn parse(text: &str) -> Result<Self, $crate::NameError> {
                $crate::name::check($kind, text, Self::MAX_BYTES, $allowed, $is_allowed)?;
                Ok(Self(text.into()))
            }

            /// The text as it was parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::NameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::NameError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}
pub(crate) use name;

name! {
    /// Who owns a device: `[a-z0-9-]{1,32}`. [`Tenant::default`] is `main`.
    Tenant, "tenant", 32, "a-z, 0-9 and -", is_slug
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from("main"))
    }
}

name! {
    /// One gateway process across all its runs, for example `eu-1`: `[a-z0-9-]{1,64}`.
    GatewayId, "gateway id", 64, "a-z, 0-9 and -", is_slug
}

name! {
    /// The gateways behind one balancer and one DNS name, for example `eu`: `[a-z0-9-]{1,32}`.
    Region, "region", 32, "a-z, 0-9 and -", is_slug
}

name! {
    /// The id that the sender gave its command (AMQP `message_id`): the idempotency key, 1 to 128 bytes without control
    /// characters.
    MessageId, "message id", 128, "all but control characters", |c: char| !c.is_control()
}

pub(crate) fn check(
    kind: &'static str,
    text: &str,
    max_bytes: usize,
    allowed: &'static str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.len() > max_bytes {
        return Err(NameError::TooLong { kind, bytes: text.len(), max_bytes });
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(character) => Err(NameError::Character { kind, name: text.to_owned(), character, allowed }),
        None => Ok(()),
    }
}

fn is_slug(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_they_are_parsed() {
        assert_eq!(Tenant::parse("acme-2").unwrap().as_str(), "acme-2");
        assert_eq!(Tenant::default().as_str(), "main");
        assert!(matches!(Tenant::parse(""), Err(NameError::Empty { .. })));
        assert!(matches!(Tenant::parse("Acme"), Err(NameError::Character { character: 'A', .. })));
        assert!(matches!(
            Tenant::parse(&"a".repeat(33)),
            Err(NameError::TooLong { bytes: 33, max_bytes: 32, .. })
        ));
        assert!(GatewayId::parse("eu.1").is_err(), "a dot would add a level to queue names");
        assert!(MessageId::parse("a\nb").is_err());
        assert!(MessageId::parse("Ünï cödé").is_ok());
    }

    #[test]
    fn an_error_says_what_is_wrong_with_which_value() {
        let error = Region::parse("EU").unwrap_err().to_string();
        assert_eq!(error, r#"region "EU" has 'E' in it; allowed are a-z, 0-9 and -"#);
    }

    #[test]
    fn json_goes_through_the_same_check() {
        assert!(serde_json::from_str::<Tenant>("\"main\"").is_ok());
        assert!(serde_json::from_str::<Tenant>("\"Main\"").is_err());
    }
}
