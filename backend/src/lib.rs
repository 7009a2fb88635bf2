//! The AMQP contract: topology, the link to the cluster, and an embedded broker.
//!
//! The crate's story, from the outside in:
//!
//! - [`AmqpAddress`] says where the cluster is; it never prints the password.
//! - [`contract`] names every exchange and queue of the mesh; [`Topology`] is a set of them as a value.
//! - [`window`] keeps what is published and not confirmed, [`ledger`] what is delivered and not acknowledged: pure state
//!   machines, which the [`shell`] performs over real connections. [`conversion`] is between AMQP's messages and ours.
//! - [`shell::publisher()`] and [`shell::consumer()`] are the two ends of a link. Each has a connection of its own, since a
//!   broker that blocks a publishing connection blocks its acknowledgements too. They never give up: a link that is lost
//!   is made again, and every loss is told with its reason.
//! - [`embedded`] is a broker of our own, for one node and for tests.

mod address;
pub mod contract;
pub mod conversion;
pub mod embedded;
pub mod ledger;
pub mod shell;
mod topology;
pub mod window;

pub use address::{AddressError, AmqpAddress, AmqpNode};
pub use topology::{
    Binding, DeadLetter, DeadLetterStrategy, Exchange, ExchangeKind, Overflow, Queue, QueueKind, QueueLife,
    Topology,
};
