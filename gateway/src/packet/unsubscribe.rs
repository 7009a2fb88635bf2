//! UNSUBSCRIBE and UNSUBACK.

use super::{AckProperties, PacketId, ReasonCode, Text, UserProperty};

/// An UNSUBSCRIBE packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Named again by the UNSUBACK.
    pub packet_id: PacketId,
    /// What to unsubscribe from; at least one [MQTT-3.10.3-2], none empty.
    pub filters: Vec<Text>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<UnsubscribeProperties>>,
}

/// The properties of an UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnsubscribeProperties {
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}

/// An UNSUBACK packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback {
    /// The UNSUBSCRIBE it belongs to.
    pub packet_id: PacketId,
    /// MQTT 5: one for each filter, in their order [MQTT-3.11.3-1]. 3.1.1 sends none.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<AckProperties>>,
}
