//! A gateway: production's shard and link, with its three AMQP connections, as its shell drives them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use roost_backend::shell::ConsumePlan;
use roost_backend::window::{Loss, OnLoss as WindowOnLoss, Publish, Published};
use roost_backend::{Topology, contract};
use roost_gateway::link::{FromShard, Link, LinkConfig, LinkInput, LinkOutput};
use roost_gateway::shard::{Backend, Gauges, Input, Output, Shard, ShardConfig};
use roost_gateway::shell::inbox_plan;
use roost_gateway::spool::{SpoolInput, SpoolLimits};
use roost_gateway::{
    Acknowledge, ConnectionId, Count, Limits, OnLoss, Publication, PublishOrigin, PublishOutcome,
    PublishToken, ShardIndex, UplinkOrder, UplinkRule, UplinkRules,
};
use roost_wire::mesh::Report as _;
use roost_wire::{
    ControlReport, Delivery, GatewayId, Incarnation, LinkId, Now, Region, SessionArrival, ShardId, Sighting,
    TopicFilter,
};

use crate::amqp::FromBroker;
use crate::amqp::consumer::{Arrived, ConsumingEnd, Heard};
use crate::amqp::publisher::{PublishingEnd, Said};
use crate::chance::Chance;
use crate::effect::Effect;
use crate::event::End;
use crate::plant::{Break, GatewayFate, GatewayPlant};
use crate::socket::SocketId;
use crate::spool::{SpoolDisk, SpoolRun};
use crate::time::{Clock, Micros};

const SHARD: ShardIndex = ShardIndex(0);
/// As in production's configuration.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(3);

/// One gateway, in one life after the other.
#[derive(Debug)]
pub(crate) struct GatewayNode {
    pub(crate) id: GatewayId,
    region: Region,
    pub(crate) clock: Clock,
    limits: Limits,
    lease: Duration,
    pub(crate) life: u32,
    run: Option<Run>,
    /// What its lives before this one counted.
    counts: BTreeMap<Count, u64>,
    /// Events that were published again.
    replayed: u64,
    /// Whether its events are spooled, and in which order.
    spool: Option<(UplinkOrder, SpoolLimits)>,
    disk: SpoolDisk,
    plant: Option<Break>,
}

#[derive(Debug)]
struct Run {
    spool: Option<SpoolRun>,
    incarnation: Incarnation,
    shard: Shard,
    link: Link,
    uplink: PublishingEnd,
    mesh: PublishingEnd,
    inbox: ConsumingEnd,
    current: LinkId,
    sockets: BTreeMap<ConnectionId, SocketId>,
    connections: BTreeMap<SocketId, ConnectionId>,
    next_connection: u64,
    tick: Option<Micros>,
    lapses: u64,
    plant: GatewayPlant,
}

impl GatewayNode {
    pub(crate) fn new(
        index: usize,
        clock: Clock,
        limits: Limits,
        lease: Duration,
        spool: Option<(UplinkOrder, SpoolLimits)>,
        plant: Option<Break>,
    ) -> Self {
        let names = ["eu", "us", "ap", "sa"];
        Self {
            id: GatewayId::parse(&format!("{}-1", names[index])).expect("it is a good name"),
            region: Region::parse(names[index]).expect("it is a good name"),
            clock,
            limits,
            lease,
            life: 0,
            run: None,
            counts: BTreeMap::new(),
            replayed: 0,
            spool,
            disk: SpoolDisk::default(),
            plant,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.run.is_some()
    }

    /// A new life, with a new incarnation.
    pub(crate) fn start(&mut self, at: Micros, chance: &mut Chance) -> Vec<Effect> {
        let incarnation = Incarnation(chance.bits());
        let shard = Shard::new(ShardConfig {
            limits: self.limits.clone(),
            uplink: self.rules(),
            ..ShardConfig::new(self.id.clone(), self.region.clone(), incarnation, chance.bits())
        });
        let router = ShardId(0);
        let link = Link::new(LinkConfig {
            gateway: self.id.clone(),
            region: self.region.clone(),
            incarnation,
            router,
            shards: 1,
            heartbeat: HEARTBEAT,
            lease: self.lease,
            exchange: contract::MESH.to_owned(),
            sightings_key: contract::sightings_key(router),
            settle_key: contract::settle_key(router),
            user: Some("gateway".to_owned()),
            moves_sessions: !self.limits.session_transfer.is_zero(),
        });
        let now = self.clock.read(at);
        let spool = self.spool.as_ref().map(|(_, limits)| SpoolRun::start(now, limits.clone(), &self.disk));
        self.run = Some(Run {
            spool,
            incarnation,
            shard,
            link,
            uplink: PublishingEnd::new("gateway", Topology::contract(1)),
            mesh: PublishingEnd::new("gateway", Topology::contract(1)),
            inbox: ConsumingEnd::new("gateway"),
            current: LinkId::default(),
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            tick: None,
            lapses: 0,
            plant: GatewayPlant::new(self.plant),
        });
        self.with(at, |run, now, _| {
            if let Some(spool) = &mut run.spool {
                spool.handle(now, SpoolInput::Tick);
                run.shard.handle(now, Input::Spool(spool.core().gauges().state));
            }
        })
    }

    /// What its rules say.
    fn rules(&self) -> UplinkRules {
        let Some((order, _)) = self.spool else { return UplinkRules::default() };
        UplinkRules::new(vec![UplinkRule::Carry {
            filter: TopicFilter::parse("#").expect("it is a good filter"),
            exchange: contract::UP.to_owned(),
            acknowledge: Acknowledge::Spooled,
            order,
        }])
    }

    /// The end of a life: of it is kept what is on disk.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        self.tally();
        if let Some(spool) = self.run.take().and_then(|run| run.spool) {
            spool.crash(&mut self.disk, chance);
        }
        self.life += 1;
    }

