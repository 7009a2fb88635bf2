//! What was seen while a run went on: the facts by which it is judged.

use std::collections::{BTreeMap, BTreeSet};

use roost_backend::contract;
use roost_wire::mesh::Report as _;
use roost_wire::{
    CommandId, Device, Epoch, GatewayId, Incarnation, Presence, PresenceState, Receipt, RouterRun, SessionId,
    SettlementItem, SettlementReport, ShardId,
};

use crate::event::NodeId;
use crate::socket::SocketId;
use crate::time::{Micros, SECOND};

#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// Events that their device was told are safe: device and number.
    pub(crate) safe_events: BTreeSet<(usize, u64)>,
    /// Commands whose answer their device was told is safe.
    pub(crate) safe_answers: BTreeSet<String>,
    /// Commands that reached a device, in order.
    pub(crate) arrivals: Vec<Arrival>,
    /// Acknowledgements of commands that reached their gateway.
    pub(crate) acknowledgements: Vec<Acknowledgement>,
    /// Final receipts that HTTP answered with.
    pub(crate) http_finals: Vec<Receipt>,
    /// When a gateway's lease lapsed, by the gateway (its own) or the router (any).
    pub(crate) lapses: Vec<(NodeId, Micros)>,
    pub(crate) crashes: Vec<(NodeId, Micros)>,
    pub(crate) broker_crashes: Vec<Micros>,
    /// Rules seen broken on the way.
    pub(crate) violations: Vec<String>,
    /// How often each thing happened that a run should meet.
    pub(crate) happened: BTreeMap<String, u64>,
    /// When the broker first had the word that a command was delivered.
    pub(crate) settled: BTreeMap<CommandId, Micros>,
    /// What the router told senders, in order.
    pub(crate) tellings: Vec<Telling>,
    /// What the router has said last of each device's coming and going, and in which run.
    pub(crate) presences: BTreeMap<Device, (RouterRun, Presence)>,
    /// To whom the router gave each device's commands last.
    holders: BTreeMap<Device, (GatewayId, Epoch)>,
    /// The last session of each device at each gateway, and when it was accepted there.
    accepted: BTreeMap<Device, BTreeMap<GatewayId, (SessionId, Micros)>>,
    /// Every session that a gateway has accepted, and in which of its runs.
    sessions: BTreeSet<(Device, GatewayId, Incarnation, SessionId)>,
    /// When the router last asked who has a device.
    asked: BTreeMap<Device, Micros>,
}

/// Whose lease has lapsed or who has crashed within this time may be wrong about a session.
const TROUBLE: Micros = 25 * SECOND;

/// A command that reached a device.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Micros,
    pub(crate) device: usize,
    pub(crate) socket: SocketId,
    pub(crate) command: String,
    /// As the packet says; 3.1.1 cannot.
    pub(crate) command_id: Option<String>,
}

/// What the router told a sender.
#[derive(Debug)]
pub(crate) struct Telling {
    /// In which life and in which run of it: that is as far as it remembers how often a command was given to a gateway.
    pub(crate) turn: (u32, RouterRun),
    /// Whether the life that told it had taken the command itself, and has said all of it.
    pub(crate) is_its_own: bool,
    pub(crate) receipt: Receipt,
}

/// A device's PUBACK, as it reached the gateway.
#[derive(Debug)]
pub(crate) struct Acknowledgement {
    pub(crate) at: Micros,
    pub(crate) gateway: usize,
    pub(crate) device: usize,
    pub(crate) socket: SocketId,
    pub(crate) command: String,
    pub(crate) is_success: bool,
}

impl Witness {
    pub(crate) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(crate) fn note(&mut self, what: &str) {
        *self.happened.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, name: &str) {
        self.note(&format!("fault: {name}"));
    }

    pub(crate) fn redelivered(&mut self) {
        self.note("a delivery came again");
    }

    pub(crate) fn lapsed(&mut self, node: NodeId, at: Micros) {
        self.note("a lease lapsed");
        self.lapses.push((node, at));
    }

    pub(crate) fn crashed(&mut self, node: NodeId, at: Micros) {
        self.crashes.push((node, at));
    }

    pub(crate) fn broker_crashed(&mut self, at: Micros) {
        self.broker_crashes.push(at);
    }

    pub(crate) fn event_safe(&mut self, device: usize, number: u64) {
        self.safe_events.insert((device, number));
    }

    pub(crate) fn answer_safe(&mut self, command: String) {
        self.note("an answer was acknowledged");
        self.safe_answers.insert(command);
    }

    pub(crate) fn told_over_http(&mut self, receipt: Receipt) {
        if receipt.state.is_final() {
            self.http_finals.push(receipt);
        }
    }

    pub(crate) fn told(&mut self, turn: (u32, RouterRun), is_its_own: bool, receipt: Receipt) {
        self.tellings.push(Telling { turn, is_its_own, receipt });
    }

    pub(crate) fn forwarded(&mut self, device: Device, gateway: GatewayId, epoch: Epoch) {
        self.holders.insert(device, (gateway, epoch));
    }

