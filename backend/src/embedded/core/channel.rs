//! A connection and its channels, as the core sees them.

use super::identity::{ChannelNumber, DeliveryTag, Lsn, QueueId};
use super::queue::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) user: Arc<str>,
    pub(crate) channels: BTreeMap<ChannelNumber, Channel>,
    /// Queues that end with it.
    pub(crate) exclusive: BTreeSet<QueueId>,
    /// Deliveries that are not written yet.
    pub(crate) outgoing_bytes: usize,
    /// It was told that it is blocked.
    pub(crate) blocked: bool,
}

impl Connection {
    pub(crate) fn new(user: Arc<str>) -> Self {
        Self {
            user,
            channels: BTreeMap::new(),
            exclusive: BTreeSet::new(),
            outgoing_bytes: 0,
            blocked: false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// An exception closed it; it waits for the client's close-ok and ignores the rest.
    pub(crate) closing: bool,
    pub(crate) consumers: BTreeMap<Arc<str>, Consumer>,
    pub(crate) unacknowledged: BTreeMap<DeliveryTag, Unacknowledged>,
    pub(crate) delivered: u64,
    /// Prefetch of consumers to come; 0: no bound.
    pub(crate) consumer_prefetch: u16,
    /// Prefetch of the whole channel; 0: no bound.
    pub(crate) channel_prefetch: u16,
    /// Deliveries to consumers that are unacknowledged: what the prefetch of the channel counts. `basic.get` does not.
    pub(crate) prefetched: usize,
    pub(crate) confirms: Option<Confirms>,
    /// What an empty queue name means.
    pub(crate) last_queue: Option<Arc<str>>,
    /// Answers that wait for the log; later ones wait behind them.
    pub(crate) held: usize,
    pub(crate) tags_drawn: u64,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) queue: QueueId,
    pub(crate) no_ack: bool,
    pub(crate) prefetch: u16,
    pub(crate) unacknowledged: usize,
}

/// A delivery that waits for its acknowledgement.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) queue: QueueId,
    pub(crate) entry: Entry,
    /// The consumer it went to; none for `basic.get`.
    pub(crate) consumer: Option<Arc<str>>,
}

impl Channel {
    pub(crate) fn draw_tag(&mut self) -> DeliveryTag {
        self.delivered += 1;
        DeliveryTag(self.delivered)
    }

    /// Whether one more delivery may go to that consumer now.
    pub(crate) fn has_room(&self, consumer: &Consumer, unacknowledged_max: usize) -> bool {
        if consumer.no_ack {
            return true;
        }
        let below = |count: usize, most: u16| most == 0 || count < usize::from(most);
        below(consumer.unacknowledged, consumer.prefetch)
            && below(self.prefetched, self.channel_prefetch)
            && self.unacknowledged.len() < unacknowledged_max
    }
}

/// The confirms a channel owes, in the order of its publishes.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    published: u64,
    pending: VecDeque<PendingConfirm>,
}

#[derive(Debug)]
struct PendingConfirm {
    tag: DeliveryTag,
    /// What must be on disk before it.
    after: Lsn,
    accepted: bool,
}

/// A run of confirms that one frame can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfirmRun {
    pub(crate) tag: DeliveryTag,
    pub(crate) multiple: bool,
    pub(crate) accepted: bool,
    /// Publishes it answers.
    pub(crate) count: u64,
}

impl Confirms {
    /// Notes a publish that is answered when the log is safe up to `after`.
    pub(crate) fn note(&mut self, after: Lsn, accepted: bool) {
        self.published += 1;
        self.pending.push_back(PendingConfirm { tag: DeliveryTag(self.published), after, accepted });
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes the next run of equal answers that are safe. Publishes are answered in their order, so one that waits
    /// for the disk holds back those behind it; in exchange one frame answers many.
    pub(crate) fn take_run(&mut self, synced: Lsn) -> Option<ConfirmRun> {
        let first = self.pending.front().filter(|first| first.after <= synced)?;
        let accepted = first.accepted;
        let mut run = ConfirmRun { tag: first.tag, multiple: false, accepted, count: 1 };
        self.pending.pop_front();
        while let Some(next) = self.pending.front()
            && next.after <= synced
            && next.accepted == accepted
        {
            run = ConfirmRun { tag: next.tag, multiple: true, accepted, count: run.count + 1 };
            self.pending.pop_front();
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_come_in_runs_and_wait_for_the_disk() {
        let mut confirms = Confirms::default();
        for (after, accepted) in [(1, true), (2, true), (0, false), (3, true), (9, true)] {
            confirms.note(Lsn(after), accepted);
        }
        assert_eq!(confirms.take_run(Lsn(0)), None);
        let run = |tag, multiple, accepted| {
            Some(ConfirmRun { tag: DeliveryTag(tag), multiple, accepted, count: 1 })
        };
        assert_eq!(confirms.take_run(Lsn(1)), run(1, false, true));
        assert_eq!(confirms.take_run(Lsn(1)), None);
        assert_eq!(confirms.take_run(Lsn(3)), run(2, false, true));
        assert_eq!(confirms.take_run(Lsn(3)), run(3, false, false));
        assert_eq!(confirms.take_run(Lsn(3)), run(4, false, true));
        assert_eq!(confirms.take_run(Lsn(3)), None);
        assert_eq!(confirms.take_run(Lsn(9)), run(5, false, true));
        assert!(confirms.is_settled());
    }
}