    /// Its disk has so many more records.
    pub(crate) fn synced(&mut self, at: Micros, many: usize) -> Vec<Effect> {
        let now = self.clock.read(at);
        if let Some(spool) = self.run.as_mut().and_then(|run| run.spool.as_mut()) {
            spool.synced(now, &mut self.disk, many);
        }
        self.with(at, |_, _, _| {})
    }

    /// Its disk is full.
    pub(crate) fn stuck(&mut self, at: Micros) -> Vec<Effect> {
        let now = self.clock.read(at);
        if let Some(spool) = self.run.as_mut().and_then(|run| run.spool.as_mut()) {
            spool.stuck(now, &self.disk);
        }
        self.with(at, |_, _, _| {})
    }

    /// All that was counted, in all lives; asked once, at the end.
    pub(crate) fn take_counts(&mut self) -> BTreeMap<Count, u64> {
        self.tally();
        self.counts.clone()
    }

    pub(crate) fn replayed(&self) -> u64 {
        self.replayed + self.run.as_ref().map_or(0, |run| run.uplink.replayed + run.mesh.replayed)
    }

    pub(crate) fn gauges(&self) -> Option<Gauges> {
        self.run.as_ref().map(|run| run.shard.gauges())
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// For how long it may deliver commands from now on, if no more of its heartbeats is answered.
    pub(crate) fn lease_left(&self, at: Micros) -> Duration {
        let until = self.run.as_ref().and_then(|run| run.link.lease_until());
        until.map_or(Duration::ZERO, |until| until.since(self.clock.read(at).boot))
    }

    /// Whether it has nothing outstanding, towards AMQP or towards devices.
    pub(crate) fn is_quiet(&self) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let gauges = run.shard.gauges();
            let is_spooled = run.spool.as_ref().is_some_and(|spool| spool.core().gauges().events > 0);
            let is_up = !is_spooled && run.uplink.is_up() && run.mesh.is_up() && run.inbox.is_up();
            is_up && gauges.commands == 0 && gauges.uplink_events == 0 && run.link.is_settled()
        })
    }

    pub(crate) fn connect(&mut self, end: End) -> Vec<Effect> {
        let Some(run) = &mut self.run else { return Vec::new() };
        let frames = match end {
            End::Uplink => run.uplink.connect(),
            End::Mesh => run.mesh.connect(),
            End::Inbox => {
                let (id, incarnation) = (&self.id, run.incarnation);
                let plan = |link| -> ConsumePlan { inbox_plan(id, incarnation, 1, &[], link) };
                run.inbox.connect(plan)
            }
            End::Publisher | End::Reports | End::Commands => return Vec::new(),
        };
        vec![Effect::Write { end, frames }]
    }

    /// A device's connection was accepted.
    pub(crate) fn open(&mut self, at: Micros, socket: SocketId, entropy: u64) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            let connection = ConnectionId(run.next_connection);
            run.next_connection += 1;
            run.sockets.insert(connection, socket);
            run.connections.insert(socket, connection);
            run.shard.handle(now, Input::Opened { connection, entropy });
        })
    }

    pub(crate) fn read(&mut self, at: Micros, socket: SocketId, bytes: BytesMut) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            if let Some(&connection) = run.connections.get(&socket) {
                run.shard.handle(now, Input::Received { connection, bytes });
            }
        })
    }

    pub(crate) fn wrote(&mut self, at: Micros, socket: SocketId, bytes: usize) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            if let Some(&connection) = run.connections.get(&socket) {
                run.shard.handle(now, Input::Written { connection, bytes });
            }
        })
    }

    pub(crate) fn closed(&mut self, at: Micros, socket: SocketId) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            if let Some(connection) = run.connections.remove(&socket) {
                run.sockets.remove(&connection);
                run.shard.handle(now, Input::Closed { connection });
            }
        })
    }

    pub(crate) fn tick(&mut self, at: Micros) -> Vec<Effect> {
        self.with(at, |run, now, _| {
            if run.tick.is_some_and(|tick| tick <= at) {
                run.tick = None;
            }
            for publication in run.plant.releases(now) {
                run.mesh.publish(publish(publication));
            }
            run.shard.handle(now, Input::Tick);
            run.link.handle(now, LinkInput::Tick);
            if let Some(spool) = &mut run.spool {
                spool.handle(now, SpoolInput::Tick);
            }
        })
    }

    pub(crate) fn hear(&mut self, at: Micros, end: End, frame: FromBroker) -> Vec<Effect> {
        let id = self.id.clone();
        self.with(at, |run, now, effects| match end {
            End::Inbox => {
                let heard = run.inbox.hear(frame);
                run.heard(now, &id, heard, effects);
            }
            End::Uplink | End::Mesh => {
                let said = if end == End::Uplink { run.uplink.hear(frame) } else { run.mesh.hear(frame) };
                run.said(now, end, said, effects);
            }
            End::Publisher | End::Reports | End::Commands => {}
        })
    }

    pub(crate) fn lost(&mut self, at: Micros, end: End) -> Vec<Effect> {
        let id = self.id.clone();
        self.with(at, |run, now, effects| match end {
            End::Inbox => {
                let heard = run.inbox.lost();
                run.heard(now, &id, heard, effects);
            }
            End::Uplink | End::Mesh => {
                let publisher = if end == End::Uplink { &mut run.uplink } else { &mut run.mesh };
                let said = publisher.lost(&Loss::Broken);
                run.said(now, end, said, effects);
            }
            End::Publisher | End::Reports | End::Commands => {}
        })
    }

    pub(crate) fn flush(&mut self, end: End) -> Vec<Effect> {
        let Some(run) = self.run.as_mut().filter(|_| end == End::Inbox) else { return Vec::new() };
        vec![Effect::Write { end, frames: run.inbox.answers() }]
    }

    /// Gives up links whose confirms are overdue.
    pub(crate) fn overdue(&mut self, at: Micros) -> Vec<End> {
        let now = self.clock.read(at);
        let Some(run) = &self.run else { return Vec::new() };
        let ends = [(End::Uplink, &run.uplink), (End::Mesh, &run.mesh)];
        ends.into_iter().filter(|(_, end)| end.is_overdue(now.boot)).map(|(end, _)| end).collect()
    }

    fn with(&mut self, at: Micros, act: impl FnOnce(&mut Run, Now, &mut Vec<Effect>)) -> Vec<Effect> {
        let now = self.clock.read(at);
        let Some(run) = &mut self.run else { return Vec::new() };
        let mut effects = Vec::new();
        act(run, now, &mut effects);
        run.perform(now, &self.id, &self.disk, &mut effects);
        if let Some(many) = run.spool.as_mut().and_then(SpoolRun::begins_sync) {
            effects.push(Effect::SpoolSync { many });
        }
        let spool_due = run.spool.as_ref().and_then(|spool| spool.core().poll_timeout());
        let due = [run.shard.poll_timeout(), run.link.poll_timeout(), spool_due].into_iter().flatten().min();
        let due = due.map(|due| self.clock.moment(due).max(at + 1));
        if let Some(due) = due.filter(|due| run.tick.is_none_or(|tick| *due < tick)) {
            run.tick = Some(due);
            effects.push(Effect::Tick { at: due });
        }
        let lapses = run.link.counters().of(Count::LeaseLapsed);
        if lapses > run.lapses {
            run.lapses = lapses;
            effects.push(Effect::Lapsed);
        }
        effects
    }

    fn tally(&mut self) {
        let Some(run) = &mut self.run else { return };
        let spool = run.spool.as_ref().map(|spool| spool.core().counters());
        for counters in [Some(run.shard.counters()), Some(run.link.counters()), spool].into_iter().flatten() {
            for (count, number) in counters.iter() {
                *self.counts.entry(count).or_default() += number;
            }
        }
        self.replayed += run.uplink.replayed + run.mesh.replayed;
    }
}

