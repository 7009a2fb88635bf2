//! A session as it travels from one gateway to another, through the router, which does not read it.
//!
//! ```text
//! version:  u8 │ expiry left, in milliseconds: u64 │ how many records: u32 │ the records
//! a record: kind: u8 │ how many bytes: u32 │ an MQTT 5 packet
//! ```
//! A subscription is a SUBSCRIBE with one filter, a message is a PUBLISH: what MQTT can say of them is all there is, but for which of them
//! came through a shared subscription, which is three numbers: the places of message and subscription (u32), and the QoS (u8). The
//! kinds come in their order: subscriptions, what is in flight (with the packet ids that the client knows), what waits; and of QoS 2 what
//! the client has published and not released, each a PUBREC, and what it has received and not completed, each a PUBREL; at last the shares.
//! Numbers are big endian. A session has no more: a will that waits for its delay ends where the session leaves, since its client is back.
//!
//! Version 1 knows messages at QoS 1 only, and no PUBREC and PUBREL. Its readers refuse version 2, and their device begins anew; so a
//! session with nothing of QoS 2 in it is written as version 1. A subscription at QoS 2 does not count: there it is served at QoS 1.
//! Version 2 knows no shared subscriptions: only a session that has some is written as version 3.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roost_wire::BootTime;

use super::LocalCopy;
use super::packed::{
    ENCODER, as_publish, put_message, put_subscription, read_message, read_packet, read_subscription,
};
use crate::packet::{Ack, Packet, PacketId, QoS, ReasonCode};
use crate::share::Filter;
use crate::subscriptions::Subscription;

/// What moves of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Carried {
    /// For how long it is kept when its device is away: what was left of that, if it was.
    pub(crate) expiry: Duration,
    pub(crate) subscriptions: Vec<(Filter, Subscription)>,
    /// Sent and not acknowledged, in order.
    pub(crate) inflight: Vec<(PacketId, LocalCopy)>,
    /// Not sent yet, in order.
    pub(crate) queue: Vec<LocalCopy>,
    /// Published by the client at QoS 2 and not released, each with the answer that it gets.
    pub(crate) received: BTreeMap<PacketId, ReasonCode>,
    /// Sent to the client at QoS 2, and what is left is PUBREL and PUBCOMP; in order.
    pub(crate) released: Vec<PacketId>,
    /// Which messages came through a shared subscription. The copies themselves do not say it: a group has another key elsewhere.
    pub(crate) shares: Vec<CarriedShare>,
}

/// A message that came through a shared subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CarriedShare {
    /// Its place among those in flight, and behind them those that wait.
    pub(crate) message: usize,
    /// That of the subscription.
    pub(crate) subscription: usize,
    pub(crate) published: QoS,
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
const WITHOUT_SHARES: u8 = 2;
const NEWEST: u8 = 3;
const HEAD_BYTES: usize = 1 + 8 + 4;
const RECORD_HEAD_BYTES: usize = 1 + 4;

const SUBSCRIPTION: u8 = 1;
const INFLIGHT: u8 = 2;
const QUEUED: u8 = 3;
const RECEIVED: u8 = 4;
const RELEASED: u8 = 5;
const SHARE: u8 = 6;

const SHARE_BYTES: usize = 4 + 4 + 1;

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
        let numbers = self.ids_bytes() + self.shares.len() * (RECORD_HEAD_BYTES + SHARE_BYTES);
        let mut room = bytes_max.checked_sub(out.len())?.checked_sub(numbers)?;
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
        let shares = self.put_shares(&mut out, first_inflight, first_queued);
        let left_behind = first_inflight + first_queued;
        let messages = self.messages() - left_behind;
        let records = self.subscriptions.len() + messages + self.received.len() + released + shares;
        let records = u32::try_from(records).ok()?;
        out[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&records.to_be_bytes());
        Some((out.freeze(), left_behind as u64))
    }

    /// The oldest version that can say what there is.
    fn version(&self) -> u8 {
        if self.subscriptions.iter().any(|(filter, _)| matches!(filter, Filter::Shared(_))) {
            return NEWEST;
        }
        let mut copies = self.inflight.iter().map(|(_, copy)| copy).chain(&self.queue);
        let is_without = self.received.is_empty()
            && self.released.is_empty()
            && copies.all(|copy| copy.qos != QoS::ExactlyOnce);
        if is_without { WITHOUT_QOS_2 } else { WITHOUT_SHARES }
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

    /// Puts which of the messages that do not stay behind came through a shared subscription; gives how many.
    fn put_shares(&self, out: &mut BytesMut, first_inflight: usize, first_queued: usize) -> usize {
        let mut shares = 0;
        for share in &self.shares {
            let place = match share.message.checked_sub(self.inflight.len()) {
                None => share.message.checked_sub(first_inflight),
                Some(queued) => {
                    queued.checked_sub(first_queued).map(|at| self.inflight.len() - first_inflight + at)
                }
            };
            let numbers = (place.map(u32::try_from), u32::try_from(share.subscription));
            let (Some(Ok(message)), Ok(subscription)) = numbers else { continue };
            put_record(out, SHARE, |out| {
                out.put_u32(message);
                out.put_u32(subscription);
                out.put_u8(share.published.byte());
            });
            shares += 1;
        }
        shares
    }

    /// Reads a session.
    ///
    /// # Errors
    /// [`CarriedError`] says what is wrong with it; nothing of it can be used then.
    pub(crate) fn decode(now: BootTime, mut body: Bytes) -> Result<Self, CarriedError> {
        let last = match body.first() {
            Some(&WITHOUT_QOS_2) => QUEUED,
            Some(&WITHOUT_SHARES) => RELEASED,
            Some(&NEWEST) => SHARE,
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
            RELEASED => {
                let Packet::Pubrel(ack) = read_packet(record)? else { return None };
                self.is_free(ack.packet_id).then(|| self.released.push(ack.packet_id))?;
            }
            _ => self.shares.push(self.read_share(record)?),
        }
        Some(())
    }

    fn read_share(&self, mut record: Bytes) -> Option<CarriedShare> {
        if record.len() != SHARE_BYTES {
            return None;
        }
        let (message, subscription) = (record.get_u32() as usize, record.get_u32() as usize);
        let published = QoS::from_byte(record.get_u8())?;
        let is_shared = matches!(self.subscriptions.get(subscription)?.0, Filter::Shared(_));
        let is_one = is_shared && message < self.messages();
        is_one.then_some(CarriedShare { message, subscription, published })
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

fn put_ack(out: &mut BytesMut, kind: u8, ack: Packet) {
    put_record(out, kind, |out| ENCODER.encode(&ack, out).expect("an acknowledgement is short"));
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

#[cfg(test)]
mod tests;
