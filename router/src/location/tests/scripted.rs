//! One device, three gateways that tell the truth, and a table that reads what they say in some order.

use std::collections::BTreeSet;

use super::super::*;
use crate::clock::ClockBounds;

/// How well a gateway's clock is known when its sightings are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Not at all.
    Unknown,
    /// To a few milliseconds: no two sightings overlap.
    Tight,
    /// To about the time between two sightings: neighbours overlap.
    Near,
    /// To two minutes: all overlap.
    Wide,
    /// Tight for what happened in the second half, not at all before: a new run of the router.
    Late,
}

impl Known {
    pub(super) const ALL: [Self; 5] = [Self::Unknown, Self::Tight, Self::Near, Self::Wide, Self::Late];

    fn one_way_micros(self) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Tight | Self::Late => Some(1_000),
            Self::Near => Some(700_000),
            Self::Wide => Some(60_000_000),
        }
    }
}

/// The clocks of one case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    known: [Known; 3],
    /// How far ahead of the router's clock, in hours: -1, 0 or 1; and as many hundreds of ppm they run fast.
    ahead: [i64; 3],
    bounds: [ClockBounds; 3],
}

/// When the story begins, on the router's clock.
const START: u64 = 100 * 3_600 * 1_000_000;
/// Between two sightings.
const STEP: u64 = 1_000_000;

impl Clocks {
    pub(super) fn new(known: [Known; 3], ahead: [i64; 3]) -> Self {
        let mut clocks = Self { known, ahead, bounds: [ClockBounds::default(); 3] };
        for (place, known) in known.into_iter().enumerate() {
            let Some(way) = known.one_way_micros() else { continue };
            let at = |micros| BootTime::from_micros(micros);
            let (up, down) = (clocks.read(place, START), clocks.read(place, START + 2 * way));
            clocks.bounds[place].heartbeat(at(START + way), up);
            clocks.bounds[place].echo(at(START + 3 * way), at(START + way), down);
        }
        clocks
    }

    /// A gateway's clock at a moment of the router's.
    fn read(&self, place: usize, at: u64) -> BootTime {
        const HOUR: i64 = 3_600 * 1_000_000;
        let run = (at - START) as i64;
        let drift = run * 100 * self.ahead[place] / 1_000_000;
        BootTime::from_micros((at as i64 + self.ahead[place] * HOUR + drift) as u64)
    }

    fn interval(&self, place: usize, step: u64, accepted_at: BootTime) -> Option<Interval> {
        if self.known[place] == Known::Late && step < 3 {
            return None;
        }
        let interval = self.bounds[place].interval(accepted_at)?;
        let real = (START + step * STEP) as i64;
        assert!(interval.earliest_micros <= real && real <= interval.latest_micros, "{self:?}: {interval:?}");
        Some(interval)
    }
}

/// What a gateway says. `step` is when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Word {
    Accepted { session: u64, step: u64 },
    Gone { session: u64, step: u64 },
    Claim { question: QuestionId, session: u64, step: u64 },
    Absent { question: QuestionId },
}

/// What really happened: whom each gateway has, and where the device's own socket is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Truth {
    pub(super) said: [Vec<Word>; 3],
    open: [Option<(u64, u64)>; 3],
    /// The gateway of the connection that the device uses. Others that are open are sockets whose end nobody has seen.
    device_at: Option<usize>,
    step: u64,
    sessions: u64,
}

impl Truth {
    /// How many sightings there were.
    pub(super) fn sightings(&self) -> usize {
        self.said.iter().map(Vec::len).sum()
    }

    /// How many gateways were used; they are used in the order of their names, which loses nothing.
    fn used(&self) -> usize {
        self.said.iter().filter(|said| !said.is_empty()).count()
    }

    /// Everything that can happen next.
    pub(super) fn futures(&self) -> Vec<Self> {
        let connects = (0..3.min(self.used() + 1)).map(|place| {
            let mut next = self.clone();
            next.connects(place);
            next
        });
        let closes = (0..3).filter(|&place| self.open[place].is_some()).map(|place| {
            let mut next = self.clone();
            next.closes(place);
            next
        });
        connects.chain(closes).collect()
    }

    fn connects(&mut self, place: usize) {
        if self.open[place].is_some() {
            self.closes(place);
        }
        self.step += 1;
        self.sessions += 1;
        let (session, step) = (self.sessions, self.step);
        self.said[place].push(Word::Accepted { session, step });
        self.open[place] = Some((session, step));
        self.device_at = Some(place);
    }

