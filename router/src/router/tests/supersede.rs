//! Commands that replace each other.

use bytes::Bytes;
use roost_wire::{CommandRequest, Outcome, ReceiptReason, ReceiptState, envelope::header};

use super::bench::{Bench, SECOND, command, device, ids};
use crate::Queue;

fn keyed(to: &str, id: &str, key: &str) -> CommandRequest {
    CommandRequest { supersede_key: Some(key.to_owned()), ..command(to, id) }
}

fn superseded(id: &str) -> (String, ReceiptState) {
    (id.to_owned(), ReceiptState::Superseded)
}

#[test]
fn what_waits_ends_when_a_later_one_has_its_key_and_the_others_keep_their_places() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    for request in [
        keyed("d", "old", "k"),
        command("d", "plain"),
        keyed("d", "other", "another key"),
        keyed("e", "elsewhere", "k"),
        keyed("d", "older", "k"),
    ] {
        bench.send(request);
    }
    assert_eq!(bench.finals(), [superseded("old")]);
    bench.send(keyed("d", "new", "k"));
    let receipt = bench.receipts().into_iter().find(|receipt| receipt.state.is_final()).unwrap();
    assert_eq!((receipt.message_id.unwrap().as_str(), receipt.state), ("older", ReceiptState::Superseded));
    assert_eq!(receipt.detail.as_deref(), Some("message id new took its place"));
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["plain", "other", "new"]);
    assert_eq!(bench.core.counters().receipts[&(ReceiptState::Superseded, "")], 2);
    let why = bench.core.why(&"older".parse().unwrap(), Some(&device("d"))).remove(0);
    assert!(why.steps.iter().any(|step| step.words.contains("message id new")), "{why:?}");
}

#[test]
fn one_that_is_at_a_gateway_goes_its_way_and_ends_if_it_comes_back_unseen() {
    for (outcome, expected) in [
        (Outcome::Delivered, (ReceiptState::Delivered, None)),
        (Outcome::Gone { written: false }, (ReceiptState::Superseded, None)),
        // The device may have it.
        (Outcome::Gone { written: true }, (ReceiptState::Unknown, Some(ReceiptReason::Interrupted))),
    ] {
        let (mut bench, gates) = Bench::ready(&["g1"]);
        bench.accepted(&gates[0], "d", 1);
        bench.send(keyed("d", "old", "k"));
        let old = bench.delivery();
        bench.send(keyed("d", "new", "k"));
        assert_eq!(bench.finals(), [], "{outcome:?}");
        bench.settled(&gates[0], &old, outcome);
        let end = bench.receipts().into_iter().find(|receipt| receipt.state.is_final()).unwrap();
        assert_eq!(end.message_id.unwrap().as_str(), "old");
        assert_eq!((end.state, end.reason), expected, "{outcome:?}");
    }
}

#[test]
fn a_repeated_message_id_that_was_superseded_gets_its_receipt_again_also_after_a_restart() {
    let mut bench = Bench::new();
    bench.send(keyed("d", "old", "k"));
    bench.send(keyed("d", "new", "k"));
    bench.receipts();
    let mut bench = bench.crash();
    bench.http(1, keyed("d", "old", "k"));
    let (_, receipt) = bench.answers().remove(0);
    assert_eq!((receipt.state, receipt.duplicate), (ReceiptState::Superseded, true));
    assert_eq!(receipt.detail.as_deref(), Some("message id new took its place"));
    assert_eq!(bench.core.journal().commands(), 1, "the new one still waits");
}

#[test]
fn the_router_dies_between_the_new_command_and_the_end_of_the_old_one() {
    let mut bench = Bench::new();
    bench.send(keyed("d", "old", "k"));
    bench.is_quick = false;
    bench.send(keyed("d", "new", "k"));
    // On disk is the new command, and nothing behind it.
    bench.durable += 1;
    let mut bench = bench.crash();
    assert_eq!(bench.finals(), [superseded("old")]);
    assert_eq!(bench.core.journal().commands(), 1);
}

#[test]
fn what_was_replaced_stays_so_if_the_router_dies_before_that_is_on_disk_and_the_new_one_is_delivered() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.is_quick = false;
    bench.send(keyed("d", "old", "k"));
    bench.send(keyed("d", "new", "k"));
    // Both are on disk at once; the end of the old one is not yet.
    bench.fsync();
    assert_eq!(ids(&bench.deliveries()), [""; 0], "it waits for that");
    bench.fsync();
    // And for the record that it is given.
    bench.fsync();
    let new = bench.delivery();
    assert_eq!(ids(std::slice::from_ref(&new)), ["new"]);
    let mut bench = bench.crash();
    // Its answer is read before the gateway has said what it holds.
    bench.settled(&gates[0], &new, Outcome::Delivered);
    let mut bench = bench.crash();
    bench.join(&mut gates[0]);
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), [""; 0], "nothing older comes behind it");
    assert_eq!(bench.core.journal().commands(), 0);
}

