//! The core's publications, kept in order before a publisher whose channel has a bound.

use std::collections::VecDeque;

use roost_backend::shell::{OnLoss, Publish, Published, Publisher, PublisherFigures, TryPublishError};
use roost_wire::ShardId;

use super::telling;
use crate::{Publication, PublishOutcome, PublishToken};

/// What waits for the publisher. No more than the core has outstanding, which the core bounds.
pub(super) struct Publications {
    shard: ShardId,
    publisher: Publisher,
    waiting: VecDeque<Publish>,
    unconfirmed: usize,
}

impl Publications {
    pub(super) fn new(shard: ShardId, publisher: Publisher) -> Self {
        Self { shard, publisher, waiting: VecDeque::new(), unconfirmed: 0 }
    }

    pub(super) fn publish(&mut self, token: PublishToken, what: Publication) {
        telling::publication(&what);
        let mandatory = what.mandatory();
        let on_loss = if what.publish_again() { OnLoss::PublishAgain } else { OnLoss::Report };
        let message = what.into_message(self.shard);
        self.waiting.push_back(Publish { message, mandatory, on_loss, token: token.0 });
        self.push();
    }

    /// Gives the publisher what it has room for. Call it again after each of its events.
    pub(super) fn push(&mut self) {
        while let Some(publish) = self.waiting.pop_front() {
            match self.publisher.try_publish(publish) {
                Ok(()) => self.unconfirmed += 1,
                Err(TryPublishError::Full(publish)) => {
                    self.waiting.push_front(*publish);
                    break;
                }
                // Closing: what is owed is in the journal, and the next run publishes it.
                Err(TryPublishError::Closed(_)) => break,
            }
        }
    }

    /// The publisher has told the outcome of one.
    pub(super) fn done(&mut self) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
    }

    pub(super) fn figures(&self) -> PublisherFigures {
        self.publisher.figures()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the broker has answered for everything.
    pub(super) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.unconfirmed == 0
    }
}

/// The outcome in the core's words.
pub(super) fn outcome(published: Published) -> PublishOutcome {
    match published {
        Published::Confirmed => PublishOutcome::Confirmed,
        Published::Returned { .. } => PublishOutcome::Returned,
        Published::Nacked => PublishOutcome::Nacked,
        Published::Lost => PublishOutcome::Lost,
        Published::Refused { reason } => {
            tracing::warn!(%reason, "AMQP cannot carry a message; it counts as refused");
            PublishOutcome::Nacked
        }
    }
}
