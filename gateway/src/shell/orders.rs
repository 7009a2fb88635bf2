//! What the handle of a gateway asks of its thread.

use std::time::Duration;

use tokio::sync::oneshot;

/// One order, answered when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Stop accepting, let what is outstanding finish, close the clients. Answered with how many connections were cut.
    Drain { grace: Duration, done: oneshot::Sender<usize> },
    /// End the thread: the reports of the drain have been confirmed.
    Stop,
}
