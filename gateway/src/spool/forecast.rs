//! How long until the spool is full, if it goes on growing as in the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use roost_wire::BootTime;

const EVERY: Duration = Duration::from_secs(1);
const SAMPLES: usize = 61;
/// Before that nobody can say.
const SAMPLES_MIN: usize = 3;

/// Sizes of the last minute.
#[derive(Debug, Default)]
pub(super) struct Forecast {
    samples: VecDeque<(BootTime, u64)>,
}

impl Forecast {
    pub(super) fn observe(&mut self, now: BootTime, bytes: u64) {
        if self.samples.back().is_some_and(|(at, _)| now < *at + EVERY) {
            return;
        }
        if self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, bytes));
    }

    /// When to look again: not at all while the size stands still, so that an idle gateway sleeps.
    pub(super) fn next(&self, bytes: u64) -> Option<BootTime> {
        let moves = self.samples.iter().any(|(_, earlier)| *earlier != bytes);
        self.samples.back().filter(|_| moves).map(|(at, _)| *at + EVERY)
    }

    /// `None` if it does not grow, or nobody can say yet.
    pub(super) fn full_in(&self, bytes: u64, bytes_max: u64) -> Option<Duration> {
        let (&(from, first), &(to, last)) = (self.samples.front()?, self.samples.back()?);
        let grown =
            last.checked_sub(first).filter(|grown| *grown > 0 && self.samples.len() >= SAMPLES_MIN)?;
        let per_s = grown as f64 / to.since(from).as_secs_f64();
        let left_s = bytes_max.saturating_sub(bytes) as f64 / per_s;
        // A thousand years are as good as never.
        Some(Duration::from_secs_f64(left_s.min(3.2e10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_by_the_last_minute() {
        let at = |s: u64| BootTime::from_micros(s * 1_000_000);
        let mut forecast = Forecast::default();
        forecast.observe(at(0), 100);
        forecast.observe(at(1), 200);
        assert_eq!(forecast.full_in(200, 1_000), None, "two looks say nothing");
        forecast.observe(at(2), 300);
        assert_eq!(forecast.full_in(300, 1_300), Some(Duration::from_secs(10)));
        assert_eq!(forecast.next(300), Some(at(3)));
        (3..200).for_each(|s| forecast.observe(at(s), 300));
        assert_eq!((forecast.full_in(300, 1_300), forecast.next(300)), (None, None), "it stands still");
        forecast.observe(at(200), 200);
        assert_eq!(forecast.full_in(200, 1_300), None, "it shrinks");
    }
}
