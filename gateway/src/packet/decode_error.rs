//! What can be wrong with received bytes, which clause says so, and what to answer.

use super::{PacketType, Property, ReasonCode, TextError};

/// Why received bytes are not a packet. Each of them ends the connection [MQTT-4.13.1-1]; the decoder is of no use
/// afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The fixed header declares more bytes than are allowed.
    #[error("packet of {len} bytes is larger than the {max} allowed")]
    PacketTooLarge {
        /// The whole packet's bytes, as declared.
        len: u32,
        /// The limit that applied.
        max: u32,
    },
    /// Something else came before CONNECT.
    #[error("first packet is {0}, not CONNECT")]
    FirstPacketNotConnect(PacketType),
    /// CONNECT came again.
    #[error("second CONNECT on one connection")]
    SecondConnect,
    /// A packet that only the other side may send.
    #[error("{0} came from the wrong side")]
    WrongDirection(PacketType),
    /// Packet type 0, or 15 in 3.1.1.
    #[error("packet type {0} is reserved")]
    ReservedPacketType(u8),
    /// The flags beside the packet type are not the fixed ones.
    #[error("{packet_type} has the reserved flags {flags:#06b}")]
    ReservedHeaderFlags {
        /// The packet.
        packet_type: PacketType,
        /// Its four flag bits.
        flags: u8,
    },
    /// A variable byte integer goes on after its fourth byte.
    #[error("variable byte integer is longer than four bytes")]
    VariableIntegerTooLong,
    /// A variable byte integer has a needless last byte.
    #[error("variable byte integer is longer than it needs to be")]
    VariableIntegerNotMinimal,
    /// A field goes past the end of the packet, or of the properties.
    #[error("packet ends within a field")]
    Truncated,
    /// Bytes are left behind the last field.
    #[error("packet has {0} bytes behind its last field")]
    TrailingBytes(usize),
    /// A string is not UTF-8.
    #[error("string is not well-formed UTF-8")]
    StringNotUtf8,
    /// A string holds U+0000.
    #[error("string holds the character U+0000")]
    StringHasNul,
    /// A packet identifier is zero.
    #[error("packet identifier is zero")]
    PacketIdZero,
    /// The protocol name is neither MQTT nor MQIsdp.
    #[error("protocol name is not MQTT")]
    ProtocolName,
    /// Neither 3.1, with the name MQIsdp, nor 3.1.1 nor 5, with the name MQTT.
    #[error("protocol level {level} is not spoken here")]
    UnsupportedVersion {
        /// The protocol level in the CONNECT.
        level: u8,
    },
    /// Bit 0 of the connect flags is set.
    #[error("reserved connect flag is set")]
    ConnectReservedFlag,
    /// The will QoS is 3.
    #[error("will has QoS 3")]
    WillQos3,
    /// A will QoS without a will.
    #[error("will QoS is set without a will")]
    WillQosWithoutWill,
    /// A will retain flag without a will.
    #[error("will retain is set without a will")]
    WillRetainWithoutWill,
    /// A password without a user name, in 3.1.1.
    #[error("password without a user name")]
    PasswordWithoutUserName,
    /// Authentication data without a method.
    #[error("authentication data without a method")]
    AuthenticationDataWithoutMethod,
    /// A bit other than session present in a CONNACK's flags.
    #[error("reserved CONNACK flags {0:#010b} are set")]
    ConnackReservedFlags(u8),
    /// Session present in a CONNACK that refuses.
    #[error("session present with a refusal")]
    SessionPresentWithRefusal,
    /// Both QoS bits of a PUBLISH are set.
    #[error("PUBLISH has QoS 3")]
    PublishQos3,
    /// DUP in a QoS 0 PUBLISH.
    #[error("PUBLISH has DUP with QoS 0")]
    DupWithQos0,
    /// A topic name or filter is empty.
    #[error("topic is empty")]
    EmptyTopic,
    /// No topic and no alias for it.
    #[error("PUBLISH has neither topic nor alias")]
    NoTopicAndNoAlias,
    /// `+` or `#` in the topic of a PUBLISH or a will.
    #[error("topic name holds a wildcard")]
    TopicHasWildcard,
    /// `+` or `#` in a response topic.
    #[error("response topic holds a wildcard")]
    ResponseTopicHasWildcard,
    /// Topic alias 0.
    #[error("topic alias is zero")]
    TopicAliasZero,
    /// A client sent a subscription identifier in a PUBLISH.
    #[error("PUBLISH from a client has a subscription identifier")]
    SubscriptionIdFromClient,
    /// SUBSCRIBE or UNSUBSCRIBE with nothing in it.
    #[error("{0} has no topic filter")]
    NoFilters(PacketType),
    /// More topic filters in a packet than are allowed.
    #[error("{packet_type} has more than {max} topic filters")]
    TooManyFilters {
        /// The packet.
        packet_type: PacketType,
        /// The limit.
        max: u32,
    },
    /// A reserved bit in the subscription options.
    #[error("subscription options {0:#010b} have reserved bits set")]
    SubscribeOptionsReservedBits(u8),
    /// Subscription with QoS 3.
    #[error("subscription has QoS 3")]
    SubscribeQos3,
    /// Retain handling 3.
    #[error("subscription has retain handling 3")]
    RetainHandling3,
    /// No local on a shared subscription.
    #[error("no local on a shared subscription")]
    NoLocalShared,
    /// SUBACK, or UNSUBACK of MQTT 5, without a reason code.
    #[error("{0} has no reason code")]
    NoReasons(PacketType),
    /// A reason code that this packet may not carry, or that does not exist.
    #[error("{packet_type} has the reason code {code:#04x}")]
    InvalidReasonCode {
        /// The packet.
        packet_type: PacketType,
        /// The byte.
        code: u8,
    },
    /// A property identifier that does not exist.
    #[error("property {0:#04x} does not exist")]
    UnknownProperty(u8),
    /// A property that belongs into other packets.
    #[error("{packet_type} has the property {property}")]
    PropertyNotAllowed {
        /// The packet.
        packet_type: PacketType,
        /// The property.
        property: Property,
    },
    /// A property came twice.
    #[error("property {0} came twice")]
    DuplicateProperty(Property),
    /// A property has a value that is not allowed: zero where zero is not, neither 0 nor 1 where only they are.
    #[error("property {property} has the value {value}")]
    PropertyValue {
        /// The property.
        property: Property,
        /// Its value.
        value: u32,
    },
    /// More user properties than are allowed.
    #[error("more than {max} user properties")]
    TooManyUserProperties {
        /// The limit.
        max: u32,
    },
}

