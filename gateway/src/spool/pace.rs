//! How fast the line may go when there is a backlog, so that live events hardly feel it.
//!
//! A window that is as large as the path carries without a queue of its own: low extra delay background transport (RFC 6817), with the
//! slow start and the multiplicative decrease of LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus), counted in events instead of bytes
//! and taken stock of once a round trip. What it reads is the time from a publication to its confirm: when that grows, a queue does.
//!
//! A window that yields to everybody could starve, and the spool would fill. So each event that comes lets [`PER_ARRIVAL`] go, whatever
//! the window says: the line drains at that many times the live rate where the backend can carry it at all, and a line without a
//! backlog is never held up. Neither publishes into the void: where nothing is answered any more, the line waits for the first answer,
//! because all that is under way when a link turns out to be cut comes at once when it is whole.
//!
//! A path may become a longer one during a backlog, which looks like a queue that does not go away. A window that stays at its least is
//! therefore looked into: the backlog is silent for two round trips, floor and all, and what the second of them takes is the path's own
//! delay from then on (the slowdown of LEDBAT++).

use std::collections::VecDeque;
use std::time::Duration;

use roost_wire::BootTime;

/// Events that may leave for each one that comes.
const PER_ARRIVAL: usize = 3;
/// Leave that is saved up at most: a burst of so many is as good as nothing to a broker.
const SAVED_MAX: usize = 100;

/// The queue that the backlog may cause, as time; a quarter of the path's own delay where that is more, since a long path varies by more.
const TARGET: Duration = Duration::from_micros(500);

/// Without an answer for so long, or four times the path's own delay, the line waits for one.
const STALLED_AFTER: Duration = Duration::from_millis(250);
/// After so long nothing steps in front of it any more: what does not, waits for the whole backlog, so a backend that is merely slow must
/// not come to it.
const LOST_AFTER: Duration = Duration::from_secs(3);

const WINDOW_MIN: usize = 2;
const WINDOW_FIRST: usize = 16;

/// The smallest delay of so many minutes is the path's own. While there is a backlog no minute ends: its own queue would become the path's.
const BASE_MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// A window that has been at its least for so long may have the wrong idea of the path.
const LOOKS_INTO_AFTER: Duration = Duration::from_secs(10);

/// A publication, when it is made: [`Pace::answered`] wants it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    number: u64,
    at: BootTime,
}

/// One round trip: from a publication until the next one after its answer.
#[derive(Debug, Default)]
struct Round {
    /// It is over when this publication is answered, or a later one.
    ends_with: u64,
    delays: Duration,
    answers: u32,
    /// Whether the window held something up.
    was_full: bool,
}

/// How much of the backlog may be under way.
#[derive(Debug)]
pub(super) struct Pace {
    window: usize,
    window_max: usize,
    is_slow_start: bool,
    sent: u64,
    /// Published and not answered; what was refused and waits is not among it.
    under_way: usize,
    /// Since when it waits for the next answer.
    waits_since: BootTime,
    /// What was published before says nothing of the path as it is now.
    reads_from: BootTime,
    round: Round,
    /// The smallest mean delay of each of the last minutes, the present one at the end.
    bases: VecDeque<Duration>,
    minute_ends: BootTime,
    saved: usize,
    /// Since when the window is at its least.
    least_since: Option<BootTime>,
    /// For how many more round trips the backlog is silent.
    silent: u8,
}

impl Pace {
    pub(super) fn new(window_max: usize, now: BootTime) -> Self {
        Self {
            window: WINDOW_FIRST.min(window_max),
            window_max,
            is_slow_start: true,
            sent: 0,
            under_way: 0,
            waits_since: now,
            reads_from: now,
            round: Round::default(),
            bases: VecDeque::new(),
            minute_ends: now + MINUTE,
            saved: 0,
            least_since: None,
            silent: 0,
        }
    }

