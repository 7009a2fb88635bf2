//! Gateways: their runs, their heartbeats, their leases, and what follows when one is lost.

use std::time::Duration;

use roost_wire::{
    Control, ControlReport, Device, Epoch, GatewayId, Heartbeat, Incarnation, LinkId, Now, ReceiptReason,
    ReceiptState,
};

use super::RouterCore;
use super::publications::Then;
use crate::custody::Hold;
use crate::gateway::{Gateway, Mark, Pulse, Standing};
use crate::journal::Record;
use crate::timeline::Step;
use crate::timers::Timer;
use crate::{DropReason, Lsn, Publication};

/// How long a gateway is given to sync or announce by itself before it is asked: a heartbeat.
const ASK_AFTER: Duration = Duration::from_secs(3);

impl RouterCore {
    /// At a start: the gateways that the journal knows. Those that are not lost may still hold commands, and a lease that the run
    /// before gave them.
    pub(super) fn know_gateways(&mut self, now: Now) {
        let lease_until = now.boot + self.limits.lapse();
        let is_running = self.has_run();
        for (id, known) in self.journal.gateways() {
            self.gateways.insert(id.clone(), Gateway::known(known, lease_until));
            if known.lost {
                continue;
            }
            self.recovering.insert(id.clone());
            // Before a run nothing is read that could say what they hold: the wait begins with the run.
            if is_running {
                self.timers.set(Timer::Lease(id.clone()), lease_until);
            }
        }
    }

    /// A sighting of a gateway's run has come. False if it is not to be believed: voided by a newer one, or beyond the bound.
    pub(super) fn meet(&mut self, now: Now, id: &GatewayId, incarnation: Incarnation) -> bool {
        let is_known = match self.gateways.get(id) {
            Some(gateway) if gateway.incarnation == incarnation => return true,
            Some(gateway) if gateway.is_voided(incarnation) => {
                self.counters.drop(DropReason::VoidedIncarnation);
                return false;
            }
            Some(_) => true,
            None => false,
        };
        if !is_known && !self.make_room() {
            self.counters.drop(DropReason::TooManyGateways);
            return false;
        }
        // First the record: what follows from the new run is told when that is on disk.
        let lsn = self.saw(id, incarnation);
        match is_known {
            true => self.begin_incarnation(now, id, incarnation),
            false => drop(self.gateways.insert(id.clone(), Gateway::new(incarnation))),
        }
        if let Some(gateway) = self.gateways.get_mut(id) {
            gateway.seen_lsn = lsn;
        }
        self.apply_early(now, id, incarnation);
        true
    }

    /// Journals which run of a gateway counts.
    fn saw(&mut self, id: &GatewayId, incarnation: Incarnation) -> Lsn {
        self.sighted = self.record(Record::GatewaySeen { gateway: id.clone(), incarnation });
        self.sighted
    }

    /// Whether a report is of a gateway's newest run, as its sightings say.
    pub(super) fn is_current(&self, id: &GatewayId, incarnation: Incarnation) -> bool {
        self.gateways.get(id).is_some_and(|gateway| gateway.incarnation == incarnation)
    }

    fn begin_incarnation(&mut self, now: Now, id: &GatewayId, incarnation: Incarnation) {
        let Some(gateway) = self.gateways.get_mut(id) else { return };
        gateway.begin_incarnation(now.boot, incarnation, self.limits.voided_max);
        let holding: Vec<Device> = gateway.holding.iter().cloned().collect();
        self.unanswerable(now, id, false);
        self.transfers_void(now, id);
        for change in self.locations.void(now, id, incarnation) {
            self.changed(now, change);
        }
        for device in holding {
            self.offer(now, &device);
        }
    }

    /// Room for one more gateway: one that is lost, and that nothing refers to, is forgotten.
    fn make_room(&mut self) -> bool {
        if self.gateways.len() < self.limits.gateways_max {
            return true;
        }
        // After a restart there may be more than the bound: the journal knows again what the run before had forgotten.
        let excess = self.gateways.len() + 1 - self.limits.gateways_max;
        let lost = self.gateways.iter().filter(|(_, gateway)| gateway.lost && gateway.holding.is_empty());
        let forgotten: Vec<GatewayId> = lost.take(excess).map(|(id, _)| id.clone()).collect();
        for id in &forgotten {
            self.gateways.remove(id);
            self.journal.forget_gateway(id);
        }
        forgotten.len() == excess
    }

