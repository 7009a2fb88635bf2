//! Bytes in, packets out.

use bytes::{Buf, Bytes, BytesMut};

use super::reader::{Reader, variable_integer};
use super::{
    Ack, Auth, Connack, Connect, DecodeError, Disconnect, Packet, PacketType, ProtocolVersion, Publish, Side,
    Suback, Subscribe, Unsuback, Unsubscribe, connect, publish,
};

/// What a decoder accepts. Beyond any of them the packet is refused and the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The largest packet in bytes, fixed header included: the Maximum Packet Size that the server announces
    /// (MQTT5 §3.2.2.3.6).
    pub packet_bytes_max: u32,
    /// The largest CONNECT in bytes: before authentication a stranger gets less.
    pub connect_bytes_max: u32,
    /// The largest packet in bytes from a CONNECT to its client's showing who it is: an AUTH.
    pub auth_bytes_max: u32,
    /// User properties in one packet (a will counts on its own): each takes 5 bytes on the wire but 64 in memory.
    pub user_properties_max: u32,
    /// Topic filters in one SUBSCRIBE or UNSUBSCRIBE: each takes 4 bytes on the wire but 40 in memory.
    pub filters_max: u32,
}

impl DecodeLimits {
    /// 256 KiB: room for a firmware block or a photograph's tile, yet a thousand of them fit a small machine.
    pub const PACKET_BYTES_MAX: u32 = 256 * 1024;
    /// 16 KiB is what a connection may cost before it is authenticated; a token as password fits well.
    pub const CONNECT_BYTES_MAX: u32 = 16 * 1024;
    /// 4 KiB: the longest message of any method that there is, four times.
    pub const AUTH_BYTES_MAX: u32 = 4 * 1024;
    /// Clients seen in the field send up to a dozen.
    pub const USER_PROPERTIES_MAX: u32 = 128;
    /// Bridges send their whole list at once.
    pub const FILTERS_MAX: u32 = 1_024;
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            packet_bytes_max: Self::PACKET_BYTES_MAX,
            connect_bytes_max: Self::CONNECT_BYTES_MAX,
            auth_bytes_max: Self::AUTH_BYTES_MAX,
            user_properties_max: Self::USER_PROPERTIES_MAX,
            filters_max: Self::FILTERS_MAX,
        }
    }
}

/// Decodes what one side of one connection receives.
///
/// It holds no bytes: what is not yet a whole packet stays in the caller's buffer. After an error it is of no use.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Who sends what is decoded here.
    sender: Side,
    limits: DecodeLimits,
    /// Known at once to a client, from CONNECT on to a server.
    version: Option<ProtocolVersion>,
    awaits_connect: bool,
    /// Whether a packet may be no longer than an AUTH of a stranger.
    is_authenticating: bool,
}

impl Decoder {
    /// For a server: the first packet must be CONNECT [MQTT-3.1.0-1], and it decides on the version.
    pub const fn for_server(limits: DecodeLimits) -> Self {
        Self { sender: Side::Client, limits, version: None, awaits_connect: true, is_authenticating: false }
    }

    /// For a server behind the CONNECT, which was of this version.
    pub const fn for_connected_server(version: ProtocolVersion, limits: DecodeLimits) -> Self {
        Self {
            sender: Side::Client,
            limits,
            version: Some(version),
            awaits_connect: false,
            is_authenticating: false,
        }
    }

    /// For a client that has sent, or will send, a CONNECT of this version.
    pub const fn for_client(version: ProtocolVersion, limits: DecodeLimits) -> Self {
        Self {
            sender: Side::Server,
            limits,
            version: Some(version),
            awaits_connect: false,
            is_authenticating: false,
        }
    }

    /// Behind a CONNECT: whether its client has to show who it is. Until it has, [`DecodeLimits::auth_bytes_max`] bounds its packets.
    pub const fn authenticating(&mut self, is_authenticating: bool) {
        self.is_authenticating = is_authenticating;
    }

