//! A hold: one gateway's turn to deliver a device's commands.

use std::collections::BTreeSet;

use roost_wire::{Epoch, GatewayId, Incarnation, LinkId, SessionId};

use crate::Lsn;

/// One gateway's turn.
///
/// ```text
///   open ── first answer other than delivered/sent, location moved, lease lapsed, sync misses some ──► ending
///    │                                                                                                  │
///    └── location moved, nothing outstanding ──► (closed) ◄── every command settled, returned or lapsed ┘
/// ```
/// A new hold, even at the same gateway, opens only when this one is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) gateway: GatewayId,
    pub(crate) incarnation: Incarnation,
    pub(crate) link: LinkId,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    /// Nothing more is given to it.
    pub(crate) is_ending: bool,
    /// What was given to it and is not answered, by place.
    pub(crate) outstanding: BTreeSet<u64>,
    /// Nothing of it is published before this is durable: what was published first must stay first.
    pub(crate) gate: Lsn,
}
