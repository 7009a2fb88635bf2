//! What the engine has for one connection.

use crate::embedded::core::Output;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Outputs on their way from the engine to a connection's task.
///
/// Bounded by the core: deliveries by the connection's outgoing window, and answers by what the connection's task has
/// sent to the engine, which it stops doing while too many answers are unread.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    outputs: Mutex<Vec<Output>>,
    filled: Notify,
}

impl Outbox {
    pub(super) fn push(&self, output: Output) {
        self.lock().push(output);
    }

    /// Wakes the connection's task.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits until something was pushed and woken since the last call.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes everything, leaving `empty` in its place, so that both buffers are used again and again.
    pub(super) fn swap(&self, empty: &mut Vec<Output>) {
        std::mem::swap(&mut *self.lock(), empty);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Output>> {
        // A holder that panicked leaves a whole vector behind.
        self.outputs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
