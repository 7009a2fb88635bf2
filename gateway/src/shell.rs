//! Everything of the gateway that touches a socket, a clock, a task or chance. No policy: it feeds the cores and performs
//! what they ask for.
//!
//! ```text
//! listener ─→ connection tasks ─┐→ World: Clients (a shard) ─→ sockets          one for each shard, each on its own thread
//! timer ────────────────────────┤     ▲    │    ▲
//!                                      │    │    └─ mail ─→ the worlds of the other shards
//!                                      │    ▼
//! AMQP pumps (inbox, confirms) ─┐→ Hub: link, spool, ┌─→ uplink publisher, mesh publisher ─→ AMQP
//! disk (durable, read back) ────┘   store           └─→ disk (spool, store)     one, on the first shard's thread
//! ```
//!
//! One thread runs a world: a shard and all its connections, without a lock. Events and the mesh's own reports go out over two
//! connections, so that a heartbeat never waits behind a fleet's backlog.

mod clients;
mod config;
mod connection;
mod gateway;
mod hub;
mod links;
mod listener;
mod metrics;
mod orders;
mod outbox;
mod post;
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
