//! What happens to the router.

use roost_wire::{CommandRequest, Message};

use crate::Lsn;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A message came from one of the router's queues. It is acknowledged by [`crate::Output::Ack`] and not before; a
    /// message that is delivered again (because a link was lost) is simply given again, with a new token.
    Delivered {
        /// From which queue.
        queue: Queue,
        /// What to acknowledge.
        source: SourceToken,
        /// The message as it came.
        message: Box<Message>,
    },
    /// A command came over HTTP. It is answered by [`crate::Output::Answer`], perhaps several times, or by
    /// [`crate::Output::NoRoom`].
    Http {
        /// Which request.
        request: RequestId,
        /// The command; HTTP has given it a message id if the sender had none.
        command: Box<CommandRequest>,
    },
    /// All records up to this one are on disk.
    Durable {
        /// The last of them.
        lsn: Lsn,
    },
    /// The outcome of an [`crate::Output::Publish`]. For those published again after a lost connection
    /// ([`crate::Publication::publish_again`]) `Lost` is not reported.
    Published {
        /// Which publication.
        token: PublishToken,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// The time of [`crate::RouterCore::poll_timeout`] has come. Harmless at any other time.
    Tick,
}

/// The queues that the router consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// `roost.router.<shard>`: commands. The only one that is paused ([`crate::Output::PauseCommands`]).
    Commands,
    /// `roost.expired.<shard>`: commands whose lifetime ended in the shard queue.
    Expired,
    /// `roost.sightings.<shard>`.
    Sightings,
    /// `roost.settle.<shard>`.
    Settlements,
}

/// The shell's name for one delivery of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceToken(pub u64);

/// The shell's name for one HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The router's name for one publication, counted within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishToken(pub u64);

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// The broker has it.
    Confirmed,
    /// No queue wanted it: it was published mandatory and came back. It is nowhere.
    Returned,
    /// The broker refused it. It may or may not be somewhere.
    Nacked,
    /// The connection was lost before an answer. It may or may not be somewhere.
    Lost,
}