impl Run {
    fn said(&mut self, now: Now, end: End, said: Vec<Said>, effects: &mut Vec<Effect>) {
        for said in said {
            let backend = match said {
                Said::Done { token, outcome } => {
                    self.published(now, PublishToken(token), outcome);
                    continue;
                }
                Said::Up => Backend::Up,
                Said::Down => {
                    effects.push(Effect::HangUp { end, again: true });
                    Backend::Away
                }
            };
            match end {
                End::Uplink => {
                    self.shard.handle(now, Input::Backend(backend));
                    if let Some(spool) = &mut self.spool {
                        spool.backend(now, backend);
                    }
                }
                End::Mesh => self.link.handle(now, LinkInput::Backend(backend)),
                End::Inbox | End::Publisher | End::Reports | End::Commands => {}
            }
        }
    }

    fn published(&mut self, now: Now, token: PublishToken, outcome: Published) {
        let outcome = match outcome {
            Published::Confirmed => PublishOutcome::Confirmed,
            Published::Returned { .. } => PublishOutcome::Returned,
            Published::Nacked | Published::Refused { .. } => PublishOutcome::Nacked,
            Published::Lost => PublishOutcome::Lost,
        };
        match token.origin() {
            PublishOrigin::Link => self.link.handle(now, LinkInput::Published { token, outcome }),
            PublishOrigin::Spool => {
                let spool = self.spool.as_mut().expect("it has published");
                spool.published(now, token, outcome);
            }
            PublishOrigin::Shard(_) => self.shard.handle(now, Input::Published { token, outcome }),
        }
    }

