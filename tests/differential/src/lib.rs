//! Packets to compare decoders with: valid ones of every type with every property, and what can go wrong with their bytes. All of it from
//! seeds, so that a difference comes again.

mod chance;
mod mutation;
mod packets;

pub use chance::Chance;
pub use mutation::{Mutation, mutate};
pub use packets::{TYPES, packet};
