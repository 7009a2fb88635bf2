//! An AMQP 0-9-1 broker for one node: what `roost dev` and small deployments run instead of RabbitMQ.
//!
//! Four rooms. [`core`] is the virtual host, [`protocol`] the frames and the handshake of one connection, [`log`] the
//! durable records: plain state machines all. [`shell`] has the sockets, tasks and files.
//!
//! What AMQP 0-9-1 and RabbitMQ have and this broker has not is answered with 540 NOT_IMPLEMENTED: transactions, headers
//! exchanges, exchange-to-exchange bindings, priorities, streams, `channel.flow` from the client.

pub mod core;
pub mod log;
pub mod protocol;
pub mod shell;

pub use protocol::Secret;
pub use shell::{
    EmbeddedBroker, EmbeddedConfig, EmbeddedError, EmbeddedHandle, LogError, LogFigures, Recovery,
};
