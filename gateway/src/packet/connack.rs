//! CONNACK: the gateway accepts or refuses a connection.

use std::num::{NonZeroU16, NonZeroU32};

use super::{QoS, ReasonCode, Secret, Text, UserProperty};

/// A CONNACK packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connack {
    /// Whether the server kept a session; only with [`ReasonCode::Success`] [MQTT-3.2.2-6].
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
