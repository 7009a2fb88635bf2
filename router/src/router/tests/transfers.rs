//! Sessions that roam, as the router has them moved.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use roost_wire::{
    BootTime, Control, Message, NoSessionReason, Present, QuestionId, SessionAnswer, SessionArrival,
    SessionHandOver, SessionId, SessionRequest, Sighting,
};

use super::bench::{Bench, Gate, SECOND, device};
use crate::{
    DropReason, Limits, Output, Publication, PublishOutcome, PublishToken, Queue, SourceToken,
    TransferOutcome,
};

const REQUEST: SessionRequest = SessionRequest(5);

pub(super) fn roaming(names: &[&str]) -> (Bench, Vec<Gate>) {
    Bench::roaming(names, Limits::default())
}

pub(super) fn wants(bench: &mut Bench, gate: &Gate, held: Option<u64>) {
    wants_for(bench, gate, "d", REQUEST, held);
}

fn wants_for(bench: &mut Bench, gate: &Gate, name: &str, request: SessionRequest, held: Option<u64>) {
    let held = held.map(SessionId);
    bench.sight(
        gate,
        vec![Sighting::WantsSession {
            device: device(name),
            request,
            held,
            held_since: held.map(|_| bench.now.boot),
            asked_at: Some(bench.now.boot),
        }],
    );
}

/// What was said about sessions: the gateway, and the word.
fn said(bench: &mut Bench) -> Vec<(String, Control)> {
    let about_sessions = |control: &Control| {
        matches!(
            control,
            Control::FindSession { .. } | Control::MoveSession { .. } | Control::SessionAnswer { .. }
        )
    };
    let (words, others) = bench.controls().into_iter().partition(|(_, control)| about_sessions(control));
    bench.unread = others;
    let named = |(queue, control): (String, Control)| {
        (queue.trim_start_matches("roost.control.").to_owned(), control)
    };
    words.into_iter().map(named).collect()
}

/// The sessions that are to be resumed nowhere, as was said: the gateway, and which.
pub(super) fn doubted(bench: &mut Bench) -> BTreeSet<(String, u64)> {
    let words = bench.controls().into_iter().filter_map(|(queue, control)| match control {
        Control::Forget { session, .. } => {
            Some((queue.trim_start_matches("roost.control.").to_owned(), session.0))
        }
        _ => None,
    });
    words.collect()
}

pub(super) fn these(of: &[(&str, u64)]) -> BTreeSet<(String, u64)> {
    of.iter().map(|(gate, session)| ((*gate).to_owned(), *session)).collect()
}

/// Everybody who was asked whether they have one, which is all that was said.
pub(super) fn sought(bench: &mut Bench) -> (Vec<String>, QuestionId) {
    let asked = said(bench);
    let questions = asked.iter().map(|(to, control)| match control {
        Control::FindSession { question, .. } => (to.clone(), *question),
        other => panic!("{other:?} to {to}"),
    });
    let (whom, questions): (Vec<_>, Vec<_>) = questions.unzip();
    (whom, questions[0])
}

/// The order to hand over, which is all that was said.
pub(super) fn ordered(bench: &mut Bench) -> (String, QuestionId, u64) {
    match &said(bench)[..] {
        [(to, Control::MoveSession { question, session, .. })] => (to.clone(), *question, session.0),
        other => panic!("{other:?}"),
    }
}

/// The answers that were given, which are all that was said.
pub(super) fn answered(bench: &mut Bench) -> Vec<(String, SessionAnswer)> {
    let answer = |(to, control)| match control {
        Control::SessionAnswer { answer, .. } => (to, answer),
        other => panic!("{other:?} to {to}"),
    };
    said(bench).into_iter().map(answer).collect()
}

pub(super) fn to(gate: &str, answer: SessionAnswer) -> Vec<(String, SessionAnswer)> {
    vec![(gate.to_owned(), answer)]
}

pub(super) fn outcomes(bench: &Bench, outcome: TransferOutcome) -> u64 {
    bench.core.counters().transfers.get(&outcome).copied().unwrap_or_default()
}