    /// The path is another, or new: the window begins again.
    pub(super) fn begin(&mut self, now: BootTime) {
        self.window = WINDOW_FIRST.min(self.window_max);
        self.is_slow_start = true;
        self.waits_since = now;
        self.reads_anew(now);
    }

    /// An event has come.
    pub(super) fn arrived(&mut self) {
        self.saved = (self.saved + PER_ARRIVAL).min(SAVED_MAX);
    }

    /// Whether the line may publish one more.
    pub(super) fn may_go(&mut self, now: BootTime) -> bool {
        let has_room = self.under_way < self.window;
        self.round.was_full |= !has_room;
        let may_go_beyond = self.saved > 0 && self.silent == 0;
        (has_room || may_go_beyond) && self.waits(now) <= STALLED_AFTER.max(self.base() * 4)
    }

    /// Whether an event may step in front of the line.
    pub(super) fn may_step_ahead(&self, now: BootTime) -> bool {
        self.waits(now) <= LOST_AFTER + self.base() * 4
    }

    /// Something is published: out of the line, or past it.
    pub(super) fn sends(&mut self, now: BootTime) -> Sent {
        self.sent += 1;
        self.saved = self.saved.saturating_sub(1);
        self.sends_again(now);
        Sent { number: self.sent, at: now }
    }

    /// Something that was refused is published again.
    pub(super) fn sends_again(&mut self, now: BootTime) {
        if self.under_way == 0 {
            self.waits_since = now;
        }
        self.under_way += 1;
    }

    /// The backend has it for good.
    pub(super) fn answered(&mut self, now: BootTime, sent: Sent, is_backlog: bool) {
        self.heard(now);
        if sent.at < self.reads_from {
            return;
        }
        self.round.delays += now.since(sent.at);
        self.round.answers += 1;
        if sent.number >= self.round.ends_with {
            let ended = std::mem::take(&mut self.round);
            self.round.ends_with = self.sent + 1;
            self.take_stock(now, &ended, is_backlog);
        }
    }

    /// The backend refused something: that is worse than a queue.
    pub(super) fn refused(&mut self, now: BootTime) {
        self.heard(now);
        self.window = (self.window / 2).max(WINDOW_MIN);
        self.is_slow_start = false;
        self.reads_anew(now);
    }

    fn heard(&mut self, now: BootTime) {
        self.under_way = self.under_way.saturating_sub(1);
        self.waits_since = now;
    }

    fn waits(&self, now: BootTime) -> Duration {
        if self.under_way == 0 { Duration::ZERO } else { now.since(self.waits_since) }
    }

    /// The path's own delay, as far as it is known.
    fn base(&self) -> Duration {
        self.bases.iter().min().copied().unwrap_or_default()
    }

    fn reads_anew(&mut self, now: BootTime) {
        self.reads_from = now;
        (self.least_since, self.silent) = (None, 0);
        self.round = Round { ends_with: self.sent + 1, ..Round::default() };
    }

