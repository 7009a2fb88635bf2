//! What must hold of the gateway's cores whatever comes, as functions of bytes: a fuzzer may choose them, or chance.
//!
//! - [`packets`]: any bytes, in any pieces, to either side.
//! - [`subscriptions`]: the tree beside a list.
//! - [`shard`]: anything that can happen to a shard.
//! - [`sessions`]: sequences of operations beside a naive broker.
//!
//! `tests/run` walks at random for some seconds; the targets in `gateway/fuzz` are the same functions under a fuzzer that sees which code
//! they reach, and `tests/long fuzz` lets each run for minutes.

pub mod packets;
pub mod sessions;
pub mod shard;
pub mod subscriptions;
