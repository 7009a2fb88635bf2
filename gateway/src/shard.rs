//! One shard: a single-threaded world of connections, sessions, subscriptions and timers.

mod hand_over;
mod input;
mod output;

pub use hand_over::HandOver;
pub use input::{Backend, Input};
pub use output::Output;
use roost_wire::{BootTime, GatewayId, Incarnation, Now, Region};

use crate::{Counters, Limits, Placement, UplinkRules};

/// What a shard is made with.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Which gateway it is part of.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// Its place among the shards of the process.
    pub placement: Placement,
    /// Random, so that clients cannot choose names that collide in its tables.
    pub hash_seed: u64,
    /// Its bounds.
    pub limits: Limits,
    /// What becomes an event.
    pub uplink: UplinkRules,
}

/// One shard. Give it what happens with [`Shard::handle`], then take everything from [`Shard::poll_output`], and call
/// again with [`Input::Tick`] at [`Shard::poll_timeout`].
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    counters: Counters,
}

/// How much there is of what comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Transport connections.
    pub connections: usize,
    /// Sessions whose client is connected.
    pub sessions_connected: usize,
    /// Sessions, connected or kept.
    pub sessions: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Events that the backend has not answered.
    pub uplink_events: usize,
    /// Commands written or waiting.
    pub commands: usize,
    /// Connections that are not read from.
    pub connections_paused: usize,
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new(config: ShardConfig) -> Self {
        Self { config, counters: Counters::default() }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// The next effect, in order; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to come back with [`Input::Tick`] if nothing happens before. Call it when the outputs are taken.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What there is now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        Gauges::default()
    }
}
