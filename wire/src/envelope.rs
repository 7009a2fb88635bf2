//! Messages with a payload of somebody's: events on the way up, commands on the way down, broadcasts to all gateways, each with its headers.
//!
//! The payload is the body, untouched; what the mesh adds travels in headers named `roost-…` ([`header`]).

mod broadcast;
mod command;
mod delivery;
mod event;
pub mod header;
mod said;
mod session;

pub use broadcast::{Broadcast, BroadcastError, BroadcastOrigin};
pub use command::{CommandError, CommandProblem, CommandRequest, Offline, ReceiptsWanted};
pub use delivery::{Delivery, DeliveryError};
pub use event::{Event, EventError};
pub use session::{SessionArrival, SessionError, SessionHandOver};

/// MQTT's quality of service, as far as the mesh carries it: commands are 0 or 1, and an event at QoS 2 is carried like
/// one at QoS 1 behind its gateway, which takes it in once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once, between a client and its gateway.
    ExactlyOnce,
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> u8 {
        match qos {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        }
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;
    fn try_from(bits: u8) -> Result<Self, Self::Error> {
        match bits {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(format!("{bits} is not a quality of service: 0, 1 or 2")),
        }
    }
}
