//! What the handle of a gateway asks of its threads.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// One order, answered when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop accepting, let what is outstanding `finish` for so long, then close the clients, who have until the deadline to take
    /// their last words. Answered with how many connections were cut.
    Drain { finish: Duration, deadline: Instant, done: oneshot::Sender<usize> },
    /// Behind the drains of all threads: wait until the deadline for the router to have what they have led to. Answered when it has, or
    /// at the deadline.
    Settle { deadline: Instant, done: oneshot::Sender<()> },
    /// End the thread: the reports of the drain have been confirmed.
    Stop,
}
