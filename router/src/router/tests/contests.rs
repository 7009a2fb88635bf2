//! Two gateways claim a device, and their clocks don't tell whose session is the newer one.

use roost_wire::{Outcome, PresenceState, SessionId, Sighting};

use super::bench::{Bench, Gate, SECOND, command, device, ids};
use crate::{DropReason, Limits};

/// A bench where `d` is at g1 in session 1 and at g2 in session 2, and the question about that.
fn contested(names: &[&str]) -> (Bench, Vec<Gate>, roost_wire::QuestionId) {
    let (mut bench, gates) = Bench::ready(names);
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[1], "d", 2);
    let asked = bench.questions();
    assert_eq!(asked.iter().map(|(to, ..)| to.as_str()).collect::<Vec<_>>(), ["g1", "g2"]);
    assert_eq!(asked[0].1, asked[1].1, "one question for both");
    (bench, gates, asked[0].1)
}

fn location(bench: &Bench) -> Option<String> {
    let explained = bench.core.explain(bench.now, &device("d"));
    explained.location.filter(|_| explained.online == Some(true)).map(|found| found.gateway.to_string())
}

#[test]
fn both_are_asked_and_commands_wait_until_one_is_left() {
    let (mut bench, gates, question) = contested(&["g1", "g2", "g3"]);
    bench.send(command("d", "c1"));
    assert_eq!((bench.deliveries(), bench.questions()), (vec![], vec![]), "g3 is not asked");
    let explained = bench.core.explain(bench.now, &device("d"));
    assert_eq!((explained.decision.kind, explained.decision.reason), ("park", "contested"));
    assert!(explained.decision.words.contains("two gateways claim it; asked"), "{explained:?}");
    assert_eq!(explained.decision.gateways, [gates[0].id.clone(), gates[1].id.clone()]);
    assert!(explained.location.unwrap().sure.contains("g1 and g2 claim it"));
    assert_eq!(bench.core.gauges(bench.now).contests_open, 1);
    bench.replies(&gates[0], question, "d", None);
    let sent = bench.deliveries_with_tokens();
    assert_eq!((sent[0].1.clone(), sent[0].2.session), (gates[1].inbox(), SessionId(2)));
    assert_eq!(bench.closes(), [], "a closed socket needs no closing");
    let told: Vec<_> = bench.presences().iter().map(|told| (told.state, told.gateway.to_string())).collect();
    let of = |state, at: &str| (state, at.to_owned());
    let expected =
        [of(PresenceState::Online, "g1"), of(PresenceState::Offline, "g1"), of(PresenceState::Online, "g2")];
    assert_eq!(told, expected);
    assert_eq!((bench.core.counters().contests, bench.core.counters().questions), (1, 0));
}

#[test]
fn the_one_that_was_there_stays_if_the_late_sighting_was_of_an_older_session() {
    let (mut bench, gates, question) = contested(&["g1", "g2"]);
    bench.presences();
    bench.replies(&gates[1], question, "d", None);
    bench.send(command("d", "c1"));
    assert_eq!(bench.deliveries_with_tokens()[0].1, gates[0].inbox());
    assert_eq!((bench.closes(), bench.presences()), (vec![], vec![]), "nothing has changed");
}

#[test]
fn if_both_hold_it_the_one_that_was_heard_of_first_is_closed() {
    let (mut bench, gates, question) = contested(&["g1", "g2"]);
    bench.replies(&gates[0], question, "d", Some(1));
    assert_eq!(bench.closes(), []);
    bench.replies(&gates[1], question, "d", Some(2));
    assert_eq!((bench.closes(), location(&bench)), (vec![("g1".into(), 1)], Some("g2".into())));
    // That was the device's own: it connects again, is now the last one, and so can't lose again.
    bench.gone(&gates[0], "d", 1);
    bench.accepted(&gates[0], "d", 3);
    let asked = bench.questions();
    bench.replies(&gates[1], asked[0].1, "d", Some(2));
    bench.replies(&gates[0], asked[0].1, "d", Some(3));
    assert_eq!((bench.closes(), location(&bench)), (vec![("g2".into(), 2)], Some("g1".into())));
}

#[test]
fn a_command_at_one_of_them_is_not_delivered_at_the_other_too() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    bench.accepted(&gates[1], "d", 2);
    let question = bench.questions()[0].1;
    bench.send(command("d", "c2"));
    bench.replies(&gates[1], question, "d", Some(2));
    bench.replies(&gates[0], question, "d", Some(1));
    assert_eq!(bench.closes(), [("g1".into(), 1)]);
    assert_eq!((bench.deliveries(), bench.parked("d")), (vec![], "hold_ending"), "c1 is at g1 still");
    bench.settled(&gates[0], &c1, Outcome::Delivered);
    assert_eq!(ids(&bench.deliveries()), ["c2"]);
    // And if the device stayed where it was, the hold goes on.
    bench.accepted(&gates[0], "d", 3);
    let question = bench.questions()[0].1;
    bench.replies(&gates[0], question, "d", None);
    bench.send(command("d", "c3"));
    assert_eq!(ids(&bench.deliveries()), ["c3"]);
}

