//! The world around the core. Time is what the test says it is.

mod aliases;
mod end;
mod login;
mod others;
mod peer;
mod router;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roost_wire::mesh::Report;
use roost_wire::{
    BootTime, Epoch, Heartbeat, Incarnation, LinkId, Now, RouterRun, SessionHandOver, SettlementItem,
    SettlementReport, ShardId, Sighting, SightingReport, WallTime,
};

use crate::link::{Link, LinkConfig, LinkInput, LinkOutput};
use crate::packet::{
    Ack, Connack, Connect, ConnectProperties, DecodeLimits, Decoder, Delivery, Encoder, Packet, PacketId,
    ProtocolVersion, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter, SubscribeOptions, Text,
};
use crate::shard::{Backend, Input, Output, Shard, ShardConfig};
use crate::{
    ConnectionId, Count, Counters, Hints, Limits, Publication, PublishOutcome, PublishToken, ShardIndex,
    SpoolNumber, UplinkOrder, UplinkRules,
};

pub(super) use crate::packet::ProtocolVersion::{V5, V31, V311};
use end::End;
pub(super) use login::{ScramClient, auth_of, auth_packet, users, with_login};
pub(super) use others::shards;
pub(super) use peer::Peer;

/// One gateway and everybody it deals with.
pub(super) struct World {
    /// Clients connect to this one.
    pub(super) shard: Shard,
    /// Those that some of their devices belong to.
    pub(super) others: others::Others,
    pub(super) link: Link,
    pub(super) now: Now,
    /// Events that the test has not answered yet.
    pub(super) events: VecDeque<Publication>,
    /// Events that were given to the spool, and that it has not called safe.
    pub(super) spooled: VecDeque<(SpoolNumber, roost_wire::Event, UplinkOrder)>,
    /// Broadcasts that may be acknowledged.
    pub(super) taken: Vec<u64>,
    /// What became of broadcasts.
    counted: Counters,
    /// Reports that the test has not answered yet; none unless `holds_reports`.
    pub(super) reports: VecDeque<Publication>,
    pub(super) holds_reports: bool,
    /// What the router has read.
    pub(super) sightings: Vec<Sighting>,
    pub(super) settlements: Vec<SettlementItem>,
    pub(super) heartbeats: Vec<Heartbeat>,
    /// Newer processes with the same id that a person was told of.
    pub(super) superseded_by: Vec<roost_wire::Incarnation>,
    pub(super) notices: Vec<crate::Notice>,
    pub(super) traces: Vec<crate::MessageTrace>,
    pub(super) is_drained: bool,
    /// Whether the router moves sessions, as it says.
    pub(super) roams: bool,
    /// The disk, if there is one.
    pub(super) store: Option<store::FakeStore>,
    /// Sessions that were given away.
    pub(super) given: Vec<SessionHandOver>,
    clients: BTreeMap<ConnectionId, End>,
    link_id: LinkId,
    next_connection: u64,
    next_command: u64,
}

pub(super) fn limits() -> Limits {
    Limits { session_transfer: Duration::from_secs(2), ..Limits::default() }
}

fn shard_config() -> ShardConfig {
    let (gateway, region) = ("eu-1".parse().unwrap(), "eu".parse().unwrap());
    ShardConfig { limits: limits(), ..ShardConfig::new(gateway, region, Incarnation(7), 11) }
}

pub(super) fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

pub(super) fn epoch(run: u64, counter: u64) -> Epoch {
    Epoch { run: RouterRun(run), counter }
}

