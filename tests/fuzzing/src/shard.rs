//! Anything that can happen to a shard, in any order: no panic, and every effect is one that the shell can perform.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use roost_gateway::shard::{Backend, Input, Output, Shard, ShardConfig};
use roost_gateway::{ConnectionId, Limits, Publication, PublishOutcome};
use roost_wire::{Incarnation, Now};

/// Packets of a client, for whoever does not find their bytes by chance: CONNECTs of three versions, a subscription for each, publishes at
/// every quality of service, and what may follow them.
const PACKETS: [&[u8]; 16] = [
    b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x02v5",
    b"\x10\x14\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x00\x05\x00\x02v5",
    b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x00\x00\x02v4",
    b"\x10\x19\x00\x04MQTT\x04\x2e\x00\x05\x00\x02v4\x00\x05local\x00\x02by",
    b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x00\x00\x02v3",
    b"\x82\x0c\x00\x01\x00\x07local/#\x02",
    b"\x82\x0d\x00\x02\x00\x00\x07local/#\x02",
    b"\x82\x12\x00\x03\x00\x00\x0c$share/g/+/a\x01",
    b"\xa2\x0c\x00\x04\x00\x00\x07local/#",
    b"\x30\x0a\x00\x07local/a\x00",
    b"\x33\x0d\x00\x07local/a\x00\x01\x00x",
    b"\x34\x0c\x00\x07local/a\x00\x02\x00",
    b"\x32\x08\x00\x02up\x00\x03\x00x",
    b"\x62\x02\x00\x02",
    b"\x40\x02\x00\x01",
    b"\xe0\x00",
];

/// Runs a sequence of steps; how many there were.
///
/// # Panics
/// If an effect is none that can be performed.
#[must_use]
pub fn check(input: &[u8]) -> u64 {
    let mut world = World::new();
    let mut rest = input;
    let mut steps = 0;
    while let Some((&[kind, n], behind)) = rest.split_first_chunk() {
        rest = behind;
        steps += 1;
        let input = match kind % 16 {
            0 => Some(world.open()),
            1..=5 => world.receive(n, PACKETS[usize::from(n >> 2) % PACKETS.len()]),
            6..=8 => {
                let (bytes, behind) = rest.split_at(usize::from(n >> 2).min(rest.len()));
                rest = behind;
                world.receive(n, bytes)
            }
            9 => world.close(n),
            10 | 11 => world.take(n),
            12 => world.answer(n),
            13 => Some(Input::Backend(if n & 1 == 0 { Backend::Up } else { Backend::Away })),
            14 => {
                world.now.boot = world.now.boot + Duration::from_millis(u64::from(n) * 100);
                Some(Input::Tick)
            }
            _ if n == 0 => Some(Input::Drain { grace: Duration::from_secs(1) }),
            _ => Some(Input::Tick),
        };
        if let Some(input) = input {
            world.input(input);
        }
    }
    steps
}

struct World {
    shard: Shard,
    now: Now,
    open: Vec<ConnectionId>,
    writes: Vec<(ConnectionId, usize)>,
    paused: BTreeSet<ConnectionId>,
    events: VecDeque<Publication>,
    opened: u64,
}

/// Few, so that it is reached.
const EVENTS_MAX: usize = 4;

impl World {
    fn new() -> Self {
        let (gateway, region) = ("eu-1".parse().expect("a good id"), "eu".parse().expect("a good region"));
        let limits = Limits { queue_messages_max: 4, uplink_events_max: EVENTS_MAX, ..Limits::default() };
        let config = ShardConfig { limits, ..ShardConfig::new(gateway, region, Incarnation(1), 1) };
        Self {
            shard: Shard::new(config),
            now: Now::default(),
            open: Vec::new(),
            writes: Vec::new(),
            paused: BTreeSet::new(),
            events: VecDeque::new(),
            opened: 0,
        }
    }

    fn nth(&self, n: u8) -> Option<ConnectionId> {
        self.open.get(usize::from(n & 3) % self.open.len().max(1)).copied()
    }

    fn open(&mut self) -> Input {
        self.opened += 1;
        let connection = ConnectionId(self.opened);
        self.open.push(connection);
        Input::Opened { connection, entropy: self.opened }
    }

    /// Bytes of the client on one of the connections.
    fn receive(&self, n: u8, bytes: &[u8]) -> Option<Input> {
        let connection = self.nth(n).filter(|_| !bytes.is_empty())?;
        Some(Input::Received { connection, bytes: BytesMut::from(bytes) })
    }

    fn close(&mut self, n: u8) -> Option<Input> {
        let connection = self.nth(n)?;
        self.forget(connection);
        Some(Input::Closed { connection })
    }

    /// The socket of one of the connections takes what it has.
    fn take(&mut self, n: u8) -> Option<Input> {
        let nth = usize::from(n).checked_rem(self.writes.len())?;
        let (connection, bytes) = self.writes.remove(nth);
        Some(Input::Written { connection, bytes })
    }

    fn answer(&mut self, n: u8) -> Option<Input> {
        let outcomes = [PublishOutcome::Confirmed, PublishOutcome::Returned, PublishOutcome::Nacked];
        let event = self.events.pop_front()?;
        Some(Input::Published { token: event.token, outcome: outcomes[usize::from(n) % outcomes.len()] })
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.open.retain(|other| *other != connection);
        self.writes.retain(|(other, _)| *other != connection);
        self.paused.remove(&connection);
    }

    fn input(&mut self, input: Input) {
        self.shard.handle(self.now, input);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Write { connection, bytes } => {
                    assert!(self.open.contains(&connection) && !bytes.is_empty());
                    assert!(self.writes.iter().all(|(other, _)| *other != connection), "one write at a time");
                    self.writes.push((connection, bytes.len()));
                }
                Output::Close { connection, .. } => {
                    assert!(self.open.contains(&connection), "closed once");
                    self.forget(connection);
                }
                Output::PauseReading { connection } => assert!(self.paused.insert(connection)),
                Output::ResumeReading { connection } => assert!(self.paused.remove(&connection)),
                Output::HandOver { .. } | Output::Shard { .. } => panic!("there is one shard"),
                Output::Spool { .. } => panic!("there is no spool"),
                Output::Publish(publication) => self.events.push_back(*publication),
                Output::BroadcastTaken { .. } => panic!("there is no prefix"),
                Output::Store(_) | Output::ReadSession { .. } => panic!("there is no store"),
                Output::Link(_) | Output::Notice(_) | Output::Trace(_) | Output::Drained => {}
            }
        }
        let gauges = self.shard.gauges();
        assert_eq!((gauges.connections, gauges.connections_paused), (self.open.len(), self.paused.len()));
        assert!(gauges.uplink_events <= EVENTS_MAX);
    }
}
