//! What the core notes of commands: for who asks "why?", and for those whose trace is recorded.

use roost_wire::{BootTime, Now, Receipt, TraceIds, WallTime};

use super::RouterCore;
use crate::decide::Decision;
use crate::journal::Live;
use crate::timeline::Step;
use crate::trace::{TraceStep, Traces};
use crate::{Lsn, Output};

impl RouterCore {
    /// Spans are told from here on. Call it once, before anything comes in. Without ids none are.
    pub fn trace_with(&mut self, now: Now, ids: Option<TraceIds>) {
        self.traces = Traces::new(ids);
        let recorded: Vec<(u64, WallTime)> = self
            .journal
            .live()
            .filter(|live| self.traces.is_recorded(live.command.request.trace))
            .map(|live| (live.command.sequence, live.command.at))
            .collect();
        for (sequence, at) in recorded {
            self.traces.begin(boot_of(now, at), sequence);
            let words = "found in the journal by a new run of the router".to_owned();
            let step = TraceStep { at: now.boot, name: "resumed", words, decision: None, given: None };
            self.traces.note(sequence, step);
        }
    }

    /// Something happened to a command.
    pub(super) fn note(&mut self, now: Now, sequence: u64, step: Step) {
        if self.traces.keeps(sequence) {
            let (name, words, given) = self.timelines.told(&step);
            self.traces.note(sequence, TraceStep { at: now.boot, name, words, decision: None, given });
        }
        self.timelines.note(now.wall, sequence, step);
    }

    /// It was decided about a command.
    pub(super) fn note_decision(&mut self, now: Now, sequence: u64, decision: &Decision) {
        if self.traces.keeps(sequence) {
            let (words, decision) = (decision.words(), Some(decision.labels()));
            let step = TraceStep { at: now.boot, name: "decided", words, decision, given: None };
            self.traces.note(sequence, step);
        }
        self.timelines.decided(now.wall, sequence, decision);
    }

    /// A command has ended: its span is told once that is durable.
    pub(super) fn end_trace(&mut self, now: Now, gate: Lsn, live: &Live, receipt: &Receipt) {
        let start = boot_of(now, live.command.at);
        if let Some(trace) = self.traces.end((start, now.boot), &live.command.request, receipt) {
            self.say_after(gate, Output::Trace(trace));
        }
    }
}

/// A time by the calendar on the clock of this boot, as far as that goes back.
fn boot_of(now: Now, at: WallTime) -> BootTime {
    let ago = u64::try_from(now.wall.since(at).as_micros()).unwrap_or(u64::MAX);
    BootTime::from_micros(now.boot.as_micros().saturating_sub(ago))
}
