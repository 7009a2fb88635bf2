//! Syncs: a gateway's complete list of the commands in flight there. It replaces what the router believed to be outstanding at that
//! gateway: what is listed stays outstanding, the rest waits again.

use std::collections::BTreeMap;

use roost_wire::{
    Device, GatewayId, InFlight, Incarnation, LinkId, Now, ReceiptReason, ReceiptState, SyncNumber,
};

use super::RouterCore;
use crate::custody::{Hold, LastGiven, Mailbox};
use crate::journal::Record;
use crate::timeline::Step;
use crate::timers::Timer;
use crate::{DropReason, Lsn};

/// A part of a sync.
#[derive(Debug)]
pub(super) struct SyncPart {
    pub(super) number: SyncNumber,
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) in_flight: Vec<InFlight>,
}

/// The last sync of a run that is not known yet.
#[derive(Debug)]
pub(super) struct EarlySync {
    incarnation: Incarnation,
    parts: Vec<(LinkId, SyncPart)>,
}

impl RouterCore {
    /// At a start: every command that the journal holds waits at its place.
    pub(super) fn fill_mailboxes(&mut self, now: Now) {
        for live in self.journal.live() {
            let (command, request) = (&live.command, &live.command.request);
            let attempt = live.attempts;
            let mailbox: &mut Mailbox = self.mailboxes.entry(request.device.clone()).or_default();
            mailbox.put(command.sequence, Lsn::ZERO, request, attempt);
            let due = now.boot + command.deadline.since(now.wall);
            self.timers.set(Timer::Expiry(command.sequence), due);
        }
    }

    /// Which of two runs of a gateway is the newer one is said by its sightings alone: the order of two queues says nothing. What
    /// a run that they have not named yet holds is kept until they do.
    pub(super) fn keep_early(
        &mut self,
        id: &GatewayId,
        incarnation: Incarnation,
        link: LinkId,
        part: SyncPart,
    ) {
        let known = self.gateways.get(id);
        let has_room = known.is_some()
            || self.early_syncs.contains_key(id)
            || self.early_syncs.len() < self.limits.gateways_max;
        if known.is_some_and(|gateway| gateway.is_voided(incarnation)) || !has_room {
            return self.counters.drop(DropReason::VoidedIncarnation);
        }
        let early = self
            .early_syncs
            .entry(id.clone())
            .or_insert_with(|| EarlySync { incarnation, parts: Vec::new() });
        if part.first || early.incarnation != incarnation {
            *early = EarlySync { incarnation, parts: Vec::new() };
        }
        let kept: usize = early.parts.iter().map(|(_, part)| part.in_flight.len()).sum();
        if kept + part.in_flight.len() > self.limits.list_max || (early.parts.is_empty() && !part.first) {
            self.early_syncs.remove(id);
            return self.counters.drop(DropReason::BrokenList);
        }
        early.parts.push((link, part));
    }

    /// A run has been named by a sighting: what it had said of what it holds counts now.
    pub(super) fn apply_early(&mut self, now: Now, id: &GatewayId, incarnation: Incarnation) {
        let Some(early) = self.early_syncs.remove(id).filter(|early| early.incarnation == incarnation) else {
            return;
        };
        for (link, part) in early.parts {
            self.sync_part(now, (id, incarnation, link), part);
        }
    }

    pub(super) fn sync_part(&mut self, now: Now, from: (&GatewayId, Incarnation, LinkId), part: SyncPart) {
        let SyncPart { number, first, last, in_flight } = part;
        let Some(gateway) = self.gateways.get_mut(from.0) else { return };
        if !gateway.is_new_sync(number) {
            return self.counters.drop(DropReason::Repeated);
        }
        if first {
            gateway.sync_list = Some(Vec::new());
        }
        match &mut gateway.sync_list {
            Some(list) if list.len() + in_flight.len() <= self.limits.list_max => list.extend(in_flight),
            Some(_) | None => {
                gateway.sync_list = None;
                self.counters.drop(DropReason::BrokenList);
                // Asked for again with an answer to a heartbeat: this was it.
                gateway.owe_sync(now.boot);
                return;
            }
        }
        if last && let Some(list) = gateway.sync_list.take() {
            self.sync(now, from, number, list);
        }
    }

    fn sync(
        &mut self,
        now: Now,
        from: (&GatewayId, Incarnation, LinkId),
        number: SyncNumber,
        list: Vec<InFlight>,
    ) {
        let (id, incarnation, link) = from;
        self.counters.syncs += 1;
        let record = Record::GatewaySynced { gateway: id.clone(), incarnation, number };
        let lsn = self.record(record);
        let mut listed: BTreeMap<Device, BTreeMap<u64, InFlight>> = BTreeMap::new();
        for item in list {
            let sequence = item.command.sequence;
            if item.command == self.journal.command_id(sequence) {
                listed.entry(item.device.clone()).or_default().insert(sequence, item);
            }
        }
        let Some(gateway) = self.gateways.get_mut(id) else { return };
        gateway.sync(number, link, lsn);
        let holding: Vec<Device> = gateway.holding.iter().cloned().collect();
        // The gateway syncs also because a report was refused and those behind it were not, so "has subscribed" may have come
        // before the answer that it belongs to: who waits for it tries once more.
        for mailbox in self.mailboxes.values_mut() {
            mailbox.unsubscribed.take_if(|(gateway, _, _)| gateway == id);
        }
        for device in &holding {
            self.sync_hold(now, device, (id, incarnation), listed.get(device));
        }
        for (device, items) in &listed {
            self.adopt(now, device, from, items);
        }
        self.sync_given_to(id, incarnation);
        for device in &holding {
            self.offer(now, device);
        }
        self.is_accounted_for(now, id);
    }

