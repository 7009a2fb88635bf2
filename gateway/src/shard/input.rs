//! What happens to a shard.

use std::time::Duration;

use bytes::BytesMut;
use roost_wire::{Delivery, Device, LinkId, Message, SessionArrival};

use super::{HandOver, ShardWord};
use crate::link::ToShard;
use crate::store::{StoreNumber, StoreOpened, StoreRecord};
use crate::{
    BroadcastNumber, ConnectionId, PublishOutcome, PublishToken, ShardFigures, ShardIndex, SpoolNumber,
    SpoolState,
};

/// One thing that happened. Inputs about a connection that the shard has closed are ignored, so the shell need not
/// track who closed first.
#[derive(Debug)]
pub enum Input {
    /// A transport connection was accepted. Its CONNECT must come within the connect timeout.
    Opened {
        /// Its number.
        connection: ConnectionId,
        /// 64 random bits: the source of its client id, should the client bring none.
        entropy: u64,
    },
    /// A connection whose device belongs here, from the shard that accepted it. Its bytes come here from now on.
    HandedOver(Box<HandOver>),
    /// What another shard of the process has said with [`super::Output::Shard`], in its order; as many words as are at hand.
    Shard {
        /// Which one.
        from: ShardIndex,
        /// Its words.
        words: Vec<ShardWord>,
    },
    /// What all other shards of the process count, from [`super::Shard::figures`]: for the topics below `$SYS`, which are the gateway's. Each
    /// second or so.
    Others(Box<ShardFigures>),
    /// Bytes came in. Give whole reads, up to 64 KiB each; the shard keeps what it cannot use yet.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes. Never empty.
        bytes: BytesMut,
    },
    /// Bytes of an [`super::Output::Write`] were taken by the socket. Report it as they are, at once: a QoS 0 command
    /// counts as sent from here on, and a client that takes none for long is disconnected.
    Written {
        /// On which connection.
        connection: ConnectionId,
        /// How many more.
        bytes: usize,
    },
    /// The client closed the connection, or it broke.
    Closed {
        /// Which connection.
        connection: ConnectionId,
    },
    /// The outcome of an [`super::Output::Publish`].
    Published {
        /// Which publication.
        token: PublishToken,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// Events of [`super::Output::Spool`] are safe.
    Spooled {
        /// Which.
        numbers: Vec<SpoolNumber>,
    },
    /// Whether the spool takes events in. Until the first of these there is none, and all events wait for the backend.
    Spool(SpoolState),
    /// There is a store of sessions, with this in it. The first input, if one; without it all is in memory. If it has sessions,
    /// [`Input::SessionsRead`] follows.
    StoreOpened(Box<StoreOpened>),
    /// Batches of [`super::Output::Store`] are durable.
    Stored {
        /// All up to this one.
        up_to: StoreNumber,
    },
    /// The store can't be written at the moment, or can again. At the start it can.
    StoreStuck {
        /// Which.
        is_stuck: bool,
    },
    /// The answer to [`super::Output::ReadSession`].
    SessionRead {
        /// Whose.
        device: Device,
        /// All records of it, in the order of their keys; none if there is no such session.
        records: Vec<StoreRecord>,
    },
    /// The next sessions that the store had when it was opened, or later. Until the last of them publishes wait.
    SessionsRead {
        /// All records of each, in the order of their keys.
        records: Vec<StoreRecord>,
        /// Whether there are no more.
        is_last: bool,
    },
    /// The publisher's connection to the backend is up, or away. At the start it is away.
    Backend(Backend),
    /// A command came through the inbox of this link. Acknowledge it to the broker at once: the router's journal keeps
    /// it until it is settled.
    Delivery {
        /// Which link's inbox.
        link: LinkId,
        /// The command.
        delivery: Box<Delivery>,
    },
    /// The session that a device had elsewhere came through an inbox. Acknowledge it to the broker at once.
    Session(Box<SessionArrival>),
    /// The link with this queue of broadcasts is up; without one: the link is lost. Only where anything is a broadcast.
    BroadcastsLink {
        /// Its name.
        queue: Option<String>,
    },
    /// A message came through this gateway's queue of broadcasts. Acknowledge it to the broker when [`super::Output::BroadcastTaken`] says
    /// so, and let the broker send no more than a few hundred before: more than [`crate::Limits::broadcasts_max`] are dropped.
    Broadcast {
        /// Names it.
        number: BroadcastNumber,
        /// The message.
        message: Box<Message>,
    },
    /// A message came through the queue of those that the queue of broadcasts lost. Acknowledge it at once.
    BroadcastMissed {
        /// Whether its time was over, else there was no room for it.
        has_expired: bool,
    },
    /// A word from the link, from [`crate::link::LinkOutput::ToShard`].
    Link(ToShard),
    /// Stop taking new clients and publishes, let what is outstanding finish, then close the clients: ends with
    /// [`super::Output::Drained`]. After the grace the rest is cut.
    Drain {
        /// How long to wait for what is outstanding.
        grace: Duration,
    },
    /// The time of [`super::Shard::poll_timeout`] has come. Harmless at any other time.
    Tick,
}

/// Whether the backend can be published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Connected.
    Up,
    /// Not connected, or blocked by the broker. Events at QoS 0 are dropped and counted; those at QoS 1 wait unacknowledged.
    Away,
}
