//! The gateway's core as a whole, without a shell: one shard, one link, clients that speak MQTT through the codec, and a
//! backend and a router played by the test.

mod answers;
mod backpressure;
mod commands;
mod connecting;
mod draining;
mod exactly_once_down;
mod exactly_once_roaming;
mod exactly_once_up;
mod exactly_once_walk;
mod link_reports;
mod mqtt_31;
mod packet_sizes;
mod publishing;
mod random;
mod retained;
mod retained_walk;
mod roaming;
mod roaming_in_doubt;
mod roaming_walk;
mod sessions;
mod several_shards;
mod spooling;
mod subscribing;
mod topic_aliases;
mod traces;
mod tracing;
mod wills;
mod wills_elsewhere;
mod wills_walk;
mod world;
