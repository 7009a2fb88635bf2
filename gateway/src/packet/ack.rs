//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one shape.

use super::{PacketId, ReasonCode, Text, UserProperty};

/// The body of a PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The publish it belongs to.
    pub packet_id: PacketId,
    /// MQTT 5 only; 3.1.1 knows only success.
    pub reason: ReasonCode,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<AckProperties>>,
}

impl Ack {
    /// Success, with no properties.
    pub const fn success(packet_id: PacketId) -> Self {
        Self::with_reason(packet_id, ReasonCode::Success)
    }

    /// With a reason code and no properties.
    pub const fn with_reason(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, properties: None }
    }
}

/// The properties of every kind of acknowledgement, SUBACK and UNSUBACK included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckProperties {
    /// For people to read.
    pub reason_string: Option<Text>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}