fn drops(bench: &Bench, reason: DropReason) -> u64 {
    bench.core.counters().drops.get(&reason).copied().unwrap_or_default()
}

fn hand_over(bench: &Bench, gate: &Gate, question: QuestionId, session: u64) -> Message {
    let given = SessionHandOver {
        device: device("d"),
        gateway: gate.id.clone(),
        incarnation: gate.incarnation,
        session: SessionId(session),
        question,
        run: bench.core.run(),
        body: Bytes::from_static(b"all that it had"),
    };
    given.into_message("roost.mesh", "sightings.0", None)
}

pub(super) fn gives(bench: &mut Bench, gate: &Gate, question: QuestionId, session: u64) -> SourceToken {
    let message = hand_over(bench, gate, question, session);
    bench.deliver(Queue::Sightings, message)
}

/// The sessions that were handed on: to which inbox.
fn handed_on(bench: &mut Bench) -> Vec<(PublishToken, String, SessionArrival)> {
    let said = std::mem::take(&mut bench.said);
    let is_session = |output: &Output| match output {
        Output::Publish { token, what: Publication::Session { inbox, arrival } } => {
            Some((*token, inbox.clone(), (**arrival).clone()))
        }
        _ => None,
    };
    let found = said.iter().filter_map(is_session).collect();
    bench.said = said.into_iter().filter(|output| is_session(output).is_none()).collect();
    found
}

fn no_session(bench: &mut Bench, gate: &Gate, question: QuestionId, reason: NoSessionReason) {
    let (run, device, at) = (bench.core.run(), device("d"), Some(bench.now.boot));
    bench.sight(gate, vec![Sighting::NoSession { question, run, device, reason, forgot: None, at }]);
}

/// A gateway has no session of the device, but had one, which was accepted so long ago, and forgot it in doubt.
pub(super) fn forgot(bench: &mut Bench, gate: &Gate, question: QuestionId, ago: Duration) {
    let (run, device, at) = (bench.core.run(), device("d"), bench.now.boot);
    let forgot = Some(BootTime::from_micros(at.as_micros() - ago.as_micros() as u64));
    let reason = NoSessionReason::Absent;
    bench.sight(gate, vec![Sighting::NoSession { question, run, device, reason, forgot, at: Some(at) }]);
}

/// A gateway has a session of the device, which was accepted so long ago.
pub(super) fn holds(bench: &mut Bench, gate: &Gate, question: QuestionId, session: u64, ago: Duration) {
    let (run, at) = (bench.core.run(), bench.now.boot);
    let accepted_at = BootTime::from_micros(at.as_micros() - ago.as_micros() as u64);
    let present = Present { accepted_at, ..bench.present("d", session) };
    let connected = false;
    bench.sight(gate, vec![Sighting::HoldsSession { question, run, present, connected, at: Some(at) }]);
}

pub(super) fn has_none(bench: &mut Bench, gate: &Gate, question: QuestionId) {
    no_session(bench, gate, question, NoSessionReason::Absent);
}

/// So much later, all gateways have been heard.
pub(super) fn passes(bench: &mut Bench, gates: &mut [Gate], seconds: u32) {
    for _ in 0..seconds {
        bench.advance(SECOND);
        gates.iter_mut().for_each(|gate| bench.beat(gate));
    }
}

