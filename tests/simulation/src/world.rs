//! The world: every process, every connection, one clock, and one loop.

mod devices;
mod faults;
mod lasting;
mod links;
mod quiet;

use std::collections::{BTreeMap, VecDeque};

use crate::agenda::Agenda;
use crate::amqp::WireId;
use crate::amqp::broker::BrokerNode;
use crate::burst::draw_bursts;
use crate::chance::Chance;
use crate::device::{Act, Device};
use crate::diagram::Focus;
use crate::effect::Effect;
use crate::event::{End, Event, NodeId};
use crate::fault::{Disk, Fault, Stalled, draw_faults};
use crate::gateway::GatewayNode;
use crate::router::RouterNode;
use crate::service::{Service, Way};
use crate::settings::{Plan, Settings, draw_clock};
use crate::socket::{Socket, SocketId};
use crate::story::{Actor, Story};
use crate::time::{MILLI, Micros, SECOND};
use crate::trace::Trace;
use crate::witness::Witness;
use lasting::Lasting;
use links::Wire;

/// How long after the last fault everything must be settled: the longest lifetime of a command, and time to spare.
const QUIET_WITHIN: Micros = 30 * 60 * SECOND;
/// A full disk is tried again four times a second, as by production's logs.
const FULL_DISK_RETRY: Micros = SECOND / 4;
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
    pub(crate) story: Story,
    chance: Chance,
    agenda: Agenda,
    faults: Vec<Fault>,
    wires: BTreeMap<WireId, Wire>,
    /// Which connection each end has or makes.
    ends: BTreeMap<(NodeId, End), WireId>,
    troubles: BTreeMap<NodeId, Trouble>,
    slow_disk_until: Micros,
    full_until: BTreeMap<Disk, Micros>,
    stalled_until: BTreeMap<Stalled, Micros>,
    next_wire: u64,
    next_socket: u64,
    phase: Phase,
    lasting: Lasting,
}

