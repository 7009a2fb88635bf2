//! The arguments of queues and exchanges, parsed and checked.

use super::exception::{Exception, ReplyCode};
use amq_protocol::types::{AMQPValue, FieldTable};
use std::sync::Arc;

/// What a queue does when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest ready message makes room.
    #[default]
    DropHead,
    /// The publisher is refused.
    RejectPublish,
    /// The publisher is refused, and the message dead-lettered.
    RejectPublishDeadLetter,
}

/// The kind of queue. Here a quorum queue is a durable queue that keeps every message on disk and counts deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueKind {
    /// `classic`
    #[default]
    Classic,
    /// `quorum`
    Quorum,
}

/// The arguments of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueArguments {
    /// `x-queue-type`
    pub kind: QueueKind,
    /// `x-message-ttl`, milliseconds
    pub message_lifetime_ms: Option<u64>,
    /// `x-expires`, milliseconds
    pub idle_lifetime_ms: Option<u64>,
    /// `x-max-length`
    pub messages_max: Option<u64>,
    /// `x-max-length-bytes`, bodies only
    pub bytes_max: Option<u64>,
    /// `x-overflow`
    pub overflow: Overflow,
    /// `x-dead-letter-exchange`
    pub dead_letter_exchange: Option<Arc<str>>,
    /// `x-dead-letter-routing-key`
    pub dead_letter_routing_key: Option<Arc<str>>,
    /// `x-single-active-consumer`
    pub single_active_consumer: bool,
    /// `x-delivery-limit`; none is no limit. Negative ones are refused: they mean "none" to RabbitMQ 4 and 0 to RabbitMQ 3.
    pub delivery_limit: Option<u32>,
}

/// The longest lifetime RabbitMQ takes (ten years), in milliseconds.
const LIFETIME_MAX_MS: u64 = 315_360_000_000;

impl QueueArguments {
    /// Reads them.
    ///
    /// # Errors
    /// 406 PRECONDITION_FAILED naming the argument, as RabbitMQ does; 540 NOT_IMPLEMENTED for streams and priorities.
    pub fn parse(queue: &str, table: &FieldTable) -> Result<Self, Exception> {
        let reader = Reader { queue, table };
        let mut arguments = Self {
            kind: reader.kind()?,
            message_lifetime_ms: reader.number("x-message-ttl", 0, LIFETIME_MAX_MS)?,
            idle_lifetime_ms: reader.number("x-expires", 1, LIFETIME_MAX_MS)?,
            messages_max: reader.number("x-max-length", 0, u64::MAX)?,
            bytes_max: reader.number("x-max-length-bytes", 0, u64::MAX)?,
            overflow: Overflow::DropHead,
            dead_letter_exchange: reader.text("x-dead-letter-exchange")?.map(Arc::from),
            dead_letter_routing_key: reader.text("x-dead-letter-routing-key")?.map(Arc::from),
            single_active_consumer: reader.flag("x-single-active-consumer")?,
            delivery_limit: reader
                .number("x-delivery-limit", 0, u64::from(u32::MAX))?
                .map(|limit| limit as u32),
        };
        arguments.overflow = match reader.text("x-overflow")? {
            None | Some("drop-head") => Overflow::DropHead,
            Some("reject-publish") => Overflow::RejectPublish,
            Some("reject-publish-dlx") => Overflow::RejectPublishDeadLetter,
            Some(other) => return Err(reader.invalid("x-overflow", other)),
        };
        if arguments.dead_letter_routing_key.is_some() && arguments.dead_letter_exchange.is_none() {
            return Err(reader.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"));
        }
        if reader.table.contains_key("x-max-priority") {
            return Err(Exception::new(
                ReplyCode::NotImplemented,
                "x-max-priority: this broker has no priorities",
            ));
        }
        Ok(arguments)
    }

    /// The first argument in which two declarations differ, with both values.
    pub fn difference(&self, current: &Self) -> Option<(&'static str, String, String)> {
        macro_rules! compare {
            ($($name:literal => $field:ident),* $(,)?) => {
                $(if self.$field != current.$field {
                    return Some(($name, format!("{:?}", self.$field), format!("{:?}", current.$field)));
                })*
            };
        }
        compare!(
            "x-queue-type" => kind, "x-message-ttl" => message_lifetime_ms, "x-expires" => idle_lifetime_ms,
            "x-max-length" => messages_max, "x-max-length-bytes" => bytes_max, "x-overflow" => overflow,
            "x-dead-letter-exchange" => dead_letter_exchange,
            "x-dead-letter-routing-key" => dead_letter_routing_key,
            "x-single-active-consumer" => single_active_consumer, "x-delivery-limit" => delivery_limit,
        );
        None
    }
}

/// The exchange behind an exchange, `alternate-exchange`: where it sends what no queue wants.
///
/// # Errors
/// 406 PRECONDITION_FAILED if it is not text.
pub(crate) fn alternate_exchange(exchange: &str, table: &FieldTable) -> Result<Option<Arc<str>>, Exception> {
    let reader = Reader { queue: exchange, table };
    Ok(reader.text("alternate-exchange")?.map(Arc::from))
}

struct Reader<'a> {
    queue: &'a str,
    table: &'a FieldTable,
}

