//! What a publish allocates on its way through a shard to one subscriber: nothing, amortised over the publishes of a read.

use bytes::{Bytes, BytesMut};
use roost_gateway::ConnectionId;
use roost_gateway::packet::{
    Ack, Connect, ConnectProperties, DecodeLimits, Decoder, Delivery, Encoder, Packet, PacketId,
    ProtocolVersion, Publish, QoS, Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use roost_gateway::shard::{Input, Output, Shard, ShardConfig};
use roost_wire::{BootTime, Incarnation, Now};

const VERSION: ProtocolVersion = ProtocolVersion::V311;
const PUBLISHER: ConnectionId = ConnectionId(1);
const SUBSCRIBER: ConnectionId = ConnectionId(2);
/// What one read brings.
const BATCH: u16 = 50;
const BATCHES: u16 = 200;

const OWN: &str = "local/a";
const SHARED: &str = "$share/g/local/a";

/// A shard with a publisher and a subscriber of its local topic.
struct Stage {
    shard: Shard,
    decoder: Decoder,
    /// What the subscriber has not decoded yet.
    unread: BytesMut,
    arrived: u32,
    acknowledged: u32,
}

impl Stage {
    fn new(filter: &'static str) -> Self {
        let (gateway, region) = ("eu-1".parse().expect("a gateway id"), "eu".parse().expect("a region"));
        let shard = Shard::new(ShardConfig::new(gateway, region, Incarnation(1), 1));
        let decoder = Decoder::for_client(VERSION, DecodeLimits::default());
        let mut stage = Self { shard, decoder, unread: BytesMut::new(), arrived: 0, acknowledged: 0 };
        for (connection, id) in [(PUBLISHER, "publisher"), (SUBSCRIBER, "subscriber")] {
            stage.handle(Input::Opened { connection, entropy: connection.0 });
            stage.receive(connection, bytes_of(&[connect(id)]));
        }
        let filters = vec![SubscribeFilter {
            filter: Text::from_static(filter),
            options: SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() },
        }];
        let subscribe = Subscribe { packet_id: PacketId::FIRST, filters, properties: None };
        stage.receive(SUBSCRIBER, bytes_of(&[Packet::Subscribe(subscribe)]));
        stage
    }

    fn now() -> Now {
        Now { boot: BootTime::from_micros(1_000_000), ..Now::default() }
    }

    fn receive(&mut self, connection: ConnectionId, bytes: BytesMut) {
        self.handle(Input::Received { connection, bytes });
    }

    /// Takes an input in, and does what the shell would do with what comes out.
    fn handle(&mut self, input: Input) {
        self.shard.handle(Self::now(), input);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Write { connection, bytes } => {
                    match connection {
                        SUBSCRIBER => self.unread.extend_from_slice(&bytes),
                        // A PUBACK has four bytes; CONNACK and SUBACK came before anything is counted.
                        _ => self.acknowledged += bytes.len() as u32 / 4,
                    }
                    let bytes = bytes.len();
                    self.shard.handle(Self::now(), Input::Written { connection, bytes });
                }
                Output::Close { .. } => panic!("a connection was closed"),
                _ => {}
            }
        }
    }

    /// The subscriber reads, and acknowledges what it has to.
    fn subscriber_reads(&mut self, acknowledgements: &mut BytesMut) {
        while let Some(packet) = self.decoder.decode(&mut self.unread).expect("packets") {
            let Packet::Publish(publish) = packet else { continue };
            self.arrived += 1;
            if let Some(packet_id) = publish.delivery.packet_id() {
                Encoder::new(VERSION)
                    .encode(&Packet::Puback(Ack::success(packet_id)), acknowledgements)
                    .expect("it can be encoded");
            }
        }
        if !acknowledgements.is_empty() {
            let bytes = acknowledgements.split();
            self.receive(SUBSCRIBER, bytes);
        }
    }
}

fn connect(id: &'static str) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: VERSION,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Text::from_static(id),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }))
}

fn bytes_of(packets: &[Packet]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for packet in packets {
        Encoder::new(VERSION).encode(packet, &mut bytes).expect("it can be encoded");
    }
    bytes
}

fn publishes(is_acknowledged: bool) -> BytesMut {
    let publish = |number: u16| {
        let packet_id = PacketId::new(number + 1).expect("not zero");
        Packet::Publish(Publish {
            topic: Text::from_static("local/a"),
            delivery: match is_acknowledged {
                true => Delivery::AtLeastOnce { packet_id, dup: false },
                false => Delivery::AtMostOnce,
            },
            retain: false,
            payload: Bytes::from_static(&[7; 256]),
            properties: None,
        })
    };
    bytes_of(&(0..BATCH).map(publish).collect::<Vec<_>>())
}

/// Allocations of the shard for each publish, once everything has its size.
fn allocations_per_publish(is_acknowledged: bool, filter: &'static str) -> f64 {
    let mut stage = Stage::new(filter);
    // Before it is counted: what one read brings is in a buffer that the shell uses again.
    let warm = BATCHES / 4;
    let reads: Vec<BytesMut> = (0..warm + BATCHES).map(|_| publishes(is_acknowledged)).collect();
    let mut counted = 0;
    let mut acknowledgements = BytesMut::with_capacity(1 << 20);
    stage.unread.reserve(1 << 20);
    for (turn, bytes) in reads.into_iter().enumerate() {
        let info = allocation_counter::measure(|| stage.receive(PUBLISHER, bytes));
        if turn >= usize::from(warm) {
            counted += info.count_total;
        }
        stage.subscriber_reads(&mut acknowledgements);
    }
    let all = u32::from(warm + BATCHES) * u32::from(BATCH);
    assert_eq!(stage.arrived, all, "every publish reaches its subscriber");
    assert!(!is_acknowledged || stage.acknowledged >= all, "and is acknowledged: {}", stage.acknowledged);
    counted as f64 / f64::from(u32::from(BATCHES) * u32::from(BATCH))
}

/// Per read a few are left. A debug build compares the route that is remembered with what is so, and makes a list for it.
const AT_MOST: f64 = if cfg!(debug_assertions) { 1.05 } else { 0.05 };

#[test]
fn a_publish_at_qos_0_allocates_nothing() {
    let each = allocations_per_publish(false, OWN);
    assert!(each < AT_MOST, "{each} allocations for each publish");
}

#[test]
fn a_publish_at_qos_1_allocates_nothing() {
    let each = allocations_per_publish(true, OWN);
    assert!(each < AT_MOST, "{each} allocations for each publish");
}

#[test]
fn a_publish_to_a_group_allocates_no_more() {
    for is_acknowledged in [false, true] {
        let (own, shared) =
            (allocations_per_publish(is_acknowledged, OWN), allocations_per_publish(is_acknowledged, SHARED));
        assert!(
            shared <= own + 0.01,
            "{shared} allocations for each publish, {own} to a subscriber of its own"
        );
    }
}
