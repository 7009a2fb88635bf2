//! The world around the core: queues that lose nothing but what they may, gateways that follow their half of the rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use roost_wire::mesh::Report as _;
use roost_wire::{
    BootTime, Control, Device, Message, Offline, Outcome, ReceiptState, SessionId, SettlementItem,
    SettlementReport, Sighting, SightingReport,
};

use super::super::bench::{Bench, SECOND, command, device, in_flight_of, message, settlement};
use super::node::{Node, Session};
use super::step::Step;
use crate::journal::Record;
use crate::{Input, Output, Publication, PublishOutcome, PublishToken, Queue, SourceToken};

pub(super) struct World {
    bench: Option<Bench>,
    nodes: Vec<Node>,
    /// Queues of the broker: what is not acknowledged comes back after a crash of the router.
    commands: Line,
    settle: Line,
    sightings: Line,
    sent: u64,
    unconfirmed: Vec<PublishToken>,
    /// What each device got, in order.
    got: BTreeMap<Device, Vec<u64>>,
    /// Commands that were in flight when something broke.
    broken: BTreeSet<u64>,
    /// What the device has acknowledged.
    acknowledged: BTreeSet<u64>,
    finals: BTreeMap<String, BTreeSet<(u64, ReceiptState)>>,
}

#[derive(Default)]
struct Line {
    ready: VecDeque<Message>,
    unacknowledged: Vec<(SourceToken, Message)>,
}