    pub(super) fn heartbeat(&mut self, now: Now, id: &GatewayId, link: LinkId, beat: &Heartbeat) {
        if let Some(echo) = &beat.echo {
            self.hear_run(echo.run);
        }
        let Some(gateway) = self.gateways.get_mut(id) else { return };
        let (new_link, is_back) = match gateway.pulse(now.boot, link, beat, self.run, self.limits.lapse()) {
            Pulse::Repeated => return self.counters.drop(DropReason::Repeated),
            Pulse::NotSynced => return self.counters.drop(DropReason::NotSynced),
            Pulse::Fresh { new_link, regained: _ } => (new_link, gateway.lost),
        };
        let lease_until = now.boot + self.limits.lapse();
        gateway.answered(now.boot, lease_until);
        let mut items = vec![Control::HeartbeatAnswer {
            number: beat.number,
            answered_at: now.boot,
            moves_sessions: true,
        }];
        let (sync, snapshot) = gateway.overdue(now.boot, ASK_AFTER);
        let incarnation = gateway.incarnation;
        if sync {
            self.counters.syncs_requested += 1;
            items.push(Control::Sync);
        }
        if snapshot {
            items.push(Control::Snapshot);
        }
        self.timers.set(Timer::Lease(id.clone()), lease_until);
        if is_back {
            let lsn = self.saw(id, incarnation);
            if let Some(gateway) = self.gateways.get_mut(id) {
                gateway.seen_lsn = lsn;
            }
        }
        self.control(id, items);
        if new_link {
            self.ask_again(id);
            self.offer_at(now, id);
        }
    }

    pub(super) fn lease_due(&mut self, now: Now, id: &GatewayId) {
        let Some(gateway) = self.gateways.get_mut(id) else { return };
        match gateway.lease_until {
            None => return,
            Some(until) if until > now.boot => return self.timers.set(Timer::Lease(id.clone()), until),
            Some(_) => {}
        }
        self.counters.lapses += 1;
        self.markers += 1;
        let newest = Epoch { run: self.run, counter: self.epochs };
        gateway.lapse(Mark { number: self.markers, newest });
        // What it has settled stands before this mark. Only when that is read is it known what it has not.
        let marker = Publication::Marker { run: self.run, number: self.markers };
        self.publish(self.run_lsn, marker, Then::Done);
        self.unanswerable(now, id, true);
        self.transfers_lost(now, id);
        self.silent(now, id);
        self.offer_at(now, id);
    }

    /// Everything that stood before a mark has been read: what the gateway held can be given to others.
    pub(super) fn marker_read(&mut self, now: Now, number: u64) {
        let is_meant = |gateway: &Gateway| gateway.marker.filter(|mark| mark.number == number);
        let mut found =
            self.gateways.iter_mut().filter_map(|(id, gateway)| Some((is_meant(gateway)?, id, gateway)));
        let Some((mark, id, gateway)) = found.next() else { return };
        gateway.mark_read();
        let (id, is_lost) = (id.clone(), gateway.lost);
        let holding: Vec<Device> = gateway.holding.iter().cloned().collect();
        for device in &holding {
            self.hold_lost(now, device, &id, mark.newest);
        }
        self.interrupt_given_to(&id);
        if is_lost {
            self.record(Record::GatewayLost { gateway: id.clone() });
        }
        for device in &holding {
            self.offer(now, device);
        }
        self.is_accounted_for(now, &id);
    }

    /// A gateway has said what it holds, or never will: if a start has waited for it, it does no longer.
    pub(super) fn is_accounted_for(&mut self, now: Now, id: &GatewayId) {
        if self.recovering.remove(id) && self.is_recovered() {
            self.recovered(now);
        }
    }

