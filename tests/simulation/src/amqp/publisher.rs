//! The publishing end of a link: production's window, without lapin.

use std::collections::{BTreeMap, VecDeque};

use roost_backend::Topology;
use roost_backend::conversion::{Outgoing, incoming};
use roost_backend::embedded::core::{Operation, Publication, Reply};
use roost_backend::window::{Confirm, Loss, Place, Publish, Published, Window};
use roost_wire::{BootTime, Message};

use super::declare::declarations;
use super::{FIRST, FromBroker, ToBroker};

/// As production's: the window, what is given to a connection at once, the frame, and how long a confirm may take.
const WINDOW_MAX: usize = 2_000;
const BATCH_MAX: usize = 64;
const FRAME_MAX: usize = 131_072;
pub(crate) const CONFIRM_TIMEOUT_S: u64 = 10;

#[derive(Debug)]
pub(crate) struct PublishingEnd {
    user: &'static str,
    topology: Topology,
    window: Window,
    waiting: VecDeque<Publish>,
    state: State,
    /// How many messages were published again after a loss.
    pub(crate) replayed: u64,
}

#[derive(Debug)]
enum State {
    Down,
    Coming,
    Up { last_tag: u64, flights: BTreeMap<u64, Place>, pace: Pace },
}

/// As production's: a connection that the broker does not read publishes nothing, and no confirm is overdue for that.
#[derive(Debug, Clone, Copy)]
enum Pace {
    Reads {
        since: BootTime,
    },
    Blocked,
    /// It reads again from the next look on.
    Unblocked,
}

/// What its owner is told.
#[derive(Debug)]
pub(crate) enum Said {
    Up,
    Down,
    Done { token: u64, outcome: Published },
}

impl PublishingEnd {
    pub(crate) fn new(user: &'static str, topology: Topology) -> Self {
        let window = Window::new(WINDOW_MAX);
        Self { user, topology, window, waiting: VecDeque::new(), state: State::Down, replayed: 0 }
    }

    pub(crate) fn publish(&mut self, publish: Publish) {
        self.waiting.push_back(publish);
    }

    /// Whether everything has its outcome.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty() && self.window.is_empty()
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Begins a connection: what it writes.
    pub(crate) fn connect(&mut self) -> Vec<ToBroker> {
        self.state = State::Coming;
        let operations = declarations(&self.topology);
        let prepared = [Operation::Open].into_iter().chain(operations);
        let prepared = prepared.chain([Operation::ConfirmSelect { nowait: false }]);
        let open = ToBroker::Open { user: self.user };
        [open].into_iter().chain(prepared.map(|operation| ToBroker::Operation(FIRST, operation))).collect()
    }

    /// What it publishes now.
    pub(crate) fn pump(&mut self, now: BootTime, said: &mut Vec<Said>) -> Vec<ToBroker> {
        let State::Up { last_tag, flights, pace } = &mut self.state else { return Vec::new() };
        match pace {
            Pace::Blocked => return Vec::new(),
            Pace::Unblocked => *pace = Pace::Reads { since: now },
            Pace::Reads { .. } => {}
        }
        let mut written = Vec::new();
        loop {
            while self.window.room() > 0
                && let Some(publish) = self.waiting.pop_front()
            {
                self.window.push(publish);
            }
            let places = self.window.send(now, BATCH_MAX);
            if places.is_empty() {
                return written;
            }
            for place in places {
                let Some(publish) = self.window.at(place) else { continue };
                match Outgoing::new(&publish.message, self.user, FRAME_MAX) {
                    Ok(Outgoing { exchange, routing_key, properties, body }) => {
                        let publication = Publication {
                            exchange: exchange.to_string(),
                            routing_key: routing_key.to_string(),
                            mandatory: publish.mandatory,
                            immediate: false,
                            properties,
                            body,
                        };
                        *last_tag += 1;
                        flights.insert(*last_tag, place);
                        written.push(ToBroker::Operation(FIRST, Operation::Publish(Box::new(publication))));
                    }
                    Err(error) => {
                        said.extend(self.window.refuse(place, error.to_string()).map(done));
                    }
                }
            }
        }
    }

    /// What the broker wrote.
    pub(crate) fn hear(&mut self, from: FromBroker) -> Vec<Said> {
        match (from, &mut self.state) {
            (FromBroker::Refused(reason), _) => self.lost(&Loss::Refused { reason }),
            (FromBroker::Reply(_, Reply::ConfirmSelected), State::Coming) => {
                self.state = State::Up {
                    last_tag: 0,
                    flights: BTreeMap::new(),
                    pace: Pace::Reads { since: BootTime::default() },
                };
                vec![Said::Up]
            }
            (FromBroker::Reply(_, Reply::Returned { message }), State::Up { .. }) => {
                let returned: Message = incoming(
                    &message.exchange,
                    &message.routing_key,
                    &message.properties,
                    message.body.clone(),
                );
                let is_known = self.window.returned(312, "NO_ROUTE", &returned);
                assert!(is_known, "the broker returned what is not in flight: {returned:?}");
                Vec::new()
            }
            (FromBroker::Reply(_, Reply::Confirmed { delivery_tag, multiple }), State::Up { .. }) => {
                self.confirmed(delivery_tag.0, multiple, Confirm::Ack)
            }
            (FromBroker::Reply(_, Reply::Refused { delivery_tag, multiple }), State::Up { .. }) => {
                self.confirmed(delivery_tag.0, multiple, Confirm::Nack)
            }
            (FromBroker::Blocked, State::Up { pace, .. }) => {
                *pace = Pace::Blocked;
                Vec::new()
            }
            (FromBroker::Unblocked, State::Up { pace, .. }) => {
                *pace = Pace::Unblocked;
                Vec::new()
            }
            (FromBroker::Reply(..) | FromBroker::Blocked | FromBroker::Unblocked, _) => Vec::new(),
        }
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, loss: &Loss) -> Vec<Said> {
        self.state = State::Down;
        let before = self.window.unsent();
        let outcomes = self.window.lost(loss);
        self.replayed += (self.window.unsent() - before) as u64;
        [Said::Down].into_iter().chain(outcomes.into_iter().map(done)).collect()
    }

    /// Whether a confirm is overdue: the link is then given up.
    pub(crate) fn is_overdue(&self, now: BootTime) -> bool {
        let State::Up { pace: Pace::Reads { since }, .. } = self.state else { return false };
        let oldest = self.window.oldest_sent_at();
        oldest.is_some_and(|sent| now.since(sent.max(since)).as_secs() >= CONFIRM_TIMEOUT_S)
    }

    fn confirmed(&mut self, tag: u64, multiple: bool, confirm: Confirm) -> Vec<Said> {
        let State::Up { flights, .. } = &mut self.state else { return Vec::new() };
        let landed: Vec<u64> = match multiple {
            true => flights.range(..=tag).map(|(tag, _)| *tag).collect(),
            false => vec![tag],
        };
        for tag in landed {
            if let Some(place) = flights.remove(&tag) {
                self.window.confirmed(place, confirm);
            }
        }
        self.window.settle().into_iter().map(done).collect()
    }
}

fn done((token, outcome): (u64, Published)) -> Said {
    Said::Done { token, outcome }
}
