//! The broker's core: one virtual host and everything that happens to it.
//!
//! A plain state machine. The caller feeds it with [`Broker::handle`], drains [`Broker::poll_output`], and calls again
//! at [`Broker::next_timeout`]. It knows no socket, frame, clock or file, so that the same code runs behind sockets and,
//! as the AMQP of a seeded simulation, without any.

use super::channel::{Channel, Connection};
use super::counters::{Counters, QueueStatistics};
use super::dead_letter::Death;
use super::exception::{Exception, ReplyCode};
use super::exchange::{Exchange, ExchangeDefinition, ExchangeKind};
use super::identity::{ChannelNumber, ConnectionId, Lsn, QueueId, UnixMillis};
use super::input::Input;
use super::limits::Limits;
use super::output::{BlockReason, Output, Reply};
use super::queue::Queue;
use crate::embedded::log::Record;
use amq_protocol::types::FieldTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Where durable things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Nowhere: nothing survives, and confirms come at once.
    Memory,
    /// In a log: [`Output::Log`] is to be written, and `Input::Synced` releases what waits for it.
    Log,
}

/// One virtual host with its connections.
#[derive(Debug)]
pub struct Broker {
    pub(super) limits: Limits,
    pub(super) storage: Storage,
    pub(super) seed: u64,
    pub(super) names_drawn: u64,
    pub(super) now: UnixMillis,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) exchanges: BTreeMap<Arc<str>, Exchange>,
    pub(super) bindings: usize,
    pub(super) queues: BTreeMap<QueueId, Queue>,
    pub(super) queue_names: BTreeMap<Arc<str>, QueueId>,
    pub(super) queues_declared: u64,
    pub(super) timers: BTreeSet<(UnixMillis, QueueId)>,
    pub(super) deaths: VecDeque<Death>,
    pub(super) memory_bytes: u64,
    pub(super) log_stalled: bool,
    pub(super) any_blocked: bool,
    pub(super) counters: Counters,
    appended: Lsn,
    synced: Lsn,
    held: VecDeque<Held>,
    /// Channels that may have confirms to send.
    confirming: BTreeSet<ChannelKey>,
    waiting: BTreeSet<ChannelKey>,
    outputs: VecDeque<Output>,
}

/// One channel of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChannelKey {
    pub(super) connection: ConnectionId,
    pub(super) number: ChannelNumber,
}

/// An answer that waits until the log is safe up to a record.
#[derive(Debug)]
struct Held {
    after: Lsn,
    key: ChannelKey,
    reply: Reply,
}

impl Broker {
    /// An empty broker with the predeclared exchanges. `seed` makes the names it draws differ from run to run.
    pub fn new(limits: Limits, storage: Storage, seed: u64, now: UnixMillis) -> Self {
        let mut broker = Self {
            limits,
            storage,
            seed,
            names_drawn: 0,
            now,
            connections: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            bindings: 0,
            queues: BTreeMap::new(),
            queue_names: BTreeMap::new(),
            queues_declared: 0,
            timers: BTreeSet::new(),
            deaths: VecDeque::new(),
            memory_bytes: 0,
            log_stalled: false,
            any_blocked: false,
            counters: Counters::default(),
            appended: Lsn(0),
            synced: Lsn(0),
            held: VecDeque::new(),
            confirming: BTreeSet::new(),
            waiting: BTreeSet::new(),
            outputs: VecDeque::new(),
        };
        for (name, kind) in [
            ("amq.direct", ExchangeKind::Direct),
            ("amq.fanout", ExchangeKind::Fanout),
            ("amq.topic", ExchangeKind::Topic),
        ] {
            let definition = ExchangeDefinition {
                name: name.into(),
                kind,
                durable: true,
                auto_delete: false,
                internal: false,
                arguments: FieldTable::default(),
            };
            broker.exchanges.insert(name.into(), Exchange::new(definition, None));
        }
        broker
    }

