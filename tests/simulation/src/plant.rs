//! Rules broken on purpose, one at a time: the simulation must find every one of them. No core is changed for it: what is broken
//! is at the seam, where a core's word is read, altered or swallowed, or the limits that it is given.

mod gateway;
mod router;

pub(crate) use gateway::{Fate as GatewayFate, GatewayPlant};
pub(crate) use router::{Fate as RouterFate, RouterPlant};

/// A copy of a command is for whichever session of its device a gateway has.
const ANY_SESSION: u64 = 1 << 52;

/// A broken rule. "Down" and "newer" are the two lists of rules in the design: the flow down, and which sighting is newer. "Doubt" stands
/// between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Down 1: the shard queue is not read by one consumer at a time: while the broker has not found out that one is gone, it and the
    /// next get commands in turn.
    SeveralConsumers,
    /// Down 2: the router is told that a record is durable when it is only written.
    AcknowledgeBeforeFsync,
    /// Down 2: a restart of the router forgets the commands that have ended and are told.
    ForgetFinals,
    /// Down 2: a final receipt is published once, and not again when its connection breaks.
    ReceiptsOnce,
    /// Down 2: what has expired in the shard queue is taken for news, also where it is in the journal already.
    DeadLettersUnchecked,
    /// Down 3: commands go to where their device was last, also when it is known to be away.
    ForwardToTheAway,
    /// Down 3: where it is decided to ask, nobody is asked.
    NeverAsk,
    /// Down 4: a gateway takes commands of an older hold as if they were the newest one's.
    TakeOlderEpochs,
    /// Down 4, and 6: the same, and a gateway takes commands that carry another sync number than its own.
    TakeOlderEpochsAndSyncs,
    /// Down 4: the next hold opens as soon as the device is seen elsewhere, while the last one has commands outstanding.
    NextHoldAtOnce,
    /// Down 4: more commands of a device are at its gateway than its window allows.
    IgnoreTheWindow,
    /// Down 4: a gateway delivers what comes behind the first answer other than delivered or sent.
    DeliverAfterTheEnd,
    /// Down 5: an answer of another hold counts for the present one.
    AnswersOfOtherHolds,
    /// Down 5: that a command was delivered in another hold than the present one does not count.
    DeliveredOfThisHoldOnly,
    /// Down 5: where no answer comes in time, the router sends again by itself.
    ResendAtTimeout,
    /// Down 5: a gateway keeps what it could not deliver for the device's next session.
    KeepForTheNextSession,
    /// Down 6: a gateway's sync does not wait until what it has settled before is in the queue.
    SyncOvertakes,
    /// Down 6: what a sync lists as in flight does not stay outstanding.
    SyncForgetsTheListed,
    /// Down 6: what a sync does not list stays outstanding.
    SyncKeepsTheMissing,
    /// Down 6: a gateway takes commands that carry another sync number than its own.
    TakeOlderSyncs,
    /// Down 7: gateways deliver for as long as they live, whatever their lease.
    TwoHolders,
    /// Down 7: what a gateway could not write before its lease lapsed it writes when it has a lease again.
    KeepWhenLapsed,
    /// Down 7: the router waits for half of the lease before it gives a gateway's commands to another.
    ReassignEarly,
    /// Down 7: the router's mark counts as read when it is written.
    MarkerReadAtOnce,
    /// Down 7: after a restart the router waits for nobody's sync.
    ForwardBeforeSyncs,
    /// Down 8: nobody reports that a device has subscribed.
    NobodyTellsOfSubscribing,
    /// Down 8: that a device has subscribed is said ahead of the answer that it belongs to.
    SubscribedAhead,
    /// Down 8: a later command goes ahead of one that has met no subscription.
    OvertakeTheUnsubscribed,
    /// Down 9: a gateway tells the sender that a command was delivered.
    GatewaysTellSenders,
    /// Doubt: every gateway gets a copy of the command instead of the question.
    CopiesInDoubt,
    /// Newer 1: what a gateway's earlier run says counts for its present one.
    BelieveTheVoided,
    /// Newer 1: not the gateway's own clock says when a session began, but when the router reads of it.
    LastToArriveWins,
    /// Newer 2: clocks are compared as if all of them showed the same.
    ClocksAsTheyAre,
    /// Newer 2: one gateway's bounds do not hold what happened: they are off by seconds.
    BoundsWithoutTheMoment,
    /// Newer 3: of two gateways that claim a device one is not asked.
    AskOneOfTwo,
    /// Newer 3: that a session is gone does not count while two gateways are asked about its device.
    GoneIgnoredInAQuestion,
    /// Newer 4: the older session is not closed.
    RivalsStayOpen,
    /// Newer 4: "gone" removes the location whoever said it, of whichever session.
    ForgetWithoutCompare,
    /// Newer 5: what an announcement does not name is not removed.
    AnnouncementsOnlyAdd,
    /// Newer 5: an announcement names sessions that were, besides those that are.
    AnnounceHistory,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 40] = [
        Self::SeveralConsumers,
        Self::AcknowledgeBeforeFsync,
        Self::ForgetFinals,
        Self::ReceiptsOnce,
        Self::DeadLettersUnchecked,
        Self::ForwardToTheAway,
        Self::NeverAsk,
        Self::TakeOlderEpochs,
        Self::TakeOlderEpochsAndSyncs,
        Self::NextHoldAtOnce,
        Self::IgnoreTheWindow,
        Self::DeliverAfterTheEnd,
        Self::AnswersOfOtherHolds,
        Self::DeliveredOfThisHoldOnly,
        Self::ResendAtTimeout,
        Self::KeepForTheNextSession,
        Self::SyncOvertakes,
        Self::SyncForgetsTheListed,
        Self::SyncKeepsTheMissing,
        Self::TakeOlderSyncs,
        Self::TwoHolders,
        Self::KeepWhenLapsed,
        Self::ReassignEarly,
        Self::MarkerReadAtOnce,
        Self::ForwardBeforeSyncs,
        Self::NobodyTellsOfSubscribing,
        Self::SubscribedAhead,
        Self::OvertakeTheUnsubscribed,
        Self::GatewaysTellSenders,
        Self::CopiesInDoubt,
        Self::BelieveTheVoided,
        Self::LastToArriveWins,
        Self::ClocksAsTheyAre,
        Self::BoundsWithoutTheMoment,
        Self::AskOneOfTwo,
        Self::GoneIgnoredInAQuestion,
        Self::RivalsStayOpen,
        Self::ForgetWithoutCompare,
        Self::AnnouncementsOnlyAdd,
        Self::AnnounceHistory,
    ];

    /// The break's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SeveralConsumers => "several-consumers",
            Self::AcknowledgeBeforeFsync => "acknowledge-before-fsync",
            Self::ForgetFinals => "forget-finals",
            Self::ReceiptsOnce => "receipts-once",
            Self::DeadLettersUnchecked => "dead-letters-unchecked",
            Self::ForwardToTheAway => "forward-to-the-away",
            Self::NeverAsk => "never-ask",
            Self::TakeOlderEpochs => "take-older-epochs",
            Self::TakeOlderEpochsAndSyncs => "take-older-epochs-and-syncs",
            Self::NextHoldAtOnce => "next-hold-at-once",
            Self::IgnoreTheWindow => "ignore-the-window",
            Self::DeliverAfterTheEnd => "deliver-after-the-end",
            Self::AnswersOfOtherHolds => "answers-of-other-holds",
            Self::DeliveredOfThisHoldOnly => "delivered-of-this-hold-only",
            Self::ResendAtTimeout => "resend-at-timeout",
            Self::KeepForTheNextSession => "keep-for-the-next-session",
            Self::SyncOvertakes => "sync-overtakes",
            Self::SyncForgetsTheListed => "sync-forgets-the-listed",
            Self::SyncKeepsTheMissing => "sync-keeps-the-missing",
            Self::TakeOlderSyncs => "take-older-syncs",
            Self::TwoHolders => "two-holders",
            Self::KeepWhenLapsed => "keep-when-lapsed",
            Self::ReassignEarly => "reassign-early",
            Self::MarkerReadAtOnce => "marker-read-at-once",
            Self::ForwardBeforeSyncs => "forward-before-syncs",
            Self::NobodyTellsOfSubscribing => "nobody-tells-of-subscribing",
            Self::SubscribedAhead => "subscribed-ahead",
            Self::OvertakeTheUnsubscribed => "overtake-the-unsubscribed",
            Self::GatewaysTellSenders => "gateways-tell-senders",
            Self::CopiesInDoubt => "copies-in-doubt",
            Self::BelieveTheVoided => "believe-the-voided",
            Self::LastToArriveWins => "last-to-arrive-wins",
            Self::ClocksAsTheyAre => "clocks-as-they-are",
            Self::BoundsWithoutTheMoment => "bounds-without-the-moment",
            Self::AskOneOfTwo => "ask-one-of-two",
            Self::GoneIgnoredInAQuestion => "gone-ignored-in-a-question",
            Self::RivalsStayOpen => "rivals-stay-open",
            Self::ForgetWithoutCompare => "forget-without-compare",
            Self::AnnouncementsOnlyAdd => "announcements-only-add",
            Self::AnnounceHistory => "announce-history",
        }
    }
}
