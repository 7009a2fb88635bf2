//! PUBLISH: an application message, in either direction.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::reader::{PropertyReader, Reader, refuse_wildcards};
use super::sink::Sink;
use super::{
    BinaryData, DecodeError, PacketId, Property, ProtocolVersion, QoS, Side, SubscriptionId, Text,
    UserProperty,
};

// The flags in the fixed header [MQTT5 §3.3.1].
const RETAIN: u8 = 0b0001;
const QOS_SHIFT: u8 = 1;
pub(super) const DUP: u8 = 0b1000;

/// A PUBLISH packet. The payload and all texts share the buffer that it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The topic name: no wildcards; empty only in MQTT 5 with a topic alias.
    pub topic: Text,
    /// Quality of service, with what belongs to it.
    pub delivery: Delivery,
    /// To the server: keep it. To a client: it was kept (or "as published").
    pub retain: bool,
    /// The message.
    pub payload: Bytes,
    /// MQTT 5 only; `None` if there are none, so that an ordinary publish pays nothing for them.
    pub properties: Option<Box<PublishProperties>>,
}

impl Publish {
    /// False if the payload claims to be UTF-8 and is not: then PUBACK 0x99. The decoder leaves this to the caller,
    /// as it reads the whole payload and the specification does not demand it (MQTT5 §3.3.2.3.2).
    pub fn payload_is_as_declared(&self) -> bool {
        let declared = self.properties.as_ref().and_then(|properties| properties.payload_format);
        match declared {
            Some(PayloadFormat::Utf8) => std::str::from_utf8(&self.payload).is_ok(),
            Some(PayloadFormat::Bytes) | None => true,
        }
    }

    /// The same message in memory of its own. What waits for long (a session's queue, a retained message) should be
    /// detached: a slice of a few bytes keeps the whole read buffer alive.
    pub fn detached(&self) -> Self {
        Self {
            topic: self.topic.detached(),
            delivery: self.delivery,
            retain: self.retain,
            payload: Bytes::copy_from_slice(&self.payload),
            properties: self.properties.as_ref().map(|properties| Box::new(properties.detached())),
        }
    }
}

/// Quality of service of a PUBLISH. Only QoS 1 and 2 have a packet identifier [MQTT-2.2.1-2] and may be sent again
/// [MQTT-3.3.1-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce {
        /// Named again by the PUBACK.
        packet_id: PacketId,
        /// It may have been sent before.
        dup: bool,
    },
    /// QoS 2.
    ExactlyOnce {
        /// Named again by the rest of the handshake.
        packet_id: PacketId,
        /// It may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// The quality of service.
    pub const fn qos(self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// The packet identifier; none with QoS 0.
    pub const fn packet_id(self) -> Option<PacketId> {
        match self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { packet_id, .. } | Self::ExactlyOnce { packet_id, .. } => Some(packet_id),
        }
    }

    /// The DUP flag.
    pub const fn dup(self) -> bool {
        match self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadFormat {
    /// Unspecified bytes.
    Bytes = 0,
    /// UTF-8 text.
    Utf8 = 1,
}

impl PayloadFormat {
    pub(super) const fn from_flag(is_utf8: bool) -> Self {
        if is_utf8 { Self::Utf8 } else { Self::Bytes }
    }

    pub(super) const fn byte(self) -> u8 {
        self as u8
    }
}

/// The properties of a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishProperties {
    /// What the payload is. Absent: bytes.
    pub payload_format: Option<PayloadFormat>,
    /// The message's life in seconds. Absent: unlimited.
    pub message_expiry_s: Option<u32>,
    /// Stands for the topic, or says which number shall stand for it from now on.
    pub topic_alias: Option<NonZeroU16>,
    /// Where an answer is expected: not empty, no wildcards.
    pub response_topic: Option<Text>,
    /// What the answer should carry.
    pub correlation_data: Option<BinaryData>,
    /// The user's pairs; forwarded unaltered and in order [MQTT-3.3.2-17], [MQTT-3.3.2-18].
    pub user_properties: Vec<UserProperty>,
    /// Which subscriptions it matches; only from a server [MQTT-3.3.4-6].
    pub subscription_ids: Vec<SubscriptionId>,
    /// The media type or the like.
    pub content_type: Option<Text>,
}

/// The parts of a PUBLISH, borrowed: one message goes out to many subscribers without being cloned for each.
#[derive(Debug, Clone, Copy)]
pub struct PublishRef<'a> {
    /// The topic name; empty only in MQTT 5 with a topic alias.
    pub topic: &'a str,
    /// Quality of service, with what belongs to it.
    pub delivery: Delivery,
    /// The RETAIN flag.
    pub retain: bool,
    /// The message.
    pub payload: &'a [u8],
    /// Left out in 3.1.1.
    pub properties: PublishPropertiesRef<'a>,
}

