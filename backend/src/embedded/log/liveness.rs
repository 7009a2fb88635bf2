//! Which records still count, and in which segment they are: what compaction goes by.

use super::record::{BindingKey, Record};
use crate::embedded::core::{Position, QueueId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The live records of a log. Fed with every record in its order, it says how much of each segment still counts.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Liveness {
    messages: BTreeMap<(QueueId, Position), Share>,
    exchanges: HashMap<Arc<str>, Share>,
    queues: HashMap<QueueId, Share>,
    bindings: HashMap<BindingKey, Share>,
    live_bytes: BTreeMap<u64, u64>,
}

/// A live thing's bytes in a segment.
#[derive(Clone, Copy, Debug)]
struct Share {
    segment: u64,
    bytes: u64,
}

impl Liveness {
    /// Notes a record that was appended to a segment, `bytes` long.
    pub(in crate::embedded) fn note(&mut self, segment: u64, record: &Record, bytes: u64) {
        let share = Share { segment, bytes };
        match record {
            Record::ExchangeDeclared(definition) => {
                let old = self.exchanges.insert(Arc::clone(&definition.name), share);
                self.moved(old, share);
            }
            Record::ExchangeDeleted { exchange } => {
                let old = self.exchanges.remove(exchange);
                self.freed(old);
                self.drop_bindings(|binding| binding.exchange == *exchange);
            }
            Record::QueueDeclared { queue, .. } => {
                let old = self.queues.insert(*queue, share);
                self.moved(old, share);
            }
            Record::QueueDeleted { queue } => self.drop_queue(*queue),
            Record::Bound(binding) => {
                let old = self.bindings.insert(binding.key(), share);
                self.moved(old, share);
            }
            Record::Unbound(binding) => {
                let old = self.bindings.remove(&binding.key());
                self.freed(old);
            }
            Record::Published { placements, .. } => {
                let share = Share { segment, bytes: bytes / placements.len().max(1) as u64 };
                for place in placements {
                    let old = self.messages.insert(*place, share);
                    self.moved(old, share);
                }
            }
            Record::Removed { queue, position } => {
                let old = self.messages.remove(&(*queue, *position));
                self.freed(old);
            }
            // It counts with its message.
            Record::Returned { .. } => {}
        }
    }

    /// What of a record of that segment is to be appended again before the segment goes; none: nothing.
    pub(in crate::embedded) fn surviving(&self, segment: u64, record: Record) -> Option<Record> {
        let here = |share: Option<&Share>| share.is_some_and(|share| share.segment == segment);
        match record {
            Record::ExchangeDeclared(ref definition) => {
                here(self.exchanges.get(&definition.name)).then_some(record)
            }
            Record::QueueDeclared { queue, .. } => here(self.queues.get(&queue)).then_some(record),
            Record::Bound(ref binding) => here(self.bindings.get(&binding.key())).then_some(record),
            Record::Published { mut placements, arrived, message } => {
                placements.retain(|place| here(self.messages.get(place)));
                (!placements.is_empty()).then_some(Record::Published { placements, arrived, message })
            }
            Record::Returned { queue, position, .. } => {
                self.messages.contains_key(&(queue, position)).then_some(record)
            }
            // What they ended is in this segment or an older one, and goes before or with them.
            Record::ExchangeDeleted { .. }
            | Record::QueueDeleted { .. }
            | Record::Unbound(_)
            | Record::Removed { .. } => None,
        }
    }

    /// Bytes of a segment that count.
    pub(in crate::embedded) fn live_bytes(&self, segment: u64) -> u64 {
        self.live_bytes.get(&segment).copied().unwrap_or(0)
    }

    /// Bytes of all segments that count.
    pub(in crate::embedded) fn total_live_bytes(&self) -> u64 {
        self.live_bytes.values().sum()
    }

    fn moved(&mut self, old: Option<Share>, new: Share) {
        self.freed(old);
        *self.live_bytes.entry(new.segment).or_default() += new.bytes;
    }

    fn freed(&mut self, old: Option<Share>) {
        let Some(old) = old else { return };
        if let Some(live) = self.live_bytes.get_mut(&old.segment) {
            *live -= old.bytes;
            if *live == 0 {
                self.live_bytes.remove(&old.segment);
            }
        }
    }

    fn drop_queue(&mut self, queue: QueueId) {
        let old = self.queues.remove(&queue);
        self.freed(old);
        let range = (queue, Position(0))..=(queue, Position(u64::MAX));
        let places: Vec<_> = self.messages.range(range).map(|(place, _)| *place).collect();
        for place in places {
            let old = self.messages.remove(&place);
            self.freed(old);
        }
        self.drop_bindings(|binding| binding.queue == queue);
    }

    fn drop_bindings(&mut self, gone: impl Fn(&BindingKey) -> bool) {
        let dropped: Vec<Share> =
            self.bindings.extract_if(|binding, _| gone(binding)).map(|(_, share)| share).collect();
        for share in dropped {
            self.freed(Some(share));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::core::{BasicProperties, Message, UnixMillis};

    fn published(places: &[(u64, u64)]) -> Record {
        let message = Message {
            exchange: "".into(),
            routing_key: "q".into(),
            properties: BasicProperties::default(),
            body: bytes::Bytes::new(),
        };
        Record::Published {
            placements: places.iter().map(|(q, p)| (QueueId(*q), Position(*p))).collect(),
            arrived: UnixMillis(0),
            message: Arc::new(message),
        }
    }

    fn removed(queue: u64, position: u64) -> Record {
        Record::Removed { queue: QueueId(queue), position: Position(position) }
    }

    #[test]
    fn what_is_acknowledged_counts_no_more() {
        let mut liveness = Liveness::default();
        liveness.note(1, &published(&[(1, 1), (2, 1)]), 100);
        assert_eq!(liveness.live_bytes(1), 100);
        liveness.note(2, &removed(1, 1), 20);
        assert_eq!(liveness.live_bytes(1), 50);
        let survivor = liveness.surviving(1, published(&[(1, 1), (2, 1)]));
        assert_eq!(survivor, Some(published(&[(2, 1)])));
        liveness.note(2, &removed(2, 1), 20);
        assert_eq!((liveness.live_bytes(1), liveness.total_live_bytes()), (0, 0));
        assert_eq!(liveness.surviving(1, published(&[(1, 1), (2, 1)])), None);
        assert_eq!(liveness.surviving(2, removed(1, 1)), None);
    }

    #[test]
    fn what_was_written_again_counts_where_it_is_now() {
        let mut liveness = Liveness::default();
        liveness.note(1, &published(&[(1, 1)]), 100);
        liveness.note(3, &published(&[(1, 1)]), 100);
        assert_eq!((liveness.live_bytes(1), liveness.live_bytes(3)), (0, 100));
        assert_eq!(liveness.surviving(1, published(&[(1, 1)])), None);
    }

    #[test]
    fn a_deleted_queue_takes_its_messages_along() {
        let mut liveness = Liveness::default();
        liveness.note(1, &published(&[(1, 1)]), 10);
        liveness.note(1, &published(&[(2, 1)]), 10);
        liveness.note(1, &Record::QueueDeleted { queue: QueueId(1) }, 10);
        assert_eq!(liveness.total_live_bytes(), 10);
    }
}
