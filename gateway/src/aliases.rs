//! Topic aliases: a number in the place of a topic that was told before [MQTT5 §3.3.2.3.4]. What they stand for belongs to one connection
//! and one direction of it, never to a session [MQTT-3.3.2-7].

mod inbound;
mod outbound;

pub(crate) use inbound::{AliasError, InboundAliases};
pub(crate) use outbound::{OutboundAliases, Spelling};

/// What the aliases of one connection stand for. A connection has it from its first alias on.
#[derive(Debug, Default)]
pub(crate) struct Aliases {
    /// The client's.
    pub(crate) inbound: InboundAliases,
    /// The gateway's.
    pub(crate) outbound: OutboundAliases,
}
