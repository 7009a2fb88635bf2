//! The world: every process, every connection, one clock, and one loop.

mod devices;
mod faults;
mod links;

use std::collections::{BTreeMap, VecDeque};

use crate::agenda::Agenda;
use crate::amqp::WireId;
use crate::amqp::broker::BrokerNode;
use crate::chance::Chance;
use crate::device::{Act, Device};
use crate::effect::Effect;
use crate::event::{End, Event, NodeId};
use crate::fault::{Fault, draw_faults};
use crate::gateway::GatewayNode;
use crate::router::RouterNode;
use crate::service::{Service, Way};
use crate::settings::{GATEWAYS, Plan, Settings, draw_clock};
use crate::socket::{Socket, SocketId};
use crate::time::{MILLI, Micros, SECOND};
use crate::trace::Trace;
use crate::witness::Witness;
use links::Wire;
use roost_wire::ReceiptReason;

/// How long after the last fault everything must be settled: the longest lifetime of a command, and time to spare.
const QUIET_WITHIN: Micros = 30 * 60 * SECOND;
/// How long a settled mesh is watched before it is judged: heartbeats and leases go round.
const WATCHED: Micros = 15 * SECOND;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) at: Micros,
    pub(crate) settings: Settings,
    pub(crate) broker: BrokerNode,
    pub(crate) gateways: Vec<GatewayNode>,
    pub(crate) router: RouterNode,
    pub(crate) service: Service,
    pub(crate) devices: Vec<Device>,
    pub(crate) sockets: BTreeMap<SocketId, Socket>,
    pub(crate) witness: Witness,
    pub(crate) trace: Trace,
    chance: Chance,
    agenda: Agenda,
    faults: Vec<Fault>,
    wires: BTreeMap<WireId, Wire>,
    /// Which connection each end has or makes.
    ends: BTreeMap<(NodeId, End), WireId>,
    troubles: BTreeMap<NodeId, Trouble>,
    slow_disk_until: Micros,
    next_wire: u64,
    next_socket: u64,
    phase: Phase,
}

