//! The AMQP broker: production's core over a disk that can lose what was not synced.

use std::collections::{BTreeMap, VecDeque};

use roost_backend::embedded::core::{
    AMQPValue, Broker, ConnectionId, Image, Input, Limits, Lsn, Operation, Output, Reply, Storage,
};
use roost_backend::embedded::log::Record;

use super::{FIRST, FromBroker, ToBroker, WireId};
use crate::chance::Chance;
use crate::plant::Break;
use crate::time::{Micros, broker_moment, broker_time};

#[derive(Debug)]
pub(crate) struct BrokerNode {
    core: Option<Broker>,
    /// Counts its runs: what was begun in an earlier one does not end in this one.
    pub(crate) life: u32,
    /// What is on disk, of all runs.
    synced: Vec<Record>,
    /// What this run has written and not synced.
    written: VecDeque<Record>,
    /// How many records of this run are on disk.
    synced_of_run: u64,
    /// The sync that is under way is up to there.
    syncing: Option<u64>,
    next_tick: Option<Micros>,
    /// Its disk is full: nothing is synced, and who publishes is not read.
    is_stalled: bool,
    /// What the connections have written that are not read.
    blocked: BTreeMap<WireId, VecDeque<ToBroker>>,
    plant: Option<Break>,
}

/// What it wants done.
#[derive(Debug, Default)]
pub(crate) struct BrokerEffects {
    pub(crate) to_clients: Vec<(WireId, FromBroker)>,
    /// A sync begins; its end is told to [`BrokerNode::synced`] with this number.
    pub(crate) sync: Option<u64>,
    /// When to call [`BrokerNode::tick`].
    pub(crate) tick: Option<Micros>,
}

impl BrokerNode {
    pub(crate) fn new(plant: Option<Break>) -> Self {
        Self {
            plant,
            core: None,
            life: 0,
            synced: Vec::new(),
            written: VecDeque::new(),
            synced_of_run: 0,
            syncing: None,
            next_tick: None,
            is_stalled: false,
            blocked: BTreeMap::new(),
        }
    }

