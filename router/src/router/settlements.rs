//! What gateways say about commands, and the router's own marks, in the order of the settlement queue.

use std::time::Duration;

use roost_wire::mesh::Report as _;
use roost_wire::{
    Device, Epoch, GatewayId, Incarnation, LinkId, Message, Now, Outcome, ReceiptReason, ReceiptState,
    Refusal, ReturnReason, SessionId, Settlement, SettlementItem, SettlementReport,
};

use super::RouterCore;
use super::receipts::End;
use super::syncs::SyncPart;
use crate::DropReason;
use crate::journal::Record;
use crate::timeline::Step;
use crate::timers::Timer;

/// How long a device's commands rest after a gateway gave one back for a reason of its own, which may not be over yet.
const REST: Duration = Duration::from_secs(1);

impl RouterCore {
    pub(super) fn settlements_came(&mut self, now: Now, message: &Message) {
        match SettlementReport::from_body(&message.body) {
            Err(_) => self.counters.drop(DropReason::UnreadableReport),
            Ok(SettlementReport::Marker { run, number }) => {
                if run == self.run {
                    self.marker_read(now, number);
                }
            }
            Ok(SettlementReport::Gateway { gateway, incarnation, link, items }) => {
                if !self.is_believed(message, &gateway) {
                    return self.counters.drop(DropReason::WrongUser);
                }
                let is_current = self.is_current(&gateway, incarnation);
                for item in items {
                    self.settlement_item(now, (&gateway, incarnation, link), is_current, item);
                }
            }
        }
    }

    fn settlement_item(
        &mut self,
        now: Now,
        (gateway, incarnation, link): (&GatewayId, Incarnation, LinkId),
        is_current: bool,
        item: SettlementItem,
    ) {
        match item {
            // Also of a run that is void: a PUBACK that was given then was given.
            SettlementItem::Settled(settlement) => self.settled(now, gateway, incarnation, &settlement),
            SettlementItem::Subscribed { device, session } => {
                if is_current {
                    self.subscribed(now, (gateway, incarnation, session), &device);
                }
            }
            SettlementItem::Sync { number, first, last, in_flight } => {
                let part = SyncPart { number, first, last, in_flight };
                match is_current {
                    true => self.sync_part(now, (gateway, incarnation, link), part),
                    false => self.keep_early(gateway, incarnation, link, part),
                }
            }
        }
    }

    fn settled(&mut self, now: Now, gateway: &GatewayId, incarnation: Incarnation, settlement: &Settlement) {
        let Settlement { command, device, session, epoch, outcome } = settlement;
        if let Outcome::Gone { .. } = outcome {
            self.gone(now, gateway, incarnation, device, *session);
        }
        let sequence = command.sequence;
        let live = self.journal.command(sequence).filter(|_| *command == self.journal.command_id(sequence));
        if live.is_none_or(|live| live.command.request.device != *device) {
            return self.counters.drop(DropReason::UnknownCommand);
        }
        let (named, epoch) = (self.timelines.named(gateway), *epoch);
        let answered = Step::Answered { gateway: named, epoch, outcome: *outcome };
        self.note(now, sequence, answered);
        match outcome {
            Outcome::Delivered => self.succeeded(now, gateway, settlement, ReceiptState::Delivered),
            Outcome::Sent => self.succeeded(now, gateway, settlement, ReceiptState::Sent),
            other @ (Outcome::NoSubscription
            | Outcome::Gone { .. }
            | Outcome::TimedOut
            | Outcome::Refused { .. }
            | Outcome::Returned { .. }) => {
                if self.is_of_current_hold(device, sequence, epoch, gateway, incarnation) {
                    self.failed(now, device, sequence, *other);
                } else {
                    self.answered_late(now, gateway, settlement);
                }
            }
        }
    }

    /// Delivered and sent are final whatever the hold.
    fn succeeded(&mut self, now: Now, gateway: &GatewayId, settlement: &Settlement, state: ReceiptState) {
        let by = Some((settlement.epoch, gateway.clone()));
        self.finish(now, settlement.command.sequence, End { by, ..End::new(state, None) });
        self.offer(now, &settlement.device);
    }

    /// Any other answer counts for the current hold only, and ends it.
    fn is_of_current_hold(
        &self,
        device: &Device,
        sequence: u64,
        epoch: Epoch,
        gateway: &GatewayId,
        incarnation: Incarnation,
    ) -> bool {
        let hold = self.mailboxes.get(device).and_then(|mailbox| mailbox.hold.as_ref());
        hold.is_some_and(|hold| {
            hold.epoch == epoch
                && hold.gateway == *gateway
                && hold.incarnation == incarnation
                && hold.outstanding.contains(&sequence)
        })
    }

