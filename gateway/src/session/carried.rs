//! A session as it travels from one gateway to another, through the router, which does not read it.
//!
//! ```text
//! version:  u8 │ expiry left, in milliseconds: u64 │ how many records: u32 │ the records
//! a record: kind: u8 │ how many bytes: u32 │ an MQTT 5 packet
//! ```
//! A subscription is a SUBSCRIBE with one filter, a message is a PUBLISH: what MQTT can say of them is all there is. The
//! kinds come in their order: subscriptions, what is in flight (with the packet ids that the client knows), what waits; and of QoS 2 what
//! the client has published and not released, each a PUBREC, and what it has received and not completed, each a PUBREL. Numbers are
//! big endian. A session has no more: a will that waits for its delay ends where the session leaves, since its client is back.
//!
//! Version 1 knows messages at QoS 1 only, and no PUBREC and PUBREL. Its readers refuse version 2, and their device begins anew; so a
//! session with nothing of QoS 2 in it is written as version 1. A subscription at QoS 2 does not count: there it is served at QoS 1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roost_wire::{BootTime, TopicFilter};

use super::LocalCopy;
use crate::message::Message;
use crate::packet::{
    Ack, DecodeLimits, Decoder, Encoder, Packet, PacketId, ProtocolVersion, Publish, QoS, ReasonCode,
    Subscribe, SubscribeFilter, SubscribeProperties, Text,
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
    /// Published by the client at QoS 2 and not released, each with the answer that it gets.
    pub(crate) received: BTreeMap<PacketId, ReasonCode>,
    /// Sent to the client at QoS 2, and what is left is PUBREL and PUBCOMP; in order.
    pub(crate) released: Vec<PacketId>,
}

/// Why a body is not a session. It was written by another version, or by nobody of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CarriedError {
    /// Of a version that this build does not read.
    #[error("the session has version {0}, this build reads up to {NEWEST}")]
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

const WITHOUT_QOS_2: u8 = 1;
const NEWEST: u8 = 2;
const HEAD_BYTES: usize = 1 + 8 + 4;
const RECORD_HEAD_BYTES: usize = 1 + 4;

