//! The broker without sockets and frames: a pure state machine of one virtual host.
//!
//! [`Broker`] takes [`Input`]s and gives [`Output`]s. With [`Storage::Log`] it emits [`Output::Log`] records; confirms and
//! the answers to durable declarations wait until `Input::Synced` says that they are on disk. After a crash,
//! [`Image::apply`] of the records that were, and [`Broker::restore`], give the broker that a restart would find.
//!
//! Walk: `broker` holds the state and dispatches, `channel_life` the channels and exceptions; `publishing` → `exchange`
//! (and `topic_index`) → `queue` → `delivering` → `settling` is a message's way; `dead_letter` and `timing` are its ends.

mod arguments;
mod broker;
mod channel;
mod channel_life;
mod counters;
mod dead_letter;
mod delivering;
mod exception;
mod exchange;
mod exchange_declaring;
mod identity;
mod image;
mod input;
mod limits;
mod message;
mod operation;
mod output;
mod publishing;
mod queue;
mod queue_declaring;
mod settling;
#[cfg(test)]
mod tests;
mod timing;
mod topic_index;

pub use amq_protocol::protocol::BasicProperties;
pub use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
pub use arguments::{Overflow, QueueArguments, QueueKind};
pub use broker::{Broker, Storage};
pub use counters::{Counters, DeathReason, DropReason, QueueStatistics};
pub use exception::{Exception, ReplyCode};
pub use exchange::{ExchangeDefinition, ExchangeKind};
pub use identity::{ChannelNumber, ConnectionId, DeliveryTag, Lsn, Position, QueueId, UnixMillis};
pub use image::Image;
pub use input::Input;
pub use limits::{DELIVERY_OVERHEAD_BYTES, Limits, MESSAGE_OVERHEAD_BYTES};
pub use message::Message;
pub use operation::{Binding, ExchangeDeclaration, Operation, Publication, QueueDeclaration, Subscription};
pub use output::{BlockReason, Delivery, Output, Reply};
pub use queue::QueueDefinition;