impl DecodeError {
    /// The reason code for the CONNACK or DISCONNECT of MQTT 5 that answers it.
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::UnsupportedVersion { .. } | Self::ProtocolName => ReasonCode::UnsupportedProtocolVersion,
            Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            Self::TooManyFilters { .. } | Self::TooManyUserProperties { .. } => ReasonCode::QuotaExceeded,
            Self::ReservedPacketType(_)
            | Self::ReservedHeaderFlags { .. }
            | Self::VariableIntegerTooLong
            | Self::VariableIntegerNotMinimal
            | Self::Truncated
            | Self::TrailingBytes(_)
            | Self::StringNotUtf8
            | Self::StringHasNul
            | Self::ConnectReservedFlag
            | Self::WillQos3
            | Self::WillQosWithoutWill
            | Self::WillRetainWithoutWill
            | Self::PasswordWithoutUserName
            | Self::ConnackReservedFlags(_)
            | Self::PublishQos3
            | Self::DupWithQos0
            | Self::EmptyTopic
            | Self::TopicHasWildcard
            | Self::ResponseTopicHasWildcard
            | Self::SubscribeOptionsReservedBits(_)
            | Self::InvalidReasonCode { .. }
            | Self::UnknownProperty(_)
            | Self::PropertyNotAllowed { .. } => ReasonCode::MalformedPacket,
            Self::FirstPacketNotConnect(_)
            | Self::SecondConnect
            | Self::WrongDirection(_)
            | Self::PacketIdZero
            | Self::AuthenticationDataWithoutMethod
            | Self::SessionPresentWithRefusal
            | Self::NoTopicAndNoAlias
            | Self::SubscriptionIdFromClient
            | Self::NoFilters(_)
            | Self::SubscribeQos3
            | Self::RetainHandling3
            | Self::NoLocalShared
            | Self::NoReasons(_)
            | Self::DuplicateProperty(_)
            | Self::PropertyValue { .. } => ReasonCode::ProtocolError,
        }
    }

    /// The clause that was broken: a numbered statement of MQTT 5 where there is one, else the section.
    /// `MQTT311` marks those of 3.1.1. The limits are our own.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::PacketTooLarge { .. } => "MQTT-3.2.2-15",
            Self::FirstPacketNotConnect(_) => "MQTT-3.1.0-1",
            Self::SecondConnect => "MQTT-3.1.0-2",
            Self::WrongDirection(_) | Self::ReservedPacketType(_) => "MQTT5 §2.1.2",
            Self::ReservedHeaderFlags { packet_type, .. } => match packet_type {
                PacketType::Pubrel => "MQTT-3.6.1-1",
                PacketType::Subscribe => "MQTT-3.8.1-1",
                PacketType::Unsubscribe => "MQTT-3.10.1-1",
                PacketType::Disconnect => "MQTT-3.14.1-1",
                PacketType::Auth => "MQTT-3.15.1-1",
                PacketType::Connect
                | PacketType::Connack
                | PacketType::Publish
                | PacketType::Puback
                | PacketType::Pubrec
                | PacketType::Pubcomp
                | PacketType::Suback
                | PacketType::Unsuback
                | PacketType::Pingreq
                | PacketType::Pingresp => "MQTT-2.1.3-1",
            },
            Self::VariableIntegerTooLong => "MQTT5 §1.5.5",
            Self::VariableIntegerNotMinimal => "MQTT-1.5.5-1",
            Self::Truncated | Self::TrailingBytes(_) => "MQTT5 §2.1.4",
            Self::StringNotUtf8 => "MQTT-1.5.4-1",
            Self::StringHasNul => "MQTT-1.5.4-2",
            Self::PacketIdZero => "MQTT-2.2.1-3",
            Self::ProtocolName => "MQTT-3.1.2-1",
            Self::UnsupportedVersion { .. } => "MQTT-3.1.2-2",
            Self::ConnectReservedFlag => "MQTT-3.1.2-3",
            Self::WillQosWithoutWill => "MQTT-3.1.2-11",
            Self::WillQos3 => "MQTT-3.1.2-12",
            Self::WillRetainWithoutWill => "MQTT-3.1.2-13",
            Self::PasswordWithoutUserName => "MQTT311 MQTT-3.1.2-22",
            Self::AuthenticationDataWithoutMethod => "MQTT5 §3.1.2.11.10",
            Self::ConnackReservedFlags(_) => "MQTT-3.2.2-1",
            Self::SessionPresentWithRefusal => "MQTT-3.2.2-6",
            Self::PublishQos3 => "MQTT-3.3.1-4",
            Self::DupWithQos0 => "MQTT-3.3.1-2",
            Self::EmptyTopic => "MQTT-4.7.3-1",
            Self::NoTopicAndNoAlias => "MQTT5 §3.3.2.1",
            Self::TopicHasWildcard => "MQTT-3.3.2-2",
            Self::ResponseTopicHasWildcard => "MQTT-3.3.2-14",
            Self::TopicAliasZero => "MQTT-3.3.2-8",
            Self::SubscriptionIdFromClient => "MQTT-3.3.4-6",
            Self::NoFilters(PacketType::Unsubscribe) => "MQTT-3.10.3-2",
            Self::NoFilters(_) => "MQTT-3.8.3-2",
            Self::SubscribeOptionsReservedBits(_) => "MQTT-3.8.3-5",
            Self::SubscribeQos3 | Self::RetainHandling3 => "MQTT5 §3.8.3.1",
            Self::NoLocalShared => "MQTT-3.8.3-4",
            Self::NoReasons(_) => "MQTT-3.8.4-6",
            Self::InvalidReasonCode { packet_type, .. } => reason_code_clause(packet_type),
            Self::UnknownProperty(_) | Self::PropertyNotAllowed { .. } => "MQTT5 §2.2.2.2",
            Self::DuplicateProperty(property) | Self::PropertyValue { property, .. } => property.section(),
            Self::TooManyFilters { .. } | Self::TooManyUserProperties { .. } => {
                "limit of this implementation"
            }
        }
    }
}

const fn reason_code_clause(packet_type: PacketType) -> &'static str {
    match packet_type {
        PacketType::Connack => "MQTT-3.2.2-8",
        PacketType::Puback => "MQTT-3.4.2-1",
        PacketType::Pubrec => "MQTT-3.5.2-1",
        PacketType::Pubrel => "MQTT-3.6.2-1",
        PacketType::Pubcomp => "MQTT-3.7.2-1",
        PacketType::Suback => "MQTT-3.9.3-2",
        PacketType::Unsuback => "MQTT-3.11.3-2",
        PacketType::Disconnect => "MQTT-3.14.2-1",
        PacketType::Auth => "MQTT-3.15.2-1",
        PacketType::Connect
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::Pingreq
        | PacketType::Pingresp => "MQTT5 §2.4",
    }
}

impl From<TextError> for DecodeError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::NotUtf8 => Self::StringNotUtf8,
            TextError::Nul => Self::StringHasNul,
            // A two byte length cannot say more.
            TextError::TooLong(_) => Self::Truncated,
        }
    }
}
