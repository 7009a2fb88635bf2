//! The traces that broke the first draft of the protocol, each with the router's half of the rule that stops it.

use roost_wire::{Control, Outcome, ReceiptState, ReturnReason, Sighting, SyncNumber};

use super::bench::{Bench, Gate, SECOND, command, device, ids, settlement};
use crate::{PublishOutcome, Queue};

const RETURNED: Outcome = Outcome::Returned { reason: ReturnReason::HoldEnded };

#[test]
fn v1_a_hold_ends_with_its_first_answer_other_than_delivered_or_sent() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let g1 = &gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    bench.send(command("d", "c2"));
    let [c1, c2] = bench.deliveries().try_into().unwrap();
    assert_eq!(c1.epoch, c2.epoch, "one hold, one window");
    bench.settled(g1, &c1, Outcome::NoSubscription);
    bench.subscribed(g1, "d", 1);
    assert_eq!(bench.deliveries(), [], "c2 is still out: nothing is sent before it is back");
    assert_eq!(bench.parked("d"), "hold_ending");
    bench.settled(g1, &c2, RETURNED);
    let again = bench.deliveries();
    assert_eq!(ids(&again), ["c1", "c2"], "in order, in a new hold");
    assert!(again[0].epoch > c1.epoch && again[0].epoch == again[1].epoch);
}

#[test]
fn v2_the_subscribe_report_behind_the_answer_frees_the_mailbox() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let g1 = &gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.settled(g1, &c1, Outcome::NoSubscription);
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "no_subscription"));
    bench.send(command("d", "c2"));
    assert_eq!(bench.deliveries(), [], "c1 holds c2 back");
    bench.subscribed(g1, "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2"]);
}

#[test]
fn v2_every_acceptance_offers_the_mailbox() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let g1 = &gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.settled(g1, &c1, Outcome::NoSubscription);
    bench.accepted(g1, "d", 2);
    assert_eq!(bench.delivery().session, roost_wire::SessionId(2));
}

#[test]
fn v3_an_acceptance_ends_the_doubt_before_late_absents() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.send(command("d", "c1"));
    let asked = bench.questions();
    assert_eq!(asked.len(), 2);
    let absent = |question| Sighting::Absent { question, run: bench_run(&bench), device: device("d") };
    let late = absent(asked[0].1);
    bench.accepted(&gates[0], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c1"]);
    bench.sight(&gates[0], vec![late.clone()]);
    bench.sight(&gates[1], vec![late]);
    let explained = bench.core.explain(bench.now, &device("d"));
    assert_eq!(explained.online, Some(true));
    bench.send(command("d", "c2"));
    assert_eq!(ids(&bench.deliveries()), ["c2"], "it is not taken for absent");
}

fn bench_run(bench: &Bench) -> roost_wire::RouterRun {
    bench.core.run()
}

#[test]
fn v4_in_doubt_gateways_are_asked_and_never_get_a_copy() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.send(command("d", "c1"));
    assert_eq!(bench.deliveries(), []);
    let asked = bench.questions();
    let run = bench.core.run();
    let present = bench.present("d", 4);
    bench.sight(&gates[1], vec![Sighting::Claim { question: asked[0].1, run, present }]);
    let all = bench.deliveries_with_tokens();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].1, gates[1].inbox(), "the command follows the claim, once");
}

#[test]
fn v5_after_a_new_link_nothing_goes_out_before_its_sync() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let g1 = &mut gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    bench.deliveries();
    // The link is lost with c1 in its inbox; a new one comes up before the lease lapses.
    g1.link = g1.link.next();
    bench.beat(g1);
    bench.send(command("d", "c2"));
    assert_eq!(bench.deliveries(), [], "c2 must not overtake c1");
    bench.sync(g1, &[]);
    let again = bench.deliveries();
    assert_eq!(ids(&again), ["c1", "c2"]);
    assert!(again.iter().all(|delivery| delivery.sync == g1.sync), "they carry the new number");
}

