//! Packets as bytes: those of a good client, for cases that then change what they are about.

/// A first byte, the length, a body.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(variable_integer(body.len()));
    packet.extend_from_slice(body);
    packet
}

/// A string or binary data, behind its length of two bytes.
pub(crate) fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a field has at most 65,535 bytes");
    [&length.to_be_bytes(), bytes].concat()
}

/// In MQTT 5 the properties behind their length; before it there are none.
pub(crate) fn properties(level: u8, bytes: &[u8]) -> Vec<u8> {
    match level {
        5 => [variable_integer(bytes.len()), bytes.to_vec()].concat(),
        _ => Vec::new(),
    }
}

fn variable_integer(mut rest: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(rest % 128).expect("less than 128");
        rest /= 128;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// How many bytes the properties at the beginning take, with their length.
pub(crate) fn properties_bytes(bytes: &[u8]) -> usize {
    let size = 1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count();
    let digits = bytes[..size].iter().rev();
    size + digits.fold(0, |length, byte| length * 128 + usize::from(byte & 0x7f))
}

/// An hour of session expiry.
pub(crate) const AN_HOUR: &[u8] = &[0x11, 0, 0, 0x0E, 0x10];

/// A CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) level: u8,
    /// The connect flags.
    pub(crate) flags: u8,
    pub(crate) keep_alive_s: u16,
    pub(crate) properties: Vec<u8>,
    /// What stands behind the properties: the client id and what the flags announce.
    pub(crate) payload: Vec<u8>,
}

impl Connect {
    const CLEAN: u8 = 0b10;

    /// With a session that ends with the connection.
    pub(crate) fn clean(level: u8, id: &str) -> Self {
        let payload = field(id.as_bytes());
        Self { level, flags: Self::CLEAN, keep_alive_s: 60, properties: Vec::new(), payload }
    }

    /// With a session that outlives the connection by an hour.
    pub(crate) fn kept(level: u8, id: &str) -> Self {
        Self { flags: 0, ..Self::clean(level, id) }.with(AN_HOUR)
    }

    /// With more properties, in MQTT 5.
    pub(crate) fn with(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// With a will at QoS 0.
    pub(crate) fn with_will(self, topic: &str, payload: &[u8]) -> Self {
        self.with_will_of(0, topic, payload, &[])
    }

    /// With a will of these flags (QoS in bits 4 and 3, RETAIN in bit 5) and, in MQTT 5, properties.
    pub(crate) fn with_will_of(mut self, flags: u8, topic: &str, payload: &[u8], more: &[u8]) -> Self {
        self.flags |= 0b100 | flags;
        self.payload.extend(properties(self.level, more));
        self.payload.extend(field(topic.as_bytes()));
        self.payload.extend(field(payload));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut body = b"\x00\x04MQTT".to_vec();
        body.extend_from_slice(&[self.level, self.flags]);
        body.extend_from_slice(&self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.level, &self.properties));
        body.extend_from_slice(&self.payload);
        framed(0x10, &body)
    }
}

/// A PUBLISH.
#[derive(Debug, Clone)]
pub(crate) struct Publish<'a> {
    topic: &'a str,
    payload: &'a [u8],
    flags: u8,
    packet_id: u16,
    properties: &'a [u8],
}

impl<'a> Publish<'a> {
    /// At QoS 0.
    pub(crate) fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self { topic, payload, flags: 0, packet_id: 0, properties: &[] }
    }

    pub(crate) fn at(self, qos: u8, packet_id: u16) -> Self {
        Self { flags: self.flags | qos << 1, packet_id, ..self }
    }

    pub(crate) fn retained(self) -> Self {
        Self { flags: self.flags | 1, ..self }
    }

    pub(crate) fn again(self) -> Self {
        Self { flags: self.flags | 0b1000, ..self }
    }

    pub(crate) fn with(self, properties: &'a [u8]) -> Self {
        Self { properties, ..self }
    }

    pub(crate) fn qos(&self) -> u8 {
        self.flags >> 1 & 0b11
    }

    pub(crate) fn packet_id(&self) -> u16 {
        self.packet_id
    }

    pub(crate) fn bytes(&self, level: u8) -> Vec<u8> {
        let mut body = field(self.topic.as_bytes());
        if self.qos() > 0 {
            body.extend_from_slice(&self.packet_id.to_be_bytes());
        }
        body.extend(properties(level, self.properties));
        body.extend_from_slice(self.payload);
        framed(0x30 | self.flags, &body)
    }
}

/// A SUBSCRIBE: filters with their options, which before MQTT 5 are the QoS alone.
pub(crate) fn subscribe(level: u8, packet_id: u16, filters: &[(&str, u8)], more: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(level, more));
    for (filter, options) in filters {
        body.extend(field(filter.as_bytes()));
        body.push(*options);
    }
    framed(0x82, &body)
}

/// An UNSUBSCRIBE.
pub(crate) fn unsubscribe(level: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(level, &[]));
    for filter in filters {
        body.extend(field(filter.as_bytes()));
    }
    framed(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by its first byte, that says success.
pub(crate) fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    framed(first, &packet_id.to_be_bytes())
}

/// The same with a reason code, in MQTT 5.
pub(crate) fn ack_with(first: u8, packet_id: u16, reason: u8) -> Vec<u8> {
    framed(first, &[&packet_id.to_be_bytes()[..], &[reason]].concat())
}

pub(crate) const PINGREQ: &[u8] = &[0xC0, 0];
pub(crate) const PINGRESP: &[u8] = &[0xD0, 0];
pub(crate) const DISCONNECT: &[u8] = &[0xE0, 0];
