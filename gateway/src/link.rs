//! The link: what the gateway as a whole has with one router. Heartbeats and the lease, sightings and settlements.

mod dialogue;
mod words;

use std::time::Duration;

pub use dialogue::{FromShard, ToShard};
use roost_wire::{BootTime, GatewayId, Incarnation, Now, Region, ShardId};
pub use words::{LinkInput, LinkOutput};

use crate::Counters;

/// What a link is made with.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Which gateway it speaks for.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// Which router it speaks with.
    pub router: ShardId,
    /// How many shards the process has.
    pub shards: u16,
    /// How often to say "I am alive".
    pub heartbeat: Duration,
    /// For how long after sending an answered heartbeat commands may be delivered.
    pub lease: Duration,
    /// The exchange for reports: `roost.mesh`.
    pub exchange: String,
    /// The routing key of sightings: `sightings.<shard>`.
    pub sightings_key: String,
    /// The routing key of settlements: `settle.<shard>`.
    pub settle_key: String,
}

/// What the gateway as a whole has with one router.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    counters: Counters,
}

impl Link {
    /// A link that is not up yet.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self { config, counters: Counters::default() }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: LinkInput) {
        let _ = (now, input, &self.config);
    }

    /// The next effect, in order; `None` when there is none for now. What has been said since the last call is put
    /// together into reports here, so handle all that is at hand before asking.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        None
    }

    /// When to come back with [`LinkInput::Tick`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
