//! Sessions that gateways have asked for, since their devices had them elsewhere.
//!
//! ```text
//!                      last seen at a live gateway
//!   wanted ────────────────────────────────────────► moving ──► the session comes: handed on
//!     │                                               ▲   │
//!     │ unknown, or a gateway      one has the newest │   └───► it has none, is lost, is silent: answered
//!     │ may have missed a word                        │
//!     └──────────────────────► finding ───────────────┘
//!                                 └── nobody has one, or nobody can say whose is the newest: answered
//! ```
//! What is moved is the newest for certain. Where that is not so, every copy is forgotten, and the device begins anew: what nobody
//! knows is not guessed.
//!
//! Each ends in one answer, or in the session; a restart forgets all of them, and the gateways' own bound ends the waits. What is
//! here is bounded by [`crate::Limits::transfers_max`].

use std::collections::{BTreeMap, BTreeSet};

use roost_wire::{BootTime, Device, GatewayId, Incarnation, QuestionId, SessionId, SessionRequest};

use crate::clock::Interval;

/// Those that are open, one for a device.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    by_device: BTreeMap<Device, Transfer>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Under which the gateways are asked.
    pub(crate) question: QuestionId,
    /// Who asked for it last.
    pub(crate) asker: Asker,
    /// When the gateways were asked first.
    pub(crate) began: BootTime,
    pub(crate) stage: Stage,
}

/// A gateway that a device waits at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) gateway: GatewayId,
    pub(crate) incarnation: Incarnation,
    pub(crate) request: SessionRequest,
    /// A copy of its own that may be stale.
    pub(crate) held: Option<SessionId>,
    /// When its device was accepted last, on that gateway's clock.
    pub(crate) held_since: Option<BootTime>,
    /// When its CONNECT had come there.
    pub(crate) asked_at: Option<BootTime>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Every gateway is asked whether it has one.
    Finding(Finding),
    /// This gateway is to hand this one over.
    Moving(GatewayId, SessionId),
}

/// The answers so far.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    pub(crate) waiting: BTreeSet<GatewayId>,
    /// Whose sessions there are; one for each gateway at most.
    pub(crate) found: Vec<Held>,
    /// When sessions were accepted that gateways had, and forgot in doubt, on the router's clock.
    pub(crate) forgotten: Vec<Interval>,
    /// Whether one that may have it can't answer.
    pub(crate) is_unsure: bool,
}

/// A session that a gateway has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) gateway: GatewayId,
    pub(crate) session: SessionId,
    pub(crate) is_connected: bool,
    /// When it was accepted, on the router's clock.
    pub(crate) accepted: Interval,
}

/// What became of a session that a gateway asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferOutcome {
    /// It was handed on.
    Moved,
    /// The gateway that asked has the newest copy itself.
    Current,
    /// Nobody has one.
    Nobody,
    /// The gateway that had it is dead, or its lease has lapsed.
    OwnerDead,
    /// The gateway that has it does not move sessions, or not one as long.
    OwnerCannot,
    /// Too many are on their way, here or at the gateway that has it.
    Busy,
    /// The device was seen elsewhere meanwhile, or has asked there.
    Elsewhere,
    /// Nothing came.
    TimedOut,
    /// The gateway that asked has gone on without it.
    GivenUp,
    /// The process that asked is dead.
    AskerDead,
    /// Nobody can say which copy is the newest, or whether there was a newer one: none is moved, and all are forgotten.
    Undecided,
}

impl Transfers {
    pub(crate) fn len(&self) -> usize {
        self.by_device.len()
    }

    pub(crate) fn insert(&mut self, device: Device, transfer: Transfer) {
        self.by_device.insert(device, transfer);
    }

    pub(crate) fn find(&mut self, device: &Device) -> Option<&mut Transfer> {
        self.by_device.get_mut(device)
    }

    /// The one that this question belongs to.
    pub(crate) fn asked(&mut self, device: &Device, question: QuestionId) -> Option<&mut Transfer> {
        self.find(device).filter(|open| open.question == question)
    }

    pub(crate) fn remove(&mut self, device: &Device) -> Option<Transfer> {
        self.by_device.remove(device)
    }

    /// The devices whose session that gateway is to hand over, has been asked for, or has asked for.
    pub(crate) fn with(&self, gateway: &GatewayId) -> Vec<Device> {
        let concerns = |open: &Transfer| {
            open.asker.gateway == *gateway
                || match &open.stage {
                    Stage::Finding(finding) => finding.waiting.contains(gateway),
                    Stage::Moving(from, _) => from == gateway,
                }
        };
        self.by_device.iter().filter(|(_, open)| concerns(open)).map(|(device, _)| device.clone()).collect()
    }
}

impl Finding {
    /// The session that was accepted after all others; none if nobody can say which that is.
    pub(crate) fn newest(&self) -> Option<&Held> {
        self.found.iter().find(|held| {
            let mut others = self.found.iter().filter(|other| other.gateway != held.gateway);
            others.all(|other| held.accepted.is_after(&other.accepted))
        })
    }
}

impl TransferOutcome {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Moved,
        Self::Current,
        Self::Nobody,
        Self::OwnerDead,
        Self::OwnerCannot,
        Self::Busy,
        Self::Elsewhere,
        Self::TimedOut,
        Self::GivenUp,
        Self::AskerDead,
        Self::Undecided,
    ];

    /// As metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Current => "current",
            Self::Nobody => "nobody",
            Self::OwnerDead => "owner_dead",
            Self::OwnerCannot => "owner_cannot",
            Self::Busy => "busy",
            Self::Elsewhere => "elsewhere",
            Self::TimedOut => "timed_out",
            Self::GivenUp => "given_up",
            Self::AskerDead => "asker_dead",
            Self::Undecided => "undecided",
        }
    }
}
