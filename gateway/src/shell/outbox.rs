//! Between a core that publishes and a publisher whose channel has a bound.

use std::collections::VecDeque;

use roost_backend::shell::{OnLoss as LinkOnLoss, Publish, Publisher, PublisherFigures, TryPublishError};

use crate::{OnLoss, Publication};

/// Keeps the order when the publisher's channel is full. It holds no more than the core has outstanding, which the core
/// bounds.
pub(super) struct Outbox {
    publisher: Publisher,
    waiting: VecDeque<Publish>,
}

impl Outbox {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self { publisher, waiting: VecDeque::new() }
    }

    pub(super) fn publish(&mut self, publication: Publication) {
        let Publication { token, message, mandatory, on_loss } = publication;
        let on_loss = match on_loss {
            OnLoss::PublishAgain => LinkOnLoss::PublishAgain,
            OnLoss::Report => LinkOnLoss::Report,
        };
        self.waiting.push_back(Publish { message, mandatory, on_loss, token: token.0 });
        self.push();
    }

    /// Its publisher's figures, and how much waits for it here.
    pub(super) fn figures(&self) -> PublisherFigures {
        let mut figures = self.publisher.figures();
        figures.unsent += self.waiting.len();
        figures
    }

    /// Gives the publisher what it has room for. Call it again after each of its events.
    pub(super) fn push(&mut self) {
        while let Some(publish) = self.waiting.pop_front() {
            match self.publisher.try_publish(publish) {
                Ok(()) => {}
                Err(TryPublishError::Full(publish)) => {
                    self.waiting.push_front(*publish);
                    break;
                }
                // Closing: the drain reports what was not confirmed.
                Err(TryPublishError::Closed(_)) => break,
            }
        }
    }
}
