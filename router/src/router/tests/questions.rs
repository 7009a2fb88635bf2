//! Doubt: asked once, answered once, and remembered for a while.

use std::time::Duration;

use roost_wire::{ReceiptState, Sighting};

use super::bench::{Bench, SECOND, command, device, ids};
use crate::Limits;

fn absent(
    bench: &mut Bench,
    gate: &super::bench::Gate,
    asked: &(String, roost_wire::QuestionId, roost_wire::Device),
) {
    let run = bench.core.run();
    bench.sight(gate, vec![Sighting::Absent { question: asked.1, run, device: asked.2.clone() }]);
}

#[test]
fn all_gateways_are_asked_once_for_all_commands_of_a_device() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    for id in ["c1", "c2", "c3"] {
        bench.send(command("d", id));
    }
    let asked = bench.questions();
    assert_eq!(asked.len(), 2);
    assert_eq!(bench.core.counters().questions, 1);
    let run = bench.core.run();
    let present = bench.present("d", 5);
    bench.sight(&gates[0], vec![Sighting::Claim { question: asked[0].1, run, present }]);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2", "c3"]);
    bench.send(command("d", "c4"));
    assert_eq!(
        (ids(&bench.deliveries()), bench.questions().len()),
        (vec!["c4".to_owned()], 0),
        "it is known now"
    );
}

#[test]
fn if_all_are_absent_it_is_parked_and_that_is_remembered_for_ten_seconds() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.send(command("d", "c1"));
    let asked = bench.questions();
    for (gate, asked) in gates.iter().zip(&asked) {
        absent(&mut bench, gate, asked);
    }
    assert_eq!(bench.parked("d"), "device_absent");
    bench.send(command("d", "c2"));
    assert_eq!(bench.questions(), []);
    for _ in 0..4 {
        bench.advance(Duration::from_millis(2_500));
        for gate in &mut gates {
            bench.beat(gate);
        }
    }
    bench.controls();
    bench.send(command("d", "c3"));
    assert_eq!(bench.questions().len(), 2, "asked again after a while");
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(ids(&bench.deliveries()), ["c1", "c2", "c3"]);
}

#[test]
fn a_sender_that_does_not_want_to_wait_hears_unreachable_when_nobody_holds_the_device() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let mut fail = command("d", "c1");
    fail.offline = roost_wire::Offline::Fail;
    bench.send(fail);
    assert_eq!(bench.finals(), [], "nobody knows yet");
    let asked = bench.questions();
    absent(&mut bench, &gates[0], &asked[0]);
    assert_eq!(bench.finals(), [("c1".into(), ReceiptState::Unreachable)]);
}

#[test]
fn without_gateways_it_is_parked_until_one_brings_the_device() {
    let mut bench = Bench::new();
    bench.send(command("d", "c1"));
    assert_eq!((bench.parked("d"), bench.questions().len()), ("no_gateways", 0));
    let mut g1 = super::bench::Gate::new("g1");
    bench.join(&mut g1);
    let present = vec![bench.present("d", 1)];
    bench.sight(&g1, vec![Sighting::Snapshot { first: true, last: true, present }]);
    assert_eq!(ids(&bench.deliveries()), ["c1"]);
}

#[test]
fn a_gateway_that_lapses_does_not_hold_up_the_question() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.send(command("d", "c1"));
    let asked = bench.questions();
    absent(&mut bench, &gates[0], &asked[0]);
    assert_eq!(bench.parked("d"), "asking");
    for _ in 0..4 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[0]);
    }
    assert_eq!(bench.parked("d"), "gateway_unsure", "g2 might hold it");
}

#[test]
fn a_gateway_that_restarts_does_not_hold_the_device() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.send(command("d", "c1"));
    bench.join(&mut gates[0].reborn());
    assert_eq!(bench.parked("d"), "device_absent");
}

#[test]
fn a_question_that_may_be_lost_is_asked_again() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.send(command("d", "c1"));
    let first = bench.questions();
    let g1 = &mut gates[0];
    g1.link = g1.link.next();
    bench.beat(g1);
    assert_eq!(bench.questions(), first, "over the new link");
    for _ in 0..4 {
        bench.advance(SECOND * 3);
        bench.beat(g1);
    }
    assert_eq!(bench.questions(), first, "and after ten seconds");
}

#[test]
fn questions_are_bounded_and_the_others_wait_for_their_turn() {
    let mut bench = Bench::with(Limits { questions_max: 2, ..Limits::default() });
    let mut g1 = super::bench::Gate::new("g1");
    bench.join(&mut g1);
    for i in 0..5 {
        bench.send(command(&format!("d{i}"), "c"));
    }
    let mut asked = bench.questions();
    assert_eq!(asked.len(), 2);
    let mut order = Vec::new();
    while let Some(next) = asked.first().cloned() {
        asked.remove(0);
        order.push(next.2.clone());
        absent(&mut bench, &g1, &next);
        asked.extend(bench.questions());
    }
    assert_eq!(order, ["d0", "d1", "d2", "d3", "d4"].map(device));
}

#[test]
fn a_question_whose_commands_have_ended_is_dropped() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let mut short = command("d", "c1");
    short.lifetime_ms = Some(1_000);
    bench.send(short);
    assert_eq!(bench.questions().len(), 1);
    for _ in 0..5 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[0]);
    }
    assert_eq!(bench.questions(), []);
}