#[test]
fn with_a_third_gateway_one_is_left() {
    let (mut bench, gates, question) = contested(&["g1", "g2", "g3"]);
    bench.accepted(&gates[2], "d", 3);
    let asked = bench.questions();
    assert_eq!((asked.len(), asked[0].0.as_str(), asked[0].1), (1, "g3", question), "the others were asked");
    bench.replies(&gates[0], question, "d", Some(1));
    bench.replies(&gates[2], question, "d", Some(3));
    assert_eq!(bench.closes(), []);
    bench.replies(&gates[1], question, "d", Some(2));
    assert_eq!(bench.closes(), [("g1".into(), 1), ("g2".into(), 2)]);
    assert_eq!(location(&bench), Some("g3".into()));
    assert_eq!(bench.core.counters().contests, 1);
}

#[test]
fn it_is_asked_again_over_a_new_link_and_after_ten_seconds() {
    let (mut bench, mut gates, question) = contested(&["g1", "g2"]);
    bench.replies(&gates[0], question, "d", Some(1));
    let asked =
        |bench: &mut Bench| -> Vec<String> { bench.questions().into_iter().map(|(to, ..)| to).collect() };
    gates[1].link = gates[1].link.next();
    bench.beat(&mut gates[1]);
    assert_eq!(asked(&mut bench), ["g2"]);
    for _ in 0..4 {
        for gate in &mut gates {
            bench.beat(gate);
        }
        bench.advance(SECOND * 3);
    }
    assert_eq!(asked(&mut bench), ["g2"], "once, and only who has not answered");
    bench.replies(&gates[1], question, "d", None);
    assert_eq!(location(&bench), Some("g1".into()));
    bench.advance(SECOND * 9);
    assert_eq!(asked(&mut bench), [] as [&str; 0]);
}

#[test]
fn a_gateway_whose_lease_lapses_does_not_hold_it_up() {
    let (mut bench, mut gates, question) = contested(&["g1", "g2"]);
    bench.replies(&gates[0], question, "d", Some(1));
    for _ in 0..5 {
        bench.beat(&mut gates[0]);
        bench.advance(SECOND * 3);
    }
    assert_eq!((location(&bench), bench.core.gauges(bench.now).contests_open), (Some("g1".into()), 0));
    // It is back with its session: asked once more.
    bench.controls();
    bench.beat(&mut gates[1]);
    let present = vec![bench.present("d", 2)];
    bench.sight(&gates[1], vec![Sighting::Snapshot { first: true, last: true, present }]);
    assert_eq!(bench.questions().len(), 2);
}

#[test]
fn a_new_incarnation_has_none_of_the_old_ones_sockets() {
    for (dead, left) in [(0, "g2"), (1, "g1")] {
        let (mut bench, gates, _) = contested(&["g1", "g2"]);
        bench.join(&mut gates[dead].reborn());
        assert_eq!((location(&bench), bench.closes()), (Some(left.into()), vec![]), "g{}", dead + 1);
    }
}

#[test]
fn after_a_restart_gateways_are_asked_as_soon_as_they_are_heard() {
    let (bench, mut gates, _) = contested(&["g1", "g2"]);
    let mut bench = bench.crash();
    // Their sightings are read before their heartbeats.
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[1], "d", 2);
    assert_eq!(bench.questions(), [], "nobody knows where to ask");
    bench.beat(&mut gates[0]);
    let question = bench.questions()[0].1;
    bench.replies(&gates[0], question, "d", Some(1));
    // The other one is never heard: nobody waits for it for ever.
    for _ in 0..5 {
        bench.beat(&mut gates[0]);
        bench.advance(SECOND * 3);
    }
    assert_eq!((location(&bench), bench.core.gauges(bench.now).contests_open), (Some("g1".into()), 0));
}

#[test]
fn beyond_the_bound_the_last_one_is_taken_and_counted() {
    let mut bench = Bench::with(Limits { contests_max: 1, ..Limits::default() });
    let mut gates = ["g1", "g2"].map(Gate::new);
    for gate in &mut gates {
        bench.join(gate);
    }
    bench.said.clear();
    for gate in &gates {
        for name in ["d", "e"] {
            bench.accepted(gate, name, if name == "d" { 1 } else { 2 });
        }
    }
    let asked = bench.controls();
    let of = |bench: &Bench, reason| bench.core.counters().drops.get(&reason).copied().unwrap_or_default();
    assert_eq!((asked.len(), of(&bench, DropReason::TooManyContests)), (3, 1), "two questions and a close");
    assert_eq!(bench.core.explain(bench.now, &device("e")).location.unwrap().gateway, gates[1].id);
}

#[test]
fn no_sighting_is_acknowledged_before_those_that_came_before_it_and_presence_waits_for_the_disk() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.presences();
    bench.acks();
    bench.is_quick = false;
    // A new run of the gateway is journalled; what comes behind it needs no record of its own.
    let reborn = gates[0].reborn();
    bench.accepted(&reborn, "d", 1);
    bench.gone(&reborn, "d", 1);
    assert_eq!(
        (bench.acks(), bench.presences()),
        (vec![], vec![]),
        "read again alone, the first would be the last word"
    );
    bench.fsync();
    assert_eq!(bench.acks().len(), 2);
    let told: Vec<_> = bench.presences().iter().map(|told| (told.state, told.incarnation.0)).collect();
    let (online, offline) = (PresenceState::Online, PresenceState::Offline);
    assert_eq!(told, [(offline, 1), (online, 2), (offline, 2)], "in the order in which it happened");
}
