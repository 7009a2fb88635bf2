//! The identifiers of MQTT 5 properties.

use std::fmt;

macro_rules! properties {
    ($($name:ident = $id:literal, $text:literal, $section:literal;)*) => {
        /// A property's identifier [MQTT5 §2.2.2.2].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // the names are the specification's
        pub enum Property {
            $($name = $id,)*
        }

        impl Property {
            /// Every property.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The property of an identifier; `None` if there is none. All known ones fit one byte.
            pub const fn from_id(id: u8) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The identifier.
            pub const fn id(self) -> u8 {
                self as u8
            }

            /// Where MQTT 5 says which values it may have, and that it comes once.
            pub const fn section(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("MQTT5 §", $section),)*
                }
            }
        }

        impl fmt::Display for Property {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

properties! {
    PayloadFormatIndicator = 0x01, "payload format indicator", "3.3.2.3.2";
    MessageExpiryInterval = 0x02, "message expiry interval", "3.3.2.3.3";
    ContentType = 0x03, "content type", "3.3.2.3.9";
    ResponseTopic = 0x08, "response topic", "3.3.2.3.5";
    CorrelationData = 0x09, "correlation data", "3.3.2.3.6";
    SubscriptionIdentifier = 0x0B, "subscription identifier", "3.8.2.1.2";
    SessionExpiryInterval = 0x11, "session expiry interval", "3.1.2.11.2";
    AssignedClientIdentifier = 0x12, "assigned client identifier", "3.2.2.3.7";
    ServerKeepAlive = 0x13, "server keep alive", "3.2.2.3.14";
    AuthenticationMethod = 0x15, "authentication method", "3.1.2.11.9";
    AuthenticationData = 0x16, "authentication data", "3.1.2.11.10";
    RequestProblemInformation = 0x17, "request problem information", "3.1.2.11.7";
    WillDelayInterval = 0x18, "will delay interval", "3.1.3.2.2";
    RequestResponseInformation = 0x19, "request response information", "3.1.2.11.6";
    ResponseInformation = 0x1A, "response information", "3.2.2.3.15";
    ServerReference = 0x1C, "server reference", "3.2.2.3.16";
    ReasonString = 0x1F, "reason string", "3.2.2.3.9";
    ReceiveMaximum = 0x21, "receive maximum", "3.1.2.11.3";
    TopicAliasMaximum = 0x22, "topic alias maximum", "3.1.2.11.5";
    TopicAlias = 0x23, "topic alias", "3.3.2.3.4";
    MaximumQos = 0x24, "maximum QoS", "3.2.2.3.4";
    RetainAvailable = 0x25, "retain available", "3.2.2.3.5";
    UserProperty = 0x26, "user property", "3.1.2.11.8";
    MaximumPacketSize = 0x27, "maximum packet size", "3.1.2.11.4";
    WildcardSubscriptionAvailable = 0x28, "wildcard subscription available", "3.2.2.3.11";
    SubscriptionIdentifierAvailable = 0x29, "subscription identifiers available", "3.2.2.3.12";
    SharedSubscriptionAvailable = 0x2A, "shared subscription available", "3.2.2.3.13";
}
