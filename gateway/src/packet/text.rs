//! Strings and binary data of MQTT packets: checked once, then shared without copying.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use bytestring::ByteString;

/// The longest string or binary field in bytes: its length is a two byte integer.
pub const FIELD_BYTES_MAX: usize = 65_535;

/// An MQTT "UTF-8 Encoded String": well-formed UTF-8 [MQTT-1.5.4-1] without U+0000 [MQTT-1.5.4-2], at most
/// [`FIELD_BYTES_MAX`] bytes. May be empty. Control characters and non-characters are let through, as the
/// specification only advises against them.
///
/// A decoded text shares the buffer that the packet was read into and so keeps all of it alive. Call
/// [`Text::detached`] before storing one for longer than the packet is handled.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(ByteString);

/// Why something is not a [`Text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not well-formed UTF-8 [MQTT-1.5.4-1].
    #[error("string is not well-formed UTF-8")]
    NotUtf8,
    /// Holds U+0000 [MQTT-1.5.4-2].
    #[error("string holds the character U+0000")]
    Nul,
    /// Longer than [`FIELD_BYTES_MAX`] bytes.
    #[error("string has {0} bytes, more than 65535")]
    TooLong(usize),
}

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self(ByteString::new());

    /// Checks a string; one that is a `&str` is copied, a `String` is taken over.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > FIELD_BYTES_MAX {
            return Err(TextError::TooLong(text.len()));
        }
        // In UTF-8 a zero byte is U+0000 and nothing else.
        if text.as_bytes().contains(&0) {
            return Err(TextError::Nul);
        }
        Ok(Self(text))
    }

    /// Checks received bytes; the text shares them.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, TextError> {
        Self::parse(ByteString::try_from(bytes).map_err(|_| TextError::NotUtf8)?)
    }

    /// A text known when the program is written, without a copy.
    ///
    /// # Panics
    /// If it is not a valid MQTT string, which is a mistake in the program.
    pub fn from_static(text: &'static str) -> Self {
        Self::parse(ByteString::from_static(text)).expect("a literal is a valid MQTT string")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text in memory of its own, so that it no longer keeps a read buffer alive.
    pub fn detached(&self) -> Self {
        Self(ByteString::from(self.as_str()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// MQTT "Binary Data": at most [`FIELD_BYTES_MAX`] bytes [MQTT-1.5.6]. Shares the read buffer like [`Text`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinaryData(Bytes);

/// Binary data longer than [`FIELD_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("binary data has {0} bytes, more than 65535")]
pub struct BinaryTooLong(pub usize);

impl BinaryData {
    /// Checks the length; the data is not copied.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, BinaryTooLong> {
        let bytes = bytes.into();
        if bytes.len() > FIELD_BYTES_MAX {
            return Err(BinaryTooLong(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// The data, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The same data in memory of its own; see [`Text::detached`].
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The data itself.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for BinaryData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A password or authentication data. It never prints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(BinaryData);

impl Secret {
    /// Takes the data in; it is not copied.
    pub fn new(data: BinaryData) -> Self {
        Self(data)
    }

    /// The secret in clear. Never log it.
    pub fn expose(&self) -> &BinaryData {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_refuses_nul_bad_utf8_and_excess_length() {
        assert_eq!(Text::parse("a\0b"), Err(TextError::Nul));
        assert_eq!(Text::from_bytes(Bytes::from_static(b"\xff")), Err(TextError::NotUtf8));
        // U+D800, a surrogate, written in three bytes as CESU-8 does
        assert_eq!(Text::from_bytes(Bytes::from_static(b"\xed\xa0\x80")), Err(TextError::NotUtf8));
        assert_eq!(Text::parse("x".repeat(65_536)), Err(TextError::TooLong(65_536)));
        assert_eq!(Text::parse("x".repeat(65_535)).unwrap().len(), 65_535);
    }

    #[test]
    fn text_keeps_a_byte_order_mark() {
        // [MQTT-1.5.4-3]: 0xEF 0xBB 0xBF is U+FEFF wherever it stands and is not stripped
        let text = Text::from_bytes(Bytes::from_static(b"\xef\xbb\xbfa")).unwrap();
        assert_eq!(text, "\u{feff}a");
    }

    #[test]
    fn text_shares_the_buffer_until_detached() {
        let buffer = Bytes::from(b"topic".to_vec());
        let text = Text::from_bytes(buffer.slice(..)).unwrap();
        assert_eq!(text.as_ptr(), buffer.as_ptr());
        assert_ne!(text.detached().as_ptr(), buffer.as_ptr());
        assert_eq!(text.detached(), text);
    }

    #[test]
    fn secret_does_not_print() {
        let secret = Secret::new(BinaryData::parse("hunter2").unwrap());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
}
