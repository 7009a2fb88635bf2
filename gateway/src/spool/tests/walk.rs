//! Random histories: whatever happens, what was said to be safe reaches the backend, in its device's order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::bench::{Bench, limits};
use crate::spool::SpoolLimits;
use crate::{PublishOutcome, SpoolState, UplinkOrder};

#[derive(Debug, Clone)]
enum Step {
    Store {
        device: u8,
        fresh: bool,
    },
    Sync(u8),
    /// The disk is full, until the next sync.
    Stuck,
    Up,
    Away,
    Answer {
        which: u8,
        nacked: bool,
    },
    Pass(u16),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_u8..3, any::<bool>()).prop_map(|(device, fresh)| Step::Store { device, fresh }),
        4 => any::<u8>().prop_map(Step::Sync),
        1 => Just(Step::Stuck),
        2 => Just(Step::Up),
        1 => Just(Step::Away),
        10 => (any::<u8>(), prop::bool::weighted(0.1)).prop_map(|(which, nacked)| Step::Answer { which, nacked }),
        3 => (0_u16..2_000).prop_map(Step::Pass),
        1 => Just(Step::Crash),
    ]
}

/// What the world outside has seen.
#[derive(Default)]
struct Seen {
    /// Whose event each number is, and whether its rule says `fresh`. What a crash tore off is not here.
    stored: BTreeMap<u64, (u8, bool)>,
    safe: BTreeSet<u64>,
    confirmed: BTreeSet<u64>,
    /// In the order of their first arrival in any run.
    arrivals: Vec<u64>,
}

impl Seen {
    fn look(&mut self, bench: &mut Bench) {
        let published = bench.published();
        self.take(bench, published);
    }

    /// These have arrived.
    fn take(&mut self, bench: &Bench, published: Vec<u64>) {
        self.safe.extend(bench.safe.iter().copied());
        for number in published {
            if !self.arrivals.contains(&number) {
                self.arrivals.push(number);
            }
        }
    }
}

fn walk(steps: Vec<Step>, limits: SpoolLimits) {
    let mut bench = Bench::new(limits);
    let mut seen = Seen::default();
    for step in steps {
        match step {
            Step::Store { device, fresh } => {
                let order = if fresh { UplinkOrder::Fresh } else { UplinkOrder::Strict };
                bench.store(&format!("d{device}"), order);
                seen.stored.insert(bench.last(), (device, fresh));
            }
            Step::Sync(share) => {
                bench.stuck(false);
                bench.sync(bench.last() * u64::from(share) / 255);
            }
            Step::Stuck => bench.stuck(true),
            Step::Up => bench.up(),
            Step::Away => bench.away(),
            Step::Answer { which, nacked } => {
                let in_flight = bench.in_flight();
                if let Some(number) = in_flight.get(usize::from(which) % in_flight.len().max(1)) {
                    match nacked {
                        true => bench.answer(*number, PublishOutcome::Nacked),
                        false => {
                            bench.confirm(*number);
                            seen.confirmed.insert(*number);
                        }
                    }
                }
            }
            Step::Pass(ms) => bench.pass(Duration::from_millis(ms.into())),
            Step::Crash => {
                seen.look(&mut bench);
                let after = bench.crash();
                let torn = after.last() + 1..;
                let lost: Vec<u64> = seen.stored.range(torn.clone()).map(|(number, _)| *number).collect();
                for number in lost {
                    assert!(
                        !seen.safe.contains(&number) || seen.confirmed.contains(&number),
                        "{number} was said to be safe, and is gone"
                    );
                    seen.stored.remove(&number);
                    seen.safe.remove(&number);
                    seen.confirmed.remove(&number);
                    // Its number is given out again.
                    seen.arrivals.retain(|arrived| *arrived != number);
                }
                bench = after;
            }
        }
        seen.look(&mut bench);
    }
    bench.stuck(false);
    bench.sync(u64::MAX);
    bench.up();
    for _ in 0..2 {
        let drained = bench.drain();
        seen.take(&bench, drained);
        bench.pass(Duration::from_secs(60));
    }
    seen.look(&mut bench);
    let gauges = bench.spool.gauges();
    assert_eq!((gauges.events, gauges.state), (0, SpoolState::Open), "{gauges:?}");
    for number in seen.stored.keys() {
        assert!(seen.arrivals.contains(number), "{number} was stored and never came");
        assert!(seen.safe.contains(number) || seen.confirmed.contains(number) || *number <= bench.last());
    }
    for device in 0..3 {
        let strict = |number: &&u64| seen.stored.get(number) == Some(&(device, false));
        let came: Vec<u64> = seen.arrivals.iter().filter(strict).copied().collect();
        assert!(came.is_sorted(), "the order of d{device}: {came:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_is_safe_comes_and_keeps_its_devices_order(steps in prop::collection::vec(step(), 0..250)) {
        walk(steps, SpoolLimits { memory_events: 5, window_events: 8, ..limits() });
    }
}