pub(super) fn connect_packet(version: ProtocolVersion, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Text::parse(client_id).unwrap(),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

/// A CONNECT whose session outlives the connection.
pub(super) fn persistent(version: ProtocolVersion, client_id: &str) -> Connect {
    let mut connect = connect_packet(version, client_id);
    connect.clean_start = false;
    if version == V5 {
        connect.properties.session_expiry_interval_s = Some(3_600);
    }
    connect
}

pub(super) fn publish_packet(topic: &str, payload: &[u8], delivery: Delivery) -> Publish {
    Publish {
        topic: Text::parse(topic).unwrap(),
        delivery,
        retain: false,
        payload: Bytes::copy_from_slice(payload),
        properties: None,
    }
}

pub(super) fn qos1(n: u16) -> Delivery {
    Delivery::AtLeastOnce { packet_id: id(n), dup: false }
}

pub(super) fn qos2(n: u16) -> Delivery {
    Delivery::ExactlyOnce { packet_id: id(n), dup: false }
}

impl World {
    /// A gateway with default bounds; backend and link are up, the router has granted a lease.
    pub(super) fn new() -> Self {
        Self::with(limits())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self::connected(Self::unconnected(limits, UplinkRules::default()))
    }

    /// As [`World::new`], with a router that moves sessions.
    pub(super) fn roaming() -> Self {
        Self::roaming_with(limits())
    }

    pub(super) fn roaming_with(limits: Limits) -> Self {
        let world = Self::unconnected(limits, UplinkRules::default());
        Self::connected(Self { roams: true, ..world })
    }

    /// As [`World::new`], with spans for every trace that begins here.
    pub(super) fn traced() -> Self {
        Self::traced_with(limits())
    }

    pub(super) fn traced_with(limits: Limits) -> Self {
        let ids = roost_wire::TraceIds::new([1, 2], roost_wire::SampleRatio::ALL);
        Self::connected(Self::made(limits, UplinkRules::default(), Some(ids), Hints::default()))
    }

    /// As [`World::new`], with hints for its clients.
    pub(super) fn with_hints(hints: Hints) -> Self {
        Self::connected(Self::made(limits(), UplinkRules::default(), None, hints))
    }

    fn connected(mut world: Self) -> Self {
        world.backend(Backend::Up);
        world.link_up(1);
        world.answer_heartbeats(1);
        world
    }

    pub(super) fn unconnected(limits: Limits, uplink: UplinkRules) -> Self {
        Self::made(limits, uplink, None, Hints::default())
    }

    fn made(
        limits: Limits,
        uplink: UplinkRules,
        trace_ids: Option<roost_wire::TraceIds>,
        hints: Hints,
    ) -> Self {
        Self::of(ShardConfig { limits, uplink, trace_ids, hints, ..shard_config() })
    }

    /// As [`World::new`], with something else in the shard's configuration.
    pub(super) fn configured(change: impl FnOnce(&mut ShardConfig)) -> Self {
        let mut config = shard_config();
        change(&mut config);
        Self::connected(Self::of(config))
    }

    fn of(shard: ShardConfig) -> Self {
        let incarnation = shard.incarnation;
        let shards = shard.interests.shards();
        let link = LinkConfig {
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation,
            router: ShardId(0),
            shards,
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            exchange: "roost.mesh".to_owned(),
            sightings_key: "sightings.0".to_owned(),
            settle_key: "settle.0".to_owned(),
            user: None,
            moves_sessions: true,
        };
        Self {
            others: others::Others::of(&shard),
            counted: Counters::default(),
            shard: Shard::new(shard),
            link: Link::new(link),
            now: Now {
                boot: BootTime::from_micros(1_000_000),
                wall: WallTime::from_millis(1_700_000_000_000),
            },
            events: VecDeque::new(),
            reports: VecDeque::new(),
            spooled: VecDeque::new(),
            taken: Vec::new(),
            holds_reports: false,
            sightings: Vec::new(),
            settlements: Vec::new(),
            heartbeats: Vec::new(),
            superseded_by: Vec::new(),
            notices: Vec::new(),
            traces: Vec::new(),
            is_drained: false,
            roams: false,
            store: None,
            given: Vec::new(),
            clients: BTreeMap::new(),
            link_id: LinkId(0),
            next_connection: 0,
            next_command: 0,
        }
    }

    // --- time

    /// Lets time pass, with every timer going off on the way.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now.boot + time;
        loop {
            let timeouts = [self.shard.poll_timeout(), self.link.poll_timeout(), self.others.poll_timeout()];
            let next = timeouts.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.set_time(next.max(self.now.boot));
            self.shard.handle(self.now, Input::Tick);
            self.others.tick(self.now);
            self.link.handle(self.now, LinkInput::Tick);
            self.run();
        }
        self.set_time(end);
        self.run();
    }

    fn set_time(&mut self, at: BootTime) {
        self.now.wall = self.now.wall + at.since(self.now.boot);
        self.now.boot = at;
    }

    /// As [`World::pass`], with a router that answers each heartbeat.
    pub(super) fn pass_with_lease(&mut self, time: Duration) {
        let end = self.now.boot + time;
        while self.now.boot < end {
            self.pass(end.since(self.now.boot).min(Duration::from_secs(1)));
            self.answer_heartbeats(1);
        }
    }

    // --- the core's inputs and outputs

    pub(super) fn input(&mut self, input: Input) {
        self.give(input);
        self.run();
    }

    pub(super) fn link_input(&mut self, input: LinkInput) {
        self.link.handle(self.now, input);
        self.run();
    }

    /// Performs all outputs.
    pub(super) fn run(&mut self) {
        let now = self.now;
        loop {
            if let Some(output) = self.shard.poll_output() {
                self.perform(ShardIndex(0), output);
            } else if let Some((shard, output)) = self.others.poll_output() {
                self.perform(shard, output);
            } else if self.pass_words() {
                // They may have led to more.
            } else if let Some(output) = self.link.poll_output() {
                match output {
                    LinkOutput::Publish(report) => self.report(*report),
                    LinkOutput::ToShard { shard, word } => {
                        self.shard_mut(shard).handle(now, Input::Link(word))
                    }
                    LinkOutput::Superseded { by } => self.superseded_by.push(by),
                }
            } else if let Some(up_to) = self.store.as_mut().and_then(store::FakeStore::write) {
                self.shard.handle(self.now, Input::Stored { up_to });
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, from: ShardIndex, output: Output) {
        match output {
            Output::Write { connection, bytes } => {
                let end = self.clients.get_mut(&connection).unwrap();
                assert!(!end.is_closed && end.held == 0, "one write at a time");
                end.receive(&bytes);
                if end.is_stuck {
                    end.held = bytes.len();
                } else {
                    self.give(Input::Written { connection, bytes: bytes.len() });
                }
            }
            Output::Close { connection, last, .. } => {
                let end = self.clients.get_mut(&connection).unwrap();
                assert!(!end.is_closed, "closed once");
                end.receive(&last);
                end.is_closed = true;
            }
            Output::PauseReading { connection } => {
                let end = self.clients.get_mut(&connection).unwrap();
                assert!(!std::mem::replace(&mut end.is_paused, true), "paused once");
            }
            Output::ResumeReading { connection } => {
                let end = self.clients.get_mut(&connection).unwrap();
                assert!(std::mem::replace(&mut end.is_paused, false), "resumed once");
            }
            Output::HandOver { to, hand_over } => self.hand_over(to, hand_over),
            Output::Shard { to, word } => self.others.say(from, to, *word),
            Output::Publish(publication) => self.events.push_back(*publication),
            Output::Spool { number, event, order, .. } => {
                self.others.spools(from);
                self.spooled.push_back((number, *event, order));
            }
            Output::Store(batch) => self.store.as_mut().expect("there is a store").push(*batch),
            Output::ReadSession { device, prefix } => {
                self.store.as_mut().expect("there is a store").asked.push_back((device, prefix));
            }
            Output::BroadcastTaken { number, outcome } => self.broadcast_taken(number, outcome),
            Output::Link(word) => self.link.handle(self.now, LinkInput::FromShard { shard: from, word }),
            Output::Notice(notice) => self.notices.push(*notice),
            Output::Trace(trace) => self.traces.push(*trace),
            Output::Drained => self.is_drained = self.others.all_drained(),
        }
    }

    fn report(&mut self, report: Publication) {
        if self.holds_reports {
            self.reports.push_back(report);
        } else {
            self.read_report(&report);
            self.link.handle(
                self.now,
                LinkInput::Published { token: report.token, outcome: PublishOutcome::Confirmed },
            );
        }
    }

    fn read_report(&mut self, report: &Publication) {
        if SessionHandOver::is_in(&report.message) {
            return self.given.push(SessionHandOver::from_message(&report.message).unwrap());
        }
        let body = &report.message.body;
        match report.message.routing_key.as_str() {
            "sightings.0" => {
                for item in SightingReport::from_body(body).unwrap().items {
                    match item {
                        Sighting::Heartbeat(heartbeat) => self.heartbeats.push(heartbeat),
                        other => self.sightings.push(other),
                    }
                }
            }
            "settle.0" => match SettlementReport::from_body(body).unwrap() {
                SettlementReport::Gateway { items, .. } => self.settlements.extend(items),
                SettlementReport::Marker { .. } => panic!("only a router writes those"),
            },
            key => panic!("{key}"),
        }
    }

    /// Answers the oldest held report. With a confirm the router reads it.
    pub(super) fn answer_report(&mut self, outcome: PublishOutcome) {
        let report = self.reports.pop_front().expect("a report is held");
        if outcome == PublishOutcome::Confirmed {
            self.read_report(&report);
        }
        self.link_input(LinkInput::Published { token: report.token, outcome });
    }

    /// Answers the oldest event.
    pub(super) fn answer_event(&mut self, outcome: PublishOutcome) -> Publication {
        let event = self.events.pop_front().expect("an event is outstanding");
        self.answer(event.token, outcome);
        event
    }

    pub(super) fn answer(&mut self, token: PublishToken, outcome: PublishOutcome) {
        self.input(Input::Published { token, outcome });
    }

    /// The spool says that the first so many events given to it are safe.
    pub(super) fn safe(&mut self, many: usize) {
        let numbers: Vec<_> = self.spooled.drain(..many).map(|(number, ..)| number).collect();
        self.give_spooled(&numbers);
        self.run();
    }

    pub(super) fn confirm_all(&mut self) {
        while !self.events.is_empty() {
            self.answer_event(PublishOutcome::Confirmed);
        }
    }

    pub(super) fn count(&self, count: Count) -> u64 {
        self.shard.counters().of(count)
            + self.others.count(count)
            + self.link.counters().of(count)
            + self.counted.of(count)
    }

    // --- clients

    pub(super) fn open(&mut self, version: ProtocolVersion) -> ConnectionId {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        let decoder = Decoder::for_client(version, DecodeLimits::default());
        self.clients.insert(
            connection,
            End {
                version,
                decoder,
                bytes: BytesMut::new(),
                packets: VecDeque::new(),
                is_closed: false,
                is_paused: false,
                is_stuck: false,
                held: 0,
                aliases: aliases::KnownAliases::default(),
            },
        );
        self.input(Input::Opened { connection, entropy: self.next_connection });
        connection
    }

    /// Sends a CONNECT on a new connection, whatever comes of it.
    pub(super) fn begin_connect(&mut self, connect: Connect) -> ConnectionId {
        let client = self.open(connect.version);
        self.send(client, Packet::Connect(Box::new(connect)));
        client
    }

    /// Sends a CONNECT on a new connection, and reads its answer.
    pub(super) fn try_connect(&mut self, connect: Connect) -> (ConnectionId, Connack) {
        let client = self.open(connect.version);
        self.send(client, Packet::Connect(Box::new(connect)));
        match self.clients.get_mut(&client).unwrap().packets.pop_front() {
            Some(Packet::Connack(connack)) => (client, connack),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub(super) fn connect_as(&mut self, connect: Connect) -> ConnectionId {
        let (client, connack) = self.try_connect(connect);
        assert_eq!(connack.reason, ReasonCode::Success);
        client
    }

    /// A client with a clean session.
    pub(super) fn connect(&mut self, version: ProtocolVersion, client_id: &str) -> ConnectionId {
        self.connect_as(connect_packet(version, client_id))
    }

    pub(super) fn send(&mut self, client: ConnectionId, packet: Packet) {
        let mut bytes = BytesMut::new();
        let end = self.clients.get_mut(&client).unwrap();
        end.aliases.note(&packet);
        Encoder::new(end.version).encode(&packet, &mut bytes).unwrap();
        self.send_bytes(client, bytes);
    }

    pub(super) fn send_bytes(&mut self, client: ConnectionId, bytes: BytesMut) {
        self.input(Input::Received { connection: client, bytes });
    }

    pub(super) fn publish(&mut self, client: ConnectionId, topic: &str, delivery: Delivery) {
        self.send(client, Packet::Publish(publish_packet(topic, b"x", delivery)));
    }

    pub(super) fn puback(&mut self, client: ConnectionId, packet_id: PacketId) {
        self.send(client, Packet::Puback(Ack::success(packet_id)));
    }

    pub(super) fn subscribe(&mut self, client: ConnectionId, filter: &str, qos: QoS) -> ReasonCode {
        self.subscribe_with(client, filter, SubscribeOptions { qos, ..SubscribeOptions::default() })
    }

    pub(super) fn subscribe_with(
        &mut self,
        client: ConnectionId,
        filter: &str,
        options: SubscribeOptions,
    ) -> ReasonCode {
        let filter = SubscribeFilter { filter: Text::parse(filter).unwrap(), options };
        self.send(
            client,
            Packet::Subscribe(Subscribe { packet_id: id(9), filters: vec![filter], properties: None }),
        );
        // What it brings comes behind its answer.
        let packets = &mut self.clients.get_mut(&client).unwrap().packets;
        let at = packets.iter().position(|packet| matches!(packet, Packet::Suback(_)));
        match at.and_then(|at| packets.remove(at)) {
            Some(Packet::Suback(suback)) => suback.reasons[0],
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// The client's end breaks.
    pub(super) fn cut(&mut self, client: ConnectionId) {
        self.clients.get_mut(&client).unwrap().is_closed = true;
        self.input(Input::Closed { connection: client });
    }

    /// What the client has read since the last call.
    pub(super) fn read(&mut self, client: ConnectionId) -> Vec<Packet> {
        self.clients.get_mut(&client).unwrap().packets.drain(..).collect()
    }

    pub(super) fn read_publishes(&mut self, client: ConnectionId) -> Vec<Publish> {
        let publish = |packet| match packet {
            Packet::Publish(publish) => publish,
            other => panic!("{other:?} instead of PUBLISH"),
        };
        self.read(client).into_iter().map(publish).collect()
    }

    /// The packet ids and reasons of the PUBACKs that the client has read; nothing else came.
    pub(super) fn read_pubacks(&mut self, client: ConnectionId) -> Vec<(u16, ReasonCode)> {
        let puback = |packet| match packet {
            Packet::Puback(ack) => (ack.packet_id.value(), ack.reason),
            other => panic!("{other:?} instead of PUBACK"),
        };
        self.read(client).into_iter().map(puback).collect()
    }

    /// The reason of the DISCONNECT that came last, if any, once the gateway has closed the connection.
    pub(super) fn closed_with(&mut self, client: ConnectionId) -> Option<ReasonCode> {
        assert!(self.is_closed(client), "the connection is open");
        match self.read(client).pop() {
            Some(Packet::Disconnect(disconnect)) => Some(disconnect.reason),
            _ => None,
        }
    }

    pub(super) fn is_closed(&self, client: ConnectionId) -> bool {
        self.clients[&client].is_closed
    }

    pub(super) fn is_paused(&self, client: ConnectionId) -> bool {
        self.clients[&client].is_paused
    }

    /// The client's socket takes nothing any more.
    pub(super) fn stick(&mut self, client: ConnectionId) {
        self.clients.get_mut(&client).unwrap().is_stuck = true;
    }

    /// The client's socket takes everything again.
    pub(super) fn unstick(&mut self, client: ConnectionId) {
        let end = self.clients.get_mut(&client).unwrap();
        end.is_stuck = false;
        let bytes = std::mem::take(&mut end.held);
        self.input(Input::Written { connection: client, bytes });
    }
}
