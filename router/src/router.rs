//! The whole router: a plain state machine.

use std::collections::VecDeque;

use roost_wire::{BootTime, Now};

use crate::journal::{Journal, Record};
use crate::{Counters, Input, Limits, Lsn, Output};

/// The router's core. Feed it inputs with the time; after each, drain [`RouterCore::poll_output`] and perform what it gives.
#[derive(Debug)]
pub struct RouterCore {
    limits: Limits,
    journal: Journal,
    last: Lsn,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl RouterCore {
    /// Starts a run on what was replayed: `journal` has every record applied, `last` is the number of the last one in the log
    /// ([`Lsn::ZERO`] if there is none), `entropy` is 64 random bits (the journal's own number is drawn from it, once).
    #[must_use]
    pub fn start(now: Now, limits: Limits, journal: Journal, last: Lsn, entropy: u64) -> Self {
        let _ = (now, entropy);
        Self { limits, journal, last, outputs: VecDeque::new(), counters: Counters::default() }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input, &self.limits, self.last);
    }

    /// The next effect, in order; `None` when there is none for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Tick`] if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<BootTime> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The records that stand for all records given out so far ([`Output::Journal`]): drain the outputs first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        self.journal.snapshot()
    }

    /// Whether commands may be forwarded: after a start every gateway that may still have some must have synced, or its
    /// lease must have lapsed. For `/readyz`.
    #[must_use]
    pub fn is_recovered(&self) -> bool {
        false
    }
}
