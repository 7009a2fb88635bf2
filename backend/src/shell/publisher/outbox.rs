//! Events on their way to the publisher's owner.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{PublisherEvent, Tally};
use crate::window::Published;

/// What the reader has no room for waits here, so that a slow reader never stops the task in the middle of something. It
/// is bounded by its callers: nothing is taken from the queue while something waits, and no new link is made
/// beyond the bound.
pub(super) struct Outbox {
    events: mpsc::Sender<PublisherEvent>,
    waiting: VecDeque<PublisherEvent>,
    max: usize,
    tally: Tally,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Sender<PublisherEvent>, max: usize, tally: Tally) -> Self {
        Self { events, waiting: VecDeque::new(), max, tally }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, event: PublisherEvent) {
        self.waiting.push_back(event);
        self.flush_now();
    }

    pub(super) fn done(&mut self, outcomes: Vec<(u64, Published)>) {
        self.tally.note(|figures| outcomes.iter().for_each(|(_, outcome)| figures.outcome(outcome)));
        let done = |(token, outcome)| PublisherEvent::Done { token, outcome };
        self.waiting.extend(outcomes.into_iter().map(done));
        self.flush_now();
    }

    /// Tells what there is room for.
    pub(super) fn flush_now(&mut self) {
        while !self.waiting.is_empty() {
            match self.events.try_reserve() {
                Ok(permit) => {
                    if let Some(event) = self.waiting.pop_front() {
                        permit.send(event)
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => return,
                // Nobody listens any more: there is nothing to tell.
                Err(mpsc::error::TrySendError::Closed(())) => self.waiting.clear(),
            }
        }
    }

    /// Tells all that waits. Nothing is lost if it is dropped in the middle.
    pub(super) async fn flush(&mut self) {
        self.flush_to(0).await;
    }

    /// Tells until no more waits than is allowed.
    pub(super) async fn flush_to_bound(&mut self) {
        self.flush_to(self.max).await;
    }

    /// Tells all that waits, and never ends: something else does.
    pub(super) async fn flush_for_ever(&mut self) {
        self.flush().await;
        std::future::pending().await
    }

    async fn flush_to(&mut self, max: usize) {
        while self.waiting.len() > max {
            // As above: an error means that nobody listens.
            match self.events.reserve().await {
                Ok(permit) => {
                    if let Some(event) = self.waiting.pop_front() {
                        permit.send(event)
                    }
                }
                Err(_) => self.waiting.clear(),
            }
        }
    }
}