#[test]
fn v6_what_a_sync_lists_is_not_sent_again_after_a_restart() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let mut bench = bench.crash();
    let g1 = &mut gates[0];
    bench.beat(g1);
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c2"));
    assert_eq!(bench.deliveries(), []);
    bench.sync(g1, &[&c1]);
    assert_eq!(bench.deliveries(), [], "c1 is in flight, c2 waits for it");
    bench.settled(g1, &c1, Outcome::Delivered);
    let c2 = bench.delivery();
    assert_eq!(&c2.payload[..], b"c2");
    assert!(c2.epoch > c1.epoch);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

#[test]
fn v6_a_sync_that_the_run_before_has_used_says_nothing_to_this_one() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let mut bench = bench.crash();
    let g1 = &mut gates[0];
    // The old run had not acknowledged the sync: it is redelivered, and does not know of c1.
    g1.sync = SyncNumber(0);
    bench.sync(g1, &[]);
    bench.beat(g1);
    bench.accepted(g1, "d", 1);
    assert!(!bench.core.is_recovered());
    assert_eq!(bench.deliveries(), []);
    bench.sync(g1, &[&c1]);
    assert!(bench.core.is_recovered());
    assert_eq!(bench.deliveries(), []);
}

#[test]
fn v7_after_a_restart_nothing_goes_out_while_a_known_gateway_may_deliver() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.deliveries();
    let mut bench = bench.crash();
    let g2 = &mut gates[1];
    bench.join(g2);
    bench.accepted(g2, "d", 1);
    for _ in 0..3 {
        bench.advance(SECOND * 3);
        bench.beat(g2);
        assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "recovering"));
    }
    bench.advance(SECOND * 3);
    assert_eq!(bench.deliveries(), [], "lease and margin have passed; what g1 has settled is not read yet");
    assert!(bench.read_marker());
    let c1 = bench.deliveries_with_tokens().remove(0);
    assert_eq!(c1.1, g2.inbox());
}

#[test]
fn v8_epochs_of_a_later_run_are_greater_also_if_the_journal_was_lost() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let before = bench.delivery();
    bench.settled(&gates[0], &before, Outcome::Delivered);
    bench.advance(SECOND * 2);
    for keep in [true, false] {
        let (wall, log) = (bench.now.wall, bench.log.clone());
        let mut restarted = Bench::new();
        if keep {
            restarted.log = log;
            restarted.durable = restarted.log.len();
        }
        restarted.durable *= usize::from(keep);
        restarted.now.wall = wall;
        let mut restarted = restarted.crash();
        let g1 = &mut gates[0];
        restarted.join(g1);
        restarted.accepted(g1, "d", 2);
        restarted.send(command("d", "c9"));
        let after = restarted.delivery();
        assert!(after.epoch > before.epoch, "{} {}", after.epoch, before.epoch);
    }
}

#[test]
fn v9_a_late_answer_of_an_older_hold_changes_nothing() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let at_g1 = bench.delivery();
    lapse_first(&mut bench, &mut gates);
    bench.accepted(&gates[1], "d", 1);
    assert!(bench.read_marker());
    let at_g2 = bench.delivery();
    assert!(at_g2.epoch > at_g1.epoch);
    bench.settled(&gates[0], &at_g1, Outcome::NoSubscription);
    assert_eq!(bench.deliveries(), [], "c1 is outstanding at g2 still");
    bench.settled(&gates[1], &at_g2, Outcome::Delivered);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

/// The first gateway falls silent until its lease has lapsed at the router; the others go on.
fn lapse_first(bench: &mut Bench, gates: &mut [Gate]) {
    for _ in 0..5 {
        bench.advance(SECOND * 3);
        for gate in gates.iter_mut().skip(1) {
            bench.beat(gate);
        }
    }
    bench.controls();
}

