//! What a gateway is started with.

use std::net::SocketAddr;
use std::time::Duration;

use roost_backend::AmqpAddress;
use roost_ops::TracingConfig;
use roost_wire::{AnswerTopic, BroadcastPrefix, GatewayId, Region, ShardId};

use super::spool::SpoolConfig;
use super::store::StoreConfig;
use super::users::AuthenticationConfig;
use crate::{Hints, Limits, UplinkRules};

/// A gateway's configuration: typed, with a default for everything that has one.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Which gateway it is.
    pub id: GatewayId,
    /// Its region.
    pub region: Region,
    /// Where devices connect.
    pub listen: SocketAddr,
    /// Where operators ask; loopback only.
    pub admin: SocketAddr,
    /// The cluster.
    pub amqp: AmqpAddress,
    /// Which router has custody of its devices' commands.
    pub router: ShardId,
    /// How often it says "I am alive".
    pub heartbeat: Duration,
    /// For how long after sending an answered heartbeat it may deliver commands.
    pub lease: Duration,
    /// How many shards it has, each with a thread: at least 1, and at most [`crate::ShardSet::SHARDS_MAX`].
    pub shards: u16,
    /// The bounds of all its shards together.
    pub limits: Limits,
    /// What is asked of who connects.
    pub authentication: AuthenticationConfig,
    /// What becomes an event.
    pub uplink: UplinkRules,
    /// How often clients that subscribe to them are told the topics below `$SYS/` anew; zero: there are none.
    pub sys_interval: Duration,
    /// What is published below these is for the subscribers of every gateway that has them too.
    pub broadcasts: Vec<BroadcastPrefix>,
    /// Where events wait whose rule says `spooled`.
    pub spool: Option<SpoolConfig>,
    /// Where sessions and retained messages are kept; without it they end with the process.
    pub store: Option<StoreConfig>,
    /// Where devices answer commands.
    pub answers: AnswerTopic,
    /// What clients are told for their own use.
    pub hints: Hints,
    /// Where its spans go; off by default.
    pub tracing: Option<TracingConfig>,
}

impl GatewayConfig {
    /// Three chances within a lease for a heartbeat to be answered.
    pub const HEARTBEAT: Duration = Duration::from_secs(3);
    /// Longer than a broker's failover, shorter than a person's patience.
    pub const LEASE: Duration = Duration::from_secs(10);

    /// As mosquitto's, whose users those topics are for.
    pub const SYS_INTERVAL: Duration = Duration::from_secs(10);

    /// A gateway with the defaults.
    #[must_use]
    pub fn new(
        id: GatewayId,
        region: Region,
        listen: SocketAddr,
        admin: SocketAddr,
        amqp: AmqpAddress,
    ) -> Self {
        Self {
            id,
            region,
            listen,
            admin,
            amqp,
            router: ShardId(0),
            heartbeat: Self::HEARTBEAT,
            lease: Self::LEASE,
            shards: 1,
            limits: Limits::default(),
            authentication: AuthenticationConfig::default(),
            uplink: UplinkRules::default(),
            sys_interval: Self::SYS_INTERVAL,
            broadcasts: Vec::new(),
            spool: None,
            store: None,
            answers: AnswerTopic::default(),
            hints: Hints::default(),
            tracing: None,
        }
    }
}
