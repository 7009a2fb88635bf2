//! Everything of the gateway that touches a socket, a clock, a task or chance. No policy: it feeds the cores and performs
//! what they ask for.
//!
//! ```text
//! listener ─→ connection tasks ─┐                 ┌─→ uplink publisher ──→ AMQP
//! timer ────────────────────────┤→ World: shard,  ┤─→ mesh publisher ────→ AMQP
//! AMQP pumps (inbox, confirms) ─┤   link, spool   ├─→ sockets
//! disk (durable, read back) ────┘                 └─→ disk (spool, store)
//! ```
//!
//! One thread runs a world: a shard and all its connections, without a lock. Events and the mesh's own reports go out over two
//! connections, so that a heartbeat never waits behind a fleet's backlog.

mod config;
mod connection;
mod gateway;
mod links;
mod listener;
mod metrics;
mod orders;
mod outbox;
mod pumps;
mod socket;
mod spool;
mod store;
mod telling;
mod thread;
mod users;
mod world;

pub use config::GatewayConfig;
pub use gateway::{DrainReport, Gateway, GatewayError};
pub use metrics::Snapshot;
pub use pumps::inbox_plan;
pub use spool::{SpoolConfig, SpoolError};
pub use store::{StoreConfig, StoreError, StoreFigures};
pub use users::{AuthenticationConfig, UsersFileError};
