//! Latencies of one kind, as an HDR histogram that can be sent to another process and added to others.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest latency that is told apart; what is longer counts as this. An hour: no run waits longer for a message.
const MICROS_MAX: u64 = 3_600_000_000;
/// Each value is kept to one part in a thousand.
const DIGITS: u8 = 3;

/// A distribution of latencies, from 1 µs to an hour, each to one part in a thousand.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency(Histogram<u64>);

/// The figures of a distribution that a report shows, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many messages.
    pub count: u64,
    /// Half of them were at most this late.
    pub p50_ms: f64,
    /// Nine in ten.
    pub p90_ms: f64,
    /// 99 in a hundred.
    pub p99_ms: f64,
    /// 999 in a thousand.
    pub p999_ms: f64,
    /// The latest.
    pub max_ms: f64,
    /// The mean.
    pub mean_ms: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("the constants are good bounds"))
    }
}

impl Latency {
    /// Notes one.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.clamp(1, MICROS_MAX));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.reset();
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The figures; `None` if there is nothing.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(self.0.max()),
            mean_ms: self.0.mean() / 1_000.0,
        })
    }
}

impl Serialize for Latency {
    /// As pairs of microseconds and count.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latency = Self::default();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latency.0.saturating_record_n(micros.clamp(1, MICROS_MAX), count);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(micros: &[u64]) -> Latency {
        let mut latency = Latency::default();
        micros.iter().for_each(|micros| latency.record(Duration::from_micros(*micros)));
        latency
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let figures = of(&(1..=1_000).map(|n| n * 1_000).collect::<Vec<_>>()).percentiles().unwrap();
        let near = |value: f64, expected: f64| (value - expected).abs() / expected < 0.002;
        assert_eq!(figures.count, 1_000);
        assert!(near(figures.p50_ms, 500.0) && near(figures.p99_ms, 990.0), "{figures:?}");
        assert!(near(figures.max_ms, 1_000.0) && near(figures.mean_ms, 500.5), "{figures:?}");
        assert_eq!(Latency::default().percentiles(), None);
        assert_eq!(of(&[u64::MAX]).count(), 1, "what is longer than the bound is still counted");
    }

    proptest! {
        #[test]
        fn adding_what_was_sent_is_recording_it_all(
            a in proptest::collection::vec(0_u64..10_000_000, 0..50), b in proptest::collection::vec(0_u64..10_000_000, 0..50),
        ) {
            let sent = serde_json::to_string(&of(&b)).unwrap();
            let mut sum = of(&a);
            sum.add(&serde_json::from_str(&sent).unwrap());
            prop_assert_eq!(sum.percentiles().map(|p| (p.count, p.p50_ms.to_bits(), p.p99_ms.to_bits())),
                of(&[a, b].concat()).percentiles().map(|p| (p.count, p.p50_ms.to_bits(), p.p99_ms.to_bits())));
        }
    }
}