    fn closes(&mut self, place: usize) {
        let Some((session, _)) = self.open[place].take() else { return };
        self.step += 1;
        self.said[place].push(Word::Gone { session, step: self.step });
        if self.device_at == Some(place) {
            self.device_at = None;
        }
    }
}

/// A story that is being read.
#[derive(Clone)]
pub(super) struct Reading {
    clocks: Clocks,
    /// The words that were read, in order.
    pub(super) order: Vec<(usize, Word)>,
    pub(super) state: State,
}

/// All of a reading that what follows depends on, but for the clocks: two readings of a story that have come to the same state by different
/// orders go on alike.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) truth: Truth,
    table: Locations,
    /// How many words of each gateway were read.
    read: [usize; 3],
    /// Sessions that the sightings read so far say are connected.
    heard: BTreeSet<u64>,
    /// Those of them that a gateway held when it was asked.
    claimed: BTreeSet<u64>,
    /// The last thing that is known to have happened when a question is asked.
    latest: u64,
    questions: u64,
    acceptances: u64,
    /// Where answers that are still to be placed belong: the gateway and its question.
    pub(super) unplaced: Vec<(usize, QuestionId)>,
    is_replayed: bool,
    /// What must not have happened.
    pub(super) wrong: Option<String>,
}

/// How often a device may be made to connect again before it is for ever.
const SESSIONS_MAX: u64 = 20;

fn device() -> Device {
    "d".parse().unwrap()
}

fn name(place: usize) -> GatewayId {
    ["g1", "g2", "g3"][place].parse().unwrap()
}

fn place_of(gateway: &GatewayId) -> usize {
    (0..3).find(|&place| name(place) == *gateway).unwrap()
}

impl Reading {
    pub(super) fn new(truth: Truth, clocks: Clocks, plant: Option<Plant>) -> Self {
        let table = Locations { plant, ..Locations::new(10, 10) };
        Self {
            clocks,
            order: Vec::new(),
            state: State {
                truth,
                table,
                read: [0; 3],
                heard: BTreeSet::new(),
                claimed: BTreeSet::new(),
                latest: 0,
                questions: 0,
                acceptances: 0,
                unplaced: Vec::new(),
                is_replayed: false,
                wrong: None,
            },
        }
    }

    /// Whether a gateway has said something that is not read.
    pub(super) fn has_next(&self, place: usize) -> bool {
        self.state.read[place] < self.state.truth.said[place].len()
    }

    /// Reads the next word of a gateway.
    pub(super) fn next(&mut self, place: usize) {
        let word = self.state.truth.said[place][self.state.read[place]];
        self.state.read[place] += 1;
        self.order.push((place, word));
        self.hear(place, word);
    }

    /// Reads words again, as after a lost connection.
    pub(super) fn again(&mut self, words: &[(usize, Word)]) {
        self.state.is_replayed = true;
        for (place, word) in words {
            self.hear(*place, *word);
        }
    }

    /// Where a gateway may place its answer to a question: behind what it had said when the question was asked, at the earliest.
    pub(super) fn answer_places(&self, place: usize) -> std::ops::RangeInclusive<usize> {
        let said = &self.state.truth.said[place];
        let happened = said.iter().rposition(|word| match word {
            Word::Accepted { step, .. } | Word::Gone { step, .. } => *step <= self.state.latest,
            // Answers stand in the order of the questions.
            Word::Claim { .. } | Word::Absent { .. } => true,
        });
        self.state.read[place].max(happened.map_or(0, |last| last + 1))..=said.len()
    }

    /// A gateway answers truly, by what has happened there up to that place.
    pub(super) fn answer(&mut self, place: usize, question: QuestionId, at: usize) {
        let held = self.state.truth.said[place][..at].iter().rev().find_map(|word| match word {
            Word::Accepted { session, step } => Some(Some((*session, *step))),
            Word::Gone { .. } => Some(None),
            Word::Claim { .. } | Word::Absent { .. } => None,
        });
        let word = match held.flatten() {
            Some((session, step)) => Word::Claim { question, session, step },
            None => Word::Absent { question },
        };
        self.state.truth.said[place].insert(at, word);
    }

    /// What the end of a story must be: the device is where it is, nowhere else, and it is not asked about any more.
    pub(super) fn judge(&mut self) {
        let found = self.state.table.find(&device()).filter(|found| found.online);
        let found = found.map(|found| (place_of(&found.gateway), found.session.0));
        let open: Vec<(usize, u64)> =
            (0..3).filter_map(|place| Some((place, self.state.truth.open[place]?.0))).collect();
        let is_right = match (&open[..], found) {
            ([], None) => true,
            ([only], Some(found)) => *only == found,
            _ => false,
        };
        if !is_right {
            self.fail(format!("open at the end: {open:?}; the table has {found:?}"));
        }
        if self.state.table.is_contested(&device()) {
            self.fail("a question has no end".to_owned());
        }
        if !self.state.is_replayed && self.state.questions >= self.state.acceptances.max(1) {
            self.fail(format!(
                "{} questions for {} acceptances",
                self.state.questions, self.state.acceptances
            ));
        }
    }

