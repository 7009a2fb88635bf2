//! What the broker counts, and what it tells about a queue.

use super::exception::ReplyCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a message left a queue without being acknowledged; the `reason` of `x-death` when it is dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeathReason {
    /// Its lifetime ended.
    Expired,
    /// A consumer rejected it, or a full queue with `reject-publish-dlx` did.
    Rejected,
    /// The queue was full, and it was the oldest; or a full queue with `reject-publish-dlx` refused it.
    MaxLength,
    /// It came back more often than `x-delivery-limit`.
    DeliveryLimit,
}

impl DeathReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Expired, Self::Rejected, Self::MaxLength, Self::DeliveryLimit];

    /// Its name in `x-death`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// Why a message was dropped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// No queue wanted it, and its publisher did not ask for it back.
    Unroutable,
    /// It died in a queue without a dead-letter exchange.
    Died(DeathReason),
    /// It died, and its dead-letter exchange is not there or has no queue for it.
    DeadLetterUnroutable,
    /// It died, and would have come to a queue it died in before, with nobody rejecting it in between.
    DeadLetterCycle,
    /// Its dead-letter queue refused it, being full.
    DeadLetterRefused,
    /// Its queue was deleted.
    QueueDeleted,
    /// Its queue was purged.
    Purged,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Unroutable,
        Self::Died(DeathReason::Expired),
        Self::Died(DeathReason::Rejected),
        Self::Died(DeathReason::MaxLength),
        Self::Died(DeathReason::DeliveryLimit),
        Self::DeadLetterUnroutable,
        Self::DeadLetterCycle,
        Self::DeadLetterRefused,
        Self::QueueDeleted,
        Self::Purged,
    ];

    /// Its name, as metrics write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unroutable => "unroutable",
            Self::Died(DeathReason::Expired) => "expired",
            Self::Died(DeathReason::Rejected) => "rejected",
            Self::Died(DeathReason::MaxLength) => "maxlen",
            Self::Died(DeathReason::DeliveryLimit) => "delivery_limit",
            Self::DeadLetterUnroutable => "dead_letter_unroutable",
            Self::DeadLetterCycle => "dead_letter_cycle",
            Self::DeadLetterRefused => "dead_letter_refused",
            Self::QueueDeleted => "queue_deleted",
            Self::Purged => "purged",
        }
    }
}

/// Everything counted since the broker started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections opened.
    pub connections_opened: u64,
    /// Connections refused at the bound.
    pub connections_refused: u64,
    /// Channels opened.
    pub channels_opened: u64,
    /// Messages published to an exchange that was there.
    pub published: u64,
    /// Publishes confirmed.
    pub confirmed: u64,
    /// Publishes refused (`basic.nack`), because a queue was full.
    pub refused: u64,
    /// Messages returned as unroutable.
    pub returned: u64,
    /// Deliveries, redeliveries among them.
    pub delivered: u64,
    /// Deliveries with the redelivered flag.
    pub redelivered: u64,
    /// Acknowledgements, those of consumers that need none among them.
    pub acknowledged: u64,
    /// Messages put back to their place.
    pub requeued: u64,
    /// Messages dead-lettered, by reason.
    pub dead_lettered: BTreeMap<DeathReason, u64>,
    /// Messages dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Exceptions raised, by reply code.
    pub exceptions: BTreeMap<ReplyCode, u64>,
    /// Connections told that they are blocked.
    pub blocked: u64,
    /// Log records written.
    pub logged: u64,
    /// Bytes of all messages in memory, as the bound counts them.
    pub memory_bytes: u64,
    /// Connections open now.
    pub connections: u64,
}

impl Counters {
    pub(crate) fn drop_message(&mut self, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }
}

/// One queue's figures; totals count from the broker's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Its name.
    pub name: Arc<str>,
    /// It survives a restart.
    pub durable: bool,
    /// It belongs to one connection.
    pub exclusive: bool,
    /// Messages that wait to be delivered.
    pub ready: u64,
    /// Bytes of their bodies.
    pub ready_bytes: u64,
    /// Messages delivered and not acknowledged.
    pub unacknowledged: u64,
    /// Consumers.
    pub consumers: u64,
    /// Messages put into it.
    pub published_total: u64,
    /// Deliveries, redeliveries among them.
    pub delivered_total: u64,
    /// Redeliveries.
    pub redelivered_total: u64,
    /// Acknowledgements.
    pub acknowledged_total: u64,
    /// Messages put back to their place.
    pub requeued_total: u64,
    /// Messages dead-lettered from it.
    pub dead_lettered_total: u64,
    /// Messages dropped from it: expired, rejected or too many, with no dead-letter exchange.
    pub dropped_total: u64,
    /// Messages it refused, being full.
    pub refused_total: u64,
}
