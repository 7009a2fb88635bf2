//! What the router did, by enumerated kind.

use std::collections::BTreeMap;

use roost_wire::{ReceiptReason, ReceiptState};

use crate::TransferOutcome;

/// Counts since the start. Read by the shell for metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Commands taken into custody.
    pub accepted: u64,
    /// Commands that repeated a message id.
    pub duplicates: u64,
    /// Decisions by kind (forward, ask, park, reject), each with its reason.
    pub decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// Receipts by state and reason, whether or not the sender wanted them.
    pub receipts: BTreeMap<(ReceiptState, &'static str), u64>,
    /// What was dropped, refused or done again, by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Commands put into an inbox, each attempt.
    pub forwarded: u64,
    /// Questions asked (one for all gateways together).
    pub questions: u64,
    /// Devices that several gateways claimed and for which these were asked.
    pub contests: u64,
    /// Sessions that the router had closed.
    pub closes: u64,
    /// Sessions that gateways asked for, by what became of that.
    pub transfers: BTreeMap<TransferOutcome, u64>,
    /// Syncs asked for.
    pub syncs_requested: u64,
    /// Syncs read to their end.
    pub syncs: u64,
    /// Snapshots read to their end.
    pub snapshots: u64,
    /// Leases that lapsed.
    pub lapses: u64,
    /// Answers of devices that are in the queues of those who wait for them.
    pub answers: u64,
}

