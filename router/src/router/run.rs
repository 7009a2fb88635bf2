//! A run: the router's turn to speak to the gateways. Custody needs a disk and begins with the process; a run needs the shard's
//! lock, and begins each time the router gets it.
//!
//! Its number says to gateways whose word is the newer one, so it is drawn when the turn begins and not before: a router that
//! has stood by for a year would otherwise come with the oldest number of all. And since nobody knows who had the lock while
//! it was lost, a router that gets it back begins a new run, with nothing but its journal, as if it had started just now.

use std::mem::{replace, take};

use roost_wire::{ControlReport, Now, RouterRun};

use super::RouterCore;
use crate::journal::Record;
use crate::{Lsn, Publication};

/// No record has this number: what waits for a run that has not begun waits for ever, or until the run begins.
pub(super) const NOT_BEGUN: Lsn = Lsn(u64::MAX);

/// Numbers beyond this are nobody's: it is far above the milliseconds since 1970, and JSON readers still know it exactly.
const RUN_MAX: RouterRun = RouterRun(1 << 53);

impl RouterCore {
    /// The shard's lock is held: a run begins, on what the journal holds. Of the run before it, if there was one, nothing is
    /// left but that; what it had published may still arrive, as after a crash, and what it would have acknowledged comes
    /// again. Call it when everything recorded is durable.
    ///
    /// The number is greater than any that this journal had or a gateway has spoken of, and never below the milliseconds
    /// since 1970: so it is greater than that of the router that had the lock before, also if the journals are not the same
    /// or this one was lost, as long as the machines' clocks differ by less than a takeover takes. If they differ by more,
    /// [`RouterCore::is_outrun`] says so.
    pub fn begin_run(&mut self, now: Now) {
        debug_assert_eq!(self.durable, self.last, "what is forgotten is in the journal");
        let after = self.journal.run().max(self.heard).next();
        let run = RouterRun(after.0.max(now.wall.as_millis()));
        let journal = take(&mut self.journal);
        let fresh = Self::bare(self.shard, self.limits.clone(), journal, self.last, self.id);
        let before = replace(self, fresh);
        // Names that are in use outside go on, and so does what was counted.
        self.outputs = before.outputs;
        self.publications.go_on_after(&before.publications);
        (self.epochs, self.markers, self.is_paused) = (before.epochs, before.markers, before.is_paused);
        self.counters = before.counters;
        self.timelines = before.timelines;
        self.traces = before.traces;
        self.heard = before.heard;
        self.run = run;
        self.run_lsn = self.record(Record::RunStarted { run, journal: self.id });
        let report = Box::new(ControlReport { shard: self.shard, run, items: Vec::new() });
        self.publish_and_forget(self.run_lsn, Publication::RunBegun { report });
        self.know_gateways(now);
        self.fill_mailboxes(now);
        for (device, mailbox) in before.mailboxes {
            if let Some(again) = self.mailboxes.get_mut(&device) {
                again.take_watchers(mailbox);
            }
        }
        self.publish_owed();
    }

    /// Whether a run has begun: before, commands are taken into custody, and no gateway is spoken to.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.run_lsn != NOT_BEGUN
    }

    /// Whether a gateway has heard a newer run than this: it takes no word of this one any more. If the lock is held all the
    /// same, the next [`RouterCore::begin_run`] is the way out.
    #[must_use]
    pub fn is_outrun(&self) -> bool {
        self.has_run() && self.heard > self.run
    }

    /// A gateway says which run it has heard last.
    pub(super) fn hear_run(&mut self, run: RouterRun) {
        if run <= RUN_MAX {
            self.heard = self.heard.max(run);
        }
    }
}
