//! What a publish costs in the core alone, without sockets: pairs of a publisher and a subscriber of its own topic, QoS 1, 256 bytes.
//!
//! `cargo bench -p roost-gateway --bench pairs [-- PUBLISHES]` prints nanoseconds of the processor and allocations for each, of five rounds the least; and the
//! nanoseconds where four shards divide the clients and every second pair's are in two of them, which one thread drives in turn: what
//! crossing costs, without what threads cost.

#![expect(clippy::print_stdout, reason = "what it measures is what it is for")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roost_gateway::packet::{
    Connect, ConnectProperties, Delivery, Encoder, Packet, PacketId, ProtocolVersion, Publish, QoS,
    Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use roost_gateway::shard::{Input, Output, Shard, ShardConfig, ShardWord};
use roost_gateway::{ConnectionId, Count, Interests, Placement, ShardIndex};
use roost_wire::{BootTime, Incarnation, Now};

const VERSION: ProtocolVersion = ProtocolVersion::V311;
const PAIRS: u64 = 200;
/// What one read brings.
const BATCH: u16 = 16;
const ROUNDS: usize = 5;

struct Stage {
    shards: Vec<Shard>,
    /// Where each connection's device belongs.
    homes: Vec<ShardIndex>,
    /// What is on its way from one shard to another.
    words: Vec<(ShardIndex, ShardIndex, Vec<ShardWord>)>,
    now: Now,
    delivered: u64,
    acknowledged: u64,
    /// PUBLISHes that each subscriber has got.
    arrived: Vec<(u64, u16)>,
    /// The packet id of the next one, by connection.
    next_ids: Vec<u16>,
}

impl Stage {
    fn new(shards: u16) -> Self {
        let (gateway, region) = ("eu-1".parse().expect("a gateway id"), "eu".parse().expect("a region"));
        let config = ShardConfig::new(gateway, region, Incarnation(1), 1);
        let interests = Arc::new(Interests::new(1, shards));
        let shard = |index| {
            let (placement, interests) = (Placement::new(ShardIndex(index), shards), Arc::clone(&interests));
            Shard::new(ShardConfig { placement, interests, ..config.clone() })
        };
        let now = Now { boot: BootTime::from_micros(1_000_000), ..Now::default() };
        let mut stage = Self {
            shards: (0..shards).map(shard).collect(),
            homes: Vec::new(),
            words: Vec::new(),
            now,
            delivered: 0,
            acknowledged: 0,
            arrived: Vec::new(),
            next_ids: vec![1; 2 * PAIRS as usize],
        };
        for pair in 0..PAIRS {
            // Of every second pair the subscriber is one shard further.
            let homes = [pair, pair + pair / u64::from(shards) % 2].map(|at| at % u64::from(shards));
            for (connection, home) in [publisher(pair), subscriber(pair)].into_iter().zip(homes) {
                let home = ShardIndex(home as u16);
                stage.homes.push(home);
                stage.handle(home, Input::Opened { connection, entropy: connection.0 });
                let bytes = bytes_of(&[connect(name(connection, home, shards))]);
                stage.handle(home, Input::Received { connection, bytes });
            }
            let filters = vec![SubscribeFilter {
                filter: topic(pair),
                options: SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() },
            }];
            let subscribe = Subscribe { packet_id: PacketId::FIRST, filters, properties: None };
            let bytes = bytes_of(&[Packet::Subscribe(subscribe)]);
            stage.receive(subscriber(pair), bytes);
        }
        stage
    }

    fn receive(&mut self, connection: ConnectionId, bytes: BytesMut) {
        self.handle(self.homes[connection.0 as usize], Input::Received { connection, bytes });
        while let Some((from, to, words)) = self.words.pop() {
            self.handle(to, Input::Shard { from, words });
        }
    }

    /// Takes an input in, and does what the shell would do with what comes out.
    fn handle(&mut self, at: ShardIndex, input: Input) {
        let shard = &mut self.shards[usize::from(at.0)];
        shard.handle(self.now, input);
        while let Some(output) = shard.poll_output() {
            match output {
                Output::Shard { to, word } => {
                    match self.words.iter_mut().find(|(from, other, _)| (*from, *other) == (at, to)) {
                        Some((.., words)) => words.push(*word),
                        None => self.words.push((at, to, vec![*word])),
                    }
                }
                Output::Write { connection, bytes } => {
                    if connection.0 % 2 == 1 {
                        self.arrived.push((connection.0, arrived(&bytes)));
                    } else {
                        self.acknowledged += bytes.len() as u64 / 4;
                    }
                    shard.handle(self.now, Input::Written { connection, bytes: bytes.len() });
                }
                Output::Close { .. } => panic!("a connection was closed"),
                _ => {}
            }
        }
    }

    /// Nanoseconds of the processor for each publish, of the round that took the least.
    fn measure(&mut self, publishes: u64, sent: &[Bytes], acks: &mut BytesMut, buffer: &mut BytesMut) -> f64 {
        self.round(publishes / 10, sent, acks, buffer);
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            let (began, before) = (cpu_ns(), self.delivered);
            self.round(publishes, sent, acks, buffer);
            best = best.min((cpu_ns() - began) as f64 / (self.delivered - before) as f64);
        }
        best
    }

    fn round(&mut self, publishes: u64, sent: &[Bytes], acks: &mut BytesMut, buffer: &mut BytesMut) {
        let until = self.delivered + publishes;
        let mut pair = 0;
        while self.delivered < until {
            buffer.reserve(64 * 1024);
            buffer.extend_from_slice(&sent[pair as usize]);
            let bytes = buffer.split();
            self.receive(publisher(pair), bytes);
            while let Some((connection, many)) = self.arrived.pop() {
                acks.reserve(64 * 1024);
                for _ in 0..many {
                    let id = &mut self.next_ids[connection as usize];
                    acks.extend_from_slice(&[0x40, 2, (*id >> 8) as u8, *id as u8]);
                    *id = id.checked_add(1).unwrap_or(1);
                }
                self.delivered += u64::from(many);
                let bytes = acks.split();
                self.receive(ConnectionId(connection), bytes);
            }
            pair = (pair + 1) % PAIRS;
        }
    }
}

