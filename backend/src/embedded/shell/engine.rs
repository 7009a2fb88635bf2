//! The task that owns the core.

use super::clock::Clock;
use super::outbox::Outbox;
use crate::embedded::core::{Broker, ConnectionId, Counters, Input, QueueStatistics};
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
}

impl Engine {
    pub(super) fn new(broker: Broker, clock: Clock, calls: mpsc::Receiver<Call>) -> Self {
        Self { broker, clock, calls, outboxes: HashMap::new(), touched: Vec::new() }
    }

    /// Runs until nobody can call any more.
    pub(super) async fn run(mut self) {
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
        }
    }

    fn send_outputs(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            let Some(connection) = output.connection() else { continue };
            let Some(outbox) = self.outboxes.get(&connection) else { continue };
            outbox.push(output);
            if self.touched.last() != Some(&connection) {
                self.touched.push(connection);
            }
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
