//! The flow up: which publishes become events, and what it takes until their publisher is answered.

mod outstanding;
pub(crate) mod retry;
mod rules;

pub(crate) use outstanding::{EventEnd, Next, Uplink, Waiter};
pub use rules::{Acknowledge, UplinkOrder, UplinkRule, UplinkRules};
