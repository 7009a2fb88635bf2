//! What becomes of a command that was taken: each way it can end, and that it ends once.

use roost_wire::envelope::header;
use roost_wire::{CommandRequest, Offline, Outcome, ReceiptReason, ReceiptState, Refusal, ReturnReason};

use super::bench::{Bench, SECOND, command, ids};
use crate::{Limits, PublishOutcome};

#[test]
fn each_answer_leads_to_its_state() {
    let refused = |reason| Outcome::Refused { reason };
    let returned = |reason| Outcome::Returned { reason };
    let cases = [
        (Outcome::Delivered, Some((ReceiptState::Delivered, None)), ""),
        (Outcome::Sent, Some((ReceiptState::Sent, None)), ""),
        (
            refused(Refusal::Device { reason_code: 0x97 }),
            Some((ReceiptState::Rejected, Some(ReceiptReason::DeviceRefused))),
            "",
        ),
        (
            refused(Refusal::PacketTooLarge),
            Some((ReceiptState::Rejected, Some(ReceiptReason::PacketTooLarge))),
            "",
        ),
        (refused(Refusal::Expired), Some((ReceiptState::Expired, None)), ""),
        (Outcome::NoSubscription, None, "no_subscription"),
        (Outcome::Gone { written: false }, None, "device_away"),
        (Outcome::Gone { written: true }, None, "device_away"),
        (Outcome::TimedOut, None, "again"),
        (returned(ReturnReason::HoldEnded), None, "again"),
        (returned(ReturnReason::Full), None, "resting"),
        (returned(ReturnReason::Draining), None, "resting"),
        (returned(ReturnReason::StaleEpoch), None, "resting"),
    ];
    for (outcome, end, waits) in cases {
        let (mut bench, gates) = Bench::ready(&["g1"]);
        bench.accepted(&gates[0], "d", 1);
        bench.send(command("d", "c1"));
        let c1 = bench.delivery();
        bench.receipts();
        bench.settled(&gates[0], &c1, outcome);
        let last = bench.receipts().pop();
        match end {
            Some(end) => {
                let receipt = last.unwrap();
                assert_eq!((receipt.state, receipt.reason), end, "{outcome:?}");
                assert_eq!(receipt.epoch, Some(c1.epoch));
                assert_eq!(receipt.gateway.unwrap().as_str(), "g1");
                assert_eq!(receipt.attempt, 1);
                // The same answer once more changes nothing.
                bench.settled(&gates[0], &c1, outcome);
                assert_eq!(bench.receipts(), []);
            }
            None => match waits {
                "again" => assert_eq!(bench.delivery().attempt, 2, "{outcome:?}"),
                "resting" => {
                    assert_eq!(bench.deliveries(), [], "{outcome:?}");
                    bench.advance(SECOND);
                    assert_eq!(bench.delivery().attempt, 2, "{outcome:?}");
                }
                reason => {
                    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], reason), "{outcome:?}")
                }
            },
        }
    }
}

#[test]
fn commands_for_a_device_that_is_away_wait_and_come_in_order_when_it_is_back() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.gone(&gates[0], "d", 1);
    for id in ["c1", "c2", "c3"] {
        bench.send(command("d", id));
    }
    assert_eq!(
        (bench.deliveries(), bench.questions()),
        (vec![], vec![]),
        "known to be away: nobody is asked"
    );
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2", "c3"]);
}

#[test]
fn the_order_of_receipts_is_accepted_parked_forwarded_final() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.gone(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.accepted(&gates[0], "d", 2);
    let c1 = bench.delivery();
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert_eq!(bench.states(), ["c1: accepted", "c1: parked", "c1: forwarded", "c1: delivered"]);
}

#[test]
fn a_device_that_moves_gets_the_next_command_there_when_the_old_hold_is_settled() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.accepted(&gates[1], "d", 1);
    bench.send(command("d", "c2"));
    assert_eq!(bench.deliveries(), []);
    bench.settled(&gates[0], &c1, Outcome::Gone { written: true });
    let sent = bench.deliveries_with_tokens();
    assert!(sent.iter().all(|(_, inbox, _)| *inbox == gates[1].inbox()));
    assert_eq!(sent.len(), 2);
}

