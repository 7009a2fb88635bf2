//! A method frame's meaning.

use super::nesting::method_is_bounded;
use crate::embedded::core::{
    Binding, Exception, ExchangeDeclaration, Operation, Publication, QueueDeclaration, ReplyCode,
    Subscription,
};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, parse_class, queue};
use amq_protocol::types::ShortString;

/// What a client asks with a method.
#[derive(Debug)]
pub(super) enum Request {
    /// A method of the connection class.
    Connection(connection::AMQPMethod),
    /// A channel's operation.
    Channel(Operation),
    /// A message whose content follows.
    Publish(Box<Publication>),
}

impl Request {
    /// Reads a method frame's payload.
    ///
    /// # Errors
    /// 503 for a method that clients do not send, 540 for one this broker does not have, 502 for one that cannot be parsed.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Exception> {
        let syntax = || Exception::new(ReplyCode::SyntaxError, "method cannot be parsed");
        let Some(&[class_high, class_low, method_high, method_low]) = payload.first_chunk::<4>() else {
            return Err(syntax());
        };
        let class = u16::from_be_bytes([class_high, class_low]);
        let method = u16::from_be_bytes([method_high, method_low]);
        let blame = |exception: Exception| exception.blamed_on((class, method));
        match (class, method) {
            // The two that come for every message are read by hand: the codec's flags cost more than the rest.
            (60, 40) => return publication(&payload[4..]).ok_or_else(syntax).map_err(blame),
            (60, 80) => return acknowledgement(&payload[4..]).ok_or_else(syntax).map_err(blame),
            (10, 11 | 21 | 31 | 40 | 50 | 51)
            | (20, 10 | 20 | 21 | 40 | 41)
            | (40, 10 | 20)
            | (50, 10 | 20 | 30 | 40 | 50)
            | (60, 10 | 20 | 30 | 70 | 90 | 100 | 110 | 120)
            | (85, 10) => {}
            (10, 70) | (30, 10) | (40, 30 | 40) | (90, 10 | 20 | 30) => {
                let text = format!("method {class}.{method} is not supported by this broker");
                return Err(blame(Exception::new(ReplyCode::NotImplemented, text)));
            }
            _ => {
                let text = format!("method {class}.{method} is not one that clients send");
                return Err(blame(Exception::new(ReplyCode::CommandInvalid, text)));
            }
        }
        if !method_is_bounded(payload) {
            return Err(blame(Exception::new(ReplyCode::SyntaxError, "arguments nest too deep")));
        }
        let Ok(([], parsed)) = parse_class(payload) else { return Err(blame(syntax())) };
        // The codec skips this field.
        let prefetch_bytes =
            payload.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        translate(parsed, prefetch_bytes).ok_or_else(|| blame(syntax()))
    }
}

fn translate(parsed: AMQPClass, prefetch_bytes: u32) -> Option<Request> {
    let operation = match parsed {
        AMQPClass::Connection(method) => return Some(Request::Connection(method)),
        AMQPClass::Channel(method) => channel_operation(method)?,
        AMQPClass::Exchange(method) => exchange_operation(method)?,
        AMQPClass::Queue(method) => queue_operation(method)?,
        AMQPClass::Basic(method) => basic_operation(method, prefetch_bytes)?,
        AMQPClass::Confirm(confirm::AMQPMethod::Select(select)) => {
            Operation::ConfirmSelect { nowait: select.nowait }
        }
        _ => return None,
    };
    Some(Request::Channel(operation))
}

fn channel_operation(method: channel::AMQPMethod) -> Option<Operation> {
    match method {
        channel::AMQPMethod::Open(_) => Some(Operation::Open),
        channel::AMQPMethod::Close(_) => Some(Operation::Close),
        channel::AMQPMethod::CloseOk(_) => Some(Operation::CloseOk),
        channel::AMQPMethod::Flow(flow) => Some(Operation::Flow { active: flow.active }),
        _ => None,
    }
}

fn exchange_operation(method: exchange::AMQPMethod) -> Option<Operation> {
    match method {
        exchange::AMQPMethod::Declare(declare) => Some(Operation::DeclareExchange(ExchangeDeclaration {
            exchange: text(declare.exchange),
            kind: text(declare.kind),
            passive: declare.passive,
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            nowait: declare.nowait,
            arguments: declare.arguments,
        })),
        exchange::AMQPMethod::Delete(delete) => Some(Operation::DeleteExchange {
            exchange: text(delete.exchange),
            if_unused: delete.if_unused,
            nowait: delete.nowait,
        }),
        _ => None,
    }
}

fn queue_operation(method: queue::AMQPMethod) -> Option<Operation> {
    Some(match method {
        queue::AMQPMethod::Declare(declare) => Operation::DeclareQueue(QueueDeclaration {
            queue: text(declare.queue),
            passive: declare.passive,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            nowait: declare.nowait,
            arguments: declare.arguments,
        }),
        queue::AMQPMethod::Bind(bind) => Operation::Bind(Binding {
            queue: text(bind.queue),
            exchange: text(bind.exchange),
            routing_key: text(bind.routing_key),
            nowait: bind.nowait,
            arguments: bind.arguments,
        }),
        queue::AMQPMethod::Unbind(unbind) => Operation::Unbind(Binding {
            queue: text(unbind.queue),
            exchange: text(unbind.exchange),
            routing_key: text(unbind.routing_key),
            nowait: false,
            arguments: unbind.arguments,
        }),
        queue::AMQPMethod::Purge(purge) => {
            Operation::Purge { queue: text(purge.queue), nowait: purge.nowait }
        }
        queue::AMQPMethod::Delete(delete) => Operation::DeleteQueue {
            queue: text(delete.queue),
            if_unused: delete.if_unused,
            if_empty: delete.if_empty,
            nowait: delete.nowait,
        },
        _ => return None,
    })
}

