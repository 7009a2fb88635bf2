//! AUTH: the extended authentication of MQTT 5.

use super::reader::{PropertyReader, Reader};
use super::sink::{Sink, length_of};
use super::{DecodeError, Diagnostics, Property, ReasonCode, Secret, Side, Text, UserProperty};

/// An AUTH packet; MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Success, continue, or start again.
    pub reason: ReasonCode,
    /// `None` if there are none.
    pub properties: Option<Box<AuthProperties>>,
}

/// The properties of an AUTH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthProperties {
    /// The name of the method.
    pub authentication_method: Option<Text>,
    /// Its data; only with a method.
    pub authentication_data: Option<Secret>,
    /// For people to read.
    pub reason_string: Option<Text>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}

impl Auth {
    /// The name of its method, if it says one.
    pub fn method(&self) -> Option<&Text> {
        self.properties.as_ref()?.authentication_method.as_ref()
    }

    /// Its data, if it has some.
    pub fn data(&self) -> Option<&Secret> {
        self.properties.as_ref()?.authentication_data.as_ref()
    }

    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        // An empty AUTH is a success (§3.15.2.1), which only a server can announce.
        if reader.is_empty() {
            return match reader.sender {
                Side::Server => Ok(Self::default()),
                Side::Client => {
                    Err(DecodeError::InvalidReasonCode { packet_type: reader.packet_type, code: 0 })
                }
            };
        }
        let reason = reader.reason_code()?;
        let properties = AuthProperties::decode(reader.properties()?)?;
        Ok(Self { reason, properties })
    }

    pub(super) fn encode(&self, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        let write = |sink: &mut dyn Sink| {
            if let Some(properties) = &self.properties {
                properties.encode(diagnostics, sink);
            }
        };
        if self.reason != ReasonCode::Success || length_of(&write) > 0 {
            sink.u8(self.reason.byte());
            sink.properties(&write);
        }
    }
}

impl AuthProperties {
    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::AuthenticationMethod => decoded.authentication_method = Some(reader.text()?),
                Property::AuthenticationData => {
                    decoded.authentication_data = Some(Secret::new(reader.binary()?));
                }
                Property::ReasonString => decoded.reason_string = Some(reader.text()?),
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                other => return Err(reader.not_allowed(other)),
            }
        }
        if decoded.authentication_data.is_some() && decoded.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationDataWithoutMethod);
        }
        Ok(Some(decoded))
    }

    fn encode(&self, diagnostics: Diagnostics, sink: &mut dyn Sink) {
        sink.text_property(Property::AuthenticationMethod, self.authentication_method.as_deref());
        let data = self.authentication_data.as_ref().map(|data| &**data.expose());
        sink.binary_property(Property::AuthenticationData, data);
        sink.text_property(Property::ReasonString, diagnostics.reason_string(&self.reason_string));
        sink.user_properties(diagnostics.user_properties(&self.user_properties));
    }
}