#[test]
fn a_refusal_by_the_device_is_final_also_when_a_new_run_reads_it() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let mut bench = bench.crash();
    bench.settled(&gates[0], &c1, Outcome::Refused { reason: Refusal::Device { reason_code: 0x83 } });
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Rejected)], "the device is not asked again");
}

#[test]
fn what_a_device_may_have_never_ends_as_if_it_had_not_arrived() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(CommandRequest { lifetime_ms: Some(30_000), ..command("d", "c1") });
    let c1 = bench.delivery();
    let mut bench = bench.crash();
    // The hold it speaks of is the last run's.
    bench.settled(&gates[0], &c1, Outcome::Gone { written: true });
    bench.sync(&mut gates[0], &[]);
    bench.advance(SECOND * 40);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Unknown)]);
}

#[test]
fn a_command_that_waits_too_long_expires_and_one_that_is_out_is_waited_for() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    let short = |to: &str, id: &str| CommandRequest { lifetime_ms: Some(2_000), ..command(to, id) };
    bench.send(short("away", "c1"));
    bench.send(short("d", "c2"));
    bench.send(short("d", "c3"));
    let [c2, c3] = bench.deliveries().try_into().unwrap();
    assert_eq!(c2.expires_in_ms, 2_000);
    bench.advance(SECOND * 3);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Expired)]);
    bench.settled(&gates[0], &c2, Outcome::Delivered);
    bench.settled(&gates[0], &c3, Outcome::TimedOut);
    let expected = [("c2".into(), ReceiptState::Delivered), ("c3".into(), ReceiptState::Unknown)];
    assert_eq!(bench.finals(), expected);
}

#[test]
fn in_flight_at_a_lost_gateway_when_its_lifetime_ends_is_unknown() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "short") });
    bench.send(CommandRequest { lifetime_ms: Some(60_000), ..command("d", "long") });
    bench.advance(SECOND * 13);
    assert_eq!(bench.finals(), [], "until what it had settled is read");
    assert!(bench.read_marker());
    assert_eq!(bench.finals(), [("short".into(), ReceiptState::Unknown)]);
    bench.advance(SECOND * 60);
    assert_eq!(bench.finals(), [("long".into(), ReceiptState::Unknown)]);
}

#[test]
fn a_sender_that_does_not_want_to_wait_hears_unreachable_while_the_device_is_away() {
    let fail = |to: &str, id: &str| CommandRequest { offline: Offline::Fail, ..command(to, id) };
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(fail("d", "c1"));
    bench.send(command("d", "c2"));
    bench.send(fail("d", "c3"));
    let [c1, c2, c3] = bench.deliveries().try_into().unwrap();
    assert_eq!(bench.finals(), []);
    for delivery in [&c1, &c2, &c3] {
        bench.settled(&gates[0], delivery, Outcome::Gone { written: false });
    }
    let ended = [("c1".into(), ReceiptState::Unreachable), ("c3".into(), ReceiptState::Unreachable)];
    assert_eq!(bench.finals(), ended, "c2 waits");
    bench.send(fail("d", "c4"));
    assert_eq!(bench.finals(), [("c4".into(), ReceiptState::Unreachable)]);
    bench.accepted(&gates[0], "d", 2);
    assert_eq!(ids(&bench.deliveries()), ["c2"]);
}

#[test]
fn a_command_that_breaks_its_device_every_time_is_given_up() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    for session in 1..=10 {
        if session == 1 {
            bench.send(command("d", "poison"));
            bench.send(command("d", "next"));
        }
        bench.accepted(&gates[0], "d", session);
        let sent = bench.deliveries();
        // Both were written and neither answered: which one it is shows when the first goes alone.
        let expected: &[&str] = if session <= 3 { &["poison", "next"] } else { &["poison"] };
        assert_eq!(ids(&sent), expected);
        bench.is_quick = session < 10;
        for delivery in &sent {
            bench.settled(&gates[0], delivery, Outcome::Gone { written: true });
        }
    }
    assert_eq!(bench.finals(), [], "it ends when its letter is there");
    let (token, letter) = bench.dead_letters().remove(0);
    assert_eq!((&*letter.exchange, &letter.body[..]), ("roost.dead", &b"poison"[..]));
    assert_eq!(letter.properties.text(header::REASON), Some("delivery_limit"));
    bench.accepted(&gates[0], "d", 11);
    bench.fsync();
    assert_eq!(ids(&bench.deliveries()), [""; 0], "the later ones come behind it");
    bench.outcome(token, PublishOutcome::Nacked);
    bench.advance(SECOND);
    let (token, _) = bench.dead_letters().remove(0);
    bench.outcome(token, PublishOutcome::Confirmed);
    bench.fsync();
    let rejected = bench.receipts().into_iter().find(|receipt| receipt.state.is_final()).unwrap();
    assert_eq!(rejected.reason, Some(ReceiptReason::DeliveryLimit));
    assert_eq!(ids(&bench.deliveries()), ["next"]);
}

