//! The core against scripted gateways: what it says, in which order, and after what is on disk.

mod answers;
mod bench;
mod contests;
mod custody;
mod gauges;
mod intake;
mod membership;
mod questions;
mod refused;
mod restart;
mod supersede;
mod traces;
mod tracing;
mod transfers;
mod transfers_in_doubt;
mod turns;
mod walk;
