//! A record as bytes and back. The numbers of the kinds are part of the format: never used for another meaning.

use super::record::{DurableBinding, Record};
use crate::embedded::core::{
    ExchangeDefinition, ExchangeKind, FieldTable, Message, Position, QueueDefinition, QueueId, UnixMillis,
};
use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::basic::{gen_properties, parse_properties};
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use bytes::{Buf, Bytes};
use std::sync::Arc;

const EXCHANGE_DECLARED: u8 = 1;
const EXCHANGE_DELETED: u8 = 2;
const QUEUE_DECLARED: u8 = 3;
const QUEUE_DELETED: u8 = 4;
const BOUND: u8 = 5;
const UNBOUND: u8 = 6;
const PUBLISHED: u8 = 7;
const REMOVED: u8 = 8;
const RETURNED: u8 = 9;

impl Record {
    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::ExchangeDeclared(definition) => {
                out.push(EXCHANGE_DECLARED);
                put_text(&definition.name, out);
                put_text(definition.kind.name(), out);
                out.push(
                    u8::from(definition.durable)
                        | u8::from(definition.auto_delete) << 1
                        | u8::from(definition.internal) << 2,
                );
                put_table(&definition.arguments, out);
            }
            Self::ExchangeDeleted { exchange } => {
                out.push(EXCHANGE_DELETED);
                put_text(exchange, out);
            }
            Self::QueueDeclared { queue, definition } => {
                out.push(QUEUE_DECLARED);
                put_number(queue.0, out);
                put_text(&definition.name, out);
                out.push(u8::from(definition.durable) | u8::from(definition.auto_delete) << 1);
                put_table(&definition.arguments, out);
            }
            Self::QueueDeleted { queue } => {
                out.push(QUEUE_DELETED);
                put_number(queue.0, out);
            }
            Self::Bound(binding) => {
                out.push(BOUND);
                put_binding(binding, out);
            }
            Self::Unbound(binding) => {
                out.push(UNBOUND);
                put_binding(binding, out);
            }
            Self::Published { placements, arrived, message } => {
                out.push(PUBLISHED);
                put_number(arrived.0, out);
                put_number(placements.len() as u64, out);
                for (queue, position) in placements {
                    put_number(queue.0, out);
                    put_number(position.0, out);
                }
                put_message(message, out);
            }
            Self::Removed { queue, position } => {
                out.push(REMOVED);
                put_number(queue.0, out);
                put_number(position.0, out);
            }
            Self::Returned { queue, position, returns } => {
                out.push(RETURNED);
                put_number(queue.0, out);
                put_number(position.0, out);
                put_number(u64::from(*returns), out);
            }
        }
    }

    /// Reads one whole record; none if the bytes are not one.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut reader = Reader { rest: bytes.clone() };
        let record = reader.record()?;
        reader.rest.is_empty().then_some(record)
    }
}

fn put_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    // Names are short strings of AMQP, at most 255 bytes.
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn put_table(table: &FieldTable, out: &mut Vec<u8>) {
    let written = gen_field_table(table)(WriteContext::from(Vec::new()));
    let (bytes, _) = written.expect("a table that came in a frame can be written to memory").into_inner();
    out.extend_from_slice(&bytes);
}

fn put_binding(binding: &DurableBinding, out: &mut Vec<u8>) {
    put_text(&binding.exchange, out);
    put_number(binding.queue.0, out);
    put_text(&binding.routing_key, out);
    put_table(&binding.arguments, out);
}

fn put_message(message: &Message, out: &mut Vec<u8>) {
    put_text(&message.exchange, out);
    put_text(&message.routing_key, out);
    let written = gen_properties(&message.properties)(WriteContext::from(Vec::new()));
    let (bytes, _) = written.expect("properties that came in a frame can be written to memory").into_inner();
    put_number(bytes.len() as u64, out);
    out.extend_from_slice(&bytes);
    out.extend_from_slice(&message.body);
}

struct Reader {
    rest: Bytes,
}

impl Reader {
    fn record(&mut self) -> Option<Record> {
        Some(match self.byte()? {
            EXCHANGE_DECLARED => Record::ExchangeDeclared(self.exchange()?),
            EXCHANGE_DELETED => Record::ExchangeDeleted { exchange: self.text()? },
            QUEUE_DECLARED => {
                Record::QueueDeclared { queue: QueueId(self.number()?), definition: self.queue()? }
            }
            QUEUE_DELETED => Record::QueueDeleted { queue: QueueId(self.number()?) },
            BOUND => Record::Bound(self.binding()?),
            UNBOUND => Record::Unbound(self.binding()?),
            PUBLISHED => self.published()?,
            REMOVED => Record::Removed { queue: QueueId(self.number()?), position: Position(self.number()?) },
            RETURNED => Record::Returned {
                queue: QueueId(self.number()?),
                position: Position(self.number()?),
                returns: u32::try_from(self.number()?).ok()?,
            },
            _ => return None,
        })
    }

    fn exchange(&mut self) -> Option<ExchangeDefinition> {
        let name = self.text()?;
        let kind = ExchangeKind::parse(&self.text()?)?;
        let flags = self.byte()?;
        let (durable, auto_delete, internal) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
        Some(ExchangeDefinition { name, kind, durable, auto_delete, internal, arguments: self.table()? })
    }

