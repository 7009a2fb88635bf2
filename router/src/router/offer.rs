//! A device's commands are offered: as long as something can be done for the first that waits, it is done.

use roost_backend::contract;
use roost_wire::{Delivery, Device, Epoch, Now, ReceiptReason, ReceiptState};

use super::RouterCore;
use super::dead_letter::dead_letter;
use super::publications::Then;
use super::receipts::End;
use crate::custody::{Hold, LastGiven, Mailbox};
use crate::decide::{Decision, Facts, ParkReason, RejectReason, Whereabouts, decide};
use crate::gateway::Standing;
use crate::journal::{GivenTo, Live, Record, Reply};
use crate::location::Location;
use crate::timeline::Step;
use crate::timers::Timer;
use crate::{Lsn, Publication};

impl RouterCore {
    /// Does what can be done for a device's commands now. Call it whenever something has changed for them.
    pub(super) fn offer(&mut self, now: Now, device: &Device) {
        self.supersede(now, device);
        loop {
            self.refresh_hold(device);
            let Some(mailbox) = self.mailboxes.get(device) else { return };
            let Some(first) = mailbox.first_waiting(self.durable) else {
                return self.tidy(device);
            };
            // What is buried ends in a moment, and the later ones come behind it.
            let is_buried = mailbox.entries.get(&first).is_some_and(|entry| entry.is_buried);
            if mailbox.is_resting || is_buried || mailbox.behind > self.durable {
                return;
            }
            if self.is_overdue(now, first) {
                self.expire(now, first);
                continue;
            }
            let whereabouts = self.whereabouts(now, device);
            let decision = decide(&whereabouts, self.facts(device, first));
            let (kind, label) = decision.labels();
            self.counters.decision(kind, label);
            self.note_decision(now, first, &decision);
            match decision {
                Decision::Forward(_) => {
                    if self.forward(now, device, first).is_none() {
                        return;
                    }
                }
                Decision::Ask(live) => {
                    self.ask(now, device, live);
                    return self.park(now, device, &Whereabouts::Asking, ParkReason::Asking);
                }
                Decision::Park(reason) => return self.park(now, device, &whereabouts, reason),
                Decision::Reject(reason) => self.reject(now, first, reason),
            }
        }
    }

    /// What matters of a device to a command for it.
    pub(super) fn whereabouts(&self, now: Now, device: &Device) -> Whereabouts {
        if !self.is_recovered() {
            return Whereabouts::Recovering;
        }
        let mailbox = self.mailboxes.get(device);
        let hold = mailbox.and_then(|mailbox| mailbox.hold.as_ref());
        if self.locations.is_contested(device) {
            return Whereabouts::Contested { gateways: self.locations.claimants(device) };
        }
        if let Some(hold) = hold.filter(|hold| hold.is_ending) {
            return Whereabouts::HoldEnding { gateway: hold.gateway.clone() };
        }
        let found = self.locations.find(device);
        let standing = found
            .and_then(|found| self.gateways.get(&found.gateway))
            .map(|gateway| gateway.standing(self.durable));
        match (found, standing) {
            (Some(found), _) if !found.online => Whereabouts::Away { gateway: found.gateway.clone() },
            (Some(found), Some(Standing::Ready)) => {
                let gateway = found.gateway.clone();
                if mailbox.is_some_and(|mailbox| is_unsubscribed(mailbox, found)) {
                    return Whereabouts::Unsubscribed { gateway };
                }
                Whereabouts::At { gateway, room: self.room(mailbox) }
            }
            (Some(found), Some(Standing::NotReady)) => {
                Whereabouts::NotReady { gateway: found.gateway.clone() }
            }
            (Some(_), Some(Standing::Lapsed) | None) | (None, _) => self.doubt(now, device),
        }
    }

    /// How many more commands of a device may be at its gateway. One that was interrupted often goes alone, so that it is known which
    /// one it is that breaks its device: the others would be counted, and given up, with it.
    fn room(&self, mailbox: Option<&Mailbox>) -> usize {
        let Some(mailbox) = mailbox else { return self.limits.outstanding_per_device_max };
        let outstanding = mailbox.hold.as_ref().map(|hold| &hold.outstanding);
        let is_suspect = |sequence: u64| {
            let live = self.journal.command(sequence);
            live.is_some_and(|live| live.interruptions >= (self.limits.unanswered_max / 3).max(1))
        };
        let first_out = outstanding.and_then(|outstanding| outstanding.first().copied());
        let first_in = mailbox.first_waiting(self.durable);
        if [first_out, first_in].into_iter().flatten().any(is_suspect) {
            return usize::from(first_out.is_none());
        }
        let out = outstanding.map_or(0, std::collections::BTreeSet::len);
        self.limits.outstanding_per_device_max.saturating_sub(out)
    }

