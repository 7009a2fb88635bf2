//! What the router wants done.

use roost_backend::contract;
use roost_wire::mesh::Report;
use roost_wire::{
    ControlReport, Delivery, DeliveryMode, GatewayId, Incarnation, Message, Presence, Properties, Receipt,
    RouterRun, SessionArrival, SettlementReport, ShardId, TraceContext,
};

use crate::journal::Record;
use crate::{CommandTrace, Lsn, PublishToken, RequestId, SourceToken};

/// One effect, to be performed in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Append this record to the log; tell [`crate::Input::Durable`] when it is on disk. What depends on it is not said
    /// before. Numbers follow each other without a gap, from the one after `last` that the core was started with.
    Journal {
        /// The record's number.
        lsn: Lsn,
        /// The record; [`Record::encode`] gives its bytes.
        record: Record,
        /// Where the command that begins or ends by it is in its trace: for the log.
        trace: Option<TraceContext>,
    },
    /// Acknowledge this message to its queue.
    Ack(SourceToken),
    /// Publish to AMQP; tell [`crate::Input::Published`] the outcome.
    Publish {
        /// The name to tell it by.
        token: PublishToken,
        /// What, and where to.
        what: Publication,
    },
    /// Tell an HTTP request where its command stands. The first answer comes when the command is durable or refused; then
    /// one at each change of state, the last of which is final ([`roost_wire::ReceiptState::is_final`]). Answers to a
    /// request that is over are dropped.
    Answer {
        /// Which request.
        request: RequestId,
        /// Where it stands.
        receipt: Box<Receipt>,
    },
    /// Tell an HTTP request that its command was not taken: the bound on commands in custody is reached. Nothing is remembered of it, so the
    /// same command is welcome later.
    NoRoom {
        /// Which request.
        request: RequestId,
    },
    /// A recorded command has ended. Only with ids: [`crate::RouterCore::trace_with`].
    Trace(Box<CommandTrace>),
    /// Stop consuming [`crate::Queue::Commands`]: the bound on commands in custody is reached.
    PauseCommands,
    /// Consume them again.
    ResumeCommands,
    /// Tell a person, once for each older one: two live processes have the same gateway id, and the newer one is believed.
    SameGatewayId {
        /// The id.
        gateway: GatewayId,
        /// The run that is believed.
        newer: Incarnation,
        /// The run that is not, and lives.
        older: Incarnation,
    },
}

/// A message to AMQP.
#[derive(Debug, Clone, PartialEq)]
pub enum Publication {
    /// A command to a gateway's inbox, through the default exchange: `delivery.into_message(&inbox)`. Mandatory; never
    /// published again by the shell.
    Delivery {
        /// Which gateway's.
        gateway: GatewayId,
        /// The name of the inbox.
        inbox: String,
        /// The command.
        delivery: Box<Delivery>,
    },
    /// A word to a gateway's control queue, through the default exchange. Not mandatory, never published again by the shell:
    /// the core says it again by itself where it matters.
    Control {
        /// The name of the control queue.
        queue: String,
        /// What is said.
        report: Box<ControlReport>,
    },
    /// To every gateway at once: a run has begun. Each syncs, announces itself and says where it is reached, which it would do
    /// at its next heartbeat all the same: so not mandatory, and never published again.
    RunBegun {
        /// With no items: the run is the word.
        report: Box<ControlReport>,
    },
    /// A receipt. Published again after a lost connection.
    Receipt {
        /// Where to.
        to: ReceiptAddress,
        /// What it says.
        receipt: Box<Receipt>,
    },
    /// A device has come or gone: `presence.to_message("roost.presence")`. Published again after a lost connection.
    Presence(Box<Presence>),
    /// The router's own mark: a [`roost_wire::SettlementReport::Marker`] through `roost.mesh` with the key `settle.<shard>`.
    /// Published again after a lost connection.
    Marker {
        /// This run.
        run: RouterRun,
        /// Counted within it.
        number: u64,
    },
    /// A device's answer to a command, to the queue that the command's sender named, through the default exchange. Mandatory, so
    /// that a queue that is gone is known. Published again after a lost connection.
    Answer {
        /// The answer; exchange, key and properties are set by the core.
        message: Box<Message>,
    },
    /// A word to a gateway's control queue about a session that another one waits for. Mandatory: if the queue is gone, that is known at
    /// once. Never published again by the shell: nobody waits for so long.
    SessionOrder {
        /// The name of the control queue.
        queue: String,
        /// What is said.
        report: Box<ControlReport>,
    },
    /// A session to the gateway that has asked for it. Mandatory. Published again after a lost connection: the gateway takes one of a
    /// request and no second.
    Session {
        /// The name of the inbox.
        inbox: String,
        /// The session.
        arrival: Box<SessionArrival>,
    },
    /// A message that is not a command, or was rejected: the message to the exchange `roost.dead` (key `tenant.device`, or its
    /// old key if that names no device), with the header `roost-reason`. Mandatory, so that it is known if nobody keeps it. Published
    /// again after a lost connection.
    DeadLetter {
        /// The message with its reason in the headers; exchange and key are set by the core.
        message: Box<Message>,
    },
}

