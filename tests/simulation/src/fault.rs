//! What goes wrong, and when.

use crate::burst::Burst;
use crate::chance::Chance;
use crate::event::{End, NodeId};
use crate::settings::Settings;
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
    /// Frames pass between a process and the broker in one direction only.
    OneWay { node: NodeId, lost: Direction, fate: Fate, lasts: Micros },
    /// Packets pass between some devices and their gateway in one direction only; their connections do not survive it.
    OneWayDevices { lost: Direction, one_in: u64, lasts: Micros },
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
    /// A machine sleeps, for longer: whoever talked with it gives its connections up, and it learns that when it wakes. Its boot clock
    /// runs on.
    Sleep { node: NodeId, lasts: Micros },
    /// A process's calendar is set forward or back.
    Calendar { node: NodeId, by_ms: i64 },
    /// The disks of router and gateways take that long for a sync.
    SlowDisk { lasts: Micros },
    /// A disk takes no more: what is appended fails, and is tried again until there is room.
    FullDisk { disk: Disk, lasts: Micros },
    /// A queue of the router's delivers nothing for a while: a replicated one has no leader.
    StalledQueue { queue: Stalled, lasts: Micros },
    /// Some devices do not read what their gateway sends.
    SlowDevices { one_in: u64, lasts: Micros },
    /// A service does not take what is in its queue.
    SlowService { lasts: Micros },
    /// What a process writes on one of its connections takes that long, whatever becomes of the process; what it writes on
    /// others, or on the next one, does not.
    StuckConnection { node: NodeId, end: End, lasts: Micros },
    /// The devices of a gateway lose it and go elsewhere; it believes in them until their keep alive is over.
    SlipAway { gateway: usize },
    /// Several that belong together.
    Burst { burst: Burst, gateway: usize, other: usize },
}

/// Which way nothing passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What the process or device writes.
    Out,
    /// What it would read.
    In,
}

/// What becomes of a connection of which one direction does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// TCP sends again what was lost, and it arrives when the way is free, unless an end has given it up.
    Survives,
    /// It breaks, and what was written meanwhile is gone.
    Breaks,
}

/// A queue that can stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stalled {
    Sightings,
    Settlements,
}

impl Stalled {
    /// Its place in the plan of the router's reports.
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Sightings => 1,
            Self::Settlements => 2,
        }
    }
}

/// A disk that can be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disk {
    /// The router's, with its journal.
    Journal,
    /// The broker's, with its log.
    Log,
    /// A gateway's, with its spool.
    Spool(usize),
}

impl FaultKind {
    /// The kinds' names, for coverage: every one must occur.
    pub(crate) const NAMES: [&'static str; 33] = [
        "gateway crash",
        "router crash",
        "broker crash",
        "cut connection",
        "partition",
        "one way: out lost, late",
        "one way: in lost, late",
        "one way: out lost",
        "one way: in lost",
        "one way: devices' out lost",
        "one way: devices' in lost",
        "delay",
        "duplicate",
        "storm",
        "half open",
        "pause",
        "sleep",
        "calendar",
        "slow disk",
        "full disk: journal",
        "full disk: log",
        "full disk: spool",
        "slow devices",
        "slow service",
        "stalled queue: sightings",
        "stalled queue: settlements",
        "stuck connection",
        "devices slip away",
        "burst: lost behind a stall",
        "burst: late commands",
        "burst: overtaken sightings",
        "burst: earlier run of a gateway",
        "burst: earlier run of the router",
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GatewayCrash { .. } => Self::NAMES[0],
            Self::RouterCrash { .. } => Self::NAMES[1],
            Self::BrokerCrash { .. } => Self::NAMES[2],
            Self::CutConnection { .. } => Self::NAMES[3],
            Self::Partition { .. } => Self::NAMES[4],
            Self::OneWay { lost: Direction::Out, fate: Fate::Survives, .. } => Self::NAMES[5],
            Self::OneWay { lost: Direction::In, fate: Fate::Survives, .. } => Self::NAMES[6],
            Self::OneWay { lost: Direction::Out, fate: Fate::Breaks, .. } => Self::NAMES[7],
            Self::OneWay { lost: Direction::In, fate: Fate::Breaks, .. } => Self::NAMES[8],
            Self::OneWayDevices { lost: Direction::Out, .. } => Self::NAMES[9],
            Self::OneWayDevices { lost: Direction::In, .. } => Self::NAMES[10],
            Self::Delay { .. } => Self::NAMES[11],
            Self::Duplicate { .. } => Self::NAMES[12],
            Self::Storm { .. } => Self::NAMES[13],
            Self::HalfOpen { .. } => Self::NAMES[14],
            Self::Pause { .. } => Self::NAMES[15],
            Self::Sleep { .. } => Self::NAMES[16],
            Self::Calendar { .. } => Self::NAMES[17],
            Self::SlowDisk { .. } => Self::NAMES[18],
            Self::FullDisk { disk: Disk::Journal, .. } => Self::NAMES[19],
            Self::FullDisk { disk: Disk::Log, .. } => Self::NAMES[20],
            Self::FullDisk { disk: Disk::Spool(_), .. } => Self::NAMES[21],
            Self::SlowDevices { .. } => Self::NAMES[22],
            Self::SlowService { .. } => Self::NAMES[23],
            Self::StalledQueue { queue: Stalled::Sightings, .. } => Self::NAMES[24],
            Self::StalledQueue { queue: Stalled::Settlements, .. } => Self::NAMES[25],
            Self::StuckConnection { .. } => Self::NAMES[26],
            Self::SlipAway { .. } => Self::NAMES[27],
            Self::Burst { burst: Burst::LostBehindAStall, .. } => Self::NAMES[28],
            Self::Burst { burst: Burst::LateCommands, .. } => Self::NAMES[29],
            Self::Burst { burst: Burst::OvertakenSightings, .. } => Self::NAMES[30],
            Self::Burst { burst: Burst::EarlierRunOfAGateway, .. } => Self::NAMES[31],
            Self::Burst { burst: Burst::EarlierRunOfTheRouter, .. } => Self::NAMES[32],
        }
    }
}

