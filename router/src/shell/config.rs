//! What a router is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

use roost_backend::AmqpAddress;
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
}

impl RouterConfig {
    /// A router with the defaults.
    #[must_use]
    pub fn new(shard: ShardId, data: PathBuf, http: SocketAddr, amqp: AmqpAddress) -> Self {
        Self { shard, data, http, amqp, limits: Limits::default() }
    }
}