    fn take_stock(&mut self, now: BootTime, round: &Round, is_backlog: bool) {
        let delay = round.delays / round.answers;
        match self.silent {
            0 => {}
            1 => {
                self.bases.clear();
                (self.silent, self.is_slow_start) = (0, true);
            }
            // What was under way before is among it.
            _ => return self.silent -= 1,
        }
        if self.bases.is_empty() || (now >= self.minute_ends && !is_backlog) {
            self.minute_ends = now + MINUTE;
            self.bases.push_back(delay);
            if self.bases.len() > BASE_MINUTES {
                self.bases.pop_front();
            }
        } else if let Some(base) = self.bases.back_mut() {
            *base = delay.min(*base);
        }
        let base = self.base();
        let target = TARGET.max(base / 4);
        let queued = delay.saturating_sub(base);
        let window = self.window;
        if queued > target {
            let over = (queued - target).as_secs_f64() / target.as_secs_f64();
            self.window = window - (window as f64 * over.min(0.5)) as usize;
            self.is_slow_start = false;
        } else if self.is_slow_start && queued > target / 4 * 3 {
            self.is_slow_start = false;
        } else if round.was_full {
            self.window += if self.is_slow_start { window } else { (window / 16).max(1) };
        }
        self.window = self.window.clamp(WINDOW_MIN.min(self.window_max), self.window_max);
        let is_least = is_backlog && self.window <= WINDOW_MIN;
        self.least_since = is_least.then(|| self.least_since.unwrap_or(now));
        if self.least_since.is_some_and(|since| now.since(since) >= LOOKS_INTO_AFTER) {
            (self.least_since, self.silent) = (None, 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that carries one event each `service`, of all that wait for it, and answers `away` later.
    struct Path {
        pace: Pace,
        now: BootTime,
        service: Duration,
        away: Duration,
        is_free_at: BootTime,
        under_way: VecDeque<(BootTime, Sent)>,
        slowest: Duration,
        answered: usize,
    }

    impl Path {
        fn new(service_us: u64, away_us: u64) -> Self {
            let now = BootTime::from_micros(1_000_000_000);
            Self {
                pace: Pace::new(1_000, now),
                now,
                service: Duration::from_micros(service_us),
                away: Duration::from_micros(away_us),
                is_free_at: now,
                under_way: VecDeque::new(),
                slowest: Duration::ZERO,
                answered: 0,
            }
        }

        fn send(&mut self) {
            let sent = self.pace.sends(self.now);
            self.is_free_at = self.is_free_at.max(self.now) + self.service;
            self.under_way.push_back((self.is_free_at + self.away, sent));
        }

        /// Lets time go by: a live event now and then, and the backlog whenever it may.
        fn run(&mut self, time: Duration, live_every: Duration, is_backlog: bool) {
            let end = self.now + time;
            let mut live_at = self.now;
            (self.slowest, self.answered) = (Duration::ZERO, 0);
            while self.now < end {
                if self.now >= live_at {
                    live_at = self.now + live_every;
                    self.pace.arrived();
                    self.send();
                }
                while is_backlog && self.pace.may_go(self.now) {
                    self.send();
                }
                let answer = self.under_way.front().map_or(live_at, |(at, _)| *at);
                self.now = answer.min(live_at).max(self.now);
                while let Some((at, sent)) = self.under_way.pop_front_if(|(at, _)| *at <= self.now) {
                    self.slowest = self.slowest.max(at.since(sent.at));
                    self.answered += 1;
                    self.pace.answered(at, sent, is_backlog);
                }
            }
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_backlog_takes_what_the_path_carries_and_makes_no_queue() {
        // Next door, across a country, around the world; what each carries is between one and five thousand a second.
        for (service_us, away_us) in [(200, 1_000), (1_000, 1_000), (200, 20_000), (500, 150_000)] {
            let mut path = Path::new(service_us, away_us);
            let live_every = Duration::from_millis(20);
            path.run(30 * SECOND, live_every, false);
            let alone = path.slowest;
            path.run(5 * SECOND, live_every, true);
            path.run(30 * SECOND, live_every, true);
            let (carries, took) = (30_000_000 / service_us as usize, path.answered);
            assert!(took * 10 > carries * 8, "{took} of {carries} by {service_us}+{away_us} us");
            // A live event lets some go at once, and they go before the next.
            let bound = alone + 2 * TARGET.max(alone / 4) + PER_ARRIVAL as u32 * path.service;
            assert!(
                path.slowest <= bound,
                "{:?} by {service_us}+{away_us} us, {alone:?} alone",
                path.slowest
            );
        }
    }

    #[test]
    fn on_a_path_that_others_fill_the_line_goes_at_three_times_the_live_rate() {
        let mut path = Path::new(200, 1_000);
        path.run(10 * SECOND, Duration::from_millis(10), false);
        // Everything takes 50 ms more from now on: the window yields.
        path.away += Duration::from_millis(50);
        path.run(2 * SECOND, Duration::from_millis(1), true);
        assert_eq!(path.pace.window, WINDOW_MIN);
        path.run(5 * SECOND, Duration::from_millis(1), true);
        assert_eq!(path.pace.window, WINDOW_MIN);
        assert!(path.answered >= 14_500, "{} answered of 5,000 live ones and a backlog", path.answered);
    }

    #[test]
    fn a_path_that_became_longer_during_a_backlog_carries_as_much() {
        let mut path = Path::new(200, 1_000);
        let live_every = Duration::from_millis(200);
        path.run(10 * SECOND, live_every, false);
        path.run(10 * SECOND, live_every, true);
        path.away += Duration::from_millis(79);
        path.run(20 * SECOND, live_every, true);
        path.run(30 * SECOND, live_every, true);
        assert!(path.answered * 10 > 150_000 * 8, "{} of 150,000", path.answered);
        // And it is not taken for longer than it is.
        let bound = (path.away + path.service).mul_f64(1.5);
        assert!(path.slowest <= bound, "{:?}, {:?} away", path.slowest, path.away);
    }

    #[test]
    fn a_queue_of_its_own_is_not_taken_for_the_path() {
        // The path carries a thousand a second: the live ones and the floor are nearly that.
        let mut path = Path::new(1_000, 1_000);
        let live_every = Duration::from_micros(4_200);
        path.run(10 * SECOND, live_every, false);
        path.run(60 * SECOND, live_every, true);
        path.run(60 * SECOND, live_every, true);
        let base = path.pace.base();
        assert!(base < Duration::from_millis(4), "{base:?}");
    }

    #[test]
    fn a_path_that_comes_back_is_tried_anew() {
        let mut path = Path::new(200, 1_000);
        path.run(5 * SECOND, Duration::from_millis(10), true);
        // Under way when the link was cut, answered ten minutes later.
        let old = path.pace.sends(path.now);
        path.now = path.now + 600 * SECOND;
        path.pace.begin(path.now);
        path.pace.answered(path.now, old, true);
        assert_eq!((path.pace.window, path.pace.is_slow_start), (WINDOW_FIRST, true));
        assert_eq!(path.pace.round.answers, 0, "its time says nothing");
    }

    #[test]
    fn nothing_is_published_into_the_void() {
        let mut path = Path::new(200, 1_000);
        path.run(5 * SECOND, Duration::from_millis(1), false);
        let cut = path.now;
        // A thousand events a second come, and none is answered any more.
        let sent = (0..10_000_u32).filter(|ms| {
            let now = cut + Duration::from_millis(1) * *ms;
            path.pace.arrived();
            let goes = path.pace.may_go(now);
            if goes {
                path.pace.sends(now);
            }
            goes
        });
        assert!((200..300).contains(&sent.count()));
        let (soon, late) = (cut + 3 * SECOND, cut + 4 * SECOND);
        assert!(path.pace.may_step_ahead(soon) && !path.pace.may_step_ahead(late));
        path.pace.heard(late);
        assert!(path.pace.may_go(late) && path.pace.may_step_ahead(late));
    }

    #[test]
    fn who_waits_to_be_tried_again_holds_nobody_up() {
        let now = BootTime::from_micros(1_000_000);
        let mut pace = Pace::new(1_000, now);
        pace.sends(now);
        pace.refused(now);
        assert!(pace.may_go(now + 10 * SECOND));
        pace.sends_again(now + 10 * SECOND);
        assert!(pace.may_go(now + 10 * SECOND) && !pace.may_go(now + 11 * SECOND));
    }

    #[test]
    fn a_refusal_halves_the_window_and_is_not_timed() {
        let mut path = Path::new(200, 20_000);
        path.run(5 * SECOND, Duration::from_millis(10), true);
        let before = path.pace.window;
        let refused = path.pace.sends(path.now);
        path.pace.refused(path.now + SECOND);
        path.pace.answered(path.now + 2 * SECOND, refused, true);
        assert_eq!(path.pace.window, before / 2);
        assert_eq!(path.pace.round.answers, 0);
    }
}
