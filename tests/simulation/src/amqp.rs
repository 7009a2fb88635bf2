//! AMQP without sockets: production's broker core, and clients made of production's windows and ledgers.
//!
//! The clients do what those over lapin do, in the same order of frames: declare, then publish with confirms or consume.

pub(crate) mod broker;
pub(crate) mod consumer;
pub(crate) mod declare;
pub(crate) mod publisher;

use roost_backend::embedded::core::{ChannelNumber, Operation, Reply};

/// One TCP connection of an AMQP client; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WireId(pub(crate) u64);

/// What a client writes.
#[derive(Debug)]
pub(crate) enum ToBroker {
    /// It opens the connection, as this user.
    Open { user: &'static str },
    /// An operation of a channel.
    Operation(ChannelNumber, Operation),
    /// It closes the connection; what it wrote before is still read.
    Close,
}

/// What the broker writes.
#[derive(Debug)]
pub(crate) enum FromBroker {
    /// An answer or a message.
    Reply(ChannelNumber, Reply),
    /// It closed the channel or the connection.
    Refused(String),
    /// It reads nothing more of this connection, which has published: its disk is full.
    Blocked,
    /// It reads again.
    Unblocked,
}

/// The channel on which a client declares, and publishes.
pub(crate) const FIRST: ChannelNumber = ChannelNumber(1);
