//! Everything of the router that touches a socket, a disk, a clock, a task or chance. No policy: one task owns the core,
//! feeds it and performs what it asks for.
//!
//! ```text
//! AMQP: commands ──┐                      ┌─→ AMQP: inboxes, control, receipts, presence
//! AMQP: reports ───┤→ Engine: RouterCore ─┤─→ log: fsync, then Durable
//! HTTP ────────────┘                      └─→ HTTP answers
//! ```
//!
//! Commands have a consuming connection of their own: to pause them is to stop reading it, and reports go on.

mod backlog;
mod compaction;
mod config;
mod engine;
mod http;
mod metrics;
mod publications;
mod router;
mod sources;
mod standing;
mod telling;
mod waiters;

pub use config::RouterConfig;
pub use router::{DrainReport, Router, RouterError};
pub use sources::{REPORTS, commands_plan, reports_plan};
