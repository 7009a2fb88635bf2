//! The consuming end of a link: production's ledger, without lapin.

use std::collections::VecDeque;

use roost_backend::conversion::incoming;
use roost_backend::embedded::core::{ChannelNumber, Operation, Reply, Subscription};
use roost_backend::ledger::{Answer, Ledger, Verdict};
use roost_backend::shell::{ConsumePlan, ConsumeQueue};
use roost_wire::{LinkId, Message};

use super::declare::declarations;
use super::{FIRST, FromBroker, ToBroker};

#[derive(Debug)]
pub(crate) struct ConsumingEnd {
    user: &'static str,
    link: LinkId,
    plan: ConsumePlan,
    ledger: Ledger,
    state: State,
}

#[derive(Debug)]
enum State {
    Down,
    /// So many answers to declarations are not there yet. Nothing is consumed before: the lock comes first.
    Declaring {
        answers: usize,
    },
    /// Deliveries that come before all queues are consumed wait.
    Coming {
        consuming: usize,
        early: VecDeque<Arrived>,
    },
    Up,
}

/// One delivery, and what names it when it is acknowledged.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) token: Token,
    pub(crate) redelivered: bool,
    pub(crate) message: Message,
}

/// Names one delivery of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    link: LinkId,
    /// Which queue of the plan.
    pub(crate) queue: usize,
    tag: u64,
}

/// What its owner is told.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Write this.
    Write(Vec<ToBroker>),
    Up(LinkId),
    Down(LinkId),
    Delivery(Box<Arrived>),
}

impl ConsumingEnd {
    pub(crate) fn new(user: &'static str) -> Self {
        let (link, plan) = (LinkId::default(), ConsumePlan::default());
        Self { user, link, plan, ledger: Ledger::new(0), state: State::Down }
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Begins a connection, the next link: what it writes.
    pub(crate) fn connect(&mut self, plan: impl Fn(LinkId) -> ConsumePlan) -> Vec<ToBroker> {
        self.link = self.link.next();
        self.plan = plan(self.link);
        self.ledger = Ledger::new(self.plan.queues.len());
        let declarations = declarations(&self.plan.topology);
        self.state = State::Declaring { answers: declarations.len() + 1 };
        let operations = [Operation::Open].into_iter().chain(declarations);
        let open = ToBroker::Open { user: self.user };
        [open].into_iter().chain(operations.map(|operation| ToBroker::Operation(FIRST, operation))).collect()
    }

    /// What the broker wrote.
    pub(crate) fn hear(&mut self, from: FromBroker) -> Vec<Heard> {
        match from {
            FromBroker::Refused(_) => self.lost(),
            FromBroker::Blocked | FromBroker::Unblocked => Vec::new(),
            FromBroker::Reply(_, Reply::ConsumerCancelled { .. }) => self.lost(),
            FromBroker::Reply(_, Reply::Consuming { .. }) => self.consuming(),
            FromBroker::Reply(channel, Reply::Deliver { delivery, .. }) => {
                let (queue, tag) = (usize::from(channel.0) - 2, delivery.delivery_tag.0);
                self.ledger.delivered(queue, tag);
                let message = &delivery.message;
                let message = incoming(
                    &message.exchange,
                    &message.routing_key,
                    &message.properties,
                    message.body.clone(),
                );
                let token = Token { link: self.link, queue, tag };
                let arrived = Arrived { token, redelivered: delivery.redelivered, message };
                match &mut self.state {
                    State::Coming { early, .. } => early.push_back(arrived),
                    State::Up => return vec![Heard::Delivery(Box::new(arrived))],
                    State::Down | State::Declaring { .. } => {}
                }
                Vec::new()
            }
            FromBroker::Reply(FIRST, _) => self.declared(),
            FromBroker::Reply(..) => Vec::new(),
        }
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self) -> Vec<Heard> {
        self.state = State::Down;
        vec![Heard::Down(self.link)]
    }

    /// It is to be acknowledged with the next [`ConsumingEnd::answers`]; nothing happens if its link is gone.
    pub(crate) fn ack(&mut self, token: Token) {
        if token.link == self.link {
            self.ledger.ack(token.queue, token.tag);
        }
    }

    /// Whether acknowledgements wait.
    pub(crate) fn has_answers(&self) -> bool {
        self.is_up() && self.ledger.waiting() > 0
    }

    /// The acknowledgements that wait.
    pub(crate) fn answers(&mut self) -> Vec<ToBroker> {
        if !self.is_up() {
            return Vec::new();
        }
        let operation = |Answer { queue, tag, verdict }| {
            let operation = match verdict {
                Verdict::Ack => Operation::Ack { delivery_tag: tag, multiple: false },
                Verdict::AckUpTo => Operation::Ack { delivery_tag: tag, multiple: true },
                Verdict::Reject { requeue } => {
                    Operation::Nack { delivery_tag: tag, multiple: false, requeue, reject: true }
                }
            };
            ToBroker::Operation(channel_of(queue), operation)
        };
        self.ledger.take().into_iter().map(operation).collect()
    }

    /// One more answer to a declaration.
    fn declared(&mut self) -> Vec<Heard> {
        let State::Declaring { answers } = &mut self.state else { return Vec::new() };
        *answers -= 1;
        if *answers > 0 {
            return Vec::new();
        }
        self.state = State::Coming { consuming: 0, early: VecDeque::new() };
        let consume = |(index, queue): (usize, &ConsumeQueue)| {
            let prefetch_count = queue.prefetch.max(1);
            let qos = Operation::Qos { prefetch_bytes: 0, prefetch_count, global: false };
            let subscription = Subscription { queue: queue.name.clone(), ..Subscription::default() };
            let operations = [Operation::Open, qos, Operation::Consume(subscription)];
            operations.map(|operation| ToBroker::Operation(channel_of(index), operation))
        };
        vec![Heard::Write(self.plan.queues.iter().enumerate().flat_map(consume).collect())]
    }

    fn consuming(&mut self) -> Vec<Heard> {
        let State::Coming { consuming, early } = &mut self.state else { return Vec::new() };
        *consuming += 1;
        if *consuming < self.plan.queues.len() {
            return Vec::new();
        }
        let early = std::mem::take(early);
        self.state = State::Up;
        let deliveries = early.into_iter().map(|arrived| Heard::Delivery(Box::new(arrived)));
        [Heard::Up(self.link)].into_iter().chain(deliveries).collect()
    }
}

/// Each queue is consumed on a channel of its own, behind the one that declares.
fn channel_of(queue: usize) -> ChannelNumber {
    ChannelNumber(consumed_on(queue))
}

/// The number of that channel.
pub(crate) const fn consumed_on(queue: usize) -> u16 {
    queue as u16 + 2
}
