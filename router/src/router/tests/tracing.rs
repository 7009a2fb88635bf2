//! Commands that are traced: one span from the acceptance to the final, also across a restart.

use std::time::Duration;

use roost_wire::{Outcome, ReceiptState, SampleRatio, TraceContext, TraceIds};

use super::bench::*;
use crate::journal::Record;
use crate::{CommandTrace, Output};

const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn came() -> TraceContext {
    TraceContext::parse(CAME).unwrap()
}

/// Records every trace that begins here, or none.
fn trace(bench: &mut Bench, ratio: f64) {
    let ids = TraceIds::new([3, 4], SampleRatio::new(ratio).unwrap());
    bench.core.trace_with(bench.now, Some(ids));
}

fn traced(id: &str, came: Option<TraceContext>) -> roost_wire::CommandRequest {
    roost_wire::CommandRequest { trace: came, ..command("d", id) }
}

fn told(bench: &Bench) -> Vec<CommandTrace> {
    let trace = |output: &Output| match output {
        Output::Trace(trace) => Some((**trace).clone()),
        _ => None,
    };
    bench.said.iter().filter_map(trace).collect()
}

fn names(trace: &CommandTrace) -> Vec<&'static str> {
    trace.steps.iter().map(|step| step.name).collect()
}

#[test]
fn a_senders_trace_goes_on_through_the_routers_span_to_the_gateway() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    trace(&mut bench, 0.0);
    bench.accepted(&gates[0], "d", 1);
    bench.send(traced("c1", Some(came())));
    let delivery = bench.delivery();
    let place = delivery.trace.unwrap();
    assert_eq!((place.trace, place.is_sampled()), (came().trace, true));
    assert_ne!(place.span, came().span);
    bench.advance(Duration::from_millis(40));
    assert_eq!(told(&bench), []);
    bench.settled(&gates[0], &delivery, Outcome::Delivered);
    let [told] = &told(&bench)[..] else { panic!("one span for one command") };
    assert_eq!((told.context, told.parent), (place, Some(came().span)));
    assert_eq!(told.end.since(told.start), Duration::from_millis(40));
    assert_eq!(told.receipt.state, ReceiptState::Delivered);
    assert_eq!(names(told), ["taken", "safe", "decided", "forwarded", "answered", "ended"]);
    assert_eq!(told.steps[2].decision, Some(("forward", "")));
    assert_eq!(told.steps[3].given, Some((gates[0].id.clone(), delivery.epoch)));
}

#[test]
fn every_decision_is_told_with_its_reason() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    trace(&mut bench, 0.0);
    bench.accepted(&gates[0], "d", 1);
    bench.gone(&gates[0], "d", 1);
    bench.send(traced("c1", Some(came())));
    bench.accepted(&gates[0], "d", 2);
    let delivery = bench.delivery();
    bench.settled(&gates[0], &delivery, Outcome::NoSubscription);
    bench.subscribed(&gates[0], "d", 2);
    let delivery = bench.delivery();
    bench.settled(&gates[0], &delivery, Outcome::Delivered);
    let told = told(&bench).remove(0);
    let decisions: Vec<(&str, &str)> = told.steps.iter().filter_map(|step| step.decision).collect();
    assert_eq!(
        decisions,
        [("park", "device_away"), ("forward", ""), ("park", "no_subscription"), ("forward", "")]
    );
    assert_eq!(told.receipt.attempt, 2, "one span, however many attempts");
}

#[test]
fn a_restart_in_between_leaves_one_trace_with_one_span_of_the_router() {
    for sender in [Some(came()), None] {
        let (mut bench, mut gates) = Bench::ready(&["g1"]);
        trace(&mut bench, 1.0);
        bench.accepted(&gates[0], "d", 1);
        bench.send(traced("c1", sender));
        let before = bench.delivery();
        let mut bench = bench.crash();
        trace(&mut bench, 1.0);
        bench.join(&mut gates[0]);
        bench.accepted(&gates[0], "d", 2);
        let again = bench.delivery();
        assert_eq!(again.trace, before.trace, "what both runs gave away has one parent");
        bench.settled(&gates[0], &again, Outcome::Delivered);
        let told = told(&bench).remove(0);
        assert_eq!(Some(told.context), before.trace);
        assert_eq!(told.parent, sender.map(|sender| sender.span));
        assert_eq!(names(&told)[0], "resumed");
    }
}

#[test]
fn a_trace_begins_here_if_nobody_has_begun_one_and_is_recorded_by_its_share() {
    for (ratio, is_recorded) in [(0.0, false), (1.0, true)] {
        let (mut bench, gates) = Bench::ready(&["g1"]);
        trace(&mut bench, ratio);
        bench.accepted(&gates[0], "d", 1);
        bench.send(traced("c1", None));
        let delivery = bench.delivery();
        assert_eq!(delivery.trace.unwrap().is_sampled(), is_recorded);
        bench.settled(&gates[0], &delivery, Outcome::Delivered);
        let told = told(&bench);
        assert_eq!(told.len(), usize::from(is_recorded));
        assert!(told.iter().all(|told| told.parent.is_none() && Some(told.context) == delivery.trace));
    }
}

#[test]
fn a_sender_that_does_not_record_is_followed() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    trace(&mut bench, 1.0);
    bench.accepted(&gates[0], "d", 1);
    let quiet = TraceContext::new(came().trace, came().span, false);
    bench.send(traced("c1", Some(quiet)));
    let delivery = bench.delivery();
    assert_eq!(delivery.trace, Some(quiet));
    bench.settled(&gates[0], &delivery, Outcome::Delivered);
    assert_eq!(told(&bench), []);
}

#[test]
fn off_no_id_is_made_and_the_senders_place_is_handed_on() {
    for sender in [Some(came()), None] {
        let (mut bench, gates) = Bench::ready(&["g1"]);
        bench.accepted(&gates[0], "d", 1);
        bench.send(traced("c1", sender));
        let delivery = bench.delivery();
        assert_eq!(delivery.trace, sender);
        bench.settled(&gates[0], &delivery, Outcome::Delivered);
        assert_eq!(told(&bench), []);
        // The log has it all the same, at both ends.
        let places = bench.said.iter().filter_map(|output| match output {
            Output::Journal { record: Record::Accepted(_) | Record::Finished { .. }, trace, .. } => {
                Some(*trace)
            }
            _ => None,
        });
        assert_eq!(places.collect::<Vec<_>>(), [sender, sender]);
    }
}

#[test]
fn two_commands_of_one_sender_have_a_span_each_and_long_stories_are_cut() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    trace(&mut bench, 0.0);
    bench.accepted(&gates[0], "d", 1);
    bench.send(traced("c1", Some(came())));
    bench.send(traced("c2", Some(came())));
    let deliveries = bench.deliveries();
    assert_ne!(deliveries[0].trace, deliveries[1].trace);
    for _ in 0..100 {
        bench.send(traced("c1", Some(came())));
    }
    bench.settled(&gates[0], &deliveries[0], Outcome::Delivered);
    let told = told(&bench).remove(0);
    assert_eq!(told.steps.len() as u32 + told.left_out, 100 + 6);
    assert!(told.left_out > 0);
}
