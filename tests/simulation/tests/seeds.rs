//! Seeds, run to their end. A run that fails prints its seed; `tests/run --sim SEED` replays it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use roost_simulation::{Break, Coverage, Plan, Report, run};

const SEEDS: u64 = 200;

/// Runs each seed below `seeds`, several at a time: every run is one thread's and knows nothing of the others.
fn reports(seeds: u64, plan: impl Fn(u64) -> Plan + Sync) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            break;
        }
        let report = run(plan(seed));
        reports.lock().expect("no run panics with it").push(report);
    };
    scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    reports.into_inner().expect("no run has panicked")
}

#[test]
fn two_hundred_seeds_keep_every_rule_and_meet_every_fault_and_decision() {
    let reports = reports(SEEDS, Plan::of);
    assert_eq!(reports.len() as u64, SEEDS);
    let mut coverage = Coverage::default();
    for report in &reports {
        assert!(report.broken.is_empty(), "tests/run --sim {} shows: {:#?}", report.seed, report.broken);
        assert_eq!(report.too_small(), Vec::<String>::new(), "seed {}", report.seed);
        coverage.add(report);
    }
    assert_eq!(coverage.missing(), Vec::<String>::new(), "what never occurs is not tested");
}

#[test]
fn a_seed_replays_to_the_same_trace_and_another_seed_does_not() {
    let [first, again, other] = [7, 7, 8].map(|seed| run(Plan::of(seed)));
    assert_eq!(first, again);
    assert_ne!(first.hash, other.hash);
}

/// Breaks a rule in seed after seed until a run says so; the words have to name what the break leads to.
fn is_found(plant: Break, words: &[&str]) {
    let found = (0..SEEDS).find_map(|seed| {
        let report = run(Plan { plant: Some(plant), ..Plan::of(seed) });
        report.broken.into_iter().find(|broken| words.iter().any(|word| broken.contains(word)))
    });
    assert!(found.is_some(), "{SEEDS} seeds did not find {plant:?}");
}

#[test]
fn acknowledging_before_fsync_is_found() {
    is_found(
        Break::AcknowledgeBeforeFsync,
        &["accepted and has the final receipts {}", "came twice", "came again"],
    );
}

#[test]
fn two_holders_are_found() {
    is_found(Break::TwoHolders, &["two holders"]);
}

#[test]
fn forgetting_without_comparing_is_found() {
    is_found(Break::ForgetWithoutCompare, &["the router believes None"]);
}
