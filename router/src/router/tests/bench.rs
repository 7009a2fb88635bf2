//! A router core with its disk and its queues in the test's hand, and gateways that say what the test tells them to.

use std::time::Duration;

use bytes::Bytes;
use roost_wire::mesh::Report as _;
use roost_wire::{
    BootTime, CommandRequest, Control, Delivery, Device, Echo, GatewayId, Heartbeat, InFlight, Incarnation,
    LinkId, Message, Now, Outcome, Presence, Present, Properties, QuestionId, Receipt, ReceiptState,
    ReceiptsWanted, SessionId, Settlement, SettlementItem, SettlementReport, ShardId, Sighting,
    SightingReport, SyncNumber, WallTime,
};

use crate::journal::{Journal, Record};
use crate::{
    Input, Limits, Lsn, Output, Publication, PublishOutcome, PublishToken, Queue, ReceiptAddress, RequestId,
    RouterCore, SourceToken,
};

pub(super) struct Bench {
    pub(super) core: RouterCore,
    pub(super) now: Now,
    /// The records that were written, as bytes.
    pub(super) log: Vec<Vec<u8>>,
    /// Whether what is written is on disk at once, and what is published is confirmed at once.
    pub(super) is_quick: bool,
    pub(super) durable: usize,
    pub(super) said: Vec<Output>,
    /// Words of the router that a test has looked at, and left for the next one to look at.
    pub(super) unread: Vec<(String, Control)>,
    pub(super) limits: Limits,
    next_source: u64,
}

/// A gateway as the test has it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) id: GatewayId,
    pub(super) incarnation: Incarnation,
    pub(super) link: LinkId,
    pub(super) sync: SyncNumber,
    pub(super) beats: u64,
    /// Whether it moves sessions. Then it says how its clock stands, which is the router's.
    pub(super) roams: bool,
    pub(super) began: Option<BootTime>,
    pub(super) echo: Option<Echo>,
    pub(super) drains: bool,
}

pub(super) fn device(name: &str) -> Device {
    name.parse().unwrap()
}

pub(super) fn command(to: &str, id: &str) -> CommandRequest {
    let mut command = CommandRequest::new(device(to), id.parse().unwrap(), Bytes::from(id.to_owned()));
    command.receipts = ReceiptsWanted::All;
    command
}

