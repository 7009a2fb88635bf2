//! The broker's sockets, tasks and files.
//!
//! One engine task owns the core; every connection has a task that owns its socket and its
//! [`Session`](super::protocol::Session). They exchange batches: a connection sends what it read to the engine through
//! one bounded channel, and finds what the engine has for it in its outbox.

mod assembling;
mod clock;
mod connection;
mod engine;
mod listener;
mod log_writer;
mod outbox;
mod segments;
mod server;

pub use log_writer::{LogFigures, Recovery};
pub use segments::LogError;
pub use server::{EmbeddedBroker, EmbeddedConfig, EmbeddedError, EmbeddedHandle};