/// [`PublishProperties`], borrowed: what is the message's (borrow it) and what is the receiver's (its alias, its
/// subscription identifiers, the time left).
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishPropertiesRef<'a> {
    /// See [`PublishProperties::payload_format`].
    pub payload_format: Option<PayloadFormat>,
    /// The seconds that are left, when a server forwards it [MQTT-3.3.2-6].
    pub message_expiry_s: Option<u32>,
    /// The receiver's alias.
    pub topic_alias: Option<NonZeroU16>,
    /// See [`PublishProperties::response_topic`].
    pub response_topic: Option<&'a str>,
    /// See [`PublishProperties::correlation_data`].
    pub correlation_data: Option<&'a [u8]>,
    /// See [`PublishProperties::user_properties`].
    pub user_properties: &'a [UserProperty],
    /// Those of the receiver's subscriptions that match.
    pub subscription_ids: &'a [SubscriptionId],
    /// See [`PublishProperties::content_type`].
    pub content_type: Option<&'a str>,
}

impl<'a> From<&'a PublishProperties> for PublishPropertiesRef<'a> {
    fn from(properties: &'a PublishProperties) -> Self {
        Self {
            payload_format: properties.payload_format,
            message_expiry_s: properties.message_expiry_s,
            topic_alias: properties.topic_alias,
            response_topic: properties.response_topic.as_deref(),
            correlation_data: properties.correlation_data.as_deref(),
            user_properties: &properties.user_properties,
            subscription_ids: &properties.subscription_ids,
            content_type: properties.content_type.as_deref(),
        }
    }
}

impl<'a> From<&'a Publish> for PublishRef<'a> {
    fn from(publish: &'a Publish) -> Self {
        Self {
            topic: &publish.topic,
            delivery: publish.delivery,
            retain: publish.retain,
            payload: &publish.payload,
            properties: publish.properties.as_deref().map(PublishPropertiesRef::from).unwrap_or_default(),
        }
    }
}

/// Refuses flags that no PUBLISH may have, from the fixed header alone.
pub(super) fn check_flags(flags: u8) -> Result<(), DecodeError> {
    match QoS::from_byte(flags >> QOS_SHIFT & 0b11) {
        None => Err(DecodeError::PublishQos3),
        Some(QoS::AtMostOnce) if flags & DUP != 0 => Err(DecodeError::DupWithQos0),
        Some(_) => Ok(()),
    }
}

impl Publish {
    pub(super) fn decode(
        reader: &mut Reader,
        flags: u8,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let topic = reader.text()?;
        refuse_wildcards(&topic, DecodeError::TopicHasWildcard)?;
        let delivery = decode_delivery(reader, flags)?;
        let properties = match version {
            ProtocolVersion::V31 | ProtocolVersion::V311 if topic.is_empty() => {
                return Err(DecodeError::EmptyTopic);
            }
            ProtocolVersion::V31 | ProtocolVersion::V311 => None,
            ProtocolVersion::V5 => PublishProperties::decode(reader.properties()?)?,
        };
        let has_alias = properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some());
        if topic.is_empty() && !has_alias {
            return Err(DecodeError::NoTopicAndNoAlias);
        }
        Ok(Self { topic, delivery, retain: flags & RETAIN != 0, payload: reader.remainder(), properties })
    }
}