fn replayed(log: &[Vec<u8>]) -> Journal {
    let mut journal = Journal::default();
    for bytes in log {
        journal.apply(&Record::decode(bytes).unwrap());
    }
    journal
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let now = Now { boot: BootTime::from_micros(1_000_000_000), wall: WallTime::from_millis(1_000) };
        Self::on(limits, Vec::new(), now)
    }

    fn on(limits: Limits, log: Vec<Vec<u8>>, now: Now) -> Self {
        let journal = replayed(&log);
        let last = Lsn(log.len() as u64);
        let core = RouterCore::start(now, ShardId(0), limits.clone(), journal, last, 0xfeed);
        let durable = log.len();
        let (said, unread) = (Vec::new(), Vec::new());
        let mut bench =
            Self { core, now, log, is_quick: true, durable, said, unread, limits, next_source: 0 };
        bench.settle();
        bench
    }

    /// The same with gateways that move sessions.
    pub(super) fn roaming(names: &[&str], limits: Limits) -> (Self, Vec<Gate>) {
        let mut bench = Self::with(limits);
        let mut gates: Vec<Gate> = names.iter().map(|name| Gate { roams: true, ..Gate::new(name) }).collect();
        for gate in &mut gates {
            bench.join(gate);
        }
        bench.advance(SECOND);
        gates.iter_mut().for_each(|gate| bench.beat(gate));
        bench.said.clear();
        (bench, gates)
    }

    /// A bench with gateways that are ready.
    pub(super) fn ready(names: &[&str]) -> (Self, Vec<Gate>) {
        let mut bench = Self::new();
        let mut gates: Vec<Gate> = names.iter().map(|name| Gate::new(name)).collect();
        for gate in &mut gates {
            bench.join(gate);
        }
        bench.said.clear();
        (bench, gates)
    }

    /// The gateway's first words over its link: a heartbeat, an empty sync, an empty snapshot.
    pub(super) fn join(&mut self, gate: &mut Gate) {
        self.beat(gate);
        self.sync(gate, &[]);
        self.sight(gate, vec![Sighting::Snapshot { first: true, last: true, present: vec![] }]);
    }

    /// The router dies and starts again with what was on disk. Its clock starts anew.
    pub(super) fn crash(self) -> Self {
        let mut log = self.log;
        log.truncate(self.durable);
        let now = Now { boot: BootTime::from_micros(7_000_000), wall: self.now.wall };
        Self::on(self.limits, log, now)
    }

    /// A process that has opened its journal and not got the lock yet.
    pub(super) fn opened(log: Vec<Vec<u8>>, now: Now) -> Self {
        let journal = replayed(&log);
        let (last, durable, limits) = (Lsn(log.len() as u64), log.len(), Limits::default());
        let core = RouterCore::open(now, ShardId(0), limits.clone(), journal, last, 0xfeed);
        let (said, unread) = (Vec::new(), Vec::new());
        let mut bench =
            Self { core, now, log, is_quick: true, durable, said, unread, limits, next_source: 0 };
        bench.settle();
        bench
    }

    /// The router dies, and when it has started again another one has the lock.
    pub(super) fn standby(self) -> Self {
        let mut log = self.log;
        log.truncate(self.durable);
        Self::opened(log, Now { boot: BootTime::from_micros(7_000_000), wall: self.now.wall })
    }

    /// The lock is held, again or for the first time.
    pub(super) fn begin_run(&mut self) {
        self.core.begin_run(self.now);
        self.settle();
    }

    pub(super) fn give(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.settle();
    }

    /// Drains what the core says; writes and confirms it if the bench is quick.
    pub(super) fn settle(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match &output {
                Output::Journal { lsn, record, .. } => {
                    self.log.push(record.encode());
                    assert_eq!(lsn.0, self.log.len() as u64, "numbers have no gap");
                    if self.is_quick {
                        self.durable = self.log.len();
                        self.core.handle(self.now, Input::Durable { lsn: *lsn });
                    }
                }
                Output::Publish { token, .. } if self.is_quick => {
                    let (token, outcome) = (*token, PublishOutcome::Confirmed);
                    self.core.handle(self.now, Input::Published { token, outcome });
                }
                _ => {}
            }
            self.said.push(output);
        }
    }

    /// The disk has everything that was written.
    pub(super) fn fsync(&mut self) {
        self.durable = self.log.len();
        self.give(Input::Durable { lsn: Lsn(self.log.len() as u64) });
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.now.boot + duration;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= end) {
            self.step_to(due.max(self.now.boot));
            self.give(Input::Tick);
            assert!(
                self.core.poll_timeout().is_none_or(|next| next > self.now.boot),
                "a timer that stays due"
            );
        }
        self.step_to(end);
        self.give(Input::Tick);
    }

    fn step_to(&mut self, boot: BootTime) {
        let step = boot.since(self.now.boot);
        // The wall clock counts in whole milliseconds.
        let micros = self.now.boot.as_micros() % 1_000 + u64::try_from(step.as_micros()).unwrap();
        self.now = Now { boot, wall: self.now.wall + Duration::from_millis(micros / 1_000) };
    }

    // --- what comes in

    pub(super) fn send(&mut self, command: CommandRequest) -> SourceToken {
        self.deliver(Queue::Commands, command.into_message("roost.down"))
    }

    pub(super) fn http(&mut self, request: u64, command: CommandRequest) {
        self.give(Input::Http { request: RequestId(request), command: Box::new(command) });
    }

    pub(super) fn deliver(&mut self, queue: Queue, message: Message) -> SourceToken {
        self.next_source += 1;
        let source = SourceToken(self.next_source);
        self.give(Input::Delivered { queue, source, message: Box::new(message) });
        source
    }

    pub(super) fn beat(&mut self, gate: &mut Gate) {
        gate.beats += 1;
        let beat = Heartbeat {
            number: gate.beats,
            sent_at: self.now.boot,
            echo: gate.echo.filter(|_| gate.roams),
            inbox: gate.inbox(),
            control: gate.control(),
            sessions: 0,
            draining: gate.drains,
            moves_sessions: gate.roams,
            started_at: Some(*gate.began.get_or_insert(self.now.boot)),
        };
        self.sight(gate, vec![Sighting::Heartbeat(beat)]);
        let (run, now) = (self.core.run(), self.now.boot);
        gate.echo = Some(Echo { run, answered_at: now, read_at: now });
    }

    /// The gateway says that it goes away.
    pub(super) fn drains(&mut self, gate: &mut Gate) {
        gate.drains = true;
        self.beat(gate);
    }

    pub(super) fn sight(&mut self, gate: &Gate, items: Vec<Sighting>) {
        let report = SightingReport {
            gateway: gate.id.clone(),
            region: "eu".parse().unwrap(),
            incarnation: gate.incarnation,
            link: gate.link,
            items,
        };
        self.deliver(Queue::Sightings, message(report.to_body()));
    }

    pub(super) fn present(&self, name: &str, session: u64) -> Present {
        let accepted_at = self.now.boot;
        Present { device: device(name), session: SessionId(session), accepted_at }
    }

    pub(super) fn accepted(&mut self, gate: &Gate, name: &str, session: u64) {
        let present = self.present(name, session);
        self.sight(gate, vec![Sighting::Accepted(present)]);
    }

    pub(super) fn gone(&mut self, gate: &Gate, name: &str, session: u64) {
        self.sight(gate, vec![Sighting::Gone { device: device(name), session: SessionId(session) }]);
    }

    /// A gateway answers a question: it holds that session of the device, or none.
    pub(super) fn replies(&mut self, gate: &Gate, question: QuestionId, name: &str, session: Option<u64>) {
        let run = self.core.run();
        let answer = match session {
            Some(session) => Sighting::Claim { question, run, present: self.present(name, session) },
            None => Sighting::Absent { question, run, device: device(name) },
        };
        self.sight(gate, vec![answer]);
    }

    pub(super) fn report(&mut self, gate: &Gate, items: Vec<SettlementItem>) {
        let report = SettlementReport::Gateway {
            gateway: gate.id.clone(),
            incarnation: gate.incarnation,
            link: gate.link,
            items,
        };
        self.deliver(Queue::Settlements, message(report.to_body()));
    }

    pub(super) fn settled(&mut self, gate: &Gate, delivery: &Delivery, outcome: Outcome) {
        self.report(gate, vec![settlement(delivery, outcome)]);
    }

    pub(super) fn subscribed(&mut self, gate: &Gate, name: &str, session: u64) {
        self.report(
            gate,
            vec![SettlementItem::Subscribed { device: device(name), session: SessionId(session) }],
        );
    }

    /// A sync with the gateway's next number.
    pub(super) fn sync(&mut self, gate: &mut Gate, in_flight: &[&Delivery]) {
        gate.sync = gate.sync.next();
        let in_flight = in_flight.iter().map(|delivery| in_flight_of(delivery)).collect();
        self.report(
            gate,
            vec![SettlementItem::Sync { number: gate.sync, first: true, last: true, in_flight }],
        );
    }

    /// The settlement queue gives the router's own mark back, if one was published.
    pub(super) fn read_marker(&mut self) -> bool {
        let found = self.said.iter().find_map(|output| match output {
            Output::Publish { what: Publication::Marker { run, number }, .. } => Some((*run, *number)),
            _ => None,
        });
        let Some((run, number)) = found else { return false };
        self.said
            .retain(|output| !matches!(output, Output::Publish { what: Publication::Marker { .. }, .. }));
        self.deliver(Queue::Settlements, message(SettlementReport::Marker { run, number }.to_body()));
        true
    }

    pub(super) fn outcome(&mut self, token: PublishToken, outcome: PublishOutcome) {
        self.give(Input::Published { token, outcome });
    }

    // --- what was said: each takes it out

    pub(super) fn deliveries(&mut self) -> Vec<Delivery> {
        self.deliveries_with_tokens().into_iter().map(|(_, _, delivery)| delivery).collect()
    }

    pub(super) fn delivery(&mut self) -> Delivery {
        let mut deliveries = self.deliveries();
        assert_eq!(deliveries.len(), 1, "{deliveries:#?}");
        deliveries.remove(0)
    }

    pub(super) fn deliveries_with_tokens(&mut self) -> Vec<(PublishToken, String, Delivery)> {
        self.take(|output| match output {
            Output::Publish { token, what: Publication::Delivery { inbox, delivery, .. } } => {
                Some((*token, inbox.clone(), (**delivery).clone()))
            }
            _ => None,
        })
    }

    pub(super) fn controls(&mut self) -> Vec<(String, Control)> {
        let reports = self.take(|output| match output {
            Output::Publish {
                what: Publication::Control { queue, report } | Publication::SessionOrder { queue, report },
                ..
            } => Some((queue.clone(), report.items.clone())),
            _ => None,
        });
        let words = reports
            .into_iter()
            .flat_map(|(queue, items)| items.into_iter().map(move |item| (queue.clone(), item)));
        std::mem::take(&mut self.unread).into_iter().chain(words).collect()
    }

    /// The questions that were asked: (gateway, question, device).
    pub(super) fn questions(&mut self) -> Vec<(String, QuestionId, Device)> {
        let asked = self.controls().into_iter().filter_map(|(queue, control)| match control {
            Control::Ask { question, device } => {
                Some((queue.trim_start_matches("roost.control.").to_owned(), question, device))
            }
            _ => None,
        });
        asked.collect()
    }

    /// The sessions that were to be closed: (gateway, session).
    pub(super) fn closes(&mut self) -> Vec<(String, u64)> {
        let closed = self.controls().into_iter().filter_map(|(queue, control)| match control {
            Control::Close { session, .. } => {
                Some((queue.trim_start_matches("roost.control.").to_owned(), session.0))
            }
            _ => None,
        });
        closed.collect()
    }

    pub(super) fn receipts(&mut self) -> Vec<Receipt> {
        self.take(|output| match output {
            Output::Publish {
                what: Publication::Receipt { to: ReceiptAddress::Exchange, receipt }, ..
            } => Some((**receipt).clone()),
            _ => None,
        })
    }

    /// `message id: state` of the receipts.
    pub(super) fn states(&mut self) -> Vec<String> {
        let text = |receipt: Receipt| {
            format!("{}: {}", receipt.message_id.map(|id| id.to_string()).unwrap_or_default(), receipt.state)
        };
        self.receipts().into_iter().map(text).collect()
    }

    pub(super) fn finals(&mut self) -> Vec<(String, ReceiptState)> {
        let receipts = self.receipts().into_iter().filter(|receipt| receipt.state.is_final());
        receipts.map(|receipt| (receipt.message_id.unwrap().to_string(), receipt.state)).collect()
    }

    pub(super) fn presences(&mut self) -> Vec<Presence> {
        self.take(|output| match output {
            Output::Publish { what: Publication::Presence(presence), .. } => Some((**presence).clone()),
            _ => None,
        })
    }

    pub(super) fn take_presence_tokens(&mut self) -> Vec<PublishToken> {
        self.take(|output| match output {
            Output::Publish { token, what: Publication::Presence(_) } => Some(*token),
            _ => None,
        })
    }

    pub(super) fn dead_letters(&mut self) -> Vec<(PublishToken, Message)> {
        self.take(|output| match output {
            Output::Publish { token, what: Publication::DeadLetter { message } } => {
                Some((*token, (**message).clone()))
            }
            _ => None,
        })
    }

    pub(super) fn answers(&mut self) -> Vec<(u64, Receipt)> {
        self.take(|output| match output {
            Output::Answer { request, receipt } => Some((request.0, (**receipt).clone())),
            _ => None,
        })
    }

    pub(super) fn had_no_room(&mut self) -> Vec<u64> {
        self.take(|output| match output {
            Output::NoRoom { request } => Some(request.0),
            _ => None,
        })
    }

    pub(super) fn acks(&mut self) -> Vec<SourceToken> {
        self.take(|output| match output {
            Output::Ack(source) => Some(*source),
            _ => None,
        })
    }

    fn take<T>(&mut self, pick: impl Fn(&Output) -> Option<T>) -> Vec<T> {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        for output in self.said.drain(..) {
            match pick(&output) {
                Some(picked) => taken.push(picked),
                None => left.push(output),
            }
        }
        self.said = left;
        taken
    }

    /// Why the first command of a device waits.
    pub(super) fn parked(&self, name: &str) -> &'static str {
        self.core.explain(self.now, &device(name)).decision.reason
    }
}

