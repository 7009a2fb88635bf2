//! Lifetimes end.

use roost_wire::{Now, ReceiptReason, ReceiptState};

use super::RouterCore;
use super::receipts::End;
use crate::journal::Live;
use crate::timers::Timer;

impl RouterCore {
    /// A command's lifetime has ended. If it waits it ends; if it is outstanding its answer is waited for, which may still be
    /// "delivered"; and after a start nobody can know before the gateways have said what they hold.
    pub(super) fn expiry_due(&mut self, now: Now, sequence: u64) {
        let Some(live) = self.journal.command(sequence) else { return };
        let (device, deadline) = (live.command.request.device.clone(), live.command.deadline);
        if deadline > now.wall {
            // The wall clock was set back.
            return self.timers.set(Timer::Expiry(sequence), now.boot + deadline.since(now.wall));
        }
        let is_outstanding =
            self.mailboxes.get(&device).is_some_and(|mailbox| mailbox.is_outstanding(sequence));
        if self.is_recovered() && !is_outstanding {
            self.expire(now, sequence);
            self.offer(now, &device);
        }
    }

    /// A command is back from a gateway. While it was there its lifetime may have ended, and then nothing waits for that any more.
    pub(super) fn watch_lifetime(&mut self, now: Now, sequence: u64) {
        if let Some(live) = self.journal.command(sequence) {
            let due = now.boot + live.command.deadline.since(now.wall);
            self.timers.set_if_clear(Timer::Expiry(sequence), due);
        }
    }

    pub(super) fn is_overdue(&self, now: Now, sequence: u64) -> bool {
        self.is_recovered()
            && self.journal.command(sequence).is_some_and(|live| live.command.deadline <= now.wall)
    }

    /// Ends a command that waits and whose lifetime has ended.
    pub(super) fn expire(&mut self, now: Now, sequence: u64) {
        let was_lost = self.journal.command(sequence).is_some_and(Live::may_have_arrived);
        let end = match was_lost {
            true => End::new(ReceiptState::Unknown, Some(ReceiptReason::Interrupted)),
            false => End::new(ReceiptState::Expired, None),
        };
        self.finish(now, sequence, end);
    }

    /// Ends every command that waits and whose lifetime ended while the router was starting. Those whose end came and went, because the
    /// calendar was set back since, wait for it once more.
    pub(super) fn expire_overdue(&mut self, now: Now) {
        let waiting = self.mailboxes.values().flat_map(|mailbox| mailbox.waiting(self.durable));
        let waiting: Vec<u64> = waiting.collect();
        for sequence in waiting {
            match self.is_overdue(now, sequence) {
                true => self.expire(now, sequence),
                false => self.watch_lifetime(now, sequence),
            }
        }
    }
}
