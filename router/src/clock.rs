//! How a gateway's clock stands to the router's: bounds that heartbeats give, and never a wall clock.
//!
//! `offset` is the router's clock minus the gateway's. A heartbeat sent at g and received at r gives `offset ≤ r − g`, since it
//! took some time; an answer written at r and read at g gives `offset ≥ r − g`. Bounds are intersected over time. Two clocks may
//! drift apart, so a bound widens by 200 ppm of the time since it was measured.

use roost_wire::BootTime;

/// The bounds of one incarnation's clock, in one run of the router. Never persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockBounds {
    low: Option<Bound>,
    high: Option<Bound>,
}

/// A stretch of the router's clock in which something happened, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Interval {
    /// Not before this.
    pub earliest_micros: i64,
    /// Not after this.
    pub latest_micros: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    micros: i64,
    measured_at: i64,
}

/// How far two clocks may drift apart: 200 parts in a million, twice what ordinary crystals do.
const DRIFT_PPM: i64 = 200;

impl ClockBounds {
    /// A heartbeat that was sent at `sent` on the gateway's clock has been received at `now`.
    pub fn heartbeat(&mut self, now: BootTime, sent: BootTime) {
        let (now, micros) = (micros(now), micros(now) - micros(sent));
        match self.high {
            Some(high) if high.above(now) <= micros => {}
            Some(_) | None => self.high = Some(Bound { micros, measured_at: now }),
        }
        self.forget_if_empty(now);
    }

    /// An answer of this run that was written at `answered` was read at `read` on the gateway's clock.
    pub fn echo(&mut self, now: BootTime, answered: BootTime, read: BootTime) {
        let (now, answered) = (micros(now), micros(answered));
        let new = Bound { micros: answered - micros(read), measured_at: answered };
        match self.low {
            Some(low) if low.below(now) >= new.below(now) => {}
            Some(_) | None => self.low = Some(new),
        }
        self.forget_if_empty(now);
    }

    /// When an event at `at` on the gateway's clock happened on the router's; `None` while a bound is missing.
    #[must_use]
    pub fn interval(&self, at: BootTime) -> Option<Interval> {
        let (low, high, at) = (self.low?, self.high?, micros(at));
        let earliest_micros = at + low.below(at + low.micros);
        let latest_micros = at + high.above(at + high.micros);
        Some(Interval { earliest_micros, latest_micros })
    }

    /// As [`Self::interval`], of an event that has been heard of by `now`, and so has happened by then, whatever is known of the clock.
    #[must_use]
    pub fn interval_heard(&self, now: BootTime, at: BootTime) -> Interval {
        let now = micros(now);
        match self.interval(at) {
            Some(bounded) if bounded.earliest_micros <= now => {
                Interval { latest_micros: bounded.latest_micros.min(now), ..bounded }
            }
            // Bounds that say it is still to come are worth nothing.
            Some(_) | None => Interval { earliest_micros: i64::MIN, latest_micros: now },
        }
    }

    /// The last moment at which an event may have happened, which one bound suffices for.
    #[must_use]
    pub fn latest(&self, at: BootTime) -> Option<i64> {
        let (high, at) = (self.high?, micros(at));
        Some(at + high.above(at + high.micros))
    }

    /// The bounds as they stand, for people: the least and the greatest offset in microseconds.
    #[must_use]
    pub fn offset_micros(&self, now: BootTime) -> Option<(i64, i64)> {
        Some((self.low?.below(micros(now)), self.high?.above(micros(now))))
    }

    /// Bounds that contradict each other come from a clock that stood still or jumped: none of them is worth anything, and the
    /// next round trip begins anew.
    fn forget_if_empty(&mut self, now: i64) {
        if let (Some(low), Some(high)) = (self.low, self.high)
            && low.below(now) > high.above(now)
        {
            *self = Self::default();
        }
    }
}

impl Bound {
    fn below(self, at: i64) -> i64 {
        self.micros - drift(at, self.measured_at)
    }

    fn above(self, at: i64) -> i64 {
        self.micros + drift(at, self.measured_at)
    }
}

impl Interval {
    /// How wide it is, if it has a beginning.
    #[must_use]
    pub const fn width_micros(&self) -> Option<i64> {
        self.latest_micros.checked_sub(self.earliest_micros)
    }

    /// Whether all of it is later than all of the other.
    #[must_use]
    pub const fn is_after(&self, other: &Self) -> bool {
        self.earliest_micros > other.latest_micros
    }
}

fn drift(a: i64, b: i64) -> i64 {
    // Rounded up, so that a short stretch widens as well.
    ((a - b).abs() * DRIFT_PPM + 999_999) / 1_000_000
}