    /// All that a device's hold at a gateway has outstanding may have reached the device or not; it waits again. Unless the hold
    /// is later than `newest`.
    pub(super) fn hold_lost(&mut self, now: Now, device: &Device, id: &GatewayId, newest: Epoch) {
        let Some(mailbox) = self.mailboxes.get_mut(device) else { return };
        let is_meant = |hold: &&mut Hold| hold.gateway == *id && hold.epoch <= newest;
        let Some(hold) = mailbox.hold.as_mut().filter(is_meant) else { return };
        hold.is_ending = true;
        let outstanding: Vec<u64> = hold.outstanding.iter().copied().collect();
        for sequence in outstanding {
            self.interrupt(now, device, sequence);
        }
    }

    pub(super) fn interrupt(&mut self, now: Now, device: &Device, sequence: u64) {
        if self.mailboxes.get_mut(device).is_some_and(|mailbox| mailbox.take_back(sequence)) {
            self.record(Record::Interrupted { sequence });
            self.note(now, sequence, Step::Interrupted);
            self.tell(now, device, sequence, ReceiptState::Parked, Some(ReceiptReason::Interrupted));
            self.watch_lifetime(now, sequence);
        }
    }

    /// After a start, what the run before had given to a gateway that is lost may have reached its device.
    fn interrupt_given_to(&mut self, id: &GatewayId) {
        if !self.recovering.contains(id) {
            return;
        }
        let given =
            self.journal.live().filter(|live| live.given_to.as_ref().is_some_and(|to| to.gateway == *id));
        let given: Vec<u64> = given.map(|live| live.command.sequence).collect();
        for sequence in given {
            self.record(Record::Interrupted { sequence });
        }
    }

    /// Has a gateway say what it holds; nothing is forwarded to it before.
    pub(super) fn request_sync(&mut self, now: Now, id: &GatewayId) {
        if self.gateways.get_mut(id).is_some_and(|gateway| gateway.owe_sync(now.boot)) {
            self.counters.syncs_requested += 1;
            self.control(id, vec![Control::Sync]);
        }
    }

    /// Gateways that have become ready by what is durable now.
    pub(super) fn offer_where_ready(&mut self, now: Now, before: Lsn) {
        let became = |gateway: &Gateway| {
            gateway.standing(before) != Standing::Ready && gateway.standing(self.durable) == Standing::Ready
        };
        let ready: Vec<GatewayId> =
            self.gateways.iter().filter(|(_, gateway)| became(gateway)).map(|(id, _)| id.clone()).collect();
        for id in ready {
            self.offer_at(now, &id);
        }
    }

    /// Offers the commands of every device that is recorded at a gateway or has its hold there.
    pub(super) fn offer_at(&mut self, now: Now, id: &GatewayId) {
        let is_there = |device: &&Device| {
            self.locations.find(device).is_some_and(|found| found.gateway == *id)
                || self.gateways.get(id).is_some_and(|gateway| gateway.holding.contains(*device))
        };
        let devices: Vec<Device> = self.mailboxes.keys().filter(is_there).cloned().collect();
        for device in devices {
            self.offer(now, &device);
        }
    }

    /// Says something to a gateway. One that has no control queue that is known is told nothing: whatever matters is said
    /// again when it is back. So is what came into a queue that is gone.
    pub(super) fn control(&mut self, id: &GatewayId, items: Vec<Control>) {
        let Some(queue) = self.gateways.get(id).and_then(Gateway::control).map(str::to_owned) else { return };
        if items.is_empty() {
            return;
        }
        for items in items.chunks(roost_wire::mesh::ITEMS_MAX) {
            let report = Box::new(ControlReport { shard: self.shard, run: self.run, items: items.to_vec() });
            // What is said of single devices nothing else repeats soon.
            let is_of_devices =
                report.items.iter().any(|item| matches!(item, Control::Ask { .. } | Control::Close { .. }));
            let what = Publication::Control { queue: queue.clone(), report };
            match is_of_devices {
                true => self.publish_until_confirmed(self.run_lsn, what),
                false => self.publish_and_forget(self.run_lsn, what),
            }
        }
    }
}
