//! Where each device is, as far as the router knows.
//!
//! A record says at which gateway, in which session, and whether it is still there. The newer of two acceptances wins: within
//! one incarnation by its own clock; between gateways by intervals on the router's clock if these are disjoint, however late the
//! sighting arrived. If they overlap, nobody can know from the sightings alone: both gateways are asked whether they still hold the
//! device, and until that is answered the record stays what it was and its commands wait (see `contest`). A device that has gone is
//! known to be *away*, which refuses nothing: the next acceptance of any session takes its place.
//!
//! What was found once stands: a record names the sessions elsewhere that have lost against it. A gateway that is out of touch for a while
//! announces its sessions again, and by then what is known of its clock may not tell any more.

use std::collections::{BTreeMap, BTreeSet};

use roost_wire::{BootTime, Device, GatewayId, Incarnation, Now, QuestionId, Region, SessionId};

use crate::clock::Interval;
use crate::contest::{Contest, Verdict};

/// Where one device is, or was last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// At which gateway.
    pub gateway: GatewayId,
    /// In which region.
    pub region: Region,
    /// In which run of the gateway.
    pub incarnation: Incarnation,
    /// In which session.
    pub session: SessionId,
    /// When that session's CONNECT was accepted, on the incarnation's clock.
    pub accepted_at: BootTime,
    /// The same on the router's clock; none while that clock has no bounds.
    pub interval: Option<Interval>,
    /// When the router learnt it.
    pub since: Now,
    /// Whether the session is connected. If not, `since` is when it went.
    pub online: bool,
    /// Whether the session was handed over: nothing of it is there any more.
    pub moved: bool,
    /// Whether nobody can say that it is the device's newest: it is to be resumed nowhere.
    pub doubted: bool,
    /// Sessions at other gateways that have lost against it and have not been said to be gone; of each gateway the newest.
    pub outlived: Vec<Outlived>,
}

/// A session that is not its device's newest, and with it every earlier one of that run of its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outlived {
    gateway: GatewayId,
    incarnation: Incarnation,
    session: SessionId,
}

/// More of them the oldest make room for. A device has no connection left at so many gateways.
const OUTLIVED_MAX: usize = 4;

/// What became of an acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is the device's location now.
    Taken(Resolution),
    /// It was the location already, or it is asked for already.
    Known,
    /// A newer session is known: the one that was announced is over.
    Older {
        /// At another gateway: this one does not know, and has to close its own.
        elsewhere: bool,
    },
    /// Nobody can say whether it is newer than others at other gateways. They have to be asked.
    Contested {
        /// Those that it is certainly newer than: to be closed.
        losers: Vec<Location>,
    },
}

/// Where a device is from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Where it is; none if no session of several is left.
    pub winner: Option<Location>,
    /// Whether that is another session than the record's before.
    pub is_new: bool,
    /// Sessions that were online: to be closed.
    pub losers: Vec<Location>,
    /// The device that is forgotten to make room.
    pub forgotten: Option<Device>,
    /// Whether somebody should have been asked, and too many questions were open.
    pub is_unasked: bool,
}

/// What a word of a gateway changed for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which device.
    pub device: Device,
    /// The record's session, if that has ended.
    pub left: Option<Location>,
    /// How a question that was open has ended, if it has.
    pub resolved: Option<Resolution>,
}

/// The table. Bounded by [`crate::Limits::locations_max`]: then the device that has been away longest becomes unknown, and if none
/// is away, the one that was learnt longest ago. A command for it is a question, and no message is lost.
///
/// Open contests are bounded by [`crate::Limits::contests_max`]: beyond, the last acceptance to arrive is taken and its rival
/// closed. If that was the wrong one its device connects again, and that acceptance is the newest.
#[derive(Debug, Default, Clone)]
#[cfg_attr(test, derive(PartialEq, Eq, Hash))]
pub struct Locations {
    by_device: BTreeMap<Device, Location>,
    by_gateway: BTreeMap<GatewayId, BTreeSet<Device>>,
    /// Who is forgotten first: those that are away, then those that were heard of longest ago.
    order: BTreeSet<(bool, BootTime, Device)>,
    contests: BTreeMap<Device, Contest>,
    online: usize,
    max: usize,
    contests_max: usize,
    #[cfg(test)]
    plant: Option<Plant>,
}

impl Locations {
    /// An empty table for at most `max` devices, of which at most `contests_max` are contested at once.
    #[must_use]
    pub fn new(max: usize, contests_max: usize) -> Self {
        Self { max, contests_max, ..Self::default() }
    }

