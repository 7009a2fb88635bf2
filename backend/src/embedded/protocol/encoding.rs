//! Writing frames for a client.

use super::frame::FRAME_OVERHEAD_BYTES;
use crate::embedded::core::{
    AMQPValue, BasicProperties, Delivery, DeliveryTag, Exception, FieldTable, Message, Reply,
};
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::ShortString;
use bytes::{BufMut, BytesMut};

const END: u8 = 0xce;
const METHOD: u8 = 1;
const BODY: u8 = 3;

/// Writes frames into a buffer, bodies cut to the agreed frame size.
#[derive(Debug)]
pub(super) struct Encoder {
    pub(super) frame_bytes_max: u32,
    scratch: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(frame_bytes_max: u32) -> Self {
        Self { frame_bytes_max, scratch: Vec::new() }
    }

    pub(super) fn connection(&mut self, method: connection::AMQPMethod, out: &mut BytesMut) {
        self.frame(&AMQPFrame::Method(0, AMQPClass::Connection(method)), out);
    }

    pub(super) fn heartbeat(&mut self, out: &mut BytesMut) {
        self.frame(&AMQPFrame::Heartbeat, out);
    }

    pub(super) fn connection_close(&mut self, exception: &Exception, out: &mut BytesMut) {
        let close = connection::Close {
            reply_code: exception.code.number(),
            reply_text: short(&exception.reply_text()),
            class_id: exception.method.0,
            method_id: exception.method.1,
        };
        self.connection(connection::AMQPMethod::Close(close), out);
    }

    pub(super) fn channel_close(&mut self, number: u16, exception: &Exception, out: &mut BytesMut) {
        let close = channel::Close {
            reply_code: exception.code.number(),
            reply_text: short(&exception.reply_text()),
            class_id: exception.method.0,
            method_id: exception.method.1,
        };
        self.method(number, AMQPClass::Channel(channel::AMQPMethod::Close(close)), out);
    }

    pub(super) fn reply(&mut self, number: u16, reply: &Reply, out: &mut BytesMut) {
        match reply {
            Reply::Deliver { consumer_tag, delivery } => self.deliver(number, consumer_tag, delivery, out),
            Reply::Got { delivery, remaining } => {
                let got = basic::GetOk {
                    delivery_tag: delivery.delivery_tag.0,
                    redelivered: delivery.redelivered,
                    exchange: short(&delivery.message.exchange),
                    routing_key: short(&delivery.message.routing_key),
                    message_count: *remaining,
                };
                self.method(number, AMQPClass::Basic(basic::AMQPMethod::GetOk(got)), out);
                self.content(number, &delivery.message, delivery.delivery_count, out);
            }
            Reply::Returned { message } => {
                let returned = basic::Return {
                    reply_code: 312,
                    reply_text: "NO_ROUTE".into(),
                    exchange: short(&message.exchange),
                    routing_key: short(&message.routing_key),
                };
                self.method(number, AMQPClass::Basic(basic::AMQPMethod::Return(returned)), out);
                self.content(number, message, 0, out);
            }
            Reply::Confirmed { delivery_tag, multiple } => {
                settlement(number, 80, *delivery_tag, *multiple, out);
            }
            Reply::Refused { delivery_tag, multiple } => {
                settlement(number, 120, *delivery_tag, *multiple, out);
            }
            other => {
                if let Some(class) = answer(other) {
                    self.method(number, class, out);
                }
            }
        }
    }

    /// `basic.deliver`, by hand: it is most of what a broker writes.
    fn deliver(&mut self, number: u16, consumer_tag: &str, delivery: &Delivery, out: &mut BytesMut) {
        let message = &delivery.message;
        let strings = [consumer_tag, &*message.exchange, &*message.routing_key];
        let length = 4 + 8 + 1 + strings.iter().map(|text| 1 + text.len()).sum::<usize>();
        out.reserve(length + message.body.len() + 256);
        out.put_u8(METHOD);
        out.put_u16(number);
        out.put_u32(length as u32);
        out.put_u16(60);
        out.put_u16(60);
        put_short(strings[0], out);
        out.put_u64(delivery.delivery_tag.0);
        out.put_u8(u8::from(delivery.redelivered));
        put_short(strings[1], out);
        put_short(strings[2], out);
        out.put_u8(END);
        self.content(number, message, delivery.delivery_count, out);
    }

    fn content(&mut self, number: u16, message: &Message, delivery_count: u32, out: &mut BytesMut) {
        let properties = match delivery_count {
            0 => message.properties.clone(),
            count => with_delivery_count(&message.properties, count),
        };
        let body_size = message.body.len() as u64;
        let header = AMQPContentHeader { class_id: 60, body_size, properties };
        self.frame(&AMQPFrame::Header(number, header), out);
        let piece = (self.frame_bytes_max as usize - FRAME_OVERHEAD_BYTES).max(1);
        for piece in message.body.chunks(piece) {
            out.put_u8(BODY);
            out.put_u16(number);
            out.put_u32(piece.len() as u32);
            out.put_slice(piece);
            out.put_u8(END);
        }
    }

    fn method(&mut self, number: u16, class: AMQPClass, out: &mut BytesMut) {
        self.frame(&AMQPFrame::Method(number, class), out);
    }

    fn frame(&mut self, frame: &AMQPFrame, out: &mut BytesMut) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let written = gen_frame(frame)(WriteContext::from(scratch));
        // Writing into memory fails only for a string or table that is longer than its length field can say, and what
        // is written here was read from such fields or cut to them.
        let (bytes, _) = written.expect("a frame made of parsed values can be written").into_inner();
        out.put_slice(&bytes);
        self.scratch = bytes;
    }
}

