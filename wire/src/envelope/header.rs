//! The names of the headers, and how a list of user properties is one.

use bytes::Bytes;

use crate::{HeaderValue, Properties, TraceContext};

/// The tenant of the device.
pub const TENANT: &str = "roost-tenant";
/// The device id.
pub const DEVICE: &str = "roost-device";
/// The whole MQTT topic.
pub const TOPIC: &str = "roost-topic";
/// The gateway that received an event.
pub const GATEWAY: &str = "roost-gateway";
/// That gateway's region.
pub const REGION: &str = "roost-region";
/// The QoS the device published with.
pub const QOS: &str = "roost-qos";
/// The retain flag the device published with.
pub const RETAIN: &str = "roost-retain";
/// When the gateway received the event, in milliseconds since 1970.
pub const RECEIVED_AT: &str = "roost-received-at";
/// The event's place among those of its gateway's incarnation.
pub const SEQUENCE: &str = "roost-seq";
/// Whether the event was published to AMQP before, and may be there twice.
pub const REPLAYED: &str = "roost-replayed";
/// The DUP flag the device published with.
pub const DUP: &str = "roost-dup";
/// The gateway, and its run, that took a broadcast in from a device.
pub const ORIGIN: &str = "roost-origin";
/// v5 user properties: a list of pairs, in order, names repeated as they came.
pub const USER_PROPERTIES: &str = "roost-user-properties";
/// v5 Response Topic.
pub const RESPONSE_TOPIC: &str = "roost-response-topic";
/// v5 Correlation Data: bytes.
pub const CORRELATION_DATA: &str = "roost-correlation-data";
/// v5 Payload Format Indicator 1: the payload is UTF-8.
pub const PAYLOAD_UTF8: &str = "roost-payload-utf8";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Which receipts the sender wants: `none`, `final` or `all`.
pub const RECEIPTS: &str = "roost-receipts";
/// A queue that gets the receipts besides `roost.receipts`.
pub const RECEIPT_TO: &str = "roost-receipt-to";
/// What to do while the device is away: `park` or `fail`.
pub const OFFLINE: &str = "roost-offline";
/// Commands with the same key replace each other while they wait.
pub const SUPERSEDE_KEY: &str = "roost-supersede-key";
/// The mesh's id of a command; also a v5 user property of the delivered message.
pub const COMMAND_ID: &str = "roost-command-id";
/// Why a message is in `roost.dead`.
pub const REASON: &str = "roost-reason";

/// Reads where a message is in a trace. A malformed header counts as none: who traces badly gets its message through all the same.
pub(crate) fn trace(properties: &Properties) -> Option<TraceContext> {
    TraceContext::parse(properties.text(TRACEPARENT)?).ok()
}

/// Reads v5 Correlation Data, which a service may write as text; `None` if the header is there and is neither bytes nor text.
pub(crate) fn correlation_data(properties: &Properties) -> Option<Option<Bytes>> {
    match properties.headers.get(CORRELATION_DATA) {
        None => Some(None),
        Some(HeaderValue::Bytes(data)) => Some(Some(data.clone())),
        Some(HeaderValue::Text(text)) => Some(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Some(_) => None,
    }
}

/// User properties as a header: a list of two-element lists.
pub(crate) fn user_properties(pairs: &[(String, String)]) -> HeaderValue {
    let pair = |(name, value): &(String, String)| {
        HeaderValue::List(vec![name.as_str().into(), value.as_str().into()])
    };
    HeaderValue::List(pairs.iter().map(pair).collect())
}

/// Reads user properties; `None` if the header is there and is not a list of pairs of text.
pub(crate) fn read_user_properties(properties: &Properties) -> Option<Vec<(String, String)>> {
    let Some(value) = properties.headers.get(USER_PROPERTIES) else { return Some(Vec::new()) };
    let HeaderValue::List(pairs) = value else { return None };
    let pair = |value: &HeaderValue| match value {
        HeaderValue::List(pair) => match pair.as_slice() {
            [HeaderValue::Text(name), HeaderValue::Text(value)] => Some((name.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    };
    pairs.iter().map(pair).collect()
}
