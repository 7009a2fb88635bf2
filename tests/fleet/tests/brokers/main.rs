//! The fleet against brokers: mosquitto, HAProxy before it, and brokers of the tests' own that do what no good one does.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails loudly")]

mod clean_up;
mod credentials;
mod exactly_once;
mod fake_broker;
mod layers;
mod lying_broker;
mod measured;
mod mosquitto;
mod websocket;
