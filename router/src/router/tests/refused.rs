//! What is told and refused by a queue, and what names a receipt.

use std::collections::BTreeSet;

use roost_wire::{CommandRequest, Outcome, PresenceState, Receipt, ReceiptState, ReceiptsWanted};

use super::bench::{Bench, SECOND, command};
use crate::{DropReason, Output, Publication, PublishOutcome};

fn of(bench: &Bench, reason: DropReason) -> u64 {
    bench.core.counters().drops.get(&reason).copied().unwrap_or_default()
}

#[test]
fn no_two_receipts_of_a_command_have_one_id_and_attempts_go_on_after_a_restart() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(CommandRequest { receipts: ReceiptsWanted::All, ..command("d", "c1") });
    let mut receipts = bench.receipts();
    for session in 1..=3 {
        bench.accepted(&gates[0], "d", session);
        let sent = bench.delivery();
        bench.settled(&gates[0], &sent, Outcome::Gone { written: session == 2 });
        receipts.extend(bench.receipts());
        bench = bench.crash();
        bench.join(&mut gates[0]);
        receipts.extend(bench.receipts());
    }
    bench.accepted(&gates[0], "d", 4);
    let sent = bench.delivery();
    bench.settled(&gates[0], &sent, Outcome::Delivered);
    receipts.extend(bench.receipts());
    let ids: BTreeSet<String> = receipts.iter().map(Receipt::id).collect();
    assert_eq!(ids.len(), receipts.len(), "{receipts:#?}");
    let forwarded = receipts.iter().filter(|receipt| receipt.state == ReceiptState::Forwarded);
    assert_eq!(forwarded.map(|receipt| receipt.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(receipts[0].state, ReceiptState::Accepted);
    assert_eq!(receipts.last().map(|receipt| receipt.state), Some(ReceiptState::Delivered));
}

#[test]
fn before_a_run_only_the_acceptance_is_told_and_the_run_tells_the_rest() {
    let mut bench = Bench::new().standby();
    bench.http(1, CommandRequest { receipts: ReceiptsWanted::All, ..command("d", "c1") });
    assert_eq!(bench.states(), ["c1: accepted"]);
    bench.begin_run();
    assert_eq!(bench.states(), ["c1: parked"]);
}

#[test]
fn a_receipt_that_is_not_final_is_not_told_again_where_it_was_refused() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.fsync();
    bench.send(CommandRequest { receipts: ReceiptsWanted::All, ..command("d", "c1") });
    bench.fsync();
    let tokens: Vec<_> = bench
        .said
        .iter()
        .filter_map(|output| match output {
            Output::Publish { token, what: Publication::Receipt { .. } } => Some(*token),
            _ => None,
        })
        .collect();
    assert_eq!(bench.states(), ["c1: accepted", "c1: parked"]);
    bench.outcome(tokens[0], PublishOutcome::Nacked);
    bench.outcome(tokens[1], PublishOutcome::Confirmed);
    bench.advance(SECOND * 5);
    assert_eq!((bench.states(), of(&bench, DropReason::ReceiptRefused)), (vec![], 1));
}

#[test]
fn a_letter_that_no_queue_takes_is_published_until_one_does() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.fsync();
    let nonsense = super::bench::message(bytes::Bytes::from_static(b"what?"));
    let source = bench.deliver(crate::Queue::Commands, nonsense);
    bench.fsync();
    for _ in 0..3 {
        let (token, _) = bench.dead_letters().remove(0);
        bench.outcome(token, PublishOutcome::Returned);
        bench.advance(SECOND);
        assert!(!bench.acks().contains(&source), "it is nowhere else");
    }
    let (token, letter) = bench.dead_letters().remove(0);
    assert_eq!(&letter.body[..], b"what?");
    bench.outcome(token, PublishOutcome::Confirmed);
    assert!(bench.acks().contains(&source));
    assert_eq!(of(&bench, DropReason::NoDeadQueue), 3);
}

#[test]
fn a_presence_that_was_refused_is_not_told_behind_a_newer_one() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.is_quick = false;
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[0], "e", 1);
    bench.fsync();
    let tokens = bench.take_presence_tokens();
    let [of_d, of_e] = tokens[..] else { panic!("{tokens:?}") };
    bench.outcome(of_d, PublishOutcome::Nacked);
    bench.outcome(of_e, PublishOutcome::Nacked);
    bench.gone(&gates[0], "d", 1);
    bench.fsync();
    bench.advance(SECOND);
    let told: Vec<_> = bench.presences().iter().map(|p| (p.device.to_string(), p.state)).collect();
    let expected =
        [("main/d".to_owned(), PresenceState::Offline), ("main/e".to_owned(), PresenceState::Online)];
    assert_eq!(told, expected);
    assert_eq!(of(&bench, DropReason::PresenceOvertaken), 1);
}
