//! The flow up: which publishes become events, and what it takes until their publisher is answered.

mod rules;

pub use rules::{Acknowledge, UplinkOrder, UplinkRule, UplinkRules};