const DEVICES: [&str; 2] = ["d0", "d1"];

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            bench: Some(Bench::new()),
            nodes: ["g0", "g1"].map(Node::new).into(),
            commands: Line::default(),
            settle: Line::default(),
            sightings: Line::default(),
            sent: 0,
            unconfirmed: Vec::new(),
            got: BTreeMap::new(),
            broken: BTreeSet::new(),
            finals: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        };
        world.bench().is_quick = false;
        for node in 0..2 {
            world.beat(node);
            world.sync(node);
            world.announce(node);
        }
        world
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn time(&mut self) -> u64 {
        // The walls' clock goes on when the router's starts anew.
        self.bench().now.wall.as_millis()
    }

    pub(super) fn take(&mut self, step: &Step) {
        match *step {
            Step::Send { device, is_short, fails } => {
                self.sent += 1;
                let mut command = command(DEVICES[device], &format!("c{:04}", self.sent));
                command.lifetime_ms = is_short.then_some(6_000);
                command.offline = if fails { Offline::Fail } else { Offline::Park };
                self.commands.ready.push_back(command.into_message("roost.down"));
                self.read(Queue::Commands);
            }
            Step::RouterReadsSettlement => self.read(Queue::Settlements),
            Step::RouterReadsSighting => self.read(Queue::Sightings),
            Step::GatewayReadsInbox(node) => self.read_inbox(node),
            Step::GatewayReadsControl(node) => self.read_control(node),
            Step::DeviceAcknowledges { gateway, device } => self.acknowledge(gateway, DEVICES[device]),
            Step::Connect { gateway, device, subscribes } => {
                self.connect(gateway, DEVICES[device], subscribes)
            }
            Step::Subscribe { gateway, device } => self.subscribe(gateway, DEVICES[device]),
            Step::Disconnect { gateway, device } => self.disconnect(gateway, DEVICES[device]),
            Step::DiskSyncs => {
                self.bench().fsync();
                self.listen();
            }
            Step::TimePasses(seconds) => self.pass(seconds),
            Step::LinkLost(node) => self.lose_link(node),
            Step::GatewayCrashes(node) => self.crash_gateway(node),
            Step::GatewayIsCutOff(node) => self.nodes[node].cut_for = 15,
            Step::RouterCrashes => self.crash_router(),
            Step::LockIsRegained => self.regain_lock(),
            Step::GatewayPublishesAgain { gateway, reports } => {
                let published = &self.nodes[gateway].published;
                let again: Vec<_> =
                    published.iter().skip(published.len().saturating_sub(reports)).cloned().collect();
                for (queue, message) in again {
                    self.publish(gateway, queue, message);
                }
            }
            Step::PublisherLost => {
                for token in std::mem::take(&mut self.unconfirmed) {
                    self.bench().outcome(token, PublishOutcome::Lost);
                }
                self.listen();
            }
        }
    }

    // --- the broker

    fn line(&mut self, queue: Queue) -> &mut Line {
        match queue {
            Queue::Commands | Queue::Expired => &mut self.commands,
            Queue::Settlements => &mut self.settle,
            Queue::Sightings => &mut self.sightings,
        }
    }

    fn read(&mut self, queue: Queue) {
        let Some(message) = self.line(queue).ready.pop_front() else { return };
        let source = self.bench().deliver(queue, message.clone());
        self.line(queue).unacknowledged.push((source, message));
        self.listen();
    }

    /// Carries what the router has said to where it goes.
    fn listen(&mut self) {
        for output in std::mem::take(&mut self.bench().said) {
            match output {
                Output::Ack(source) => {
                    for queue in [Queue::Commands, Queue::Settlements, Queue::Sightings] {
                        self.line(queue).unacknowledged.retain(|(known, _)| *known != source);
                    }
                }
                Output::Publish { token, what } => self.carry(token, what),
                Output::Journal { .. }
                | Output::Answer { .. }
                | Output::NoRoom { .. }
                | Output::PauseCommands
                | Output::ResumeCommands
                | Output::Trace(_)
                | Output::SameGatewayId { .. } => {}
            }
        }
    }

    fn carry(&mut self, token: PublishToken, what: Publication) {
        match what {
            Publication::Delivery { inbox, delivery, .. } => {
                let node = self.nodes.iter_mut().find(|node| node.gate.inbox() == inbox && !node.is_dead);
                match node {
                    Some(node) => {
                        node.inbox.push_back(*delivery);
                        // Confirmed later, or never: then the router must not trust that it is lost.
                        self.unconfirmed.push(token);
                    }
                    None => {
                        self.bench().outcome(token, PublishOutcome::Returned);
                        self.listen();
                    }
                }
            }
            Publication::Control { queue, report } => {
                let node = self.nodes.iter_mut().find(|node| node.gate.control() == queue);
                if let Some(node) = node {
                    node.hear(*report);
                }
            }
            Publication::RunBegun { report } => {
                // Those that hear it do so before their next heartbeat; it is not said again to the others.
                let nodes = self.nodes.iter_mut().filter(|node| !node.is_dead && node.cut_for == 0);
                nodes.for_each(|node| node.hear((*report).clone()));
            }
            Publication::Receipt { receipt, .. } => {
                let id = receipt.message_id.as_ref().unwrap().to_string();
                if receipt.state.is_final() {
                    let end = (receipt.command_id.sequence, receipt.state);
                    self.finals.entry(id).or_default().insert(end);
                }
                self.bench().outcome(token, PublishOutcome::Confirmed);
                self.listen();
            }
            Publication::Marker { run, number } => {
                let marker = SettlementReport::Marker { run, number };
                self.settle.ready.push_back(message(marker.to_body()));
            }
            // A command that was tried too often ends when its letter is there.
            Publication::DeadLetter { .. } => {
                self.bench().outcome(token, PublishOutcome::Confirmed);
                self.listen();
            }
            Publication::Presence(_) | Publication::Answer { .. } => {}
            Publication::Session { .. } | Publication::SessionOrder { .. } => {
                panic!("these gateways move no sessions")
            }
        }
    }

    /// A gateway publishes: at once, or when its cable is back.
    fn publish(&mut self, node: usize, queue: Queue, message: Message) {
        let is_cut = self.nodes[node].cut_for > 0;
        if self.nodes[node].is_dead {
            return;
        }
        match is_cut {
            true => self.nodes[node].held_back.push((queue, message)),
            false => {
                let published = &mut self.nodes[node].published;
                published.push_back((queue, message.clone()));
                if published.len() > 6 {
                    published.pop_front();
                }
                self.line(queue).ready.push_back(message);
            }
        }
    }

    fn say(&mut self, node: usize, items: Vec<Sighting>) {
        let gate = &self.nodes[node].gate;
        let report = SightingReport {
            gateway: gate.id.clone(),
            region: "eu".parse().unwrap(),
            incarnation: gate.incarnation,
            link: gate.link,
            items,
        };
        self.publish(node, Queue::Sightings, message(report.to_body()));
    }

    fn report(&mut self, node: usize, items: Vec<SettlementItem>) {
        let gate = &self.nodes[node].gate;
        let report = SettlementReport::Gateway {
            gateway: gate.id.clone(),
            incarnation: gate.incarnation,
            link: gate.link,
            items,
        };
        self.publish(node, Queue::Settlements, message(report.to_body()));
    }

    // --- gateways

    /// The boot clock of both gateways, which goes on when the router's begins anew.
    fn gateways_clock(&mut self) -> BootTime {
        BootTime::from_micros(self.time() * 1_000)
    }

    fn beat(&mut self, node: usize) {
        let now = self.time();
        let sent_at = self.gateways_clock();
        let known = &mut self.nodes[node];
        known.gate.beats += 1;
        known.beats_at.insert(known.gate.beats, now);
        let beat = roost_wire::Heartbeat {
            number: known.gate.beats,
            sent_at,
            echo: None,
            inbox: known.gate.inbox(),
            control: known.gate.control(),
            sessions: 0,
            draining: false,
            moves_sessions: false,
            started_at: None,
        };
        self.say(node, vec![Sighting::Heartbeat(beat)]);
    }

    fn sync(&mut self, node: usize) {
        let known = &mut self.nodes[node];
        known.gate.sync = known.gate.sync.next();
        let number = known.gate.sync;
        let in_flight =
            known.sessions.values().flat_map(|session| &session.in_flight).map(in_flight_of).collect();
        self.report(node, vec![SettlementItem::Sync { number, first: true, last: true, in_flight }]);
    }

    fn announce(&mut self, node: usize) {
        let sessions = self.nodes[node].sessions.iter();
        let present = sessions.map(|(device, session)| session.present(device)).collect();
        self.say(node, vec![Sighting::Snapshot { first: true, last: true, present }]);
    }

    fn read_control(&mut self, node: usize) {
        if self.nodes[node].cut_for > 0 || self.nodes[node].is_dead {
            return;
        }
        while let Some(control) = self.nodes[node].control.pop_front() {
            match control {
                Control::HeartbeatAnswer { number, .. } => {
                    let now = self.time();
                    let known = &mut self.nodes[node];
                    let sent = known.beats_at.get(&number).copied().unwrap_or_default();
                    known.lease_until = known.lease_until.max(sent + 10_000);
                    if !known.has_lease && known.lease_until > now {
                        known.has_lease = true;
                        self.sync(node);
                        self.announce(node);
                    }
                }
                Control::Ask { question, device } => {
                    let run = self.nodes[node].run;
                    let session = self.nodes[node].sessions.get(&device);
                    let answer = match session {
                        Some(session) => Sighting::Claim { question, run, present: session.present(&device) },
                        None => Sighting::Absent { question, run, device },
                    };
                    self.say(node, vec![answer]);
                }
                // Said to a run before it.
                Control::Superseded { .. } => {}
                Control::Sync => self.sync(node),
                Control::Snapshot => self.announce(node),
                Control::Forget { .. }
                | Control::FindSession { .. }
                | Control::MoveSession { .. }
                | Control::SessionAnswer { .. } => {
                    panic!("these gateways move no sessions")
                }
                Control::Close { device, session, .. } => {
                    let found = self.nodes[node].sessions.get(&device);
                    if found.is_some_and(|found| found.id == session.0) {
                        self.disconnect(node, device.id.as_str());
                    }
                }
            }
        }
    }

    fn read_inbox(&mut self, node: usize) {
        self.check_lease(node);
        let Some(delivery) = self.nodes[node].inbox.pop_front() else { return };
        let answer = self.nodes[node].judge(&delivery);
        match answer {
            None => {}
            Some(Ok(())) => {
                self.got.entry(delivery.device.clone()).or_default().push(delivery.id.sequence);
            }
            Some(Err(outcome)) => self.report(node, vec![settlement(&delivery, outcome)]),
        }
    }

    fn check_lease(&mut self, node: usize) {
        let now = self.time();
        let known = &mut self.nodes[node];
        if known.has_lease && known.lease_until <= now {
            known.has_lease = false;
            // Whatever is in flight, or settled and not heard of, may be given to another gateway.
            let in_flight = known.sessions.values().flat_map(|session| &session.in_flight);
            self.broken.extend(in_flight.map(|delivery| delivery.id.sequence));
            self.broken.extend(known.unheard());
        }
    }

    fn acknowledge(&mut self, node: usize, name: &str) {
        let session = self.nodes[node].sessions.get_mut(&device(name));
        let Some(delivery) = session.and_then(|session| session.in_flight.pop_front()) else { return };
        self.acknowledged.insert(delivery.id.sequence);
        self.report(node, vec![settlement(&delivery, Outcome::Delivered)]);
    }

    fn connect(&mut self, node: usize, name: &str, subscribes: bool) {
        self.disconnect(node, name);
        let accepted_at = self.gateways_clock();
        let known = &mut self.nodes[node];
        known.next_session += 1;
        let session =
            Session { id: known.next_session, accepted_at, subscribed: subscribes, ..Session::default() };
        let present = session.present(&device(name));
        known.sessions.insert(device(name), session);
        self.say(node, vec![Sighting::Accepted(present)]);
    }

    fn subscribe(&mut self, node: usize, name: &str) {
        let Some(session) = self.nodes[node].sessions.get_mut(&device(name)) else { return };
        session.subscribed = true;
        let id = SessionId(session.id);
        if std::mem::take(&mut session.refused) {
            self.report(node, vec![SettlementItem::Subscribed { device: device(name), session: id }]);
        }
    }

    fn disconnect(&mut self, node: usize, name: &str) {
        let Some(session) = self.nodes[node].sessions.remove(&device(name)) else { return };
        for delivery in session.in_flight {
            self.broken.insert(delivery.id.sequence);
            self.report(node, vec![settlement(&delivery, Outcome::Gone { written: true })]);
        }
        self.say(node, vec![Sighting::Gone { device: device(name), session: SessionId(session.id) }]);
    }

    fn lose_link(&mut self, node: usize) {
        let known = &mut self.nodes[node];
        known.inbox.clear();
        known.control.clear();
        known.gate.link = known.gate.link.next();
        self.beat(node);
        self.sync(node);
        self.announce(node);
    }

    fn crash_gateway(&mut self, node: usize) {
        let known = &mut self.nodes[node];
        for session in known.sessions.values() {
            self.broken.extend(session.in_flight.iter().map(|delivery| delivery.id.sequence));
        }
        // What was not sent is lost, also what it would have settled.
        self.broken.extend(known.unheard());
        let reborn = Node { gate: known.gate.reborn(), next_session: known.next_session, ..Node::new("x") };
        self.nodes[node] = reborn;
        self.beat(node);
        self.sync(node);
        self.announce(node);
    }

    // --- the router

    fn crash_router(&mut self) {
        let bench = self.bench.take().unwrap();
        let mut bench = bench.crash();
        bench.is_quick = false;
        self.bench = Some(bench);
        self.unconfirmed.clear();
        self.requeue();
        self.listen();
    }

    /// What was published before stays under way, and has its outcome later.
    fn regain_lock(&mut self) {
        // What was waiting for the disk goes on when it is there, which may want the disk again.
        while self.bench().durable < self.bench().log.len() {
            self.bench().fsync();
            self.listen();
        }
        self.requeue();
        self.bench().begin_run();
        self.listen();
    }

    /// What was delivered over a link that is lost comes again.
    fn requeue(&mut self) {
        for queue in [Queue::Commands, Queue::Settlements, Queue::Sightings] {
            let line = self.line(queue);
            for (_, message) in std::mem::take(&mut line.unacknowledged).into_iter().rev() {
                line.ready.push_front(message);
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.bench().advance(SECOND);
            self.listen();
            for node in 0..2 {
                let known = &mut self.nodes[node];
                if known.cut_for > 0 {
                    known.cut_for -= 1;
                    if known.cut_for == 0 {
                        for (queue, message) in std::mem::take(&mut known.held_back) {
                            self.line(queue).ready.push_back(message);
                        }
                    }
                }
                self.check_lease(node);
                self.beat(node);
            }
        }
    }

    /// Everything works again, but the first gateway if it dies for good; both devices connect and subscribe, and all that is
    /// left gets through.
    pub(super) fn heal(&mut self, dies: bool) {
        if dies {
            // It says nothing more, not even that it is back.
            let known = &mut self.nodes[0];
            known.is_dead = true;
            let sessions = std::mem::take(&mut known.sessions);
            let in_flight = sessions.values().flat_map(|session| &session.in_flight);
            self.broken.extend(in_flight.map(|delivery| delivery.id.sequence));
            self.broken.extend(known.unheard());
        }
        self.pass(16);
        self.drain(20);
        for (gateway, name) in [(usize::from(dies), "d0"), (1, "d1")] {
            self.disconnect(1 - gateway, name);
            self.connect(gateway, name, true);
        }
        self.drain(60);
    }

    fn drain(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for _ in 0..400 {
                self.read(Queue::Commands);
                self.read(Queue::Sightings);
                self.read(Queue::Settlements);
            }
            self.bench().fsync();
            self.listen();
            for node in 0..2 {
                self.read_control(node);
                for _ in 0..100 {
                    self.read_inbox(node);
                }
                for name in DEVICES {
                    for _ in 0..20 {
                        self.acknowledge(node, name);
                    }
                }
            }
            self.pass(1);
        }
    }

    pub(super) fn check(&mut self) {
        let bench = self.bench.as_mut().unwrap();
        let left: Vec<_> = DEVICES.map(|name| bench.core.explain(bench.now, &device(name))).into();
        assert_eq!(
            bench.core.journal().commands(),
            0,
            "stuck: {left:#?} {:#?}",
            bench.core.gateways(bench.now)
        );
        for number in 1..=self.sent {
            let id = format!("c{number:04}");
            let finals = self.finals.get(&id).cloned().unwrap_or_default();
            assert_eq!(finals.len(), 1, "{id} has {finals:?}");
            self.check_honesty(&id, finals.first().copied().unwrap());
        }
        let bench = self.bench.as_mut().unwrap();
        for (device, got) in &self.got {
            let mut first = BTreeSet::new();
            let mut newest = None;
            for sequence in got {
                if first.insert(*sequence) {
                    assert!(newest < Some(*sequence), "{device} got {sequence} after {newest:?}: {got:?}");
                    newest = Some(*sequence);
                } else {
                    assert!(
                        self.broken.contains(sequence),
                        "{device} got {sequence} twice without a break: {got:?}"
                    );
                }
            }
        }
        let mut replayed = crate::journal::Journal::default();
        for bytes in &bench.log {
            replayed.apply(&Record::decode(bytes).unwrap());
        }
        assert_eq!(&replayed, bench.core.journal(), "what is replayed is what was");
        let mut restored = crate::journal::Journal::default();
        for record in bench.core.snapshot() {
            restored.apply(&record);
        }
        assert_eq!(&restored, bench.core.journal(), "what a snapshot restores is what was");
        bench.core.handle(bench.now, Input::Tick);
    }
}

impl World {
    /// A receipt says what happened.
    fn check_honesty(&self, id: &str, (sequence, state): (u64, ReceiptState)) {
        let was_written = self.got.values().flatten().any(|got| *got == sequence);
        match state {
            ReceiptState::Delivered => {
                assert!(self.acknowledged.contains(&sequence), "{id} was not acknowledged")
            }
            ReceiptState::Expired | ReceiptState::Unreachable => {
                assert!(
                    !was_written || self.broken.contains(&sequence),
                    "{id} is {state}, and the device has it"
                );
            }
            ReceiptState::Unknown => {
                assert!(self.broken.contains(&sequence) || !was_written, "{id} was not broken")
            }
            other => panic!("{id} is {other}"),
        }
    }
}