/// Where a receipt goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptAddress {
    /// The exchange `roost.receipts`: `receipt.to_message("roost.receipts")`.
    Exchange,
    /// The queue that the sender named, through the default exchange; not mandatory: if it is gone, so is its receipt.
    Queue(String),
}

impl Publication {
    /// Whether the broker must return it if no queue wants it.
    #[must_use]
    pub const fn mandatory(&self) -> bool {
        match self {
            Self::Delivery { .. }
            | Self::Answer { .. }
            | Self::Session { .. }
            | Self::SessionOrder { .. }
            | Self::DeadLetter { .. } => true,
            Self::Control { .. }
            | Self::RunBegun { .. }
            | Self::Receipt { .. }
            | Self::Presence(_)
            | Self::Marker { .. } => false,
        }
    }

    /// Whether the shell publishes it again when its connection was lost before the confirm. If not, it reports
    /// [`crate::PublishOutcome::Lost`].
    #[must_use]
    pub const fn publish_again(&self) -> bool {
        match self {
            Self::Delivery { .. }
            | Self::Control { .. }
            | Self::RunBegun { .. }
            | Self::SessionOrder { .. } => false,
            Self::Receipt { .. }
            | Self::Presence(_)
            | Self::Marker { .. }
            | Self::Answer { .. }
            | Self::Session { .. }
            | Self::DeadLetter { .. } => true,
        }
    }

    /// The AMQP message, of the router of this shard.
    #[must_use]
    pub fn into_message(self, shard: ShardId) -> Message {
        match self {
            Self::Delivery { inbox, delivery, .. } => delivery.into_message(&inbox),
            Self::Control { queue, report } | Self::SessionOrder { queue, report } => {
                direct("", &queue, DeliveryMode::Transient, report.as_ref())
            }
            Self::RunBegun { report } => {
                direct(contract::ROUTERS, "", DeliveryMode::Transient, report.as_ref())
            }
            Self::Receipt { to: ReceiptAddress::Exchange, receipt } => receipt.to_message(contract::RECEIPTS),
            Self::Receipt { to: ReceiptAddress::Queue(queue), receipt } => {
                Message { routing_key: queue, ..receipt.to_message("") }
            }
            Self::Presence(presence) => presence.to_message(contract::PRESENCE),
            Self::Marker { run, number } => {
                let marker = SettlementReport::Marker { run, number };
                direct(contract::MESH, &contract::settle_key(shard), DeliveryMode::Persistent, &marker)
            }
            Self::Session { inbox, arrival } => arrival.into_message(&inbox),
            Self::Answer { message } | Self::DeadLetter { message } => *message,
        }
    }
}

fn direct(exchange: &str, key: &str, delivery_mode: DeliveryMode, report: &impl Report) -> Message {
    let properties = Properties {
        content_type: Some("application/json".to_owned()),
        delivery_mode,
        ..Properties::default()
    };
    let body = report.to_body();
    Message { exchange: exchange.to_owned(), routing_key: key.to_owned(), properties, body }
}
