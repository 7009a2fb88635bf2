//! What the handle of a gateway asks of its thread.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// One order, answered when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop accepting, let what is outstanding `finish` for so long, then close the clients, who have until the deadline to take
    /// their last words. Answered with how many connections were cut.
    Drain { finish: Duration, deadline: Instant, done: oneshot::Sender<usize> },
    /// End the thread: the reports of the drain have been confirmed.
    Stop,
}