#[test]
fn v10_before_reassigning_the_router_reads_up_to_its_marker() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    lapse_first(&mut bench, &mut gates);
    bench.accepted(&gates[1], "d", 1);
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "hold_ending"));
    // g1 had settled it before it died; that stands before the marker.
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert!(bench.read_marker());
    assert_eq!(bench.deliveries(), []);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

#[test]
fn v11_a_settle_timeout_asks_for_a_sync_and_sends_nothing_again() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let g1 = &mut gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.controls();
    for _ in 0..12 {
        bench.advance(SECOND * 3);
        bench.beat(g1);
    }
    let asks = bench.controls().into_iter().filter(|(_, item)| *item == Control::Sync).count();
    assert_eq!(asks, 1);
    bench.settled(g1, &c1, Outcome::Delivered);
    bench.sync(g1, &[]);
    assert_eq!(bench.deliveries(), []);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

#[test]
fn v12_a_gateway_that_lapsed_gets_nothing_before_it_has_synced() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    lapse_first(&mut bench, &mut gates);
    bench.beat(&mut gates[0]);
    bench.send(command("d", "c2"));
    assert_eq!(bench.deliveries(), [], "its lease runs again, and c1 may be held there");
    bench.settled(&gates[0], &c1, Outcome::Returned { reason: ReturnReason::LeaseLapsed });
    bench.sync(&mut gates[0], &[]);
    bench.advance(SECOND);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2"]);
}

#[test]
fn v13_a_command_in_flight_at_a_lapsed_gateway_may_be_delivered_twice_and_ends_once() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let at_g1 = bench.delivery();
    lapse_first(&mut bench, &mut gates);
    bench.accepted(&gates[1], "d", 1);
    bench.read_marker();
    let at_g2 = bench.delivery();
    assert_eq!(at_g1.id, at_g2.id, "the device can tell that it is the same");
    bench.settled(&gates[1], &at_g2, Outcome::Delivered);
    bench.settled(&gates[0], &at_g1, Outcome::Delivered);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
}

#[test]
fn v14_after_gone_the_command_waits_here_and_goes_out_again_with_its_id() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let g1 = &gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    let first = bench.delivery();
    bench.settled(g1, &first, Outcome::Gone { written: true });
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "device_away"));
    bench.accepted(g1, "d", 2);
    let second = bench.delivery();
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert!(second.epoch > first.epoch);
}

#[test]
fn v15_redelivered_after_its_end_it_is_not_delivered_twice() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert_eq!(bench.finals().len(), 1);
    // The acknowledgement never reached the queue.
    let mut bench = bench.crash();
    let g1 = &mut gates[0];
    bench.join(g1);
    bench.accepted(g1, "d", 1);
    bench.said.clear();
    let source = bench.send(command("d", "c1"));
    assert_eq!(bench.deliveries(), []);
    assert!(bench.acks().contains(&source));
    let receipts = bench.receipts();
    assert_eq!(receipts.len(), 1, "the same receipt again");
    assert!(receipts[0].duplicate && receipts[0].state == ReceiptState::Delivered);
}

#[test]
fn v15_requeued_and_expired_there_it_is_not_expired_beside_delivered() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.send(command("d", "c2"));
    let [c1, c2] = bench.deliveries().try_into().unwrap();
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    bench.states();
    for id in ["c1", "c2"] {
        let source = bench.deliver(Queue::Expired, command("d", id).into_message("roost.down"));
        assert!(bench.acks().contains(&source));
    }
    assert_eq!(bench.states(), [] as [String; 0], "c1 has ended and c2 is in custody");
    bench.settled(&gates[0], &c2, Outcome::Delivered);
    assert_eq!(bench.finals(), [("c2".into(), ReceiptState::Delivered)]);
}

