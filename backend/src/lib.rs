//! The AMQP contract: topology, the link to the cluster, and an embedded broker.
pub mod embedded;