    fn queue(&mut self) -> Option<QueueDefinition> {
        let name = self.text()?;
        let flags = self.byte()?;
        let (durable, auto_delete) = (flags & 1 != 0, flags & 2 != 0);
        Some(QueueDefinition { name, durable, auto_delete, arguments: self.table()? })
    }

    fn binding(&mut self) -> Option<DurableBinding> {
        Some(DurableBinding {
            exchange: self.text()?,
            queue: QueueId(self.number()?),
            routing_key: self.text()?,
            arguments: self.table()?,
        })
    }

    fn published(&mut self) -> Option<Record> {
        let arrived = UnixMillis(self.number()?);
        let count = usize::try_from(self.number()?).ok()?;
        if count > self.rest.len() / 16 {
            return None;
        }
        let mut placements = Vec::with_capacity(count);
        for _ in 0..count {
            placements.push((QueueId(self.number()?), Position(self.number()?)));
        }
        let message = Arc::new(self.message()?);
        Some(Record::Published { placements, arrived, message })
    }

    /// The message, which is the rest of the record.
    fn message(&mut self) -> Option<Message> {
        let exchange = self.text()?;
        let routing_key = self.text()?;
        let length = usize::try_from(self.number()?).ok()?;
        let properties = self.rest.get(..length)?;
        let Ok(([], properties)) = parse_properties(properties) else { return None };
        self.rest.advance(length);
        // A copy: a slice would keep the whole record in memory for as long as the message waits.
        let body = Bytes::copy_from_slice(&std::mem::take(&mut self.rest));
        Some(Message { exchange, routing_key, properties, body })
    }

    fn byte(&mut self) -> Option<u8> {
        self.rest.try_get_u8().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.rest.try_get_u64_le().ok()
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.rest.get(..length)?).ok()?.into();
        self.rest.advance(length);
        Some(text)
    }

    fn table(&mut self) -> Option<FieldTable> {
        let (rest, table) = parse_field_table(&self.rest[..]).ok()?;
        let read = self.rest.len() - rest.len();
        self.rest.advance(read);
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::core::{AMQPValue, BasicProperties};
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = Arc<str>> {
        "[a-zä.]{0,12}".prop_map(Arc::from)
    }

    fn table() -> impl Strategy<Value = FieldTable> {
        prop::collection::btree_map("[a-z-]{1,8}", any::<i64>(), 0..4).prop_map(|entries| {
            let mut table = FieldTable::default();
            for (name, number) in entries {
                table.insert(name.as_str().into(), AMQPValue::LongLongInt(number));
            }
            table
        })
    }

    fn binding() -> impl Strategy<Value = DurableBinding> {
        (name(), any::<u64>(), name(), table()).prop_map(|(exchange, queue, routing_key, arguments)| {
            DurableBinding { exchange, queue: QueueId(queue), routing_key, arguments }
        })
    }

    fn message() -> impl Strategy<Value = Arc<Message>> {
        (name(), name(), table(), prop::collection::vec(any::<u8>(), 0..100)).prop_map(
            |(exchange, routing_key, headers, body)| {
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_message_id("m".into())
                    .with_headers(headers);
                Arc::new(Message { exchange, routing_key, properties, body: body.into() })
            },
        )
    }

    pub(crate) fn record() -> impl Strategy<Value = Record> {
        let place = || (any::<u64>(), any::<u64>()).prop_map(|(q, p)| (QueueId(q), Position(p)));
        let exchange = (name(), 0..3_usize, any::<[bool; 3]>(), table());
        prop_oneof![
            exchange.prop_map(|(name, kind, [durable, auto_delete, internal], arguments)| {
                let kind = [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic][kind];
                let definition = ExchangeDefinition { name, kind, durable, auto_delete, internal, arguments };
                Record::ExchangeDeclared(definition)
            }),
            name().prop_map(|exchange| Record::ExchangeDeleted { exchange }),
            (any::<u64>(), name(), any::<[bool; 2]>(), table()).prop_map(
                |(queue, name, [durable, auto_delete], arguments)| Record::QueueDeclared {
                    queue: QueueId(queue),
                    definition: QueueDefinition { name, durable, auto_delete, arguments },
                }
            ),
            any::<u64>().prop_map(|queue| Record::QueueDeleted { queue: QueueId(queue) }),
            binding().prop_map(Record::Bound),
            binding().prop_map(Record::Unbound),
            (prop::collection::vec(place(), 0..4), any::<u64>(), message()).prop_map(
                |(placements, arrived, message)| Record::Published {
                    placements,
                    arrived: UnixMillis(arrived),
                    message
                }
            ),
            place().prop_map(|(queue, position)| Record::Removed { queue, position }),
            (place(), any::<u32>()).prop_map(|((queue, position), returns)| Record::Returned {
                queue,
                position,
                returns
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in record()) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            prop_assert_eq!(Record::decode(&Bytes::from(bytes)), Some(record));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&Bytes::from(bytes));
        }

        #[test]
        fn a_cut_record_is_not_read_as_another(record in record(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let body_may_be_cut = matches!(record, Record::Published { .. });
            bytes.truncate(cut.index(bytes.len()));
            let read = Record::decode(&Bytes::from(bytes));
            prop_assert!(read.is_none() || body_may_be_cut, "{read:?}");
        }
    }
}
