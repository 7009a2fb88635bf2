//! The two consuming connections, and which message of which of them the core means when it acknowledges.

use std::collections::HashMap;
use std::future::pending;

use roost_backend::shell::{
    ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, ConsumerFigures, DeliveryToken, consumer,
};
use roost_backend::{Queue as QueueValue, Topology, contract};
use roost_wire::{LinkId, ShardId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::config::RouterConfig;
use crate::{Queue, SourceToken};

/// Which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// Commands.
    Commands,
    /// Sightings, settlements and dead letters; it also holds the shard's lock.
    Reports,
}

/// Both consumers, and what of theirs is not acknowledged. Bounded by the prefetches.
///
/// Commands are consumed only while the lock is held: the shard queue has one active consumer, and a router that stands by
/// would otherwise become it as soon as the other's connection blinks, and sit on its commands.
#[derive(Debug)]
pub(super) struct Sources {
    config: RouterConfig,
    reports: (Consumer, mpsc::Receiver<ConsumerEvent>),
    commands: Option<(Consumer, mpsc::Receiver<ConsumerEvent>)>,
    closing: JoinSet<()>,
    open: HashMap<SourceToken, (Line, DeliveryToken)>,
    next: u64,
}

/// How many shards there are: one, until a deployment can have more.
pub(super) const SHARDS: u16 = 1;

/// Reports that may be ahead of their acknowledgement.
const REPORTS_PREFETCH: u16 = 1_000;

/// The queues of the reports' connection, in the order of its plan.
pub const REPORTS: [Queue; 3] = [Queue::Expired, Queue::Sightings, Queue::Settlements];

impl Line {
    /// The queue of this connection's plan.
    pub(super) fn queue(self, index: usize) -> Queue {
        match self {
            Self::Commands => Queue::Commands,
            Self::Reports => REPORTS[index],
        }
    }
}

impl Sources {
    /// Begins to connect for reports and the lock.
    pub(super) fn new(config: RouterConfig) -> Self {
        let shard = config.shard;
        let reports = consumer(config.link("reports"), move |_| reports_plan(shard));
        let closing = JoinSet::new();
        Self { config, reports, commands: None, closing, open: HashMap::new(), next: 0 }
    }

    /// The next event; commands only if they are wanted. `None`: a consumer has ended, which it never does by itself.
    pub(super) async fn next(&mut self, wants_commands: bool) -> Option<(Line, ConsumerEvent)> {
        let commands = async {
            match self.commands.as_mut().filter(|_| wants_commands) {
                Some((_, events)) => events.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            event = commands => event.map(|event| (Line::Commands, event)),
            event = self.reports.1.recv() => event.map(|event| (Line::Reports, event)),
        }
    }

    /// An event that is there already.
    pub(super) fn waiting(&mut self, line: Line) -> Option<ConsumerEvent> {
        match line {
            Line::Commands => self.commands.as_mut()?.1.try_recv().ok(),
            Line::Reports => self.reports.1.try_recv().ok(),
        }
    }

    /// The lock is held, or it is not (any more): commands are consumed, or not.
    pub(super) fn lock_changed(&mut self, is_held: bool) {
        match (is_held, self.commands.take()) {
            (true, None) => {
                let (shard, prefetch) = (self.config.shard, self.config.limits.prefetch);
                let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
                let plan = move |_| commands_plan(shard, prefetch);
                self.commands = Some(consumer(self.config.link("commands"), plan));
            }
            (false, Some((consumer, _))) => {
                self.open.retain(|_, (line, _)| *line != Line::Commands);
                self.closing.spawn(consumer.close());
            }
            (true, commands @ Some(_)) => self.commands = commands,
            (false, None) => {}
        }
        // Those that have ended need no more room.
        while self.closing.try_join_next().is_some() {}
    }

    /// How much came over both, each by the name of its link.
    pub(super) fn figures(&self) -> Vec<(&'static str, ConsumerFigures)> {
        let commands =
            self.commands.as_ref().map_or(ConsumerFigures::default(), |(commands, _)| commands.figures());
        vec![("commands", commands), ("reports", self.reports.0.figures())]
    }

    /// A name for the core.
    pub(super) fn name(&mut self, line: Line, token: DeliveryToken) -> SourceToken {
        let source = SourceToken(self.next);
        self.next += 1;
        self.open.insert(source, (line, token));
        source
    }

    pub(super) fn ack(&mut self, source: SourceToken) {
        match (self.open.remove(&source), &self.commands) {
            (Some((Line::Commands, token)), Some((commands, _))) => commands.ack(token),
            (Some((Line::Reports, token)), _) => self.reports.0.ack(token),
            // Its link was lost: the message comes again.
            (Some((Line::Commands, _)), None) | (None, _) => {}
        }
    }

    /// A link was lost: what it delivered comes again with other tokens.
    pub(super) fn lost(&mut self, line: Line, link: LinkId) {
        self.open.retain(|_, (its, token)| *its != line || token.link() != link);
    }

    /// Sends the acknowledgements that wait and closes both connections. Takes a few seconds at most.
    pub(super) async fn close(self) {
        let Self { reports: (reports, unread), commands, mut closing, .. } = self;
        drop(unread);
        closing.spawn(reports.close());
        if let Some((commands, _)) = commands {
            closing.spawn(commands.close());
        }
        closing.join_all().await;
    }
}

/// What the router consumes while it holds its shard's lock: commands.
#[must_use]
pub fn commands_plan(shard: ShardId, prefetch: u16) -> ConsumePlan {
    let queue = ConsumeQueue { name: contract::router_queue(shard), prefetch };
    ConsumePlan { topology: Topology::contract(SHARDS), queues: vec![queue] }
}

/// What the router consumes over the connection that holds its shard's lock: [`REPORTS`]. The lock comes first: without it
/// nothing is consumed.
#[must_use]
pub fn reports_plan(shard: ShardId) -> ConsumePlan {
    let name = |queue: Queue| match queue {
        Queue::Commands => contract::router_queue(shard),
        Queue::Expired => contract::expired_queue(shard),
        Queue::Sightings => contract::sightings_queue(shard),
        Queue::Settlements => contract::settle_queue(shard),
    };
    let lock = Topology::of(QueueValue::of_link(contract::lock_queue(shard)));
    ConsumePlan {
        topology: lock.and(Topology::contract(SHARDS)),
        queues: REPORTS.map(|queue| ConsumeQueue { name: name(queue), prefetch: REPORTS_PREFETCH }).into(),
    }
}
