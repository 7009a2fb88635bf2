//! One gateway as the router sees it: its run, its link, its lease, its sync.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use roost_wire::{
    BootTime, Device, Epoch, Heartbeat, InFlight, Incarnation, LinkId, Region, RouterRun, SyncNumber,
};

use crate::Lsn;
use crate::clock::ClockBounds;
use crate::journal::KnownGateway;

/// A gateway.
///
/// ```text
///            heartbeat               sync, durable
///  (first) ───────────► leased ─────────────────────► ready: commands may be forwarded
///                         │ ▲ ▲                         │  new link, inbox gone, publication lost, settle timeout:
///       no answer for     │ │ └─────────────────────────┘  leased, and owes a sync
///       lease + margin    ▼ │ heartbeat
///                       lapsed ── marker read ──► lost: nothing of it can come any more
/// ```
#[derive(Debug)]
pub struct Gateway {
    /// Its region, once it has said so.
    pub region: Option<Region>,
    /// Its newest run.
    pub incarnation: Incarnation,
    /// How its clock stands to ours.
    pub bounds: ClockBounds,
    /// How many devices it says are connected.
    pub sessions: u64,
    /// Whether it is going away.
    pub draining: bool,
    /// Whether it hands sessions over, and forgets those that are elsewhere.
    pub moves_sessions: bool,
    /// How long the last answer that it echoed and its next heartbeat were under way, together: each way by one clock, so that
    /// none has to be compared.
    pub round_trip: Option<Duration>,
    /// When its incarnation began, on its clock.
    pub started_at: Option<BootTime>,
    /// Since when it has told of every session, in this run: its lease has not lapsed since, other than when it went away for good, and
    /// no snapshot took the place of what it would have told. One
    /// that was killed and is back in time counts as one, since it had asked for what it took.
    pub(crate) in_touch_since: Option<BootTime>,
    /// When it was last answered in this run.
    pub answered_at: Option<BootTime>,
    /// Until when it may deliver commands, margin included; none if that has lapsed.
    pub(crate) lease_until: Option<BootTime>,
    /// The mark that must be read before what it holds is reassigned.
    pub(crate) marker: Option<Mark>,
    /// Whether the journal knows that nothing of it can come any more.
    pub(crate) lost: bool,
    /// Devices with a hold here, in any of its runs.
    pub(crate) holding: BTreeSet<Device>,
    /// When the journal's record of this incarnation is durable.
    pub(crate) seen_lsn: Lsn,
    /// The parts of a sync so far.
    pub(crate) sync_list: Option<Vec<InFlight>>,
    /// The parts of a snapshot so far.
    pub(crate) snapshot_list: Option<BTreeSet<Device>>,
    voided: VecDeque<Incarnation>,
    rival: Option<Rival>,
    link: Option<Link>,
    last_heartbeat: Option<u64>,
    synced: Option<Synced>,
    sync_owed: Option<Owed>,
    snapshot_owed: Option<Owed>,
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    inbox: String,
    control: String,
    /// The broker said that the inbox is not there.
    is_gone: bool,
}

/// An older run that says it is alive.
#[derive(Debug)]
struct Rival {
    incarnation: Incarnation,
    /// When its first heartbeat after that was read.
    since: BootTime,
    last: u64,
    is_known: bool,
}

#[derive(Debug)]
struct Synced {
    number: SyncNumber,
    /// Over which link, in this run; none if the journal says so.
    link: Option<LinkId>,
    lsn: Lsn,
}

#[derive(Debug, Clone, Copy)]
struct Owed {
    since: BootTime,
    asked_at: BootTime,
}

/// A mark in the settlement queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) number: u64,
    /// The newest hold there was when it was written: it says nothing about later ones.
    pub(crate) newest: Epoch,
}

/// Whether commands may be forwarded to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Ready,
    /// It is there, but its sync is not read yet, or its link is gone.
    NotReady,
    /// Its lease has lapsed: it is in doubt what it holds.
    Lapsed,
}

/// What a heartbeat is to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// To be answered.
    Fresh {
        /// It came over a link that was not known: what was said over the old one may be lost.
        new_link: bool,
        /// The lease had lapsed, or there was none in this run.
        regained: bool,
    },
    /// Read before, or of an older link.
    Repeated,
    /// It owes a sync for so long that it is not answered until its lease has lapsed.
    NotSynced,
}

