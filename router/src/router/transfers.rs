//! Sessions that roam: a device is at one gateway, and what it had is at another. Gateways do not talk to each other, so the router
//! knows where it is, has it handed over, and hands it on unread.

use roost_wire::{
    BootTime, CloseReason, Control, ControlReport, Device, GatewayId, Incarnation, Message, NoSessionReason,
    Now, Present, QuestionId, SessionAnswer, SessionArrival, SessionHandOver, SessionId,
};

use super::RouterCore;
use super::publications::Then;
use crate::clock::Interval;
use crate::gateway::Gateway;
use crate::location::Location;
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
                let transfer = Transfer { question, asker, began: now.boot, stage };
                self.transfers.insert(device.clone(), transfer);
                self.timers.set(Timer::Transfer(device.clone()), now.boot + self.limits.session_transfer);
                self.ask_for_session(&device);
                self.conclude_finding(now, &device);
            }
            Err(outcome) => self.answer_session(&device, &asker, outcome),
        }
    }

    /// Who is to be asked for a device's session; or the answer, if that is known.
    fn whose(&mut self, device: &Device, asker: &Asker) -> Result<Stage, TransferOutcome> {
        if self.transfers.len() >= self.limits.transfers_max {
            return Err(TransferOutcome::Busy);
        }
        if self.locations.is_contested(device) {
            // Those who claim it are told to forget what they have.
            return Err(TransferOutcome::Undecided);
        }
        let Some(last) = self.locations.find(device) else { return Ok(Stage::Finding(self.everybody())) };
        if last.doubted {
            let (gateway, session) = (last.gateway.clone(), last.session);
            self.doubt_session(&gateway, device, session);
            return Err(TransferOutcome::Undecided);
        }
        if last.gateway != asker.gateway {
            match self.gateways.get(&last.gateway) {
                Some(owner) if owner.is_live() && owner.moves_sessions => {}
                Some(owner) if owner.is_live() => return Err(TransferOutcome::OwnerCannot),
                Some(_) | None => return Err(TransferOutcome::OwnerDead),
            }
            // A CONNECT that was long under way: its device is elsewhere already, and stays there.
            if last.online && self.has_asked_before(asker, last.interval) {
                return Err(TransferOutcome::Elsewhere);
            }
        }
        if self.may_be_out_of_date(last, asker) {
            return Ok(Stage::Finding(self.everybody()));
        }
        if last.gateway == asker.gateway {
            // A gateway has one session of a device at most, and nobody has a newer one.
            return Err(match asker.held {
                Some(_) => TransferOutcome::Current,
                None => TransferOutcome::Nobody,
            });
        }
        Ok(Stage::Moving(last.gateway.clone(), last.session))
    }

    /// Whether a device may have been somewhere since it was recorded, without a word of it: at a gateway that was out of touch, which
    /// may have it still or have lost it. Of what the asking gateway has itself it is not known whether the record is newer.
    fn may_be_out_of_date(&self, last: &Location, asker: &Asker) -> bool {
        let earliest = last.interval.map_or(i64::MIN, |interval| interval.earliest_micros);
        let mut others = self.gateways.iter().filter(|(id, _)| **id != last.gateway);
        let has_another = asker.held.is_some() && last.gateway != asker.gateway;
        has_another || others.any(|(_, known)| !known.is_in_touch_since(earliest))
    }

    /// Whether a CONNECT had come before a session was accepted elsewhere.
    fn has_asked_before(&self, asker: &Asker, accepted: Option<Interval>) -> bool {
        let bounds = self.gateways.get(&asker.gateway).map(|known| known.bounds);
        let asked = asker.asked_at.and_then(|at| bounds?.interval(at));
        asked.zip(accepted).is_some_and(|(asked, accepted)| accepted.is_after(&asked))
    }

    /// The gateways that may have a session that the router knows nothing of, the one that asks among them: what it has is a copy like
    /// any other, and its answer says how its clock runs.
    fn everybody(&self) -> Finding {
        let mut finding = Finding::default();
        for (id, gateway) in &self.gateways {
            if gateway.is_live() && gateway.moves_sessions {
                finding.waiting.insert(id.clone());
            } else {
                // One that is lost is taken to have nothing: else nobody would roam before it is back.
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
            Stage::Moving(from, session) => {
                let (from, session) = (from.clone(), *session);
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

    /// A gateway has answered a question, which it had read by then: that bounds its clock, as an answered heartbeat does.
    pub(super) fn session_answered_at(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        question: QuestionId,
        device: &Device,
        at: Option<BootTime>,
    ) {
        let began = self.transfers.asked(device, question).map(|open| open.began);
        if let Some((began, at)) = began.zip(at)
            && let Some(known) = self.gateways.get_mut(gateway)
        {
            known.bounds.echo(now.boot, began, at);
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
        let Some(known) = self.gateways.get(gateway) else { return };
        let accepted = known.bounds.interval_heard(now.boot, accepted_at);
        let Some(open) = self.transfers.asked(&device, question) else {
            // Nobody waits for it any longer, and its device has begun anew elsewhere.
            return self.forget_if_elsewhere(gateway, &device, session);
        };
        let Stage::Finding(finding) = &mut open.stage else { return };
        if finding.waiting.remove(gateway) {
            finding.found.push(Held { gateway: gateway.clone(), session, is_connected, accepted });
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
        (reason, forgot): (NoSessionReason, Option<BootTime>),
    ) {
        let known = self.gateways.get(gateway);
        let forgot = forgot.zip(known).map(|(at, known)| known.bounds.interval_heard(now.boot, at));
        let Some(open) = self.transfers.asked(device, question) else { return };
        match &mut open.stage {
            Stage::Finding(finding) => {
                finding.waiting.remove(gateway);
                finding.forgotten.extend(forgot);
                self.conclude_finding(now, device);
            }
            Stage::Moving(from, _) if from == gateway => {
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
            Stage::Moving(..) => {}
        }
    }

    /// Everybody who was asked has answered: the newest session is the device's, and what others have of it is forgotten.
    fn conclude_finding(&mut self, now: Now, device: &Device) {
        let Some(open) = self.transfers.find(device) else { return };
        let Stage::Finding(finding) = &mut open.stage else { return };
        if !finding.waiting.is_empty() {
            return;
        }
        let (finding, asker) = (std::mem::take(finding), open.asker.clone());
        let newest = self.newest(device, &finding);
        let kept = newest.as_ref().ok().map(|newest| newest.gateway.clone());
        for held in finding.found.iter().filter(|held| Some(&held.gateway) != kept.as_ref()) {
            self.doubt_session(&held.gateway, device, held.session);
        }
        match newest {
            Err(outcome) => self.end_transfer(device, outcome),
            Ok(newest) if newest.gateway == asker.gateway => {
                self.end_transfer(device, TransferOutcome::Current);
            }
            // A CONNECT that was long under way: its device is elsewhere already, and stays there.
            Ok(Held { accepted, .. }) if self.has_asked_before(&asker, Some(accepted)) => {
                self.end_transfer(device, TransferOutcome::Elsewhere);
            }
            Ok(Held { gateway, session, .. }) => {
                let Some(open) = self.transfers.find(device) else { return };
                open.stage = Stage::Moving(gateway, session);
                self.timers.set(Timer::Transfer(device.clone()), now.boot + self.limits.session_transfer);
                self.ask_for_session(device);
            }
        }
    }

    /// The session that is its device's newest for certain; or why none is.
    fn newest(&self, device: &Device, finding: &Finding) -> Result<Held, TransferOutcome> {
        if finding.found.is_empty() {
            return Err(TransferOutcome::Nobody);
        }
        let is_certain = !finding.is_unsure && !self.locations.is_contested(device);
        let newest = finding.newest().filter(|_| is_certain).ok_or(TransferOutcome::Undecided)?;
        // One that was forgotten in doubt may have been newer. A router that was there then has it on record; a new one has not.
        if !finding.forgotten.iter().all(|forgotten| newest.accepted.is_after(forgotten)) {
            return Err(TransferOutcome::Undecided);
        }
        let others = self.gateways.iter().filter(|(id, _)| **id != newest.gateway);
        let mut others = others.map(|(_, known)| known);
        if others.any(|known| known.may_have_lost_since(newest.accepted.earliest_micros)) {
            return Err(TransferOutcome::Undecided);
        }
        // What is recorded was the newest, and is not there any more.
        let is_recorded = |last: &Location| match last.gateway == newest.gateway {
            true => newest.session >= last.session && !last.doubted,
            false => last.interval.is_some_and(|last| newest.accepted.is_after(&last)),
        };
        match self.locations.find(device).is_none_or(is_recorded) {
            true => Ok(newest.clone()),
            false => Err(TransferOutcome::Undecided),
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
        self.locations.moved(&device, &gateway, session);
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
            Stage::Moving(from, _) if from == gateway => {
                self.end_transfer(device, TransferOutcome::OwnerDead);
            }
            Stage::Moving(..) => {}
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
            self.end_transfer(device, TransferOutcome::GivenUp);
        }
    }

    /// It ends without a session: who asked begins anew, and what others have is older from then on.
    fn end_transfer(&mut self, device: &Device, outcome: TransferOutcome) {
        let Some(Transfer { asker, stage, .. }) = self.transfers.remove(device) else { return };
        self.timers.clear(&Timer::Transfer(device.clone()));
        let left = match stage {
            // It has a newer one, which is its device's.
            Stage::Moving(..) if outcome == TransferOutcome::Elsewhere => Vec::new(),
            Stage::Moving(from, session) => vec![(from, session)],
            Stage::Finding(Finding { found, .. }) => {
                found.into_iter().map(|held| (held.gateway, held.session)).collect()
            }
        };
        for (gateway, session) in left.iter().filter(|(gateway, _)| *gateway != asker.gateway) {
            self.doubt_session(gateway, device, *session);
        }
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
            TransferOutcome::Undecided => SessionAnswer::Undecided,
            TransferOutcome::Moved | TransferOutcome::GivenUp | TransferOutcome::AskerDead => return,
        };
        if self.is_current(&asker.gateway, asker.incarnation) {
            let (request, device) = (asker.request, device.clone());
            self.control(&asker.gateway, vec![Control::SessionAnswer { request, device, answer }]);
        }
    }

    /// Where a session of a device that is away may be kept.
    pub(super) fn kept_at(&self, device: &Device) -> Option<(GatewayId, SessionId)> {
        let last = self.locations.find(device).filter(|last| !last.online && !last.moved)?;
        Some((last.gateway.clone(), last.session))
    }

    /// Nobody can say whether that session is its device's newest: it is to be resumed nowhere. A gateway that can't be told has no
    /// lease, and asks before it takes it for the newest.
    pub(super) fn doubt_session(&mut self, gateway: &GatewayId, device: &Device, session: SessionId) {
        let known = self.gateways.get(gateway).filter(|known| known.moves_sessions);
        let Some(queue) = known.and_then(Gateway::control).map(str::to_owned) else { return };
        let items = vec![Control::Forget { device: device.clone(), session }];
        let report = Box::new(ControlReport { shard: self.shard, run: self.run, items });
        self.publish_until_confirmed(self.run_lsn, Publication::Control { queue, report });
    }

    /// A gateway speaks of a device: if it was told that its session is in doubt, it may not have heard of it.
    pub(super) fn doubt_again(&mut self, gateway: &GatewayId, incarnation: Incarnation, device: &Device) {
        let mut doubted = self.locations.claims(device);
        doubted.extend(self.locations.find(device).filter(|last| last.doubted).cloned());
        let is_its = |found: &&Location| found.gateway == *gateway && found.incarnation == incarnation;
        if let Some(Location { session, .. }) = doubted.iter().find(is_its) {
            self.doubt_session(gateway, device, *session);
        }
    }

    /// That session has ended or is away, and its device is at another gateway: what is kept of it is to be forgotten. A gateway that
    /// can't be told has no lease, and asks before it takes such a copy for the newest.
    pub(super) fn forget_if_elsewhere(&mut self, gateway: &GatewayId, device: &Device, session: SessionId) {
        let elsewhere = self.locations.find(device).filter(|last| last.gateway != *gateway);
        let is_elsewhere = elsewhere.is_some();
        if elsewhere.is_some_and(|last| last.doubted) {
            // Nor is it known that the other one is newer: neither is resumed.
            return self.doubt_session(gateway, device, session);
        }
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
