//! Packets in, bytes out.

use bytes::BytesMut;

use super::sink::{Length, Sink, variable_integer_len};
use super::{Connect, FIELD_BYTES_MAX, Packet, PacketType, ProtocolVersion, PublishRef, Text, UserProperty};

/// The largest "Remaining Length" that a fixed header can tell.
const BODY_BYTES_MAX: usize = 268_435_455;

/// Encodes what is sent to one peer: in its version, within its limits. Each method appends to the caller's buffer,
/// and leaves it as it was when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoder {
    /// The version of the connection.
    pub version: ProtocolVersion,
    /// The peer's Maximum Packet Size in bytes, fixed header included; `u32::MAX` if it set none.
    pub packet_bytes_max: u32,
    /// The client's Request Problem Information: if false, reason strings and user properties are left out of all
    /// packets but PUBLISH, CONNACK and DISCONNECT [MQTT-3.1.2-29].
    pub problem_information: bool,
}

/// Why a packet cannot be sent to this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Larger than the peer takes, even without reason string and user properties where those may be dropped. A
    /// PUBLISH is then to be treated as if it had been sent [MQTT-3.1.2-25].
    #[error("packet of {len} bytes is larger than the {max} that the peer takes")]
    TooLarge {
        /// The bytes it would have.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A borrowed topic, response topic, content type or correlation data is too long for its field.
    #[error("field has {0} bytes, more than 65535")]
    FieldTooLong(usize),
    /// A PUBLISH has no topic, and no alias that could stand for it.
    #[error("publish has neither topic nor alias")]
    NoTopic,
    /// AUTH does not exist in 3.1.1.
    #[error("{0} does not exist in this protocol version")]
    NotInVersion(PacketType),
}

impl Encoder {
    /// For a peer of this version that set no limits.
    pub const fn new(version: ProtocolVersion) -> Self {
        Self { version, packet_bytes_max: u32::MAX, problem_information: true }
    }

    /// For the sender of this CONNECT.
    pub fn for_client(connect: &Connect) -> Self {
        let properties = &connect.properties;
        Self {
            version: connect.version,
            packet_bytes_max: properties.maximum_packet_size.map_or(u32::MAX, |max| max.get()),
            problem_information: properties.request_problem_information.unwrap_or(true),
        }
    }

    /// Appends a packet. What the version does not know is left out: in 3.1.1 all properties and most reason codes.
    /// Where the specification allows it, user properties and then the reason string are dropped when they would
    /// make the packet too large for the peer [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.14.2-3] and alike.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing is appended then.
    pub fn encode(&self, packet: &Packet, out: &mut BytesMut) -> Result<(), EncodeError> {
        if let Packet::Publish(publish) = packet {
            return self.encode_publish(&PublishRef::from(publish), out);
        }
        let (diagnostics, body_len) = self.fit(packet)?;
        let packet_type = packet.packet_type();
        self.start(packet_type.number() << 4 | packet_type.fixed_flags(), body_len, body_len, out);
        write_body(packet, self.version, diagnostics, out);
        Ok(())
    }

    /// Appends a PUBLISH made of borrowed parts.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing is appended then.
    pub fn encode_publish(&self, publish: &PublishRef<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        let body_len = self.publish_body_len(publish)?;
        self.start_publish(publish, body_len, body_len, out);
        out.put(publish.payload);
        Ok(())
    }

    /// Appends all of a PUBLISH but its payload, which must follow: so that a large payload can be sent from where
    /// it is, by a vectored write.
    ///
    /// # Errors
    /// [`EncodeError`]; nothing is appended then.
    pub fn encode_publish_head(
        &self,
        publish: &PublishRef<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let body_len = self.publish_body_len(publish)?;
        self.start_publish(publish, body_len, body_len - publish.payload.len(), out);
        Ok(())
    }

    /// How many bytes [`Encoder::encode`] would append.
    ///
    /// # Errors
    /// Those of [`Encoder::encode`].
    pub fn encoded_len(&self, packet: &Packet) -> Result<usize, EncodeError> {
        if let Packet::Publish(publish) = packet {
            return self.publish_len(&PublishRef::from(publish));
        }
        self.fit(packet).map(|(_, body_len)| packet_len(body_len))
    }

    /// How many bytes [`Encoder::encode_publish`] would append.
    ///
    /// # Errors
    /// Those of [`Encoder::encode_publish`].
    pub fn publish_len(&self, publish: &PublishRef<'_>) -> Result<usize, EncodeError> {
        self.publish_body_len(publish).map(packet_len)
    }

    /// The most diagnostics that fit, and the body's length with them.
    fn fit(&self, packet: &Packet) -> Result<(Diagnostics, usize), EncodeError> {
        if matches!(packet, Packet::Auth(_)) && self.version != ProtocolVersion::V5 {
            return Err(EncodeError::NotInVersion(PacketType::Auth));
        }
        let mut diagnostics = self.diagnostics_allowed(packet.packet_type());
        loop {
            let mut length = Length::default();
            write_body(packet, self.version, diagnostics, &mut length);
            match (self.check_len(length.0), diagnostics.fewer()) {
                (Ok(()), _) => return Ok((diagnostics, length.0)),
                (Err(_), Some(fewer)) => diagnostics = fewer,
                (Err(error), None) => return Err(error),
            }
        }
    }

