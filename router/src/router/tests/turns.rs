//! Runs begin with the lock, not with the process: a router that stands by has custody and no word.

use std::time::Duration;

use roost_wire::{
    BootTime, CommandRequest, Echo, Heartbeat, Now, Outcome, ReceiptState, ReceiptsWanted, RouterRun,
    Sighting,
};

use super::bench::{Bench, Gate, SECOND, command, ids};

const A_DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_router_without_the_lock_has_custody_and_says_nothing_to_gateways() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(command("d", "c0"));
    let mut bench = bench.standby();
    bench.http(1, command("d", "c1"));
    assert_eq!(bench.answers().last().map(|(_, receipt)| receipt.state), Some(ReceiptState::Parked));
    bench.advance(A_DAY / 2);
    assert_eq!((bench.controls(), bench.read_marker(), bench.core.counters().lapses), (vec![], false, 0));
    assert!(!bench.core.has_run());
    bench.begin_run();
    assert!(bench.core.has_run() && !bench.core.is_recovered(), "g1 may hold c0");
    bench.join(&mut gates[0]);
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c0", "c1"]);
}

#[test]
fn the_first_command_of_a_journal_has_its_number_though_no_run_has_begun() {
    let bench = Bench::new();
    let mut bench = Bench::opened(Vec::new(), bench.now);
    bench.http(1, command("d", "c1"));
    let before = bench.answers()[0].1.command_id;
    bench.begin_run();
    let bench = bench.crash();
    assert_eq!(bench.core.journal().live().next().map(|live| live.command.sequence), Some(before.sequence));
    assert_eq!(bench.core.journal().command_id(before.sequence), before);
}

#[test]
fn a_lifetime_ends_without_the_lock_if_no_gateway_can_have_the_command() {
    for (has_gateway, expected) in [(false, vec![("c1".to_owned(), ReceiptState::Expired)]), (true, vec![])] {
        let bench = if has_gateway { Bench::ready(&["g1"]).0 } else { Bench::new() };
        let mut bench = bench.standby();
        bench.http(1, CommandRequest { lifetime_ms: Some(1_000), ..command("d", "c1") });
        bench.advance(SECOND * 2);
        assert_eq!(bench.finals(), expected);
    }
}

#[test]
fn a_standby_that_takes_over_after_a_day_has_the_newer_run() {
    let now = Bench::new().now;
    let mut standby = Bench::opened(Vec::new(), now);
    let later = Now { boot: now.boot, wall: now.wall + A_DAY };
    let mut active = Bench::opened(Vec::new(), later);
    active.begin_run();
    standby.advance(A_DAY + SECOND);
    standby.begin_run();
    assert!(standby.core.run() > active.core.run());
}

#[test]
fn a_run_that_gateways_have_heard_a_newer_one_of_is_over() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    let run = bench.core.run();
    let beat = |bench: &Bench, gate: &mut Gate, run: u64| {
        gate.beats += 1;
        let echo =
            Echo { run: RouterRun(run), answered_at: BootTime::default(), read_at: BootTime::default() };
        Sighting::Heartbeat(Heartbeat {
            number: gate.beats,
            sent_at: bench.now.boot,
            echo: Some(echo),
            inbox: gate.inbox(),
            control: gate.control(),
            sessions: 0,
            draining: false,
            moves_sessions: false,
            started_at: None,
        })
    };
    // Its own, an older one, and one that is no number of anybody's.
    for heard in [run.0, run.0 - 1, u64::MAX] {
        let beat = beat(&bench, &mut gates[0], heard);
        bench.sight(&gates[0], vec![beat]);
        assert!(!bench.core.is_outrun(), "{heard}");
    }
    let newer = beat(&bench, &mut gates[0], run.0 + 1_000_000);
    bench.sight(&gates[0], vec![newer]);
    assert!(bench.core.is_outrun());
    bench.begin_run();
    assert!(!bench.core.is_outrun());
    assert_eq!(bench.core.run(), RouterRun(run.0 + 1_000_001));
}

#[test]
fn who_waits_for_a_command_hears_its_end_in_the_next_run() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.http(7, command("d", "c1"));
    let c1 = bench.delivery();
    bench.begin_run();
    bench.said.clear();
    bench.beat(&mut gates[0]);
    bench.sync(&mut gates[0], &[&c1]);
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(bench.deliveries(), [], "it is in flight there");
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    let ends: Vec<_> = bench.answers().into_iter().filter(|(_, receipt)| receipt.state.is_final()).collect();
    assert_eq!(
        ends.iter().map(|(request, receipt)| (*request, receipt.state)).collect::<Vec<_>>(),
        [(7, ReceiptState::Delivered)]
    );
}

#[test]
fn an_outcome_of_the_run_before_is_not_taken_for_one_of_this() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.is_quick = false;
    bench.send(command("d", "c1"));
    bench.fsync();
    bench.fsync();
    let tokens: Vec<_> = bench.deliveries_with_tokens().into_iter().map(|(token, ..)| token).collect();
    assert_eq!(tokens.len(), 1);
    bench.begin_run();
    bench.is_quick = true;
    bench.fsync();
    let before = bench.core.counters().clone();
    bench.outcome(tokens[0], crate::PublishOutcome::Lost);
    assert_eq!(bench.core.counters(), &before);
    assert_eq!(bench.controls(), []);
}

#[test]
fn a_receipt_that_names_the_run_waits_until_its_number_cannot_be_drawn_again() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(CommandRequest { receipts: ReceiptsWanted::All, ..command("d", "c1") });
    let mut bench = bench.standby();
    bench.is_quick = false;
    bench.begin_run();
    bench.join(&mut gates[0]);
    bench.advance(SECOND);
    assert_eq!(bench.states(), Vec::<String>::new());
    bench.fsync();
    assert_eq!(bench.states(), ["c1: parked"]);
}
