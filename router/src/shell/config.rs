//! What a router is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_backend::shell::LinkConfig;
use roost_ops::TracingConfig;
use roost_wire::ShardId;

use crate::Limits;

/// A router's configuration: typed, with a default for everything that has one.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// Which shard of the devices it has custody for.
    pub shard: ShardId,
    /// The directory of its journal. It is the custody: lose it, and the commands in it are lost.
    pub data: PathBuf,
    /// Where the HTTP API listens; loopback only.
    pub http: SocketAddr,
    /// The cluster.
    pub amqp: AmqpAddress,
    /// The bounds of its core.
    pub limits: Limits,
    /// HTTP requests that may wait for their commands at once: 10,000. Beyond: 503, come back in a second.
    pub requests_waiting_max: usize,
    /// The journal is compacted when its segments have so many bytes, and more than the last snapshot: 256 MiB, so that disk and
    /// start stay small and rewriting stays rare.
    pub compact_every_bytes: u64,
    /// The bound of the waits between attempts to connect: [`LinkConfig::new`]'s.
    pub retry_max: Duration,
    /// Where its spans go; off by default.
    pub tracing: Option<TracingConfig>,
}

impl RouterConfig {
    /// A router with the defaults.
    #[must_use]
    pub fn new(shard: ShardId, data: PathBuf, http: SocketAddr, amqp: AmqpAddress) -> Self {
        let retry_max = LinkConfig::new(amqp.clone(), "").retry_max;
        Self {
            shard,
            data,
            http,
            amqp,
            limits: Limits::default(),
            requests_waiting_max: 10_000,
            compact_every_bytes: 256 * 1024 * 1024,
            retry_max,
            tracing: None,
        }
    }

    /// One of the router's connections.
    pub(super) fn link(&self, end: &str) -> LinkConfig {
        let name = format!("router {} {end}", self.shard);
        LinkConfig { retry_max: self.retry_max, ..LinkConfig::new(self.amqp.clone(), name) }
    }
}
