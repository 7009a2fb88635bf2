//! Doubt: which gateway holds the device?

use std::collections::BTreeSet;

use roost_wire::{Control, Device, GatewayId, Now, QuestionId};

use super::RouterCore;
use crate::decide::Whereabouts;
use crate::timers::Timer;

impl RouterCore {
    /// What is known of a device whose location is not known or not sure.
    pub(super) fn doubt(&self, now: Now, device: &Device) -> Whereabouts {
        if self.questions.find(device).is_some() || self.questions.is_queued(device) {
            return Whereabouts::Asking;
        }
        if let Some(absence) = self.questions.absence(now.boot, device) {
            // A gateway that holds it by our own table, and can't be asked, is a reason not to be sure.
            let is_located = self.locations.find(device).is_some_and(|found| found.online);
            return Whereabouts::Absent { unsure: absence.unsure || is_located };
        }
        let live = self.gateways.iter().filter(|(_, gateway)| gateway.is_live()).map(|(id, _)| id.clone());
        Whereabouts::Doubt { live: live.collect() }
    }

    /// Asks all live gateways, once; or lets the device wait for its turn.
    pub(super) fn ask(&mut self, now: Now, device: &Device, live: Vec<GatewayId>) {
        if self.questions.len() >= self.limits.questions_max {
            return self.questions.enqueue(device);
        }
        self.counters.questions += 1;
        let asked: BTreeSet<GatewayId> = live.into_iter().collect();
        let question = self.questions.open(device, asked.clone());
        for gateway in asked {
            self.control(&gateway, vec![Control::Ask { question, device: device.clone() }]);
        }
        self.timers.set(Timer::Question(device.clone()), now.boot + self.limits.question_repeat);
    }

    /// The device was seen: the doubt is over.
    pub(super) fn end_question(&mut self, now: Now, device: &Device) {
        if self.questions.end(device) {
            self.timers.clear(&Timer::Question(device.clone()));
            self.ask_next(now);
        }
    }

    pub(super) fn absent(&mut self, now: Now, gateway: &GatewayId, question: QuestionId, device: &Device) {
        match self.locations.absent(now, question, device, gateway) {
            Some(change) => self.changed(now, change),
            None => self.absent_in_doubt(now, gateway, question, device),
        }
    }

    /// As [`Self::absent`], to a question of the other kind.
    pub(super) fn absent_in_doubt(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        question: QuestionId,
        device: &Device,
    ) {
        if self.questions.absent(question, device, gateway) {
            self.conclude_question(now, device);
        }
    }

    /// A gateway can't answer what it was asked: its lease has lapsed (then it may hold the device), or it has a new run (then it
    /// does not).
    pub(super) fn unanswerable(&mut self, now: Now, gateway: &GatewayId, unsure: bool) {
        for device in self.questions.unanswerable(gateway, unsure) {
            self.conclude_question(now, &device);
        }
    }

    /// The control queue of a gateway's old link is lost with what was in it: it is asked again.
    pub(super) fn ask_again(&mut self, gateway: &GatewayId) {
        let claimed = self.locations.asked_of(gateway);
        let waiting = self.questions.waiting_for(gateway).into_iter().chain(claimed);
        let items = waiting.map(|(question, device)| Control::Ask { question, device }).collect();
        self.control(gateway, items);
    }

    pub(super) fn question_due(&mut self, now: Now, device: &Device) {
        if self.locations.is_contested(device) {
            return self.contest_due(now, device);
        }
        if !self.mailboxes.contains_key(device) {
            // Its commands have ended meanwhile: nobody wants to know any more.
            return self.end_question(now, device);
        }
        let Some(question) = self.questions.find(device) else { return };
        let (id, waiting) = (question.id, question.waiting.clone());
        for gateway in waiting {
            self.control(&gateway, vec![Control::Ask { question: id, device: device.clone() }]);
        }
        self.timers.set(Timer::Question(device.clone()), now.boot + self.limits.question_repeat);
    }

    fn conclude_question(&mut self, now: Now, device: &Device) {
        let until = now.boot + self.limits.absent_remembered;
        if self.questions.conclude(now.boot, device, until, self.limits.locations_max) {
            self.timers.clear(&Timer::Question(device.clone()));
            self.offer(now, device);
            self.ask_next(now);
        }
    }

    /// Those who waited for their turn.
    fn ask_next(&mut self, now: Now) {
        while self.questions.len() < self.limits.questions_max {
            let Some(device) = self.questions.dequeue() else { return };
            self.offer(now, &device);
        }
    }
}