const SUBSCRIPTION: u8 = 1;
const INFLIGHT: u8 = 2;
const QUEUED: u8 = 3;
const RECEIVED: u8 = 4;
const RELEASED: u8 = 5;

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
    /// oldest in flight. `None` if what is no message is too long alone.
    pub(crate) fn encode(&self, now: BootTime, bytes_max: usize) -> Option<(Bytes, u64)> {
        let mut out = BytesMut::new();
        out.put_u8(self.version());
        out.put_u64(u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX));
        out.put_u32(0);
        for (filter, subscription) in &self.subscriptions {
            put_record(&mut out, SUBSCRIPTION, |out| put_subscription(out, filter, subscription));
        }
        let mut room = bytes_max.checked_sub(out.len())?.checked_sub(self.ids_bytes())?;
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
        let lost = &self.inflight[..first_inflight];
        let released = self.put_ids(&mut out, lost);
        let left_behind = first_inflight + first_queued;
        let messages = self.messages() - left_behind;
        let records = self.subscriptions.len() + messages + self.received.len() + released;
        let records = u32::try_from(records).ok()?;
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&records.to_be_bytes());
        Some((out.freeze(), left_behind as u64))
    }

    /// The oldest version that can say what there is.
    fn version(&self) -> u8 {
        let mut copies = self.inflight.iter().map(|(_, copy)| copy).chain(&self.queue);
        let is_without = self.received.is_empty()
            && self.released.is_empty()
            && copies.all(|copy| copy.qos != QoS::ExactlyOnce);
        if is_without { WITHOUT_QOS_2 } else { NEWEST }
    }

    /// No more than the records of ids take, also if all that is in flight stays behind.
    fn ids_bytes(&self) -> usize {
        const PUBREC_BYTES_MAX: usize = 5;
        let released = self.inflight.iter().filter(|(_, copy)| copy.qos == QoS::ExactlyOnce).count();
        let ids = self.received.len() + self.released.len() + released;
        ids * (RECORD_HEAD_BYTES + PUBREC_BYTES_MAX)
    }

    /// Puts the ids of QoS 2; gives how many are released. Of what stays behind the client may have the message, and would take what comes
    /// under its id next for a repeat: so these are released as well.
    fn put_ids(&self, out: &mut BytesMut, lost: &[(PacketId, LocalCopy)]) -> usize {
        for (packet_id, reason) in &self.received {
            put_ack(out, RECEIVED, Packet::Pubrec(Ack::with_reason(*packet_id, *reason)));
        }
        let lost =
            lost.iter().filter(|(_, copy)| copy.qos == QoS::ExactlyOnce).map(|(packet_id, _)| packet_id);
        let mut released = 0;
        for packet_id in self.released.iter().chain(lost) {
            put_ack(out, RELEASED, Packet::Pubrel(Ack::success(*packet_id)));
            released += 1;
        }
        released
    }

    /// Reads a session.
    ///
    /// # Errors
    /// [`CarriedError`] says what is wrong with it; nothing of it can be used then.
    pub(crate) fn decode(now: BootTime, mut body: Bytes) -> Result<Self, CarriedError> {
        let last = match body.first() {
            Some(&WITHOUT_QOS_2) => QUEUED,
            Some(&NEWEST) => RELEASED,
            Some(&version) => return Err(CarriedError::Version(version)),
            None => return Err(CarriedError::Length),
        };
        if body.len() < HEAD_BYTES {
            return Err(CarriedError::Length);
        }
        body.advance(1);
        let mut carried = Self { expiry: Duration::from_millis(body.get_u64()), ..Self::default() };
        let records = body.get_u32();
        let mut last_kind = SUBSCRIPTION;
        for _ in 0..records {
            let (kind, record) = take_record(&mut body)?;
            if kind < last_kind || kind > last {
                return Err(CarriedError::Kind(kind));
            }
            last_kind = kind;
            carried.read(now, kind, record).ok_or(CarriedError::Record(kind))?;
        }
        if body.has_remaining() { Err(CarriedError::Length) } else { Ok(carried) }
    }

    fn read(&mut self, now: BootTime, kind: u8, record: Bytes) -> Option<()> {
        match kind {
            SUBSCRIPTION => self.subscriptions.push(read_subscription(record)?),
            INFLIGHT => {
                let (packet_id, copy) = read_message(now, record)?;
                self.is_free(packet_id).then(|| self.inflight.push((packet_id, copy)))?;
            }
            QUEUED => self.queue.push(read_message(now, record)?.1),
            RECEIVED => {
                let Packet::Pubrec(ack) = read_packet(record)? else { return None };
                self.received.insert(ack.packet_id, ack.reason).is_none().then_some(())?;
            }
            _ => {
                let Packet::Pubrel(ack) = read_packet(record)? else { return None };
                self.is_free(ack.packet_id).then(|| self.released.push(ack.packet_id))?;
            }
        }
        Some(())
    }

    /// Whether nothing that was sent to the client has the id.
    fn is_free(&self, packet_id: PacketId) -> bool {
        self.inflight.iter().all(|(known, _)| *known != packet_id) && !self.released.contains(&packet_id)
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

fn put_ack(out: &mut BytesMut, kind: u8, ack: Packet) {
    put_record(out, kind, |out| ENCODER.encode(&ack, out).expect("an acknowledgement is short"));
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
    copy.message.to_publish(now, copy.delivery(packet_id, dup), copy.retain, &copy.subscription_ids)
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
    let (packet_id, qos) = (publish.delivery.packet_id()?, publish.delivery.qos());
    if publish.topic.is_empty() {
        return None;
    }
    let (publish, subscription_ids) = without_subscription_ids(publish);
    let retain = publish.retain;
    let message = Arc::new(Message::from_publish(now, publish));
    Some((packet_id, LocalCopy { message, qos, retain, subscription_ids }))
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
        BinaryData, Delivery, PublishProperties, RetainHandling, SubscribeOptions, SubscriptionId,
        UserProperty,
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
            qos: QoS::AtLeastOnce,
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
            ..Carried::default()
        }
    }

    /// The same with every other message at QoS 2, and handshakes that are not over.
    fn exactly_once(mut carried: Carried, ids: u16) -> Carried {
        let messages = carried.inflight.iter_mut().map(|(_, copy)| copy).chain(&mut carried.queue);
        messages.step_by(2).for_each(|copy| copy.qos = QoS::ExactlyOnce);
        let reasons = [ReasonCode::Success, ReasonCode::NoMatchingSubscribers, ReasonCode::QuotaExceeded];
        let ids = |first| (first..first + ids).map(|n| PacketId::new(n).unwrap());
        carried.received = ids(5).zip(reasons.into_iter().cycle()).collect();
        carried.released = ids(1_000).rev().collect();
        carried
    }

    #[test]
    fn a_session_reads_back_as_it_was() {
        for (session, version) in [(session(12, 3, 5, 100), 1), (exactly_once(session(12, 3, 5, 100), 7), 2)]
        {
            let (body, left_behind) = session.encode(at(100), 1 << 20).unwrap();
            assert_eq!(body[0], version, "older gateways read what has nothing new in it");
            assert_eq!((Carried::decode(at(100), body), left_behind), (Ok(session), 0));
        }
    }

    #[test]
    fn a_subscription_at_qos_2_alone_needs_no_newer_reader() {
        let mut session = session(3, 1, 1, 10);
        session.subscriptions[0].1.options.qos = QoS::ExactlyOnce;
        let (body, _) = session.encode(at(100), 1 << 20).unwrap();
        assert_eq!((body[0], Carried::decode(at(100), body)), (1, Ok(session)));
    }

    #[test]
    fn an_older_version_has_nothing_of_qos_2() {
        let body = |session: &Carried| {
            let (body, _) = session.encode(at(100), 1 << 20).unwrap();
            let mut older = BytesMut::from(&body[..]);
            older[0] = 1;
            older.freeze()
        };
        let ids = exactly_once(session(0, 0, 0, 0), 1);
        assert_eq!(Carried::decode(at(100), body(&ids)), Err(CarriedError::Kind(RECEIVED)));
    }

    #[test]
    fn of_what_stays_behind_at_qos_2_the_id_is_released() {
        let whole = exactly_once(session(0, 4, 0, 1_000), 0);
        let (body, left_behind) = whole.encode(at(100), 3_500).unwrap();
        let arrived = Carried::decode(at(100), body).unwrap();
        assert_eq!((left_behind, &arrived.inflight[..]), (1, &whole.inflight[1..]));
        assert_eq!(arrived.released, [whole.inflight[0].0], "its client may have it");
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
        newer[0] = 3;
        assert_eq!(Carried::decode(at(100), newer.freeze()), Err(CarriedError::Version(3)));
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
            let (body, _) = exactly_once(session(3, 2, 2, 20), 3).encode(at(100), 1 << 20).unwrap();
            let mut damaged = BytesMut::from(&body[..]);
            let place = place % damaged.len();
            damaged[place] = value;
            let _ = Carried::decode(at(100), damaged.freeze());
            let cut = cut.min(body.len());
            prop_assert!(Carried::decode(at(100), body.slice(..body.len() - cut)).is_err());
        }

        #[test]
        fn encode_and_decode_agree(subscriptions in 0_usize..20, inflight in 0_u8..20, queued in 0_u8..20, bytes in 0_usize..200) {
            let session = exactly_once(session(subscriptions, inflight, queued, bytes), u16::from(queued));
            let (body, _) = session.encode(at(100), 1 << 20).unwrap();
            prop_assert_eq!(Carried::decode(at(100), body), Ok(session));
        }
    }
}
