//! Sessions that roam: a device is at one gateway, and what it had is at another. Gateways do not talk to each other, so the router
//! knows where it is, has it handed over, and hands it on unread.

use roost_wire::{
    CloseReason, Control, ControlReport, Device, GatewayId, Message, NoSessionReason, Now, Present,
    QuestionId, SessionAnswer, SessionArrival, SessionHandOver, SessionId,
};

use super::RouterCore;
use super::publications::Then;
use crate::gateway::Gateway;
use crate::timers::Timer;
use crate::transfer::{Asker, Finding, Held, Stage, Transfer, TransferOutcome};
use crate::{DropReason, Publication, SourceToken};

impl RouterCore {
    /// A device waits at a gateway for the session that it had.
    pub(super) fn session_wanted(&mut self, now: Now, device: Device, asker: Asker) {
        if let Some(open) = self.transfers.find(&device) {
            // It has moved on: who asked last gets what comes.
            let older = std::mem::replace(&mut open.asker, asker);
            self.timers.set(Timer::Transfer(device.clone()), now.boot + self.limits.session_transfer);
            return self.answer_session(&device, &older, TransferOutcome::Elsewhere);
        }
        match self.whose(&device, &asker) {
            Ok(stage) => {
                let question = self.questions.draw();
                self.transfers.insert(device.clone(), Transfer { question, asker, stage });
                self.timers.set(Timer::Transfer(device.clone()), now.boot + self.limits.session_transfer);
                self.ask_for_session(&device);
                self.conclude_finding(now, &device);
            }
            Err(outcome) => self.answer_session(&device, &asker, outcome),
        }
    }

    /// Who is to be asked for a device's session; or the answer, if that is known.
    ///
    /// Of a contested device nobody knows which session is the newest: all are asked, as for one that is not known, and the one that
    /// is connected, or was accepted last, goes where the device is now. The acceptance that follows ends the contest.
    fn whose(&mut self, device: &Device, asker: &Asker) -> Result<Stage, TransferOutcome> {
        if self.transfers.len() >= self.limits.transfers_max {
            return Err(TransferOutcome::Busy);
        }
        let last = self.locations.find(device).filter(|_| !self.locations.is_contested(device));
        let own = self.own_copy(asker);
        let Some(last) = last else {
            let mut finding = self.others(&asker.gateway);
            own.into_iter().for_each(|own| finding.held(own));
            return Ok(Stage::Finding(finding));
        };
        if last.gateway == asker.gateway {
            // A gateway has one session of a device at most, and nobody has a newer one.
            return Err(match asker.held {
                Some(_) => TransferOutcome::Current,
                None => TransferOutcome::Nobody,
            });
        }
        // A CONNECT that was long under way: its device is elsewhere already, and stays there.
        let asked = asker.asked_at.and_then(|at| self.gateways.get(&asker.gateway)?.bounds.interval(at));
        if let Some((asked, last)) = asked.zip(last.interval)
            && last.is_after(&asked)
        {
            return Err(TransferOutcome::Elsewhere);
        }
        // What the gateway said of its own copy may have been lost with a link: then the record is the older one.
        if let Some(own) = own {
            match own.accepted.zip(last.interval) {
                Some((own, last)) if own.is_after(&last) => return Err(TransferOutcome::Current),
                Some((own, last)) if last.is_after(&own) => {}
                // Nobody knows which of the two is the newer one, and neither may take the other's place.
                Some(_) | None => return Err(TransferOutcome::Elsewhere),
            }
        }
        match self.gateways.get(&last.gateway) {
            Some(owner) if owner.is_live() && owner.moves_sessions => Ok(Stage::Moving(last.gateway.clone())),
            Some(owner) if owner.is_live() => Err(TransferOutcome::OwnerCannot),
            Some(_) | None => Err(TransferOutcome::OwnerDead),
        }
    }

