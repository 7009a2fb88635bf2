//! Between AMQP's messages and ours.
//!
//! What is written is what RabbitMQ 3.10, pika and amqplib all read: integers as `l` (64 bits, signed), bytes as `x`, text as
//! `S`, moments as `T`, floats as `d`. What is read is every field type there is, widened to the largest of its kind.

use std::collections::BTreeMap;

use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use bytes::Bytes;
use roost_wire::{DeliveryMode, HeaderValue, Headers, Message, Properties};

/// The largest body that is published: RabbitMQ closes the channel on a larger one (`max_message_size`).
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How deep lists and tables nest: deeper ones are nobody's, and brokers and clients read them by recursion.
const DEPTH_MAX: usize = 32;

/// Why AMQP cannot carry a message. The publisher is at fault; the same message is refused every time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrepresentable {
    /// A short string is too long.
    #[error("{what} is {bytes} bytes long, AMQP carries at most 255")]
    TooLong {
        /// Which.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// The properties do not fit their frame.
    #[error(
        "its properties take {bytes} bytes, this link carries at most {max_bytes} in its one header frame"
    )]
    Properties {
        /// What they take.
        bytes: usize,
        /// What there is.
        max_bytes: usize,
    },
    /// The body is longer than brokers take.
    #[error("its body is {bytes} bytes long, brokers take at most {BODY_BYTES_MAX}")]
    Body {
        /// Its length.
        bytes: usize,
    },
    /// A header nests too deep.
    #[error("header {name:?} nests deeper than {DEPTH_MAX}")]
    Depth {
        /// Which.
        name: String,
    },
}

/// A message as `basic.publish` takes it.
#[derive(Debug)]
pub struct Outgoing {
    /// The exchange; empty for the default one.
    pub exchange: ShortString,
    /// The routing key.
    pub routing_key: ShortString,
    /// The properties, headers among them.
    pub properties: BasicProperties,
    /// The body.
    pub body: Bytes,
}

impl Outgoing {
    /// The message, published by `user` over a link with frames of at most `frame_max` bytes.
    ///
    /// # Errors
    /// [`Unrepresentable`] if AMQP cannot carry it.
    pub fn new(message: &Message, user: &str, frame_max: usize) -> Result<Self, Unrepresentable> {
        let (properties, bytes) = outgoing_properties(&message.properties, user)?;
        // The frame's own 8 bytes, class, weight, body size and flags.
        let max_bytes = frame_max.saturating_sub(8 + 2 + 2 + 8 + 2);
        if bytes > max_bytes {
            return Err(Unrepresentable::Properties { bytes, max_bytes });
        }
        if message.body.len() > BODY_BYTES_MAX {
            return Err(Unrepresentable::Body { bytes: message.body.len() });
        }
        Ok(Self {
            exchange: short("the exchange's name", &message.exchange)?,
            routing_key: short("the routing key", &message.routing_key)?,
            properties,
            body: message.body.clone(),
        })
    }
}

/// A message as it was delivered or returned.
#[must_use]
pub fn incoming(exchange: &str, routing_key: &str, properties: &BasicProperties, body: Bytes) -> Message {
    Message {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        properties: incoming_properties(properties),
        body,
    }
}