#[test]
fn the_last_gateway_hands_it_over_and_the_one_that_asked_gets_it() {
    for is_away in [true, false] {
        let (mut bench, gates) = roaming(&["g1", "g2", "g3"]);
        bench.accepted(&gates[0], "d", 4);
        if is_away {
            bench.gone(&gates[0], "d", 4);
        }
        wants(&mut bench, &gates[1], None);
        let (at, question, session) = ordered(&mut bench);
        assert_eq!((at.as_str(), session), ("g1", 4));
        bench.presences();
        bench.acks();
        bench.is_quick = false;
        let source = gives(&mut bench, &gates[0], question, 4);
        let [(token, inbox, arrival)] = &handed_on(&mut bench)[..] else { panic!() };
        assert_eq!((inbox, arrival.request), (&gates[1].inbox(), REQUEST));
        assert_eq!((&arrival.device, &arrival.body[..]), (&device("d"), &b"all that it had"[..]));
        assert_eq!(bench.acks(), [], "not before the next inbox has it");
        bench.outcome(*token, PublishOutcome::Confirmed);
        assert_eq!(bench.acks(), [source]);
        assert_eq!(bench.presences().len(), usize::from(!is_away), "it has gone there");
        assert_eq!(outcomes(&bench, TransferOutcome::Moved), 1);
        assert_eq!(bench.core.gauges(bench.now).transfers_open, 0);
    }
}

#[test]
fn a_gateway_whose_own_copy_is_the_newest_is_told_so() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    bench.gone(&gates[0], "d", 4);
    wants(&mut bench, &gates[0], Some(4));
    assert_eq!(answered(&mut bench), to("g1", SessionAnswer::Current));
    wants(&mut bench, &gates[0], None);
    assert_eq!(answered(&mut bench), to("g1", SessionAnswer::Nobody), "it was here, and has ended");
}

#[test]
fn that_its_gateway_is_dead_is_said_at_once() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    for _ in 0..5 {
        bench.advance(3 * SECOND);
        bench.beat(&mut gates[1]);
    }
    wants(&mut bench, &gates[1], Some(1));
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::OwnerDead));
}

#[test]
fn a_gateway_that_dies_meanwhile_is_not_waited_for() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    ordered(&mut bench);
    let mut reborn = Gate { roams: true, ..gates[0].reborn() };
    bench.join(&mut reborn);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::OwnerDead));
    // And one whose lease lapses.
    bench.advance(SECOND);
    bench.beat(&mut reborn);
    bench.accepted(&reborn, "d", 1);
    wants(&mut bench, &gates[1], None);
    ordered(&mut bench);
    for _ in 0..5 {
        bench.advance(3 * SECOND);
        bench.beat(&mut gates[1]);
    }
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::OwnerDead));
    assert_eq!(outcomes(&bench, TransferOutcome::OwnerDead), 2);
}

#[test]
fn a_gateway_whose_queue_is_gone_counts_as_dead_at_once() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    bench.is_quick = false;
    wants(&mut bench, &gates[1], None);
    let token = bench.said.iter().find_map(|output| match output {
        Output::Publish { token, what: what @ Publication::SessionOrder { .. } } if what.mandatory() => {
            Some(*token)
        }
        _ => None,
    });
    ordered(&mut bench);
    bench.outcome(token.unwrap(), PublishOutcome::Returned);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::OwnerDead));
}

#[test]
fn of_a_device_that_is_not_known_all_are_asked_and_the_newest_moves() {
    let (mut bench, mut gates) = roaming(&["g1", "g2", "g3"]);
    passes(&mut bench, &mut gates, 10);
    wants(&mut bench, &gates[1], Some(7));
    let (whom, question) = sought(&mut bench);
    assert_eq!(whom, ["g1", "g2", "g3"], "what the one that asks has is a copy like any other");
    holds(&mut bench, &gates[0], question, 8, 5 * SECOND);
    holds(&mut bench, &gates[1], question, 7, 9 * SECOND);
    assert_eq!(said(&mut bench), []);
    holds(&mut bench, &gates[2], question, 9, 2 * SECOND);
    let (at, question, session) = ordered(&mut bench);
    assert_eq!((at.as_str(), session), ("g3", 9));
    assert_eq!(doubted(&mut bench), these(&[("g1", 8), ("g2", 7)]), "what is older is forgotten");
    gives(&mut bench, &gates[2], question, 9);
    assert_eq!(handed_on(&mut bench)[0].1, gates[1].inbox());
}

