//! A command takes the place of earlier ones with its key.

use roost_wire::{Device, Now, ReceiptReason, ReceiptState};

use super::RouterCore;
use super::receipts::End;
use crate::journal::Live;
use crate::timeline::Step;

impl RouterCore {
    /// Ends every command of a device that waits, and behind which a later one with the same key is in custody. One that is at a
    /// gateway may be delivered already and goes its way; should it come back, it waits, and ends here. After a start nobody can
    /// know which those are before the gateways have said what they hold.
    ///
    /// The later one's record stands in the journal before these finals. If the router dies between, the next start finds both,
    /// and ends the earlier one then, or when the later one ends ([`RouterCore::supersede_before`]).
    pub(super) fn supersede(&mut self, now: Now, device: &Device) {
        if !self.is_recovered() {
            return;
        }
        let Some(mailbox) = self.mailboxes.get(device) else { return };
        let superseded = mailbox.superseded(self.durable);
        if superseded.is_empty() {
            return;
        }
        for (sequence, by) in superseded {
            self.replaced(now, sequence, by);
        }
        // What takes their place is not given to a gateway before their end is on disk: a router that dies between would find them
        // alone, and deliver them behind it.
        if let Some(mailbox) = self.mailboxes.get_mut(device) {
            mailbox.behind = self.last;
            self.behind.push_back((self.last, device.clone()));
        }
    }

    /// The ends of superseded commands are on disk: what took their place goes on.
    pub(super) fn offer_behind(&mut self, now: Now) {
        while let Some((_, device)) = self.behind.pop_front_if(|(gate, _)| *gate <= self.durable) {
            self.offer(now, &device);
        }
    }

    /// A command is about to end: those that it took the place of and that wait end first, also while a start waits for the
    /// gateways. Once it is gone nobody knows any more that it did, and an earlier one would come behind it.
    pub(super) fn supersede_before(&mut self, now: Now, device: &Device, by: u64) {
        let Some(mailbox) = self.mailboxes.get(device) else { return };
        for sequence in mailbox.superseded_by(by) {
            // What the run before gave to a gateway may be there; the gateway says.
            if self.journal.command(sequence).is_some_and(|live| live.given_to.is_none()) {
                self.replaced(now, sequence, by);
            }
        }
    }

    fn replaced(&mut self, now: Now, sequence: u64, by: u64) {
        let was_lost = self.journal.command(sequence).is_some_and(Live::may_have_arrived);
        let Some(by) = self.journal.command(by) else { return };
        let by = by.command.request.message_id.clone();
        self.note(now, sequence, Step::Superseded { by: Box::new(by.clone()) });
        let end = match was_lost {
            // Some gateway was lost that had it: the device may have it.
            true => End::new(ReceiptState::Unknown, Some(ReceiptReason::Interrupted)),
            false => End::new(ReceiptState::Superseded, None),
        };
        let detail = Some(format!("message id {by} took its place"));
        self.finish(now, sequence, End { detail, ..end });
    }
}