fn decode_delivery(reader: &mut Reader, flags: u8) -> Result<Delivery, DecodeError> {
    let dup = flags & DUP != 0;
    match QoS::from_byte(flags >> QOS_SHIFT & 0b11) {
        None => Err(DecodeError::PublishQos3),
        Some(QoS::AtMostOnce) => Ok(Delivery::AtMostOnce),
        Some(QoS::AtLeastOnce) => Ok(Delivery::AtLeastOnce { packet_id: reader.packet_id()?, dup }),
        Some(QoS::ExactlyOnce) => Ok(Delivery::ExactlyOnce { packet_id: reader.packet_id()?, dup }),
    }
}

impl PublishProperties {
    /// The same properties in memory of their own; see [`Publish::detached`].
    pub fn detached(&self) -> Self {
        Self {
            payload_format: self.payload_format,
            message_expiry_s: self.message_expiry_s,
            topic_alias: self.topic_alias,
            response_topic: self.response_topic.as_ref().map(Text::detached),
            correlation_data: self.correlation_data.as_ref().map(BinaryData::detached),
            user_properties: self.user_properties.iter().map(UserProperty::detached).collect(),
            subscription_ids: self.subscription_ids.clone(),
            content_type: self.content_type.as_ref().map(Text::detached),
        }
    }

    fn decode(mut reader: PropertyReader) -> Result<Option<Box<Self>>, DecodeError> {
        if reader.is_empty() {
            return Ok(None);
        }
        let mut decoded = Box::<Self>::default();
        while let Some(property) = reader.next()? {
            match property {
                Property::PayloadFormatIndicator => {
                    decoded.payload_format = Some(PayloadFormat::from_flag(reader.boolean(property)?));
                }
                Property::MessageExpiryInterval => decoded.message_expiry_s = Some(reader.u32()?),
                Property::TopicAlias => {
                    let alias = NonZeroU16::new(reader.u16()?).ok_or(DecodeError::TopicAliasZero)?;
                    decoded.topic_alias = Some(alias);
                }
                Property::ResponseTopic => decoded.response_topic = Some(reader.response_topic()?),
                Property::CorrelationData => decoded.correlation_data = Some(reader.binary()?),
                Property::UserProperty => reader.user_property(&mut decoded.user_properties)?,
                Property::SubscriptionIdentifier => {
                    if reader.sender() == Side::Client {
                        return Err(DecodeError::SubscriptionIdFromClient);
                    }
                    decoded.subscription_ids.push(reader.subscription_id()?);
                }
                Property::ContentType => decoded.content_type = Some(reader.text()?),
                other => return Err(reader.not_allowed(other)),
            }
        }
        Ok(Some(decoded))
    }
}

impl PublishRef<'_> {
    /// The flags in the fixed header.
    pub(super) fn flags(&self) -> u8 {
        let mut flags = self.delivery.qos().byte() << QOS_SHIFT;
        if self.delivery.dup() {
            flags |= DUP;
        }
        if self.retain {
            flags |= RETAIN;
        }
        flags
    }

    /// All of the body but the payload.
    pub(super) fn encode_head(&self, version: ProtocolVersion, sink: &mut dyn Sink) {
        sink.field(self.topic.as_bytes());
        if let Some(packet_id) = self.delivery.packet_id() {
            sink.u16(packet_id.value());
        }
        if version == ProtocolVersion::V5 {
            sink.properties(&|sink| self.properties.encode(sink));
        }
    }
}

impl PublishPropertiesRef<'_> {
    fn encode(&self, sink: &mut dyn Sink) {
        sink.u8_property(Property::PayloadFormatIndicator, self.payload_format.map(PayloadFormat::byte));
        sink.u32_property(Property::MessageExpiryInterval, self.message_expiry_s);
        sink.u16_property(Property::TopicAlias, self.topic_alias.map(NonZeroU16::get));
        sink.text_property(Property::ResponseTopic, self.response_topic);
        sink.binary_property(Property::CorrelationData, self.correlation_data);
        sink.user_properties(self.user_properties);
        for id in self.subscription_ids {
            sink.u8(Property::SubscriptionIdentifier.id());
            sink.variable_integer(id.value());
        }
        sink.text_property(Property::ContentType, self.content_type);
    }
}
