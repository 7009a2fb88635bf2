//! Faults that belong together: each a situation that a rule is for, and that single faults at random moments hardly ever make.

use crate::chance::Chance;
use crate::event::{End, NodeId};
use crate::fault::{Fault, FaultKind, Stalled};
use crate::settings::Settings;
use crate::time::{MILLI, Micros, SECOND};

/// A burst of faults round one gateway, or the router. It begins as the service sends a burst of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Burst {
    /// What a gateway says of its commands waits in a queue that stalls; the gateway is lost meanwhile, and its lease lapses.
    LostBehindAStall,
    /// Commands reach their gateway seconds late, within its lease, while their devices have gone to other gateways.
    LateCommands,
    /// Devices go from one gateway to the next, and the first one's sightings arrive seconds after the other's.
    OvertakenSightings,
    /// A gateway starts again at once, and what its earlier run said of its devices arrives many seconds after.
    EarlierRunOfAGateway,
    /// The router starts again at once, and the commands that its earlier run gave to gateways arrive many seconds after.
    EarlierRunOfTheRouter,
}

impl Burst {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LostBehindAStall,
        Self::LateCommands,
        Self::OvertakenSightings,
        Self::EarlierRunOfAGateway,
        Self::EarlierRunOfTheRouter,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LostBehindAStall => "lost-behind-a-stall",
            Self::LateCommands => "late-commands",
            Self::OvertakenSightings => "overtaken-sightings",
            Self::EarlierRunOfAGateway => "earlier-run-of-a-gateway",
            Self::EarlierRunOfTheRouter => "earlier-run-of-the-router",
        }
    }

    /// Its faults, and how long after its beginning each comes. The devices of `other` come to `gateway`, some of them.
    pub(crate) fn faults(
        self,
        gateway: usize,
        other: usize,
        chance: &mut Chance,
    ) -> Vec<(Micros, FaultKind)> {
        let node = NodeId::Gateway(gateway);
        match self {
            Self::LostBehindAStall => {
                let lasts = chance.between(22 * SECOND, 32 * SECOND);
                let away = chance.between(14 * SECOND, 25 * SECOND);
                let stalls = FaultKind::StalledQueue { queue: Stalled::Settlements, lasts };
                let crashes_at = chance.between(SECOND, 3 * SECOND);
                vec![(0, stalls), (crashes_at, FaultKind::GatewayCrash { gateway, away })]
            }
            Self::LateCommands => {
                // Commands come after half of the lease, and before its end at the gateway: seven seconds, at the least.
                let lasts = chance.between(5_300 * MILLI, 7_500 * MILLI);
                let slips_at = chance.between(500 * MILLI, SECOND);
                vec![(0, FaultKind::Delay { node, lasts }), (slips_at, FaultKind::SlipAway { gateway })]
            }
            Self::OvertakenSightings => {
                let lasts = chance.between(4_500 * MILLI, 6_500 * MILLI);
                let goes_on_at = chance.between(2_500 * MILLI, 3_500 * MILLI);
                vec![
                    (0, FaultKind::StuckConnection { node, end: End::Mesh, lasts }),
                    (0, FaultKind::Storm { gateway: other }),
                    (goes_on_at, FaultKind::Storm { gateway }),
                ]
            }
            Self::EarlierRunOfAGateway => {
                let lasts = chance.between(10 * SECOND, 20 * SECOND);
                let crashes_at = chance.between(2 * SECOND, 3 * SECOND);
                let away = chance.between(50 * MILLI, 500 * MILLI);
                vec![
                    (0, FaultKind::Storm { gateway }),
                    (0, FaultKind::StuckConnection { node, end: End::Mesh, lasts }),
                    (crashes_at, FaultKind::GatewayCrash { gateway, away }),
                ]
            }
            Self::EarlierRunOfTheRouter => {
                let (node, end) = (NodeId::Router, End::Publisher);
                let lasts = chance.between(12 * SECOND, 25 * SECOND);
                let crashes_at = chance.between(800 * MILLI, 1_800 * MILLI);
                let away = chance.between(50 * MILLI, 500 * MILLI);
                vec![
                    (0, FaultKind::StuckConnection { node, end, lasts }),
                    (crashes_at, FaultKind::RouterCrash { away }),
                ]
            }
        }
    }
}

/// How often the service sends many commands at one moment, and when for the first time.
const SENDS_EVERY: Micros = 20 * SECOND;
const SENDS_FIRST: Micros = 5 * SECOND;
/// How long before that a burst begins.
const AHEAD: Micros = 100 * MILLI;

/// The bursts of a run: of one kind and nothing else, if that is asked for; else one in every third run, of any kind. They are
/// drawn apart: what is drawn for a run without any is what it is.
pub(crate) fn draw_bursts(seed: u64, only: Option<Burst>, settings: &Settings) -> Vec<Fault> {
    let mut chance = Chance::new(!seed);
    let moments = (0..).map(|number| number * SENDS_EVERY + SENDS_FIRST - AHEAD);
    let moments = moments.skip(1).take_while(|at| *at < settings.heals_at - 5 * SECOND);
    let mut moments: Vec<Micros> = moments.collect();
    let bursts: &[Burst] = match &only {
        // Between two of them all is quiet again.
        Some(burst) => {
            moments = moments.into_iter().step_by(2).collect();
            std::slice::from_ref(burst)
        }
        None => {
            let is_one = chance.one_in(3);
            moments = if is_one { vec![chance.pick(&moments)] } else { Vec::new() };
            &Burst::ALL
        }
    };
    let draw = |at| {
        let gateways = settings.gateways as u64;
        let gateway = chance.below(gateways);
        let other = (gateway + 1 + chance.below(gateways - 1)) % gateways;
        let (gateway, other) = (gateway as usize, other as usize);
        Fault { at, kind: FaultKind::Burst { burst: chance.pick(bursts), gateway, other } }
    };
    moments.into_iter().map(draw).collect()
}