#[test]
fn v15_a_final_is_on_disk_with_its_receipt_before_it_is_told_and_told_until_confirmed() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.is_quick = false;
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert_eq!(bench.finals(), [], "not on disk yet");
    bench.fsync();
    let told = bench.receipts();
    assert_eq!(told.len(), 1);
    // The router dies before the broker has confirmed the receipt.
    let mut bench = bench.crash();
    let again = bench.receipts();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].id(), told[0].id(), "a repeat has the same message id");
    bench.join(&mut gates[0]);
    let mut bench = bench.crash();
    assert_eq!(bench.receipts(), [], "confirmed");
}

#[test]
fn v16_a_gone_that_is_heard_in_time_counts_and_the_live_session_stays() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[1], "d", 2);
    let asked = bench.questions();
    bench.send(command("d", "c1"));
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "contested"));
    // It held s1 when it was asked; s1 closes while the other's answer is under way.
    bench.replies(&gates[0], asked[0].1, "d", Some(1));
    bench.gone(&gates[0], "d", 1);
    assert_eq!(bench.deliveries_with_tokens()[0].1, gates[1].inbox());
    assert_eq!(bench.closes(), [], "the live session stays, and the other is closed already");
    bench.replies(&gates[1], asked[1].1, "d", Some(2));
    assert_eq!(bench.core.explain(bench.now, &super::bench::device("d")).online, Some(true));
}

#[test]
fn a_window_of_sixteen_is_outstanding_and_no_more() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    for i in 0..20 {
        bench.send(command("d", &format!("c{i}")));
    }
    let sent = bench.deliveries();
    assert_eq!(sent.len(), 16);
    let items = sent.iter().take(2).map(|delivery| settlement(delivery, Outcome::Delivered)).collect();
    bench.report(&gates[0], items);
    assert_eq!(ids(&bench.deliveries()), ["c16", "c17"]);
}

#[test]
fn a_command_that_found_no_inbox_is_sent_again_over_the_next_link() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.is_quick = false;
    bench.send(command("d", "c1"));
    bench.fsync();
    let (token, _, c1) = bench.deliveries_with_tokens().remove(0);
    bench.outcome(token, PublishOutcome::Returned);
    bench.is_quick = true;
    bench.fsync();
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "gateway_not_ready"));
    let g1 = &mut gates[0];
    g1.link = g1.link.next();
    bench.beat(g1);
    bench.sync(g1, &[]);
    assert_eq!(bench.delivery().id, c1.id);
}

#[test]
fn a_publication_of_unknown_fate_asks_for_a_sync_and_is_not_repeated() {
    for outcome in [PublishOutcome::Lost, PublishOutcome::Nacked] {
        let (mut bench, mut gates) = Bench::ready(&["g1"]);
        bench.accepted(&gates[0], "d", 1);
        bench.is_quick = false;
        bench.send(command("d", "c1"));
        bench.fsync();
        let (token, _, c1) = bench.deliveries_with_tokens().remove(0);
        bench.is_quick = true;
        bench.outcome(token, outcome);
        assert_eq!(bench.controls().last().unwrap().1, Control::Sync);
        assert_eq!(bench.deliveries(), []);
        bench.sync(&mut gates[0], &[&c1]);
        assert_eq!(bench.deliveries(), [], "it had arrived");
        bench.settled(&gates[0], &c1, Outcome::Delivered);
        assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Delivered)]);
    }
}

#[test]
fn v2_a_sync_frees_the_mailbox_of_a_device_whose_subscribe_report_overtook_the_answer() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let g1 = &mut gates[0];
    bench.accepted(g1, "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    // The report with the answer was refused by the broker, the one behind it was not: they are read the wrong way round.
    bench.subscribed(g1, "d", 1);
    bench.settled(g1, &c1, Outcome::NoSubscription);
    assert_eq!(bench.parked("d"), "no_subscription");
    // The gateway knows that this has happened, and syncs.
    bench.sync(g1, &[]);
    assert_eq!(ids(&bench.deliveries()), ["c1"], "it does not wait for a SUBSCRIBE that has come already");
}
