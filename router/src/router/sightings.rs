//! What gateways say about devices and about themselves, in the order in which they said it.

use std::collections::BTreeSet;

use roost_wire::mesh::Report as _;
use roost_wire::{
    CloseReason, Control, ControlReport, Device, GatewayId, Incarnation, Message, Now, Presence,
    PresenceState, Present, SessionId, Sighting, SightingReport,
};

use super::RouterCore;
use crate::location::{Acceptance, Location};
use crate::timers::Timer;
use crate::transfer::Asker;
use crate::{DropReason, GatewayUsers, Publication};

impl RouterCore {
    pub(super) fn sightings_came(&mut self, now: Now, message: &Message) {
        let Ok(report) = SightingReport::from_body(&message.body) else {
            return self.counters.drop(DropReason::UnreadableReport);
        };
        if !self.is_believed(message, &report.gateway) {
            return self.counters.drop(DropReason::WrongUser);
        }
        if !self.meet(now, &report.gateway, report.incarnation) {
            return self.not_believed(now, &report);
        }
        let SightingReport { gateway, region, incarnation, link, items } = report;
        if let Some(known) = self.gateways.get_mut(&gateway) {
            known.region = Some(region);
        }
        for item in items {
            match item {
                Sighting::Heartbeat(beat) => self.heartbeat(now, &gateway, link, &beat),
                Sighting::Accepted(present) => {
                    self.present(now, &gateway, incarnation, &present);
                }
                Sighting::Gone { device, session } => {
                    self.doubt_again(&gateway, incarnation, &device);
                    self.gone(now, &gateway, incarnation, &device, session);
                    self.forget_if_elsewhere(&gateway, &device, session);
                }
                Sighting::WantsSession { device, request, held, held_since, asked_at } => {
                    let asker =
                        Asker { gateway: gateway.clone(), incarnation, request, held, held_since, asked_at };
                    self.session_wanted(now, device, asker);
                }
                Sighting::HoldsSession { question, run, present, connected, at } => {
                    if run == self.run {
                        self.session_answered_at(now, &gateway, question, &present.device, at);
                        self.session_held(now, &gateway, question, present, connected);
                    }
                }
                Sighting::NoSession { question, run, device, reason, forgot, at } => {
                    if run == self.run {
                        self.session_answered_at(now, &gateway, question, &device, at);
                        self.no_session(now, &gateway, question, &device, (reason, forgot));
                    }
                }
                Sighting::Claim { question, run, present } => {
                    let is_taken = self.present(now, &gateway, incarnation, &present);
                    match is_taken {
                        _ if run != self.run => {}
                        true => self.claimed(now, &gateway, question, &present),
                        // The session it has is an older one: as good as none.
                        false => self.absent_in_doubt(now, &gateway, question, &present.device),
                    }
                }
                Sighting::Absent { question, run, device } => {
                    self.doubt_again(&gateway, incarnation, &device);
                    if run == self.run {
                        self.absent(now, &gateway, question, &device);
                    }
                }
                Sighting::Snapshot { first, last, present } => {
                    self.snapshot_part(now, &gateway, incarnation, (first, last), &present);
                }
            }
        }
    }

    pub(super) fn is_believed(&self, message: &Message, gateway: &GatewayId) -> bool {
        match self.limits.gateway_users {
            GatewayUsers::Any => true,
            GatewayUsers::NamedLikeGateway => message.properties.user_id.as_deref() == Some(gateway.as_str()),
        }
    }

