//! What the spool promises, with a disk and a backend that the test plays.

mod bench;
mod walk;

use std::time::Duration;

use bench::{Bench, limits};

use super::{SpoolLimits, SpoolState};
use crate::UplinkOrder::{Fresh, Strict};
use crate::{Count, PublishOutcome};

#[test]
fn an_event_is_safe_on_disk_or_confirmed_whichever_comes_first() {
    let mut bench = Bench::new(limits());
    bench.store("d", Strict);
    bench.store("d", Strict);
    assert_eq!(bench.safe, [] as [u64; 0], "neither");
    bench.sync(1);
    assert_eq!(bench.safe, [1], "with the backend away");
    bench.up();
    assert_eq!(bench.published(), [1, 2], "the disk need not be waited for");
    bench.confirm(2);
    assert_eq!(bench.safe, [1, 2]);
    bench.confirm(1);
    bench.sync(2);
    assert_eq!(bench.safe, [1, 2], "each is told once");
    assert_eq!(bench.spool.gauges().events, 0);
}

#[test]
fn a_long_line_is_read_back_from_disk_and_keeps_its_order() {
    let mut bench = Bench::new(SpoolLimits { memory_events: 4, window_events: 20, ..limits() });
    (0..50).for_each(|_| bench.store("d", Strict));
    bench.sync(50);
    assert_eq!(bench.spool.gauges().events, 50);
    assert_eq!(bench.spool.gauges().oldest, Some(bench.received_at(1)), "known while the backend is away");
    bench.up();
    assert_eq!(bench.published(), (1..=10).collect::<Vec<_>>(), "the backlog takes half of the window");
    assert_eq!(bench.drain(), (11..=50).collect::<Vec<_>>());
    assert!(!bench.replayed.iter().any(|replayed| *replayed), "none was published before");
    bench.store("d", Strict);
    assert_eq!(bench.published(), [51], "who comes behind the line waits for no disk");
}

#[test]
fn the_backlog_goes_at_its_rate() {
    let mut bench =
        Bench::new(SpoolLimits { memory_events: 1, drain_per_s: 100, window_events: 1_000, ..limits() });
    (0..301).for_each(|_| bench.store("d", Strict));
    bench.sync(301);
    bench.up();
    let mut in_two_seconds = || {
        let slices = (0..200).map(|_| {
            bench.pass(Duration::from_millis(10));
            let published = bench.published();
            published.iter().for_each(|number| bench.confirm(*number));
            published.len()
        });
        slices.sum::<usize>()
    };
    let published = in_two_seconds();
    assert!((199..=203).contains(&published), "{published} in two seconds");
    assert_eq!(in_two_seconds(), 301 - published);
}

#[test]
fn a_fresh_event_steps_in_front_of_the_backlog_and_a_strict_one_behind_it() {
    let mut bench = Bench::new(SpoolLimits { memory_events: 2, window_events: 6, ..limits() });
    (0..20).for_each(|_| bench.store("d", Strict));
    bench.sync(20);
    bench.up();
    bench.published();
    bench.store("d", Fresh);
    bench.store("d", Strict);
    bench.store("e", Fresh);
    assert_eq!(bench.published(), [21, 23]);
    bench.confirm(21);
    let rest = bench.drain();
    assert_eq!(rest.last(), Some(&22), "{rest:?}");
    assert!(!rest.contains(&21) && !rest.contains(&23), "each once: {rest:?}");
    assert_eq!(bench.spool.gauges().events, 0);
}

#[test]
fn a_fresh_event_of_an_outage_is_backlog() {
    let mut bench = Bench::new(limits());
    bench.store("d", Strict);
    bench.store("d", Fresh);
    bench.sync(2);
    bench.up();
    assert_eq!(bench.published(), [1, 2]);
}

#[test]
fn after_a_crash_what_was_not_marked_comes_again_with_its_id_and_says_so() {
    let mut bench = Bench::new(SpoolLimits { memory_events: 2, window_events: 6, ..limits() });
    (0..8).for_each(|_| bench.store("d", Strict));
    bench.sync(8);
    bench.up();
    bench.published();
    bench.store("e", Fresh);
    bench.sync(9);
    for number in [1, 9] {
        bench.published();
        bench.confirm(number);
    }
    bench.pass(Duration::from_millis(300));
    assert_eq!(bench.covered, 1, "the mark is on disk");
    bench.confirm(2);
    let mut after = bench.crash();
    assert_eq!(after.spool.gauges().events, 7);
    after.up();
    assert_eq!(after.drain(), [2, 3, 4, 5, 6, 7, 8], "what was done beyond the cursor does not come again");
    assert!(after.replayed.iter().all(|replayed| *replayed));
    assert_eq!(after.ids[0], bench.ids[1], "the same event");
    after.store("d", Strict);
    after.published();
    assert_eq!(after.replayed.last(), Some(&false), "a new one is new");
}

#[test]
fn what_a_crash_tore_off_was_never_said_to_be_safe() {
    let mut bench = Bench::new(limits());
    (0..5).for_each(|_| bench.store("d", Strict));
    bench.sync(3);
    assert_eq!(bench.safe, [1, 2, 3]);
    let mut after = bench.crash();
    after.up();
    assert_eq!(after.drain(), [1, 2, 3]);
    after.store("d", Strict);
    assert_eq!(after.published(), [4], "numbers go on behind what is there");
}

