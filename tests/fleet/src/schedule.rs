//! When a device's messages are due, whatever becomes of those before them.

use std::time::Duration;

use roost_wire::BootTime;

use crate::chance::share;
use crate::plan::Plan;

/// What the draws of this file are for.
const PHASE: u64 = 1;
const JITTER: u64 = 1 << 32;

/// The due times of one device's messages: `begin + (phase + n ± jitter / 2) × interval`, with phase and jitter drawn. They depend
/// on nothing that happens, so a broker that stalls is late for every message that was due meanwhile, and not for one only.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    begin: BootTime,
    end: BootTime,
    /// Seconds; infinite for a device that publishes nothing.
    interval_s: f64,
    next: u32,
    due: Option<BootTime>,
}

impl Schedule {
    /// The messages of `device` from `begin` to the end of the measured time.
    #[must_use]
    pub fn new(plan: &Plan, weight: f64, device: u32, begin: BootTime) -> Self {
        let end = begin + plan.duration();
        let interval_s = 1.0 / (plan.traffic.rate * weight);
        let mut schedule = Self { begin, end, interval_s, next: 0, due: None };
        schedule.due = schedule.due_time(plan, device);
        schedule
    }

    /// When the next message is due, or was; `None` after the last one.
    #[must_use]
    pub fn due(&self) -> Option<BootTime> {
        self.due
    }

    /// Takes the next message: its serial number and due time.
    pub fn take(&mut self, plan: &Plan, device: u32) -> Option<(u32, BootTime)> {
        let due = self.due?;
        let number = self.next;
        self.next = self.next.checked_add(1)?;
        self.due = self.due_time(plan, device);
        Some((number, due))
    }

    /// How many messages are due at `now` and not taken, from a bound on; 0 if it is fewer than that.
    #[must_use]
    pub fn overdue(&self, now: BootTime, bound: u32) -> u32 {
        let Some(due) = self.due else { return 0 };
        let waiting = now.min(self.end).since(due).as_secs_f64() / self.interval_s;
        if waiting > f64::from(bound) { waiting as u32 - bound } else { 0 }
    }

    fn due_time(&self, plan: &Plan, device: u32) -> Option<BootTime> {
        let phase = share(plan.seed, device, PHASE);
        let jitter = plan.traffic.jitter
            * (share(plan.seed, device, JITTER + u64::from(self.next)) - 0.5)
            * f64::from(u8::from(self.next > 0));
        let after_s = (phase + f64::from(self.next) + jitter) * self.interval_s;
        let lasts_s = self.end.since(self.begin).as_secs_f64();
        // Not a number, or infinite, if nothing is published.
        (after_s < lasts_s).then(|| self.begin + Duration::from_secs_f64(after_s.max(0.0)))
    }
}

/// How much each device publishes of what an average one does: by Zipf's law, the first the most; their mean is 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    exponent: f64,
    scale: f64,
}

impl Weights {
    /// For that many devices.
    #[must_use]
    pub fn new(devices: u32, exponent: f64) -> Self {
        let sum: f64 = (1..=devices).map(|rank| f64::from(rank).powf(-exponent)).sum();
        Self { exponent, scale: f64::from(devices) / sum }
    }

    /// Of one device.
    #[must_use]
    pub fn of(&self, device: u32) -> f64 {
        f64::from(device + 1).powf(-self.exponent) * self.scale
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::tests::plan;

    const BEGIN: BootTime = BootTime::from_micros(5_000_000);

    fn all(plan: &Plan, weight: f64) -> Vec<(u32, BootTime)> {
        let mut schedule = Schedule::new(plan, weight, 3, BEGIN);
        std::iter::from_fn(|| schedule.take(plan, 3)).collect()
    }

    #[test]
    fn a_device_that_publishes_nothing_is_never_due() {
        let mut plan = plan();
        plan.traffic.rate = 0.0;
        assert_eq!(all(&plan, 1.0), []);
    }

    #[test]
    fn weights_follow_zipf_and_keep_the_mean() {
        let weights = Weights::new(1_000, 1.0);
        let mean = (0..1_000).map(|device| weights.of(device)).sum::<f64>() / 1_000.0;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        assert!((weights.of(0) / weights.of(9) - 10.0).abs() < 1e-9);
        assert_eq!(Weights::new(50, 0.0).of(49), 1.0);
    }

    #[test]
    fn what_waits_beyond_the_bound_is_told() {
        let mut plan = plan();
        plan.traffic.rate = 10.0;
        let schedule = Schedule::new(&plan, 1.0, 3, BEGIN);
        assert_eq!(schedule.overdue(BEGIN + Duration::from_secs(1), 20), 0);
        let overdue = schedule.overdue(BEGIN + Duration::from_secs(5), 20);
        assert!((28..=30).contains(&overdue), "{overdue}");
        assert!(schedule.overdue(BEGIN + Duration::from_secs(500), 20) <= 80, "nothing is due after the end");
    }

    proptest! {
        #[test]
        fn due_times_are_in_order_within_the_run_and_as_many_as_the_rate(
            rate in 0.5_f64..50.0, jitter in 0.0_f64..=1.0, weight in 0.5_f64..2.0, seed: u64,
        ) {
            let mut plan = plan();
            (plan.traffic.rate, plan.traffic.jitter, plan.seed) = (rate, jitter, seed);
            let due = all(&plan, weight);
            prop_assert!(due.iter().enumerate().all(|(n, (number, _))| n as u32 == *number));
            prop_assert!(due.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            prop_assert!(due.iter().all(|(_, at)| *at >= BEGIN && *at <= BEGIN + plan.duration()));
            let expected = rate * weight * 10.0;
            prop_assert!((due.len() as f64 - expected).abs() <= 2.0, "{} of {expected}", due.len());
        }
    }
}
