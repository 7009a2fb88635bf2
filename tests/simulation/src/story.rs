//! Who sent what to whom: kept only for a run whose diagram is wanted. It draws no chance and changes nothing.

mod words;

use std::collections::{BTreeMap, VecDeque};

use crate::amqp::WireId;
use crate::event::NodeId;
use crate::fault::{Disk, FaultKind};
use crate::socket::SocketId;
use crate::time::Micros;

/// All that was said in one run, by the time of its arrival.
#[derive(Debug, Default)]
pub(crate) struct Story {
    is_kept: bool,
    lines: Vec<Line>,
    /// What is written and has not arrived, in order.
    under_way: BTreeMap<Channel, VecDeque<Sent>>,
    /// What the mesh's ids stand for.
    commands: BTreeMap<String, String>,
}

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    Device(usize),
    Gateway(usize),
    Broker,
    Router,
    Service,
}

/// One direction of one connection: what is written arrives in order, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    ToBroker(WireId),
    /// With the number of its AMQP channel: a queue that stalls holds up no other's.
    FromBroker(WireId, u16),
    ToGateway(SocketId),
    ToDevice(SocketId),
}

/// One message, or one thing that happened at one place.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) at: Micros,
    pub(crate) what: What,
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Message {
        from: Actor,
        to: Actor,
        sent_at: Micros,
        is_lost: bool,
    },
    /// Where; none is everywhere.
    Mark(Option<Actor>),
}

/// One of the things that a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The device that it is about.
    pub(crate) device: Option<usize>,
    /// The command that it is about.
    pub(crate) command: Option<String>,
    pub(crate) words: String,
}

#[derive(Debug)]
struct Sent {
    at: Micros,
    between: (Actor, Actor),
    items: Vec<Item>,
}

impl Story {
    pub(crate) fn new(is_kept: bool) -> Self {
        Self { is_kept, ..Self::default() }
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Something is written.
    pub(crate) fn sent(&mut self, channel: Channel, at: Micros, between: (Actor, Actor), items: Vec<Item>) {
        if self.is_kept {
            self.under_way.entry(channel).or_default().push_back(Sent { at, between, items });
        }
    }

    /// What was written first arrives, or would have if it passed.
    pub(crate) fn arrives(&mut self, channel: Channel, at: Micros, passes: bool) {
        let sent = self.under_way.get_mut(&channel).and_then(VecDeque::pop_front);
        if let Some(Sent { at: sent_at, between: (from, to), items }) = sent {
            self.add(at, What::Message { from, to, sent_at, is_lost: !passes }, items);
        }
    }

    /// Something is written that never arrives.
    pub(crate) fn lost(&mut self, at: Micros, (from, to): (Actor, Actor), items: Vec<Item>) {
        self.add(at, What::Message { from, to, sent_at: at, is_lost: true }, items);
    }

    /// Something happens at one place, or everywhere.
    pub(crate) fn mark(&mut self, at: Micros, place: Option<Actor>, words: impl FnOnce() -> String) {
        if self.is_kept {
            let item = Item { device: None, command: None, words: words() };
            self.add(at, What::Mark(place), vec![item]);
        }
    }

    fn add(&mut self, at: Micros, what: What, items: Vec<Item>) {
        if self.is_kept && !items.is_empty() {
            self.lines.push(Line { at, what, items });
        }
    }
}

impl Actor {
    pub(crate) const fn of(node: NodeId) -> Self {
        match node {
            NodeId::Gateway(index) => Self::Gateway(index),
            NodeId::Router => Self::Router,
            NodeId::Service => Self::Service,
        }
    }

    /// Whose trouble it is; none if many's.
    pub(crate) const fn of_fault(kind: FaultKind) -> Option<Self> {
        match kind {
            FaultKind::GatewayCrash { gateway, .. }
            | FaultKind::Storm { gateway }
            | FaultKind::SlipAway { gateway }
            | FaultKind::FullDisk { disk: Disk::Spool(gateway), .. } => Some(Self::Gateway(gateway)),
            FaultKind::RouterCrash { .. } | FaultKind::FullDisk { disk: Disk::Journal, .. } => {
                Some(Self::Router)
            }
            FaultKind::BrokerCrash { .. } | FaultKind::FullDisk { disk: Disk::Log, .. } => Some(Self::Broker),
            FaultKind::CutConnection { node, .. }
            | FaultKind::Partition { node, .. }
            | FaultKind::OneWay { node, .. }
            | FaultKind::Delay { node, .. }
            | FaultKind::StuckConnection { node, .. }
            | FaultKind::Duplicate { node, .. }
            | FaultKind::Pause { node, .. }
            | FaultKind::Sleep { node, .. }
            | FaultKind::Calendar { node, .. } => Some(Self::of(node)),
            FaultKind::SlowService { .. } => Some(Self::Service),
            FaultKind::StalledQueue { .. } => Some(Self::Broker),
            FaultKind::OneWayDevices { .. }
            | FaultKind::HalfOpen { .. }
            | FaultKind::SlowDisk { .. }
            | FaultKind::SlowDevices { .. }
            | FaultKind::Burst { .. } => None,
        }
    }
}

impl Line {
    /// Who is in it.
    pub(crate) fn actors(&self) -> impl Iterator<Item = Actor> {
        let (one, other) = match self.what {
            What::Message { from, to, .. } => (Some(from), Some(to)),
            What::Mark(place) => (place, None),
        };
        one.into_iter().chain(other)
    }
}