    /// What a hold had outstanding at the gateway and is not listed waits again.
    fn sync_hold(
        &mut self,
        now: Now,
        device: &Device,
        (id, incarnation): (&GatewayId, Incarnation),
        listed: Option<&BTreeMap<u64, InFlight>>,
    ) {
        let hold = self.mailboxes.get(device).and_then(|mailbox| mailbox.hold.as_ref());
        let Some(hold) = hold.filter(|hold| hold.gateway == *id) else { return };
        if hold.incarnation != incarnation {
            // That run is over, and what it had in flight with it.
            let newest = hold.epoch;
            return self.hold_lost(now, device, id, newest);
        }
        let is_listed = |sequence: &u64| {
            let item = listed.and_then(|items| items.get(sequence));
            item.is_some_and(|item| item.epoch == hold.epoch && item.session == hold.session)
        };
        let missing: Vec<u64> =
            hold.outstanding.iter().copied().filter(|sequence| !is_listed(sequence)).collect();
        for sequence in missing {
            let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
            if mailbox.take_back(sequence) {
                // Its settlements stand before the list: it never had this one, or dropped it with its old inbox.
                self.record(Record::TakenBack { sequence });
                self.note(now, sequence, Step::NotHeld);
                self.tell(now, device, sequence, ReceiptState::Parked, Some(ReceiptReason::Interrupted));
                self.watch_lifetime(now, sequence);
            }
        }
    }

    /// Commands that the gateway has in flight and that wait here, because the router has started or had given the gateway up:
    /// they are outstanding there again, in a hold that ends with their answers. Unless another gateway has the hold by now.
    fn adopt(
        &mut self,
        now: Now,
        device: &Device,
        from: (&GatewayId, Incarnation, LinkId),
        items: &BTreeMap<u64, InFlight>,
    ) {
        let (id, incarnation, link) = from;
        let region = self.gateways.get(id).and_then(|gateway| gateway.region.clone());
        for (sequence, item) in items {
            let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
            if mailbox.is_outstanding(*sequence) || !mailbox.entries.contains_key(sequence) {
                continue;
            }
            let is_same = |hold: &Hold| {
                hold.epoch == item.epoch && hold.gateway == *id && hold.incarnation == incarnation
            };
            match &mut mailbox.hold {
                Some(hold) if is_same(hold) => hold.is_ending = true,
                // One without anything outstanding is nobody's turn any more.
                Some(hold) if !hold.outstanding.is_empty() => continue,
                hold @ (Some(_) | None) => {
                    let before = hold.replace(adopted(id, incarnation, link, item));
                    if let Some(before) = before.and_then(|hold| self.gateways.get_mut(&hold.gateway)) {
                        before.holding.remove(device);
                    }
                }
            }
            mailbox.give(*sequence);
            let last = LastGiven { epoch: item.epoch, gateway: id.clone(), region: region.clone() };
            if let Some(entry) = mailbox.entries.get_mut(sequence) {
                entry.given_at = now.boot;
                entry.attempt = entry.attempt.max(1);
                entry.last = Some(last);
            }
            if let Some(gateway) = self.gateways.get_mut(id) {
                gateway.holding.insert(device.clone());
            }
            self.note_given(*sequence, id, incarnation);
            self.timers.set_if_clear(Timer::Settle(device.clone()), now.boot + self.limits.settle_timeout);
        }
    }

    fn note_given(&mut self, sequence: u64, id: &GatewayId, incarnation: Incarnation) {
        let to = crate::journal::GivenTo { gateway: id.clone(), incarnation };
        if self.journal.command(sequence).is_some_and(|live| live.given_to.as_ref() != Some(&to)) {
            self.record(Record::Given { sequence, to });
        }
    }

    /// After a start, what the run before had given to this gateway and is not in flight there: if its run is still the same it
    /// never had it; if it is another, the device may have got it.
    fn sync_given_to(&mut self, id: &GatewayId, incarnation: Incarnation) {
        if !self.recovering.contains(id) {
            return;
        }
        let is_outstanding = |device: &Device, sequence: u64| {
            self.mailboxes.get(device).is_some_and(|mailbox| mailbox.is_outstanding(sequence))
        };
        let mut records = Vec::new();
        for live in self.journal.live() {
            let sequence = live.command.sequence;
            let Some(to) = live.given_to.as_ref().filter(|to| to.gateway == *id) else { continue };
            if is_outstanding(&live.command.request.device, sequence) {
                continue;
            }
            records.push(match to.incarnation == incarnation {
                true => Record::TakenBack { sequence },
                false => Record::Interrupted { sequence },
            });
        }
        for record in records {
            self.record(record);
        }
    }
}

fn adopted(id: &GatewayId, incarnation: Incarnation, link: LinkId, item: &InFlight) -> Hold {
    Hold {
        gateway: id.clone(),
        incarnation,
        link,
        session: item.session,
        epoch: item.epoch,
        is_ending: true,
        outstanding: std::collections::BTreeSet::new(),
        gate: Lsn::ZERO,
    }
}
