//! Events that the spool was given and that are not safe yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use roost_wire::Event;

use super::close::Farewell;
use super::connection::HeldBy;
use super::{Now, Output, Shard};
use crate::packet::ReasonCode;
use crate::spool::WhenFull;
use crate::trace::{Begun, Ending, EventFate};
use crate::uplink::{EventEnd, Waiter};
use crate::{Acknowledge, ConnectionId, Count, SpoolNumber, SpoolState, UplinkOrder};

/// Who waits for the spool, and whether it takes events in.
#[derive(Debug)]
pub(super) struct Spooling {
    state: SpoolState,
    next: u64,
    waiting: BTreeMap<SpoolNumber, Waiting>,
    bytes: usize,
    /// Clients whose next publish waits for room, the longest first. At most once each.
    pub(super) line: VecDeque<ConnectionId>,
}

#[derive(Debug)]
struct Waiting {
    /// None for a will.
    waiter: Option<Waiter>,
    bytes: usize,
    trace: Option<Box<Begun>>,
}

impl Spooling {
    /// Until the shell says that there is a spool, none is.
    pub(super) fn new() -> Self {
        Self {
            state: SpoolState::Bypassed,
            next: 0,
            waiting: BTreeMap::new(),
            bytes: 0,
            line: VecDeque::new(),
        }
    }

    /// How many events are not safe.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.state == SpoolState::Full
    }

    /// Whether an event with this rule goes there.
    pub(super) fn takes(&self, acknowledge: Acknowledge) -> bool {
        match (acknowledge, self.state) {
            (Acknowledge::Confirmed, _) | (Acknowledge::Spooled, SpoolState::Bypassed) => false,
            (Acknowledge::Spooled, SpoolState::Open | SpoolState::Full) => true,
        }
    }

    /// Whether whoever waits for it may go on. The bounds are those of events on their way to AMQP.
    pub(super) fn has_room(&self, events_max: usize, bytes_max: usize) -> bool {
        match self.state {
            SpoolState::Full => false,
            SpoolState::Bypassed => true,
            SpoolState::Open => self.waiting.len() < events_max && self.bytes < bytes_max,
        }
    }
}

impl Shard {
    pub(super) fn spool_has_room(&self) -> bool {
        let limits = &self.config.limits;
        self.spooling.has_room(limits.uplink_events_max, limits.uplink_bytes_max)
    }

    /// Gives an event to the spool, which has room.
    pub(super) fn spool(
        &mut self,
        (event, trace): (Event, Option<Box<Begun>>),
        (exchange, order): (String, UplinkOrder),
        waiter: Option<Waiter>,
    ) {
        let number = SpoolNumber(self.spooling.next);
        self.spooling.next += 1;
        let bytes = event.payload.len();
        self.spooling.bytes += bytes;
        self.spooling.waiting.insert(number, Waiting { waiter, bytes, trace });
        self.outputs.push_back(Output::Spool { number, event: Box::new(event), exchange, order });
    }

    pub(super) fn spooled(&mut self, now: Now, numbers: Vec<SpoolNumber>) {
        for number in numbers {
            let Some(Waiting { waiter, bytes, trace }) = self.spooling.waiting.remove(&number) else {
                continue;
            };
            self.spooling.bytes -= bytes;
            if let Some(waiter) = waiter {
                self.event_ended(now, waiter, EventEnd::Accepted);
            }
            if let Some(begun) = trace {
                let how = Ending::Event { fate: EventFate::Spooled };
                self.outputs.push_back(Output::Trace(begun.ended(now.boot, how)));
            }
            self.wake_next(HeldBy::Spool);
        }
    }

    pub(super) fn spool_state(&mut self, now: Now, state: SpoolState) {
        self.spooling.state = state;
        match state {
            SpoolState::Open | SpoolState::Bypassed => self.wake_next(HeldBy::Spool),
            SpoolState::Full => {
                for id in self.spooling.line.clone() {
                    match self.config.limits.when_spool_full {
                        WhenFull::Withhold => {}
                        // Who cannot be told waits on.
                        WhenFull::Refuse => self.tell_full(id),
                    }
                    self.give_up_waiting(now, id);
                }
            }
        }
    }

    /// A client that waits and is to be told that there is no room is told.
    fn tell_full(&mut self, id: ConnectionId) {
        let Some(client) = self.connections.get(&id).and_then(|c| c.client.as_deref()) else { return };
        let Some(message) = client.parked.front().map(|first| Arc::clone(&first.message)) else { return };
        let route = self.route_of(&message.topic);
        let is_told = self.refusal_for_room(id, &message, &route).is_some();
        self.routes.put(route);
        if is_told {
            self.spooling.line.retain(|waiting| *waiting != id);
            self.wake(id, None);
        }
    }

    /// A client that may publish no more until the full spool has room, since its receive maximum is reached or as many bytes wait as
    /// may, is sent away: it may find another gateway.
    pub(super) fn give_up_waiting(&mut self, now: Now, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Some(client) = connection.client.as_deref() else { return };
        let window = usize::from(self.config.limits.receive_maximum.get());
        let may_publish = self.unanswered(client) < window && !connection.paused;
        if !self.spooling.is_full() || client.waits_for != Some(HeldBy::Spool) || may_publish {
            return;
        }
        self.close(now, id, Count::ClosedSpoolFull, Farewell::Disconnect(ReasonCode::QuotaExceeded));
    }
}
