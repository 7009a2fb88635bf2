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
    HandingOver { until: BootTime, left: usize, grace: BootTime },
    /// The sessions that are left end here. Their wills, and those of clients that were closed, are published until then.
    LastWills { until: BootTime },
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
        if let DrainState::Finishing { until } = self.drain {
            self.close_clients(now, until);
        }
        if let DrainState::HandingOver { until, left, grace } = self.drain {
            // Without a lease nobody can ask for them.
            if self.sessions.len() <= left || now.boot >= until || !self.turn.lease_is_valid(now.boot) {
                self.end_delays();
                self.drain = DrainState::LastWills { until: grace };
            }
        }
        if let DrainState::LastWills { until } = self.drain {
            self.finish_wills(now, until);
        }
    }

    /// Closes the clients once no publish waits for the backend and no command for its PUBACK, or the grace is over.
    fn close_clients(&mut self, now: Now, grace: BootTime) {
        if !(self.nothing_waits() && self.commands == 0) && now.boot < grace {
            return;
        }
        let left = self.sessions.len() - self.connected;
        let reason = match self.config.hints.server_reference {
            Some(_) => ReasonCode::UseAnotherServer,
            None => ReasonCode::ServerShuttingDown,
        };
        let mut open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        open.sort_unstable();
        for id in open {
            self.close(now, id, Count::ClosedDraining, Farewell::FlushAndDisconnect(reason));
        }
        let roams = !self.config.limits.session_transfer.is_zero() && self.turn.roams == Some(true);
        self.publish_wills(now);
        let until = if roams { grace.min(now.boot + HAND_OVER) } else { now.boot };
        self.drain = DrainState::HandingOver { until, left, grace };
        self.timers.set(TimerFor::Drain, until);
    }

    /// A will is published however its connection ends, also if the gateway ends it [MQTT-3.1.2-8]; what the grace does not suffice for is
    /// cut.
    fn finish_wills(&mut self, now: Now, until: BootTime) {
        self.publish_wills(now);
        if (self.nothing_waits() && self.crossings.is_over()) || now.boot >= until {
            self.cut_wills();
            return self.drained();
        }
        self.timers.set(TimerFor::Drain, until);
    }

    /// Whether the backend, or the disk, has everything that was published.
    fn nothing_waits(&self) -> bool {
        self.uplink.len() == 0
            && self.spooling.len() == 0
            && self.wills.none_waits()
            && self.crossings.is_seen()
            && (self.storing.is_durable() || self.storing.is_stuck())
    }

    fn drained(&mut self) {
        self.drain = DrainState::Drained;
        self.timers.cancel(TimerFor::Drain);
        self.outputs.push_back(Output::Drained);
    }
}
