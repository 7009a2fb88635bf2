//! The journal's log, and the records that wait until its queue has room.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::Lsn;
use roost_log::{Closed, Full, Log, LogStatus};

/// Records on their way to the disk, in order. While some wait here the engine takes in nothing that leads to more, except
/// what is bounded anyway: messages up to the prefetch of their queues, and the ends of commands in custody.
#[derive(Debug)]
pub(super) struct Backlog {
    log: Log,
    waiting: VecDeque<Bytes>,
    last: Lsn,
}

impl Backlog {
    pub(super) fn new(log: Log) -> Self {
        let last = log.last();
        Self { log, waiting: VecDeque::new(), last }
    }

    /// Takes a record; it never waits.
    pub(super) fn append(&mut self, lsn: Lsn, record: Vec<u8>) {
        debug_assert_eq!(lsn, self.last.next(), "the core and the log count alike");
        self.last = lsn;
        self.waiting.push_back(Bytes::from(record));
        self.push();
    }

    /// Gives the log what it has room for.
    pub(super) fn push(&mut self) {
        while let Some(record) = self.waiting.pop_front() {
            if let Err(Full(record)) = self.log.try_append(record) {
                self.waiting.push_front(record);
                break;
            }
        }
    }

    /// Returns when [`Self::push`] will find room.
    pub(super) async fn room(&self) {
        self.log.room().await;
    }

    /// Whether records wait here: the disk is slower than what comes in, or stuck.
    pub(super) fn is_blocked(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn status(&self) -> LogStatus {
        self.log.status().borrow().clone()
    }

    /// Everything given so far is in the log's queue, and with it in the numbers that a snapshot covers.
    pub(super) fn log_if_level(&mut self) -> Option<&mut Log> {
        self.waiting.is_empty().then_some(&mut self.log)
    }

    /// The log, for who waits for its changes.
    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Ends the log. What still waits here is cut like what waits in its queue.
    pub(super) async fn close(self, grace: Duration) -> Closed {
        let closed = self.log.close(grace).await;
        Closed { cut: closed.cut + self.waiting.len() as u64, ..closed }
    }
}
