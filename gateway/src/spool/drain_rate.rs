//! How fast the backlog may go: so many a second, in slices, so that a burst is never longer than one.

use std::time::Duration;

use roost_wire::BootTime;

/// So many slices a second.
const SLICES: u32 = 50;
const SLICE: Duration = Duration::from_millis(1_000 / SLICES as u64);

/// Hands out leave to publish.
#[derive(Debug)]
pub(super) struct DrainRate {
    per_slice: u32,
    left: u32,
    refill_at: BootTime,
}

impl DrainRate {
    pub(super) fn new(per_second: u32, now: BootTime) -> Self {
        let per_slice = per_second.div_ceil(SLICES);
        Self { per_slice, left: per_slice, refill_at: now + SLICE }
    }

    /// The time has come on, whether or not there is somebody who wants to leave.
    pub(super) fn refill(&mut self, now: BootTime) {
        if now >= self.refill_at {
            self.left = self.per_slice;
            self.refill_at = now + SLICE;
        }
    }

    /// Leave for one, if there is any.
    pub(super) fn take(&mut self) -> bool {
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }

    /// When there is leave again; `None` if there is now.
    pub(super) fn next(&self) -> Option<BootTime> {
        (self.left == 0).then_some(self.refill_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_as_were_said() {
        let at = |ms: u64| BootTime::from_micros(ms * 1_000);
        let mut rate = DrainRate::new(1_000, at(0));
        let taken = (0..1_000).map(|ms| {
            rate.refill(at(ms));
            std::iter::from_fn(|| rate.take().then_some(())).count()
        });
        let taken: Vec<usize> = taken.collect();
        assert_eq!(taken.iter().sum::<usize>(), 1_000);
        assert_eq!(taken.iter().max(), Some(&20), "no burst is longer than a slice");
        assert_eq!(rate.next(), Some(at(1_000)));
        rate.refill(at(5_000));
        assert!(rate.take(), "what was not used is not saved up");
        assert_eq!(std::iter::from_fn(|| rate.take().then_some(())).count(), 19);
    }
}
