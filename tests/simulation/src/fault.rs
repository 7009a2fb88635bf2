//! What goes wrong, and when.

use crate::chance::Chance;
use crate::event::{End, NodeId};
use crate::settings::{GATEWAYS, Settings};
use crate::time::{MILLI, Micros, SECOND};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Micros,
    pub(crate) kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// `kill -9` of a gateway: its sessions, and what it had not published, are gone.
    GatewayCrash { gateway: usize, away: Micros },
    /// `kill -9` of the router and its machine: the journal loses what was not synced.
    RouterCrash { away: Micros },
    /// `kill -9` of the broker and its machine: its log loses what was not synced.
    BrokerCrash { away: Micros },
    /// One AMQP connection breaks, in the middle of whatever it carries.
    CutConnection { node: NodeId, end: End },
    /// A process does not reach the broker.
    Partition { node: NodeId, lasts: Micros },
    /// Everything between a process and the broker takes that long: more than a lease, now and then.
    Delay { node: NodeId, lasts: Micros },
    /// What a consumer acknowledges does not arrive, and then its connection breaks: all of it is delivered again.
    Duplicate { node: NodeId, end: End, after: Micros },
    /// Every device of a gateway loses its connection at once.
    Storm { gateway: usize },
    /// Some devices' connections die without a word: both ends find out in their own time.
    HalfOpen { one_in: u64 },
    /// A machine stands still, its clocks run on.
    Pause { node: NodeId, lasts: Micros },
    /// The router's disk takes that long for a sync.
    SlowDisk { lasts: Micros },
}

impl FaultKind {
    /// The kinds' names, for coverage: every one must occur.
    pub(crate) const NAMES: [&'static str; 11] = [
        "gateway crash",
        "router crash",
        "broker crash",
        "cut connection",
        "partition",
        "delay",
        "duplicate",
        "storm",
        "half open",
        "pause",
        "slow disk",
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GatewayCrash { .. } => Self::NAMES[0],
            Self::RouterCrash { .. } => Self::NAMES[1],
            Self::BrokerCrash { .. } => Self::NAMES[2],
            Self::CutConnection { .. } => Self::NAMES[3],
            Self::Partition { .. } => Self::NAMES[4],
            Self::Delay { .. } => Self::NAMES[5],
            Self::Duplicate { .. } => Self::NAMES[6],
            Self::Storm { .. } => Self::NAMES[7],
            Self::HalfOpen { .. } => Self::NAMES[8],
            Self::Pause { .. } => Self::NAMES[9],
            Self::SlowDisk { .. } => Self::NAMES[10],
        }
    }
}

/// All faults of a run, in no order.
pub(crate) fn draw_faults(settings: &Settings, chance: &mut Chance) -> Vec<Fault> {
    let draw = |_| {
        let at = chance.between(8 * SECOND, settings.heals_at - SECOND);
        Fault { at, kind: draw_kind(chance) }
    };
    (0..settings.faults).map(draw).collect()
}

fn draw_kind(chance: &mut Chance) -> FaultKind {
    let gateway = chance.below(GATEWAYS as u64) as usize;
    let node = chance.pick(&[NodeId::Gateway(0), NodeId::Gateway(1), NodeId::Router]);
    // Short ones, and ones beyond lease and margin.
    let lasts = match chance.below(3) {
        0 => chance.between(50 * MILLI, 2 * SECOND),
        1 => chance.between(2 * SECOND, 9 * SECOND),
        _ => chance.between(9 * SECOND, 30 * SECOND),
    };
    let end = match node {
        NodeId::Gateway(_) => chance.pick(&[End::Uplink, End::Mesh, End::Inbox]),
        NodeId::Router | NodeId::Service => chance.pick(&[End::Publisher, End::Reports, End::Commands]),
    };
    let consumer = match node {
        NodeId::Gateway(_) => End::Inbox,
        NodeId::Router | NodeId::Service => chance.pick(&[End::Reports, End::Commands]),
    };
    match chance.below(13) {
        0 => FaultKind::GatewayCrash { gateway, away: lasts },
        1 | 2 => FaultKind::RouterCrash { away: lasts },
        3 => FaultKind::BrokerCrash { away: lasts },
        4 => FaultKind::CutConnection { node, end },
        5 if chance.one_in(2) => FaultKind::CutConnection { node: NodeId::Service, end: End::Publisher },
        5 => FaultKind::CutConnection { node, end },
        6 => FaultKind::Partition { node, lasts },
        7 => FaultKind::Delay { node, lasts },
        8 => FaultKind::Duplicate { node, end: consumer, after: chance.between(100 * MILLI, 3 * SECOND) },
        9 => FaultKind::Storm { gateway },
        10 => FaultKind::HalfOpen { one_in: chance.between(1, 4) },
        11 => FaultKind::Pause { node, lasts },
        _ => FaultKind::SlowDisk { lasts },
    }
}