#[test]
fn what_nobody_else_has_is_the_askers_or_nobodys() {
    for (held, answer) in [(None, SessionAnswer::Nobody), (Some(3), SessionAnswer::Current)] {
        for names in [&["g1"][..], &["g1", "g2"]] {
            let (mut bench, mut gates) = roaming(names);
            passes(&mut bench, &mut gates, 10);
            wants(&mut bench, &gates[0], held);
            let (_, question) = sought(&mut bench);
            match held {
                Some(session) => holds(&mut bench, &gates[0], question, session, SECOND),
                None => has_none(&mut bench, &gates[0], question),
            }
            if let Some(other) = gates.get(1) {
                assert_eq!(said(&mut bench), []);
                has_none(&mut bench, other, question);
            }
            assert_eq!(answered(&mut bench), to("g1", answer));
            assert_eq!(doubted(&mut bench), these(&[]));
        }
    }
}

#[test]
fn a_gateway_that_says_no_is_the_end_of_it() {
    for (reason, answer) in [
        (NoSessionReason::Absent, SessionAnswer::Nobody),
        (NoSessionReason::Newer, SessionAnswer::Elsewhere),
        (NoSessionReason::Busy, SessionAnswer::Busy),
        (NoSessionReason::TooLarge, SessionAnswer::OwnerCannot),
    ] {
        let (mut bench, gates) = roaming(&["g1", "g2"]);
        bench.accepted(&gates[0], "d", 4);
        wants(&mut bench, &gates[1], None);
        let (_, question, _) = ordered(&mut bench);
        no_session(&mut bench, &gates[0], QuestionId(question.0 + 1), reason);
        assert_eq!(said(&mut bench), [], "an answer to another question");
        no_session(&mut bench, &gates[0], question, reason);
        assert_eq!(answered(&mut bench), to("g2", answer));
        no_session(&mut bench, &gates[0], question, reason);
        assert_eq!(said(&mut bench), [], "it has one answer");
    }
}

#[test]
fn who_asks_last_gets_it() {
    let (mut bench, gates) = roaming(&["g1", "g2", "g3"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    wants_for(&mut bench, &gates[2], "d", SessionRequest(9), None);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Elsewhere));
    gives(&mut bench, &gates[0], question, 4);
    let [(_, inbox, arrival)] = &handed_on(&mut bench)[..] else { panic!() };
    assert_eq!((inbox, arrival.request), (&gates[2].inbox(), SessionRequest(9)));
}

#[test]
fn what_comes_when_nobody_waits_is_dropped_and_counted() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    // The gateway has not waited so long.
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(outcomes(&bench, TransferOutcome::GivenUp), 1);
    bench.acks();
    let source = gives(&mut bench, &gates[0], question, 4);
    assert_eq!((handed_on(&mut bench).len(), drops(&bench, DropReason::SessionLate)), (0, 1));
    assert_eq!(bench.acks(), [source]);
    assert_eq!(bench.core.explain(bench.now, &device("d")).location.unwrap().gateway, gates[1].id);
}

#[test]
fn a_session_is_not_waited_for_for_ever() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    for _ in 0..10 {
        bench.advance(3 * SECOND);
        gates.iter_mut().for_each(|gate| bench.beat(gate));
    }
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::TimedOut));
    gives(&mut bench, &gates[0], question, 4);
    assert_eq!(drops(&bench, DropReason::SessionLate), 1);
}

#[test]
fn as_many_are_open_as_may_be() {
    let (mut bench, gates) = Bench::roaming(&["g1", "g2"], Limits { transfers_max: 1, ..Limits::default() });
    for name in ["d", "e"] {
        bench.accepted(&gates[0], name, 4);
    }
    wants(&mut bench, &gates[1], None);
    ordered(&mut bench);
    wants_for(&mut bench, &gates[1], "e", SessionRequest(6), None);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::Busy));
}

#[test]
fn a_restart_forgets_what_was_on_its_way() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    let message = hand_over(&bench, &gates[0], question, 4);
    let mut bench = bench.crash();
    bench.deliver(Queue::Sightings, message);
    assert_eq!((handed_on(&mut bench).len(), drops(&bench, DropReason::SessionLate)), (0, 1));
}