    /// The version of the connection. After an error in the first packet: the version in which to refuse it, and
    /// `None` if the connection is just to be closed.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// Takes one packet off the front of `buffer`; `None` if it is not whole yet. Bytes behind it stay.
    ///
    /// The packet's texts and payload share the memory of `buffer`, which therefore is not free again until they
    /// are dropped or detached. Nothing is reserved for a packet that is only announced, and one that is too large,
    /// of a wrong type or flags is refused as soon as its fixed header is there.
    ///
    /// # Errors
    /// [`DecodeError`]; the connection is then to be closed, after an answer with [`DecodeError::reason`].
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(header) = self.fixed_header(buffer)? else { return Ok(None) };
        if buffer.len() < header.len + header.body_len {
            return Ok(None);
        }
        buffer.advance(header.len);
        // An empty split would still make the buffer a shared one.
        let body = match header.body_len {
            0 => Bytes::new(),
            len => buffer.split_to(len).freeze(),
        };
        let mut reader = Reader::new(body, header.packet_type, self.sender, self.limits);
        let packet = self.body(header, &mut reader)?;
        reader.finish()?;
        Ok(Some(packet))
    }

    /// How many bytes the packet at the front of `buffer` has in all, if its fixed header is there and acceptable:
    /// so that a reader can make room at once, within the limit.
    ///
    /// # Errors
    /// Those of [`Decoder::decode`] that concern the fixed header.
    pub fn packet_len(&self, buffer: &[u8]) -> Result<Option<usize>, DecodeError> {
        Ok(self.fixed_header(buffer)?.map(|header| header.len + header.body_len))
    }

    fn fixed_header(&self, bytes: &[u8]) -> Result<Option<FixedHeader>, DecodeError> {
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let flags = first & 0x0F;
        let packet_type = self.packet_type(first >> 4)?;
        check_header_flags(packet_type, flags, self.version)?;
        let Some((body_len, len)) = variable_integer(rest)? else { return Ok(None) };
        let len = 1 + len;
        let max = match (self.awaits_connect, self.is_authenticating) {
            (true, _) => self.limits.connect_bytes_max.min(self.limits.packet_bytes_max),
            (false, true) => self.limits.auth_bytes_max.min(self.limits.packet_bytes_max),
            (false, false) => self.limits.packet_bytes_max,
        };
        // At most 268,435,460: no overflow.
        let whole_len = body_len + len as u32;
        if whole_len > max {
            return Err(DecodeError::PacketTooLarge { len: whole_len, max });
        }
        Ok(Some(FixedHeader { packet_type, flags, len, body_len: body_len as usize }))
    }

    fn packet_type(&self, number: u8) -> Result<PacketType, DecodeError> {
        let packet_type = PacketType::from_number(number).ok_or(DecodeError::ReservedPacketType(number))?;
        match (packet_type, self.awaits_connect) {
            (PacketType::Connect, true) => return Ok(packet_type),
            (_, true) => return Err(DecodeError::FirstPacketNotConnect(packet_type)),
            (PacketType::Connect, false) if self.sender == Side::Client => {
                return Err(DecodeError::SecondConnect);
            }
            (_, false) => {}
        }
        let version = self.version.expect("a client knows it, a server has it from CONNECT");
        if packet_type == PacketType::Auth && version != ProtocolVersion::V5 {
            return Err(DecodeError::ReservedPacketType(number));
        }
        if !packet_type.is_sent_by(self.sender, version) {
            return Err(DecodeError::WrongDirection(packet_type));
        }
        Ok(packet_type)
    }

    fn body(&mut self, header: FixedHeader, reader: &mut Reader) -> Result<Packet, DecodeError> {
        // Only a server that awaits CONNECT does not know the version.
        let Some(version) = self.version else { return self.connect(reader) };
        Ok(match header.packet_type {
            PacketType::Connect => return Err(DecodeError::SecondConnect),
            PacketType::Connack => Packet::Connack(Connack::decode(reader, version)?),
            PacketType::Publish => Packet::Publish(Publish::decode(reader, header.flags, version)?),
            PacketType::Puback => Packet::Puback(Ack::decode(reader, version)?),
            PacketType::Pubrec => Packet::Pubrec(Ack::decode(reader, version)?),
            PacketType::Pubrel => Packet::Pubrel(Ack::decode(reader, version)?),
            PacketType::Pubcomp => Packet::Pubcomp(Ack::decode(reader, version)?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::decode(reader, version)?),
            PacketType::Suback => Packet::Suback(Suback::decode(reader, version)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(reader, version)?),
            PacketType::Unsuback => Packet::Unsuback(Unsuback::decode(reader, version)?),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect::decode(reader, version)?),
            PacketType::Auth => Packet::Auth(Auth::decode(reader)?),
        })
    }

    fn connect(&mut self, reader: &mut Reader) -> Result<Packet, DecodeError> {
        let version = connect::decode_version(reader).inspect_err(|error| {
            if let DecodeError::UnsupportedVersion { level } = error {
                self.version = Some(refusal_version(*level));
            }
        })?;
        self.version = Some(version);
        let connect = Connect::decode(reader, version)?;
        self.awaits_connect = false;
        Ok(Packet::Connect(Box::new(connect)))
    }
}

/// The version whose CONNACK a client of an unknown level understands best.
const fn refusal_version(level: u8) -> ProtocolVersion {
    match level {
        // Later versions are more likely to look like the latest we know. The highest bit marks the bridges of some
        // brokers (0x83, 0x84), which then try again without it.
        6..=0x7F => ProtocolVersion::V5,
        _ => ProtocolVersion::V311,
    }
}

#[derive(Clone, Copy)]
struct FixedHeader {
    packet_type: PacketType,
    flags: u8,
    /// Its own length.
    len: usize,
    /// The "Remaining Length".
    body_len: usize,
}

fn check_header_flags(
    packet_type: PacketType,
    flags: u8,
    version: Option<ProtocolVersion>,
) -> Result<(), DecodeError> {
    if packet_type == PacketType::Publish {
        return publish::check_flags(flags);
    }
    // A client of MQTT 3.1 may send anything again that it has no answer to, with DUP [MQTT31 §2.1].
    let disregarded = if version == Some(ProtocolVersion::V31) { publish::DUP } else { 0 };
    if flags & !disregarded != packet_type.fixed_flags() {
        return Err(DecodeError::ReservedHeaderFlags { packet_type, flags });
    }
    Ok(())
}
