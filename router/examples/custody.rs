//! What custody of one command costs the router's core: from the shard queue to the published receipt, without a disk or a
//! broker. `cargo run --release -p roost-router --example custody [COMMANDS]`; in turns with and without the remembered steps
//! of `roost why`, since the machine may be busy.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use roost_router::journal::Journal;
use roost_router::{Input, Limits, Lsn, Output, Publication, PublishOutcome, Queue, RouterCore, SourceToken};
use roost_wire::mesh::Report;
use roost_wire::{
    BootTime, CommandRequest, Delivery, Device, GatewayId, Heartbeat, Incarnation, LinkId, Message, Now,
    Outcome, Present, Properties, SessionId, Settlement, SettlementItem, SettlementReport, ShardId, Sighting,
    SightingReport, SyncNumber, WallTime,
};

const DEVICES: u64 = 1_000;
const TURNS: usize = 5;
/// So many commands are taken in before a gateway answers for them.
const BATCH: u64 = 64;

fn main() {
    let commands = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (figures, timelines_max) in figures.iter_mut().zip([0, Limits::default().timelines_max]) {
            figures.push(run(commands, Limits { timelines_max, ..Limits::default() }));
        }
    }
    for (name, mut figures) in
        ["no steps remembered", "steps of 10,000 commands remembered"].into_iter().zip(figures)
    {
        figures.sort_unstable();
        let [least, median, most] = [0, TURNS / 2, TURNS - 1].map(|at| per(figures[at], commands));
        println!("{name}: {median:.2} µs a command ({least:.2} to {most:.2})");
    }
}

fn per(took: Duration, commands: u64) -> f64 {
    took.as_secs_f64() * 1e6 / commands as f64
}

fn run(commands: u64, limits: Limits) -> Duration {
    let mut bench = Bench::new(limits);
    let began = Instant::now();
    for number in 0..commands {
        let device = device(number % DEVICES);
        let id = format!("c{number}").parse().expect("it is a good id");
        let request = CommandRequest::new(device, id, Bytes::from_static(&[b'x'; 256]));
        bench.deliver(Queue::Commands, request.into_message("roost.down"));
        if number % BATCH == BATCH - 1 {
            bench.answer();
        }
    }
    bench.answer();
    let took = began.elapsed();
    assert_eq!(bench.core.journal().commands(), 0, "every command has come to its end");
    took
}

/// A core whose disk and broker take no time, and one gateway that delivers everything.
struct Bench {
    core: RouterCore,
    now: Now,
    sources: u64,
    given: Vec<Delivery>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let now = Now { boot: BootTime::from_micros(1_000_000), wall: WallTime::from_millis(1_000) };
        let core = RouterCore::start(now, ShardId(0), limits, Journal::default(), Lsn::ZERO, 7);
        let mut bench = Self { core, now, sources: 0, given: Vec::new() };
        bench.perform();
        let heartbeat = Heartbeat {
            number: 1,
            sent_at: now.boot,
            echo: None,
            inbox: "inbox".to_owned(),
            control: "control".to_owned(),
            sessions: DEVICES,
            draining: false,
            moves_sessions: false,
            started_at: None,
        };
        let session =
            |number| Present { device: device(number), session: SessionId(1), accepted_at: now.boot };
        let present = (0..DEVICES).map(session).collect();
        let sync =
            SettlementItem::Sync { number: SyncNumber(1), first: true, last: true, in_flight: Vec::new() };
        bench.sighting(Sighting::Heartbeat(heartbeat));
        bench.settled(vec![sync]);
        bench.sighting(Sighting::Snapshot { first: true, last: true, present });
        bench
    }

    fn sighting(&mut self, sighting: Sighting) {
        let region = "eu".parse().expect("it is a good name");
        let (gateway, incarnation, link) = gateway();
        let report = SightingReport { gateway, region, incarnation, link, items: vec![sighting] };
        self.deliver(Queue::Sightings, message(report.to_body()));
    }

    fn settled(&mut self, items: Vec<SettlementItem>) {
        let (gateway, incarnation, link) = gateway();
        let report = SettlementReport::Gateway { gateway, incarnation, link, items };
        self.deliver(Queue::Settlements, message(report.to_body()));
    }

    /// The gateway has delivered all it was given.
    fn answer(&mut self) {
        let settled = |given: Delivery| {
            SettlementItem::Settled(Settlement {
                command: given.id,
                device: given.device,
                session: given.session,
                epoch: given.epoch,
                outcome: Outcome::Delivered,
            })
        };
        let items = std::mem::take(&mut self.given).into_iter().map(settled).collect();
        self.settled(items);
    }

    fn deliver(&mut self, queue: Queue, message: Message) {
        self.sources += 1;
        let source = SourceToken(self.sources);
        self.core.handle(self.now, Input::Delivered { queue, source, message: Box::new(message) });
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Journal { lsn, record, .. } => {
                    std::hint::black_box(record.encode());
                    self.core.handle(self.now, Input::Durable { lsn });
                }
                Output::Publish { token, what } => {
                    if let Publication::Delivery { delivery, .. } = what {
                        self.given.push(*delivery);
                    }
                    let outcome = PublishOutcome::Confirmed;
                    self.core.handle(self.now, Input::Published { token, outcome });
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
    }
}

fn gateway() -> (GatewayId, Incarnation, LinkId) {
    ("eu-1".parse().expect("it is a good name"), Incarnation(1), LinkId(1))
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
