//! What the sender is told. Only the router emits receipts, and every accepted command gets exactly one final.

use std::sync::Arc;

use roost_wire::{
    CommandRequest, Device, Epoch, GatewayId, Now, Receipt, ReceiptReason, ReceiptState, ReceiptsWanted,
    Telling,
};

use super::RouterCore;
use super::publications::Then;
use crate::custody::{Entry, LastGiven};
use crate::journal::{Final, Record, Reply};
use crate::timeline::Step;
use crate::timers::Timer;
use crate::{Lsn, Output, Publication, ReceiptAddress};

/// How a command ends.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) state: ReceiptState,
    pub(super) reason: Option<ReceiptReason>,
    pub(super) detail: Option<String>,
    /// The hold and gateway that said so, if they are not those it was given to last.
    pub(super) by: Option<(Epoch, GatewayId)>,
}

impl End {
    pub(super) fn new(state: ReceiptState, reason: Option<ReceiptReason>) -> Self {
        Self { state, reason, detail: None, by: None }
    }
}

impl RouterCore {
    /// A command in custody has a new state that is not final: told to whoever wants all receipts, as far as that goes. A state
    /// that was told last is not told again.
    pub(super) fn tell(
        &mut self,
        now: Now,
        device: &Device,
        sequence: u64,
        state: ReceiptState,
        reason: Option<ReceiptReason>,
    ) {
        let entry = self.mailboxes.get_mut(device).and_then(|mailbox| mailbox.entries.get_mut(&sequence));
        let Some(entry) = entry else { return };
        let said = (state, reason, entry.attempt);
        if entry.told == Some(said) {
            return;
        }
        entry.told = Some(said);
        entry.tellings += u32::from(state != ReceiptState::Accepted);
        let watchers = entry.watchers.clone();
        self.counters.receipt(state, reason);
        let Some(receipt) = self.receipt_now(now, device, sequence) else { return };
        // Without a run it has no name that another receipt would not have as well, and the run tells it anew.
        let has_name = state == ReceiptState::Accepted || self.has_run();
        // And until the run is durable, its number may be another's: after a crash it is drawn again.
        let gate = if self.has_run() { self.run_lsn } else { Lsn::ZERO };
        let request = self.journal.command(sequence).map(|live| &live.command.request);
        let is_wanted = |request: &&CommandRequest| has_name && request.receipts == ReceiptsWanted::All;
        if let Some(request) = request.filter(is_wanted) {
            for to in addresses(request.receipt_to.clone()) {
                let what = Publication::Receipt { to, receipt: Box::new(receipt.clone()) };
                self.publish_receipt(gate, what);
            }
        }
        for request in watchers {
            self.say(Output::Answer { request, receipt: Box::new(receipt.clone()) });
        }
    }

    /// The receipt of a command in custody as it stands.
    pub(super) fn receipt_now(&self, now: Now, device: &Device, sequence: u64) -> Option<Receipt> {
        let entry = self.mailboxes.get(device)?.entries.get(&sequence)?;
        let command = &self.journal.command(sequence)?.command;
        let (state, reason, _) = entry.told.unwrap_or((ReceiptState::Accepted, None, 0));
        let mut receipt = Receipt {
            version: Receipt::VERSION,
            state,
            device: device.clone(),
            message_id: Some(command.request.message_id.clone()),
            command_id: self.journal.command_id(sequence),
            epoch: None,
            gateway: None,
            region: None,
            attempt: entry.attempt,
            telling: (entry.tellings > 0 && self.has_run())
                .then_some(Telling { run: self.run, number: entry.tellings }),
            reason,
            detail: None,
            accepted_at: command.at,
            at: now.wall,
            duplicate: false,
        };
        if let Some(LastGiven { epoch, gateway, region }) = entry.last.clone() {
            (receipt.epoch, receipt.gateway, receipt.region) = (Some(epoch), Some(gateway), region);
        }
        Some(receipt)
    }

    /// A command in custody ends: journalled together with the receipt it owes, and told once that is durable.
    pub(super) fn finish(&mut self, now: Now, sequence: u64, end: End) {
        let Some(live) = self.journal.command(sequence).cloned() else { return };
        let request = &live.command.request;
        let device = &request.device;
        self.supersede_before(now, device, sequence);
        let Some(mut receipt) = self.receipt_now(now, device, sequence) else { return };
        (receipt.state, receipt.reason, receipt.detail) = (end.state, end.reason, end.detail);
        receipt.telling = None;
        if let Some((epoch, gateway)) = end.by {
            receipt.region = self.gateways.get(&gateway).and_then(|gateway| gateway.region.clone());
            (receipt.epoch, receipt.gateway) = (Some(epoch), Some(gateway));
        }
        let entry = self.mailboxes.get_mut(device).and_then(|mailbox| mailbox.remove(sequence));
        self.timers.clear(&Timer::Expiry(sequence));
        let end = Final {
            receipt,
            wanted: request.receipts,
            receipt_to: request.receipt_to.clone(),
            forget_at: live.command.deadline.max(now.wall) + self.limits.remembered,
            reply: Reply::of(request),
        };
        let receipt = self.traces.is_recorded(request.trace).then(|| end.receipt.clone());
        let lsn = self.conclude(now, end, &entry.map(|entry: Entry| entry.watchers).unwrap_or_default());
        if let Some(receipt) = receipt {
            self.end_trace(now, lsn, &live, &receipt);
        }
        self.resume_if_room();
    }

    /// Journals a final, and tells it once it is durable: to who wants receipts until that is confirmed, and to the requests
    /// that wait. The record's number.
    pub(super) fn conclude(&mut self, now: Now, end: Final, watchers: &[crate::RequestId]) -> Lsn {
        let end = Arc::new(end);
        let Receipt { state, reason, command_id, .. } = end.receipt;
        self.counters.receipt(state, reason);
        self.note(now, command_id.sequence, Step::Ended { state, reason });
        let lsn = self.record(Record::Finished { end: end.clone(), owed: end.is_wanted() });
        self.publish_final(lsn, &end);
        for request in watchers {
            self.say_after(lsn, Output::Answer { request: *request, receipt: Box::new(end.receipt.clone()) });
        }
        self.pause_if_full();
        if self.journal.forget_oldest_of(&end.receipt.device, self.limits.finals_per_device_max) {
            self.counters.drop(crate::DropReason::ForgottenEarly);
        }
        lsn
    }

    /// Publishes the receipts of an earlier run that were not confirmed. They are this journal's, whoever has the lock.
    pub(super) fn publish_owed(&mut self) {
        let gate = if self.has_run() { self.run_lsn } else { Lsn::ZERO };
        let owed: Vec<Arc<Final>> = self.journal.owed().cloned().collect();
        for end in owed {
            self.publish_final(gate, &end);
        }
    }

    fn publish_final(&mut self, gate: Lsn, end: &Final) {
        if !end.is_wanted() {
            return;
        }
        let sequence = end.receipt.command_id.sequence;
        for to in addresses(end.receipt_to.clone()) {
            let what = Publication::Receipt { to, receipt: Box::new(end.receipt.clone()) };
            self.publish(gate, what, Then::ReceiptPublished { sequence });
        }
    }
}

/// Where a command's receipts go.
pub(super) fn addresses(receipt_to: Option<String>) -> impl Iterator<Item = ReceiptAddress> {
    [ReceiptAddress::Exchange].into_iter().chain(receipt_to.map(ReceiptAddress::Queue))
}