    /// A run of a gateway has accepted a CONNECT, `at` this moment or earlier.
    pub(crate) fn accepted(
        &mut self,
        at: Option<Micros>,
        (gateway, incarnation): (GatewayId, Incarnation),
        device: Device,
        session: SessionId,
    ) {
        self.sessions.insert((device.clone(), gateway.clone(), incarnation, session));
        if let Some(at) = at {
            self.accepted.entry(device).or_default().insert(gateway, (session, at));
        }
    }

    /// The router says that a device has come or gone. Where it is, or was, this run of the gateway has accepted that session.
    pub(crate) fn says(&mut self, at: Micros, run: RouterRun, presence: Presence) {
        let Presence { device, gateway, incarnation, session, state, .. } = &presence;
        let named = (device.clone(), gateway.clone(), *incarnation, *session);
        if *state == PresenceState::Online && !self.sessions.contains(&named) {
            let what = format!("{device} is said to be online at {gateway}, in session {session}");
            self.violation(format!("{what}, at {at} µs, which its run {incarnation} never accepted"));
        }
        self.presences.insert(device.clone(), (run, presence));
    }

    pub(crate) fn asks(&mut self, at: Micros, device: Device) {
        self.asked.insert(device, at);
    }

    /// The router has a session closed. Unless nobody can say which is newer, that is not the newest.
    pub(crate) fn closes(
        &mut self,
        at: Micros,
        queue: &str,
        device: &Device,
        session: SessionId,
        knows_when: bool,
    ) {
        let Some(accepted) = self.accepted.get(device) else { return };
        let Some((gateway, &(newest, since))) = accepted.iter().max_by_key(|(_, (_, since))| *since) else {
            return;
        };
        let is_newest = newest == session && queue.starts_with(&format!("roost.control.{gateway}."));
        let was_asked = self.asked.get(device).is_some_and(|asked| *asked >= since);
        let troubles = self.crashes.iter().chain(&self.lapses).map(|(_, at)| *at);
        let is_calm = troubles.max().unwrap_or_default() + TROUBLE < at;
        if is_newest && !was_asked && is_calm && knows_when {
            let what =
                format!("the newest session {session} of {device}, accepted by {gateway} at {since} µs");
            self.violation(format!("{what}, is closed at {at} µs as an older one"));
        }
    }

    /// The broker has read a message: whatever comes of its publisher, what it says of commands is there.
    pub(crate) fn broker_has(&mut self, at: Micros, routing_key: &str, body: &[u8]) {
        if routing_key != contract::settle_key(ShardId(0)) {
            return;
        }
        let Ok(SettlementReport::Gateway { items, .. }) = SettlementReport::from_body(body) else { return };
        for item in items {
            if let SettlementItem::Settled(settlement) = item
                && settlement.outcome.is_success()
            {
                self.settled.entry(settlement.command).or_insert(at);
            }
        }
    }

    /// Until when trouble excuses that a command comes again: what the broker has is read before anything is given to another.
    pub(crate) fn excused_until(&self, command: CommandId, again_at: Micros) -> Micros {
        let Some(&settled_at) = self.settled.get(&command).filter(|settled_at| **settled_at < again_at)
        else {
            return again_at;
        };
        // What it had not on disk is lost with it.
        let is_lost = self.broker_crashes.iter().any(|crash| (settled_at..=again_at).contains(crash));
        if is_lost { again_at } else { settled_at }
    }

    /// A gateway writes a command to its device: nobody else may have been given that device's commands since.
    pub(crate) fn written(&mut self, at: Micros, device: &Device, gateway: &GatewayId, command: &str) {
        let Some((holder, epoch)) = self.holders.get(device) else {
            return self.violation(format!("{command} was written to {device} without being forwarded"));
        };
        if holder != gateway {
            let what = format!(
                "two holders: {gateway} writes {command} to {device} at {at} µs, while {holder} has epoch {epoch}"
            );
            self.violation(what);
        }
    }

    pub(crate) fn got(
        &mut self,
        at: Micros,
        device: usize,
        socket: SocketId,
        command: String,
        command_id: Option<String>,
    ) {
        self.arrivals.push(Arrival { at, device, socket, command, command_id });
    }

    pub(crate) fn acknowledged(
        &mut self,
        at: Micros,
        gateway: usize,
        device: usize,
        socket: SocketId,
        command: String,
        is_success: bool,
    ) {
        let acknowledgement = Acknowledgement { at, gateway, device, socket, command, is_success };
        self.acknowledgements.push(acknowledgement);
    }

    /// Whether a gateway crashed, or a lease of its lapsed there or (anybody's) at the router, from then to then.
    pub(crate) fn was_troubled(&self, gateway: usize, from: Micros, to: Micros) -> bool {
        let within = |at: Micros| (from..=to).contains(&at);
        let is_its = |node: NodeId| node == NodeId::Gateway(gateway);
        self.crashes.iter().any(|&(node, at)| is_its(node) && within(at))
            || self.lapses.iter().any(|&(node, at)| (is_its(node) || node == NodeId::Router) && within(at))
    }
}