impl Gate {
    pub(super) fn new(name: &str) -> Self {
        Self {
            id: name.parse().unwrap(),
            incarnation: Incarnation(1),
            link: LinkId(1),
            sync: SyncNumber(0),
            beats: 0,
            roams: false,
            began: None,
            echo: None,
            drains: false,
        }
    }

    /// The gateway after a crash.
    pub(super) fn reborn(&self) -> Self {
        Self { incarnation: Incarnation(self.incarnation.0 + 1), ..Self::new(self.id.as_str()) }
    }

    pub(super) fn inbox(&self) -> String {
        format!("roost.inbox.{}.{}.{}", self.id, self.incarnation, self.link)
    }

    pub(super) fn control(&self) -> String {
        format!("roost.control.{}", self.id)
    }
}

pub(super) fn settlement(delivery: &Delivery, outcome: Outcome) -> SettlementItem {
    SettlementItem::Settled(Settlement {
        command: delivery.id,
        device: delivery.device.clone(),
        session: delivery.session,
        epoch: delivery.epoch,
        outcome,
    })
}

pub(super) fn in_flight_of(delivery: &Delivery) -> InFlight {
    InFlight {
        command: delivery.id,
        device: delivery.device.clone(),
        session: delivery.session,
        epoch: delivery.epoch,
    }
}

pub(super) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.payload.to_vec()).unwrap()).collect()
}

pub(super) fn message(body: Bytes) -> Message {
    let properties = Properties::default();
    Message { exchange: "roost.mesh".into(), routing_key: String::new(), properties, body }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
