//! The end of a shard: nothing new, what is outstanding finishes, then every client is told to go elsewhere.

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
    /// All clients are closed.
    Drained,
}

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

    /// Closes the clients once no publish waits for the backend and no command for its PUBACK, or the grace is over.
    pub(super) fn finish_drain(&mut self, now: Now) {
        let DrainState::Finishing { until } = self.drain else { return };
        let is_finished = self.uplink.len() == 0 && self.spooling.len() == 0 && self.commands == 0;
        if !is_finished && now.boot < until {
            return;
        }
        self.drain = DrainState::Drained;
        self.timers.cancel(TimerFor::Drain);
        let mut open: Vec<ConnectionId> = self.connections.keys().copied().collect();
        open.sort_unstable();
        for id in open {
            let farewell = Farewell::FlushAndDisconnect(ReasonCode::ServerShuttingDown);
            self.close(now, id, Count::ClosedDraining, farewell);
        }
        self.outputs.push_back(Output::Drained);
    }
}
