//! What goes into the broker's core.

use super::identity::{ChannelNumber, ConnectionId, Lsn};
use super::operation::Operation;
use std::sync::Arc;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A client was authenticated and asks for the virtual host. Answered by `Opened` or a connection exception.
    ConnectionOpened {
        /// Never used before in this run.
        connection: ConnectionId,
        /// The user it authenticated as.
        user: Arc<str>,
    },
    /// The client asks to close. Answered by `Closed`, when its exclusive queues are gone.
    ConnectionClosing {
        /// Which.
        connection: ConnectionId,
    },
    /// The connection is gone; what it has not acknowledged goes back to the queues. No answer.
    ConnectionLost {
        /// Which.
        connection: ConnectionId,
    },
    /// A channel's operation.
    Operation {
        /// Whose.
        connection: ConnectionId,
        /// Its channel.
        channel: ChannelNumber,
        /// What.
        operation: Operation,
    },
    /// Deliveries were written to the connection's socket: its window opens by so much.
    Written {
        /// Which.
        connection: ConnectionId,
        /// Bytes, as counted by [`Delivery::cost_bytes`](super::Delivery::cost_bytes).
        bytes: usize,
    },
    /// Every log record up to this one is safe on disk.
    Synced(Lsn),
    /// The disk is full, or too far behind: publishers are to be blocked (true), or it has recovered (false).
    LogStalled(bool),
    /// Only time passed. Wanted at [`Broker::next_timeout`](super::Broker::next_timeout).
    Tick,
}