impl Gateway {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self {
            region: None,
            incarnation,
            bounds: ClockBounds::default(),
            sessions: 0,
            draining: false,
            moves_sessions: false,
            round_trip: None,
            started_at: None,
            in_touch_since: None,
            answered_at: None,
            lease_until: None,
            marker: None,
            lost: false,
            holding: BTreeSet::new(),
            seen_lsn: Lsn::ZERO,
            sync_list: None,
            snapshot_list: None,
            voided: VecDeque::new(),
            rival: None,
            link: None,
            last_heartbeat: None,
            synced: None,
            sync_owed: None,
            snapshot_owed: None,
        }
    }

    /// As the journal knows it at a start. Unless it is lost it may hold a lease that the run before gave it.
    pub(crate) fn known(known: &KnownGateway, lease_until: BootTime) -> Self {
        Self {
            lease_until: (!known.lost).then_some(lease_until),
            lost: known.lost,
            voided: known.voided.clone(),
            synced: known.synced.map(|number| Synced { number, link: None, lsn: Lsn::ZERO }),
            ..Self::new(known.incarnation)
        }
    }

    pub(crate) fn is_voided(&self, incarnation: Incarnation) -> bool {
        self.voided.contains(&incarnation)
    }

    /// A voided run has sent a heartbeat. Whether that proves, for the first time, that it lives: one that was never read before
    /// does, so long (`proof`) after the first. What a process that has ended left on its way comes in one burst, however often
    /// it is delivered again.
    pub(crate) fn rival_beats(
        &mut self,
        now: BootTime,
        incarnation: Incarnation,
        number: u64,
        proof: Duration,
    ) -> bool {
        match self.rival.as_mut().filter(|rival| rival.incarnation == incarnation) {
            Some(rival) if number > rival.last => {
                rival.last = number;
                now.since(rival.since) >= proof && !std::mem::replace(&mut rival.is_known, true)
            }
            // Read before.
            Some(_) => false,
            None => {
                self.rival = Some(Rival { incarnation, since: now, last: number, is_known: false });
                false
            }
        }
    }

    /// A new run of it: everything that its old run said is void, and the new one owes a sync and a snapshot.
    pub(crate) fn begin_incarnation(&mut self, now: BootTime, incarnation: Incarnation, voided_max: usize) {
        if self.voided.len() >= voided_max {
            self.voided.pop_front();
        }
        self.voided.push_back(self.incarnation);
        let owed = Some(Owed { since: now, asked_at: now });
        *self = Self {
            region: self.region.take(),
            lease_until: self.lease_until,
            marker: self.marker,
            lost: self.lost,
            in_touch_since: self.in_touch_since,
            holding: std::mem::take(&mut self.holding),
            voided: std::mem::take(&mut self.voided),
            sync_owed: owed,
            snapshot_owed: owed,
            ..Self::new(incarnation)
        };
    }

    /// Takes in a heartbeat, short of answering it.
    pub(crate) fn pulse(
        &mut self,
        now: BootTime,
        link: LinkId,
        beat: &Heartbeat,
        run: RouterRun,
        patience: Duration,
    ) -> Pulse {
        let known = self.link.as_ref().map(|link| link.id);
        if self.last_heartbeat.is_some_and(|last| beat.number <= last)
            || known.is_some_and(|known| link < known)
        {
            return Pulse::Repeated;
        }
        self.last_heartbeat = Some(beat.number);
        self.bounds.heartbeat(now, beat.sent_at);
        if let Some(echo) = beat.echo.filter(|echo| echo.run == run) {
            self.bounds.echo(now, echo.answered_at, echo.read_at);
            let (ours, theirs) = (now.since(echo.answered_at), beat.sent_at.since(echo.read_at));
            self.round_trip = Some(ours.saturating_sub(theirs));
        }
        self.sessions = beat.sessions;
        self.draining = beat.draining;
        self.moves_sessions = beat.moves_sessions;
        self.started_at = beat.started_at;
        let regained = self.lease_until.is_none() || self.answered_at.is_none();
        let new_link = known != Some(link);
        if new_link {
            let (inbox, control) = (beat.inbox.clone(), beat.control.clone());
            self.link = Some(Link { id: link, inbox, control, is_gone: false });
            self.snapshot_list = None;
        }
        if new_link || regained {
            // Of its own accord it syncs and announces; it is asked only if that does not come.
            let fresh = Owed { since: now, asked_at: now };
            self.sync_owed = (!self.is_synced_over(link)).then_some(fresh);
            self.snapshot_owed = Some(fresh);
        } else if self.sync_owed.is_some_and(|owed| now.since(owed.since) > patience) {
            return Pulse::NotSynced;
        }
        Pulse::Fresh { new_link, regained }
    }

    /// It has been answered.
    pub(crate) fn answered(&mut self, now: BootTime, lease_until: BootTime) {
        self.answered_at = Some(now);
        self.in_touch_since.get_or_insert(now);
        self.lease_until = Some(lease_until);
        self.lost = false;
    }

    /// Its lease has lapsed.
    pub(crate) fn lapse(&mut self, marker: Mark) {
        self.lease_until = None;
        if !self.draining {
            self.in_touch_since = None;
        }
        self.marker = Some(marker);
        self.sync_list = None;
        self.snapshot_list = None;
        if let Some(synced) = &mut self.synced {
            synced.link = None;
        }
    }

    /// Its mark has been read. Unless its lease runs again, nothing of it can come any more.
    pub(crate) fn mark_read(&mut self) {
        self.marker = None;
        self.lost = self.lease_until.is_none();
    }

    /// It owes a sync from now on: none of its commands go out before that is read. True if it must be asked for.
    pub(crate) fn owe_sync(&mut self, now: BootTime) -> bool {
        let is_new = self.sync_owed.is_none();
        self.sync_owed.get_or_insert(Owed { since: now, asked_at: now });
        is_new
    }

    /// What it owes for so long that it is asked again: (sync, snapshot).
    pub(crate) fn overdue(&mut self, now: BootTime, after: Duration) -> (bool, bool) {
        let overdue = |owed: &mut Option<Owed>| match owed {
            Some(owed) if now.since(owed.asked_at) >= after => {
                owed.asked_at = now;
                true
            }
            Some(_) | None => false,
        };
        (overdue(&mut self.sync_owed), overdue(&mut self.snapshot_owed))
    }

    /// Whether a sync with that number says something new.
    pub(crate) fn is_new_sync(&self, number: SyncNumber) -> bool {
        self.synced.as_ref().is_none_or(|synced| number > synced.number)
    }

    /// A sync has been read to its end; its number counts once `lsn` is durable.
    pub(crate) fn sync(&mut self, number: SyncNumber, link: LinkId, lsn: Lsn) {
        // One that was written before its lease lapsed, and is read after: true as far as it goes, but it will sync anew if it
        // comes back, and if it does not, what is listed goes with it.
        let is_late = self.lease_until.is_none() && self.answered_at.is_some();
        self.synced = Some(Synced { number, link: (!is_late).then_some(link), lsn });
        if self.lease_until.is_some() {
            self.marker = None;
        }
        if let Some(known) = &mut self.link {
            known.is_gone &= known.id != link;
        }
        if self.link.as_ref().is_none_or(|known| known.id <= link) {
            self.sync_owed = None;
        }
    }

    /// It has said who is connected. It says so where it has dropped what happened before: a session that came and went is not named.
    pub(crate) fn snapshot(&mut self, now: BootTime) {
        self.snapshot_owed = None;
        if let Some(since) = &mut self.in_touch_since {
            *since = now;
        }
    }

    /// The broker said that the inbox is not there: this link has ended. The next one brings a sync; if none comes it is asked
    /// for, and without it the lease lapses.
    pub(crate) fn inbox_gone(&mut self, now: BootTime, inbox: &str) {
        if let Some(link) = self.link.as_mut().filter(|link| link.inbox == inbox) {
            link.is_gone = true;
            self.owe_sync(now);
        }
    }

    /// Whether commands may be forwarded to it.
    #[must_use]
    pub fn standing(&self, durable: Lsn) -> Standing {
        if self.lease_until.is_none() {
            return Standing::Lapsed;
        }
        let is_durable =
            self.synced.as_ref().is_some_and(|synced| synced.lsn <= durable) && self.seen_lsn <= durable;
        let linked =
            self.link.as_ref().filter(|link| !link.is_gone).is_some_and(|link| self.is_synced_over(link.id));
        match is_durable && linked && self.sync_owed.is_none() {
            true => Standing::Ready,
            false => Standing::NotReady,
        }
    }

    /// Whether every session that it had since that moment on the router's clock, in microseconds, is known, or it may be taken to
    /// have had none: what a gateway that is lost has accepted is not known before it is back.
    pub(crate) fn is_in_touch_since(&self, moment_micros: i64) -> bool {
        let since = self.in_touch_since.and_then(|since| i64::try_from(since.as_micros()).ok());
        self.lost || since.is_some_and(|since| since < moment_micros)
    }

    /// Whether a run of it before this one may have had a session that was accepted after that moment, in microseconds, and has
    /// taken it with it.
    pub(crate) fn may_have_lost_since(&self, moment_micros: i64) -> bool {
        let began = self.started_at.and_then(|started_at| self.bounds.latest(started_at));
        !self.voided.is_empty() && !self.lost && began.is_none_or(|began| began >= moment_micros)
    }

    /// Whether it can be asked something.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.lease_until.is_some() && self.answered_at.is_some() && self.link.is_some()
    }

    /// Whether nothing of it is heard for so long that an answer can't be counted on. One that was never heard in this run of the
    /// router may be on its way.
    pub(crate) fn has_lapsed(&self) -> bool {
        let was_heard = self.answered_at.is_some() || self.marker.is_some() || self.lost;
        self.lease_until.is_none() && was_heard
    }

    /// Where its commands go, and the number they carry.
    pub(crate) fn inbox(&self) -> Option<(&str, SyncNumber)> {
        let (link, synced) = (self.link.as_ref()?, self.synced.as_ref()?);
        Some((&link.inbox, synced.number))
    }

    /// Where a session goes that it has asked for.
    pub(crate) fn inbox_name(&self) -> Option<&str> {
        self.link.as_ref().filter(|link| !link.is_gone).map(|link| link.inbox.as_str())
    }

    pub(crate) fn control(&self) -> Option<&str> {
        self.link.as_ref().map(|link| link.control.as_str())
    }

    /// The link that it was last heard over.
    #[must_use]
    pub fn link(&self) -> Option<LinkId> {
        self.link.as_ref().map(|link| link.id)
    }

    /// The number of the sync that was read last.
    #[must_use]
    pub fn sync_number(&self) -> Option<SyncNumber> {
        self.synced.as_ref().map(|synced| synced.number)
    }

    fn is_synced_over(&self, link: LinkId) -> bool {
        self.synced.as_ref().is_some_and(|synced| synced.link == Some(link))
    }
}
