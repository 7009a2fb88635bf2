//! What a person who follows single devices reads in the log. Nothing here is per message.

use std::time::Duration;

use roost_wire::{BroadcastError, Device, SessionId, Topic};

use crate::authentication::UserName;
use crate::{ConnectionId, Count};

/// One thing that happened to a device's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Its CONNECT was accepted.
    Connected {
        /// Who.
        device: Device,
        /// The session's number within this gateway's run.
        session: SessionId,
    },
    /// A connection that was accepted has ended.
    Closed {
        /// Whose.
        device: Device,
        /// The session's number within this gateway's run.
        session: SessionId,
        /// Why.
        why: Count,
    },
    /// A connection ended before its CONNECT was accepted.
    Refused {
        /// Who, if it said so and may be called that.
        device: Option<Device>,
        /// Why.
        why: Count,
    },
    /// A client could not show who it is, before its CONNECT was accepted or again later: the connection ends.
    LoginRefused {
        /// On which connection.
        connection: ConnectionId,
        /// Which device, if it said so and may be called that.
        device: Option<Device>,
        /// Which user it said to be, if it came to that.
        user: Option<UserName>,
        /// Why.
        why: Count,
    },
    /// A session was asked for, or could not be, since its device may have been elsewhere.
    SessionFetched {
        /// Whose.
        device: Device,
        /// What became of it.
        outcome: Count,
        /// How long its device waited for that; none if it was not asked for.
        took: Option<Duration>,
    },
    /// A session that came from another gateway is not readable: of another version, most likely.
    SessionUnreadable {
        /// Whose.
        device: Device,
        /// What is wrong with it.
        why: String,
    },
    /// Records of the store were passed over: another build wrote them, most likely.
    StoreUnreadable {
        /// Whose, if it is known.
        device: Option<Device>,
        /// Which.
        what: String,
    },
    /// A CONNECT is about to be refused, since clients take over this id from each other again and again.
    SharedClientId {
        /// Which id.
        device: Device,
        /// The connection that is refused.
        newcomer: ConnectionId,
        /// The one that stays, if it is at this gateway.
        holder: Option<ConnectionId>,
    },
    /// A publish was refused that left its client connected.
    PublishRefused {
        /// Whose.
        device: Device,
        /// Why.
        why: Count,
    },
    /// A broadcast of a service or of another gateway's device was dropped.
    BroadcastDropped {
        /// Why.
        why: Count,
        /// Its topic, as far as it could be read.
        topic: Option<Topic>,
        /// What is wrong with it.
        error: Option<BroadcastError>,
    },
}

impl Notice {
    /// Whose connection it is.
    #[must_use]
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Connected { device, .. }
            | Self::Closed { device, .. }
            | Self::SessionFetched { device, .. }
            | Self::SessionUnreadable { device, .. }
            | Self::SharedClientId { device, .. }
            | Self::PublishRefused { device, .. } => Some(device),
            Self::Refused { device, .. }
            | Self::LoginRefused { device, .. }
            | Self::StoreUnreadable { device, .. } => device.as_ref(),
            Self::BroadcastDropped { .. } => None,
        }
    }
}
