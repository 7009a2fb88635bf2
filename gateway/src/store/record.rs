//! What records say.
//!
//! ```text
//! a session's head     version: u8 │ expiry, in milliseconds: u64 │ kept until, wall clock, in milliseconds; 0 while it is connected: u64
//!                      │ accepted at, boot clock, in microseconds: u64 │ which boot: u64
//! its subscription     1 if retained messages are owed for it, or 0: u8 │ a SUBSCRIBE with one filter
//! its message          written at, wall clock, in milliseconds: u64 │ 0, or 1 │ QoS: u8 │ bytes: u16 │ shared subscription │ a PUBLISH
//! one in flight        packet id: u16 │ the message's number: u64
//! one released         packet id: u16
//! one received         reason code: u8
//! a retained message   written at: u64 │ QoS: u8 │ bytes: u8 │ publisher │ 0, or 1 │ published at: u64 │ origin: u64 │ a PUBLISH
//! ```
//! Numbers are big endian, packets are MQTT 5. A message's expiry is what was left of it when it was written.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roost_wire::{BootTime, Device, Now, WallTime};

use crate::message::Message;
use crate::packet::{Delivery, PacketId, QoS, ReasonCode};
use crate::retained::{Kept, Stamp};
use crate::session::LocalCopy;
use crate::session::packed::{ENCODER, put_message, put_subscription, read_message, read_subscription};
use crate::share::{Filter, SharedFilter};
use crate::subscriptions::Subscription;

/// What is written of a session itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// For how long it is kept when its device is away.
    pub(crate) expiry: Duration,
    /// Until when it is, if it is away.
    pub(crate) kept_until: Option<WallTime>,
    /// When its last CONNECT was accepted.
    pub(crate) accepted_at: BootTime,
    /// In which run of the machine.
    pub(crate) boot: u64,
}

/// A retained message as the disk has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRetained {
    pub(crate) message: Message,
    pub(crate) qos: QoS,
    pub(crate) publisher: Option<Device>,
    pub(crate) stamp: Option<Stamp>,
}

const HEAD_VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 4 * 8;

impl Head {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD_BYTES);
        out.put_u8(HEAD_VERSION);
        out.put_u64(u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX));
        out.put_u64(self.kept_until.map_or(0, |until| until.as_millis().max(1)));
        out.put_u64(self.accepted_at.as_micros());
        out.put_u64(self.boot);
        out.freeze()
    }

    pub(super) fn decode(mut value: &[u8]) -> Option<Self> {
        if value.len() != HEAD_BYTES || value.get_u8() != HEAD_VERSION {
            return None;
        }
        let expiry = Duration::from_millis(value.get_u64());
        let kept_until = Some(value.get_u64()).filter(|until| *until > 0).map(WallTime::from_millis);
        let accepted_at = BootTime::from_micros(value.get_u64());
        Some(Self { expiry, kept_until, accepted_at, boot: value.get_u64() })
    }
}

pub(super) fn subscription(filter: &Filter, subscription: &Subscription, is_owed: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(is_owed.into());
    put_subscription(&mut out, filter, subscription);
    out.freeze()
}

pub(super) fn decode_subscription(value: &Bytes) -> Option<(Filter, Subscription, bool)> {
    let mut rest = value.clone();
    let is_owed = match rest.try_get_u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let (filter, subscription) = read_subscription(rest)?;
    Some((filter, subscription, is_owed))
}

/// A message that waits or is in flight, and through which shared subscription it came, published at which QoS.
pub(super) fn message(now: Now, copy: &LocalCopy, share: Option<(&SharedFilter, QoS)>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u64(now.wall.as_millis());
    match share {
        None => out.put_u8(0),
        Some((filter, published)) => {
            let filter = Filter::Shared(filter.clone()).to_string();
            out.put_u8(1);
            out.put_u8(published.byte());
            put_text(&mut out, &filter);
        }
    }
    put_message(&mut out, now.boot, PacketId::FIRST, false, copy);
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("it came as an MQTT string"));
    out.put_slice(text.as_bytes());
}