/// What is wrong with a process's machine or network at the moment.
#[derive(Debug, Default)]
struct Trouble {
    /// What happens to it while it stands still waits, in order.
    is_paused: bool,
    waiting: VecDeque<Event>,
    unreachable_until: Micros,
    delayed_until: Micros,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Faults may come.
    Troubled,
    /// None comes any more; commands end, devices settle.
    Healing,
    /// All was quiet once; some devices go away.
    Retiring {
        since: Micros,
    },
    Over,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        let settings = Settings::draw(plan, &mut chance);
        let devices: Vec<Device> =
            (0..settings.devices).map(|index| Device::new(index, GATEWAYS, &mut chance)).collect();
        let names: Vec<_> = devices.iter().map(|device| device.name.clone()).collect();
        let gateway = |index, chance: &mut Chance| {
            GatewayNode::new(
                index,
                draw_clock(chance),
                settings.gateway.clone(),
                settings.lease,
                settings.spool.clone(),
            )
        };
        let gateways = (0..GATEWAYS).map(|index| gateway(index, &mut chance)).collect();
        let router = RouterNode::new(draw_clock(&mut chance), settings.router.clone(), plan.plant);
        let service = Service::new(draw_clock(&mut chance), &settings, &names, &mut chance);
        let faults = draw_faults(&settings, &mut chance);
        let mut world = Self {
            at: 0,
            broker: BrokerNode::new(),
            gateways,
            router,
            service,
            devices,
            sockets: BTreeMap::new(),
            witness: Witness::default(),
            trace: Trace::new(plan.prints),
            chance,
            agenda: Agenda::default(),
            faults,
            wires: BTreeMap::new(),
            ends: BTreeMap::new(),
            troubles: BTreeMap::new(),
            slow_disk_until: 0,
            next_wire: 0,
            next_socket: 0,
            phase: Phase::Troubled,
            settings,
        };
        world.put_down_the_plan();
        world
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) {
        while self.phase != Phase::Over {
            let (at, event) = self.agenda.pop().expect("housekeeping comes every second");
            self.at = at;
            self.step(event);
        }
    }

    fn put_down_the_plan(&mut self) {
        self.agenda.put(0, Event::BrokerStarts);
        // The service's queues are there before anything is published.
        self.agenda.put(MILLI, Event::Connect { node: NodeId::Service, life: 0, end: End::Publisher });
        for node in [NodeId::Gateway(0), NodeId::Gateway(1), NodeId::Router] {
            let at = self.chance.between(1_500 * MILLI, 3 * SECOND);
            self.agenda.put(at, Event::Starts { node, life: 0 });
        }
        for device in 0..self.devices.len() {
            let at = self.chance.between(3 * SECOND, 20 * SECOND);
            self.agenda.put(at, Event::DeviceActs { device, act: Act::Connect });
        }
        for (number, order) in self.service.orders.iter().enumerate() {
            for at in &order.times {
                self.agenda.put(*at, Event::Send { number });
            }
        }
        for (number, fault) in self.faults.iter().enumerate() {
            self.agenda.put(fault.at, Event::Fault { number });
        }
        self.agenda.put(self.settings.heals_at, Event::Heal);
        self.agenda.put(SECOND, Event::Housekeeping);
    }

    fn step(&mut self, event: Event) {
        if let Some(node) = self.node_of(&event)
            && let Some(trouble) = self.troubles.get_mut(&node)
            && trouble.is_paused
        {
            trouble.waiting.push_back(event);
            return;
        }
        self.trace.note(self.at, format_args!("{event}"));
        match event {
            Event::BrokerReads { wire, frame } => self.broker_reads(wire, frame),
            Event::BrokerLoses { wire } => self.broker_loses(wire),
            Event::BrokerSynced { life, lsn } if life == self.broker.life => {
                let effects = self.broker.synced(self.at, lsn);
                self.broker_wants(effects);
            }
            Event::BrokerTick { life } if life == self.broker.life => {
                let effects = self.broker.tick(self.at);
                self.broker_wants(effects);
            }
            Event::BrokerSynced { .. } | Event::BrokerTick { .. } => {}
            Event::BrokerStarts => self.broker.start(self.at, self.chance.bits()),
            Event::ClientReads { wire, frame } => self.client_reads(wire, frame),
            Event::ClientLoses { wire } => self.client_loses(wire),
            Event::Connect { node, life, end } => self.connect(node, life, end),
            Event::Flush { node, life, end } if self.life(node) == life => {
                let effects = match node {
                    NodeId::Gateway(index) => self.gateways[index].flush(end),
                    NodeId::Router => self.router.flush(end),
                    NodeId::Service => Vec::new(),
                };
                self.perform(node, effects);
            }
            Event::Tick { node, life } if self.life(node) == life => {
                let effects = match node {
                    NodeId::Gateway(index) => self.gateways[index].tick(self.at),
                    NodeId::Router => self.router.tick(self.at),
                    NodeId::Service => Vec::new(),
                };
                self.perform(node, effects);
            }
            Event::Starts { node, life } if self.life(node) == life => self.start(node),
            Event::RouterSynced { life, lsn } if life == self.router.life => {
                let compacts = self.chance.one_in(40);
                let effects = self.router.synced(self.at, lsn, compacts);
                self.perform(NodeId::Router, effects);
            }
            Event::SpoolSynced { gateway, life, many } if life == self.gateways[gateway].life => {
                let effects = self.gateways[gateway].synced(self.at, many);
                self.perform(NodeId::Gateway(gateway), effects);
            }
            Event::Flush { .. }
            | Event::Tick { .. }
            | Event::Starts { .. }
            | Event::SpoolSynced { .. }
            | Event::RouterSynced { .. } => {}
            Event::GatewayAccepts { socket } => self.gateway_accepts(socket),
            Event::GatewayReads { socket, bytes, note } => self.gateway_reads(socket, bytes, note),
            Event::GatewayWrote { socket, bytes } => self.gateway_wrote(socket, bytes),
            Event::GatewayLoses { socket } => self.gateway_loses(socket),
            Event::DeviceReads { socket, packet } => self.device_reads(socket, packet),
            Event::DeviceLoses { socket } => self.device_loses(socket),
            Event::DeviceActs { device, act } => {
                let wants = self.devices[device].acts(act, &mut self.chance);
                self.device_wants(device, wants);
            }
            Event::Send { number } => self.send(number),
            Event::HttpArrives { number } => self.http_arrives(number),
            Event::HttpRetries { number } if self.service.accepted.contains(&number) => {}
            Event::HttpRetries { number } => self.send(number),
            Event::HttpAnswered { number, receipt } => {
                // No room: nothing was taken, and the sender asks again.
                if receipt.reason == Some(ReceiptReason::RouterFull) {
                    let at = self.at + self.chance.between(SECOND, 5 * SECOND);
                    self.agenda.put(at, Event::HttpRetries { number });
                } else {
                    self.service.accepted.insert(number);
                    self.witness.told_over_http(*receipt);
                }
            }
            Event::Fault { number } => self.begin(number),
            Event::Resume { node } => self.resume(node),
            Event::Heal => self.heal(),
            Event::Housekeeping => self.keep_house(),
        }
    }

    /// Whose doing it is, if a process's: one that stands still does nothing.
    fn node_of(&self, event: &Event) -> Option<NodeId> {
        match event {
            Event::ClientReads { wire, .. } | Event::ClientLoses { wire } => {
                self.wires.get(wire).map(|wire| wire.node)
            }
            Event::Connect { node, .. }
            | Event::Flush { node, .. }
            | Event::Tick { node, .. }
            | Event::Starts { node, .. } => Some(*node),
            Event::RouterSynced { .. } | Event::HttpArrives { .. } => Some(NodeId::Router),
            Event::SpoolSynced { gateway, .. } => Some(NodeId::Gateway(*gateway)),
            Event::GatewayAccepts { socket }
            | Event::GatewayReads { socket, .. }
            | Event::GatewayWrote { socket, .. }
            | Event::GatewayLoses { socket } => {
                self.sockets.get(socket).map(|socket| NodeId::Gateway(socket.gateway))
            }
            Event::BrokerReads { .. }
            | Event::BrokerLoses { .. }
            | Event::BrokerSynced { .. }
            | Event::BrokerTick { .. }
            | Event::BrokerStarts
            | Event::DeviceReads { .. }
            | Event::DeviceLoses { .. }
            | Event::DeviceActs { .. }
            | Event::Send { .. }
            | Event::HttpRetries { .. }
            | Event::HttpAnswered { .. }
            | Event::Fault { .. }
            | Event::Resume { .. }
            | Event::Heal
            | Event::Housekeeping => None,
        }
    }

    fn life(&self, node: NodeId) -> u32 {
        match node {
            NodeId::Gateway(index) => self.gateways[index].life,
            NodeId::Router => self.router.life,
            NodeId::Service => 0,
        }
    }

    fn is_up(&self, node: NodeId) -> bool {
        match node {
            NodeId::Gateway(index) => self.gateways[index].is_up(),
            NodeId::Router => self.router.is_up(),
            NodeId::Service => true,
        }
    }

    fn start(&mut self, node: NodeId) {
        let ends: &[End] = match node {
            NodeId::Gateway(index) => {
                let effects = self.gateways[index].start(self.at, &mut self.chance);
                self.perform(node, effects);
                &[End::Uplink, End::Mesh, End::Inbox]
            }
            NodeId::Router => {
                self.router.start(self.at, &mut self.chance);
                &[End::Publisher, End::Reports]
            }
            NodeId::Service => &[],
        };
        let life = self.life(node);
        for &end in ends {
            let at = self.at + self.chance.below(5 * MILLI);
            self.agenda.put(at, Event::Connect { node, life, end });
        }
    }

    /// Does what a process wants.
    fn perform(&mut self, node: NodeId, effects: Vec<Effect>) {
        let life = self.life(node);
        for effect in effects {
            match effect {
                Effect::Write { end, frames } => self.write(node, end, frames),
                Effect::HangUp { end, again } => self.hang_up(node, end, again),
                Effect::Connect { end } => self.agenda.put(self.at, Event::Connect { node, life, end }),
                Effect::FlushSoon { end } => {
                    self.agenda.put(self.at + 2 * MILLI, Event::Flush { node, life, end });
                }
                Effect::Tick { at } => self.agenda.put(at, Event::Tick { node, life }),
                Effect::SocketWrite { socket, bytes } => self.socket_write(socket, &bytes),
                Effect::SocketClose { socket, last } => self.socket_close(socket, &last),
                Effect::SocketPause { socket, paused } => self.socket_pause(socket, paused),
                Effect::Sync { lsn } => {
                    let at = self.at + self.chance.between(100, self.settings.sync_max);
                    let at = at.max(self.slow_disk_until);
                    self.agenda.put(at, Event::RouterSynced { life, lsn });
                }
                Effect::SpoolSync { many } => {
                    let at = self.at + self.chance.between(100, self.settings.sync_max);
                    let at = at.max(self.slow_disk_until);
                    let NodeId::Gateway(gateway) = node else { unreachable!("only gateways have spools") };
                    self.agenda.put(at, Event::SpoolSynced { gateway, life, many });
                }
                Effect::Answer { number, receipt } => {
                    let at = self.at + self.latency();
                    self.agenda.put(at, Event::HttpAnswered { number, receipt });
                }
                Effect::Forwarded { device, gateway, epoch } => {
                    self.witness.forwarded(device, gateway, epoch);
                }
                Effect::Lapsed => self.witness.lapsed(node, self.at),
                Effect::Redelivered => self.witness.redelivered(),
            }
        }
    }

    fn send(&mut self, number: usize) {
        match self.service.orders[number].way {
            Way::Amqp => {
                let effects = self.service.send(self.at, number);
                self.perform(NodeId::Service, effects);
            }
            Way::Http => {
                let at = self.at + self.latency();
                self.agenda.put(at, Event::HttpArrives { number });
            }
        }
    }

    /// A client of the HTTP API tries until it is answered: if nobody takes the request soon, if nobody answers after a while.
    fn http_arrives(&mut self, number: usize) {
        let request = self.service.orders[number].request.clone();
        let taken = self.router.http(self.at, number, request);
        let patience = if taken.is_some() { 20 * SECOND } else { self.chance.between(SECOND, 3 * SECOND) };
        if !self.service.accepted.contains(&number) {
            self.agenda.put(self.at + patience, Event::HttpRetries { number });
        }
        self.perform(NodeId::Router, taken.unwrap_or_default());
    }

    fn latency(&mut self) -> Micros {
        self.chance.between(100, self.settings.latency_max)
    }

    fn heal(&mut self) {
        self.phase = Phase::Healing;
        for device in 0..self.devices.len() {
            let wants = self.devices[device].calm(&mut self.chance);
            self.device_wants(device, wants);
        }
    }

    fn keep_house(&mut self) {
        self.agenda.put(self.at + SECOND, Event::Housekeeping);
        self.give_up_overdue();
        self.witness_bounds();
        match self.phase {
            Phase::Troubled | Phase::Over => {}
            Phase::Healing => {
                if self.at > self.settings.heals_at + QUIET_WITHIN {
                    let what = self.unquiet().join("; ");
                    self.witness.violation(format!("not quiet half an hour after the last fault: {what}"));
                    self.phase = Phase::Over;
                } else if self.at > self.service.last_sent_at() + SECOND && self.unquiet().is_empty() {
                    self.phase = Phase::Retiring { since: self.at };
                    for device in (0..self.devices.len()).step_by(4) {
                        self.agenda.put(self.at, Event::DeviceActs { device, act: Act::Retire });
                    }
                }
            }
            Phase::Retiring { since } if self.at >= since + WATCHED => self.phase = Phase::Over,
            Phase::Retiring { .. } => {}
        }
    }

    /// What is not as it should be when all is over, in words.
    pub(crate) fn unquiet(&self) -> Vec<String> {
        let mut unquiet = Vec::new();
        let mut expect = |is_so: bool, what: String| {
            if !is_so {
                unquiet.push(what);
            }
        };
        expect(self.broker.is_up(), "the broker is down".to_owned());
        for queue in ["roost.router.0", "roost.expired.0", "roost.settle.0"] {
            let depth = self.broker.depth(queue);
            expect(depth == Some((0, 0)), format!("{queue} is not empty: {depth:?}"));
        }
        for gateway in &self.gateways {
            expect(gateway.is_quiet(), format!("{} is not quiet: {:?}", gateway.id, gateway.gauges()));
        }
        let custody: Vec<String> = self.router.in_custody(self.at);
        expect(self.router.is_quiet(), format!("the router is not quiet, in custody: {custody:?}"));
        expect(self.service.is_settled(), "the service's commands are not all accepted".to_owned());
        for device in &self.devices {
            expect(device.settled_at().is_some(), format!("{} is not settled: {device:?}", device.name));
        }
        unquiet
    }

    fn witness_bounds(&mut self) {
        for gateway in &self.gateways {
            let Some(gauges) = gateway.gauges() else { continue };
            let limits = gateway.limits();
            if gauges.commands > limits.commands_max || gauges.uplink_events > limits.uplink_events_max {
                self.witness.violation(format!("{} is beyond its bounds: {gauges:?}", gateway.id));
            }
        }
        if let Some(core) = self.router.core() {
            let (commands, limits) = (core.journal().commands(), self.router.limits());
            if commands > limits.commands_max.saturating_add(limits.prefetch) {
                self.witness.violation(format!("the router has {commands} commands in custody"));
            }
        }
    }
}
