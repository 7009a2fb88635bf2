//! CONNECT: a device says who it is and what it wants.

use std::num::{NonZeroU16, NonZeroU32};

use super::reader::{PropertyReader, Reader};
use super::sink::Sink;
use super::{
    BinaryData, DecodeError, PayloadFormat, Property, ProtocolVersion, QoS, Secret, Text, UserProperty,
};

const PROTOCOL_NAME: &str = "MQTT";
/// The protocol name of MQTT 3.1, with level 3.
const PROTOCOL_NAME_31: &str = "MQIsdp";

// The connect flags [MQTT5 §3.1.2.3].
const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// A CONNECT packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version that the whole connection speaks.
    pub version: ProtocolVersion,
    /// Start without the old session ("clean session" in 3.1.1).
    pub clean_start: bool,
    /// The longest silence of the client in seconds; 0 switches the check off.
    pub keep_alive_s: u16,
    /// The client identifier. May be empty here; what that means is the session's to decide: in 3.1.1 an empty one
    /// needs a clean session [MQTT-3.1.3-7], else CONNACK 2 [MQTT-3.1.3-8], and in 3.1 there is none.
    pub client_id: Text,
    /// What to publish when the connection breaks.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<Text>,
    /// The password; in 3.1.1 only with a user name [MQTT-3.1.2-22].
    pub password: Option<Secret>,
    /// MQTT 5 only; empty in 3.1.1.
    pub properties: ConnectProperties,
}

/// The will message in a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// A topic name: not empty, no wildcards.
    pub topic: Text,
    /// The message.
    pub payload: BinaryData,
    /// The quality of service to publish it with.
    pub qos: QoS,
    /// Whether to publish it as retained.
    pub retain: bool,
    /// MQTT 5 only; empty in 3.1.1.
    pub properties: WillProperties,
}

/// The properties of a CONNECT; what is absent has the default of MQTT5 §3.1.2.11.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectProperties {
    /// How long the session outlives the connection, in seconds. Absent: 0. `u32::MAX`: for ever.
    pub session_expiry_interval_s: Option<u32>,
    /// How many QoS 1 and 2 publishes the client takes at a time. Absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The largest packet the client takes, in bytes. Absent: no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The highest topic alias the client takes. Absent: 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client asks for response information. Absent: no.
    pub request_response_information: Option<bool>,
    /// Whether reason strings and user properties may come in every packet. Absent: yes. If no, only in PUBLISH,
    /// CONNACK and DISCONNECT [MQTT-3.1.2-29].
    pub request_problem_information: Option<bool>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
    /// The name of the extended authentication method.
    pub authentication_method: Option<Text>,
    /// Its data; only with a method.
    pub authentication_data: Option<Secret>,
}

/// The properties of a will.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WillProperties {
    /// Seconds between the end of the connection and the publishing. Absent: 0.
    pub delay_interval_s: Option<u32>,
    /// What the payload is. Absent: bytes.
    pub payload_format: Option<PayloadFormat>,
    /// The life of the published message in seconds. Absent: unlimited.
    pub message_expiry_s: Option<u32>,
    /// The media type or the like.
    pub content_type: Option<Text>,
    /// Where an answer is expected: not empty, no wildcards.
    pub response_topic: Option<Text>,
    /// What the answer should carry.
    pub correlation_data: Option<BinaryData>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}

/// The start of a CONNECT: the protocol name and level, on which the rest depends.
pub(super) fn decode_version(reader: &mut Reader) -> Result<ProtocolVersion, DecodeError> {
    let name = reader.text()?;
    if name != PROTOCOL_NAME && name != PROTOCOL_NAME_31 {
        return Err(DecodeError::ProtocolName);
    }
    let level = reader.u8()?;
    match (name.as_str(), level) {
        (PROTOCOL_NAME_31, 3) => Ok(ProtocolVersion::V31),
        (PROTOCOL_NAME, 4) => Ok(ProtocolVersion::V311),
        (PROTOCOL_NAME, 5) => Ok(ProtocolVersion::V5),
        _ => Err(DecodeError::UnsupportedVersion { level }),
    }
}

