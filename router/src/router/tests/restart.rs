//! The router dies at any moment, and goes on from what was on disk.

use roost_wire::{CommandRequest, Now, Outcome, ReceiptState, WallTime};

use super::bench::{Bench, SECOND, command, ids};

#[test]
fn what_was_not_on_disk_was_not_acknowledged_and_comes_again() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.fsync();
    bench.send(command("d", "c1"));
    assert_eq!(bench.acks(), []);
    let mut bench = bench.crash();
    assert_eq!(bench.core.journal().commands(), 0);
    bench.send(command("d", "c1"));
    assert_eq!(bench.core.journal().commands(), 1);
}

#[test]
fn commands_that_waited_come_in_order_after_a_restart() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    for id in ["c1", "c2", "c3"] {
        bench.send(command("d", id));
    }
    let mut bench = bench.crash();
    bench.join(&mut gates[0]);
    bench.send(command("d", "c4"));
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2", "c3", "c4"]);
}

#[test]
fn with_no_gateway_in_the_journal_there_is_nothing_to_wait_for() {
    let mut bench = Bench::new();
    bench.send(command("d", "c1"));
    let bench = bench.crash();
    assert!(bench.core.is_recovered());
}

#[test]
fn a_gateway_that_was_lost_before_is_not_waited_for() {
    let (mut bench, _) = Bench::ready(&["g1"]);
    bench.advance(SECOND * 12);
    assert!(bench.read_marker());
    let bench = bench.crash();
    assert!(bench.core.is_recovered());
}

#[test]
fn a_lifetime_that_ended_while_the_router_was_away_is_expired_or_unknown_as_the_gateway_says() {
    // What becomes of the gateway that had c1 and c2, and how they end.
    for (fate, expected) in [
        ("synced", ReceiptState::Expired),
        ("reborn", ReceiptState::Unknown),
        ("lost", ReceiptState::Unknown),
        ("settled", ReceiptState::Delivered),
    ] {
        let (mut bench, mut gates) = Bench::ready(&["g1"]);
        bench.accepted(&gates[0], "d", 1);
        let short = |to: &str, id: &str| CommandRequest { lifetime_ms: Some(5_000), ..command(to, id) };
        bench.send(short("d", "out"));
        bench.send(short("e", "in"));
        let out = bench.delivery();
        bench.now.wall = bench.now.wall + SECOND * 6;
        let mut bench = bench.crash();
        bench.advance(SECOND);
        assert_eq!(bench.finals(), [], "{fate}: nobody knows yet");
        match fate {
            "synced" => bench.join(&mut gates[0]),
            "reborn" => bench.join(&mut gates[0].reborn()),
            "settled" => {
                bench.settled(&gates[0], &out, Outcome::Delivered);
                bench.join(&mut gates[0]);
            }
            _ => {
                bench.advance(SECOND * 11);
                assert!(bench.read_marker());
            }
        }
        let mut finals = bench.finals();
        finals.sort();
        let mut both = [("in".to_owned(), ReceiptState::Expired), ("out".to_owned(), expected)];
        both.sort();
        assert_eq!(finals, both, "{fate}");
    }
}

#[test]
fn a_command_that_came_back_before_the_crash_expires_and_is_not_unknown() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c1") });
    let c1 = bench.delivery();
    bench.settled(&gates[0], &c1, Outcome::NoSubscription);
    let mut bench = bench.crash();
    bench.advance(SECOND * 12);
    assert!(bench.read_marker());
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Expired)]);
}

#[test]
fn a_live_gateway_that_does_not_sync_is_waited_for_until_its_lease_has_lapsed() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.send(command("d", "c1"));
    let mut bench = bench.crash();
    bench.join(&mut gates[1]);
    bench.accepted(&gates[1], "d", 1);
    let mut waited = 0;
    while bench.deliveries().is_empty() {
        waited += 1;
        assert!(waited < 20, "it goes on without g1 in the end");
        bench.beat(&mut gates[0]);
        bench.beat(&mut gates[1]);
        bench.advance(SECOND * 3);
        bench.read_marker();
    }
    assert!(waited > 4, "g1's lease was renewed by our answers: {waited}");
}

#[test]
fn a_run_is_greater_than_the_one_before() {
    let bench = Bench::new();
    let first = bench.core.run();
    let second = bench.crash();
    assert!(second.core.run() > first);
    let third = second.crash();
    assert!(third.core.run() > first.next());
}

#[test]
fn a_second_restart_knows_what_the_first_has_learnt() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let mut bench = bench.crash();
    bench.beat(&mut gates[0]);
    bench.sync(&mut gates[0], &[&c1]);
    let mut bench = bench.crash();
    // The same sync again says nothing to a third run; a new one does.
    gates[0].sync.0 -= 1;
    bench.beat(&mut gates[0]);
    bench.sync(&mut gates[0], &[]);
    assert!(!bench.core.is_recovered());
    bench.sync(&mut gates[0], &[&c1]);
    assert!(bench.core.is_recovered());
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(bench.deliveries(), []);
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

#[test]
fn a_lifetime_that_ended_before_the_calendar_was_set_back_ends_once_more() {
    // The end comes while nobody can know yet what the gateway holds; then the calendar is set back, and then it is known.
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c1") });
    let mut bench = bench.crash();
    bench.advance(SECOND * 6);
    let back = Now { wall: WallTime::from_millis(bench.now.wall.as_millis() - 3_000), ..bench.now };
    bench.now = back;
    bench.join(&mut gates[0]);
    assert_eq!(bench.finals(), [], "by the calendar it has two seconds to live");
    bench.advance(SECOND * 3);
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn a_lifetime_that_ended_at_the_gateway_before_the_calendar_was_set_back_ends_once_more() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c1") });
    let given = bench.delivery();
    bench.advance(SECOND * 6);
    bench.now = Now { wall: WallTime::from_millis(bench.now.wall.as_millis() - 3_000), ..bench.now };
    bench.settled(&gates[0], &given, Outcome::NoSubscription);
    assert_eq!(bench.finals(), [], "by the calendar it has two seconds to live");
    bench.advance(SECOND * 3);
    assert_eq!(bench.finals().len(), 1);
}