    /// A session of a device is connected to a gateway: accepted just now, claimed, or listed. False if it is not the newest.
    fn present(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        incarnation: Incarnation,
        present: &Present,
    ) -> bool {
        let Some(known) = self.gateways.get(gateway) else { return false };
        let Some(region) = known.region.clone() else { return false };
        let location = Location {
            gateway: gateway.clone(),
            region,
            incarnation,
            session: present.session,
            accepted_at: present.accepted_at,
            interval: Some(known.bounds.interval_heard(now.boot, present.accepted_at)),
            since: now,
            online: true,
            moved: false,
            doubted: false,
            outlived: Vec::new(),
        };
        let device = &present.device;
        let before = self.kept_at(device);
        self.doubt_again(gateway, incarnation, device);
        let can_answer = |id: &GatewayId| self.gateways.get(id).is_some_and(|gateway| !gateway.has_lapsed());
        match self.locations.accept(device, location, can_answer) {
            Acceptance::Known => {}
            Acceptance::Older { elsewhere } => {
                if elsewhere {
                    self.close(gateway, device, present.session);
                }
                return false;
            }
            Acceptance::Contested { losers } => {
                self.close_all(device, losers.iter());
                self.end_question(now, device);
                self.transfer_given_up(device, gateway);
                // Whoever stays connected: whose session is the newest will never be known.
                for claim in self.locations.claims(device) {
                    self.doubt_session(&claim.gateway, device, claim.session);
                }
                self.ask_claimants(now, device, gateway);
            }
            Acceptance::Taken(resolved) => {
                self.timers.clear(&Timer::Question(device.clone()));
                self.resolved(now, device, resolved);
                self.transfer_given_up(device, gateway);
                if let Some((at, session)) = before {
                    self.forget_if_elsewhere(&at, device, session);
                }
            }
        }
        self.end_question(now, device);
        if let Some(mailbox) = self.mailboxes.get_mut(device) {
            mailbox.unsubscribed = None;
        }
        self.offer(now, device);
        true
    }

    /// A session has ended: compare and remove. Of a device that this run has never heard of, an earlier one may have said that it is
    /// online.
    pub(super) fn gone(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        incarnation: Incarnation,
        device: &Device,
        session: SessionId,
    ) {
        if self.locations.find(device).is_some() || self.locations.is_contested(device) {
            let change = self.locations.gone(now, device, gateway, incarnation, session);
            return self.changed(now, change);
        }
        let region = self.gateways.get(gateway).and_then(|known| known.region.clone());
        let Some(region) = region else { return };
        let (device, gateway, state) = (device.clone(), gateway.clone(), PresenceState::Offline);
        let (version, at) = (1, now.wall);
        self.publish_presence(Presence { version, device, state, gateway, region, incarnation, session, at });
    }

    fn snapshot_part(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        incarnation: Incarnation,
        (first, last): (bool, bool),
        present: &[Present],
    ) {
        let Some(known) = self.gateways.get_mut(gateway) else { return };
        if first {
            known.snapshot_list = Some(BTreeSet::new());
        }
        let listed = present.iter().map(|present| present.device.clone());
        let fits = match &mut known.snapshot_list {
            Some(list) if list.len() + present.len() <= self.limits.list_max => {
                list.extend(listed);
                true
            }
            Some(_) | None => false,
        };
        if !fits {
            // What it says is true all the same; only what it does not name can't be known.
            known.snapshot_list = None;
            self.counters.drop(DropReason::BrokenList);
        }
        for present in present {
            self.present(now, gateway, incarnation, present);
        }
        if last {
            self.snapshot_ends(now, gateway);
        }
    }

    fn snapshot_ends(&mut self, now: Now, gateway: &GatewayId) {
        let Some(known) = self.gateways.get_mut(gateway) else { return };
        let Some(listed) = known.snapshot_list.take() else { return };
        known.snapshot(now.boot);
        self.counters.snapshots += 1;
        for change in self.locations.keep_only(now, gateway, &listed) {
            self.changed(now, change);
        }
    }

    /// The older of two sessions is closed, wherever it is. If its gateway can't be told, it announces the session when it is
    /// back, and is told then. A word that our own connection loses is said again: a gateway that is not away announces nothing.
    pub(super) fn close(&mut self, gateway: &GatewayId, device: &Device, session: SessionId) {
        self.counters.closes += 1;
        let Some(known) = self.gateways.get(gateway) else { return };
        let Some(queue) = known.control().map(str::to_owned) else { return };
        let (device, reason, forget) = (device.clone(), CloseReason::TakenOver, known.moves_sessions);
        let close = Control::Close { device, session, reason, forget };
        let report = Box::new(ControlReport { shard: self.shard, run: self.run, items: vec![close] });
        self.publish_until_confirmed(self.run_lsn, Publication::Control { queue, report });
    }

    pub(super) fn presence(&mut self, now: Now, device: &Device, at: &Location, state: PresenceState) {
        let presence = Presence {
            version: 1,
            device: device.clone(),
            state,
            gateway: at.gateway.clone(),
            region: at.region.clone(),
            incarnation: at.incarnation,
            session: at.session,
            at: now.wall,
        };
        self.publish_presence(presence);
    }
}
