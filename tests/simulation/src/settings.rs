//! How one run is set up: drawn from its seed, so that bounds are met as well as never met.

use std::time::Duration;

use roost_gateway::spool::SpoolLimits;
use roost_gateway::{Limits as GatewayLimits, UplinkOrder};
use roost_router::Limits as RouterLimits;

use crate::burst::Burst;
use crate::chance::Chance;
use crate::gateway::HEARTBEAT;
use crate::plant::Break;
use crate::spool::draw_limits;
use crate::time::{Clock, Micros, SECOND};

/// What is asked of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What all chance is drawn from.
    pub seed: u64,
    /// A rule to break.
    pub plant: Option<Break>,
    /// Nothing goes wrong but such bursts of faults.
    pub burst: Option<Burst>,
    /// Whether every event is printed.
    pub prints: bool,
}

impl Plan {
    /// A run of that seed with every rule kept.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { seed, plant: None, burst: None, prints: false }
    }
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) gateways: usize,
    pub(crate) devices: usize,
    pub(crate) commands: usize,
    pub(crate) faults: usize,
    /// When faults are over.
    pub(crate) heals_at: Micros,
    /// So many commands of a device may be at its gateway.
    pub(crate) window: usize,
    pub(crate) router: RouterLimits,
    pub(crate) gateway: GatewayLimits,
    /// Whether events are spooled, and in which order.
    pub(crate) spool: Option<(UplinkOrder, SpoolLimits)>,
    /// What gateways believe their lease to be.
    pub(crate) lease: Duration,
    /// How long a message takes, in microseconds.
    pub(crate) latency_max: Micros,
    /// How long a disk takes to sync.
    pub(crate) sync_max: Micros,
    /// What a kernel takes for a device that does not read.
    pub(crate) kernel_bytes_max: usize,
    /// How many events a service's queue holds that refuses more.
    pub(crate) service_queue_max: u32,
    /// Records that wait for the router's disk before it takes in no more commands.
    pub(crate) journal_queue_max: usize,
}

/// The most gateways of a run; two at least, three on average.
pub(crate) const GATEWAYS_MAX: u64 = 4;
/// The least of each run.
pub(crate) const DEVICES_MIN: usize = 50;
pub(crate) const COMMANDS_MIN: usize = 500;
pub(crate) const FAULTS_MIN: usize = 20;

impl Settings {
    pub(crate) fn draw(plan: Plan, chance: &mut Chance) -> Self {
        let seconds = Duration::from_secs;
        let settle_s = chance.pick(&[3, 8, 30]);
        let lease = seconds(10);
        let window = chance.pick(&[1, 4, 16]);
        let is = |plant| prevails(plan, plant);
        let router = RouterLimits {
            lease: if is(Break::ReassignEarly) { lease / 2 } else { lease },
            lease_margin: seconds(if is(Break::ReassignEarly) { 0 } else { 2 }),
            settle_timeout: seconds(settle_s + 5),
            outstanding_per_device_max: window + if is(Break::IgnoreTheWindow) { 8 } else { 0 },
            mailbox_commands_max: chance.pick(&[5, 100]),
            commands_max: chance.pick(&[25, 200_000]),
            tenant_commands_max: chance.pick(&[20, 150_000]),
            prefetch: chance.pick(&[10, 500]),
            unanswered_max: chance.pick(&[2, 10]),
            absent_remembered: seconds(chance.pick(&[1, 10])),
            questions_max: chance.pick(&[2, 1_000]),
            list_max: chance.pick(&[40, 200_000]),
            ..RouterLimits::default()
        };
        let gateway = GatewayLimits {
            // Mostly sessions move.
            session_transfer: seconds(chance.pick(&[2, 2, 2, 0])),
            settle_timeout: seconds(settle_s),
            uplink_events_max: chance.pick(&[8, 2_000]),
            inflight_max: chance.pick(&[2, 100]).try_into().expect("it is not zero"),
            outgoing_bytes_max: chance.pick(&[600, 128 * 1024]),
            ..GatewayLimits::default()
        };
        let order = chance.pick(&[None, None, Some(UplinkOrder::Strict), Some(UplinkOrder::Fresh)]);
        assert!(lease > HEARTBEAT * 3, "as production's configuration demands");
        Self {
            gateways: chance.between(2, GATEWAYS_MAX) as usize,
            devices: DEVICES_MIN + chance.below(11) as usize,
            commands: COMMANDS_MIN + chance.below(101) as usize,
            faults: if plan.burst.is_some() { 0 } else { FAULTS_MIN + 2 + chance.below(9) as usize },
            heals_at: chance.between(60, 130) * SECOND,
            window,
            router,
            gateway,
            spool: order.map(|order| (order, draw_limits(chance))),
            lease: if is(Break::TwoHolders) { seconds(3_600) } else { lease },
            latency_max: chance.pick(&[2_000, 20_000, 300_000]),
            sync_max: chance.pick(&[3_000, 30_000, 400_000]),
            kernel_bytes_max: chance.pick(&[200, 4_000]),
            service_queue_max: chance.pick(&[40, 100_000]),
            journal_queue_max: chance.pick(&[20, 4_096]),
        }
    }
}

fn prevails(plan: Plan, plant: Break) -> bool {
    plan.plant == Some(plant)
}

/// A process's clocks: begun at another time, a little fast or slow, a calendar some milliseconds ahead.
pub(crate) fn draw_clock(chance: &mut Chance) -> Clock {
    Clock {
        offset: chance.between(1, 1_000_000) * SECOND,
        drift_ppm: chance.below(201) as i64 - 100,
        ahead_ms: chance.below(40) as i64,
    }
}
