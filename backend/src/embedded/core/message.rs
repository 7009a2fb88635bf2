//! A message: where it was published, its properties and its body.

use super::limits::MESSAGE_OVERHEAD_BYTES;
use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use bytes::Bytes;
use std::sync::Arc;

/// A published message. It is shared, never changed: a dead-lettered one is a new message with the same body.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: Arc<str>,
    /// Its routing key.
    pub routing_key: Arc<str>,
    /// Its properties, headers among them.
    pub properties: BasicProperties,
    /// Its body.
    pub body: Bytes,
}

impl Message {
    /// Whether the publisher asked for it to survive a restart (`delivery_mode` 2).
    pub fn is_persistent(&self) -> bool {
        self.properties.delivery_mode() == &Some(2)
    }

    /// What it costs in memory: body, headers, and the fixed overhead.
    pub fn cost_bytes(&self) -> u64 {
        let headers = self.properties.headers().as_ref().map_or(0, table_cost_bytes);
        self.body.len() as u64 + self.routing_key.len() as u64 + headers + MESSAGE_OVERHEAD_BYTES
    }

    /// The lifetime its publisher gave it, in milliseconds.
    ///
    /// # Errors
    /// The text, if it is not a whole number of milliseconds that fits 32 bits, as RabbitMQ demands.
    pub fn lifetime_ms(&self) -> Result<Option<u64>, String> {
        let Some(text) = self.properties.expiration() else { return Ok(None) };
        match text.as_str().parse::<u64>() {
            Ok(lifetime) if lifetime <= u64::from(u32::MAX) => Ok(Some(lifetime)),
            Ok(_) | Err(_) => Err(text.to_string()),
        }
    }

    /// One header, if it is there.
    pub fn header(&self, name: &str) -> Option<&AMQPValue> {
        self.properties.headers().as_ref().and_then(|headers| headers.inner().get(name))
    }
}

/// The properties without the lifetime: a dead-lettered message must not expire again by its publisher's wish.
pub(crate) fn without_expiration(properties: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    macro_rules! copy {
        ($($field:ident => $with:ident),* $(,)?) => {
            $(if let Some(value) = properties.$field() { kept = kept.$with(value.clone()); })*
        };
    }
    copy!(
        content_type => with_content_type, content_encoding => with_content_encoding, headers => with_headers,
        delivery_mode => with_delivery_mode, priority => with_priority, correlation_id => with_correlation_id,
        reply_to => with_reply_to, message_id => with_message_id, timestamp => with_timestamp, kind => with_type,
        user_id => with_user_id, app_id => with_app_id, cluster_id => with_cluster_id,
    );
    kept
}

/// A short string from text that the broker made itself; cut at 255 bytes.
pub(crate) fn short_string(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
}

fn table_cost_bytes(table: &FieldTable) -> u64 {
    // The map's nodes cost more than the names and values they hold.
    table.inner().iter().map(|(name, value)| 64 + name.as_str().len() as u64 + value_cost_bytes(value)).sum()
}

fn value_cost_bytes(value: &AMQPValue) -> u64 {
    match value {
        AMQPValue::LongString(text) => text.len() as u64,
        AMQPValue::ByteArray(bytes) => bytes.len() as u64,
        AMQPValue::FieldTable(table) => table_cost_bytes(table),
        AMQPValue::FieldArray(values) => {
            values.as_slice().iter().map(|value| 64 + value_cost_bytes(value)).sum()
        }
        _ => 0,
    }
}
