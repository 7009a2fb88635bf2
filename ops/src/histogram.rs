//! How long things took, by classes.

use std::time::Duration;

/// Upper bounds of the classes in microseconds: from a fsync on good flash to what a time-out cuts off. Each about doubles the
/// one before, so that a percentile read from them is wrong by less than that.
const BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// Durations counted by class, with their sum. A plain value: 18 numbers, whoever measures has one and hands out copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    classes: [u64; BOUNDS_MICROS.len()],
    count: u64,
    sum_micros: u64,
}

impl Histogram {
    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(class) = self.classes.get_mut(class) {
            *class += 1;
        }
        self.count += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// Counts all that another one has.
    pub fn add(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, in seconds.
    #[must_use]
    pub fn sum_s(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Upper bounds in seconds, each with how many took no longer. The class without a bound is [`Histogram::count`].
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let up_to = self.classes.iter().scan(0, |sum, class| {
            *sum += class;
            Some(*sum)
        });
        BOUNDS_MICROS.iter().map(|bound| *bound as f64 / 1e6).zip(up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_class_and_all_above() {
        let mut histogram = Histogram::default();
        for micros in [100, 101, 1_000_000, 90_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let up_to = |bound: f64| histogram.cumulative().find(|(b, _)| *b == bound).map(|(_, count)| count);
        assert_eq!(
            (up_to(0.0001), up_to(0.00025), up_to(0.5), up_to(1.0)),
            (Some(1), Some(2), Some(2), Some(3))
        );
        assert_eq!((up_to(30.0), histogram.count()), (Some(3), 4), "what is above all bounds counts in none");
        assert!((histogram.sum_s() - 91.000_201).abs() < 1e-9);
    }
}