fn answer(reply: &Reply) -> Option<AMQPClass> {
    Some(match reply {
        Reply::ChannelOpened => AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})),
        Reply::ChannelClosed => AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {})),
        Reply::FlowSet => AMQPClass::Channel(channel::AMQPMethod::FlowOk(channel::FlowOk { active: true })),
        Reply::ExchangeDeclared => {
            AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {}))
        }
        Reply::ExchangeDeleted => AMQPClass::Exchange(exchange::AMQPMethod::DeleteOk(exchange::DeleteOk {})),
        Reply::QueueDeclared { queue, messages, consumers } => {
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
                queue: short(queue),
                message_count: *messages,
                consumer_count: *consumers,
            }))
        }
        Reply::QueueBound => AMQPClass::Queue(queue::AMQPMethod::BindOk(queue::BindOk {})),
        Reply::QueueUnbound => AMQPClass::Queue(queue::AMQPMethod::UnbindOk(queue::UnbindOk {})),
        Reply::QueuePurged { messages } => {
            AMQPClass::Queue(queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count: *messages }))
        }
        Reply::QueueDeleted { messages } => {
            AMQPClass::Queue(queue::AMQPMethod::DeleteOk(queue::DeleteOk { message_count: *messages }))
        }
        Reply::QosSet => AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {})),
        Reply::Consuming { consumer_tag } => {
            let consumer_tag = short(consumer_tag);
            AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag }))
        }
        Reply::Cancelled { consumer_tag } => {
            let consumer_tag = short(consumer_tag);
            AMQPClass::Basic(basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag }))
        }
        Reply::ConsumerCancelled { consumer_tag } => {
            let consumer_tag = short(consumer_tag);
            AMQPClass::Basic(basic::AMQPMethod::Cancel(basic::Cancel { consumer_tag, nowait: true }))
        }
        Reply::GotNothing => AMQPClass::Basic(basic::AMQPMethod::GetEmpty(basic::GetEmpty {})),
        Reply::Recovered => AMQPClass::Basic(basic::AMQPMethod::RecoverOk(basic::RecoverOk {})),
        Reply::ConfirmSelected => AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})),
        Reply::Deliver { .. }
        | Reply::Got { .. }
        | Reply::Returned { .. }
        | Reply::Confirmed { .. }
        | Reply::Refused { .. } => return None,
    })
}

/// `basic.ack` (80) or `basic.nack` (120).
fn settlement(number: u16, method: u16, tag: DeliveryTag, multiple: bool, out: &mut BytesMut) {
    out.put_u8(METHOD);
    out.put_u16(number);
    out.put_u32(13);
    out.put_u16(60);
    out.put_u16(method);
    out.put_u64(tag.0);
    out.put_u8(u8::from(multiple));
    out.put_u8(END);
}

fn with_delivery_count(properties: &BasicProperties, count: u32) -> BasicProperties {
    let mut headers: FieldTable = properties.headers().clone().unwrap_or_default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(i64::from(count)));
    properties.clone().with_headers(headers)
}

/// Names in the core are at most 255 bytes: they came as short strings, or were made shorter here.
fn short(text: &str) -> ShortString {
    ShortString::from(text)
}

fn put_short(text: &str, out: &mut BytesMut) {
    out.put_u8(text.len() as u8);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::frame::parse_frame;
    use bytes::Bytes;
    use std::sync::Arc;

    fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (rest, frame) = parse_frame(bytes).unwrap();
            frames.push(frame);
            bytes = rest;
        }
        frames
    }

    #[test]
    fn what_is_written_by_hand_is_what_the_codec_reads() {
        let mut out = BytesMut::new();
        let mut encoder = Encoder::new(4096);
        let message = Arc::new(Message {
            exchange: "roost.up".into(),
            routing_key: "main.d1.t".into(),
            properties: BasicProperties::default().with_message_id("m".into()),
            body: Bytes::from(vec![7; 5000]),
        });
        let delivery =
            Delivery { delivery_tag: DeliveryTag(9), redelivered: true, delivery_count: 2, message };
        encoder.reply(3, &Reply::Deliver { consumer_tag: "c".into(), delivery }, &mut out);
        encoder.reply(3, &Reply::Confirmed { delivery_tag: DeliveryTag(8), multiple: true }, &mut out);
        encoder.reply(3, &Reply::Refused { delivery_tag: DeliveryTag(9), multiple: false }, &mut out);
        let frames = frames(&out);
        let method = |method| AMQPFrame::Method(3, AMQPClass::Basic(method));
        let deliver = basic::Deliver {
            consumer_tag: "c".into(),
            delivery_tag: 9,
            redelivered: true,
            exchange: "roost.up".into(),
            routing_key: "main.d1.t".into(),
        };
        assert_eq!(frames[0], method(basic::AMQPMethod::Deliver(deliver)));
        let AMQPFrame::Header(3, header) = &frames[1] else { panic!("{:?}", frames[1]) };
        assert_eq!(header.body_size, 5000);
        let count = header.properties.headers().as_ref().unwrap().inner()["x-delivery-count"].clone();
        assert_eq!(count, AMQPValue::LongLongInt(2));
        assert_eq!(frames[2], AMQPFrame::Body(3, vec![7; 4088]));
        assert_eq!(frames[3], AMQPFrame::Body(3, vec![7; 912]));
        let ack = basic::Ack { delivery_tag: 8, multiple: true };
        assert_eq!(frames[4], method(basic::AMQPMethod::Ack(ack)));
        let nack = basic::Nack { delivery_tag: 9, multiple: false, requeue: false };
        assert_eq!(frames[5], method(basic::AMQPMethod::Nack(nack)));
    }
}
