//! The end of a shard: nothing new, what is outstanding finishes, then every client is told to go elsewhere, and its session follows it.

use std::time::Duration;

use roost_wire::{BootTime, Now, ReturnReason};

use super::close::Farewell;
use super::{Output, Shard, TimerFor};
use crate::packet::ReasonCode;
use crate::{ConnectionId, Count};

/// How far a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainState {
    /// There is none.
    Serving,
    /// What is outstanding finishes, until then.
    Finishing { until: BootTime },
    /// All clients are closed, and their sessions are waited for to be asked for from where they went: until then, or until no more than
    /// so many are left, which nobody came for before either.
    HandingOver { until: BootTime, left: usize },
    /// There is nothing to wait for.
    Drained,
}

/// How long sessions are waited for. A client that connects again at once does so within a second or two.
const HAND_OVER: Duration = Duration::from_secs(5);

impl Shard {
    pub(super) fn is_draining(&self) -> bool {
        self.drain != DrainState::Serving
    }

    pub(super) fn start_drain(&mut self, now: Now, grace: Duration) {
        if self.is_draining() {
            return;
        }
        let until = now.boot + grace;
        self.drain = DrainState::Finishing { until };
        self.timers.set(TimerFor::Drain, until);
        self.return_waiting(ReturnReason::Draining);
    }

    /// Goes on with a drain, as far as it goes now.
    pub(super) fn finish_drain(&mut self, now: Now) {
        match self.drain {
            DrainState::Serving | DrainState::Drained => {}
            DrainState::Finishing { until } => self.close_clients(now, until),
            DrainState::HandingOver { until, left } => {
                // Without a lease nobody can ask for them.
                if self.sessions.len() <= left || now.boot >= until || !self.turn.lease_is_valid(now.boot) {
                    self.drained();
                }
            }
        }
    }

    /// Closes the clients once no publish waits for the backend and no command for its PUBACK, or the grace is over.
    fn close_clients(&mut self, now: Now, until: BootTime) {
        let is_finished = self.uplink.len() == 0 && self.spooling.len() == 0 && self.commands == 0;
        if !is_finished && now.boot < until {
            return;
        }
        let left = self.sessions.len() - self.connected;
        let mut open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        open.sort_unstable();
        for id in open {
            let farewell = Farewell::FlushAndDisconnect(ReasonCode::ServerShuttingDown);
            self.close(now, id, Count::ClosedDraining, farewell);
        }
        let roams = !self.config.limits.session_transfer.is_zero() && self.turn.roams == Some(true);
        let until = until.min(now.boot + HAND_OVER);
        if !roams || self.sessions.len() <= left || now.boot >= until {
            return self.drained();
        }
        self.drain = DrainState::HandingOver { until, left };
        self.timers.set(TimerFor::Drain, until);
    }

    fn drained(&mut self) {
        self.drain = DrainState::Drained;
        self.timers.cancel(TimerFor::Drain);
        self.outputs.push_back(Output::Drained);
    }
}
