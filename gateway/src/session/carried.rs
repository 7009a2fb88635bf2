//! A session as it travels from one gateway to another, through the router, which does not read it.
//!
//! ```text
//! version 1: u8 │ expiry left, in milliseconds: u64 │ how many records: u32 │ the records
//! a record:  kind: u8 │ how many bytes: u32 │ an MQTT 5 packet
//! ```
//! A subscription is a SUBSCRIBE with one filter, a message is a PUBLISH at QoS 1: what MQTT can say of them is all there is. The
//! kinds come in their order: subscriptions, what is in flight (with the packet ids that the client knows), what waits. Numbers are
//! big endian. A session has no more: there is no QoS 2 here yet, and no will; either gets a kind of its own, and another version.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roost_wire::{BootTime, TopicFilter};

use super::LocalCopy;
use crate::message::Message;
use crate::packet::{
    DecodeLimits, Decoder, Delivery, Encoder, Packet, PacketId, ProtocolVersion, Publish, Subscribe,
    SubscribeFilter, SubscribeProperties, Text,
};
use crate::subscriptions::Subscription;

/// What moves of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Carried {
    /// For how long it is kept when its device is away: what was left of that, if it was.
    pub(crate) expiry: Duration,
    pub(crate) subscriptions: Vec<(TopicFilter, Subscription)>,
    /// Sent and not acknowledged, in order.
    pub(crate) inflight: Vec<(PacketId, LocalCopy)>,
    /// Not sent yet, in order.
    pub(crate) queue: Vec<LocalCopy>,
}

/// Why a body is not a session. It was written by another version, or by nobody of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CarriedError {
    /// Of a version that this build does not read.
    #[error("the session has version {0}, this build reads {VERSION}")]
    Version(u8),
    /// It ends too early, or goes on behind its end.
    #[error("the session is not as long as it says")]
    Length,
    /// A record is of no kind that is known, or out of order.
    #[error("the session has a record of kind {0} where none may be")]
    Kind(u8),
    /// A record is not the packet that it should be.
    #[error("the session has an unreadable record of kind {0}")]
    Record(u8),
}

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 4;
const RECORD_HEAD_BYTES: usize = 1 + 4;

const SUBSCRIPTION: u8 = 1;
const INFLIGHT: u8 = 2;
const QUEUED: u8 = 3;

const ENCODER: Encoder = Encoder::new(ProtocolVersion::V5);

/// Both sides are the mesh's own, and a session is bounded as a whole.
const LIMITS: DecodeLimits = DecodeLimits {
    packet_bytes_max: u32::MAX,
    connect_bytes_max: 0,
    user_properties_max: 64 * 1024,
    filters_max: 1,
};