/// All faults of a run, in no order.
pub(crate) fn draw_faults(settings: &Settings, chance: &mut Chance) -> Vec<Fault> {
    let draw = |_| {
        let at = chance.between(8 * SECOND, settings.heals_at - SECOND);
        Fault { at, kind: draw_kind(settings, chance) }
    };
    (0..settings.faults).map(draw).collect()
}

/// Anything that can go wrong; it may find nothing to break then.
pub(crate) fn draw_kind(settings: &Settings, chance: &mut Chance) -> FaultKind {
    let gateway = chance.below(settings.gateways as u64) as usize;
    let node = if chance.one_in(3) { NodeId::Router } else { NodeId::Gateway(gateway) };
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
    let lost = chance.pick(&[Direction::Out, Direction::In]);
    match chance.below(21) {
        0 => FaultKind::GatewayCrash { gateway, away: lasts },
        1 | 2 => FaultKind::RouterCrash { away: lasts },
        3 => FaultKind::BrokerCrash { away: lasts },
        4 => FaultKind::CutConnection { node, end },
        5 => {
            let of_service = FaultKind::CutConnection {
                node: NodeId::Service,
                end: chance.pick(&[End::Publisher, End::Reports]),
            };
            if chance.one_in(2) { of_service } else { FaultKind::CutConnection { node, end } }
        }
        6 => FaultKind::Partition { node, lasts },
        7 | 8 => {
            let fate = chance.pick(&[Fate::Survives, Fate::Breaks]);
            FaultKind::OneWay { node, lost, fate, lasts }
        }
        9 => FaultKind::OneWayDevices { lost, one_in: chance.between(1, 4), lasts },
        10 => FaultKind::Delay { node, lasts },
        11 => FaultKind::Duplicate { node, end: consumer, after: chance.between(100 * MILLI, 3 * SECOND) },
        12 => FaultKind::Storm { gateway },
        13 => FaultKind::HalfOpen { one_in: chance.between(1, 4) },
        14 if chance.one_in(3) => FaultKind::Sleep { node, lasts: chance.between(20 * SECOND, 60 * SECOND) },
        14 => FaultKind::Pause { node, lasts },
        15 => {
            // What an administrator or a time server does: minutes.
            let by_ms = chance.between(500, 5 * 60 * 1_000) as i64;
            FaultKind::Calendar { node, by_ms: if chance.one_in(2) { by_ms } else { -by_ms } }
        }
        16 => FaultKind::SlowDisk { lasts },
        17 => {
            let disk = chance.pick(&[Disk::Journal, Disk::Log, Disk::Spool(gateway)]);
            FaultKind::FullDisk { disk, lasts }
        }
        18 => {
            let queue = chance.pick(&[Stalled::Sightings, Stalled::Settlements]);
            FaultKind::StalledQueue { queue, lasts }
        }
        19 => FaultKind::SlowDevices { one_in: chance.between(1, 4), lasts },
        _ => FaultKind::SlowService { lasts },
    }
}
