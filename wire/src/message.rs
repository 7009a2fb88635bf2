//! An AMQP message without an AMQP library: what a publisher gives and a consumer gets.

use std::collections::BTreeMap;

use bytes::Bytes;

/// A message on its way into or out of AMQP 0-9-1.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The exchange it is published to, or came through; empty is the default exchange.
    pub exchange: String,
    /// The routing key, at most 255 bytes.
    pub routing_key: String,
    /// AMQP's basic properties.
    pub properties: Properties,
    /// The body, untouched.
    pub body: Bytes,
}

/// The headers table, in a fixed order so that two equal messages encode alike.
pub type Headers = BTreeMap<String, HeaderValue>;

/// The basic properties that the mesh uses (AMQP 0-9-1, class basic).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// The headers table.
    pub headers: Headers,
    /// Whether the message survives a restart of the broker.
    pub delivery_mode: DeliveryMode,
    /// 0 to 9.
    pub priority: Option<u8>,
    /// What a reply refers to.
    pub correlation_id: Option<String>,
    /// The queue that a reply goes to.
    pub reply_to: Option<String>,
    /// How long the message may wait in a queue, in milliseconds as text.
    pub expiration: Option<String>,
    /// The publisher's id for the message.
    pub message_id: Option<String>,
    /// When it was made, in seconds since 1970.
    pub timestamp_s: Option<u64>,
    /// The message's type, free for applications.
    pub kind: Option<String>,
    /// The AMQP user that published it; the broker refuses a wrong one.
    pub user_id: Option<String>,
}

/// Whether a message survives a restart of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeliveryMode {
    /// Kept in memory only (AMQP: 1 or absent).
    #[default]
    Transient,
    /// Written to disk in durable queues (AMQP: 2).
    Persistent,
}

/// One value of a headers table: the AMQP field types that clients send, widened to the largest of each kind.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderValue {
    /// No value.
    Void,
    /// True or false.
    Bool(bool),
    /// Any signed or unsigned integer.
    Int(i64),
    /// Any floating-point number.
    Double(f64),
    /// A long string that is valid UTF-8.
    Text(String),
    /// A byte array, or a long string that is not UTF-8.
    Bytes(Bytes),
    /// Seconds since 1970.
    Timestamp(u64),
    /// A list.
    List(Vec<HeaderValue>),
    /// A nested table.
    Table(Headers),
}

impl Properties {
    /// A header that is text; `None` if it is absent or something else.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.headers.get(name) {
            Some(HeaderValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A header that is an integer; `None` if it is absent or something else.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.headers.get(name) {
            Some(HeaderValue::Int(int)) => Some(*int),
            _ => None,
        }
    }

    /// A header that is a truth value; `None` if it is absent or something else.
    #[must_use]
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.headers.get(name) {
            Some(HeaderValue::Bool(bool)) => Some(*bool),
            _ => None,
        }
    }

    /// Puts a header there, replacing an older one.
    pub fn set(&mut self, name: &str, value: impl Into<HeaderValue>) {
        self.headers.insert(name.to_owned(), value.into());
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for HeaderValue {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl From<i64> for HeaderValue {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<u64> for HeaderValue {
    /// AMQP has no unsigned 64-bit integer that every client reads: what does not fit is cut to the largest that does.
    fn from(int: u64) -> Self {
        Self::Int(i64::try_from(int).unwrap_or(i64::MAX))
    }
}
