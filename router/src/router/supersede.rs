//! A command takes the place of earlier ones with its key.

use roost_wire::{Device, Now, ReceiptReason, ReceiptState};

use super::RouterCore;
use super::receipts::End;
use crate::timeline::Step;

impl RouterCore {
    /// Ends every command of a device that waits, and behind which a later one with the same key is in custody. One that is at a
    /// gateway may be delivered already and goes its way; should it come back, it waits, and ends here. After a start nobody can
    /// know which those are before the gateways have said what they hold.
    ///
    /// The later one's record stands in the journal before these finals. If the router dies between, the next start finds both,
    /// and ends the earlier one then.
    pub(super) fn supersede(&mut self, now: Now, device: &Device) {
        if !self.is_recovered() {
            return;
        }
        let Some(mailbox) = self.mailboxes.get(device) else { return };
        for (sequence, by) in mailbox.superseded(self.durable) {
            let was_lost = self.journal.command(sequence).is_some_and(|live| live.interrupted);
            let Some(by) = self.journal.command(by) else { continue };
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
}
