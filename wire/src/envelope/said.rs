//! What an event and a broadcast write alike: all that a publisher has said of its message besides the payload.

use bytes::Bytes;

use super::{Qos, header};
use crate::{DeliveryMode, HeaderValue, Properties, TraceContext};

/// AMQP's `expiration`. Brokers close the channel on one that does not fit 32 bits of milliseconds, and a publisher may ask for more: what
/// lives longer than 49 days lives 49 days.
pub(super) fn expiration(ms: u64) -> String {
    ms.min(u32::MAX.into()).to_string()
}

/// What was said of a message, on its way into AMQP.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) qos: Qos,
    pub(super) expires_in_ms: Option<u64>,
    pub(super) content_type: Option<String>,
    pub(super) payload_is_utf8: bool,
    pub(super) response_topic: Option<String>,
    pub(super) correlation_data: Option<Bytes>,
    pub(super) user_properties: Vec<(String, String)>,
    pub(super) trace: Option<TraceContext>,
}

impl Said {
    /// As properties and headers.
    pub(super) fn into_properties(self) -> Properties {
        let mut properties = Properties {
            content_type: self.content_type,
            delivery_mode: match self.qos {
                Qos::AtMostOnce => DeliveryMode::Transient,
                Qos::AtLeastOnce | Qos::ExactlyOnce => DeliveryMode::Persistent,
            },
            expiration: self.expires_in_ms.map(expiration),
            ..Properties::default()
        };
        if self.payload_is_utf8 {
            properties.set(header::PAYLOAD_UTF8, true);
        }
        if let Some(topic) = self.response_topic {
            properties.set(header::RESPONSE_TOPIC, topic);
        }
        if let Some(data) = self.correlation_data {
            properties.set(header::CORRELATION_DATA, HeaderValue::Bytes(data));
        }
        if !self.user_properties.is_empty() {
            properties.set(header::USER_PROPERTIES, header::user_properties(&self.user_properties));
        }
        if let Some(trace) = self.trace {
            properties.set(header::TRACEPARENT, trace.to_string());
        }
        properties
    }
}
