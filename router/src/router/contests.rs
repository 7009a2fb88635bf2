//! Several gateways claim one device, and their clocks don't tell whose session is the newer one: they are asked. The question is the
//! same as in doubt, "do you hold this device?", and its answers stand in order with the sightings.

use roost_wire::{Control, Device, GatewayId, Now, PresenceState, Present, QuestionId};

use super::RouterCore;
use crate::DropReason;
use crate::gateway::Gateway;
use crate::location::{Change, Location, Resolution};
use crate::timers::Timer;

impl RouterCore {
    /// A device is contested, or by one gateway more: those that have not been asked are.
    pub(super) fn ask_claimants(&mut self, now: Now, device: &Device, newcomer: &GatewayId) {
        let mut is_first = false;
        let questions = &mut self.questions;
        let draw = || {
            is_first = true;
            questions.draw()
        };
        let Some((question, waiting)) = self.locations.ask(device, draw) else { return };
        if is_first {
            self.counters.contests += 1;
            self.timers.set(Timer::Question(device.clone()), now.boot + self.limits.question_repeat);
        }
        for gateway in waiting.iter().filter(|gateway| is_first || *gateway == newcomer) {
            self.control(gateway, vec![Control::Ask { question, device: device.clone() }]);
        }
    }

    /// A gateway has answered that it holds a session.
    pub(super) fn claimed(&mut self, now: Now, gateway: &GatewayId, question: QuestionId, present: &Present) {
        let by = (gateway, present.session);
        if let Some(change) = self.locations.claimed(now, question, &present.device, by) {
            self.changed(now, change);
        }
    }

    /// A gateway's lease has lapsed: nobody waits for its answers.
    pub(super) fn silent(&mut self, now: Now, gateway: &GatewayId) {
        for change in self.locations.silent(now, gateway, None) {
            self.changed(now, change);
        }
    }

    /// The answers to a question are due again. A gateway that can't be asked by now was never heard in this run of the router, and
    /// may never be: nobody waits for it any longer.
    pub(super) fn contest_due(&mut self, now: Now, device: &Device) {
        let Some((question, waiting)) = self.locations.ask(device, QuestionId::default) else { return };
        self.timers.set(Timer::Question(device.clone()), now.boot + self.limits.question_repeat);
        for gateway in waiting {
            if self.gateways.get(&gateway).is_some_and(Gateway::is_live) {
                self.control(&gateway, vec![Control::Ask { question, device: device.clone() }]);
                continue;
            }
            for change in self.locations.silent(now, &gateway, Some(device)) {
                self.changed(now, change);
            }
        }
    }

    /// What a gateway's word has changed for a device is told, and its commands are offered.
    pub(super) fn changed(&mut self, now: Now, change: Change) {
        let Change { device, left, resolved } = change;
        if left.is_none() && resolved.is_none() {
            return;
        }
        if let Some(left) = left {
            self.presence(now, &device, &left, PresenceState::Offline);
        }
        if let Some(resolved) = resolved {
            self.timers.clear(&Timer::Question(device.clone()));
            self.resolved(now, &device, resolved);
        }
        self.offer(now, &device);
    }

    /// It is known where a device is: other sessions of it are closed.
    pub(super) fn resolved(&mut self, now: Now, device: &Device, resolved: Resolution) {
        let Resolution { winner, is_new, losers, forgotten, is_unasked } = resolved;
        let at = winner.as_ref().map(|winner| winner.gateway.clone());
        // Of two sessions at one gateway it has closed the older itself.
        self.close_all(device, losers.iter().filter(|loser| at.as_ref() != Some(&loser.gateway)));
        if forgotten.is_some() {
            self.counters.drop(DropReason::TooManyLocations);
        }
        if is_unasked {
            self.counters.drop(DropReason::TooManyContests);
        }
        if let Some(winner) = winner.as_ref().filter(|winner| winner.doubted) {
            self.doubt_session(&winner.gateway, device, winner.session);
        }
        if let Some(winner) = winner.filter(|_| is_new) {
            self.presence(now, device, &winner, PresenceState::Online);
        }
    }

    /// Sessions of a device that are not its newest are closed.
    pub(super) fn close_all<'a>(&mut self, device: &Device, losers: impl Iterator<Item = &'a Location>) {
        for loser in losers {
            self.close(&loser.gateway, device, loser.session);
        }
    }
}
