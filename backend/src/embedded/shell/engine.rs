//! The task that owns the core.

use super::clock::Clock;
use super::log_writer::{LogFigures, LogWriter};
use super::outbox::Outbox;
use crate::embedded::core::{Broker, ConnectionId, Counters, Input, Lsn, Output, QueueStatistics};
use crate::embedded::log::Record;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What the engine is asked.
#[derive(Debug)]
pub(super) enum Call {
    /// A connection's task has started.
    Attach { connection: ConnectionId, outbox: Arc<Outbox> },
    /// It has something for the core.
    Inputs(Vec<Input>),
    /// It has ended.
    Detach { connection: ConnectionId },
    /// Somebody wants the queues' figures.
    Queues(oneshot::Sender<Vec<QueueStatistics>>),
    /// Somebody wants the counters.
    Counters(oneshot::Sender<Counters>),
    /// Somebody wants to know how the log fares; nothing in memory.
    Log(oneshot::Sender<Option<LogFigures>>),
}

/// Calls that may wait for the engine. A connection that meets a full channel waits with what it read, so at most so many
/// reads (of 64 KiB and the message they complete) are in memory besides the core's own bounds.
pub(super) const CALLS_MAX: usize = 256;
/// Calls taken before what they caused is sent out.
const CALLS_PER_TURN: usize = 64;

/// The core with the ways out of it.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) broker: Broker,
    pub(super) clock: Clock,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    touched: Vec<ConnectionId>,
    log: Option<LogWriter>,
    log_pending_bytes_max: usize,
    log_stalled: bool,
    records: Vec<(Lsn, Record)>,
}

impl Engine {
    pub(super) fn new(
        broker: Broker,
        clock: Clock,
        calls: mpsc::Receiver<Call>,
        log: Option<LogWriter>,
        log_pending_bytes_max: usize,
    ) -> Self {
        Self {
            broker,
            clock,
            calls,
            outboxes: HashMap::new(),
            touched: Vec::new(),
            log,
            log_pending_bytes_max,
            log_stalled: false,
            records: Vec::new(),
        }
    }

    /// Runs until nobody can call any more; then everything is written.
    pub(super) async fn run(mut self) {
        self.serve().await;
        if let Some(log) = self.log.take()
            && let Err(error) = tokio::task::spawn_blocking(move || log.close()).await
        {
            tracing::error!(%error, "the log could not be closed");
        }
    }

    async fn serve(&mut self) {
        let mut batch = Vec::with_capacity(CALLS_PER_TURN);
        loop {
            let due = self.clock.instant(self.broker.next_timeout());
            tokio::select! {
                taken = self.calls.recv_many(&mut batch, CALLS_PER_TURN) => {
                    if taken == 0 {
                        return;
                    }
                    for call in batch.drain(..) {
                        self.on_call(call);
                    }
                }
                () = log_progressed(self.log.as_ref()) => self.on_log_progress(),
                () = tokio::time::sleep_until(due) => {
                    self.broker.handle(self.clock.now(), Input::Tick);
                }
            }
            self.send_outputs();
        }
    }

    fn on_call(&mut self, call: Call) {
        match call {
            Call::Attach { connection, outbox } => {
                self.outboxes.insert(connection, outbox);
            }
            Call::Inputs(inputs) => {
                let now = self.clock.now();
                for input in inputs {
                    self.broker.handle(now, input);
                }
            }
            Call::Detach { connection } => {
                self.outboxes.remove(&connection);
                self.broker.handle(self.clock.now(), Input::ConnectionLost { connection });
            }
            // Who asked may have given up.
            Call::Queues(answer) => drop(answer.send(self.broker.queues())),
            Call::Counters(answer) => drop(answer.send(self.broker.counters())),
            Call::Log(answer) => drop(answer.send(self.log.as_ref().map(LogWriter::figures))),
        }
    }

    fn on_log_progress(&mut self) {
        let Some(log) = &self.log else { return };
        let progress = log.progress();
        let now = self.clock.now();
        self.broker.handle(now, Input::Synced(progress.synced));
        // On at the bound, off at half of it: in between nothing changes.
        let behind = progress.pending_bytes > self.log_pending_bytes_max;
        let caught_up = progress.pending_bytes <= self.log_pending_bytes_max / 2;
        let stalled = progress.failing || behind || self.log_stalled && !caught_up;
        if stalled != self.log_stalled {
            self.log_stalled = stalled;
            self.broker.handle(now, Input::LogStalled(stalled));
        }
    }

    fn send_outputs(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            if let Output::Log(lsn, record) = output {
                self.records.push((lsn, record));
                continue;
            }
            let Some(connection) = output.connection() else { continue };
            let Some(outbox) = self.outboxes.get(&connection) else { continue };
            outbox.push(output);
            if self.touched.last() != Some(&connection) {
                self.touched.push(connection);
            }
        }
        if let Some(log) = &self.log {
            log.append(&mut self.records);
        }
        self.touched.sort_unstable();
        self.touched.dedup();
        for connection in self.touched.drain(..) {
            if let Some(outbox) = self.outboxes.get(&connection) {
                outbox.wake();
            }
        }
    }
}

async fn log_progressed(log: Option<&LogWriter>) {
    match log {
        Some(log) => log.progressed().await,
        None => std::future::pending().await,
    }
}
