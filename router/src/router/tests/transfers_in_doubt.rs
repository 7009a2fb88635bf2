//! Which copy of a session is its device's newest, and what becomes of all of them where nobody can say.

use roost_wire::{Control, SessionAnswer, Sighting};

use super::bench::{Gate, SECOND};
use super::transfers::*;
use crate::TransferOutcome;

#[test]
fn where_nobody_can_say_which_is_the_newest_all_are_forgotten() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    passes(&mut bench, &mut gates, 10);
    wants(&mut bench, &gates[1], None);
    let (_, question) = sought(&mut bench);
    holds(&mut bench, &gates[0], question, 8, 5 * SECOND);
    has_none(&mut bench, &gates[1], question);
    holds(&mut bench, &gates[2], question, 9, 5 * SECOND);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Undecided));
    assert_eq!(doubted(&mut bench), these(&[("g1", 8), ("g3", 9)]));
    assert_eq!(outcomes(&bench, TransferOutcome::Undecided), 1);
}

/// The router that had all of them forgotten knew the device; a new run of it does not.
#[test]
fn a_copy_is_not_the_newest_if_a_newer_one_was_forgotten_in_doubt() {
    for (ago, is_certain) in [(10 * SECOND, true), (5 * SECOND, false), (SECOND, false)] {
        let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
        passes(&mut bench, &mut gates, 20);
        wants(&mut bench, &gates[1], None);
        let (_, question) = sought(&mut bench);
        forgot(&mut bench, &gates[0], question, ago);
        has_none(&mut bench, &gates[1], question);
        holds(&mut bench, &gates[2], question, 9, 5 * SECOND);
        if is_certain {
            let (at, _, session) = ordered(&mut bench);
            assert_eq!((at.as_str(), session), ("g3", 9), "what was forgotten was older");
        } else {
            assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Undecided), "accepted {ago:?} ago");
            assert_eq!(doubted(&mut bench), these(&[("g3", 9)]));
        }
    }
}

#[test]
fn a_copy_is_not_the_newest_if_one_that_may_have_a_newer_one_cannot_be_asked() {
    let (bench, gates) = roaming(&["g1", "g2"]);
    let mut bench = bench.crash();
    let mut g2 = gates[1].clone();
    bench.beat(&mut g2);
    wants(&mut bench, &g2, Some(3));
    let (_, question) = sought(&mut bench);
    holds(&mut bench, &g2, question, 3, SECOND);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Undecided), "g1 may have it, and was not heard");
    assert_eq!(doubted(&mut bench), these(&[("g2", 3)]));
}

#[test]
fn a_copy_is_not_the_newest_if_a_newer_one_may_have_died_with_its_gateway() {
    for (ago, answer) in [(5 * SECOND, SessionAnswer::Undecided), (SECOND, SessionAnswer::Current)] {
        let (mut bench, mut gates) = roaming(&["g1", "g2"]);
        passes(&mut bench, &mut gates, 10);
        bench.accepted(&gates[0], "d", 4);
        // It dies with the session, and is back.
        gates[0] = Gate { roams: true, ..gates[0].reborn() };
        bench.join(&mut gates[0]);
        passes(&mut bench, &mut gates, 3);
        wants(&mut bench, &gates[1], Some(3));
        let (_, question) = sought(&mut bench);
        has_none(&mut bench, &gates[0], question);
        holds(&mut bench, &gates[1], question, 3, ago);
        assert_eq!(answered(&mut bench), to("g2", answer), "accepted {ago:?} ago");
    }
}

#[test]
fn a_record_is_not_trusted_if_a_gateway_was_out_of_touch_since() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[0], "d", 4);
    bench.gone(&gates[0], "d", 4);
    // g3 takes the device without a word to anybody, and it leaves.
    passes(&mut bench, &mut gates[..2], 15);
    passes(&mut bench, &mut gates, 1);
    wants(&mut bench, &gates[1], None);
    let (whom, question) = sought(&mut bench);
    assert_eq!(whom, ["g1", "g2", "g3"]);
    holds(&mut bench, &gates[0], question, 4, 16 * SECOND);
    has_none(&mut bench, &gates[1], question);
    holds(&mut bench, &gates[2], question, 6, 5 * SECOND);
    let (at, _, session) = ordered(&mut bench);
    assert_eq!((at.as_str(), session), ("g3", 6));
    assert_eq!(doubted(&mut bench), these(&[("g1", 4)]));
}