/// The properties, and an upper bound of the bytes they take.
fn outgoing_properties(ours: &Properties, user: &str) -> Result<(BasicProperties, usize), Unrepresentable> {
    let mut bytes = 1 + 1 + 8; // delivery mode, priority, timestamp
    let mut text = |what: &str, text: &str| {
        bytes += 1 + text.len();
        short(what, text)
    };
    let mut theirs = BasicProperties::default().with_user_id(text("the user", user)?);
    theirs = theirs.with_delivery_mode(match ours.delivery_mode {
        DeliveryMode::Transient => 1,
        DeliveryMode::Persistent => 2,
    });
    if let Some(content_type) = &ours.content_type {
        theirs = theirs.with_content_type(text("content_type", content_type)?);
    }
    if let Some(correlation_id) = &ours.correlation_id {
        theirs = theirs.with_correlation_id(text("correlation_id", correlation_id)?);
    }
    if let Some(reply_to) = &ours.reply_to {
        theirs = theirs.with_reply_to(text("reply_to", reply_to)?);
    }
    if let Some(expiration) = &ours.expiration {
        theirs = theirs.with_expiration(text("expiration", expiration)?);
    }
    if let Some(message_id) = &ours.message_id {
        theirs = theirs.with_message_id(text("message_id", message_id)?);
    }
    if let Some(kind) = &ours.kind {
        theirs = theirs.with_type(text("type", kind)?);
    }
    if let Some(priority) = ours.priority {
        theirs = theirs.with_priority(priority);
    }
    if let Some(timestamp_s) = ours.timestamp_s {
        theirs = theirs.with_timestamp(timestamp_s);
    }
    if !ours.headers.is_empty() {
        let (table, table_bytes) = outgoing_table(&ours.headers, 0)?;
        theirs = theirs.with_headers(table);
        bytes += table_bytes;
    }
    Ok((theirs, bytes))
}

fn outgoing_table(headers: &Headers, depth: usize) -> Result<(FieldTable, usize), Unrepresentable> {
    let mut table = BTreeMap::new();
    let mut bytes = 4;
    for (name, value) in headers {
        let (value, value_bytes) = outgoing_value(name, value, depth)?;
        bytes += 1 + name.len() + value_bytes;
        table.insert(short("the name of a header", name)?, value);
    }
    Ok((FieldTable::from(table), bytes))
}

fn outgoing_value(
    name: &str,
    value: &HeaderValue,
    depth: usize,
) -> Result<(AMQPValue, usize), Unrepresentable> {
    if depth > DEPTH_MAX {
        return Err(Unrepresentable::Depth { name: name.to_owned() });
    }
    let (value, bytes) = match value {
        HeaderValue::Void => (AMQPValue::Void, 0),
        HeaderValue::Bool(bool) => (AMQPValue::Boolean(*bool), 1),
        HeaderValue::Int(int) => (AMQPValue::LongLongInt(*int), 8),
        HeaderValue::Double(double) => (AMQPValue::Double(*double), 8),
        HeaderValue::Text(text) => (AMQPValue::LongString(text.as_str().into()), 4 + text.len()),
        HeaderValue::Bytes(bytes) => (AMQPValue::ByteArray(bytes.as_ref().into()), 4 + bytes.len()),
        HeaderValue::Timestamp(seconds) => (AMQPValue::Timestamp(*seconds), 8),
        HeaderValue::List(values) => {
            let mut array = FieldArray::default();
            let mut bytes = 4;
            for value in values {
                let (value, value_bytes) = outgoing_value(name, value, depth + 1)?;
                array.push(value);
                bytes += value_bytes;
            }
            (AMQPValue::FieldArray(array), bytes)
        }
        HeaderValue::Table(headers) => {
            let (table, bytes) = outgoing_table(headers, depth + 1)?;
            (AMQPValue::FieldTable(table), bytes)
        }
    };
    Ok((value, 1 + bytes))
}

fn incoming_properties(theirs: &BasicProperties) -> Properties {
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    Properties {
        content_type: text(theirs.content_type()),
        headers: theirs.headers().as_ref().map(incoming_table).unwrap_or_default(),
        delivery_mode: match theirs.delivery_mode() {
            Some(2) => DeliveryMode::Persistent,
            _ => DeliveryMode::Transient,
        },
        priority: *theirs.priority(),
        correlation_id: text(theirs.correlation_id()),
        reply_to: text(theirs.reply_to()),
        expiration: text(theirs.expiration()),
        message_id: text(theirs.message_id()),
        timestamp_s: *theirs.timestamp(),
        kind: text(theirs.kind()),
        user_id: text(theirs.user_id()),
    }
}