    fn diagnostics_allowed(&self, packet_type: PacketType) -> Diagnostics {
        match packet_type {
            PacketType::Connack | PacketType::Disconnect => Diagnostics::All,
            PacketType::Puback
            | PacketType::Pubrec
            | PacketType::Pubrel
            | PacketType::Pubcomp
            | PacketType::Suback
            | PacketType::Unsuback
            | PacketType::Auth => {
                if self.problem_information {
                    Diagnostics::All
                } else {
                    Diagnostics::None
                }
            }
            // These have no diagnostics to drop.
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Pingreq
            | PacketType::Pingresp => Diagnostics::None,
        }
    }

    fn publish_body_len(&self, publish: &PublishRef<'_>) -> Result<usize, EncodeError> {
        let properties = &publish.properties;
        let alias_stands = self.version == ProtocolVersion::V5 && properties.topic_alias.is_some();
        if publish.topic.is_empty() && !alias_stands {
            return Err(EncodeError::NoTopic);
        }
        let fields = [
            publish.topic.len(),
            properties.response_topic.map_or(0, str::len),
            properties.content_type.map_or(0, str::len),
            properties.correlation_data.map_or(0, <[u8]>::len),
        ];
        if let Some(&len) = fields.iter().find(|&&len| len > FIELD_BYTES_MAX) {
            return Err(EncodeError::FieldTooLong(len));
        }
        let mut length = Length::default();
        publish.encode_head(self.version, &mut length);
        let body_len = length.0 + publish.payload.len();
        self.check_len(body_len)?;
        Ok(body_len)
    }

    fn check_len(&self, body_len: usize) -> Result<(), EncodeError> {
        let max = (self.packet_bytes_max as usize).min(packet_len(BODY_BYTES_MAX));
        if body_len > BODY_BYTES_MAX || packet_len(body_len) > max {
            return Err(EncodeError::TooLarge { len: packet_len(body_len), max });
        }
        Ok(())
    }

    /// Makes room for `written_len` bytes behind the fixed header, and writes that.
    fn start(&self, first: u8, body_len: usize, written_len: usize, out: &mut BytesMut) {
        out.reserve(packet_len(written_len));
        let sink: &mut dyn Sink = out;
        sink.u8(first);
        sink.variable_integer(u32::try_from(body_len).expect("checked against BODY_BYTES_MAX"));
    }

    fn start_publish(
        &self,
        publish: &PublishRef<'_>,
        body_len: usize,
        written_len: usize,
        out: &mut BytesMut,
    ) {
        self.start(PacketType::Publish.number() << 4 | publish.flags(), body_len, written_len, out);
        publish.encode_head(self.version, out);
    }
}

/// The length of a packet with a body of this length.
fn packet_len(body_len: usize) -> usize {
    let integer_len = u32::try_from(body_len).map_or(4, variable_integer_len);
    1 + integer_len + body_len
}

fn write_body(packet: &Packet, version: ProtocolVersion, diagnostics: Diagnostics, sink: &mut dyn Sink) {
    match packet {
        Packet::Connect(connect) => connect.encode(sink),
        Packet::Connack(connack) => connack.encode(version, diagnostics, sink),
        Packet::Publish(publish) => {
            PublishRef::from(publish).encode_head(version, sink);
            sink.put(&publish.payload);
        }
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            ack.encode(version, diagnostics, sink);
        }
        Packet::Subscribe(subscribe) => subscribe.encode(version, sink),
        Packet::Suback(suback) => suback.encode(version, diagnostics, sink),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, sink),
        Packet::Unsuback(unsuback) => unsuback.encode(version, diagnostics, sink),
        Packet::Pingreq | Packet::Pingresp => {}
        Packet::Disconnect(disconnect) => disconnect.encode(version, diagnostics, sink),
        Packet::Auth(auth) => auth.encode(diagnostics, sink),
    }
}

/// How much of what is only meant for people is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Diagnostics {
    All,
    ReasonString,
    None,
}

impl Diagnostics {
    const fn fewer(self) -> Option<Self> {
        match self {
            Self::All => Some(Self::ReasonString),
            Self::ReasonString => Some(Self::None),
            Self::None => None,
        }
    }

    pub(super) fn reason_string(self, reason_string: &Option<Text>) -> Option<&str> {
        match self {
            Self::All | Self::ReasonString => reason_string.as_deref(),
            Self::None => None,
        }
    }

    pub(super) fn user_properties(self, user_properties: &[UserProperty]) -> &[UserProperty] {
        match self {
            Self::All => user_properties,
            Self::ReasonString | Self::None => &[],
        }
    }
}
