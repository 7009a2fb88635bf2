//! Reads the fields of one packet's body. Strings and data share its buffer.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Buf, Bytes};

use super::{
    BinaryData, DecodeError, DecodeLimits, PacketId, PacketType, Property, ReasonCode, Side, SubscriptionId,
    Text, UserProperty,
};

/// The longest variable byte integer.
const VARIABLE_INTEGER_BYTES_MAX: usize = 4;

/// A variable byte integer at the start of `bytes`: its value and its length; `None` if more bytes are needed.
pub(super) fn variable_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(VARIABLE_INTEGER_BYTES_MAX).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing: the integer had a shorter form [MQTT-1.5.5-1].
            let is_minimal = index == 0 || byte != 0;
            return if is_minimal {
                Ok(Some((value, index + 1)))
            } else {
                Err(DecodeError::VariableIntegerNotMinimal)
            };
        }
    }
    if bytes.len() < VARIABLE_INTEGER_BYTES_MAX { Ok(None) } else { Err(DecodeError::VariableIntegerTooLong) }
}

/// The unread rest of a packet's body, or of its properties.
pub(super) struct Reader {
    rest: Bytes,
    pub(super) packet_type: PacketType,
    pub(super) sender: Side,
    pub(super) limits: DecodeLimits,
}

impl Reader {
    pub(super) fn new(body: Bytes, packet_type: PacketType, sender: Side, limits: DecodeLimits) -> Self {
        Self { rest: body, packet_type, sender, limits }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses bytes behind the last field.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.rest.len())) }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.rest.try_get_u8().map_err(|_| DecodeError::Truncated)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.rest.try_get_u16().map_err(|_| DecodeError::Truncated)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.rest.try_get_u32().map_err(|_| DecodeError::Truncated)
    }

    pub(super) fn variable_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = variable_integer(&self.rest)?.ok_or(DecodeError::Truncated)?;
        self.rest.advance(len);
        Ok(value)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    /// All that is left.
    pub(super) fn remainder(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn binary(&mut self) -> Result<BinaryData, DecodeError> {
        let len = self.u16()?;
        let bytes = self.bytes(usize::from(len))?;
        Ok(BinaryData::parse(bytes).expect("a two byte length keeps the bound"))
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        let len = self.u16()?;
        Ok(Text::from_bytes(self.bytes(usize::from(len))?)?)
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16()?).ok_or(DecodeError::PacketIdZero)
    }

    /// A topic name that must not be empty nor hold wildcards.
    pub(super) fn topic_name(&mut self, wildcard: DecodeError) -> Result<Text, DecodeError> {
        let topic = self.text()?;
        if topic.is_empty() {
            return Err(DecodeError::EmptyTopic);
        }
        refuse_wildcards(&topic, wildcard)?;
        Ok(topic)
    }

    /// A topic filter that must not be empty.
    pub(super) fn topic_filter(&mut self) -> Result<Text, DecodeError> {
        let filter = self.text()?;
        if filter.is_empty() { Err(DecodeError::EmptyTopic) } else { Ok(filter) }
    }

    /// A reason code that this packet may carry.
    pub(super) fn reason_code(&mut self) -> Result<ReasonCode, DecodeError> {
        let byte = self.u8()?;
        check_reason_code(byte, self.packet_type, self.sender)
    }

    /// Starts on the properties.
    pub(super) fn properties(&mut self) -> Result<PropertyReader, DecodeError> {
        let len = self.variable_integer()?;
        let rest = self.bytes(len as usize)?;
        let fields = Self { rest, packet_type: self.packet_type, sender: self.sender, limits: self.limits };
        Ok(PropertyReader { fields, seen: 0 })
    }
}

/// [MQTT-3.3.2-2], [MQTT-4.7.0-1].
pub(super) fn refuse_wildcards(topic: &str, error: DecodeError) -> Result<(), DecodeError> {
    if topic.bytes().any(|byte| matches!(byte, b'+' | b'#')) { Err(error) } else { Ok(()) }
}