fn basic_operation(method: basic::AMQPMethod, prefetch_bytes: u32) -> Option<Operation> {
    Some(match method {
        basic::AMQPMethod::Qos(qos) => {
            Operation::Qos { prefetch_bytes, prefetch_count: qos.prefetch_count, global: qos.global }
        }
        basic::AMQPMethod::Consume(consume) => Operation::Consume(Subscription {
            queue: text(consume.queue),
            consumer_tag: text(consume.consumer_tag),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            nowait: consume.nowait,
            arguments: consume.arguments,
        }),
        basic::AMQPMethod::Cancel(cancel) => {
            Operation::Cancel { consumer_tag: text(cancel.consumer_tag), nowait: cancel.nowait }
        }
        basic::AMQPMethod::Get(get) => Operation::Get { queue: text(get.queue), no_ack: get.no_ack },
        basic::AMQPMethod::Reject(reject) => Operation::Nack {
            delivery_tag: reject.delivery_tag,
            multiple: false,
            requeue: reject.requeue,
            reject: true,
        },
        basic::AMQPMethod::Nack(nack) => Operation::Nack {
            delivery_tag: nack.delivery_tag,
            multiple: nack.multiple,
            requeue: nack.requeue,
            reject: false,
        },
        basic::AMQPMethod::Recover(recover) => Operation::Recover { requeue: recover.requeue, nowait: false },
        basic::AMQPMethod::RecoverAsync(recover) => {
            Operation::Recover { requeue: recover.requeue, nowait: true }
        }
        _ => return None,
    })
}

fn text(short: ShortString) -> String {
    short.into()
}

fn publication(arguments: &[u8]) -> Option<Request> {
    let (_reserved, rest) = arguments.split_first_chunk::<2>()?;
    let (exchange, rest) = short_string(rest)?;
    let (routing_key, rest) = short_string(rest)?;
    let [flags] = *rest else { return None };
    let (mandatory, immediate) = (flags & 1 != 0, flags & 2 != 0);
    Some(Request::Publish(Box::new(Publication {
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
        mandatory,
        immediate,
        ..Publication::default()
    })))
}

fn acknowledgement(arguments: &[u8]) -> Option<Request> {
    let (tag, rest) = arguments.split_first_chunk::<8>()?;
    let [flags] = *rest else { return None };
    let delivery_tag = u64::from_be_bytes(*tag);
    Some(Request::Channel(Operation::Ack { delivery_tag, multiple: flags & 1 != 0 }))
}

fn short_string(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame};

    fn payload(class: AMQPClass) -> Vec<u8> {
        let frame = AMQPFrame::Method(1, class);
        let (bytes, _) = gen_frame(&frame)(WriteContext::from(Vec::new())).unwrap().into_inner();
        bytes[7..bytes.len() - 1].to_vec()
    }

    #[test]
    fn what_is_read_by_hand_is_what_the_codec_writes() {
        for flags in 0..4 {
            let (mandatory, immediate) = (flags & 1 != 0, flags & 2 != 0);
            let publish =
                basic::Publish { exchange: "e".into(), routing_key: "a.b".into(), mandatory, immediate };
            let bytes = payload(AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
            let Ok(Request::Publish(read)) = Request::parse(&bytes) else { panic!("{bytes:?}") };
            assert_eq!((&*read.exchange, &*read.routing_key), ("e", "a.b"));
            assert_eq!((read.mandatory, read.immediate), (mandatory, immediate));
            assert!(Request::parse(&bytes[..bytes.len() - 1]).is_err());
        }
        let ack = basic::Ack { delivery_tag: 1 << 40, multiple: true };
        let bytes = payload(AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
        let Ok(Request::Channel(read)) = Request::parse(&bytes) else { panic!("{bytes:?}") };
        assert_eq!(read, Operation::Ack { delivery_tag: 1 << 40, multiple: true });
    }

    #[test]
    fn strange_methods_get_their_code() {
        for (bytes, code) in [
            (&[0, 90, 0, 10][..], ReplyCode::NotImplemented),
            (&[0, 40, 0, 30, 0][..], ReplyCode::NotImplemented),
            (&[0, 60, 0, 60][..], ReplyCode::CommandInvalid),
            (&[0, 99, 0, 1][..], ReplyCode::CommandInvalid),
            (&[0, 50, 0, 10][..], ReplyCode::SyntaxError),
            (&[0, 20, 0, 40, 0, 0][..], ReplyCode::SyntaxError),
            (&[0][..], ReplyCode::SyntaxError),
            (&[0, 60, 0, 40, 0, 0, 1, 0xff, 0, 0][..], ReplyCode::SyntaxError),
        ] {
            assert_eq!(Request::parse(bytes).unwrap_err().code, code, "{bytes:?}");
        }
    }
}