fn incoming_table(table: &FieldTable) -> Headers {
    table.into_iter().map(|(name, value)| (name.to_string(), incoming_value(value))).collect()
}

fn incoming_value(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::Void => HeaderValue::Void,
        AMQPValue::Boolean(bool) => HeaderValue::Bool(*bool),
        AMQPValue::ShortShortInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::ShortShortUInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::ShortInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::ShortUInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::LongInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::LongUInt(int) => HeaderValue::Int(i64::from(*int)),
        AMQPValue::LongLongInt(int) => HeaderValue::Int(*int),
        AMQPValue::Float(float) => HeaderValue::Double(f64::from(*float)),
        AMQPValue::Double(double) => HeaderValue::Double(*double),
        AMQPValue::DecimalValue(decimal) => {
            HeaderValue::Double(f64::from(decimal.value) / 10_f64.powi(i32::from(decimal.scale)))
        }
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(Bytes::copy_from_slice(text.as_bytes())),
        },
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Timestamp(seconds) => HeaderValue::Timestamp(*seconds),
        AMQPValue::FieldArray(values) => {
            HeaderValue::List(values.as_slice().iter().map(incoming_value).collect())
        }
        AMQPValue::FieldTable(table) => HeaderValue::Table(incoming_table(table)),
    }
}

