//! The gateway: an MQTT broker that faces devices and federates to the backend.

mod counters;
mod limits;
pub mod link;
pub mod packet;
mod placement;
mod publication;
pub mod shard;
pub mod shell;
pub mod subscriptions;
mod uplink;

pub use counters::{Count, Counters};
pub use limits::Limits;
pub use placement::{ConnectionId, Placement, PublishOrigin, PublishToken, ShardIndex};
pub use publication::{OnLoss, Publication, PublishOutcome};
pub use uplink::{Acknowledge, UplinkOrder, UplinkRule, UplinkRules};