    pub(super) fn facts(&self, device: &Device, sequence: u64) -> Facts {
        let entry = self.mailboxes.get(device).and_then(|mailbox| mailbox.entries.get(&sequence));
        let refusals = entry.map_or(0, |entry| entry.refusals);
        let live = self.journal.command(sequence);
        Facts {
            offline: live.map(|live| live.command.request.offline).unwrap_or_default(),
            unanswered: live.map_or(0, |live| live.interruptions).saturating_add(refusals),
            unanswered_max: self.limits.unanswered_max,
        }
    }

    /// Brings the hold in line with the location: a hold elsewhere ends, and one that has ended and has nothing outstanding is
    /// closed.
    fn refresh_hold(&mut self, device: &Device) {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
        let Some(hold) = &mut mailbox.hold else { return };
        let gateway = self.gateways.get_mut(&hold.gateway);
        let is_there = |found: &Location| {
            found.online
                && found.gateway == hold.gateway
                && found.incarnation == hold.incarnation
                && found.session == hold.session
        };
        let is_linked = gateway.as_ref().is_some_and(|gateway| {
            gateway.link() == Some(hold.link) && gateway.standing(self.durable) != Standing::Lapsed
        });
        if !is_linked || !self.locations.find(device).is_some_and(is_there) {
            hold.is_ending = true;
        }
        if hold.outstanding.is_empty() {
            self.timers.clear(&Timer::Settle(device.clone()));
            if hold.is_ending {
                if let Some(gateway) = gateway {
                    gateway.holding.remove(device);
                }
                mailbox.hold = None;
            }
        }
    }

    /// Forgets a mailbox that has nothing in it; its hold has nothing outstanding, and the next command opens a new one.
    fn tidy(&mut self, device: &Device) {
        if !self.mailboxes.get(device).is_some_and(Mailbox::is_idle) {
            return;
        }
        let hold = self.mailboxes.remove(device).and_then(|mailbox| mailbox.hold);
        if let Some(gateway) = hold.and_then(|hold| self.gateways.get_mut(&hold.gateway)) {
            gateway.holding.remove(device);
        }
        self.timers.clear(&Timer::Settle(device.clone()));
        self.timers.clear(&Timer::Offer(device.clone()));
    }

    /// The first command that waits goes into its gateway's inbox.
    fn forward(&mut self, now: Now, device: &Device, sequence: u64) -> Option<()> {
        self.open_hold(device);
        let live = self.journal.command(sequence).cloned()?;
        let hold = self.mailboxes.get(device)?.hold.clone()?;
        let gateway = self.gateways.get(&hold.gateway)?;
        let (inbox, sync) = gateway.inbox()?;
        let (inbox, region) = (inbox.to_owned(), gateway.region.clone());
        let to = GivenTo { gateway: hold.gateway.clone(), incarnation: hold.incarnation };
        let gate = match live.given_to.as_ref() == Some(&to) {
            true => hold.gate,
            false => self.record(Record::Given { sequence, to }),
        };
        let attempt = self.give(now, device, sequence, gate, region);
        let request = &live.command.request;
        let remaining = live.command.deadline.since(now.wall).as_millis();
        let delivery = Box::new(Delivery {
            id: self.journal.command_id(sequence),
            device: device.clone(),
            session: hold.session,
            epoch: hold.epoch,
            sync,
            attempt,
            expires_in_ms: u64::try_from(remaining).unwrap_or(u64::MAX),
            topic: request.topic.clone(),
            payload: request.payload.clone(),
            qos: request.qos,
            content_type: request.content_type.clone(),
            correlation_id: Reply::of(request).map(|reply| reply.correlation_id),
            user_properties: request.user_properties.clone(),
            trace: request.trace.map(|came| self.traces.place(came, self.journal.command_id(sequence))),
        });
        let gateway = hold.gateway.clone();
        let then = Then::Given {
            gateway: hold.gateway.clone(),
            inbox: inbox.clone(),
            device: device.clone(),
            sequence,
            epoch: hold.epoch,
        };
        self.publish(gate, Publication::Delivery { gateway: hold.gateway, inbox, delivery }, then);
        self.counters.forwarded += 1;
        let gateway = self.timelines.named(&gateway);
        self.note(now, sequence, Step::Forwarded { gateway, epoch: hold.epoch, attempt });
        self.tell(now, device, sequence, ReceiptState::Forwarded, None);
        Some(())
    }