    /// The copy that the asking gateway has itself.
    fn own_copy(&self, asker: &Asker) -> Option<Held> {
        let (session, since) = asker.held.zip(asker.held_since)?;
        let accepted = self.gateways.get(&asker.gateway).and_then(|known| known.bounds.interval(since));
        Some(Held { gateway: asker.gateway.clone(), session, is_connected: false, accepted })
    }

    /// The gateways that may have a session that the router knows nothing of.
    fn others(&self, asker: &GatewayId) -> Finding {
        let others = self.gateways.iter().filter(|(id, _)| *id != asker);
        let mut finding = Finding::default();
        for (id, gateway) in others {
            if gateway.is_live() && gateway.moves_sessions {
                finding.waiting.insert(id.clone());
            } else {
                // One that is lost has lost its sessions too.
                finding.is_unsure |= !gateway.lost;
            }
        }
        finding
    }

    fn ask_for_session(&mut self, device: &Device) {
        let Some(open) = self.transfers.find(device) else { return };
        let question = open.question;
        match &open.stage {
            Stage::Finding(finding) => {
                for gateway in finding.waiting.clone() {
                    let find = Control::FindSession { question, device: device.clone() };
                    self.order(&gateway, device, question, find);
                }
            }
            Stage::Moving(from) => {
                let from = from.clone();
                let last = self.locations.find(device).filter(|last| last.gateway == from);
                let session = last.map(|last| last.session).unwrap_or_default();
                let hand_over = Control::MoveSession { question, device: device.clone(), session };
                self.order(&from, device, question, hand_over);
            }
        }
    }

    fn order(&mut self, gateway: &GatewayId, device: &Device, question: QuestionId, word: Control) {
        let Some(queue) = self.gateways.get(gateway).and_then(Gateway::control).map(str::to_owned) else {
            return;
        };
        let report = Box::new(ControlReport { shard: self.shard, run: self.run, items: vec![word] });
        let then = Then::SessionOrder { gateway: gateway.clone(), device: device.clone(), question };
        self.publish(self.run_lsn, Publication::SessionOrder { queue, report }, then);
    }

    /// A gateway could not be told: its control queue is gone, and its process most likely with it.
    pub(super) fn session_unreachable(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        device: &Device,
        question: QuestionId,
    ) {
        if self.transfers.asked(device, question).is_some() {
            self.transfer_without(now, device, gateway, true);
        }
    }

    /// A gateway that was asked has one.
    pub(super) fn session_held(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        question: QuestionId,
        present: Present,
        is_connected: bool,
    ) {
        let Present { device, session, accepted_at } = present;
        let accepted = self.gateways.get(gateway).and_then(|known| known.bounds.interval(accepted_at));
        let Some(open) = self.transfers.asked(&device, question) else { return };
        let Stage::Finding(finding) = &mut open.stage else { return };
        if finding.waiting.remove(gateway) {
            finding.held(Held { gateway: gateway.clone(), session, is_connected, accepted });
            self.conclude_finding(now, &device);
        }
    }

    /// A gateway that was asked has none, or does not hand it over.
    pub(super) fn no_session(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        question: QuestionId,
        device: &Device,
        reason: NoSessionReason,
    ) {
        let Some(open) = self.transfers.asked(device, question) else { return };
        match &mut open.stage {
            Stage::Finding(finding) => {
                finding.waiting.remove(gateway);
                self.conclude_finding(now, device);
            }
            Stage::Moving(from) if from == gateway => {
                self.end_transfer(
                    device,
                    match reason {
                        NoSessionReason::Absent => TransferOutcome::Nobody,
                        NoSessionReason::Newer => TransferOutcome::Elsewhere,
                        NoSessionReason::Busy => TransferOutcome::Busy,
                        NoSessionReason::TooLarge => TransferOutcome::OwnerCannot,
                    },
                );
            }
            Stage::Moving(_) => {}
        }
    }