#[test]
fn what_was_tried_before_a_restart_or_with_a_gateway_that_was_lost_counts() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(command("d", "poison"));
    for session in 1..=10 {
        assert_eq!(bench.finals(), []);
        bench.accepted(&gates[0], "d", session);
        let sent = bench.delivery();
        assert_eq!(u64::from(sent.attempt), session);
        match session % 3 {
            // Its device's connection breaks, and then the router dies.
            0 => {
                bench.settled(&gates[0], &sent, Outcome::Gone { written: true });
                bench = bench.crash();
            }
            // The gateway dies with it.
            1 => gates[0] = gates[0].reborn(),
            // Both do.
            _ => {
                bench = bench.crash();
                gates[0] = gates[0].reborn();
            }
        }
        bench.join(&mut gates[0]);
    }
    bench.accepted(&gates[0], "d", 11);
    assert_eq!(ids(&bench.deliveries()), [""; 0]);
    assert_eq!(bench.finals(), [("poison".into(), ReceiptState::Rejected)]);
    assert_eq!(bench.dead_letters().len(), 1);
}

#[test]
fn finals_are_bounded_for_a_device_and_in_all() {
    let limits = Limits { finals_per_device_max: 3, finals_max: 5, ..Limits::default() };
    let mut bench = Bench::with(limits);
    for i in 0..8 {
        bench.send(CommandRequest {
            lifetime_ms: Some(1_000),
            ..command(&format!("d{}", i % 2), &format!("c{i}"))
        });
        bench.advance(SECOND);
    }
    assert_eq!(bench.core.journal().finals(), 5);
    assert!(bench.core.counters().drops[&crate::DropReason::ForgottenEarly] >= 3);
    bench.receipts();
    for (id, is_known) in [("c7", true), ("c0", false)] {
        bench.send(command(if id == "c7" { "d1" } else { "d0" }, id));
        assert_eq!(bench.receipts()[0].duplicate, is_known, "{id}");
    }
}

#[test]
fn a_settlement_of_a_command_of_another_journal_or_device_is_counted() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let mut stranger = c1.clone();
    stranger.id.journal ^= 1;
    let mut mistaken = c1.clone();
    mistaken.device = super::bench::device("e");
    for wrong in [stranger, mistaken] {
        bench.settled(&gates[0], &wrong, Outcome::Delivered);
    }
    assert_eq!(bench.finals(), []);
    assert_eq!(bench.core.counters().drops[&crate::DropReason::UnknownCommand], 2);
}

#[test]
fn a_lifetime_that_ended_at_the_gateway_ends_when_the_command_is_back() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c2") });
    assert_eq!(bench.deliveries().len(), 2);
    bench.advance(SECOND * 13);
    assert_eq!(bench.finals(), [], "g1 may still answer");
    assert!(bench.read_marker());
    // c1 has a day left and stands before it; c2 does not wait for that.
    assert_eq!(bench.finals(), [("c2".to_owned(), ReceiptState::Unknown)]);
    assert_eq!(bench.parked("d"), "no_gateways");
}

#[test]
fn a_lifetime_that_ended_ends_when_a_sync_does_not_list_the_command() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c2") });
    assert_eq!(bench.deliveries().len(), 2);
    bench.advance(SECOND * 6);
    bench.gone(&gates[0], "d", 1);
    gates[0].link = gates[0].link.next();
    bench.beat(&mut gates[0]);
    bench.sync(&mut gates[0], &[]);
    assert_eq!(bench.finals(), [("c2".to_owned(), ReceiptState::Expired)]);
    assert_eq!(bench.parked("d"), "device_away");
}