    /// Notes that a command is at its gateway from now on. The number of the attempt.
    fn give(
        &mut self,
        now: Now,
        device: &Device,
        sequence: u64,
        gate: Lsn,
        region: Option<roost_wire::Region>,
    ) -> u32 {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return 0 };
        mailbox.give(sequence);
        let Some(hold) = &mut mailbox.hold else { return 0 };
        hold.gate = hold.gate.max(gate);
        let last = LastGiven { epoch: hold.epoch, gateway: hold.gateway.clone(), region };
        let Some(entry) = mailbox.entries.get_mut(&sequence) else { return 0 };
        entry.attempt = entry.attempt.saturating_add(1);
        entry.given_at = now.boot;
        entry.last = Some(last);
        let attempt = entry.attempt;
        self.timers.set_if_clear(Timer::Settle(device.clone()), now.boot + self.limits.settle_timeout);
        attempt
    }

    /// Opens a hold where the device is, unless there is one. The decision to forward says that it is there.
    fn open_hold(&mut self, device: &Device) {
        let Some(mailbox) = self.mailboxes.get_mut(device).filter(|mailbox| mailbox.hold.is_none()) else {
            return;
        };
        let Some(found) = self.locations.find(device) else { return };
        let Some(gateway) = self.gateways.get_mut(&found.gateway) else { return };
        let Some(link) = gateway.link() else { return };
        gateway.holding.insert(device.clone());
        self.epochs += 1;
        mailbox.hold = Some(Hold {
            gateway: found.gateway.clone(),
            incarnation: found.incarnation,
            link,
            session: found.session,
            epoch: Epoch { run: self.run, counter: self.epochs },
            is_ending: false,
            outstanding: std::collections::BTreeSet::new(),
            gate: Lsn::ZERO,
        });
    }

    /// What waits goes on waiting, and is told why; those whose sender does not want to wait end.
    fn park(&mut self, now: Now, device: &Device, whereabouts: &Whereabouts, reason: ParkReason) {
        let Some(told) = reason.receipt_reason() else { return };
        let Some(mailbox) = self.mailboxes.get(device) else { return };
        let waiting: Vec<u64> = mailbox.waiting(self.durable).collect();
        for sequence in waiting {
            match decide(whereabouts, self.facts(device, sequence)) {
                Decision::Reject(reason) => self.reject(now, sequence, reason),
                Decision::Park(_) | Decision::Ask(_) | Decision::Forward(_) => {
                    self.tell(now, device, sequence, ReceiptState::Parked, Some(told));
                }
            }
        }
        self.tidy(device);
    }

    fn reject(&mut self, now: Now, sequence: u64, reason: RejectReason) {
        let was_lost = self.journal.command(sequence).is_some_and(Live::may_have_arrived);
        let end = match reason {
            // Some gateway was lost that had it: "nobody was there" would be a lie.
            RejectReason::Unreachable(_) if was_lost => {
                End::new(ReceiptState::Unknown, Some(ReceiptReason::Interrupted))
            }
            RejectReason::Unreachable(_) => {
                End::new(ReceiptState::Unreachable, Some(reason.receipt_reason()))
            }
            RejectReason::DeliveryLimit => return self.bury(sequence),
            RejectReason::LifetimeTooLong
            | RejectReason::TooLarge
            | RejectReason::MailboxFull
            | RejectReason::TenantFull
            | RejectReason::RouterFull => End::new(ReceiptState::Rejected, Some(reason.receipt_reason())),
        };
        self.finish(now, sequence, end);
    }

    /// A command that was tried too often goes to `roost.dead`, and ends when it is there.
    fn bury(&mut self, sequence: u64) {
        let Some(live) = self.journal.command(sequence) else { return };
        let request = live.command.request.clone();
        let device = request.device.clone();
        let mailbox = self.mailboxes.get_mut(&device);
        let Some(entry) = mailbox.and_then(|mailbox| mailbox.entries.get_mut(&sequence)) else { return };
        if std::mem::replace(&mut entry.is_buried, true) {
            return;
        }
        let letter = request.into_message(contract::DOWN);
        let letter = dead_letter(letter, Some(&device), RejectReason::DeliveryLimit.as_str());
        self.publish(self.durable, letter, Then::Bury { device, sequence });
    }

    /// Its letter is in `roost.dead`.
    pub(super) fn buried(&mut self, now: Now, device: &Device, sequence: u64) {
        let mailbox = self.mailboxes.get(device);
        // It may have expired meanwhile, or its device may have answered after all.
        if mailbox.and_then(|mailbox| mailbox.entries.get(&sequence)).is_some_and(|entry| entry.is_buried) {
            let reason = RejectReason::DeliveryLimit.receipt_reason();
            self.finish(now, sequence, End::new(ReceiptState::Rejected, Some(reason)));
            self.offer(now, device);
        }
    }
}

fn is_unsubscribed(mailbox: &Mailbox, found: &Location) -> bool {
    mailbox.unsubscribed.as_ref().is_some_and(|(gateway, incarnation, session)| {
        *gateway == found.gateway && *incarnation == found.incarnation && *session == found.session
    })
}