    /// Everybody who was asked has answered: the newest session is the device's. The copy of the gateway that asked counts only where
    /// nobody else has one, and everybody who might could say so.
    fn conclude_finding(&mut self, now: Now, device: &Device) {
        let Some(open) = self.transfers.find(device) else { return };
        let Stage::Finding(finding) = &open.stage else { return };
        if !finding.waiting.is_empty() {
            return;
        }
        let best = finding.best().cloned();
        match best {
            Some(_) if finding.is_undecided => self.end_transfer(device, TransferOutcome::Elsewhere),
            Some(best) if best.gateway == open.asker.gateway => {
                // One that could not be asked may have a newer one.
                let outcome =
                    if finding.is_unsure { TransferOutcome::Nobody } else { TransferOutcome::Current };
                self.end_transfer(device, outcome);
            }
            Some(Held { gateway, session, .. }) => {
                let question = open.question;
                open.stage = Stage::Moving(gateway.clone());
                self.timers.set(Timer::Transfer(device.clone()), now.boot + self.limits.session_transfer);
                let hand_over = Control::MoveSession { question, device: device.clone(), session };
                self.order(&gateway, device, question, hand_over);
            }
            None => {
                let is_current = open.asker.held.is_some() && !finding.is_unsure;
                let outcome = if is_current { TransferOutcome::Current } else { TransferOutcome::Nobody };
                self.end_transfer(device, outcome);
            }
        }
    }

    /// A gateway has handed a session over, which is the end of it there. True if it is handed on, and acknowledged when that is done.
    ///
    /// It is not journalled: with a router that dies now it may be lost, and the gateway that waits says so in time.
    pub(super) fn session_came(&mut self, now: Now, source: SourceToken, message: &Message) -> bool {
        let Ok(given) = SessionHandOver::from_message(message) else {
            self.counters.drop(DropReason::UnreadableReport);
            return false;
        };
        let SessionHandOver { device, gateway, incarnation, session, question, run, body } = given;
        if !self.is_believed(message, &gateway) {
            self.counters.drop(DropReason::WrongUser);
            return false;
        }
        if !self.meet(now, &gateway, incarnation) {
            return false;
        }
        self.gone(now, &gateway, incarnation, &device, session);
        let is_asked = run == self.run && self.transfers.asked(&device, question).is_some();
        let asker = is_asked.then(|| self.transfers.remove(&device)).flatten().map(|open| open.asker);
        let Some(asker) = asker else {
            self.counters.drop(DropReason::SessionLate);
            return false;
        };
        self.timers.clear(&Timer::Transfer(device.clone()));
        let at = self.gateways.get(&asker.gateway).filter(|known| known.incarnation == asker.incarnation);
        let Some(inbox) = at.and_then(|known| known.inbox_name()).map(str::to_owned) else {
            self.counters.drop(DropReason::SessionInboxGone);
            self.counters.transfer(TransferOutcome::AskerDead);
            return false;
        };
        self.counters.transfer(TransferOutcome::Moved);
        let arrival = Box::new(SessionArrival { device, request: asker.request, body });
        let gate = self.run_lsn.max(self.sighted);
        self.publish(gate, Publication::Session { inbox, arrival }, Then::Session(source));
        true
    }

    /// It is expected no longer.
    pub(super) fn transfer_due(&mut self, device: &Device) {
        self.end_transfer(device, TransferOutcome::TimedOut);
    }

    /// A gateway's lease has lapsed: what it has may be stale, and nobody waits for its answers.
    pub(super) fn transfers_lost(&mut self, now: Now, gateway: &GatewayId) {
        self.transfers_without(now, gateway, true);
    }

    /// A new run of a gateway: what the one before had is lost, and what it asked for nobody wants.
    pub(super) fn transfers_void(&mut self, now: Now, gateway: &GatewayId) {
        for device in self.transfers.with(gateway) {
            let is_askers = |open: &mut Transfer| open.asker.gateway == *gateway;
            if self.transfers.find(&device).is_some_and(is_askers) {
                self.transfers.remove(&device);
                self.timers.clear(&Timer::Transfer(device));
                self.counters.transfer(TransferOutcome::AskerDead);
            }
        }
        self.transfers_without(now, gateway, false);
    }

