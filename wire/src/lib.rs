//! What two processes of the mesh exchange, and nothing else: no socket, no clock, no broker.
//!
//! The crate's story, from the outside in:
//!
//! - Names are parsed once and never again a bare string: [`Tenant`], [`DeviceId`], [`Device`], [`GatewayId`], [`Region`],
//!   [`MessageId`]; [`Topic`] and [`TopicFilter`] are MQTT's, [`AnswerTopic`] is where a device
//!   answers commands, and [`ResponseInformation`] where it wants to be answered; [`RoutingKey`] is AMQP's, escaped and cut to fit.
//! - [`TraceContext`] says which trace a message belongs to.
//! - Turns are numbers with a meaning: [`Incarnation`], [`LinkId`], [`SessionId`], [`RouterRun`], [`Epoch`], [`SyncNumber`].
//! - [`Message`] is an AMQP message without an AMQP library.
//! - Up goes an [`Event`]; down goes a [`CommandRequest`], which the router takes into custody and hands
//!   to one gateway as a [`Delivery`]. All three travel as a [`Message`]: the payload is the body, untouched; the rest are
//!   headers. Together they are the mesh's [`envelope`]s.
//! - To the subscribers of all gateways goes a [`Broadcast`]; which topics are such, a [`BroadcastPrefix`] says.
//! - A session that moves between two gateways is a body that only they read, in a [`SessionHandOver`] and a [`SessionArrival`].
//! - Gateways tell the router where devices are ([`SightingReport`]) and what became of commands ([`SettlementReport`]); the
//!   router answers with [`ControlReport`]. These are ours alone: JSON, versioned, bounded ([`mesh`]).
//! - The router tells the sender ([`Receipt`]) and whoever listens ([`Presence`]).

mod answer_topic;
mod broadcast_prefix;
mod control;
mod device;
pub mod envelope;
mod key;
pub mod mesh;
mod message;
mod name;
mod presence;
mod receipt;
mod response_information;
mod settlement;
mod sighting;
mod time;
mod topic;
mod trace;
mod turn;

pub use answer_topic::{AnswerTopic, AnswerTopicError};
pub use broadcast_prefix::{BroadcastPrefix, BroadcastPrefixError};
pub use control::{CloseReason, Control, ControlReport, SessionAnswer};
pub use device::{Device, DeviceId, DeviceParseError};
pub use envelope::{
    Broadcast, BroadcastError, BroadcastOrigin, CommandError, CommandProblem, CommandRequest, Delivery,
    DeliveryError, Event, EventError, Offline, Qos, ReceiptsWanted, SessionArrival, SessionError,
    SessionHandOver,
};
pub use key::{KeyError, RoutingKey};
pub use message::{DeliveryMode, HeaderValue, Headers, Message, Properties};
pub use name::{GatewayId, MessageId, NameError, Region, Tenant};
pub use presence::{Presence, PresenceState};
pub use receipt::{Receipt, ReceiptReason, ReceiptState, Telling};
pub use response_information::{ResponseInformation, ResponseInformationError};
pub use settlement::{
    InFlight, Outcome, Refusal, ReturnReason, Settlement, SettlementItem, SettlementReport,
};
pub use sighting::{Echo, Heartbeat, NoSessionReason, Present, Sighting, SightingReport};
pub use time::{BootTime, Now, WallTime};
pub use topic::{Topic, TopicError, TopicFilter};
pub use trace::{SampleRatio, SpanId, TraceContext, TraceContextError, TraceId, TraceIds};
pub use turn::{
    CommandId, Epoch, Incarnation, LinkId, QuestionId, RouterRun, SessionId, SessionRequest, ShardId,
    SyncNumber, TurnParseError,
};