impl Connect {
    /// The rest of a CONNECT, behind [`decode_version`].
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        check_flags(flags, version)?;
        let keep_alive_s = reader.u16()?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => ConnectProperties::default(),
            ProtocolVersion::V5 => ConnectProperties::decode(reader.properties()?)?,
        };
        let client_id = reader.text()?;
        let will = if flags & WILL != 0 { Some(Will::decode(reader, flags, version)?) } else { None };
        // In MQTT 3.1 both may be missing although they are announced: the length of the packet counts [MQTT31 §3.1].
        let is_there = |flag: u8, reader: &Reader| {
            flags & flag != 0 && (version != ProtocolVersion::V31 || !reader.is_empty())
        };
        let user_name = if is_there(USER_NAME, reader) { Some(reader.text()?) } else { None };
        let password = if is_there(PASSWORD, reader) { Some(Secret::new(reader.binary()?)) } else { None };
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self { version, clean_start, keep_alive_s, client_id, will, user_name, password, properties })
    }

    pub(super) fn encode(&self, sink: &mut dyn Sink) {
        let name = if self.version == ProtocolVersion::V31 { PROTOCOL_NAME_31 } else { PROTOCOL_NAME };
        sink.field(name.as_bytes());
        sink.u8(self.version.level());
        sink.u8(self.flags());
        sink.u16(self.keep_alive_s);
        if self.version == ProtocolVersion::V5 {
            sink.properties(&|sink| self.properties.encode(sink));
        }
        sink.field(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            will.encode(sink, self.version);
        }
        if let Some(user_name) = &self.user_name {
            sink.field(user_name.as_bytes());
        }
        if let Some(password) = &self.password {
            sink.field(password.expose());
        }
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | will.qos.byte() << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    let will_qos = flags >> WILL_QOS_SHIFT & 0b11;
    if flags & RESERVED != 0 {
        return Err(DecodeError::ConnectReservedFlag);
    }
    if flags & WILL == 0 && will_qos != 0 {
        return Err(DecodeError::WillQosWithoutWill);
    }
    if flags & WILL == 0 && flags & WILL_RETAIN != 0 {
        return Err(DecodeError::WillRetainWithoutWill);
    }
    if QoS::from_byte(will_qos).is_none() {
        return Err(DecodeError::WillQos3);
    }
    // MQTT 5 lifted this (§3.1.2.9).
    if version != ProtocolVersion::V5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

impl Will {
    fn decode(reader: &mut Reader, flags: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let qos = QoS::from_byte(flags >> WILL_QOS_SHIFT & 0b11).ok_or(DecodeError::WillQos3)?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => WillProperties::default(),
            ProtocolVersion::V5 => WillProperties::decode(reader.properties()?)?,
        };
        let topic = reader.topic_name(DecodeError::TopicHasWildcard)?;
        let payload = reader.binary()?;
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }

    fn encode(&self, sink: &mut dyn Sink, version: ProtocolVersion) {
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| self.properties.encode(sink));
        }
        sink.field(self.topic.as_bytes());
        sink.field(&self.payload);
    }
}

impl ConnectProperties {
    fn decode(mut reader: PropertyReader) -> Result<Self, DecodeError> {
        let mut decoded = Self::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::SessionExpiryInterval => decoded.session_expiry_interval_s = Some(reader.u32()?),
                Property::ReceiveMaximum => decoded.receive_maximum = Some(reader.non_zero_u16(property)?),
                Property::MaximumPacketSize => {
                    decoded.maximum_packet_size = Some(reader.non_zero_u32(property)?);
                }
                Property::TopicAliasMaximum => decoded.topic_alias_maximum = Some(reader.u16()?),
                Property::RequestResponseInformation => {
                    decoded.request_response_information = Some(reader.boolean(property)?);
                }
                Property::RequestProblemInformation => {
                    decoded.request_problem_information = Some(reader.boolean(property)?);
                }
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                Property::AuthenticationMethod => decoded.authentication_method = Some(reader.text()?),
                Property::AuthenticationData => {
                    decoded.authentication_data = Some(Secret::new(reader.binary()?));
                }
                other => return Err(reader.not_allowed(other)),
            }
        }
        if decoded.authentication_data.is_some() && decoded.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationDataWithoutMethod);
        }
        Ok(decoded)
    }

    fn encode(&self, sink: &mut dyn Sink) {
        sink.u32_property(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.u16_property(Property::ReceiveMaximum, self.receive_maximum.map(NonZeroU16::get));
        sink.u32_property(Property::MaximumPacketSize, self.maximum_packet_size.map(NonZeroU32::get));
        sink.u16_property(Property::TopicAliasMaximum, self.topic_alias_maximum);
        sink.bool_property(Property::RequestResponseInformation, self.request_response_information);
        sink.bool_property(Property::RequestProblemInformation, self.request_problem_information);
        sink.user_properties(&self.user_properties);
        sink.text_property(Property::AuthenticationMethod, self.authentication_method.as_deref());
        let data = self.authentication_data.as_ref().map(|data| &**data.expose());
        sink.binary_property(Property::AuthenticationData, data);
    }
}

impl WillProperties {
    fn decode(mut reader: PropertyReader) -> Result<Self, DecodeError> {
        let mut decoded = Self::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::WillDelayInterval => decoded.delay_interval_s = Some(reader.u32()?),
                Property::PayloadFormatIndicator => {
                    decoded.payload_format = Some(PayloadFormat::from_flag(reader.boolean(property)?));
                }
                Property::MessageExpiryInterval => decoded.message_expiry_s = Some(reader.u32()?),
                Property::ContentType => decoded.content_type = Some(reader.text()?),
                Property::ResponseTopic => decoded.response_topic = Some(reader.response_topic()?),
                Property::CorrelationData => decoded.correlation_data = Some(reader.binary()?),
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                other => return Err(reader.not_allowed(other)),
            }
        }
        Ok(decoded)
    }

    fn encode(&self, sink: &mut dyn Sink) {
        sink.u32_property(Property::WillDelayInterval, self.delay_interval_s);
        sink.u8_property(Property::PayloadFormatIndicator, self.payload_format.map(PayloadFormat::byte));
        sink.u32_property(Property::MessageExpiryInterval, self.message_expiry_s);
        sink.text_property(Property::ContentType, self.content_type.as_deref());
        sink.text_property(Property::ResponseTopic, self.response_topic.as_deref());
        sink.binary_property(Property::CorrelationData, self.correlation_data.as_deref());
        sink.user_properties(&self.user_properties);
    }
}