    fn transfers_without(&mut self, now: Now, gateway: &GatewayId, is_unsure: bool) {
        for device in self.transfers.with(gateway) {
            self.transfer_without(now, &device, gateway, is_unsure);
        }
    }

    fn transfer_without(&mut self, now: Now, device: &Device, gateway: &GatewayId, is_unsure: bool) {
        let Some(open) = self.transfers.find(device) else { return };
        match &mut open.stage {
            Stage::Moving(from) if from == gateway => {
                self.end_transfer(device, TransferOutcome::OwnerDead);
            }
            Stage::Moving(_) => {}
            Stage::Finding(finding) => {
                if finding.waiting.remove(gateway) {
                    finding.is_unsure |= is_unsure;
                    self.conclude_finding(now, device);
                }
            }
        }
    }

    /// A gateway has accepted a device: if it waited for a session, it has gone on without.
    pub(super) fn transfer_given_up(&mut self, device: &Device, gateway: &GatewayId) {
        if self.transfers.find(device).is_some_and(|open| open.asker.gateway == *gateway) {
            self.transfers.remove(device);
            self.timers.clear(&Timer::Transfer(device.clone()));
            self.counters.transfer(TransferOutcome::GivenUp);
        }
    }

    fn end_transfer(&mut self, device: &Device, outcome: TransferOutcome) {
        let Some(Transfer { asker, .. }) = self.transfers.remove(device) else { return };
        self.timers.clear(&Timer::Transfer(device.clone()));
        self.answer_session(device, &asker, outcome);
    }

    fn answer_session(&mut self, device: &Device, asker: &Asker, outcome: TransferOutcome) {
        self.counters.transfer(outcome);
        let answer = match outcome {
            TransferOutcome::Current => SessionAnswer::Current,
            TransferOutcome::Nobody => SessionAnswer::Nobody,
            TransferOutcome::OwnerDead => SessionAnswer::OwnerDead,
            TransferOutcome::OwnerCannot => SessionAnswer::OwnerCannot,
            TransferOutcome::Busy => SessionAnswer::Busy,
            TransferOutcome::Elsewhere => SessionAnswer::Elsewhere,
            TransferOutcome::TimedOut => SessionAnswer::TimedOut,
            TransferOutcome::Moved | TransferOutcome::GivenUp | TransferOutcome::AskerDead => return,
        };
        if self.is_current(&asker.gateway, asker.incarnation) {
            let (request, device) = (asker.request, device.clone());
            self.control(&asker.gateway, vec![Control::SessionAnswer { request, device, answer }]);
        }
    }

    /// Where a session of a device that is away may be kept.
    pub(super) fn kept_at(&self, device: &Device) -> Option<(GatewayId, SessionId)> {
        let last = self.locations.find(device).filter(|last| !last.online)?;
        Some((last.gateway.clone(), last.session))
    }

    /// That session has ended or is away, and its device is at another gateway: what is kept of it is to be forgotten. A gateway that
    /// can't be told has no lease, and asks before it takes such a copy for the newest.
    pub(super) fn forget_if_elsewhere(&mut self, gateway: &GatewayId, device: &Device, session: SessionId) {
        let is_elsewhere = self.locations.find(device).is_some_and(|last| last.gateway != *gateway);
        let known = self.gateways.get(gateway).filter(|known| known.is_live() && known.moves_sessions);
        let Some(queue) = known.and_then(Gateway::control).filter(|_| is_elsewhere).map(str::to_owned) else {
            return;
        };
        let (device, reason) = (device.clone(), CloseReason::TakenOver);
        let items = vec![Control::Close { device, session, reason, forget: true }];
        let report = Box::new(ControlReport { shard: self.shard, run: self.run, items });
        self.publish_until_confirmed(self.run_lsn, Publication::Control { queue, report });
    }
}
