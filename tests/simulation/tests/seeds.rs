//! Seeds, run to their end. A run that fails prints its seed and who sent what to whom; `tests/run --sim SEED` replays it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use roost_simulation::{Coverage, Plan, Report, diagram, run};

/// How many: `ROOST_SEEDS`, or two thousand: so many take some ten minutes of one core.
const SEEDS: u64 = 2_000;
/// So many meet every fault and decision; fewer are for a look.
const COVERED_BY: u64 = 200;

fn seeds() -> u64 {
    std::env::var("ROOST_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("ROOST_SEEDS is a number"))
}

/// Runs each seed below `seeds`, several at a time: every run is one thread's and knows nothing of the others. Of a few that failed the
/// rest need not be known.
fn run_all(seeds: u64, mut judge: impl FnMut(&Report) + Send) {
    let (next, judge) = (AtomicU64::new(0), Mutex::new(&mut judge));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            break;
        }
        let report = run(Plan::of(seed));
        judge.lock().expect("no run panics with it")(&report);
    };
    scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

#[test]
fn all_seeds_keep_every_rule_and_meet_every_fault_and_decision() {
    let mut coverage = Coverage::default();
    let mut failed: Vec<(u64, Vec<String>)> = Vec::new();
    let mut small = Vec::new();
    run_all(seeds(), |report| {
        coverage.add(report);
        if !report.broken.is_empty() {
            failed.push((report.seed, report.broken.clone()));
        }
        small.extend(report.too_small().into_iter().map(|what| (report.seed, what)));
    });
    assert_eq!(coverage.runs, seeds());
    if let Some((seed, broken)) = failed.first() {
        let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
        let drawn = diagram(Plan::of(*seed), None);
        panic!("seeds {seeds:?} failed; tests/run --sim {seed} shows: {broken:#?}\n{drawn}");
    }
    assert_eq!(small, [], "what is smaller than it should be shows less than it says");
    if coverage.runs >= COVERED_BY {
        assert_eq!(coverage.missing(), Vec::<String>::new(), "what never occurs is not tested");
    }
}

#[test]
fn a_seed_replays_to_the_same_trace_and_another_seed_does_not() {
    let [first, again, other] = [7, 7, 8].map(|seed| run(Plan::of(seed)));
    assert_eq!(first, again);
    assert_ne!(first.hash, other.hash);
}