    /// Where a device is.
    #[must_use]
    pub fn find(&self, device: &Device) -> Option<&Location> {
        self.by_device.get(device)
    }

    /// How many devices are recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_device.len()
    }

    /// How many of them are connected.
    #[must_use]
    pub fn online(&self) -> usize {
        self.online
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_device.is_empty()
    }

    /// How many devices are recorded at a gateway, away ones included.
    #[must_use]
    pub fn at(&self, gateway: &GatewayId) -> usize {
        self.by_gateway.get(gateway).map_or(0, BTreeSet::len)
    }

    /// How many devices are recorded as connected at a gateway. It looks at each.
    #[must_use]
    pub fn online_at(&self, gateway: &GatewayId) -> usize {
        let recorded = self.by_gateway.get(gateway).into_iter().flatten();
        recorded.filter(|device| self.by_device.get(*device).is_some_and(|found| found.online)).count()
    }

    /// How many devices are contested.
    #[must_use]
    pub fn contests(&self) -> usize {
        self.contests.len()
    }

    /// Whether gateways are being asked who has the newest session of the device.
    #[must_use]
    pub fn is_contested(&self, device: &Device) -> bool {
        self.contests.contains_key(device)
    }

    /// The gateways that claim a contested device, the one that was heard first first; none if it is not contested.
    #[must_use]
    pub fn claimants(&self, device: &Device) -> Vec<GatewayId> {
        let claims = self.contests.get(device).into_iter().flat_map(Contest::claims);
        claims.map(|location| location.gateway.clone()).collect()
    }

    /// Takes in an acceptance. `can_answer` says of a gateway whether it can be asked, now or soon.
    pub fn accept(
        &mut self,
        device: &Device,
        new: Location,
        can_answer: impl Fn(&GatewayId) -> bool,
    ) -> Acceptance {
        if self.is_contested(device) {
            return self.contend(device, new, can_answer);
        }
        let (mut is_unasked, mut is_doubted) = (false, false);
        let rival = match self.by_device.get(device) {
            None => None,
            // The device is where it looks connected. But where it was may have a newer session, kept for it.
            Some(old) if !self.refuses(old) => {
                is_doubted =
                    !old.moved && self.compare(&new, old) != Some(true) && old.gateway != new.gateway;
                None
            }
            Some(old) if old.is_same_session(&new) && old.online => return Acceptance::Known,
            Some(old) => match self.compare(&new, old) {
                Some(false) => return Acceptance::Older { elsewhere: old.gateway != new.gateway },
                Some(true) => Some(old.clone()),
                // It may hold the device or not; nobody can be asked, and an acceptance ends the doubt.
                None if !can_answer(&old.gateway) => {
                    is_doubted = true;
                    Some(old.clone())
                }
                None if self.contests.len() >= self.contests_max => {
                    (is_unasked, is_doubted) = (true, true);
                    Some(old.clone())
                }
                None => {
                    let mut contest = Contest::default();
                    contest.add(old.clone(), false);
                    self.contests.insert(device.clone(), contest);
                    return self.contend(device, new, can_answer);
                }
            },
        };
        let mut new = Location { doubted: is_doubted, ..new };
        let losers: Vec<Location> = rival.into_iter().collect();
        new.outlives(&losers);
        let winner = Some(new.clone());
        let forgotten = self.insert(device, new);
        Acceptance::Taken(Resolution { winner, is_new: true, losers, forgotten, is_unasked })
    }

    /// Takes in an acceptance of a device that is contested.
    fn contend(
        &mut self,
        device: &Device,
        new: Location,
        can_answer: impl Fn(&GatewayId) -> bool,
    ) -> Acceptance {
        let Some(contest) = self.contests.get_mut(device) else { return Acceptance::Known };
        if contest.at(&new.gateway).is_some_and(|kept| kept.is_same_session(&new)) {
            return Acceptance::Known;
        }
        let newer = contest.claims().find(|claim| claim.is_after(&new) == Some(true));
        if let Some(newer) = newer {
            return Acceptance::Older { elsewhere: newer.gateway != new.gateway };
        }
        let is_silent = !can_answer(&new.gateway);
        let now = new.since;
        let before = contest.claims().count();
        let mut losers = contest.add(new, is_silent);
        // Newer than all others for certain, or one more that may be the newest.
        let is_certain = losers.len() == before && contest.claims().count() == 1;
        match self.resolve_as(now, device, None, !is_certain).resolved {
            Some(resolved) => {
                losers.extend(resolved.losers);
                Acceptance::Taken(Resolution { losers, ..resolved })
            }
            None => Acceptance::Contested { losers },
        }
    }

    /// The question that is open about a device and who has not answered it; it gets a number from `draw` if it has none.
    pub(crate) fn ask(
        &mut self,
        device: &Device,
        draw: impl FnOnce() -> QuestionId,
    ) -> Option<(QuestionId, Vec<GatewayId>)> {
        let contest = self.contests.get_mut(device)?;
        let question = *contest.question.get_or_insert_with(draw);
        Some((question, contest.waiting().cloned().collect()))
    }

    /// The questions that wait for a gateway.
    pub(crate) fn asked_of(&self, gateway: &GatewayId) -> Vec<(QuestionId, Device)> {
        let waits = self.contests.iter().filter(|(_, contest)| contest.waiting().any(|id| id == gateway));
        waits.filter_map(|(device, contest)| Some((contest.question?, device.clone()))).collect()
    }

    /// A gateway answers a question: it holds that session. None if that question is not open.
    pub(crate) fn claimed(
        &mut self,
        now: Now,
        question: QuestionId,
        device: &Device,
        (gateway, session): (&GatewayId, SessionId),
    ) -> Option<Change> {
        let contest = self.contests.get_mut(device).filter(|open| open.question == Some(question))?;
        contest.holds(gateway, session);
        Some(self.resolve(now, device, None))
    }

    /// A gateway answers a question: it does not hold the device. None if that question is not open.
    pub(crate) fn absent(
        &mut self,
        now: Now,
        question: QuestionId,
        device: &Device,
        gateway: &GatewayId,
    ) -> Option<Change> {
        let contest = self.contests.get_mut(device).filter(|open| open.question == Some(question))?;
        contest.remove_at(gateway);
        let left = self.leave_from(now, device, gateway);
        Some(self.resolve(now, device, left))
    }

    /// A gateway can't be asked about a device, or about any: what it claims counts only where nobody else holds a session.
    pub(crate) fn silent(&mut self, now: Now, gateway: &GatewayId, device: Option<&Device>) -> Vec<Change> {
        let meant = self.contested_at(gateway);
        let mut changes = Vec::new();
        for device in meant.into_iter().filter(|found| device.is_none_or(|device| device == found)) {
            if let Some(contest) = self.contests.get_mut(&device) {
                contest.silent(gateway);
            }
            changes.push(self.resolve(now, &device, None));
        }
        changes
    }

    /// A session has ended: compare and mark away.
    pub fn gone(
        &mut self,
        now: Now,
        device: &Device,
        gateway: &GatewayId,
        incarnation: Incarnation,
        session: SessionId,
    ) -> Change {
        #[cfg(test)]
        if self.plant == Some(Plant::GoneIsIgnoredInAContest) && self.contests.contains_key(device) {
            return Change { device: device.clone(), left: None, resolved: None };
        }
        let is_it = |found: &&Location| {
            found.gateway == *gateway && found.incarnation == incarnation && found.session == session
        };
        let left = self.by_device.get(device).filter(is_it).is_some().then(|| self.leave(now, device));
        if let Some(found) = self.by_device.get_mut(device) {
            found.forget_outlived(gateway, incarnation, session);
        }
        if let Some(contest) = self.contests.get_mut(device) {
            contest.remove(gateway, incarnation, session);
        }
        self.resolve(now, device, left.flatten())
    }

    /// A session was handed over: what is recorded of it stays, but nothing is kept there.
    pub(crate) fn moved(&mut self, device: &Device, gateway: &GatewayId, session: SessionId) {
        let is_it = |found: &&mut Location| found.gateway == *gateway && found.session == session;
        if let Some(found) = self.by_device.get_mut(device).filter(is_it) {
            found.moved = true;
        }
    }

    /// The sessions of a contested device that gateways claim.
    pub(crate) fn claims(&self, device: &Device) -> Vec<Location> {
        self.contests.get(device).into_iter().flat_map(Contest::claims).cloned().collect()
    }

    /// A complete list of the gateway's sessions has been read: devices that are recorded or claimed there and not listed are
    /// not there.
    pub fn keep_only(&mut self, now: Now, gateway: &GatewayId, listed: &BTreeSet<Device>) -> Vec<Change> {
        let recorded = self.by_gateway.get(gateway).into_iter().flatten().cloned();
        let concerned: BTreeSet<Device> = recorded.chain(self.contested_at(gateway)).collect();
        let mut changes = Vec::new();
        for device in concerned.difference(listed) {
            let left = self.leave_from(now, device, gateway);
            if let Some(contest) = self.contests.get_mut(device) {
                contest.remove_at(gateway);
            }
            changes.push(self.resolve(now, device, left));
        }
        changes.retain(Change::is_one);
        changes
    }

    /// A new incarnation of a gateway: all records and claims of older ones are void, and the devices that were recorded unknown.
    pub fn void(&mut self, now: Now, gateway: &GatewayId, incarnation: Incarnation) -> Vec<Change> {
        let is_old =
            |location: &Location| location.gateway == *gateway && location.incarnation != incarnation;
        let recorded = self.by_gateway.get(gateway).into_iter().flatten();
        let recorded = recorded.filter(|device| self.by_device.get(*device).is_some_and(is_old));
        let contested = self.contests.iter().filter(|(_, contest)| contest.claims().any(is_old));
        let contested = contested.map(|(device, _)| device);
        let concerned: BTreeSet<Device> = recorded.chain(contested).cloned().collect();
        let mut changes = Vec::new();
        for device in concerned {
            let is_recorded = self.by_device.get(&device).is_some_and(is_old);
            let left = is_recorded.then(|| self.remove(&device)).flatten().filter(|was| was.online);
            if let Some(contest) = self.contests.get_mut(&device)
                && contest.at(gateway).is_some_and(is_old)
            {
                contest.remove_at(gateway);
            }
            changes.push(self.resolve(now, &device, left));
        }
        changes.retain(Change::is_one);
        changes
    }

    /// Ends a contest that is over. Who is left over is where the device is; whether it has the newest session nobody knows.
    fn resolve(&mut self, now: Now, device: &Device, left: Option<Location>) -> Change {
        self.resolve_as(now, device, left, true)
    }

    fn resolve_as(&mut self, now: Now, device: &Device, left: Option<Location>, doubted: bool) -> Change {
        let verdict = self.contests.get(device).map(Contest::verdict);
        #[cfg(test)]
        let verdict = match self.plant {
            Some(Plant::FirstToArriveWins) => self.contests.get(device).map(Contest::verdict_for_the_first),
            Some(_) | None => verdict,
        };
        let device = device.clone();
        let (winner, losers) = match verdict {
            None | Some(Verdict::Open) => return Change { device, left, resolved: None },
            Some(Verdict::Nobody) => (None, Vec::new()),
            Some(Verdict::Won { winner, losers }) => (Some(Location { doubted, ..*winner }), losers),
        };
        self.contests.remove(&device);
        let Some(winner) = winner else {
            let left = left.or_else(|| self.leave(now, &device));
            let resolved =
                Resolution { winner: None, is_new: false, losers, forgotten: None, is_unasked: false };
            return Change { device, left, resolved: Some(resolved) };
        };
        let is_recorded = |found: &Location| found.online && found.is_same_session(&winner);
        let is_new = !self.by_device.get(&device).is_some_and(is_recorded);
        let forgotten = is_new.then(|| self.insert(&device, winner.clone())).flatten();
        if let Some(found) = self.by_device.get_mut(&device) {
            found.doubted = doubted;
            found.outlived.clone_from(&winner.outlived);
        }
        let resolved = Resolution { winner: Some(winner), is_new, losers, forgotten, is_unasked: false };
        Change { device, left, resolved: Some(resolved) }
    }

    fn contested_at(&self, gateway: &GatewayId) -> Vec<Device> {
        let meant = self.contests.iter().filter(|(_, contest)| contest.at(gateway).is_some());
        meant.map(|(device, _)| device.clone()).collect()
    }

    /// The device is not at that gateway: marked away if it is recorded there. The location as it was, if it was online.
    fn leave_from(&mut self, now: Now, device: &Device, gateway: &GatewayId) -> Option<Location> {
        self.by_device.get(device).filter(|found| found.gateway == *gateway)?;
        self.leave(now, device)
    }

    /// Marks a device away. The location as it is then, if it was online.
    fn leave(&mut self, now: Now, device: &Device) -> Option<Location> {
        let found = self.by_device.get_mut(device).filter(|found| found.online)?;
        self.order.remove(&found.place_in_order(device));
        found.online = false;
        self.online -= 1;
        found.since = now;
        self.order.insert(found.place_in_order(device));
        Some(found.clone())
    }

    /// Records it, in place of what was. The device that is forgotten to make room.
    fn insert(&mut self, device: &Device, new: Location) -> Option<Device> {
        let is_full = !self.by_device.contains_key(device) && self.by_device.len() >= self.max;
        let forgotten = is_full.then(|| self.forget_one()).flatten();
        self.remove(device);
        self.by_gateway.entry(new.gateway.clone()).or_default().insert(device.clone());
        self.order.insert(new.place_in_order(device));
        self.online += usize::from(new.online);
        self.by_device.insert(device.clone(), new);
        forgotten
    }

    fn remove(&mut self, device: &Device) -> Option<Location> {
        let old = self.by_device.remove(device)?;
        self.order.remove(&old.place_in_order(device));
        self.online -= usize::from(old.online);
        if let Some(recorded) = self.by_gateway.get_mut(&old.gateway) {
            recorded.remove(device);
            if recorded.is_empty() {
                self.by_gateway.remove(&old.gateway);
            }
        }
        Some(old)
    }

    fn forget_one(&mut self) -> Option<Device> {
        let (_, _, device) = self.order.first().cloned()?;
        self.remove(&device).map(|_| device)
    }

    /// Whether a record stands in the way of a new acceptance: only while its session is connected.
    fn refuses(&self, old: &Location) -> bool {
        #[cfg(test)]
        if self.plant == Some(Plant::Tombstones) {
            return true;
        }
        old.online
    }

    /// Whether `new` is after `old`; none if nobody can say.
    fn compare(&self, new: &Location, old: &Location) -> Option<bool> {
        #[cfg(test)]
        match self.plant {
            Some(Plant::LastToArriveWins) => return new.is_after(old).or(Some(true)),
            Some(Plant::Tombstones) if !old.online => return new.is_after(old).or(Some(false)),
            Some(Plant::ClocksAreComparedAsTheyAre) => return Some(new.accepted_at > old.accepted_at),
            Some(_) | None => {}
        }
        new.is_after(old)
    }
}