    /// Whether what this connection writes is left unread for now.
    pub(crate) fn is_blocked(&self, wire: WireId) -> bool {
        self.blocked.contains_key(&wire)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// Starts on what is on disk.
    pub(crate) fn start(&mut self, at: Micros, seed: u64) {
        let mut image = Image::default();
        for record in &self.synced {
            image.apply(record.clone());
        }
        self.core = Some(Broker::restore(Limits::default(), Storage::Log, seed, image, broker_time(at)));
    }

    /// Ends at once. Of what was not synced some may be on disk: a prefix.
    pub(crate) fn crash(&mut self, chance: &mut Chance) {
        self.core = None;
        self.life += 1;
        // A full disk has taken none of it.
        let kept = chance.below(self.written.len() as u64 + 1) as usize;
        let kept = if self.is_stalled { 0 } else { kept };
        self.synced.extend(self.written.drain(..kept));
        self.written.clear();
        (self.synced_of_run, self.syncing, self.next_tick) = (0, None, None);
        self.is_stalled = false;
        self.blocked.clear();
    }

    pub(crate) fn handle(&mut self, at: Micros, wire: WireId, frame: ToBroker) -> BrokerEffects {
        if let Some(unread) = self.blocked.get_mut(&wire) {
            unread.push_back(frame);
            return BrokerEffects::default();
        }
        let connection = ConnectionId(wire.0);
        self.feed(
            at,
            match frame {
                ToBroker::Open { user } => Input::ConnectionOpened { connection, user: user.into() },
                ToBroker::Operation(channel, mut operation) => {
                    self.alter(&mut operation);
                    Input::Operation { connection, channel, operation }
                }
                ToBroker::Close => Input::ConnectionClosing { connection },
            },
        )
    }

    /// A broken rule: whoever consumes the shard queue gets its turn, beside others.
    fn alter(&self, operation: &mut Operation) {
        if let (Some(Break::SeveralConsumers), Operation::DeclareQueue(queue)) = (self.plant, operation) {
            let alone = "x-single-active-consumer";
            if queue.arguments.contains_key(alone) {
                queue.arguments.insert(alone.into(), AMQPValue::Boolean(false));
            }
        }
    }

    /// The client took bytes of deliveries.
    pub(crate) fn taken(&mut self, at: Micros, wire: WireId, bytes: usize) -> BrokerEffects {
        self.feed(at, Input::Written { connection: ConnectionId(wire.0), bytes })
    }

    pub(crate) fn lost(&mut self, at: Micros, wire: WireId) -> BrokerEffects {
        self.blocked.remove(&wire);
        self.feed(at, Input::ConnectionLost { connection: ConnectionId(wire.0) })
    }

    /// The disk is full: the sync has failed, and is tried again.
    pub(crate) fn stalls(&mut self, at: Micros) -> BrokerEffects {
        match std::mem::replace(&mut self.is_stalled, true) {
            true => BrokerEffects::default(),
            false => self.feed(at, Input::LogStalled(true)),
        }
    }

    /// The disk has everything up to that record of this run.
    pub(crate) fn synced(&mut self, at: Micros, lsn: u64) -> BrokerEffects {
        let mut effects = BrokerEffects::default();
        if std::mem::replace(&mut self.is_stalled, false) {
            effects = self.feed(at, Input::LogStalled(false));
        }
        self.syncing = None;
        let count = (lsn - self.synced_of_run) as usize;
        self.synced.extend(self.written.drain(..count));
        self.synced_of_run = lsn;
        effects.and(self.feed(at, Input::Synced(Lsn(lsn))))
    }

    pub(crate) fn tick(&mut self, at: Micros) -> BrokerEffects {
        self.next_tick = None;
        self.feed(at, Input::Tick)
    }

    /// How many messages wait in a queue, and how many are delivered and not acknowledged.
    pub(crate) fn depth(&self, queue: &str) -> Option<(u64, u64)> {
        let queues = self.core.as_ref()?.queues();
        let found = queues.iter().find(|found| &*found.name == queue)?;
        Some((found.ready, found.unacknowledged))
    }

    /// Takes everything that waits in a queue, in order: only at the end of a run, with a connection of its own.
    pub(crate) fn drain(&mut self, at: Micros, queue: &str) -> Vec<roost_wire::Message> {
        const READER: WireId = WireId(u64::MAX);
        let mut messages = Vec::new();
        self.handle(at, READER, ToBroker::Open { user: "reader" });
        self.handle(at, READER, ToBroker::Operation(FIRST, Operation::Open));
        loop {
            let get = Operation::Get { queue: queue.to_owned(), no_ack: true };
            let effects = self.handle(at, READER, ToBroker::Operation(FIRST, get));
            let got = effects.to_clients.into_iter().find_map(|(_, frame)| match frame {
                FromBroker::Reply(_, Reply::Got { delivery, .. }) => Some(delivery.message),
                FromBroker::Reply(..)
                | FromBroker::Refused(_)
                | FromBroker::Blocked
                | FromBroker::Unblocked => None,
            });
            let Some(got) = got else { break };
            let message = roost_backend::conversion::incoming(
                &got.exchange,
                &got.routing_key,
                &got.properties,
                got.body.clone(),
            );
            messages.push(message);
        }
        self.lost(at, READER);
        messages
    }

    fn feed(&mut self, at: Micros, input: Input) -> BrokerEffects {
        let mut effects = BrokerEffects::default();
        let Some(core) = &mut self.core else { return effects };
        let mut unblocked = Vec::new();
        core.handle(broker_time(at), input);
        while let Some(output) = core.poll_output() {
            match output {
                Output::Log(_, record) => self.written.push_back(record),
                Output::Reply { connection, channel, reply } => {
                    effects.to_clients.push((WireId(connection.0), FromBroker::Reply(channel, reply)));
                }
                Output::ChannelException { connection, exception, .. }
                | Output::ConnectionException { connection, exception, .. } => {
                    let refused = FromBroker::Refused(exception.text);
                    effects.to_clients.push((WireId(connection.0), refused));
                }
                Output::Opened { .. } | Output::Closed { .. } => {}
                Output::Blocked { connection, .. } => {
                    let wire = WireId(connection.0);
                    self.blocked.insert(wire, VecDeque::new());
                    effects.to_clients.push((wire, FromBroker::Blocked));
                }
                Output::Unblocked { connection } => unblocked.push(WireId(connection.0)),
            }
        }
        if self.syncing.is_none() && !self.written.is_empty() {
            let upto = self.synced_of_run + self.written.len() as u64;
            self.syncing = Some(upto);
            effects.sync = Some(upto);
        }
        let due = core.next_timeout().map(|due| broker_moment(due).max(at + 1));
        if let Some(due) = due.filter(|due| self.next_tick.is_none_or(|next| *due < next)) {
            self.next_tick = Some(due);
            effects.tick = Some(due);
        }
        for wire in unblocked {
            let unread = self.blocked.remove(&wire).unwrap_or_default();
            effects.to_clients.push((wire, FromBroker::Unblocked));
            for frame in unread {
                effects = effects.and(self.handle(at, wire, frame));
            }
        }
        effects
    }
}

impl BrokerEffects {
    /// These, and then those.
    fn and(mut self, then: Self) -> Self {
        self.to_clients.extend(then.to_clients);
        self.sync = self.sync.or(then.sync);
        self.tick = [self.tick, then.tick].into_iter().flatten().min();
        self
    }
}
