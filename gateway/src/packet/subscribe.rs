//! SUBSCRIBE and SUBACK.

use super::reader::{PropertyReader, Reader, check_reason_code};
use super::sink::Sink;
use super::{
    AckProperties, DecodeError, Diagnostics, PacketId, Property, ProtocolVersion, QoS, ReasonCode,
    SubscriptionId, Text, UserProperty,
};

// The subscription options [MQTT5 §3.8.3.1].
const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u8 = 4;
const RESERVED: u8 = 0b1100_0000;

const SHARED_PREFIX: &str = "$share/";

/// A SUBSCRIBE packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Named again by the SUBACK.
    pub packet_id: PacketId,
    /// What to subscribe to; at least one [MQTT-3.8.3-2].
    pub filters: Vec<SubscribeFilter>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<SubscribeProperties>>,
}

/// One topic filter with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Not empty. Whether the wildcards are well placed is not checked here: a bad one gets its own answer in the SUBACK.
    pub filter: Text,
    /// The options.
    pub options: SubscribeOptions,
}

/// The subscription options [MQTT5 §3.8.3.1]; 3.1.1 has only the quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// The highest quality of service wanted.
    pub qos: QoS,
    /// Do not send it to the client that published it; never with a shared subscription [MQTT-3.8.3-4].
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// When to send the retained messages.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; what 3.1.1 does.
    #[default]
    SendAlways = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// The properties of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeProperties {
    /// Comes back with each message that the subscriptions match.
    pub subscription_id: Option<SubscriptionId>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}

/// A SUBACK packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// The SUBSCRIBE it belongs to.
    pub packet_id: PacketId,
    /// One for each filter, in their order [MQTT-3.9.3-1]. In 3.1.1 each refusal is sent as 0x80, in 3.1 as 0.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<AckProperties>>,
}

impl Subscribe {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => None,
            ProtocolVersion::V5 => SubscribeProperties::decode(reader.properties()?)?,
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
            let filter = reader.topic_filter()?;
            let options = SubscribeOptions::decode(reader.u8()?, version)?;
            if options.no_local && filter.starts_with(SHARED_PREFIX) {
                return Err(DecodeError::NoLocalShared);
            }
            filters.push(SubscribeFilter { filter, options });
        }
        Ok(Self { packet_id, filters, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, sink: &mut dyn Sink) {
        sink.u16(self.packet_id.value());
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| {
                if let Some(properties) = &self.properties {
                    properties.encode(sink);
                }
            });
        }
        for SubscribeFilter { filter, options } in &self.filters {
            sink.field(filter.as_bytes());
            sink.u8(options.byte(version));
        }
    }
}

impl SubscribeOptions {
    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        // In 3.1.1 all but the QoS is reserved [MQTT311 MQTT-3-8.3-4].
        let reserved = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => !QOS,
            ProtocolVersion::V5 => RESERVED,
        };
        if byte & reserved != 0 {
            return Err(DecodeError::SubscribeOptionsReservedBits(byte));
        }
        Ok(Self {
            qos: QoS::from_byte(byte & QOS).ok_or(DecodeError::SubscribeQos3)?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match byte >> RETAIN_HANDLING_SHIFT & 0b11 {
                0 => RetainHandling::SendAlways,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(DecodeError::RetainHandling3),
            },
        })
    }

    fn byte(self, version: ProtocolVersion) -> u8 {
        let mut byte = self.qos.byte();
        if version == ProtocolVersion::V5 {
            if self.no_local {
                byte |= NO_LOCAL;
            }
            if self.retain_as_published {
                byte |= RETAIN_AS_PUBLISHED;
            }
            byte |= (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT;
        }
        byte
    }
}

impl SubscribeProperties {
    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::SubscriptionIdentifier => decoded.subscription_id = Some(reader.subscription_id()?),
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                other => return Err(reader.not_allowed(other)),
            }
        }
        Ok(Some(decoded))
    }

    fn encode(&self, sink: &mut dyn Sink) {
        if let Some(id) = self.subscription_id {
            sink.u8(Property::SubscriptionIdentifier.id());
            sink.variable_integer(id.value());
        }
        sink.user_properties(&self.user_properties);
    }
}

impl Suback {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => None,
            ProtocolVersion::V5 => AckProperties::decode(reader.properties()?)?,
        };
        let reasons = decode_reasons(reader, version)?;
        Ok(Self { packet_id, reasons, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u16(self.packet_id.value());
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| AckProperties::encode(self.properties.as_deref(), diagnostics, sink));
        }
        for reason in &self.reasons {
            sink.u8(match version {
                // There is no other word in MQTT 3.1: who may not subscribe is told of a subscription [MQTT31 §3.8].
                ProtocolVersion::V31 if reason.is_error() => ReasonCode::Success.byte(),
                ProtocolVersion::V311 if reason.is_error() => ReasonCode::UnspecifiedError.byte(),
                ProtocolVersion::V31 | ProtocolVersion::V311 | ProtocolVersion::V5 => reason.byte(),
            });
        }
    }
}

/// The reason codes that fill the rest of a SUBACK or UNSUBACK; at least one.
pub(super) fn decode_reasons(
    reader: &mut Reader,
    version: ProtocolVersion,
) -> Result<Vec<ReasonCode>, DecodeError> {
    let packet_type = reader.packet_type;
    let bytes = reader.remainder();
    if bytes.is_empty() {
        return Err(DecodeError::NoReasons(packet_type));
    }
    let decode = |&byte: &u8| {
        // 3.1.1 has one code of failure [MQTT311 MQTT-3.9.3-2], 3.1 has none.
        let is_known = match version {
            ProtocolVersion::V31 => matches!(byte, 0..=2),
            ProtocolVersion::V311 => matches!(byte, 0..=2 | 0x80),
            ProtocolVersion::V5 => true,
        };
        if !is_known {
            return Err(DecodeError::InvalidReasonCode { packet_type, code: byte });
        }
        check_reason_code(byte, packet_type, reader.sender)
    };
    bytes.iter().map(decode).collect()
}