    fn failed(&mut self, now: Now, device: &Device, sequence: u64, outcome: Outcome) {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
        let hold = mailbox.hold.as_ref();
        let at = hold.map(|hold| (hold.gateway.clone(), hold.incarnation, hold.session));
        mailbox.take_back(sequence);
        match outcome {
            Outcome::Refused { reason } => {
                let end = match reason {
                    Refusal::Device { reason_code } => refused_by_device(reason_code),
                    Refusal::PacketTooLarge => {
                        End::new(ReceiptState::Rejected, Some(ReceiptReason::PacketTooLarge))
                    }
                    Refusal::Expired => {
                        self.expire(now, sequence);
                        return self.offer(now, device);
                    }
                };
                self.finish(now, sequence, end);
                return self.offer(now, device);
            }
            Outcome::NoSubscription => mailbox.unsubscribed = at,
            Outcome::TimedOut | Outcome::Gone { written: true } => {
                // The device may have it: should it end without an answer, its sender is not told that it never arrived.
                self.record(Record::Interrupted { sequence });
                return self.waits_again(now, device, sequence);
            }
            Outcome::Returned {
                reason:
                    ReturnReason::StaleEpoch
                    | ReturnReason::LeaseLapsed
                    | ReturnReason::Full
                    | ReturnReason::Draining,
            } => {
                mailbox.is_resting = true;
                self.timers.set(Timer::Offer(device.clone()), now.boot + REST);
            }
            Outcome::Gone { written: false }
            | Outcome::Returned { reason: ReturnReason::HoldEnded }
            | Outcome::Delivered
            | Outcome::Sent => {}
        }
        self.record(Record::TakenBack { sequence });
        self.waits_again(now, device, sequence);
    }

    /// An answer of a hold that is over: it says nothing of where the command is now, but it may say that the device has it.
    fn answered_late(&mut self, now: Now, gateway: &GatewayId, settlement: &Settlement) {
        let sequence = settlement.command.sequence;
        match settlement.outcome {
            // The device has answered, and is not asked again: as final as its acknowledgement.
            Outcome::Refused { reason: Refusal::Device { reason_code } } => {
                let by = Some((settlement.epoch, gateway.clone()));
                self.finish(now, sequence, End { by, ..refused_by_device(reason_code) });
                return self.offer(now, &settlement.device);
            }
            Outcome::TimedOut | Outcome::Gone { written: true } => self.was_written(sequence),
            Outcome::Refused { reason: Refusal::PacketTooLarge | Refusal::Expired }
            | Outcome::NoSubscription
            | Outcome::Gone { written: false }
            | Outcome::Returned { .. }
            | Outcome::Delivered
            | Outcome::Sent => {}
        }
        self.counters.drop(DropReason::StaleSettlement);
    }

    /// The device may have it: should it end without an answer, its sender is not told that it never arrived.
    fn was_written(&mut self, sequence: u64) {
        let live = self.journal.command(sequence).filter(|live| !live.may_have_arrived());
        let Some(attempts) = live.map(|live| live.attempts) else { return };
        self.record(Record::Tried { sequence, attempts, interruptions: 1 });
    }

    /// A command never reached its inbox: as good as returned.
    pub(super) fn given_back(&mut self, now: Now, device: &Device, sequence: u64, epoch: Epoch) {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
        if mailbox.hold.as_ref().is_some_and(|hold| hold.epoch == epoch) && mailbox.take_back(sequence) {
            self.record(Record::TakenBack { sequence });
            self.note(now, sequence, Step::CameBack);
            self.waits_again(now, device, sequence);
        }
    }

    /// A command that was outstanding waits, or its lifetime has ended meanwhile. Perhaps its end came while it was outstanding, and the
    /// calendar was set back since.
    pub(super) fn waits_again(&mut self, now: Now, device: &Device, sequence: u64) {
        match self.is_overdue(now, sequence) {
            true => self.expire(now, sequence),
            false => self.watch_lifetime(now, sequence),
        }
        self.offer(now, device);
    }

    /// A device has subscribed since it was answered "no subscription": its mailbox is offered again. If its hold is still ending,
    /// that is what happens when it has ended.
    fn subscribed(&mut self, now: Now, session: (&GatewayId, Incarnation, SessionId), device: &Device) {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
        let is_meant = mailbox
            .unsubscribed
            .as_ref()
            .is_some_and(|(gateway, incarnation, found)| (gateway, *incarnation, *found) == session);
        if is_meant {
            mailbox.unsubscribed = None;
        }
        self.offer(now, device);
    }

    pub(super) fn rested(&mut self, now: Now, device: &Device) {
        if let Some(mailbox) = self.mailboxes.get_mut(device) {
            mailbox.is_resting = false;
        }
        self.offer(now, device);
    }

    /// The oldest command of a hold has waited too long for an answer. Its settlement may be under way, so nothing is sent again: the
    /// gateway is asked what it holds.
    pub(super) fn settle_due(&mut self, now: Now, device: &Device) {
        let Some(mailbox) = self.mailboxes.get(device) else { return };
        let (Some(hold), Some(oldest)) = (&mailbox.hold, mailbox.oldest_given_at()) else { return };
        let (due, gateway) = (oldest + self.limits.settle_timeout, hold.gateway.clone());
        let next = match due <= now.boot {
            true => {
                self.request_sync(now, &gateway);
                now.boot + self.limits.settle_timeout
            }
            false => due,
        };
        self.timers.set(Timer::Settle(device.clone()), next);
    }
}

fn refused_by_device(reason_code: u8) -> End {
    End {
        detail: Some(format!("PUBACK with reason code 0x{reason_code:02X}")),
        ..End::new(ReceiptState::Rejected, Some(ReceiptReason::DeviceRefused))
    }
}