/// What is wrong with a process's machine or network at the moment.
#[derive(Debug, Default)]
struct Trouble {
    /// What happens to it while it stands still waits, in order.
    is_paused: bool,
    waiting: VecDeque<Event>,
    unreachable_until: Micros,
    /// What it writes to the broker arrives no sooner.
    out_until: Micros,
    /// What the broker writes to it arrives no sooner.
    in_until: Micros,
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
            (0..settings.devices).map(|index| Device::new(index, settings.gateways, &mut chance)).collect();
        let names: Vec<_> = devices.iter().map(|device| device.name.clone()).collect();
        let gateway = |index, chance: &mut Chance| {
            GatewayNode::new(
                index,
                draw_clock(chance),
                settings.gateway.clone(),
                settings.lease,
                settings.spool.clone(),
                plan.plant,
            )
        };
        let gateways = (0..settings.gateways).map(|index| gateway(index, &mut chance)).collect();
        let router = RouterNode::new(
            draw_clock(&mut chance),
            settings.router.clone(),
            settings.journal_queue_max,
            plan.plant,
        );
        let service = Service::new(draw_clock(&mut chance), &settings, &names, &mut chance);
        let mut faults = draw_faults(&settings, &mut chance);
        faults.extend(draw_bursts(plan.seed, plan.burst, &settings));
        let mut world = Self {
            at: 0,
            broker: BrokerNode::new(plan.plant),
            gateways,
            router,
            service,
            devices,
            sockets: BTreeMap::new(),
            witness: Witness::default(),
            trace: Trace::new(plan.prints),
            story: Story::default(),
            chance,
            agenda: Agenda::default(),
            faults,
            wires: BTreeMap::new(),
            ends: BTreeMap::new(),
            troubles: BTreeMap::new(),
            slow_disk_until: 0,
            full_until: BTreeMap::new(),
            stalled_until: BTreeMap::new(),
            next_wire: 0,
            next_socket: 0,
            phase: Phase::Troubled,
            lasting: Lasting::default(),
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
        for node in (0..self.gateways.len()).map(NodeId::Gateway).chain([NodeId::Router]) {
            let at = self.chance.between(1_500 * MILLI, 3 * SECOND);
            self.agenda.put(at, Event::Starts { node, life: 0 });
        }
        for device in 0..self.devices.len() {
            let at = self.chance.between(3 * SECOND, 20 * SECOND);
            self.agenda.put(at, Event::DeviceActs { device, act: Act::Connect });
        }
        for device in (0..self.devices.len()).filter(|device| leaves_early(*device)) {
            let at = self.chance.between(20 * SECOND, self.settings.heals_at);
            self.agenda.put(at, Event::DeviceActs { device, act: Act::Retire });
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
            Event::BrokerSynced { life, lsn } if life == self.broker.life && self.is_full(Disk::Log) => {
                self.agenda.put(self.at + FULL_DISK_RETRY, Event::BrokerSynced { life, lsn });
                let effects = self.broker.stalls(self.at);
                self.broker_wants(effects);
            }
            Event::BrokerSynced { life, lsn } if life == self.broker.life => {
                let effects = self.broker.synced(self.at, lsn);
                self.broker_wants(effects);
            }
            Event::BrokerTick { life } if life == self.broker.life => {
                let effects = self.broker.tick(self.at);
                self.broker_wants(effects);
            }
            Event::BrokerSynced { .. } | Event::BrokerTick { .. } => {}
            Event::BrokerStarts => {
                self.story.mark(self.at, Some(Actor::Broker), || "starts".to_owned());
                self.broker.start(self.at, self.chance.bits());
            }
            Event::ClientReads { wire, frame } => self.client_reads(wire, frame),
            Event::ClientLoses { wire } => self.client_loses(wire),
            Event::Connect { node, life, end } => self.connect(node, life, end),
            Event::Flush { node, life, end } if self.life(node) == life => {
                let effects = match node {
                    NodeId::Gateway(index) => self.gateways[index].flush(end),
                    NodeId::Router => self.router.flush(end),
                    NodeId::Service => self.service.flush(end),
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
            Event::RouterSynced { life, lsn } if life == self.router.life && self.is_full(Disk::Journal) => {
                self.agenda.put(self.at + FULL_DISK_RETRY, Event::RouterSynced { life, lsn });
                self.router.stuck();
            }
            Event::RouterSynced { life, lsn } if life == self.router.life => {
                let compacts = self.chance.one_in(40);
                let effects = self.router.synced(self.at, lsn, compacts);
                self.perform(NodeId::Router, effects);
            }
            Event::SpoolSynced { gateway, life, many } if life == self.gateways[gateway].life => {
                let effects = if self.is_full(Disk::Spool(gateway)) {
                    let again = Event::SpoolSynced { gateway, life, many };
                    self.agenda.put(self.at + FULL_DISK_RETRY, again);
                    self.gateways[gateway].stuck(self.at)
                } else {
                    self.gateways[gateway].synced(self.at, many)
                };
                self.perform(NodeId::Gateway(gateway), effects);
            }
            Event::Flush { .. }
            | Event::Tick { .. }
            | Event::Starts { .. }
            | Event::SpoolSynced { .. }
            | Event::RouterSynced { .. } => {}
            Event::GatewayAccepts { socket } => self.gateway_accepts(socket),
            Event::GatewayReads { socket, bytes, note } => self.gateway_hears(socket, bytes, note),
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
            Event::HttpRetries { number, attempt } => {
                let is_meant = self.service.orders[number].attempts == attempt;
                if is_meant && !self.service.accepted.contains(&number) {
                    self.send(number);
                }
            }
            Event::HttpAnswered { number, receipt: Some(receipt) } => {
                self.service.accepted.insert(number);
                self.witness.told_over_http(*receipt);
            }
            // Nothing was taken, and the sender asks again.
            Event::HttpAnswered { number, receipt: None } => {
                let at = self.at + self.chance.between(SECOND, 5 * SECOND);
                let attempt = self.service.orders[number].attempts;
                self.agenda.put(at, Event::HttpRetries { number, attempt });
            }
            Event::Fault { number } => self.begin(number),
            Event::ConnectionsBreak { node } => self.connections_break(node),
            Event::SocketsBreak { sockets } => self.sockets_break(&sockets),
            Event::ServiceGoesOn => {
                let effects = self.service.goes_on(self.at);
                self.perform(NodeId::Service, effects);
            }
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
            | Event::ConnectionsBreak { .. }
            | Event::SocketsBreak { .. }
            | Event::ServiceGoesOn
            | Event::Resume { .. }
            | Event::Heal
            | Event::Housekeeping => None,
        }
    }

    /// Whether that disk takes nothing now; counted, since it is asked when something is to be written.
    fn is_full(&mut self, disk: Disk) -> bool {
        let is_full = self.full_until.get(&disk).is_some_and(|until| *until > self.at);
        if is_full {
            self.witness.note(append_failed(disk));
        }
        is_full
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
        self.story.mark(self.at, Some(Actor::of(node)), || "starts".to_owned());
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
        let mut resumed = Vec::new();
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
                Effect::SocketPause { socket, paused } => {
                    resumed.extend((!paused).then_some(socket));
                    self.socket_pause(socket, paused);
                }
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
                    let outstanding = self.router.outstanding(self.at, &device);
                    if outstanding > self.settings.window {
                        let what = format!("{outstanding} commands of {device} are at {gateway}");
                        self.witness.violation(format!("{what}, at {} µs", self.at));
                    }
                    self.witness.forwarded(device, gateway, epoch);
                }
                Effect::Asks { device } => self.witness.asks(self.at, device),
                Effect::Closes { queue, device, session } => {
                    let knows_when = self.router.knows_when(self.at, &device);
                    self.witness.closes(self.at, &queue, &device, session, knows_when);
                }
                Effect::Accepted { device, incarnation, session, is_now } => {
                    if let NodeId::Gateway(index) = node {
                        let gateway = self.gateways[index].id.clone();
                        let at = is_now.then_some(self.at);
                        self.witness.accepted(at, (gateway, incarnation), device, session);
                    }
                }
                Effect::Says { run, presence } => self.witness.says(self.at, run, *presence),
                Effect::Lapsed => {
                    self.story.mark(self.at, Some(Actor::of(node)), || "a lease has lapsed".to_owned());
                    self.witness.lapsed(node, self.at);
                }
                Effect::Redelivered => self.witness.redelivered(),
                Effect::Told { run, is_its_own, receipt } => {
                    self.witness.told((life, run), is_its_own, *receipt);
                }
                Effect::Broken { what } => self.witness.violation(format!("{what}, at {} µs", self.at)),
            }
        }
        // Not before all of it is done: what follows from what is read now is written behind it.
        for socket in resumed {
            self.socket_reads_on(socket);
        }
    }

    fn send(&mut self, number: usize) {
        match self.service.orders[number].way {
            Way::Amqp => {
                let effects = self.service.send(self.at, number);
                self.perform(NodeId::Service, effects);
            }
            Way::Http => {
                self.service.orders[number].attempts += 1;
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
            let attempt = self.service.orders[number].attempts;
            self.agenda.put(self.at + patience, Event::HttpRetries { number, attempt });
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
        // Heartbeats go at whole seconds after each other: in step with them, one of them could be on its way at every look.
        let step = if matches!(self.phase, Phase::Healing) { SECOND + 7 * MILLI } else { SECOND };
        self.agenda.put(self.at + step, Event::Housekeeping);
        self.give_up_overdue();
        self.witness_bounds();
        self.witness_lasting();
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

    /// A command is for a device, whose story it is.
    pub(crate) fn completed(&self, focus: Focus) -> Focus {
        let of_command = || {
            let number: usize = focus.command.as_ref()?.strip_prefix('c')?.parse().ok()?;
            let name = &self.service.orders.get(number)?.request.device;
            self.devices.iter().position(|device| device.name == *name)
        };
        Focus { device: focus.device.or_else(of_command), ..focus }
    }
}

/// Whether a device goes for ever in the middle of the trouble: nothing but the mesh's own words says where it is not.
pub(crate) const fn leaves_early(device: usize) -> bool {
    device % 8 == 3
}

/// What coverage calls it.
pub(crate) const fn append_failed(disk: Disk) -> &'static str {
    match disk {
        Disk::Journal => "an append failed: journal",
        Disk::Log => "an append failed: log",
        Disk::Spool(_) => "an append failed: spool",
    }
}
