//! What a core wants published to AMQP, and what became of it.

use roost_wire::Message;

use crate::PublishToken;

/// A message that is to be published. The shell never refuses one: each core bounds how many it has outstanding
/// ([`crate::Limits`]), and the shell's publisher has room for the sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Names it when the outcome comes back.
    pub token: PublishToken,
    /// What to publish. Publications of one core leave in the order in which it gave them.
    pub message: Message,
    /// Whether the broker must return it if no queue takes it.
    pub mandatory: bool,
    /// What to do if the connection is lost before the confirm.
    pub on_loss: OnLoss,
}

/// What becomes of an unconfirmed message when the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// Publish it again, in order, before newer ones, marked as replayed if it has that header.
    PublishAgain,
    /// Report [`PublishOutcome::Lost`].
    Report,
}

/// What became of a publication. Exactly one per publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// The broker has it: safe.
    Confirmed,
    /// Mandatory, and no queue wanted it.
    Returned,
    /// The broker refused it; a queue may be full.
    Nacked,
    /// The connection was lost before an answer, and [`OnLoss::Report`] was asked for.
    Lost,
}