#[test]
fn nothing_overtakes_an_event_of_its_device_that_is_tried_again() {
    let mut bench = Bench::new(limits());
    ["d", "d", "e", "d"].iter().for_each(|device| bench.store(device, Strict));
    bench.up();
    assert_eq!(bench.published(), [1, 2, 3, 4]);
    bench.answer(1, PublishOutcome::Nacked);
    bench.store("d", Strict);
    bench.store("d", Fresh);
    bench.store("e", Strict);
    assert_eq!(bench.published(), [7], "only the other device's");
    bench.pass(Duration::from_millis(400));
    assert_eq!(bench.published(), [1]);
    bench.confirm(1);
    assert_eq!(bench.published(), [5, 6]);
}

#[test]
fn it_is_full_at_its_bytes_and_open_again_when_there_is_room() {
    let mut bench = Bench::new(SpoolLimits { bytes_max: 1_000, ..limits() });
    while bench.states.is_empty() {
        bench.store("d", Strict);
    }
    assert_eq!(bench.states, [SpoolState::Full]);
    let stored = bench.spool.gauges().events;
    bench.sync(stored);
    bench.up();
    assert_eq!(bench.drain().len() as u64, stored);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.states, [SpoolState::Full, SpoolState::Open]);
}

#[test]
fn a_disk_that_cannot_be_written_is_passed_by_once_the_backend_has_everything() {
    let mut bench = Bench::new(limits());
    bench.store("d", Strict);
    bench.stuck(true);
    assert_eq!(bench.states, [SpoolState::Full], "what it holds is nowhere else");
    bench.up();
    bench.published();
    bench.confirm(1);
    assert_eq!((bench.safe.as_slice(), bench.states.last()), (&[1][..], Some(&SpoolState::Bypassed)));
    assert_eq!(bench.forgotten, 1, "what is on the disk may go: it may be the spool itself that fills it");
    bench.stuck(false);
    bench.sync(1);
    assert_eq!(bench.states.last(), Some(&SpoolState::Open));
}

#[test]
fn what_is_too_old_is_dropped_and_counted() {
    let mut bench = Bench::new(SpoolLimits { age_max: Duration::from_secs(60), ..limits() });
    bench.store("d", Strict);
    bench.store_expiring("d", 30);
    bench.store_expiring("d", 45);
    bench.sync(3);
    bench.pass(Duration::from_secs(40));
    bench.store("d", Strict);
    bench.pass(Duration::from_secs(4));
    bench.up();
    assert_eq!(bench.published(), [1, 3, 4]);
    assert_eq!(bench.expiries[1], Some(1), "what is left of it");
    assert_eq!(bench.spool.counters().of(Count::SpoolDroppedExpired), 1);
    let mut bench = Bench::new(SpoolLimits { age_max: Duration::from_secs(60), ..limits() });
    bench.store("d", Strict);
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.safe, [1], "it is dealt with");
    bench.up();
    assert_eq!(bench.published(), [] as [u64; 0]);
    assert_eq!(bench.spool.counters().of(Count::SpoolDroppedAge), 1);
}

#[test]
fn a_full_spool_is_open_again_when_its_oldest_are_too_old_although_the_backend_is_away() {
    let age_max = Duration::from_secs(60);
    let mut bench = Bench::new(SpoolLimits { bytes_max: 1_000, memory_events: 1, age_max, ..limits() });
    bench.store("d", Strict);
    bench.pass(Duration::from_secs(30));
    while bench.states.is_empty() {
        bench.store("d", Strict);
    }
    let stored = bench.spool.gauges().events;
    bench.sync(stored);
    bench.pass(Duration::from_secs(29));
    assert_eq!((bench.spool.gauges().events, &bench.states[..]), (stored, &[SpoolState::Full][..]));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.spool.gauges().events, stored - 1, "the first one");
    bench.pass(Duration::from_secs(30));
    assert_eq!((bench.spool.gauges().events, bench.states.last()), (0, Some(&SpoolState::Open)));
    assert_eq!(bench.spool.counters().of(Count::SpoolDroppedAge), stored);
    bench.up();
    assert_eq!(bench.published(), [] as [u64; 0]);
}

#[test]
fn a_calendar_that_is_set_makes_nothing_old() {
    let mut bench = Bench::new(SpoolLimits { memory_events: 1, ..limits() });
    (0..3).for_each(|_| bench.store("d", Strict));
    bench.store_expiring("d", 30);
    bench.sync(4);
    bench.calendar_ahead = Duration::from_secs(50 * 365 * 24 * 3_600);
    bench.up();
    assert_eq!(bench.drain(), [1, 2, 3, 4]);
}

#[test]
fn an_idle_spool_sleeps() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.spool.poll_timeout(), None);
    bench.up();
    bench.store("d", Strict);
    bench.sync(1);
    bench.published();
    bench.confirm(1);
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.spool.poll_timeout(), None, "with everything done and marked");
}

#[test]
fn what_cannot_be_marked_is_not_tried_without_end() {
    let mut bench = Bench::new(limits());
    bench.store("d", Strict);
    bench.store("e", Strict);
    bench.up();
    bench.published();
    bench.confirm(2);
    bench.pass(Duration::from_secs(10));
    bench.confirm(1);
    bench.stuck(true);
    bench.pass(Duration::from_secs(10));
    bench.stuck(false);
    bench.sync(2);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.covered, 2);
}

#[test]
fn it_says_how_long_until_it_is_full() {
    let mut bench = Bench::new(SpoolLimits { bytes_max: 100_000, ..limits() });
    for _ in 0..10 {
        bench.store("d", Strict);
        bench.pass(Duration::from_secs(1));
    }
    let gauges = bench.spool.gauges();
    let per_s = gauges.bytes / 10;
    let expected = (100_000 - gauges.bytes) / per_s;
    let said = gauges.full_in.unwrap().as_secs();
    assert!(said.abs_diff(expected) * 5 < expected, "{said} s, expected about {expected} s");
}