/// Clocks count from a boot: what does not fit in 63 bits of microseconds never happens. A stranger's number is cut, so that
/// differences and drifts of any two fit.
fn micros(time: BootTime) -> i64 {
    const MAX: u64 = 1 << 53;
    i64::try_from(time.as_micros().min(MAX)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn at(millis: u64) -> BootTime {
        BootTime::from_micros(millis * MS)
    }

    #[test]
    fn a_round_trip_bounds_the_offset_on_both_sides() {
        let mut bounds = ClockBounds::default();
        // The router's clock is 1,000 ms ahead; each way takes 10 ms.
        bounds.heartbeat(at(5_010), at(4_000));
        assert_eq!(bounds.interval(at(4_000)), None, "one side is not enough");
        bounds.echo(at(5_030), at(5_010), at(4_020));
        let interval = bounds.interval(at(4_020)).unwrap();
        assert!(interval.earliest_micros <= 5_020_000 && interval.latest_micros >= 5_020_000, "{interval:?}");
        let width = interval.latest_micros - interval.earliest_micros;
        assert!((20_000..20_100).contains(&width), "{width}");
    }

    #[test]
    fn a_narrower_bound_stays_until_it_has_widened_beyond_a_new_one() {
        let mut bounds = ClockBounds::default();
        bounds.echo(at(1_000), at(1_000), at(1_000));
        bounds.heartbeat(at(1_001), at(1_000));
        bounds.heartbeat(at(2_000), at(1_950));
        let (_, high) = bounds.offset_micros(at(2_000)).unwrap();
        assert_eq!(high, 1_000 + 200, "a slow heartbeat adds nothing but drift: 200 µs in a second");
        // After a day the old bound is 17 s wide; the new one is 50 ms.
        bounds.heartbeat(at(86_400_050), at(86_400_000));
        assert_eq!(bounds.offset_micros(at(86_400_050)).unwrap().1, 50_000);
    }

    #[test]
    fn a_clock_that_stood_still_has_no_bounds_until_it_is_measured_again() {
        let mut bounds = ClockBounds::default();
        bounds.echo(at(1_000), at(1_000), at(1_000));
        bounds.heartbeat(at(1_010), at(1_005));
        // The router was paused for a minute: the gateway's clock is suddenly far ahead.
        bounds.heartbeat(at(1_020), at(61_020));
        assert_eq!(bounds.offset_micros(at(1_020)), None);
        bounds.echo(at(1_040), at(1_025), at(61_030));
        bounds.heartbeat(at(1_050), at(61_040));
        assert!(bounds.interval(at(61_040)).is_some());
    }

    #[test]
    fn what_has_been_heard_of_has_happened_by_then() {
        let mut bounds = ClockBounds::default();
        let unbounded = bounds.interval_heard(at(9), at(5));
        assert_eq!((unbounded.latest_micros, unbounded.width_micros()), (9_000, None));
        bounds.heartbeat(at(1_010), at(1_000));
        assert_eq!(bounds.latest(at(1_000)), Some(1_010_000), "one side is enough for the end of it");
        bounds.echo(at(1_010), at(1_000), at(1_000));
        let bounded = bounds.interval_heard(at(1_012), at(1_005));
        assert_eq!((bounded.latest_micros, bounded.earliest_micros), (1_012_000, 1_005_000 - 1));
        let to_come = bounds.interval_heard(at(1_012), at(2_000));
        assert_eq!((to_come.latest_micros, to_come.width_micros()), (1_012_000, None), "it says nonsense");
    }

    #[test]
    fn intervals_are_ordered_only_if_they_are_disjoint() {
        let interval = |earliest_micros, latest_micros| Interval { earliest_micros, latest_micros };
        assert!(interval(5, 6).is_after(&interval(1, 4)));
        assert!(!interval(4, 6).is_after(&interval(1, 4)));
        assert!(!interval(1, 4).is_after(&interval(5, 6)));
    }

    #[test]
    fn a_strangers_numbers_do_not_overflow() {
        let mut bounds = ClockBounds::default();
        let end = BootTime::from_micros(u64::MAX);
        for (now, other) in [(end, BootTime::default()), (BootTime::default(), end), (end, end)] {
            bounds.heartbeat(now, other);
            bounds.echo(now, now, other);
            let _ = (bounds.interval(end), bounds.interval(BootTime::default()), bounds.offset_micros(now));
        }
        assert!(bounds.offset_micros(end).is_none_or(|(low, high)| low <= high));
    }
}