/// For how long this thread has run, whatever else the machine does.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("its first number")
}

/// A client id whose device belongs to that shard.
fn name(connection: ConnectionId, home: ShardIndex, shards: u16) -> String {
    let names = (0..).map(|n: u32| format!("c{}-{n}", connection.0));
    let placement = Placement::new(home, shards);
    let is_at_home = |name: &String| placement.holds(&name.parse().expect("a device"));
    names.into_iter().find(is_at_home).expect("the names do not end")
}

const fn publisher(pair: u64) -> ConnectionId {
    ConnectionId(2 * pair)
}

const fn subscriber(pair: u64) -> ConnectionId {
    ConnectionId(2 * pair + 1)
}

fn topic(pair: u64) -> Text {
    Text::parse(format!("local/flood/{pair}")).expect("a text")
}

/// How many PUBLISHes these bytes are.
fn arrived(bytes: &[u8]) -> u16 {
    let (mut at, mut many) = (0, 0);
    while at < bytes.len() {
        let (mut length, mut shift, mut head) = (0_usize, 0, 1);
        loop {
            let byte = bytes[at + head];
            length |= usize::from(byte & 0x7f) << shift;
            (shift, head) = (shift + 7, head + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        many += u16::from(bytes[at] >> 4 == 3);
        at += head + length;
    }
    many
}

fn connect(id: String) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: VERSION,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Text::parse(id).expect("a text"),
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

fn publishes(pair: u64) -> Bytes {
    let publish = |number: u16| {
        let packet_id = PacketId::new(number + 1).expect("not zero");
        Packet::Publish(Publish {
            topic: topic(pair),
            delivery: Delivery::AtLeastOnce { packet_id, dup: false },
            retain: false,
            payload: Bytes::from_static(&[7; 256]),
            properties: None,
        })
    };
    bytes_of(&(0..BATCH).map(publish).collect::<Vec<_>>()).freeze()
}

fn main() {
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let publishes_each: u64 = asked.unwrap_or(1_000_000);
    let sent: Vec<Bytes> = (0..PAIRS).map(publishes).collect();
    let (mut acks, mut buffer) = (BytesMut::with_capacity(64 * 1024), BytesMut::with_capacity(64 * 1024));
    let mut stage = Stage::new(1);
    let best = stage.measure(publishes_each, &sent, &mut acks, &mut buffer);
    let before = stage.delivered;
    let counted = allocation_counter::measure(|| {
        stage.round(publishes_each, &sent, &mut acks, &mut buffer);
    });
    let allocations = counted.count_total as f64 / (stage.delivered - before) as f64;
    assert!(stage.acknowledged >= stage.delivered, "every publish is acknowledged");
    assert!(allocations < 0.05, "{allocations} allocations for each publish");
    println!("{best:.0} ns and {allocations:.2} allocations for each publish");

    let mut stage = Stage::new(4);
    let four = stage.measure(publishes_each, &sent, &mut acks, &mut buffer);
    let crossed: u64 = stage.shards.iter().map(|shard| shard.counters().of(Count::Crossed)).sum();
    assert!(stage.acknowledged >= stage.delivered, "every publish is acknowledged");
    let part = crossed as f64 / stage.delivered as f64;
    println!(
        "{four:.0} ns on four shards, {:.0}% of them crossing: {:.2} times as much",
        part * 100.0,
        four / best
    );
}
