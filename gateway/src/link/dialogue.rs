//! What the link and the shards tell each other.

use roost_wire::{
    BootTime, CloseReason, Device, InFlight, LinkId, Present, QuestionId, RouterRun, SessionAnswer,
    SessionHandOver, SessionId, SessionRequest, SettlementItem, Sighting, SyncNumber,
};

/// A word of the link to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToShard {
    /// Commands come through this link from now on; those of an earlier one are dropped.
    Link(LinkId),
    /// Commands may be written until then.
    Lease {
        /// The last moment.
        until: BootTime,
    },
    /// The lease has lapsed: return what is not written yet.
    LeaseLapsed,
    /// Drop commands that carry another number.
    Number(SyncNumber),
    /// List the commands in flight, behind everything said about commands so far: [`FromShard::InFlight`].
    ListInFlight {
        /// The number of the sync it is for.
        number: SyncNumber,
    },
    /// List the connected sessions, behind everything said about sessions so far: [`FromShard::Present`].
    ListPresent,
    /// Answer with [`Sighting::Claim`] or [`Sighting::Absent`].
    Ask {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which device.
        device: Device,
    },
    /// Close this session if it is still connected.
    Close {
        /// Which device.
        device: Device,
        /// Which of its sessions.
        session: SessionId,
        /// What the client is told.
        reason: CloseReason,
        /// Whether what is kept of it is forgotten, also if it is not connected.
        forget: bool,
    },
    /// Resume this session nowhere: it ends with its connection.
    Forget {
        /// Which device.
        device: Device,
        /// Which of its sessions, or one that was resumed from it.
        session: SessionId,
    },
    /// The router moves sessions, or does not.
    Roams(bool),
    /// A new run of the router speaks: what an earlier one knew of the sessions that are kept here, it may not.
    NewRun,
    /// Answer with [`Sighting::HoldsSession`] or [`Sighting::NoSession`].
    FindSession {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which device.
        device: Device,
    },
    /// Give that session away with [`FromShard::Session`], or answer with [`Sighting::NoSession`].
    MoveSession {
        /// Which question.
        question: QuestionId,
        /// In which router run it was asked.
        run: RouterRun,
        /// Which device.
        device: Device,
        /// The session that the router knows of.
        session: SessionId,
    },
    /// The answer to [`Sighting::WantsSession`], if no session comes; `None` if the router can't be asked.
    SessionAnswer {
        /// Which request.
        request: SessionRequest,
        /// Which device.
        device: Device,
        /// What is known.
        answer: Option<SessionAnswer>,
    },
    /// The broker has a session that was given away.
    SessionGiven,
}

/// A word of a shard to the link. What one shard says reaches the router in the order it was said.
#[derive(Debug, Clone, PartialEq)]
pub enum FromShard {
    /// Accepted, gone, claim, absent, or about a session that moves.
    Sighting(Sighting),
    /// A session is given away. [`ToShard::SessionGiven`] says when it is safe.
    Session(Box<SessionHandOver>),
    /// What became of a command, or that a device has subscribed.
    Settlement(SettlementItem),
    /// The answer to [`ToShard::ListInFlight`].
    InFlight {
        /// The number that was asked with.
        number: SyncNumber,
        /// The commands.
        list: Vec<InFlight>,
    },
    /// The answer to [`ToShard::ListPresent`].
    Present(Vec<Present>),
}