    fn fail(&mut self, what: String) {
        self.state.wrong.get_or_insert(what);
    }

    /// As `router/sightings.rs` does it.
    fn hear(&mut self, place: usize, word: Word) {
        let (gateway, incarnation, device) = (name(place), Incarnation(1), device());
        let now = Now { boot: BootTime::from_micros(START), ..Now::default() };
        match word {
            Word::Accepted { session, step } => {
                self.state.latest = self.state.latest.max(step);
                self.state.acceptances += 1;
                self.present(place, session, step);
            }
            Word::Gone { session, step } => {
                self.state.latest = self.state.latest.max(step);
                self.state.heard.remove(&session);
                self.state.claimed.remove(&session);
                let change = self.state.table.gone(now, &device, &gateway, incarnation, SessionId(session));
                self.changed(Some(change));
            }
            Word::Claim { question, session, step } => {
                self.state.claimed.insert(session);
                if self.present(place, session, step) {
                    let by = (&gateway, SessionId(session));
                    let change = self.state.table.claimed(now, question, &device, by);
                    self.changed(change);
                }
            }
            Word::Absent { question } => {
                let change = self.state.table.absent(now, question, &device, &gateway);
                self.changed(change);
            }
        }
    }

    fn present(&mut self, place: usize, session: u64, step: u64) -> bool {
        self.state.heard.insert(session);
        let accepted_at = self.clocks.read(place, START + step * STEP);
        let new = Location {
            moved: false,
            doubted: false,
            outlived: Vec::new(),
            gateway: name(place),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(1),
            session: SessionId(session),
            accepted_at,
            interval: self.clocks.interval(place, step, accepted_at),
            since: Now::default(),
            online: true,
        };
        match self.state.table.accept(&device(), new, |_| true) {
            Acceptance::Known => true,
            Acceptance::Older { elsewhere } => {
                if elsewhere {
                    self.close(place, session);
                }
                false
            }
            Acceptance::Taken(resolved) => {
                self.close_all(&resolved.losers);
                true
            }
            Acceptance::Contested { losers } => {
                self.close_all(&losers);
                let mut is_first = false;
                let mut questions = self.state.questions;
                let draw = || {
                    is_first = true;
                    questions += 1;
                    QuestionId(questions)
                };
                let asked = self.state.table.ask(&device(), draw);
                self.state.questions = questions;
                let (question, waiting) = asked.expect("it is contested");
                let waiting = waiting.iter().map(place_of).filter(|at| is_first || *at == place);
                self.state.unplaced.extend(waiting.map(|at| (at, question)));
                true
            }
        }
    }

    fn changed(&mut self, change: Option<Change>) {
        if let Some(resolved) = change.and_then(|change| change.resolved) {
            self.close_all(&resolved.losers);
        }
    }

    fn close_all(&mut self, losers: &[Location]) {
        for loser in losers {
            self.close(place_of(&loser.gateway), loser.session.0);
        }
    }

    /// The router has a session closed: if it is there, its end is a sighting; and its device connects again.
    fn close(&mut self, place: usize, session: u64) {
        if self.state.truth.open[place].is_none_or(|(open, _)| open != session) {
            return;
        }
        if !self.state.heard.iter().any(|other| *other != session) {
            self.fail(format!("session {session} was closed though no other was heard of"));
        }
        let is_live = self.state.truth.device_at == Some(place);
        let has_rival = self.state.truth.open.iter().flatten().count() > 1
            || self.state.claimed.iter().any(|other| *other != session);
        if is_live && !has_rival {
            self.fail(format!("session {session} was closed, which the device uses, and no other was open"));
        }
        self.state.truth.closes(place);
        if is_live && self.state.truth.sessions < SESSIONS_MAX {
            self.state.truth.connects(place);
        } else if is_live {
            self.fail("it is closed for ever and ever".to_owned());
        }
    }
}

impl Reading {
    pub(super) fn questions_asked(&self) -> u64 {
        self.state.questions
    }

    /// For who reads a failure.
    pub(super) fn story(&self) -> String {
        let Self { clocks: Clocks { known, ahead, .. }, order, state: State { truth, .. } } = self;
        format!("clocks {known:?} {ahead:?}\nsaid {:?}\nread {order:?}", truth.said)
    }
}
