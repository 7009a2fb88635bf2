//! CONNECT: a device says who it is and what it wants.

use std::num::{NonZeroU16, NonZeroU32};

use super::{BinaryData, PayloadFormat, ProtocolVersion, QoS, Secret, Text, UserProperty};

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
    /// needs a clean session [MQTT-3.1.3-7], else CONNACK 2 [MQTT-3.1.3-8].
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
