//! QoS 2: what is lost of a handshake comes again, and no message twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::RngExt as _;
use rand::rngs::StdRng;
use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Mesh, PATIENCE, Seed, ServiceKind, eventually,
    on_both_backends,
};

use crate::raw_client::{RawClient, properties_bytes};
use crate::roaming_sessions::both_are_heard;

const CUTS: u32 = 200;

const PUBLISH: u8 = 0x30;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
const PINGREQ: u8 = 0xC0;
const PINGRESP: u8 = 0xD0;
const DUP: u8 = 0b1000;
const QOS_2: u8 = 0b0100;

async fn devices_exchange_messages_at_qos_2(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.*.#").await;
    for (sender, receiver) in
        [(DeviceKind::RumqttcV4, DeviceKind::RumqttcV5), (DeviceKind::RumqttcV5, DeviceKind::RumqttcV4)]
    {
        let mut listening = Device::connected(receiver, &Connect::to(port, "listening")).await;
        listening.subscribe("local/#", 2).await.expect("granted");
        let mut speaking = Device::connected(sender, &Connect::to(port, "speaking")).await;
        for n in 0..50 {
            speaking.publish("local/t", n.to_string().as_bytes(), 2).await.expect("PUBCOMP");
        }
        for n in 0..50 {
            let message = listening.next().await.expect("still connected");
            assert_eq!((message.text(), message.qos, message.duplicate), (n.to_string().as_str(), 2, false));
        }
        assert_eq!(listening.arrived(), []);
        speaking.publish("state", b"on", 2).await.expect("PUBCOMP");
        let event = service.next().await;
        assert_eq!((event.text(), &event.headers["roost-qos"]), ("on", &2.into()));
    }
}

/// A device that publishes at QoS 2 to a service and to itself, with a session that it keeps, as MQTT asks of it.
pub(crate) struct Careful {
    port: u16,
    level: u8,
    id: String,
    /// Published and not over: packet id, topic, text, whether its PUBREC has come.
    sending: VecDeque<(u16, &'static str, String, bool)>,
    /// The ids of what it has received and that were not released.
    held: BTreeSet<u16>,
    pub(crate) got: Vec<String>,
    next_id: u16,
    /// All that it has ever published, with the topic.
    published: BTreeMap<String, &'static str>,
}

impl Careful {
    pub(crate) fn new(port: u16, level: u8) -> Self {
        Self {
            port,
            level,
            id: format!("careful-{level}"),
            sending: VecDeque::new(),
            held: BTreeSet::new(),
            got: Vec::new(),
            next_id: 0,
            published: BTreeMap::new(),
        }
    }

    pub(crate) fn published_to(&self, topic: &str) -> BTreeSet<String> {
        let published = self.published.iter().filter(|(_, to)| **to == topic);
        published.map(|(text, _)| text.clone()).collect()
    }

    /// Connects, and sends again what it has to. What came before may look connected for a moment, and too many such takeovers are
    /// refused.
    pub(crate) async fn connect(&self) -> RawClient {
        let mut client = eventually(&format!("{} is let in", self.id), PATIENCE, async || {
            let connected = RawClient::try_persistent(self.port, self.level, &self.id).await;
            connected.map_err(|code| format!("CONNACK {code:#04x}"))
        })
        .await;
        for (packet_id, topic, text, is_released) in &self.sending {
            match is_released {
                true => client.raw.send_packet(PUBREL, &packet_id.to_be_bytes()).await,
                false => {
                    let body = self.publish_body(*packet_id, topic, text);
                    client.raw.send_packet(PUBLISH | QOS_2 | DUP, &body).await;
                }
            }
        }
        client
    }

    fn publish_body(&self, packet_id: u16, topic: &str, text: &str) -> Vec<u8> {
        let mut body = u16::try_from(topic.len()).expect("short").to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(&packet_id.to_be_bytes());
        if self.level == 5 {
            body.push(0); // no properties
        }
        body.extend_from_slice(text.as_bytes());
        body
    }

    /// A new message, of which so many bytes are sent.
    async fn publish(&mut self, client: &mut RawClient, topic: &'static str, bytes_max: usize) {
        self.next_id = self.next_id % 1_000 + 1;
        let text = (self.published.len() + 1).to_string();
        self.published.insert(text.clone(), topic);
        let body = self.publish_body(self.next_id, topic, &text);
        let mut packet = vec![PUBLISH | QOS_2, u8::try_from(body.len()).expect("short")];
        packet.extend_from_slice(&body);
        packet.truncate(bytes_max);
        client.raw.send(&packet).await;
        self.sending.push_back((self.next_id, topic, text, false));
    }

    /// Takes a packet in; what it has to say to that.
    fn react(&mut self, first: u8, body: &[u8]) -> Option<(u8, u16)> {
        if first & 0xF0 == PUBLISH {
            return Some(self.receive(first, body));
        }
        let packet_id = u16::from_be_bytes([body[0], body[1]]);
        let at = self.sending.iter().position(|(id, ..)| *id == packet_id);
        match first {
            PUBREC => {
                assert!(body.len() == 2 || body[2] < 0x80, "{body:02x?}");
                self.sending[at.expect("it was published")].3 = true;
                Some((PUBREL, packet_id))
            }
            PUBREL => {
                self.held.remove(&packet_id);
                Some((PUBCOMP, packet_id))
            }
            PUBCOMP => {
                self.sending.remove(at.expect("it was released"));
                None
            }
            PINGRESP => None,
            other => panic!("{other:#04x} {body:02x?}"),
        }
    }

