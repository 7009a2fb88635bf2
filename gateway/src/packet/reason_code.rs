//! The reason codes of MQTT 5, and where each may stand.

use super::{PacketType, Side};

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $byte:literal,)*) => {
        /// A reason code [MQTT5 §2.4]. In 3.1.1 only CONNACK and SUBACK carry one, in codings of their own, which
        /// the codec translates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $byte,)*
        }

        impl ReasonCode {
            /// Every reason code, in the order of their bytes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason code of a byte; `None` if MQTT 5 knows none.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reason_codes! {
    /// Success; normal disconnection; granted QoS 0.
    #[default]
    Success = 0x00,
    /// The subscription is granted with QoS 1.
    GrantedQos1 = 0x01,
    /// The subscription is granted with QoS 2.
    GrantedQos2 = 0x02,
    /// The client disconnects and wants its will published.
    DisconnectWithWill = 0x04,
    /// The message was accepted, but nobody subscribes to it.
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription to remove.
    NoSubscriptionExisted = 0x11,
    /// Continue the authentication.
    ContinueAuthentication = 0x18,
    /// Start the authentication again.
    ReAuthenticate = 0x19,
    /// No better reason is known, or it is not to be told.
    UnspecifiedError = 0x80,
    /// The packet cannot be parsed.
    MalformedPacket = 0x81,
    /// The packet is parsed but against the protocol.
    ProtocolError = 0x82,
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83,
    /// The protocol version is not spoken here.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is not allowed.
    ClientIdentifierNotValid = 0x85,
    /// The user name or password is wrong.
    BadUserNameOrPassword = 0x86,
    /// Not allowed.
    NotAuthorized = 0x87,
    /// The server cannot serve now.
    ServerUnavailable = 0x88,
    /// The server has too much to do.
    ServerBusy = 0x89,
    /// The client was banned.
    Banned = 0x8A,
    /// The server is going away.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported, or another one than before.
    BadAuthenticationMethod = 0x8C,
    /// Nothing was heard for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection took over the session.
    SessionTakenOver = 0x8E,
    /// The topic filter is well-formed but not accepted.
    TopicFilterInvalid = 0x8F,
    /// The topic name is well-formed but not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged publishes than the receive maximum allows.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is zero, above the maximum, or unknown.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver accepts.
    PacketTooLarge = 0x95,
    /// Data comes too fast.
    MessageRateTooHigh = 0x96,
    /// A limit of the implementation or the administrator is exceeded.
    QuotaExceeded = 0x97,
    /// Closed by an administrator.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// Retained messages are not supported.
    RetainNotSupported = 0x9A,
    /// The quality of service is above the maximum.
    QosNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Connections come too fast.
    ConnectionRateExceeded = 0x9F,
    /// The longest time allowed for a connection has passed.
    MaximumConnectTime = 0xA0,
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// Wildcards in subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Whether it tells of a refusal: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self.byte() >= 0x80
    }

    /// Whether a packet of this type from this side may carry the code (tables in MQTT5 §2.4 and in the section of
    /// each packet).
    pub fn is_allowed_in(self, packet_type: PacketType, sender: Side) -> bool {
        let byte = self.byte();
        match packet_type {
            PacketType::Connack => {
                matches!(byte, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
            }
            PacketType::Puback | PacketType::Pubrec => {
                matches!(byte, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::Pubrel | PacketType::Pubcomp => matches!(byte, 0x00 | 0x92),
            PacketType::Suback => {
                matches!(byte, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            PacketType::Unsuback => matches!(byte, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => match sender {
                Side::Client => {
                    matches!(byte, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
                }
                Side::Server => matches!(
                    byte,
                    0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
                ),
            },
            PacketType::Auth => match sender {
                Side::Client => matches!(byte, 0x18 | 0x19),
                Side::Server => matches!(byte, 0x00 | 0x18),
            },
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Pingreq
            | PacketType::Pingresp => false,
        }
    }

    /// The nearest CONNACK return code of 3.1.1 [MQTT311 §3.2.2.3].
    pub fn connect_return_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            // "Server unavailable" is the only one left that does not blame the client's credentials.
            _ => 3,
        }
    }

    /// The reason code that stands for a CONNACK return code of 3.1.1; `None` for a reserved one.
    pub const fn from_connect_return_code(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_codes_map_one_to_one() {
        assert_eq!(ReasonCode::ALL.len(), 43);
        for byte in 0..=255u8 {
            if let Some(code) = ReasonCode::from_byte(byte) {
                assert_eq!(code.byte(), byte);
                assert!(ReasonCode::ALL.contains(&code));
            }
        }
        assert_eq!(ReasonCode::from_byte(0x03), None);
        assert_eq!(ReasonCode::from_byte(0xA3), None);
    }

    #[test]
    fn every_return_code_of_3_1_1_survives_the_translation() {
        for byte in 0..=5u8 {
            let code = ReasonCode::from_connect_return_code(byte).unwrap();
            assert_eq!(code.connect_return_code(), byte);
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
    }

    #[test]
    fn a_client_may_not_disconnect_with_the_servers_reasons() {
        let packet = PacketType::Disconnect;
        assert!(ReasonCode::SessionTakenOver.is_allowed_in(packet, Side::Server));
        assert!(!ReasonCode::SessionTakenOver.is_allowed_in(packet, Side::Client));
        assert!(ReasonCode::DisconnectWithWill.is_allowed_in(packet, Side::Client));
        assert!(!ReasonCode::DisconnectWithWill.is_allowed_in(packet, Side::Server));
    }
}
