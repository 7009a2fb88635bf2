//! CONNACK: the gateway accepts or refuses a connection.

use std::num::{NonZeroU16, NonZeroU32};

use super::reader::{PropertyReader, Reader};
use super::sink::Sink;
use super::{
    DecodeError, Diagnostics, Property, ProtocolVersion, QoS, ReasonCode, Secret, Text, UserProperty,
};

const SESSION_PRESENT: u8 = 0b0000_0001;

/// A CONNACK packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connack {
    /// Whether the server kept a session; only with [`ReasonCode::Success`] [MQTT-3.2.2-6]. Not told in 3.1.
    pub session_present: bool,
    /// The answer. In 3.1.1 it is sent as the nearest of the six return codes.
    pub reason: ReasonCode,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<ConnackProperties>>,
}

/// The properties of a CONNACK; what is absent has the default of MQTT5 §3.2.2.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnackProperties {
    /// The session's life after the connection in seconds, if it is not what the client asked for.
    pub session_expiry_interval_s: Option<u32>,
    /// How many QoS 1 and 2 publishes the server takes at a time. Absent: 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// The highest quality of service the server takes: 0 or 1. Absent: 2.
    pub maximum_qos: Option<QoS>,
    /// Whether retained messages are supported. Absent: yes.
    pub retain_available: Option<bool>,
    /// The largest packet the server takes, in bytes. Absent: no limit.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// The client identifier that the server chose.
    pub assigned_client_id: Option<Text>,
    /// The highest topic alias the server takes. Absent: 0, none.
    pub topic_alias_maximum: Option<u16>,
    /// For people to read.
    pub reason_string: Option<Text>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
    /// Whether wildcards in filters are supported. Absent: yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscription identifiers are supported. Absent: yes.
    pub subscription_identifiers_available: Option<bool>,
    /// Whether shared subscriptions are supported. Absent: yes.
    pub shared_subscription_available: Option<bool>,
    /// The keep alive in seconds that the client must use instead of its own [MQTT-3.1.2-21].
    pub server_keep_alive_s: Option<u16>,
    /// A base for response topics.
    pub response_information: Option<Text>,
    /// Another server to use.
    pub server_reference: Option<Text>,
    /// The name of the extended authentication method.
    pub authentication_method: Option<Text>,
    /// Its data; only with a method.
    pub authentication_data: Option<Secret>,
}

impl Connack {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let flags = match version {
            // MQTT 3.1 gives the byte no meaning [MQTT31 §3.2].
            ProtocolVersion::V31 => reader.u8().map(|_| 0)?,
            ProtocolVersion::V311 | ProtocolVersion::V5 => reader.u8()?,
        };
        if flags & !SESSION_PRESENT != 0 {
            return Err(DecodeError::ConnackReservedFlags(flags));
        }
        let session_present = flags & SESSION_PRESENT != 0;
        let (reason, properties) = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => (decode_return_code(reader)?, None),
            ProtocolVersion::V5 => (reader.reason_code()?, ConnackProperties::decode(reader.properties()?)?),
        };
        if session_present && reason != ReasonCode::Success {
            return Err(DecodeError::SessionPresentWithRefusal);
        }
        Ok(Self { session_present, reason, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u8(u8::from(self.session_present && version != ProtocolVersion::V31));
        match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 => sink.u8(self.reason.connect_return_code()),
            ProtocolVersion::V5 => {
                sink.u8(self.reason.byte());
                sink.properties(&|sink| {
                    if let Some(properties) = &self.properties {
                        properties.encode(diagnostics, sink);
                    }
                });
            }
        }
    }
}

fn decode_return_code(reader: &mut Reader) -> Result<ReasonCode, DecodeError> {
    let code = reader.u8()?;
    ReasonCode::from_connect_return_code(code)
        .ok_or(DecodeError::InvalidReasonCode { packet_type: reader.packet_type, code })
}

impl ConnackProperties {
    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            decoded.decode_property(property, &mut reader)?;
        }
        if decoded.authentication_data.is_some() && decoded.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationDataWithoutMethod);
        }
        Ok(Some(decoded))
    }

    fn decode_property(
        &mut self,
        property: Property,
        reader: &mut PropertyReader,
    ) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => self.session_expiry_interval_s = Some(reader.u32()?),
            Property::ReceiveMaximum => self.receive_maximum = Some(reader.non_zero_u16(property)?),
            Property::MaximumQos => {
                let qos = if reader.boolean(property)? { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                self.maximum_qos = Some(qos);
            }
            Property::RetainAvailable => self.retain_available = Some(reader.boolean(property)?),
            Property::MaximumPacketSize => self.maximum_packet_size = Some(reader.non_zero_u32(property)?),
            Property::AssignedClientIdentifier => self.assigned_client_id = Some(reader.text()?),
            Property::TopicAliasMaximum => self.topic_alias_maximum = Some(reader.u16()?),
            Property::ReasonString => self.reason_string = Some(reader.text()?),
            Property::UserProperty => reader.user_property(&mut self.user_properties)?,
            Property::WildcardSubscriptionAvailable => {
                self.wildcard_subscription_available = Some(reader.boolean(property)?);
            }
            Property::SubscriptionIdentifierAvailable => {
                self.subscription_identifiers_available = Some(reader.boolean(property)?);
            }
            Property::SharedSubscriptionAvailable => {
                self.shared_subscription_available = Some(reader.boolean(property)?);
            }
            Property::ServerKeepAlive => self.server_keep_alive_s = Some(reader.u16()?),
            Property::ResponseInformation => self.response_information = Some(reader.text()?),
            Property::ServerReference => self.server_reference = Some(reader.text()?),
            Property::AuthenticationMethod => self.authentication_method = Some(reader.text()?),
            Property::AuthenticationData => self.authentication_data = Some(Secret::new(reader.binary()?)),
            other => return Err(reader.not_allowed(other)),
        }
        Ok(())
    }

    fn encode(&self, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u32_property(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.u16_property(Property::ReceiveMaximum, self.receive_maximum.map(NonZeroU16::get));
        // QoS 2 is told by leaving it out; the property has no such value.
        let maximum_qos = self.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce);
        sink.u8_property(Property::MaximumQos, maximum_qos.map(QoS::byte));
        sink.bool_property(Property::RetainAvailable, self.retain_available);
        sink.u32_property(Property::MaximumPacketSize, self.maximum_packet_size.map(NonZeroU32::get));
        sink.text_property(Property::AssignedClientIdentifier, self.assigned_client_id.as_deref());
        sink.u16_property(Property::TopicAliasMaximum, self.topic_alias_maximum);
        sink.text_property(Property::ReasonString, diagnostics.reason_string(&self.reason_string));
        sink.user_properties(diagnostics.user_properties(&self.user_properties));
        sink.bool_property(Property::WildcardSubscriptionAvailable, self.wildcard_subscription_available);
        sink.bool_property(
            Property::SubscriptionIdentifierAvailable,
            self.subscription_identifiers_available,
        );
        sink.bool_property(Property::SharedSubscriptionAvailable, self.shared_subscription_available);
        sink.u16_property(Property::ServerKeepAlive, self.server_keep_alive_s);
        sink.text_property(Property::ResponseInformation, self.response_information.as_deref());
        sink.text_property(Property::ServerReference, self.server_reference.as_deref());
        sink.text_property(Property::AuthenticationMethod, self.authentication_method.as_deref());
        let data = self.authentication_data.as_ref().map(|data| &**data.expose());
        sink.binary_property(Property::AuthenticationData, data);
    }
}