    fn receive(&mut self, first: u8, body: &[u8]) -> (u8, u16) {
        assert_eq!(first & 0b0110, QOS_2, "{first:#04x}");
        let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let packet_id = u16::from_be_bytes([body[at], body[at + 1]]);
        let properties = if self.level == 5 { properties_bytes(&body[at + 2..]) } else { 0 };
        if self.held.insert(packet_id) {
            let text = String::from_utf8(body[at + 2 + properties..].to_vec());
            self.got.push(text.expect("it was published as text"));
        }
        (PUBREC, packet_id)
    }

    /// Reads what is there, but no more than so many packets, and answers all but the last of them; whether that was all.
    async fn take(&mut self, client: &mut RawClient, packets_max: u32) -> bool {
        client.raw.send_packet(PINGREQ, &[]).await;
        for n in 1..=packets_max {
            let (first, body) = client.raw.packet().await.expect("the gateway is there");
            if first == PINGRESP {
                return true;
            }
            let reply = self.react(first, &body).filter(|_| n < packets_max);
            if let Some((first, packet_id)) = reply {
                client.raw.send_packet(first, &packet_id.to_be_bytes()).await;
            }
        }
        false
    }

    /// Reads and answers until every handshake is over and it has got so many messages.
    pub(crate) async fn finish(&mut self, client: &mut RawClient, messages: usize) {
        while !self.sending.is_empty() || !self.held.is_empty() || self.got.len() < messages {
            let (first, body) = client.raw.packet().await.expect("the gateway is there");
            if let Some((first, packet_id)) = self.react(first, &body) {
                client.raw.send_packet(first, &packet_id.to_be_bytes()).await;
            }
        }
        client.has_no_more().await;
    }

    /// A connection that does something and breaks somewhere: within a packet, before it has read an answer, before it has said its own.
    pub(crate) async fn live_and_break(&mut self, random: &mut StdRng) {
        let mut client = self.connect().await;
        assert!(client.session_present);
        // No more than its receive maximum.
        let room = 100 - self.sending.len();
        for _ in 0..random.random_range(0..4).min(room) {
            let topic = if random.random_bool(0.5) { "local/self" } else { "count" };
            let cut_within = random.random_bool(0.1);
            let bytes_max = if cut_within { random.random_range(1..10) } else { usize::MAX };
            self.publish(&mut client, topic, bytes_max).await;
            if cut_within {
                return;
            }
        }
        for _ in 0..random.random_range(0..3) {
            if !self.take(&mut client, random.random_range(1..12)).await {
                return;
            }
        }
    }
}

async fn nothing_is_lost_and_nothing_comes_twice_over_two_hundred_cuts(backend: Backend) {
    let seed = Seed::from_environment();
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    for level in [4, 5] {
        let mut random = seed.generator(level.into());
        let mut device = Careful::new(mesh.mqtt_port("eu-1"), level);
        service.consume("roost.up", &format!("main.{}.#", device.id)).await;
        let mut client = device.connect().await;
        client.subscribe_at("local/self", 2).await;
        drop(client);
        for _ in 0..CUTS {
            device.live_and_break(&mut random).await;
        }
        let mut client = device.connect().await;
        let to_itself = device.published_to("local/self");
        device.finish(&mut client, to_itself.len()).await;
        once(&device.got, &to_itself, seed);

        let to_the_service = device.published_to("count");
        device.publish(&mut client, "count", usize::MAX).await;
        let last = device.published.len().to_string();
        let mut counted = Vec::new();
        loop {
            let event = service.next_where(|delivery| delivery.exchange == "roost.up").await;
            if event.text() == last {
                break;
            }
            counted.push(event.text().to_owned());
        }
        once(&counted, &to_the_service, seed);
    }
}

/// All of them, each once.
pub(crate) fn once(got: &[String], published: &BTreeSet<String>, seed: Seed) {
    let different: BTreeSet<String> = got.iter().cloned().collect();
    assert_eq!(different, *published, "{seed}");
    assert_eq!(got.len(), published.len(), "twice, with {seed}: {got:?}");
}

async fn a_handshake_goes_on_at_another_gateway(backend: Backend) {
    let mesh = Federation::of(backend).await.started().await;
    both_are_heard(&mesh).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.*.#").await;
    for level in [4, 5] {
        let mut device = Careful::new(mesh.mqtt_port("eu-1"), level);
        let mut client = device.connect().await;
        client.subscribe_at("local/self", 2).await;
        device.publish(&mut client, "count", usize::MAX).await;
        device.publish(&mut client, "local/self", usize::MAX).await;
        // It reads all that comes and says nothing to it.
        let mut came = Vec::new();
        while came.len() < 3 {
            let (first, body) = client.raw.packet().await.expect("the gateway is there");
            came.push(first & 0xF0);
            if first & 0xF0 == PUBLISH {
                device.receive(first, &body);
            }
        }
        came.sort_unstable();
        assert_eq!(came, [PUBLISH, PUBREC, PUBREC]);
        drop(client);
        device.port = mesh.mqtt_port("us-1");
        let mut client = device.connect().await;
        assert!(client.session_present, "level {level}");
        device.finish(&mut client, 1).await;
        assert_eq!(device.got, ["2"], "once");
        device.publish(&mut client, "count", usize::MAX).await;
        let counted = [service.next().await, service.next().await];
        let counted = counted.each_ref().map(|event| event.text());
        assert_eq!(counted, ["1", "3"], "once");
    }
}

on_both_backends!(
    devices_exchange_messages_at_qos_2,
    nothing_is_lost_and_nothing_comes_twice_over_two_hundred_cuts,
    a_handshake_goes_on_at_another_gateway,
);
