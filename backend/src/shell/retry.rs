//! When to try again.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::LinkConfig;

/// Full jitter: each wait is drawn from zero to a bound that doubles with every attempt, up to a maximum. It starts again
/// from the first bound once a link stayed up for longer than that maximum.
pub(super) struct Retry {
    first: Duration,
    max: Duration,
    bound: Duration,
    up_since: Option<Instant>,
}

impl Retry {
    pub(super) fn new(config: &LinkConfig) -> Self {
        let LinkConfig { retry_first, retry_max, .. } = config;
        Self { first: *retry_first, max: *retry_max, bound: *retry_first, up_since: None }
    }

    /// A link came up.
    pub(super) fn up(&mut self) {
        self.up_since = Some(Instant::now());
    }

    /// Waits as long as it is time to.
    pub(super) async fn wait(&mut self) {
        if self.up_since.take().is_some_and(|since| since.elapsed() > self.max) {
            self.bound = self.first;
        }
        let wait = self.bound.mul_f64(rand::rng().random());
        self.bound = self.bound.saturating_mul(2).min(self.max);
        tokio::time::sleep(wait).await;
    }
}

/// Waits for a moment; without one, for ever.
pub(super) async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
