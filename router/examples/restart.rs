//! How long commands that wait for their devices are held up by a restart of the router: from the journal's records as bytes to the
//! first command in its gateway's inbox, and to the last, without a disk or a broker.
//! `cargo run --release -p roost-router --example restart [COMMANDS] [GATEWAYS]`: each command for a device of its own, all of them connected.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::time::Instant;

use bytes::Bytes;
use roost_router::journal::{Journal, Record};
use roost_router::{Input, Limits, Lsn, Output, Publication, PublishOutcome, Queue, RouterCore, SourceToken};
use roost_wire::mesh::{ITEMS_MAX, Report};
use roost_wire::{
    BootTime, CommandRequest, Device, GatewayId, Heartbeat, Incarnation, LinkId, Message, Now, Present,
    Properties, SessionId, SettlementItem, SettlementReport, ShardId, Sighting, SightingReport, SyncNumber,
    WallTime,
};

const NOW: Now = Now { boot: BootTime::from_micros(1_000_000), wall: WallTime::from_millis(1_000) };
const PAYLOAD_BYTES: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let commands: u64 = arguments.next().unwrap_or(100_000);
    let gateways: u64 = arguments.next().unwrap_or(10);
    let log = parked(commands, gateways);

    let began = Instant::now();
    let mut journal = Journal::default();
    for bytes in &log {
        journal.apply(&Record::decode(bytes).expect("it was just written"));
    }
    let replayed = began.elapsed();
    let core = RouterCore::start(NOW, ShardId(0), Limits::default(), journal, Lsn(log.len() as u64), 7);
    let mut bench = Bench { core, sources: 0, given: 0, first: None };
    bench.perform();
    let started = began.elapsed();
    for gateway in 0..gateways {
        bench.join(gateway, 2);
    }
    let joined = began.elapsed();
    for gateway in 0..gateways {
        bench.announce(gateway, commands, gateways);
    }
    let first = bench.first.expect("the devices are there").duration_since(began);
    println!("{commands} commands parked for as many devices at {gateways} gateways");
    println!("replayed         {:7.1} ms", replayed.as_secs_f64() * 1e3);
    println!("started          {:7.1} ms", started.as_secs_f64() * 1e3);
    println!("gateways synced  {:7.1} ms", joined.as_secs_f64() * 1e3);
    println!("first command    {:7.1} ms", first.as_secs_f64() * 1e3);
    println!("last command     {:7.1} ms", began.elapsed().as_secs_f64() * 1e3);
    assert_eq!(bench.given, commands, "each was given once");
    assert!(first.as_secs_f64() < 2.0, "the first command was held up for {first:?}");
}

/// The journal of a router that knew the gateways and has the commands, as bytes.
fn parked(commands: u64, gateways: u64) -> Vec<Vec<u8>> {
    let core = RouterCore::start(NOW, ShardId(0), Limits::default(), Journal::default(), Lsn::ZERO, 7);
    let mut bench = Bench { core, sources: 0, given: 0, first: None };
    let mut log = bench.perform();
    for gateway in 0..gateways {
        log.extend(bench.join(gateway, 1));
    }
    for number in 0..commands {
        let id = format!("c{number}").parse().expect("it is a good id");
        let request = CommandRequest::new(device(number), id, Bytes::from_static(&[b'x'; PAYLOAD_BYTES]));
        log.extend(bench.deliver(Queue::Commands, request.into_message("roost.down")));
    }
    assert_eq!(bench.given, 0, "nobody is there");
    log
}

/// A core whose disk and broker take no time.
struct Bench {
    core: RouterCore,
    sources: u64,
    /// Commands that were put into an inbox.
    given: u64,
    /// When the first of them was.
    first: Option<Instant>,
}

impl Bench {
    /// A gateway says over its link that it lives, and that it holds nothing: its `sync`-th time.
    fn join(&mut self, gateway: u64, sync: u64) -> Vec<Vec<u8>> {
        let heartbeat = Heartbeat {
            number: sync,
            sent_at: NOW.boot,
            echo: None,
            inbox: format!("inbox {gateway}"),
            control: format!("control {gateway}"),
            sessions: 0,
            draining: false,
            moves_sessions: false,
            started_at: None,
        };
        let number = SyncNumber(sync);
        let sync = SettlementItem::Sync { number, first: true, last: true, in_flight: Vec::new() };
        let mut log = self.sighting(gateway, Sighting::Heartbeat(heartbeat));
        let (id, incarnation, link) = name(gateway);
        let report = SettlementReport::Gateway { gateway: id, incarnation, link, items: vec![sync] };
        log.extend(self.deliver(Queue::Settlements, message(report.to_body())));
        log
    }

    /// The gateway's snapshot: its part of the devices.
    fn announce(&mut self, gateway: u64, commands: u64, gateways: u64) {
        let own: Vec<u64> = (0..commands).filter(|number| number % gateways == gateway).collect();
        let parts = own.chunks(ITEMS_MAX).collect::<Vec<_>>();
        for (place, part) in parts.iter().enumerate() {
            let session = |number: &u64| Present {
                device: device(*number),
                session: SessionId(1),
                accepted_at: NOW.boot,
            };
            let present = part.iter().map(session).collect();
            let (first, last) = (place == 0, place + 1 == parts.len());
            self.sighting(gateway, Sighting::Snapshot { first, last, present });
        }
    }

    fn sighting(&mut self, gateway: u64, sighting: Sighting) -> Vec<Vec<u8>> {
        let region = "eu".parse().expect("it is a good name");
        let (gateway, incarnation, link) = name(gateway);
        let report = SightingReport { gateway, region, incarnation, link, items: vec![sighting] };
        self.deliver(Queue::Sightings, message(report.to_body()))
    }

    fn deliver(&mut self, queue: Queue, message: Message) -> Vec<Vec<u8>> {
        self.sources += 1;
        let source = SourceToken(self.sources);
        self.core.handle(NOW, Input::Delivered { queue, source, message: Box::new(message) });
        self.perform()
    }

    /// Performs what the core asks for; the records it wrote.
    fn perform(&mut self) -> Vec<Vec<u8>> {
        let mut log = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Journal { lsn, record, .. } => {
                    log.push(record.encode());
                    self.core.handle(NOW, Input::Durable { lsn });
                }
                Output::Publish { token, what } => {
                    if let Publication::Delivery { .. } = what {
                        self.given += 1;
                        self.first.get_or_insert_with(Instant::now);
                    }
                    let outcome = PublishOutcome::Confirmed;
                    self.core.handle(NOW, Input::Published { token, outcome });
                }
                Output::Ack(_)
                | Output::Answer { .. }
                | Output::NoRoom { .. }
                | Output::PauseCommands
                | Output::ResumeCommands
                | Output::Trace(_)
                | Output::SameGatewayId { .. } => {}
            }
        }
        log
    }
}

fn name(gateway: u64) -> (GatewayId, Incarnation, LinkId) {
    (format!("g{gateway}").parse().expect("it is a good name"), Incarnation(1), LinkId(1))
}

fn device(number: u64) -> Device {
    format!("d{number}").parse().expect("it is a good name")
}

fn message(body: Bytes) -> Message {
    Message {
        exchange: "roost.mesh".to_owned(),
        routing_key: String::new(),
        properties: Properties::default(),
        body,
    }
}
