//! SUBSCRIBE and SUBACK.

use super::{AckProperties, PacketId, QoS, ReasonCode, SubscriptionId, Text, UserProperty};

/// A SUBSCRIBE packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Named again by the SUBACK.
    pub packet_id: PacketId,
    /// What to subscribe to; at least one [MQTT-3.8.3-2].
    pub filters: Vec<SubscribeFilter>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<SubscribeProperties>>,
}

/// One topic filter with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// Not empty. Whether the wildcards are well placed is not checked here: a bad one gets its own answer in the SUBACK.
    pub filter: Text,
    /// The options.
    pub options: SubscribeOptions,
}

/// The subscription options [MQTT5 §3.8.3.1]; 3.1.1 has only the quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeOptions {
    /// The highest quality of service wanted.
    pub qos: QoS,
    /// Do not send it to the client that published it; never with a shared subscription [MQTT-3.8.3-4].
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// When to send the retained messages.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; what 3.1.1 does.
    #[default]
    SendAlways = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// The properties of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeProperties {
    /// Comes back with each message that the subscriptions match.
    pub subscription_id: Option<SubscriptionId>,
    /// The user's pairs.
    pub user_properties: Vec<UserProperty>,
}

/// A SUBACK packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// The SUBSCRIBE it belongs to.
    pub packet_id: PacketId,
    /// One for each filter, in their order [MQTT-3.9.3-1]. In 3.1.1 each refusal is sent as 0x80.
    pub reasons: Vec<ReasonCode>,
    /// MQTT 5 only; `None` if there are none.
    pub properties: Option<Box<AckProperties>>,
}
