//! What happens to a link, and what it wants done.

use roost_wire::{ControlReport, Incarnation, LinkId};

use super::{FromShard, ToShard};
use crate::shard::Backend;
use crate::{Publication, PublishOutcome, PublishToken, ShardIndex};

/// One thing that happened to the link.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkInput {
    /// The consuming connection is up: its inbox and control queue exist.
    Up {
        /// Which link; each is greater than the one before.
        link: LinkId,
        /// The queue for commands.
        inbox: String,
        /// The queue for control reports.
        control: String,
    },
    /// The consuming connection is lost, and its queues with it.
    Down {
        /// Which link.
        link: LinkId,
    },
    /// The publisher's connection is up, or away. At the start it is away.
    Backend(Backend),
    /// A control report came through this link's control queue.
    Control {
        /// Which link's.
        link: LinkId,
        /// What the router says.
        report: ControlReport,
    },
    /// A word from a shard, from [`crate::shard::Output::Link`].
    FromShard {
        /// Which shard.
        shard: ShardIndex,
        /// What it says.
        word: FromShard,
    },
    /// The outcome of a [`LinkOutput::Publish`].
    Published {
        /// Which publication.
        token: PublishToken,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// The gateway goes away: heartbeats say so.
    Drain,
    /// The time of [`super::Link::poll_timeout`] has come. Harmless at any other time.
    Tick,
}

/// One effect, to be performed in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkOutput {
    /// Publish a report; tell [`LinkInput::Published`] the outcome.
    Publish(Box<Publication>),
    /// A word to a shard, as [`crate::shard::Input::Link`].
    ToShard {
        /// Which shard.
        shard: ShardIndex,
        /// What to tell it.
        word: ToShard,
    },
    /// Tell a person, once for each newer one: another process has this gateway's id, and the router believes that one for
    /// good. No command will come any more.
    Superseded {
        /// The incarnation that is believed.
        by: Incarnation,
    },
}
