//! Rules broken on purpose, one at a time: the simulation must find every one of them. No core is changed for it: what is broken
//! is at the seam, where a core's word is read, altered or swallowed, or the limits that it is given.

mod gateway;
mod router;

pub(crate) use gateway::GatewayPlant;
pub(crate) use router::{Fate, RouterPlant};

/// A broken rule. "Down" and "newer" are the two lists of rules in the design: the flow down, and which sighting is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Down 2: the router is told that a record is durable when it is only written.
    AcknowledgeBeforeFsync,
    /// Down 2: a restart of the router forgets the commands that have ended and are told.
    ForgetFinals,
    /// Down 2: a final receipt is published once, and not again when its connection breaks.
    ReceiptsOnce,
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
    /// Down 5: a gateway keeps what it could not deliver for the device's next session.
    KeepForTheNextSession,
    /// Down 6: what a sync lists as in flight does not stay outstanding.
    SyncForgetsTheListed,
    /// Down 6: what a sync does not list stays outstanding.
    SyncKeepsTheMissing,
    /// Down 6: a gateway takes commands that carry another sync number than its own.
    TakeOlderSyncs,
    /// Down 7: gateways deliver for as long as they live, whatever their lease.
    TwoHolders,
    /// Down 7: the router waits for half of the lease before it gives a gateway's commands to another.
    ReassignEarly,
    /// Down 7: the router's mark counts as read when it is written.
    MarkerReadAtOnce,
    /// Down 7: after a restart the router waits for nobody's sync.
    ForwardBeforeSyncs,
    /// Down 8: nobody reports that a device has subscribed.
    NobodyTellsOfSubscribing,
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
    /// Newer 4: the older session is not closed.
    RivalsStayOpen,
    /// Newer 4: "gone" removes the location whoever said it, of whichever session.
    ForgetWithoutCompare,
    /// Newer 5: what an announcement does not name is not removed.
    AnnouncementsOnlyAdd,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::AcknowledgeBeforeFsync,
        Self::ForgetFinals,
        Self::ReceiptsOnce,
        Self::TakeOlderEpochs,
        Self::TakeOlderEpochsAndSyncs,
        Self::NextHoldAtOnce,
        Self::IgnoreTheWindow,
        Self::DeliverAfterTheEnd,
        Self::AnswersOfOtherHolds,
        Self::KeepForTheNextSession,
        Self::SyncForgetsTheListed,
        Self::SyncKeepsTheMissing,
        Self::TakeOlderSyncs,
        Self::TwoHolders,
        Self::ReassignEarly,
        Self::MarkerReadAtOnce,
        Self::ForwardBeforeSyncs,
        Self::NobodyTellsOfSubscribing,
        Self::BelieveTheVoided,
        Self::LastToArriveWins,
        Self::ClocksAsTheyAre,
        Self::BoundsWithoutTheMoment,
        Self::AskOneOfTwo,
        Self::RivalsStayOpen,
        Self::ForgetWithoutCompare,
        Self::AnnouncementsOnlyAdd,
    ];

    /// The break's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeFsync => "acknowledge-before-fsync",
            Self::ForgetFinals => "forget-finals",
            Self::ReceiptsOnce => "receipts-once",
            Self::TakeOlderEpochs => "take-older-epochs",
            Self::TakeOlderEpochsAndSyncs => "take-older-epochs-and-syncs",
            Self::NextHoldAtOnce => "next-hold-at-once",
            Self::IgnoreTheWindow => "ignore-the-window",
            Self::DeliverAfterTheEnd => "deliver-after-the-end",
            Self::AnswersOfOtherHolds => "answers-of-other-holds",
            Self::KeepForTheNextSession => "keep-for-the-next-session",
            Self::SyncForgetsTheListed => "sync-forgets-the-listed",
            Self::SyncKeepsTheMissing => "sync-keeps-the-missing",
            Self::TakeOlderSyncs => "take-older-syncs",
            Self::TwoHolders => "two-holders",
            Self::ReassignEarly => "reassign-early",
            Self::MarkerReadAtOnce => "marker-read-at-once",
            Self::ForwardBeforeSyncs => "forward-before-syncs",
            Self::NobodyTellsOfSubscribing => "nobody-tells-of-subscribing",
            Self::BelieveTheVoided => "believe-the-voided",
            Self::LastToArriveWins => "last-to-arrive-wins",
            Self::ClocksAsTheyAre => "clocks-as-they-are",
            Self::BoundsWithoutTheMoment => "bounds-without-the-moment",
            Self::AskOneOfTwo => "ask-one-of-two",
            Self::RivalsStayOpen => "rivals-stay-open",
            Self::ForgetWithoutCompare => "forget-without-compare",
            Self::AnnouncementsOnlyAdd => "announcements-only-add",
        }
    }
}
