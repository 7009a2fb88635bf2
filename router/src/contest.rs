//! Sessions of one device at several gateways, of which nobody can say by the clocks which is the newest. The gateways are asked
//! whether they still hold theirs.
//!
//! ```text
//!            asked                 claim
//!   (claim) ───────► waiting ───────────────► holds ──┐
//!                     │   │ lapsed, not heard          │ lapsed
//!                     │   └───────────────► silent ◄───┘
//!                     ▼ absent, gone, not listed, new incarnation, closed as the older
//!                  (no claim)
//! ```
//! It ends when one claim is left, or when nobody is waited for. It does not end before, even where the answers so far would decide
//! it: an answer that came later would look like news. If several hold a session, the one whose acceptance came *last* stays and the
//! others are closed. That is what makes it end: a session that is closed although its device was behind it comes back as a new
//! acceptance, which is now the last one, so it can't be closed by the same rival again. The other way round a dead socket that was
//! heard of last would win each time.

use roost_wire::{GatewayId, Incarnation, QuestionId, SessionId};

use crate::location::Location;

/// The open question about one device: a claim for each gateway, its newest one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Contest {
    /// The question that is asked; none before it is.
    pub(crate) question: Option<QuestionId>,
    /// In the order in which the router learnt of them.
    claims: Vec<Claim>,
}

/// One gateway's newest session of the device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) location: Location,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    /// It is to be asked, or was and has not answered.
    Waiting,
    /// It has said that it holds the session.
    Holds,
    /// It can't answer: its lease has lapsed, or it was never heard.
    Silent,
}

/// Claims of one device at once; one more closes the one that came first. Devices do not connect to so many gateways at once.
pub(crate) const CLAIMS_MAX: usize = 8;

impl Contest {
    /// Takes in a claim that is at most as old as all others, as far as anybody knows. Those whose place it takes elsewhere and
    /// that are to be closed: the ones that are certainly older, and the first one if there are too many.
    pub(crate) fn add(&mut self, mut new: Location, is_silent: bool) -> Vec<Location> {
        let answer = if is_silent { Answer::Silent } else { Answer::Waiting };
        // Of two sessions at one gateway it has closed the older itself.
        self.claims.retain(|claim| claim.location.gateway != new.gateway);
        let older = self.claims.extract_if(.., |claim| new.is_after(&claim.location) == Some(true));
        let mut closed: Vec<Location> = older.map(|claim| claim.location).collect();
        if self.claims.len() >= CLAIMS_MAX {
            closed.push(self.claims.remove(0).location);
        }
        new.outlives(&closed);
        self.claims.push(Claim { location: new, answer });
        closed
    }

    /// The claim of a gateway.
    pub(crate) fn at(&self, gateway: &GatewayId) -> Option<&Location> {
        self.claims.iter().map(|claim| &claim.location).find(|location| location.gateway == *gateway)
    }

    /// All claims, the one that came first first.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Location> {
        self.claims.iter().map(|claim| &claim.location)
    }

    /// The gateways that are to be asked.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &GatewayId> {
        let waiting = self.claims.iter().filter(|claim| claim.answer == Answer::Waiting);
        waiting.map(|claim| &claim.location.gateway)
    }

    /// The gateway holds that session.
    pub(crate) fn holds(&mut self, gateway: &GatewayId, session: SessionId) {
        let found = self
            .claims
            .iter_mut()
            .find(|claim| claim.location.gateway == *gateway && claim.location.session == session);
        if let Some(claim) = found {
            claim.answer = Answer::Holds;
        }
    }

    /// The gateway can't be asked.
    pub(crate) fn silent(&mut self, gateway: &GatewayId) {
        for claim in self.claims.iter_mut().filter(|claim| claim.location.gateway == *gateway) {
            claim.answer = Answer::Silent;
        }
    }

    /// Whatever the gateway claimed, it does not hold it.
    pub(crate) fn remove_at(&mut self, gateway: &GatewayId) {
        self.claims.retain(|claim| claim.location.gateway != *gateway);
    }

    /// That session has ended.
    pub(crate) fn remove(&mut self, gateway: &GatewayId, incarnation: Incarnation, session: SessionId) {
        self.claims.retain(|claim| {
            let found = &claim.location;
            found.gateway != *gateway || found.incarnation != incarnation || found.session != session
        });
    }

    /// Whether it is over, and if so with whom.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.claims.is_empty() {
            return Verdict::Nobody;
        }
        if self.claims.len() > 1 && self.waiting().next().is_some() {
            return Verdict::Open;
        }
        let last = |answer| self.claims.iter().rposition(|claim| claim.answer == answer);
        // One that is left alone need not have answered. A silent one counts only where nobody answers.
        let place = last(Answer::Holds).or(last(Answer::Waiting)).or(last(Answer::Silent)).unwrap_or(0);
        let mut losers: Vec<Location> = self.claims().cloned().collect();
        let mut winner = losers.remove(place);
        // Not those that came after it: they could not answer, and are asked when they can.
        winner.outlives(&losers[..place]);
        Verdict::Won { winner: Box::new(winner), losers }
    }

    /// The rule the other way round, for the test that shows why it is not so.
    #[cfg(test)]
    pub(crate) fn verdict_for_the_first(&self) -> Verdict {
        let mut turned = self.clone();
        turned.claims.reverse();
        turned.verdict()
    }
}

/// How a contest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Somebody is waited for.
    Open,
    /// No session is left.
    Nobody,
    /// This one stays; the others are closed.
    Won { winner: Box<Location>, losers: Vec<Location> },
}
