//! The gateway: an MQTT broker that faces devices and federates to the backend.
//!
//! # The pure core
//! Two kinds of state machine, and words between them. Neither knows a socket, a clock, a task or a random number.
//!
//! - [`shard::Shard`]: the devices that hash to it, with their connections, sessions, subscriptions, events and commands.
//!   In: [`shard::Input`], what happens on connections, in AMQP, in time. Out: [`shard::Output`].
//! - [`link::Link`]: what the whole gateway has with one router: heartbeats and lease, sightings, settlements, syncs.
//!   In: [`link::LinkInput`]. Out: [`link::LinkOutput`].
//!
//! ```text
//!  sockets  ──Opened, Received, Written, Closed──>┌───────┐──Write, Close, PauseReading, ResumeReading──> sockets
//!  inbox    ──Delivery, Session──────────────────>│ shard │──Publish (events)───────────────────────────> AMQP
//!  AMQP     ──Published, Backend─────────────────>└───────┘
//!                                      ToShard ^   │ FromShard
//!                                              │   v
//!  control  ──Control, Up, Down──────────────────>┌──────┐
//!  AMQP     ──Published, Backend─────────────────>│ link │───Publish (sightings, settlements)────────────> AMQP
//!                                                 └──────┘
//! ```
//!
//! # How a shell drives it
//! 1. Each turn: give every core all inputs at hand with `handle(now, …)`, then perform the outputs of the shards until
//!    `poll_output` gives none, passing words on, and then those of the link (it puts what was said into reports when asked),
//!    until all are silent. Then sleep until the earlier `poll_timeout`, and give `Tick`.
//! 2. Outcomes of publications find their core by [`PublishToken::origin`]. A publisher never refuses one: it has room for
//!    [`Limits::uplink_events_max`] of each shard, and for a few hundred reports of the link.
//! 3. [`shard::Backend`] goes to the link and to every shard, and follows the connection of the publisher that is theirs; [`link::LinkInput::Up`]
//!    and `Down` follow the consumer's. A delivery goes straight to [`Placement::shard_of`] its device, with the link it came
//!    through, and is acknowledged to the broker at once: the router's journal keeps it.
//!    A broadcast is acknowledged when [`shard::Output::BroadcastTaken`] says that the subscribers have it.
//! 4. Sessions on disk: [`shard::Input::StoreOpened`] comes first, then [`shard::Input::SessionsRead`] until the last, while the shard is driven
//!    as always; [`store`] says what is written and what waits for it.
//! 5. Several shards: all are made with the same [`Interests`], and connections are numbered below 2^62. [`shard::Output::HandOver`] moves a
//!    connection to the shard of its device, and the words of [`shard::Output::Shard`] come there in their order, with none lost. Broadcasts and
//!    their links go to every shard, and are acknowledged when each has taken them. Sessions on disk: the shell numbers the batches of all
//!    shards, gives each the records of its own devices, and the last [`shard::Input::SessionsRead`] to none before all have taken in what came
//!    before, and what they have said to each other of it.
//! 6. To end: [`link::LinkInput::Drain`] and [`shard::Input::Drain`], until every shard gave [`shard::Output::Drained`] and
//!    [`link::Link::is_settled`].
//!
//! # What is promised
//! - A PUBACK or PUBREC to a publisher means that the backend has confirmed the event, or it is on this gateway's disk where its rule says so,
//!   or a session here has taken the message; those of a connection leave in the order of its publishes.
//! - At QoS 2 a session takes in a publish of its client once, and its client gets a message once, over connections and gateways, for as long
//!   as the session lasts. Commands are never above QoS 1.
//! - What is shared goes to one member of each group of those that are here; what was not acknowledged when its connection ended goes to
//!   another, but what was sent at QoS 2.
//! - A command is written to the session it names or to none, in the order it came, within the lease; it has one answer, and
//!   the first that is neither delivered nor sent ends its hold.
//! - A kept session is resumed at once only if the router would have said that its device has another one; else it is asked about, or
//!   fetched from another gateway, within a bound.
//! - With [`Authentication`] other than the default nobody is let in who has not shown who it is, and nothing of a device is touched before that.
//! - With a store, a session that outlives its connection outlives the process, and nothing is said to anybody that a crash would make untrue.
//! - Where there are several shards a subscriber gets what is published in any of them, in each publisher's order; its publisher waits for it, and
//!   is answered, as if both were in one. A message that is shared goes to one member, in whichever shard. All shards keep the same retained
//!   messages. Only that no subscriber gets a message for which another has no room, at once or never, holds within a shard alone.
//! - A broadcast comes to the subscribers of every gateway that is connected to the backend, once each; of two retained ones all gateways
//!   come to keep the newer.
//! - Everything is bounded by [`Limits`], where each bound says what happens when it is reached; every drop, refusal and retry
//!   is one of [`Count`].
//! - The same inputs give the same outputs, always.

mod aliases;
pub mod authentication;
mod broadcasts_given;
mod counters;
mod hints;
mod hold;
mod interest;
mod limits;
pub mod link;
mod message;
mod notice;
pub mod packet;
mod placement;
mod publication;
mod retained;
mod session;
pub mod shard;
mod share;
pub mod shell;
pub mod spool;
pub mod store;
pub mod subscriptions;
mod sys;
#[cfg(test)]
mod tests;
mod trace;
mod uplink;

pub use authentication::Authentication;
pub use broadcasts_given::BroadcastsGiven;
pub use counters::{Count, Counters};
pub use hints::Hints;
pub use interest::{Interests, ShardSet};
pub use limits::{Limits, WhenAwayFull, WillOnTakeover};
pub use notice::Notice;
pub use placement::{
    BroadcastNumber, ConnectionId, Placement, PublishOrigin, PublishToken, ShardIndex, SpoolNumber,
};
pub use publication::{OnLoss, Publication, PublishOutcome};
pub use spool::SpoolState;
pub use sys::ShardFigures;
pub use trace::{Begun, Ending, EventFate, MessageTrace};
pub use uplink::{Acknowledge, UplinkOrder, UplinkRule, UplinkRules};