impl Carried {
    /// The session in at most `bytes_max` bytes, and how many messages stay behind for that: the oldest that wait, and then the
    /// oldest in flight. `None` if its subscriptions alone are too long.
    pub(crate) fn encode(&self, now: BootTime, bytes_max: usize) -> Option<(Bytes, u64)> {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_u64(u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX));
        out.put_u32(0);
        for (filter, subscription) in &self.subscriptions {
            put_record(&mut out, SUBSCRIPTION, |out| put_subscription(out, filter, subscription));
        }
        let mut room = bytes_max.checked_sub(out.len())?;
        let first_inflight = first_that_fits(now, self.inflight.iter().map(|(_, copy)| copy), &mut room);
        let first_queued = match first_inflight {
            0 => first_that_fits(now, self.queue.iter(), &mut room),
            _ => self.queue.len(),
        };
        for (packet_id, copy) in &self.inflight[first_inflight..] {
            put_record(&mut out, INFLIGHT, |out| put_message(out, now, *packet_id, true, copy));
        }
        for copy in &self.queue[first_queued..] {
            put_record(&mut out, QUEUED, |out| put_message(out, now, PacketId::FIRST, false, copy));
        }
        let left_behind = first_inflight + first_queued;
        let records = self.subscriptions.len() + self.inflight.len() + self.queue.len() - left_behind;
        let records = u32::try_from(records).ok()?;
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&records.to_be_bytes());
        Some((out.freeze(), left_behind as u64))
    }

    /// Reads a session.
    ///
    /// # Errors
    /// [`CarriedError`] says what is wrong with it; nothing of it can be used then.
    pub(crate) fn decode(now: BootTime, mut body: Bytes) -> Result<Self, CarriedError> {
        match body.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(CarriedError::Version(version)),
            None => return Err(CarriedError::Length),
        }
        if body.len() < HEAD_BYTES {
            return Err(CarriedError::Length);
        }
        body.advance(1);
        let mut carried = Self { expiry: Duration::from_millis(body.get_u64()), ..Self::default() };
        let records = body.get_u32();
        let mut last_kind = SUBSCRIPTION;
        for _ in 0..records {
            let (kind, record) = take_record(&mut body)?;
            if kind < last_kind || kind > QUEUED {
                return Err(CarriedError::Kind(kind));
            }
            last_kind = kind;
            let is_read = match kind {
                SUBSCRIPTION => read_subscription(record).map(|it| carried.subscriptions.push(it)),
                INFLIGHT => read_message(now, record)
                    .filter(|(id, _)| carried.inflight.iter().all(|(known, _)| known != id))
                    .map(|it| carried.inflight.push(it)),
                _ => read_message(now, record).map(|(_, copy)| carried.queue.push(copy)),
            };
            is_read.ok_or(CarriedError::Record(kind))?;
        }
        if body.has_remaining() { Err(CarriedError::Length) } else { Ok(carried) }
    }

    /// How many messages it has.
    pub(crate) fn messages(&self) -> usize {
        self.inflight.len() + self.queue.len()
    }
}

/// Where the messages begin that all fit, counted from the newest; takes their room.
fn first_that_fits<'a>(
    now: BootTime,
    copies: impl DoubleEndedIterator<Item = &'a LocalCopy> + ExactSizeIterator,
    room: &mut usize,
) -> usize {
    let mut first = copies.len();
    for copy in copies.rev() {
        let publish = as_publish(now, PacketId::FIRST, true, copy);
        // One that can't be encoded was never taken in.
        let len = RECORD_HEAD_BYTES + ENCODER.publish_len(&publish).unwrap_or(usize::MAX / 2);
        let Some(left) = room.checked_sub(len) else { break };
        *room = left;
        first -= 1;
    }
    first
}

fn put_record(out: &mut BytesMut, kind: u8, put: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_u32(0);
    put(out);
    let len = u32::try_from(out.len() - at - 4).expect("an MQTT packet is shorter");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_subscription(out: &mut BytesMut, filter: &TopicFilter, subscription: &Subscription) {
    let properties = subscription.subscription_id.map(|id| {
        Box::new(SubscribeProperties { subscription_id: Some(id), ..SubscribeProperties::default() })
    });
    let filter = Text::parse(filter.as_str()).expect("a filter came as an MQTT string");
    let filters = vec![SubscribeFilter { filter, options: subscription.options }];
    let subscribe = Packet::Subscribe(Subscribe { packet_id: PacketId::FIRST, filters, properties });
    ENCODER.encode(&subscribe, out).expect("it came in such a packet");
}

fn put_message(out: &mut BytesMut, now: BootTime, packet_id: PacketId, dup: bool, copy: &LocalCopy) {
    ENCODER
        .encode_publish(&as_publish(now, packet_id, dup, copy), out)
        .expect("it came in such a packet, and what cannot be encoded has no room");
}

fn as_publish(
    now: BootTime,
    packet_id: PacketId,
    dup: bool,
    copy: &LocalCopy,
) -> crate::packet::PublishRef<'_> {
    let delivery = Delivery::AtLeastOnce { packet_id, dup };
    copy.message.to_publish(now, delivery, copy.retain, &copy.subscription_ids)
}

