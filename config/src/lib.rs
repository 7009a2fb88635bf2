//! Reads, checks and explains configuration files.
//!
//! A file becomes a typed value or a list of everything that is wrong with it, each with line and column:
//!
//! - [`document`] reads YAML into a tree that knows the position of every key and value. (A derived serde struct would stop
//!   at its first error, and an operator would meet them one by one.)
//! - `section` reads keys out of one mapping of that tree; the keys it was asked for are the keys that exist, so any other
//!   is refused with the nearest one that does.
//! - [`GatewaySettings`], [`RouterSettings`] and [`BackendSettings`] are what the three roles read. Every default is a
//!   constant whose doc says why that number.
//! - [`scenario::load`] reads what happens to a fleet of simulated devices.
//! - [`Settings::read`] looks at the top-level `role:` and reads one of the three.

pub mod authentication;
pub mod backend;
#[cfg(test)]
mod contract;
pub mod document;
pub mod fanout;
pub mod gateway;
mod nearest;
mod problem;
mod role;
pub mod router;
pub mod scenario;
mod section;
pub mod spool;
pub mod tracing;
pub mod uplink;
mod value;

pub use authentication::AuthenticationSettings;
pub use backend::{BackendLimits, BackendSettings, User};
pub use fanout::FanoutSettings;
pub use gateway::{
    AwayFull, DrainSettings, GatewayLimits, GatewaySettings, MeshSettings, OnTakeover, SessionSettings,
    SessionStore, Threads, WillSettings,
};
pub use problem::{Problem, Problems};
pub use role::{Role, Settings};
pub use router::{CommandBounds, LifetimeSettings, RouterSettings};
pub use spool::{SpoolSettings, WhenFull};
pub use tracing::TracingSettings;
pub use uplink::{Acknowledge, Order, UplinkRule, UplinkSettings};
