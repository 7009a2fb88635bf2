//! The gateway's core as a whole, without a shell: one shard, one link, clients that speak MQTT through the codec, and a
//! backend and a router played by the test.

mod answers;
mod backpressure;
mod commands;
mod connecting;
mod draining;
mod link_reports;
mod publishing;
mod random;
mod roaming;
mod roaming_in_doubt;
mod roaming_walk;
mod sessions;
mod several_shards;
mod spooling;
mod subscribing;
mod traces;
mod tracing;
mod world;