fn take_record(body: &mut Bytes) -> Result<(u8, Bytes), CarriedError> {
    if body.len() < RECORD_HEAD_BYTES {
        return Err(CarriedError::Length);
    }
    let (kind, len) = (body.get_u8(), body.get_u32() as usize);
    if body.len() < len {
        return Err(CarriedError::Length);
    }
    Ok((kind, body.split_to(len)))
}

fn read_subscription(record: Bytes) -> Option<(TopicFilter, Subscription)> {
    let Packet::Subscribe(subscribe) = read_packet(record)? else { return None };
    let [SubscribeFilter { filter, options }] = subscribe.filters.as_slice() else { return None };
    let filter = TopicFilter::parse(filter).ok().filter(|filter| !filter.is_shared())?;
    let subscription_id = subscribe.properties.and_then(|properties| properties.subscription_id);
    Some((filter, Subscription { options: *options, subscription_id }))
}

fn read_message(now: BootTime, record: Bytes) -> Option<(PacketId, LocalCopy)> {
    let Packet::Publish(publish) = read_packet(record)? else { return None };
    let Delivery::AtLeastOnce { packet_id, .. } = publish.delivery else { return None };
    if publish.topic.is_empty() {
        return None;
    }
    let (publish, subscription_ids) = without_subscription_ids(publish);
    let retain = publish.retain;
    let message = Arc::new(Message::from_publish(now, publish));
    Some((packet_id, LocalCopy { message, retain, subscription_ids }))
}

/// The identifiers are the receiver's, all else is the message's.
fn without_subscription_ids(mut publish: Publish) -> (Publish, Vec<crate::packet::SubscriptionId>) {
    let Some(properties) = &mut publish.properties else { return (publish, Vec::new()) };
    let ids = std::mem::take(&mut properties.subscription_ids);
    if **properties == crate::packet::PublishProperties::default() {
        publish.properties = None;
    }
    (publish, ids)
}

