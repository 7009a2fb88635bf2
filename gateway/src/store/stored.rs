//! A session becomes records, and records a session.

use std::collections::BTreeMap;

use roost_wire::{Device, Now};

use super::key::{self, SessionKind};
use super::record::{self, Head};
use super::{StoreChange, StoreRecord};
use crate::packet::{PacketId, QoS, ReasonCode};
use crate::session::{LocalCopy, OutboxChange};
use crate::share::{Filter, GroupKey, SharedFilter};
use crate::subscriptions::Subscription;

/// Writes what changes of one session.
#[derive(Debug)]
pub(crate) struct SessionRecords<'a> {
    prefix: Vec<u8>,
    changes: &'a mut Vec<StoreChange>,
}

impl<'a> SessionRecords<'a> {
    pub(crate) fn new(device: &Device, changes: &'a mut Vec<StoreChange>) -> Self {
        Self { prefix: key::of_session(device), changes }
    }

    /// Nothing of it is there any more.
    pub(crate) fn end(self) {
        self.changes.push(StoreChange::DeleteAll { prefix: self.prefix.into() });
    }

    pub(crate) fn head(&mut self, head: &Head) {
        self.put(&SessionKind::Head, head.encode());
    }

    /// A subscription, and whether retained messages are owed for it; or that there is none.
    pub(crate) fn subscription(&mut self, filter: Filter, subscription: Option<(&Subscription, bool)>) {
        let value =
            subscription.map(|(subscription, is_owed)| record::subscription(&filter, subscription, is_owed));
        self.set(&SessionKind::Subscription(filter), value);
    }

    /// Writes what has changed in its outbox. A message that was there for no longer than one input is not written.
    pub(crate) fn outbox<'g>(
        &mut self,
        now: Now,
        changes: Vec<OutboxChange>,
        filter_of: impl Fn(GroupKey) -> Option<&'g SharedFilter>,
    ) {
        let gone: Vec<u64> = changes.iter().filter_map(OutboxChange::gone).collect();
        for change in changes {
            match change {
                OutboxChange::Queued { number, copy } => {
                    if !gone.contains(&number) {
                        let share = copy.share;
                        let share = share.and_then(|share| Some((filter_of(share.group)?, share.published)));
                        self.put(&SessionKind::Message(number), record::message(now, &copy, share));
                    }
                }
                OutboxChange::Sent { order, packet_id, number } => {
                    if !gone.contains(&number) {
                        self.put(&SessionKind::Inflight(order), record::inflight(packet_id, number));
                    }
                }
                OutboxChange::Landed { order, number } => {
                    self.set(&SessionKind::Inflight(order), None);
                    self.set(&SessionKind::Message(number), None);
                }
                OutboxChange::Dropped { number } => self.set(&SessionKind::Message(number), None),
                OutboxChange::Released { order, packet_id } => {
                    self.put(&SessionKind::Released(order), record::released(packet_id));
                }
                OutboxChange::Completed { order } => self.set(&SessionKind::Released(order), None),
            }
        }
    }

    pub(crate) fn received(&mut self, packet_id: PacketId, reason: Option<ReasonCode>) {
        self.set(&SessionKind::Received(packet_id), reason.map(record::received));
    }

    fn put(&mut self, kind: &SessionKind, value: bytes::Bytes) {
        self.set(kind, Some(value));
    }

    fn set(&mut self, kind: &SessionKind, value: Option<bytes::Bytes>) {
        let key = key::of_record(&self.prefix, kind);
        self.changes.push(match value {
            Some(value) => StoreChange::put(key, value),
            None => StoreChange::Delete { key },
        });
    }
}

/// A session as the disk has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredSession {
    pub(crate) device: Device,
    pub(crate) head: Head,
    /// Each with whether retained messages are owed for it.
    pub(crate) subscriptions: Vec<(Filter, Subscription, bool)>,
    /// Sent and not acknowledged: orders, in which they are, packet ids, numbers and messages.
    pub(crate) inflight: Vec<(u64, PacketId, u64, StoredCopy)>,
    /// Not sent: numbers, in which order they are, and messages.
    pub(crate) queue: Vec<(u64, StoredCopy)>,
    /// Waiting for PUBCOMP: orders, in which they are, and packet ids.
    pub(crate) released: Vec<(u64, PacketId)>,
    pub(crate) received: Vec<(PacketId, ReasonCode)>,
    /// Records that were passed over: this build cannot read them, or what they belong to is not there.
    pub(crate) unreadable: u64,
}

/// A message of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredCopy {
    pub(crate) copy: LocalCopy,
    /// Through which shared subscription it came, and how it was published.
    pub(crate) share: Option<(SharedFilter, QoS)>,
}

impl StoredSession {
    /// Reads all records of one session, in the order of their keys. `None` if nobody can say whose it is, or for how long it is kept.
    pub(crate) fn read(now: Now, records: &[StoreRecord]) -> Option<Self> {
        let mut read = Reading::default();
        for StoreRecord { key, value } in records {
            let known = key::read(key).and_then(|(device, kind)| {
                read.device = Some(device);
                read.record(now, kind, value)
            });
            read.unreadable += u64::from(known.is_none());
        }
        read.finish()
    }
}

#[derive(Default)]
struct Reading {
    device: Option<Device>,
    head: Option<Head>,
    subscriptions: Vec<(Filter, Subscription, bool)>,
    messages: BTreeMap<u64, StoredCopy>,
    inflight: Vec<(u64, PacketId, u64)>,
    released: Vec<(u64, PacketId)>,
    received: Vec<(PacketId, ReasonCode)>,
    unreadable: u64,
}

impl Reading {
    fn record(&mut self, now: Now, kind: SessionKind, value: &bytes::Bytes) -> Option<()> {
        match kind {
            SessionKind::Head => self.head = Some(Head::decode(value)?),
            SessionKind::Subscription(_) => self.subscriptions.push(record::decode_subscription(value)?),
            SessionKind::Message(number) => {
                let (copy, share) = record::decode_message(now, value)?;
                self.messages.insert(number, StoredCopy { copy, share });
            }
            SessionKind::Inflight(order) => {
                let (packet_id, number) = record::decode_inflight(value)?;
                self.inflight.push((order, packet_id, number));
            }
            SessionKind::Released(order) => self.released.push((order, record::decode_released(value)?)),
            SessionKind::Received(packet_id) => {
                self.received.push((packet_id, record::decode_received(value)?));
            }
        }
        Some(())
    }

    fn finish(self) -> Option<StoredSession> {
        let Self { device, head, subscriptions, mut messages, inflight, released, received, mut unreadable } =
            self;
        let mut sent = Vec::with_capacity(inflight.len());
        for (order, packet_id, number) in inflight {
            match messages.remove(&number) {
                Some(copy) => sent.push((order, packet_id, number, copy)),
                None => unreadable += 1,
            }
        }
        Some(StoredSession {
            device: device?,
            head: head?,
            subscriptions,
            inflight: sent,
            queue: messages.into_iter().collect(),
            released,
            received,
            unreadable,
        })
    }
}
