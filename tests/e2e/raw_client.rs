//! A client that acknowledges what its test wants acknowledged, and breaks off when it wants to.

use roost_harness::RawMqtt;

/// A connected client, MQTT 3.1.1 (level 4) or 5.
pub(crate) struct RawClient {
    pub(crate) raw: RawMqtt,
    level: u8,
    pub(crate) session_present: bool,
}

/// A PUBLISH at QoS 1 that it has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) text: String,
    pub(crate) packet_id: [u8; 2],
    pub(crate) duplicate: bool,
}

const DUP: u8 = 0b1000;
const CLEAN_START: u8 = 0b10;
/// The session's expiry.
const AN_HOUR: &[u8] = &[0x11, 0, 0, 0x0E, 0x10];

impl RawClient {
    /// With a session that ends with the connection.
    pub(crate) async fn clean(port: u16, level: u8, id: &str) -> Self {
        Self::connect(port, level, id, CLEAN_START, &[]).await
    }

    /// With a session that outlives the connection.
    pub(crate) async fn persistent(port: u16, level: u8, id: &str) -> Self {
        Self::connect(port, level, id, 0, AN_HOUR).await
    }

    /// As [`RawClient::clean`], with MQTT 5, and it takes one message at a time.
    pub(crate) async fn one_at_a_time(port: u16, id: &str) -> Self {
        Self::connect(port, 5, id, CLEAN_START, &[0x21, 0, 1]).await
    }

    /// As [`RawClient::clean`], with MQTT 5, and it takes so many topic aliases.
    pub(crate) async fn with_topic_aliases(port: u16, id: &str, maximum: u8) -> Self {
        Self::connect(port, 5, id, CLEAN_START, &[0x22, 0, maximum]).await
    }

    /// As [`RawClient::persistent`]; the CONNACK's code if it is refused.
    pub(crate) async fn try_persistent(port: u16, level: u8, id: &str) -> Result<Self, u8> {
        Self::try_connect(port, level, id, 0, AN_HOUR).await
    }

    async fn connect(port: u16, level: u8, id: &str, flags: u8, properties: &[u8]) -> Self {
        let connected = Self::try_connect(port, level, id, flags, properties).await;
        connected.unwrap_or_else(|code| panic!("CONNACK {code:#04x}"))
    }

    async fn try_connect(port: u16, level: u8, id: &str, flags: u8, properties: &[u8]) -> Result<Self, u8> {
        let mut raw = RawMqtt::connect(port).await;
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
        if level == 5 {
            body.push(u8::try_from(properties.len()).expect("few"));
            body.extend_from_slice(properties);
        }
        body.extend_from_slice(&u16::try_from(id.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(id.as_bytes());
        raw.send_packet(0x10, &body).await;
        let (first, body) = raw.packet().await.expect("a CONNACK");
        assert_eq!(first, 0x20, "{body:?}");
        if body[1] != 0 {
            return Err(body[1]);
        }
        Ok(Self { raw, level, session_present: body[0] == 1 })
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.subscribe_at(filter, 1).await;
    }

    pub(crate) async fn subscribe_at(&mut self, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        if self.level == 5 {
            body.push(0);
        }
        body.extend_from_slice(&u16::try_from(filter.len()).expect("it is short").to_be_bytes());
        body.extend_from_slice(filter.as_bytes());
        body.push(qos);
        self.raw.send_packet(0x82, &body).await;
        let (first, body) = self.raw.packet().await.expect("a SUBACK");
        assert_eq!((first, body.last()), (0x90, Some(&qos)), "{body:?}");
    }

    pub(crate) async fn next(&mut self) -> Received {
        let (first, body) = self.raw.packet().await.expect("a PUBLISH");
        assert_eq!(first & 0b1111_0110, 0x32, "a PUBLISH at QoS 1: {first:#x}");
        let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let properties = if self.level == 5 { properties_bytes(&body[at + 2..]) } else { 0 };
        Received {
            text: String::from_utf8(body[at + 2 + properties..].to_vec()).expect("the test sends text"),
            packet_id: [body[at], body[at + 1]],
            duplicate: first & DUP != 0,
        }
    }

    pub(crate) async fn acknowledge(&mut self, message: &Received) {
        self.raw.send_packet(0x40, &message.packet_id).await;
    }

    /// Nothing more has come: an answer comes behind all else.
    pub(crate) async fn has_no_more(&mut self) {
        self.raw.send_packet(0xC0, &[]).await;
        let (first, body) = self.raw.packet().await.expect("a PINGRESP");
        assert_eq!(first, 0xD0, "{:?}", String::from_utf8_lossy(&body));
    }
}

/// How many bytes the properties at the beginning take, with their length, which is a variable byte integer [MQTT-1.5.5].
pub(crate) fn properties_bytes(bytes: &[u8]) -> usize {
    let size = 1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count();
    let digits = bytes[..size].iter().rev();
    size + digits.fold(0, |length, byte| length * 128 + usize::from(byte & 0x7f))
}
