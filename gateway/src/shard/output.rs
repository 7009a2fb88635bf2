//! What a shard wants done.

use bytes::Bytes;
use roost_wire::{Device, Event};

use super::{HandOver, ShardWord};
use crate::link::FromShard;
use crate::store::StoreBatch;
use crate::{
    BroadcastNumber, ConnectionId, Count, MessageTrace, Notice, Publication, ShardIndex, SpoolNumber,
    UplinkOrder,
};

/// One effect, to be performed in the order given.
#[derive(Debug)]
pub enum Output {
    /// Write these bytes; tell [`super::Input::Written`] as the socket takes them. The next write for the same
    /// connection comes only when all of these are taken, so the shell holds at most one.
    Write {
        /// To which connection.
        connection: ConnectionId,
        /// What to write: bounded by [`crate::Limits::outgoing_bytes_max`] and one packet.
        bytes: Bytes,
    },
    /// Write what is left of the last write and then `last`, as far as the socket takes it within a bound of the
    /// shell's, then close. The shard has forgotten the connection.
    Close {
        /// Which connection.
        connection: ConnectionId,
        /// A CONNACK or DISCONNECT with the reason; may be empty.
        last: Bytes,
        /// The client has said that it goes, and sends nothing more: there is nothing to wait for.
        is_goodbye: bool,
    },
    /// Stop reading from the connection: it has to wait for something.
    PauseReading {
        /// Which connection.
        connection: ConnectionId,
    },
    /// Read from it again.
    ResumeReading {
        /// Which connection.
        connection: ConnectionId,
    },
    /// The connection's device belongs to another shard: give it there as [`super::Input::HandedOver`] and let its
    /// further bytes follow. This shard has forgotten it. Never with one shard.
    HandOver {
        /// To which shard.
        to: ShardIndex,
        /// The connection as it stands.
        hand_over: Box<HandOver>,
    },
    /// A word to another shard of the process: give it there with [`super::Input::Shard`], in this order, and lose none. There are
    /// never more than a few thousand on their way, nor more bytes than [`crate::Limits::parked_bytes_total_max`] and what the clients
    /// of one read have published. Never with one shard.
    Shard {
        /// To which one.
        to: ShardIndex,
        /// The word.
        word: Box<ShardWord>,
    },
    /// Publish to AMQP; tell [`super::Input::Published`] the outcome.
    Publish(Box<Publication>),
    /// Put this event into the spool; tell [`super::Input::Spooled`] when it is safe.
    Spool {
        /// Names it.
        number: SpoolNumber,
        /// The event.
        event: Box<Event>,
        /// Where it is published.
        exchange: String,
        /// What comes first after an outage.
        order: UplinkOrder,
    },
    /// Make these changes in the store; tell [`super::Input::Stored`] when they are durable. Only with [`super::Input::StoreOpened`].
    Store(Box<StoreBatch>),
    /// Read the session of a device: all records whose keys begin so. Answered by [`super::Input::SessionRead`].
    ReadSession {
        /// Whose.
        device: Device,
        /// How its keys begin.
        prefix: Bytes,
    },
    /// The subscribers here have a broadcast, or it is dropped: acknowledge it to the broker when all shards say so, and count it then, see
    /// [`crate::BroadcastsGiven`].
    BroadcastTaken {
        /// Which.
        number: BroadcastNumber,
        /// What became of it; none for a word between gateways.
        outcome: Option<Count>,
    },
    /// A word to the link, as [`crate::link::LinkInput::FromShard`].
    Link(FromShard),
    /// For the log.
    Notice(Box<Notice>),
    /// A recorded message's way through this gateway is over. Only with [`super::ShardConfig::trace_ids`].
    Trace(Box<MessageTrace>),
    /// A drain is over: every client is closed and nothing is outstanding, or the grace has passed.
    Drained,
}