    /// Takes one input. `now` must not run backwards; if it does, the time stands still.
    pub fn handle(&mut self, now: UnixMillis, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::ConnectionOpened { connection, user } => self.open_connection(connection, user),
            Input::ConnectionClosing { connection } => {
                self.forget_connection(connection);
                self.emit(Output::Closed { connection });
            }
            Input::ConnectionLost { connection } => self.forget_connection(connection),
            Input::Operation { connection, channel, operation } => {
                self.operate(ChannelKey { connection, number: channel }, operation);
            }
            Input::Written { connection, bytes } => self.written(connection, bytes),
            Input::Synced(lsn) => self.synced(lsn),
            Input::LogStalled(stalled) => self.log_stalled = stalled,
            Input::Tick => {}
        }
        self.run_timers();
        self.settle_deaths();
        self.unblock_if_relieved();
    }

    /// The next effect to perform. Confirms come last, so that one frame answers many publishes.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            while let Some(key) = self.confirming.pop_first() {
                self.send_confirms(key);
            }
        }
        self.outputs.pop_front()
    }

    /// When to call [`Broker::handle`] again at the latest, with [`Input::Tick`] if nothing else happens.
    pub fn next_timeout(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Every queue's figures, by name.
    pub fn queues(&self) -> Vec<QueueStatistics> {
        self.queue_names.values().filter_map(|id| self.queues.get(id)).map(statistics).collect()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.memory_bytes = self.memory_bytes;
        counters.connections = self.connections.len() as u64;
        counters.logged = self.appended.0;
        counters
    }

    fn open_connection(&mut self, connection: ConnectionId, user: Arc<str>) {
        if self.connections.len() >= self.limits.connections_max {
            self.counters.connections_refused += 1;
            let text = format!("connection limit ({}) is reached", self.limits.connections_max);
            let exception = Exception::new(ReplyCode::NotAllowed, text).blamed_on((10, 40));
            self.emit(Output::ConnectionException { connection, channel: ChannelNumber(0), exception });
            return;
        }
        self.counters.connections_opened += 1;
        self.connections.insert(connection, Connection::new(user));
        self.emit(Output::Opened { connection });
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Sends to a channel what no earlier answer has to precede.
    pub(super) fn send(&mut self, key: ChannelKey, reply: Reply) {
        self.emit(Output::Reply { connection: key.connection, channel: key.number, reply });
    }

    /// Answers an operation, in the order of the operations.
    pub(super) fn answer(&mut self, key: ChannelKey, reply: Reply) {
        let after = match self.channel_mut(key) {
            Some(channel) if channel.held > 0 => self.appended,
            Some(_) | None => Lsn(0),
        };
        self.answer_after(key, after, reply);
    }

    /// Answers when the log is safe up to `after`: what a client was told is declared survives.
    pub(super) fn answer_after(&mut self, key: ChannelKey, after: Lsn, reply: Reply) {
        if after <= self.synced {
            return self.send(key, reply);
        }
        if let Some(channel) = self.channel_mut(key) {
            channel.held += 1;
            self.held.push_back(Held { after, key, reply });
        }
    }

    /// Writes a record, if there is a log.
    pub(super) fn append(&mut self, record: Record) -> Lsn {
        match self.storage {
            Storage::Memory => Lsn(0),
            Storage::Log => {
                self.appended = Lsn(self.appended.0 + 1);
                self.emit(Output::Log(self.appended, record));
                self.appended
            }
        }
    }

    pub(super) fn channel_mut(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        self.connections.get_mut(&key.connection)?.channels.get_mut(&key.number)
    }

    /// Notes how a publish ended, if the channel wants to know.
    pub(super) fn note_confirm(&mut self, key: ChannelKey, after: Lsn, accepted: bool) {
        if let Some(confirms) = self.channel_mut(key).and_then(|channel| channel.confirms.as_mut()) {
            confirms.note(after, accepted);
            self.confirming.insert(key);
        }
    }

    /// Drops the answers that a channel that ends would still have got.
    pub(super) fn drop_held(&mut self, key: ChannelKey) {
        self.held.retain(|held| held.key != key);
        self.waiting.remove(&key);
        self.confirming.remove(&key);
    }

    pub(super) fn send_confirms(&mut self, key: ChannelKey) {
        let synced = self.synced;
        while let Some(confirms) = self.channel_mut(key).and_then(|channel| channel.confirms.as_mut()) {
            let Some(run) = confirms.take_run(synced) else {
                if !confirms.is_settled() {
                    self.waiting.insert(key);
                }
                return;
            };
            let (delivery_tag, multiple) = (run.tag, run.multiple);
            if run.accepted {
                self.counters.confirmed += run.count;
                self.send(key, Reply::Confirmed { delivery_tag, multiple });
            } else {
                self.counters.refused += run.count;
                self.send(key, Reply::Refused { delivery_tag, multiple });
            }
        }
    }

    fn synced(&mut self, lsn: Lsn) {
        self.synced = self.synced.max(lsn.min(self.appended));
        while self.held.front().is_some_and(|held| held.after <= self.synced)
            && let Some(held) = self.held.pop_front()
        {
            if let Some(channel) = self.channel_mut(held.key) {
                channel.held -= 1;
                self.send(held.key, held.reply);
            }
        }
        self.confirming.append(&mut self.waiting);
    }

    fn written(&mut self, connection: ConnectionId, bytes: usize) {
        let Some(state) = self.connections.get_mut(&connection) else { return };
        let before = state.outgoing_bytes;
        state.outgoing_bytes = before.saturating_sub(bytes);
        // Half a window at a time: waking the queues for every written frame would cost more than it brings.
        let half = self.limits.outgoing_bytes_max / 2;
        let after = state.outgoing_bytes;
        if before >= half && after < half || after == 0 {
            let queues: BTreeSet<QueueId> = state
                .channels
                .values()
                .flat_map(|channel| channel.consumers.values().map(|consumer| consumer.queue))
                .collect();
            for queue in queues {
                self.dispatch(queue);
            }
        }
    }

    /// The bound that publishers have passed, if any.
    pub(super) fn pressure(&self) -> Option<BlockReason> {
        if self.log_stalled {
            Some(BlockReason::Log)
        } else if self.memory_bytes > self.limits.memory_bytes_max {
            Some(BlockReason::Memory)
        } else {
            None
        }
    }

    /// Blocks a connection that publishes above a bound.
    pub(super) fn block_if_pressed(&mut self, connection: ConnectionId) {
        let Some(reason) = self.pressure() else { return };
        let Some(state) = self.connections.get_mut(&connection) else { return };
        if !state.blocked {
            state.blocked = true;
            self.any_blocked = true;
            self.counters.blocked += 1;
            self.emit(Output::Blocked { connection, reason });
        }
    }

    fn unblock_if_relieved(&mut self) {
        let relieved = self.memory_bytes <= self.limits.memory_bytes_max / 8 * 7 && !self.log_stalled;
        if !self.any_blocked || !relieved {
            return;
        }
        self.any_blocked = false;
        let blocked: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, state)| state.blocked).map(|(id, _)| *id).collect();
        for connection in blocked {
            if let Some(state) = self.connections.get_mut(&connection) {
                state.blocked = false;
            }
            self.emit(Output::Unblocked { connection });
        }
    }
}

fn statistics(queue: &Queue) -> QueueStatistics {
    let figures = &queue.figures;
    QueueStatistics {
        name: Arc::clone(&queue.definition.name),
        durable: queue.definition.durable,
        exclusive: queue.owner.is_some(),
        ready: queue.ready(),
        ready_bytes: queue.ready_bytes(),
        unacknowledged: queue.unacknowledged,
        consumers: queue.consumers.len() as u64,
        published_total: figures.published,
        delivered_total: figures.delivered,
        redelivered_total: figures.redelivered,
        acknowledged_total: figures.acknowledged,
        requeued_total: figures.requeued,
        dead_lettered_total: figures.dead_lettered,
        dropped_total: figures.dropped,
        refused_total: figures.refused,
    }
}