impl<'a> Reader<'a> {
    fn kind(&self) -> Result<QueueKind, Exception> {
        match self.text("x-queue-type")? {
            None | Some("classic") => Ok(QueueKind::Classic),
            Some("quorum") => Ok(QueueKind::Quorum),
            Some("stream") => {
                Err(Exception::new(ReplyCode::NotImplemented, "x-queue-type: this broker has no streams"))
            }
            Some(other) => Err(self.invalid("x-queue-type", other)),
        }
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Exception> {
        let Some(value) = self.table.inner().get(name) else { return Ok(None) };
        let number = match value {
            AMQPValue::ShortShortInt(number) => i128::from(*number),
            AMQPValue::ShortShortUInt(number) => i128::from(*number),
            AMQPValue::ShortInt(number) => i128::from(*number),
            AMQPValue::ShortUInt(number) => i128::from(*number),
            AMQPValue::LongInt(number) => i128::from(*number),
            AMQPValue::LongUInt(number) => i128::from(*number),
            AMQPValue::LongLongInt(number) => i128::from(*number),
            AMQPValue::Timestamp(number) => i128::from(*number),
            _ => return Err(self.invalid(name, "unacceptable_type")),
        };
        match u64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            Ok(_) | Err(_) => Err(self.invalid(name, &number.to_string())),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Exception> {
        match self.table.inner().get(name) {
            None => Ok(None),
            Some(AMQPValue::ShortString(text)) => Ok(Some(text.as_str())),
            Some(AMQPValue::LongString(text)) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) if text.len() <= 255 => Ok(Some(text)),
                Ok(_) | Err(_) => Err(self.invalid(name, "not a name")),
            },
            Some(_) => Err(self.invalid(name, "unacceptable_type")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Exception> {
        match self.table.inner().get(name) {
            None => Ok(false),
            Some(AMQPValue::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(self.invalid(name, "unacceptable_type")),
        }
    }

    fn invalid(&self, name: &str, value: &str) -> Exception {
        let text = format!("invalid arg '{name}' for queue '{}' in vhost '/': {value}", self.queue);
        Exception::new(ReplyCode::PreconditionFailed, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        for value in [
            AMQPValue::ShortShortInt(7),
            AMQPValue::ShortShortUInt(7),
            AMQPValue::ShortInt(7),
            AMQPValue::ShortUInt(7),
            AMQPValue::LongInt(7),
            AMQPValue::LongUInt(7),
            AMQPValue::LongLongInt(7),
        ] {
            let arguments = QueueArguments::parse("q", &table(&[("x-message-ttl", value)])).unwrap();
            assert_eq!(arguments.message_lifetime_ms, Some(7));
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        let text = |value: &str| AMQPValue::LongString(value.into());
        for (name, value, code) in [
            ("x-message-ttl", AMQPValue::LongInt(-1), ReplyCode::PreconditionFailed),
            ("x-message-ttl", text("10"), ReplyCode::PreconditionFailed),
            ("x-expires", AMQPValue::LongInt(0), ReplyCode::PreconditionFailed),
            ("x-max-length", AMQPValue::LongInt(-1), ReplyCode::PreconditionFailed),
            ("x-delivery-limit", AMQPValue::LongLongInt(-1), ReplyCode::PreconditionFailed),
            ("x-overflow", text("explode"), ReplyCode::PreconditionFailed),
            ("x-dead-letter-routing-key", text("k"), ReplyCode::PreconditionFailed),
            ("x-dead-letter-exchange", AMQPValue::LongInt(1), ReplyCode::PreconditionFailed),
            ("x-single-active-consumer", text("yes"), ReplyCode::PreconditionFailed),
            ("x-queue-type", text("cubic"), ReplyCode::PreconditionFailed),
            ("x-queue-type", text("stream"), ReplyCode::NotImplemented),
            ("x-max-priority", AMQPValue::LongInt(3), ReplyCode::NotImplemented),
        ] {
            let exception = QueueArguments::parse("q", &table(&[(name, value)])).unwrap_err();
            assert_eq!(exception.code, code, "{name}");
            assert!(exception.text.contains(name), "{exception}");
        }
    }

    #[test]
    fn the_differing_argument_is_found() {
        let one = QueueArguments { messages_max: Some(1), ..QueueArguments::default() };
        let two = QueueArguments { messages_max: Some(2), ..QueueArguments::default() };
        assert_eq!(one.difference(&two).unwrap().0, "x-max-length");
        assert_eq!(one.difference(&one.clone()), None);
    }
}