#[test]
fn what_the_run_before_gave_to_a_gateway_is_not_replaced_before_that_has_said_what_it_holds() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(keyed("d", "old", "k"));
    let old = bench.delivery();
    let mut bench = bench.crash();
    bench.send(keyed("d", "new", "k"));
    assert_eq!(bench.finals(), []);
    bench.settled(&gates[0], &old, Outcome::Delivered);
    bench.join(&mut gates[0]);
    assert_eq!(bench.finals(), [("old".to_owned(), ReceiptState::Delivered)]);
}

#[test]
fn a_new_one_whose_lifetime_has_ended_has_replaced_the_old_one_all_the_same() {
    let short = |id: &str| CommandRequest { lifetime_ms: Some(1_000), ..keyed("d", id, "k") };
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(keyed("d", "old", "k"));
    bench.is_quick = false;
    bench.send(short("new"));
    // On disk is the new command, and nothing behind it; its lifetime ends before the next run knows enough to end any.
    bench.durable += 1;
    let mut bench = bench.crash();
    bench.advance(SECOND * 2);
    bench.join(&mut gates[0]);
    assert_eq!(bench.finals(), [superseded("old"), ("new".to_owned(), ReceiptState::Expired)]);
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), [""; 0], "the old one does not come to life again");
}

#[test]
fn what_is_replaced_makes_room_in_a_full_mailbox() {
    let mut bench = Bench::new();
    bench.send(keyed("d", "old", "k"));
    for i in 1..100 {
        bench.send(command("d", &format!("c{i}")));
    }
    bench.receipts();
    bench.send(command("d", "one-too-many"));
    assert_eq!(bench.finals(), [("one-too-many".to_owned(), ReceiptState::Rejected)]);
    bench.send(keyed("d", "new", "k"));
    assert_eq!(bench.finals(), [superseded("old")]);
}

#[test]
fn many_of_one_key_at_once_take_the_room_of_one() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.fsync();
    for i in 0..300 {
        bench.send(keyed("d", &format!("c{i}"), "k"));
    }
    bench.is_quick = true;
    bench.fsync();
    bench.advance(SECOND);
    let finals = bench.finals();
    assert_eq!(finals.len(), 299, "{finals:?}");
    assert!(finals.iter().all(|(_, state)| *state == ReceiptState::Superseded));
    assert_eq!(bench.core.journal().commands(), 1);
}

#[test]
fn a_request_that_waits_for_a_superseded_command_hears_of_its_end() {
    let mut bench = Bench::new();
    bench.http(1, keyed("d", "old", "k"));
    bench.answers();
    bench.http(2, keyed("d", "new", "k"));
    let ended: Vec<_> = bench.answers().into_iter().filter(|(_, receipt)| receipt.state.is_final()).collect();
    assert_eq!((ended.len(), ended[0].0, ended[0].1.state), (1, 1, ReceiptState::Superseded));
}

#[test]
fn one_without_a_subscription_no_longer_holds_up_what_replaces_it() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(keyed("d", "old", "k"));
    let old = bench.delivery();
    bench.settled(&gates[0], &old, Outcome::NoSubscription);
    assert_eq!(bench.parked("d"), "no_subscription");
    bench.send(CommandRequest { topic: "another".parse().unwrap(), ..keyed("d", "new", "k") });
    assert_eq!(ids(&bench.deliveries()), ["new"]);
}

#[test]
fn a_key_of_another_length_is_rejected_with_the_reason() {
    for length in [0, 256, 70_000] {
        let mut bench = Bench::new();
        let request = CommandRequest { payload: Bytes::new(), ..keyed("d", "c1", &"k".repeat(length)) };
        bench.deliver(Queue::Commands, request.into_message("roost.down"));
        let receipt = bench.receipts().remove(0);
        assert_eq!((receipt.state, receipt.reason), (ReceiptState::Rejected, Some(ReceiptReason::Invalid)));
        let (_, letter) = bench.dead_letters().remove(0);
        let reason = letter.properties.text(header::REASON).unwrap();
        assert!(reason.contains("roost-supersede-key has"), "{reason}");
    }
    let mut bench = Bench::new();
    bench.send(keyed("d", "c1", &"k".repeat(255)));
    assert_eq!(bench.finals(), []);
}
