//! The keys of records.
//!
//! ```text
//! s │ tenant/device │ 0 │ kind: u8 │ which of them      of a session
//! r │ topic                                             a retained message
//! m │ name                                              of the store itself
//! ```
//! No device has a zero byte in its name. Numbers are big endian, so that they are sorted.

use bytes::Bytes;
use roost_wire::Device;

use crate::packet::PacketId;
use crate::share::Filter;

use super::RETAINED;

/// What the keys of all sessions begin with.
pub const SESSIONS: &[u8] = b"s";

const END: u8 = 0;

const HEAD: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const MESSAGE: u8 = 3;
const INFLIGHT: u8 = 4;
const RELEASED: u8 = 5;
const RECEIVED: u8 = 6;

/// Which record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionKind {
    Head,
    Subscription(Filter),
    /// By its number.
    Message(u64),
    /// By its order.
    Inflight(u64),
    /// By its order.
    Released(u64),
    Received(PacketId),
}

/// The part of a session's key that all of its records have, and no other session's; `None` if it is no session's.
#[must_use]
pub fn prefix_of(key: &[u8]) -> Option<&[u8]> {
    if !key.starts_with(SESSIONS) {
        return None;
    }
    let end = key.iter().position(|byte| *byte == END)?;
    Some(&key[..=end])
}

pub(crate) fn of_session(device: &Device) -> Vec<u8> {
    let name = device.to_string();
    let mut prefix = Vec::with_capacity(name.len() + 2);
    prefix.extend_from_slice(SESSIONS);
    prefix.extend_from_slice(name.as_bytes());
    prefix.push(END);
    prefix
}

pub(crate) fn of_record(prefix: &[u8], kind: &SessionKind) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + 9);
    key.extend_from_slice(prefix);
    match kind {
        SessionKind::Head => key.push(HEAD),
        SessionKind::Subscription(filter) => {
            key.push(SUBSCRIPTION);
            key.extend_from_slice(filter.to_string().as_bytes());
        }
        SessionKind::Message(number) => put(&mut key, MESSAGE, *number),
        SessionKind::Inflight(order) => put(&mut key, INFLIGHT, *order),
        SessionKind::Released(order) => put(&mut key, RELEASED, *order),
        SessionKind::Received(packet_id) => {
            key.push(RECEIVED);
            key.extend_from_slice(&packet_id.value().to_be_bytes());
        }
    }
    key.into()
}

fn put(key: &mut Vec<u8>, kind: u8, number: u64) {
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
}

/// Whose session a record is of; `None` if it is nobody's.
#[must_use]
pub fn device_of(key: &[u8]) -> Option<Device> {
    let prefix = prefix_of(key)?;
    std::str::from_utf8(&prefix[SESSIONS.len()..prefix.len() - 1]).ok()?.parse().ok()
}

/// Whose session a record is of, and which record; `None` for one that this build does not know.
pub(crate) fn read(key: &[u8]) -> Option<(Device, SessionKind)> {
    let (prefix, device) = (prefix_of(key)?, device_of(key)?);
    let (kind, rest) = key[prefix.len()..].split_first()?;
    let number = || Some(u64::from_be_bytes(rest.try_into().ok()?));
    let kind = match *kind {
        HEAD if rest.is_empty() => SessionKind::Head,
        SUBSCRIPTION => SessionKind::Subscription(Filter::parse(std::str::from_utf8(rest).ok()?).ok()?),
        MESSAGE => SessionKind::Message(number()?),
        INFLIGHT => SessionKind::Inflight(number()?),
        RELEASED => SessionKind::Released(number()?),
        RECEIVED => SessionKind::Received(PacketId::new(u16::from_be_bytes(rest.try_into().ok()?))?),
        _ => return None,
    };
    Some((device, kind))
}

pub(crate) fn of_retained(topic: &str) -> Bytes {
    [RETAINED, topic.as_bytes()].concat().into()
}