pub(super) fn decode_message(now: Now, value: &Bytes) -> Option<(LocalCopy, Option<(SharedFilter, QoS)>)> {
    let mut rest = value.clone();
    let written_at = WallTime::from_millis(rest.try_get_u64().ok()?);
    let share = match rest.try_get_u8().ok()? {
        0 => None,
        1 => {
            let published = QoS::from_byte(rest.try_get_u8().ok()?)?;
            let len = usize::from(rest.try_get_u16().ok()?);
            let filter = take(&mut rest, len)?;
            match Filter::parse(std::str::from_utf8(&filter).ok()?).ok()? {
                Filter::Shared(filter) => Some((filter, published)),
                Filter::Own(_) => return None,
            }
        }
        _ => return None,
    };
    let mut copy = read_message(now.boot, rest)?.1;
    let message = std::sync::Arc::get_mut(&mut copy.message)?;
    age(now, written_at, message);
    Some((copy, share))
}

/// Takes from a message's expiry what has passed while it was on disk.
fn age(now: Now, written_at: WallTime, message: &mut Message) {
    let passed = now.wall.since(written_at);
    message.expires_at = message.expires_at.map(|at| now.boot + at.since(now.boot).saturating_sub(passed));
}

fn take(from: &mut Bytes, len: usize) -> Option<Bytes> {
    (from.len() >= len).then(|| from.split_to(len))
}

pub(super) fn inflight(packet_id: PacketId, number: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(10);
    out.put_u16(packet_id.value());
    out.put_u64(number);
    out.freeze()
}

pub(super) fn decode_inflight(mut value: &[u8]) -> Option<(PacketId, u64)> {
    if value.len() != 10 {
        return None;
    }
    Some((PacketId::new(value.get_u16())?, value.get_u64()))
}

pub(super) fn released(packet_id: PacketId) -> Bytes {
    Bytes::copy_from_slice(&packet_id.value().to_be_bytes())
}

pub(super) fn decode_released(value: &[u8]) -> Option<PacketId> {
    PacketId::new(u16::from_be_bytes(value.try_into().ok()?))
}

pub(super) fn received(reason: ReasonCode) -> Bytes {
    Bytes::copy_from_slice(&[reason.byte()])
}

pub(super) fn decode_received(value: &[u8]) -> Option<ReasonCode> {
    match value {
        [byte] => ReasonCode::from_byte(*byte),
        _ => None,
    }
}

impl StoredRetained {
    pub(crate) fn encode(now: Now, kept: &Kept) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64(now.wall.as_millis());
        out.put_u8(kept.qos.byte());
        let publisher = kept.publisher.as_ref().map(Device::to_string).unwrap_or_default();
        out.put_u8(u8::try_from(publisher.len()).expect("tenant and device id are short"));
        out.put_slice(publisher.as_bytes());
        match kept.stamp() {
            None => out.put_u8(0),
            Some(Stamp { at, origin }) => {
                out.put_u8(1);
                out.put_u64(at.as_millis());
                out.put_u64(origin);
            }
        }
        let delivery = Delivery::AtLeastOnce { packet_id: PacketId::FIRST, dup: false };
        ENCODER
            .encode_publish(&kept.message.to_publish(now.boot, delivery, true, &[]), &mut out)
            .expect("it came in such a packet, or as a broadcast that fits one");
        out.freeze()
    }

    pub(crate) fn decode(now: Now, value: &Bytes) -> Option<Self> {
        let mut rest = value.clone();
        let written_at = WallTime::from_millis(rest.try_get_u64().ok()?);
        let qos = QoS::from_byte(rest.try_get_u8().ok()?)?;
        let len = usize::from(rest.try_get_u8().ok()?);
        let publisher = take(&mut rest, len)?;
        let publisher = match publisher.is_empty() {
            true => None,
            false => Some(std::str::from_utf8(&publisher).ok()?.parse().ok()?),
        };
        let stamp = match rest.try_get_u8().ok()? {
            0 => None,
            1 => {
                let at = WallTime::from_millis(rest.try_get_u64().ok()?);
                Some(Stamp { at, origin: rest.try_get_u64().ok()? })
            }
            _ => return None,
        };
        let copy = read_message(now.boot, rest)?.1;
        let mut message = std::sync::Arc::try_unwrap(copy.message).ok()?;
        age(now, written_at, &mut message);
        Some(Self { message, qos, publisher, stamp })
    }
}