    fn heard(&mut self, now: Now, id: &GatewayId, heard: Vec<Heard>, effects: &mut Vec<Effect>) {
        for heard in heard {
            match heard {
                Heard::Write(frames) => effects.push(Effect::Write { end: End::Inbox, frames }),
                Heard::Up(link) => {
                    self.current = link;
                    let inbox = contract::inbox_queue(id, self.incarnation, link);
                    let control = contract::control_queue(id, self.incarnation, link);
                    self.link.handle(now, LinkInput::Up { link, inbox, control });
                }
                Heard::Down(link) => {
                    self.link.handle(now, LinkInput::Down { link });
                    effects.push(Effect::HangUp { end: End::Inbox, again: true });
                }
                Heard::Delivery(arrived) => {
                    let Arrived { token, message, redelivered } = *arrived;
                    if redelivered {
                        effects.push(Effect::Redelivered);
                    }
                    if !self.inbox.has_answers() {
                        effects.push(Effect::FlushSoon { end: End::Inbox });
                    }
                    self.inbox.ack(token);
                    let link = self.current;
                    if SessionArrival::is_in(&message) {
                        let arrival =
                            SessionArrival::from_message(&message).expect("the router's are readable");
                        self.shard.handle(now, Input::Session(Box::new(arrival)));
                    } else if token.queue == 0 {
                        let delivery = Delivery::from_message(&message).expect("the router's are readable");
                        let delivery = self.plant.delivery(delivery);
                        self.shard.handle(now, Input::Delivery { link, delivery: Box::new(delivery) });
                    } else {
                        let report =
                            ControlReport::from_body(&message.body).expect("the router's are readable");
                        self.link.handle(now, LinkInput::Control { link, report });
                    }
                }
            }
        }
    }

