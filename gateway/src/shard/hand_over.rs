//! A connection on its way from the shard that accepted it to the one that its device belongs to.

use bytes::BytesMut;
use roost_wire::BootTime;

use super::authenticate::Login;
use crate::ConnectionId;
use crate::packet::{Connect, Decoder};

/// A connection whose CONNECT has been read and not answered yet. Opaque: made by one shard, taken by another.
#[derive(Debug)]
pub struct HandOver {
    pub(super) connection: ConnectionId,
    pub(super) decoder: Decoder,
    pub(super) connect: Connect,
    pub(super) login: Option<Box<Login>>,
    pub(super) unread: BytesMut,
    pub(super) opened_at: BootTime,
    pub(super) entropy: u64,
}

impl HandOver {
    /// Which connection it is.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }
}
