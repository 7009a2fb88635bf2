//! The MQTT packets of 3.1, 3.1.1 and 5.0, as types and on the wire: a strict codec that copies no payload.
//!
//! A [`Decoder`] takes bytes as they come and gives [`Packet`]s, or a [`DecodeError`] that names the clause of the
//! specification that was broken and the reason code to answer with. An [`Encoder`] writes into the caller's buffer.
//! Both work for either side of a connection: the gateway is one, the devices of the tests are the other.
//!
//! What is valid in itself is checked here, once; what depends on the state of a connection (packet identifiers in
//! use, topic aliases known, quotas) is the session's.

mod ack;
mod auth;
mod connack;
mod connect;
mod decode_error;
mod decoder;
mod disconnect;
mod encoder;
mod packet_id;
mod packet_type;
mod property;
mod publish;
mod qos;
mod reader;
mod reason_code;
mod sink;
mod subscribe;
mod text;
mod unsubscribe;
mod user_property;
mod version;

pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{Connack, ConnackProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties};
pub use decode_error::DecodeError;
pub use decoder::{DecodeLimits, Decoder};
pub use disconnect::{Disconnect, DisconnectProperties};
use encoder::Diagnostics;
pub use encoder::{EncodeError, Encoder};
pub use packet_id::{PacketId, SubscriptionId};
pub use packet_type::PacketType;
pub use property::Property;
pub use publish::{Delivery, PayloadFormat, Publish, PublishProperties, PublishPropertiesRef, PublishRef};
pub use qos::QoS;
pub use reason_code::ReasonCode;
pub use subscribe::{
    RetainHandling, Suback, Subscribe, SubscribeFilter, SubscribeOptions, SubscribeProperties,
};
pub use text::{BinaryData, BinaryTooLong, FIELD_BYTES_MAX, Secret, Text, TextError};
pub use unsubscribe::{Unsuback, Unsubscribe, UnsubscribeProperties};
pub use user_property::UserProperty;
pub use version::{ProtocolVersion, Side};

/// Any MQTT control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// Client to server; boxed, since it is large and comes once.
    Connect(Box<Connect>),
    /// Server to client.
    Connack(Connack),
    /// Both ways.
    Publish(Publish),
    /// Both ways.
    Puback(Ack),
    /// Both ways.
    Pubrec(Ack),
    /// Both ways.
    Pubrel(Ack),
    /// Both ways.
    Pubcomp(Ack),
    /// Client to server.
    Subscribe(Subscribe),
    /// Server to client.
    Suback(Suback),
    /// Client to server.
    Unsubscribe(Unsubscribe),
    /// Server to client.
    Unsuback(Unsuback),
    /// Client to server.
    Pingreq,
    /// Server to client.
    Pingresp,
    /// Client to server; in MQTT 5 both ways.
    Disconnect(Disconnect),
    /// Both ways, MQTT 5 only.
    Auth(Auth),
}

impl Packet {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

#[cfg(test)]
mod tests;