/// Why something was dropped, refused or is done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// A message on `roost.down` that names no device: dead-lettered only.
    Undecodable,
    /// A report that can't be read.
    UnreadableReport,
    /// A report whose AMQP user is not its gateway's.
    WrongUser,
    /// A report of an incarnation that a newer one has voided.
    VoidedIncarnation,
    /// A sync, heartbeat or answer that was read before.
    Repeated,
    /// A settlement of a hold that is not the current one, and no success.
    StaleSettlement,
    /// A settlement of a command that is not in custody (any more).
    UnknownCommand,
    /// A dead-lettered command that the journal knows.
    ExpiredButKnown,
    /// A list longer than its bound, or with a part missing.
    BrokenList,
    /// A gateway beyond the bound.
    TooManyGateways,
    /// A device forgotten because the location table is full.
    TooManyLocations,
    /// A device that two gateways claim, taken for where it was heard last: too many are being asked for.
    TooManyContests,
    /// A final forgotten before its time.
    ForgottenEarly,
    /// An HTTP request beyond the bound that hears of one command.
    TooManyWatchers,
    /// A command that came back because the inbox is gone.
    InboxGone,
    /// A command whose publication was lost or refused: a sync is asked for.
    PublicationLost,
    /// A publication that the broker refused and that is published again.
    PublishedAgain,
    /// A receipt that is not final and that a queue refused: it is not told there.
    ReceiptRefused,
    /// A letter to `roost.dead` that came back, because no queue is behind it: it is published again until one is.
    NoDeadQueue,
    /// A device's coming or going that a queue refused, and that a newer one of the device has overtaken.
    PresenceOvertaken,
    /// A heartbeat that is not answered since its gateway owes a sync for too long.
    NotSynced,
    /// A device's coming or going that is not published: too much of that is not confirmed.
    PresenceBacklog,
    /// A device's answer that can't be read.
    AnswerUnreadable,
    /// A device's answer that nobody waits for: no command wants one, or it is forgotten.
    AnswerUnexpected,
    /// A device's answer to a command for another device.
    AnswerOfAnother,
    /// A device's answer to a command that has one.
    AnswerRepeated,
    /// A device's answer whose queue is gone.
    AnswerQueueGone,
    /// A device's answer that its queue refused: it is in `roost.dead`.
    AnswerRefused,
    /// A session that came when nobody waited for it any more.
    SessionLate,
    /// A session whose gateway was gone before it was there.
    SessionInboxGone,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Undecodable,
        Self::UnreadableReport,
        Self::WrongUser,
        Self::VoidedIncarnation,
        Self::Repeated,
        Self::StaleSettlement,
        Self::UnknownCommand,
        Self::ExpiredButKnown,
        Self::BrokenList,
        Self::TooManyGateways,
        Self::TooManyLocations,
        Self::TooManyContests,
        Self::ForgottenEarly,
        Self::TooManyWatchers,
        Self::InboxGone,
        Self::PublicationLost,
        Self::PublishedAgain,
        Self::ReceiptRefused,
        Self::NoDeadQueue,
        Self::PresenceOvertaken,
        Self::NotSynced,
        Self::PresenceBacklog,
        Self::AnswerUnreadable,
        Self::AnswerUnexpected,
        Self::AnswerOfAnother,
        Self::AnswerRepeated,
        Self::AnswerQueueGone,
        Self::AnswerRefused,
        Self::SessionLate,
        Self::SessionInboxGone,
    ];

    /// The reason as metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnreadableReport => "unreadable_report",
            Self::WrongUser => "wrong_user",
            Self::VoidedIncarnation => "voided_incarnation",
            Self::Repeated => "repeated",
            Self::StaleSettlement => "stale_settlement",
            Self::UnknownCommand => "unknown_command",
            Self::ExpiredButKnown => "expired_but_known",
            Self::BrokenList => "broken_list",
            Self::TooManyGateways => "too_many_gateways",
            Self::TooManyLocations => "too_many_locations",
            Self::TooManyContests => "too_many_contests",
            Self::ForgottenEarly => "forgotten_early",
            Self::TooManyWatchers => "too_many_watchers",
            Self::InboxGone => "inbox_gone",
            Self::PublicationLost => "publication_lost",
            Self::PublishedAgain => "published_again",
            Self::ReceiptRefused => "receipt_refused",
            Self::NoDeadQueue => "no_dead_queue",
            Self::PresenceOvertaken => "presence_overtaken",
            Self::NotSynced => "not_synced",
            Self::PresenceBacklog => "presence_backlog",
            Self::AnswerUnreadable => "answer_unreadable",
            Self::AnswerUnexpected => "answer_unexpected",
            Self::AnswerOfAnother => "answer_of_another",
            Self::AnswerRepeated => "answer_repeated",
            Self::AnswerQueueGone => "answer_queue_gone",
            Self::AnswerRefused => "answer_refused",
            Self::SessionLate => "session_late",
            Self::SessionInboxGone => "session_inbox_gone",
        }
    }
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: DropReason) {
        *self.drops.entry(reason).or_default() += 1;
    }

    pub(crate) fn transfer(&mut self, outcome: TransferOutcome) {
        *self.transfers.entry(outcome).or_default() += 1;
    }

    pub(crate) fn decision(&mut self, kind: &'static str, reason: &'static str) {
        *self.decisions.entry((kind, reason)).or_default() += 1;
    }

    pub(crate) fn receipt(&mut self, state: ReceiptState, reason: Option<ReceiptReason>) {
        *self.receipts.entry((state, reason.map_or("", reason_text))).or_default() += 1;
    }
}

/// A receipt's reason as receipts and metrics write it.
pub(crate) const fn reason_text(reason: ReceiptReason) -> &'static str {
    match reason {
        ReceiptReason::DeviceAway => "device_away",
        ReceiptReason::DeviceUnknown => "device_unknown",
        ReceiptReason::NoSubscription => "no_subscription",
        ReceiptReason::Asking => "asking",
        ReceiptReason::GatewayUnsure => "gateway_unsure",
        ReceiptReason::Interrupted => "interrupted",
        ReceiptReason::Invalid => "invalid",
        ReceiptReason::LifetimeTooLong => "lifetime_too_long",
        ReceiptReason::TooLarge => "too_large",
        ReceiptReason::MailboxFull => "mailbox_full",
        ReceiptReason::RouterFull => "router_full",
        ReceiptReason::TenantFull => "tenant_full",
        ReceiptReason::DeviceRefused => "device_refused",
        ReceiptReason::PacketTooLarge => "packet_too_large",
        ReceiptReason::DeliveryLimit => "delivery_limit",
        ReceiptReason::ExpiredInQueue => "expired_in_queue",
    }
}
