//! The router's shell through real sockets, a real disk and real kills: its HTTP API, its journal, its lock.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails loudly")]

mod amqp;
mod child;
mod compaction;
mod custody;
mod drain;
mod full_disk;
mod gate;
mod killed;
mod lock;
mod problems;
mod same_id;
mod service;
mod stage;
mod starting;
mod takeover;
