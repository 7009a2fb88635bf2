//! UNSUBSCRIBE and UNSUBACK.

use super::reader::{PropertyReader, Reader};
use super::sink::Sink;
use super::subscribe::decode_reasons;
use super::{
    AckProperties, DecodeError, Diagnostics, PacketId, Property, ProtocolVersion, ReasonCode, Text,
    UserProperty,
};

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

impl Unsubscribe {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => None,
            ProtocolVersion::V5 => UnsubscribeProperties::decode(reader.properties()?)?,
        };
        if reader.is_empty() {
            return Err(DecodeError::NoFilters(reader.packet_type));
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            let max = reader.limits.filters_max;
            if filters.len() >= max as usize {
                return Err(DecodeError::TooManyFilters { packet_type: reader.packet_type, max });
            }
            filters.push(reader.topic_filter()?);
        }
        Ok(Self { packet_id, filters, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, sink: &mut dyn Sink) {
        sink.u16(self.packet_id.value());
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| {
                if let Some(properties) = &self.properties {
                    sink.user_properties(&properties.user_properties);
                }
            });
        }
        for filter in &self.filters {
            sink.field(filter.as_bytes());
        }
    }
}

impl UnsubscribeProperties {
    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                other => return Err(reader.not_allowed(other)),
            }
        }
        Ok(Some(decoded))
    }
}

impl Unsuback {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => {
                Ok(Self { packet_id, reasons: Vec::new(), properties: None })
            }
            ProtocolVersion::V5 => {
                let properties = AckProperties::decode(reader.properties()?)?;
                Ok(Self { packet_id, reasons: decode_reasons(reader, version)?, properties })
            }
        }
    }

    pub(super) fn encode(&self, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u16(self.packet_id.value());
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| AckProperties::encode(self.properties.as_deref(), diagnostics, sink));
            for reason in &self.reasons {
                sink.u8(reason.byte());
            }
        }
    }
}