#[test]
fn a_gateway_that_has_gone_away_for_good_is_not_out_of_touch() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[0], "d", 4);
    bench.gone(&gates[0], "d", 4);
    bench.drains(&mut gates[2]);
    passes(&mut bench, &mut gates[..2], 15);
    wants(&mut bench, &gates[1], None);
    let (at, _, session) = ordered(&mut bench);
    assert_eq!((at.as_str(), session), ("g1", 4), "it took nobody since it said so");
}

#[test]
fn what_its_gateway_has_no_more_is_not_replaced_by_an_older_one() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[0], "d", 4);
    passes(&mut bench, &mut gates[..2], 15);
    passes(&mut bench, &mut gates, 1);
    wants(&mut bench, &gates[1], None);
    let (_, question) = sought(&mut bench);
    has_none(&mut bench, &gates[0], question);
    has_none(&mut bench, &gates[1], question);
    holds(&mut bench, &gates[2], question, 6, 18 * SECOND);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Undecided));
    assert_eq!(doubted(&mut bench), these(&[("g3", 6)]));
}

#[test]
fn what_was_contested_is_resumed_nowhere_whoever_stays() {
    let (mut bench, gates) = roaming(&["g1", "g2", "g3"]);
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[1], "d", 2);
    let both = these(&[("g1", 1), ("g2", 2)]);
    let asked = bench.controls();
    let question = asked.iter().find_map(|(_, control)| match control {
        Control::Ask { question, .. } => Some(*question),
        _ => None,
    });
    bench.unread = asked;
    assert_eq!(doubted(&mut bench), both);
    wants(&mut bench, &gates[2], None);
    assert_eq!(answered(&mut bench), to("g3", SessionAnswer::Undecided), "as long as it is open");
    bench.replies(&gates[0], question.unwrap(), "d", Some(1));
    bench.replies(&gates[1], question.unwrap(), "d", Some(2));
    assert_eq!(doubted(&mut bench), both, "who answers is told again: it may not have heard it");
    wants(&mut bench, &gates[2], None);
    assert_eq!(answered(&mut bench), to("g3", SessionAnswer::Undecided), "and when it is over");
    bench.controls();
    bench.gone(&gates[1], "d", 2);
    assert_eq!(doubted(&mut bench), these(&[("g2", 2)]));
    // A session that begins after that is one like any other.
    bench.advance(SECOND);
    bench.accepted(&gates[2], "d", 3);
    wants(&mut bench, &gates[0], None);
    assert_eq!(ordered(&mut bench).2, 3);
}

#[test]
fn an_older_session_that_looks_connected_is_where_the_device_is_and_is_resumed_nowhere() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    let older = bench.present("d", 4);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[1], "d", 6);
    bench.gone(&gates[1], "d", 6);
    bench.controls();
    // Its device broke without a word, or there are two with one name.
    bench.sight(&gates[0], vec![Sighting::Snapshot { first: true, last: true, present: vec![older] }]);
    assert_eq!(doubted(&mut bench), these(&[("g1", 4), ("g2", 6)]));
    wants(&mut bench, &gates[2], None);
    assert_eq!(answered(&mut bench), to("g3", SessionAnswer::Undecided));
}

#[test]
fn what_has_moved_is_newer_than_what_it_was_even_where_the_clocks_do_not_tell() {
    let (mut bench, gates) = roaming(&["g1", "g2", "g3"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    gives(&mut bench, &gates[0], question, 4);
    bench.controls();
    bench.accepted(&gates[1], "d", 5);
    assert_eq!(doubted(&mut bench), these(&[]));
    wants(&mut bench, &gates[2], None);
    assert_eq!(ordered(&mut bench).2, 5);
}

#[test]
fn what_did_not_come_in_time_is_older_than_what_its_device_began_instead() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    ordered(&mut bench);
    passes(&mut bench, &mut gates, 30);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::TimedOut));
    assert_eq!(doubted(&mut bench), these(&[("g1", 4)]));
}