/// A rule that a test breaks on purpose.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Plant {
    LastToArriveWins,
    FirstToArriveWins,
    Tombstones,
    GoneIsIgnoredInAContest,
    ClocksAreComparedAsTheyAre,
}

impl Change {
    /// Whether it is any.
    fn is_one(&self) -> bool {
        self.left.is_some() || self.resolved.is_some()
    }
}

impl Location {
    fn place_in_order(&self, device: &Device) -> (bool, BootTime, Device) {
        (self.online, self.since.boot, device.clone())
    }

    fn is_same_session(&self, other: &Self) -> bool {
        self.gateway == other.gateway
            && self.incarnation == other.incarnation
            && self.session == other.session
    }

    /// Those have lost against it, and whatever has lost against them.
    pub(crate) fn outlives(&mut self, losers: &[Self]) {
        for loser in losers {
            let (gateway, incarnation, session) = (loser.gateway.clone(), loser.incarnation, loser.session);
            let itself = Outlived { gateway, incarnation, session };
            for older in loser.outlived.iter().cloned().chain([itself]) {
                if older.gateway != self.gateway {
                    self.outlived.retain(|known| known.gateway != older.gateway);
                    self.outlived.push(older);
                }
            }
        }
        let excess = self.outlived.len().saturating_sub(OUTLIVED_MAX);
        self.outlived.drain(..excess);
    }

    fn has_outlived(&self, other: &Self) -> bool {
        self.outlived.iter().any(|older| {
            let is_of_that_run = older.gateway == other.gateway && older.incarnation == other.incarnation;
            is_of_that_run && older.session >= other.session
        })
    }

    fn forget_outlived(&mut self, gateway: &GatewayId, incarnation: Incarnation, session: SessionId) {
        self.outlived.retain(|older| {
            older.gateway != *gateway || older.incarnation != incarnation || older.session > session
        });
    }

    /// Whether this acceptance happened after that one, as far as it was found before or the clocks tell; none if nobody can say.
    pub(crate) fn is_after(&self, other: &Self) -> Option<bool> {
        if self.gateway == other.gateway {
            // Of another incarnation there is no record: it was voided when this one was first seen.
            return Some((self.accepted_at, self.session) > (other.accepted_at, other.session));
        }
        if self.has_outlived(other) {
            return Some(true);
        }
        if other.has_outlived(self) {
            return Some(false);
        }
        let (this, that) = (self.interval?, other.interval?);
        if this.is_after(&that) { Some(true) } else { that.is_after(&this).then_some(false) }
    }
}

#[cfg(test)]
mod tests;