/// The packet that the record is, and nothing behind it.
fn read_packet(record: Bytes) -> Option<Packet> {
    const SUBSCRIBE: u8 = 8;
    let is_subscribe = record.first().is_some_and(|first| first >> 4 == SUBSCRIBE);
    // Only clients send the one, and only servers may put identifiers into the other.
    let mut decoder = match is_subscribe {
        true => Decoder::for_connected_server(ProtocolVersion::V5, LIMITS),
        false => Decoder::for_client(ProtocolVersion::V5, LIMITS),
    };
    let mut bytes = BytesMut::from(record);
    let packet = decoder.decode(&mut bytes).ok().flatten()?;
    bytes.is_empty().then_some(packet)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::{
        BinaryData, PublishProperties, QoS, RetainHandling, SubscribeOptions, SubscriptionId, UserProperty,
    };

    fn at(seconds: u64) -> BootTime {
        BootTime::from_micros(seconds * 1_000_000)
    }

    fn copy(n: u8, bytes: usize) -> LocalCopy {
        let properties = PublishProperties {
            message_expiry_s: Some(60),
            correlation_data: Some(BinaryData::parse(vec![0, n]).unwrap()),
            user_properties: vec![UserProperty {
                name: Text::from_static("k"),
                value: Text::from_static("v"),
            }],
            ..PublishProperties::default()
        };
        let publish = Publish {
            topic: Text::from_static("local/t"),
            delivery: Delivery::AtMostOnce,
            retain: n.is_multiple_of(3),
            payload: vec![n; bytes].into(),
            properties: n.is_multiple_of(2).then(|| Box::new(properties)),
        };
        LocalCopy {
            message: Arc::new(Message::from_publish(at(100), publish)),
            retain: n.is_multiple_of(3),
            subscription_ids: (0..n % 3).filter_map(|id| subscription_id(id.into())).collect(),
        }
    }

    fn subscription_id(id: u32) -> Option<SubscriptionId> {
        SubscriptionId::new(id)
    }

    fn session(subscriptions: usize, inflight: u8, queued: u8, bytes: usize) -> Carried {
        let subscription = |n: usize| {
            let options = SubscribeOptions {
                qos: if n.is_multiple_of(2) { QoS::AtMostOnce } else { QoS::AtLeastOnce },
                no_local: n.is_multiple_of(3),
                retain_as_published: n.is_multiple_of(5),
                retain_handling: RetainHandling::DoNotSend,
            };
            let filter = TopicFilter::parse(&format!("local/{n}/+/#")).unwrap();
            let subscription_id = subscription_id(u32::try_from(n % 4).unwrap());
            (filter, Subscription { options, subscription_id })
        };
        Carried {
            expiry: Duration::from_millis(3_600_001),
            subscriptions: (0..subscriptions).map(subscription).collect(),
            inflight: (0..inflight)
                .map(|n| (PacketId::new(u16::from(n) + 7).unwrap(), copy(n, bytes)))
                .collect(),
            queue: (inflight..inflight + queued).map(|n| copy(n, bytes)).collect(),
        }
    }

    #[test]
    fn a_session_reads_back_as_it_was() {
        let session = session(12, 3, 5, 100);
        let (body, left_behind) = session.encode(at(100), 1 << 20).unwrap();
        assert_eq!((Carried::decode(at(100), body), left_behind), (Ok(session), 0));
    }

    #[test]
    fn what_is_left_of_an_expiry_counts_down_on_the_way() {
        let (body, _) = session(0, 0, 1, 1).encode(at(130), 1 << 20).unwrap();
        // Another gateway, with another clock.
        let arrived = Carried::decode(at(5), body).unwrap();
        assert_eq!(arrived.queue[0].message.expires_at, Some(at(35)));
    }

    #[test]
    fn the_oldest_messages_stay_behind_if_it_gets_too_long() {
        let whole = session(2, 3, 5, 1_000);
        for (bytes_max, inflight, queued) in [(20_000, 3, 5), (6_500, 3, 3), (3_500, 3, 0), (2_500, 2, 0)] {
            let (body, left_behind) = whole.encode(at(100), bytes_max).unwrap();
            assert!(body.len() <= bytes_max);
            let arrived = Carried::decode(at(100), body).unwrap();
            assert_eq!(arrived.inflight, whole.inflight[3 - inflight..], "{bytes_max}");
            assert_eq!(arrived.queue, whole.queue[5 - queued..], "{bytes_max}");
            assert_eq!(left_behind as usize, 8 - inflight - queued);
        }
        assert_eq!(session(100, 0, 0, 0).encode(at(100), 1_000), None, "not even its subscriptions fit");
    }

    #[test]
    fn another_version_is_refused_as_such() {
        let (body, _) = session(1, 1, 1, 1).encode(at(100), 1 << 20).unwrap();
        let mut newer = BytesMut::from(&body[..]);
        newer[0] = 2;
        assert_eq!(Carried::decode(at(100), newer.freeze()), Err(CarriedError::Version(2)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Carried::decode(at(1), body.into());
        }

        #[test]
        fn a_damaged_session_never_panics_and_a_cut_one_is_refused(
            place in 0_usize..2_000, value in any::<u8>(), cut in 1_usize..500,
        ) {
            let (body, _) = session(3, 2, 2, 20).encode(at(100), 1 << 20).unwrap();
            let mut damaged = BytesMut::from(&body[..]);
            let place = place % damaged.len();
            damaged[place] = value;
            let _ = Carried::decode(at(100), damaged.freeze());
            let cut = cut.min(body.len());
            prop_assert!(Carried::decode(at(100), body.slice(..body.len() - cut)).is_err());
        }

        #[test]
        fn encode_and_decode_agree(subscriptions in 0_usize..20, inflight in 0_u8..20, queued in 0_u8..20, bytes in 0_usize..200) {
            let session = session(subscriptions, inflight, queued, bytes);
            let (body, _) = session.encode(at(100), 1 << 20).unwrap();
            prop_assert_eq!(Carried::decode(at(100), body), Ok(session));
        }
    }
}
