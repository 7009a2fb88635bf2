//! The payload of a message.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Bytes in memory of their own, which another message may have afterwards, or a part of a buffer that others share.
#[derive(Clone)]
pub(crate) enum Payload {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Payload {
    /// As AMQP takes it, without a copy.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Own(bytes) => bytes.into(),
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Shared(bytes)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}