pub(super) fn check_reason_code(
    byte: u8,
    packet_type: PacketType,
    sender: Side,
) -> Result<ReasonCode, DecodeError> {
    ReasonCode::from_byte(byte)
        .filter(|code| code.is_allowed_in(packet_type, sender))
        .ok_or(DecodeError::InvalidReasonCode { packet_type, code: byte })
}

/// The properties of one packet, one after another.
pub(super) struct PropertyReader {
    fields: Reader,
    /// One bit for each identifier that came; the highest is 0x2A.
    seen: u64,
}

impl PropertyReader {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The next property's identifier, its value being next to read; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Property>, DecodeError> {
        if self.fields.is_empty() {
            return Ok(None);
        }
        let id = self.fields.u8()?;
        let property = Property::from_id(id).ok_or(DecodeError::UnknownProperty(id))?;
        let bit = 1u64 << id;
        let may_repeat = match property {
            Property::UserProperty => true,
            // One for each matching subscription, when a server sends it (MQTT5 §3.3.2.3.8).
            Property::SubscriptionIdentifier => self.fields.packet_type == PacketType::Publish,
            _ => false,
        };
        if self.seen & bit != 0 && !may_repeat {
            return Err(DecodeError::DuplicateProperty(property));
        }
        self.seen |= bit;
        Ok(Some(property))
    }

    pub(super) fn not_allowed(&self, property: Property) -> DecodeError {
        DecodeError::PropertyNotAllowed { packet_type: self.fields.packet_type, property }
    }

    pub(super) fn sender(&self) -> Side {
        self.fields.sender
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fields.u16()
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fields.u32()
    }

    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        self.fields.text()
    }

    pub(super) fn binary(&mut self) -> Result<BinaryData, DecodeError> {
        self.fields.binary()
    }

    pub(super) fn response_topic(&mut self) -> Result<Text, DecodeError> {
        self.fields.topic_name(DecodeError::ResponseTopicHasWildcard)
    }

    pub(super) fn boolean(&mut self, property: Property) -> Result<bool, DecodeError> {
        match self.fields.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::PropertyValue { property, value: u32::from(other) }),
        }
    }

    pub(super) fn non_zero_u16(&mut self, property: Property) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or(DecodeError::PropertyValue { property, value: 0 })
    }

    pub(super) fn non_zero_u32(&mut self, property: Property) -> Result<NonZeroU32, DecodeError> {
        NonZeroU32::new(self.u32()?).ok_or(DecodeError::PropertyValue { property, value: 0 })
    }

    pub(super) fn subscription_id(&mut self) -> Result<SubscriptionId, DecodeError> {
        let value = self.fields.variable_integer()?;
        let property = Property::SubscriptionIdentifier;
        SubscriptionId::new(value).ok_or(DecodeError::PropertyValue { property, value })
    }

    /// Adds a user property to the packet's, within the limit.
    pub(super) fn user_property(&mut self, into: &mut Vec<UserProperty>) -> Result<(), DecodeError> {
        let max = self.fields.limits.user_properties_max;
        if into.len() >= max as usize {
            return Err(DecodeError::TooManyUserProperties { max });
        }
        let name = self.fields.text()?;
        let value = self.fields.text()?;
        into.push(UserProperty { name, value });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_integers_have_one_to_four_bytes_and_one_form() {
        let cases: [(&[u8], _); 11] = [
            (&[], Ok(None)),
            (&[0x00], Ok(Some((0, 1)))),
            (&[0x7F], Ok(Some((127, 1)))),
            (&[0x80], Ok(None)),
            (&[0x80, 0x01], Ok(Some((128, 2)))),
            (&[0xFF, 0xFF, 0x7F], Ok(Some((2_097_151, 3)))),
            (&[0xFF, 0xFF, 0xFF, 0x7F], Ok(Some((268_435_455, 4)))),
            (&[0xFF, 0xFF, 0xFF], Ok(None)),
            (&[0x80, 0x80, 0x80, 0x80], Err(DecodeError::VariableIntegerTooLong)),
            (&[0x80, 0x00], Err(DecodeError::VariableIntegerNotMinimal)),
            (&[0x81, 0x80, 0x00], Err(DecodeError::VariableIntegerNotMinimal)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(variable_integer(bytes), expected, "{bytes:x?}");
        }
    }
}