fn short(what: &str, text: &str) -> Result<ShortString, Unrepresentable> {
    let error = |_| Unrepresentable::TooLong { what: what.to_owned(), bytes: text.len() };
    ShortString::try_new(text).map_err(error)
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::{DecimalValue, LongString};
    use proptest::prelude::*;

    use super::*;

    const FRAME_MAX: usize = 131_072;

    fn message(properties: Properties) -> Message {
        Message { exchange: "e".into(), routing_key: "k".into(), properties, body: Bytes::new() }
    }

    fn refusal(message: &Message) -> Unrepresentable {
        Outgoing::new(message, "guest", FRAME_MAX).map(drop).expect_err("AMQP cannot carry it")
    }

    #[test]
    fn every_field_type_is_read_as_the_largest_of_its_kind() {
        let text = |bytes: &[u8]| AMQPValue::LongString(LongString::from(bytes));
        let table = [
            (AMQPValue::Void, HeaderValue::Void),
            (AMQPValue::Boolean(true), HeaderValue::Bool(true)),
            (AMQPValue::ShortShortInt(i8::MIN), HeaderValue::Int(-128)),
            (AMQPValue::ShortShortUInt(u8::MAX), HeaderValue::Int(255)),
            (AMQPValue::ShortInt(i16::MIN), HeaderValue::Int(-32_768)),
            (AMQPValue::ShortUInt(u16::MAX), HeaderValue::Int(65_535)),
            (AMQPValue::LongInt(i32::MIN), HeaderValue::Int(-2_147_483_648)),
            (AMQPValue::LongUInt(u32::MAX), HeaderValue::Int(4_294_967_295)),
            (AMQPValue::LongLongInt(i64::MIN), HeaderValue::Int(i64::MIN)),
            (AMQPValue::Float(0.5), HeaderValue::Double(0.5)),
            (AMQPValue::Double(-2.25), HeaderValue::Double(-2.25)),
            (AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 325 }), HeaderValue::Double(3.25)),
            (AMQPValue::ShortString("s".into()), HeaderValue::Text("s".into())),
            (text("ü".as_bytes()), HeaderValue::Text("ü".into())),
            (text(b"\xff"), HeaderValue::Bytes(Bytes::from_static(b"\xff"))),
            (AMQPValue::ByteArray(b"abc".as_slice().into()), HeaderValue::Bytes(Bytes::from_static(b"abc"))),
            (AMQPValue::Timestamp(7), HeaderValue::Timestamp(7)),
            (AMQPValue::FieldArray(vec![AMQPValue::Void].into()), HeaderValue::List(vec![HeaderValue::Void])),
            (AMQPValue::FieldTable(FieldTable::default()), HeaderValue::Table(Headers::new())),
        ];
        for (theirs, ours) in table {
            assert_eq!(incoming_value(&theirs), ours, "{theirs:?}");
        }
    }

    #[test]
    fn every_message_says_who_published_it() {
        let forged = Properties { user_id: Some("somebody-else".into()), ..Properties::default() };
        let outgoing = Outgoing::new(&message(forged), "eu-1", FRAME_MAX).expect("it fits");
        assert_eq!(outgoing.properties.user_id().as_ref().map(ShortString::as_str), Some("eu-1"));
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_and_not_panicked_about() {
        let long = "x".repeat(256);
        let key = Message { routing_key: long.clone(), ..message(Properties::default()) };
        assert_eq!(refusal(&key), Unrepresentable::TooLong { what: "the routing key".into(), bytes: 256 });
        let id = message(Properties { message_id: Some(long), ..Properties::default() });
        assert_eq!(refusal(&id), Unrepresentable::TooLong { what: "message_id".into(), bytes: 256 });
        let mut large = message(Properties::default());
        large.properties.set("large", "x".repeat(FRAME_MAX));
        assert!(matches!(refusal(&large), Unrepresentable::Properties { .. }));
        let nest = |value, _: usize| HeaderValue::List(vec![value]);
        let mut deep = message(Properties::default());
        deep.properties.set("deep", (0..DEPTH_MAX).fold(HeaderValue::Void, nest));
        assert!(Outgoing::new(&deep, "guest", FRAME_MAX).is_ok());
        deep.properties.set("deep", (0..=DEPTH_MAX).fold(HeaderValue::Void, nest));
        assert_eq!(refusal(&deep), Unrepresentable::Depth { name: "deep".into() });
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            Just(HeaderValue::Void),
            any::<bool>().prop_map(HeaderValue::Bool),
            any::<i64>().prop_map(HeaderValue::Int),
            (-1e9..1e9_f64).prop_map(HeaderValue::Double),
            ".{0,20}".prop_map(HeaderValue::Text),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(|b| HeaderValue::Bytes(b.into())),
            any::<u64>().prop_map(HeaderValue::Timestamp),
        ];
        leaf.prop_recursive(4, 32, 4, |value| {
            prop_oneof![
                proptest::collection::vec(value.clone(), 0..4).prop_map(HeaderValue::List),
                proptest::collection::btree_map("[a-z]{1,9}", value, 0..4).prop_map(HeaderValue::Table),
            ]
        })
    }

    proptest! {
        #[test]
        fn properties_are_read_as_they_were_written_and_never_larger_than_said(
            headers in proptest::collection::btree_map(".{0,30}", value(), 0..6),
            texts in proptest::collection::vec(proptest::option::of("[ -~]{0,60}"), 6),
            priority in proptest::option::of(any::<u8>()),
            timestamp_s in proptest::option::of(any::<u64>()),
            persistent in any::<bool>(),
        ) {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().flatten();
            let ours = Properties {
                content_type: text(),
                headers,
                delivery_mode: if persistent { DeliveryMode::Persistent } else { DeliveryMode::Transient },
                priority,
                correlation_id: text(),
                reply_to: text(),
                expiration: text(),
                message_id: text(),
                timestamp_s,
                kind: text(),
                user_id: Some("guest".into()),
            };
            let (theirs, bytes) = outgoing_properties(&ours, "guest").expect("all of it fits");
            prop_assert_eq!(incoming_properties(&theirs), ours);
            let frame = amq_protocol::protocol::basic::gen_properties(&theirs)(Vec::new().into()).map(|w| w.write.len());
            prop_assert!(frame.is_ok_and(|frame| frame <= bytes + 2), "two bytes of flags beside");
        }
    }
}
