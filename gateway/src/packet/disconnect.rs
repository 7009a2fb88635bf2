//! DISCONNECT: the last packet, in MQTT 5 from either side.

use super::{ReasonCode, Text, UserProperty};

/// A DISCONNECT packet. In 3.1.1 only a client sends one, and it says nothing but [`ReasonCode::Success`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<DisconnectProperties>>,
}

/// The properties of a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisconnectProperties {
    /// A new life of the session after the connection in seconds; only from a client [MQTT-3.14.2-2]. Whether it may
    /// be other than 0 depends on the CONNECT; the session checks that.
    pub session_expiry_interval_s: Option<u32>,
    /// For people to read.
    pub reason_string: Option<Text>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
    /// Another server to use; only from a server.
    pub server_reference: Option<Text>,
}