    /// Performs all that both cores want, as production's world does.
    fn perform(&mut self, now: Now, id: &GatewayId, disk: &SpoolDisk, effects: &mut Vec<Effect>) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.shard.poll_output() {
                quiet = false;
                self.shard_asks(now, id, output, effects);
            }
            if let Some(spool) = &mut self.spool {
                let uplink = &mut self.uplink;
                quiet &= !spool.perform(now, disk, &mut self.shard, |it| uplink.publish(publish(it)));
            }
            while let Some(output) = self.link.poll_output() {
                quiet = false;
                match output {
                    LinkOutput::Publish(publication) => self.link_publishes(now, publication),
                    LinkOutput::ToShard { word, .. } => {
                        let again = self.plant.hears(&word);
                        self.shard.handle(now, Input::Link(word));
                        self.deliver_again(now, again);
                    }
                    LinkOutput::Superseded { by } => panic!("nobody has the same id, but {by} is believed"),
                }
            }
            if quiet {
                break;
            }
        }
        for end in [End::Uplink, End::Mesh] {
            let mut said = Vec::new();
            let publisher = if end == End::Uplink { &mut self.uplink } else { &mut self.mesh };
            let frames = publisher.pump(now.boot, &mut said);
            assert!(said.is_empty(), "AMQP can carry whatever a gateway says: {said:?}");
            if !frames.is_empty() {
                effects.push(Effect::Write { end, frames });
            }
        }
    }

    fn shard_asks(&mut self, now: Now, id: &GatewayId, output: Output, effects: &mut Vec<Effect>) {
        match output {
            Output::Write { connection, bytes } => {
                if let Some(&socket) = self.sockets.get(&connection) {
                    effects.push(Effect::SocketWrite { socket, bytes });
                }
            }
            Output::Close { connection, last, .. } => {
                if let Some(socket) = self.sockets.remove(&connection) {
                    self.connections.remove(&socket);
                    effects.push(Effect::SocketClose { socket, last });
                }
            }
            Output::PauseReading { connection } => self.pause(connection, true, effects),
            Output::ResumeReading { connection } => self.pause(connection, false, effects),
            Output::HandOver { .. } | Output::Shard { .. } => unreachable!("there is one shard"),
            Output::Publish(publication) => self.uplink.publish(publish(*publication)),
            Output::Link(word) => self.shard_says(now, id, word, effects),
            Output::Notice(_) => {}
            Output::Spool { number, event, exchange, order } => {
                let spool = self.spool.as_mut().expect("a rule says so only where there is one");
                spool.handle(now, SpoolInput::Store { shard: SHARD, number, event, exchange, order });
            }
            Output::BroadcastTaken { .. } => unreachable!("there is no prefix"),
            Output::Store(_) | Output::ReadSession { .. } => unreachable!("there is no store"),
            Output::Trace(_) => unreachable!("nobody traces"),
            Output::Drained => unreachable!("nobody drains"),
        }
    }

    fn shard_says(&mut self, now: Now, id: &GatewayId, word: FromShard, effects: &mut Vec<Effect>) {
        if let FromShard::Sighting(Sighting::Accepted(present)) = &word {
            effects.push(Effect::Accepted {
                device: present.device.clone(),
                incarnation: self.incarnation,
                session: present.session,
                // One that was kept for a device that had left is said to have been accepted when its CONNECT came.
                is_now: present.accepted_at == now.boot,
            });
        }
        if let Some(message) = self.plant.tells_sender(now, id, &word) {
            // The outcome is nobody's.
            let token = PublishToken::new(PublishOrigin::Link, 0).0;
            self.mesh.publish(Publish {
                message,
                mandatory: false,
                on_loss: WindowOnLoss::PublishAgain,
                token,
            });
        }
        let said = self.plant.says(word);
        for word in said.words {
            self.link.handle(now, LinkInput::FromShard { shard: SHARD, word });
        }
        self.deliver_again(now, said.again);
    }

    fn deliver_again(&mut self, now: Now, again: Vec<Delivery>) {
        let link = self.current;
        for delivery in again {
            self.shard.handle(now, Input::Delivery { link, delivery: Box::new(delivery) });
        }
    }

    fn link_publishes(&mut self, now: Now, publication: Box<Publication>) {
        match self.plant.publishes(now, publication) {
            GatewayFate::Publish(publication) => self.mesh.publish(publish(*publication)),
            GatewayFate::Believe(token) => {
                let outcome = PublishOutcome::Confirmed;
                self.link.handle(now, LinkInput::Published { token, outcome });
            }
        }
    }

    fn pause(&self, connection: ConnectionId, paused: bool, effects: &mut Vec<Effect>) {
        if let Some(&socket) = self.sockets.get(&connection) {
            effects.push(Effect::SocketPause { socket, paused });
        }
    }
}

fn publish(publication: Publication) -> Publish {
    let Publication { token, message, mandatory, on_loss } = publication;
    let on_loss = match on_loss {
        OnLoss::PublishAgain => WindowOnLoss::PublishAgain,
        OnLoss::Report => WindowOnLoss::Report,
    };
    Publish { message, mandatory, on_loss, token: token.0 }
}
