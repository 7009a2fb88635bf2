//! Whose turn it is: through which link commands come, with which number, and until when they may be delivered.

use roost_wire::{
    BootTime, Device, InFlight, LinkId, Now, Present, ReturnReason, SessionId, Sighting, SyncNumber,
};

use super::Shard;
use super::close::Farewell;
use super::give::Wanted;
use crate::link::{FromShard, ToShard};
use crate::packet::ReasonCode;
use crate::session::Session;
use crate::{Count, hold};

/// What the link has said last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    pub(super) link: Option<LinkId>,
    pub(super) number: Option<SyncNumber>,
    lease_until: Option<BootTime>,
    had_lease: bool,
    /// Grows whenever the router may have said something that was not heard here, or forgotten what it knew: with each lapse, lease,
    /// link and run of the router.
    pub(super) era: u64,
    /// Whether the router moves sessions; unknown before it has spoken.
    pub(super) roams: Option<bool>,
}

impl Turn {
    /// No era is this one: a session that was kept since is always asked about.
    pub(super) const NEVER: u64 = u64::MAX;

    /// Whether a session that was kept since that era is certainly its device's newest: had there been another elsewhere, the router
    /// would have said so. Without a router from the beginning there is nobody who could say anything.
    pub(super) fn is_unbroken(&self, left_in: u64, now: BootTime) -> bool {
        left_in == self.era && (self.lease_is_valid(now) || !self.had_lease)
    }

    /// Whether a router has spoken since the start.
    pub(super) fn had_lease(&self) -> bool {
        self.had_lease
    }

    /// Whether commands may be written. The link tells of a lapse too, but its word may come a moment late.
    pub(super) fn lease_is_valid(&self, now: BootTime) -> bool {
        self.lease_until.is_some_and(|until| now <= until)
    }
}

impl Shard {
    pub(super) fn link_says(&mut self, now: Now, word: ToShard) {
        match word {
            ToShard::Link(link) => {
                self.turn.link = Some(link);
                self.turn.era += 1;
            }
            ToShard::Number(number) => self.turn.number = Some(number),
            ToShard::Lease { until } => {
                self.turn.era += u64::from(self.turn.lease_until.is_none());
                (self.turn.lease_until, self.turn.had_lease) = (Some(until), true);
                self.storing.had_router = true;
                self.ask_what_waits(now);
            }
            ToShard::Roams(roams) => self.turn.roams = Some(roams),
            ToShard::NewRun => self.turn.era += 1,
            ToShard::LeaseLapsed => {
                self.turn.lease_until = None;
                self.turn.era += 1;
                self.return_waiting(ReturnReason::LeaseLapsed);
            }
            ToShard::ListInFlight { number } => {
                let list = self.in_flight();
                self.tell_link(FromShard::InFlight { number, list });
            }
            ToShard::ListPresent => {
                let present = self.present();
                self.tell_link(FromShard::Present(present));
            }
            ToShard::Ask { question, run, device } => {
                let present = self.connected_session(&device);
                self.tell_link(FromShard::Sighting(match present {
                    Some(present) => Sighting::Claim { question, run, present },
                    None => Sighting::Absent { question, run, device },
                }));
            }
            ToShard::Close { device, session, reason: roost_wire::CloseReason::TakenOver, forget } => {
                self.close_elsewhere(now, &device, session, forget);
                if forget {
                    self.forget_elsewhere(now, &device, session);
                }
            }
            ToShard::Forget { device, session } => self.doubt(now, &device, session),
            ToShard::FindSession { question, run, device } => {
                self.answer_find(now, question, run, device);
            }
            ToShard::MoveSession { question, run, device, session } => {
                self.give_session(now, Wanted { question, run, device, session });
            }
            ToShard::SessionAnswer { request, device, answer } => {
                self.session_answered(now, request, &device, answer);
            }
            ToShard::SessionGiven => self.given = self.given.saturating_sub(1),
        }
    }

    pub(super) fn tell_link(&mut self, word: FromShard) {
        self.outputs.push_back(super::Output::Link(word));
    }

    fn connected_session(&self, device: &Device) -> Option<Present> {
        let session = &self.sessions[self.by_device.get(device)?];
        session.connection.map(|_| session.present())
    }

    /// Closes that session. If it is to be forgotten, also one that was resumed from it before this was known here: its client goes
    /// on with what is not its newest, and has to be told.
    pub(super) fn close_elsewhere(&mut self, now: Now, device: &Device, id: SessionId, forget: bool) {
        let session = self.by_device.get(device).map(|key| &self.sessions[key]);
        let is_it = |session: &&Session| session.id == id || (forget && session.continues(id));
        let session = session.filter(is_it);
        let Some(connection) = session.and_then(|session| session.connection) else { return };
        let newer = session.filter(|session| session.id != id).map(Session::present);
        if let Some(present) = newer {
            // The router may not have heard of it: then it would take what others have for newer.
            self.tell_link(FromShard::Sighting(Sighting::Accepted(present)));
        }
        // The same device taken over by a client elsewhere.
        self.takeovers.note(now.boot, device);
        self.close(
            now,
            connection,
            Count::ClosedElsewhere,
            Farewell::Disconnect(ReasonCode::SessionTakenOver),
        );
    }

    fn in_flight(&self) -> Vec<InFlight> {
        let sessions = self.holding.iter().map(|key| &self.sessions[key]);
        sessions
            .flat_map(|session| {
                session.hold.in_flight().map(|turn| hold::listed(&session.device, session.id, turn))
            })
            .collect()
    }

    fn present(&self) -> Vec<Present> {
        let connected = self.sessions.values().filter(|session| session.connection.is_some());
        let mut present: Vec<_> = connected.map(Session::present).collect();
        present.sort_unstable_by_key(|present| present.session);
        present
    }
}
