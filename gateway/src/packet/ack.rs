//! PUBACK, PUBREC, PUBREL and PUBCOMP: four packets of one shape.

use super::reader::{PropertyReader, Reader};
use super::sink::{Sink, length_of};
use super::{DecodeError, Diagnostics, PacketId, Property, ProtocolVersion, ReasonCode, Text, UserProperty};

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

impl Ack {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        // MQTT 5 leaves out a reason of success, and an empty property section with it (§3.4.2.1, §3.4.2.2.1).
        if version != ProtocolVersion::V5 || reader.is_empty() {
            return Ok(Self::success(packet_id));
        }
        let reason = reader.reason_code()?;
        let properties = if reader.is_empty() { None } else { AckProperties::decode(reader.properties()?)? };
        Ok(Self { packet_id, reason, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u16(self.packet_id.value());
        if version != ProtocolVersion::V5 {
            return;
        }
        let write =
            |sink: &mut dyn Sink| AckProperties::encode(self.properties.as_deref(), diagnostics, sink);
        let has_properties = length_of(&write) > 0;
        if has_properties || self.reason != ReasonCode::Success {
            sink.u8(self.reason.byte());
        }
        if has_properties {
            sink.properties(&write);
        }
    }
}

impl AckProperties {
    pub(super) fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::ReasonString => decoded.reason_string = Some(reader.text()?),
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                other => return Err(reader.not_allowed(other)),
            }
        }
        Ok(Some(decoded))
    }

    pub(super) fn encode(properties: Option<&Self>, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        if let Some(properties) = properties {
            sink.text_property(Property::ReasonString, diagnostics.reason_string(&properties.reason_string));
            sink.user_properties(diagnostics.user_properties(&properties.user_properties));
        }
    }
}
