//! DISCONNECT: the last packet, in MQTT 5 from either side.

use super::reader::{PropertyReader, Reader};
use super::sink::{Sink, length_of};
use super::{DecodeError, Diagnostics, Property, ProtocolVersion, ReasonCode, Side, Text, UserProperty};

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

impl Disconnect {
    pub(super) fn decode(reader: &mut Reader, version: ProtocolVersion) -> Result<Self, DecodeError> {
        // MQTT 5 leaves out a reason of success, and an empty property section with it (§3.14.2.1, §3.14.2.2.1).
        if version != ProtocolVersion::V5 || reader.is_empty() {
            return Ok(Self::default());
        }
        let reason = reader.reason_code()?;
        let properties =
            if reader.is_empty() { None } else { DisconnectProperties::decode(reader.properties()?)? };
        Ok(Self { reason, properties })
    }

    pub(super) fn encode(&self, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        if version != ProtocolVersion::V5 {
            return;
        }
        let write = |sink: &mut dyn Sink| {
            if let Some(properties) = &self.properties {
                properties.encode(diagnostics, sink);
            }
        };
        let has_properties = length_of(&write) > 0;
        if has_properties || self.reason != ReasonCode::Success {
            sink.u8(self.reason.byte());
            // An empty property length could be left out (MQTT5 §3.14.2.2.1), but clients in the field (rumqttc among
            // them) then fail to read the reason.
            sink.properties(&write);
        }
    }
}

impl DisconnectProperties {
    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match (property, reader.sender()) {
                (Property::SessionExpiryInterval, Side::Client) => {
                    decoded.session_expiry_interval_s = Some(reader.u32()?);
                }
                (Property::ReasonString, _) => decoded.reason_string = Some(reader.text()?),
                (Property::UserProperty, _) => reader.user_property(&mut decoded.user_properties)?,
                (Property::ServerReference, Side::Server) => {
                    decoded.server_reference = Some(reader.text()?);
                }
                (other, _) => return Err(reader.not_allowed(other)),
            }
        }
        Ok(Some(decoded))
    }

    fn encode(&self, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.u32_property(Property::SessionExpiryInterval, self.session_expiry_interval_s);
        sink.text_property(Property::ReasonString, diagnostics.reason_string(&self.reason_string));
        sink.user_properties(diagnostics.user_properties(&self.user_properties));
        sink.text_property(Property::ServerReference, self.server_reference.as_deref());
    }
}
