//! Frames, the handshake and heartbeats of one connection, as a plain state machine.
//!
//! [`Session`] turns a client's bytes into the core's inputs, and the core's outputs into bytes.

mod authentication;
mod content;
mod encoding;
mod frame;
mod nesting;
mod request;
mod session;
mod session_running;
#[cfg(test)]
mod tests;

pub use authentication::{Secret, Users};
pub use session::Session;