#[test]
fn a_session_whose_inbox_is_gone_is_lost_and_counted() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    bench.is_quick = false;
    bench.acks();
    let source = gives(&mut bench, &gates[0], question, 4);
    let (token, ..) = handed_on(&mut bench).remove(0);
    bench.outcome(token, PublishOutcome::Lost);
    assert_eq!(bench.acks(), []);
    bench.advance(SECOND);
    let (again, ..) = handed_on(&mut bench).remove(0);
    assert_eq!(again, token, "it is published again");
    bench.outcome(token, PublishOutcome::Returned);
    assert_eq!((bench.acks(), drops(&bench, DropReason::SessionInboxGone)), (vec![source], 1));
}

#[test]
fn the_process_that_asked_is_dead_and_nobody_is_told() {
    let (mut bench, gates) = roaming(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    let (_, question, _) = ordered(&mut bench);
    let mut reborn = Gate { roams: true, ..gates[1].reborn() };
    bench.join(&mut reborn);
    assert_eq!((said(&mut bench), outcomes(&bench, TransferOutcome::AskerDead)), (vec![], 1));
    gives(&mut bench, &gates[0], question, 4);
    assert_eq!((handed_on(&mut bench).len(), drops(&bench, DropReason::SessionLate)), (0, 1));
}

#[test]
fn an_older_gateway_is_neither_asked_nor_told_to_forget() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    gates[1].roams = true;
    bench.beat(&mut gates[1]);
    bench.controls();
    bench.accepted(&gates[0], "d", 4);
    wants(&mut bench, &gates[1], None);
    assert_eq!(answered(&mut bench), to("g2", SessionAnswer::OwnerCannot));
    bench.gone(&gates[0], "d", 4);
    bench.advance(SECOND);
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(bench.controls(), []);
}

/// The sessions that are to be forgotten because a newer one is elsewhere: the gateway, and which.
fn forgotten(bench: &mut Bench) -> BTreeSet<(String, u64)> {
    let words = bench.controls().into_iter().filter_map(|(queue, control)| match control {
        Control::Close { session, forget: true, .. } => {
            Some((queue.trim_start_matches("roost.control.").to_owned(), session.0))
        }
        Control::Forget { .. } => panic!("it is known which is the newest"),
        _ => None,
    });
    words.collect()
}

#[test]
fn what_is_kept_elsewhere_is_forgotten_when_its_device_begins_anew() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[0], "d", 4);
    bench.gone(&gates[0], "d", 4);
    passes(&mut bench, &mut gates, 3);
    assert_eq!(forgotten(&mut bench), these(&[]));
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(forgotten(&mut bench), these(&[("g1", 4)]));
    // At the same gateway it has taken the place of the older one by itself.
    bench.gone(&gates[1], "d", 1);
    bench.accepted(&gates[1], "d", 2);
    assert_eq!(forgotten(&mut bench), these(&[]));
}

#[test]
fn a_session_that_ends_when_its_device_is_elsewhere_is_forgotten() {
    let (mut bench, mut gates) = roaming(&["g1", "g2"]);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[0], "d", 4);
    passes(&mut bench, &mut gates, 3);
    bench.accepted(&gates[1], "d", 1);
    forgotten(&mut bench);
    bench.gone(&gates[0], "d", 4);
    assert_eq!(forgotten(&mut bench), these(&[("g1", 4)]));
}

#[test]
fn what_is_not_a_session_is_dropped_and_acknowledged() {
    let (mut bench, gates) = roaming(&["g1"]);
    let mut message = hand_over(&bench, &gates[0], QuestionId(1), 1);
    message.properties.headers.remove("roost-device");
    bench.acks();
    let source = bench.deliver(Queue::Sightings, message);
    assert_eq!((bench.acks(), drops(&bench, DropReason::UnreadableReport)), (vec![source], 1));
}
