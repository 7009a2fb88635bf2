//! A client that says what its case wants said, and reads packet by packet.

use std::collections::VecDeque;

use roost_harness::RawMqtt;

use crate::case::At;
use crate::packets::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, Publish, ack, framed, properties_bytes, subscribe,
};

/// A connection to the gateway, with or without a CONNECT on it.
pub(crate) struct Client {
    raw: RawMqtt,
    level: u8,
    /// Packets that came while it waited for another one.
    unread: VecDeque<(u8, Vec<u8>)>,
    /// The body of its CONNACK.
    pub(crate) connack: Vec<u8>,
}

/// A PUBLISH that the gateway sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    /// Without their length.
    pub(crate) properties: Vec<u8>,
}

impl Client {
    /// A connection on which nothing was said.
    pub(crate) async fn stranger(at: At) -> Self {
        let raw = RawMqtt::connect(at.port).await;
        Self { raw, level: at.level, unread: VecDeque::new(), connack: Vec::new() }
    }

    /// Says CONNECT and is let in.
    pub(crate) async fn connect(at: At, connect: &Connect) -> Self {
        let mut client = Self::stranger(at).await;
        client.send(&connect.bytes()).await;
        let (first, connack) = client.next().await;
        assert_eq!((first, connack[1]), (0x20, 0), "CONNACK {connack:02x?}");
        Self { connack, ..client }
    }

    /// A client of this case whose session ends with the connection.
    pub(crate) async fn clean(at: At, name: &str) -> Self {
        Self::connect(at, &Connect::clean(at.level, &at.id(name))).await
    }

    /// A client of this case whose session outlives the connection.
    pub(crate) async fn kept(at: At, name: &str) -> Self {
        Self::connect(at, &Connect::kept(at.level, &at.id(name))).await
    }

    /// Whether its CONNACK said that there was a session.
    pub(crate) fn session_present(&self) -> bool {
        self.connack[0] == 1
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.raw.send(bytes).await;
    }

    /// The first byte and the body of the next packet.
    pub(crate) async fn next(&mut self) -> (u8, Vec<u8>) {
        match self.unread.pop_front() {
            Some(packet) => packet,
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        self.raw.packet().await.expect("a packet, and not the end")
    }

    /// The next packet is this one.
    pub(crate) async fn expect(&mut self, packet: &[u8]) {
        let (first, body) = self.next().await;
        assert_eq!(framed(first, &body), packet, "{body:02x?}");
    }

    /// Awaits this acknowledgement of this packet id; what else comes stays unread. Its reason code.
    async fn answer(&mut self, first: u8, packet_id: u16) -> u8 {
        loop {
            match self.read().await {
                (came, body) if came == first && body.starts_with(&packet_id.to_be_bytes()) => {
                    return body.get(2).copied().unwrap_or(0);
                }
                other => self.unread.push_back(other),
            }
        }
    }

    /// The next packet is a PUBLISH.
    pub(crate) async fn message(&mut self) -> Received {
        let (first, body) = self.next().await;
        assert_eq!(first & 0xF0, 0x30, "a PUBLISH: {first:#04x} {body:02x?}");
        Received::parse(self.level, first, &body)
    }

    /// The next packet is a PUBLISH, and the client answers it as it has to.
    pub(crate) async fn take(&mut self) -> Received {
        let message = self.message().await;
        match message.qos {
            0 => {}
            1 => self.send(&ack(0x40, message.packet_id)).await,
            _ => {
                self.send(&ack(0x50, message.packet_id)).await;
                self.answer(0x62, message.packet_id).await;
                self.send(&ack(0x70, message.packet_id)).await;
            }
        }
        message
    }

    /// The payload of the same.
    pub(crate) async fn text(&mut self) -> String {
        String::from_utf8(self.take().await.payload).expect("the case sends text")
    }

    /// Subscribes with these options, and that is granted.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) {
        self.send(&subscribe(self.level, 1, &[(filter, options)], &[])).await;
        let (first, body) = self.next().await;
        assert_eq!((first, body.last().copied()), (0x90, Some(options & 0b11)), "{body:02x?}");
    }

    /// Publishes and awaits all answers; none says an error.
    pub(crate) async fn publish(&mut self, publish: Publish<'_>) {
        self.send(&publish.bytes(self.level)).await;
        let id = publish.packet_id();
        match publish.qos() {
            0 => {}
            1 => assert!(self.answer(0x40, id).await < 0x80, "PUBACK"),
            _ => {
                assert!(self.answer(0x50, id).await < 0x80, "PUBREC");
                self.send(&ack(0x62, id)).await;
                assert_eq!(self.answer(0x70, id).await, 0, "PUBCOMP");
            }
        }
    }

    /// Nothing more has come: a PINGRESP comes behind all else.
    pub(crate) async fn has_no_more(&mut self) {
        self.send(PINGREQ).await;
        self.expect(PINGRESP).await;
    }

    /// Says goodbye, and the gateway has closed the connection.
    pub(crate) async fn leave(mut self) {
        self.send(DISCONNECT).await;
        assert!(self.raw.rest().await.is_empty(), "nothing is said after a goodbye");
    }

    /// Is gone without a goodbye, once the gateway has heard of it: until then a client may not know of its session, which
    /// is not kept.
    pub(crate) async fn break_off(mut self) {
        self.has_no_more().await;
    }

    /// The gateway closes: in MQTT 5 with a DISCONNECT of this reason, before it without a word.
    pub(crate) async fn expect_disconnect(self, reason: u8) {
        self.expect_disconnect_of(&[reason]).await;
    }

    /// The same where the specification leaves a choice, or two clauses are broken at once.
    pub(crate) async fn expect_disconnect_of(mut self, reasons: &[u8]) {
        if self.level == 5 {
            let (first, body) = self.next().await;
            let is_expected = first == 0xE0 && body.first().is_some_and(|reason| reasons.contains(reason));
            assert!(is_expected, "a DISCONNECT of {reasons:02x?}: {first:#04x} {body:02x?}");
        }
        self.expect_end().await;
    }

    /// The gateway closes without another word.
    pub(crate) async fn expect_end(mut self) {
        let rest = self.raw.rest().await;
        assert!(rest.is_empty(), "{rest:02x?}");
    }
}

impl Received {
    fn parse(level: u8, first: u8, body: &[u8]) -> Self {
        let qos = first >> 1 & 0b11;
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (packet_id, at) = match qos {
            0 => (0, topic_end),
            _ => (u16::from_be_bytes([body[topic_end], body[topic_end + 1]]), topic_end + 2),
        };
        let properties = if level == 5 { properties_bytes(&body[at..]) } else { 0 };
        let length = if level == 5 { 1 + usize::from(properties > 128) } else { 0 };
        Self {
            topic: String::from_utf8(body[2..topic_end].to_vec()).expect("a topic is UTF-8"),
            payload: body[at + properties..].to_vec(),
            qos,
            retain: first & 1 != 0,
            dup: first & 0b1000 != 0,
            packet_id,
            properties: body[at + length..at + properties].to_vec(),
        }
    }

    /// Its payload.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the case sends text")
    }
}
